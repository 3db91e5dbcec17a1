//! When each token of one answer is due.

use std::{sync::Arc, time::Duration};

use super::Distribution;
use crate::core::random::Random;

/// The deadlines of one answer, computed as they are asked for. Each follows from the one before, never from the time at
/// which that was met: so none is late because another was.
pub struct Pace {
    at: Duration,
    begun: bool,
    itl: Arc<Distribution>,
    /// How far the distribution has come, if it is a ramp.
    progress: f64,
    /// What a gap is multiplied with at the moment that it begins.
    factor: Box<dyn Fn() -> f64 + Send>,
    random: Random,
}

impl Pace {
    /// The first token is due at `ttft`, each other one a gap after the one before.
    pub fn new(
        ttft: Duration,
        itl: Arc<Distribution>,
        progress: f64,
        factor: Box<dyn Fn() -> f64 + Send>,
        random: Random,
    ) -> Self {
        Pace { at: ttft, begun: false, itl, progress, factor, random }
    }

    /// When the next event is due that brings so many tokens. One without tokens comes with what is before it, or with
    /// the first token.
    pub fn due(&mut self, tokens: u32) -> Duration {
        let gaps = if self.begun { tokens } else { tokens.saturating_sub(1) };
        self.begun |= tokens > 0;
        if !self.itl.is_zero() {
            for _ in 0..gaps {
                self.at = self.at.saturating_add(self.gap());
            }
        }
        self.at
    }

    /// When all of so many tokens are said, if nothing is told before.
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
    fn tokens_are_due_one_gap_after_the_other() {
        let mut steady = pace("20ms", || 1.0);
        // The role, the first token, the second, an event of three, the end.
        let due: Vec<_> = [0, 1, 1, 3, 0].map(|tokens| steady.due(tokens).as_millis()).into();
        assert_eq!(due, [300, 300, 320, 380, 380]);
        assert_eq!(pace("20ms", || 1.0).total(10).as_millis(), 500);
        assert_eq!(pace("0ms", || 1.0).total(u64::MAX).as_millis(), 300);
    }

    #[test]
    fn a_gap_is_as_long_as_it_is_when_it_begins() {
        let loaded = Arc::new(AtomicBool::new(false));
        let look = Arc::clone(&loaded);
        let mut pace = pace("20ms", move || if look.load(Ordering::Relaxed) { 3.0 } else { 1.0 });
        assert_eq!((pace.due(1).as_millis(), pace.due(1).as_millis()), (300, 320));
        loaded.store(true, Ordering::Relaxed);
        assert_eq!(pace.due(1).as_millis(), 380);
        loaded.store(false, Ordering::Relaxed);
        assert_eq!(pace.due(1).as_millis(), 400);
    }

    proptest! {
        #[test]
        fn a_schedule_never_goes_back_and_has_no_drift(tokens in proptest::collection::vec(0u32..4, 1..200)) {
            let mut pace = pace("20ms±5ms", || 1.0);
            let mut last = Duration::ZERO;
            for tokens in &tokens {
                let due = pace.due(*tokens);
                prop_assert!(due >= last);
                last = due;
            }
            // The same tokens, however they are put into events, are due at the same time.
            let all = tokens.iter().sum();
            let mut whole = self::pace("20ms±5ms", || 1.0);
            prop_assert_eq!(whole.due(all), last);
        }
    }
}
