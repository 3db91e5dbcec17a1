//! The chunks of a streamed response.

use std::sync::Arc;

use serde_json::{Value, json};

use super::{
    full::{Logprobs, MessageParts, annotations, logprobs, tool_call},
    host::OptionalMember,
};
use crate::core::{
    reply::{Piece, Text, ToolCall, ToolKind},
    response::EventKind,
};
use crate::protocol::{
    events::{EventList, EventLists, RenderTime},
    openai::chunk::Chunk,
    wrap::azure_filter::ContentFilter,
};

/// The chunks of one reply. Clones share them.
#[derive(Clone, Default)]
pub(super) struct ChatChunks {
    /// All chunks but the usage chunk and the end marker. Each holds one choice, and the choices take turns.
    pub(super) chunks: EventLists<Chunk>,
    /// The usage object; empty if no stream sends it.
    pub(super) usage: Arc<str>,
}

/// The properties that all chunks of one choice share.
#[derive(Clone)]
pub(super) struct ChunkStyle {
    /// The index of the choice.
    pub(super) index: usize,
    pub(super) logprobs: Logprobs,
    /// The seed of the log probabilities.
    pub(super) seed: u64,
    /// Azure's content filter, if the endpoint has one.
    pub(super) filter: Option<Arc<ContentFilter>>,
    /// True if choices have a `native_finish_reason`, and true if each delta has the role.
    pub(super) host: (bool, bool),
}

/// Returns the chunks of one choice. Those of texts are rendered at `time`.
pub(super) fn chunks(message: &MessageParts<'_>, style: ChunkStyle, time: RenderTime) -> EventList<Chunk> {
    let mut chunks = ChunkBuilder { style, list: EventList::new(time) };
    chunks.message(message);
    chunks.list
}

/// The builder of one choice's chunks.
struct ChunkBuilder {
    style: ChunkStyle,
    list: EventList<Chunk>,
}

/// The text that a chunk's `logprobs` describe.
enum LogprobText<'a> {
    /// The chunk has no text.
    None,
    /// The first chunk, before any text.
    Start(&'static str),
    Content(&'a Text, Piece<'a>),
    Refusal(&'a Text, Piece<'a>),
}

/// The descriptions of a text's pieces.
impl LogprobText<'_> {
    fn none<'a>(_: &'a Text, _: Piece<'a>) -> LogprobText<'a> {
        LogprobText::None
    }

    fn of_content<'a>(text: &'a Text, piece: Piece<'a>) -> LogprobText<'a> {
        LogprobText::Content(text, piece)
    }

    fn of_refusal<'a>(text: &'a Text, piece: Piece<'a>) -> LogprobText<'a> {
        LogprobText::Refusal(text, piece)
    }
}

