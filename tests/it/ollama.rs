//! Ollama over real sockets: it streams by default, and both forms have the same content.

use fake_openai::{Config, LatencySpec, Running};
use serde_json::{Value, json};

use crate::{
    client::{Connection, Response, serve},
    program::Directory,
};

const HELLO: &str = "\n\nHello there, how may I assist you today?";

fn served() -> (Running, Connection) {
    let server = serve(Config { seed: Some(3), ..Config::for_test() });
    let connection = Connection::open(server.address());
    (server, connection)
}

/// A request with a model, a message, a prompt and these members.
fn body(members: &Value) -> String {
    let mut body = json!({"model": "llama3", "messages": [{"role": "user", "content": "Hi"}], "prompt": "Hi"});
    body.as_object_mut().unwrap().extend(members.as_object().unwrap().clone());
    body.to_string()
}

fn lines(response: &Response) -> Vec<Value> {
    assert_eq!((response.status, response.header("content-type")), (200, "application/x-ndjson"));
    response.text().lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// Accumulates the lines of a stream, as clients do: the last line with the whole text.
fn accumulated(lines: &[Value]) -> Value {
    let (last, before) = lines.split_last().unwrap();
    assert!(
        last["done"] == true && before.iter().all(|line| line["done"] == false && line.get("eval_count").is_none())
    );
    let mut whole = last.clone();
    let (chat, add) = (last.get("message").is_some(), |said: &mut Value, piece: &Value| {
        if let Some(piece) = piece.as_str() {
            *said = format!("{}{piece}", said.as_str().unwrap_or_default()).into();
        }
    });
    for line in before {
        let (into, of) = if chat { (&mut whole["message"], &line["message"]) } else { (&mut whole, line) };
        for name in ["content", "response", "thinking"] {
            if of.get(name).is_some() {
                add(&mut into[name], &of[name]);
            }
        }
        if let Some(calls) = of.get("tool_calls") {
            into["tool_calls"] = calls.clone();
        }
    }
    whole
}

#[test]
fn stream_lines_accumulate_to_the_full_response() {
    for path in ["/api/chat", "/api/generate"] {
        for members in [
            json!({}),
            json!({"options": {"num_predict": 3}}),
            json!({"options": {"stop": ["assist"]}}),
            json!({"think": true}),
            json!({"format": "json"}),
        ] {
            let streamed = lines(&served().1.post(path, &body(&members)));
            let mut asked = members.clone();
            asked["stream"] = false.into();
            let whole = served().1.post(path, &body(&asked));
            assert_eq!(whole.header("content-type"), "application/json; charset=utf-8");
            assert_eq!(accumulated(&streamed), whole.json(), "{path} {members}");
        }
    }
}

#[test]
fn tool_calls_stream_as_one_line_with_object_arguments() {
    let replies = json!([{"tool_calls": [{"name": "f", "arguments": {"n": 1}}, {"name": "g"}]}]);
    let directory = Directory::with(&[("replies.json", &replies.to_string())]);
    let server = serve(Config { fixtures: Some(directory.path().to_owned()), ..Config::for_test() });
    let lines = lines(&Connection::open(server.address()).post("/api/chat", &body(&json!({}))));
    assert_eq!(lines.len(), 2);
    let calls = lines[0]["message"]["tool_calls"].as_array().unwrap();
    let functions: Vec<_> = calls.iter().map(|call| call["function"].clone()).collect();
    let expected =
        [json!({"index": 0, "name": "f", "arguments": {"n": 1}}), json!({"index": 1, "name": "g", "arguments": {}})];
    assert_eq!(functions, expected);
    assert_eq!(lines[1]["done_reason"], "stop");
}

#[test]
fn a_load_takes_no_time_of_the_model_and_no_tokens() {
    let time = || Some("1h".parse().unwrap());
    let hour = LatencySpec { ttft: time(), itl: time(), ..LatencySpec::default() };
    let server = serve(Config { latency: hour, ..Config::for_test() });
    let mut connection = Connection::open(server.address());
    for keep_alive in ["5m", "0"] {
        let body = json!({"model": "m", "messages": [], "keep_alive": keep_alive}).to_string();
        assert_eq!(connection.post("/api/chat", &body).json()["done"], true);
    }
    let metrics = connection.get("/metrics").text().to_owned();
    let tokens = metrics.lines().filter(|line| line.starts_with("fake_openai_tokens_total{"));
    assert!(tokens.clone().all(|line| line.ends_with(" 0")), "{}", tokens.collect::<Vec<_>>().join("\n"));
}

#[test]
fn an_empty_request_loads_or_unloads_the_model() {
    let (_server, mut connection) = served();
    for (keep_alive, reason) in [
        (json!(null), "load"),
        (json!(0), "unload"),
        (json!(0.0), "unload"),
        (json!("0"), "unload"),
        (json!("0s"), "unload"),
        (json!("0h0m"), "unload"),
        (json!(-1), "load"),
        (json!(10), "load"),
        (json!("10m"), "load"),
    ] {
        for (path, member, empty) in [
            ("/api/generate", "prompt", json!("")),
            ("/api/generate", "images", json!([])),
            ("/api/chat", "messages", json!([])),
        ] {
            for stream in [json!(true), json!(false)] {
                let mut body = json!({"model": "m", "stream": stream, member: empty});
                if !keep_alive.is_null() {
                    body["keep_alive"] = keep_alive.clone();
                }
                let response = connection.post(path, &body.to_string());
                assert_eq!(response.header("content-type"), "application/json; charset=utf-8", "{path} {body}");
                assert_eq!(response.json()["done_reason"], reason, "{path} {body}");
                assert_eq!(response.json()["done"], true);
                assert!(response.json().get("eval_count").is_none());
            }
        }
    }
    let said = connection.post("/api/generate", &json!({"model": "m", "prompt": "x", "stream": false}).to_string());
    assert_eq!(said.json()["response"], HELLO);
}

#[test]
fn a_failed_stream_ends_with_an_error_line() {
    let (_server, mut connection) = served();
    let response = connection.post("/api/chat?fake=error@2:overloaded", &body(&json!({})));
    let lines = lines(&response);
    assert_eq!(lines.len(), 3);
    assert_eq!(lines[2], json!({"error": "server busy, please try again.  maximum pending requests exceeded"}));
}

#[test]
fn pull_push_and_create_report_progress_line_by_line() {
    let (_server, mut connection) = served();
    for path in ["/api/pull", "/api/push", "/api/create"] {
        let told = lines(&connection.post(path, r#"{"model":"llama3"}"#));
        assert!(told.len() > 3, "{path}");
        assert_eq!(told.last().unwrap(), &json!({"status": "success"}), "{path}");
        let whole = connection.post(path, r#"{"model":"llama3","stream":false}"#);
        assert_eq!(whole.json(), json!({"status": "success"}), "{path}");
        let broken = lines(&connection.post(&format!("{path}?fake=error@1"), r#"{"model":"llama3"}"#));
        assert_eq!((broken.len(), broken[1]["error"].is_string()), (2, true), "{path}");
    }
    let gone = connection.request("DELETE", "/api/delete", "", r#"{"model":"llama3"}"#).unwrap();
    assert_eq!((gone.status, gone.body.len()), (200, 0));
}

/// The routes of Ollama that have the forms of OpenAI and of Anthropic.
#[test]
fn ollama_serves_the_apis_of_others_under_v1_and_at_the_root() {
    let body =
        json!({"model": "llama3", "messages": [{"role": "user", "content": "Hi"}], "max_tokens": 64}).to_string();
    let at_root = Config { serve_as: Some("ollama".to_owned()), ..Config::for_test() };
    for (config, prefix) in [(Config::for_test(), "/ollama"), (at_root, "")] {
        let server = serve(config);
        let mut connection = Connection::open(server.address());
        let chat = connection.post(&format!("{prefix}/v1/chat/completions"), &body).json();
        assert_eq!(chat["system_fingerprint"], "fp_ollama", "{prefix}: {chat}");
        let id = chat["id"].as_str().unwrap().strip_prefix("chatcmpl-").unwrap().parse::<u16>();
        assert!(id.is_ok_and(|id| id < 1000), "{chat}");
        let choice = &chat["choices"][0];
        assert_eq!(choice.as_object().unwrap().keys().collect::<Vec<_>>(), ["index", "message", "finish_reason"]);
        let completion = connection.post(&format!("{prefix}/v1/completions"), r#"{"model":"llama3","prompt":"Hi"}"#);
        assert_eq!(completion.json()["system_fingerprint"], "fp_ollama");
        let message = connection.post(&format!("{prefix}/v1/messages"), &body).json();
        assert_eq!((&message["type"], &message["role"]), (&json!("message"), &json!("assistant")), "{message}");
        let response = connection.post(&format!("{prefix}/v1/responses"), r#"{"model":"llama3","input":"Hi"}"#).json();
        assert_eq!((&response["object"], &response["status"]), (&json!("response"), &json!("completed")));
        let embeddings = connection.post(&format!("{prefix}/v1/embeddings"), r#"{"model":"m","input":"Hi"}"#).json();
        assert_eq!(embeddings["object"], "list");
        let models = connection.get(&format!("{prefix}/v1/models")).json();
        assert_eq!(models["data"][0]["owned_by"], "library", "{models}");
        let model = connection.get(&format!("{prefix}/v1/models/llama3")).json();
        assert_eq!((&model["id"], &model["owned_by"]), (&json!("llama3"), &json!("library")));
        let native =
            connection.post(&format!("{prefix}/api/chat"), r#"{"model":"llama3","messages":[],"keep_alive":0}"#);
        assert_eq!(native.json()["done_reason"], "unload");
        let refused = connection.post(&format!("{prefix}/v1/chat/completions"), r#"{"model":"llama3"}"#).json();
        let message = "[] is too short - 'messages'";
        let error =
            json!({"error": {"message": message, "type": "invalid_request_error", "param": null, "code": null}});
        assert_eq!(refused, error);
        let refused = connection.post(&format!("{prefix}/v1/messages"), r#"{"model":"llama3"}"#).json();
        assert_eq!(refused["type"], "error", "{refused}");
    }
}

#[test]
fn ollama_streams_a_call_in_one_chunk_and_no_null_usage() {
    let server = serve(Config::for_test());
    let schema = json!({"type": "object", "properties": {"a": {"type": "string"}}, "required": ["a"]});
    let body = json!({
        "model": "llama3", "stream": true, "stream_options": {"include_usage": true}, "tool_choice": "required",
        "messages": [{"role": "user", "content": "Hi"}],
        "tools": [{"type": "function", "function": {"name": "f", "parameters": schema}}],
    });
    let streamed = Connection::open(server.address()).post("/ollama/v1/chat/completions", &body.to_string());
    let lines = streamed.text().lines().filter_map(|line| line.strip_prefix("data: "));
    let chunks: Vec<Value> = lines.filter_map(|data| serde_json::from_str(data).ok()).collect();
    let calls: Vec<_> = chunks.iter().filter_map(|chunk| chunk.pointer("/choices/0/delta/tool_calls/0")).collect();
    assert_eq!(calls.len(), 1, "{}", streamed.text());
    let arguments: Value = serde_json::from_str(calls[0]["function"]["arguments"].as_str().unwrap()).unwrap();
    assert!(arguments["a"].is_string() && calls[0]["id"].as_str().unwrap().starts_with("call_"));
    let with_usage: Vec<_> = chunks.iter().filter(|chunk| chunk.get("usage").is_some()).collect();
    assert_eq!((with_usage.len(), &with_usage[0]["choices"]), (1, &json!([])));
    assert!(chunks.iter().all(|chunk| chunk.pointer("/choices/0/logprobs").is_none()));
}
