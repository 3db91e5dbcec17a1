//! OpenAI Responses over a socket: streams accumulate to the full response, responses are stored, and conversations
//! continue.

use fake_openai::{
    Config, Running, StoreMode,
    model::{Counting, ModelBehavior},
};
use serde_json::{Value, json};

use crate::{
    client::{Connection, serve},
    program::Directory,
};

const PATH: &str = "/v1/responses";

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

/// A request with a model, an input and these members.
fn body(members: &Value) -> Value {
    let mut body = json!({"model": "m", "input": "Hi"});
    body.as_object_mut().unwrap().extend(members.as_object().unwrap().clone());
    body
}

fn ask(connection: &mut Connection, members: &Value) -> Value {
    let response = connection.post(PATH, &body(members).to_string());
    assert_eq!(response.status, 200, "{}", response.text());
    response.json()
}

/// The events of a stream. Checks that each has its type as its name, and that they are numbered from 0.
fn stream(connection: &mut Connection, members: &Value) -> Vec<Value> {
    let mut members = members.clone();
    members["stream"] = true.into();
    let response = connection.post(PATH, &body(&members).to_string());
    assert_eq!((response.status, response.header("content-type")), (200, "text/event-stream; charset=utf-8"));
    let frames = response.text().strip_suffix("\n\n").unwrap().split("\n\n").enumerate();
    let event = |(n, frame): (usize, &str)| {
        let (name, data) = frame.split_once('\n').unwrap();
        let event: Value = serde_json::from_str(data.strip_prefix("data: ").unwrap()).unwrap();
        assert_eq!(event["type"], name.strip_prefix("event: ").unwrap());
        assert_eq!(event["sequence_number"], n);
        event
    };
    frames.map(event).collect()
}

fn append(text: &mut Value, delta: &Value) {
    let whole = text.as_str().unwrap().to_owned() + delta.as_str().unwrap();
    *text = whole.into();
}

/// Accumulates stream events to a full response, as the SDKs do. Checks each `done` event against the deltas before it.
fn accumulated(events: &[Value]) -> Value {
    let mut response = events[0]["response"].clone();
    for event in events {
        let name = event["type"].as_str().unwrap();
        let Some(index) = event["output_index"].as_u64() else { continue };
        let output = response["output"].as_array_mut().unwrap();
        if name == "response.output_item.added" {
            assert_eq!(index as usize, output.len(), "items start in order");
            output.push(event["item"].clone());
            continue;
        }
        let item = &mut output[index as usize];
        if let Some(id) = event.get("item_id") {
            assert_eq!(*id, item["id"], "{name}");
        }
        let at = |name: &str| event[name].as_u64().unwrap() as usize;
        match name.strip_prefix("response.").unwrap() {
            "output_item.done" => {
                for member in ["status", "action"] {
                    if let Some(value) = event["item"].get(member) {
                        item[member] = value.clone();
                    }
                }
                assert_eq!(event["item"], *item);
            }
            "content_part.added" => item["content"].as_array_mut().unwrap().push(event["part"].clone()),
            "content_part.done" => assert_eq!(event["part"], item["content"][at("content_index")]),
            "output_text.delta" => append(&mut item["content"][at("content_index")]["text"], &event["delta"]),
            "output_text.done" => assert_eq!(event["text"], item["content"][at("content_index")]["text"]),
            "output_text.annotation.added" => {
                let annotations = &mut item["content"][at("content_index")]["annotations"];
                annotations.as_array_mut().unwrap().push(event["annotation"].clone());
            }
            "refusal.delta" => append(&mut item["content"][at("content_index")]["refusal"], &event["delta"]),
            "refusal.done" => assert_eq!(event["refusal"], item["content"][at("content_index")]["refusal"]),
            "function_call_arguments.delta" => append(&mut item["arguments"], &event["delta"]),
            "function_call_arguments.done" => assert_eq!(event["arguments"], item["arguments"]),
            "custom_tool_call_input.delta" => append(&mut item["input"], &event["delta"]),
            "custom_tool_call_input.done" => assert_eq!(event["input"], item["input"]),
            "reasoning_summary_part.added" => item["summary"].as_array_mut().unwrap().push(event["part"].clone()),
            "reasoning_summary_part.done" => assert_eq!(event["part"], item["summary"][at("summary_index")]),
            "reasoning_summary_text.delta" => {
                append(&mut item["summary"][at("summary_index")]["text"], &event["delta"])
            }
            "reasoning_summary_text.done" => assert_eq!(event["text"], item["summary"][at("summary_index")]["text"]),
            other => assert!(other.starts_with("web_search_call."), "{other}"),
        }
    }
    let last = &events.last().unwrap()["response"];
    assert_eq!(last["output"], response["output"]);
    assert_eq!(last["id"], response["id"]);
    last.clone()
}

