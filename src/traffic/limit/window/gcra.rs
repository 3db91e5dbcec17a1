//! A bucket that refills evenly: the generic cell rate algorithm (GCRA) of the governor crate.
//!
//! Governor decides, but its keyed limiter does not fit as it is, for four reasons:
//! - Several limits decide before any of them is charged. Governor charges while it tests, and has no way back.
//! - Reserved tokens are returned when a response ends. Governor has no refund.
//! - The headers need the time until the bucket is full. Governor's outcome does not contain it.
//! - Buckets live in a bounded table of this crate, or in a store.
//!
//! So this adapter lends governor one bucket for one decision. [`BorrowedState`] is a key that carries the state;
//! [`BorrowedStore`] reads and writes that state, and stores nothing. [`DecisionClock`] returns the time of the
//! decision, which is in a thread-local because governor owns its clock and shares it between threads.

use std::{
    cell::Cell,
    hash::{Hash, Hasher},
    num::NonZeroU32,
    time::Duration,
};

use governor::{RateLimiter, clock, middleware::NoOpMiddleware, nanos::Nanos, state::StateStore};

use super::{BucketState, Decision, Quota};
use crate::core::limit_status::LimitStatus;

/// Ticks per nanosecond; governor takes a tick for its nanosecond. Limits of a hundred million tokens a minute refill
/// one token in less than a microsecond, and rounding that up to a whole nanosecond would refill much too slowly. A
/// `u64` of ticks lasts nine years.
const TICKS: u64 = 64;

thread_local! {
    /// The time of the decision, in ticks since the clock began. It is set, not read from a clock: all limits of a
    /// request decide for the same time, and reading a clock costs as much as deciding.
    static NOW: Cell<u64> = const { Cell::new(0) };
}

/// Governor's clock, set to the time of the decision.
#[derive(Clone)]
struct DecisionClock;

impl clock::Clock for DecisionClock {
    type Instant = Nanos;

    fn now(&self) -> Nanos {
        NOW.get().into()
    }
}

pub(in crate::traffic::limit) struct Gcra {
    limiter: RateLimiter<BorrowedState, BorrowedStore, DecisionClock, NoOpMiddleware<Nanos>>,
    quota: Quota,
    burst: u32,
    /// Time in which one unit is refilled, in ticks.
    interval: u64,
}

impl Gcra {
    pub(super) fn new(quota: Quota, burst: NonZeroU32) -> Self {
        // Rounded up, so never more than the quota is admitted.
        let interval = quota.period.saturating_mul(TICKS).div_ceil(quota.limit.into()).max(1);
        let each = Duration::from_nanos(interval);
        // `None` only for a period of zero, which `max(1)` excludes.
        let rate = governor::Quota::with_period(each).unwrap_or(governor::Quota::per_second(NonZeroU32::MAX));
        // Governor counts from its creation, which must be the zero of the clock.
        NOW.set(0);
        let limiter = RateLimiter::new(rate.allow_burst(burst), BorrowedStore, DecisionClock);
        Gcra { limiter, quota, burst: burst.get(), interval }
    }

    /// Decides whether the bucket admits `cost` at `now`, in nanoseconds since the clock began.
    pub(super) fn decide(&self, state: BucketState, now: u64, cost: u32) -> Decision {
        let now = now.saturating_mul(TICKS);
        NOW.set(now);
        let too_large = cost > self.burst;
        let charged = NonZeroU32::new(cost).filter(|_| !too_large);
        // A request that is not charged is tested for one unit, and the result is dropped.
        let cells = charged.unwrap_or(NonZeroU32::MIN);
        // The state is one tick late, because zero means "never".
        let bucket = BorrowedState { full_at: Cell::new(state.at.checked_sub(1)) };
        let passes = matches!(self.limiter.check_key_n(&bucket, cells), Ok(Ok(())));
        let after = match charged {
            Some(_) => BucketState { at: bucket.full_at.get().map_or(0, |at| at + 1), ..state },
            None => state,
        };
        let missing = after.at.saturating_sub(1).saturating_sub(now);
        let capacity = self.interval * u64::from(self.burst);
        let next = self.interval * u64::from(cost.clamp(1, self.burst));
        let limit_status = LimitStatus {
            limit: self.quota.limit.into(),
            remaining: capacity.saturating_sub(missing) / self.interval,
            until_full: Duration::from_nanos(missing / TICKS),
            wait: Duration::from_nanos((missing + next).saturating_sub(capacity).div_ceil(TICKS)),
            period: Duration::from_nanos(self.quota.period),
        };
        let admitted = if charged.is_some() { passes } else { !too_large };
        Decision { admitted, too_large, limit_status, after, idle_at: (after.at / TICKS).saturating_add(1) }
    }

