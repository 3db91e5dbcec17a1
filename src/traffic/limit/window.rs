//! The algorithms of limits: each computes a decision from the state of a bucket, the time and a cost.
//!
//! An algorithm does not change the bucket, so several limits can decide before any of them is charged.

mod fixed;
mod gcra;
mod sliding;
mod slots;

use std::{num::NonZeroU32, str::FromStr};

use serde::{Deserialize, Serialize, de::IntoDeserializer};

use self::gcra::Gcra;
use crate::core::limit_status::{LimitStatus, Unit};

/// The algorithm of a limit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Window {
    /// A bucket that refills evenly; OpenAI's headers follow its arithmetic
    #[default]
    Gcra,
    /// A window that opens at the first hit; refused hits count
    Fixed,
    /// A sliding window: the window before counts in proportion to its overlap
    Sliding,
}

impl FromStr for Window {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        Window::deserialize(text.into_deserializer()).map_err(|error: serde::de::value::Error| error.to_string())
    }
}

/// The state of one bucket. All zero is an unused bucket; otherwise each algorithm gives the fields its own meaning.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct BucketState {
    /// gcra: the time at which the bucket is full again. fixed, sliding: the time at which the window opened. Zero:
    /// never.
    pub(super) at: u64,
    /// fixed, sliding: the amount used in the window. slots: the number of requests in flight.
    pub(super) used: u32,
    /// sliding: the amount used in the window before.
    pub(super) before: u32,
}

/// The decision of one limit on one request.
#[derive(Clone, Copy, Debug)]
pub(super) struct Decision {
    pub(super) admitted: bool,
    /// True if the cost is more than is ever admitted at once.
    pub(super) too_large: bool,
    /// The status of the limit after the decision.
    pub(super) limit_status: LimitStatus,
    /// The state of the bucket after the decision.
    pub(super) after: BucketState,
    /// Time at which the bucket equals an unused one, in nanoseconds since the clock began.
    pub(super) idle_at: u64,
}

/// An algorithm with its quota.
pub(super) enum Algorithm {
    Gcra(Box<Gcra>),
    Fixed(Quota),
    Sliding(Quota),
    /// Requests in flight.
    Slots(Quota),
}

/// An amount per period.
#[derive(Clone, Copy, Debug)]
pub(super) struct Quota {
    pub(super) limit: u32,
    /// Length in nanoseconds.
    pub(super) period: u64,
}

impl Algorithm {
    /// Selects the algorithm for a unit and a window; `burst` is the most that gcra admits at once.
    pub(super) fn new(unit: Unit, window: Window, quota: Quota, burst: NonZeroU32) -> Self {
        match window {
            _ if unit == Unit::InFlight => Algorithm::Slots(quota),
            Window::Gcra => Algorithm::Gcra(Box::new(Gcra::new(quota, burst))),
            Window::Fixed => Algorithm::Fixed(quota),
            Window::Sliding => Algorithm::Sliding(quota),
        }
    }

    /// Decides whether a bucket in this state admits `cost` at `now`, in nanoseconds since the clock began. A cost of
    /// zero is admitted, and returns the current status.
    pub(super) fn decide(&self, state: BucketState, now: u64, cost: u32) -> Decision {
        // The state uses zero for "never", so the windows count from one.
        let from_one = now.saturating_add(1);
        match self {
            Algorithm::Gcra(gcra) => gcra.decide(state, now, cost),
            Algorithm::Fixed(quota) => fixed::decide(*quota, from_one, state, cost),
            Algorithm::Sliding(quota) => sliding::decide(*quota, from_one, state, cost),
            Algorithm::Slots(quota) => slots::decide(*quota, state, cost),
        }
    }

