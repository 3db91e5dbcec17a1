//! The members of requests that only vLLM has.

use serde_json::Value;

use crate::{
    core::{
        json,
        prompt::Prompt,
        random::{Alphabet, Random},
        reply::ToolKind,
    },
    model::tokens::Encoding,
};

/// The members that change how a response is rendered.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct RenderMembers {
    /// `stream_options.continuous_usage_stats`: every chunk has the usage so far.
    pub(super) continuous_usage: bool,
    /// `return_token_ids`.
    pub(super) token_ids: bool,
    /// `prompt_logprobs`: the number of alternatives to each token of the prompt.
    pub(super) prompt_logprobs: Option<u64>,
}

impl RenderMembers {
    pub(super) fn of(body: json::Object<'_>) -> Self {
        let options = body.get("stream_options").and_then(json::Value::members).unwrap_or_default();
        let is_true = |object: json::Object<'_>, name| object.get(name).and_then(json::Value::as_bool) == Some(true);
        let include_usage = is_true(options, "include_usage");
        RenderMembers {
            continuous_usage: include_usage && is_true(options, "continuous_usage_stats"),
            token_ids: is_true(body, "return_token_ids"),
            prompt_logprobs: body.get("prompt_logprobs").and_then(json::Value::as_u64).map(|top| top.min(20)),
        }
    }
}

/// Adds vLLM's members to a prompt: those that change the reply.
pub(super) fn extend(prompt: Prompt, body: json::Object<'_>) -> Prompt {
    let is_true = |name: &str| body.get(name).and_then(json::Value::as_bool) == Some(true);
    let stop_tokens = body.get("stop_token_ids").map(json::Value::items).into_iter().flatten();
    // The predecessor of tools is ignored.
    let tools = prompt.tools.into_iter().filter(|tool| tool.kind != ToolKind::Legacy).collect();
    Prompt {
        tools,
        min_tokens: body.get("min_tokens").and_then(json::Value::as_u64).unwrap_or(0),
        ignores_end: is_true("ignore_eos"),
        stop_tokens: stop_tokens.filter_map(|token| token.as_u64()?.try_into().ok()).collect(),
        keeps_stop: is_true("include_stop_str_in_output"),
        clips_reply: true,
        show_reasoning: true,
        ..prompt
    }
}

/// Draws the id of a call.
pub(super) fn call_id(random: &mut Random) -> String {
    let mut id = b"chatcmpl-tool-".to_vec();
    random.put(Alphabet::Hex, 16, &mut id);
    String::from_utf8_lossy(&id).into_owned()
}

/// Returns the numbers of a text's tokens as JSON; `null` if they are not requested.
pub(super) fn token_ids(text: &str, encoding: Option<Encoding>) -> Value {
    encoding.map_or(Value::Null, |encoding| encoding.numbers(text).into())
}
