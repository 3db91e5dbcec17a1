//! Tests of several limits together.

use std::{
    net::Ipv4Addr,
    pin::pin,
    task::{Context, Poll, Waker},
    time::Instant,
};

use super::*;
use crate::core::{clock::ManualClock, limit_status::Cost};

pub(crate) fn from_client(client: u32) -> LimitRequest<'static> {
    let ip = Ipv4Addr::from(client).into();
    let (at, cost) = (Instant::now(), Cost { input: 10, output: 5 });
    LimitRequest {
        at,
        ip,
        key: None,
        model: "gpt-4o",
        deployment: None,
        path: "/v1",
        scope: None,
        decisions: None,
        cost,
    }
}

pub(crate) fn limits(specs: &[LimitSpec], reconcile: bool) -> (Arc<Limits>, ManualClock) {
    let clock = ManualClock::new();
    (Arc::new(Limits::new(specs.to_vec(), reconcile, None, clock.clone().into()).unwrap()), clock)
}

/// Polls the decision once: without a store it never waits.
pub(crate) fn admit(limits: &Arc<Limits>, request: &LimitRequest<'_>) -> LimitDecision {
    let polled = pin!(limits.admit(request)).poll(&mut Context::from_waker(Waker::noop()));
    match polled {
        Poll::Ready(decision) => decision.unwrap(),
        Poll::Pending => panic!("a decision without a store waits"),
    }
}

pub(crate) fn passes(limits: &Arc<Limits>, request: &LimitRequest<'_>) -> bool {
    admit(limits, request).limit_statuses.refusal.is_none()
}

#[test]
fn all_limits_are_charged_or_none_is() {
    let specs = [LimitSpec::rpm(100), LimitSpec::per_minute(Unit::Tokens, 40)];
    let (limits, clock) = limits(&specs, false);
    let remaining = |limit_statuses: &LimitStatuses| {
        (limit_statuses.get(Unit::Requests).unwrap().remaining, limit_statuses.get(Unit::Tokens).unwrap().remaining)
    };
    assert_eq!(remaining(&admit(&limits, &from_client(1)).limit_statuses), (99, 25));
    assert_eq!(remaining(&admit(&limits, &from_client(1)).limit_statuses), (98, 10));
    for _ in 0..50 {
        let refused = admit(&limits, &from_client(1)).limit_statuses;
        let refusal = refused.refusal.unwrap();
        assert_eq!((refusal.unit, refusal.reason, refusal.requested), (Unit::Tokens, Reason::RanOut, 15));
        assert_eq!(remaining(&refused), (98, 10), "a refusal by one limit charges no other");
    }
    clock.advance(admit(&limits, &from_client(1)).limit_statuses.refusal.unwrap().limit_status.wait);
    assert!(passes(&limits, &from_client(1)));
    let large = LimitRequest { cost: Cost { input: 41, output: 0 }, ..from_client(2) };
    assert_eq!(admit(&limits, &large).limit_statuses.refusal.unwrap().reason, Reason::TooLarge);
    assert!(passes(&limits, &LimitRequest { cost: Cost { input: 40, output: 0 }, ..from_client(2) }));
}

#[test]
fn the_longest_wait_of_several_refusals_is_reported() {
    let day = LimitSpec { period: Period::DAY, ..LimitSpec::rpm(3) };
    let (limits, clock) = limits(&[LimitSpec::rpm(2), day], false);
    let slower = admit(&limits, &from_client(1)).limit_statuses.get(Unit::Requests).unwrap().limit;
    assert_eq!(slower, 3, "the slower limit is reported");
    passes(&limits, &from_client(1));
    let refusal = admit(&limits, &from_client(1)).limit_statuses.refusal.unwrap();
    assert_eq!(refusal.limit_status.limit, 2);
    clock.advance(refusal.limit_status.wait);
    assert!(passes(&limits, &from_client(1)));
    let refusal = admit(&limits, &from_client(1)).limit_statuses.refusal.unwrap();
    assert_eq!((refusal.limit_status.limit, refusal.limit_status.period), (3, Duration::from_secs(86_400)));
    clock.advance(refusal.limit_status.wait);
    assert!(passes(&limits, &from_client(1)), "a client that waits as long as reported is admitted");
}

#[test]
fn a_limit_applies_to_the_models_of_its_globs() {
    let models = serde_json::from_str(r#"["gpt-4o*", "!gpt-4o-mini*"]"#).unwrap();
    let (limits, _) = limits(&[LimitSpec { models, ..LimitSpec::rpm(1) }], false);
    let of = |model| LimitRequest { model, ..from_client(1) };
    assert!(passes(&limits, &of("gpt-4o")) && !passes(&limits, &of("gpt-4o-2024-08-06")));
    for _ in 0..5 {
        assert!(passes(&limits, &of("gpt-4o-mini")) && passes(&limits, &of("o3")));
    }
}

#[test]
fn removing_idle_buckets_admits_nothing_more() {
    let (limits, clock) = limits(&[LimitSpec::rpm(60)], false);
    for n in 0..100_000 {
        passes(&limits, &from_client(n));
        if n % 10_000 == 9_999 {
            clock.advance(Duration::from_millis(1200));
            limits.forget_idle();
            assert_eq!(limits.buckets(), 0);
        }
    }
    assert_eq!((0..100).filter(|_| passes(&limits, &from_client(1))).count(), 60);
    clock.advance(Duration::from_secs(59));
    limits.forget_idle();
    assert_eq!(limits.buckets(), 1);
    assert_eq!((0..100).filter(|_| passes(&limits, &from_client(1))).count(), 59);
}

#[test]
fn many_keys_take_bounded_room_and_evict_no_used_bucket() {
    let clock = ManualClock::new();
    let mut limits = Limits::new(vec![LimitSpec::rpm(2)], false, None, clock.clone().into()).unwrap();
    limits.list[0].table = Arc::new(Table::new(6400));
    let limits = Arc::new(limits);
    assert!(passes(&limits, &from_client(0)) && passes(&limits, &from_client(0)) && !passes(&limits, &from_client(0)));
    let passed = (1..=100_000).filter(|n| passes(&limits, &from_client(*n))).count();
    let shared = 64 * (100 / 32);
    assert!(limits.buckets() <= 6400 + shared, "{}", limits.buckets());
    assert!((6300..=6400 + 2 * shared).contains(&passed), "{passed}: one per new key, and those of the shared buckets");
    assert!(!passes(&limits, &from_client(0)), "its bucket was not removed before it was full");
    // Buckets that are full again make room.
    clock.advance(Duration::from_secs(60));
    assert!((1..=3000).all(|n| passes(&limits, &from_client(n + 1_000_000))));
}

#[test]
fn a_limit_that_is_never_refilled_admits_its_quota_once_in_every_window() {
    for window in [Window::Gcra, Window::Fixed, Window::Sliding] {
        let (limits, clock) = limits(&[LimitSpec { period: Period::Never, window, ..LimitSpec::rpm(2) }], false);
        assert!(passes(&limits, &from_client(1)) && passes(&limits, &from_client(1)));
        clock.advance(Duration::from_secs(365 * 86_400));
        assert!(!passes(&limits, &from_client(1)), "{window:?}");
    }
}