    /// Replaces the `reserved` charge, made in the window that opened at `opened`, by `spent`.
    pub(super) fn correct(&self, state: BucketState, now: u64, opened: u64, reserved: u32, spent: u32) -> Decision {
        let corrected = |used: u32| used.saturating_sub(reserved).saturating_add(spent);
        let corrected = match self {
            Algorithm::Gcra(gcra) => gcra.correct(state, now, reserved, spent),
            Algorithm::Sliding(quota) if state.at == opened.saturating_add(quota.period) => {
                BucketState { before: corrected(state.before), ..state }
            }
            Algorithm::Fixed(_) | Algorithm::Sliding(_) if state.at == opened => {
                BucketState { used: corrected(state.used), ..state }
            }
            // The charged window is over.
            Algorithm::Fixed(_) | Algorithm::Sliding(_) => state,
            Algorithm::Slots(_) => BucketState { used: corrected(state.used), ..state },
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

    /// One bucket, and the time and cost of everything that it admitted.
    pub(super) struct TestBucket {
        algorithm: Algorithm,
        state: BucketState,
        pub(super) clock: ManualClock,
        pub(super) admitted: Vec<(u64, u32)>,
    }

    impl TestBucket {
        pub(super) fn new(window: Window, limit: u32, burst: u32) -> Self {
            let clock = ManualClock::new();
            let quota = Quota { limit, period: MINUTE };
            let burst = NonZeroU32::new(burst).unwrap();
            let algorithm = Algorithm::new(Unit::Tokens, window, quota, burst);
            TestBucket { algorithm, state: BucketState::default(), clock, admitted: Vec::new() }
        }

        fn now(&self) -> u64 {
            Clock::from(self.clock.clone()).elapsed().as_nanos() as u64
        }

        fn passes(&self, cost: u32) -> bool {
            self.algorithm.decide(self.state, self.now(), cost).admitted
        }

        pub(super) fn charge(&mut self, cost: u32) -> Decision {
            let decision = self.algorithm.decide(self.state, self.now(), cost);
            self.state = decision.after;
            if decision.admitted {
                self.admitted.push((self.now(), cost));
            }
            decision
        }

        /// Returns the most that was admitted in any span beyond the refill in it, in nanoseconds of the quota.
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

    /// Decides by the definition of each algorithm, from the full history.
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
        fn admits_what_its_definition_admits_and_reports_the_true_status(
            window in windows(),
            limit in 1u32..300,
            share in 1u32..=200,
            steps in prop::collection::vec((0u64..9_000_000, 1u32..40, any::<bool>()), 1..120),
        ) {
            let burst = if window == Window::Gcra { (limit * share / 100).max(1) } else { limit };
            let mut bucket = TestBucket::new(window, limit, burst);
            let (mut before, mut idle_at) = (Vec::new(), 0);
            for (micros, cost, obeys) in steps {
                bucket.clock.advance(Duration::from_micros(micros));
                let expected = naive(window, limit, burst, bucket.now(), cost, &before);
                let decision = bucket.charge(cost);
                idle_at = decision.idle_at;
                prop_assert_eq!(decision.admitted, expected);
                prop_assert_eq!(decision.too_large, cost > burst);
                before.push((bucket.now(), cost, decision.admitted));

                let limit_status = decision.limit_status;
                let remaining = u32::try_from(limit_status.remaining).unwrap();
                prop_assert!(remaining == 0 || bucket.passes(remaining));
                prop_assert!(!bucket.passes(remaining + 1));
                prop_assert_eq!(limit_status.wait.is_zero(), bucket.passes(cost.min(burst)));
                if !decision.admitted && !decision.too_large && obeys {
                    bucket.clock.advance(limit_status.wait - Duration::from_nanos(1));
                    prop_assert!(!bucket.passes(cost), "a moment earlier it is refused");
                    bucket.clock.advance(Duration::from_nanos(1));
                    prop_assert!(bucket.passes(cost), "after the reported wait it is admitted");
                }
            }
            // A bucket that is full again, or idle, equals an unused one.
            let state = bucket.state;
            let full = bucket.algorithm.decide(bucket.state, bucket.now(), 0).limit_status.until_full;
            bucket.clock.advance(full + Duration::from_nanos(1));
            prop_assert_eq!(bucket.algorithm.decide(bucket.state, bucket.now(), 0).limit_status.remaining, u64::from(burst));
            bucket.clock.advance(Duration::from_nanos(idle_at.saturating_sub(bucket.now())));
            prop_assert_eq!(bucket.algorithm.decide(state, idle_at, 0).limit_status.remaining, u64::from(burst));
        }

        #[test]
        fn no_span_admits_more_than_burst_and_refill(
            gcra in any::<bool>(),
            limit in 1u32..60,
            pauses in prop::collection::vec(0u64..20_000, 1..150),
        ) {
            let window = if gcra { Window::Gcra } else { Window::Sliding };
            let mut bucket = TestBucket::new(window, limit, limit);
            for pause in pauses {
                bucket.clock.advance(Duration::from_millis(pause));
                while bucket.charge(1).admitted {}
            }
            prop_assert!(bucket.most_beyond_refill(limit) <= u128::from(limit) * u128::from(MINUTE));
        }
    }

    #[test]
    fn a_decision_may_lie_before_the_last_one() {
        for window in [Window::Gcra, Window::Fixed, Window::Sliding] {
            let mut bucket = TestBucket::new(window, 100, 100);
            let (first, later) = (MINUTE, MINUTE + 1_000_000);
            bucket.state = bucket.algorithm.decide(bucket.state, later, 40).after;
            let decision = bucket.algorithm.decide(bucket.state, first, 40);
            // gcra lacks the refill of one moment.
            assert!(
                decision.admitted && (19..=20).contains(&decision.limit_status.remaining),
                "{window:?}: {decision:?}"
            );
            assert!(!bucket.algorithm.decide(decision.after, first, 40).admitted, "{window:?}");
        }
    }

    #[test]
    fn an_excess_reservation_is_returned_once() {
        for window in [Window::Gcra, Window::Fixed, Window::Sliding] {
            let mut bucket = TestBucket::new(window, 100, 100);
            let reserved = bucket.charge(90);
            assert!(!bucket.passes(20));
            let reconciled = |bucket: &TestBucket, spent| {
                let now = bucket.now();
                bucket.algorithm.correct(bucket.state, now, reserved.after.at, 90, spent)
            };
            let returned = reconciled(&bucket, 30);
            assert_eq!(returned.limit_status.remaining, 70, "{window:?}");
            bucket.state = returned.after;
            assert!(bucket.passes(70) && !bucket.passes(71));
            assert_eq!(reconciled(&bucket, 200).limit_status.remaining, 0, "{window:?}: more was spent than reserved");
            // Long after, nothing is returned: a bucket never holds more than its quota.
            bucket.clock.advance(Duration::from_secs(300));
            assert_eq!(reconciled(&bucket, 0).limit_status.remaining, 100, "{window:?}");
        }
    }
}
