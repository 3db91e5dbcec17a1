//! A streamed answer: chunk by chunk.

use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use serde_json::{Value, json};

use super::{
    Logprobs,
    whole::{Said, annotations, logprob, tool_call},
};
use crate::core::{
    random::{Alphabet, Random},
    reply::{Text, ToolKind},
    response::{EventKind, StreamEvent},
};
use crate::protocol::{interleave, wrap::azure_filter::ContentFilter};

/// What a stream says, shared by all the streams that say it.
pub(super) struct Stream {
    /// Every chunk but those that say what it cost and that it is over.
    pub(super) chunks: Vec<Chunk>,
    /// The usage object.
    pub(super) usage: String,
}

/// A chunk but for what is the same in all of them.
pub(super) struct Chunk {
    /// Its `choices`.
    choices: String,
    part: EventKind,
    /// The tokens it brings. Alternatives are said at the same time, and so only those of the first take any.
    tokens: u32,
}

/// All chunks: those of the alternatives take turns, one to a chunk.
pub(super) fn chunks(
    said: &[Said<'_>],
    logprobs: &Logprobs,
    filter: Option<&ContentFilter>,
    random: &mut Random,
) -> Vec<Chunk> {
    let each = said.iter().enumerate().map(|(index, said)| {
        let mut chunks = Chunks { index, logprobs, filter, random: &mut *random, list: Vec::new() };
        chunks.say(said);
        chunks.list
    });
    interleave(each.collect())
}

struct Chunks<'a> {
    index: usize,
    logprobs: &'a Logprobs,
    filter: Option<&'a ContentFilter>,
    random: &'a mut Random,
    list: Vec<Chunk>,
}

