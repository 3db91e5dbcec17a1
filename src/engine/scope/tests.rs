use std::sync::atomic::AtomicBool;

use super::*;
use crate::config::JournalSpec;

fn scopes() -> Scopes {
    let journal = Journal::new(JournalSpec::default(), None).unwrap();
    Scopes::new(&ModelBehavior::default(), StoreMode::default(), 2, journal, AccessLog::Off, Clock::system())
}

#[test]
fn the_scope_that_was_idle_longest_is_dropped_for_a_new_one() {
    let scopes = scopes();
    for n in 0..MAX_SCOPES {
        scopes.get_or_create(Some(&format!("s{n}"))).metrics.add_received("r", "m", "", "");
    }
    assert!(scopes.get("s0").is_some(), "it is read, not used");
    scopes.get_or_create(Some("s1"));
    let scope = scopes.get("s2").unwrap();
    assert_eq!(scopes.list().len(), MAX_SCOPES);
    drop(scope);
    // All of them have an open request.
    scopes.get_or_create(Some("more"));
    assert_eq!(scopes.list().len(), MAX_SCOPES + 1);
    scopes.reset(None);
    assert_eq!(scopes.totals(), (MAX_SCOPES as u64, MAX_SCOPES as u64), "open requests stay counted");
}

#[test]
fn counters_of_dropped_scopes_stay_in_the_sum() {
    let scopes = scopes();
    let scope = scopes.get_or_create(Some("t7"));
    scope.metrics.add_received("r", "m", "", "");
    scopes.default().metrics.add_received("r", "m", "", "");
    assert_eq!((scopes.snapshot(Some("t7")).received, scopes.snapshot(None).received), (1, 2));
    assert!(scopes.remove("t7") && !scopes.remove("t7"));
    assert_eq!((scopes.snapshot(Some("t7")).received, scopes.snapshot(None).received), (0, 2));
}

#[test]
fn a_reset_begins_new_buckets() {
    let scopes = scopes();
    assert_eq!(scopes.default().limit_key(), None);
    assert_eq!(scopes.get_or_create(Some("t7")).limit_key(), Some(("t7", 0)));
    scopes.reset(Some("t7"));
    assert_eq!(scopes.get_or_create(Some("t7")).limit_key(), Some(("t7", 1)));
    assert_eq!(scopes.default().limit_key(), None);
    scopes.reset(Some(""));
    assert_eq!(scopes.default().limit_key(), Some(("", 1)));
}

#[test]
fn a_request_counts_if_its_scope_is_dropped_before_it_is_counted() {
    let scopes = scopes();
    let scope = scopes.get_or_create(Some("t7"));
    assert!(scopes.remove("t7"));
    assert_eq!(scopes.totals(), (0, 0));
    scope.metrics.add_received("r", "m", "", "");
    assert_eq!((scopes.totals(), scopes.snapshot(None).received), ((1, 1), 1));
    drop(scope);
    assert_eq!((scopes.totals(), scopes.snapshot(None).received), ((1, 1), 1), "they stay when nothing uses the scope");
}

#[test]
fn sums_never_run_backwards_while_scopes_are_dropped() {
    let (scopes, is_over) = (scopes(), AtomicBool::new(false));
    std::thread::scope(|threads| {
        threads.spawn(|| {
            for n in 0..3000 {
                let name = format!("s{}", n % 3);
                scopes.get_or_create(Some(&name)).metrics.add_received("r", "m", "", "");
                scopes.remove(&name);
            }
            is_over.store(true, Ordering::Release);
        });
        let (mut received, mut total) = (0, 0);
        while !is_over.load(Ordering::Acquire) {
            let (before, total_before) = (received, total);
            (received, total) = (scopes.snapshot(None).received, scopes.totals().0);
            assert!(received >= before && total >= total_before, "{before} {received}, {total_before} {total}");
        }
    });
    assert_eq!(scopes.totals().0, 3000);
}
