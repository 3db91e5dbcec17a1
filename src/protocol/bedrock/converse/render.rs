//! Rendering of a reply, full and as events. Keys are sorted, as recorded.

use bytes::Bytes;
use serde_json::{Value, json};

use super::{super::padding, EventFraming};
use crate::{
    core::{
        random::{Alphabet, Random},
        reply::{Block, Choice, FinishReason, Reply, Text, Usage},
        response::{EventKind, StreamEvent, event_stream},
    },
    protocol::{
        events::{EventList, EventLists, Events, RenderTime},
        has_no_members, object_or_empty,
    },
};

/// Length of a signature, in bytes. Recorded ones have hundreds.
const SIGNATURE_LENGTH: usize = 256;

/// A reply with ids for its calls and signatures for its reasoning.
pub(super) struct ConverseParts<'a> {
    choice: Option<&'a Choice>,
    blocks: Vec<ContentBlock<'a>>,
    pub(super) usage: Value,
}

/// A content block.
enum ContentBlock<'a> {
    Reasoning { text: &'a Text, signature: String },
    Text(&'a Text),
    ToolUse { id: String, name: &'a str, input: &'a Text },
}

impl<'a> ConverseParts<'a> {
    pub(super) fn new(reply: &'a Reply, random: &mut Random) -> Self {
        // The protocol has no alternatives.
        let choice = reply.choices.first();
        let mut drawn = |prefix: &str, length: usize| {
            let mut text = prefix.as_bytes().to_vec();
            random.put(Alphabet::Alphanumeric, length, &mut text);
            String::from_utf8_lossy(&text).into_owned()
        };
        let to_block = |block: &'a Block| match block {
            Block::Reasoning(text) => Some(ContentBlock::Reasoning { text, signature: drawn("", SIGNATURE_LENGTH) }),
            Block::ToolCall(call) => {
                Some(ContentBlock::ToolUse { id: drawn("tooluse_", 22), name: &call.name, input: &call.arguments })
            }
            Block::Text(text) | Block::Refusal(text) | Block::Audio(text) => {
                (!text.is_empty()).then_some(ContentBlock::Text(text))
            }
        };
        let blocks = choice.iter().flat_map(|choice| &choice.blocks).filter_map(to_block).collect();
        ConverseParts { choice, blocks, usage: usage(&reply.usage) }
    }

    /// Returns the stop reason.
    pub(super) fn stop_reason(&self) -> &'static str {
        let Some(choice) = self.choice else { return "end_turn" };
        match choice.finish_reason {
            FinishReason::Length => "max_tokens",
            FinishReason::ToolCalls => "tool_use",
            FinishReason::ContentFilter => "content_filtered",
            FinishReason::Stop if choice.stopped_by.is_some() => "stop_sequence",
            FinishReason::Stop => "end_turn",
        }
    }

    /// Returns the message of a full response.
    pub(super) fn message(&self) -> Value {
        let block = |block: &ContentBlock<'_>| match block {
            ContentBlock::Reasoning { text, signature } => {
                json!({"reasoningContent": {"reasoningText": {"signature": signature, "text": text.whole()}}})
            }
            ContentBlock::Text(text) => json!({"text": text.whole()}),
            ContentBlock::ToolUse { id, name, input } => {
                json!({"toolUse": {"input": object_or_empty(&input.whole()), "name": name, "toolUseId": id}})
            }
        };
        json!({"content": self.blocks.iter().map(block).collect::<Vec<_>>(), "role": "assistant"})
    }
}

/// Returns the usage object. Tokens from a cache are not part of `inputTokens`.
fn usage(usage: &Usage) -> Value {
    json!({
        "cacheReadInputTokens": usage.cached_tokens,
        "cacheWriteInputTokens": 0,
        "inputTokens": usage.prompt_tokens.saturating_sub(usage.cached_tokens),
        "outputTokens": usage.completion_tokens,
        "serverToolUsage": {},
        "totalTokens": usage.prompt_tokens.saturating_add(usage.completion_tokens),
    })
}

