//! The scripts of a shared store, called as a server calls them, with a time of our own.

use redis::{Script, ScriptInvocation};

use crate::redis_server::Redis;

const SECOND: u64 = 1_000_000;
const LEASE: u64 = 10 * SECOND;
const HOUR: u64 = 3600 * SECOND;

/// A connection to Redis on which the scripts run.
struct Store {
    connection: redis::Connection,
    batch: u64,
}

/// The reply of the store on one limit.
#[derive(Clone, Copy, Debug)]
struct Decision {
    admitted: bool,
    remaining: i64,
    wait: i64,
    window: i64,
}

impl Store {
    fn open(redis: &Redis) -> Store {
        let client = redis::Client::open(redis.url()).unwrap();
        Store { connection: client.get_connection().unwrap(), batch: 0 }
    }

    /// Decides on one request of a limit of 100 per minute, or of one slot, at this time.
    fn admit(&mut self, algorithm: &str, now: u64, cost: u64, lease: &str) -> Decision {
        let script = Script::new(include_str!("../../src/traffic/limit/store/admit.lua"));
        let limit = if algorithm == "slots" { 1 } else { 100 };
        let mut call = script.key(algorithm);
        call.arg(now).arg(LEASE).arg(algorithm).arg(limit).arg(limit).arg(60 * SECOND).arg(cost).arg(lease);
        let decisions: Vec<Vec<i64>> = call.invoke(&mut self.connection).unwrap();
        let [admitted, _, remaining, _, wait, window] = decisions[0][..] else { panic!("{decisions:?}") };
        Decision { admitted: admitted == 1, remaining, wait, window }
    }

    /// Applies changes under a number. Returns true if they are new.
    fn settle_as(&mut self, batch: u64, now: u64, changes: &[(&str, &str, String, u64, u64)]) -> bool {
        let script = Script::new(include_str!("../../src/traffic/limit/store/settle.lua"));
        let mut call: ScriptInvocation<'_> = script.prepare_invoke();
        call.key("number").arg(now).arg(LEASE).arg(batch);
        for (key, action, name, reserved, spent) in changes {
            call.key(*key).arg(*action).arg(name).arg(*reserved).arg(*spent).arg(60 * SECOND);
        }
        call.invoke::<i64>(&mut self.connection).unwrap() == 1
    }

    fn settle(&mut self, now: u64, key: &str, action: &str, name: &str) {
        self.batch += 1;
        assert!(self.settle_as(self.batch, now, &[(key, action, name.to_owned(), 0, 0)]));
    }
}

#[test]
fn a_slot_is_given_back_whatever_the_order_of_arrival() {
    let Some(redis) = Redis::start("a_slot_is_given_back_whatever_the_order_of_arrival") else { return };
    let mut store = Store::open(&redis);
    let now = HOUR;
    assert!(store.admit("slots", now, 1, "a").admitted);
    assert!(!store.admit("slots", now, 1, "b").admitted);
    for action in ["release", "release", "cancel"] {
        store.settle(now, "slots", action, "never given");
        assert!(!store.admit("slots", now, 1, "c").admitted, "{action} of another slot frees none");
    }
    store.settle(now, "slots", "release", "a");
    // Cancelled, then requested: the request was late.
    store.settle(now, "slots", "cancel", "late");
    assert!(store.admit("slots", now, 1, "late").admitted, "nobody reads this");
    assert!(store.admit("slots", now, 1, "d").admitted, "it holds no slot");
    store.settle(now, "slots", "cancel", "d");
    assert!(store.admit("slots", now, 1, "e").admitted, "requested, then cancelled");
    store.settle(now, "slots", "release", "e");
    // The marks of cancelled slots do not stay.
    store.admit("slots", now + LEASE, 1, "f");
    store.settle(now + LEASE, "slots", "release", "f");
    assert_eq!(redis.ask("EXISTS slots").lines().next(), Some(":0"));
}

#[test]
fn a_lease_ends_unless_it_is_renewed() {
    let Some(redis) = Redis::start("a_lease_ends_unless_it_is_renewed") else { return };
    let mut store = Store::open(&redis);
    store.admit("slots", 0, 1, "a");
    assert!(!store.admit("slots", LEASE - 1, 1, "b").admitted);
    store.settle(LEASE - 1, "slots", "renew", "a");
    assert!(!store.admit("slots", 2 * LEASE - 2, 1, "b").admitted);
    assert!(store.admit("slots", 2 * LEASE - 1, 1, "b").admitted);
    redis.ask("FLUSHALL");
    store.settle(2 * LEASE, "slots", "renew", "b");
    assert!(!store.admit("slots", 2 * LEASE, 1, "c").admitted, "the store lost it, and has it again");
}

