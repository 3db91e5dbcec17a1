//! Histogram of lateness, in constant memory.

use std::{
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

/// Buckets per power of two: a value is accurate to an eighth.
const PARTS: usize = 8;
/// Number of buckets, which reach up to some hours.
const BUCKETS: usize = 32 * PARTS;

/// Counts of times, in microseconds.
pub(crate) struct LatenessHistogram {
    buckets: [AtomicU64; BUCKETS],
}

impl Default for LatenessHistogram {
    fn default() -> Self {
        LatenessHistogram { buckets: [const { AtomicU64::new(0) }; BUCKETS] }
    }
}

impl LatenessHistogram {
    /// Counts a time.
    pub(crate) fn add(&self, late: Duration) {
        let micros = u64::try_from(late.as_micros()).unwrap_or(u64::MAX);
        self.buckets[bucket(micros)].fetch_add(1, Ordering::Relaxed);
    }

    /// Number of times counted.
    pub(crate) fn count(&self) -> u64 {
        self.buckets.iter().map(|bucket| bucket.load(Ordering::Relaxed)).sum()
    }

    /// Returns the quantile `share`, accurate to an eighth; zero if nothing was counted.
    pub(crate) fn quantile(&self, share: f64) -> Duration {
        let counts: Vec<u64> = self.buckets.iter().map(|bucket| bucket.load(Ordering::Relaxed)).collect();
        let rank = (counts.iter().sum::<u64>() as f64 * share).ceil().max(1.0) as u64;
        let mut seen = 0;
        let found = counts.iter().position(|count| {
            seen += count;
            seen >= rank
        });
        found.map_or(Duration::ZERO, |bucket| Duration::from_micros(upper_bound(bucket)))
    }
}

fn bucket(micros: u64) -> usize {
    if micros < PARTS as u64 {
        return micros as usize;
    }
    let power = micros.ilog2() as usize;
    let part = (micros >> (power - 3)) as usize % PARTS;
    ((power - 2) * PARTS + part).min(BUCKETS - 1)
}

/// The largest value of a bucket.
fn upper_bound(bucket: usize) -> u64 {
    match (bucket / PARTS, bucket % PARTS) {
        (0, part) => part as u64,
        (power, part) => ((PARTS + part + 1) as u64).checked_shl(power as u32 - 1).map_or(u64::MAX, |next| next - 1),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_time_is_measured_to_an_eighth(micros in 0u64..1 << 34) {
            let measured = upper_bound(bucket(micros));
            prop_assert!(measured >= micros && measured <= micros + micros / 8, "{} {}", micros, measured);
        }
    }

    #[test]
    fn quantiles_are_those_of_the_counted_times() {
        let lateness = LatenessHistogram::default();
        assert_eq!((lateness.count(), lateness.quantile(0.5)), (0, Duration::ZERO));
        for millis in 1..=100 {
            lateness.add(Duration::from_millis(millis));
        }
        assert_eq!(lateness.count(), 100);
        for (share, millis) in [(0.5, 50), (0.99, 99), (1.0, 100)] {
            let measured = lateness.quantile(share).as_micros() as u64;
            assert!((millis * 1000..=millis * 1125).contains(&measured), "{share}: {measured}");
        }
        lateness.add(Duration::MAX);
        assert!(lateness.quantile(1.0) > Duration::from_secs(3600));
    }
}