/// An event without its padding.
#[derive(Clone)]
pub(super) struct Event {
    kind: &'static str,
    /// Members before the padding, each followed by a comma.
    before: String,
    /// Members after the padding, each preceded by a comma.
    after: String,
    part: EventKind,
    tokens: u32,
}

/// Returns all events of a stream. Those of texts are rendered at `time`. The last one contains `metrics` beside the
/// usage.
pub(super) fn events(parts: &ConverseParts<'_>, metrics: Option<&Value>, time: RenderTime) -> EventLists<Event> {
    let mut events = ConverseList(EventList::new(time));
    events.push("messageStart", String::new(), r#","role":"assistant""#.to_owned(), EventKind::Content);
    for (index, block) in parts.blocks.iter().enumerate() {
        events.block(index, block);
    }
    let stop = format!(r#","stopReason":"{}""#, parts.stop_reason());
    events.push("messageStop", String::new(), stop, EventKind::Finish);
    let metrics = metrics.map_or_else(String::new, |metrics| format!(r#""metrics":{metrics},"#));
    events.push("metadata", metrics, format!(r#","usage":{}"#, parts.usage), EventKind::Usage);
    [events.0].into()
}

struct ConverseList(EventList<Event>);

impl ConverseList {
    fn push(&mut self, kind: &'static str, before: String, after: String, part: EventKind) {
        self.0.push(Event { kind, before, after, part, tokens: 0 });
    }

    /// Appends the events of a block. Text has no start event.
    fn block(&mut self, index: usize, block: &ContentBlock<'_>) {
        match block {
            ContentBlock::Reasoning { text, signature } => {
                self.deltas(index, text, |piece| json!({"reasoningContent": {"text": piece}}));
                self.0.push(delta(index, &json!({"reasoningContent": {"signature": signature}}), 0));
            }
            ContentBlock::Text(text) => self.deltas(index, text, |piece| json!({"text": piece})),
            ContentBlock::ToolUse { id, name, input } => {
                let start = json!({"toolUse": {"name": name, "toolUseId": id}});
                let index_first = format!(r#""contentBlockIndex":{index},"#);
                self.push("contentBlockStart", index_first, format!(r#","start":{start}"#), EventKind::Content);
                let to_delta = |piece: &str| json!({"toolUse": {"input": piece}});
                self.0.push(delta(index, &to_delta(""), 0));
                if !has_no_members(input) {
                    self.deltas(index, input, to_delta);
                }
            }
        }
        self.push("contentBlockStop", format!(r#""contentBlockIndex":{index},"#), String::new(), EventKind::Content);
    }

    fn deltas(&mut self, index: usize, text: &Text, to_delta: impl Fn(&str) -> Value + Send + Sync + 'static) {
        self.0.push_pieces(text, move |piece| delta(index, &to_delta(piece.text), 1));
    }
}

fn delta(index: usize, delta: &Value, tokens: u32) -> Event {
    let before = format!(r#""contentBlockIndex":{index},"delta":{delta},"#);
    Event { kind: "contentBlockDelta", before, after: String::new(), part: EventKind::Content, tokens }
}

/// The events of one stream, rendered one by one.
pub(super) struct ConverseEvents {
    pub(super) framing: EventFraming,
    pub(super) events: Events<Event>,
    /// Source of the padding's lengths.
    pub(super) random: Random,
}

impl Iterator for ConverseEvents {
    type Item = StreamEvent;

    fn next(&mut self) -> Option<StreamEvent> {
        let event = self.events.next()?;
        let Event { kind, before, after, part, tokens } = &*event.event;
        let bytes: Bytes = match self.framing {
            EventFraming::Frames => {
                let padding = padding(&mut self.random);
                let payload = format!(r#"{{{before}"p":"{padding}"{after}}}"#);
                event_stream::event(kind, "application/json", payload.as_bytes())
            }
            EventFraming::Nested => {
                // Without padding in between, one comma is too many.
                let (before, after) = (before.trim_end_matches(','), after.trim_start_matches(','));
                let comma = if before.is_empty() || after.is_empty() { "" } else { "," };
                format!("data: {{\"{kind}\":{{{before}{comma}{after}}}}}\n\n").into()
            }
        };
        Some(StreamEvent { bytes, kind: *part, tokens: *tokens })
    }
}
