//! The counts of logical calls, their attempts, and the requests of each caller.

use std::ops::AddAssign;

use http::StatusCode;

use crate::core::limit_status::Unit;

/// Upper bounds of the buckets of attempts per call.
pub const ATTEMPT_BOUNDS: [u32; 6] = [1, 2, 3, 4, 6, 10];
/// The units of limits, in the order of [`CallCounts::early_retries`]. Retries after other errors follow them.
pub const UNITS: [Unit; 5] = [Unit::Requests, Unit::Tokens, Unit::InputTokens, Unit::OutputTokens, Unit::InFlight];

/// The counts of logical calls.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CallCounts {
    /// Number of ended calls by attempts: one for each of [`ATTEMPT_BOUNDS`], and one for more attempts.
    pub by_attempts: [u64; ATTEMPT_BOUNDS.len() + 1],
    /// Number of attempts of ended calls.
    pub attempts: u64,
    /// Number of retries before the announced wait was over, by the unit of the limit that refused the attempt before.
    pub early_retries: [u64; UNITS.len() + 1],
    /// Number of ended streams.
    pub streams: u64,
}

impl CallCounts {
    /// Number of ended calls.
    pub fn calls(&self) -> u64 {
        self.by_attempts.iter().sum()
    }

    pub(super) fn add_call(&mut self, attempts: u32) {
        let bucket = ATTEMPT_BOUNDS.iter().position(|bound| attempts <= *bound).unwrap_or(ATTEMPT_BOUNDS.len());
        self.by_attempts[bucket] += 1;
        self.attempts += u64::from(attempts);
    }

    pub(super) fn add_closed(&mut self, is_stream: bool, is_single: bool) {
        self.streams += u64::from(is_stream);
        if is_single {
            self.by_attempts[0] += 1;
            self.attempts += 1;
        }
    }

    pub(super) fn add_early_retries(&mut self, unit: Option<Unit>, count: u64) {
        let known = UNITS.iter().position(|known| Some(*known) == unit);
        self.early_retries[known.unwrap_or(UNITS.len())] += count;
    }
}

impl AddAssign for CallCounts {
    fn add_assign(&mut self, other: CallCounts) {
        self.by_attempts.iter_mut().zip(other.by_attempts).for_each(|(all, own)| *all += own);
        self.early_retries.iter_mut().zip(other.early_retries).for_each(|(all, own)| *all += own);
        self.attempts += other.attempts;
        self.streams += other.streams;
    }
}

/// The counts of one caller's requests.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CallerCounts {
    /// Number of ended requests.
    pub requests: u64,
    /// Number of those with status 429.
    pub refused: u64,
    /// Number of those with another status of 400 or above, or none.
    pub failed: u64,
}

impl CallerCounts {
    /// Counts requests with this status.
    pub(super) fn add(&mut self, status: Option<StatusCode>, requests: u64) {
        self.requests += requests;
        match status.map_or(0, |status| status.as_u16()) {
            429 => self.refused += requests,
            0 | 400.. => self.failed += requests,
            _ => {}
        }
    }
}

impl AddAssign for CallerCounts {
    fn add_assign(&mut self, other: CallerCounts) {
        self.requests += other.requests;
        self.refused += other.refused;
        self.failed += other.failed;
    }
}
