//! Cohere and the rerankers over real sockets: streams, tool calls and the order of results.

use fake_openai::{Config, Running};
use serde_json::{Value, json};

use crate::{
    client::{Connection, Response, serve},
    program::Directory,
};

fn served() -> (Running, Connection) {
    let server = serve(Config { seed: Some(3), ..Config::for_test() });
    let connection = Connection::open(server.address());
    (server, connection)
}

/// A request with one turn and these members.
fn body(members: Value) -> String {
    let mut body = json!({"model": "command-a-03-2025", "messages": [{"role": "user", "content": "Hi"}]});
    body.as_object_mut().unwrap().extend(members.as_object().unwrap().clone());
    body.to_string()
}

/// The events of a stream up to `[DONE]`. Checks that each has its type as its name.
fn events(response: &Response) -> Vec<Value> {
    assert_eq!((response.status, response.header("content-type")), (200, "text/event-stream"));
    let text = response.text().strip_suffix("data: [DONE]\n\n").expect("`[DONE]` without an event name");
    let event = |event: &str| {
        let (name, data) = event.strip_prefix("event: ").unwrap().split_once("\ndata: ").unwrap();
        let data: Value = serde_json::from_str(data).unwrap();
        assert_eq!(data["type"], name);
        data
    };
    text.split_terminator("\n\n").map(event).collect()
}

/// Accumulates stream events to a full response, as SDKs do.
fn accumulated(events: &[Value]) -> Value {
    let (mut content, mut calls): (Vec<Value>, Vec<Value>) = (Vec::new(), Vec::new());
    let mut plan = String::new();
    let mut whole = json!({"message": {"role": "assistant"}});
    for event in events {
        let message = &event["delta"]["message"];
        let n = event["index"].as_u64().unwrap_or_default() as usize;
        match event["type"].as_str().unwrap() {
            "message-start" => whole["id"] = event["id"].clone(),
            "tool-plan-delta" => plan += message["tool_plan"].as_str().unwrap(),
            "content-start" => content.push(message["content"].clone()),
            "content-delta" => {
                for (kind, piece) in message["content"].as_object().unwrap() {
                    let said = &mut content[n][kind];
                    *said = format!("{}{}", said.as_str().unwrap(), piece.as_str().unwrap()).into();
                }
            }
            "tool-call-start" => calls.push(message["tool_calls"].clone()),
            "tool-call-delta" => {
                let said = &mut calls[n]["function"]["arguments"];
                let piece = &message["tool_calls"]["function"]["arguments"];
                *said = format!("{}{}", said.as_str().unwrap(), piece.as_str().unwrap()).into();
            }
            "content-end" => assert_eq!(n + 1, content.len()),
            "tool-call-end" => assert_eq!(n + 1, calls.len()),
            "message-end" => {
                whole["finish_reason"] = event["delta"]["finish_reason"].clone();
                whole["usage"] = event["delta"]["usage"].clone();
            }
            other => panic!("{other}"),
        }
    }
    for (name, value) in [("content", json!(content)), ("tool_calls", json!(calls)), ("tool_plan", json!(plan))] {
        if value != json!([]) && value != "" {
            whole["message"][name] = value;
        }
    }
    whole
}

#[test]
fn stream_events_accumulate_to_the_full_response() {
    let tools = json!([{"type": "function", "function": {"name": "f", "parameters": {"type": "object", "properties": {"n": {"enum": [7]}}, "required": ["n"]}}}]);
    for (members, reason) in [
        (json!({}), "COMPLETE"),
        (json!({"max_tokens": 3}), "MAX_TOKENS"),
        (json!({"stop_sequences": ["assist"]}), "STOP_SEQUENCE"),
        (json!({"tools": tools, "tool_choice": "REQUIRED"}), "TOOL_CALL"),
        (json!({"thinking": {"type": "enabled"}}), "COMPLETE"),
    ] {
        // A server each, so that both draw the same random numbers.
        let whole = served().1.post("/v2/chat", &body(members.clone())).json();
        let mut streamed = members.clone();
        streamed["stream"] = true.into();
        let events = events(&served().1.post("/v2/chat", &body(streamed)));
        assert_eq!(accumulated(&events), whole, "{members}");
        assert_eq!(whole["finish_reason"], reason);
    }
}

#[test]
fn accept_json_streams_json_lines_instead_of_events() {
    let streamed = body(json!({"stream": true}));
    let whole = served().1.post("/v2/chat", &body(json!({}))).json();
    let lines = served().1.request("POST", "/v2/chat", "accept: application/json\r\n", &streamed).unwrap();
    assert_eq!(lines.header("content-type"), "application/stream+json");
    let lines: Vec<Value> = lines.text().lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(accumulated(&lines), whole);
    for accept in ["*/*", "application/json, text/event-stream"] {
        let headers = format!("accept: {accept}\r\n");
        let named = served().1.request("POST", "/v2/chat", &headers, &streamed).unwrap();
        assert_eq!(accumulated(&events(&named)), whole, "{accept}");
    }
}

