//! Changes of the steps of a body: interrupted, slowed, padded or compressed.

use std::{io::Write, mem, time::Duration};

use bytes::Bytes;
use flate2::{Compression, write::GzEncoder};
use smallvec::SmallVec;

use crate::core::response::{Delivered, Step, Steps, TimedStep};

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

/// Steps with their interruptions.
pub(super) struct Interrupted {
    steps: Steps,
    /// Interruptions still to come, the next one last.
    breaks: Breaks,
    /// The unit of their positions.
    unit: Unit,
    /// Number of events or bytes sent.
    sent: u64,
    /// Sum of all pauses so far.
    stalled: Duration,
    /// Time at which the last step was due, with the pauses after it.
    at: Duration,
    /// The rest of a step that was split at an interruption.
    rest: Option<TimedStep>,
    ended: bool,
}

/// The unit of the position of an interruption.
#[derive(Clone, Copy, Debug)]
pub(super) enum Unit {
    /// Each step is one event.
    Events,
    /// Steps are split.
    Bytes,
}

impl Interrupted {
    pub(super) fn new(steps: Steps, mut breaks: Breaks, unit: Unit) -> Self {
        breaks.reverse();
        let (sent, stalled, at) = (0, Duration::ZERO, Duration::ZERO);
        Interrupted { steps, breaks, unit, sent, stalled, at, rest: None, ended: false }
    }

    /// Returns the next step without the pauses before it. It ends at the next interruption.
    fn next_undelayed(&mut self) -> Option<TimedStep> {
        let TimedStep { at, step } = self.rest.take().or_else(|| self.steps.next())?;
        let Step::Send(mut bytes, mut delivered) = step else { return Some(TimedStep { at, step }) };
        self.sent += match self.unit {
            Unit::Events => 1,
            Unit::Bytes => {
                let room = self.breaks.last().and_then(|(after, _)| usize::try_from(after - self.sent).ok());
                if let Some(room) = room.filter(|room| *room < bytes.len()) {
                    let rest = bytes.split_off(room);
                    self.rest = Some(TimedStep { at, step: Step::Send(rest, mem::take(&mut delivered)) });
                }
                bytes.len() as u64
            }
        };
        Some(TimedStep { at, step: Step::Send(bytes, delivered) })
    }
}

impl Iterator for Interrupted {
    type Item = TimedStep;

    fn next(&mut self) -> Option<TimedStep> {
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
                    self.at = self.at.saturating_add(time);
                    continue;
                }
                Break::Stall(None) => Step::Stall,
                Break::Cut => Step::Cut,
                Break::Reset => Step::Reset,
            };
            self.ended = true;
            return Some(TimedStep { at: self.at, step });
        }
        let TimedStep { at, step } = self.next_undelayed()?;
        self.at = at.saturating_add(self.stalled);
        Some(TimedStep { at: self.at, step })
    }
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
    steps: Steps,
    encoder: Option<GzEncoder<Vec<u8>>>,
    at: Duration,
}

impl GzipSteps {
    pub(super) fn new(steps: Steps) -> Self {
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

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    /// Renders three steps of two bytes, due at 1 s, 2 s and 3 s, with these interruptions.
    fn interrupted(breaks: &[(u64, Break)], unit: Unit) -> String {
        let step = |(n, text): (u32, &'static str)| TimedStep {
            at: n * SECOND,
            step: Step::Send(Bytes::from_static(text.as_bytes()), Delivered { events: 1, tokens: 1 }),
        };
        let steps = (1..).zip(["ab", "cd", "ef"]).map(step);
        let shown = |TimedStep { at, step }| match step {
            Step::Send(bytes, delivered) => {
                format!("{} {} {}", at.as_secs(), String::from_utf8_lossy(&bytes), delivered.events)
            }
            step => format!("{} {step:?}", at.as_secs()),
        };
        let steps = Interrupted::new(Box::new(steps), breaks.iter().copied().collect(), unit);
        steps.map(shown).collect::<Vec<_>>().join(", ")
    }

    #[test]
    fn interruptions_come_after_a_number_of_events_or_bytes() {
        let pause = Break::Stall(Some(5 * SECOND));
        for (breaks, unit, expected) in [
            (&[][..], Unit::Events, "1 ab 1, 2 cd 1, 3 ef 1"),
            (&[(1, pause)], Unit::Events, "1 ab 1, 7 cd 1, 8 ef 1"),
            (&[(2, Break::Cut)], Unit::Events, "1 ab 1, 2 cd 1, 2 Cut"),
            (&[(0, Break::Stall(None))], Unit::Events, "0 Stall"),
            (&[(3, Break::Reset)], Unit::Events, "1 ab 1, 2 cd 1, 3 ef 1, 3 Reset"),
            (&[(4, Break::Cut)], Unit::Events, "1 ab 1, 2 cd 1, 3 ef 1"),
            (&[(1, pause), (1, Break::Cut)], Unit::Events, "1 ab 1, 6 Cut"),
            (&[(2, pause)], Unit::Bytes, "1 ab 1, 7 cd 1, 8 ef 1"),
            (&[(3, pause), (5, Break::Cut)], Unit::Bytes, "1 ab 1, 2 c 0, 7 d 1, 8 e 0, 8 Cut"),
        ] {
            assert_eq!(interrupted(breaks, unit), expected, "{breaks:?} {unit:?}");
        }
    }
}
