//! The events of a streamed run.

use serde_json::{Value, json};

use super::objects::{RunOutcome, RunStep};
use crate::{
    core::{
        reply::Block,
        response::{EventKind, StreamEvent},
    },
    protocol::events::{EventList, RenderTime, RenderedEvents, named_event},
};

/// Renders all events of a run.
pub(super) fn events(outcome: &RunOutcome) -> RenderedEvents {
    let mut events = EventList::new(RenderTime::Late);
    if let Some(thread) = &outcome.thread {
        events.push(content_event("thread.created", thread, 0));
    }
    for step in &outcome.completed_steps {
        events.push(content_event("thread.run.step.completed", step, 0));
    }
    if outcome.is_new {
        events.push(content_event("thread.run.created", &outcome.queued, 0));
    }
    events.push(content_event("thread.run.queued", &outcome.queued, 0));
    events.push(content_event("thread.run.in_progress", &outcome.in_progress(), 0));
    for step in &outcome.steps {
        let begun = begun_step(step);
        events.push(content_event("thread.run.step.created", &begun, 0));
        events.push(content_event("thread.run.step.in_progress", &begun, 0));
        match &step.message {
            Some(message) => {
                let begun = begun_message(message);
                events.push(content_event("thread.message.created", &begun, 0));
                events.push(content_event("thread.message.in_progress", &begun, 0));
                for (index, block) in step.blocks.iter().enumerate() {
                    message_deltas(&message["id"], index, block, &mut events);
                }
                let state = message["status"].as_str().unwrap_or_default();
                events.push(content_event(&format!("thread.message.{state}"), message, 0));
                events.push(content_event("thread.run.step.completed", &step.object, 0));
            }
            None => call_deltas(step, &mut events),
        }
    }
    let finished = outcome.finished();
    let state = finished["status"].as_str().unwrap_or_default();
    events.push(named_event(&format!("thread.run.{state}"), &finished.to_string(), EventKind::Finish, 0));
    events.push(named_event("done", "[DONE]", EventKind::End, 0));
    events.into()
}

fn content_event(name: &str, data: &Value, tokens: u32) -> StreamEvent {
    named_event(name, &data.to_string(), EventKind::Content, tokens)
}

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
fn message_deltas(id: &Value, index: usize, block: &Block, events: &mut EventList<StreamEvent>) {
    let (id, refuses) = (id.clone(), matches!(block, Block::Refusal(_)));
    events.push_pieces(block.text(), move |piece| {
        let part = match (refuses, piece.index) {
            (true, _) => json!({"index": index, "type": "refusal", "refusal": piece.text}),
            (_, 0) => json!({"index": index, "type": "text", "text": {"value": piece.text, "annotations": []}}),
            _ => json!({"index": index, "type": "text", "text": {"value": piece.text}}),
        };
        let delta = json!({"id": id, "object": "thread.message.delta", "delta": {"content": [part]}});
        content_event("thread.message.delta", &delta, 1)
    });
}

/// Adds the deltas of tool calls: for each its name, then the pieces of its arguments.
fn call_deltas(step: &RunStep, events: &mut EventList<StreamEvent>) {
    let calls = step.object["step_details"]["tool_calls"].as_array().map_or(&[][..], Vec::as_slice);
    let id = step.object["id"].clone();
    let delta = move |call: Value, tokens| {
        let details = json!({"type": "tool_calls", "tool_calls": [call]});
        let delta = json!({"id": id, "object": "thread.run.step.delta", "delta": {"step_details": details}});
        content_event("thread.run.step.delta", &delta, tokens)
    };
    for (index, (call, block)) in calls.iter().zip(&step.blocks).enumerate() {
        let function = json!({"name": call["function"]["name"], "arguments": "", "output": null});
        events.push(delta(json!({"index": index, "id": call["id"], "type": "function", "function": function}), 0));
        let delta = delta.clone();
        events.push_pieces(block.text(), move |piece| {
            delta(json!({"index": index, "type": "function", "function": {"arguments": piece.text}}), 1)
        });
    }
}
