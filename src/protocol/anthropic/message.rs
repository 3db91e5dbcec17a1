//! The parts of a message, block by block, and the content of a full message.

use base64::{Engine, prelude::BASE64_STANDARD as BASE64};
use serde_json::{Value, json};

use super::{super::object_or_empty, Counts};
use crate::core::{
    random::{Alphabet, Random},
    reply::{Block, Choice, FinishReason, Reply, Text},
};

/// Length of a signature before base64, in bytes. Recorded ones have hundreds.
const SIGNATURE_LENGTH: usize = 192;

/// A reply with ids for its calls and signatures for its thinking, so that the full and streamed forms agree.
pub(super) struct MessageParts<'a> {
    choice: Option<&'a Choice>,
    /// The content blocks in order. Empty texts have no block.
    pub(super) blocks: Vec<ContentBlock<'a>>,
    pub(super) counts: Counts,
}

/// A content block.
pub(super) enum ContentBlock<'a> {
    /// Thinking. `None`: the request omits the text.
    Thinking {
        text: Option<&'a Text>,
        signature: String,
    },
    Text(&'a Text),
    ToolUse {
        id: String,
        name: &'a str,
        input: &'a Text,
    },
}

impl<'a> MessageParts<'a> {
    /// Draws the ids and signatures of a reply. `omits_thinking` omits the text of thinking.
    pub(super) fn new(reply: &'a Reply, omits_thinking: bool, random: &mut Random) -> Self {
        // The protocol has no alternatives.
        let choice = reply.choices.first();
        let mut to_block = |block: &'a Block| match block {
            Block::Reasoning(text) => {
                let mut signature = Vec::with_capacity(SIGNATURE_LENGTH);
                random.put(Alphabet::Alphanumeric, SIGNATURE_LENGTH, &mut signature);
                Some(ContentBlock::Thinking {
                    text: (!omits_thinking).then_some(text),
                    signature: BASE64.encode(signature),
                })
            }
            Block::ToolCall(call) => {
                let mut id = b"toolu_01".to_vec();
                random.put(Alphabet::Base58, 22, &mut id);
                let id = String::from_utf8_lossy(&id).into_owned();
                Some(ContentBlock::ToolUse { id, name: &call.name, input: &call.arguments })
            }
            Block::Text(text) | Block::Refusal(text) | Block::Audio(text) if text.is_empty() => None,
            Block::Text(text) | Block::Refusal(text) | Block::Audio(text) => Some(ContentBlock::Text(text)),
        };
        let blocks = choice.iter().flat_map(|choice| &choice.blocks).filter_map(&mut to_block).collect();
        MessageParts { choice, blocks, counts: Counts::new(&reply.usage) }
    }

    /// Returns the stop reason, as JSON.
    pub(super) fn stop_reason(&self) -> &'static str {
        let Some(choice) = self.choice else { return r#""end_turn""# };
        let refuses = choice.blocks.iter().any(|block| matches!(block, Block::Refusal(_)));
        match choice.finish_reason {
            FinishReason::Length => r#""max_tokens""#,
            FinishReason::ToolCalls => r#""tool_use""#,
            FinishReason::ContentFilter => r#""refusal""#,
            FinishReason::Stop if refuses => r#""refusal""#,
            FinishReason::Stop if choice.stopped_by.is_some() => r#""stop_sequence""#,
            FinishReason::Stop => r#""end_turn""#,
        }
    }

    /// Returns the stop sequence that ended the reply; null if none did.
    pub(super) fn stop_sequence(&self) -> Value {
        let stop = self.choice.filter(|choice| choice.finish_reason == FinishReason::Stop);
        stop.and_then(|choice| choice.stopped_by.clone()).into()
    }

    /// Returns the content blocks of a full message, as JSON.
    pub(super) fn content(&self) -> Vec<u8> {
        let content: Value = self.blocks.iter().map(ContentBlock::to_json).collect();
        content.to_string().into_bytes()
    }
}

impl ContentBlock<'_> {
    fn to_json(&self) -> Value {
        match self {
            ContentBlock::Thinking { text, signature } => {
                let text = text.map(|text| text.whole()).unwrap_or_default();
                json!({"type": "thinking", "thinking": text, "signature": signature})
            }
            ContentBlock::Text(text) => json!({"type": "text", "text": text.whole()}),
            ContentBlock::ToolUse { id, name, input } => {
                json!({"type": "tool_use", "id": id, "name": name, "input": object_or_empty(&input.whole())})
            }
        }
    }
}