#[test]
fn scripted_tool_calls_are_rendered_with_their_arguments() {
    let replies = json!([{"tool_calls": [{"name": "f", "arguments": {"n": 1}}, {"name": "g"}]}]);
    let directory = Directory::with(&[("replies.json", &replies.to_string())]);
    let server = serve(Config { fixtures: Some(directory.path().to_owned()), ..Config::for_test() });
    let whole = Connection::open(server.address()).post("/v2/chat", &body(json!({}))).json();
    let calls = whole["message"]["tool_calls"].as_array().unwrap();
    let calls: Vec<_> = calls.iter().map(|call| &call["function"]).collect();
    assert_eq!(calls, [&json!({"name": "f", "arguments": "{\"n\":1}"}), &json!({"name": "g", "arguments": "{}"})]);
    assert!(whole["message"].get("content").is_none());
}

#[test]
fn a_failed_stream_ends_with_finish_reason_error() {
    let (_server, mut connection) = served();
    let response = connection.post("/v2/chat?fake=error@2", &body(json!({"stream": true})));
    let last = response.text().trim_end().rsplit("\n\n").next().unwrap();
    let data = last.strip_prefix("event: message-end\ndata: ").unwrap_or_else(|| panic!("{last}"));
    let data: Value = serde_json::from_str(data).unwrap();
    assert_eq!((&data["type"], &data["delta"]["finish_reason"]), (&json!("message-end"), &json!("ERROR")));
}

#[test]
fn rerank_sorts_documents_by_relevance() {
    let (_server, mut connection) = served();
    let documents = json!(["Bread is baked", "the capital of France is Paris", {"text": "PARIS!"}, 7, "capital"]);
    for (path, model) in [("/v2/rerank", "rerank-v3.5"), ("/v1/rerank", "jina-reranker-v2"), ("/rerank", "BAAI/bge")] {
        let ask = json!({"model": model, "query": "Capital of France: Paris", "documents": documents});
        let results = connection.post(path, &ask.to_string()).json()["results"].as_array().unwrap().clone();
        let order: Vec<_> = results.iter().map(|result| result["index"].as_u64().unwrap()).collect();
        assert_eq!(order, [1, 2, 4, 0, 3], "{path}");
        let scores: Vec<_> = results.iter().map(|result| result["relevance_score"].as_f64().unwrap()).collect();
        assert!(
            scores.is_sorted_by(|one, other| one >= other) && scores.iter().all(|score| (0.0..=1.0).contains(score))
        );
    }
}

#[test]
fn the_rerank_protocol_is_chosen_by_model_and_members() {
    let (_server, mut connection) = served();
    let mut ask = |members: Value| connection.post("/v1/rerank", &members.to_string()).json();
    let cohere = ask(
        json!({"model": "rerank-v3.5", "query": "a", "documents": vec!["a"; 101], "top_n": 1, "return_documents": true}),
    );
    assert_eq!(cohere["meta"]["billed_units"]["search_units"], 2);
    assert_eq!(cohere["results"], json!([{"index": 0, "relevance_score": 1.0, "document": {"text": "a"}}]));
    let jina = ask(json!({"model": "jina-reranker-v3", "query": "a", "documents": ["a"]}));
    assert_eq!((&jina["object"], &jina["results"][0]["document"]), (&json!("list"), &json!("a")));
    assert_eq!(ask(json!({"query": "a", "texts": ["a"]})), json!([{"index": 0, "score": 1.0}]));
}

#[test]
fn v1_chat_renders_scripted_tool_calls() {
    let replies = json!([{"tool_calls": [{"name": "f", "arguments": {"city": "Rome"}}, {"name": "g"}]}]);
    let directory = Directory::with(&[("replies.json", &replies.to_string())]);
    let server = serve(Config { fixtures: Some(directory.path().to_owned()), ..Config::for_test() });
    let mut connection = Connection::open(server.address());
    let calls = json!([{"name": "f", "parameters": {"city": "Rome"}}, {"name": "g", "parameters": {}}]);

    let whole = connection.post("/v1/chat", r#"{"message": "Hi"}"#).json();
    assert_eq!((&whole["text"], &whole["tool_calls"]), (&json!(""), &calls));
    assert_eq!(whole["chat_history"][1], json!({"role": "CHATBOT", "message": "", "tool_calls": calls}));

    let streamed = connection.post("/v1/chat", r#"{"message": "Hi", "stream": true}"#);
    let events: Vec<Value> = streamed.text().lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let kinds: Vec<_> = events.iter().map(|event| event["event_type"].as_str().unwrap()).collect();
    assert_eq!(kinds, ["stream-start", "tool-calls-generation", "stream-end"]);
    assert_eq!(events[1]["tool_calls"], calls);
    let mut last = events[2]["response"].clone();
    last["response_id"] = whole["response_id"].clone();
    last["generation_id"] = whole["generation_id"].clone();
    assert_eq!(last, whole);
}
