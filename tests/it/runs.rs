//! Runs of assistants over a socket: polled and streamed alike, they wait for tools and add messages to their thread.

use fake_openai::{Config, Running, StoreMode};
use serde_json::{Value, json};

use crate::{
    client::{Connection, serve},
    program::Directory,
};

/// A server whose model calls tools for `weather` and then replies with their output.
fn served(objects: StoreMode) -> (Running, Connection, Directory) {
    let usage = |prompt: u64, completion: u64| json!({"prompt_tokens": prompt, "completion_tokens": completion});
    let replies = json!([
        {"when": {"tool_result": true}, "text": "It is warm.", "usage": usage(30, 4)},
        {
            "when": {"user": "weather"},
            "tool_calls": [{"name": "f", "arguments": {"city": "Rome"}}, {"name": "g", "arguments": {}}],
            "usage": usage(20, 9)
        },
        {"when": {"user": "refuse"}, "refusal": "I will not."},
        {"when": {"system": "*kind*\n*brief*", "turn": 2}, "text": "Kind and brief."},
        {"chunks": ["Hel", "lo."], "usage": usage(10, 2)}
    ]);
    let directory = Directory::with(&[("replies.json", &replies.to_string())]);
    let fixtures = Some(directory.path().to_owned());
    let server = serve(Config { fixtures, objects, ..Config::for_test() });
    let connection = Connection::open(server.address());
    (server, connection, directory)
}

fn post(connection: &mut Connection, path: &str, body: Value) -> Value {
    let response = connection.post(path, &body.to_string());
    assert_eq!(response.status, 200, "{path}: {}", response.text());
    response.json()
}

fn get(connection: &mut Connection, path: &str) -> Value {
    connection.request("GET", path, "", "").unwrap().json()
}

/// The events of a stream with their names. Checks that the last is `done`.
fn stream(connection: &mut Connection, path: &str, mut body: Value) -> Vec<(String, Value)> {
    body["stream"] = true.into();
    let response = connection.post(path, &body.to_string());
    assert_eq!((response.status, response.header("content-type")), (200, "text/event-stream; charset=utf-8"));
    let text = response.text().strip_suffix("event: done\ndata: [DONE]\n\n").unwrap().to_owned();
    let event = |frame: &str| {
        let (name, data) = frame.strip_prefix("event: ")?.split_once("\ndata: ")?;
        Some((name.to_owned(), serde_json::from_str(data).unwrap()))
    };
    text.trim_end().split("\n\n").map(|frame| event(frame).unwrap_or_else(|| panic!("{frame}"))).collect()
}

/// The names of events without the prefix `thread.`. Repeated names appear once.
fn names(events: &[(String, Value)]) -> Vec<&str> {
    let mut names: Vec<_> = events.iter().map(|(name, _)| name.strip_prefix("thread.").unwrap()).collect();
    names.dedup();
    names
}

fn thread(connection: &mut Connection, text: &str) -> String {
    let messages = json!([{"role": "user", "content": [{"type": "text", "text": text}]}]);
    let thread = post(connection, "/v1/threads", json!({"messages": messages}));
    format!("/v1/threads/{}", thread["id"].as_str().unwrap())
}

/// The texts of a thread, oldest first.
fn said(connection: &mut Connection, thread: &str) -> Vec<String> {
    let messages = get(connection, &format!("{thread}/messages?order=asc"));
    let text = |message: &Value| message["content"][0]["text"]["value"].as_str().unwrap().to_owned();
    messages["data"].as_array().unwrap().iter().map(text).collect()
}

const MESSAGE: [&str; 7] = [
    "run.step.created",
    "run.step.in_progress",
    "message.created",
    "message.in_progress",
    "message.delta",
    "message.completed",
    "run.step.completed",
];

