//! The bucket that refills evenly: governor's GCRA.

use std::{
    cell::Cell,
    hash::{Hash, Hasher},
    num::NonZeroU32,
    time::Duration,
};

use governor::{RateLimiter, clock, middleware::NoOpMiddleware, nanos::Nanos, state::StateStore};

use super::{Quota, BucketState, Decision};
use crate::core::limit_status::LimitStatus;

/// Governor's nanoseconds are shorter here, so that what is refilled in less than a microsecond (tokens, by the hundred
/// million a minute) is not refilled much too slowly for having been rounded up to a whole one. Nine years fit.
const TICKS: u64 = 64;

thread_local! {
    /// The time that governor is to decide at, in ticks since the clock began. It asks its clock itself, but a request is
    /// decided by all its limits at one time, and reading the clock costs as much as deciding.
    static NOW: Cell<u64> = const { Cell::new(0) };
}

#[derive(Clone)]
struct Ticks;

impl clock::Clock for Ticks {
    type Instant = Nanos;

    fn now(&self) -> Nanos {
        NOW.get().into()
    }
}

pub(in crate::traffic::limit) struct Gcra {
    limiter: RateLimiter<Ticket, Borrowed, Ticks, NoOpMiddleware<Nanos>>,
    quota: Quota,
    burst: u32,
    /// Time in which one is refilled, in ticks.
    interval: u64,
}

impl Gcra {
    pub(super) fn new(quota: Quota, burst: NonZeroU32) -> Self {
        // Rounded up: never more than the quota.
        let interval = quota.period.saturating_mul(TICKS).div_ceil(quota.limit.into()).max(1);
        let each = Duration::from_nanos(interval);
        // It is none only for no time at all.
        let rate = governor::Quota::with_period(each).unwrap_or(governor::Quota::per_second(NonZeroU32::MAX));
        // It counts from when it is made, which is to be when the clock began.
        NOW.set(0);
        let limiter = RateLimiter::new(rate.allow_burst(burst), Borrowed, Ticks);
        Gcra { limiter, quota, burst: burst.get(), interval }
    }

    /// Decides at `now`, in nanoseconds since the clock began.
    pub(super) fn decide(&self, state: BucketState, now: u64, cost: u32) -> Decision {
        let now = now.saturating_mul(TICKS);
        NOW.set(now);
        let too_large = cost > self.burst;
        let asked = NonZeroU32::new(cost).filter(|_| !too_large);
        // What is not to be charged is asked for one, to learn the time that it is.
        let cells = asked.unwrap_or(NonZeroU32::MIN);
        // States are kept one tick late, so that zero can stand for "never".
        let ticket = Ticket { full_at: Cell::new(state.at.checked_sub(1)) };
        let passes = matches!(self.limiter.check_key_n(&ticket, cells), Ok(Ok(())));
        let after = match asked {
            Some(_) => BucketState { at: ticket.full_at.get().map_or(0, |at| at + 1), ..state },
            None => state,
        };
        let missing = after.at.saturating_sub(1).saturating_sub(now);
        let bucket = self.interval * u64::from(self.burst);
        let next = self.interval * u64::from(cost.clamp(1, self.burst));
        let limit_status = LimitStatus {
            limit: self.quota.limit.into(),
            remaining: bucket.saturating_sub(missing) / self.interval,
            until_full: Duration::from_nanos(missing / TICKS),
            wait: Duration::from_nanos((missing + next).saturating_sub(bucket).div_ceil(TICKS)),
            period: Duration::from_nanos(self.quota.period),
        };
        let admitted = if asked.is_some() { passes } else { !too_large };
        Decision { admitted, too_large, limit_status, after, idle_at: (after.at / TICKS).saturating_add(1) }
    }

    pub(super) fn correct(&self, state: BucketState, now: u64, reserved: u32, spent: u32) -> BucketState {
        // A bucket that was forgotten meanwhile is full.
        let at = if state.at == 0 { now.saturating_mul(TICKS) } else { state.at };
        let more = self.interval.saturating_mul(spent.saturating_sub(reserved).into());
        let less = self.interval.saturating_mul(reserved.saturating_sub(spent).into());
        BucketState { at: at.saturating_add(more).saturating_sub(less), ..state }
    }
}

/// What governor takes for a key: it brings the bucket's state along, and takes what was decided back.
#[derive(Clone, PartialEq, Eq)]
struct Ticket {
    /// When the bucket is full again; `None` if it is.
    full_at: Cell<Option<u64>>,
}

impl Hash for Ticket {
    fn hash<H: Hasher>(&self, _: &mut H) {}
}

/// A store that keeps nothing: the state comes and goes with the ticket.
struct Borrowed;

impl StateStore for Borrowed {
    type Key = Ticket;

    fn measure_and_replace<T, F, E>(&self, ticket: &Ticket, decide: F) -> Result<T, E>
    where
        F: Fn(Option<Nanos>) -> Result<(T, Nanos), E>,
    {
        let (outcome, after) = decide(ticket.full_at.get().map(Nanos::new))?;
        ticket.full_at.set(Some(after.as_u64()));
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
    fn at_overload_it_falls_short_by_less_than_one() {
        for (limit, minutes) in [(7, 100), (100, 30), (9973, 3), (180_000_000, 2)] {
            let cost = (limit / 100).max(1);
            let mut bucket = TestBucket::new(Window::Gcra, limit, limit);
            for _ in 0..minutes * 600 {
                while bucket.ask(cost).admitted {}
                bucket.clock.advance(Duration::from_millis(100));
            }
            let admitted: u64 = bucket.admitted.iter().map(|(_, cost)| u64::from(*cost)).sum();
            // The last step of the clock refills what nobody asked for.
            let due = u64::from(limit) * (minutes + 1) - u64::from(limit) / 600;
            assert!(admitted <= due + 1 && admitted + u64::from(cost) >= due, "{limit}: {admitted} of {due}");
        }
    }

    #[test]
    fn headers_follow_the_recorded_arithmetic() {
        let spelled = |duration| crate::core::limit_status::GoDuration(duration).to_string();
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
            let limit_status = bucket.ask(cost).limit_status;
            assert_eq!(limit_status.remaining, u64::from(limit - cost));
            assert_eq!(spelled(limit_status.until_full), reset);
        }
        for (used, requested, wait) in [(22_999, 12_528, "11.054s"), (26_713, 7_669, "8.764s")] {
            let mut bucket = TestBucket::new(Window::Gcra, 30_000, 30_000);
            bucket.ask(used);
            let refused = bucket.ask(requested);
            assert!(!refused.admitted);
            assert_eq!(spelled(refused.limit_status.wait), wait);
        }
    }
}
