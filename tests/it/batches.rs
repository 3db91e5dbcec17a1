//! Batches: every line of a file, or every request in the body, is processed like a request of its own, and its result
//! can be downloaded.

use fake_openai::{Config, LimitSpec, Running};
use serde_json::{Value, json};

use crate::client::{Connection, Response, serve};

fn served() -> (Running, Connection) {
    let server = serve(Config { seed: Some(1), ..Config::for_test() });
    let connection = Connection::open(server.address());
    (server, connection)
}

fn ask(connection: &mut Connection, route: &str, headers: &str, body: &str) -> Response {
    let (method, path) = route.split_once(' ').unwrap();
    connection.request(method, path, headers, body).unwrap()
}

/// Sends a request and returns the JSON of its response. Fails the test on an error status.
fn json_of(connection: &mut Connection, route: &str, body: Value) -> Value {
    let body = if body.is_null() { String::new() } else { body.to_string() };
    let response = ask(connection, route, "", &body);
    assert!(response.status < 300, "{route}: {} {}", response.status, response.text());
    response.json()
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_else(|| panic!("{value} is no text"))
}

/// Uploads a file and returns the file object.
fn upload(connection: &mut Connection, path: &str, headers: &str, content: &str) -> Value {
    let form = format!(
        "--b\r\ncontent-disposition: form-data; name=\"purpose\"\r\n\r\nbatch\r\n--b\r\ncontent-disposition: form-data; \
         name=\"file\"; filename=\"in.jsonl\"\r\ncontent-type: application/jsonl\r\n\r\n{content}\r\n--b--\r\n"
    );
    let headers = format!("{headers}content-type: multipart/form-data; boundary=b\r\n");
    let response = ask(connection, &format!("POST {path}"), &headers, &form);
    assert_eq!(response.status, 200, "{}", response.text());
    response.json()
}

fn line(id: &str, url: &str, body: &Value) -> String {
    json!({"custom_id": id, "method": "POST", "url": url, "body": body}).to_string() + "\n"
}

fn chat(words: &str) -> Value {
    json!({"model": "gpt-4o", "messages": [{"role": "user", "content": words}]})
}

/// Creates a batch of this file and returns its path.
fn batch(connection: &mut Connection, at: &str, file: &Value, endpoint: &str) -> String {
    let asked = json!({"input_file_id": file["id"], "endpoint": endpoint, "completion_window": "24h"});
    let batch = json_of(connection, &format!("POST {at}"), asked);
    assert_eq!((&batch["status"], &batch["request_counts"]["total"]), (&json!("validating"), &json!(0)));
    format!("{at}/{}", text(&batch["id"]))
}

