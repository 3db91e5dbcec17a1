//! The reply of the fake model, before a protocol renders it.

mod filler;
mod text;

use std::{fmt, sync::Arc};

pub use self::text::{Citation, Piece, PieceCursor, Text};
use super::{limit_status::Cost, random::Random};

/// One reply of the fake model: one or more choices, and their usage.
#[derive(Clone, Debug)]
pub struct Reply {
    /// The choices; one, unless the request asks for more.
    pub choices: Vec<Choice>,
    /// The reported usage of all choices.
    pub usage: Usage,
}

/// One alternative of a reply.
#[derive(Clone, Debug)]
pub struct Choice {
    /// The content, in order.
    pub blocks: Vec<Block>,
    /// The reason for which the choice ended.
    pub finish_reason: FinishReason,
    /// The stop sequence that ended the choice, if one did.
    pub stopped_by: Option<String>,
    /// The number of the stop token that ended the choice, if one did.
    pub stop_token: Option<u32>,
}

/// One block of a choice's content.
#[derive(Clone, Debug)]
pub enum Block {
    /// The reasoning before the output, if the request asks for it.
    Reasoning(Text),
    /// Text.
    Text(Text),
    /// A refusal.
    Refusal(Text),
    /// A call of one of the client's tools.
    ToolCall(ToolCall),
    /// Audio, as its transcript.
    Audio(Text),
}

impl Block {
    /// Returns the text of the block; for a tool call, its arguments.
    pub fn text_mut(&mut self) -> &mut Text {
        match self {
            Block::Reasoning(text) | Block::Text(text) | Block::Refusal(text) | Block::Audio(text) => text,
            Block::ToolCall(call) => &mut call.arguments,
        }
    }

    /// Returns the tool call, if the block is one.
    pub fn call(&self) -> Option<&ToolCall> {
        match self {
            Block::ToolCall(call) => Some(call),
            _ => None,
        }
    }

    /// Returns the text of the block; for a tool call, its arguments.
    pub fn text(&self) -> &Text {
        match self {
            Block::Reasoning(text) | Block::Text(text) | Block::Refusal(text) | Block::Audio(text) => text,
            Block::ToolCall(call) => &call.arguments,
        }
    }

    /// Returns the text of a block that is no call and no reasoning.
    pub fn content(&self) -> Option<&Text> {
        match self {
            Block::Text(text) | Block::Refusal(text) | Block::Audio(text) => Some(text),
            Block::Reasoning(_) | Block::ToolCall(_) => None,
        }
    }
}

/// A call of a tool.
#[derive(Clone, Debug)]
pub struct ToolCall {
    /// The kind of the tool.
    pub kind: ToolKind,
    /// The tool's name.
    pub name: String,
    /// The arguments: JSON; for a custom tool, any text.
    pub arguments: Text,
}

/// The kind of a tool.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ToolKind {
    /// A function, called with a JSON object.
    #[default]
    Function,
    /// A custom tool, called with text.
    Custom,
    /// A function of the deprecated `functions` parameter, which preceded tools: a reply calls at most one.
    Legacy,
}

/// The reason for which the model stopped.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FinishReason {
    /// The reply is complete.
    #[default]
    Stop,
    /// The reply reached the token limit of the request.
    Length,
    /// The model calls tools and waits for their results.
    ToolCalls,
    /// A content filter stopped the reply.
    ContentFilter,
}

impl FinishReason {
    /// Returns the name in records, which is OpenAI's.
    pub fn name(self) -> &'static str {
        match self {
            FinishReason::Stop => "stop",
            FinishReason::Length => "length",
            FinishReason::ToolCalls => "tool_calls",
            FinishReason::ContentFilter => "content_filter",
        }
    }
}

/// A reply that replaces the one the model would give.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReplyOverride {
    /// A refusal.
    Refusal,
    /// The same reply, ended by a content filter.
    Filter,
}

/// Changes of a reply.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ReplyChanges {
    /// Number of reasoning tokens before the reply.
    pub reasoning: Option<u64>,
    /// Number of completion tokens that the usage reports.
    pub completion_tokens: Option<u64>,
    /// Least and largest number of tokens of a stream's event.
    pub tokens_per_event: Option<(u32, u32)>,
}

impl ReplyChanges {
    /// Changes a reply. The reasoning is filler.
    pub fn apply(self, reply: &mut Reply, random: &mut Random) {
        if let Some(tokens) = self.reasoning {
            for choice in &mut reply.choices {
                choice.blocks.retain(|block| !matches!(block, Block::Reasoning(_)));
                choice.blocks.insert(0, Block::Reasoning(Text::filler(tokens, random.fork())));
            }
            let (before, all) = (reply.usage.reasoning_tokens, tokens.saturating_mul(reply.choices.len() as u64));
            let completion = reply.usage.completion_tokens.saturating_sub(before).saturating_add(all);
            (reply.usage.reasoning_tokens, reply.usage.completion_tokens) = (all, completion);
        }
        if let Some((least, most)) = self.tokens_per_event {
            let blocks = reply.choices.iter_mut().flat_map(|choice| &mut choice.blocks);
            blocks.for_each(|block| block.text_mut().join_pieces(least, most, random));
        }
        if let Some(tokens) = self.completion_tokens {
            reply.usage.completion_tokens = tokens;
        }
    }
}

/// The identity of a scripted reply.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ReplyId {
    /// Its file; for a reply put at run time, its id.
    pub source: Arc<str>,
    /// Its number in the file, from 0; `None` for a reply put at run time.
    pub number: Option<usize>,
}

impl fmt::Display for ReplyId {
    /// Renders the identity for records: `replies.json#3`, or `reply-1`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.source)?;
        self.number.map_or(Ok(()), |number| write!(f, "#{number}"))
    }
}

/// The facts about a reply that are recorded with its request.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ReplyFacts {
    /// The scripted reply.
    pub source: Option<ReplyId>,
    /// The reason for which the reply, or its first choice, ended.
    pub finish_reason: Option<FinishReason>,
    /// Number of prompt tokens read from a cache.
    pub cached: u64,
    /// Number of reasoning tokens in the reply.
    pub reasoning: u64,
    /// The parameters that the metrics of an inference engine count, if the protocol is one's own.
    pub sampling: Option<Sampling>,
}

/// The parameters of a request that the metrics of an inference engine count.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sampling {
    /// Number of choices.
    pub n: u64,
    /// The token limit, if there is one.
    pub max_tokens: Option<u64>,
}

impl Reply {
    /// Returns the facts to record about the reply. It has no source.
    pub fn facts(&self) -> ReplyFacts {
        ReplyFacts {
            source: None,
            finish_reason: self.choices.first().map(|choice| choice.finish_reason),
            cached: self.usage.cached_tokens,
            reasoning: self.usage.reasoning_tokens,
            sampling: None,
        }
    }
}

impl Usage {
    /// Returns the cost for limits.
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

/// The token usage of one request.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Usage {
    /// Number of prompt tokens in total.
    pub prompt_tokens: u64,
    /// Number of reply tokens in total, reasoning included.
    pub completion_tokens: u64,
    /// Number of prompt tokens read from a cache.
    pub cached_tokens: u64,
    /// Number of audio tokens in the prompt.
    pub prompt_audio_tokens: u64,
    /// Number of reasoning tokens.
    pub reasoning_tokens: u64,
    /// Number of audio tokens in the reply.
    pub audio_tokens: u64,
    /// Number of predicted tokens that the reply contains.
    pub accepted_prediction_tokens: u64,
    /// Number of predicted tokens that the reply does not contain.
    pub rejected_prediction_tokens: u64,
}
