//! Places that are given back: requests in flight.

use std::time::Duration;

use super::{Quota, State, Verdict};
use crate::core::limit_status::LimitStatus;

/// A second is as good a guess as any for when a request in flight ends.
const SLOT_WAIT: Duration = Duration::from_secs(1);

pub(super) fn decide(Quota { limit, .. }: Quota, state: State, cost: u32) -> Verdict {
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
    Verdict { admitted, too_large: false, limit_status, after: State { used, ..State::default() }, idle_at }
}