impl ChunkBuilder {
    fn message(&mut self, message: &MessageParts<'_>) {
        let calls: Vec<_> = message.calls().collect();
        match (message.text(), message.refusal(), message.legacy(), calls.as_slice()) {
            (_, _, Some(call), _) => {
                let head = json!({"name": call.name, "arguments": ""});
                self.first(json!({"role": "assistant", "content": null, "function_call": head}), message);
                let delta = |piece: &str| json!({"function_call": {"arguments": piece}}).to_string();
                self.pieces(&call.arguments, delta, LogprobText::none);
            }
            // A single call is in the chunk with the role.
            (None, None, None, [(call, id)]) if message.reasoning.is_none() && !message.host.whole_calls => {
                let head = json!([indexed(0, tool_call(call, id, ""))]);
                self.first(json!({"role": "assistant", "content": null, "tool_calls": head}), message);
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
                    if message.host.whole_calls {
                        self.whole_call(n, call, id);
                        continue;
                    }
                    self.push(
                        &json!({"tool_calls": [indexed(n, tool_call(call, id, ""))]}).to_string(),
                        LogprobText::None,
                    );
                    self.arguments(n, call.kind, &call.arguments);
                }
            }
        }
        self.list.push(self.style.finish(message.finish_reason()));
    }

    /// Adds the reasoning, which comes between the role and the text.
    fn reasoning(&mut self, message: &MessageParts<'_>) {
        let Some((member, reasoning)) = message.reasoning else { return };
        let member = member.to_owned();
        self.pieces(reasoning, move |piece| json!({&member: piece}).to_string(), LogprobText::none);
    }

    /// Adds the role with an empty text first, then the text.
    fn text(&mut self, text: &Text, message: &MessageParts<'_>) {
        let delta = match message.host.has(OptionalMember::DeltaRefusal) {
            true => r#"{"role":"assistant","content":"","refusal":null}"#,
            false => r#"{"role":"assistant","content":""}"#,
        };
        self.push(delta, LogprobText::Start("content"));
        self.reasoning(message);
        self.pieces(text, |piece| format!(r#"{{"content":{}}}"#, Value::from(piece)), LogprobText::of_content);
        if !text.citations.is_empty() {
            self.push(&json!({"annotations": annotations(text)}).to_string(), LogprobText::None);
        }
    }

    fn refusal(&mut self, refusal: &Text, message: &MessageParts<'_>) {
        self.push(r#"{"role":"assistant","content":null,"refusal":""}"#, LogprobText::Start("refusal"));
        self.reasoning(message);
        self.pieces(refusal, |piece| format!(r#"{{"refusal":{}}}"#, Value::from(piece)), LogprobText::of_refusal);
    }

    fn audio(&mut self, message: &MessageParts<'_>) {
        /// Base64 characters in one chunk: groups of four, which hold three samples.
        const DATA: usize = 16 * 1024;
        let Some(audio) = &message.audio else { return };
        self.first(json!({"role": "assistant", "content": null, "audio": {"id": audio["id"]}}), message);
        self.push(&json!({"audio": {"transcript": audio["transcript"]}}).to_string(), LogprobText::None);
        let data = audio["data"].as_str().unwrap_or_default().as_bytes();
        for data in data.chunks(DATA).filter_map(|data| std::str::from_utf8(data).ok()) {
            let delta = json!({"audio": {"data": data}}).to_string();
            self.list.push(self.style.token(&delta, LogprobText::None));
        }
        self.push(&json!({"audio": {"expires_at": audio["expires_at"]}}).to_string(), LogprobText::None);
    }

    fn arguments(&mut self, n: usize, kind: ToolKind, arguments: &Text) {
        let delta = move |piece: &str| {
            let fragment = match kind {
                ToolKind::Custom => json!({"index": n, "custom": {"input": piece}}),
                _ => json!({"index": n, "function": {"arguments": piece}}),
            };
            json!({"tool_calls": [fragment]}).to_string()
        };
        self.pieces(arguments, delta, LogprobText::none);
    }

    /// Adds a chunk with a call and all its arguments.
    fn whole_call(&mut self, n: usize, call: &ToolCall, id: &str) {
        let tokens = u32::try_from(call.arguments.piece_count()).unwrap_or(u32::MAX);
        let call = indexed(n, tool_call(call, id, &call.arguments.whole()));
        let tokens = if self.style.index == 0 { tokens } else { 0 };
        self.list.push(self.style.chunk(&json!({"tool_calls": [call]}).to_string(), LogprobText::None, tokens));
    }

    /// Adds the first chunk, whose delta gets a null refusal if the host has it.
    fn first(&mut self, mut delta: Value, message: &MessageParts<'_>) {
        if message.host.has(OptionalMember::DeltaRefusal) {
            delta["refusal"] = Value::Null;
        }
        self.push(&delta.to_string(), LogprobText::None);
    }

    /// Adds a chunk without a token.
    fn push(&mut self, delta: &str, text: LogprobText<'_>) {
        self.list.push(self.style.chunk(delta, text, 0));
    }

    /// Adds a chunk for each piece of a text.
    fn pieces(
        &mut self,
        text: &Text,
        delta: impl Fn(&str) -> String + Send + Sync + 'static,
        logprob_text: for<'p> fn(&'p Text, Piece<'p>) -> LogprobText<'p>,
    ) {
        let style = self.style.clone();
        match style.logprobs {
            Logprobs::Given(_) => {
                let whole = text.clone();
                self.list.push_pieces(text, move |piece| style.token(&delta(piece.text), logprob_text(&whole, piece)));
            }
            Logprobs::Absent | Logprobs::Null => {
                self.list.push_gaps(text, move |piece| style.token(&delta(piece), LogprobText::None));
            }
        }
    }
}

impl ChunkStyle {
    /// Renders a chunk with one token.
    fn token(&self, delta: &str, text: LogprobText<'_>) -> Chunk {
        self.chunk(delta, text, u32::from(self.index == 0))
    }

    fn chunk(&self, delta: &str, text: LogprobText<'_>, tokens: u32) -> Chunk {
        let logprobs = match (self.logprobs, text) {
            (Logprobs::Absent, _) => String::new(),
            (Logprobs::Null, _) | (Logprobs::Given(_), LogprobText::None) => r#""logprobs":null,"#.to_owned(),
            (Logprobs::Given(_), LogprobText::Start("content")) => {
                r#""logprobs":{"content":[],"refusal":null},"#.to_owned()
            }
            (Logprobs::Given(_), LogprobText::Start(_)) => r#""logprobs":{"content":null,"refusal":[]},"#.to_owned(),
            (Logprobs::Given(top), LogprobText::Content(text, piece)) => {
                format!(r#""logprobs":{{"content":{},"refusal":null}},"#, logprobs(text, piece, top, self.seed))
            }
            (Logprobs::Given(top), LogprobText::Refusal(text, piece)) => {
                format!(r#""logprobs":{{"content":null,"refusal":{}}},"#, logprobs(text, piece, top, self.seed))
            }
        };
        let (native, role) = match self.host {
            (false, false) => ("", ""),
            (has_native, has_role) => {
                let lacks_role = has_role && !delta.starts_with(r#"{"role""#);
                (
                    if has_native { r#","native_finish_reason":null"# } else { "" },
                    if lacks_role { r#""role":"assistant","# } else { "" },
                )
            }
        };
        let rest = delta.strip_prefix('{').unwrap_or(delta);
        let index = self.index;
        let choices = format!(r#"[{{"index":{index},"delta":{{{role}{rest},{logprobs}"finish_reason":null{native}}}]"#);
        Chunk { choices: self.with_filter_results(choices), part: EventKind::Content, tokens }
    }

    /// Renders the last chunk, which has a finish reason and no text.
    fn finish(&self, reason: &str) -> Chunk {
        let logprobs = if matches!(self.logprobs, Logprobs::Absent) { "" } else { r#""logprobs":null,"# };
        let (has_native, has_role) = self.host;
        let delta = if has_role { r#"{"role":"assistant","content":""}"# } else { "{}" };
        let native = if has_native { format!(r#","native_finish_reason":"{reason}""#) } else { String::new() };
        let index = self.index;
        let choices = format!(r#"[{{"index":{index},"delta":{delta},{logprobs}"finish_reason":"{reason}"{native}}}]"#);
        Chunk { choices: self.with_filter_results(choices), part: EventKind::Finish, tokens: 0 }
    }

    /// Adds the filter's results to choices, if the endpoint has a filter.
    fn with_filter_results(&self, choices: String) -> String {
        let Some(filter) = &self.filter else { return choices };
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
