//! Anthropic Messages over a socket: streams and full responses, as Anthropic's SDKs read them.

use fake_openai::{
    Config, Running,
    model::{ContentSource, ContextWindow, Counting, ModelBehavior},
};
use serde_json::{Value, json};

use crate::{
    client::{Connection, serve},
    program::Directory,
};

fn with(behavior: ModelBehavior) -> (Running, Connection) {
    let server = serve(Config { behavior, seed: Some(3), ..Config::for_test() });
    let connection = Connection::open(server.address());
    (server, connection)
}

fn usual() -> (Running, Connection) {
    with(ModelBehavior::default())
}

/// A server with these scripted replies.
fn scripted(replies: &Value) -> (Running, Connection, Directory) {
    let directory = Directory::with(&[("replies.json", &replies.to_string())]);
    let server = serve(Config { fixtures: Some(directory.path().to_owned()), ..Config::for_test() });
    let connection = Connection::open(server.address());
    (server, connection, directory)
}

/// A request with a model, `max_tokens`, one message and these members.
fn body(members: &Value) -> String {
    let mut body = json!({"model": "claude", "max_tokens": 4000, "messages": [{"role": "user", "content": "Hi"}]});
    body.as_object_mut().unwrap().extend(members.as_object().unwrap().clone());
    body.to_string()
}

fn ask(connection: &mut Connection, members: &Value) -> Value {
    let response = connection.post("/v1/messages", &body(members));
    assert_eq!(response.status, 200, "{}", response.text());
    response.json()
}

/// The events of a stream. Checks that each has its type as its name.
fn stream(connection: &mut Connection, members: &Value) -> Vec<Value> {
    let mut members = members.clone();
    members["stream"] = true.into();
    let response = connection.post("/v1/messages", &body(&members));
    assert_eq!((response.status, response.header("content-type")), (200, "text/event-stream; charset=utf-8"));
    let frames = response.text().strip_suffix("\n\n").unwrap().split("\n\n");
    let event = |frame: &str| {
        let (name, data) = frame.split_once('\n').unwrap();
        let event: Value = serde_json::from_str(data.strip_prefix("data: ").unwrap()).unwrap();
        assert_eq!(event["type"], name.strip_prefix("event: ").unwrap());
        event
    };
    frames.map(event).collect()
}

/// Accumulates stream events to a full message, as the SDKs do.
fn accumulated(events: &[Value]) -> Value {
    let mut message = events[0]["message"].clone();
    let mut json = String::new();
    for event in events.iter().filter(|event| event["index"].is_u64()) {
        let n = event["index"].as_u64().unwrap() as usize;
        let delta = &event["delta"];
        let content = message["content"].as_array_mut().unwrap();
        match (event["type"].as_str().unwrap(), delta["type"].as_str()) {
            ("content_block_start", _) => {
                assert_eq!(n, content.len(), "blocks start in order");
                content.push(event["content_block"].clone());
                json.clear();
            }
            ("content_block_delta", Some("input_json_delta")) => json.push_str(delta["partial_json"].as_str().unwrap()),
            ("content_block_delta", Some(kind)) => {
                let member = kind.strip_suffix("_delta").unwrap();
                let so_far = content[n][member].as_str().unwrap().to_owned();
                content[n][member] = (so_far + delta[member].as_str().unwrap()).into();
            }
            _ if content[n]["type"] == "tool_use" && json.is_empty() => {}
            _ if content[n]["type"] == "tool_use" => content[n]["input"] = serde_json::from_str(&json).unwrap(),
            _ => {}
        }
    }
    let [.., last, _] = events else { panic!("too few events") };
    for member in ["stop_reason", "stop_sequence"] {
        message[member] = last["delta"][member].clone();
    }
    for (name, number) in last["usage"].as_object().unwrap() {
        message["usage"][name] = number.clone();
    }
    message
}

/// A message without the members that are random in each response.
fn lasting(mut message: Value) -> Value {
    message["id"].take();
    for block in message["content"].as_array_mut().unwrap() {
        for drawn in ["id", "signature"] {
            assert!(block.get(drawn).is_none_or(|drawn| drawn.as_str().unwrap().len() > 20));
            block.as_object_mut().unwrap().remove(drawn);
        }
    }
    message
}

fn tools() -> Value {
    let schema = json!({"type": "object", "properties": {"city": {"const": "Rome"}}, "required": ["city"]});
    json!([{"name": "weather", "input_schema": schema}, {"name": "time", "input_schema": schema}])
}

