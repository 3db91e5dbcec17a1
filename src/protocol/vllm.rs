//! The protocols of vLLM 0.32.0, as observed: its OpenAI-compatible endpoints with its own members, key order and rules.
//!
//! A server with a parser for tools and for reasoning is faked: it returns calls, and reasoning as `reasoning`.

pub(in crate::protocol) mod chat;
pub(in crate::protocol) mod completions;
mod logprobs;
mod members;
pub(in crate::protocol) mod messages;
pub(in crate::protocol) mod render;
pub(in crate::protocol) mod responses;
mod rules;
mod stream;

use serde_json::{Map, Value, json};

use crate::core::{
    json,
    reply::{Choice, FinishReason, ReplyFacts, Sampling, Usage},
    response::Response,
};

/// The content type of a stream.
const EVENT_STREAM: &str = "text/event-stream; charset=utf-8";

/// Returns a member of an envelope.
fn member(envelope: &Map<String, Value>, name: &str) -> Result<Value, String> {
    envelope.get(name).cloned().ok_or_else(|| format!("`{name}` is missing; give it a value or a slot"))
}

/// Renders the usage of a full response. Servers report cached tokens only if they are configured to.
fn usage(usage: &Usage) -> Value {
    let cached = usage.cached_tokens;
    let details =
        (cached > 0).then(|| json!({"cached_tokens": cached, "created_cache_tokens": 0, "multimodal_tokens": null}));
    json!({
        "prompt_tokens": usage.prompt_tokens,
        "total_tokens": usage.prompt_tokens.saturating_add(usage.completion_tokens),
        "completion_tokens": usage.completion_tokens,
        "prompt_tokens_details": details,
        "completion_tokens_details": null,
    })
}

/// Returns a response of the model with the parameters that vLLM's metrics count. `limit` is the member with the token
/// limit.
fn generated(response: Response, body: json::Object<'_>, limit: &str) -> Response {
    let number = |name: &str| body.get(name).and_then(json::Value::as_u64);
    let sampling = Sampling { n: number("n").unwrap_or(1).clamp(1, 128), max_tokens: number(limit) };
    Response { reply: ReplyFacts { sampling: Some(sampling), ..response.reply }, ..response }
}

/// Returns the stop sequence, or the number of the stop token, that ended a choice, as JSON.
fn stop_reason(choice: &Choice) -> Value {
    choice.stop_token.map_or_else(|| json!(choice.stopped_by), Value::from)
}

/// Returns the finish reason of a choice; `calls` is that of a choice with tool calls.
fn finish_reason(choice: &Choice, calls: &'static str) -> &'static str {
    match choice.finish_reason {
        FinishReason::Stop => "stop",
        FinishReason::Length => "length",
        FinishReason::ToolCalls => calls,
        FinishReason::ContentFilter => "content_filter",
    }
}
