//! A window that slides: the one before counts for as much of it as still overlaps.

use std::time::Duration;

use super::{Quota, State, Verdict};
use crate::core::limit_status::LimitStatus;

pub(super) fn decide(Quota { limit, period }: Quota, now: u64, state: State, cost: u32) -> Verdict {
    let State { at, used, before } = match now.saturating_sub(state.at) {
        _ if state.at == 0 => State { at: now, ..State::default() },
        age if age < period => state,
        age if age < period.saturating_mul(2) => State { at: state.at + period, used: 0, before: state.used },
        _ => State { at: now, ..State::default() },
    };
    // It may have been opened by one that came later, and was decided over first.
    let elapsed = now.saturating_sub(at);
    // Rounded up: what overlaps is never taken for less.
    let overlap = (u128::from(before) * u128::from(period - elapsed)).div_ceil(u128::from(period)) as u32;
    let admitted = used.saturating_add(overlap).saturating_add(cost) <= limit;
    let used = if admitted { used + cost } else { used };
    let taken = used.saturating_add(overlap);

    // The first moment of a window at which the `counted` of the window before leave room for `next`.
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
    let after = State { at, used, before };
    Verdict { admitted, too_large: cost > limit, limit_status, after, idle_at: at.saturating_add(2 * period) }
}
