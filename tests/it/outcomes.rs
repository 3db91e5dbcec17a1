//! The end of each request: its outcome, how far the response had come, and the tokens that were delivered.

use std::{collections::BTreeMap, thread, time::Duration};

use fake_openai::{Config, LatencySpec, Running};
use serde_json::{Value, json};

use crate::{
    client::{CHAT, Connection, End, eventually, serve},
    program::Directory,
};

/// Returns the lines of `/metrics` that are values, by their name with its labels.
pub fn metrics(server: &Running) -> BTreeMap<String, f64> {
    let page = Connection::open(server.address()).get("/metrics");
    let values = page.text().lines().filter(|line| !line.starts_with('#'));
    values
        .filter_map(|line| line.rsplit_once(' '))
        .map(|(name, value)| (name.to_owned(), value.parse().unwrap()))
        .collect()
}

/// Returns the number of responses that ended so.
fn responses(server: &Running, outcome: &str, phase: &str) -> f64 {
    let name = format!("fake_openai_responses_total{{outcome=\"{outcome}\",phase=\"{phase}\"}}");
    metrics(server).get(&name).copied().unwrap_or(0.0)
}

fn sum(metrics: &BTreeMap<String, f64>, start: &str) -> f64 {
    metrics.iter().filter(|(name, _)| name.starts_with(start)).map(|(_, value)| value).sum()
}

