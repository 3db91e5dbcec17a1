//! Anthropic's messages as llama.cpp renders them.

use serde_json::{Value, json};

use super::Parts;
use crate::{
    core::{
        reply::{Block, Choice, FinishReason},
        response::{EventKind, StreamEvent},
    },
    protocol::{events::named_event, object_or_empty, piece_events::Part},
};

fn stop_reason(choice: Option<&Choice>) -> &'static str {
    match choice.map(|choice| (choice.finish_reason, &choice.stopped_by)) {
        Some((FinishReason::Length, _)) => "max_tokens",
        Some((FinishReason::ToolCalls, _)) => "tool_use",
        Some((_, Some(_))) => "stop_sequence",
        _ => "end_turn",
    }
}

/// Returns a full response.
pub(super) fn full(parts: &Parts<'_, '_, '_>) -> Value {
    let choice = parts.reply.choices.first();
    let content: Vec<_> = choice
        .iter()
        .flat_map(|choice| &choice.blocks)
        .map(|block| match block {
            Block::Reasoning(text) => json!({"type": "thinking", "thinking": text.whole(), "signature": ""}),
            Block::ToolCall(call) => {
                let input = object_or_empty(&call.arguments.whole());
                json!({"type": "tool_use", "id": parts.draw_id(""), "name": call.name, "input": input})
            }
            block => json!({"type": "text", "text": block.content().map(|text| text.whole())}),
        })
        .collect();
    message(content.into(), Some(choice), parts.reply.usage.completion_tokens, parts)
}

/// Returns a message; one without an end if there is no choice.
fn message(content: Value, choice: Option<Option<&Choice>>, output: u64, parts: &Parts<'_, '_, '_>) -> Value {
    let usage = &parts.reply.usage;
    json!({
        "id": parts.member("id"),
        "type": "message",
        "role": "assistant",
        "content": content,
        "model": parts.member("model"),
        "stop_reason": choice.map(stop_reason),
        "stop_sequence": choice.flatten().and_then(|choice| choice.stopped_by.clone()),
        "usage": {
            "cache_read_input_tokens": usage.cached_tokens,
            "input_tokens": usage.prompt_tokens.saturating_sub(usage.cached_tokens),
            "output_tokens": output,
        },
    })
}

fn event(name: &str, data: &Value, kind: EventKind, tokens: u32) -> StreamEvent {
    named_event(name, &data.to_string(), kind, tokens)
}

/// Returns the events of a stream.
pub(super) fn stream(parts: &Parts<'_, '_, '_>) -> Vec<Part> {
    let one = |name: &str, data: Value, kind| Part::One(event(name, &data, kind, 0));
    let choice = parts.reply.choices.first();
    let start = message(json!([]), None, 0, parts);
    let mut list = vec![one("message_start", json!({"type": "message_start", "message": start}), EventKind::Content)];
    for (index, block) in choice.iter().flat_map(|choice| &choice.blocks).enumerate() {
        let (start, kind, member) = match block {
            Block::Reasoning(_) => {
                (json!({"type": "thinking", "thinking": "", "signature": ""}), "thinking_delta", "thinking")
            }
            Block::ToolCall(call) => (
                json!({"type": "tool_use", "id": parts.draw_id(""), "name": call.name}),
                "input_json_delta",
                "partial_json",
            ),
            _ => (json!({"type": "text", "text": ""}), "text_delta", "text"),
        };
        let start = json!({"type": "content_block_start", "index": index, "content_block": start});
        list.push(one("content_block_start", start, EventKind::Content));
        list.push(Part::Pieces(
            block.text().clone(),
            Box::new(move |piece| {
                let delta = json!({"type": kind, (member): piece.text});
                let data = json!({"type": "content_block_delta", "index": index, "delta": delta});
                event("content_block_delta", &data, EventKind::Content, 1)
            }),
        ));
        let stop = json!({"type": "content_block_stop", "index": index});
        list.push(one("content_block_stop", stop, EventKind::Content));
    }
    let stopped_by = choice.and_then(|choice| choice.stopped_by.as_deref());
    let end = json!({
        "type": "message_delta",
        "delta": {"stop_reason": stop_reason(choice), "stop_sequence": stopped_by},
        "usage": {"output_tokens": parts.reply.usage.completion_tokens},
    });
    list.push(one("message_delta", end, EventKind::Finish));
    list.push(one("message_stop", json!({"type": "message_stop"}), EventKind::End));
    list
}
