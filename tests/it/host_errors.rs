//! The errors of OpenAI-compatible hosts: keys, models, paths, limits, overload, and within streams.

use fake_openai::{Access, Config, LimitSpec, Unit};
use serde_json::{Value, json};

use crate::client::{Connection, Response, serve};

const GROQ: &str = "/groq/openai/v1/chat/completions";
const MISTRAL: &str = "/mistral/v1/chat/completions";
const TOGETHER: &str = "/together/v1/chat/completions";
const OLLAMA: &str = "/ollama/v1/chat/completions";

fn body(model: &str, stream: bool) -> String {
    json!({"model": model, "stream": stream, "messages": [{"role": "user", "content": "Hi"}]}).to_string()
}

fn failed(path: &str, fault: &str) -> Response {
    let server = serve(Config::for_test());
    Connection::open(server.address()).post(path, &body(&format!("m~{fault}"), false))
}

/// Together's ids are masked: they are fresh for each error.
fn masked(mut error: Value) -> Value {
    if let Some(id) = error.get_mut("id") {
        let form = regex::Regex::new("^[0-9A-Za-z]{7}-[0-9A-Za-z]{6}-[0-9a-f]{16}$").unwrap();
        assert!(form.is_match(id.as_str().unwrap()), "{id}");
        *id = "ID".into();
    }
    error
}

/// Groq's texts are those of responses of 2025 and 2026, Mistral's and Together's too.
#[test]
fn keys_and_models_are_refused_as_the_host_does() {
    let access = Access { keys: vec!["right".to_owned()], models: vec!["mine".to_owned()] };
    let server = serve(Config { access, ..Config::for_test() });
    let mut connection = Connection::open(server.address());
    let groq_key =
        json!({"error": {"message": "Invalid API Key", "type": "invalid_request_error", "code": "invalid_api_key"}});
    let together_key = json!({"id": "ID", "error": {
        "message": "Invalid API key provided. You can find your API key at https://api.together.ai/settings/api-keys.",
        "type": "invalid_request_error", "param": null, "code": "invalid_api_key",
    }});
    let unauthorized = json!({"detail": "Unauthorized"});
    for (path, status, key_error, model_status, model_error) in [
        (
            GROQ,
            401,
            groq_key,
            404,
            json!({"error": {
                "message": "The model `none` does not exist or you do not have access to it.",
                "type": "invalid_request_error", "code": "model_not_found",
            }}),
        ),
        (
            MISTRAL,
            401,
            unauthorized,
            400,
            json!({
                "object": "error", "message": "Invalid model: none", "type": "invalid_model", "param": null,
                "code": "1500", "raw_status_code": 400,
            }),
        ),
        (
            TOGETHER,
            401,
            together_key,
            404,
            json!({"id": "ID", "error": {
                "message": "Unable to access model none. Please visit https://api.together.ai/models to view the list of supported models.",
                "type": "invalid_request_error", "param": null, "code": "model_not_available",
            }}),
        ),
        (
            OLLAMA,
            401,
            json!({"error": {"message": "unauthorized", "type": "api_error", "param": null, "code": null}}),
            404,
            json!({"error": {"message": "model 'none' not found", "type": "not_found_error", "param": null, "code": null}}),
        ),
    ] {
        for headers in ["", "authorization: Bearer wrong\r\n"] {
            let refused = connection.request("POST", path, headers, &body("mine", false)).unwrap();
            assert_eq!((refused.status, masked(refused.json())), (status, key_error.clone()), "{path} {headers}");
        }
        let unknown =
            connection.request("POST", path, "authorization: Bearer right\r\n", &body("none", false)).unwrap();
        assert_eq!((unknown.status, masked(unknown.json())), (model_status, model_error), "{path}");
    }
}

#[test]
fn a_failing_host_sends_its_own_errors() {
    let groq = |message: &str| json!({"error": {"message": message, "type": "internal_server_error"}});
    let over_capacity = "m is currently over capacity. Please try again and back off exponentially. Visit https://groqstatus.com to see if there is an active incident.";
    let mistral = |status: u16, message: &str, kind: &str, code: &str| {
        json!({
            "object": "error", "message": message, "type": kind, "param": null, "code": code,
            "raw_status_code": status,
        })
    };
    let ollama =
        |message: &str| json!({"error": {"message": message, "type": "api_error", "param": null, "code": null}});
    let tier = "Service tier capacity exceeded for this model.";
    for (path, fault, status, error) in [
        (GROQ, "503", 503, groq(over_capacity)),
        (GROQ, "500", 500, groq("Internal Server Error")),
        (MISTRAL, "500", 500, mistral(500, "Service unavailable.", "internal_server_error", "1000")),
        (MISTRAL, "503", 503, mistral(503, "Internal server error", "unreachable_backend", "1100")),
        (MISTRAL, "429:overloaded", 429, mistral(429, tier, "service_tier_capacity_exceeded", "3505")),
        (MISTRAL, "429", 429, mistral(429, "Rate limit exceeded", "rate_limited", "1300")),
        (OLLAMA, "503", 503, ollama("server busy, please try again.  maximum pending requests exceeded")),
        (OLLAMA, "500", 500, ollama("llama runner process has terminated: exit status 2")),
    ] {
        let failed = failed(path, fault);
        assert_eq!((failed.status, failed.json()), (status, error), "{path} {fault}");
    }
}

