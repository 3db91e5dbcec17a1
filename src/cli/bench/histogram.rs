//! A histogram of response times in bounded memory: each bucket is less than 1 % wide.

/// Binary logarithm of the number of buckets in an octave, the times from one power of two to the next.
const PRECISION: u32 = 7;
const OCTAVE: usize = 1 << PRECISION;
/// Longest time in nanoseconds: 18 minutes. Longer times count as this one.
const LONGEST: u64 = (1 << 40) - 1;

/// Counts of times in nanoseconds.
pub(super) struct Histogram {
    buckets: Box<[u64]>,
    count: u64,
}

impl Histogram {
    pub(super) fn new() -> Self {
        Histogram { buckets: vec![0; bucket(LONGEST) + 1].into_boxed_slice(), count: 0 }
    }

    /// Counts a time.
    pub(super) fn add(&mut self, nanos: u64) {
        self.buckets[bucket(nanos.min(LONGEST))] += 1;
        self.count += 1;
    }

    /// Adds the counts of another histogram.
    pub(super) fn merge(&mut self, other: &Histogram) {
        for (own, others) in self.buckets.iter_mut().zip(&other.buckets) {
            *own += others;
        }
        self.count += other.count;
    }

    /// Returns the time, within 1 %, that a share of all times does not exceed; `None` if nothing was counted.
    pub(super) fn quantile(&self, share: f64) -> Option<u64> {
        let rank = ((share * self.count as f64).ceil() as u64).max(1);
        let mut below = 0;
        let found = self.buckets.iter().position(|count| {
            below += count;
            below >= rank
        })?;
        // The middle of the bucket halves the error.
        Some((lowest(found) + lowest(found + 1) - 1) / 2)
    }
}

/// Returns the bucket of a time. Short times have a bucket for each nanosecond, then each octave has equally many.
fn bucket(nanos: u64) -> usize {
    let octave = (u64::BITS - nanos.leading_zeros()).saturating_sub(PRECISION + 1);
    octave as usize * OCTAVE + (nanos >> octave) as usize
}

/// Returns the shortest time of a bucket.
fn lowest(bucket: usize) -> u64 {
    let octave = (bucket / OCTAVE).saturating_sub(1);
    ((bucket - octave * OCTAVE) as u64) << octave
}

#[cfg(test)]
mod tests {
    use proptest::{collection::vec, prelude::*};

    use super::*;

    #[test]
    fn buckets_are_adjacent_and_narrow() {
        for n in 0..bucket(LONGEST) {
            let (first, next) = (lowest(n), lowest(n + 1));
            assert_eq!((bucket(first), bucket(next - 1), bucket(next)), (n, n, n + 1));
            assert!((next - first - 1) as f64 <= first as f64 / 100.0, "bucket {n} is wider than 1 %");
        }
        assert_eq!(Histogram::new().quantile(0.5), None);
    }

    proptest! {
        #[test]
        fn quantiles_are_within_one_percent(
            times in vec((0..36_u32, 0..16_u64), 1..300).prop_map(|times| {
                times.into_iter().map(|(octave, sixteenth)| (16 + sixteenth) << octave).collect::<Vec<_>>()
            }),
            split in 0..300_usize,
            share in 0.0..=1.0_f64,
        ) {
            let (mut whole, mut rest) = (Histogram::new(), Histogram::new());
            for (n, time) in times.iter().enumerate() {
                if n < split { whole.add(*time) } else { rest.add(*time) }
            }
            whole.merge(&rest);
            let mut sorted = times;
            sorted.sort_unstable();
            let rank = ((share * sorted.len() as f64).ceil() as usize).max(1);
            let exact = sorted[rank - 1].min(LONGEST);
            let found = whole.quantile(share).unwrap();
            prop_assert!(found.abs_diff(exact) as f64 <= exact as f64 / 100.0, "{found} for {exact}");
        }
    }
}