#[test]
fn a_run_combines_its_thread_and_its_assistant() {
    let (_server, mut connection, _directory) = served(StoreMode::Stored);
    let connection = &mut connection;
    let assistant = json!({"model": "gpt-5", "instructions": "Be kind.", "temperature": 0.5});
    let assistant = post(connection, "/v1/assistants", assistant)["id"].clone();
    let thread = thread(connection, "Hi");
    let path = format!("{thread}/runs");
    let run = post(connection, &path, json!({"assistant_id": assistant, "temperature": 1.0}));
    let own = [&run["status"], &run["model"], &run["instructions"], &run["temperature"]];
    assert_eq!(own, [&json!("queued"), &json!("gpt-5"), &json!("Be kind."), &json!(1.0)]);
    let poll = format!("{path}/{}", run["id"].as_str().unwrap());
    assert_eq!(get(connection, &poll)["status"], "in_progress");
    assert_eq!(said(connection, &thread), ["Hi"], "the message appears only when the run completes");
    let ended = get(connection, &poll);
    assert_eq!(ended["usage"]["total_tokens"], 12);
    assert!(ended["status"] == "completed" && ended["expires_at"].is_null() && ended["completed_at"].is_u64());
    assert_eq!(get(connection, &poll), ended);
    assert_eq!(said(connection, &thread), ["Hi", "Hello."]);
    let steps = get(connection, &format!("{poll}/steps"));
    let step = &steps["data"][0];
    let message = &get(connection, &format!("{thread}/messages"))["data"][0];
    assert_eq!(steps["data"].as_array().unwrap().len(), 1);
    assert_eq!(step["step_details"]["message_creation"]["message_id"], message["id"]);
    assert_eq!((&message["run_id"], &message["assistant_id"]), (&run["id"], &assistant));

    let body = json!({"assistant_id": assistant, "additional_instructions": "Be brief."});
    let events = stream(connection, &path, body);
    let expected = [&["run.created", "run.queued", "run.in_progress"][..], &MESSAGE, &["run.completed"]].concat();
    assert_eq!(names(&events), expected);
    assert_eq!(said(connection, &thread), ["Hi", "Hello.", "Kind and brief."]);
    let run = &events.last().unwrap().1;
    assert_eq!(&get(connection, &format!("{path}/{}", run["id"].as_str().unwrap())), run);
}

