//! Bodies with times: delayed, slowed, interrupted, padded or compressed.

use std::{io::Write, mem, time::Duration};

use bytes::Bytes;
use flate2::{Compression, write::GzEncoder};
use smallvec::SmallVec;

use crate::{
    core::response::{Delivered, Step, StreamEvent, TimedStep},
    traffic::latency::Pace,
};

/// Blanks, which JSON allows before a value.
pub(super) static BLANKS: [u8; 64 * 1024] = [b' '; 64 * 1024];

/// Length of one comment in [`COMMENTS`], in bytes.
pub(super) const COMMENT_LENGTH: u64 = 128;

/// Comments, which server-sent events allow between two events.
pub(super) static COMMENTS: [u8; 64 * 1024] = comments();

const fn comments() -> [u8; 64 * 1024] {
    const LINE: usize = COMMENT_LENGTH as usize;
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

/// An interruption of a body.
#[derive(Clone, Copy, Debug)]
pub(super) enum Break {
    /// A pause; `None` never ends.
    Stall(Option<Duration>),
    /// The connection is closed.
    Cut,
    /// The connection is reset.
    Reset,
}

/// Interruptions in order, each with the number of events or bytes before it.
pub(super) type Breaks = SmallVec<[(u64, Break); 1]>;

/// The events of a stream, each with the time at which it is due.
pub(super) struct Timeline {
    events: Box<dyn Iterator<Item = StreamEvent> + Send>,
    pace: Option<Pace>,
    /// Interruptions still to come, the next one last.
    breaks: Breaks,
    /// Number of events sent.
    sent: u64,
    /// Sum of all pauses so far.
    stalled: Duration,
    /// Time at which the last event was due.
    at: Duration,
    /// The first step, if [`Timeline::first`] has read it already.
    first: Option<TimedStep>,
    ended: bool,
}

impl Timeline {
    pub(super) fn new(
        events: Box<dyn Iterator<Item = StreamEvent> + Send>,
        pace: Option<Pace>,
        mut breaks: Breaks,
    ) -> Self {
        breaks.reverse();
        let (sent, stalled, at) = (0, Duration::ZERO, Duration::ZERO);
        Timeline { events, pace, breaks, sent, stalled, at, first: None, ended: false }
    }

    /// Returns the time at which the first event is due; zero if an interruption comes first.
    pub(super) fn first(&mut self) -> Duration {
        self.first = self.step();
        match &self.first {
            Some(TimedStep { at, step: Step::Send(..) }) => *at,
            _ => Duration::ZERO,
        }
    }

    fn step(&mut self) -> Option<TimedStep> {
        if self.ended {
            return None;
        }
        while let Some((after, kind)) = self.breaks.last().copied()
            && after <= self.sent
        {
            self.breaks.pop();
            let step = match kind {
                Break::Stall(Some(time)) => {
                    self.stalled = self.stalled.saturating_add(time);
                    continue;
                }
                Break::Stall(None) => Step::Stall,
                Break::Cut => Step::Cut,
                Break::Reset => Step::Reset,
            };
            self.ended = true;
            return Some(TimedStep { at: self.at, step });
        }
        let event = self.events.next()?;
        let due = self.pace.as_mut().map_or(Duration::ZERO, |pace| pace.due(event.tokens));
        self.at = due.saturating_add(self.stalled);
        self.sent += 1;
        let delivered = event.delivered();
        Some(TimedStep { at: self.at, step: Step::Send(event.bytes, delivered) })
    }
}

impl Iterator for Timeline {
    type Item = TimedStep;

    fn next(&mut self) -> Option<TimedStep> {
        self.first.take().or_else(|| self.step())
    }
}

/// Returns the steps of a full body with its interruptions. The last byte comes after every interruption.
pub(super) fn full_body(bytes: Bytes, breaks: &Breaks) -> Vec<TimedStep> {
    let (mut list, mut sent, mut at) = (Vec::new(), 0, Duration::ZERO);
    let last = bytes.len().saturating_sub(1);
    for (after, kind) in breaks {
        let after = usize::try_from(*after).unwrap_or(usize::MAX).clamp(sent, last.max(sent));
        let part = bytes.slice(mem::replace(&mut sent, after)..after);
        list.push(TimedStep { at, step: Step::Send(part, Delivered::default()) });
        match kind {
            Break::Stall(Some(time)) => {
                at = at.saturating_add(*time);
                continue;
            }
            Break::Stall(None) => list.push(TimedStep { at, step: Step::Stall }),
            Break::Cut => list.push(TimedStep { at, step: Step::Cut }),
            Break::Reset => list.push(TimedStep { at, step: Step::Reset }),
        }
        return list;
    }
    list.push(TimedStep { at, step: Step::Send(bytes.slice(sent..), Delivered::default()) });
    list
}

/// Returns the steps with `size` bytes before the first one, copied from `blank` repeatedly.
pub(super) fn padded(
    steps: impl Iterator<Item = TimedStep> + Send,
    size: u64,
    blank: Bytes,
) -> impl Iterator<Item = TimedStep> + Send {
    let mut left = size;
    let padding = std::iter::from_fn(move || {
        let length = usize::try_from(left).unwrap_or(usize::MAX).min(blank.len());
        left -= length as u64;
        let step = || Step::Send(blank.slice(..length), Delivered::default());
        (length > 0).then(|| TimedStep { at: Duration::ZERO, step: step() })
    });
    padding.chain(steps)
}

/// Returns the steps at `rate` bytes per second, in at most ten pieces per second.
pub(super) fn slowed(
    steps: impl Iterator<Item = TimedStep> + Send,
    rate: u64,
) -> impl Iterator<Item = TimedStep> + Send {
    let piece = usize::try_from(rate / 10).unwrap_or(usize::MAX).max(1);
    let mut free_at = Duration::ZERO;
    steps.flat_map(move |TimedStep { at, step }| {
        free_at = free_at.max(at);
        let (mut start, mut rest) = (free_at, Some(step));
        if let Some(Step::Send(bytes, _)) = &rest {
            free_at = free_at.saturating_add(Duration::from_secs_f64(bytes.len() as f64 / rate as f64));
        }
        std::iter::from_fn(move || {
            let at = start;
            let step = match rest.take()? {
                Step::Send(mut bytes, delivered) => {
                    let sent = bytes.split_to(piece.min(bytes.len()));
                    start = start.saturating_add(Duration::from_secs_f64(sent.len() as f64 / rate as f64));
                    if bytes.is_empty() {
                        Step::Send(sent, delivered)
                    } else {
                        rest = Some(Step::Send(bytes, delivered));
                        Step::Send(sent, Delivered::default())
                    }
                }
                step => step,
            };
            Some(TimedStep { at, step })
        })
    })
}

/// Returns the steps at `rate` bytes per second without splitting them: each is due when its last byte would be.
pub(super) fn delayed(
    steps: impl Iterator<Item = TimedStep> + Send,
    rate: u64,
) -> impl Iterator<Item = TimedStep> + Send {
    let mut free_at = Duration::ZERO;
    steps.map(move |TimedStep { at, step }| {
        free_at = free_at.max(at);
        if let Step::Send(bytes, _) = &step {
            free_at = free_at.saturating_add(Duration::from_secs_f64(bytes.len() as f64 / rate as f64));
        }
        TimedStep { at: free_at, step }
    })
}

/// Returns the steps with a comment after every interval without a step. They go on while the stream stalls.
pub(super) fn with_keepalive(
    mut steps: impl Iterator<Item = TimedStep> + Send,
    every: Duration,
    comment: Bytes,
) -> impl Iterator<Item = TimedStep> + Send {
    let (mut last, mut next) = (Duration::ZERO, None);
    std::iter::from_fn(move || {
        let due: TimedStep = next.take().or_else(|| steps.next())?;
        let comment_at = last + every;
        if comment_at >= due.at && due.step != Step::Stall {
            last = due.at;
            return Some(due);
        }
        last = comment_at;
        next = Some(due);
        Some(TimedStep { at: comment_at, step: Step::Send(comment.clone(), Delivered::default()) })
    })
}

/// Compresses a full body.
pub(super) fn gzip(bytes: &[u8]) -> Bytes {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    match encoder.write_all(bytes).and_then(|()| encoder.finish()) {
        Ok(compressed) => compressed.into(),
        // Writing to memory does not fail.
        Err(_) => Bytes::new(),
    }
}

/// A body compressed step by step. Each step can be decompressed before the next one arrives.
pub(super) struct GzipSteps {
    steps: Box<dyn Iterator<Item = TimedStep> + Send>,
    encoder: Option<GzEncoder<Vec<u8>>>,
    at: Duration,
}

impl GzipSteps {
    pub(super) fn new(steps: Box<dyn Iterator<Item = TimedStep> + Send>) -> Self {
        let encoder = Some(GzEncoder::new(Vec::new(), Compression::fast()));
        GzipSteps { steps, encoder, at: Duration::ZERO }
    }
}

impl Iterator for GzipSteps {
    type Item = TimedStep;

    fn next(&mut self) -> Option<TimedStep> {
        let (compressed, delivered) = match self.steps.next() {
            None => (self.encoder.take()?.finish().ok()?, Delivered::default()),
            Some(TimedStep { at, step: Step::Send(bytes, delivered) }) => {
                self.at = at;
                let encoder = self.encoder.as_mut()?;
                encoder.write_all(&bytes).and_then(|()| encoder.flush()).ok()?;
                (mem::take(encoder.get_mut()), delivered)
            }
            interruption => return interruption,
        };
        Some(TimedStep { at: self.at, step: Step::Send(compressed.into(), delivered) })
    }
}
