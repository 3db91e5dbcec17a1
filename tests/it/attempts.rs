//! The attempts of logical calls: which requests belong together, and whether the client waited.

use std::time::Duration;

use fake_openai::{Config, LimitSpec, Running, clock::ManualClock};
use serde_json::Value;

use crate::{
    client::{CHAT, Connection, Response, eventually, serve},
    outcomes::metrics,
};

/// Returns a server with a manual clock, and its clock.
pub fn with_clock(config: Config) -> (Running, ManualClock) {
    let clock = ManualClock::new();
    (serve(Config { clock: clock.clone().into(), ..config }), clock)
}

/// Sends a chat request with these headers, one a line.
pub fn chat(connection: &mut Connection, headers: &str, body: &str) -> Response {
    connection.request("POST", "/v1/chat/completions", headers, body).unwrap()
}

/// Returns the `attempt` of each entry of the journal, oldest first.
fn attempts(server: &Running) -> Vec<Value> {
    crate::journal::entries(server).iter().map(|entry| entry["attempt"].clone()).collect()
}

fn millis(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

#[test]
fn a_retry_after_the_announced_wait_has_obeyed() {
    let (server, clock) = with_clock(Config::for_test());
    let mut connection = Connection::open(server.address());
    let fault = "x-fake-openai: 429x2~retry-after=2\r\n";
    assert_eq!(chat(&mut connection, fault, CHAT).status, 429);
    clock.advance(millis(1990));
    assert_eq!(chat(&mut connection, fault, CHAT).status, 429);
    clock.advance(millis(1996));
    assert_eq!(chat(&mut connection, fault, CHAT).status, 200);
    // The call has ended: the next one is another.
    assert_eq!(chat(&mut connection, fault, CHAT).status, 200);
    let attempts = attempts(&server);
    let call = &attempts[0]["call"];
    assert!(call.as_str().unwrap().starts_with("c_"), "{attempts:?}");
    assert_eq!(attempts[0], serde_json::json!({"call": call, "number": 1}));
    let second = serde_json::json!({"call": call, "number": 2, "after_ms": 1990.0, "retry_after_obeyed": false});
    assert_eq!(attempts[1], second);
    let third = serde_json::json!({"call": call, "number": 3, "after_ms": 1996.0, "retry_after_obeyed": true});
    assert_eq!(attempts[2], third);
    assert_eq!(attempts[3], Value::Null);
    let metrics = metrics(&server);
    assert_eq!(metrics["fake_openai_early_retries_total{unit=\"requests\"}"], 1.0);
    assert_eq!(metrics["fake_openai_attempts_bucket{le=\"1\"}"], 1.0);
    assert_eq!(metrics["fake_openai_attempts_bucket{le=\"2\"}"], 1.0);
    assert_eq!(metrics["fake_openai_attempts_bucket{le=\"3\"}"], 2.0);
    assert_eq!((metrics["fake_openai_attempts_sum"], metrics["fake_openai_attempts_count"]), (4.0, 2.0));
}

#[test]
fn names_join_requests_that_differ() {
    let server = serve(Config::for_test());
    let mut one = Connection::open(server.address());
    let mut other = Connection::open(server.address());
    assert_eq!(chat(&mut one, "idempotency-key: k-1\r\nx-fake-openai: 503\r\n", CHAT).status, 503);
    assert_eq!(chat(&mut other, "idempotency-key: k-1\r\n", &CHAT.replace("Hi", "Ho")).status, 200);
    assert_eq!(chat(&mut one, "x-litellm-call-id: k-1\r\n", CHAT).status, 200, "a named call goes on after a success");
    assert_eq!(chat(&mut one, "x-fake-openai: call=k-1\r\n", CHAT).status, 200);
    assert_eq!(chat(&mut one, "idempotency-key: k-2\r\n", CHAT).status, 200);
    let attempts = attempts(&server);
    let numbers: Vec<_> = attempts.iter().map(|attempt| (&attempt["call"], &attempt["number"])).collect();
    let expected = [("k-1", 1), ("k-1", 2), ("k-1", 3), ("k-1", 4), ("k-2", 1)]
        .map(|(call, number)| (Value::from(call), Value::from(number)));
    assert_eq!(numbers, expected.iter().map(|(call, number)| (call, number)).collect::<Vec<_>>());
}

#[test]
fn the_count_of_an_sdk_says_which_attempt_it_is() {
    let server = serve(Config::for_test());
    let mut connection = Connection::open(server.address());
    let retry = |count: u32, fault: &str| format!("x-stainless-retry-count: {count}\r\nx-fake-openai: {fault}\r\n");
    assert_eq!(chat(&mut connection, &retry(0, "503"), CHAT).status, 503);
    // Another connection at once: only the count shows that it is a retry.
    let mut other = Connection::open(server.address());
    assert_eq!(chat(&mut other, &retry(1, "503"), CHAT).status, 503);
    assert_eq!(chat(&mut connection, &retry(2, "ok"), CHAT).status, 200);
    // A retry whose first attempt came elsewhere.
    assert_eq!(chat(&mut connection, &retry(3, "ok"), &CHAT.replace("Hi", "Ho")).status, 200);
    let numbers: Vec<_> = attempts(&server).iter().map(|attempt| attempt["number"].clone()).collect();
    assert_eq!(numbers, [1, 2, 3, 4]);
}

#[test]
fn other_bodies_keys_models_and_successes_are_other_calls() {
    let server = serve(Config::for_test());
    let mut connection = Connection::open(server.address());
    assert_eq!(chat(&mut connection, "x-fake-openai: 503\r\n", CHAT).status, 503);
    for (headers, body) in [
        ("", CHAT.replace("Hi", "Ho")),
        ("", CHAT.replace("gpt-4o", "gpt-4")),
        ("authorization: Bearer sk-another-key\r\n", CHAT.to_owned()),
    ] {
        assert_eq!(chat(&mut connection, headers, &body).status, 200);
    }
    let attempts = attempts(&server);
    assert_eq!(attempts[0]["number"], 1);
    assert!(attempts[1..].iter().all(Value::is_null), "{attempts:?}");
    assert_eq!(metrics(&server)["fake_openai_attempts_count"], 3.0, "the failed call may get another attempt");
}

#[test]
fn alike_requests_that_overlap_are_not_joined() {
    let server = serve(Config::for_test());
    // Open while another one fails.
    let mut open = Connection::open(server.address());
    let stream = CHAT.replacen('{', "{\"stream\":true,", 1);
    let head = format!(
        "POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\nx-fake-openai: stall@2\r\ncontent-length: {}\r\n\r\n{stream}",
        stream.len()
    );
    open.send(head.as_bytes()).unwrap();
    assert_eq!(open.head().unwrap().status, 200);
    let mut connection = Connection::open(server.address());
    assert_eq!(chat(&mut connection, "x-fake-openai: 503\r\n", &stream).status, 503);
    drop(open);
    eventually("the client has left", || metrics(&server)["fake_openai_requests_in_flight"] == 0.0);
    assert_eq!(chat(&mut connection, "", &stream).status, 200);
    let numbers: Vec<_> = attempts(&server).iter().map(|attempt| attempt["number"].clone()).collect();
    assert_eq!(numbers[2], Value::Null, "{numbers:?}");
    assert!(server.report(None).retries.could_not_be_told_apart >= 1);
}

#[test]
fn calls_without_another_attempt_expire() {
    let (server, clock) = with_clock(Config::for_test());
    let mut connection = Connection::open(server.address());
    assert_eq!(chat(&mut connection, "x-fake-openai: 503\r\n", CHAT).status, 503);
    assert_eq!(metrics(&server)["fake_openai_attempts_count"], 0.0);
    clock.advance(Duration::from_secs(121));
    assert_eq!(chat(&mut connection, "", CHAT).status, 200);
    assert_eq!(attempts(&server)[1], Value::Null, "it came too late");
    server.report(None);
    let metrics = metrics(&server);
    assert_eq!((metrics["fake_openai_attempts_count"], metrics["fake_openai_attempts_sum"]), (2.0, 2.0));
}

#[test]
fn early_retries_count_by_the_unit_of_the_limit() {
    let limits = vec![LimitSpec::rpm(1)];
    let (server, clock) = with_clock(Config { limits, ..Config::for_test() });
    let mut connection = Connection::open(server.address());
    assert_eq!(chat(&mut connection, "", CHAT).status, 200);
    for _ in 0..3 {
        assert_eq!(chat(&mut connection, "", CHAT).status, 429);
        clock.advance(Duration::from_secs(10));
    }
    assert_eq!(server.report(None).retries.early, 2);
    let early = || metrics(&server).get("fake_openai_early_retries_total{unit=\"requests\"}").copied();
    assert_eq!(early(), None, "the call may yet turn out to be several");
    clock.advance(Duration::from_secs(121));
    assert_eq!(server.report(None).retries.early, 2);
    assert_eq!(early(), Some(2.0));
}

/// Returns a body that no other request has.
fn body(number: usize) -> String {
    CHAT.replace("Hi", &format!("Hi {number}"))
}

#[test]
fn attempts_go_from_one_connection_to_another_and_back() {
    let (server, clock) = with_clock(Config::for_test());
    let mut pool: Vec<_> = (0..2).map(|_| Connection::open(server.address())).collect();
    let headers = "x-stainless-retry-count: 0\r\nx-fake-openai: 429x4~retry-after=1\r\n";
    for number in 0..3 {
        for turn in [0, 1, 0, 1] {
            let headers = format!("{headers}authorization: Bearer sk-caller-{number}\r\n");
            assert_eq!(chat(&mut pool[turn], &headers, &body(number)).status, 429);
            clock.advance(millis(1100));
        }
        // A pool that is busy opens another connection.
        pool.push(Connection::open(server.address()));
        let headers = format!("{headers}authorization: Bearer sk-caller-{number}\r\n");
        assert_eq!(chat(pool.last_mut().unwrap(), &headers, &body(number)).status, 200);
    }
    for call in attempts(&server).chunks(5) {
        for (attempt, number) in call.iter().zip(1..) {
            assert_eq!((&attempt["call"], &attempt["number"]), (&call[0]["call"], &Value::from(number)));
        }
    }
    let retries = server.report(None).retries;
    assert_eq!((retries.calls, retries.retries, retries.obeyed, retries.early), (3, 12, 12, 0));
    assert_eq!((retries.most_attempts, retries.could_not_be_told_apart), (5, 0));
}

#[test]
fn counted_retries_distinguish_calls_that_are_alike() {
    for (wait, expected) in [(1000, (8, 0)), (300, (0, 8))] {
        let (server, clock) = with_clock(Config::for_test());
        let mut pool: Vec<_> = (0..8).map(|_| Connection::open(server.address())).collect();
        let headers = |count: u32, fault: &str| {
            format!("x-stainless-retry-count: {count}\r\nx-fake-openai: {fault}~retry-after=1\r\n")
        };
        // Until the first count above zero, these look like retries of one call.
        for connection in &mut pool {
            assert_eq!(chat(connection, &headers(0, "429"), CHAT).status, 429);
            clock.advance(millis(10));
        }
        clock.advance(millis(wait));
        // Any connection of the pool sends any retry.
        for connection in pool.iter_mut().rev() {
            assert_eq!(chat(connection, &headers(1, "ok"), CHAT).status, 200);
        }
        let report = server.report(None);
        assert_eq!((report.retries.obeyed, report.retries.early), expected, "{wait}");
        assert_eq!((report.retries.calls, report.retries.retries, report.retries.most_attempts), (8, 8, 2));
        assert_eq!(report.retries.could_not_be_told_apart, 0);
        let found: Vec<_> = report.findings.iter().map(|finding| finding.check).collect();
        assert_eq!(found, if wait < 1000 { vec!["retry_after"] } else { vec![] });
    }
}

#[test]
fn alike_calls_that_give_up_are_not_continued_by_others() {
    let (server, clock) = with_clock(Config::for_test());
    let mut connection = Connection::open(server.address());
    for _ in 0..300 {
        for (count, fault) in [(0, "429"), (1, "429"), (2, "429")] {
            let headers = format!("x-stainless-retry-count: {count}\r\nx-fake-openai: {fault}~retry-after=1\r\n");
            assert_eq!(chat(&mut connection, &headers, CHAT).status, 429);
            clock.advance(millis(1000));
        }
    }
    let retries = server.report(None).retries;
    assert_eq!((retries.calls, retries.retries, retries.most_attempts, retries.early), (300, 600, 3, 0));
}

#[test]
fn an_overlap_takes_back_what_was_inferred_before() {
    let (server, clock) = with_clock(Config::for_test());
    let mut connection = Connection::open(server.address());
    let stream = CHAT.replacen('{', "{\"stream\":true,", 1);
    for _ in 0..12 {
        assert_eq!(chat(&mut connection, "x-fake-openai: 429~retry-after=60\r\n", &stream).status, 429);
        clock.advance(millis(10));
    }
    let report = server.report(None);
    let mut found: Vec<_> = report.findings.iter().map(|finding| finding.check).collect();
    found.sort_unstable();
    assert_eq!(found, ["hammering", "retry_after", "retry_storm"]);
    assert_eq!((report.retries.calls, report.retries.most_attempts, report.retries.early), (1, 12, 11));
    let head = format!(
        "POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\nx-fake-openai: stall@2\r\ncontent-length: {}\r\n\r\n{stream}",
        stream.len()
    );
    let mut open = Connection::open(server.address());
    clock.advance(millis(100));
    open.send(head.as_bytes()).unwrap();
    assert_eq!(open.head().unwrap().status, 200);
    assert_eq!(chat(&mut connection, "", &stream).status, 200);
    let report = server.report(None);
    assert!(report.findings.is_empty(), "{:?}", report.findings);
    let retries = report.retries;
    assert_eq!((retries.retries, retries.early, retries.could_not_be_told_apart), (0, 0, 13));
    assert_eq!(metrics(&server).get("fake_openai_early_retries_total{unit=\"requests\"}"), None);
}

#[test]
fn a_loop_that_opens_a_connection_for_each_request_is_one_call() {
    let (server, _clock) = with_clock(Config::for_test());
    for _ in 0..4 {
        let mut connection = Connection::open(server.address());
        assert_eq!(chat(&mut connection, "x-fake-openai: 429~retry-after=10\r\n", CHAT).status, 429);
        drop(connection);
        eventually("the connection is closed", || metrics(&server)["fake_openai_connections_open"] == 1.0);
    }
    let retries = server.report(None).retries;
    assert_eq!((retries.calls, retries.early, retries.most_attempts), (1, 3, 4));
}

#[test]
fn users_with_one_body_who_start_at_once_are_not_found_early() {
    let (server, clock) = with_clock(Config::for_test());
    let mut users: Vec<_> = (0..8).map(|_| Connection::open(server.address())).collect();
    for user in &mut users {
        assert_eq!(chat(user, "x-fake-openai: 429~retry-after=10\r\n", CHAT).status, 429);
    }
    // None of them comes back.
    let report = server.report(None);
    assert!(report.findings.is_empty(), "{:?}", report.findings);
    assert_eq!((report.retries.early, report.retries.could_not_be_told_apart), (0, 8));
    clock.advance(Duration::from_secs(10));
    for user in &mut users {
        assert_eq!(chat(user, "", CHAT).status, 200);
    }
    assert!(server.report(None).findings.is_empty());
}

#[test]
fn a_user_who_returns_in_time_is_not_another_ones_retry() {
    let (server, clock) = with_clock(Config::for_test());
    let mut users: Vec<_> = (0..3).map(|_| Connection::open(server.address())).collect();
    for user in &mut users {
        assert_eq!(chat(user, "x-fake-openai: 429~retry-after=10\r\n", CHAT).status, 429);
        clock.advance(Duration::from_secs(1));
    }
    assert_eq!(server.report(None).retries.early, 2, "so far they look like one client");
    clock.advance(Duration::from_secs(7));
    for user in &mut users {
        assert_eq!(chat(user, "", CHAT).status, 200);
        clock.advance(Duration::from_secs(1));
    }
    let report = server.report(None);
    assert!(report.findings.is_empty(), "{:?}", report.findings);
    assert_eq!(report.retries.early, 0);
}

#[test]
fn retries_at_once_on_any_connection_of_a_pool_are_early() {
    let (server, clock) = with_clock(Config::for_test());
    let mut pool: Vec<_> = (0..3).map(|_| Connection::open(server.address())).collect();
    for (number, connection) in pool.iter_mut().enumerate() {
        assert_eq!(chat(connection, "", &body(number)).status, 200);
    }
    for number in 10..20 {
        for (attempt, turn) in [0, 1, 0, 2].into_iter().enumerate() {
            let headers = if attempt < 3 { "x-fake-openai: 429~retry-after=10\r\n" } else { "" };
            chat(&mut pool[turn], headers, &body(number));
            clock.advance(millis(5));
        }
    }
    let report = server.report(None);
    assert_eq!((report.retries.early, report.retries.retries, report.retries.most_attempts), (30, 30, 4));
    let mut found: Vec<_> = report.findings.iter().map(|finding| finding.check).collect();
    found.sort_unstable();
    assert_eq!(found, ["hammering", "retry_after", "retry_storm"]);
}
