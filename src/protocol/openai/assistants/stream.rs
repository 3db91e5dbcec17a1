//! A streamed run: event by event.

use serde_json::{Value, json};

use super::objects::{Happened, Said};
use crate::{
    core::{
        reply::{Block, Text},
        response::EventKind,
    },
    protocol::events::EventBuilder,
};

/// All events of what happens.
pub(super) fn events(happened: &Happened) -> EventBuilder {
    let mut events = EventBuilder::default();
    let mut tell = |name: &str, data: &Value, part, tokens| events.push_named(name, &data.to_string(), part, tokens);
    if let Some(thread) = &happened.thread {
        tell("thread.created", thread, EventKind::Content, 0);
    }
    for step in &happened.answered {
        tell("thread.run.step.completed", step, EventKind::Content, 0);
    }
    if happened.is_new {
        tell("thread.run.created", &happened.queued, EventKind::Content, 0);
    }
    tell("thread.run.queued", &happened.queued, EventKind::Content, 0);
    tell("thread.run.in_progress", &happened.in_progress(), EventKind::Content, 0);
    for said in &happened.said {
        let begun = begun(said);
        tell("thread.run.step.created", &begun, EventKind::Content, 0);
        tell("thread.run.step.in_progress", &begun, EventKind::Content, 0);
        match &said.message {
            Some(message) => {
                let begun = unsaid(message);
                tell("thread.message.created", &begun, EventKind::Content, 0);
                tell("thread.message.in_progress", &begun, EventKind::Content, 0);
                for (index, block) in said.blocks.iter().enumerate() {
                    words(&message["id"], index, block, &mut tell);
                }
                let state = message["status"].as_str().unwrap_or_default();
                tell(&format!("thread.message.{state}"), message, EventKind::Content, 0);
                tell("thread.run.step.completed", &said.step, EventKind::Content, 0);
            }
            None => calls(said, &mut tell),
        }
    }
    let after = happened.after();
    let state = after["status"].as_str().unwrap_or_default();
    tell(&format!("thread.run.{state}"), &after, EventKind::Finish, 0);
    events.push_named("done", "[DONE]", EventKind::End, 0);
    events
}

/// Adds an event: its name, its data, what it is for, and the tokens that it brings.
type Tell<'t> = dyn FnMut(&str, &Value, EventKind, u32) + 't;

/// A step as it begins: calls are told as they come.
fn begun(said: &Said) -> Value {
    let mut step = said.step.clone();
    step["status"] = "in_progress".into();
    (step["completed_at"], step["usage"]) = (Value::Null, Value::Null);
    if let Some(calls) = step["step_details"].get_mut("tool_calls") {
        *calls = json!([]);
    }
    step
}

/// A message before anything is said.
fn unsaid(message: &Value) -> Value {
    let mut unsaid = message.clone();
    unsaid["status"] = "in_progress".into();
    for name in ["incomplete_details", "incomplete_at", "completed_at"] {
        unsaid[name] = Value::Null;
    }
    unsaid["content"] = json!([]);
    unsaid
}

/// What a part of a message says, piece by piece.
fn words(id: &Value, index: usize, block: &Block, tell: &mut Tell<'_>) {
    for (n, piece) in pieces(block.text()).enumerate() {
        let part = match (block, n) {
            (Block::Refusal(_), _) => json!({"index": index, "type": "refusal", "refusal": piece}),
            (_, 0) => json!({"index": index, "type": "text", "text": {"value": piece, "annotations": []}}),
            _ => json!({"index": index, "type": "text", "text": {"value": piece}}),
        };
        let delta = json!({"id": id, "object": "thread.message.delta", "delta": {"content": [part]}});
        tell("thread.message.delta", &delta, EventKind::Content, 1);
    }
}

/// Calls: each is named, and then its arguments come piece by piece.
fn calls(said: &Said, tell: &mut Tell<'_>) {
    let calls = said.step["step_details"]["tool_calls"].as_array().map_or(&[][..], Vec::as_slice);
    let mut delta = |call: Value, tokens| {
        let details = json!({"type": "tool_calls", "tool_calls": [call]});
        let delta =
            json!({"id": said.step["id"], "object": "thread.run.step.delta", "delta": {"step_details": details}});
        tell("thread.run.step.delta", &delta, EventKind::Content, tokens);
    };
    for (index, (call, block)) in calls.iter().zip(&said.blocks).enumerate() {
        let function = json!({"name": call["function"]["name"], "arguments": "", "output": null});
        delta(json!({"index": index, "id": call["id"], "type": "function", "function": function}), 0);
        for piece in pieces(block.text()) {
            delta(json!({"index": index, "type": "function", "function": {"arguments": piece}}), 1);
        }
    }
}

fn pieces(text: &Text) -> impl Iterator<Item = &str> {
    text.pieces().filter(|piece| !piece.is_empty())
}
