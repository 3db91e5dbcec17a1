//! The report: a scripted client for each check, and the forms of the report.

use std::{
    fs,
    io::{Read, Write},
    net::TcpListener,
    thread,
    time::Duration,
};

use fake_openai::{Config, LimitSpec, Running, Settings, Unit, traffic::limit::Dimension};
use serde_json::Value;

use crate::{
    attempts::{chat, with_clock},
    client::{CHAT, Connection, eventually, serve},
    outcomes::metrics,
    program::{Directory, run},
};

/// Returns the names of the findings. A busy machine may make the server late, which no client does.
fn findings(server: &Running) -> Vec<&'static str> {
    let report = server.report(None);
    report.findings.iter().map(|finding| finding.check).filter(|check| *check != "bottleneck").collect()
}

fn fault(text: &str) -> String {
    format!("x-fake-openai: {text}\r\n")
}

/// Returns a body that no other request has.
fn body(number: usize) -> String {
    CHAT.replace("Hi", &format!("Hi {number}"))
}

fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

#[test]
fn a_client_that_waits_and_grows_its_waits_yields_no_finding() {
    let (server, clock) = with_clock(Config::for_test());
    let mut connection = Connection::open(server.address());
    for number in 0..5 {
        let refused = fault("429x1~retry-after=2");
        let headers = format!("{refused}authorization: Bearer sk-caller-{number:08}\r\n");
        assert_eq!(chat(&mut connection, &headers, &body(number)).status, 429);
        clock.advance(seconds(2));
        assert_eq!(chat(&mut connection, &headers, &body(number)).status, 200);
    }
    for number in 10..14 {
        assert_eq!(chat(&mut connection, "", &body(number)).status, 200);
    }
    for wait in [1, 2, 4] {
        assert_eq!(chat(&mut connection, &fault("500x3"), CHAT).status, 500);
        clock.advance(seconds(wait));
    }
    assert_eq!(chat(&mut connection, &fault("500x3"), CHAT).status, 200);
    let report = server.report(None);
    assert_eq!(findings(&server), Vec::<&str>::new());
    assert_eq!((report.retries.retries, report.retries.obeyed, report.retries.early), (8, 5, 0));
    assert_eq!((report.retries.calls, report.retries.most_attempts), (10, 4));
    assert!(!report.has_failed());
}

#[test]
fn twenty_alike_requests_at_once_that_wait_yield_no_finding() {
    let (server, clock) = with_clock(Config { limits: vec![LimitSpec::rpm(10)], ..Config::for_test() });
    let address = server.address();
    let refused: Vec<_> = (0..20)
        .map(|_| {
            thread::spawn(move || {
                let mut connection = Connection::open(address);
                let status = chat(&mut connection, "", CHAT).status;
                (status == 429).then_some(connection)
            })
        })
        .collect::<Vec<_>>()
        .into_iter()
        .filter_map(|thread| thread.join().unwrap())
        .collect();
    assert_eq!(refused.len(), 10);
    clock.advance(seconds(60));
    for mut connection in refused {
        assert_eq!(chat(&mut connection, "", CHAT).status, 200);
    }
    assert_eq!(findings(&server), Vec::<&str>::new());
    assert_eq!(server.report(None).retries.early, 0);
}

#[test]
fn users_who_join_and_repeat_one_body_are_not_found_early() {
    let (server, clock) = with_clock(Config { limits: vec![LimitSpec::rpm(6)], ..Config::for_test() });
    let mut users: Vec<(Connection, Duration)> = Vec::new();
    let mut now = Duration::ZERO;
    // Each tenth of a second a user joins. Each user waits as it was asked to.
    for _ in 0..300 {
        if users.len() < 12 {
            users.push((Connection::open(server.address()), Duration::ZERO));
        }
        for (connection, due) in &mut users {
            if now >= *due {
                let response = chat(connection, "", CHAT);
                let wait = response.headers.get("retry-after-ms").map_or(500, |wait| wait.parse().unwrap());
                *due = now + Duration::from_millis(wait);
            }
        }
        clock.advance(Duration::from_millis(100));
        now += Duration::from_millis(100);
    }
    assert!(server.report(None).traffic.by_status["429"] > 10);
    assert_eq!(findings(&server), Vec::<&str>::new());
    let retries = server.report(None).retries;
    assert!(retries.early == 0 && retries.could_not_be_told_apart > 10, "{retries:?}");
}

