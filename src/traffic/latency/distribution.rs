//! Distributions of times.

mod parse;

use std::{fmt, time::Duration};

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::{
    normal::score,
    span::{Decimal, Span},
    text,
};
use crate::core::random::Random;

/// The distribution of a time.
///
/// It is parsed from one text, and displayed in the same form:
///
/// | text | meaning |
/// |---|---|
/// | `300ms` | constant |
/// | `300ms±50ms`, or typed `300ms+-50ms` | normal: mean and standard deviation; cut off at 0 and at twice the mean |
/// | `uniform(100ms,500ms)` | uniform between the two times |
/// | `lognormal(p50=300ms,p99=2s)` | log-normal with these two quantiles |
/// | `p50=300ms,p90=800ms,p99=2s` | a distribution with these quantiles, 2 to 50: see below |
/// | `ramp(A,B)` | A at the beginning, B at the end, a linear mix in between; A and B are any of the above |
///
/// A time has a unit, may have decimals, and is at most an hour: `1.5s`, `0.3ms`, `20us`. Blanks around every part are
/// allowed. NN % of all draws are below the quantile pNN. NN is above 0 and below 100, with at most three decimals.
/// Quantiles are in ascending order.
///
/// Between given quantiles, the logarithm of the time is linear in the normal score of the share: two quantiles alone
/// would be log-normal. Beyond the first and the last, the line of the nearest two continues, down to a quarter of the
/// first and up to four times the last. No time exceeds an hour.
///
/// A ramp of two lists is split at the comma that leaves a list on either side, such as before the second p50 in
/// `ramp(p50=1s,p99=2s,p50=3s,p99=9s)`.
#[derive(Clone, Debug, PartialEq)]
pub struct Distribution {
    law: Law,
    /// The end of a ramp.
    end: Option<Law>,
}

/// A distribution that does not change with progress.
#[derive(Clone, Debug, PartialEq)]
enum Law {
    Constant(Duration),
    Normal {
        mean: Duration,
        /// At most the mean.
        deviation: Duration,
    },
    Uniform {
        from: Duration,
        to: Duration,
    },
    LogNormal([Quantile; 2]),
    /// At least two.
    Quantiles(Vec<Quantile>),
}

/// A given quantile. In a list, shares rise and times do not fall. No time is zero.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Quantile {
    /// The share of draws below, in hundred-thousandths: 50,000 for p50. With finer shares, the scores of two quantiles
    /// could be equal.
    share: u32,
    time: Duration,
    /// The normal score of the share.
    score: f64,
    /// The logarithm of the time in nanoseconds.
    ln: f64,
}

/// Unit of the share of a [`Quantile`]: 1 is one part of this many.
const SHARE_PARTS: u32 = 100_000;
/// The smallest and the largest share that are used: half of the smallest value of [`Random::unit`] above zero, and its
/// largest value.
const SHARE_BOUNDS: [f64; 2] = [f64::EPSILON / 4.0, 1.0 - f64::EPSILON / 2.0];
/// Factor by which a list continues beyond its first and last quantile.
const TAIL_FACTOR: f64 = 4.0;
/// Maximum of every draw, in nanoseconds.
const MAX_NANOS: f64 = Span::MAX.as_nanos() as f64;

impl Distribution {
    /// Returns the time below which the share `p` of all draws lies, at this progress (see
    /// [`Distribution::sample_at`]). `p` is at least 0 and below 1. The time does not fall as `p` rises, and is at most
    /// an hour.
    pub fn quantile_at(&self, p: f64, progress: f64) -> Duration {
        let p = p.clamp(SHARE_BOUNDS[0], SHARE_BOUNDS[1]);
        let mut nanos = self.law.nanos(p);
        if let Some(end) = &self.end {
            // NaN counts as the beginning.
            let progress = if progress > 0.0 { progress.min(1.0) } else { 0.0 };
            nanos = nanos * (1.0 - progress) + end.nanos(p) * progress;
        }
        Duration::from_nanos(nanos.round() as u64)
    }

    /// Draws a time. `progress` is that of a ramp, from 0 to 1; other distributions ignore it. Each draw takes one
    /// random number.
    pub fn sample_at(&self, random: &mut Random, progress: f64) -> Duration {
        self.quantile_at(random.unit(), progress)
    }

    /// Returns true if it changes with progress.
    pub fn is_ramp(&self) -> bool {
        self.end.is_some()
    }

    /// Returns true if every draw is zero.
    pub fn is_zero(&self) -> bool {
        self.law.is_zero() && self.end.as_ref().is_none_or(Law::is_zero)
    }
}

