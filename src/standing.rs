//! Where a client stands with a limit after one decision.

use std::{fmt, time::Duration};

/// The outcome of one admission. Every number that an answer tells about a limit comes from here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Standing {
    /// Whether the request may pass.
    pub admitted: bool,
    /// Requests a minute, which is also the size of the bucket.
    pub limit: u32,
    /// Requests that would be admitted at this very moment.
    pub remaining: u32,
    /// Time until the bucket is full again.
    pub until_full: Duration,
    /// Time until one request would be admitted; zero while any remains.
    pub wait: Duration,
}

impl Standing {
    /// Requests that the bucket is short of.
    pub fn used(&self) -> u32 {
        self.limit - self.remaining
    }

    /// Whole seconds to wait, rounded up and never 0: LiteLLM reads no fractions, and takes 0 for "no cooldown".
    pub fn retry_after_secs(&self) -> u64 {
        (self.wait.as_nanos().div_ceil(1_000_000_000) as u64).max(1)
    }

    /// Milliseconds to wait, rounded up and never 0.
    pub fn retry_after_ms(&self) -> u64 {
        (self.wait.as_nanos().div_ceil(1_000_000) as u64).max(1)
    }
}

/// Writes a duration as Go's `time.Duration` prints it, cut to whole milliseconds: `0s`, `6ms`, `8.64s`, `2m1.016s`,
/// `114h18m0s`. It is how OpenAI spells `x-ratelimit-reset-*`.
pub struct GoDuration(pub Duration);

impl fmt::Display for GoDuration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (secs, millis) = (self.0.as_secs(), self.0.subsec_millis());
        if secs == 0 {
            return if millis == 0 { f.write_str("0s") } else { write!(f, "{millis}ms") };
        }
        let (hours, minutes, secs) = (secs / 3600, secs / 60 % 60, secs % 60);
        if hours > 0 {
            write!(f, "{hours}h")?;
        }
        if hours > 0 || minutes > 0 {
            write!(f, "{minutes}m")?;
        }
        write!(f, "{secs}")?;
        if millis > 0 {
            write!(f, ".{}", format!("{millis:03}").trim_end_matches('0'))?;
        }
        f.write_str("s")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_spelled_as_go_does() {
        // Recorded header values.
        for (millis, spelled) in [
            (0, "0s"),
            (6, "6ms"),
            (120, "120ms"),
            (8_640, "8.64s"),
            (1_000, "1s"),
            (11_054, "11.054s"),
            (60_000, "1m0s"),
            (73_588, "1m13.588s"),
            (121_016, "2m1.016s"),
            (360_000, "6m0s"),
            (1_252_666, "20m52.666s"),
            (411_480_000, "114h18m0s"),
        ] {
            assert_eq!(GoDuration(Duration::from_millis(millis)).to_string(), spelled);
        }
        assert_eq!(GoDuration(Duration::from_micros(6_999)).to_string(), "6ms");
    }

    #[test]
    fn waits_are_rounded_up_to_whole_units_and_never_zero() {
        let standing = |wait| Standing { admitted: false, limit: 1, remaining: 0, until_full: wait, wait };
        assert_eq!(standing(Duration::from_millis(600)).retry_after_secs(), 1);
        assert_eq!(standing(Duration::from_nanos(1_000_000_001)).retry_after_secs(), 2);
        assert_eq!(standing(Duration::from_nanos(600_000_001)).retry_after_ms(), 601);
        assert_eq!(standing(Duration::ZERO).retry_after_secs(), 1);
        assert_eq!(standing(Duration::ZERO).retry_after_ms(), 1);
    }
}
