//! Parsing of requests. Those of OpenAI's and Anthropic's APIs are parsed like their own.

use serde_json::Value;

use super::Api;
use crate::{
    core::{
        context::RequestContext,
        json,
        prompt::{Prompt, Role, Turn},
    },
    protocol::{
        ResponseOptions, anthropic,
        openai::{chat, responses},
    },
};

/// Returns the options of the response.
pub(super) fn options(api: Api, body: json::Object<'_>) -> ResponseOptions<'_> {
    let (options, _) = chat::read::options(body);
    match api {
        Api::Chat => options,
        _ => ResponseOptions { stream: options.stream, ..ResponseOptions::default() },
    }
}

/// See [`crate::protocol::Reader::prompt`].
pub(super) fn prompt(api: Api, body: json::Object<'_>, context: &RequestContext<'_>) -> Prompt {
    let model = || context.model().into_owned();
    let prompt = match api {
        Api::Chat => chat::read::prompt(body, model()),
        Api::Messages => anthropic::read::prompt(body, model()),
        Api::Responses => responses::read::prompt(body, context, &[]),
        Api::Completion | Api::Completions => completion(body, model()),
    };
    let max_tokens = match api {
        Api::Responses => prompt.max_tokens,
        _ => max_tokens(body),
    };
    // The server has no limits of its own: one token comes at least.
    let max_tokens = max_tokens.map(|max| max.max(1));
    let ignores_end = body.get("ignore_eos").and_then(json::Value::as_bool) == Some(true);
    Prompt { max_tokens, show_reasoning: true, clips_reply: true, ignores_end, ..prompt }
}

/// Returns the most tokens of a reply; `None` if the request does not limit it, or by a negative number.
pub(super) fn max_tokens(body: json::Object<'_>) -> Option<u64> {
    ["max_completion_tokens", "n_predict", "max_tokens"].iter().find_map(|name| body.get(name)?.as_u64())
}

fn completion(body: json::Object<'_>, model: String) -> Prompt {
    let turn = Turn { role: Role::Text, text: text(body), ..Turn::default() };
    let stop = match body.get("stop").and_then(json::Value::to_value) {
        Some(Value::String(stop)) => vec![stop],
        Some(Value::Array(stops)) => stops.iter().filter_map(|stop| stop.as_str().map(str::to_owned)).collect(),
        _ => Vec::new(),
    };
    let seed = body.get("seed").and_then(json::Value::as_u64);
    Prompt { model, turns: vec![turn], stop, seed, n: 1, ..Prompt::default() }
}

/// Returns the prompt of a completion. A prompt of several texts or token numbers counts as one.
pub(super) fn text(body: json::Object<'_>) -> String {
    let part = |part: &Value| part.as_str().map_or_else(|| part.to_string(), str::to_owned);
    match body.get("prompt").and_then(json::Value::to_value) {
        Some(Value::Array(parts)) => parts.iter().map(part).collect::<Vec<_>>().join(" "),
        Some(text) => part(&text),
        None => String::new(),
    }
}
