//! A choice of a full response.

use serde_json::{Map, Value, json};

use super::super::{
    finish_reason,
    members::{call_id, token_ids},
    stop_reason,
};
use crate::{
    core::{
        random::Random,
        reply::{Block, Choice, Text, ToolCall},
    },
    model::tokens::Encoding,
    protocol::openai::chat::full::logprob,
};

/// The parts of one choice. Ids are drawn once, so the full and the streamed form have the same.
pub(super) struct ChoiceParts<'a> {
    pub(super) index: usize,
    choice: &'a Choice,
    /// The calls with their ids.
    pub(super) calls: Vec<(&'a ToolCall, String)>,
    pub(super) finish_reason: &'static str,
    /// The number of alternatives and the seed of the log probabilities, if they are requested.
    pub(super) logprobs: Option<(u64, u64)>,
    /// The encoding of token ids, if they are requested.
    pub(super) encoding: Option<Encoding>,
}

impl<'a> ChoiceParts<'a> {
    /// Draws the ids of a choice. `calls_reason` is the finish reason of a choice with calls.
    pub(super) fn new(
        index: usize,
        choice: &'a Choice,
        calls_reason: &'static str,
        logprobs: Option<(u64, u64)>,
        encoding: Option<Encoding>,
        random: &mut Random,
    ) -> Self {
        let calls = choice.blocks.iter().filter_map(Block::call).map(|call| (call, call_id(random))).collect();
        ChoiceParts { index, choice, calls, finish_reason: finish_reason(choice, calls_reason), logprobs, encoding }
    }

    pub(super) fn reasoning(&self) -> Option<&'a Text> {
        self.choice.blocks.iter().find_map(|block| if let Block::Reasoning(text) = block { Some(text) } else { None })
    }

    /// Returns the text. A refusal and a transcript are text, too.
    pub(super) fn text(&self) -> Option<&'a Text> {
        self.choice.blocks.iter().find_map(|block| match block {
            Block::Text(text) | Block::Refusal(text) | Block::Audio(text) => Some(text),
            Block::Reasoning(_) | Block::ToolCall(_) => None,
        })
    }

    /// Returns the stop sequence that ended the choice, as JSON.
    pub(super) fn stop_reason(&self) -> Value {
        stop_reason(self.choice)
    }

    /// Renders the choice.
    pub(super) fn full(&self) -> Value {
        let text = self.text().map(Text::whole).unwrap_or_default();
        let mut message = Map::new();
        message.insert("role".into(), "assistant".into());
        message.insert("content".into(), (&*text).into());
        for name in ["refusal", "annotations", "audio", "function_call"] {
            message.insert(name.into(), Value::Null);
        }
        let call = |(call, id): &(&ToolCall, String)| {
            let function = json!({"name": call.name, "arguments": call.arguments.whole()});
            json!({"id": id, "type": "function", "function": function})
        };
        if !self.calls.is_empty() {
            message.insert("tool_calls".into(), self.calls.iter().map(call).collect());
        }
        message.insert("reasoning".into(), self.reasoning().map_or(Value::Null, |text| text.whole().into()));
        let logprobs = self.logprobs.zip(self.text()).map(|((top, seed), text)| {
            json!({"content": text.token_pieces().map(|token| logprob(token, top, seed)).collect::<Vec<_>>()})
        });
        let generated = self.choice.blocks.iter().map(|block| block.text().whole());
        json!({
            "index": self.index,
            "message": message,
            "logprobs": logprobs,
            "finish_reason": self.finish_reason,
            "stop_reason": self.stop_reason(),
            "token_ids": self.encoding.map(|encoding| token_ids(&generated.collect::<String>(), Some(encoding))),
            "routed_experts": null,
        })
    }
}
