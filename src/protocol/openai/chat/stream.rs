//! The chunks of a streamed response.

use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use serde_json::{Value, json};

use super::{
    Logprobs,
    full::{MessageParts, annotations, logprob, tool_call},
};
use crate::core::{
    random::{Alphabet, Random},
    reply::{Text, ToolKind},
    response::{EventKind, StreamEvent},
};
use crate::protocol::{interleave, wrap::azure_filter::ContentFilter};

/// The rendered chunks of one reply. All streams that send this reply share them.
pub(super) struct ChatChunks {
    /// All chunks but the usage chunk and the end marker.
    pub(super) chunks: Vec<Chunk>,
    /// The usage object.
    pub(super) usage: String,
}

/// A chunk without the members that all chunks share.
pub(super) struct Chunk {
    /// The value of `choices`.
    choices: String,
    part: EventKind,
    /// Number of tokens in the chunk. Choices are generated in parallel, so only the first choice's chunks have any.
    tokens: u32,
}

/// Renders all chunks. Each holds one choice, and the choices take turns.
pub(super) fn chunks(
    messages: &[MessageParts<'_>],
    logprobs: &Logprobs,
    filter: Option<&ContentFilter>,
    random: &mut Random,
) -> Vec<Chunk> {
    let each = messages.iter().enumerate().map(|(index, message)| {
        let mut chunks = ChunkBuilder { index, logprobs, filter, random: &mut *random, list: Vec::new() };
        chunks.message(message);
        chunks.list
    });
    interleave(each.collect())
}

/// Renders the chunks of one choice.
struct ChunkBuilder<'a> {
    index: usize,
    logprobs: &'a Logprobs,
    filter: Option<&'a ContentFilter>,
    random: &'a mut Random,
    list: Vec<Chunk>,
}