/// A response without the members that are random in each response, and without its times.
fn lasting(mut response: Value) -> Value {
    for time in ["created_at", "completed_at"] {
        if response[time].is_number() {
            response[time] = 0.into();
        }
    }
    let shared = response["id"].as_str().unwrap()["resp_".len()..][..16].to_owned();
    response["id"].take();
    for item in response["output"].as_array_mut().unwrap() {
        let (_, id) = item["id"].as_str().unwrap().split_once('_').unwrap();
        assert!(id.len() == 48 && id.starts_with(&shared), "{id}");
        for drawn in ["id", "call_id", "encrypted_content"] {
            assert!(item.get(drawn).is_none_or(|drawn| drawn.as_str().unwrap().len() > 20));
            item.as_object_mut().unwrap().remove(drawn);
        }
    }
    response
}

fn tools() -> Value {
    let schema = json!({"type": "object", "properties": {"city": {"const": "Rome"}}, "required": ["city"]});
    json!([
        {"type": "function", "name": "weather", "parameters": schema},
        {"type": "custom", "name": "note"},
    ])
}

fn types(response: &Value) -> Vec<&str> {
    response["output"].as_array().unwrap().iter().map(|item| item["type"].as_str().unwrap()).collect()
}

#[test]
fn stream_events_accumulate_to_the_full_response() {
    let (_server, mut connection) = usual();
    for members in [
        json!({}),
        json!({"model": "o3"}),
        json!({"max_output_tokens": 16, "reasoning": {"effort": "minimal"}, "model": "o3"}),
        json!({"max_output_tokens": 20, "reasoning": {"effort": "minimal", "summary": "auto"}}),
        json!({"tools": tools(), "tool_choice": "required", "store": false}),
        json!({"tools": tools(), "tool_choice": {"type": "custom", "name": "note"}}),
        json!({"tools": [{"type": "web_search"}]}),
        json!({"text": {"format": {"type": "json_schema", "name": "n", "schema": tools()[0]["parameters"]}}}),
        json!({"instructions": "Be brief.", "metadata": {"a": "b"}, "temperature": 1, "tools": tools()}),
    ] {
        let (mut whole, mut streamed) = (members.clone(), members.clone());
        // A random summary differs between two requests, so the comparison leaves it out.
        if members["reasoning"]["summary"] == "auto" {
            (whole, streamed) = (json!({"max_output_tokens": 20}), json!({"max_output_tokens": 20}));
        }
        let whole = ask(&mut connection, &whole);
        let events = stream(&mut connection, &streamed);
        assert_eq!(lasting(accumulated(&events)), lasting(whole), "{members}");
        let kinds: Vec<_> = events.iter().map(|event| event["type"].as_str().unwrap()).collect();
        assert_eq!(kinds[..3], ["response.created", "response.in_progress", "response.output_item.added"]);
        assert_eq!(kinds[kinds.len() - 2], "response.output_item.done");
        accumulated(&stream(&mut connection, &members));
    }
}

#[test]
fn deltas_are_padded_unless_obfuscation_is_off() {
    let (_server, mut connection) = usual();
    let padded = |events: &[Value]| events.iter().filter(|event| event.get("obfuscation").is_some()).count();
    let deltas = |events: &[Value]| events.iter().filter(|event| event.get("delta").is_some()).count();
    let events = stream(&mut connection, &json!({}));
    assert_eq!((padded(&events), deltas(&events)), (11, 11));
    let lengths = events.iter().filter_map(|event| Some(event["obfuscation"].as_str()?.len()));
    assert!(lengths.into_iter().all(|length| length < 16));
    assert_eq!(padded(&stream(&mut connection, &json!({"stream_options": {"include_obfuscation": false}}))), 0);
    assert_eq!(padded(&stream(&mut connection, &json!({"background": true}))), 0);
}