#[test]
fn limits_are_reported_as_the_host_does() {
    let server = serve(Config {
        limits: vec![LimitSpec::rpm(1), LimitSpec::per_minute(Unit::Tokens, 50)],
        ..Config::for_test()
    });
    let mut connection = Connection::open(server.address());
    let long = json!({"model": "m", "messages": [{"role": "user", "content": "Hi"}], "max_tokens": 1000}).to_string();
    let too_large = connection.post(GROQ, &long);
    let error = &too_large.json()["error"];
    assert_eq!(
        (too_large.status, &error["type"], &error["code"]),
        (413, &json!("tokens"), &json!("rate_limit_exceeded"))
    );
    let message = error["message"].as_str().unwrap();
    assert!(message.starts_with("Request too large for model `m` in organization `org_"), "{message}");
    assert!(
        message.contains(" service tier `on_demand` on tokens per minute (TPM): Limit 50, Requested "),
        "{message}"
    );
    let limited = failed(GROQ, "429");
    let error = &limited.json()["error"];
    assert_eq!((limited.status, error.get("param"), limited.json().get("detail")), (429, None, None));
    assert!(error["message"].as_str().unwrap().starts_with("Rate limit reached for model `m` in organization `org_"));
    assert_eq!(limited.header("retry-after"), "1");
    assert!(!limited.headers.contains_key("retry-after-ms"));
    let limited = failed(TOGETHER, "429").json();
    assert_eq!((&limited["error"]["type"], &limited["error"]["code"]), (&json!("model_rate_limit"), &Value::Null));
}

#[test]
fn groq_s_unknown_paths_have_its_text() {
    let server = serve(Config::for_test());
    let unknown = Connection::open(server.address()).get("/groq/openai/v1/none");
    let error = &unknown.json()["error"];
    assert_eq!((unknown.status, &error["code"]), (404, &json!("unknown_url")));
    let message = error["message"].as_str().unwrap();
    let expected = "Unknown request URL: GET /groq/openai/v1/none. Please check the URL for typos, or see the docs at https://console.groq.com/docs/";
    assert!(message.starts_with(expected), "{message}");
}

/// Returns the events of a stream: their names, and their data.
fn events(response: &Response) -> Vec<(Option<&str>, Value)> {
    let mut name = None;
    let mut events = Vec::new();
    for line in response.text().lines() {
        if let Some(event) = line.strip_prefix("event: ") {
            name = Some(event);
        } else if let Some(data) = line.strip_prefix("data: ") {
            events.push((name.take(), serde_json::from_str(data).unwrap_or(Value::Null)));
        }
    }
    events
}

#[test]
fn an_error_within_a_stream_has_the_host_s_form() {
    let server = serve(Config::for_test());
    let mut connection = Connection::open(server.address());
    let mut stream = |path: &str, fault: &str| connection.post(path, &body(&format!("m~{fault}"), true));
    let groq = stream(GROQ, "error@3");
    let (name, error) = events(&groq).pop().unwrap();
    assert_eq!(name, Some("error"), "Groq's error is a named event");
    let expected =
        json!({"error": {"message": "Internal Server Error", "type": "internal_server_error", "status_code": 500}});
    assert_eq!((error, events(&groq).len()), (expected, 4));
    let busy = stream(GROQ, "error@3:overloaded");
    assert_eq!(events(&busy)[3].1["error"]["status_code"], 503);

    for position in [0, 3] {
        let mistral = stream(MISTRAL, &format!("error@{position}"));
        let events = events(&mistral);
        let (name, error) = &events[position];
        assert_eq!((events.len(), *name, error.get("error")), (position + 1, None, None));
        let choices = json!([{"index": 0, "delta": {"content": ""}, "finish_reason": "error"}]);
        assert_eq!((&error["object"], &error["choices"]), (&json!("chat.completion.chunk"), &choices));
        assert!(position == 0 || error["id"] == events[0].1["id"]);
    }
    let late = stream(MISTRAL, "error@1000");
    assert!(late.text().ends_with("data: [DONE]\n\n"), "the stream is over before");

    let together = stream(TOGETHER, "error@3");
    let (name, error) = events(&together).pop().unwrap();
    assert_eq!((name, error["error"]["message"].is_string(), error.get("id")), (None, true, None));

    let ollama = stream(OLLAMA, "error@3");
    let (_, error) = events(&ollama).pop().unwrap();
    assert_eq!((&error["model"], error.get("error")), (&json!(""), None), "Ollama loses the error");
    assert_eq!(error["choices"][0]["delta"], json!({"role": "assistant", "content": ""}));
    assert!(!ollama.text().contains("[DONE]"));
}