impl Default for Distribution {
    /// Returns the constant zero.
    fn default() -> Self {
        Distribution { law: Law::Constant(Duration::ZERO), end: None }
    }
}

impl Law {
    /// Returns the quantile in nanoseconds, for a `p` within [`SHARE_BOUNDS`].
    fn nanos(&self, p: f64) -> f64 {
        let nanos = match self {
            Law::Constant(time) => nanos(*time),
            Law::Normal { mean, deviation } => {
                let mean = nanos(*mean);
                (mean + nanos(*deviation) * score(p)).clamp(0.0, 2.0 * mean)
            }
            Law::Uniform { from, to } => nanos(*from) + nanos(*to - *from) * p,
            Law::LogNormal(points) => ln_time_at(points, score(p)).exp(),
            Law::Quantiles(points) => {
                let [least, most] = [points[0], points[points.len() - 1]].map(|point| nanos(point.time));
                ln_time_at(points, score(p)).exp().clamp(least / TAIL_FACTOR, most * TAIL_FACTOR)
            }
        };
        nanos.min(MAX_NANOS)
    }

    fn is_zero(&self) -> bool {
        match self {
            Law::Constant(time) | Law::Normal { mean: time, .. } | Law::Uniform { to: time, .. } => time.is_zero(),
            Law::LogNormal(_) | Law::Quantiles(_) => false,
        }
    }
}

/// Converts a time to nanoseconds; exact up to a hundred days.
fn nanos(time: Duration) -> f64 {
    time.as_nanos() as f64
}

/// Returns the logarithm of the time at a normal score, on the line through the two nearest quantiles.
fn ln_time_at(points: &[Quantile], score: f64) -> f64 {
    let next = points.partition_point(|point| point.score <= score).clamp(1, points.len() - 1);
    let [a, b] = [points[next - 1], points[next]];
    a.ln + (b.ln - a.ln) * ((score - a.score) / (b.score - a.score))
}

impl Quantile {
    fn new(share: u32, time: Duration) -> Self {
        let score = score(f64::from(share) / f64::from(SHARE_PARTS));
        Quantile { share, time, score, ln: nanos(time).ln() }
    }

    /// Returns its name, such as `p99.9`.
    fn name(&self) -> String {
        format!("p{}", Decimal(self.share.into(), u64::from(SHARE_PARTS) / 100))
    }
}

impl fmt::Display for Distribution {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.end {
            None => self.law.fmt(f),
            Some(end) => write!(f, "ramp({},{end})", self.law),
        }
    }
}

impl fmt::Display for Law {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Law::Constant(time) => Span(*time).fmt(f),
            Law::Normal { mean, deviation } => write!(f, "{}±{}", Span(*mean), Span(*deviation)),
            Law::Uniform { from, to } => write!(f, "uniform({},{})", Span(*from), Span(*to)),
            Law::LogNormal([a, b]) => write!(f, "lognormal({a},{b})"),
            Law::Quantiles(points) => {
                for (n, point) in points.iter().enumerate() {
                    write!(f, "{}{point}", if n == 0 { "" } else { "," })?;
                }
                Ok(())
            }
        }
    }
}

impl fmt::Display for Quantile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}={}", self.name(), Span(self.time))
    }
}

