//! The events of a streamed run.

use serde_json::{Value, json};

use super::objects::{RunOutcome, RunStep};
use crate::{
    core::{
        reply::{Block, Text},
        response::EventKind,
    },
    protocol::events::EventBuilder,
};

/// Renders all events of a run.
pub(super) fn events(outcome: &RunOutcome) -> EventBuilder {
    let mut events = EventBuilder::default();
    let mut add = |name: &str, data: &Value, part, tokens| events.push_named(name, &data.to_string(), part, tokens);
    if let Some(thread) = &outcome.thread {
        add("thread.created", thread, EventKind::Content, 0);
    }
    for step in &outcome.completed_steps {
        add("thread.run.step.completed", step, EventKind::Content, 0);
    }
    if outcome.is_new {
        add("thread.run.created", &outcome.queued, EventKind::Content, 0);
    }
    add("thread.run.queued", &outcome.queued, EventKind::Content, 0);
    add("thread.run.in_progress", &outcome.in_progress(), EventKind::Content, 0);
    for step in &outcome.steps {
        let begun = begun_step(step);
        add("thread.run.step.created", &begun, EventKind::Content, 0);
        add("thread.run.step.in_progress", &begun, EventKind::Content, 0);
        match &step.message {
            Some(message) => {
                let begun = begun_message(message);
                add("thread.message.created", &begun, EventKind::Content, 0);
                add("thread.message.in_progress", &begun, EventKind::Content, 0);
                for (index, block) in step.blocks.iter().enumerate() {
                    message_deltas(&message["id"], index, block, &mut add);
                }
                let state = message["status"].as_str().unwrap_or_default();
                add(&format!("thread.message.{state}"), message, EventKind::Content, 0);
                add("thread.run.step.completed", &step.object, EventKind::Content, 0);
            }
            None => call_deltas(step, &mut add),
        }
    }
    let finished = outcome.finished();
    let state = finished["status"].as_str().unwrap_or_default();
    add(&format!("thread.run.{state}"), &finished, EventKind::Finish, 0);
    events.push_named("done", "[DONE]", EventKind::End, 0);
    events
}

/// Adds an event. Arguments: name, data, kind, number of tokens.
type AddEvent<'t> = dyn FnMut(&str, &Value, EventKind, u32) + 't;

/// Returns a step at its start, without its calls.
fn begun_step(step: &RunStep) -> Value {
    let mut step = step.object.clone();
    step["status"] = "in_progress".into();
    (step["completed_at"], step["usage"]) = (Value::Null, Value::Null);
    if let Some(calls) = step["step_details"].get_mut("tool_calls") {
        *calls = json!([]);
    }
    step
}

/// Returns a message at its start, without content.
fn begun_message(message: &Value) -> Value {
    let mut begun = message.clone();
    begun["status"] = "in_progress".into();
    for name in ["incomplete_details", "incomplete_at", "completed_at"] {
        begun[name] = Value::Null;
    }
    begun["content"] = json!([]);
    begun
}

/// Adds the deltas of a message's part.
fn message_deltas(id: &Value, index: usize, block: &Block, add: &mut AddEvent<'_>) {
    for (n, piece) in pieces(block.text()).enumerate() {
        let part = match (block, n) {
            (Block::Refusal(_), _) => json!({"index": index, "type": "refusal", "refusal": piece}),
            (_, 0) => json!({"index": index, "type": "text", "text": {"value": piece, "annotations": []}}),
            _ => json!({"index": index, "type": "text", "text": {"value": piece}}),
        };
        let delta = json!({"id": id, "object": "thread.message.delta", "delta": {"content": [part]}});
        add("thread.message.delta", &delta, EventKind::Content, 1);
    }
}

/// Adds the deltas of tool calls: for each its name, then the pieces of its arguments.
fn call_deltas(step: &RunStep, add: &mut AddEvent<'_>) {
    let calls = step.object["step_details"]["tool_calls"].as_array().map_or(&[][..], Vec::as_slice);
    let mut delta = |call: Value, tokens| {
        let details = json!({"type": "tool_calls", "tool_calls": [call]});
        let delta =
            json!({"id": step.object["id"], "object": "thread.run.step.delta", "delta": {"step_details": details}});
        add("thread.run.step.delta", &delta, EventKind::Content, tokens);
    };
    for (index, (call, block)) in calls.iter().zip(&step.blocks).enumerate() {
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
