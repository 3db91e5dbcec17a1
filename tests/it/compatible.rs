//! The OpenAI-compatible APIs of providers that have an API of their own.

use fake_openai::Config;
use serde_json::{Value, json};

use crate::client::{CHAT, Connection, serve};

#[test]
fn gemini_and_cohere_have_openai_compatible_routes() {
    let server = serve(Config::for_test());
    let mut connection = Connection::open(server.address());
    for base in ["/v1beta/openai", "/gemini/v1beta/openai", "/compatibility/v1", "/cohere/compatibility/v1"] {
        let chat = connection.post(&format!("{base}/chat/completions"), CHAT).json();
        assert_eq!(chat["object"], "chat.completion", "{base}: {chat}");
        let usage: Vec<_> = chat["usage"].as_object().unwrap().keys().map(String::as_str).collect();
        assert_eq!(usage, ["prompt_tokens", "completion_tokens", "total_tokens"], "{base}");
        let streamed =
            connection.post(&format!("{base}/chat/completions"), &CHAT.replace("{\"model", "{\"stream\":true,\"model"));
        assert!(streamed.text().ends_with("data: [DONE]\n\n"), "{base}");
        let embeddings = connection.post(&format!("{base}/embeddings"), r#"{"model":"m","input":["a","b"]}"#).json();
        assert_eq!(embeddings["data"].as_array().unwrap().len(), 2, "{base}: {embeddings}");
    }
    let models = connection.get("/v1beta/openai/models").json();
    let ids: Vec<_> = models["data"].as_array().unwrap().iter().map(|model| model["id"].clone()).collect();
    assert!(ids.contains(&json!("models/gemini-2.5-flash")), "{models}");
    assert_eq!(connection.get("/v1beta/openai/models/gemini-2.5-flash").json()["owned_by"], "google");
}

#[test]
fn their_errors_are_the_provider_s() {
    let server = serve(Config::for_test());
    let mut connection = Connection::open(server.address());
    let gemini = connection.post("/v1beta/openai/chat/completions", r#"{"model":"m"}"#);
    let errors: Value = gemini.json();
    assert_eq!((gemini.status, errors.as_array().map(Vec::len)), (400, Some(1)), "{errors}");
    assert_eq!((&errors[0]["error"]["code"], &errors[0]["error"]["status"]), (&json!(400), &json!("INVALID_ARGUMENT")));
    let unknown = connection.get("/v1beta/openai/none");
    assert_eq!((unknown.status, &unknown.json()[0]["error"]["code"]), (404, &json!(404)));
    let cohere = connection.post("/compatibility/v1/chat/completions", r#"{"model":"m"}"#);
    assert_eq!((cohere.status, cohere.json()["message"].is_string()), (400, true), "{}", cohere.text());
}

#[test]
fn newer_claude_models_take_a_temperature_or_top_p() {
    let server = serve(Config::for_test());
    let mut connection = Connection::open(server.address());
    let mut ask = |model: &str, more: Value| {
        let mut body = json!({"model": model, "max_tokens": 9, "messages": [{"role": "user", "content": "Hi"}]});
        body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        connection.post("/v1/messages", &body.to_string())
    };
    let both = json!({"temperature": 0.5, "top_p": 0.9});
    for model in ["claude-sonnet-4-5", "claude-haiku-4-5-20251001", "claude-opus-4-1", "claude-opus-4-6"] {
        let refused = ask(model, both.clone());
        let error = refused.json()["error"].clone();
        let message = "`temperature` and `top_p` cannot both be specified for this model. Please use only one.";
        assert_eq!((refused.status, &error["message"]), (400, &json!(message)), "{model}");
        assert_eq!(error["type"], "invalid_request_error");
        assert_eq!(ask(model, json!({"temperature": 0.5, "top_p": null})).status, 200, "{model}");
        assert_eq!(ask(model, json!({"top_p": 0.9})).status, 200, "{model}");
    }
    for model in ["claude-sonnet-4-20250514", "claude-3-haiku-20240307", "fake"] {
        assert_eq!(ask(model, both.clone()).status, 200, "{model}");
    }
}

#[test]
fn responses_refuse_the_user_s_parts_in_the_model_s_turns() {
    let server = serve(Config::for_test());
    let mut connection = Connection::open(server.address());
    let mut refused = |items: Value| {
        let response = connection.post("/v1/responses", &json!({"model": "gpt-4o", "input": items}).to_string());
        (response.status, response.json()["error"].clone())
    };
    let turn = |part: &str| json!([{"role": "user", "content": "Hi"}, {"role": "assistant", "content": [{"type": part, "text": "Hi"}]}]);
    let (status, error) = refused(turn("input_text"));
    let expected = json!({
        "message": "Invalid value: 'input_text'. Supported values are: 'output_text' and 'refusal'.",
        "type": "invalid_request_error", "param": "input[1].content[0]", "code": "invalid_value",
    });
    assert_eq!((status, error), (400, expected));
    assert_eq!(refused(turn("output_text")).0, 200);
    let (status, error) = refused(json!([{"type": "reasoning", "id": "rs_1"}, {"role": "assistant", "content": "x"}]));
    let expected = json!({
        "message": "Missing required parameter: 'input[0].summary'.",
        "type": "invalid_request_error", "param": "input[0].summary", "code": "missing_required_parameter",
    });
    assert_eq!((status, error), (400, expected));
}