#[test]
fn incomplete_responses_name_the_reason() {
    let (_server, mut connection) = usual();
    let thought = ask(&mut connection, &json!({"max_output_tokens": 16, "reasoning": {"effort": "low"}}));
    assert_eq!((&thought["status"], &thought["completed_at"]), (&"incomplete".into(), &Value::Null));
    assert_eq!(thought["incomplete_details"], json!({"reason": "max_output_tokens"}));
    assert_eq!(types(&thought), ["reasoning"]);
    assert_eq!(thought["usage"]["output_tokens_details"]["reasoning_tokens"], 16);
    let events = stream(&mut connection, &json!({"model": "m~filter"}));
    assert_eq!(events.last().unwrap()["type"], "response.incomplete");
    assert_eq!(events.last().unwrap()["response"]["incomplete_details"]["reason"], "content_filter");
}

#[test]
fn reasoning_comes_first_with_summary_and_encryption_on_request() {
    let (_server, mut connection) = usual();
    let answer = ask(&mut connection, &json!({"reasoning": {"effort": "low", "summary": "auto"}}));
    assert_eq!(types(&answer), ["reasoning", "message"]);
    let summary = answer["output"][0]["summary"][0]["text"].as_str().unwrap();
    assert_eq!(summary.split(' ').count(), 64);
    assert_eq!(answer["usage"]["output_tokens_details"]["reasoning_tokens"], 64);
    assert!(answer["output"][0].get("encrypted_content").is_none());
    let sealed = ask(&mut connection, &json!({"model": "o3", "include": ["reasoning.encrypted_content"]}));
    assert!(sealed["output"][0]["encrypted_content"].as_str().unwrap().starts_with("gAAAAA"));
    assert_eq!(
        types(&ask(&mut connection, &json!({"model": "gpt-5.1", "reasoning": {"effort": "none"}}))),
        ["message"]
    );
}

