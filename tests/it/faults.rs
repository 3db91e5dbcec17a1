//! Each fault over a raw socket in each stream format: the bytes before it, and how the response ends.

use std::{
    io::Read,
    time::{Duration, Instant},
};

use fake_openai::{Config, Running, core::clock::ManualClock, model};
use serde_json::{Value, json};

use crate::client::{CHAT, Connection, End, Response, eventually, serve};

/// A protocol's streaming request and event format.
struct Protocol {
    path: &'static str,
    body: &'static str,
    /// The bytes that end an event.
    end: &'static str,
}

const OPENAI: Protocol = Protocol {
    path: "/v1/chat/completions",
    body: r#"{"model":"gpt-4o","messages":[{"role":"user","content":"Hi"}],"stream":true,"stream_options":{"include_usage":true}}"#,
    end: "\n\n",
};
const ANTHROPIC: Protocol = Protocol {
    path: "/v1/messages",
    body: r#"{"model":"claude","max_tokens":100,"messages":[{"role":"user","content":"Hi"}],"stream":true}"#,
    end: "\n\n",
};
const GEMINI: Protocol = Protocol {
    path: "/v1beta/models/gemini-2.5-flash:streamGenerateContent?alt=sse",
    body: r#"{"contents":[{"role":"user","parts":[{"text":"Hi"}]}]}"#,
    end: "\r\n\r\n",
};
const ARRAY: Protocol = Protocol { path: "/v1beta/models/gemini-2.5-flash:streamGenerateContent", end: "", ..GEMINI };

const PROTOCOLS: [&Protocol; 4] = [&OPENAI, &ANTHROPIC, &GEMINI, &ARRAY];

impl Protocol {
    /// The events of a stream with these faults, and how it ended.
    fn stream(&self, server: &Running, faults: &str) -> (Vec<String>, End) {
        let mut connection = self.ask(server, faults);
        let head = connection.head().unwrap();
        assert_eq!(head.status, 200);
        connection.stream()
    }

    fn ask(&self, server: &Running, faults: &str) -> Connection {
        let mut connection = Connection::open(server.address());
        let header = if faults.is_empty() { String::new() } else { format!("x-fake-openai: {faults}\r\n") };
        let request = format!(
            "POST {} HTTP/1.1\r\nhost: x\r\n{header}content-length: {}\r\n\r\n{}",
            self.path,
            self.body.len(),
            self.body
        );
        connection.send(request.as_bytes()).unwrap();
        connection
    }

    /// The JSON data of an event; `None` if it is not JSON.
    fn data(&self, event: &str) -> Option<Value> {
        let text = match event.strip_suffix(self.end).unwrap_or(event).split_once("data: ") {
            Some((_, data)) => data,
            None => event.trim_start_matches(['[', ',', '\r', '\n']).trim_end_matches(']'),
        };
        serde_json::from_str(text).ok()
    }
}

fn usual() -> Running {
    serve(Config { seed: Some(3), ..Config::for_test() })
}

fn ask(server: &Running, model: &str) -> Response {
    Connection::open(server.address()).chat(&CHAT.replace("gpt-4o", model))
}

/// Sends a request for a full response with these faults.
fn send(server: &Running, faults: &str) -> Connection {
    let mut connection = Connection::open(server.address());
    let request = format!(
        "POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\nx-fake-openai: {faults}\r\ncontent-length: {}\r\n\r\n{CHAT}",
        CHAT.len()
    );
    connection.send(request.as_bytes()).unwrap();
    connection
}

#[test]
fn cut_and_reset_end_a_stream_after_the_given_event() {
    let server = usual();
    for protocol in PROTOCOLS {
        let (whole, end) = protocol.stream(&server, "");
        assert!(end == End::Whole && whole.len() >= 10, "{}", protocol.path);
        for at in [0, 1, 3, 9] {
            for (fault, end) in [("cut", End::Cut), ("reset", End::Reset)] {
                let (events, ended) = protocol.stream(&server, &format!("{fault}@{at}"));
                assert_eq!((events.len(), ended), (at, end), "{} {fault}@{at}", protocol.path);
                let same = |(event, other): (&String, &String)| event.len() == other.len();
                assert!(events.iter().zip(&whole).skip(1).all(same), "events before the fault are unchanged");
            }
        }
        assert_eq!(
            protocol.stream(&server, &format!("cut@{}", whole.len())).1,
            End::Cut,
            "only the end of the body is missing"
        );
    }
    eventually("all requests have ended", || server.in_flight() == 0);
}