#[test]
fn early_retries_are_found_on_pooled_and_on_new_connections() {
    let (server, clock) = with_clock(Config::for_test());
    let mut pool: Vec<_> = (0..4).map(|_| Connection::open(server.address())).collect();
    for (number, connection) in pool.iter_mut().enumerate() {
        assert_eq!(chat(connection, "", &body(number)).status, 200);
    }
    // A gateway sends the retry on the next connection of its pool.
    for number in 10..20 {
        let refused = format!("authorization: Bearer sk-caller-{number}\r\n{}", fault("429x1~retry-after=10"));
        assert_eq!(chat(&mut pool[number % 4], &refused, &body(number)).status, 429);
        clock.advance(seconds(1));
        assert_eq!(chat(&mut pool[(number + 1) % 4], &refused, &body(number)).status, 200);
    }
    assert_eq!(server.report(None).retries.early, 10);
    // A loop opens a connection for each request.
    for _ in 0..2 {
        let mut connection = Connection::open(server.address());
        chat(&mut connection, &fault("429x1~retry-after=10"), CHAT);
        drop(connection);
        eventually("the connection is closed", || metrics(&server)["fake_openai_connections_open"] == 5.0);
        clock.advance(seconds(1));
    }
    assert_eq!(server.report(None).retries.early, 11);
    assert_eq!(findings(&server), ["retry_after"]);
}

#[test]
fn a_retry_before_the_announced_time_is_found() {
    let (server, clock) = with_clock(Config::for_test());
    let mut connection = Connection::open(server.address());
    assert_eq!(chat(&mut connection, &fault("429x1~retry-after=10"), CHAT).status, 429);
    clock.advance(seconds(4));
    assert_eq!(chat(&mut connection, &fault("429x1~retry-after=10"), CHAT).status, 200);
    assert_eq!(findings(&server), ["retry_after"]);
    let report = server.report(None);
    let finding = &report.findings[report.findings.len() - 1];
    assert_eq!((finding.count, &finding.entries), (1, &vec!["req_2".to_owned()]));
    assert!(finding.text.contains("1 of 1 announced waits") && finding.text.contains("40.0 %"), "{}", finding.text);
}

#[test]
fn many_attempts_of_one_call_are_a_storm() {
    let (server, clock) = with_clock(Config::for_test());
    let mut connection = Connection::open(server.address());
    for attempt in 0..7 {
        assert_eq!(chat(&mut connection, &fault("503x7"), CHAT).status, 503);
        clock.advance(Duration::from_millis(100 << attempt));
    }
    assert_eq!(chat(&mut connection, &fault("503x7"), CHAT).status, 200);
    assert_eq!(findings(&server), ["retry_storm"]);
}

#[test]
fn a_loop_without_a_delay_hammers() {
    let (server, _clock) = with_clock(Config { limits: vec![LimitSpec::rpm(1)], ..Config::for_test() });
    let mut connection = Connection::open(server.address());
    assert_eq!(chat(&mut connection, "", &body(0)).status, 200);
    // Four calls of four attempts each: no call alone is a storm. Other calls lower the mean.
    for call in 1..=4 {
        for _ in 0..4 {
            assert_eq!(chat(&mut connection, "", &body(call)).status, 429);
        }
    }
    for call in 5..25 {
        assert_eq!(chat(&mut connection, "", &body(call)).status, 429);
    }
    let mut found = findings(&server);
    found.sort_unstable();
    assert_eq!(found, ["hammering", "retry_after"]);
    let report = server.report(None);
    let finding = report.findings.iter().find(|finding| finding.check == "hammering").unwrap();
    assert_eq!((finding.count, finding.entries.len()), (12, 5));
}

#[test]
fn waits_that_do_not_grow_are_found() {
    let (server, clock) = with_clock(Config::for_test());
    let mut connection = Connection::open(server.address());
    for number in 0..4 {
        assert_eq!(chat(&mut connection, "", &body(number)).status, 200);
    }
    for _ in 0..3 {
        assert_eq!(chat(&mut connection, &fault("500x3"), CHAT).status, 500);
        clock.advance(seconds(1));
    }
    assert_eq!(chat(&mut connection, &fault("500x3"), CHAT).status, 200);
    assert_eq!(findings(&server), ["no_backoff"]);
}