#[test]
fn a_run_waits_for_tool_outputs_polled_or_streamed() {
    let (_server, mut connection, _directory) = served(StoreMode::Stored);
    let connection = &mut connection;
    let thread = thread(connection, "weather");
    let path = format!("{thread}/runs");
    let asked = json!({"assistant_id": "asst_1", "tools": [{"type": "function", "function": {"name": "f"}}]});
    let run = post(connection, &path, asked.clone());
    let poll = format!("{path}/{}", run["id"].as_str().unwrap());
    let states = [get(connection, &poll), get(connection, &poll), get(connection, &poll)];
    assert_eq!(
        states.each_ref().map(|run| run["status"].as_str().unwrap()),
        ["in_progress", "requires_action", "requires_action"]
    );
    let calls = states[1]["required_action"]["submit_tool_outputs"]["tool_calls"].clone();
    let function = json!({"name": "f", "arguments": r#"{"city":"Rome"}"#});
    assert_eq!((&calls[0]["type"], &calls[0]["function"]), (&json!("function"), &function));
    assert!(states[1]["completed_at"].is_null() && states[1]["expires_at"].is_u64());
    let output = |call: &Value| json!({"tool_call_id": call["id"], "output": "warm"});
    let submit = format!("{poll}/submit_tool_outputs");
    let refused = connection.post(&submit, &json!({"tool_outputs": [output(&calls[0])]}).to_string());
    assert_eq!(refused.status, 400);
    assert!(refused.text().contains("Expected tool outputs for call_ids ["), "{}", refused.text());
    let outputs = json!({"tool_outputs": [output(&calls[1]), output(&calls[0])]});
    assert_eq!(post(connection, &submit, outputs.clone())["status"], "queued");
    let states = [get(connection, &poll), get(connection, &poll)];
    assert_eq!(states.each_ref().map(|run| run["status"].as_str().unwrap()), ["in_progress", "completed"]);
    assert_eq!(states[1]["usage"]["total_tokens"], 20 + 9 + 30 + 4);
    assert_eq!(said(connection, &thread), ["weather", "It is warm."]);
    assert_eq!(connection.post(&submit, &outputs.to_string()).status, 400, "the run no longer waits for outputs");

    let message = json!({"role": "user", "content": "weather"});
    post(connection, &format!("{thread}/messages"), message);
    let events = stream(connection, &path, asked);
    let begun = ["run.created", "run.queued", "run.in_progress"];
    let calling = ["run.step.created", "run.step.in_progress", "run.step.delta", "run.requires_action"];
    assert_eq!(names(&events), [&begun[..], &calling].concat());
    let run = &events.last().unwrap().1;
    let calls = run["required_action"]["submit_tool_outputs"]["tool_calls"].as_array().unwrap();
    let told = |index: usize| -> String {
        let deltas = events.iter().map(|(_, data)| &data["delta"]["step_details"]["tool_calls"][0]);
        let own = deltas.filter(|call| call["index"] == index);
        own.filter_map(|call| call["function"]["arguments"].as_str()).collect()
    };
    assert_eq!([told(0), told(1)], [r#"{"city":"Rome"}"#, "{}"]);
    let submit = format!("{path}/{}/submit_tool_outputs", run["id"].as_str().unwrap());
    let outputs: Vec<_> = calls.iter().map(output).collect();
    let events = stream(connection, &submit, json!({"tool_outputs": outputs}));
    let begun = ["run.step.completed", "run.queued", "run.in_progress"];
    assert_eq!(names(&events), [&begun[..], &MESSAGE, &["run.completed"]].concat());
    assert_eq!(events[0].1["step_details"]["tool_calls"][1]["function"]["output"], "warm");
    let steps = get(connection, &format!("{path}/{}/steps?order=asc", run["id"].as_str().unwrap()));
    let kinds: Vec<_> = steps["data"].as_array().unwrap().iter().map(|step| (&step["type"], &step["status"])).collect();
    let completed = &json!("completed");
    assert_eq!(kinds, [(&json!("tool_calls"), completed), (&json!("message_creation"), completed)]);
}

#[test]
fn a_thread_can_be_created_with_its_run() {
    let (_server, mut connection, _directory) = served(StoreMode::StrictIds);
    let connection = &mut connection;
    let made = json!({"messages": [{"role": "user", "content": "refuse"}], "metadata": {"a": "b"}});
    let body = json!({"assistant_id": "asst_none", "thread": made});
    let refused = connection.post("/v1/threads/runs", &body.to_string());
    assert_eq!((refused.status, refused.text().contains("No assistant found")), (404, true), "{}", refused.text());
    let assistant = post(connection, "/v1/assistants", json!({"model": "m"}))["id"].clone();
    let body = json!({"assistant_id": assistant, "thread": made});
    let events = stream(connection, "/v1/threads/runs", body.clone());
    assert_eq!(names(&events)[..2], ["created", "run.created"]);
    let delta = events.iter().find(|(name, _)| name == "thread.message.delta").unwrap();
    assert_eq!(delta.1["delta"]["content"][0]["type"], "refusal");
    let thread = &events[0].1;
    let path = format!("/v1/threads/{}", thread["id"].as_str().unwrap());
    assert_eq!(&get(connection, &path), thread);
    assert_eq!(get(connection, &format!("{path}/messages"))["data"][0]["content"][0]["refusal"], "I will not.");

    let run = post(connection, "/v1/threads/runs", body);
    let path = format!("/v1/threads/{}", run["thread_id"].as_str().unwrap());
    let poll = format!("{path}/runs/{}", run["id"].as_str().unwrap());
    post(connection, &format!("{poll}/cancel"), json!({}));
    assert_eq!(get(connection, &poll)["status"], "cancelled", "a cancelled run stays cancelled");
    assert_eq!(get(connection, &format!("{path}/messages"))["data"].as_array().unwrap().len(), 1);
}

#[test]
fn a_run_over_its_token_limit_is_incomplete() {
    let (_server, mut connection, _directory) = served(StoreMode::Stored);
    let connection = &mut connection;
    let path = format!("{}/runs", thread(connection, "Hi"));
    let events = stream(connection, &path, json!({"assistant_id": "asst_1", "max_completion_tokens": 1}));
    let names = names(&events);
    assert!(names.contains(&"message.incomplete") && names.last() == Some(&"run.incomplete"), "{names:?}");
    let run = &events.last().unwrap().1;
    assert_eq!(run["incomplete_details"]["reason"], "max_completion_tokens");
}
