//! llama.cpp's server: its responses against those of build 11549 under `tests/observed/llama`.

use std::path::Path;

use fake_openai::{Access, ConcurrencySpec, Config, ContextWindow, ModelBehavior, Running};
use regex::Regex;
use serde_json::{Value, json};

use crate::{
    client::{Connection, Response, serve},
    program::Directory,
};

/// The replies of the observed model.
const REPLIES: &str = r#"[
  {"when": {"path": "*/chat/completions"}, "chunks": [" ", " hello", " hello"], "finish_reason": "length",
   "usage": {"prompt_tokens": 16, "completion_tokens": 3, "cached_tokens": 15}},
  {"when": {"path": "*/completion*"}, "chunks": [" ", " sky"], "finish_reason": "length",
   "usage": {"prompt_tokens": 2, "completion_tokens": 2, "cached_tokens": 1}},
  {"when": {"path": "*/messages", "stream": true}, "chunks": [" on", "\ufffd"], "finish_reason": "length",
   "usage": {"prompt_tokens": 16, "completion_tokens": 3, "cached_tokens": 15}},
  {"when": {"path": "*/messages"}, "chunks": ["t", "\u0017", " sky"], "finish_reason": "length",
   "usage": {"prompt_tokens": 16, "completion_tokens": 3, "cached_tokens": 15}},
  {"when": {"path": "*/responses"}, "chunks": [" ", " hello", " hello"], "finish_reason": "length",
   "usage": {"prompt_tokens": 15, "completion_tokens": 3, "cached_tokens": 14}},
  {"text": "Hi"}
]"#;