impl Serialize for Distribution {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Distribution {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        text::deserialize(deserializer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Distribution {
        text.parse().unwrap_or_else(|problem| panic!("{problem}"))
    }

    /// Quantiles in nanoseconds.
    fn quantiles<const N: usize>(text: &str, ps: [f64; N]) -> [u128; N] {
        ps.map(|p| read(text).quantile_at(p, 0.0).as_nanos())
    }

    #[test]
    fn quantiles_match_values_computed_by_hand() {
        const MS: u128 = 1_000_000;
        assert_eq!(quantiles("300ms", [0.0, 0.5, 0.999]), [300 * MS; 3]);
        // 300 + 50 · -1.2815516, 0, 1, 1.9599640.
        assert_eq!(
            quantiles("300ms±50ms", [0.1, 0.5, 0.841_344_746_068_542_9, 0.975]),
            [235_922_422, 300 * MS, 350 * MS, 397_998_199]
        );
        assert_eq!(quantiles("300ms±300ms", [0.0, 0.15, 0.85, 1.0]), [0, 0, 600 * MS, 600 * MS], "it is truncated");
        assert_eq!(quantiles("uniform(100ms,500ms)", [0.0, 0.25, 0.5, 1.0]), [100, 200, 300, 500].map(|n| n * MS));
        // σ = ln(2 / 0.3) / 2.3263479 = 0.8155; 300 · e^(σ z).
        assert_eq!(
            quantiles("lognormal(p50=300ms,p99=2s)", [0.01, 0.5, 0.9, 0.99, 0.999]),
            [45 * MS, 300 * MS, 853_101_535, 2000 * MS, 3_728_811_124]
        );
        // p75: a line from (0, ln 300) to (1.2815516, ln 800), at 0.6744898; p95 and p99.9 with (2.3263479, ln 2000).
        assert_eq!(
            quantiles("p50=300ms,p90=800ms,p99=2s", [0.1, 0.25, 0.75, 0.95, 0.999, 0.9999]),
            [112_500_000, 179_032_084, 502_703_193, 1_100_180_080, 3_908_200_438, 6_783_704_756]
        );
    }

    #[test]
    fn a_list_has_its_quantiles_and_bounded_tails() {
        let list = "p0.1=1.234567891s,p50=1.3s,p50.001=1.300000001s,p97.125=2s,p99.999=2s";
        let ps = [0.001, 0.5, 0.500_01, 0.971_25, 0.999_99];
        assert_eq!(quantiles(list, ps), [1_234_567_891, 1_300_000_000, 1_300_000_001, 2_000_000_000, 2_000_000_000]);
        let steep = "p49=1ms,p50=100ms,p51=1s";
        assert_eq!(quantiles(steep, [0.0, 0.3, 0.7, 1.0]), [250_000, 250_000, 4_000_000_000, 4_000_000_000]);
        // A log-normal distribution has no bound but the hour.
        assert_eq!(quantiles("lognormal(p49=1ms,p50=100ms)", [0.0, 1.0]), [0, 3_600_000_000_000]);
        assert_eq!(quantiles("p50=30m,p90=1h", [1.0]), [3_600_000_000_000]);
    }

    #[test]
    fn a_ramp_mixes_its_beginning_and_end() {
        let ramp = read("ramp(100ms,uniform(300ms,500ms))");
        let at = |progress| ramp.quantile_at(0.5, progress).as_millis();
        assert_eq!([0.0, 0.25, 0.5, 1.0].map(at), [100, 175, 250, 400]);
        assert_eq!([-1.0, f64::NAN, 2.0, f64::INFINITY].map(at), [100, 100, 400, 400]);
        let steady = read("uniform(300ms,500ms)");
        assert_eq!(steady.quantile_at(0.5, 0.0), steady.quantile_at(0.5, 1.0));
        // One side has no bound but the hour.
        let wild = read("ramp(lognormal(p50=1ns,p50.001=1h),0s)");
        assert_eq!(wild.quantile_at(1.0, 1.0), Duration::ZERO);
        assert_eq!(wild.quantile_at(1.0, 0.5), Duration::from_secs(1800));
    }

    #[test]
    fn draws_have_the_given_quantiles() {
        const DRAWS: usize = 100_000;
        for text in [
            "300ms",
            "300ms±50ms",
            "uniform(100ms,500ms)",
            "lognormal(p50=300ms,p99=2s)",
            "p50=300ms,p90=800ms,p99=2s",
            "ramp(p10=5ms,p90=20ms,lognormal(p50=300ms,p99=2s))",
        ] {
            let (law, mut random) = (read(text), Random::seeded(7));
            let mut draws: Vec<_> = (0..DRAWS).map(|_| law.sample_at(&mut random, 0.3)).collect();
            draws.sort();
            for p in [0.01, 0.1, 0.25, 0.5, 0.75, 0.9, 0.99] {
                let drawn = draws[(p * DRAWS as f64) as usize];
                // The standard deviation of the share of draws below is √(p (1 - p) / n); four of it on either side.
                let slack = 4.0 * (p * (1.0 - p) / DRAWS as f64).sqrt();
                let (least, most) = (law.quantile_at(p - slack, 0.3), law.quantile_at(p + slack, 0.3));
                assert!((least..=most).contains(&drawn), "{text} p{p}: {drawn:?} is not in {least:?}..={most:?}");
            }
        }
    }

    #[test]
    fn is_zero_holds_only_if_every_draw_is_zero() {
        for text in ["0s", "0", "0ms±0s", "uniform(0s,0s)", "ramp(0s,0s)"] {
            assert!(read(text).is_zero(), "{text}");
            assert_eq!(read(text).quantile_at(1.0, 1.0), Duration::ZERO);
        }
        for text in ["1ns", "1ns±1ns", "uniform(0s,1ns)", "ramp(0s,1ms)", "ramp(1ms,0s)", "p1=1ns,p2=1ns"] {
            assert!(!read(text).is_zero(), "{text}");
        }
        assert!(Distribution::default().is_zero());
        assert_eq!(read("300ms").quantile_at(f64::NAN, f64::NAN), Duration::from_millis(300));
    }
}
