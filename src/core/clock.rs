//! Time as the fake sees it: real, or moved by hand so that a test need not wait for a limit to refill.

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

/// The wall clock's reading where nothing real is wanted (a seeded or hand-moved run): 2026-01-01T00:00:00Z.
pub const FIXED_EPOCH: Duration = Duration::from_secs(1_767_225_600);

/// The same in RFC 3339.
pub const FIXED_EPOCH_TEXT: &str = "2026-01-01T00:00:00Z";

/// Where the engine reads the time. Cloning gives another handle on the same clock.
#[derive(Clone, Debug)]
pub struct Clock(Source);

#[derive(Clone, Debug)]
enum Source {
    System { start: Instant },
    Manual(ManualClock),
}

impl Clock {
    /// The machine's own clocks.
    pub fn system() -> Self {
        Clock(Source::System { start: Instant::now() })
    }

    /// Time since this clock was made; never goes back.
    pub fn elapsed(&self) -> Duration {
        match &self.0 {
            Source::System { start } => start.elapsed(),
            Source::Manual(clock) => clock.elapsed(),
        }
    }

    /// The time since this clock was made that it was at that moment: it takes no reading of its own. What is moved by
    /// hand tells where it stands.
    pub fn at(&self, moment: Instant) -> Duration {
        match &self.0 {
            Source::System { start } => moment.saturating_duration_since(*start),
            Source::Manual(clock) => clock.elapsed(),
        }
    }

    /// Time since this clock was made, if it is one that is moved by hand.
    pub fn manual_elapsed(&self) -> Option<Duration> {
        match &self.0 {
            Source::System { .. } => None,
            Source::Manual(clock) => Some(clock.elapsed()),
        }
    }

    /// Time since 1970-01-01T00:00:00Z.
    pub fn unix(&self) -> Duration {
        match &self.0 {
            // A machine whose clock stands before 1970 gets 1970, not a panic.
            Source::System { .. } => SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default(),
            Source::Manual(clock) => FIXED_EPOCH + clock.elapsed(),
        }
    }
}

impl Default for Clock {
    fn default() -> Self {
        Clock::system()
    }
}

impl From<ManualClock> for Clock {
    fn from(clock: ManualClock) -> Self {
        Clock(Source::Manual(clock))
    }
}

/// Writes a time since 1970 in RFC 3339, as protocol buffers spell it: `2025-12-31T15:46:13.983958Z`, and without a
/// fraction where that is zero.
pub struct Rfc3339(pub Duration);

impl fmt::Display for Rfc3339 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match UNIX_EPOCH.checked_add(self.0) {
            Some(at) if self.0.subsec_micros() == 0 => humantime::format_rfc3339_seconds(at).fmt(f),
            Some(at) => humantime::format_rfc3339_micros(at).fmt(f),
            None => Err(fmt::Error),
        }
    }
}

/// A clock that stands still until told otherwise.
#[derive(Clone, Debug, Default)]
pub struct ManualClock(Arc<AtomicU64>);

impl ManualClock {
    /// A clock at zero.
    pub fn new() -> Self {
        Self::default()
    }

    /// Moves the clock, and every [`Clock`] made from it, forward.
    pub fn advance(&self, by: Duration) {
        let nanos = u64::try_from(by.as_nanos()).unwrap_or(u64::MAX);
        self.0.fetch_add(nanos, Ordering::SeqCst);
    }

    fn elapsed(&self) -> Duration {
        Duration::from_nanos(self.0.load(Ordering::SeqCst))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_spelled_in_rfc_3339() {
        for (micros, rendered) in [
            (0, "1970-01-01T00:00:00Z"),
            (951_782_399_000_001, "2000-02-28T23:59:59.000001Z"),
            (951_868_799_000_000, "2000-02-29T23:59:59Z"),
            (1_709_251_200_000_000, "2024-03-01T00:00:00Z"),
            (1_767_195_973_983_958, "2025-12-31T15:46:13.983958Z"),
            (1_767_225_600_000_000, "2026-01-01T00:00:00Z"),
            (4_107_542_400_000_000, "2100-03-01T00:00:00Z"),
        ] {
            assert_eq!(Rfc3339(Duration::from_micros(micros)).to_string(), rendered);
        }
    }
}
