//! The catalog of known models: the facts that change a response.

use serde::{Deserialize, Serialize};

use super::{error::ApiError, glob::Glob};

/// The context window of unknown models in lists, in tokens.
pub const UNKNOWN_WINDOW: u64 = 131_072;

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

impl ContextWindow {
    /// Returns the window of a model, in tokens; `None` if it is unlimited.
    pub fn tokens(self, facts: Option<&ModelFacts>) -> Option<u64> {
        match self {
            ContextWindow::Unbounded => None,
            ContextWindow::OfModel => facts.and_then(|facts| facts.context_window),
            ContextWindow::Tokens(window) => Some(window),
        }
    }
}

/// The models that a server has, and the settings that its responses report.
#[derive(Clone, Debug)]
pub struct ServedModels {
    /// The names. Empty: the server accepts every name.
    pub names: Vec<String>,
    /// The context window of all models.
    pub context_window: ContextWindow,
    /// A hash of the settings.
    pub fingerprint: u32,
}

/// The models of a server that accepts every name.
pub static ANY_MODEL: ServedModels =
    ServedModels { names: Vec::new(), context_window: ContextWindow::Unbounded, fingerprint: 0 };

impl ServedModels {
    /// Returns the models of a server; `settings` is a text of the settings that its fingerprint depends on.
    pub fn new(names: Vec<String>, context_window: ContextWindow, settings: &str) -> Self {
        // FNV-1a, so that the same settings have the same fingerprint in every version of the program.
        let step = |hash: u32, byte: u8| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193);
        let fingerprint = settings.bytes().fold(0x811c_9dc5, step);
        ServedModels { names, context_window, fingerprint }
    }

    /// Returns the first model; a server that accepts every name has one all the same.
    pub fn first(&self) -> &str {
        self.names.first().map_or("fake", String::as_str)
    }

    /// Returns the names of all models, as error texts list them.
    pub fn aliases(&self) -> String {
        if self.names.is_empty() { self.first().to_owned() } else { self.names.join(", ") }
    }
}

/// Declares the APIs: a variant and its name in fixtures.
macro_rules! apis {
    ($($(#[$doc:meta])* $api:ident = $name:literal)*) => {
        /// An API that models are served by. An endpoint's fixture names its own, and a model's entry those that serve it.
        #[derive(Clone, Copy, Debug, Deserialize, Serialize, PartialEq, Eq)]
        #[allow(missing_docs)]
        pub enum Api {
            $($(#[$doc])* #[serde(rename = $name)] $api,)*
        }

        impl Api {
            /// Returns its name in fixtures.
            pub fn name(self) -> &'static str {
                match self {
                    $(Api::$api => $name,)*
                }
            }
        }
    };
}

apis! {
    Chat = "chat"
    /// A chat API that a newer one has replaced.
    ChatV1 = "chat-v1"
    Completions = "completions"
    Embeddings = "embeddings"
    Images = "images"
    Moderations = "moderations"
    Realtime = "realtime"
    Responses = "responses"
    Speech = "speech"
    Transcriptions = "transcriptions"
}

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
    /// True if the model takes a temperature or `top_p`, and not both.
    #[serde(default)]
    pub one_sampler: bool,
    /// The APIs that serve it; if empty, all do.
    #[serde(default)]
    pub apis: Vec<Api>,
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

    /// Returns the first of the APIs that serve the model, if `api` is none of them.
    pub fn other_api(&self, api: Api) -> Option<Api> {
        if self.apis.contains(&api) { None } else { self.apis.first().copied() }
    }
}
