//! The faults that clients, gateways and load tools are known to stumble over.

use std::time::{Duration, UNIX_EPOCH};

use fake_openai::{Config, Running};
use serde_json::{Value, json};

use crate::client::{CHAT, Connection, End, Response, serve};

const STREAM: &str = r#"{"model":"gpt-4o","stream":true,"stream_options":{"include_usage":true},"messages":[{"role":"user","content":"Hi"}]}"#;

fn usual() -> Running {
    serve(Config { seed: Some(3), ..Config::for_test() })
}

/// Sends a request with these faults.
fn send(server: &Running, path: &str, body: &str, faults: &str) -> Connection {
    let mut connection = Connection::open(server.address());
    let length = body.len();
    let head =
        format!("POST {path} HTTP/1.1\r\nhost: x\r\nx-fake-openai: {faults}\r\ncontent-length: {length}\r\n\r\n");
    connection.send(format!("{head}{body}").as_bytes()).unwrap();
    connection
}

fn full(server: &Running, body: &str, faults: &str) -> Response {
    send(server, "/v1/chat/completions", body, faults).response(false).unwrap()
}

fn events(server: &Running, path: &str, body: &str, faults: &str) -> Vec<String> {
    let mut connection = send(server, path, body, faults);
    assert_eq!(connection.head().unwrap().status, 200);
    let (events, end) = connection.stream();
    assert_eq!(end, End::Whole, "{faults}");
    events
}

fn chat_events(server: &Running, faults: &str) -> Vec<String> {
    events(server, "/v1/chat/completions", STREAM, faults)
}

fn data(event: &str) -> Value {
    let (_, data) = event.split_once("data:").unwrap();
    serde_json::from_str(data).unwrap_or_else(|error| panic!("{error}: {event}"))
}

#[test]
fn a_page_or_nothing_takes_the_place_of_any_response() {
    let server = usual();
    for body in [CHAT, STREAM] {
        let page = full(&server, body, "html");
        assert_eq!((page.status, page.header("content-type")), (200, "text/html; charset=utf-8"));
        assert!(page.text().starts_with("<!DOCTYPE html>"));
        let nothing = full(&server, body, "empty-200");
        assert_eq!((nothing.status, nothing.text()), (200, ""));
    }
    let error = full(&server, CHAT, "503~html");
    assert!(error.status == 503 && error.json()["error"].is_object(), "an error stays an error");
}

