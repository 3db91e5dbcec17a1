//! A server without memory: `--stateless`.

use fake_openai::{Config, StoreMode};
use serde_json::{Value, json};

use crate::{
    client::{Connection, serve},
    resources::{Client, text},
};

fn stateless() -> (fake_openai::Running, Client) {
    let server = serve(Config { objects: StoreMode::Stateless, ..Config::for_test() });
    let client = Client(Connection::open(server.address()));
    (server, client)
}

#[test]
fn a_created_object_has_what_was_sent_and_is_not_stored() {
    let (_server, mut client) = stateless();
    let before = client.get("/v1/vector_stores");
    let created = client.post("/v1/vector_stores", json!({"name": "mine", "metadata": {"a": "b"}}));
    assert_eq!((&created["name"], &created["metadata"]), (&json!("mine"), &json!({"a": "b"})));
    let path = format!("/v1/vector_stores/{}", text(&created["id"]));
    let changed = client.post(&path, json!({"name": "yours"}));
    assert_eq!((&changed["id"], &changed["name"]), (&created["id"], &json!("yours")));
    let found = client.get(&path);
    assert_eq!(found["id"], created["id"]);
    assert!(found["name"] != "mine" && found["name"] != "yours", "{found}");
    assert_eq!(client.get("/v1/vector_stores")["data"], before["data"]);
}

#[test]
fn a_deleted_object_is_still_there() {
    let (_server, mut client) = stateless();
    for _ in 0..2 {
        for path in ["/v1/files/file-1", "/v1/vector_stores/vs_1", "/v1/responses/resp_1", "/v1/models/ft:gpt-4o:a::1"]
        {
            assert_eq!(client.ask(&format!("DELETE {path}"), Value::Null)["deleted"], true, "{path}");
            assert_eq!(client.get(path)["id"], path.rsplit('/').next().unwrap(), "{path}");
        }
    }
}

#[test]
fn objects_that_only_clients_create_exist_too() {
    let (_server, mut client) = stateless();
    for path in ["/v1/chat/completions/chatcmpl-1", "/v1/responses/resp_1", "/v1/conversations/conv_1"] {
        assert_eq!(client.get(path)["id"], path.rsplit('/').next().unwrap(), "{path}");
    }
    let response = client.post("/v1/responses", json!({"model": "gpt-4o", "input": "Hi"}));
    let next = json!({"model": "gpt-4o", "input": "And?", "previous_response_id": response["id"]});
    assert_eq!(client.post("/v1/responses", next)["status"], "completed");
}