    pub(super) fn correct(&self, state: BucketState, now: u64, reserved: u32, spent: u32) -> BucketState {
        // A bucket that was removed meanwhile is full.
        let at = if state.at == 0 { now.saturating_mul(TICKS) } else { state.at };
        let more = self.interval.saturating_mul(spent.saturating_sub(reserved).into());
        let less = self.interval.saturating_mul(reserved.saturating_sub(spent).into());
        BucketState { at: at.saturating_add(more).saturating_sub(less), ..state }
    }
}

/// The key that governor sees: it carries the state of one bucket to the decision and back.
#[derive(Clone, PartialEq, Eq)]
struct BorrowedState {
    /// Time at which the bucket is full again, in ticks; `None` if it is full.
    full_at: Cell<Option<u64>>,
}

/// Governor requires a hash of its keys, and never computes one with [`BorrowedStore`].
impl Hash for BorrowedState {
    fn hash<H: Hasher>(&self, _: &mut H) {}
}

/// A store without contents: the state is in the key.
struct BorrowedStore;

impl StateStore for BorrowedStore {
    type Key = BorrowedState;

    fn measure_and_replace<T, F, E>(&self, bucket: &BorrowedState, decide: F) -> Result<T, E>
    where
        F: Fn(Option<Nanos>) -> Result<(T, Nanos), E>,
    {
        let (outcome, after) = decide(bucket.full_at.get().map(Nanos::new))?;
        bucket.full_at.set(Some(after.as_u64()));
        Ok(outcome)
    }
}

#[cfg(test)]
mod tests {
    use super::{
        super::{Window, tests::TestBucket},
        *,
    };

    #[test]
    fn under_overload_it_admits_its_quota_less_one_at_most() {
        for (limit, minutes) in [(7, 100), (100, 30), (9973, 3), (180_000_000, 2)] {
            let cost = (limit / 100).max(1);
            let mut bucket = TestBucket::new(Window::Gcra, limit, limit);
            for _ in 0..minutes * 600 {
                while bucket.charge(cost).admitted {}
                bucket.clock.advance(Duration::from_millis(100));
            }
            let admitted: u64 = bucket.admitted.iter().map(|(_, cost)| u64::from(*cost)).sum();
            // Nothing requests the refill of the last step of the clock.
            let due = u64::from(limit) * (minutes + 1) - u64::from(limit) / 600;
            assert!(admitted <= due + 1 && admitted + u64::from(cost) >= due, "{limit}: {admitted} of {due}");
        }
    }

    #[test]
    fn headers_follow_the_recorded_arithmetic() {
        let go_duration = |duration| crate::core::limit_status::GoDuration(duration).to_string();
        for (limit, cost, reset) in [
            (10_000, 1, "6ms"),
            (5_000, 1, "12ms"),
            (30_000, 1, "2ms"),
            (3_000, 1, "20ms"),
            (500, 1, "120ms"),
            (160_000, 26, "9ms"),
            (5_000_000, 23_749, "284ms"),
        ] {
            let mut bucket = TestBucket::new(Window::Gcra, limit, limit);
            bucket.clock.advance(Duration::from_secs(3600));
            let limit_status = bucket.charge(cost).limit_status;
            assert_eq!(limit_status.remaining, u64::from(limit - cost));
            assert_eq!(go_duration(limit_status.until_full), reset);
        }
        for (used, requested, wait) in [(22_999, 12_528, "11.054s"), (26_713, 7_669, "8.764s")] {
            let mut bucket = TestBucket::new(Window::Gcra, 30_000, 30_000);
            bucket.charge(used);
            let refused = bucket.charge(requested);
            assert!(!refused.admitted);
            assert_eq!(go_duration(refused.limit_status.wait), wait);
        }
    }
}
