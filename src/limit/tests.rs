#![cfg(test)]

use std::{
    net::Ipv4Addr,
    pin::pin,
    task::{Context, Poll, Waker},
};

use super::*;
use crate::clock::ManualClock;

fn ask(client: u32) -> Ask<'static> {
    let ip = Ipv4Addr::from(client).into();
    Ask { ip, key: None, model: "gpt-4o", deployment: None, path: "/v1", cost: Cost { input: 10, output: 5 } }
}

fn limits(specs: &[LimitSpec], settle: bool) -> (Arc<Limits>, ManualClock) {
    let clock = ManualClock::new();
    (Arc::new(Limits::new(specs.to_vec(), settle, None, clock.clone().into()).unwrap()), clock)
}

/// Without a store nothing is waited for.
fn admit(limits: &Arc<Limits>, ask: &Ask<'_>) -> Admission {
    match pin!(limits.admit(ask)).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(admission) => admission.unwrap(),
        Poll::Pending => panic!("waits"),
    }
}

fn passes(limits: &Arc<Limits>, ask: &Ask<'_>) -> bool {
    admit(limits, ask).standings.refusal.is_none()
}

#[test]
fn all_limits_are_charged_or_none_is() {
    let specs = [LimitSpec::rpm(100), LimitSpec::per_minute(Unit::Tokens, 40)];
    let (limits, clock) = limits(&specs, false);
    let told = |standings: &Standings| (standings.requests.unwrap().remaining, standings.tokens.unwrap().remaining);
    assert_eq!(told(&admit(&limits, &ask(1)).standings), (99, 25));
    assert_eq!(told(&admit(&limits, &ask(1)).standings), (98, 10));
    for _ in 0..50 {
        let refused = admit(&limits, &ask(1)).standings;
        let refusal = refused.refusal.unwrap();
        assert_eq!((refusal.unit, refusal.reason, refusal.requested), (Unit::Tokens, Reason::RanOut, 15));
        assert_eq!(told(&refused), (98, 10), "a refusal by one limit takes nothing from the other");
    }
    clock.advance(admit(&limits, &ask(1)).standings.refusal.unwrap().standing.wait);
    assert!(passes(&limits, &ask(1)));
    let large = Ask { cost: Cost { input: 41, output: 0 }, ..ask(2) };
    assert_eq!(admit(&limits, &large).standings.refusal.unwrap().reason, Reason::TooLarge);
    assert!(passes(&limits, &Ask { cost: Cost { input: 40, output: 0 }, ..ask(2) }));
}

#[test]
fn of_several_that_refuse_the_longest_wait_is_told() {
    let day = LimitSpec { period: Period::DAY, ..LimitSpec::rpm(3) };
    let (limits, clock) = limits(&[LimitSpec::rpm(2), day], false);
    assert_eq!(admit(&limits, &ask(1)).standings.requests.unwrap().limit, 3, "the slower one is told");
    passes(&limits, &ask(1));
    let refusal = admit(&limits, &ask(1)).standings.refusal.unwrap();
    assert_eq!(refusal.standing.limit, 2);
    clock.advance(refusal.standing.wait);
    assert!(passes(&limits, &ask(1)));
    let refusal = admit(&limits, &ask(1)).standings.refusal.unwrap();
    assert_eq!((refusal.standing.limit, refusal.standing.period), (3, std::time::Duration::from_secs(86_400)));
    clock.advance(refusal.standing.wait);
    assert!(passes(&limits, &ask(1)), "who waits as told passes");
}