fn content(connection: &mut Connection, files: &str, id: &Value) -> Vec<Value> {
    let response = connection.get(&format!("{files}/{}/content", text(id)));
    response.text().lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn states(connection: &mut Connection, path: &str, polls: usize) -> Vec<Value> {
    (0..polls).map(|_| json_of(connection, &format!("GET {path}"), Value::Null)).collect()
}

#[test]
fn a_batch_processes_100_lines_per_poll() {
    let (_server, mut connection) = served();
    let mut lines: String = (0..249).map(|n| line(&format!("r{n}"), "/v1/chat/completions", &chat("Hi"))).collect();
    lines += &line("bad", "/v1/chat/completions", &json!({"model": "gpt-4o"}));
    lines += &line(
        "spent",
        "/v1/chat/completions",
        &json!({"model": "gpt-4o~429", "messages": [{"role": "user", "content": "Hi"}]}),
    );
    let file = upload(&mut connection, "/v1/files", "", &lines);
    assert_eq!(file["bytes"], lines.len());
    let path = batch(&mut connection, "/v1/batches", &file, "/v1/chat/completions");
    let states = states(&mut connection, &path, 7);
    let told = |state: &Value| {
        let counts = &state["request_counts"];
        (
            text(&state["status"]).to_owned(),
            [&counts["total"], &counts["completed"], &counts["failed"]].map(|n| n.as_u64().unwrap()),
        )
    };
    let expected = [
        ("in_progress", [251, 0, 0]),
        ("in_progress", [251, 100, 0]),
        ("in_progress", [251, 200, 0]),
        ("finalizing", [251, 249, 2]),
        ("completed", [251, 249, 2]),
        ("completed", [251, 249, 2]),
        ("completed", [251, 249, 2]),
    ];
    assert_eq!(
        states.iter().map(told).collect::<Vec<_>>(),
        expected.map(|(status, counts)| (status.to_owned(), counts))
    );
    assert_eq!(states[5], states[6]);
    let done = &states[4];
    assert_eq!((&done["model"], &done["errors"]), (&json!("gpt-4o"), &Value::Null));

    let answers = content(&mut connection, "/v1/files", &done["output_file_id"]);
    assert_eq!(answers.len(), 249);
    let alone = connection.chat(&chat("Hi").to_string()).json();
    for (n, answer) in answers.iter().enumerate() {
        assert_eq!((&answer["custom_id"], &answer["error"]), (&json!(format!("r{n}")), &Value::Null));
        let response = &answer["response"];
        assert_eq!((&response["status_code"], &response["body"]["choices"]), (&json!(200), &alone["choices"]));
        assert_eq!(text(&response["request_id"]).len(), 32);
    }
    assert_ne!(answers[0]["response"]["body"]["id"], answers[1]["response"]["body"]["id"]);
    let usage = |n: u64, name: &str| n * alone["usage"][name].as_u64().unwrap();
    assert_eq!(done["usage"]["input_tokens"], usage(249, "prompt_tokens"));
    assert_eq!(done["usage"]["output_tokens"], usage(249, "completion_tokens"));
    assert_eq!(done["usage"]["total_tokens"], usage(249, "total_tokens"));

    let refused = content(&mut connection, "/v1/files", &done["error_file_id"]);
    let told = |n: usize| (&refused[n]["custom_id"], &refused[n]["response"]["status_code"]);
    assert_eq!([told(0), told(1)], [(&json!("bad"), &json!(400)), (&json!("spent"), &json!(429))]);
    let alone = connection.chat(r#"{"model": "gpt-4o"}"#);
    assert_eq!((alone.status, &refused[0]["response"]["body"]), (400, &alone.json()));

    let outputs = json_of(&mut connection, "GET /v1/files?purpose=batch_output", Value::Null);
    assert_eq!(outputs["data"].as_array().unwrap().len(), 2);
    let output = json_of(&mut connection, &format!("GET /v1/files/{}", text(&done["output_file_id"])), Value::Null);
    assert_eq!(output["filename"], format!("{}_output.jsonl", text(&done["id"])));
    let length = connection.get(&format!("/v1/files/{}/content", text(&output["id"]))).body.len();
    assert_eq!(output["bytes"], length);
    json_of(&mut connection, &format!("DELETE /v1/files/{}", text(&output["id"])), Value::Null);
    assert_eq!(connection.get(&format!("/v1/files/{}/content", text(&output["id"]))).status, 404);
}

#[test]
fn every_batch_endpoint_answers_its_lines() {
    let (_server, mut connection) = served();
    for (endpoint, body, tokens) in [
        ("/v1/responses", json!({"model": "gpt-4o", "input": "Hi"}), true),
        ("/v1/embeddings", json!({"model": "text-embedding-3-small", "input": "Hi"}), true),
        ("/v1/completions", json!({"model": "gpt-3.5-turbo-instruct", "prompt": "Hi"}), true),
        ("/v1/moderations", json!({"model": "omni-moderation-latest", "input": "Hi"}), false),
    ] {
        let file = upload(&mut connection, "/files", "", &line("a", endpoint, &body));
        let path = batch(&mut connection, "/batches", &file, endpoint);
        let done = states(&mut connection, &path, 3).pop().unwrap();
        assert_eq!((&done["status"], &done["request_counts"]["completed"]), (&json!("completed"), &json!(1)), "{done}");
        let answer = &content(&mut connection, "/files", &done["output_file_id"])[0]["response"]["body"];
        let alone = connection.post(endpoint, &body.to_string()).json();
        assert_eq!(answer["object"], alone["object"], "{endpoint}");
        assert_eq!(done["model"], alone["model"], "{endpoint}");
        assert_eq!(done["usage"]["total_tokens"], alone["usage"]["total_tokens"].as_u64().unwrap_or(0));
        assert_eq!(done["usage"]["total_tokens"] != 0, tokens, "{endpoint}");
        assert_eq!(done["error_file_id"], Value::Null);
    }
}

#[test]
fn a_bad_input_file_fails_the_batch_with_an_error_per_line() {
    let (_server, mut connection) = served();
    let good = |id| line(id, "/v1/chat/completions", &chat("Hi"));
    let lines = [
        good("a"),
        "{\"custom_id\": \"b\"\n".to_owned(),
        good("a"),
        line("c", "/v1/responses", &json!({})),
        good("d").replace("custom_id", "id"),
    ];
    let file = upload(&mut connection, "/v1/files", "", &lines.concat());
    let path = batch(&mut connection, "/v1/batches", &file, "/v1/chat/completions");
    let states = states(&mut connection, &path, 2);
    assert_eq!(states[0], states[1]);
    let failed = &states[0];
    assert_eq!((&failed["status"], failed["failed_at"].is_u64()), (&json!("failed"), true));
    let told =
        |error: &Value| (text(&error["code"]).to_owned(), error["line"].as_u64().unwrap(), error["param"].clone());
    let errors: Vec<_> = failed["errors"]["data"].as_array().unwrap().iter().map(told).collect();
    let error = |code: &str, line: u64, param: Value| (code.to_owned(), line, param);
    let expected = [
        error("invalid_json_line", 2, Value::Null),
        error("duplicate_custom_id", 3, json!("custom_id")),
        error("mismatched_endpoint", 4, json!("url")),
        error("missing_required_parameter", 5, json!("custom_id")),
    ];
    assert_eq!(errors, expected);
    assert_eq!(failed["output_file_id"], Value::Null);

    let file = upload(&mut connection, "/v1/files", "", "");
    let path = batch(&mut connection, "/v1/batches", &file, "/v1/chat/completions");
    assert_eq!(self::states(&mut connection, &path, 1)[0]["errors"]["data"][0]["code"], "empty_file");
    let asked = json!({"input_file_id": file["id"], "endpoint": "/v1/batches", "completion_window": "24h"});
    assert_eq!(ask(&mut connection, "POST /v1/batches", "", &asked.to_string()).status, 400);
}

#[test]
fn a_cancelled_batch_keeps_the_finished_lines() {
    let (_server, mut connection) = served();
    let lines: String = (0..150).map(|n| line(&n.to_string(), "/v1/chat/completions", &chat("Hi"))).collect();
    let file = upload(&mut connection, "/v1/files", "", &lines);
    let path = batch(&mut connection, "/v1/batches", &file, "/v1/chat/completions");
    // The batch has read the file, so it can be deleted.
    json_of(&mut connection, &format!("DELETE /v1/files/{}", text(&file["id"])), Value::Null);
    assert_eq!(states(&mut connection, &path, 2)[1]["request_counts"]["completed"], 100);
    assert_eq!(json_of(&mut connection, &format!("POST {path}/cancel"), Value::Null)["status"], "cancelling");
    let cancelled = &states(&mut connection, &path, 2)[1];
    assert_eq!(cancelled["status"], "cancelled");
    assert_eq!(content(&mut connection, "/v1/files", &cancelled["output_file_id"]).len(), 100);
}

#[test]
fn batch_lines_bypass_limits_refuse_streams_and_report_faults_as_responses() {
    let server = serve(Config { limits: vec![LimitSpec::rpm(1)], ..Config::for_test() });
    let mut connection = Connection::open(server.address());
    let streamed = json!({"model": "gpt-4o", "stream": true, "messages": [{"role": "user", "content": "Hi"}]});
    let page = json!({"model": "gpt-4o~502", "messages": [{"role": "user", "content": "Hi"}]});
    let lines = [chat("1"), chat("2"), chat("3"), streamed, page];
    let lines: String =
        lines.iter().enumerate().map(|(n, body)| line(&n.to_string(), "/v1/chat/completions", body)).collect();
    let file = upload(&mut connection, "/v1/files", "", &lines);
    let path = batch(&mut connection, "/v1/batches", &file, "/v1/chat/completions");
    let done = states(&mut connection, &path, 3).pop().unwrap();
    assert_eq!(done["request_counts"], json!({"total": 5, "completed": 3, "failed": 2}));
    let refused = content(&mut connection, "/v1/files", &done["error_file_id"]);
    assert_eq!(refused[0]["response"]["status_code"], 400);
    assert!(text(&refused[0]["response"]["body"]["error"]["message"]).contains("stream"));
    assert!(
        text(&refused[1]["response"]["body"]).starts_with("<html>"),
        "a body that is not JSON is reported as a string"
    );
}

#[test]
fn azure_files_and_batches_are_separate_from_openais() {
    let (_server, mut connection) = served();
    for (url, version) in [("/chat/completions", "?api-version=2024-10-21"), ("/v1/chat/completions", "")] {
        let file = upload(&mut connection, &format!("/openai/files{version}"), "", &line("a", url, &chat("Hi")));
        let path = batch(&mut connection, "/openai/v1/batches", &file, url);
        let done = states(&mut connection, &path, 3).pop().unwrap();
        let answer = &content(&mut connection, "/openai/v1/files", &done["output_file_id"])[0]["response"]["body"];
        assert_eq!(answer["choices"][0]["finish_reason"], "stop", "{answer}");
        let other = connection.get(&format!("/v1/files/{}", text(&file["id"])));
        assert_ne!(other.json()["bytes"], file["bytes"], "OpenAI's files do not contain it");
    }
}

#[test]
fn a_message_batch_processes_the_requests_in_its_body() {
    let (server, mut connection) = served();
    let params =
        json!({"model": "claude-sonnet-4-5", "max_tokens": 9, "messages": [{"role": "user", "content": "Hi"}]});
    let mut requests: Vec<_> = (0..119).map(|n| json!({"custom_id": format!("r{n}"), "params": params})).collect();
    requests.push(json!({"custom_id": "bad", "params": {"model": "claude-sonnet-4-5"}}));
    let at = "/v1/messages/batches";
    let body = serde_json::to_string_pretty(&json!({"requests": requests})).unwrap();
    let batch = ask(&mut connection, &format!("POST {at}"), "", &body).json();
    assert_eq!(
        (&batch["processing_status"], &batch["request_counts"]["processing"]),
        (&json!("in_progress"), &json!(120))
    );
    let path = format!("{at}/{}", text(&batch["id"]));
    assert_eq!(connection.get(&format!("{path}/results")).status, 404, "there are no results before the batch ends");
    let states = states(&mut connection, &path, 3);
    assert_eq!(states[0], batch, "counts change only when the batch ends");
    assert_eq!((&states[1]["processing_status"], &states[1]), (&json!("ended"), &states[2]));
    let counts = json!({"processing": 0, "succeeded": 119, "errored": 1, "canceled": 0, "expired": 0});
    assert_eq!(states[1]["request_counts"], counts);
    assert_eq!(states[1]["results_url"], format!("http://fake{path}/results"));
    let results = connection.get(&format!("{path}/results"));
    assert_eq!(results.header("content-type"), "application/x-jsonl");
    let results: Vec<Value> = results.text().lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let alone = connection.post("/v1/messages", &params.to_string()).json();
    assert_eq!((results.len(), &results[0]["custom_id"]), (120, &json!("r0")));
    assert_eq!(results[0]["result"]["type"], "succeeded");
    assert_eq!(results[0]["result"]["message"]["content"], alone["content"]);
    assert_eq!(results[119]["result"]["type"], "errored");
    assert_eq!(results[119]["result"]["error"]["error"]["type"], "invalid_request_error");

    let twice = json!({"requests": [requests[0], requests[0]]});
    let refused = ask(&mut connection, &format!("POST {at}"), "", &twice.to_string());
    assert_eq!(refused.status, 400);
    assert!(text(&refused.json()["error"]["message"]).contains("unique"));

    let other = ask(&mut connection, &format!("POST /anthropic{at}"), "", &body).json();
    let path = format!("/anthropic{at}/{}", text(&other["id"]));
    json_of(&mut connection, &format!("GET {path}"), Value::Null);
    assert_eq!(json_of(&mut connection, &format!("POST {path}/cancel"), Value::Null)["processing_status"], "canceling");
    let ended = json_of(&mut connection, &format!("GET {path}"), Value::Null);
    let counts = json!({"processing": 0, "succeeded": 100, "errored": 0, "canceled": 20, "expired": 0});
    assert_eq!((&ended["processing_status"], &ended["request_counts"]), (&json!("ended"), &counts));
    let results = connection.get(&format!("{path}/results"));
    let last: Value = serde_json::from_str(results.text().lines().last().unwrap()).unwrap();
    assert_eq!(last, json!({"custom_id": "bad", "result": {"type": "canceled"}}));
    json_of(&mut connection, &format!("DELETE {path}"), Value::Null);
    assert_eq!(connection.get(&path).status, 404);
    drop(server);
}

#[test]
fn anthropic_version_header_selects_anthropics_files() {
    let (_server, mut connection) = served();
    let version = "anthropic-version: 2023-06-01\r\n";
    let file = upload(&mut connection, "/v1/files?beta=true", version, "Hello");
    assert_eq!(
        (&file["type"], &file["size_bytes"], &file["filename"]),
        (&json!("file"), &json!(5), &json!("in.jsonl"))
    );
    let path = format!("/v1/files/{}", text(&file["id"]));
    assert_eq!(ask(&mut connection, &format!("GET {path}"), version, "").json(), file);
    assert_eq!(json_of(&mut connection, &format!("GET /anthropic{path}"), Value::Null), file);
    assert_eq!(ask(&mut connection, &format!("GET {path}/content"), version, "").text(), "Hello");
    let other = json_of(&mut connection, &format!("GET {path}"), Value::Null);
    assert_eq!(other["object"], "file", "without the header OpenAI's default file is returned");
    let models = ask(&mut connection, "GET /v1/models", version, "").json();
    assert_eq!(models["data"][0]["type"], "model");
    assert_eq!(json_of(&mut connection, "GET /v1/models", Value::Null)["data"][0]["object"], "model");
    let deleted = ask(&mut connection, &format!("DELETE {path}"), version, "").json();
    assert_eq!(deleted, json!({"id": file["id"], "type": "file_deleted"}));
    let gone = ask(&mut connection, &format!("GET {path}"), version, "");
    assert_eq!((gone.status, &gone.json()["error"]["type"]), (404, &json!("not_found_error")));
}

#[test]
fn a_batch_of_refused_lines_reports_the_requested_model() {
    let (_server, mut connection) = served();
    let file = upload(&mut connection, "/v1/files", "", &line("a", "/v1/embeddings", &json!({"model": "gpt-e"})));
    let path = batch(&mut connection, "/v1/batches", &file, "/v1/embeddings");
    let done = &states(&mut connection, &path, 3)[2];
    assert_eq!((&done["status"], &done["model"]), (&json!("completed"), &json!("gpt-e")));
    assert_eq!(done["request_counts"], json!({"total": 1, "completed": 0, "failed": 1}));
}
