//! The API that serves a model: the others refuse it, as far as its name is known.

use fake_openai::{Access, Config};
use serde_json::{Value, json};

use crate::client::{Connection, serve};

/// Sends a request that every API accepts, and returns the status and the error.
fn ask(connection: &mut Connection, path: &str, model: &str) -> (u16, Value) {
    let content = json!([{"role": "user", "content": "Hi"}]);
    let mut body = json!({"model": model});
    let (member, value) = match path {
        path if path.contains("chat/completions") => ("messages", content),
        path if path.contains("completions") => ("prompt", json!("Hi")),
        "/v1/chat" => ("message", json!("Hi")),
        "/v2/chat" => ("messages", content),
        _ => ("input", json!("Hi")),
    };
    body[member] = value;
    if path.contains("/deployments/") {
        body.as_object_mut().unwrap().remove("model");
    }
    let response = connection.post(path, &body.to_string());
    (response.status, response.json())
}

fn served() -> (fake_openai::Running, Connection) {
    let server = serve(Config::for_test());
    let connection = Connection::open(server.address());
    (server, connection)
}

const NOT_CHAT: &str = "This is not a chat model and thus not supported in the v1/chat/completions endpoint. Did you mean to use v1/completions?";
const ONLY_RESPONSES: &str = "This model is only supported in v1/responses and not in v1/chat/completions.";

#[test]
fn chat_refuses_models_of_other_apis() {
    let (_server, mut connection) = served();
    for (model, message) in [
        ("gpt-5-codex", ONLY_RESPONSES),
        ("gpt-5.1-codex-max", ONLY_RESPONSES),
        ("codex-mini-latest", ONLY_RESPONSES),
        ("gpt-5-pro", ONLY_RESPONSES),
        ("gpt-5-pro-2025-10-06", ONLY_RESPONSES),
        ("gpt-5.3-codex", NOT_CHAT),
        ("gpt-5.2-pro", NOT_CHAT),
        ("o1-pro", NOT_CHAT),
        ("o3-pro-2025-06-10", NOT_CHAT),
        ("gpt-3.5-turbo-instruct", NOT_CHAT),
        ("gpt-3.5-turbo-instruct-0914", NOT_CHAT),
        ("davinci-002", NOT_CHAT),
        ("text-embedding-3-small", NOT_CHAT),
        ("whisper-1", NOT_CHAT),
        ("gpt-realtime", NOT_CHAT),
    ] {
        let error =
            json!({"error": {"message": message, "type": "invalid_request_error", "param": "model", "code": null}});
        assert_eq!(ask(&mut connection, "/v1/chat/completions", model), (404, error), "{model}");
    }
}

#[test]
fn completions_embeddings_and_responses_refuse_models_of_other_apis() {
    let (_server, mut connection) = served();
    let chat_model = "This is a chat model and not supported in the v1/completions endpoint. Did you mean to use v1/chat/completions?";
    let no_embeddings = "You are not allowed to generate embeddings from this model";
    let unsupported = |model| format!("The requested model '{model}' is not supported with the Responses API.");
    let not_found = |model| format!("The requested model, '{model}' was not found.");
    let (model, none) = (json!("model"), Value::Null);
    for (path, name, status, message, param, code) in [
        ("/v1/completions", "gpt-4o", 404, chat_model.to_owned(), &model, &none),
        ("/v1/completions", "gpt-3.5-turbo", 404, chat_model.to_owned(), &model, &none),
        ("/v1/embeddings", "gpt-4o", 403, no_embeddings.to_owned(), &none, &none),
        ("/v1/embeddings", "gpt-5-codex", 403, no_embeddings.to_owned(), &none, &none),
        (
            "/v1/responses",
            "gpt-4o-search-preview",
            400,
            unsupported("gpt-4o-search-preview"),
            &model,
            &json!("model_not_found"),
        ),
        ("/v1/responses", "whisper-1", 400, unsupported("whisper-1"), &model, &json!("model_not_found")),
        ("/v1/responses", "davinci-002", 400, not_found("davinci-002"), &model, &json!("model_not_found")),
        ("/v1/responses", "dall-e-3", 400, not_found("dall-e-3"), &model, &json!("model_not_found")),
        (
            "/v1/responses",
            "text-embedding-3-large",
            400,
            not_found("text-embedding-3-large"),
            &model,
            &json!("model_not_found"),
        ),
    ] {
        let error =
            json!({"error": {"message": message, "type": "invalid_request_error", "param": param, "code": code}});
        assert_eq!(ask(&mut connection, path, name), (status, error), "{path} {name}");
    }
}

