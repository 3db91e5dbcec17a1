//! OpenAI's responses as llama.cpp renders them: complete even where they were cut short, and without numbers in events.

use serde_json::{Map, Value, json};

use super::Parts;
use crate::{
    core::{
        reply::{Block, Text, Usage},
        response::{EventKind, StreamEvent},
    },
    protocol::{events::named_event, piece_events::Part},
};

fn usage(usage: &Usage) -> Value {
    json!({
        "input_tokens": usage.prompt_tokens,
        "output_tokens": usage.completion_tokens,
        "total_tokens": usage.prompt_tokens.saturating_add(usage.completion_tokens),
        "input_tokens_details": {"cached_tokens": usage.cached_tokens},
    })
}

fn content(text: &Text) -> Value {
    json!({"type": "output_text", "annotations": [], "logprobs": [], "text": text.whole()})
}

/// Returns the blocks of the reply, each with the id of its item.
fn items<'p>(parts: &'p Parts<'_, '_, '_>) -> Vec<(&'p Block, String)> {
    let prefix = |block: &Block| match block {
        Block::Reasoning(_) => "rs_",
        Block::ToolCall(_) => "fc_",
        _ => "msg_",
    };
    let blocks = parts.reply.choices.first().into_iter().flat_map(|choice| &choice.blocks);
    blocks.map(|block| (block, parts.draw_id(prefix(block)))).collect()
}

/// Returns a finished item. A stream has another order of keys.
fn item(block: &Block, id: &str, streamed: bool) -> Value {
    match block {
        Block::Reasoning(text) => json!({
            "id": id,
            "summary": [],
            "type": "reasoning",
            "content": [{"text": text.whole(), "type": "reasoning_text"}],
            "encrypted_content": "",
            "status": "completed",
        }),
        Block::ToolCall(call) => json!({
            "type": "function_call",
            "status": "completed",
            "arguments": call.arguments.whole(),
            "call_id": id,
            "name": call.name,
        }),
        block if streamed => json!({
            "type": "message",
            "status": "completed",
            "id": id,
            "content": [content(block.text())],
            "role": "assistant",
        }),
        block => json!({
            "content": [content(block.text())],
            "id": id,
            "role": "assistant",
            "status": "completed",
            "type": "message",
        }),
    }
}

/// Returns a full response.
pub(super) fn full(parts: &Parts<'_, '_, '_>) -> Value {
    let output: Vec<_> = items(parts).iter().map(|(block, id)| item(block, id, false)).collect();
    json!({
        "completed_at": parts.member("created_at"),
        "created_at": parts.member("created_at"),
        "id": parts.member("id"),
        "model": parts.member("model"),
        "object": "response",
        "output": output,
        "status": "completed",
        "usage": usage(&parts.reply.usage),
    })
}

/// Returns an event, whose data begins with its name.
fn event(name: &str, members: Value, kind: EventKind, tokens: u32) -> StreamEvent {
    let mut data = Map::new();
    data.insert("type".into(), name.into());
    if let Value::Object(members) = members {
        data.extend(members);
    }
    named_event(name, &Value::Object(data).to_string(), kind, tokens)
}

/// Returns the events of a stream.
pub(super) fn stream(parts: &Parts<'_, '_, '_>) -> Vec<Part> {
    let one = |name: &str, members: Value| Part::One(event(name, members, EventKind::Content, 0));
    let started = json!({"response": {"id": parts.member("id"), "object": "response", "status": "in_progress"}});
    let mut list = vec![one("response.created", started.clone()), one("response.in_progress", started)];
    let items = items(parts);
    for (block, id) in &items {
        let text = block.text();
        let (first, delta) = match block {
            Block::Reasoning(_) => {
                let item = json!({
                    "id": id, "summary": [], "type": "reasoning", "content": [], "encrypted_content": "",
                    "status": "in_progress",
                });
                (item, "response.reasoning_text")
            }
            Block::ToolCall(call) => {
                let item = json!({
                    "type": "function_call", "status": "in_progress", "arguments": "", "call_id": id, "name": call.name,
                });
                (item, "response.function_call_arguments")
            }
            _ => {
                let item =
                    json!({"content": [], "id": id, "role": "assistant", "status": "in_progress", "type": "message"});
                (item, "response.output_text")
            }
        };
        list.push(one("response.output_item.added", json!({"item": first})));
        let is_text = delta == "response.output_text";
        if is_text {
            let part = json!({"type": "output_text", "text": ""});
            list.push(one("response.content_part.added", json!({"item_id": id, "part": part})));
        }
        let item_id = id.clone();
        list.push(Part::Pieces(
            text.clone(),
            Box::new(move |piece| {
                let members = json!({"item_id": item_id, "delta": piece.text});
                event(&format!("{delta}.delta"), members, EventKind::Content, 1)
            }),
        ));
        if is_text {
            list.push(one("response.output_text.done", json!({"item_id": id, "text": text.whole()})));
            list.push(one("response.content_part.done", json!({"item_id": id, "part": content(text)})));
        }
        list.push(one("response.output_item.done", json!({"item": item(block, id, true)})));
    }
    let output: Vec<_> = items.iter().map(|(block, id)| item(block, id, true)).collect();
    let response = json!({
        "id": parts.member("id"),
        "object": "response",
        "created_at": parts.member("created_at"),
        "status": "completed",
        "model": parts.member("model"),
        "output": output,
        "usage": usage(&parts.reply.usage),
    });
    let members = json!({"response": response, "timings": parts.timings()});
    list.push(Part::One(event("response.completed", members, EventKind::Finish, 0)));
    list
}