#[test]
fn a_batch_is_applied_once_and_in_order() {
    let Some(redis) = Redis::start("a_batch_is_applied_once_and_in_order") else { return };
    let mut store = Store::open(&redis);
    for algorithm in ["gcra", "fixed", "sliding"] {
        redis.ask("FLUSHALL");
        let first = store.admit(algorithm, HOUR, 50, "");
        assert_eq!(store.admit(algorithm, HOUR, 50, "").remaining, 0);
        let refund = [(algorithm, algorithm, first.window.to_string(), 50, 20)];
        let wrong = ("text", "gcra", String::new(), 0, 0);
        redis.ask("LPUSH text 1");
        assert!(store.settle_as(7, HOUR, &[wrong, refund[0].clone()]), "a key of another type fails alone");
        for again in [7, 6] {
            assert!(!store.settle_as(again, HOUR, &refund));
        }
        assert_eq!(store.admit(algorithm, HOUR, 0, "").remaining, 30, "{algorithm}");
    }
    store.admit("slots", HOUR, 1, "a");
    assert!(store.settle_as(9, HOUR, &[("slots", "release", "a".to_owned(), 0, 0)]));
    assert!(!store.settle_as(8, HOUR, &[("slots", "renew", "a".to_owned(), 0, 0)]), "a late copy");
    assert!(store.admit("slots", HOUR, 1, "b").admitted);
}

#[test]
fn reserved_tokens_find_their_window_after_the_clock_went_back() {
    let Some(redis) = Redis::start("reserved_tokens_find_their_window_after_the_clock_went_back") else { return };
    let mut store = Store::open(&redis);
    for (batch, algorithm) in (1..).zip(["gcra", "fixed", "sliding"]) {
        let first = store.admit(algorithm, 2 * HOUR, 60, "");
        assert_eq!(store.admit(algorithm, HOUR, 40, "").remaining, 0);
        store.settle_as(batch, HOUR, &[(algorithm, algorithm, first.window.to_string(), 60, 5)]);
        assert_eq!(store.admit(algorithm, HOUR, 0, "").remaining, 55, "{algorithm}");
        // The next window of a sliding limit still knows its predecessor.
        if algorithm == "sliding" {
            assert_eq!(store.admit(algorithm, HOUR + 60 * SECOND, 1, "").remaining, 54);
            store.settle_as(batch + 1, HOUR, &[(algorithm, algorithm, first.window.to_string(), 5, 0)]);
            assert_eq!(store.admit(algorithm, HOUR + 60 * SECOND, 0, "").remaining, 59);
        }
    }
}

#[test]
fn slots_are_free_in_time_after_the_clock_went_back() {
    let Some(redis) = Redis::start("slots_are_free_in_time_after_the_clock_went_back") else { return };
    let mut store = Store::open(&redis);
    store.admit("slots", 2 * HOUR, 1, "a");
    assert!(!store.admit("slots", HOUR, 1, "b").admitted);
    assert!(!store.admit("slots", HOUR + LEASE - 1, 1, "b").admitted, "its server may still renew it");
    assert!(store.admit("slots", HOUR + LEASE, 1, "b").admitted);
}

#[test]
fn buckets_of_an_earlier_version_are_read() {
    let Some(redis) = Redis::start("buckets_of_an_earlier_version_are_read") else { return };
    let mut store = Store::open(&redis);
    for (algorithm, state) in [("gcra", "60 3600000000"), ("fixed", "60 3600000000"), ("sliding", "60 0 3600000000")] {
        redis::cmd("SET").arg(algorithm).arg(state).arg("PX").arg(60_000).exec(&mut store.connection).unwrap();
        let decision = store.admit(algorithm, HOUR, 10, "");
        assert_eq!((decision.remaining, decision.wait), (30, 0), "{algorithm}");
        store.batch += 1;
        let refund = (algorithm, algorithm, HOUR.to_string(), 70, 10);
        assert!(store.settle_as(store.batch, HOUR, &[refund]));
        assert_eq!(store.admit(algorithm, HOUR, 0, "").remaining, 90, "{algorithm}");
    }
}
