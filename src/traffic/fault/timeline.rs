//! Bodies that come late, slowly, in part, or not as they are.

use std::{io::Write, mem, time::Duration};

use bytes::Bytes;
use flate2::{Compression, write::GzEncoder};
use smallvec::SmallVec;

use crate::{
    core::response::{Step, StreamEvent, TimedStep},
    traffic::latency::Pace,
};

/// Blanks, which JSON lets stand before a value.
pub(super) static BLANKS: [u8; 64 * 1024] = [b' '; 64 * 1024];

/// The length of one of these comments.
pub(super) const COMMENT: u64 = 128;

/// Comments, which streams of events let stand between two.
pub(super) static COMMENTS: [u8; 64 * 1024] = comments();

const fn comments() -> [u8; 64 * 1024] {
    const LINE: usize = COMMENT as usize;
    let mut text = [b'.'; 64 * 1024];
    let mut at = 0;
    while at < text.len() {
        text[at] = b':';
        text[at + LINE - 2] = b'\n';
        text[at + LINE - 1] = b'\n';
        at += LINE;
    }
    text
}

/// Where a body stops.
#[derive(Clone, Copy, Debug)]
pub(super) enum Break {
    /// For so long, or for ever.
    Stall(Option<Duration>),
    Cut,
    Reset,
}

/// Breaks by how much of the body is sent before, in order.
pub(super) type Breaks = SmallVec<[(u64, Break); 1]>;

/// A stream with its times.
pub(super) struct Timeline {
    frames: Box<dyn Iterator<Item = StreamEvent> + Send>,
    pace: Option<Pace>,
    /// Those that have not come yet, the next at the end.
    breaks: Breaks,
    /// How many events were sent.
    sent: u64,
    /// How long the stream has stood still.
    stalled: Duration,
    /// When the last event was due.
    at: Duration,
    /// The next event, if it had to be looked at.
    first: Option<TimedStep>,
    ended: bool,
}

impl Timeline {
    pub(super) fn new(
        frames: Box<dyn Iterator<Item = StreamEvent> + Send>,
        pace: Option<Pace>,
        mut breaks: Breaks,
    ) -> Self {
        breaks.reverse();
        let (sent, stalled, at) = (0, Duration::ZERO, Duration::ZERO);
        Timeline { frames, pace, breaks, sent, stalled, at, first: None, ended: false }
    }

    /// When the first event is due.
    pub(super) fn first(&mut self) -> Duration {
        self.first = self.step();
        match &self.first {
            Some(TimedStep { at, step: Step::Send(_) }) => *at,
            _ => Duration::ZERO,
        }
    }

    fn step(&mut self) -> Option<TimedStep> {
        if self.ended {
            return None;
        }
        while let Some((after, broken)) = self.breaks.last().copied()
            && after <= self.sent
        {
            self.breaks.pop();
            let (at, step) = match broken {
                Break::Stall(Some(time)) => {
                    self.stalled = self.stalled.saturating_add(time);
                    continue;
                }
                Break::Stall(None) => (Duration::MAX, Step::Cut),
                Break::Cut => (self.at, Step::Cut),
                Break::Reset => (self.at, Step::Reset),
            };
            self.ended = true;
            return Some(TimedStep { at, step });
        }
        let frame = self.frames.next()?;
        let due = self.pace.as_mut().map_or(Duration::ZERO, |pace| pace.due(frame.tokens));
        self.at = due.saturating_add(self.stalled);
        self.sent += 1;
        Some(TimedStep { at: self.at, step: Step::Send(frame.bytes) })
    }
}

impl Iterator for Timeline {
    type Item = TimedStep;

    fn next(&mut self) -> Option<TimedStep> {
        self.first.take().or_else(|| self.step())
    }
}

/// A whole body with its breaks. No break comes after all of it.
pub(super) fn whole(bytes: Bytes, breaks: &Breaks) -> Vec<TimedStep> {
    let (mut list, mut sent, mut at) = (Vec::new(), 0, Duration::ZERO);
    let last = bytes.len().saturating_sub(1);
    for (after, broken) in breaks {
        let after = usize::try_from(*after).unwrap_or(usize::MAX).clamp(sent, last.max(sent));
        list.push(TimedStep { at, step: Step::Send(bytes.slice(mem::replace(&mut sent, after)..after)) });
        match broken {
            Break::Stall(Some(time)) => {
                at = at.saturating_add(*time);
                continue;
            }
            Break::Stall(None) => list.push(TimedStep { at: Duration::MAX, step: Step::Cut }),
            Break::Cut => list.push(TimedStep { at, step: Step::Cut }),
            Break::Reset => list.push(TimedStep { at, step: Step::Reset }),
        }
        return list;
    }
    list.push(TimedStep { at, step: Step::Send(bytes.slice(sent..)) });
    list
}