#[test]
fn a_stream_that_was_asked_for_can_be_full() {
    let server = usual();
    let chat = full(&server, STREAM, "json-not-stream");
    assert_eq!((chat.header("content-type"), &chat.json()["object"]), ("application/json", &json!("chat.completion")));
    for (path, body) in [
        ("/v1/responses", r#"{"model":"gpt-4o","input":"Hi","stream":true}"#),
        ("/v1/messages", r#"{"model":"c","max_tokens":9,"stream":true,"messages":[{"role":"user","content":"Hi"}]}"#),
        ("/v2/chat", r#"{"model":"command-r","stream":true,"messages":[{"role":"user","content":"Hi"}]}"#),
        ("/api/chat", r#"{"model":"llama3","stream":true,"messages":[{"role":"user","content":"Hi"}]}"#),
    ] {
        let response = send(&server, path, body, "json-not-stream").response(false).unwrap();
        assert!(response.status == 200 && response.json().is_object(), "{path}: {}", response.text());
    }
}

#[test]
fn errors_announce_a_retry_in_every_way() {
    let server = usual();
    // A seeded server has a fixed date.
    let date = full(&server, CHAT, "429~retry-after=date(7)");
    let created = full(&server, CHAT, "ok").json()["created"].as_u64().unwrap();
    let expected = httpdate::fmt_http_date(UNIX_EPOCH + Duration::from_secs(created + 7));
    assert_eq!(date.header("retry-after"), expected);
    let both = full(&server, CHAT, "503~retry-after-ms=1500~should-retry=false");
    assert_eq!((both.header("retry-after-ms"), both.header("x-should-retry")), ("1500", "false"));
    let success = full(&server, CHAT, "retry-after-ms=1500~should-retry=true");
    assert!(success.status == 200 && !success.headers.contains_key("x-should-retry"));
}

#[test]
fn errors_within_streams_have_each_known_form() {
    let server = usual();
    let last = |faults: &str| chat_events(&server, faults).pop().unwrap();
    assert!(last("error@2").starts_with("data: {\"error\":"));
    let named = last("event-error@2:overloaded");
    assert!(named.starts_with("event: error\ndata: {\"error\":") && named.contains("overloaded"), "{named}");
    assert_eq!(data(&last("numeric-error@2"))["error"]["code"], 500);

    let body = r#"{"model":"gpt-4o","input":"Hi","stream":true}"#;
    let last = |faults: &str| events(&server, "/v1/responses", body, faults).pop().unwrap();
    let nested = last("error@3");
    assert!(nested.starts_with("event: error\n"));
    let nested = data(&nested);
    assert_eq!((&nested["type"], &nested["sequence_number"]), (&json!("error"), &json!(3)));
    assert!(nested["error"]["message"].is_string());
    let flat = data(&last("flat-error@4"));
    assert_eq!((&flat["type"], &flat["sequence_number"], &flat["error"]), (&json!("error"), &json!(4), &Value::Null));
    assert!(flat["message"].is_string() && flat.as_object().unwrap().contains_key("code"), "{flat}");
}

#[test]
fn the_blank_after_data_is_optional() {
    let server = usual();
    let (with, without) = (chat_events(&server, "ok"), chat_events(&server, "no-blank"));
    assert_eq!(with.len(), without.len());
    assert!(without.iter().all(|event| event.starts_with("data:") && !event.starts_with("data: ")), "{without:?}");
    let named = events(
        &server,
        "/v1/messages",
        r#"{"model":"c","max_tokens":9,"stream":true,"messages":[{"role":"user","content":"Hi"}]}"#,
        "no-blank",
    );
    assert!(named.iter().all(|event| event.contains("\ndata:{")), "{named:?}");
}

#[test]
fn an_event_can_have_several_tokens() {
    let config = |fault: &str| Config { faults: vec![fault.parse().unwrap()], ..Config::for_test() };
    let server = serve(Config { seed: Some(3), ..config("tokens-per-event=2") });
    let anthropic = r#"{"model":"c","max_tokens":99,"stream":true,"messages":[{"role":"user","content":"Hi"}]}"#;
    for (path, body, piece) in [
        ("/v1/chat/completions", STREAM, "\"content\":\""),
        ("/v1/completions", r#"{"model":"gpt-3.5-turbo-instruct","prompt":"Hi","stream":true}"#, "\"text\":\""),
        ("/v1/responses", r#"{"model":"gpt-4o","input":"Hi","stream":true}"#, "output_text.delta"),
        ("/v1/messages", anthropic, "text_delta"),
        (
            "/v1beta/models/gemini-2.5-flash:streamGenerateContent?alt=sse",
            r#"{"contents":[{"parts":[{"text":"Hi"}]}]}"#,
            "\"text\"",
        ),
        ("/api/chat", r#"{"model":"llama3","messages":[{"role":"user","content":"Hi"}]}"#, "\"content\":\""),
    ] {
        let count =
            |faults: &str| events(&server, path, body, faults).iter().filter(|event| event.contains(piece)).count();
        let (single, double) = (count("ok"), count("keepalive=1h"));
        assert!(double < single && double * 2 + 4 >= single, "{path}: {single} {double}");
    }
    let metrics = Connection::open(server.address()).get("/metrics").text().to_owned();
    assert!(metrics.contains("fault=\"tokens-per-event\""), "{metrics}");
}

#[test]
fn the_tokens_of_an_event_with_several_are_all_delivered() {
    let chat = r#"{"model":"m","stream":true,"max_tokens":99,"messages":[{"role":"user","content":"Hi"}]}"#;
    let completion = r#"{"model":"m","prompt":"Hi","stream":true}"#;
    let response = r#"{"model":"m","input":"Hi","stream":true}"#;
    let gemini = r#"{"contents":[{"parts":[{"text":"Hi"}]}]}"#;
    for (served, cases) in [
        (
            None,
            &[
                ("/v1/chat/completions", chat),
                ("/v1/completions", r#"{"model":"gpt-3.5-turbo-instruct","prompt":"Hi","stream":true}"#),
                ("/v1/responses", response),
                ("/v1/messages", chat),
                ("/v1beta/models/gemini-2.5-flash:streamGenerateContent?alt=sse", gemini),
                ("/api/chat", chat),
                ("/v2/chat", chat),
            ][..],
        ),
        (
            Some("vllm"),
            &[
                ("/v1/chat/completions", chat),
                ("/v1/completions", completion),
                ("/v1/responses", response),
                ("/v1/messages", chat),
            ],
        ),
        (
            Some("sglang"),
            &[
                ("/v1/chat/completions", chat),
                ("/v1/completions", completion),
                ("/generate", r#"{"text":"Hi","stream":true}"#),
            ],
        ),
        (
            Some("llama-cpp"),
            &[
                ("/v1/chat/completions", chat),
                ("/v1/completions", completion),
                ("/completion", completion),
                ("/v1/responses", response),
                ("/v1/messages", chat),
            ],
        ),
    ] {
        let serve_as = served.map(str::to_owned);
        let server = serve(Config { seed: Some(3), serve_as, ..Config::for_test() });
        for (path, body) in cases {
            let all = events(&server, path, body, "tokens-per-event=3").len();
            let faults = format!("tokens-per-event=3~cut@{}", all - 1);
            let mut connection = send(&server, path, body, &faults);
            assert_eq!(connection.head().unwrap().status, 200);
            assert_ne!(connection.stream().1, End::Whole, "{served:?} {path}");
            let entry = crate::journal::entries(&server).pop().unwrap();
            let undelivered = entry["response"]["tokens_undelivered"].as_u64().unwrap();
            // Some protocols put the last piece into the last event.
            assert!(undelivered <= 3, "{served:?} {path}: {undelivered} of {all} events");
        }
    }
}

#[test]
fn usage_during_a_stream_counts_every_token_of_an_event() {
    let chat = r#"{"model":"m","stream":true,"stream_options":{"include_usage":true,"continuous_usage_stats":true},"messages":[{"role":"user","content":"Hi"}]}"#;
    for (served, path, body, pointer) in [
        ("vllm", "/v1/chat/completions", chat, "/usage/completion_tokens"),
        ("sglang", "/v1/chat/completions", chat, "/usage/completion_tokens"),
        ("sglang", "/generate", r#"{"text":"Hi","stream":true}"#, "/meta_info/completion_tokens"),
        ("llama-cpp", "/completion", r#"{"prompt":"Hi","stream":true}"#, "/tokens_predicted"),
        (
            "gemini",
            "/v1beta/models/gemini-2.5-flash:streamGenerateContent?alt=sse",
            r#"{"contents":[{"parts":[{"text":"Hi"}]}]}"#,
            "/usageMetadata/candidatesTokenCount",
        ),
    ] {
        let server = serve(Config { seed: Some(3), serve_as: Some(served.to_owned()), ..Config::for_test() });
        let counts: Vec<u64> = events(&server, path, body, "tokens-per-event=3")
            .iter()
            .filter(|event| !event.contains("[DONE]"))
            .filter_map(|event| data(event).pointer(pointer)?.as_u64())
            .filter(|count| *count > 0)
            .collect();
        assert_eq!(counts[..2], [3, 6], "{served}: {counts:?}");
    }
}

#[test]
fn an_event_of_several_tokens_has_a_log_probability_for_each() {
    let chat = json!({"model": "m", "messages": [{"role": "user", "content": "Hi"}], "logprobs": true});
    let completion = json!({"model": "m", "prompt": "Hi", "logprobs": 1, "max_tokens": 16});
    for (served, path, body) in [
        ("openai", "/v1/chat/completions", &chat),
        ("openai", "/v1/completions", &completion),
        ("vllm", "/v1/chat/completions", &chat),
        ("vllm", "/v1/completions", &completion),
        ("sglang", "/v1/chat/completions", &chat),
        ("sglang", "/v1/completions", &completion),
        ("llama-cpp", "/v1/chat/completions", &chat),
    ] {
        let serve_as = Some(served.to_owned());
        let server = serve(Config { seed: Some(3), serve_as, ..Config::for_test() });
        let tokens = |body: &Value| -> Vec<String> {
            let logprobs = &body["choices"][0]["logprobs"];
            let entries = logprobs["content"].as_array().or(logprobs["tokens"].as_array());
            let token = |entry: &Value| entry["token"].as_str().or(entry.as_str()).unwrap().to_owned();
            entries.into_iter().flatten().map(token).collect()
        };
        let full = send(&server, path, &body.to_string(), "tokens-per-event=3").response(false).unwrap().json();
        let choice = &full["choices"][0];
        let text = choice["text"].as_str().or(choice["message"]["content"].as_str()).unwrap();
        assert_eq!(tokens(&full).concat(), text, "{served} {path}");
        let mut streamed = body.clone();
        streamed["stream"] = true.into();
        let events = events(&server, path, &streamed.to_string(), "tokens-per-event=3");
        let events = events.iter().filter(|event| !event.contains("[DONE]")).map(|event| data(event));
        let counts: Vec<_> = events.map(|event| tokens(&event)).filter(|tokens| !tokens.is_empty()).collect();
        assert!(counts.len() > 2 && counts[..2].iter().all(|tokens| tokens.len() == 3), "{served} {path}: {counts:?}");
        assert_eq!(counts.concat(), tokens(&full), "{served} {path}");
    }
}

#[test]
fn the_usage_can_come_late() {
    let server = usual();
    let mut connection = send(&server, "/v1/chat/completions", STREAM, "usage-delay=1h~keepalive=1ms");
    assert_eq!(connection.head().unwrap().status, 200);
    let is_finish = |chunk: &String| chunk.contains("\"finish_reason\":\"stop\"");
    let mut chunks = Vec::new();
    // A comment after the last piece shows that the stream goes on without the usage.
    while chunks.last().is_none_or(|chunk: &String| !chunk.starts_with(':')) || !chunks.iter().any(is_finish) {
        chunks.push(String::from_utf8(connection.chunk().unwrap()).unwrap());
        let chunk = chunks.last().unwrap();
        assert!(!chunk.is_empty() && !chunk.contains("\"usage\":{"), "{chunks:?}");
    }
}

#[test]
fn azures_filter_results_can_come_apart_from_the_text() {
    let server = usual();
    let path = "/openai/deployments/d/chat/completions?api-version=2024-10-21";
    let plain = events(&server, path, STREAM, "ok");
    let apart = events(&server, path, STREAM, "async-filter");
    let text = |events: &[String]| {
        let choices = events.iter().filter(|event| !event.contains("[DONE]")).map(|event| data(event));
        let pieces = choices.map(|event| event["choices"][0]["delta"]["content"].as_str().unwrap_or("").to_owned());
        pieces.collect::<String>()
    };
    assert_eq!(text(&plain), text(&apart));
    let (checks, chunks): (Vec<_>, Vec<_>) =
        apart.iter().partition(|event: &&String| event.contains("content_filter_offsets"));
    assert_eq!(checks.len() + plain.len(), apart.len());
    assert!(
        chunks.iter().all(|chunk| !chunk.contains("\"content_filter_results\"") || chunk.contains("prompt_filter"))
    );
    let offsets: Vec<_> =
        checks.iter().map(|event| data(event)["choices"][0]["content_filter_offsets"].clone()).collect();
    assert!(checks.len() > 1 && checks.iter().all(|event| data(event)["choices"][0].get("delta").is_none()));
    assert!(checks.iter().all(|event| data(event)["choices"][0]["content_filter_results"]["hate"].is_object()));
    let ends: Vec<_> = offsets.iter().map(|span| (span["start_offset"].clone(), span["end_offset"].clone())).collect();
    assert!(ends.windows(2).all(|pair| pair[0].1 == pair[1].0), "each begins where the last ended: {ends:?}");
    assert_eq!(ends.last().unwrap().1, text(&plain).chars().count());
    assert_eq!(chat_events(&server, "async-filter").len(), chat_events(&server, "ok").len(), "OpenAI has no filter");
}

#[test]
fn events_share_a_write_or_need_two() {
    let server = usual();
    let plain = chat_events(&server, "ok");
    let merged = chat_events(&server, "merge=5");
    assert_eq!(merged.len(), plain.len().div_ceil(5), "a chunk of the encoding for each write");
    assert!(merged.iter().all(|chunk| chunk.matches("data: ").count() <= 5));
    let split = chat_events(&server, "split=1ms");
    assert_eq!(split.len(), plain.len() * 2);
    assert!(split[0].starts_with("data: ") && !split[0].contains('\n') && split[1].ends_with("\n\n"));
}

#[test]
fn the_role_does_not_wait_for_the_first_token() {
    let server = usual();
    let mut connection = send(&server, "/v1/chat/completions", STREAM, "role-first~ttft=1h");
    assert_eq!(connection.head().unwrap().status, 200);
    let first = String::from_utf8(connection.chunk().unwrap()).unwrap();
    assert_eq!(data(&first)["choices"][0]["delta"]["role"], "assistant");
}

#[test]
fn usage_and_reasoning_can_be_set() {
    let server = usual();
    let usage = |faults: &str| full(&server, CHAT, faults).json()["usage"].clone();
    assert_eq!(usage("usage=77")["completion_tokens"], 77);
    let reasoned = usage("reasoning=25");
    let plain = usage("ok")["completion_tokens"].as_u64().unwrap();
    assert_eq!(reasoned["completion_tokens_details"]["reasoning_tokens"], 25);
    assert_eq!(reasoned["completion_tokens"], plain + 25);
    let last = chat_events(&server, "usage=77").into_iter().rev().nth(1).unwrap();
    assert_eq!(data(&last)["usage"]["completion_tokens"], 77);

    let body = r#"{"model":"m","stream":true,"messages":[{"role":"user","content":"Hi"}]}"#;
    let thoughts = events(&server, "/vllm/v1/chat/completions", body, "reasoning=25");
    let count = thoughts.iter().filter(|event| event.contains("\"reasoning\":\"")).count();
    assert_eq!(count, 25, "each is an event of a host that shows it");
}
