//! Slots that are released: requests in flight.

use std::time::Duration;

use super::{BucketState, Decision, Quota};
use crate::core::limit_status::LimitStatus;

/// The reported wait if all slots are taken. It is a guess, because the end of a response is not known.
const SLOT_WAIT: Duration = Duration::from_secs(1);

pub(super) fn decide(Quota { limit, .. }: Quota, state: BucketState, cost: u32) -> Decision {
    let admitted = state.used.saturating_add(cost) <= limit;
    let used = if admitted { state.used + cost } else { state.used };
    let remaining = limit.saturating_sub(used);
    let wait = if remaining == 0 { SLOT_WAIT } else { Duration::ZERO };
    let limit_status = LimitStatus {
        limit: limit.into(),
        remaining: remaining.into(),
        until_full: wait,
        wait,
        period: Duration::ZERO,
    };
    let idle_at = if used == 0 { 0 } else { u64::MAX };
    Decision {
        admitted,
        too_large: false,
        limit_status,
        after: BucketState { used, ..BucketState::default() },
        idle_at,
    }
}
