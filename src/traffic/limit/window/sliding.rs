//! A sliding window: the window before counts in proportion to its overlap with the last period.

use std::time::Duration;

use super::{BucketState, Decision, Quota};
use crate::core::limit_status::LimitStatus;

pub(super) fn decide(Quota { limit, period }: Quota, now: u64, state: BucketState, cost: u32) -> Decision {
    let BucketState { at, used, before } = match now.saturating_sub(state.at) {
        _ if state.at == 0 => BucketState { at: now, ..BucketState::default() },
        age if age < period => state,
        age if age < period.saturating_mul(2) => BucketState { at: state.at + period, used: 0, before: state.used },
        _ => BucketState { at: now, ..BucketState::default() },
    };
    // A request that arrived later may have been decided first, and opened the window.
    let elapsed = now.saturating_sub(at);
    // Rounded up, so the overlap is never underestimated.
    let overlap = (u128::from(before) * u128::from(period - elapsed)).div_ceil(u128::from(period)) as u32;
    let admitted = used.saturating_add(overlap).saturating_add(cost) <= limit;
    let used = if admitted { used + cost } else { used };
    let taken = used.saturating_add(overlap);

    // Time from the start of a window until the `counted` amount of the window before has shrunk to `room`.
    let next = cost.clamp(1, limit);
    let shrunk = |counted: u32, room: u32| match counted {
        counted if counted <= room => 0,
        counted => period - (u128::from(room) * u128::from(period) / u128::from(counted)) as u64,
    };
    let wait = match limit.checked_sub(used.saturating_add(next)) {
        Some(room) => shrunk(before, room).saturating_sub(elapsed),
        None => period - elapsed + shrunk(used, limit - next),
    };
    let until_full = match (used, before) {
        (0, 0) => 0,
        (0, _) => period - elapsed,
        _ => 2 * period - elapsed,
    };
    let limit_status = LimitStatus {
        limit: limit.into(),
        remaining: limit.saturating_sub(taken).into(),
        until_full: Duration::from_nanos(until_full),
        wait: Duration::from_nanos(wait),
        period: Duration::from_nanos(period),
    };
    let after = BucketState { at, used, before };
    Decision { admitted, too_large: cost > limit, limit_status, after, idle_at: at.saturating_add(2 * period) }
}