/// Requests: the file with the response, the path, and the body; no body is a GET.
const REQUESTS: [(&str, &str, &str); 18] = [
    (
        "chat",
        "/v1/chat/completions",
        r#"{"model":"tiny","messages":[{"role":"user","content":"hi"}],"max_tokens":3,"ignore_eos":true}"#,
    ),
    (
        "chat-logprobs",
        "/v1/chat/completions",
        r#"{"model":"tiny","messages":[{"role":"user","content":"hi"}],"max_tokens":3,"ignore_eos":true,"logprobs":true,"top_logprobs":1}"#,
    ),
    (
        "chat-stream",
        "/v1/chat/completions",
        r#"{"model":"tiny","messages":[{"role":"user","content":"hi"}],"max_tokens":3,"ignore_eos":true,"stream":true}"#,
    ),
    (
        "chat-stream-usage",
        "/v1/chat/completions",
        r#"{"model":"tiny","messages":[{"role":"user","content":"hi"}],"max_tokens":3,"ignore_eos":true,"stream":true,"stream_options":{"include_usage":true}}"#,
    ),
    ("completion", "/completion", r#"{"prompt":"hello","n_predict":2,"seed":7,"ignore_eos":true}"#),
    (
        "completion-stream",
        "/completion",
        r#"{"prompt":"hello","n_predict":2,"seed":7,"ignore_eos":true,"stream":true}"#,
    ),
    ("completions", "/v1/completions", r#"{"prompt":"hello","max_tokens":2,"ignore_eos":true}"#),
    ("completions-stream", "/v1/completions", r#"{"prompt":"hello","max_tokens":2,"ignore_eos":true,"stream":true}"#),
    ("messages", "/v1/messages", r#"{"model":"x","messages":[{"role":"user","content":"hi"}],"max_tokens":3}"#),
    (
        "messages-stream",
        "/v1/messages",
        r#"{"model":"x","messages":[{"role":"user","content":"hi"}],"max_tokens":3,"stream":true}"#,
    ),
    ("responses", "/v1/responses", r#"{"model":"x","input":"hi","max_output_tokens":3}"#),
    ("responses-stream", "/v1/responses", r#"{"model":"x","input":"hi","max_output_tokens":3,"stream":true}"#),
    ("tokenize", "/tokenize", r#"{"content":" hello sky","with_pieces":true}"#),
    ("health", "/health", ""),
    ("models", "/v1/models", ""),
    ("props", "/props", ""),
    ("slots", "/slots", ""),
    ("metrics", "/metrics", ""),
];

/// Observed errors: the line above them in `errors.txt`, the path, and the body; no body is a GET.
const ERRORS: [(&str, &str, &str); 28] = [
    ("GET /nope", "/nope", ""),
    ("GET /v1/chat/completions", "/v1/chat/completions", ""),
    ("POST /health", "/health", "{}"),
    ("GET /v1/models/tiny.gguf", "/v1/models/tiny.gguf", ""),
    ("/v1/chat/completions body nonsense", "/v1/chat/completions", "nonsense"),
    ("/v1/chat/completions body {}", "/v1/chat/completions", "{}"),
    ("/v1/completions body nonsense", "/v1/completions", "nonsense"),
    ("/v1/completions body {}", "/v1/completions", "{}"),
    ("/v1/messages body nonsense", "/v1/messages", "nonsense"),
    ("/v1/messages body {}", "/v1/messages", "{}"),
    ("/v1/responses body nonsense", "/v1/responses", "nonsense"),
    ("/v1/responses body {}", "/v1/responses", "{}"),
    ("messages: \"x\"", "/v1/chat/completions", r#"{"messages":"x"}"#),
    ("message without role", "/v1/chat/completions", r#"{"messages":[{"content":"x"}]}"#),
    ("message without content", "/v1/chat/completions", r#"{"messages":[{"role":"user"}]}"#),
    ("max_tokens: \"x\"", "/v1/chat/completions", r#"{"messages":[{"role":"user","content":"hi"}],"max_tokens":"x"}"#),
    ("n: 2 (one slot)", "/v1/chat/completions", r#"{"messages":[{"role":"user","content":"hi"}],"n":2}"#),
    (
        "json_schema {\"type\":\"nonsense\"}",
        "/v1/chat/completions",
        r#"{"messages":[{"role":"user","content":"hi"}],"response_format":{"type":"json_schema","json_schema":{"name":"s","schema":{"type":"nonsense"}}}}"#,
    ),
    (
        "response_format type nonsense",
        "/v1/chat/completions",
        r#"{"messages":[{"role":"user","content":"hi"}],"response_format":{"type":"nonsense"}}"#,
    ),
    (
        "tool_choice nonsense",
        "/v1/chat/completions",
        r#"{"messages":[{"role":"user","content":"hi"}],"tools":[],"tool_choice":"nonsense"}"#,
    ),
    (
        "top_logprobs without logprobs",
        "/v1/chat/completions",
        r#"{"messages":[{"role":"user","content":"hi"}],"top_logprobs":1}"#,
    ),
    (
        "image",
        "/v1/chat/completions",
        r#"{"messages":[{"role":"user","content":[{"type":"image_url","image_url":{"url":"data:,"}}]}]}"#,
    ),
    ("/v1/embeddings", "/v1/embeddings", r#"{"input":"a"}"#),
    ("/rerank", "/rerank", "{}"),
    ("POST /props", "/props", "{}"),
    ("/infill", "/infill", "{}"),
    ("prompt over the context", "/v1/chat/completions", ""),
    ("same on /v1/messages", "/v1/messages", ""),
];

fn observed(name: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/observed/llama").join(name);
    std::fs::read_to_string(path).unwrap().replace("\r\n", "\n")
}

/// A server with one slot and the observed model.
fn served() -> (Running, Connection) {
    let directory = Directory::with(&[("replies.json", REPLIES)]);
    let behavior = ModelBehavior { context: ContextWindow::Tokens(512), ..ModelBehavior::default() };
    let server = serve(Config {
        behavior,
        access: Access { keys: Vec::new(), models: vec!["tiny.gguf".to_owned()] },
        capacity: Some(ONE_SLOT),
        fixtures: Some(directory.path().to_owned()),
        serve_as: Some("llama-cpp".to_owned()),
        ..Config::for_test()
    });
    let connection = Connection::open(server.address());
    (server, connection)
}

const ONE_SLOT: ConcurrencySpec = ConcurrencySpec { max: 1, queue: None, head: None, slowdown: 1.0 };

fn send(connection: &mut Connection, path: &str, body: &str) -> Response {
    if body.is_empty() { connection.get(path) } else { connection.post(path, body) }
}

/// Replaces what differs between two responses: ids, times, token numbers and the measures of the model.
fn masked(text: &str) -> String {
    let masks = [
        (r"(chatcmpl-|resp_|msg_|__media_)(?:[A-Za-z0-9]{32}|random32)", "${1}ID"),
        (r#""(created|created_at|completed_at)":\d+"#, r#""$1":0"#),
        (r#""((?:prompt|predicted)_(?:ms|per_token_ms|per_second))":[-\d.e]+"#, r#""$1":0.5"#),
        (r"b(?:0|11549)-unknown", "BUILD"),
        // Token numbers, and what follows from the vocabulary.
        (r#"\{"id":\d+,"#, r#"{"id":0,"#),
        (r#""tokens":\[\d+\]"#, r#""tokens":[0]"#),
        (r#""logprob":-[\d.e-]+"#, r#""logprob":-0.5"#),
        (r#"("top_logprobs":\[\{"id":0,)"token":"[^"]*","bytes":\[[\d,]*\]"#, "$1"),
        // The observed server prefers some tokens.
        (r#""logit_bias":\[[^\]]*\]"#, r#""logit_bias":[]"#),
        // The model and its last request.
        (
            r#""(n_vocab|n_ctx_train|n_embd|n_params|size|id_task|n_prompt_tokens|seed|n_predict|max_tokens)":-?\d+"#,
            r#""$1":0"#,
        ),
        (r#""(ftype|model_ftype)":"[^"]*""#, r#""$1":"FTYPE""#),
        (r#""ignore_eos":(?:true|false)"#, r#""ignore_eos":false"#),
        (r"(?m)^(llamacpp:\w+) [\d.]+$", "$1 0"),
    ];
    masks.into_iter().fold(text.trim_end().to_owned(), |text, (pattern, mask)| {
        Regex::new(pattern).unwrap().replace_all(&text, mask).into_owned()
    })
}

#[test]
fn responses_are_those_of_the_observed_server() {
    let (_server, mut connection) = served();
    for (name, path, body) in REQUESTS {
        let observed = observed(&format!("{name}.http"));
        let (head, expected) = observed.split_once("\n\n").unwrap();
        let response = send(&mut connection, path, body);
        let mut sent = masked(response.text());
        if name == "slots" {
            // The observed slot has streamed before.
            sent = sent.replace(r#""stream":false"#, r#""stream":true"#);
        }
        pretty_assertions(name, &sent, &masked(expected));
        assert!(head.starts_with(&format!("HTTP/1.1 {}", response.status)), "{name}: {}", response.status);
        for line in head.lines().skip(1) {
            let (header, value) = line.split_once(':').unwrap();
            let header = header.to_lowercase();
            match header.as_str() {
                // The fake has a length, and keeps connections, of its own.
                "content-length" | "keep-alive" => {}
                "process-start-time-unix" => assert!(response.headers.contains_key(&header)),
                _ => assert_eq!(response.header(&header), value.trim(), "{name}: {header}"),
            }
        }
    }
}

/// Compares two texts, and shows the first place where they differ.
fn pretty_assertions(name: &str, sent: &str, expected: &str) {
    let same = sent.bytes().zip(expected.bytes()).take_while(|(one, other)| one == other).count();
    let from = (0..=same.saturating_sub(60)).rev().find(|at| sent.is_char_boundary(*at)).unwrap_or(0);
    let rest = |text: &str| String::from_utf8_lossy(&text.as_bytes()[from.min(text.len())..]).into_owned();
    assert!(sent == expected, "{name}, at byte {same}:\n{}\nexpected:\n{}", rest(sent), rest(expected));
}

#[test]
fn errors_are_those_of_the_observed_server() {
    let (_server, mut connection) = served();
    let errors = observed("errors.txt");
    let long = json!({"messages": [{"role": "user", "content": "word ".repeat(3000)}]}).to_string();
    for (title, path, body) in ERRORS {
        let observed = errors.lines().skip_while(|line| *line != title).nth(1).unwrap_or_else(|| panic!("{title}"));
        let (status, expected) = observed.trim().split_once(' ').unwrap();
        let is_long = title.contains("over the context") || title.starts_with("same");
        let response = send(&mut connection, path, if is_long { &long } else { body });
        let expected = match is_long {
            true => {
                let tokens = response.json()["error"]["n_prompt_tokens"].to_string();
                expected.replace("1215", &tokens)
            }
            false => expected.to_owned(),
        };
        assert_eq!((response.text(), response.status.to_string().as_str()), (&*expected, status), "{title}");
        assert_eq!(response.header("content-type"), "application/json; charset=utf-8", "{title}");
    }
    let ok = [
        r#"{"model":"any","messages":[{"role":"user","content":"x"}],"temperature":-1}"#,
        r#"{"messages":[]}"#,
        r#"{"messages":[{"role":"user","content":"x"}],"max_tokens":0}"#,
    ];
    for body in ok {
        let response = connection.post("/v1/chat/completions", body);
        assert_eq!((response.status, &response.json()["model"]), (200, &json!("tiny.gguf")), "{body}");
    }
}

#[test]
fn a_key_is_needed_for_all_paths_but_health() {
    let access = Access { keys: vec!["k".to_owned()], models: Vec::new() };
    let server = serve(Config { access, serve_as: Some("llama-cpp".to_owned()), ..Config::for_test() });
    let mut connection = Connection::open(server.address());
    let refused = r#"{"error":{"message":"Invalid API Key","type":"authentication_error","code":401}}"#;
    for path in ["/v1/models", "/props", "/slots", "/metrics", "/nope", "/v1/chat/completions"] {
        let response = connection.get(path);
        assert_eq!((response.status, response.text()), (401, refused), "{path}");
        let response = connection.request("GET", path, "authorization: Bearer wrong\r\n", "").unwrap();
        assert_eq!((response.status, response.text()), (401, refused), "{path}");
    }
    assert_eq!(connection.get("/health").status, 200);
    assert_eq!(connection.get("/v1/health").status, 200);
    let allowed = connection.request("GET", "/nope", "authorization: Bearer k\r\n", "").unwrap();
    assert_eq!(allowed.status, 404);
}

#[test]
fn a_fault_loads_the_model_on_every_route() {
    let faults = vec!["503:loading".parse().unwrap()];
    let server = serve(Config { faults, serve_as: Some("llama-cpp".to_owned()), ..Config::for_test() });
    let mut connection = Connection::open(server.address());
    for path in ["/health", "/v1/models", "/props", "/slots", "/metrics"] {
        let response = connection.get(path);
        let loading = r#"{"error":{"message":"Loading model","type":"unavailable_error","code":503}}"#;
        assert_eq!((response.status, response.text()), (503, loading), "{path}");
    }
    assert_eq!(connection.post("/v1/chat/completions", r#"{"messages":[]}"#).status, 503);
}

#[test]
fn tools_reasoning_and_stop_sequences_are_rendered_in_every_form() {
    let reply = r#"[{"text": "after", "reasoning": "because"}]"#;
    let call = r#"[{"tool_calls": [{"name": "f", "arguments": {"a": 1}}]}]"#;
    let open = |replies: &str| {
        let directory = Directory::with(&[("replies.json", replies)]);
        let server = serve(Config { fixtures: Some(directory.path().to_owned()), ..Config::for_test() });
        let connection = Connection::open(server.address());
        (server, connection)
    };
    let chat = r#"{"messages":[{"role":"user","content":"hi"}]}"#;
    let (_server, mut connection) = open(reply);
    let message = connection.post("/llama-cpp/v1/chat/completions", chat).json()["choices"][0]["message"].clone();
    assert_eq!(message, json!({"role": "assistant", "content": "after", "reasoning_content": "because"}));
    let content = connection.post("/llama-cpp/v1/messages", chat).json()["content"].clone();
    let thinking = json!({"type": "thinking", "thinking": "because", "signature": ""});
    assert_eq!(content, json!([thinking, {"type": "text", "text": "after"}]));
    let stopped = connection.post("/llama-cpp/completion", r#"{"prompt":"x","stop":["er"]}"#).json();
    assert_eq!((&stopped["content"], &stopped["stop_type"]), (&json!("aft"), &json!("word")));
    assert_eq!((&stopped["stopping_word"], &stopped["generation_settings"]["stop"]), (&json!("er"), &json!(["er"])));

    let (_server, mut connection) = open(call);
    let choice = connection.post("/llama-cpp/v1/chat/completions", chat).json()["choices"][0].clone();
    assert_eq!(choice["finish_reason"], "tool_calls");
    assert_eq!(choice["message"]["tool_calls"][0]["function"], json!({"name": "f", "arguments": r#"{"a":1}"#}));
    let stream = r#"{"messages":[{"role":"user","content":"hi"}],"stream":true}"#;
    let streamed = connection.post("/llama-cpp/v1/chat/completions", stream);
    let chunks =
        streamed.text().lines().filter_map(|line| serde_json::from_str::<Value>(line.strip_prefix("data: ")?).ok());
    let arguments: String = chunks
        .filter_map(|chunk| {
            let call = chunk.pointer("/choices/0/delta/tool_calls/0/function/arguments")?;
            Some(call.as_str()?.to_owned())
        })
        .collect();
    assert_eq!(arguments, r#"{"a":1}"#);
    let item = connection.post("/llama-cpp/v1/responses", r#"{"input":"hi"}"#).json()["output"][0].clone();
    assert_eq!((&item["type"], &item["arguments"]), (&json!("function_call"), &json!(r#"{"a":1}"#)));
    let block = connection.post("/llama-cpp/v1/messages", chat).json()["content"][0].clone();
    assert_eq!((&block["type"], &block["input"]), (&json!("tool_use"), &json!({"a": 1})));
}

#[test]
fn metrics_and_slots_count_what_was_served() {
    let (_server, mut connection) = served();
    let unused = connection.get("/slots").json();
    assert_eq!(unused, json!([{"id": 0, "n_ctx": 512, "speculative": false, "is_processing": false}]));
    connection.post("/v1/chat/completions", r#"{"messages":[{"role":"user","content":"hi"}]}"#);
    let metrics = connection.get("/metrics").text().to_owned();
    for line in [
        "llamacpp:prompt_tokens_total 1",
        "llamacpp:prompt_tokens_cached_total 15",
        "llamacpp:tokens_predicted_total 3",
        "llamacpp:predicted_tokens_seconds 50",
        "llamacpp:requests_processing 0",
        "llamacpp:requests_deferred 0",
    ] {
        assert!(metrics.lines().any(|known| known == line), "{line}: {metrics}");
    }
    assert_eq!(connection.get("/slots").json()[0]["next_token"][0]["n_decoded"], 0);
    // The fake's own are elsewhere.
    assert!(connection.admin("GET", "/metrics", "").text().contains("fake_openai_requests_total"));
}

#[test]
fn texts_are_tokens_and_back() {
    let (_server, mut connection) = served();
    let tokens = connection.post("/tokenize", r#"{"content":"hello sky"}"#).json();
    assert!(tokens["tokens"].as_array().is_some_and(|tokens| tokens.len() == 2 && tokens[0].is_u64()), "{tokens}");
    assert_eq!(connection.post("/detokenize", &tokens.to_string()).json(), json!({"content": "hello sky"}));
    let filled = connection.post("/apply-template", r#"{"messages":[{"role":"user","content":"hi"}]}"#);
    assert_eq!(filled.json(), json!({"prompt": "user: hi\nassistant:"}));
    let counted = connection.post("/v1/messages/count_tokens", r#"{"messages":[{"role":"user","content":"hi"}]}"#);
    assert!(counted.json()["input_tokens"].is_u64(), "{}", counted.text());
}
