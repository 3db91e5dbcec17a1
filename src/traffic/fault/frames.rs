//! Streams whose events are not what they should be.

use bytes::Bytes;

use super::Fault;
use crate::core::response::{Frame, Framing, Part};

/// The events of a stream, less or more than they should be.
pub(super) struct Spoiled {
    frames: Box<dyn Iterator<Item = Frame> + Send>,
    framing: Framing,
    /// What is left out.
    without: Vec<Part>,
    /// After how many events one is broken off.
    malformed: Vec<u64>,
    /// Which events come twice.
    twice: Vec<u64>,
    /// After how many events an error comes, and what it is.
    error: Option<(u64, Bytes)>,
    again: Option<Frame>,
    /// How many events there were.
    given: u64,
    /// Whether the last of them was left out.
    unclosed: bool,
    ended: bool,
}

impl Spoiled {
    /// Whether a fault is one of those.
    pub(super) fn concerns(fault: &Fault) -> bool {
        matches!(
            fault,
            Fault::NoDone | Fault::NoFinish | Fault::NoUsage | Fault::Malformed | Fault::Dup | Fault::Error(_)
        )
    }

    /// A stream with these faults, each at its place; `error` is what an error says.
    pub(super) fn new<'a>(
        frames: Box<dyn Iterator<Item = Frame> + Send>,
        framing: Framing,
        faults: impl Iterator<Item = (&'a Fault, Option<u64>)>,
        error: Option<Vec<u8>>,
    ) -> Self {
        let mut spoiled = Spoiled {
            frames,
            framing,
            without: Vec::new(),
            malformed: Vec::new(),
            twice: Vec::new(),
            error: None,
            again: None,
            given: 0,
            unclosed: false,
            ended: false,
        };
        for (fault, at) in faults {
            match fault {
                Fault::NoDone => spoiled.without.push(Part::End),
                Fault::NoFinish => spoiled.without.push(Part::Finish),
                Fault::NoUsage => spoiled.without.push(Part::Usage),
                Fault::Malformed => spoiled.malformed.push(at.unwrap_or(1)),
                Fault::Dup => spoiled.twice.push(at.unwrap_or(1)),
                Fault::Error(_) => {
                    let at = at.unwrap_or(1);
                    spoiled.error = error.as_ref().map(|body| (at, framing.error(body, at == 0)));
                }
                _ => {}
            }
        }
        spoiled
    }
}

impl Iterator for Spoiled {
    type Item = Frame;

    fn next(&mut self) -> Option<Frame> {
        if self.ended {
            return None;
        }
        if let Some(frame) = self.again.take() {
            return Some(frame);
        }
        if let Some((_, bytes)) = self.error.take_if(|(at, _)| *at <= self.given) {
            self.ended = true;
            return Some(Frame { bytes, part: Part::End, tokens: 0 });
        }
        let mut frame = loop {
            let Some(frame) = self.frames.next() else {
                self.ended = true;
                let close = self.framing.close().filter(|_| self.unclosed);
                return close.map(|bytes| Frame { bytes, part: Part::End, tokens: 0 });
            };
            self.unclosed = self.without.contains(&frame.part);
            if !self.unclosed {
                break frame;
            }
        };
        if self.malformed.contains(&self.given) {
            frame.bytes = self.framing.broken_off(&frame.bytes);
        }
        self.given += 1;
        if self.twice.contains(&self.given) {
            self.again = Some(Frame { tokens: 0, ..frame.clone() });
        }
        Some(frame)
    }
}
