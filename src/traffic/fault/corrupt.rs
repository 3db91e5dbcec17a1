//! Streams whose events are not what they should be.

use bytes::Bytes;

use super::FaultKind;
use crate::core::response::{EventKind, StreamEvent, StreamFormat};

/// The events of a stream, less or more than they should be.
pub(super) struct CorruptedStream {
    frames: Box<dyn Iterator<Item = StreamEvent> + Send>,
    framing: StreamFormat,
    /// What is left out.
    without: Vec<EventKind>,
    /// After how many events one is broken off.
    malformed: Vec<u64>,
    /// Which events come twice.
    twice: Vec<u64>,
    /// After how many events an error comes, and what it is.
    error: Option<(u64, Bytes)>,
    again: Option<StreamEvent>,
    /// How many events there were.
    given: u64,
    /// Whether the last of them was left out.
    unclosed: bool,
    ended: bool,
}

impl CorruptedStream {
    /// Whether a fault is one of those.
    pub(super) fn concerns(fault: &FaultKind) -> bool {
        matches!(
            fault,
            FaultKind::NoDone
                | FaultKind::NoFinish
                | FaultKind::NoUsage
                | FaultKind::Malformed
                | FaultKind::Dup
                | FaultKind::Error(_)
        )
    }

    /// A stream with these faults, each at its place; `error` is what an error says.
    pub(super) fn new<'a>(
        frames: Box<dyn Iterator<Item = StreamEvent> + Send>,
        framing: StreamFormat,
        faults: impl Iterator<Item = (&'a FaultKind, Option<u64>)>,
        error: Option<Vec<u8>>,
    ) -> Self {
        let mut spoiled = CorruptedStream {
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
                FaultKind::NoDone => spoiled.without.push(EventKind::End),
                FaultKind::NoFinish => spoiled.without.push(EventKind::Finish),
                FaultKind::NoUsage => spoiled.without.push(EventKind::Usage),
                FaultKind::Malformed => spoiled.malformed.push(at.unwrap_or(1)),
                FaultKind::Dup => spoiled.twice.push(at.unwrap_or(1)),
                FaultKind::Error(_) => {
                    let at = at.unwrap_or(1);
                    spoiled.error = error.as_ref().map(|body| (at, framing.error(body, at == 0)));
                }
                _ => {}
            }
        }
        spoiled
    }
}

impl Iterator for CorruptedStream {
    type Item = StreamEvent;

    fn next(&mut self) -> Option<StreamEvent> {
        if self.ended {
            return None;
        }
        if let Some(frame) = self.again.take() {
            return Some(frame);
        }
        if let Some((_, bytes)) = self.error.take_if(|(at, _)| *at <= self.given) {
            self.ended = true;
            return Some(StreamEvent { bytes, part: EventKind::End, tokens: 0 });
        }
        let mut frame = loop {
            let Some(frame) = self.frames.next() else {
                self.ended = true;
                let close = self.framing.close().filter(|_| self.unclosed);
                return close.map(|bytes| StreamEvent { bytes, part: EventKind::End, tokens: 0 });
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
            self.again = Some(StreamEvent { tokens: 0, ..frame.clone() });
        }
        Some(frame)
    }
}
