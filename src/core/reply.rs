//! What the fake model says, before any protocol spells it.

use super::limit_status::Cost;

/// One answer of the fake model: a choice or several, and what they cost together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reply {
    /// The alternatives, one unless more were asked for.
    pub choices: Vec<Choice>,
    /// What it is said to have cost.
    pub usage: Usage,
}

/// One alternative.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Choice {
    /// What is said, in order.
    pub blocks: Vec<Block>,
    /// Why it ended.
    pub finish_reason: FinishReason,
    /// The text that was not to be said and so ended it, where one did.
    pub stopped_by: Option<String>,
}

/// One thing that the model says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Block {
    /// What is thought before anything is said, where the request wants to see it.
    Reasoning(Text),
    /// Text.
    Text(Text),
    /// A refusal to say what was asked for.
    Refusal(Text),
    /// A call of one of the caller's tools.
    ToolCall(ToolCall),
    /// Speech, and what it says.
    Audio(Text),
}

impl Block {
    /// The text of it; a call's is its arguments.
    pub fn text_mut(&mut self) -> &mut Text {
        match self {
            Block::Reasoning(text) | Block::Text(text) | Block::Refusal(text) | Block::Audio(text) => text,
            Block::ToolCall(call) => &mut call.arguments,
        }
    }

    /// The call that it is.
    pub fn call(&self) -> Option<&ToolCall> {
        match self {
            Block::ToolCall(call) => Some(call),
            _ => None,
        }
    }

    /// The text of it; a call's is its arguments.
    pub fn text(&self) -> &Text {
        match self {
            Block::Reasoning(text) | Block::Text(text) | Block::Refusal(text) | Block::Audio(text) => text,
            Block::ToolCall(call) => &call.arguments,
        }
    }
}

/// Text, and where it is cut when it is streamed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Text {
    /// The whole of it.
    pub text: String,
    /// Where each piece ends, in bytes; the last at the end of the text.
    pub ends: Vec<usize>,
    /// How many tokens it is counted as.
    pub tokens: u64,
    /// Passages that quote the web.
    pub citations: Vec<Citation>,
}

/// A passage that quotes a page.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Citation {
    /// Where the passage begins, in characters.
    pub start: usize,
    /// Where it ends, in characters.
    pub end: usize,
    /// The page's address.
    pub url: String,
    /// The page's title.
    pub title: String,
}

impl Text {
    /// The pieces, which join to the text.
    pub fn pieces(&self) -> impl Iterator<Item = &str> {
        let mut from = 0;
        self.ends.iter().map(move |end| {
            let piece = &self.text[from..*end];
            from = *end;
            piece
        })
    }
}

/// A call of a tool.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ToolCall {
    /// What kind of tool is called.
    pub kind: ToolKind,
    /// The tool's name.
    pub name: String,
    /// The arguments, as JSON text; for a custom tool any text.
    pub arguments: Text,
}

/// The kinds of tools there are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ToolKind {
    /// A function, called with a JSON object.
    #[default]
    Function,
    /// A custom tool, called with text.
    Custom,
    /// A function of the time before there were tools: an answer calls one at the most.
    Legacy,
}

/// Why the model stopped.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FinishReason {
    /// It had said all.
    #[default]
    Stop,
    /// It reached the most tokens that it was allowed.
    Length,
    /// It calls tools and waits for what they return.
    ToolCalls,
    /// A filter stopped it.
    ContentFilter,
}

/// What the model says in place of what it would say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReplyOverride {
    /// That it will not.
    Refusal,
    /// What it would, until a filter stops it.
    Filter,
}

impl Usage {
    /// What it takes of limits.
    pub fn cost(&self) -> Cost {
        Cost { input: self.prompt_tokens, output: self.completion_tokens }
    }
}

impl std::ops::AddAssign for Usage {
    fn add_assign(&mut self, other: Usage) {
        self.prompt_tokens += other.prompt_tokens;
        self.completion_tokens += other.completion_tokens;
        self.cached_tokens += other.cached_tokens;
        self.prompt_audio_tokens += other.prompt_audio_tokens;
        self.reasoning_tokens += other.reasoning_tokens;
        self.audio_tokens += other.audio_tokens;
        self.accepted_prediction_tokens += other.accepted_prediction_tokens;
        self.rejected_prediction_tokens += other.rejected_prediction_tokens;
    }
}

/// Tokens counted for one request.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Usage {
    /// Tokens of the prompt, all in all.
    pub prompt_tokens: u64,
    /// Tokens of the reply, all in all: those of its choices and those of its reasoning.
    pub completion_tokens: u64,
    /// Tokens of the prompt that came from a cache.
    pub cached_tokens: u64,
    /// Tokens of the prompt that were audio.
    pub prompt_audio_tokens: u64,
    /// Tokens of the reply that were thought and not said.
    pub reasoning_tokens: u64,
    /// Tokens of the reply that were audio.
    pub audio_tokens: u64,
    /// Predicted tokens that were said.
    pub accepted_prediction_tokens: u64,
    /// Predicted tokens that were not.
    pub rejected_prediction_tokens: u64,
}
