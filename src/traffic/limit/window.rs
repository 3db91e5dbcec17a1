//! How a limit counts: each algorithm is a step from a bucket's state, the time and a cost to a verdict.
//!
//! A step changes nothing. So several limits can be asked before any of them is charged.

mod fixed;
mod gcra;
mod sliding;
mod slots;

use std::{num::NonZeroU32, str::FromStr};

use serde::{Deserialize, Serialize, de::IntoDeserializer};

use self::gcra::Gcra;
use crate::core::limit_status::{LimitStatus, Unit};

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
    pub(super) limit_status: LimitStatus,
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
    pub(super) fn new(unit: Unit, window: Window, quota: Quota, burst: NonZeroU32) -> Self {
        match window {
            _ if unit == Unit::InFlight => Meter::Slots(quota),
            // What never refills has one window.
            _ if quota.period == u64::MAX => Meter::Fixed(quota),
            Window::Gcra => Meter::Gcra(Box::new(Gcra::new(quota, burst))),
            Window::Fixed => Meter::Fixed(quota),
            Window::Sliding => Meter::Sliding(quota),
        }
    }

    /// Decides over `cost` of a bucket in this state at `now`, in nanoseconds since the clock began. A cost of zero passes
    /// and tells where the client stands.
    pub(super) fn decide(&self, state: State, now: u64, cost: u32) -> Verdict {
        // Zero stands for "never", so the windows count from one.
        let from_one = now.saturating_add(1);
        match self {
            Meter::Gcra(gcra) => gcra.decide(state, now, cost),
            Meter::Fixed(quota) => fixed::decide(*quota, from_one, state, cost),
            Meter::Sliding(quota) => sliding::decide(*quota, from_one, state, cost),
            Meter::Slots(quota) => slots::decide(*quota, state, cost),
        }
    }

    /// Corrects a bucket that was charged `reserved` in the window that had opened at `opened`, and should have been charged
    /// `spent`.
    pub(super) fn correct(&self, state: State, now: u64, opened: u64, reserved: u32, spent: u32) -> Verdict {
        let corrected = |used: u32| used.saturating_sub(reserved).saturating_add(spent);
        let corrected = match self {
            Meter::Gcra(gcra) => gcra.correct(state, now, reserved, spent),
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

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use proptest::prelude::*;

    use super::*;
    use crate::core::clock::{Clock, ManualClock};

    pub(super) const MINUTE: u64 = 60_000_000_000;

    /// One bucket, and all that was admitted to it: when, and how much.
    pub(super) struct Bucket {
        meter: Meter,
        state: State,
        pub(super) clock: ManualClock,
        pub(super) admitted: Vec<(u64, u32)>,
    }

    impl Bucket {
        pub(super) fn new(window: Window, limit: u32, burst: u32) -> Self {
            let clock = ManualClock::new();
            let quota = Quota { limit, period: MINUTE };
            let burst = NonZeroU32::new(burst).unwrap();
            let meter = Meter::new(Unit::Tokens, window, quota, burst);
            Bucket { meter, state: State::default(), clock, admitted: Vec::new() }
        }

        fn now(&self) -> u64 {
            Clock::from(self.clock.clone()).elapsed().as_nanos() as u64
        }

        fn passes(&self, cost: u32) -> bool {
            self.meter.decide(self.state, self.now(), cost).admitted
        }

        pub(super) fn ask(&mut self, cost: u32) -> Verdict {
            let verdict = self.meter.decide(self.state, self.now(), cost);
            self.state = verdict.after;
            if verdict.admitted {
                self.admitted.push((self.now(), cost));
            }
            verdict
        }

        /// The most that was admitted in any span beyond what refills in it, in nanoseconds of the quota.
        fn most_beyond_refill(&self, limit: u32) -> u128 {
            let spans = (0..self.admitted.len()).flat_map(|first| {
                self.admitted[first..].iter().scan(0u128, move |sum, (at, cost)| {
                    *sum += u128::from(*cost) * u128::from(MINUTE);
                    Some(sum.saturating_sub(u128::from(at - self.admitted[first].0) * u128::from(limit)))
                })
            });
            spans.max().unwrap_or(0)
        }
    }

    /// What each algorithm says, written down as its definition, from all that happened before.
    fn naive(window: Window, limit: u32, burst: u32, now: u64, cost: u32, before: &[(u64, u32, bool)]) -> bool {
        let (now, period, cost) = (u128::from(now), u128::from(MINUTE), u128::from(cost));
        let charged = before.iter().filter(|(_, _, admitted)| *admitted);
        match window {
            Window::Gcra => {
                let interval = (period * u128::from(64u32)).div_ceil(limit.into());
                let full_at = charged.fold(0, |full_at: u128, (at, cost, _)| {
                    full_at.max(u128::from(*at) * 64) + interval * u128::from(*cost)
                });
                full_at.saturating_sub(now * 64) + interval * cost <= interval * u128::from(burst)
            }
            Window::Fixed => {
                let (mut opened, mut used) = (None, 0);
                for (at, cost, admitted) in before.iter().map(|(at, cost, admitted)| (u128::from(*at), *cost, admitted))
                {
                    if opened.is_none_or(|opened| at >= opened + period) {
                        (opened, used) = (Some(at), 0);
                    }
                    match (admitted, cost > limit) {
                        (true, _) => used += u128::from(cost),
                        (false, true) => {}
                        (false, false) => used = limit.into(),
                    }
                }
                let used = if opened.is_some_and(|opened| now < opened + period) { used } else { 0 };
                used + cost <= limit.into()
            }
            Window::Sliding => {
                let (mut opened, mut used, mut overlapping) = (None, 0, 0);
                let roll = |at: u128, opened: &mut Option<u128>, used: &mut u128, overlapping: &mut u128| match *opened
                {
                    Some(start) if at < start + period => {}
                    Some(start) if at < start + 2 * period => {
                        (*opened, *overlapping, *used) = (Some(start + period), *used, 0);
                    }
                    _ => (*opened, *overlapping, *used) = (Some(at), 0, 0),
                };
                for (at, cost, admitted) in before {
                    roll((*at).into(), &mut opened, &mut used, &mut overlapping);
                    used += if *admitted { u128::from(*cost) } else { 0 };
                }
                roll(now, &mut opened, &mut used, &mut overlapping);
                let left = period - (now - opened.unwrap_or(now));
                used + (overlapping * left).div_ceil(period) + cost <= limit.into()
            }
        }
    }

    fn windows() -> impl Strategy<Value = Window> {
        prop_oneof![Just(Window::Gcra), Just(Window::Fixed), Just(Window::Sliding)]
    }

    proptest! {
        #[test]
        fn admits_what_its_definition_admits_and_tells_the_truth(
            window in windows(),
            limit in 1u32..300,
            share in 1u32..=200,
            steps in prop::collection::vec((0u64..9_000_000, 1u32..40, any::<bool>()), 1..120),
        ) {
            let burst = if window == Window::Gcra { (limit * share / 100).max(1) } else { limit };
            let mut bucket = Bucket::new(window, limit, burst);
            let (mut before, mut idle_at) = (Vec::new(), 0);
            for (micros, cost, obeys) in steps {
                bucket.clock.advance(Duration::from_micros(micros));
                let expected = naive(window, limit, burst, bucket.now(), cost, &before);
                let verdict = bucket.ask(cost);
                idle_at = verdict.idle_at;
                prop_assert_eq!(verdict.admitted, expected);
                prop_assert_eq!(verdict.too_large, cost > burst);
                before.push((bucket.now(), cost, verdict.admitted));

                let limit_status = verdict.limit_status;
                let remaining = u32::try_from(limit_status.remaining).unwrap();
                prop_assert!(remaining == 0 || bucket.passes(remaining));
                prop_assert!(!bucket.passes(remaining + 1));
                prop_assert_eq!(limit_status.wait.is_zero(), bucket.passes(cost.min(burst)));
                if !verdict.admitted && !verdict.too_large && obeys {
                    bucket.clock.advance(limit_status.wait - Duration::from_nanos(1));
                    prop_assert!(!bucket.passes(cost), "a moment before it does not");
                    bucket.clock.advance(Duration::from_nanos(1));
                    prop_assert!(bucket.passes(cost), "who waits as told passes");
                }
            }
            // Full again, or idle, it is as good as never used.
            let state = bucket.state;
            let full = bucket.meter.decide(bucket.state, bucket.now(), 0).limit_status.until_full;
            bucket.clock.advance(full + Duration::from_nanos(1));
            prop_assert_eq!(bucket.meter.decide(bucket.state, bucket.now(), 0).limit_status.remaining, u64::from(burst));
            bucket.clock.advance(Duration::from_nanos(idle_at.saturating_sub(bucket.now())));
            prop_assert_eq!(bucket.meter.decide(state, idle_at, 0).limit_status.remaining, u64::from(burst));
        }

        #[test]
        fn over_any_span_no_more_than_burst_and_refill(
            gcra in any::<bool>(),
            limit in 1u32..60,
            pauses in prop::collection::vec(0u64..20_000, 1..150),
        ) {
            let window = if gcra { Window::Gcra } else { Window::Sliding };
            let mut bucket = Bucket::new(window, limit, limit);
            for pause in pauses {
                bucket.clock.advance(Duration::from_millis(pause));
                while bucket.ask(1).admitted {}
            }
            prop_assert!(bucket.most_beyond_refill(limit) <= u128::from(limit) * u128::from(MINUTE));
        }
    }

    #[test]
    fn who_came_first_may_be_decided_over_last() {
        for window in [Window::Gcra, Window::Fixed, Window::Sliding] {
            let mut bucket = Bucket::new(window, 100, 100);
            let (first, later) = (MINUTE, MINUTE + 1_000_000);
            bucket.state = bucket.meter.decide(bucket.state, later, 40).after;
            let verdict = bucket.meter.decide(bucket.state, first, 40);
            // The bucket that refills has a moment less of refill.
            assert!(verdict.admitted && (19..=20).contains(&verdict.limit_status.remaining), "{window:?}: {verdict:?}");
            assert!(!bucket.meter.decide(verdict.after, first, 40).admitted, "{window:?}");
        }
    }

    #[test]
    fn what_was_booked_too_much_is_given_back_once() {
        for window in [Window::Gcra, Window::Fixed, Window::Sliding] {
            let mut bucket = Bucket::new(window, 100, 100);
            let reserved = bucket.ask(90);
            assert!(!bucket.passes(20));
            let settled = |bucket: &Bucket, spent| {
                let now = bucket.now();
                bucket.meter.correct(bucket.state, now, reserved.after.at, 90, spent)
            };
            let given_back = settled(&bucket, 30);
            assert_eq!(given_back.limit_status.remaining, 70, "{window:?}");
            bucket.state = given_back.after;
            assert!(bucket.passes(70) && !bucket.passes(71));
            assert_eq!(settled(&bucket, 200).limit_status.remaining, 0, "{window:?}: more was spent than booked");
            // Long after, there is nothing to give back, and it does not make the bucket more than full.
            bucket.clock.advance(Duration::from_secs(300));
            assert_eq!(settled(&bucket, 0).limit_status.remaining, 100, "{window:?}");
        }
    }
}