#[test]
fn who_has_a_quota_of_their_own() {
    let one = |per: &[Dimension]| LimitSpec { per: per.to_vec(), ..LimitSpec::rpm(1) };
    let other: [(Dimension, fn() -> Ask<'static>); 5] = [
        (Dimension::Ip, || ask(2)),
        (Dimension::Key, || Ask { key: Some("sk-2"), ..ask(1) }),
        (Dimension::Model, || Ask { model: "o3", ..ask(1) }),
        (Dimension::Deployment, || Ask { deployment: Some("mine"), ..ask(1) }),
        (Dimension::Endpoint, || Ask { path: "/v2", ..ask(1) }),
    ];
    for (dimension, other_ask) in &other {
        let (limits, _) = limits(&[one(&[*dimension])], false);
        assert!(passes(&limits, &ask(1)) && !passes(&limits, &ask(1)), "{dimension:?}");
        assert!(passes(&limits, &other_ask()), "{dimension:?} tells them apart");
    }
    let (limits, _) = limits(&[one(&[Dimension::Global])], false);
    assert!(passes(&limits, &ask(1)));
    for (dimension, other_ask) in &other {
        assert!(!passes(&limits, &other_ask()), "{dimension:?} is nothing to a limit for all");
    }
}

#[test]
fn a_limit_holds_for_the_models_of_its_globs() {
    let models = serde_json::from_str(r#"["gpt-4o*", "!gpt-4o-mini*"]"#).unwrap();
    let (limits, _) = limits(&[LimitSpec { models, ..LimitSpec::rpm(1) }], false);
    let of = |model| Ask { model, ..ask(1) };
    assert!(passes(&limits, &of("gpt-4o")) && !passes(&limits, &of("gpt-4o-2024-08-06")));
    for _ in 0..5 {
        assert!(passes(&limits, &of("gpt-4o-mini")) && passes(&limits, &of("o3")));
    }
}

#[test]
fn a_place_in_flight_is_held_until_it_is_given_back() {
    let (limits, _) = limits(&[LimitSpec::per_minute(Unit::InFlight, 2)], false);
    let (first, second) = (admit(&limits, &ask(1)), admit(&limits, &ask(1)));
    assert!(first.hold.is_some() && first.standings == Standings::default(), "nothing is told of it");
    assert_eq!(admit(&limits, &ask(1)).standings.refusal.unwrap().unit, Unit::InFlight);
    drop(first);
    let third = admit(&limits, &ask(1));
    assert!(third.standings.refusal.is_none());
    assert!(!passes(&limits, &ask(1)));
    drop((second, third));
    assert_eq!(limits.buckets(), 0);
}

#[test]
fn tokens_are_settled_when_the_answer_has_ended() {
    let specs = [LimitSpec::per_minute(Unit::Tokens, 20), LimitSpec::per_minute(Unit::OutputTokens, 20)];
    let (limits, _) = limits(&specs, true);
    let mut first = admit(&limits, &ask(1));
    assert!(!passes(&limits, &ask(1)));
    first.hold.as_mut().unwrap().settle(Cost { input: 2, output: 1 });
    drop(first);
    let standings = admit(&limits, &ask(1)).standings;
    assert_eq!(standings.refusal, None);
    assert_eq!((standings.tokens.unwrap().remaining, standings.output_tokens.unwrap().remaining), (2, 14));
}

#[test]
fn idle_buckets_are_forgotten_and_give_nothing_back() {
    let (limits, clock) = limits(&[LimitSpec::rpm(60)], false);
    for n in 0..100_000 {
        passes(&limits, &ask(n));
        if n % 10_000 == 9_999 {
            clock.advance(std::time::Duration::from_millis(1200));
            limits.forget_idle();
            assert_eq!(limits.buckets(), 0);
        }
    }
    assert_eq!((0..100).filter(|_| passes(&limits, &ask(1))).count(), 60);
    clock.advance(std::time::Duration::from_secs(59));
    limits.forget_idle();
    assert_eq!(limits.buckets(), 1);
    assert_eq!((0..100).filter(|_| passes(&limits, &ask(1))).count(), 59);
}

#[test]
fn any_number_of_keys_takes_no_more_room_and_crowds_nobody_out() {
    let clock = ManualClock::new();
    let mut limits = Limits::new(vec![LimitSpec::rpm(2)], false, None, clock.clone().into()).unwrap();
    limits.list[0].table = Table::new(6400);
    let limits = Arc::new(limits);
    assert!(passes(&limits, &ask(0)) && passes(&limits, &ask(0)) && !passes(&limits, &ask(0)));
    let passed = (1..=100_000).filter(|n| passes(&limits, &ask(*n))).count();
    let shared = 64 * (100 / 32);
    assert!(limits.buckets() <= 6400 + shared, "{}", limits.buckets());
    assert!((6300..=6400 + 2 * shared).contains(&passed), "{passed}: each new key, and what the shared ones hold");
    assert!(!passes(&limits, &ask(0)), "its bucket was not forgotten before it was full");
    // What is full again makes room.
    clock.advance(std::time::Duration::from_secs(60));
    assert!((1..=3000).all(|n| passes(&limits, &ask(n + 1_000_000))));
}

#[test]
fn limits_are_shown_in_words() {
    let spec = |text: &str| serde_json::from_str::<LimitSpec>(text).unwrap();
    for (text, words) in [
        (r#"{"quota": 100}"#, "100 requests/min for each client address, up to 100 at once"),
        (
            r#"{"unit": "tokens", "quota": 5, "per": ["key", "model"], "models": "gpt-*", "window": "fixed", "period": "10s"}"#,
            "5 tokens/10s for each key and model of gpt-*, in fixed windows",
        ),
        (r#"{"unit": "in_flight", "quota": 3, "per": ["global"]}"#, "3 concurrent requests for all together"),
        (r#"{"quota": 0, "period": "never"}"#, "0 requests in all for each client address"),
    ] {
        assert_eq!(spec(text).to_string(), words);
        let again = serde_json::to_string(&spec(text)).unwrap();
        assert_eq!(spec(&again), spec(text));
    }
    for (text, what) in [
        (r#"{"quota": 0}"#, "1 or more"),
        (r#"{"quota": 1, "per": []}"#, "[global]"),
        (r#"{"quota": 1, "burst": 0}"#, "1 or more"),
        (r#"{"quota": 1, "burst": 2, "window": "fixed"}"#, "gcra"),
        (r#"{"quota": 1, "burst": 1001}"#, "a thousand times"),
    ] {
        assert!(spec(text).check().unwrap_err().contains(what), "{text}");
    }
    let wrong = serde_json::from_str::<LimitSpec>(r#"{"quota": 1, "period": "often"}"#).unwrap_err().to_string();
    assert!(wrong.contains("`often` is not a period"), "{wrong}");
}
