//! Changes of the writes in which the events of a stream are sent: several events in one, or one event in two.

use std::time::Duration;

use bytes::{Bytes, BytesMut};

use crate::core::response::{Delivered, Step, TimedStep};

/// Returns the steps with `count` events in each write, which is due with the last of them.
pub(super) fn merged(
    mut steps: impl Iterator<Item = TimedStep> + Send,
    count: u64,
) -> impl Iterator<Item = TimedStep> + Send {
    let mut interruption = None;
    std::iter::from_fn(move || {
        if let Some(step) = interruption.take() {
            return Some(step);
        }
        let (mut bytes, mut delivered, mut due) = (BytesMut::new(), Delivered::default(), Duration::ZERO);
        for _ in 0..count {
            match steps.next() {
                Some(TimedStep { at, step: Step::Send(event, part) }) => {
                    bytes.extend_from_slice(&event);
                    delivered.events += part.events;
                    delivered.tokens += part.tokens;
                    due = due.max(at);
                }
                Some(other) => {
                    interruption = Some(other);
                    break;
                }
                None => break,
            }
        }
        if bytes.is_empty() {
            return interruption.take();
        }
        Some(TimedStep { at: due, step: Step::Send(bytes.freeze(), delivered) })
    })
}

/// Returns the steps with each event in two writes. The second one is due `pause` after the first.
pub(super) fn split(
    mut steps: impl Iterator<Item = TimedStep> + Send,
    pause: Duration,
) -> impl Iterator<Item = TimedStep> + Send {
    let (mut rest, mut free_at) = (None, Duration::ZERO);
    std::iter::from_fn(move || {
        if let Some(step) = rest.take() {
            return Some(step);
        }
        let TimedStep { at, step } = steps.next()?;
        let at = at.max(free_at);
        let Step::Send(mut bytes, delivered) = step else { return Some(TimedStep { at, step }) };
        let second = bytes.split_off(middle(&bytes));
        if bytes.is_empty() {
            return Some(TimedStep { at, step: Step::Send(second, delivered) });
        }
        free_at = at.saturating_add(pause);
        rest = Some(TimedStep { at: free_at, step: Step::Send(second, delivered) });
        Some(TimedStep { at, step: Step::Send(bytes, Delivered::default()) })
    })
}

/// Returns the offset at which an event is split: inside its first character of several bytes, or else in its middle.
fn middle(event: &Bytes) -> usize {
    event.iter().position(|byte| !byte.is_ascii()).map_or(event.len() / 2, |at| (at + 1).min(event.len() - 1))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn steps(events: &[&'static str]) -> Vec<TimedStep> {
        let step = |(n, text): (u32, &&'static str)| TimedStep {
            at: Duration::from_millis(10) * n,
            step: Step::Send(Bytes::from_static(text.as_bytes()), Delivered { events: 1, tokens: 1 }),
        };
        (1..).zip(events).map(step).collect()
    }

    fn shown(steps: impl Iterator<Item = TimedStep>) -> Vec<(u128, Vec<u8>, u32)> {
        let shown = |TimedStep { at, step }| match step {
            Step::Send(bytes, delivered) => (at.as_millis(), bytes.to_vec(), delivered.events),
            _ => (at.as_millis(), b"cut".to_vec(), 0),
        };
        steps.map(shown).collect()
    }

    #[test]
    fn events_are_merged_until_an_interruption() {
        let mut all = steps(&["a", "b", "c", "d"]);
        all.insert(3, TimedStep { at: Duration::from_millis(30), step: Step::Cut });
        let expected =
            [(20, b"ab".to_vec(), 2), (30, b"c".to_vec(), 1), (30, b"cut".to_vec(), 0), (40, b"d".to_vec(), 1)];
        assert_eq!(shown(merged(all.into_iter(), 2)), expected);
    }

    #[test]
    fn an_event_is_split_inside_a_long_character() {
        let pause = Duration::from_millis(3);
        let all = shown(split(steps(&["data", "a\u{e9}b", "x", "\u{e9}"]).into_iter(), pause));
        let expected = [
            (10, b"da".to_vec(), 0),
            (13, b"ta".to_vec(), 1),
            (20, b"a\xc3".to_vec(), 0),
            (23, b"\xa9b".to_vec(), 1),
            (30, b"x".to_vec(), 1),
            (40, b"\xc3".to_vec(), 0),
            (43, b"\xa9".to_vec(), 1),
        ];
        assert_eq!(all, expected);
        let late = shown(split(steps(&["ab", "cd"]).into_iter(), Duration::from_millis(50)));
        assert_eq!(late.iter().map(|(at, ..)| *at).collect::<Vec<_>>(), [10, 60, 60, 110]);
    }
}
