//! The events of a streamed message.

use serde_json::{Value, json};

use super::message::{ContentBlock, MessageParts};
use crate::{
    core::{
        reply::Text,
        response::{EventKind, StreamEvent},
    },
    protocol::{
        events::{EventList, RenderTime, RenderedEvents, named_event},
        has_no_members,
    },
};

/// Recorded with a space, unlike all other events.
const PING: &str = r#"{"type": "ping"}"#;

/// Returns all events after the first. A ping follows the start of the first block.
pub(super) fn events(parts: &MessageParts<'_>, time: RenderTime) -> RenderedEvents {
    let mut events = MessageEvents(EventList::new(time));
    if parts.blocks.is_empty() {
        events.push("ping", PING);
    }
    for (index, block) in parts.blocks.iter().enumerate() {
        events.block(index, block);
    }
    let (reason, sequence) = (parts.stop_reason(), parts.stop_sequence());
    let counts = &parts.counts;
    let data = format!(
        concat!(
            r#"{{"type":"message_delta","delta":{{"stop_reason":{},"stop_sequence":{}}},"#,
            r#""usage":{{"input_tokens":{},"cache_creation_input_tokens":0,"cache_read_input_tokens":{},"output_tokens":{}}}}}"#
        ),
        reason, sequence, counts.input, counts.cached, counts.output
    );
    events.put("message_delta", &data, EventKind::Finish, 0);
    events.put("message_stop", r#"{"type":"message_stop"}"#, EventKind::End, 0);
    events.0.into()
}

struct MessageEvents(EventList<StreamEvent>);

impl MessageEvents {
    fn block(&mut self, index: usize, block: &ContentBlock<'_>) {
        match block {
            ContentBlock::Thinking { text, signature } => {
                self.start(index, &json!({"type": "thinking", "thinking": "", "signature": ""}));
                if let Some(text) = text {
                    self.deltas(index, "thinking_delta", "thinking", text);
                }
                self.0.push(delta(index, "signature_delta", "signature", signature, 0));
            }
            ContentBlock::Text(text) => {
                self.start(index, &json!({"type": "text", "text": ""}));
                self.deltas(index, "text_delta", "text", text);
            }
            ContentBlock::ToolUse { id, name, input } => {
                self.start(index, &json!({"type": "tool_use", "id": id, "name": name, "input": {}}));
                self.0.push(delta(index, "input_json_delta", "partial_json", "", 0));
                if !has_no_members(input) {
                    self.deltas(index, "input_json_delta", "partial_json", input);
                }
            }
        }
        self.push("content_block_stop", &format!(r#"{{"type":"content_block_stop","index":{index}}}"#));
    }

    fn start(&mut self, index: usize, block: &Value) {
        let data = format!(r#"{{"type":"content_block_start","index":{index},"content_block":{block}}}"#);
        self.push("content_block_start", &data);
        if index == 0 {
            self.push("ping", PING);
        }
    }

    fn deltas(&mut self, index: usize, kind: &'static str, member: &'static str, text: &Text) {
        self.0.push_gaps(text, move |piece| delta(index, kind, member, piece, 1));
    }

    fn push(&mut self, event: &str, data: &str) {
        self.put(event, data, EventKind::Content, 0);
    }

    fn put(&mut self, event: &str, data: &str, part: EventKind, tokens: u32) {
        self.0.push(named_event(event, data, part, tokens));
    }
}

fn delta(index: usize, kind: &str, member: &str, piece: &str, tokens: u32) -> StreamEvent {
    let delta = format!(r#"{{"type":"{kind}","{member}":{}}}"#, Value::from(piece));
    let data = format!(r#"{{"type":"content_block_delta","index":{index},"delta":{delta}}}"#);
    named_event("content_block_delta", &data, EventKind::Content, tokens)
}
