//! A streamed message: event by event.

use std::sync::Arc;

use bytes::Bytes;
use serde_json::{Value, json};

use super::whole::{Said, Spoken};
use crate::{
    answer::{Frame, Part},
    reply::Text,
};

/// Recorded with a space, unlike all other events.
const PING: &str = r#"{"type": "ping"}"#;

/// The events of a stream after its first, shared by all the streams that say the same.
#[derive(Clone, Default)]
pub(super) struct Stream {
    text: Bytes,
    events: Arc<[Event]>,
}

/// One event of the text.
struct Event {
    /// Where it ends, in bytes.
    end: usize,
    part: Part,
    /// The tokens it brings.
    tokens: u32,
}

/// All events after the first. A ping comes once the first block has begun.
pub(super) fn events(said: &Said<'_>) -> Stream {
    let mut events = Events { text: String::new(), list: Vec::new() };
    if said.blocks.is_empty() {
        events.push("ping", PING);
    }
    for (index, block) in said.blocks.iter().enumerate() {
        events.block(index, block);
    }
    let (reason, sequence) = (said.stop_reason(), said.stop_sequence());
    let numbers = &said.numbers;
    let data = format!(
        concat!(
            r#"{{"type":"message_delta","delta":{{"stop_reason":{},"stop_sequence":{}}},"#,
            r#""usage":{{"input_tokens":{},"cache_creation_input_tokens":0,"cache_read_input_tokens":{},"output_tokens":{}}}}}"#
        ),
        reason, sequence, numbers.input, numbers.cached, numbers.output
    );
    events.put("message_delta", &data, Part::Finish, 0);
    events.put("message_stop", r#"{"type":"message_stop"}"#, Part::End, 0);
    Stream { text: events.text.into(), events: events.list.into() }
}

struct Events {
    text: String,
    list: Vec<Event>,
}

impl Events {
    fn block(&mut self, index: usize, block: &Spoken<'_>) {
        match block {
            Spoken::Thinking { text, signature } => {
                self.start(index, &json!({"type": "thinking", "thinking": "", "signature": ""}));
                if let Some(text) = text {
                    self.deltas(index, "thinking_delta", "thinking", text);
                }
                self.delta(index, "signature_delta", "signature", signature, 0);
            }
            Spoken::Text(text) => {
                self.start(index, &json!({"type": "text", "text": ""}));
                self.deltas(index, "text_delta", "text", text);
            }
            Spoken::ToolUse { id, name, input } => {
                self.start(index, &json!({"type": "tool_use", "id": id, "name": name, "input": {}}));
                self.delta(index, "input_json_delta", "partial_json", "", 0);
                self.deltas(index, "input_json_delta", "partial_json", input);
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

    fn deltas(&mut self, index: usize, kind: &str, member: &str, text: &Text) {
        for piece in text.pieces() {
            self.delta(index, kind, member, piece, 1);
        }
    }

    fn delta(&mut self, index: usize, kind: &str, member: &str, piece: &str, tokens: u32) {
        let delta = format!(r#"{{"type":"{kind}","{member}":{}}}"#, Value::from(piece));
        let data = format!(r#"{{"type":"content_block_delta","index":{index},"delta":{delta}}}"#);
        self.put("content_block_delta", &data, Part::Said, tokens);
    }

    fn push(&mut self, event: &str, data: &str) {
        self.put(event, data, Part::Said, 0);
    }

    fn put(&mut self, event: &str, data: &str, part: Part, tokens: u32) {
        for part in ["event: ", event, "\ndata: ", data, "\n\n"] {
            self.text.push_str(part);
        }
        self.list.push(Event { end: self.text.len(), part, tokens });
    }
}

/// The frames of one stream. Each is a piece of what all of them share.
pub(super) struct Frames {
    first: Option<Bytes>,
    stream: Stream,
    next: usize,
    at: usize,
}

impl Frames {
    pub(super) fn new(first: Bytes, stream: Stream) -> Self {
        Frames { first: Some(first), stream, next: 0, at: 0 }
    }
}

impl Iterator for Frames {
    type Item = Frame;

    fn next(&mut self) -> Option<Frame> {
        if let Some(first) = self.first.take() {
            return Some(Frame::said(first, 0));
        }
        let Event { end, part, tokens } = *self.stream.events.get(self.next)?;
        let bytes = self.stream.text.slice(self.at..end);
        (self.next, self.at) = (self.next + 1, end);
        Some(Frame { bytes, part, tokens })
    }
}
