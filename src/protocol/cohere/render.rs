//! Rendering of a reply, full and as events.

use bytes::Bytes;
use serde_json::{Map, Value, json};

use crate::{
    core::{
        random::{Alphabet, Random},
        reply::{Block, FinishReason, Reply, Text},
        response::{EventKind, StreamEvent},
    },
    protocol::events::{EventList, RenderTime, RenderedEvents, named_event},
};

/// A reply with ids for its calls, so that the full and streamed forms agree.
pub(super) struct ChatParts<'a> {
    finish_reason: &'static str,
    /// The text before the calls.
    plan: Option<&'a Text>,
    /// Thinking and text. The kind is also the name of the member with the text.
    content: Vec<(&'static str, &'a Text)>,
    calls: Vec<Call<'a>>,
    usage: Value,
}

struct Call<'a> {
    id: String,
    name: &'a str,
    arguments: &'a Text,
}

impl Call<'_> {
    fn to_json(&self, arguments: &str) -> Value {
        json!({"id": self.id, "type": "function", "function": {"name": self.name, "arguments": arguments}})
    }
}

impl<'a> ChatParts<'a> {
    pub(super) fn new(reply: &'a Reply, random: &mut Random) -> Self {
        // The protocol has no alternatives.
        let choice = reply.choices.first();
        let (input, output) = (reply.usage.prompt_tokens, reply.usage.completion_tokens);
        let numbers = json!({"input_tokens": input, "output_tokens": output});
        let mut parts = ChatParts {
            finish_reason: match choice.map(|choice| (choice.finish_reason, &choice.stopped_by)) {
                Some((FinishReason::Length, _)) => "MAX_TOKENS",
                Some((FinishReason::ToolCalls, _)) => "TOOL_CALL",
                Some((FinishReason::ContentFilter, _)) => "ERROR",
                Some((FinishReason::Stop, Some(_))) => "STOP_SEQUENCE",
                _ => "COMPLETE",
            },
            plan: None,
            content: Vec::new(),
            calls: Vec::new(),
            usage: json!({"billed_units": numbers, "tokens": numbers}),
        };
        for block in choice.iter().flat_map(|choice| &choice.blocks) {
            match block {
                Block::Reasoning(text) => parts.content.push(("thinking", text)),
                Block::Text(text) | Block::Refusal(text) | Block::Audio(text) => parts.content.push(("text", text)),
                Block::ToolCall(call) => {
                    // Recorded: the name, and twelve symbols.
                    let mut id = format!("{}_", call.name).into_bytes();
                    random.put(Alphabet::Alphanumeric, 12, &mut id);
                    let id = String::from_utf8_lossy(&id).into_owned();
                    parts.calls.push(Call { id, name: &call.name, arguments: &call.arguments });
                }
            }
        }
        if !parts.calls.is_empty() {
            parts.plan = parts.content.iter().find(|(kind, _)| *kind == "text").map(|(_, text)| *text);
            parts.content.retain(|(kind, _)| *kind != "text");
        }
        parts
    }

    /// Returns a full response after its id.
    pub(super) fn full(&self) -> String {
        let mut message = Map::from_iter([("role".to_owned(), json!("assistant"))]);
        if let Some(plan) = self.plan {
            message.insert("tool_plan".into(), plan.whole().into());
        }
        if !self.calls.is_empty() {
            message.insert(
                "tool_calls".into(),
                self.calls.iter().map(|call| call.to_json(&call.arguments.whole())).collect(),
            );
        }
        if self.calls.is_empty() || !self.content.is_empty() {
            message
                .insert("content".into(), self.content.iter().map(|(kind, text)| part(kind, &text.whole())).collect());
        }
        let (message, reason, usage) = (Value::Object(message), self.finish_reason, &self.usage);
        format!(r#","message":{message},"finish_reason":"{reason}","usage":{usage}}}"#)
    }

    /// Returns all events of a stream after the first. Those of texts are rendered at `time`.
    pub(super) fn events(&self, time: RenderTime) -> RenderedEvents {
        let mut events = EventList::new(time);
        if let Some(plan) = self.plan {
            events
                .push_gaps(plan, |piece| event("tool-plan-delta", None, &json!({"message": {"tool_plan": piece}}), 1));
        }
        for (index, (kind, text)) in self.content.iter().enumerate() {
            let kind = *kind;
            events.push(event("content-start", Some(index), &content(part(kind, "")), 0));
            events.push_gaps(text, move |piece| event("content-delta", Some(index), &content(json!({kind: piece})), 1));
            events.push(end("content-end", index));
        }
        for (index, call) in self.calls.iter().enumerate() {
            events.push(event("tool-call-start", Some(index), &calls(call.to_json("")), 0));
            events.push_gaps(call.arguments, move |piece| {
                let delta = calls(json!({"function": {"arguments": piece}}));
                event("tool-call-delta", Some(index), &delta, 1)
            });
            events.push(end("tool-call-end", index));
        }
        let (reason, usage) = (self.finish_reason, &self.usage);
        let data = format!(r#"{{"type":"message-end","delta":{{"finish_reason":"{reason}","usage":{usage}}}}}"#);
        events.push(named_event("message-end", &data, EventKind::Finish, 0));
        // Recorded: this event has no name.
        let done = Bytes::from_static(b"data: [DONE]\n\n");
        events.push(StreamEvent { bytes: done, kind: EventKind::End, tokens: 0 });
        events.into()
    }
}

/// Returns a content part.
fn part(kind: &str, text: &str) -> Value {
    json!({"type": kind, kind: text})
}

fn content(content: Value) -> Value {
    json!({"message": {"content": content}})
}

fn calls(call: Value) -> Value {
    json!({"message": {"tool_calls": call}})
}

fn event(kind: &str, index: Option<usize>, delta: &Value, tokens: u32) -> StreamEvent {
    let index = index.map_or_else(String::new, |index| format!(r#","index":{index}"#));
    let data = format!(r#"{{"type":"{kind}"{index},"delta":{delta}}}"#);
    named_event(kind, &data, EventKind::Content, tokens)
}

fn end(kind: &str, index: usize) -> StreamEvent {
    named_event(kind, &format!(r#"{{"type":"{kind}","index":{index}}}"#), EventKind::Content, 0)
}
