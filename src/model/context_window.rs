//! The context window: the most tokens that a prompt and its reply may have together.

use super::{Counting, ModelBehavior, ReplySpec, count, tokenizer, tokens::Tokenizer};
use crate::core::{error::ApiError, model_catalog::ModelFacts, prompt::Prompt};

/// Checks that the prompt and its longest allowed reply fit into the context window. Returns the tokens that the window
/// leaves for the reply, if it only shortens replies: see [`Prompt::clips_reply`].
///
/// # Errors
/// The kind of [`ApiError`] that names the part that does not fit.
pub fn check_context_window(
    prompt: &Prompt,
    behavior: &ModelBehavior,
    facts: Option<&ModelFacts>,
) -> Result<Option<u64>, ApiError> {
    let Some(window) = behavior.context.tokens(facts) else { return Ok(None) };
    let mut least = None;
    for prompt in prompt.split_texts().iter() {
        let room = check_prompt(prompt, tokenizer(&prompt.model, behavior), window)?;
        least = room.min(least.or(room));
    }
    Ok(least)
}

/// Returns the tokens that the window leaves for a reply whose script reports the tokens of the prompt. `room` is what it
/// leaves by the fake's own count.
pub fn room_beside(spec: &ReplySpec, room: u64, behavior: &ModelBehavior, facts: Option<&ModelFacts>) -> u64 {
    let reported = spec.usage.filter(|_| behavior.usage == Counting::Canned).map(|usage| usage.prompt_tokens);
    let left = behavior.context.tokens(facts).zip(reported).and_then(|(window, prompt)| window.checked_sub(prompt));
    // A script may report more than the window holds.
    left.filter(|left| *left > 0).map_or(room, |left| left.min(room))
}

fn check_prompt(prompt: &Prompt, tokenizer: Tokenizer, window: u64) -> Result<Option<u64>, ApiError> {
    let cost = count::prompt_cost(prompt, tokenizer);
    let (messages, functions) = (cost.messages, cost.functions);
    let (requested, completion) = (messages + functions, prompt.max_tokens.unwrap_or(0));
    if prompt.clips_reply {
        return match window.checked_sub(requested) {
            // A full window leaves one token all the same: the reply ends after it.
            Some(room) => Ok(Some(room.max(1))),
            // The rest of the prompt is not counted.
            None => Err(ApiError::ContextLengthExceeded { window, requested: window.saturating_add(1) }),
        };
    }
    // `max_tokens` may be any u64.
    if requested.saturating_add(completion) <= window {
        return Ok(None);
    }
    Err(match (completion, functions) {
        (1.., _) => {
            let requested = requested.saturating_add(completion);
            ApiError::CompletionExceedsContext { window, requested, prompt: messages + functions, completion }
        }
        (_, 1..) => ApiError::FunctionsExceedContext { window, requested, messages, functions },
        _ => ApiError::ContextLengthExceeded { window, requested },
    })
}