#[test]
fn empty_and_reset_close_before_any_byte() {
    let server = usual();
    for (fault, end) in [("empty", End::Cut), ("reset", End::Reset), ("down", End::Reset)] {
        for protocol in PROTOCOLS {
            assert_eq!(protocol.ask(&server, fault).rest(), (Vec::new(), end), "{} {fault}", protocol.path);
        }
        assert_eq!(send(&server, fault).rest(), (Vec::new(), end));
    }
    eventually("all requests have ended", || server.in_flight() == 0);
}

#[test]
fn hanging_and_stalled_requests_block_nobody_and_end_with_their_client() {
    let server = usual();
    let mut neighbour = Connection::open(server.address());
    for protocol in PROTOCOLS {
        let hangs = protocol.ask(&server, "hang");
        let mut stalls = protocol.ask(&server, "stall@2");
        stalls.head().unwrap();
        assert!(!stalls.chunk().unwrap().is_empty() && !stalls.chunk().unwrap().is_empty());
        eventually("both requests are in flight", || server.in_flight() == 2);
        for _ in 0..20 {
            assert_eq!(neighbour.chat(CHAT).status, 200);
        }
        assert_eq!(server.in_flight(), 2);
        drop(hangs);
        eventually("the hanging request has ended", || server.in_flight() == 1);
        drop(stalls);
        eventually("both requests have ended", || server.in_flight() == 0);
    }
}

#[test]
fn stream_faults_change_the_named_events() {
    let server = usual();
    for protocol in PROTOCOLS {
        let path = protocol.path;
        let (whole, _) = protocol.stream(&server, "");

        let (broken, end) = protocol.stream(&server, "malformed@2");
        assert_eq!((broken.len(), end), (whole.len(), End::Whole), "{path}");
        for (n, event) in broken.iter().enumerate() {
            assert!(event.ends_with(protocol.end));
            let is_data = !event.contains("[DONE]");
            assert_eq!(protocol.data(event).is_some(), n != 2 && is_data, "{path}: {event}");
        }

        let (twice, _) = protocol.stream(&server, "dup@3");
        assert_eq!(twice.len(), whole.len() + 1, "{path}");
        assert_eq!(twice[2], twice[3], "{path}");

        let (failed, end) = protocol.stream(&server, "error@2");
        assert_eq!((failed.len(), end), (3, End::Whole), "{path}: the body ends properly");
        let error = protocol.data(&failed[2]).unwrap_or_else(|| panic!("{path}: {failed:?}"));
        assert!(error["error"]["message"].is_string(), "{path}: {error}");
        let (failed, _) = protocol.stream(&server, "error@0");
        assert_eq!(failed.len(), 1);
        assert!(protocol.data(&failed[0]).is_some(), "{path}: {failed:?}");
        if path == ARRAY.path {
            let (failed, _) = protocol.stream(&server, "error@2");
            let array: Value = serde_json::from_str(&failed.concat()).unwrap();
            assert_eq!(array.as_array().map(Vec::len), Some(3), "the body is still a valid array");
            let (unfinished, _) = protocol.stream(&server, "nofinish");
            let array: Value = serde_json::from_str(&unfinished.concat()).unwrap();
            assert_eq!(array.as_array().map(Vec::len), Some(whole.len() - 1));
        }
        let (unfinished, _) = protocol.stream(&server, "nofinish");
        let finish = ["finish_reason\":\"stop", "stop_reason\":\"end_turn", "finishReason"];
        assert!(whole.iter().any(|event| finish.iter().any(|word| event.contains(word))), "{path}");
        assert!(!unfinished.iter().any(|event| finish.iter().any(|word| event.contains(word))), "{path}");
    }
    let (whole, _) = OPENAI.stream(&server, "");
    let (events, end) = OPENAI.stream(&server, "nodone~nousage");
    assert_eq!((events.len(), end), (whole.len() - 2, End::Whole));
    assert!(!events.concat().contains("[DONE]") && !events.concat().contains("total_tokens"));
    let (events, _) = ANTHROPIC.stream(&server, "nodone");
    assert!(!events.concat().contains("message_stop"));
    let (events, _) = ANTHROPIC.stream(&server, "error@2");
    assert!(events[2].starts_with("event: error\ndata: {\"type\":\"error\""), "{}", events[2]);
    let (events, _) = OPENAI.stream(&server, "error@2:overloaded");
    assert!(events[2].contains("overloaded"), "{}", events[2]);
}

