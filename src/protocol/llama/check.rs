//! The rules that llama.cpp's server checks, in its words.

use serde_json::Value;

use super::Api;
use crate::core::{
    context::RequestContext,
    error::ApiError,
    json::{self, Kind},
    server_numbers::ServerNumber,
};

/// Members that must be numbers.
const NUMBERS: [&str; 14] = [
    "max_tokens",
    "max_completion_tokens",
    "n_predict",
    "n",
    "seed",
    "temperature",
    "top_p",
    "top_k",
    "min_p",
    "presence_penalty",
    "frequency_penalty",
    "repeat_penalty",
    "n_probs",
    "top_logprobs",
];

/// Types that a JSON Schema may name.
const SCHEMA_TYPES: [&str; 7] = ["object", "array", "string", "number", "integer", "boolean", "null"];

fn broken(problem: impl Into<String>) -> ApiError {
    ApiError::BrokenRule { problem: problem.into() }
}

/// See [`crate::protocol::Reader::check`].
pub(super) fn check(api: Api, body: json::Object<'_>, context: &RequestContext<'_>) -> Result<(), ApiError> {
    let required = match api {
        Api::Chat | Api::Messages => "messages",
        Api::Completion | Api::Completions => "prompt",
        Api::Responses => "input",
    };
    let value = |name: &str| body.get(name).and_then(json::Value::to_value).filter(|value| !value.is_null());
    let Some(input) = value(required) else {
        return Err(ApiError::MissingParameter { param: required.to_owned() });
    };
    if api == Api::Chat {
        messages(&input)?;
        output(&value)?;
    }
    for name in NUMBERS {
        let Some(value) = body.get(name) else { continue };
        let kind = match value.kind() {
            Kind::Integer | Kind::Decimal | Kind::Null => continue,
            Kind::String => "string",
            Kind::Boolean => "boolean",
            Kind::Array => "array",
            Kind::Object => "object",
        };
        let problem = format!("Field '{name}': [json.exception.type_error.302] type must be number, but is {kind}");
        return Err(broken(problem));
    }
    let slots = context.server_number(ServerNumber::Slots).max(1.0);
    match body.get("n").and_then(json::Value::as_u64) {
        Some(n) if n < 1 || n as f64 > slots => {
            Err(broken(format!("Field 'n': Value must be between 1 <= value <= {slots}, but got {n}")))
        }
        _ => Ok(()),
    }
}

/// Checks the messages of a chat.
fn messages(messages: &Value) -> Result<(), ApiError> {
    let Some(messages) = messages.as_array() else { return Err(broken("Expected 'messages' to be an array")) };
    for message in messages {
        if message["role"] != "assistant" && message.get("content").is_none() {
            return Err(broken("All non-assistant messages must contain 'content'"));
        }
        for part in message["content"].as_array().into_iter().flatten() {
            let param = match part["type"].as_str() {
                Some("image_url") => "image",
                Some("input_audio") => "audio",
                _ => continue,
            };
            return Err(ApiError::UnsupportedParameter { param: param.to_owned(), instead: "" });
        }
    }
    match messages.iter().find(|message| !message["role"].is_string()) {
        Some(message) => Err(ApiError::InvalidValue {
            param: "messages[].role".to_owned(),
            got: message.to_string(),
            supported: String::new(),
            either: String::new(),
        }),
        None => Ok(()),
    }
}

/// Checks the wishes for the output of a chat.
fn output(value: &dyn Fn(&str) -> Option<Value>) -> Result<(), ApiError> {
    let format = value("response_format").unwrap_or_default();
    match format["type"].as_str() {
        None | Some("text" | "json_object") => {}
        Some("json_schema") => match format["json_schema"]["schema"]["type"].as_str() {
            Some(unknown) if !SCHEMA_TYPES.contains(&unknown) => {
                return Err(broken(format!(
                    "Unable to generate parser for this template. Automatic parser generation failed: JSON schema error \
                     at #: unrecognized type {unknown}"
                )));
            }
            _ => {}
        },
        Some(unknown) => {
            return Err(broken(format!(
                "response_format type must be one of \"text\" or \"json_object\", but got: {unknown}"
            )));
        }
    }
    if let Some(Value::String(choice)) = value("tool_choice")
        && !["auto", "none", "required"].contains(&choice.as_str())
    {
        return Err(broken(format!("Invalid tool_choice: {choice}")));
    }
    match (value("top_logprobs"), value("logprobs")) {
        (Some(_), None | Some(Value::Bool(false))) => Err(broken("top_logprobs requires logprobs to be set to true")),
        _ => Ok(()),
    }
}
