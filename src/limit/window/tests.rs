#![cfg(test)]

use proptest::prelude::*;

use super::*;
use crate::clock::ManualClock;

const MINUTE: u64 = 60_000_000_000;

/// One bucket, and all that was admitted to it: when, and how much.
struct Bucket {
    meter: Meter,
    state: State,
    clock: ManualClock,
    admitted: Vec<(u64, u32)>,
}

impl Bucket {
    fn new(window: Window, limit: u32, burst: u32) -> Self {
        let clock = ManualClock::new();
        let quota = Quota { limit, period: MINUTE };
        let burst = NonZeroU32::new(burst).unwrap();
        let meter = Meter::new(Unit::Tokens, window, quota, burst, clock.clone().into());
        Bucket { meter, state: State::default(), clock, admitted: Vec::new() }
    }

    fn now(&self) -> u64 {
        Clock::from(self.clock.clone()).elapsed().as_nanos() as u64
    }

    fn passes(&self, cost: u32) -> bool {
        self.meter.decide(self.state, self.now(), cost).admitted
    }

    fn ask(&mut self, cost: u32) -> Verdict {
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
            for (at, cost, admitted) in before.iter().map(|(at, cost, admitted)| (u128::from(*at), *cost, admitted)) {
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
            let roll = |at: u128, opened: &mut Option<u128>, used: &mut u128, overlapping: &mut u128| match *opened {
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

            let standing = verdict.standing;
            let remaining = u32::try_from(standing.remaining).unwrap();
            prop_assert!(remaining == 0 || bucket.passes(remaining));
            prop_assert!(!bucket.passes(remaining + 1));
            prop_assert_eq!(standing.wait.is_zero(), bucket.passes(cost.min(burst)));
            if !verdict.admitted && !verdict.too_large && obeys {
                let just_before = bucket.now() + standing.wait.as_nanos() as u64 - 2;
                prop_assert!(!bucket.meter.decide(bucket.state, just_before, cost).admitted || window == Window::Gcra);
                bucket.clock.advance(standing.wait);
                prop_assert!(bucket.passes(cost), "who waits as told passes");
            }
        }
        // Full again, or idle, it is as good as never used.
        let state = bucket.state;
        let full = bucket.meter.decide(bucket.state, bucket.now(), 0).standing.until_full;
        bucket.clock.advance(full + Duration::from_nanos(1));
        prop_assert_eq!(bucket.meter.decide(bucket.state, bucket.now(), 0).standing.remaining, u64::from(burst));
        bucket.clock.advance(Duration::from_nanos(idle_at.saturating_sub(bucket.now())));
        prop_assert_eq!(bucket.meter.decide(state, idle_at, 0).standing.remaining, u64::from(burst));
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
fn at_overload_it_falls_short_by_less_than_one() {
    for (limit, minutes) in [(7, 100), (100, 30), (9973, 3), (180_000_000, 2)] {
        let cost = (limit / 100).max(1);
        let mut bucket = Bucket::new(Window::Gcra, limit, limit);
        for _ in 0..minutes * 600 {
            while bucket.ask(cost).admitted {}
            bucket.clock.advance(Duration::from_millis(100));
        }
        let admitted: u64 = bucket.admitted.iter().map(|(_, cost)| u64::from(*cost)).sum();
        // The last step of the clock refills what nobody asked for.
        let due = u64::from(limit) * (minutes + 1) - u64::from(limit) / 600;
        assert!(admitted <= due + 1 && admitted + u64::from(cost) >= due - due / 1000, "{limit}: {admitted} of {due}");
    }
}

#[test]
fn the_guides_limiter_passes_a_hundred_and_then_none_until_the_window_ends() {
    let mut bucket = Bucket::new(Window::Fixed, 100, 100);
    let mut batches = Vec::new();
    for _ in 0..13 {
        batches.push((0..600).filter(|_| bucket.ask(1).admitted).count());
        bucket.clock.advance(Duration::from_secs(10));
    }
    assert_eq!(batches, [100, 0, 0, 0, 0, 0, 100, 0, 0, 0, 0, 0, 100]);
}

#[test]
fn what_was_booked_too_much_is_given_back_once() {
    for window in [Window::Gcra, Window::Fixed, Window::Sliding] {
        let mut bucket = Bucket::new(window, 100, 100);
        let booked = bucket.ask(90);
        assert!(!bucket.passes(20));
        let settled = |bucket: &Bucket, spent| {
            let now = bucket.now();
            bucket.meter.correct(bucket.state, now, booked.after.at, 90, spent)
        };
        let given_back = settled(&bucket, 30);
        assert_eq!(given_back.standing.remaining, 70, "{window:?}");
        bucket.state = given_back.after;
        assert!(bucket.passes(70) && !bucket.passes(71));
        assert_eq!(settled(&bucket, 200).standing.remaining, 0, "{window:?}: more was spent than booked");
        // Long after, there is nothing to give back, and it does not make the bucket more than full.
        bucket.clock.advance(Duration::from_secs(300));
        assert_eq!(settled(&bucket, 0).standing.remaining, 100, "{window:?}");
    }
}

#[test]
fn a_quota_without_a_period_is_never_there_again() {
    let quota = Quota { limit: 2, period: u64::MAX };
    let meter = Meter::new(Unit::Requests, Window::Gcra, quota, NonZeroU32::MIN, Clock::system());
    let mut state = State::default();
    for (now, admitted) in [(0, true), (MINUTE, true), (2 * MINUTE, false), (1 << 60, false)] {
        let verdict = meter.decide(state, now, 1);
        assert_eq!(verdict.admitted, admitted);
        assert_eq!(verdict.idle_at, u64::MAX);
        state = verdict.after;
    }
}

#[test]
fn headers_follow_the_recorded_arithmetic() {
    let spelled = |duration| crate::standing::GoDuration(duration).to_string();
    for (limit, cost, reset) in [
        (10_000, 1, "6ms"),
        (5_000, 1, "12ms"),
        (30_000, 1, "2ms"),
        (3_000, 1, "20ms"),
        (500, 1, "120ms"),
        (160_000, 26, "9ms"),
        (5_000_000, 23_749, "284ms"),
    ] {
        let mut bucket = Bucket::new(Window::Gcra, limit, limit);
        bucket.clock.advance(Duration::from_secs(3600));
        let standing = bucket.ask(cost).standing;
        assert_eq!(standing.remaining, u64::from(limit - cost));
        assert_eq!(spelled(standing.until_full), reset);
    }
    for (used, requested, wait) in [(22_999, 12_528, "11.054s"), (26_713, 7_669, "8.764s")] {
        let mut bucket = Bucket::new(Window::Gcra, 30_000, 30_000);
        bucket.ask(used);
        let refused = bucket.ask(requested);
        assert!(!refused.admitted);
        assert_eq!(spelled(refused.standing.wait), wait);
    }
}