#[test]
fn an_injected_error_has_the_providers_body_and_its_own_status() {
    let server = usual();
    for status in [400, 401, 403, 404, 408, 409, 413, 418, 422, 429, 500, 502, 503, 504, 520, 524, 529] {
        for protocol in PROTOCOLS {
            let mut connection = protocol.ask(&server, &status.to_string());
            let response = connection.response(false).unwrap();
            assert_eq!(response.status, status, "{}", protocol.path);
            if response.header("content-type").starts_with("application/json") {
                assert!(response.json()["error"]["message"].is_string(), "{} {}", protocol.path, response.text());
            } else {
                assert!(response.text().contains("<html"), "{}", response.text());
            }
            // The connection stays open.
            assert_eq!(connection.chat(CHAT).status, 200);
        }
    }
    let openai = ask(&server, "gpt-4o~400:context_length_exceeded");
    assert_eq!((openai.status, &openai.json()["error"]["code"]), (400, &json!("context_length_exceeded")));
    let openai = ask(&server, "gpt-4o~429:insufficient_quota");
    assert_eq!((openai.status, &openai.json()["error"]["code"]), (429, &json!("insufficient_quota")));
    let openai = ask(&server, "gpt-4o~400:content_filter");
    assert_eq!(openai.status, 400);
    let whole = ask(&server, "gpt-4o~error@5:overloaded");
    assert_eq!(whole.status, 503, "a full response is the error that would end its stream");
}

#[test]
fn retry_after_sets_the_headers_and_the_message() {
    let server = usual();
    let usual = ask(&server, "gpt-4o~429");
    assert_eq!((usual.header("retry-after"), usual.header("retry-after-ms")), ("1", "1000"));
    assert_eq!(usual.header("x-ratelimit-remaining-requests"), "0");
    let told = ask(&server, "gpt-4o~429~retry-after=2500ms");
    assert_eq!((told.header("retry-after"), told.header("retry-after-ms")), ("3", "2500"));
    assert!(told.text().contains("Please try again in 2.5s."), "{}", told.text());
    let silent = ask(&server, "gpt-4o~429~retry-after=none");
    assert!(!silent.headers.keys().any(|name| name.starts_with("retry-after")));
    assert_eq!(ask(&server, "gpt-4o~503~retry-after=7s").header("retry-after"), "7");
    assert!(!ask(&server, "gpt-4o~retry-after=7s").headers.contains_key("retry-after"), "a success has no retry-after");
}

#[test]
fn first_n_faults_count_per_caller_and_fault() {
    let server = usual();
    let statuses = |model: &str, key: &str, n: usize| -> Vec<u16> {
        let mut connection = Connection::open(server.address());
        let body = CHAT.replace("gpt-4o", model);
        let headers = format!("authorization: Bearer {key}\r\n");
        (0..n).map(|_| connection.request("POST", "/v1/chat/completions", &headers, &body).unwrap().status).collect()
    };
    assert_eq!(statuses("gpt-4o~429x2", "sk-1", 4), [429, 429, 200, 200]);
    assert_eq!(statuses("gpt-4o~429x2", "sk-2", 3), [429, 429, 200], "another caller has its own count");
    assert_eq!(statuses("gpt-4o~503x1", "sk-1", 2), [503, 200], "another fault has its own count");
    assert_eq!(statuses("o3~429x2~503x1", "sk-1", 4), [429, 429, 503, 200], "the second fault follows the first");
    assert_eq!(statuses("o3~503~ok", "sk-1", 2), [503, 503]);
    assert_eq!(statuses("o3~ok~503", "sk-1", 2), [200, 200]);
}