#[test]
fn stream_events_accumulate_to_the_full_response() {
    let (_server, mut connection) = usual();
    for members in [
        json!({}),
        json!({"max_tokens": 3}),
        json!({"stop_sequences": ["today", "may"]}),
        json!({"tools": tools(), "tool_choice": {"type": "any"}}),
        json!({"tools": tools(), "tool_choice": {"type": "tool", "name": "time"}}),
        json!({"tools": tools(), "tool_choice": {"type": "none"}}),
        json!({"thinking": {"type": "adaptive", "display": "omitted"}}),
    ] {
        let whole = ask(&mut connection, &members);
        let events = stream(&mut connection, &members);
        assert_eq!(lasting(accumulated(&events)), lasting(whole), "{members}");
        let types: Vec<_> = events.iter().map(|event| event["type"].as_str().unwrap()).collect();
        assert_eq!(types[..3], ["message_start", "content_block_start", "ping"]);
        assert_eq!(types[types.len() - 3..], ["content_block_stop", "message_delta", "message_stop"]);
    }
}

/// Recorded: the first piece is empty, and there is no other.
#[test]
fn a_call_without_arguments_streams_one_empty_piece() {
    let tools = json!([{"name": "now", "input_schema": {"type": "object", "properties": {}}}]);
    let forced = json!({"tools": tools, "tool_choice": {"type": "tool", "name": "now"}});
    let pieces = |events: &[Value]| {
        let pieces = events.iter().filter_map(|event| event["delta"].get("partial_json"));
        pieces.map(|piece| piece.as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    let (_server, mut connection) = usual();
    assert_eq!(pieces(&stream(&mut connection, &forced)), [""]);
    assert_eq!(ask(&mut connection, &forced)["content"][0]["input"], json!({}));
    let vertex = "/v1/projects/p/locations/l/publishers/anthropic/models/claude-haiku-4-5:streamRawPredict";
    let mut sent: Value = serde_json::from_str(&body(&forced)).unwrap();
    sent.as_object_mut().unwrap().remove("model");
    (sent["anthropic_version"], sent["stream"]) = ("vertex-2023-10-16".into(), true.into());
    let streamed = connection.post(vertex, &sent.to_string());
    assert_eq!(streamed.text().matches("input_json_delta").count(), 1, "{}", streamed.text());
    let (_server, mut connection, _directory) = scripted(&json!([{"tool_calls": [{"name": "now", "arguments": {}}]}]));
    assert_eq!(pieces(&stream(&mut connection, &json!({"tools": tools}))), [""]);
}

#[test]
fn stop_reason_and_stop_sequence_name_what_ended_the_reply() {
    let (_server, mut connection) = usual();
    let mut end = |members: Value| {
        let answer = ask(&mut connection, &members);
        (answer["stop_reason"].as_str().unwrap().to_owned(), answer["stop_sequence"].clone())
    };
    assert_eq!(end(json!({})), ("end_turn".to_owned(), Value::Null));
    assert_eq!(end(json!({"max_tokens": 2})), ("max_tokens".to_owned(), Value::Null));
    assert_eq!(end(json!({"stop_sequences": ["today", "may"]})), ("stop_sequence".to_owned(), "may".into()));
    assert_eq!(end(json!({"stop_sequences": ["today"], "max_tokens": 2})), ("max_tokens".to_owned(), Value::Null));
    let forced = json!({"tools": tools(), "tool_choice": {"type": "any"}});
    assert_eq!(end(forced), ("tool_use".to_owned(), Value::Null));
}

#[test]
fn thinking_precedes_text_and_counts_as_output_tokens() {
    let (_server, mut connection) = usual();
    let answer = ask(&mut connection, &json!({"thinking": {"type": "enabled", "budget_tokens": 1024}}));
    let types: Vec<_> = answer["content"].as_array().unwrap().iter().map(|block| block["type"].clone()).collect();
    assert_eq!(types, ["thinking", "text"]);
    assert!(answer["content"][0]["thinking"].as_str().unwrap().split(' ').count() == 256);
    assert!(answer["usage"]["output_tokens"].as_u64().unwrap() > 256);
    let silent = ask(&mut connection, &json!({"thinking": {"type": "adaptive", "display": "omitted"}}));
    assert_eq!(silent["content"][0]["thinking"], "");
    let cut = ask(&mut connection, &json!({"thinking": {"type": "adaptive"}, "max_tokens": 100}));
    assert_eq!((&cut["stop_reason"], cut["content"].as_array().unwrap().len()), (&"max_tokens".into(), 1));
}

#[test]
fn scripted_refusals_and_tool_calls_become_content_blocks() {
    let (_server, mut connection, _directory) = scripted(&json!([
        {"when": {"user": "bad"}, "refusal": "I will not."},
        {"when": {"user": "two"}, "tool_calls": [{"name": "a", "arguments": {"x": 1}}, {"name": "b"}]},
        {"text": ""},
    ]));
    let say = |text: &str, more: Value| {
        let mut members = json!({"messages": [{"role": "user", "content": [{"type": "text", "text": text}]}]});
        members.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        members
    };
    let refused = ask(&mut connection, &say("bad", json!({})));
    assert_eq!((&refused["stop_reason"], &refused["content"][0]["text"]), (&"refusal".into(), &"I will not.".into()));
    let called = ask(&mut connection, &say("two", json!({})));
    assert_eq!((&called["content"][0]["input"], &called["content"][1]["input"]), (&json!({"x": 1}), &json!({})));
    let choice = json!({"type": "auto", "disable_parallel_tool_use": true});
    let single = ask(&mut connection, &say("two", json!({"tools": tools(), "tool_choice": choice})));
    assert_eq!(single["content"].as_array().unwrap().len(), 1);
    let events = stream(&mut connection, &say("two", json!({})));
    assert_eq!(lasting(accumulated(&events)), lasting(called));
    let nothing = ask(&mut connection, &json!({}));
    assert_eq!((&nothing["content"], &nothing["usage"]["output_tokens"]), (&json!([]), &json!(1)));
    let types: Vec<_> = stream(&mut connection, &json!({})).iter().map(|event| event["type"].clone()).collect();
    assert_eq!(types, ["message_start", "ping", "message_delta", "message_stop"]);
}

#[test]
fn tool_results_end_a_forced_tool_choice() {
    let (_server, mut connection) = usual();
    let mut members = json!({"tools": tools(), "tool_choice": {"type": "any"}});
    let call = ask(&mut connection, &members);
    let results = json!([
        {"type": "tool_result", "tool_use_id": call["content"][0]["id"], "content": "sunny"},
        {"type": "text", "text": "Hurry."},
    ]);
    members["messages"] = json!([
        {"role": "user", "content": "Hi"},
        {"role": "assistant", "content": call["content"]},
        {"role": "user", "content": results},
    ]);
    assert_eq!(ask(&mut connection, &members)["stop_reason"], "end_turn");
}

#[test]
fn count_tokens_matches_the_response_and_advances_no_script() {
    for usage in [Counting::Canned, Counting::Estimate, Counting::Exact] {
        let (_server, mut connection) = with(ModelBehavior { usage, ..ModelBehavior::default() });
        let members =
            json!({"messages": [{"role": "user", "content": "How many words are in here?"}], "tools": tools()});
        let count = connection.post("/v1/messages/count_tokens", &body(&members)).json();
        assert_eq!(count["input_tokens"], ask(&mut connection, &members)["usage"]["input_tokens"], "{usage:?}");
    }
    let (_server, mut connection, _directory) = scripted(&json!([{"sequence": [{"text": "one"}, {"text": "two"}]}, ]));
    connection.post("/v1/messages/count_tokens", &body(&json!({})));
    assert_eq!(ask(&mut connection, &json!({}))["content"][0]["text"], "one");
    assert_eq!(ask(&mut connection, &json!({}))["content"][0]["text"], "two");
}

#[test]
fn cached_tokens_are_counted_apart_from_input_tokens() {
    let usage = json!({"prompt_tokens": 100, "cached_tokens": 60, "completion_tokens": 5});
    let (_server, mut connection, _directory) = scripted(&json!([{"text": "Hi.", "usage": usage}]));
    let usage = ask(&mut connection, &json!({}))["usage"].clone();
    assert_eq!((&usage["input_tokens"], &usage["cache_read_input_tokens"]), (&json!(40), &json!(60)));
    let events = stream(&mut connection, &json!({}));
    assert_eq!(accumulated(&events)["usage"], usage);
}

#[test]
fn lorem_fills_max_tokens_and_an_exceeded_context_is_refused() {
    let (_server, mut connection) = with(ModelBehavior { content: ContentSource::Lorem, ..ModelBehavior::default() });
    let answer = ask(&mut connection, &json!({"max_tokens": 50}));
    assert_eq!((&answer["usage"]["output_tokens"], &answer["stop_reason"]), (&json!(50), &"max_tokens".into()));

    let (_server, mut connection) =
        with(ModelBehavior { context: ContextWindow::Tokens(20), ..ModelBehavior::default() });
    let refused = connection.post("/v1/messages", &body(&json!({"max_tokens": 30})));
    let expected = "input length and `max_tokens` exceed context limit: 8 + 30 > 20, decrease input length or \
                    `max_tokens` and try again";
    assert_eq!((refused.status, &refused.json()["error"]["message"]), (400, &expected.into()));
}

#[test]
fn error_bodies_repeat_the_request_id_header() {
    let (_server, mut connection) = usual();
    for (path, status) in [("/v1/messages", 400), ("/anthropic/v1/nowhere", 404), ("/v1/messages/nowhere", 404)] {
        let response = connection.post(path, "{}");
        let error = response.json();
        assert_eq!((response.status, error["type"].as_str()), (status, Some("error")));
        assert_eq!(error["request_id"], response.header("request-id"));
    }
    // Without Anthropic's header the list is OpenAI's.
    assert_eq!(connection.get("/v1/models").json()["object"], "list");
}
