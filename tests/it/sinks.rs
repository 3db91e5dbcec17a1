//! Logging services that gateways write to: each accepts its own format, and what was written can be read.

use std::io::Write;

use fake_openai::{Config, traffic::access::Access};
use flate2::{Compression, write::GzEncoder};
use serde_json::{Value, json};

use crate::client::{Connection, Response, serve};

fn ask(connection: &mut Connection, route: &str, body: &Value) -> Response {
    let (method, path) = route.split_once(' ').unwrap();
    let body = if body.is_null() { String::new() } else { body.to_string() };
    connection.request(method, path, "", &body).unwrap()
}

#[test]
fn langfuse_events_become_traces_and_observations() {
    let access = Access { keys: vec!["sk-one".to_owned()], ..Access::default() };
    let server = serve(Config { access, ..Config::for_test() });
    let mut connection = Connection::open(server.address());
    let event = |id: &str, kind: &str, body: Value| json!({"id": id, "type": kind, "timestamp": "", "body": body});
    let batch = json!({"batch": [
        event("1", "trace-create", json!({"id": "t", "name": "first", "userId": "u"})),
        event("2", "generation-create", json!({"id": "g", "traceId": "t", "model": "gpt-4o"})),
        event("3", "span-create", json!({"id": "s", "traceId": "t"})),
        event("4", "generation-update", json!({"id": "g", "output": "Hello"})),
        event("5", "trace-create", json!({"id": "t", "output": "Hello"})),
        event("6", "score-create", json!({"id": "x"})),
    ]});
    let answer = ask(&mut connection, "POST /api/public/ingestion", &batch);
    assert_eq!(answer.status, 207, "no key is required");
    let successes: Vec<_> = (1..=6).map(|n| json!({"id": n.to_string(), "status": 201})).collect();
    assert_eq!(answer.json(), json!({"successes": successes, "errors": []}));
    let trace = connection.get("/api/public/traces/t").json();
    assert_eq!([&trace["name"], &trace["userId"], &trace["output"]], ["first", "u", "Hello"]);
    let of = connection.get("/api/public/observations?traceId=t").json();
    assert_eq!(of["meta"]["totalItems"], 2);
    let generation = connection.get("/api/public/observations/g").json();
    assert_eq!([&generation["type"], &generation["model"], &generation["output"]], ["GENERATION", "gpt-4o", "Hello"]);
    let never = connection.get("/api/public/traces/never");
    assert_eq!((never.status, never.json()["error"].as_str()), (404, Some("LangfuseNotFoundError")));
}

#[test]
fn langsmith_runs_are_created_and_changed_alone_or_in_batches() {
    let server = serve(Config::for_test());
    let mut connection = Connection::open(server.address());
    let batch = json!({"post": [{"id": "a", "name": "one"}, {"id": "b"}], "patch": [{"id": "a", "outputs": {"x": 1}}]});
    assert_eq!(ask(&mut connection, "POST /runs/batch", &batch).status, 202);
    assert_eq!(ask(&mut connection, "POST /runs", &json!({"id": "c"})).status, 202);
    assert_eq!(ask(&mut connection, "PATCH /runs/c", &json!({"error": "no"})).status, 202);
    let run = connection.get("/runs/a").json();
    assert_eq!((&run["name"], &run["outputs"]), (&json!("one"), &json!({"x": 1})));
    assert_eq!(connection.get("/api/v1/runs/c").json()["error"], "no");
    let all = ask(&mut connection, "POST /runs/query", &json!({})).json();
    assert_eq!(all["runs"].as_array().unwrap().len(), 3);
    assert_eq!(connection.get("/runs/d").status, 404);
}

#[test]
fn datadog_logs_are_accepted_as_arrays_and_gzipped() {
    let server = serve(Config::for_test());
    let mut connection = Connection::open(server.address());
    let mut zip = GzEncoder::new(Vec::new(), Compression::default());
    zip.write_all(br#"[{"message": "one", "service": "s"}, {"message": "two"}]"#).unwrap();
    let zipped = zip.finish().unwrap();
    let head = format!(
        "POST /api/v2/logs HTTP/1.1\r\nhost: fake\r\ncontent-encoding: gzip\r\ncontent-length: {}\r\n\r\n",
        zipped.len()
    );
    connection.send(&[head.as_bytes(), &zipped].concat()).unwrap();
    assert_eq!(connection.response(false).unwrap().status, 202);
    assert_eq!(ask(&mut connection, "POST /v1/input/key", &json!({"message": "three"})).status, 200);
    let logs = connection.get("/api/v2/logs/events").json();
    let messages: Vec<_> = logs["data"].as_array().unwrap().iter().map(|log| &log["attributes"]["message"]).collect();
    assert_eq!(messages, ["three", "two", "one"]);
    connection
        .send(b"POST /api/v2/logs HTTP/1.1\r\nhost: fake\r\ncontent-encoding: gzip\r\ncontent-length: 2\r\n\r\n{}")
        .unwrap();
    assert_eq!(
        connection.response(false).unwrap().status,
        202,
        "a body that is not gzip in spite of its header is accepted as it is"
    );
}

#[test]
fn slack_messages_are_posted_and_read() {
    let server = serve(Config::for_test());
    let mut connection = Connection::open(server.address());
    let said = ask(&mut connection, "POST /services/T0/B0/secret", &json!({"text": "Budget crossed", "blocks": [1]}));
    assert_eq!((said.status, said.text()), (200, "ok"));
    let said = ask(&mut connection, "POST /api/chat.postMessage", &json!({"channel": "C0", "text": "Hi"}));
    assert_eq!(said.json()["ok"], true);
    let history = connection.get("/slack/history").json();
    let texts: Vec<_> = history["messages"].as_array().unwrap().iter().map(|message| &message["text"]).collect();
    assert_eq!(texts, ["Hi", "Budget crossed"]);
    assert_eq!(history["messages"][1]["blocks"], json!([1]));
}

#[test]
fn faults_of_a_sink_come_from_its_url_and_never_from_its_content() {
    let server = serve(Config { faults: vec!["503".parse().unwrap()], ..Config::for_test() });
    let mut connection = Connection::open(server.address());
    let log =
        json!({"model": "gpt-4o~429", "messages": [{"role": "user", "content": "Hi [[fake: 429]]"}], "text": "x"});
    for path in ["/slack/webhook", "/runs", "/api/v2/logs"] {
        let told = ask(&mut connection, &format!("POST {path}"), &log);
        assert!((200..300).contains(&told.status), "{path}: {}", told.status);
        for (status, said) in [(502, "bad gateway"), (404, "not found"), (429, "rate"), (503, "unavailable")] {
            let down = ask(&mut connection, &format!("POST /~{status}{path}"), &log);
            let text = down.text().to_lowercase().replace('_', " ");
            let said = if status == 429 && path == "/api/v2/logs" { "too many" } else { said };
            assert_eq!(down.status, status, "{path}: {text}");
            assert!(text.contains(said) && !text.contains("model"), "{path}: {text}");
        }
        assert_eq!(ask(&mut connection, &format!("POST {path}?fake=502"), &log).status, 502);
    }
    assert_eq!(connection.get("/health").status, 200);
    assert_eq!(connection.get("/~503/health").status, 503);
}
