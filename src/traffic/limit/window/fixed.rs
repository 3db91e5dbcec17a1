//! A fixed window, as in slowapi: it opens at the first hit, and its count ends with it.

use std::time::Duration;

use super::{BucketState, Decision, Quota};
use crate::core::limit_status::LimitStatus;

pub(super) fn decide(Quota { limit, period }: Quota, now: u64, state: BucketState, cost: u32) -> Decision {
    let open = state.at > 0 && now < state.at.saturating_add(period);
    let BucketState { at, used, .. } = if open { state } else { BucketState { at: now, ..BucketState::default() } };
    let too_large = cost > limit;
    let admitted = used.saturating_add(cost) <= limit;
    // A refused hit counts too, and uses up the rest.
    let used = if too_large { used } else { used.saturating_add(cost).min(limit.max(used)) };
    let ends = at.saturating_add(period);
    let until_full = if used == 0 { 0 } else { ends - now };
    let fits = used.saturating_add(cost.max(1)) <= limit;
    let limit_status = LimitStatus {
        limit: limit.into(),
        remaining: limit.saturating_sub(used).into(),
        until_full: Duration::from_nanos(until_full),
        wait: Duration::from_nanos(if fits { 0 } else { until_full }),
        period: Duration::from_nanos(period),
    };
    Decision { admitted, too_large, limit_status, after: BucketState { at, used, before: 0 }, idle_at: ends }
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroU32;

    use super::{
        super::{
            Algorithm, Window,
            tests::{MINUTE, TestBucket},
        },
        *,
    };
    use crate::core::limit_status::Unit;

    #[test]
    fn the_guides_limiter_admits_a_hundred_and_then_none_until_the_window_ends() {
        let mut bucket = TestBucket::new(Window::Fixed, 100, 100);
        let mut batches = Vec::new();
        for _ in 0..13 {
            batches.push((0..600).filter(|_| bucket.charge(1).admitted).count());
            bucket.clock.advance(Duration::from_secs(10));
        }
        assert_eq!(batches, [100, 0, 0, 0, 0, 0, 100, 0, 0, 0, 0, 0, 100]);
    }

    #[test]
    fn a_quota_without_a_period_is_never_refilled() {
        let quota = Quota { limit: 2, period: u64::MAX };
        let algorithm = Algorithm::new(Unit::Requests, Window::Fixed, quota, NonZeroU32::MIN);
        let mut state = BucketState::default();
        for (now, admitted) in [(0, true), (MINUTE, true), (2 * MINUTE, false), (1 << 60, false)] {
            let decision = algorithm.decide(state, now, 1);
            assert_eq!(decision.admitted, admitted);
            assert_eq!(decision.idle_at, u64::MAX);
            state = decision.after;
        }
    }
}
