//! How long answers take, as far as a busy machine can tell: that they take no less, and what they say of it.

use std::time::{Duration, Instant};

use fake_openai::{Config, Settings, config::LatencySpec, traffic::capacity::ConcurrencySpec};

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
fn answers_take_no_less_than_they_are_told_to() {
    let server = serve(Config { latency: latency("40ms", "3ms"), ..Config::for_test() });
    let mut connection = Connection::open(server.address());
    let start = Instant::now();
    let whole = connection.chat(CHAT);
    // The canned reply is said to have 12 tokens.
    let intended = 40 + 12 * 3;
    assert!(start.elapsed() >= Duration::from_millis(intended));
    assert!(millis(&whole) >= intended);

    let start = Instant::now();
    let stream = connection.chat(&streamed());
    assert!(millis(&stream) >= 40, "a stream says when it began");
    let tokens =
        stream.chunks.iter().filter(|chunk| String::from_utf8_lossy(chunk).contains(r#"{"content":""#)).count();
    assert!(start.elapsed() >= Duration::from_millis(40 + (tokens as u64 - 1) * 3));
    assert_eq!(stream.chunks.last().unwrap(), b"data: [DONE]\n\n");
    let error = connection.chat("{}");
    assert_eq!(error.status, 400);
    let models = connection.get("/v1/models");
    assert!(millis(&models) < 40 || models.status == 200, "only what the model says takes time");
}

#[test]
fn an_answer_says_how_long_it_took_and_was_meant_to_take() {
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
fn the_server_tells_what_it_knows_of_itself() {
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
    assert_eq!(number(text, "fake_openai_requests_total"), 1.0, "its own pages are not counted");
    assert_eq!(number(text, "fake_openai_requests_in_flight"), 0.0);
    let usage = &connection.chat(CHAT).json()["usage"];
    let after = connection.get("/metrics");
    for (name, told) in [("prompt_tokens", "prompt_tokens"), ("generation_tokens", "completion_tokens")] {
        let (told, name) = (usage[told].as_f64().unwrap(), format!("vllm:{name}_total"));
        assert_eq!(number(after.text(), &name) - number(text, &name), told, "what answers say is counted");
    }
    assert_eq!(number(text, "fake_openai_lateness_seconds_count"), stream.chunks.len() as f64);
}

#[test]
fn a_fault_has_its_own_time() {
    let server = serve(Config::for_test());
    let mut connection = Connection::open(server.address());
    for (model, least) in [("gpt-4o~ttft=30ms", 30), ("gpt-4o~503~ttft=30ms", 30), ("gpt-4o~itl=3ms", 36)] {
        let start = Instant::now();
        connection.chat(&CHAT.replace("gpt-4o", model));
        assert!(start.elapsed() >= Duration::from_millis(least), "{model}");
    }
    let start = Instant::now();
    let stream = connection.chat(&streamed().replace("gpt-4o", "gpt-4o~stall@3:50ms"));
    assert!(start.elapsed() >= Duration::from_millis(50));
    assert_eq!(stream.chunks.last().unwrap(), b"data: [DONE]\n\n");
    let kept = connection.chat(&streamed().replace("gpt-4o", "gpt-4o~ttft=100ms~keepalive=20ms"));
    assert_eq!(kept.chunks.iter().filter(|chunk| *chunk == b": keep-alive\n\n").count(), 4, "{kept:?}");
}

#[test]
fn a_server_that_is_full_lets_some_wait_and_refuses_the_rest() {
    let capacity = Some(ConcurrencySpec { max: 1, queue: 1, slowdown: 1.0 });
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
    eventually("the second waits", || server.in_flight() == 2);
    // Of those that come now all are refused once the second is in the queue.
    eventually("the queue is full", || {
        let mut refused = send(&CHAT.replace("gpt-4o", "gpt-4o~stall@2"));
        refused.head().unwrap().status == 503
    });
    assert_eq!(Connection::open(server.address()).get("/v1/models").status, 200, "only the model is busy");
    drop(first);
    assert_eq!(second.response(false).unwrap().status, 200, "its place is the next one's");
    let mut third = send(&streamed());
    third.head().unwrap();
    assert_eq!(third.stream().1, End::Whole);
}

#[test]
fn who_leaves_the_queue_is_not_served() {
    let capacity = Some(ConcurrencySpec { max: 1, queue: 10, slowdown: 1.0 });
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
    eventually("all wait", || server.in_flight() == 6);
    let load = ["num_requests_running 1", "num_requests_waiting 5", "kv_cache_usage_perc 1"];
    eventually("routers see it", || {
        let metrics = Connection::open(server.address()).get("/metrics");
        load.iter().all(|line| metrics.text().contains(&format!("\nvllm:{line}\n")))
    });
    drop(waiting);
    eventually("all who waited have left", || server.in_flight() == 1);
    drop(holder);
    eventually("nobody is left", || server.in_flight() == 0);
    assert_eq!(Connection::open(server.address()).chat(CHAT).status, 200);
}

#[test]
fn what_is_impossible_is_told_with_the_remedy() {
    let refused = |settings: Settings| Config::try_from(settings).unwrap_err().to_string();
    let of = |change: fn(&mut Settings)| {
        let mut settings = Settings::default();
        change(&mut settings);
        refused(settings)
    };
    assert!(of(|asked| asked.ttft = Some("300".into())).contains("ttft `300` has no unit; write 300ms"));
    assert!(of(|asked| asked.itl = Some("ramp(1s,2s)".into())).contains("--fault"));
    assert!(of(|asked| asked.speed = Some(0.0)).contains("0.001 to 1000"));
    assert!(of(|asked| asked.queue = Some(3)).contains("max_concurrency"));
    assert!(of(|asked| asked.max_concurrency = Some(0)).contains("1 to"));
    assert!(of(|asked| asked.fault = Some(vec!["boom".into()])).contains("there is no fault `boom`"));
}