/// With so many bytes before the first step, which are taken from `blank` again and again.
pub(super) fn padded(
    steps: impl Iterator<Item = TimedStep> + Send,
    size: u64,
    blank: Bytes,
) -> impl Iterator<Item = TimedStep> + Send {
    let mut left = size;
    let padding = std::iter::from_fn(move || {
        let length = usize::try_from(left).unwrap_or(usize::MAX).min(blank.len());
        left -= length as u64;
        (length > 0).then(|| TimedStep { at: Duration::ZERO, step: Step::Send(blank.slice(..length)) })
    });
    padding.chain(steps)
}

/// At so many bytes a second, ten times a second at the most.
pub(super) fn slowed(
    steps: impl Iterator<Item = TimedStep> + Send,
    rate: u64,
) -> impl Iterator<Item = TimedStep> + Send {
    let piece = usize::try_from(rate / 10).unwrap_or(usize::MAX).max(1);
    let mut clear = Duration::ZERO;
    steps.flat_map(move |TimedStep { at, step }| {
        clear = clear.max(at);
        let (mut start, mut whole) = (clear, Some(step));
        if let Some(Step::Send(bytes)) = &whole {
            clear = clear.saturating_add(Duration::from_secs_f64(bytes.len() as f64 / rate as f64));
        }
        std::iter::from_fn(move || {
            let at = start;
            let step = match whole.take()? {
                Step::Send(mut bytes) => {
                    let sent = bytes.split_to(piece.min(bytes.len()));
                    start = start.saturating_add(Duration::from_secs_f64(sent.len() as f64 / rate as f64));
                    whole = (!bytes.is_empty()).then_some(Step::Send(bytes));
                    Step::Send(sent)
                }
                step => step,
            };
            Some(TimedStep { at, step })
        })
    })
}

/// The same where nothing may be cut up: each comes once the last of its bytes would have.
pub(super) fn late(steps: impl Iterator<Item = TimedStep> + Send, rate: u64) -> impl Iterator<Item = TimedStep> + Send {
    let mut clear = Duration::ZERO;
    steps.map(move |TimedStep { at, step }| {
        clear = clear.max(at);
        if let Step::Send(bytes) = &step {
            clear = clear.saturating_add(Duration::from_secs_f64(bytes.len() as f64 / rate as f64));
        }
        TimedStep { at: clear, step }
    })
}

/// With a comment whenever nothing else was sent for so long.
pub(super) fn kept_alive(
    mut steps: impl Iterator<Item = TimedStep> + Send,
    every: Duration,
    comment: Bytes,
) -> impl Iterator<Item = TimedStep> + Send {
    let (mut last, mut next) = (Duration::ZERO, None);
    std::iter::from_fn(move || {
        let due: TimedStep = next.take().or_else(|| steps.next())?;
        let comment_at = last + every;
        if comment_at >= due.at {
            last = due.at;
            return Some(due);
        }
        last = comment_at;
        next = Some(due);
        Some(TimedStep { at: comment_at, step: Step::Send(comment.clone()) })
    })
}

/// All of a body, compressed.
pub(super) fn gzip(bytes: &[u8]) -> Bytes {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    match encoder.write_all(bytes).and_then(|()| encoder.finish()) {
        Ok(compressed) => compressed.into(),
        // Memory takes all that is written to it.
        Err(_) => Bytes::new(),
    }
}

/// A body compressed step by step: what was sent can be read before there is more.
pub(super) struct Gzipped {
    steps: Box<dyn Iterator<Item = TimedStep> + Send>,
    encoder: Option<GzEncoder<Vec<u8>>>,
    at: Duration,
}

impl Gzipped {
    pub(super) fn new(steps: Box<dyn Iterator<Item = TimedStep> + Send>) -> Self {
        let encoder = Some(GzEncoder::new(Vec::new(), Compression::fast()));
        Gzipped { steps, encoder, at: Duration::ZERO }
    }
}

impl Iterator for Gzipped {
    type Item = TimedStep;

    fn next(&mut self) -> Option<TimedStep> {
        let compressed = match self.steps.next() {
            None => self.encoder.take()?.finish().ok()?,
            Some(TimedStep { at, step: Step::Send(bytes) }) => {
                self.at = at;
                let encoder = self.encoder.as_mut()?;
                encoder.write_all(&bytes).and_then(|()| encoder.flush()).ok()?;
                mem::take(encoder.get_mut())
            }
            broken => return broken,
        };
        Some(TimedStep { at: self.at, step: Step::Send(compressed.into()) })
    }
}
