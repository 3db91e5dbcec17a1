//! The times at which the tokens of one response are due.

use std::{sync::Arc, time::Duration};

use super::Distribution;
use crate::core::random::Random;

/// The deadlines of one response, computed on demand. Each follows from the deadline before, not from the time at which
/// that was met, so a late event does not delay the next one.
pub struct Pace {
    at: Duration,
    has_begun: bool,
    itl: Arc<Distribution>,
    /// Progress of a ramp, from 0 to 1.
    progress: f64,
    /// Returns the factor on a gap, read when the gap begins.
    factor: Box<dyn Fn() -> f64 + Send>,
    random: Random,
    /// True if events before the first token do not wait for it.
    role_first: bool,
    /// Delay of the event with the usage, and of those after it.
    usage_delay: Duration,
}

impl Pace {
    /// Creates a pace: the first token is due at `ttft`, and each other token a gap after the one before.
    pub fn new(
        ttft: Duration,
        itl: Arc<Distribution>,
        progress: f64,
        factor: Box<dyn Fn() -> f64 + Send>,
        random: Random,
    ) -> Self {
        let (role_first, usage_delay) = (false, Duration::ZERO);
        Pace { at: ttft, has_begun: false, itl, progress, factor, random, role_first, usage_delay }
    }

    /// Sets the exceptions from the pace: events before the first token that do not wait for it, and the delay of the
    /// event with the usage.
    pub fn set_exceptions(&mut self, role_first: bool, usage_delay: Duration) {
        (self.role_first, self.usage_delay) = (role_first, usage_delay);
    }

    /// Delays the event with the usage, and those after it.
    pub(super) fn delay_usage(&mut self) {
        self.at = self.at.saturating_add(self.usage_delay);
    }

    /// Returns the deadline of the next event, which has this many tokens. An event without tokens is due with the
    /// event before it, or with the first token.
    pub fn due(&mut self, tokens: u32) -> Duration {
        if self.role_first && !self.has_begun && tokens == 0 {
            return Duration::ZERO;
        }
        let gaps = if self.has_begun { tokens } else { tokens.saturating_sub(1) };
        self.has_begun |= tokens > 0;
        if !self.itl.is_zero() {
            for _ in 0..gaps {
                self.at = self.at.saturating_add(self.gap());
            }
        }
        self.at
    }

    /// Returns the deadline of a response with this many tokens that is sent at once.
    pub fn total(&mut self, tokens: u64) -> Duration {
        if !self.itl.is_zero() {
            for _ in 0..tokens {
                self.at = self.at.saturating_add(self.gap());
            }
        }
        self.at
    }

    fn gap(&mut self) -> Duration {
        let gap = self.itl.sample_at(&mut self.random, self.progress);
        match (self.factor)() {
            1.0 => gap,
            factor => gap.mul_f64(factor.clamp(0.0, 1e6)),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, Ordering};

    use proptest::prelude::*;

    use super::*;

    fn pace(itl: &str, factor: impl Fn() -> f64 + Send + 'static) -> Pace {
        let itl = Arc::new(itl.parse().unwrap());
        Pace::new(Duration::from_millis(300), itl, 1.0, Box::new(factor), Random::seeded(1))
    }

    #[test]
    fn each_token_is_due_a_gap_after_the_one_before() {
        let mut steady = pace("20ms", || 1.0);
        // The role, the first token, the second, an event with three tokens, the end.
        let due: Vec<_> = [0, 1, 1, 3, 0].map(|tokens| steady.due(tokens).as_millis()).into();
        assert_eq!(due, [300, 300, 320, 380, 380]);
        assert_eq!(pace("20ms", || 1.0).total(10).as_millis(), 500);
        assert_eq!(pace("0ms", || 1.0).total(u64::MAX).as_millis(), 300);
    }

    #[test]
    fn the_role_can_come_at_once_and_the_usage_late() {
        let mut pace = pace("20ms", || 1.0);
        pace.set_exceptions(true, Duration::from_secs(1));
        let due: Vec<_> = [0, 0, 1, 1, 0].map(|tokens| pace.due(tokens).as_millis()).into();
        assert_eq!(due, [0, 0, 300, 320, 320]);
        pace.delay_usage();
        assert_eq!([pace.due(0), pace.due(0)].map(|due| due.as_millis()), [1320, 1320]);
    }

    #[test]
    fn the_factor_is_read_when_a_gap_begins() {
        let loaded = Arc::new(AtomicBool::new(false));
        let flag = Arc::clone(&loaded);
        let mut pace = pace("20ms", move || if flag.load(Ordering::Relaxed) { 3.0 } else { 1.0 });
        assert_eq!((pace.due(1).as_millis(), pace.due(1).as_millis()), (300, 320));
        loaded.store(true, Ordering::Relaxed);
        assert_eq!(pace.due(1).as_millis(), 380);
        loaded.store(false, Ordering::Relaxed);
        assert_eq!(pace.due(1).as_millis(), 400);
    }

    proptest! {
        #[test]
        fn deadlines_never_fall_and_do_not_drift(tokens in proptest::collection::vec(0u32..4, 1..200)) {
            let mut pace = pace("20ms±5ms", || 1.0);
            let mut last = Duration::ZERO;
            for tokens in &tokens {
                let due = pace.due(*tokens);
                prop_assert!(due >= last);
                last = due;
            }
            // The deadline of the last token does not depend on its division into events.
            let all = tokens.iter().sum();
            let mut whole = self::pace("20ms±5ms", || 1.0);
            prop_assert_eq!(whole.due(all), last);
        }
    }
}
