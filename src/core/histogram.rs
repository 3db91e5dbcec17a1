//! A histogram of bounded size and relative precision, shared by threads.

use std::sync::atomic::{AtomicU64, Ordering};

/// Counts of whole numbers, such as times in nanoseconds. Every power of two is cut into 2^`PRECISION` buckets, so a value
/// is known to one part in 2^`PRECISION`: 1/8 for 3, less than 1 % for 7.
pub struct Histogram<const PRECISION: u32> {
    buckets: Box<[AtomicU64]>,
    sum: AtomicU64,
    max: u64,
}

impl<const PRECISION: u32> Histogram<PRECISION> {
    /// Number of buckets in a power of two.
    const PARTS: usize = 1 << PRECISION;

    /// An empty histogram. Values above `max` count as `max`.
    pub fn new(max: u64) -> Self {
        Histogram { buckets: (0..=Self::bucket(max)).map(|_| AtomicU64::new(0)).collect(), sum: AtomicU64::new(0), max }
    }

    /// Counts a value.
    pub fn add(&self, value: u64) {
        let value = value.min(self.max);
        self.buckets[Self::bucket(value)].fetch_add(1, Ordering::Relaxed);
        self.sum.fetch_add(value, Ordering::Relaxed);
    }

    /// Counts a value, where no other thread has the histogram.
    pub fn add_mut(&mut self, value: u64) {
        let value = value.min(self.max);
        *self.buckets[Self::bucket(value)].get_mut() += 1;
        let sum = self.sum.get_mut();
        *sum = sum.wrapping_add(value);
    }

    /// Adds the counts of another histogram with the same `max`.
    pub fn merge(&self, other: &Self) {
        for (own, other) in self.buckets.iter().zip(&other.buckets) {
            own.fetch_add(other.load(Ordering::Relaxed), Ordering::Relaxed);
        }
        self.sum.fetch_add(other.sum(), Ordering::Relaxed);
    }

    /// Returns the counts that came after `earlier`, a copy of this histogram.
    pub fn since(&self, earlier: &Self) -> Self {
        let later = self.clone();
        for (own, earlier) in later.buckets.iter().zip(&earlier.buckets) {
            let count = own.load(Ordering::Relaxed).saturating_sub(earlier.load(Ordering::Relaxed));
            own.store(count, Ordering::Relaxed);
        }
        later.sum.store(self.sum().wrapping_sub(earlier.sum()), Ordering::Relaxed);
        later
    }

    /// Sum of all values, modulo 2^64.
    pub fn sum(&self) -> u64 {
        self.sum.load(Ordering::Relaxed)
    }

    /// Returns the number of values that do not exceed `value`, those in its bucket included.
    pub fn count_to(&self, value: u64) -> u64 {
        let buckets = &self.buckets[..=Self::bucket(value.min(self.max))];
        buckets.iter().map(|bucket| bucket.load(Ordering::Relaxed)).sum()
    }

    /// Number of values.
    pub fn count(&self) -> u64 {
        self.buckets.iter().map(|bucket| bucket.load(Ordering::Relaxed)).sum()
    }

    /// The largest value of the bucket in which `share` of the values, from 0 to 1, is reached. `None` if there are none.
    pub fn quantile(&self, share: f64) -> Option<u64> {
        let counts: Vec<u64> = self.buckets.iter().map(|bucket| bucket.load(Ordering::Relaxed)).collect();
        let rank = ((share * counts.iter().sum::<u64>() as f64).ceil() as u64).max(1);
        let mut below = 0;
        let found = counts.iter().position(|count| {
            below += count;
            below >= rank
        })?;
        Some(Self::lowest(found + 1) - 1)
    }

    /// The bucket of a value: each value has its own at first, then each power of two has as many as the one before.
    fn bucket(value: u64) -> usize {
        let octave = (u64::BITS - value.leading_zeros()).saturating_sub(PRECISION + 1);
        octave as usize * Self::PARTS + (value >> octave) as usize
    }

    /// The smallest value of a bucket.
    fn lowest(bucket: usize) -> u64 {
        let octave = (bucket / Self::PARTS).saturating_sub(1);
        ((bucket - octave * Self::PARTS) as u64) << octave
    }
}

impl<const PRECISION: u32> Clone for Histogram<PRECISION> {
    fn clone(&self) -> Self {
        let copy = Histogram::new(self.max);
        copy.merge(self);
        copy
    }
}

#[cfg(test)]
mod tests {
    use proptest::{collection::vec, prelude::*};

    use super::*;

    const MAX: u64 = (1 << 40) - 1;
    type Fine = Histogram<7>;
    type Coarse = Histogram<3>;

    fn adjacent<const PRECISION: u32>() {
        for n in 0..Histogram::<PRECISION>::bucket(MAX) {
            let (first, next) = (Histogram::<PRECISION>::lowest(n), Histogram::<PRECISION>::lowest(n + 1));
            let bucket = Histogram::<PRECISION>::bucket;
            assert_eq!((bucket(first), bucket(next - 1), bucket(next)), (n, n, n + 1));
            assert!((next - first - 1) << PRECISION <= first, "bucket {n} is too wide");
        }
    }

    #[test]
    fn buckets_are_adjacent_and_narrow() {
        adjacent::<7>();
        adjacent::<3>();
    }

    #[test]
    fn an_empty_histogram_has_no_quantile() {
        assert_eq!((Fine::new(MAX).quantile(0.5), Fine::new(MAX).count()), (None, 0));
    }

    #[test]
    fn the_difference_to_an_earlier_copy_has_the_later_values() {
        let histogram = Coarse::new(MAX);
        (0..100).for_each(|_| histogram.add(10));
        let earlier = histogram.clone();
        (0..10).for_each(|_| histogram.add(1000));
        let later = histogram.since(&earlier);
        assert_eq!((later.count(), later.sum()), (10, 10_000));
        assert!(later.quantile(0.0).unwrap() >= 1000);
        assert_eq!((histogram.count(), earlier.since(&histogram).count()), (110, 0));
    }

    #[test]
    fn values_above_the_maximum_count_as_the_maximum() {
        let histogram = Coarse::new(1 << 34);
        histogram.add(u64::MAX);
        assert_eq!(histogram.count(), 1);
        assert!(histogram.quantile(1.0).unwrap() >= 1 << 34);
    }

    proptest! {
        #[test]
        fn quantiles_are_those_of_the_sorted_values(
            values in vec((0..36_u32, 0..16_u64), 1..300).prop_map(|values| {
                values.into_iter().map(|(octave, sixteenth)| (16 + sixteenth) << octave).collect::<Vec<_>>()
            }),
            split in 0..300_usize,
            share in 0.0..=1.0_f64,
        ) {
            let (whole, rest, coarse) = (Fine::new(MAX), Fine::new(MAX), Coarse::new(MAX));
            for (n, value) in values.iter().enumerate() {
                if n < split { whole.add(*value) } else { rest.add(*value) }
                coarse.add(*value);
            }
            whole.merge(&rest);
            let mut sorted = values;
            sorted.sort_unstable();
            let rank = ((share * sorted.len() as f64).ceil() as usize).max(1);
            let exact = sorted[rank - 1].min(MAX);
            for (found, parts) in [(whole.quantile(share).unwrap(), 128), (coarse.quantile(share).unwrap(), 8)] {
                prop_assert!((exact..=exact + exact / parts).contains(&found), "{found} for {exact}");
            }
        }
    }
}
