//! Hosts of models over real sockets: one text through every one of them.

use fake_openai::Config;
use serde_json::{Value, json};

use crate::client::{Connection, Response, serve};

const HELLO: &str = "\n\nHello there, how may I assist you today?";

fn served() -> (fake_openai::Running, Connection) {
    let server = serve(Config::for_test());
    let connection = Connection::open(server.address());
    (server, connection)
}

/// The data of server-sent events.
fn data(response: &Response) -> Vec<Value> {
    assert_eq!(response.status, 200, "{}", response.text());
    let lines = response.text().lines().filter_map(|line| line.strip_prefix("data: "));
    lines.filter_map(|data| serde_json::from_str(data).ok()).collect()
}

fn joined(events: &[Value], path: &str) -> String {
    events.iter().filter_map(|event| event.pointer(path)?.as_str()).collect()
}

#[test]
fn triton_generates_and_infers() {
    let (_server, mut connection) = served();
    let ask = json!({"text_input": "Hi", "parameters": {"max_tokens": 100}}).to_string();
    assert_eq!(connection.post("/v2/models/m/generate", &ask).json()["text_output"], HELLO);
    let streamed = connection.post("/v2/models/m/generate_stream", &ask);
    assert!(!streamed.text().contains("[DONE]"));
    let events = data(&streamed);
    assert_eq!((joined(&events, "/text_output").as_str(), &events[0]["model_name"]), (HELLO, &json!("m")));
    let tensor = |name: &str, data: Value| json!({"name": name, "shape": [1], "datatype": "BYTES", "data": [data]});
    for (inputs, text) in [
        (json!([tensor("text_input", json!("Hi"))]), HELLO),
        // The order of the tensors says nothing.
        (json!([tensor("max_tokens", json!(3)), tensor("text_input", json!("Hi"))]), "\n\nHello there"),
    ] {
        let answer = connection.post("/v2/models/m/infer", &json!({"inputs": inputs}).to_string()).json();
        assert_eq!(answer["outputs"][0]["data"], json!([text]));
    }
    let broken = connection.post("/v2/models/m/generate_stream?fake=error@2:overloaded", &ask);
    assert!(broken.text().ends_with("data: {\"error\":\"Exceeds maximum queue size\"}\n\n"), "{}", broken.text());
}

#[test]
fn sagemaker_streams_payload_parts() {
    let (_server, mut connection) = served();
    let ask = json!({"inputs": "Hi"}).to_string();
    let whole = connection.post("/endpoints/tgi/invocations", &ask);
    assert_eq!(whole.json(), json!([{"generated_text": HELLO}]));
    let streamed = connection.post("/endpoints/tgi/invocations-response-stream", &ask);
    assert_eq!(streamed.header("content-type"), "application/vnd.amazon.eventstream");
    let text = String::from_utf8_lossy(&streamed.body).into_owned();
    let events: Vec<Value> =
        text.split("data:").skip(1).map(|rest| serde_json::from_str(rest.lines().next().unwrap()).unwrap()).collect();
    assert_eq!(joined(&events, "/token/text"), HELLO);
    assert_eq!(events.last().unwrap()["generated_text"], HELLO);
}

#[test]
fn vertex_passes_bodies_of_others_through() {
    let (_server, mut connection) = served();
    let mut ask = |publisher: &str, operation: &str, body: Value| {
        let path = format!("/v1/projects/p/locations/l/publishers/{publisher}/models/m:{operation}");
        connection.post(&path, &body.to_string())
    };
    let messages = json!([{"role": "user", "content": "Hi"}]);
    let body = json!({"anthropic_version": "vertex-2023-10-16", "max_tokens": 99, "messages": messages});
    let message = ask("anthropic", "rawPredict", body.clone()).json();
    assert_eq!((&message["content"][0]["text"], &message["model"]), (&json!(HELLO), &json!("m")));
    let events = data(&ask("anthropic", "streamRawPredict", body));
    assert_eq!(joined(&events, "/delta/text"), HELLO);
    let chat = ask("mistralai", "rawPredict", json!({"model": "m", "messages": messages})).json();
    assert_eq!(chat["choices"][0]["message"]["content"], HELLO);
}

#[test]
fn hosts_of_the_same_protocol_differ_by_prefix() {
    let (_server, mut connection) = served();
    let body = json!({"model": "a/b", "messages": [{"role": "user", "content": "Hi"}]}).to_string();
    for (base, id) in [
        ("/groq/openai/v1", "chatcmpl-"),
        ("/mistral/v1", ""),
        ("/together/v1", ""),
        ("/openrouter/api/v1", "gen-"),
        ("/vllm/v1", "chatcmpl-"),
    ] {
        let chat = connection.post(&format!("{base}/chat/completions"), &body).json();
        assert_eq!(chat["choices"][0]["message"]["content"], HELLO, "{base}");
        assert!(chat["id"].as_str().unwrap().starts_with(id), "{base}");
        assert!(!connection.get(&format!("{base}/models")).json()["data"].as_array().unwrap().is_empty(), "{base}");
    }
}

#[test]
fn tokens_lead_back_to_the_text() {
    let (_server, mut connection) = served();
    for text in ["", "Hello there, friend!\n\n42 🦤"] {
        let told = connection.post("/tokenize", &json!({"model": "m", "prompt": text}).to_string()).json();
        assert_eq!(told["count"].as_u64().unwrap() as usize, told["tokens"].as_array().unwrap().len());
        let back = connection.post("/detokenize", &json!({"model": "m", "tokens": told["tokens"]}).to_string()).json();
        assert_eq!(back, json!({"prompt": text}));
    }
}
