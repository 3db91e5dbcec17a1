//! What a reply says, block by block, and the content of a whole message.

use base64::{Engine, prelude::BASE64_STANDARD as BASE64};
use serde_json::{Value, json};

use super::{super::object_or_empty, Numbers};
use crate::core::{
    random::{Alphabet, Random},
    reply::{Block, Choice, FinishReason, Reply, Text},
};

/// How many bytes a signature is of, before base64; recorded ones are of hundreds.
const SIGNATURE: usize = 192;

/// A reply whose calls have their ids and whose thoughts their signatures, and so is the same whole and streamed.
pub(super) struct Said<'a> {
    choice: Option<&'a Choice>,
    /// What is said, in order. A text of no length is no block.
    pub(super) blocks: Vec<Spoken<'a>>,
    pub(super) numbers: Numbers,
}

/// One block of content.
pub(super) enum Spoken<'a> {
    /// Thoughts; without their text where the request asks to leave it out.
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

impl<'a> Said<'a> {
    /// `omits` leaves the text of thoughts out.
    pub(super) fn new(reply: &'a Reply, omits: bool, random: &mut Random) -> Self {
        // The protocol knows no alternatives.
        let choice = reply.choices.first();
        let mut spoken = |block: &'a Block| match block {
            Block::Reasoning(text) => {
                let mut seal = Vec::with_capacity(SIGNATURE);
                random.put(Alphabet::Alphanumeric, SIGNATURE, &mut seal);
                Some(Spoken::Thinking { text: (!omits).then_some(text), signature: BASE64.encode(seal) })
            }
            Block::ToolCall(call) => {
                let mut id = b"toolu_01".to_vec();
                random.put(Alphabet::Base58, 22, &mut id);
                let id = String::from_utf8_lossy(&id).into_owned();
                Some(Spoken::ToolUse { id, name: &call.name, input: &call.arguments })
            }
            Block::Text(text) | Block::Refusal(text) | Block::Audio(text) if text.text.is_empty() => None,
            Block::Text(text) | Block::Refusal(text) | Block::Audio(text) => Some(Spoken::Text(text)),
        };
        let blocks = choice.iter().flat_map(|choice| &choice.blocks).filter_map(&mut spoken).collect();
        Said { choice, blocks, numbers: Numbers::new(&reply.usage) }
    }

    /// Why it ends, as JSON.
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

    /// The text that ends it, if it is that which does.
    pub(super) fn stop_sequence(&self) -> Value {
        let stop = self.choice.filter(|choice| choice.finish_reason == FinishReason::Stop);
        stop.and_then(|choice| choice.stopped_by.clone()).into()
    }

    /// The content of a whole message, as JSON.
    pub(super) fn content(&self) -> Vec<u8> {
        let content: Value = self.blocks.iter().map(Spoken::whole).collect();
        content.to_string().into_bytes()
    }
}

impl Spoken<'_> {
    fn whole(&self) -> Value {
        match self {
            Spoken::Thinking { text, signature } => {
                let text = text.map_or("", |text| &text.text);
                json!({"type": "thinking", "thinking": text, "signature": signature})
            }
            Spoken::Text(text) => json!({"type": "text", "text": text.text}),
            Spoken::ToolUse { id, name, input } => {
                json!({"type": "tool_use", "id": id, "name": name, "input": object_or_empty(&input.text)})
            }
        }
    }
}