#[test]
fn retries_of_final_errors_are_found() {
    for error in ["400", "401", "404", "422", "429:insufficient_quota"] {
        let (server, clock) = with_clock(Config::for_test());
        let mut connection = Connection::open(server.address());
        assert!(chat(&mut connection, &fault(error), CHAT).status >= 400);
        clock.advance(seconds(100));
        assert_eq!(chat(&mut connection, "", CHAT).status, 200);
        assert_eq!(findings(&server), ["retried_final"], "{error}");
    }
}

#[test]
fn a_named_call_that_succeeds_twice_is_found() {
    let server = serve(Config::for_test());
    let mut connection = Connection::open(server.address());
    for _ in 0..2 {
        assert_eq!(chat(&mut connection, "idempotency-key: k-1\r\n", CHAT).status, 200);
    }
    assert_eq!(findings(&server), ["duplicate_success"]);
    assert_eq!(server.report(None).findings[0].entries, ["req_2"]);
}

#[test]
fn streams_whose_client_left_are_found() {
    let server = serve(Config::for_test());
    let mut connection = Connection::open(server.address());
    let stream = CHAT.replacen('{', "{\"stream\":true,", 1);
    let head = format!(
        "POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\nx-fake-openai: stall@3\r\ncontent-length: {}\r\n\r\n{stream}",
        stream.len()
    );
    connection.send(head.as_bytes()).unwrap();
    assert_eq!(connection.head().unwrap().status, 200);
    drop(connection);
    eventually("the client has left", || metrics(&server)["fake_openai_requests_in_flight"] == 0.0);
    assert_eq!(findings(&server), ["abandoned"]);
    let report = server.report(None);
    assert!(report.streams.tokens_undelivered > 0 && !report.has_failed(), "a warning fails nothing");
}

#[test]
fn unequal_shares_of_deployments_are_found() {
    let limits = vec![LimitSpec { per: vec![Dimension::Deployment], ..LimitSpec::rpm(1_000_000) }];
    let server = serve(Config { limits, ..Config::for_test() });
    let mut connection = Connection::open(server.address());
    let mut send = |deployment: &str, count: usize| {
        for number in 0..count {
            let path = format!("/openai/deployments/{deployment}/chat/completions?api-version=2024-10-21");
            assert_eq!(connection.request("POST", &path, "api-key: x\r\n", &body(number)).unwrap().status, 200);
        }
    };
    send("east", 60);
    send("west", 50);
    assert_eq!(findings(&server), Vec::<&str>::new(), "9 % off");
    send("east", 60);
    assert_eq!(findings(&server), ["unbalanced"]);
}

#[test]
fn an_offered_rate_far_above_the_limit_is_found() {
    let (server, clock) = with_clock(Config { limits: vec![LimitSpec::rpm(60)], ..Config::for_test() });
    let mut connection = Connection::open(server.address());
    for second in 0..12 {
        for number in 0..3 {
            chat(&mut connection, "", &body(second * 3 + number));
        }
        clock.advance(seconds(1));
    }
    assert_eq!(findings(&server), ["over_quota"]);
}

#[test]
fn a_connection_for_each_request_is_found() {
    let server = serve(Config::for_test());
    for number in 0..60 {
        let mut connection = Connection::open(server.address());
        assert_eq!(chat(&mut connection, "", &body(number)).status, 200);
    }
    eventually("the connections are closed", || metrics(&server)["fake_openai_connections_open"] <= 1.0);
    assert_eq!(findings(&server), ["connection_churn"]);
}

#[test]
fn thresholds_and_scopes_select_what_is_judged() {
    let directory = Directory::new();
    let path = directory.path().join("fake.yaml");
    fs::write(&path, "checks:\n  retry_after: off\n  duplicate_success: {warn_above: 0}\n").unwrap();
    let config = Config::try_from(Settings::read(&path).unwrap()).unwrap();
    let server = serve(Config { checks: config.checks, ..Config::for_test() });
    let mut connection = Connection::open(server.address());
    for _ in 0..2 {
        chat(&mut connection, "x-fake-openai: scope=a~429x1~retry-after=10\r\n", CHAT);
        chat(&mut connection, "x-fake-openai: scope=b~call=one\r\n", CHAT);
    }
    let of = |scope: &str| {
        let response = Connection::open(server.address()).admin("GET", &format!("/report?scope={scope}"), "");
        response.json()["findings"]
            .as_array()
            .unwrap()
            .iter()
            .map(|finding| finding["check"].clone())
            .collect::<Vec<_>>()
    };
    assert_eq!((of("a"), of("b")), (vec![], vec![Value::from("duplicate_success")]));
    assert!(!server.report(Some("b")).has_failed());
    assert_eq!(server.report(Some("a")).retries.early, 1);
    let unknown = Connection::open(server.address()).admin("GET", "/report?scope=c", "");
    assert_eq!(unknown.status, 404);
    assert_eq!(Connection::open(server.address()).admin("POST", "/reset", "").status, 204);
    assert_eq!(server.report(None).retries.retries, 0);
}