/// The text that a chunk's `logprobs` describe.
enum LogprobText<'a> {
    /// The chunk has no text.
    None,
    /// The first chunk, before any text.
    Start(&'static str),
    Content(&'a str),
    Refusal(&'a str),
}

impl ChunkBuilder<'_> {
    fn message(&mut self, message: &MessageParts<'_>) {
        let calls: Vec<_> = message.calls().collect();
        match (message.text(), message.refusal(), message.legacy(), calls.as_slice()) {
            (_, _, Some(call), _) => {
                let head = json!({"name": call.name, "arguments": ""});
                let delta = json!({"role": "assistant", "content": null, "function_call": head, "refusal": null});
                self.push(&delta.to_string(), LogprobText::None);
                for piece in call.arguments.pieces() {
                    self.token(&json!({"function_call": {"arguments": piece}}).to_string(), LogprobText::None);
                }
            }
            // A single call is in the chunk with the role.
            (None, None, None, [(call, id)]) if message.reasoning.is_none() => {
                let head = json!([indexed(0, tool_call(call, id, ""))]);
                let delta = json!({"role": "assistant", "content": null, "tool_calls": head, "refusal": null});
                self.push(&delta.to_string(), LogprobText::None);
                self.arguments(0, call.kind, &call.arguments);
            }
            (text, refusal, None, calls) => {
                match (text, refusal) {
                    (Some(text), _) => self.text(text, message),
                    (None, Some(refusal)) => self.refusal(refusal, message),
                    (None, None) if message.audio.is_some() => self.audio(message),
                    (None, None) => {
                        self.push(r#"{"role":"assistant","content":null}"#, LogprobText::None);
                        self.reasoning(message);
                    }
                }
                for (n, (call, id)) in calls.iter().enumerate() {
                    self.push(
                        &json!({"tool_calls": [indexed(n, tool_call(call, id, ""))]}).to_string(),
                        LogprobText::None,
                    );
                    self.arguments(n, call.kind, &call.arguments);
                }
            }
        }
        self.finish(message.finish_reason());
    }

    /// Renders the reasoning, which comes between the role and the text.
    fn reasoning(&mut self, message: &MessageParts<'_>) {
        let Some((member, reasoning)) = message.reasoning else { return };
        for piece in reasoning.pieces() {
            self.token(&json!({(member): piece}).to_string(), LogprobText::None);
        }
    }

    /// Renders the role with an empty text first, then the text.
    fn text(&mut self, text: &Text, message: &MessageParts<'_>) {
        self.push(r#"{"role":"assistant","content":"","refusal":null}"#, LogprobText::Start("content"));
        self.reasoning(message);
        for piece in text.pieces() {
            self.token(&format!(r#"{{"content":{}}}"#, Value::from(piece)), LogprobText::Content(piece));
        }
        if !text.citations.is_empty() {
            self.push(&json!({"annotations": annotations(text)}).to_string(), LogprobText::None);
        }
    }

    fn refusal(&mut self, refusal: &Text, message: &MessageParts<'_>) {
        self.push(r#"{"role":"assistant","content":null,"refusal":""}"#, LogprobText::Start("refusal"));
        self.reasoning(message);
        for piece in refusal.pieces() {
            self.token(&format!(r#"{{"refusal":{}}}"#, Value::from(piece)), LogprobText::Refusal(piece));
        }
    }

    fn audio(&mut self, message: &MessageParts<'_>) {
        /// Base64 characters in one chunk: groups of four, which hold three samples.
        const DATA: usize = 16 * 1024;
        let Some(audio) = &message.audio else { return };
        let head = json!({"role": "assistant", "content": null, "audio": {"id": audio["id"]}, "refusal": null});
        self.push(&head.to_string(), LogprobText::None);
        self.push(&json!({"audio": {"transcript": audio["transcript"]}}).to_string(), LogprobText::None);
        let data = audio["data"].as_str().unwrap_or_default().as_bytes();
        for data in data.chunks(DATA).filter_map(|data| std::str::from_utf8(data).ok()) {
            self.token(&json!({"audio": {"data": data}}).to_string(), LogprobText::None);
        }
        self.push(&json!({"audio": {"expires_at": audio["expires_at"]}}).to_string(), LogprobText::None);
    }

    fn arguments(&mut self, n: usize, kind: ToolKind, arguments: &Text) {
        for piece in arguments.pieces() {
            let fragment = match kind {
                ToolKind::Custom => json!({"index": n, "custom": {"input": piece}}),
                _ => json!({"index": n, "function": {"arguments": piece}}),
            };
            self.token(&json!({"tool_calls": [fragment]}).to_string(), LogprobText::None);
        }
    }

    /// Adds a chunk without a token.
    fn push(&mut self, delta: &str, text: LogprobText<'_>) {
        self.chunk(delta, text, 0);
    }

    /// Adds a chunk with one token.
    fn token(&mut self, delta: &str, text: LogprobText<'_>) {
        self.chunk(delta, text, u32::from(self.index == 0));
    }

    fn chunk(&mut self, delta: &str, text: LogprobText<'_>, tokens: u32) {
        let logprobs = match (self.logprobs, text) {
            (Logprobs::Absent, _) => String::new(),
            (Logprobs::Null, _) | (Logprobs::Given(_), LogprobText::None) => r#""logprobs":null,"#.to_owned(),
            (Logprobs::Given(_), LogprobText::Start("content")) => {
                r#""logprobs":{"content":[],"refusal":null},"#.to_owned()
            }
            (Logprobs::Given(_), LogprobText::Start(_)) => r#""logprobs":{"content":null,"refusal":[]},"#.to_owned(),
            (Logprobs::Given(top), LogprobText::Content(piece)) => {
                format!(r#""logprobs":{{"content":[{}],"refusal":null}},"#, logprob(piece, *top, self.random))
            }
            (Logprobs::Given(top), LogprobText::Refusal(piece)) => {
                format!(r#""logprobs":{{"content":null,"refusal":[{}]}},"#, logprob(piece, *top, self.random))
            }
        };
        let choices = format!(r#"[{{"index":{},"delta":{delta},{logprobs}"finish_reason":null}}]"#, self.index);
        self.list.push(Chunk { choices: self.with_filter_results(choices), part: EventKind::Content, tokens });
    }

    /// Adds the last chunk, which has a finish reason and no text.
    fn finish(&mut self, reason: &str) {
        let logprobs = if matches!(self.logprobs, Logprobs::Absent) { "" } else { r#""logprobs":null,"# };
        let choices = format!(r#"[{{"index":{},"delta":{{}},{logprobs}"finish_reason":"{reason}"}}]"#, self.index);
        self.list.push(Chunk { choices: self.with_filter_results(choices), part: EventKind::Finish, tokens: 0 });
    }

    /// Adds the filter's results to choices, if the endpoint has a filter.
    fn with_filter_results(&self, choices: String) -> String {
        let Some(filter) = self.filter else { return choices };
        let mut with_filter_results: Value = serde_json::from_str(&choices).unwrap_or_default();
        filter.annotate(&mut with_filter_results);
        with_filter_results.sort_all_objects();
        with_filter_results.to_string()
    }
}

/// Puts a call's index in front of its members.
fn indexed(n: usize, call: Value) -> Value {
    let mut indexed = json!({"index": n});
    if let (Some(indexed), Value::Object(call)) = (indexed.as_object_mut(), call) {
        indexed.extend(call);
    }
    indexed
}

/// The events of one stream, rendered one by one.
pub(super) struct ChatEvents {
    stream: Arc<ChatChunks>,
    next: usize,
    include_usage: bool,
    writer: ChunkWriter,
}

/// The parts of a chunk around its choices and its padding. All chunks of a stream share them.
#[derive(Default)]
pub(super) struct ChunkEnvelope {
    /// The event before all chunks.
    pub(super) first: Option<Bytes>,
    /// The chunk up to the value of `choices`.
    pub(super) head: Vec<u8>,
    /// The part between the choices and the padding.
    pub(super) middle: Vec<u8>,
    /// The part after the padding. If it is not empty, keys are sorted, and the usage comes last.
    pub(super) tail: Vec<u8>,
}

/// Writes events.
struct ChunkWriter {
    envelope: ChunkEnvelope,
    obfuscation: Option<Random>,
    /// Buffer that events are written into and split off. Several events at once share one allocation; events that come
    /// one by one reuse it.
    buffer: BytesMut,
}

/// Bytes for several events. A stream holds this memory while it is open.
const BUFFER_SIZE: usize = 2048;

impl ChatEvents {
    /// Creates the events. `obfuscation` pads chunks, which hides the length of tokens.
    pub(super) fn new(
        stream: &Arc<ChatChunks>,
        envelope: ChunkEnvelope,
        include_usage: bool,
        obfuscation: Option<Random>,
    ) -> Self {
        let writer = ChunkWriter { envelope, obfuscation, buffer: BytesMut::new() };
        ChatEvents { stream: Arc::clone(stream), next: 0, include_usage, writer }
    }
}

impl Iterator for ChatEvents {
    type Item = StreamEvent;

    fn next(&mut self) -> Option<StreamEvent> {
        let ChatEvents { stream, next, include_usage, writer } = self;
        if let Some(first) = writer.envelope.first.take() {
            return Some(StreamEvent::content(first, 0));
        }
        let after = next.checked_sub(stream.chunks.len());
        *next += 1;
        let (bytes, part, tokens) = match (after, *include_usage) {
            (None, include_usage) => {
                let Chunk { choices, part, tokens } = &stream.chunks[*next - 1];
                (writer.chunk(choices, include_usage.then_some("null")), *part, *tokens)
            }
            (Some(0), true) => (writer.chunk("[]", Some(&stream.usage)), EventKind::Usage, 0),
            (Some(0), false) | (Some(1), true) => (Bytes::from_static(b"data: [DONE]\n\n"), EventKind::End, 0),
            _ => return None,
        };
        Some(StreamEvent { bytes, kind: part, tokens })
    }
}

impl ChunkWriter {
    fn chunk(&mut self, choices: &str, usage: Option<&str>) -> Bytes {
        const DATA: &[u8] = b"data: ";
        let (ChunkEnvelope { head, middle, tail, .. }, out) = (&self.envelope, &mut self.buffer);
        let usage_length = usage.map_or(0, |usage| usage.len() + 9);
        let fixed_length = DATA.len() + head.len() + middle.len() + tail.len();
        let most = fixed_length + choices.len() + usage_length + 40;
        if out.capacity() - out.len() < most {
            out.reserve(most.max(BUFFER_SIZE));
        }
        let put_usage = |out: &mut BytesMut| {
            if let Some(usage) = usage {
                out.extend_from_slice(b",\"usage\":");
                out.extend_from_slice(usage.as_bytes());
            }
        };
        out.extend_from_slice(DATA);
        out.extend_from_slice(head);
        out.extend_from_slice(choices.as_bytes());
        if tail.is_empty() {
            put_usage(out);
        }
        out.extend_from_slice(middle);
        if let Some(random) = &mut self.obfuscation {
            // Padding hides the length of a token. With it, the chunk without the member's own 17 bytes of syntax is a
            // multiple of 16 bytes long.
            let length = fixed_length - DATA.len() + choices.len() + usage_length + 1;
            out.extend_from_slice(b",\"obfuscation\":\"");
            random.put(Alphabet::Alphanumeric, (16 - length % 16) % 16, out);
            out.extend_from_slice(b"\"");
        }
        if !tail.is_empty() {
            out.extend_from_slice(tail);
            put_usage(out);
        }
        out.extend_from_slice(b"}\n\n");
        out.split().freeze()
    }
}
