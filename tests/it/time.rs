//! Latency: lower bounds only, because a busy machine adds to it, and the reported durations.

use std::time::{Duration, Instant};

use fake_openai::{
    Config, Settings,
    config::LatencySpec,
    traffic::capacity::{ConcurrencySpec, QueuedHead},
};

use crate::client::{CHAT, Connection, End, Response, eventually, serve};

fn latency(ttft: &str, itl: &str) -> LatencySpec {
    LatencySpec { ttft: Some(ttft.parse().unwrap()), itl: Some(itl.parse().unwrap()), prefill: None }
}

fn streamed() -> String {
    CHAT.replace("}]}", r#"}],"stream":true}"#)
}

fn millis(response: &Response) -> u64 {
    response.header("openai-processing-ms").parse().unwrap()
}

#[test]
fn responses_take_at_least_the_configured_latency() {
    let server = serve(Config { latency: latency("40ms", "3ms"), ..Config::for_test() });
    let mut connection = Connection::open(server.address());
    let start = Instant::now();
    let whole = connection.chat(CHAT);
    // The default reply has 12 completion tokens.
    let intended = 40 + 12 * 3;
    assert!(start.elapsed() >= Duration::from_millis(intended));
    assert!(millis(&whole) >= intended);

    let start = Instant::now();
    let stream = connection.chat(&streamed());
    assert!(millis(&stream) >= 40, "the header of a stream reports the time to its first token");
    let tokens =
        stream.chunks.iter().filter(|chunk| String::from_utf8_lossy(chunk).contains(r#"{"content":""#)).count();
    assert!(start.elapsed() >= Duration::from_millis(40 + (tokens as u64 - 1) * 3));
    assert_eq!(stream.chunks.last().unwrap(), b"data: [DONE]\n\n");
}

#[test]
fn errors_and_model_lists_take_no_model_time() {
    // A client gives up long before an hour has passed.
    let server = serve(Config { server_timing: true, latency: latency("1h", "1h"), ..Config::for_test() });
    let mut connection = Connection::open(server.address());
    for (response, status) in [(connection.chat("{}"), 400), (connection.get("/v1/models"), 200)] {
        assert_eq!(response.status, status);
        let timing = response.header("server-timing");
        assert!(timing.split(", ").any(|part| part == "intended;dur=0.000"), "{status}: {timing}");
    }
}

#[test]
fn server_timing_reports_actual_and_intended_duration() {
    let server = serve(Config { server_timing: true, latency: latency("40ms", "1ms"), ..Config::for_test() });
    let mut connection = Connection::open(server.address());
    let timing = |response: &Response| -> Vec<f64> {
        let text = response.header("server-timing");
        ["fake;dur=", "queue;dur=", "intended;dur="]
            .map(|name| text.split(", ").find_map(|part| part.strip_prefix(name)).unwrap().parse().unwrap())
            .into()
    };
    let whole = timing(&connection.chat(CHAT));
    assert!(whole[0] > 0.0 && whole[1] == 0.0 && whole[2] == 52.0, "{whole:?}");
    assert_eq!(timing(&connection.chat(&streamed()))[2], 40.0);
    assert_eq!(timing(&connection.chat("{}"))[2], 0.0);
}

#[test]
fn metrics_count_requests_tokens_and_lateness() {
    let server = serve(Config { latency: latency("5ms", "1ms"), ..Config::for_test() });
    let mut connection = Connection::open(server.address());
    let number = |text: &str, name: &str| -> f64 {
        let line = text.lines().find(|line| line.starts_with(&format!("{name} "))).unwrap_or_else(|| panic!("{text}"));
        line.split(' ').nth(1).unwrap().parse().unwrap()
    };
    let stream = connection.chat(&streamed());
    let metrics = connection.get("/metrics");
    assert_eq!(metrics.header("content-type"), "text/plain; version=0.0.4; charset=utf-8");
    let text = metrics.text();
    assert_eq!(
        number(
            text,
            "fake_openai_requests_total{route=\"openai/chat.json\",model=\"gpt-4o\",status=\"200\",deployment=\"\"}"
        ),
        1.0,
        "requests of its own pages are not counted"
    );
    assert_eq!(number(text, "fake_openai_requests_in_flight"), 0.0);
    let usage = &connection.chat(CHAT).json()["usage"];
    let after = connection.get("/metrics");
    for (name, told) in [("prompt_tokens", "prompt_tokens"), ("generation_tokens", "completion_tokens")] {
        let (told, name) = (usage[told].as_f64().unwrap(), format!("vllm:{name}_total"));
        assert_eq!(number(after.text(), &name) - number(text, &name), told, "the metrics count the usage of responses");
    }
    assert_eq!(number(text, "fake_openai_lateness_seconds_count"), stream.chunks.len() as f64);
}

#[test]
fn latency_faults_delay_the_response() {
    let server = serve(Config::for_test());
    let mut connection = Connection::open(server.address());
    for (model, least) in [("gpt-4o~ttft=30ms", 30), ("gpt-4o~503~ttft=30ms", 30), ("gpt-4o~itl=3ms", 36)] {
        let start = Instant::now();
        connection.chat(&CHAT.replace("gpt-4o", model));
        assert!(start.elapsed() >= Duration::from_millis(least), "{model}");
    }
    let stored = connection.post("/v1/responses", r#"{"model": "gpt-4o", "input": "Hi"}"#).json();
    let path = format!("/v1/responses/{}?stream=true&fake=ttft=30ms", stored["id"].as_str().unwrap());
    let start = Instant::now();
    assert!(connection.get(&path).chunks.len() > 1);
    assert!(start.elapsed() >= Duration::from_millis(30), "a stored stream has no pace, and begins as late");
    let start = Instant::now();
    let stream = connection.chat(&streamed().replace("gpt-4o", "gpt-4o~stall@3:50ms"));
    assert!(start.elapsed() >= Duration::from_millis(50));
    assert_eq!(stream.chunks.last().unwrap(), b"data: [DONE]\n\n");
    let kept = connection.chat(&streamed().replace("gpt-4o", "gpt-4o~ttft=100ms~keepalive=20ms"));
    assert_eq!(kept.chunks.iter().filter(|chunk| *chunk == b": keep-alive\n\n").count(), 4, "{kept:?}");
}

#[test]
fn a_full_server_queues_some_requests_and_refuses_the_rest() {
    let capacity = Some(ConcurrencySpec { max: 1, queue: Some(1), head: None, slowdown: 1.0 });
    let server = serve(Config { capacity, ..Config::for_test() });
    let send = |body: &str| {
        let mut connection = Connection::open(server.address());
        let head = "POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\n";
        connection.send(format!("{head}content-length: {}\r\n\r\n{body}", body.len()).as_bytes()).unwrap();
        connection
    };
    let mut first = send(&streamed().replace("gpt-4o", "gpt-4o~stall@2"));
    first.head().unwrap();
    let mut second = send(CHAT);
    eventually("the second request waits in the queue", || server.in_flight() == 2);
    // Once the second request is in the queue, all later ones are refused.
    eventually("a request is refused because the queue is full", || {
        let mut refused = send(&CHAT.replace("gpt-4o", "gpt-4o~stall@2"));
        refused.head().unwrap().status == 503
    });
    assert_eq!(
        Connection::open(server.address()).get("/v1/models").status,
        200,
        "endpoints without a model are not queued"
    );
    drop(first);
    assert_eq!(second.response(false).unwrap().status, 200, "the permit goes to the next request in the queue");
    let mut third = send(&streamed());
    third.head().unwrap();
    assert_eq!(third.stream().1, End::Whole);
}

/// Sends a request whose response is read later.
fn sent(server: &fake_openai::Running, path: &str, body: &str) -> Connection {
    let mut connection = Connection::open(server.address());
    let head = format!("POST {path} HTTP/1.1\r\nhost: x\r\ncontent-length: {}\r\n\r\n{body}", body.len());
    connection.send(head.as_bytes()).unwrap();
    connection
}

fn waiting(server: &fake_openai::Running) -> String {
    let metrics = Connection::open(server.address()).get("/metrics").text().to_owned();
    let line = metrics.lines().find_map(|line| line.strip_prefix("fake_openai_requests_waiting "));
    line.unwrap_or_default().to_owned()
}

#[test]
fn the_head_of_a_queued_stream_is_sent_at_once_if_wanted() {
    let capacity = Some(ConcurrencySpec { max: 1, queue: None, head: Some(QueuedHead::AtOnce), slowdown: 1.0 });
    let server = serve(Config { capacity, latency: latency("20ms", "1ms"), ..Config::for_test() });
    let path = "/v1/chat/completions";
    let mut first = sent(&server, path, &streamed().replace("gpt-4o", "gpt-4o~stall@2"));
    first.head().unwrap();
    let mut second = sent(&server, path, &streamed());
    assert_eq!(second.head().unwrap().status, 200, "no permit is free");
    assert_eq!(waiting(&server), "1");
    // A response that is no stream has no head before its body.
    let mut third = sent(&server, path, CHAT);
    eventually("the third request waits", || waiting(&server) == "2");
    let freed = Instant::now();
    drop(first);
    let (chunks, end) = second.stream();
    assert_eq!((chunks.last().map(String::as_str), end), (Some("data: [DONE]\n\n"), End::Whole));
    assert!(freed.elapsed() >= Duration::from_millis(20), "the time to the first token starts with the permit");
    assert_eq!(third.response(false).unwrap().status, 200);
    eventually("no request is in flight", || server.in_flight() == 0);
    assert_eq!(waiting(&server), "0");
    // A client that leaves while it waits gives up its place.
    let mut holder = sent(&server, path, &streamed().replace("gpt-4o", "gpt-4o~stall@2"));
    holder.head().unwrap();
    let mut left = sent(&server, path, &streamed());
    left.head().unwrap();
    assert_eq!(waiting(&server), "1");
    drop(left);
    eventually("the place is free", || waiting(&server) == "0");
    // No head is sent where a fault sends none.
    let mut reset = sent(&server, path, &streamed().replace("gpt-4o", "gpt-4o~reset"));
    eventually("the last request waits", || waiting(&server) == "1");
    drop(holder);
    assert!(reset.head().is_err());
}

#[test]
fn the_head_of_a_queued_stream_is_held_by_default() {
    for (path, head) in [("/v1/chat/completions", None), ("/llama-cpp/v1/chat/completions", None)] {
        let capacity = Some(ConcurrencySpec { max: 1, queue: None, head, slowdown: 1.0 });
        let server = serve(Config { capacity, ..Config::for_test() });
        let mut first = sent(&server, path, &streamed().replace("gpt-4o", "gpt-4o~stall@2"));
        first.head().unwrap();
        let second = sent(&server, path, &streamed());
        eventually("the second request waits", || waiting(&server) == "1");
        assert!(!second.has_received(), "{path}");
        drop(first);
        let mut second = second;
        assert_eq!(second.head().unwrap().status, 200, "{path}");
        assert_eq!(second.stream().1, End::Whole, "{path}");
    }
}

#[test]
fn a_request_that_leaves_the_queue_is_not_served() {
    let capacity = Some(ConcurrencySpec { max: 1, queue: Some(10), head: None, slowdown: 1.0 });
    let server = serve(Config { capacity, ..Config::for_test() });
    let mut holder = Connection::open(server.address());
    let body = streamed().replace("gpt-4o", "gpt-4o~stall@1");
    let head = "POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\n";
    let stalled = format!("{head}content-length: {}\r\n\r\n{body}", body.len());
    holder.send(stalled.as_bytes()).unwrap();
    holder.head().unwrap();
    let waiting: Vec<_> = (0..5)
        .map(|_| {
            let mut connection = Connection::open(server.address());
            connection.send(stalled.as_bytes()).unwrap();
            connection
        })
        .collect();
    eventually("five requests wait in the queue", || server.in_flight() == 6);
    let load = ["num_requests_running 1", "num_requests_waiting 5", "kv_cache_usage_perc 0"];
    eventually("the metrics report the running and waiting requests", || {
        let metrics = Connection::open(server.address()).get("/metrics");
        load.iter().all(|line| metrics.text().contains(&format!("\nvllm:{line}\n")))
    });
    drop(waiting);
    eventually("the requests that waited have ended", || server.in_flight() == 1);
    drop(holder);
    eventually("no request is in flight", || server.in_flight() == 0);
    assert_eq!(Connection::open(server.address()).chat(CHAT).status, 200);
}

#[test]
fn impossible_settings_are_reported_with_the_remedy() {
    let refused = |settings: Settings| Config::try_from(settings).unwrap_err().to_string();
    let of = |change: fn(&mut Settings)| {
        let mut settings = Settings::default();
        change(&mut settings);
        refused(settings)
    };
    assert!(of(|asked| asked.ttft = Some("300".into())).contains("ttft: `300` has no unit; write 300ms"));
    assert!(of(|asked| asked.itl = Some("ramp(1s,2s)".into())).contains("--fault"));
    assert!(of(|asked| asked.speed = Some(0.0)).contains("0.001 to 1000"));
    assert!(of(|asked| asked.queue = Some(3)).contains("max_concurrency"));
    assert!(of(|asked| asked.queue_head = Some(QueuedHead::Held)).contains("max_concurrency"));
    assert!(of(|asked| asked.max_concurrency = Some(0)).contains("1 to"));
    assert!(of(|asked| asked.fault = Some(vec!["boom".into()])).contains("there is no fault `boom`"));
}
