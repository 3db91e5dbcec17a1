//! The context window: the most tokens that a prompt and its reply may have together.

use super::{ModelBehavior, count, tokenizer, tokens::Tokenizer};
use crate::core::{error::ApiError, model_catalog::ModelFacts, prompt::Prompt};

/// The context window of models.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ContextWindow {
    /// Unlimited.
    #[default]
    Unbounded,
    /// The window of the real model; unlimited if it is unknown.
    OfModel,
    /// This number of tokens for every model.
    Tokens(u64),
}

/// Checks that the prompt and its longest allowed reply fit into the context window.
///
/// # Errors
/// The kind of [`ApiError`] that names the part that does not fit.
pub fn check_context_window(
    prompt: &Prompt,
    behavior: &ModelBehavior,
    facts: Option<&ModelFacts>,
) -> Result<(), ApiError> {
    let window = match behavior.context {
        ContextWindow::Unbounded => None,
        ContextWindow::OfModel => facts.and_then(|facts| facts.context_window),
        ContextWindow::Tokens(window) => Some(window),
    };
    let Some(window) = window else { return Ok(()) };
    prompt.split_texts().iter().try_for_each(|prompt| check_prompt(prompt, tokenizer(&prompt.model, behavior), window))
}

fn check_prompt(prompt: &Prompt, tokenizer: Tokenizer, window: u64) -> Result<(), ApiError> {
    let cost = count::prompt_cost(prompt, tokenizer);
    let (messages, functions) = (cost.messages, cost.functions);
    let (requested, completion) = (messages + functions, prompt.max_tokens.unwrap_or(0));
    // `max_tokens` may be any u64.
    if requested.saturating_add(completion) <= window {
        return Ok(());
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
