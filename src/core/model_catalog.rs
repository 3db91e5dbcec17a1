//! What is known of models: the facts that change an answer.

use serde::{Deserialize, Serialize};

use super::{error::ApiError, glob::Glob};

/// The facts of the models that a glob describes.
#[derive(Clone, Debug, Default, Deserialize, Serialize, PartialEq, Eq)]
#[serde(deny_unknown_fields)]
pub struct ModelFacts {
    /// The models; `*` stands for any run of characters.
    pub model: Glob,
    /// When it came out, in seconds since 1970. Models that have this, and no `*` in their name, are listed.
    pub created: Option<u64>,
    /// The same in RFC 3339, where its provider tells it so. Models that have this and no other name to answer under are
    /// listed by that provider.
    pub released: Option<String>,
    /// The name that people call it by.
    pub display_name: Option<String>,
    /// Whose it is.
    pub owned_by: Option<String>,
    /// The dated name under which it answers; `None` if that is its own.
    pub snapshot: Option<String>,
    /// Tokens that prompt and reply may have together.
    pub context_window: Option<u64>,
    /// Tokens that a reply may have.
    pub max_output_tokens: Option<u64>,
    /// How many numbers its vectors have.
    pub dimensions: Option<u64>,
    /// Whether it thinks first: such models take `max_completion_tokens` and no temperature, and give no logprobs.
    #[serde(default)]
    pub reasoning: bool,
    /// Whether it searches the web.
    #[serde(default)]
    pub web_search: bool,
}

impl ModelFacts {
    /// Whether it can say as many tokens as the parameter `param` asks for.
    ///
    /// # Errors
    /// It can't: with the numbers.
    pub fn check_max_tokens(&self, param: &'static str, tokens: u64) -> Result<(), ApiError> {
        match self.max_output_tokens {
            Some(bound) if tokens > bound => Err(ApiError::MaxTokensTooLarge { param, bound, got: tokens }),
            _ => Ok(()),
        }
    }
}