#[test]
fn decisions_of_limits_belong_to_their_scope() {
    let server = serve(Config { limits: vec![LimitSpec::rpm(2)], ..Config::for_test() });
    let mut connection = Connection::open(server.address());
    for number in 0..3 {
        chat(&mut connection, &fault("scope=a"), &body(number));
    }
    chat(&mut connection, &fault("scope=b"), CHAT);
    chat(&mut connection, "", CHAT);
    let of = |scope: Option<&str>| {
        let decisions = server.report(scope).limits.decisions;
        decisions.iter().map(|limit| (limit.unit, limit.allowed, limit.refused)).collect::<Vec<_>>()
    };
    assert_eq!((of(Some("a")), of(Some("b"))), (vec![("requests", 2, 1)], vec![("requests", 1, 0)]));
    assert_eq!(of(None), [("requests", 4, 1)]);
    assert_eq!(connection.admin("POST", "/reset?scope=a", "").status, 204);
    assert_eq!(of(Some("a")), []);
}

#[test]
fn planned_refusals_offer_no_rate_to_a_limit() {
    let (server, clock) = with_clock(Config::for_test());
    let mut connection = Connection::open(server.address());
    for second in 0..12 {
        for number in 0..3 {
            chat(&mut connection, &fault("429"), &body(second * 3 + number));
        }
        clock.advance(seconds(1));
    }
    assert_eq!(findings(&server), Vec::<&str>::new());
    assert!(server.report(None).limits.buckets.is_empty());
}

#[test]
fn checks_of_the_file_are_checked_at_start() {
    let directory = Directory::new();
    let path = directory.path().join("fake.yaml");
    for (text, expected) in [
        ("checks: {retry_aftr: off}", "did you mean `retry_after`?"),
        ("checks:\n  hammering: {fail_above: 2%}", "fake.yaml:1: checks: hammering: the threshold is no share"),
        ("checks: off", "checks: this is not a mapping"),
        ("report: [r.pdf]", "name a file .json, .html or .xml"),
    ] {
        fs::write(&path, text).unwrap();
        let output = run(&["check", "--config", path.to_str().unwrap()]);
        let error = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(2), "{text}: {error}");
        assert!(error.contains(expected), "{text}: {error}");
    }
}

/// Returns the names of the elements of a text in XML that nothing closes, or that close nothing.
fn unbalanced_elements(xml: &str) -> Vec<String> {
    let (mut open, mut wrong) = (Vec::new(), Vec::new());
    for tag in xml.split('<').skip(1) {
        let (tag, _) = tag.split_once('>').expect("a tag ends");
        let name = tag.trim_start_matches('/').split([' ', '/']).next().unwrap().to_owned();
        match () {
            () if tag.starts_with(['?', '!']) || tag.ends_with('/') => {}
            () if tag.starts_with('/') => {
                if open.pop() != Some(name.clone()) {
                    wrong.push(name);
                }
            }
            () => open.push(name),
        }
    }
    wrong.extend(open);
    wrong
}

