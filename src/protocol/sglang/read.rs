//! Parsing of requests. Those of OpenAI's APIs are parsed like their own, with the server's own members.

use std::borrow::Cow;

use serde_json::Value;

use super::Api;
use crate::{
    core::{
        error::ApiError,
        json,
        prompt::{Prompt, Role, Turn},
        reply::ToolKind,
    },
    model::tokens::Encoding,
    protocol::{
        ResponseOptions,
        openai::{chat, completions},
    },
};

/// Maximum number of tokens of the server's own generation if a request does not set it.
const DEFAULT_NEW_TOKENS: u64 = 128;

fn is_true(object: json::Object<'_>, name: &str) -> bool {
    object.get(name).and_then(json::Value::as_bool) == Some(true)
}

/// Returns the options of the response.
pub(super) fn options(api: Api, body: json::Object<'_>) -> ResponseOptions<'_> {
    match api {
        Api::Chat => chat::read::options(body).0,
        Api::Completions => completions::read::options(body),
        Api::Generate => ResponseOptions { stream: is_true(body, "stream"), ..ResponseOptions::default() },
    }
}

/// Returns true if each chunk reports the usage so far.
pub(super) fn wants_running_usage(body: json::Object<'_>) -> bool {
    let options = body.get("stream_options").and_then(json::Value::members).unwrap_or_default();
    is_true(options, "continuous_usage_stats")
}

/// See [`crate::protocol::Reader::check`].
pub(super) fn check(api: Api, body: json::Object<'_>) -> Result<(), ApiError> {
    let broken = |problem: &str| Err(ApiError::BrokenRule { problem: problem.to_owned() });
    match api {
        Api::Chat => check_chat(body),
        Api::Completions if body.get("prompt").is_some_and(|prompt| prompt.text() == br#""""#) => {
            broken("Prompt cannot be empty")
        }
        Api::Generate if body.get("text").is_none() && body.get("input_ids").is_none() => {
            broken("Either text, input_ids or input_embeds should be provided.")
        }
        Api::Completions | Api::Generate => Ok(()),
    }
}

fn check_chat(body: json::Object<'_>) -> Result<(), ApiError> {
    let broken = |problem: String| Err(ApiError::BrokenRule { problem });
    if body.get("messages").is_some_and(|messages| messages.items().is_empty()) {
        return broken("Messages cannot be empty.".to_owned());
    }
    let tools = body.get("tools").map(json::Value::items).unwrap_or_default();
    let Some(choice) = body.get("tool_choice") else { return Ok(()) };
    if choice.as_str().as_deref() == Some("required") && tools.is_empty() {
        return broken("Tools cannot be empty if tool choice is set to required.".to_owned());
    }
    let Some(named) = function_name(choice) else { return Ok(()) };
    if tools.is_empty() {
        return broken("Tools cannot be empty if tool choice is set to a specific tool.".to_owned());
    }
    match tools.iter().any(|tool| function_name(*tool).as_ref() == Some(&named)) {
        true => Ok(()),
        false => broken(format!("Tool '{named}' not found in tools list.")),
    }
}

/// Returns the name of the function of a tool, or of a tool choice.
fn function_name(value: json::Value<'_>) -> Option<Cow<'_, str>> {
    value.members()?.get("function")?.members()?.get("name")?.as_str()
}

/// See [`crate::protocol::Reader::prompt`].
pub(super) fn prompt(api: Api, body: json::Object<'_>, model: String) -> Prompt {
    let (prompt, members) = match api {
        Api::Chat => (chat::read::prompt(body, model), body),
        Api::Completions => (completions::read::prompt(body, model), body),
        Api::Generate => {
            let sampling = body.get("sampling_params").and_then(json::Value::members).unwrap_or_default();
            (generate(body, sampling, model), sampling)
        }
    };
    let number = |name: &str| members.get(name).and_then(json::Value::as_u64);
    let stop_tokens = members.get("stop_token_ids").map(json::Value::items).unwrap_or_default();
    Prompt {
        tools: prompt.tools.into_iter().filter(|tool| tool.kind != ToolKind::Legacy).collect(),
        min_tokens: number("min_tokens").or(number("min_new_tokens")).unwrap_or(0),
        ignores_end: is_true(members, "ignore_eos"),
        stop_tokens: stop_tokens.iter().filter_map(|token| token.as_u64()?.try_into().ok()).collect(),
        keeps_stop: is_true(members, "no_stop_trim"),
        show_reasoning: api == Api::Chat,
        ..prompt
    }
}

/// Returns the prompt of the server's own generation: one or several texts, or the numbers of their tokens.
fn generate(body: json::Object<'_>, sampling: json::Object<'_>, model: String) -> Prompt {
    let encoding = Encoding::of_model(&model);
    let numbers = |value: &Value| -> Option<Vec<u32>> {
        value.as_array()?.iter().map(|number| number.as_u64()?.try_into().ok()).collect()
    };
    let text = |value: &Value| match value {
        Value::String(text) => Some(text.clone()),
        value => Some(encoding.text(&numbers(value)?)),
    };
    let given = body.get("text").or_else(|| body.get("input_ids")).and_then(json::Value::to_value);
    let texts: Vec<String> = match given {
        Some(Value::Array(items)) if items.iter().all(Value::is_number) => {
            text(&Value::Array(items)).into_iter().collect()
        }
        Some(Value::Array(items)) => items.iter().filter_map(text).collect(),
        Some(one) => text(&one).into_iter().collect(),
        None => Vec::new(),
    };
    let number = |name: &str| sampling.get(name).and_then(json::Value::as_u64);
    let n = number("n").map_or(1, |n| n.clamp(1, 128) as usize);
    let stop = match sampling.get("stop").and_then(json::Value::to_value) {
        Some(Value::String(stop)) => vec![stop],
        Some(Value::Array(stops)) => stops.iter().filter_map(|stop| stop.as_str().map(str::to_owned)).collect(),
        _ => Vec::new(),
    };
    let turn = |text| Turn { role: Role::Text, text, ..Turn::default() };
    Prompt {
        model,
        turns: texts.into_iter().take(completions::read::MAX_CHOICES / n).map(turn).collect(),
        max_tokens: Some(number("max_new_tokens").unwrap_or(DEFAULT_NEW_TOKENS)),
        n,
        stop,
        seed: number("sampling_seed"),
        ..Prompt::default()
    }
}
