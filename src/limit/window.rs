//! How a limit counts: each algorithm is a step from a bucket's state, the time and a cost to a verdict.
//!
//! A step changes nothing. So several limits can be asked before any of them is charged.

mod gcra;
mod tests;

use std::{num::NonZeroU32, str::FromStr, time::Duration};

use serde::{Deserialize, Serialize, de::IntoDeserializer};

use self::gcra::Gcra;
use crate::{
    clock::Clock,
    standing::{Standing, Unit},
};

/// The algorithms there are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Window {
    /// A bucket that refills evenly; OpenAI's headers follow its arithmetic
    #[default]
    Gcra,
    /// A window that opens at the first hit and ends all at once; refused hits count
    Fixed,
    /// The window before counts for as much of it as still overlaps
    Sliding,
}

impl FromStr for Window {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        Window::deserialize(text.into_deserializer()).map_err(|error: serde::de::value::Error| error.to_string())
    }
}

/// What is remembered of one bucket. All zero is a bucket never used; else the meaning is the algorithm's own.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct State {
    /// gcra: when the bucket is full again. fixed, sliding: when the window opened. Zero for never.
    pub(super) at: u64,
    /// fixed, sliding: what was taken in the window. Of requests in flight: how many there are.
    pub(super) used: u32,
    /// sliding: what was taken in the window before.
    pub(super) before: u32,
}

/// What a limit says to one request.
#[derive(Clone, Copy, Debug)]
pub(super) struct Verdict {
    pub(super) admitted: bool,
    /// Whether it is more than is ever admitted at once.
    pub(super) too_large: bool,
    /// Where the client stands then.
    pub(super) standing: Standing,
    /// The bucket then.
    pub(super) after: State,
    /// When the bucket is as good as never used, in nanoseconds since the clock began.
    pub(super) idle_at: u64,
}

/// A quota, and the algorithm that keeps it.
pub(super) enum Meter {
    Gcra(Box<Gcra>),
    Fixed(Quota),
    Sliding(Quota),
    Slots(Quota),
}

/// So much in every period.
#[derive(Clone, Copy, Debug)]
pub(super) struct Quota {
    pub(super) limit: u32,
    /// In nanoseconds; `u64::MAX` is for ever.
    pub(super) period: u64,
}

impl Meter {
    /// `limit` of `unit` in every `period`; at once, gcra admits `burst`.
    pub(super) fn new(unit: Unit, window: Window, quota: Quota, burst: NonZeroU32, clock: Clock) -> Self {
        match window {
            _ if unit == Unit::InFlight => Meter::Slots(quota),
            // What never refills has one window.
            _ if quota.period == u64::MAX => Meter::Fixed(quota),
            Window::Gcra => Meter::Gcra(Box::new(Gcra::new(quota, burst, clock))),
            Window::Fixed => Meter::Fixed(quota),
            Window::Sliding => Meter::Sliding(quota),
        }
    }

    /// Decides over `cost` of a bucket in this state at `now`, in nanoseconds since the clock began. A cost of zero passes
    /// and tells where the client stands.
    pub(super) fn decide(&self, state: State, now: u64, cost: u32) -> Verdict {
        // Zero stands for "never", so the windows count from one.
        let now = now.saturating_add(1);
        match self {
            Meter::Gcra(gcra) => gcra.decide(state, cost),
            Meter::Fixed(quota) => fixed(*quota, now, state, cost),
            Meter::Sliding(quota) => sliding(*quota, now, state, cost),
            Meter::Slots(quota) => slots(*quota, state, cost),
        }
    }

    /// Corrects a bucket that was charged `booked` in the window that had opened at `opened`, and should have been charged
    /// `spent`.
    pub(super) fn correct(&self, state: State, now: u64, opened: u64, booked: u32, spent: u32) -> Verdict {
        let corrected = |used: u32| used.saturating_sub(booked).saturating_add(spent);
        let corrected = match self {
            Meter::Gcra(gcra) => gcra.correct(state, now, booked, spent),
            Meter::Sliding(quota) if state.at == opened.saturating_add(quota.period) => {
                State { before: corrected(state.before), ..state }
            }
            Meter::Fixed(_) | Meter::Sliding(_) if state.at == opened => State { used: corrected(state.used), ..state },
            // The window that was charged is over.
            Meter::Fixed(_) | Meter::Sliding(_) => state,
            Meter::Slots(_) => State { used: corrected(state.used), ..state },
        };
        self.decide(corrected, now, 0)
    }
}

fn fixed(Quota { limit, period }: Quota, now: u64, state: State, cost: u32) -> Verdict {
    let open = state.at > 0 && now < state.at.saturating_add(period);
    let State { at, used, .. } = if open { state } else { State { at: now, ..State::default() } };
    let too_large = cost > limit;
    let admitted = used.saturating_add(cost) <= limit;
    // A refused hit counts too, and takes what was left.
    let used = if too_large { used } else { used.saturating_add(cost).min(limit.max(used)) };
    let ends = at.saturating_add(period);
    let until_full = if used == 0 { 0 } else { ends - now };
    let fits = used.saturating_add(cost.max(1)) <= limit;
    let standing = Standing {
        limit: limit.into(),
        remaining: limit.saturating_sub(used).into(),
        until_full: Duration::from_nanos(until_full),
        wait: Duration::from_nanos(if fits { 0 } else { until_full }),
        period: Duration::from_nanos(period),
    };
    Verdict { admitted, too_large, standing, after: State { at, used, before: 0 }, idle_at: ends }
}

fn sliding(Quota { limit, period }: Quota, now: u64, state: State, cost: u32) -> Verdict {
    let State { at, used, before } = match now.saturating_sub(state.at) {
        _ if state.at == 0 => State { at: now, ..State::default() },
        age if age < period => state,
        age if age < period.saturating_mul(2) => State { at: state.at + period, used: 0, before: state.used },
        _ => State { at: now, ..State::default() },
    };
    let elapsed = now - at;
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
    let standing = Standing {
        limit: limit.into(),
        remaining: limit.saturating_sub(taken).into(),
        until_full: Duration::from_nanos(until_full),
        wait: Duration::from_nanos(wait),
        period: Duration::from_nanos(period),
    };
    let after = State { at, used, before };
    Verdict { admitted, too_large: cost > limit, standing, after, idle_at: at.saturating_add(2 * period) }
}

/// A second is as good a guess as any for when a request in flight ends.
const SLOT_WAIT: Duration = Duration::from_secs(1);

fn slots(Quota { limit, .. }: Quota, state: State, cost: u32) -> Verdict {
    let admitted = state.used.saturating_add(cost) <= limit;
    let used = if admitted { state.used + cost } else { state.used };
    let remaining = limit.saturating_sub(used);
    let wait = if remaining == 0 { SLOT_WAIT } else { Duration::ZERO };
    let standing =
        Standing { limit: limit.into(), remaining: remaining.into(), until_full: wait, wait, period: Duration::ZERO };
    let idle_at = if used == 0 { 0 } else { u64::MAX };
    Verdict { admitted, too_large: false, standing, after: State { used, ..State::default() }, idle_at }
}