#[test]
fn the_report_is_json_a_page_and_junit() {
    let (server, clock) =
        with_clock(Config { limits: vec![LimitSpec::per_minute(Unit::Tokens, 9)], ..Config::for_test() });
    let mut connection = Connection::open(server.address());
    let secret = "authorization: Bearer sk-not-to-be-shown-1234\r\n";
    let named = format!("{secret}idempotency-key: <script>alert(1)</script>\r\n");
    let model = CHAT.replace("gpt-4o", "<b>&\\\"model'");
    for _ in 0..2 {
        chat(&mut connection, &named, &model);
        clock.advance(seconds(1));
    }
    let junit = connection.admin("GET", "/report?format=junit", "");
    assert_eq!(junit.header("content-type"), "application/xml; charset=utf-8");
    let xml = junit.text();
    assert_eq!(unbalanced_elements(xml), Vec::<String>::new(), "{xml}");
    assert_eq!(xml.matches("<testcase ").count(), 11);
    assert!(xml.starts_with("<?xml") && xml.contains("tests=\"11\""), "{xml}");
    assert_eq!(
        xml.matches("<failure ").count(),
        server
            .report(None)
            .findings
            .iter()
            .filter(|finding| { finding.severity == fake_openai::config::Severity::Failed })
            .count()
    );
    let page = connection.request("GET", "/__admin/report", "host: localhost\r\naccept: text/html\r\n", "").unwrap();
    assert_eq!(page.header("content-type"), "text/html; charset=utf-8");
    let html = page.text();
    assert!(!html.contains("<b>&\"") && !html.contains("<script") && html.contains("&lt;b&gt;&amp;&quot;model&#39;"));
    let json = connection.admin("GET", "/report", "").json();
    for section in ["findings", "checks", "traffic", "limits", "retries", "streams", "latency", "server"] {
        assert!(json[section].is_object() || json[section].is_array(), "{section}: {json}");
    }
    assert_eq!(json["limits"]["buckets"][0]["unit"], "tokens");
    assert_eq!(json["traffic"]["by_key_hash"][0]["requests"], 2);
    for text in [xml, html, &json.to_string()] {
        assert!(!text.contains("not-to-be-shown"));
    }
    assert_eq!(connection.admin("GET", "/report?format=pdf", "").status, 400);
}

#[test]
fn the_command_exits_with_1_if_a_check_failed() {
    let server = serve(Config::for_test());
    let mut connection = Connection::open(server.address());
    chat(&mut connection, "idempotency-key: k\r\n", CHAT);
    let output = run(&["report", server.url()]);
    let text = String::from_utf8(output.stdout).unwrap();
    assert_eq!(output.status.code(), Some(0), "{text}");
    assert!(text.contains("1 requests, 1 calls"), "{text}");
    chat(&mut connection, "idempotency-key: k\r\n", CHAT);
    let directory = Directory::new();
    let file = |name: &str| directory.path().join(name).to_str().unwrap().to_owned();
    let (xml, html, json) = (file("r.xml"), file("r.html"), file("r.json"));
    let output = run(&["report", server.url(), "--junit", &xml, "--html", &html, "--json", &json]);
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8(output.stdout).unwrap().contains("failed duplicate_success: "));
    assert!(String::from_utf8(output.stderr).unwrap().contains("failed checks: duplicate_success"));
    assert!(fs::read_to_string(xml).unwrap().contains("<failure "));
    assert!(fs::read_to_string(html).unwrap().starts_with("<!doctype html>"));
    let written: Value = serde_json::from_str(&fs::read_to_string(json).unwrap()).unwrap();
    assert_eq!(written["findings"][0]["check"], "duplicate_success");
    for wrong in [vec!["report"], vec!["report", "ftp://x"], vec!["report", server.url(), "--scope", "none"]] {
        assert_eq!(run(&wrong).status.code(), Some(2), "{wrong:?}");
    }
    drop(connection);
    let url = server.url().to_owned();
    drop(server);
    assert_eq!(run(&["report", &url]).status.code(), Some(1), "the server is gone");
}

#[test]
fn the_command_takes_no_other_json_for_a_report() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let other = thread::spawn(move || {
        let (mut client, _) = listener.accept().unwrap();
        let _ = client.read(&mut [0; 1024]).unwrap();
        client.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}").unwrap();
    });
    let output = run(&["report", &url]);
    other.join().unwrap();
    let error = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.code() == Some(2) && error.contains("is not a report; check the URL"), "{error}");
}

#[test]
fn reports_are_written_after_the_drain() {
    let directory = Directory::new();
    let files = ["r.json", "r.html", "r.xml"].map(|name| directory.path().join(name));
    let server = serve(Config { report: files.to_vec(), ..Config::for_test() });
    let mut connection = Connection::open(server.address());
    chat(&mut connection, "", CHAT);
    drop(connection);
    server.stop().unwrap();
    let [json, html, xml] = files.map(|path| fs::read_to_string(path).unwrap());
    let json: Value = serde_json::from_str(&json).unwrap();
    assert_eq!(json["traffic"]["by_status"]["200"], 1);
    assert!(html.starts_with("<!doctype html>") && xml.starts_with("<?xml"));
}