#[test]
fn azure_judges_a_deployment_by_its_name() {
    let (_server, mut connection) = served();
    for (path, model, operation) in [
        (
            "/openai/deployments/gpt-5.1-codex/chat/completions?api-version=2024-10-21",
            "gpt-5.1-codex",
            "chatCompletion",
        ),
        (
            "/openai/deployments/text-embedding-3-large/chat/completions?api-version=2024-10-21",
            "text-embedding-3-large",
            "chatCompletion",
        ),
        ("/openai/v1/chat/completions", "gpt-5.1-codex", "chatCompletion"),
        ("/openai/deployments/gpt-4o/completions?api-version=2024-10-21", "gpt-4o", "completion"),
        ("/openai/deployments/gpt-4o/embeddings?api-version=2024-10-21", "gpt-4o", "embeddings"),
        ("/openai/v1/embeddings", "gpt-4o", "embeddings"),
    ] {
        let message = format!(
            "The {operation} operation does not work with the specified model, {model}. Please choose different model \
             and try again. You can learn more about which models can be used with each operation here: \
             https://go.microsoft.com/fwlink/?linkid=2197993."
        );
        let error = json!({"error": {"code": "OperationNotSupported", "message": message}});
        assert_eq!(ask(&mut connection, path, model), (400, error), "{path}");
    }
    let path = "/openai/deployments/gpt-5.1-codex/chat/completions?api-version=2024-10-21";
    let body = json!({"model": "my-deployment", "messages": [{"role": "user", "content": "Hi"}]}).to_string();
    assert_eq!(connection.post(path, &body).status, 400, "the body's model does not count");
    for deployment in ["my-codex", "gpt-5-prod", "gpt-4o-eu"] {
        let path = format!("/openai/deployments/{deployment}/chat/completions?api-version=2024-10-21");
        assert_eq!(ask(&mut connection, &path, "").0, 200, "{deployment}");
    }
}

#[test]
fn cohere_v1_points_reasoning_models_to_v2() {
    let (_server, mut connection) = served();
    let (status, error) = ask(&mut connection, "/v1/chat", "command-a-reasoning-08-2025");
    let message = "invalid request: this model is not supported with '/v1/chat', please use '/v2/chat' instead";
    assert_eq!((status, &error["message"]), (400, &json!(message)));
    for (path, model) in [("/v2/chat", "command-a-reasoning-08-2025"), ("/v1/chat", "command-a-03-2025")] {
        assert_eq!(ask(&mut connection, path, model).0, 200, "{path} {model}");
    }
}

#[test]
fn invented_models_and_other_hosts_are_served_everywhere() {
    let (_server, mut connection) = served();
    for (path, model) in [
        ("/v1/chat/completions", "fake"),
        ("/v1/completions", "my-model"),
        ("/v1/embeddings", "my-model"),
        ("/v1/responses", "my-model"),
        ("/v1/chat/completions", "gpt-5-prod"),
        ("/v1/responses", "gpt-5-codex"),
        ("/v1/completions", "gpt-3.5-turbo-instruct"),
        ("/v1/embeddings", "text-embedding-3-small"),
        ("/groq/openai/v1/chat/completions", "whisper-1"),
        ("/openrouter/api/v1/chat/completions", "gpt-5-codex"),
        ("/vllm/v1/completions", "gpt-4o"),
        ("/together/v1/completions", "gpt-4o"),
    ] {
        assert_eq!(ask(&mut connection, path, model).0, 200, "{path} {model}");
    }
}

#[test]
fn a_named_model_is_judged_too_unless_the_server_is_lenient() {
    let access = Access { models: vec!["gpt-5-codex".to_owned()], ..Access::default() };
    let strict = serve(Config { access: access.clone(), ..Config::for_test() });
    let mut connection = Connection::open(strict.address());
    assert_eq!(ask(&mut connection, "/v1/chat/completions", "gpt-5-codex").0, 404);
    assert_eq!(ask(&mut connection, "/v1/responses", "gpt-5-codex").0, 200);
    let lenient = serve(Config { access, lenient: true, ..Config::for_test() });
    let mut connection = Connection::open(lenient.address());
    assert_eq!(ask(&mut connection, "/v1/chat/completions", "gpt-5-codex").0, 200);
    assert_eq!(ask(&mut connection, "/v1/chat/completions", "gpt-4o").1["error"]["code"], "model_not_found");
}

#[test]
fn a_model_of_another_api_takes_nothing_from_the_limits() {
    let server = serve(Config { limits: vec![fake_openai::LimitSpec::rpm(1)], ..Config::for_test() });
    let mut connection = Connection::open(server.address());
    assert_eq!(ask(&mut connection, "/v1/chat/completions", "gpt-5-codex").0, 404);
    assert_eq!(ask(&mut connection, "/v1/chat/completions", "gpt-4o").0, 200);
    assert_eq!(ask(&mut connection, "/v1/chat/completions", "gpt-4o").0, 429);
}
