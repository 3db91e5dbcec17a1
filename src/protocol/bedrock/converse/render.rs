//! What the model says, whole and event by event. Keys are in the order of the alphabet, as recorded.

use std::sync::Arc;

use bytes::Bytes;
use serde_json::{Value, json};

use super::{super::padding, Style};
use crate::{
    core::{
        random::{Alphabet, Random},
        reply::{Block, Choice, FinishReason, Reply, Text, Usage},
        response::{EventKind, StreamEvent, event_stream},
    },
    protocol::object_or_empty,
};

/// How many bytes a signature has; recorded ones have hundreds.
const SIGNATURE: usize = 256;

/// A reply whose calls have their ids and whose thoughts their signatures.
pub(super) struct Said<'a> {
    choice: Option<&'a Choice>,
    blocks: Vec<Spoken<'a>>,
    pub(super) usage: Value,
}

/// One block of content.
enum Spoken<'a> {
    Reasoning { text: &'a Text, signature: String },
    Text(&'a Text),
    ToolUse { id: String, name: &'a str, input: &'a Text },
}

impl<'a> Said<'a> {
    pub(super) fn new(reply: &'a Reply, random: &mut Random) -> Self {
        // The protocol knows no alternatives.
        let choice = reply.choices.first();
        let mut drawn = |before: &str, length: usize| {
            let mut text = before.as_bytes().to_vec();
            random.put(Alphabet::Alphanumeric, length, &mut text);
            String::from_utf8_lossy(&text).into_owned()
        };
        let spoken = |block: &'a Block| match block {
            Block::Reasoning(text) => Some(Spoken::Reasoning { text, signature: drawn("", SIGNATURE) }),
            Block::ToolCall(call) => {
                Some(Spoken::ToolUse { id: drawn("tooluse_", 22), name: &call.name, input: &call.arguments })
            }
            Block::Text(text) | Block::Refusal(text) | Block::Audio(text) => {
                (!text.text.is_empty()).then_some(Spoken::Text(text))
            }
        };
        let blocks = choice.iter().flat_map(|choice| &choice.blocks).filter_map(spoken).collect();
        Said { choice, blocks, usage: usage(&reply.usage) }
    }

    /// Why it ends.
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

    /// The message, as it stands in a whole answer.
    pub(super) fn message(&self) -> Value {
        let block = |block: &Spoken<'_>| match block {
            Spoken::Reasoning { text, signature } => {
                json!({"reasoningContent": {"reasoningText": {"signature": signature, "text": text.text}}})
            }
            Spoken::Text(text) => json!({"text": text.text}),
            Spoken::ToolUse { id, name, input } => {
                json!({"toolUse": {"input": object_or_empty(&input.text), "name": name, "toolUseId": id}})
            }
        };
        json!({"content": self.blocks.iter().map(block).collect::<Vec<_>>(), "role": "assistant"})
    }
}

/// What it has cost. What comes from a cache is counted apart.
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

/// One event, but for its padding.
pub(super) struct Event {
    kind: &'static str,
    /// Its members before the padding, each followed by a comma.
    before: String,
    /// Those behind it, each after a comma.
    after: String,
    part: EventKind,
    tokens: u32,
}

/// All events of a stream; `metrics` is what the last of them tells beside what it has cost, as JSON.
pub(super) fn events(said: &Said<'_>, metrics: Option<&Value>) -> Arc<[Event]> {
    let mut events = Events(Vec::new());
    events.push("messageStart", String::new(), r#","role":"assistant""#.to_owned(), EventKind::Said);
    for (index, block) in said.blocks.iter().enumerate() {
        events.block(index, block);
    }
    let stop = format!(r#","stopReason":"{}""#, said.stop_reason());
    events.push("messageStop", String::new(), stop, EventKind::Finish);
    let metrics = metrics.map_or_else(String::new, |metrics| format!(r#""metrics":{metrics},"#));
    events.push("metadata", metrics, format!(r#","usage":{}"#, said.usage), EventKind::Usage);
    events.0.into()
}

struct Events(Vec<Event>);

impl Events {
    fn push(&mut self, kind: &'static str, before: String, after: String, part: EventKind) {
        self.0.push(Event { kind, before, after, part, tokens: 0 });
    }

    /// Text has no event to begin with.
    fn block(&mut self, index: usize, block: &Spoken<'_>) {
        match block {
            Spoken::Reasoning { text, signature } => {
                self.deltas(index, text, |piece| json!({"reasoningContent": {"text": piece}}));
                self.delta(index, &json!({"reasoningContent": {"signature": signature}}), 0);
            }
            Spoken::Text(text) => self.deltas(index, text, |piece| json!({"text": piece})),
            Spoken::ToolUse { id, name, input } => {
                let start = json!({"toolUse": {"name": name, "toolUseId": id}});
                let index_first = format!(r#""contentBlockIndex":{index},"#);
                self.push("contentBlockStart", index_first, format!(r#","start":{start}"#), EventKind::Said);
                let of = |piece: &str| json!({"toolUse": {"input": piece}});
                self.delta(index, &of(""), 0);
                self.deltas(index, input, of);
            }
        }
        self.push("contentBlockStop", format!(r#""contentBlockIndex":{index},"#), String::new(), EventKind::Said);
    }

    fn deltas(&mut self, index: usize, text: &Text, of: impl Fn(&str) -> Value) {
        for piece in text.pieces() {
            self.delta(index, &of(piece), 1);
        }
    }

    fn delta(&mut self, index: usize, delta: &Value, tokens: u32) {
        let before = format!(r#""contentBlockIndex":{index},"delta":{delta},"#);
        self.0.push(Event { kind: "contentBlockDelta", before, after: String::new(), part: EventKind::Said, tokens });
    }
}

/// The frames of one stream, rendered one by one.
pub(super) struct Frames {
    pub(super) style: Style,
    pub(super) events: Arc<[Event]>,
    pub(super) next: usize,
    /// Where the lengths of padding come from.
    pub(super) random: Random,
}

impl Iterator for Frames {
    type Item = StreamEvent;

    fn next(&mut self) -> Option<StreamEvent> {
        let Event { kind, before, after, part, tokens } = self.events.get(self.next)?;
        self.next += 1;
        let bytes: Bytes = match self.style {
            Style::Events => {
                let padding = padding(&mut self.random);
                let payload = format!(r#"{{{before}"p":"{padding}"{after}}}"#);
                event_stream::event(kind, "application/json", payload.as_bytes())
            }
            Style::Inside => {
                // Without padding between them, one comma is too many.
                let (before, after) = (before.trim_end_matches(','), after.trim_start_matches(','));
                let comma = if before.is_empty() || after.is_empty() { "" } else { "," };
                format!("data: {{\"{kind}\":{{{before}{comma}{after}}}}}\n\n").into()
            }
        };
        Some(StreamEvent { bytes, part: *part, tokens: *tokens })
    }
}
