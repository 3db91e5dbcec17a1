//! vLLM's endpoints, compared with the responses of vLLM 0.32.0 in `tests/observed/vllm`.
//!
//! Ids, times, fingerprints, texts, and the numbers of a prompt's tokens are masked: the real model has random weights.

use std::{collections::BTreeMap, fs};

use fake_openai::{Config, Running, Settings, core::clock::ManualClock};
use regex::Regex;
use serde_json::{Value, json};

use crate::client::{Connection, Response, serve};

/// The settings of the observed server.
pub(crate) fn observed() -> Settings {
    Settings {
        host: Some("127.0.0.1".to_owned()),
        port: Some(0),
        models: Some(vec!["tiny".to_owned()]),
        context_window: Some("512".to_owned()),
        ..Settings::default()
    }
}

pub(crate) fn served(settings: Settings) -> (Running, Connection) {
    let server = serve(Config { clock: ManualClock::new().into(), ..Config::try_from(settings).unwrap() });
    let connection = Connection::open(server.address());
    (server, connection)
}

pub(crate) fn read(name: &str) -> String {
    fs::read_to_string(format!("tests/observed/vllm/{name}")).unwrap().replace("\r\n", "\n")
}

pub(crate) fn send(connection: &mut Connection, route: &str, body: &Value) -> Response {
    let (method, path) = route.split_once(' ').unwrap();
    let body = match body {
        Value::Null => String::new(),
        Value::String(raw) => raw.clone(),
        body => body.to_string(),
    };
    let headers = if method == "POST" { "content-type: application/json\r\n" } else { "" };
    connection.request(method, &format!("/vllm{path}"), headers, &body).unwrap()
}

