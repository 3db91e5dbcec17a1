//! Numbers about the server, for templates and protocols of engines that report their own state.

/// A number about the server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ServerNumber {
    /// Number of responses that are generated at once.
    Slots,
    /// Number of responses that are generated now.
    Busy,
    /// Number of requests that wait for a slot.
    Waiting,
    /// Number of requests that are generated or wait.
    Requests,
    /// Tokens of the context window.
    Window,
    /// Prompt tokens that were processed, without those of a cache.
    PromptTokens,
    /// Prompt tokens of a cache.
    CachedTokens,
    /// Reply tokens.
    ReplyTokens,
    /// Time for the prompts, in seconds, at [`PROMPT_TOKEN_MS`] a token.
    PromptSeconds,
    /// Time for the replies, in seconds, at [`REPLY_TOKEN_MS`] a token.
    ReplySeconds,
    /// Prompt tokens a second.
    PromptRate,
    /// Reply tokens a second.
    ReplyRate,
}

/// Reported time of a prompt token. It is fixed, so that bodies repeat.
pub const PROMPT_TOKEN_MS: f64 = 1.0;
/// Reported time of a reply token.
pub const REPLY_TOKEN_MS: f64 = 20.0;

impl ServerNumber {
    /// All numbers by their names in `{{server.…}}`.
    pub const NAMES: [(&'static str, ServerNumber); 12] = [
        ("slots", ServerNumber::Slots),
        ("busy", ServerNumber::Busy),
        ("waiting", ServerNumber::Waiting),
        ("requests", ServerNumber::Requests),
        ("window", ServerNumber::Window),
        ("prompt_tokens", ServerNumber::PromptTokens),
        ("cached_tokens", ServerNumber::CachedTokens),
        ("reply_tokens", ServerNumber::ReplyTokens),
        ("prompt_seconds", ServerNumber::PromptSeconds),
        ("reply_seconds", ServerNumber::ReplySeconds),
        ("prompt_rate", ServerNumber::PromptRate),
        ("reply_rate", ServerNumber::ReplyRate),
    ];

    /// Returns the number of this name.
    pub fn named(name: &str) -> Option<Self> {
        Self::NAMES.into_iter().find(|(known, _)| *known == name).map(|(_, number)| number)
    }

    /// Returns the name.
    pub fn name(self) -> &'static str {
        Self::NAMES.into_iter().find(|(_, number)| *number == self).map_or("", |(name, _)| name)
    }
}

/// A source of the numbers.
pub trait ServerNumbers {
    /// Returns a number.
    fn number(&self, number: ServerNumber) -> f64;
}
