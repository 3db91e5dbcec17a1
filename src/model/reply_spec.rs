//! What a script gives the model to say.

use crate::core::reply::{FinishReason, Usage};

/// What a script gives the model to say.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ReplySpec {
    /// What is said.
    pub content: ReplyContent,
    /// What is thought before it, told where the request asks for it; `None` for filler.
    pub reasoning: Option<String>,
    /// Tokens thought before it; `None` for as many as `reasoning` has, or else as the request's effort suggests.
    pub reasoning_tokens: Option<u64>,
    /// Why it ends; `None` for what follows from the rest.
    pub finish_reason: Option<FinishReason>,
    /// What it is said to cost; `None` to count.
    pub usage: Option<Usage>,
}

/// The kinds of things that a script can say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ReplyContent {
    /// This text.
    Text(String),
    /// This text, streamed in just these pieces.
    Pieces(Vec<String>),
    /// What the user said last.
    Echo,
    /// Filler.
    Lorem,
    /// A refusal.
    Refusal(String),
    /// Calls of tools: name and arguments.
    ToolCalls(Vec<(String, String)>),
}

impl Default for ReplyContent {
    fn default() -> Self {
        ReplyContent::Text(String::new())
    }
}
