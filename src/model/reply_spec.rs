//! The specification of a reply, as a script gives it.

use crate::core::reply::{FinishReason, Usage};

/// The specification of a reply.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ReplySpec {
    /// The content.
    pub content: ReplyContent,
    /// The reasoning, returned if the request asks for it; `None` for filler.
    pub reasoning: Option<String>,
    /// Number of reasoning tokens; `None` for those of `reasoning`, or else a number for the request's effort.
    pub reasoning_tokens: Option<u64>,
    /// The finish reason; `None` to derive it from the content.
    pub finish_reason: Option<FinishReason>,
    /// The reported usage; `None` to count tokens.
    pub usage: Option<Usage>,
}

/// The content of a specified reply.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ReplyContent {
    /// This text.
    Text(String),
    /// This text, streamed in exactly these pieces.
    Pieces(Vec<String>),
    /// The text of the last user message.
    Echo,
    /// Filler text.
    Lorem,
    /// A refusal.
    Refusal(String),
    /// Tool calls: name and arguments.
    ToolCalls(Vec<(String, String)>),
}

impl Default for ReplyContent {
    fn default() -> Self {
        ReplyContent::Text(String::new())
    }
}
