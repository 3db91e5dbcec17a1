//! Lateness of timed events, in bounded memory.

use std::time::Duration;

use crate::core::histogram::Histogram;

/// Longest time that is counted as it is: 4.8 hours, in microseconds.
const LONGEST: u64 = 1 << 34;

/// Counts of times in microseconds, each known to an eighth.
#[derive(Clone)]
pub(crate) struct LatenessHistogram(Histogram<3>);

impl Default for LatenessHistogram {
    fn default() -> Self {
        LatenessHistogram(Histogram::new(LONGEST))
    }
}

impl LatenessHistogram {
    /// Counts a time.
    pub(crate) fn add(&self, late: Duration) {
        self.0.add(u64::try_from(late.as_micros()).unwrap_or(u64::MAX));
    }

    /// Returns the times that came after `earlier`, a copy of this histogram.
    pub(crate) fn since(&self, earlier: &Self) -> Self {
        LatenessHistogram(self.0.since(&earlier.0))
    }

    /// Number of times.
    pub(crate) fn count(&self) -> u64 {
        self.0.count()
    }

    /// Time that `share` of all times do not exceed. Zero if there are none.
    pub(crate) fn quantile(&self, share: f64) -> Duration {
        self.0.quantile(share).map_or(Duration::ZERO, Duration::from_micros)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_times_within_an_eighth() {
        let lateness = LatenessHistogram::default();
        assert_eq!((lateness.count(), lateness.quantile(0.5)), (0, Duration::ZERO));
        for millis in 1..=100 {
            lateness.add(Duration::from_millis(millis));
        }
        assert_eq!(lateness.count(), 100);
        for (share, millis) in [(0.5, 50), (0.99, 99), (1.0, 100)] {
            let found = lateness.quantile(share).as_micros() as u64;
            assert!((millis * 1000..=millis * 1125).contains(&found), "{share}: {found}");
        }
        lateness.add(Duration::MAX);
        assert!(lateness.quantile(1.0) > Duration::from_secs(3600));
    }
}