#[test]
fn scripted_refusals_and_tool_calls_become_output_items() {
    let (_server, mut connection, _directory) = scripted(&json!([
        {"when": {"user": "bad"}, "refusal": "I will not."},
        {"when": {"user": "two", "tool_result": false}, "tool_calls": [{"name": "weather", "arguments": {"x": 1}}, {"name": "note", "text": "z"}]},
        {"when": {"user": "two"}, "text": "Done."},
        {"text": ""},
    ]));
    let refused = ask(&mut connection, &json!({"input": "bad"}));
    assert_eq!(refused["output"][0]["content"], json!([{"type": "refusal", "refusal": "I will not."}]));
    assert_eq!(lasting(accumulated(&stream(&mut connection, &json!({"input": "bad"})))), lasting(refused));
    let mut called = ask(&mut connection, &json!({"input": "two", "tools": tools()}));
    assert_eq!(types(&called), ["function_call", "custom_tool_call"]);
    assert_eq!((&called["output"][0]["arguments"], &called["output"][1]["input"]), (&r#"{"x":1}"#.into(), &"z".into()));
    let members = json!({"input": "two", "tools": tools(), "parallel_tool_calls": false});
    assert_eq!(types(&ask(&mut connection, &members)), ["function_call"]);
    let empty = ask(&mut connection, &json!({}));
    assert_eq!(empty["output"][0]["content"][0]["text"], "");
    accumulated(&stream(&mut connection, &json!({})));

    // The agent's next step: with the full history, and with `previous_response_id` alone.
    let results: Vec<_> = ["function_call_output", "custom_tool_call_output"]
        .iter()
        .enumerate()
        .map(|(n, kind)| json!({"type": kind, "call_id": called["output"][n]["call_id"], "output": "sunny"}))
        .collect();
    let mut input = vec![json!({"role": "user", "content": "two"})];
    input.append(called["output"].as_array_mut().unwrap());
    input.extend(results.clone());
    let said = |response: &Value| response["output"][0]["content"][0]["text"].clone();
    assert_eq!(said(&ask(&mut connection, &json!({"input": input}))), "Done.");
    let members = json!({"input": results, "previous_response_id": called["id"]});
    assert_eq!(said(&ask(&mut connection, &members)), "Done.");
}

#[test]
fn a_stored_response_can_be_read_until_deleted() {
    let (_server, mut connection) = usual();
    let input = json!([
        {"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello."}, {"role": "user", "content": "And?"},
    ]);
    for stored in [
        ask(&mut connection, &json!({"input": input, "metadata": {"a": "b"}})),
        stream(&mut connection, &json!({"input": input})).pop().unwrap()["response"].take(),
    ] {
        let path = format!("{PATH}/{}", stored["id"].as_str().unwrap());
        assert_eq!(connection.get(&path).json(), stored);
        let list = connection.get(&format!("{path}/input_items?limit=2")).json();
        let texts: Vec<_> =
            list["data"].as_array().unwrap().iter().map(|item| item["content"][0]["text"].clone()).collect();
        assert_eq!((texts, &list["has_more"]), (vec![json!("And?"), json!("Hello.")], &json!(true)));
        assert_eq!(list["last_id"], list["data"][1]["id"]);
        let refused = connection.post(&format!("{path}/cancel"), "");
        assert_eq!(refused.json()["error"]["message"], "Cannot cancel a synchronous response.");
        let deleted = connection.request("DELETE", &path, "", "").unwrap().json();
        assert_eq!(deleted, json!({"id": stored["id"], "object": "response", "deleted": true}));
        assert_eq!(connection.get(&path).status, 404);
    }
    let server = serve(Config { objects: StoreMode::StrictIds, ..Config::for_test() });
    let mut strict = Connection::open(server.address());
    for connection in [&mut connection, &mut strict] {
        let unstored = ask(connection, &json!({"store": false}));
        let path = format!("{PATH}/{}", unstored["id"].as_str().unwrap());
        assert_eq!(connection.get(&path).status, 404, "a response with `store: false` is not stored");
    }
    assert_eq!(strict.get(&format!("{PATH}/resp_never")).status, 404);
    let never = connection.get(&format!("{PATH}/resp_never")).json();
    assert_eq!((&never["id"], &never["status"]), (&json!("resp_never"), &json!("completed")));
    let path = format!("{PATH}/resp_other");
    assert_eq!(connection.post(&format!("{path}/cancel"), "").json()["status"], "cancelled");
    assert_eq!(connection.get(&path).json()["status"], "cancelled");
    let told = connection.get(&format!("{PATH}/resp_never?stream=true"));
    assert!(told.text().contains("event: response.completed"), "{told:?}");
}

#[test]
fn previous_response_id_continues_the_conversation() {
    let (_server, mut connection, _directory) = scripted(&json!([
        {"when": {"turn": 3, "system": ""}, "text": "Third."},
        {"when": {"turn": 2}, "text": "Second."},
        {"text": "First."},
    ]));
    let said = |response: &Value| response["output"][0]["content"][0]["text"].as_str().unwrap().to_owned();
    let first = ask(&mut connection, &json!({"instructions": "not for long"}));
    let next = |response: &Value| json!({"previous_response_id": response["id"]});
    let second = stream(&mut connection, &next(&first)).pop().unwrap()["response"].take();
    let third = ask(&mut connection, &next(&second));
    assert_eq!([said(&first), said(&second), said(&third)], ["First.", "Second.", "Third."]);
    assert_eq!(third["previous_response_id"], second["id"]);
    let cost = |response: &Value| response["usage"]["input_tokens"].as_u64().unwrap();
    assert!(cost(&first) < cost(&second) && cost(&second) < cost(&third));
    let counted = connection.post("/v1/responses/input_tokens", &body(&next(&second)).to_string()).json();
    assert_eq!(counted, json!({"object": "response.input_tokens", "input_tokens": cost(&third)}));
    let compact = connection.post("/v1/responses/compact", &body(&next(&second)).to_string()).json();
    let users = compact["output"].as_array().unwrap().iter().filter(|item| item["role"] == "user").count();
    assert_eq!((users, &compact["output"][3]["type"]), (3, &json!("compaction")));
    // The history ends at a deleted response.
    connection.request("DELETE", &format!("{PATH}/{}", first["id"].as_str().unwrap()), "", "").unwrap();
    assert_eq!(said(&ask(&mut connection, &next(&second))), "Second.");
}

#[test]
fn a_background_response_completes_when_polled() {
    let (_server, mut connection) = usual();
    let queued = ask(&mut connection, &json!({"background": true}));
    assert_eq!((&queued["status"], &queued["output"]), (&json!("queued"), &json!([])));
    let path = format!("{PATH}/{}", queued["id"].as_str().unwrap());
    let mut status = |path: &str| connection.get(path).json()["status"].as_str().unwrap().to_owned();
    assert_eq!([status(&path), status(&path), status(&path)], ["in_progress", "completed", "completed"]);
    let done = connection.get(&path).json();
    assert_eq!((&done["usage"]["total_tokens"], types(&done)), (&json!(21), vec!["message"]));
    let late = connection.post(&format!("{path}/cancel"), "");
    let error = &late.json()["error"];
    assert_eq!((late.status, &error["message"]), (400, &json!("Cannot cancel a completed response.")));

    let queued = ask(&mut connection, &json!({"background": true}));
    let path = format!("{PATH}/{}", queued["id"].as_str().unwrap());
    let cancelled = connection.post(&format!("{path}/cancel"), "").json();
    assert_eq!((&cancelled["status"], &cancelled["output"]), (&json!("cancelled"), &json!([])));
    assert_eq!(connection.get(&path).json(), cancelled);

    let events = stream(&mut connection, &json!({"background": true}));
    let kinds: Vec<_> = events[..3].iter().map(|event| event["type"].as_str().unwrap()).collect();
    assert_eq!(kinds, ["response.created", "response.queued", "response.in_progress"]);
    let done = accumulated(&events);
    assert_eq!(connection.get(&format!("{PATH}/{}", done["id"].as_str().unwrap())).json(), done);
}

#[test]
fn input_tokens_matches_the_response() {
    for usage in [Counting::Canned, Counting::Estimate, Counting::Exact] {
        let (_server, mut connection) = with(ModelBehavior { usage, ..ModelBehavior::default() });
        let members = json!({"input": "How many words are in here?", "instructions": "Count.", "tools": tools()});
        let count = connection.post("/v1/responses/input_tokens", &body(&members).to_string()).json();
        assert_eq!(count["input_tokens"], ask(&mut connection, &members)["usage"]["input_tokens"], "{usage:?}");
    }
}

#[test]
fn stream_faults_apply_to_the_event_kinds_of_responses() {
    let (_server, mut connection) = usual();
    let mut kinds = |fault: &str| -> Vec<String> {
        let response =
            connection.post(PATH, &body(&json!({"model": format!("m~{fault}"), "stream": true})).to_string());
        response.text().lines().filter_map(|line| Some(line.strip_prefix("event: ")?.to_owned())).collect()
    };
    assert_eq!(kinds("nodone").last().unwrap(), "response.output_item.done");
    assert!(!kinds("nofinish").contains(&"response.output_item.done".to_owned()));
    assert_eq!(kinds("error@4")[3..], ["response.content_part.added", "error"]);
    assert_eq!(kinds("refusal")[4], "response.refusal.delta");
    let broken = connection.post(PATH, &body(&json!({"model": "m~error@0", "stream": true})).to_string());
    let error: Value =
        serde_json::from_str(broken.text().trim().strip_prefix("event: error\ndata: ").unwrap()).unwrap();
    assert_eq!((&error["type"], &error["error"]["type"]), (&json!("error"), &json!("server_error")));
}

#[test]
fn a_wrapped_endpoint_continues_a_response_too() {
    let endpoint = json!({
        "like": "openai/responses.json",
        "routes": ["POST /filtered/responses"],
        "dialect": "filtered",
        "head": {"of": "openai-responses", "prompt": {}, "said": {}, "blocked": {}},
    });
    let replies = json!([{"when": {"turn": 2}, "text": "second turn"}, {"text": "first turn"}]);
    let files = [("openai/filtered.json", &*endpoint.to_string()), ("replies.json", &*replies.to_string())];
    let directory = Directory::with(&files);
    let server = serve(Config { fixtures: Some(directory.path().to_owned()), ..Config::for_test() });
    let mut connection = Connection::open(server.address());
    let mut ask = |members: &Value| connection.post("/filtered/responses", &body(members).to_string()).json();
    let first = ask(&json!({}));
    let second = ask(&json!({"previous_response_id": first["id"]}));
    assert_eq!(second["output"][0]["content"][0]["text"], "second turn", "{second}");
    let unknown = ask(&json!({"previous_response_id": "resp_0"}));
    assert!(unknown["error"]["message"].as_str().unwrap().contains("resp_0"), "{unknown}");
}
