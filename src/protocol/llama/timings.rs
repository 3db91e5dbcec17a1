//! `timings` and `usage`.

use serde_json::{Value, json};

use crate::core::{
    reply::Usage,
    server_numbers::{PROMPT_TOKEN_MS, REPLY_TOKEN_MS},
};

/// Returns the `timings` of a reply. Each token has a fixed time, so that bodies repeat. The first token of a reply counts
/// to the prompt.
pub(super) fn timings(usage: &Usage) -> Value {
    let prompt = usage.prompt_tokens.saturating_sub(usage.cached_tokens).max(1);
    let steps = usage.completion_tokens.saturating_sub(1).max(1);
    let (prompt_ms, reply_ms) = (prompt as f64 * PROMPT_TOKEN_MS, steps as f64 * REPLY_TOKEN_MS);
    json!({
        "cache_n": usage.cached_tokens,
        "prompt_n": prompt,
        "prompt_ms": prompt_ms,
        "prompt_per_token_ms": prompt_ms / prompt as f64,
        "prompt_per_second": 1000.0 / prompt_ms * prompt as f64,
        "predicted_n": usage.completion_tokens,
        "predicted_ms": reply_ms,
        "predicted_per_token_ms": reply_ms / steps as f64,
        "predicted_per_second": 1000.0 / reply_ms * steps as f64,
    })
}

/// Returns the `usage` of the forms of OpenAI's completions.
pub(super) fn usage(usage: &Usage) -> Value {
    json!({
        "completion_tokens": usage.completion_tokens,
        "prompt_tokens": usage.prompt_tokens,
        "total_tokens": usage.prompt_tokens.saturating_add(usage.completion_tokens),
        "prompt_tokens_details": {"cached_tokens": usage.cached_tokens},
    })
}