/// Replaces everything that differs from run to run.
fn masked(text: &str) -> String {
    let mut text = text.to_owned();
    for (pattern, mask) in [
        (r#""(chatcmpl-tool|chatcmpl|cmpl|resp|msg|modelperm)([-_])[0-9a-f]{16}""#, r#""$1$2<id>""#),
        (r"vllm-0\.32\.0-[0-9a-f]{8}", "<fingerprint>"),
        (r#""created(_at)?":\d{10}"#, r#""created$1":<time>"#),
        (r#""(content|text|delta|token|arguments|reasoning)":"(?:[^"\\]|\\.)+""#, r#""$1":"<text>""#),
        (r#""(prompt|total|input|original_input)_tokens":\d+"#, r#""${1}_tokens":<n>"#),
        (r#""logprob":-?[0-9.]+"#, r#""logprob":<logprob>"#),
        (r#""bytes":\[[0-9,]+\]"#, r#""bytes":<bytes>"#),
    ] {
        text = Regex::new(pattern).unwrap().replace_all(&text, mask).into_owned();
    }
    text
}

/// Drops events that equal the one before: tokens that pile up are one event of a real server.
fn without_repeats(text: &str) -> String {
    let mut events: Vec<_> = text.split_inclusive("\n\n").collect();
    events.dedup();
    events.concat()
}

/// Compares a response with a file of `tests/observed/vllm`.
fn check(file: &str, response: &Response) {
    let expected = read(file);
    let (head, body) = expected.split_once("\n\n").unwrap();
    let mut lines = head.lines();
    assert_eq!(lines.next().unwrap(), format!("HTTP/1.1 {} OK", response.status), "{file}: {}", response.text());
    let is_compared = |name: &str| !["date", "content-length"].contains(&name);
    let expected: BTreeMap<_, _> =
        lines.filter_map(|line| line.split_once(": ")).filter(|(name, _)| is_compared(name)).collect();
    let headers = response.headers.iter().map(|(name, value)| (name.as_str(), value.as_str()));
    let headers: BTreeMap<_, _> = headers.filter(|(name, _)| is_compared(name)).collect();
    assert_eq!(headers, expected, "{file}");
    let body = body.trim_end_matches('\n');
    let own = response.text().trim_end_matches('\n');
    assert_eq!(without_repeats(&masked(own)), without_repeats(&masked(body)), "{file}");
}

pub(crate) fn chat(more: Value) -> Value {
    let mut body = json!({"model": "tiny", "messages": [{"role": "user", "content": "hi"}]});
    body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    body
}

#[test]
fn chats_are_those_of_vllm() {
    let (_server, mut connection) = served(observed());
    let usage = json!({"include_usage": true});
    let running = json!({"include_usage": true, "continuous_usage_stats": true});
    for (file, more) in [
        ("chat.http", json!({"max_tokens": 4})),
        ("chat-logprobs.http", json!({"max_tokens": 2, "logprobs": true, "top_logprobs": 1})),
        ("chat-stream.http", json!({"max_tokens": 4, "stream": true})),
        ("chat-stream-usage.http", json!({"max_tokens": 4, "stream": true, "stream_options": usage})),
        ("chat-stream-continuous-usage.http", json!({"max_tokens": 4, "stream": true, "stream_options": running})),
    ] {
        let mut body = chat(more);
        body["ignore_eos"] = true.into();
        check(file, &send(&mut connection, "POST /v1/chat/completions", &body));
    }
}

/// The request of the observed calls: one tool, of which this call is required.
fn calling(choice: Value, stream: bool) -> Value {
    let parameters = json!({"type": "object", "properties": {"a": {"type": "boolean"}}, "required": ["a"]});
    let tools = json!([{"type": "function", "function": {"name": "f", "parameters": parameters}}]);
    chat(json!({"tools": tools, "tool_choice": choice, "stream": stream}))
}

fn after<'t>(text: &'t str, heading: &str) -> &'t str {
    text.split_once(heading).unwrap().1
}

#[test]
fn tool_calls_are_those_of_vllm() {
    let text = read("chat-tools.txt");
    let (_server, mut connection) = served(observed());
    let named = json!({"type": "function", "function": {"name": "f"}});
    // The observed server was told to report details that servers usually leave out.
    let details = Regex::new(r#""prompt_tokens_details":\{[^}]*\}"#).unwrap();
    let completion = Regex::new(r#""completion_tokens":\d+"#).unwrap();
    let without = |text: &str| {
        let text = details.replace_all(text, r#""prompt_tokens_details":null"#).into_owned();
        masked(&completion.replace_all(&text, r#""completion_tokens":<n>"#))
    };
    for (title, choice) in [("required", json!("required")), ("named", named)] {
        let expected = after(&text, &format!("tool_choice {title}: 200 application/json\n")).lines().next().unwrap();
        let full = send(&mut connection, "POST /v1/chat/completions", &calling(choice.clone(), false));
        assert_eq!(without(full.text()), without(expected), "{title}");

        let heading = format!("tool_choice {title} stream: 200 text/event-stream; charset=utf-8\n");
        let section = after(&text, &heading).split("\n\ntool_choice").next().unwrap();
        let mut body = calling(choice, true);
        if title == "named" {
            body["stream_options"] = json!({"include_usage": true});
        }
        let stream = send(&mut connection, "POST /v1/chat/completions", &body);
        let reported = r#","prompt_tokens_details":{"cached_tokens":0,"created_cache_tokens":0}"#;
        let expected = section.replace("…\n\n", "").replace(reported, "");
        assert_eq!(
            without_repeats(&without(stream.text().trim_end())),
            without_repeats(&without(expected.trim_end())),
            "{title}"
        );
    }
}

#[test]
fn completions_are_those_of_vllm() {
    let (_server, mut connection) = served(observed());
    let body = json!({"model": "tiny", "prompt": "hello there", "max_tokens": 2, "ignore_eos": true,
        "stream": true, "stream_options": {"include_usage": true}});
    check("completions-stream-usage.http", &send(&mut connection, "POST /v1/completions", &body));
    let body = json!({"model": "tiny", "prompt": "hello there", "max_tokens": 2, "ignore_eos": true, "echo": true, "logprobs": 1});
    let response = send(&mut connection, "POST /v1/completions", &body);
    // The vocabularies differ, so only the keys and the positions of nulls are compared.
    let expected = read("completions-echo-logprobs.http");
    let expected: Value = serde_json::from_str(expected.split_once("\n\n").unwrap().1).unwrap();
    assert_eq!(keys(&response.json()), keys(&expected));
    let choice = &response.json()["choices"][0];
    assert!(choice["text"].as_str().unwrap().starts_with("hello there"), "{choice}");
    assert_eq!(choice["logprobs"]["text_offset"][1], 5);
    assert_eq!((&choice["logprobs"]["token_logprobs"][0], &choice["prompt_logprobs"][0]), (&Value::Null, &Value::Null));
    let entry = choice["prompt_logprobs"][1].as_object().unwrap().values().next().unwrap();
    assert_eq!(keys(entry), ["logprob", "rank", "decoded_token"].map(str::to_owned));
}

/// The keys of an object and of the objects in it, in order. Lists count by their first item, and maps of tokens not at all.
fn keys(value: &Value) -> Vec<String> {
    match value {
        Value::Object(members) => members
            .iter()
            .filter(|(name, _)| !["top_logprobs", "prompt_logprobs"].contains(&name.as_str()))
            .flat_map(|(name, value)| {
                std::iter::once(name.clone()).chain(keys(value).into_iter().map(move |key| format!("{name}.{key}")))
            })
            .collect(),
        Value::Array(items) => items.first().map(keys).unwrap_or_default(),
        _ => Vec::new(),
    }
}

#[test]
fn other_endpoints_are_those_of_vllm() {
    let (_server, mut connection) = served(observed());
    let hi = json!([{"role": "user", "content": "hi"}]);
    let message = json!({"model": "tiny", "messages": hi, "max_tokens": 4});
    let streamed = json!({"model": "tiny", "messages": hi, "max_tokens": 4, "stream": true});
    for (file, route, body) in [
        ("models.http", "GET /v1/models", Value::Null),
        ("health.http", "GET /health", Value::Null),
        ("health.http", "POST /ping", Value::Null),
        ("detokenize.http", "POST /detokenize", json!({"model": "tiny", "tokens": [69, 70]})),
        ("responses.http", "POST /v1/responses", json!({"model": "tiny", "input": "hi", "max_output_tokens": 4})),
        (
            "responses-stream.http",
            "POST /v1/responses",
            json!({"model": "tiny", "input": "hi", "max_output_tokens": 4, "stream": true}),
        ),
        ("messages.http", "POST /v1/messages", message),
        ("messages-stream.http", "POST /v1/messages", streamed),
        ("messages-count-tokens.http", "POST /v1/messages/count_tokens", json!({"model": "tiny", "messages": hi})),
    ] {
        let response = send(&mut connection, route, &body);
        if file == "responses-stream.http" {
            // The numbers of events depend on the number of pieces.
            let text = renumbered(&masked(response.text()));
            let expected = read(file);
            assert_eq!(
                text,
                renumbered(&masked(expected.split_once("\n\n").unwrap().1)).trim_end().to_owned() + "\n\n"
            );
            continue;
        }
        check(file, &response);
    }
    let body = json!({"model": "tiny", "prompt": "hello sky", "return_token_strs": true});
    let tokens = send(&mut connection, "POST /tokenize", &body);
    assert_eq!(
        tokens.text(),
        r#"{"count":2,"max_model_len":512,"tokens":[24912,17307],"token_strs":["hello","Ġsky"]}"#
    );
    let messages = send(&mut connection, "POST /tokenize", &json!({"model": "tiny", "messages": hi})).json();
    assert!(messages["count"].as_u64().unwrap() > 5 && messages["token_strs"].is_null(), "{messages}");
    for route in ["POST /tokenize", "POST /detokenize"] {
        let body = json!({"model": "other", "prompt": "a", "tokens": [1]});
        let refused = send(&mut connection, route, &body);
        let expected = send(&mut connection, "POST /v1/chat/completions", &chat(json!({"model": "other"})));
        assert_eq!((refused.status, refused.text()), (404, expected.text()), "{route}");
    }
    for (path, body) in
        [("/version", r#"{"version":"0.32.0"}"#), ("/load", r#"{"server_load":0}"#), ("/kv_event_sources", "{}")]
    {
        assert_eq!(send(&mut connection, &format!("GET {path}"), &Value::Null).text(), body);
    }
}

/// Replaces the numbers of events, and drops events that repeat the one before.
fn renumbered(text: &str) -> String {
    let text = Regex::new(r#""sequence_number":\d+"#).unwrap().replace_all(text, r#""sequence_number":<n>"#);
    without_repeats(&text)
}

/// The headings of `errors.txt` whose requests the fake answers otherwise, each with the reason.
const NOT_FAKED: [(&str, &str); 5] = [
    ("POST /v1/embeddings", "the fake has embeddings, too"),
    ("tools, tool_choice auto or absent, no parser at start", "the fake has a parser"),
    ("tool_choice required, no parser", "the fake has a parser"),
    ("tool_choice function f, no parser", "the fake has a parser"),
    ("image to a text model", "the fake takes images"),
];

#[test]
fn errors_are_those_of_vllm() {
    let text = read("errors.txt");
    let mut lines = text.lines().skip(2).peekable();
    let (_server, mut connection) = served(observed());
    let keyed = Settings { api_key: Some(vec!["k".to_owned()]), ..observed() };
    let (_keyed_server, mut keyed) = served(keyed);
    let tool = json!([{"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}]);
    let named = |name: &str| json!({"type": "function", "function": {"name": name}});
    let schema = json!({"type": "json_schema", "json_schema": {"name": "s", "schema": {"type": "nonsense"}}});
    let words = |count: usize| json!([{"role": "user", "content": "word ".repeat(count)}]);
    let mut compared = 0;
    while let (Some(heading), Some(expected)) = (lines.next(), lines.next()) {
        let expected = expected.trim_start();
        if NOT_FAKED.iter().any(|(known, _)| *known == heading) {
            continue;
        }
        let chat = |more: Value| ("POST /v1/chat/completions", chat(more));
        let raw = |body: &str| ("POST /v1/chat/completions", Value::from(body));
        let (route, body) = match heading {
            "GET /nope" => ("GET /nope", Value::Null),
            "GET /v1/models/tiny" => ("GET /v1/models/tiny", Value::Null),
            "GET /v1/chat/completions (allow: POST)" => ("GET /v1/chat/completions", Value::Null),
            "model not served" => chat(json!({"model": "other"})),
            "same on /v1/messages" if expected.starts_with("404") => (
                "POST /v1/messages",
                json!({"model": "other", "messages": [{"role": "user", "content": "hi"}], "max_tokens": 4}),
            ),
            "body: nonsense" => raw("nonsense"),
            r#"body: cut object {"model":"tiny""# => raw(r#"{"model":"tiny""#),
            "body: [1]" => raw("[1]"),
            "body empty" => raw(""),
            "content-type text/plain" => {
                let body = self::chat(json!({})).to_string();
                let path = "/vllm/v1/chat/completions";
                let response = connection.request("POST", path, "content-type: text/plain\r\n", &body).unwrap();
                assert_eq!(format!("{} {}", response.status, response.text()), expected, "{heading}");
                compared += 1;
                continue;
            }
            "no messages" => raw(r#"{"model":"tiny"}"#),
            r#"messages: "x""# => chat(json!({"messages": "x"})),
            "messages: []" => chat(json!({"messages": []})),
            "same on /v1/messages, with max_tokens" => {
                ("POST /v1/messages", json!({"model": "tiny", "messages": [], "max_tokens": 4}))
            }
            "/v1/messages without max_tokens" => ("POST /v1/messages", self::chat(json!({}))),
            "max_tokens 100000" => chat(json!({"max_tokens": 100_000})),
            "max_tokens 0" => chat(json!({"max_tokens": 0})),
            "prompt of 7217 characters" => {
                let template = "<|start|>user<|message|><|end|><|start|>assistant<|message|>".len();
                let content = "x".repeat(7217 - template);
                chat(json!({"messages": [{"role": "user", "content": content}]}))
            }
            "prompt of about 600 tokens, fewer than 5120 characters" => chat(json!({"messages": words(900)})),
            "temperature: 3" => chat(json!({"temperature": 3})),
            "temperature: -1" => chat(json!({"temperature": -1})),
            "n: 0" => chat(json!({"n": 0})),
            "top_p: 0" => chat(json!({"top_p": 0})),
            "top_p: 1.5" => chat(json!({"top_p": 1.5})),
            "top_k: -5" => chat(json!({"top_k": -5})),
            "presence_penalty: 5" => chat(json!({"presence_penalty": 5})),
            r#"temperature: "x""# => chat(json!({"temperature": "x"})),
            r#"n: "x""# => chat(json!({"n": "x"})),
            "min_p: 2" => chat(json!({"min_p": 2})),
            r#"stop: [""]"# => chat(json!({"stop": [""]})),
            r#"logit_bias: {"9999": 1}"# => chat(json!({"logit_bias": {"99999999": 1}})),
            r#"seed: "x""# => chat(json!({"seed": "x"})),
            r#"stream: "x""# => chat(json!({"stream": "x"})),
            "top_logprobs 50" => chat(json!({"logprobs": true, "top_logprobs": 50})),
            "top_logprobs without logprobs" => chat(json!({"top_logprobs": 1})),
            "stream_options without stream" => chat(json!({"stream_options": {"include_usage": true}})),
            r#"response_format json_schema, schema {"type":"nonsense"}"# => chat(json!({"response_format": schema})),
            "response_format type nonsense" => chat(json!({"response_format": {"type": "nonsense"}})),
            "tool_choice of a tool that is not there" => chat(json!({"tools": tool, "tool_choice": named("zz")})),
            "tools: []" => chat(json!({"tools": []})),
            "tool_choice without tools" => chat(json!({"tool_choice": named("f")})),
            "/v1/completions without prompt" => ("POST /v1/completions", json!({"model": "tiny"})),
            "/tokenize {}" => ("POST /tokenize", json!({})),
            "/detokenize {}" => ("POST /detokenize", json!({})),
            "/v1/responses without input" => ("POST /v1/responses", json!({"model": "tiny", "max_output_tokens": 4})),
            "/v1/responses/resp_none" => ("GET /v1/responses/resp_none", Value::Null),
            "with --api-key, none or a wrong one (also on paths under /v1 that there are none of)" => {
                let response = send(&mut keyed, "POST /v1/chat/completions", &self::chat(json!({})));
                assert_eq!(format!("{} {}", response.status, response.text()), expected, "{heading}");
                assert!(!response.headers.contains_key("vary"));
                compared += 1;
                continue;
            }
            // A test of its own fills the queue.
            "same on /v1/messages"
            | "with --max-num-queued-reqs reached (no retry-after), also on /v1/completions and /v1/responses" => {
                continue;
            }
            other => panic!("no request for {other}"),
        };
        let response = send(&mut connection, route, &body);
        let mut expected = expected.to_owned();
        if heading.starts_with("logit_bias") {
            expected = expected.replace("9999", "99999999").replace("333", "200019");
        }
        assert_eq!(format!("{} {}", response.status, response.text()), expected, "{heading}");
        assert_eq!(response.header("content-type"), "application/json", "{heading}");
        assert_eq!((response.header("server"), response.header("vary")), ("uvicorn", "Origin"), "{heading}");
        compared += 1;
    }
    assert_eq!(compared, 47, "every line of the file is compared or named");
}

#[test]
fn a_full_queue_is_an_error_at_once() {
    let settings = Settings {
        max_concurrency: Some(1),
        queue: Some(0),
        content: Some(fake_openai::ContentSource::Lorem),
        ttft: Some("60s".to_owned()),
        ..observed()
    };
    let (server, mut connection) = served(settings);
    let mut first = Connection::open(server.address());
    let body = chat(json!({})).to_string();
    first
        .send(
            format!(
                "POST /vllm/v1/chat/completions HTTP/1.1\r\nhost: fake\r\ncontent-length: {}\r\n\r\n{body}",
                body.len()
            )
            .as_bytes(),
        )
        .unwrap();
    let metrics = |connection: &mut Connection| connection.get("/metrics").text().to_owned();
    while !metrics(&mut connection).contains("\nfake_openai_answers_running 1\n") {
        std::thread::yield_now();
    }
    let text = read("errors.txt");
    let (_, expected) = text.split_once("with --max-num-queued-reqs").unwrap();
    let expected: Vec<_> = expected.lines().filter_map(|line| line.strip_prefix("  ")).collect();
    for (route, body, expected) in [
        ("POST /v1/chat/completions", chat(json!({"stream": true})), expected[0]),
        ("POST /v1/completions", json!({"prompt": "a"}), expected[0]),
        ("POST /v1/responses", json!({"input": "a"}), expected[0]),
        ("POST /v1/messages", chat(json!({"max_tokens": 4})), expected[1]),
    ] {
        let response = send(&mut connection, route, &body);
        assert_eq!(format!("{} {}", response.status, response.text()), expected, "{route}");
        assert!(!response.headers.contains_key("retry-after"));
    }
}

#[test]
fn an_error_in_a_stream_is_followed_by_done() {
    let (_server, mut connection) = served(Settings { models: None, ..observed() });
    let body = chat(json!({"model": "m~error@3", "stream": true}));
    let response = send(&mut connection, "POST /v1/chat/completions", &body);
    let error = r#"{"error":{"message":"Internal server error","type":"InternalServerError","param":null,"code":500}}"#;
    let events: Vec<_> = response.text().split_inclusive("\n\n").collect();
    assert_eq!(events[3..], [format!("data: {error}\n\n").as_str(), "data: [DONE]\n\n"], "{events:?}");
    let body = chat(json!({"model": "m~503"}));
    let response = send(&mut connection, "POST /v1/chat/completions", &body);
    assert!(response.status == 503 && response.json()["error"]["code"] == 503, "{}", response.text());
    // OpenAI's stream just ends.
    let body = chat(json!({"model": "gpt-4o~error@3", "stream": true})).to_string();
    let response = connection.chat(&body);
    assert!(response.text().contains("server_error") && !response.text().contains("[DONE]"), "{}", response.text());
}

#[test]
fn methods_slashes_and_pages_are_handled_as_by_uvicorn() {
    let (_server, mut connection) = served(observed());
    let detail = r#"{"detail":"Method Not Allowed"}"#;
    let origin = "origin: http://a.example\r\n";
    let preflight = "origin: http://a.example\r\naccess-control-request-method: POST\r\n";
    for (method, path, headers, allow, body) in [
        ("HEAD", "/vllm/health", "", "GET", ""),
        ("POST", "/vllm/health", "", "GET", detail),
        ("GET", "/vllm/v1/chat/completions", origin, "POST", detail),
        ("OPTIONS", "/vllm/v1/chat/completions", "", "POST", detail),
        ("OPTIONS", "/vllm/v1/chat/completions", preflight, "POST", detail),
    ] {
        let response = connection.request(method, path, headers, "").unwrap();
        assert_eq!((response.status, response.header("allow"), response.text()), (405, allow, body), "{method} {path}");
        assert!(!response.headers.contains_key("access-control-allow-origin"), "{method} {path}");
    }
    let body = chat(json!({})).to_string();
    let moved = connection.request("POST", "/vllm/v1/chat/completions/?a=b", "", &body).unwrap();
    let location = "http://fake/vllm/v1/chat/completions?a=b";
    assert_eq!((moved.status, moved.header("location"), moved.text()), (307, location, ""));
    assert_eq!(connection.request("POST", "/vllm/nope/", "", "").unwrap().status, 404);
    // Other providers ignore the slash, and are open to pages.
    let response = connection.request("POST", "/v1/chat/completions/", origin, &body).unwrap();
    assert_eq!((response.status, response.header("access-control-allow-origin")), (200, "http://a.example"));
    assert_eq!(connection.request("HEAD", "/v1/models", "", "").unwrap().status, 200);
    assert_eq!(connection.request("OPTIONS", "/v1/models", "", "").unwrap().header("allow"), "GET, HEAD, OPTIONS");
}

#[test]
fn the_context_window_shortens_replies() {
    let (_server, mut connection) = served(observed());
    for (route, body) in [
        ("POST /v1/chat/completions", chat(json!({"max_tokens": 505, "ignore_eos": true}))),
        ("POST /v1/completions", json!({"prompt": "hi", "max_tokens": 512, "ignore_eos": true})),
    ] {
        let response = send(&mut connection, route, &body).json();
        let usage = &response["usage"];
        let sum = usage["prompt_tokens"].as_u64().unwrap() + usage["completion_tokens"].as_u64().unwrap();
        assert_eq!(response["choices"][0]["finish_reason"], "length", "{response}");
        assert_eq!(sum, 512, "{response}");
    }
    let body = json!({"input": "hi", "max_output_tokens": 505, "ignore_eos": true});
    let response = send(&mut connection, "POST /v1/responses", &body).json();
    assert_eq!(
        (&response["status"], &response["incomplete_details"]["reason"]),
        (&json!("incomplete"), &json!("max_output_tokens"))
    );
}

#[test]
fn members_that_only_vllm_has_change_the_response() {
    let (_server, mut connection) = served(observed());
    let mut ask = |more: Value| send(&mut connection, "POST /v1/chat/completions", &chat(more)).json();
    let hello = "\n\nHello there, how may I assist you today?";
    let stopped = ask(json!({"stop": ["may"]}));
    let choice = &stopped["choices"][0];
    assert_eq!((&choice["stop_reason"], &choice["finish_reason"]), (&json!("may"), &json!("stop")));
    assert_eq!(choice["message"]["content"], "\n\nHello there, how ");
    let kept = ask(json!({"stop": ["may"], "include_stop_str_in_output": true}));
    assert_eq!(kept["choices"][0]["message"]["content"], "\n\nHello there, how may");
    let long = ask(json!({"min_tokens": 40}));
    let content = long["choices"][0]["message"]["content"].as_str().unwrap();
    assert!(content.starts_with(hello) && content.len() > hello.len() + 50, "{content}");
    assert!(long["usage"]["completion_tokens"].as_u64().unwrap() >= 40, "{long}");
    let full = ask(json!({"max_tokens": 30, "ignore_eos": true}));
    let choice = &full["choices"][0];
    assert_eq!((&choice["finish_reason"], &choice["stop_reason"]), (&json!("length"), &Value::Null));
    assert_eq!(full["usage"]["completion_tokens"], 30);
    let ids = ask(json!({"return_token_ids": true, "prompt_logprobs": 1}));
    let (prompt, text) = (&ids["prompt_token_ids"], &ids["choices"][0]["token_ids"]);
    assert!(prompt.as_array().unwrap().len() > 3 && text.as_array().unwrap().len() > 5, "{ids}");
    let logprobs = ids["prompt_logprobs"].as_array().unwrap();
    assert!(logprobs[0].is_null() && logprobs[1].is_object() && logprobs.len() == prompt.as_array().unwrap().len());
    // Rules that OpenAI has and vLLM has not.
    let object = ask(json!({"response_format": {"type": "json_object"}}));
    assert!(object["choices"][0]["message"]["content"].as_str().unwrap().starts_with('{'), "{object}");
    assert!(ask(json!({"messages": [{"role": "narrator", "content": "a"}]}))["choices"].is_array());
    assert_eq!(ask(json!({"model": null}))["model"], "tiny");

    let body = chat(json!({"stream": true, "return_token_ids": true, "max_tokens": 2}));
    let stream = send(&mut connection, "POST /v1/chat/completions", &body);
    let events: Vec<Value> =
        stream.text().lines().filter_map(|line| serde_json::from_str(line.strip_prefix("data: ")?).ok()).collect();
    assert!(events[0]["prompt_token_ids"].is_array() && events[1]["choices"][0]["token_ids"].is_array(), "{events:?}");
    let body = chat(json!({})).to_string();
    let named =
        connection.request("POST", "/vllm/v1/chat/completions", "x-request-id: abc-1\r\n", &body).unwrap().json();
    assert_eq!(named["id"], "chatcmpl-abc-1");
}

#[test]
fn stop_tokens_end_the_text_before_them() {
    let (_server, mut connection) = served(observed());
    let may = send(&mut connection, "POST /tokenize", &json!({"prompt": " may"})).json()["tokens"][0].clone();
    let mut ask = |more: Value| {
        let mut body = chat(more);
        body["stop_token_ids"] = json!([5, may]);
        let response = send(&mut connection, "POST /v1/chat/completions", &body).json();
        (response["choices"][0].clone(), response["usage"]["completion_tokens"].clone())
    };
    let (choice, tokens) = ask(json!({}));
    assert_eq!(choice["message"]["content"], "\n\nHello there, how");
    assert_eq!((&choice["finish_reason"], &choice["stop_reason"]), (&json!("stop"), &may));
    assert_eq!(tokens, 6, "the stop token is generated, too");
    let (kept, _) = ask(json!({"include_stop_str_in_output": true}));
    assert_eq!(kept["message"]["content"], "\n\nHello there, how may");
    let (cut, tokens) = ask(json!({"max_tokens": 5}));
    assert_eq!((&cut["finish_reason"], &cut["stop_reason"], tokens), (&json!("length"), &Value::Null, json!(5)));
    let (whole, _) = ask(json!({"min_tokens": 6}));
    assert_eq!((&whole["stop_reason"], &whole["finish_reason"]), (&Value::Null, &json!("stop")));
    let (earlier, _) = ask(json!({"stop": ["there"]}));
    assert_eq!(earlier["stop_reason"], "there");

    let body = json!({"prompt": "hi", "stop_token_ids": [may], "stream": true});
    let stream = send(&mut connection, "POST /v1/completions", &body);
    let events: Vec<Value> =
        stream.text().lines().filter_map(|line| serde_json::from_str(line.strip_prefix("data: ")?).ok()).collect();
    let last = &events.last().unwrap()["choices"][0];
    assert_eq!((&last["text"], &last["stop_reason"]), (&json!(" how"), &may));
}

#[test]
fn keys_are_bearer_tokens_and_guard_all_paths_below_v1() {
    let keyed = Settings { api_key: Some(vec!["k".to_owned()]), serve_as: Some("vllm".to_owned()), ..observed() };
    let (_server, mut connection) = served(keyed);
    let chats = chat(json!({"max_tokens": 4})).to_string();
    let text = read("errors.txt");
    let unauthorized = text.lines().find_map(|line| line.trim().strip_prefix("401 ")).unwrap();
    for (key, accepted) in [
        ("", false),
        ("authorization: Bearer wrong\r\n", false),
        ("authorization: k\r\n", false),
        ("authorization: Basic k\r\n", false),
        ("x-api-key: k\r\n", false),
        ("api-key: k\r\n", false),
        ("authorization: bearer k\r\n", true),
    ] {
        for prefix in ["", "/vllm"] {
            for (method, path, body, status) in [
                ("POST", "/v1/chat/completions", chats.as_str(), 200),
                ("POST", "/v1/messages", &chats, 200),
                ("POST", "/v1/completions/", "{}", 307),
                ("GET", "/v1/chat/completions", "", 405),
                ("GET", "/v1/nope", "", 404),
                ("GET", "/v1/models?key=k", "", 200),
            ] {
                let response = connection.request(method, &format!("{prefix}{path}"), key, body).unwrap();
                let expected = if accepted { status } else { 401 };
                assert_eq!(response.status, expected, "{method} {prefix}{path} {key}");
                assert!(accepted || response.text() == unauthorized, "{}", response.text());
            }
            for (method, path, body, status) in [
                ("GET", "/health", "", 200),
                ("GET", "/metrics", "", 200),
                ("GET", "/load", "", 200),
                ("GET", "/vllmnope", "", 404),
                ("POST", "/tokenize", r#"{"prompt":"a"}"#, 200),
                ("POST", "/rerank", r#"{"query":"a","documents":["b"]}"#, 200),
                ("OPTIONS", "/v1/models", "", 405),
            ] {
                let response = connection.request(method, &format!("{prefix}{path}"), key, body).unwrap();
                assert_eq!(response.status, status, "{method} {prefix}{path} {key}");
            }
        }
    }
}

#[test]
fn the_fingerprint_depends_on_the_settings() {
    let fingerprint = |settings: Settings| {
        let (_server, mut connection) = served(settings);
        send(&mut connection, "POST /v1/chat/completions", &chat(json!({}))).json()["system_fingerprint"].clone()
    };
    let first = fingerprint(observed());
    assert!(Regex::new("^vllm-0.32.0-[0-9a-f]{8}$").unwrap().is_match(first.as_str().unwrap()), "{first}");
    assert_eq!(first, fingerprint(observed()));
    assert_ne!(first, fingerprint(Settings { context_window: Some("1024".to_owned()), ..observed() }));
}

#[test]
fn requests_are_rendered_as_for_the_engine() {
    let (_server, mut connection) = served(observed());
    let body = chat(json!({"max_tokens": 7, "stop": "x", "stream": true, "temperature": 0.5}));
    let rendered = send(&mut connection, "POST /v1/chat/completions/render", &body).json();
    assert!(rendered["request_id"].as_str().unwrap().starts_with("chatcmpl-"), "{rendered}");
    let params = &rendered["sampling_params"];
    assert_eq!(
        (&params["max_tokens"], &params["stop"], &params["temperature"]),
        (&json!(7), &json!(["x"]), &json!(0.5))
    );
    assert_eq!((&rendered["model"], &rendered["stream"]), (&json!("tiny"), &json!(true)));
    let tokens = send(&mut connection, "POST /tokenize", &chat(json!({}))).json();
    assert_eq!(rendered["token_ids"], tokens["tokens"]);
    let list = send(&mut connection, "POST /v1/completions/render", &json!({"prompt": ["a", "b c"]})).json();
    assert_eq!(list[1]["token_ids"].as_array().unwrap().len(), 2, "{list}");
    for (route, body) in [
        ("POST /v1/messages/render", chat(json!({"max_tokens": 4}))),
        ("POST /v1/responses/render", json!({"input": "hi"})),
    ] {
        let rendered = send(&mut connection, route, &body).json();
        assert!(!rendered["token_ids"].as_array().unwrap().is_empty(), "{route}: {rendered}");
    }
    let refused = send(&mut connection, "POST /v1/chat/completions/render", &json!({"model": "tiny"}));
    assert!(refused.status == 400 && refused.json()["error"]["param"] == "body.messages", "{}", refused.text());
}
