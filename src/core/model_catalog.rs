//! The catalog of known models: the facts that change a response.

use serde::{Deserialize, Serialize};

use super::{error::ApiError, glob::Glob};

/// The facts about the models that match a glob.
#[derive(Clone, Debug, Default, Deserialize, Serialize, PartialEq, Eq)]
#[serde(deny_unknown_fields)]
pub struct ModelFacts {
    /// The models; `*` stands for any run of characters.
    pub model: Glob,
    /// Time of the release, in seconds since 1970. Models that have it, and no `*` in their name, are listed.
    pub created: Option<u64>,
    /// Time of the release in RFC 3339, for providers that send it so. Models that have it, and no `snapshot`, are
    /// listed by that provider.
    pub released: Option<String>,
    /// The name for people.
    pub display_name: Option<String>,
    /// The owner.
    pub owned_by: Option<String>,
    /// The dated model name in responses; `None` if it is the requested one.
    pub snapshot: Option<String>,
    /// Maximum number of tokens of prompt and reply together.
    pub context_window: Option<u64>,
    /// Maximum number of tokens of a reply.
    pub max_output_tokens: Option<u64>,
    /// Number of dimensions of its embeddings.
    pub dimensions: Option<u64>,
    /// True for reasoning models: they take `max_completion_tokens` and no temperature, and return no logprobs.
    #[serde(default)]
    pub reasoning: bool,
    /// True if the model can search the web.
    #[serde(default)]
    pub web_search: bool,
}

impl ModelFacts {
    /// Checks that the model can produce as many tokens as the parameter `param` allows.
    ///
    /// # Errors
    /// [`ApiError::MaxTokensTooLarge`] if it can't.
    pub fn check_max_tokens(&self, param: &'static str, tokens: u64) -> Result<(), ApiError> {
        match self.max_output_tokens {
            Some(bound) if tokens > bound => Err(ApiError::MaxTokensTooLarge { param, bound, got: tokens }),
            _ => Ok(()),
        }
    }
}
