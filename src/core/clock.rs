//! Clocks: the system's, and a manual one that a test advances instead of waiting for a limit to refill.

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

/// The wall-clock time at which reproducible runs (seeded, or with a manual clock) start: 2026-01-01T00:00:00Z.
pub const FIXED_EPOCH: Duration = Duration::from_secs(1_767_225_600);

/// [`FIXED_EPOCH`] in RFC 3339.
pub const FIXED_EPOCH_TEXT: &str = "2026-01-01T00:00:00Z";

/// The clock of an engine. A clone is another handle on the same clock.
#[derive(Clone, Debug)]
pub struct Clock(Source);

#[derive(Clone, Debug)]
enum Source {
    System { start: Instant },
    Manual(ManualClock),
}

impl Clock {
    /// Creates a clock that reads the system's clocks.
    pub fn system() -> Self {
        Clock(Source::System { start: Instant::now() })
    }

    /// Time since this clock was created. It is monotonic.
    pub fn elapsed(&self) -> Duration {
        match &self.0 {
            Source::System { start } => start.elapsed(),
            Source::Manual(clock) => clock.elapsed(),
        }
    }

    /// Time from the creation of this clock to `moment`, without reading the system's clock. A manual clock returns its
    /// current time.
    pub fn at(&self, moment: Instant) -> Duration {
        match &self.0 {
            Source::System { start } => moment.saturating_duration_since(*start),
            Source::Manual(clock) => clock.elapsed(),
        }
    }

    /// Time since this clock was created, if it is a manual one.
    pub fn manual_elapsed(&self) -> Option<Duration> {
        match &self.0 {
            Source::System { .. } => None,
            Source::Manual(clock) => Some(clock.elapsed()),
        }
    }

    /// Time since 1970-01-01T00:00:00Z.
    pub fn unix(&self) -> Duration {
        match &self.0 {
            // A system clock before 1970 reads as 1970 and does not panic.
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

/// Time since 1970 that renders in RFC 3339, as in protobuf's JSON: `2025-12-31T15:46:13.983958Z`. A fraction of zero
/// is left out.
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

/// A clock that moves only when [`ManualClock::advance`] is called.
#[derive(Clone, Debug, Default)]
pub struct ManualClock(Arc<AtomicU64>);

impl ManualClock {
    /// Creates a clock at zero.
    pub fn new() -> Self {
        Self::default()
    }

    /// Moves the clock, and every [`Clock`] created from it, forward.
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
    fn times_are_rendered_in_rfc_3339() {
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