/// What stands in a chunk's `logprobs`.
enum Of<'a> {
    /// No text is in the chunk.
    Nothing,
    /// The first chunk, before any text.
    Start(&'static str),
    Content(&'a str),
    Refusal(&'a str),
}

impl Chunks<'_> {
    fn say(&mut self, said: &Said<'_>) {
        let calls: Vec<_> = said.calls().collect();
        match (said.text(), said.refusal(), said.legacy(), calls.as_slice()) {
            (_, _, Some(call), _) => {
                let head = json!({"name": call.name, "arguments": ""});
                let delta = json!({"role": "assistant", "content": null, "function_call": head, "refusal": null});
                self.push(&delta.to_string(), Of::Nothing);
                for piece in call.arguments.pieces() {
                    self.token(&json!({"function_call": {"arguments": piece}}).to_string(), Of::Nothing);
                }
            }
            // A single call comes with the role.
            (None, None, None, [(call, id)]) if said.thoughts.is_none() => {
                let head = json!([indexed(0, tool_call(call, id, ""))]);
                let delta = json!({"role": "assistant", "content": null, "tool_calls": head, "refusal": null});
                self.push(&delta.to_string(), Of::Nothing);
                self.arguments(0, call.kind, &call.arguments);
            }
            (text, refusal, None, calls) => {
                match (text, refusal) {
                    (Some(text), _) => self.text(text, said),
                    (None, Some(refusal)) => self.refusal(refusal, said),
                    (None, None) if said.audio.is_some() => self.audio(said),
                    (None, None) => {
                        self.push(r#"{"role":"assistant","content":null}"#, Of::Nothing);
                        self.thoughts(said);
                    }
                }
                for (n, (call, id)) in calls.iter().enumerate() {
                    self.push(&json!({"tool_calls": [indexed(n, tool_call(call, id, ""))]}).to_string(), Of::Nothing);
                    self.arguments(n, call.kind, &call.arguments);
                }
            }
        }
        self.finish(said.finish_reason());
    }

    /// What was thought, between the role and what is said.
    fn thoughts(&mut self, said: &Said<'_>) {
        let Some((member, thought)) = said.thoughts else { return };
        for piece in thought.pieces() {
            self.token(&json!({(member): piece}).to_string(), Of::Nothing);
        }
    }

    /// The role first and without text, then the text.
    fn text(&mut self, text: &Text, said: &Said<'_>) {
        self.push(r#"{"role":"assistant","content":"","refusal":null}"#, Of::Start("content"));
        self.thoughts(said);
        for piece in text.pieces() {
            self.token(&format!(r#"{{"content":{}}}"#, Value::from(piece)), Of::Content(piece));
        }
        if !text.citations.is_empty() {
            self.push(&json!({"annotations": annotations(text)}).to_string(), Of::Nothing);
        }
    }

    fn refusal(&mut self, refusal: &Text, said: &Said<'_>) {
        self.push(r#"{"role":"assistant","content":null,"refusal":""}"#, Of::Start("refusal"));
        self.thoughts(said);
        for piece in refusal.pieces() {
            self.token(&format!(r#"{{"refusal":{}}}"#, Value::from(piece)), Of::Refusal(piece));
        }
    }

    fn audio(&mut self, said: &Said<'_>) {
        /// Base64 in one chunk: whole groups of four, of three whole samples each.
        const DATA: usize = 16 * 1024;
        let Some(audio) = &said.audio else { return };
        let head = json!({"role": "assistant", "content": null, "audio": {"id": audio["id"]}, "refusal": null});
        self.push(&head.to_string(), Of::Nothing);
        self.push(&json!({"audio": {"transcript": audio["transcript"]}}).to_string(), Of::Nothing);
        let data = audio["data"].as_str().unwrap_or_default().as_bytes();
        for data in data.chunks(DATA).filter_map(|data| std::str::from_utf8(data).ok()) {
            self.token(&json!({"audio": {"data": data}}).to_string(), Of::Nothing);
        }
        self.push(&json!({"audio": {"expires_at": audio["expires_at"]}}).to_string(), Of::Nothing);
    }

    fn arguments(&mut self, n: usize, kind: ToolKind, arguments: &Text) {
        for piece in arguments.pieces() {
            let fragment = match kind {
                ToolKind::Custom => json!({"index": n, "custom": {"input": piece}}),
                _ => json!({"index": n, "function": {"arguments": piece}}),
            };
            self.token(&json!({"tool_calls": [fragment]}).to_string(), Of::Nothing);
        }
    }

    /// A chunk that leads to what is said, or follows from it.
    fn push(&mut self, delta: &str, of: Of<'_>) {
        self.chunk(delta, of, 0);
    }

    /// A chunk that brings a token.
    fn token(&mut self, delta: &str, of: Of<'_>) {
        self.chunk(delta, of, u32::from(self.index == 0));
    }

    fn chunk(&mut self, delta: &str, of: Of<'_>, tokens: u32) {
        let logprobs = match (self.logprobs, of) {
            (Logprobs::Absent, _) => String::new(),
            (Logprobs::Null, _) | (Logprobs::Given(_), Of::Nothing) => r#""logprobs":null,"#.to_owned(),
            (Logprobs::Given(_), Of::Start("content")) => r#""logprobs":{"content":[],"refusal":null},"#.to_owned(),
            (Logprobs::Given(_), Of::Start(_)) => r#""logprobs":{"content":null,"refusal":[]},"#.to_owned(),
            (Logprobs::Given(top), Of::Content(piece)) => {
                format!(r#""logprobs":{{"content":[{}],"refusal":null}},"#, logprob(piece, *top, self.random))
            }
            (Logprobs::Given(top), Of::Refusal(piece)) => {
                format!(r#""logprobs":{{"content":null,"refusal":[{}]}},"#, logprob(piece, *top, self.random))
            }
        };
        let choices = format!(r#"[{{"index":{},"delta":{delta},{logprobs}"finish_reason":null}}]"#, self.index);
        self.list.push(Chunk { choices: self.judged(choices), part: EventKind::Content, tokens });
    }

    /// The last chunk has a reason and no text.
    fn finish(&mut self, reason: &str) {
        let logprobs = if matches!(self.logprobs, Logprobs::Absent) { "" } else { r#""logprobs":null,"# };
        let choices = format!(r#"[{{"index":{},"delta":{{}},{logprobs}"finish_reason":"{reason}"}}]"#, self.index);
        self.list.push(Chunk { choices: self.judged(choices), part: EventKind::Finish, tokens: 0 });
    }

    /// Choices as they stand behind the filter, if there is one.
    fn judged(&self, choices: String) -> String {
        let Some(filter) = self.filter else { return choices };
        let mut judged: Value = serde_json::from_str(&choices).unwrap_or_default();
        filter.annotate(&mut judged);
        judged.sort_all_objects();
        judged.to_string()
    }
}

/// A call with its number, which comes first.
fn indexed(n: usize, call: Value) -> Value {
    let mut indexed = json!({"index": n});
    if let (Some(indexed), Value::Object(call)) = (indexed.as_object_mut(), call) {
        indexed.extend(call);
    }
    indexed
}

/// The frames of one stream, rendered one by one.
pub(super) struct Frames {
    stream: Arc<Stream>,
    next: usize,
    include_usage: bool,
    pen: ChunkWriter,
}

/// What stands around the choices and the padding of a chunk, the same for all of a stream.
#[derive(Default)]
pub(super) struct Around {
    /// What comes before all chunks.
    pub(super) first: Option<Bytes>,
    /// A chunk up to the value of `choices`.
    pub(super) head: Vec<u8>,
    /// What follows the choices, before the padding.
    pub(super) middle: Vec<u8>,
    /// What follows the padding. Where something does, keys are in the order of the alphabet, and the usage is the last.
    pub(super) tail: Vec<u8>,
}

/// Writes frames.
struct ChunkWriter {
    around: Around,
    obfuscation: Option<Random>,
    /// What frames are written into and cut out of: some at once take one allocation, and those that come one by one take
    /// the same one again.
    paper: BytesMut,
}

/// Room for some frames: memory that a stream holds while it is open.
const BUFFER_SIZE: usize = 2048;

impl Frames {
    /// With `obfuscation` the length of tokens is hidden.
    pub(super) fn new(stream: &Arc<Stream>, around: Around, include_usage: bool, obfuscation: Option<Random>) -> Self {
        let pen = ChunkWriter { around, obfuscation, paper: BytesMut::new() };
        Frames { stream: Arc::clone(stream), next: 0, include_usage, pen }
    }
}

impl Iterator for Frames {
    type Item = StreamEvent;

    fn next(&mut self) -> Option<StreamEvent> {
        let Frames { stream, next, include_usage, pen } = self;
        if let Some(first) = pen.around.first.take() {
            return Some(StreamEvent::content(first, 0));
        }
        let after = next.checked_sub(stream.chunks.len());
        *next += 1;
        let (bytes, part, tokens) = match (after, *include_usage) {
            (None, include_usage) => {
                let Chunk { choices, part, tokens } = &stream.chunks[*next - 1];
                (pen.chunk(choices, include_usage.then_some("null")), *part, *tokens)
            }
            (Some(0), true) => (pen.chunk("[]", Some(&stream.usage)), EventKind::Usage, 0),
            (Some(0), false) | (Some(1), true) => (Bytes::from_static(b"data: [DONE]\n\n"), EventKind::End, 0),
            _ => return None,
        };
        Some(StreamEvent { bytes, kind: part, tokens })
    }
}

impl ChunkWriter {
    fn chunk(&mut self, choices: &str, usage: Option<&str>) -> Bytes {
        const DATA: &[u8] = b"data: ";
        let (Around { head, middle, tail, .. }, out) = (&self.around, &mut self.paper);
        let usage_length = usage.map_or(0, |usage| usage.len() + 9);
        let around = DATA.len() + head.len() + middle.len() + tail.len();
        let most = around + choices.len() + usage_length + 40;
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
            // Padding that hides the length of a token: with it the chunk, less the member's own 17 bytes of syntax, is
            // a multiple of 16 bytes long.
            let length = around - DATA.len() + choices.len() + usage_length + 1;
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
