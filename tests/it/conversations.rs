//! Conversations and stored responses over a socket: a conversation collects inputs and outputs, and a stored response
//! streams the same events again.

use fake_openai::Config;
use serde_json::{Value, json};

use crate::{
    client::{Connection, serve},
    program::Directory,
};

const PATH: &str = "/v1/responses";

/// A server whose replies name the number of the turn, call tools or refuse, by the request.
fn served() -> (fake_openai::Running, Connection, Directory) {
    let replies = json!([
        {"when": {"user": "call"}, "tool_calls": [{"name": "f", "arguments": {"a": "ä\"b"}}, {"name": "g"}]},
        {"when": {"user": "refuse"}, "refusal": "I will not."},
        {"when": {"turn": 3}, "text": "The third time."},
        {"when": {"turn": 2}, "text": "Once more, ünd so on."},
        {"chunks": ["Fi", "rst."]}
    ]);
    let directory = Directory::with(&[("replies.json", &replies.to_string())]);
    let server = serve(Config { fixtures: Some(directory.path().to_owned()), ..Config::for_test() });
    let connection = Connection::open(server.address());
    (server, connection, directory)
}

fn ask(connection: &mut Connection, body: Value) -> Value {
    let response = connection.post(PATH, &body.to_string());
    assert_eq!(response.status, 200, "{}", response.text());
    response.json()
}

fn said(response: &Value) -> &str {
    response["output"][0]["content"][0]["text"].as_str().unwrap_or_else(|| panic!("{response}"))
}

fn get(connection: &mut Connection, path: &str) -> crate::client::Response {
    connection.request("GET", path, "", "").unwrap()
}

#[test]
fn each_response_adds_its_items_to_the_conversation() {
    let (_server, mut connection, _directory) = served();
    let item = json!({"type": "message", "role": "user", "content": "Hi"});
    let conversation = connection.post("/v1/conversations", &json!({"items": [item]}).to_string()).json();
    let id = conversation["id"].as_str().unwrap();
    let first = ask(&mut connection, json!({"model": "m", "input": "One", "conversation": id}));
    assert_eq!((said(&first), &first["conversation"]), ("First.", &json!({"id": id})));
    // The conversation grows whether or not the response is stored or streamed.
    let body = json!({"model": "m", "input": "Two", "conversation": {"id": id}, "store": false, "stream": true});
    assert!(connection.post(PATH, &body.to_string()).text().contains("Once more"));
    let third = ask(&mut connection, json!({"model": "m", "input": "Three", "conversation": id}));
    assert_eq!(said(&third), "The third time.");
    let items = get(&mut connection, &format!("/v1/conversations/{id}/items?order=asc")).json();
    let items = items["data"].as_array().unwrap();
    let roles: Vec<_> = items.iter().map(|item| item["role"].as_str().unwrap()).collect();
    assert_eq!(roles, ["user", "user", "assistant", "user", "assistant", "user", "assistant"]);
    assert_eq!(items[2], first["output"][0], "items keep the ids of the response");
    let alone = ask(&mut connection, json!({"model": "m", "input": "One"}));
    assert_eq!((said(&alone), alone.get("conversation")), ("First.", None));

    let both = json!({"model": "m", "input": "x", "conversation": id, "previous_response_id": first["id"]});
    let refused = connection.post(PATH, &both.to_string());
    assert_eq!((refused.status, &refused.json()["error"]["code"]), (400, &json!("mutually_exclusive_parameters")));
    connection.request("DELETE", &format!("/v1/conversations/{id}"), "", "").unwrap();
    let body = json!({"model": "m", "input": "x", "conversation": id, "stream": true});
    let refused = connection.post(PATH, &body.to_string());
    assert_eq!(refused.status, 404);
    assert_eq!(refused.json()["error"]["message"], format!("Conversation with id '{id}' not found."));
    let body = json!({"model": "m", "input": "x", "previous_response_id": "resp_none", "stream": true});
    let refused = connection.post(PATH, &body.to_string());
    assert_eq!((refused.status, refused.header("content-type")), (400, "application/json"));
}

#[test]
fn a_stored_response_streams_the_same_events_again() {
    let (_server, mut connection, _directory) = served();
    for members in [
        json!({}),
        json!({"input": "call", "tools": [{"type": "function", "name": "f"}, {"type": "custom", "name": "g"}]}),
        json!({"input": "refuse"}),
        json!({"model": "o3", "reasoning": {"summary": "auto"}, "include": ["reasoning.encrypted_content"]}),
        json!({"tools": [{"type": "web_search"}]}),
        json!({"max_output_tokens": 16, "input": "call", "tools": [{"type": "function", "name": "f"}]}),
        json!({"service_tier": "priority", "background": true}),
    ] {
        let mut body =
            json!({"model": "m", "input": "Hi", "stream": true, "stream_options": {"include_obfuscation": false}});
        body.as_object_mut().unwrap().extend(members.as_object().unwrap().clone());
        let live = connection.post(PATH, &body.to_string());
        let live = live.text();
        let id = live.split('"').find(|word| word.starts_with("resp_")).unwrap();
        let path = format!("{PATH}/{id}?stream=true&include_obfuscation=false");
        let again = get(&mut connection, &path);
        assert_eq!(again.header("content-type"), "text/event-stream; charset=utf-8");
        assert_eq!(again.text(), live);
        let rest = get(&mut connection, &format!("{path}&starting_after=2"));
        let frames: Vec<_> = live.split_inclusive("\n\n").collect();
        assert_eq!(rest.text(), frames[3..].concat());
        let none = get(&mut connection, &format!("{path}&starting_after=18446744073709551615"));
        assert_eq!((none.status, none.text()), (200, ""));
    }
}

#[test]
fn streaming_a_background_response_completes_it() {
    let (_server, mut connection, _directory) = served();
    let body = json!({"model": "m", "input": "Hi", "background": true});
    let path = |response: &Value| format!("{PATH}/{}", response["id"].as_str().unwrap());
    let queued = ask(&mut connection, body.clone());
    assert_eq!(queued["status"], "queued");
    let told = get(&mut connection, &format!("{}?stream=true", path(&queued)));
    let names: Vec<_> = told.text().lines().filter_map(|line| line.strip_prefix("event: response.")).collect();
    assert_eq!((names[..3].to_vec(), names.last()), (vec!["created", "queued", "in_progress"], Some(&"completed")));
    assert_eq!(get(&mut connection, &path(&queued)).json()["status"], "completed");

    let given_up = ask(&mut connection, body);
    connection.post(&format!("{}/cancel", path(&given_up)), "");
    let told = get(&mut connection, &format!("{}?stream=true", path(&given_up)));
    assert_eq!(told.text().matches("event: ").count(), 3, "{}", told.text());
}