fn send(connection: &mut Connection, fault: &str, body: &str) {
    let head = format!(
        "POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\nx-fake-openai: {fault}\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    );
    connection.send(head.as_bytes()).unwrap();
}

fn stream() -> String {
    CHAT.replacen('{', "{\"stream\":true,", 1)
}

#[test]
fn each_outcome_is_counted_in_its_phase() {
    let server = serve(Config::for_test());
    // The fault, the body, the status and the expected end.
    let ended = [
        ("ok", CHAT.to_owned(), Some(200), "complete", "done"),
        ("ok", stream(), Some(200), "complete", "done"),
        ("429", CHAT.to_owned(), Some(429), "complete", "done"),
        ("503", stream(), Some(503), "complete", "done"),
        ("reset", CHAT.to_owned(), None, "fault", "before_head"),
        ("empty", stream(), None, "fault", "before_head"),
        ("cut@0", stream(), Some(200), "fault", "before_first_token"),
        ("cut@3", stream(), Some(200), "fault", "mid_stream"),
        ("reset@3", stream(), Some(200), "fault", "mid_stream"),
        ("cut@10", CHAT.to_owned(), Some(200), "fault", "mid_stream"),
    ];
    let mut expected: BTreeMap<(&str, &str), f64> = BTreeMap::new();
    for (fault, body, status, outcome, phase) in &ended {
        let mut connection = Connection::open(server.address());
        send(&mut connection, fault, body);
        let head = connection.head().ok().map(|response| response.status);
        assert_eq!(head, *status, "{fault}");
        if *outcome == "fault" {
            assert_ne!(connection.rest().1, End::Whole, "{fault}");
        }
        *expected.entry((outcome, phase)).or_default() += 1.0;
        eventually(fault, || responses(&server, outcome, phase) == expected[&(*outcome, *phase)]);
    }
    // The client leaves.
    for (fault, body, phase) in [
        ("hang", CHAT.to_owned(), "before_head"),
        ("ttft=1h", stream(), "before_head"),
        ("stall@0", stream(), "before_first_token"),
        ("stall@4", stream(), "mid_stream"),
    ] {
        let before = responses(&server, "client_left", phase);
        let mut connection = Connection::open(server.address());
        send(&mut connection, fault, &body);
        if phase != "before_head" {
            assert_eq!(connection.head().unwrap().status, 200);
        }
        if phase == "mid_stream" {
            for _ in 0..4 {
                connection.chunk().unwrap();
            }
        }
        eventually("the request is in flight", || metrics(&server)["fake_openai_requests_in_flight"] == 1.0);
        drop(connection);
        eventually(fault, || responses(&server, "client_left", phase) == before + 1.0);
    }
    let metrics = metrics(&server);
    assert_eq!(sum(&metrics, "fake_openai_responses_total"), 14.0);
    assert_eq!(sum(&metrics, "fake_openai_requests_total"), 14.0);
    let without_head: f64 =
        metrics.iter().filter(|(name, _)| name.contains("status=\"none\"")).map(|(_, value)| value).sum();
    assert_eq!(without_head, 4.0, "reset, empty, hang and a client that left before the first token");
    assert_eq!(metrics["fake_openai_faults_total{fault=\"cut\"}"], 3.0);
    assert_eq!(metrics["fake_openai_faults_total{fault=\"429\"}"], 1.0);
}

#[test]
fn responses_that_the_stop_cuts_are_drained() {
    let directory = Directory::new();
    let file = directory.file("journal");
    let journal_file = Some(file.clone().into());
    let server = serve(Config { drain: Duration::from_millis(50), journal_file, ..Config::for_test() });
    let mut connection = Connection::open(server.address());
    send(&mut connection, "stall@4", &stream());
    assert_eq!(connection.head().unwrap().status, 200);
    (0..4).for_each(|_| _ = connection.chunk().unwrap());
    let reader = thread::spawn(move || connection.rest());
    let stopped = server.stop().unwrap();
    assert_eq!((stopped.taken, stopped.cut), (1, 1));
    assert_ne!(reader.join().unwrap().1, End::Whole);
    let line: Value = serde_json::from_str(std::fs::read_to_string(&file).unwrap().trim()).unwrap();
    let response = &line["response"];
    assert_eq!((&response["outcome"], &response["phase"]), (&json!("drained"), &json!("mid_stream")));
    assert_eq!(response["events_sent"], 4);
    assert!(response["tokens_undelivered"].as_u64().unwrap() > 0);
}

#[test]
fn delivered_and_undelivered_tokens_are_those_of_the_usage() {
    let itl = LatencySpec { itl: Some("1ms".parse().unwrap()), ..LatencySpec::default() };
    let server = serve(Config { latency: itl, ..Config::for_test() });
    let body = r#"{"model":"gpt-4o","messages":[{"role":"user","content":"Hi"}],"stream":true,"stream_options":{"include_usage":true}}"#;
    let mut connection = Connection::open(server.address());
    let response = connection.post("/v1/chat/completions", body);
    let usage = response.text().lines().find_map(|line| {
        let value: serde_json::Value = serde_json::from_str(line.strip_prefix("data: ")?).ok()?;
        value["usage"]["completion_tokens"].as_f64()
    });
    let usage = usage.unwrap();
    let output = "fake_openai_tokens_total{direction=\"output\",model=\"gpt-4o\"}";
    let undelivered = "fake_openai_tokens_undelivered_total{model=\"gpt-4o\"}";
    let before = metrics(&server);
    assert_eq!((before[output], before[undelivered]), (usage, 0.0));

    // Of each stream that is cut, the tokens add up to the usage.
    for fault in ["cut@0", "cut@1", "cut@4", "cut@4~slow-body=10KB", "cut@4~gzip", "cut@5~keepalive=1ms"] {
        let before = metrics(&server);
        let mut connection = Connection::open(server.address());
        send(&mut connection, fault, body);
        let (_, end) = connection.rest();
        assert_ne!(end, End::Whole, "{fault}");
        let after = metrics(&server);
        let (sent, lost) = (after[output] - before[output], after[undelivered] - before[undelivered]);
        assert_eq!(sent + lost, usage, "{fault}");
        assert!(lost > 0.0 && (sent > 0.0) == fault.contains("@4") || fault.contains("@5"), "{fault}: {sent} {lost}");
    }
}

#[test]
fn intended_and_actual_times_are_counted_for_each_token() {
    let latency = LatencySpec {
        ttft: Some("20ms".parse().unwrap()),
        itl: Some("2ms".parse().unwrap()),
        ..LatencySpec::default()
    };
    let server = serve(Config { latency, ..Config::for_test() });
    let mut connection = Connection::open(server.address());
    assert_eq!(connection.post("/v1/chat/completions", &stream()).status, 200);
    assert_eq!(connection.chat(CHAT).status, 200);
    let metrics = metrics(&server);
    let count = |name: &str, kind: &str| metrics[&format!("fake_openai_{name}_seconds_count{{kind=\"{kind}\"}}")];
    for kind in ["intended", "actual"] {
        assert_eq!(count("time_to_first_token", kind), 1.0, "only streams have one");
        assert_eq!(count("request_duration", kind), 2.0);
        assert!(count("inter_token", kind) >= 2.0);
    }
    let first = |kind: &str| metrics[&format!("fake_openai_time_to_first_token_seconds_sum{{kind=\"{kind}\"}}")];
    assert_eq!(first("intended"), 0.02);
    assert!(first("actual") >= 0.02, "no event is early");
}

#[test]
fn labels_are_bounded() {
    let server = serve(Config::for_test());
    let mut connection = Connection::open(server.address());
    for n in 0..130 {
        assert_eq!(connection.chat(&CHAT.replace("gpt-4o", &format!("model-{n}"))).status, 200);
    }
    let metrics = metrics(&server);
    let models = metrics.keys().filter(|name| name.starts_with("fake_openai_requests_total")).count();
    assert_eq!(models, 101);
    let other = metrics.iter().find(|(name, _)| name.contains("requests_total") && name.contains("model=\"other\""));
    assert_eq!(other.unwrap().1, &30.0);
}