#[test]
fn model_faults_change_the_reply() {
    let server = usual();
    let refusal = ask(&server, "gpt-4o~refusal").json();
    assert!(refusal["choices"][0]["message"]["refusal"].as_str().unwrap().contains("can't assist"));
    assert_eq!(ask(&server, "gpt-4o~filter").json()["choices"][0]["finish_reason"], "content_filter");
    assert_eq!(ask(&server, "gpt-4o").json()["model"], "gpt-4o");
    assert_eq!(ask(&server, "gpt-4o~wrong-model").json()["model"], "another-model");
    let (events, _) = OPENAI.stream(&server, "refusal");
    assert!(events.concat().contains(r#""refusal":" sorry""#), "{events:?}");
    let (events, _) = ANTHROPIC.stream(&server, "filter");
    assert!(events.concat().contains(r#""stop_reason":"refusal""#), "{events:?}");
}

#[test]
fn body_faults_cut_corrupt_pad_compress_or_slow_a_full_body() {
    let server = usual();
    let plain = ask(&server, "gpt-4o");
    let length = plain.body.len();

    for (fault, end) in [("cut@10", End::Cut), ("reset@10", End::Reset)] {
        let mut connection = send(&server, fault);
        assert_eq!(connection.head().unwrap().header("content-length"), length.to_string());
        let (body, ended) = connection.rest();
        assert_eq!((body.as_slice(), ended), (&plain.body[..10], end));
    }
    let mut connection = send(&server, "cut");
    connection.head().unwrap();
    assert_eq!(connection.rest().0.len(), length / 2);
    let malformed = send(&server, "malformed@20").response(false).unwrap();
    assert_eq!((malformed.body.len(), serde_json::from_slice::<Value>(&malformed.body).is_err()), (20, true));

    let mut connection = send(&server, "wrong-length");
    assert_eq!(connection.head().unwrap().header("content-length"), (length + 16).to_string());
    let (body, end) = connection.rest();
    assert_eq!((body.len(), end), (length, End::Cut));
    let short = send(&server, "wrong-length=-5").response(false).unwrap();
    assert_eq!(short.body.len(), length - 5);

    let flooded = ask(&server, "gpt-4o~headers=300");
    assert_eq!(flooded.headers.keys().filter(|name| name.starts_with("x-fake-flood-")).count(), 300);
    let huge = ask(&server, "gpt-4o~huge=3MB");
    assert_eq!(huge.body.len(), 3_000_000 + length);
    assert_eq!(huge.json()["object"], "chat.completion", "the padded body is the same JSON");

    let zipped = send(&server, "gzip").response(false).unwrap();
    assert_eq!(zipped.header("content-encoding"), "gzip");
    let mut text = String::new();
    flate2::read::GzDecoder::new(&zipped.body[..]).read_to_string(&mut text).unwrap();
    assert!(serde_json::from_str::<Value>(&text).is_ok());
    let start = Instant::now();
    let slow = send(&server, "slow-body=1KB").response(false).unwrap();
    assert_eq!(slow.body.len(), length);
    let least = Duration::from_millis(length as u64 / 2);
    assert!(start.elapsed() >= least, "{length} bytes at 1 KB a second came in {:?}", start.elapsed());
}

#[test]
fn huge_gzip_and_slow_body_apply_to_streams() {
    let server = usual();
    for protocol in PROTOCOLS {
        let said = |events: &[String]| events.iter().filter_map(|event| protocol.data(event)).count();
        let (whole, _) = protocol.stream(&server, "");
        let (padded, end) = protocol.stream(&server, "huge=200KB");
        assert_eq!(end, End::Whole);
        assert!(padded.concat().len() > 200_000, "{}", protocol.path);
        // Parsed as a client does, regardless of chunks.
        let read = |events: &[String]| -> usize {
            let text = events.concat().replace("\r\n", "\n");
            match serde_json::from_str::<Value>(&text) {
                Ok(array) => array.as_array().unwrap().len(),
                Err(_) => text.split("\n\n").filter(|event| !event.is_empty() && !event.starts_with(':')).count(),
            }
        };
        assert_eq!(read(&padded), read(&whole), "{}", protocol.path);
        let start = Instant::now();
        let (slow, _) = protocol.stream(&server, "slow-body=10KB");
        assert_eq!(said(&slow), said(&whole));
        let length = whole.concat().len() as u64;
        let least = Duration::from_millis(length / 20);
        assert!(start.elapsed() >= least, "{length} bytes at 10 KB a second came in {:?}", start.elapsed());

        let mut connection = protocol.ask(&server, "gzip");
        let zipped = connection.response(false).unwrap();
        assert_eq!(zipped.header("content-encoding"), "gzip");
        let mut first = String::new();
        let begun = zipped.chunks[..2].concat();
        let _ = flate2::read::GzDecoder::new(&begun[..]).read_to_string(&mut first);
        assert!(!first.is_empty(), "the first chunks can be decompressed alone");
        let mut text = String::new();
        flate2::read::GzDecoder::new(&zipped.body[..]).read_to_string(&mut text).unwrap();
        assert_eq!(text.len(), whole.concat().len(), "{}", protocol.path);
    }
}

#[test]
fn the_same_seed_draws_the_same_faults() {
    let storm = |seed| -> Vec<u16> {
        let faults = vec!["503%20".parse().unwrap(), "429%30".parse().unwrap()];
        let server = serve(Config { seed: Some(seed), faults, ..Config::for_test() });
        let mut connection = Connection::open(server.address());
        (0..400).map(|_| connection.chat(CHAT).status).collect()
    };
    let first = storm(7);
    assert_eq!(first, storm(7));
    assert_ne!(first, storm(8));
    let share = |status| first.iter().filter(|other| **other == status).count();
    // 80 and 96 are the expected counts.
    assert!((50..110).contains(&share(503)) && (65..130).contains(&share(429)), "{} {}", share(503), share(429));
}

#[test]
fn outages_start_and_end_at_their_times() {
    let clock = ManualClock::new();
    let faults = vec!["503@30s+60s".parse().unwrap(), "500@0s+5s/100s".parse().unwrap()];
    let server = serve(Config { faults, clock: clock.clone().into(), ..Config::for_test() });
    let mut connection = Connection::open(server.address());
    let mut at = 0;
    for (secs, status) in
        [(0, 500), (4, 500), (5, 200), (29, 200), (30, 503), (89, 503), (90, 200), (100, 500), (105, 200)]
    {
        clock.advance(Duration::from_secs(secs - at));
        at = secs;
        assert_eq!(connection.chat(CHAT).status, status, "at {secs} s");
    }
}

#[test]
fn an_unknown_fault_is_refused_with_the_known_ones() {
    let server = usual();
    let response = ask(&server, "gpt-4o~boom");
    assert_eq!(response.status, 400);
    let message = response.json()["error"]["message"].as_str().unwrap().to_owned();
    assert!(message.contains("there is no fault `boom`") && message.contains("stall"), "{message}");
    for protocol in PROTOCOLS {
        let response = protocol.ask(&server, "cut@soon").response(false).unwrap();
        assert_eq!(response.status, 400, "{}", protocol.path);
        assert!(response.text().contains("cut@40"), "{}", response.text());
    }
}

#[test]
fn an_inactive_fault_leaves_the_reply_unchanged() {
    // A fault that is not due changes nothing.
    let behavior = model::ModelBehavior { content: model::ContentSource::Lorem, ..model::ModelBehavior::default() };
    let texts = |faults: Vec<_>| {
        let server = serve(Config { seed: Some(9), behavior: behavior.clone(), faults, ..Config::for_test() });
        ask(&server, "gpt-4o").json()["choices"][0]["message"]["content"].as_str().unwrap().to_owned()
    };
    assert_eq!(texts(vec![]), texts(vec!["503@1h".parse().unwrap()]));
}
