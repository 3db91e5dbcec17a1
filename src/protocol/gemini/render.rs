//! Rendering of replies in Google's shapes: candidates, parts and usage.

use std::{ops::Range, sync::Arc};

use bytes::BytesMut;
use serde::{Serialize, Serializer, ser::SerializeMap};
use serde_json::{Map, Value, json};

use super::{
    has_signatures,
    usage::{Count, JsonLayout, RunningUsage, UsageJson, output_tokens},
};
use crate::{
    core::{
        random::{Alphabet, Random},
        reply::{Block, FinishReason, Reply, Text, ToolCall, Usage},
    },
    protocol::events::{EventList, EventLists, Events, GapEvent, NextEvent, RenderTime},
};

/// Fixed values of an endpoint's responses. They also distinguish Vertex AI from the Gemini API.
pub(super) struct EndpointStyle {
    /// Average log probability of a candidate in a full response.
    pub(super) average_logprobs: Option<Value>,
    /// The way the request was served, as Vertex AI reports it.
    pub(super) traffic_type: Option<Value>,
    /// The way the request was served, as the Gemini API reports it.
    pub(super) service_tier: Option<Value>,
}

impl EndpointStyle {
    /// Returns true for Vertex AI. It puts the role first, omits the index of the first candidate, reports the
    /// candidates' tokens by modality, and reports usage only in the last chunk of a stream.
    pub(super) fn is_vertex(&self) -> bool {
        self.traffic_type.is_some()
    }
}

/// A message without the envelope.
#[derive(Default)]
pub(super) struct Message {
    pub(super) candidates: Vec<u8>,
    pub(super) usage: Vec<u8>,
}

/// A candidate.
pub(super) struct Candidate {
    parts: Vec<Part>,
    finish: &'static str,
}

/// A part of a candidate.
enum Part {
    /// A part that is one chunk of a stream, with its number of tokens. Thoughts are counted separately.
    Fixed(Value, u64),
    /// A text that is streamed in pieces.
    Text(Text),
}

/// Returns the candidates of a reply. `unquoted` removes the quotes of a JSON string. Calls draw ids and signatures
/// from `random` if the model has them.
pub(super) fn candidates(
    reply: &Reply,
    model: &str,
    unquoted: bool,
    mut random: Option<&mut Random>,
) -> Vec<Candidate> {
    let has_signatures = has_signatures(model);
    let choice = |choice: &crate::core::reply::Choice| {
        let mut finish = match choice.finish_reason {
            FinishReason::Stop | FinishReason::ToolCalls => "STOP",
            FinishReason::Length => "MAX_TOKENS",
            FinishReason::ContentFilter => "SAFETY",
        };
        let mut parts = Vec::new();
        let mut signed = false;
        for block in &choice.blocks {
            match block {
                Block::Reasoning(text) => parts.push(Part::Fixed(json!({"text": text.whole(), "thought": true}), 0)),
                Block::Text(text) if unquoted && text.whole().starts_with('"') => {
                    let quoted = text.whole();
                    let truncated = || quoted.trim_matches('"').to_owned();
                    let value: String = serde_json::from_str(&quoted).unwrap_or_else(|_| truncated());
                    parts.push(Part::Fixed(json!({"text": value}), text.tokens));
                }
                Block::Text(text) | Block::Refusal(text) | Block::Audio(text) => parts.push(Part::Text(text.clone())),
                Block::ToolCall(call) => {
                    match function_call(call, random.as_deref_mut().filter(|_| has_signatures), !signed) {
                        Some(part) => {
                            signed = true;
                            parts.push(Part::Fixed(part, call.arguments.tokens));
                        }
                        // Arguments cut off at the token limit are not an object.
                        None if finish == "STOP" => finish = "MALFORMED_FUNCTION_CALL",
                        None => {}
                    }
                }
            }
        }
        // A text without pieces has no part.
        parts.retain(|part| !matches!(part, Part::Text(text) if text.piece_count() == 0));
        Candidate { parts, finish }
    };
    reply.choices.iter().map(choice).collect()
}

/// Returns the part of a function call; `None` if its arguments are not an object. With `random` the call has an id,
/// and the first call a signature.
fn function_call(call: &ToolCall, random: Option<&mut Random>, first: bool) -> Option<Value> {
    let arguments: Map<String, Value> = serde_json::from_str(&call.arguments.whole()).ok()?;
    let mut part = json!({"functionCall": {"name": call.name, "args": arguments}});
    if let Some(random) = random {
        let mut fresh = |length| {
            let mut symbols = Vec::with_capacity(length);
            random.put(Alphabet::Alphanumeric, length, &mut symbols);
            Value::from(String::from_utf8_lossy(&symbols))
        };
        part["functionCall"]["id"] = fresh(8);
        if first {
            // A multiple of four: whole groups of base64.
            part["thoughtSignature"] = fresh(128);
        }
    }
    Some(part)
}

/// Returns a full message. `write` renders its values.
pub(super) fn full(candidates: &[Candidate], usage: &Usage, style: &EndpointStyle, write: JsonLayout) -> Message {
    let json = candidates.iter().enumerate().map(|(n, candidate)| {
        let part = |part: &Part| match part {
            Part::Fixed(value, _) => value.clone(),
            Part::Text(text) => json!({"text": text.whole()}),
        };
        let parts = candidate.parts.iter().map(part).collect();
        let (finish, logprobs) = (Some(candidate.finish), style.average_logprobs.as_ref());
        CandidateJson { index: n, parts, finish, logprobs, style }
    });
    let json: Vec<_> = json.collect();
    let usage = UsageJson { usage, output: Count::Number(output_tokens(usage)), style };
    Message { candidates: write.write(&json), usage: write.write(&usage) }
}

/// A chunk of a stream, without its usage.
#[derive(Clone)]
pub(super) struct Chunk {
    /// The candidate in it, as a JSON array.
    pub(super) candidates: Vec<u8>,
    /// Number of tokens in the chunk.
    tokens: u32,
    /// True if it takes time. Candidates are generated in parallel, so only the first one does.
    pub(super) is_paced: bool,
}

impl GapEvent for Chunk {
    fn text(&self) -> &[u8] {
        &self.candidates
    }

    fn without(mut self, part: Range<usize>) -> Option<Self> {
        self.candidates.drain(part);
        Some(self)
    }

    fn tokens(&self) -> u32 {
        self.tokens
    }
}

/// Returns the chunks of a candidate with index `n`, one piece each. Those of texts are rendered at `time`.
fn chunks_of(
    n: usize,
    candidate: &Candidate,
    style: &Arc<EndpointStyle>,
    write: JsonLayout,
    time: RenderTime,
) -> EventList<Chunk> {
    let (style, finish) = (Arc::clone(style), candidate.finish);
    let chunk = move |part: Option<Value>, is_last: bool, tokens: u64| {
        let (parts, finish) = (part.into_iter().collect(), is_last.then_some(finish));
        let candidate = CandidateJson { index: n, parts, finish, logprobs: None, style: &style };
        let tokens = u32::try_from(tokens).unwrap_or(u32::MAX);
        Chunk { candidates: write.write(&[candidate]), tokens, is_paced: n == 0 }
    };
    let mut list = EventList::new(time);
    let last = candidate.parts.len().checked_sub(1);
    for (at, part) in candidate.parts.iter().enumerate() {
        let is_last = Some(at) == last;
        match part {
            Part::Fixed(value, tokens) => list.push(chunk(Some(value.clone()), is_last, *tokens)),
            Part::Text(text) => {
                let chunk = chunk.clone();
                list.push_gaps_with_last(text, move |piece, is_last_piece| {
                    chunk(Some(json!({"text": piece})), is_last && is_last_piece, 1)
                });
            }
        }
    }
    if candidate.parts.is_empty() {
        list.push(chunk(None, true, 0));
    }
    list
}

/// The chunks of a reply. The candidates take turns, one piece per chunk.
#[derive(Clone)]
pub(super) struct Chunks {
    lists: EventLists<Chunk>,
    usage: Arc<RunningUsage>,
}

impl Chunks {
    /// Creates the chunks, whose texts are rendered at `time`.
    pub(super) fn new(
        candidates: &[Candidate],
        usage: &Usage,
        style: &Arc<EndpointStyle>,
        write: JsonLayout,
        time: RenderTime,
    ) -> Self {
        let lists = candidates.iter().enumerate();
        let lists = lists.map(|(n, candidate)| chunks_of(n, candidate, style, write, time)).collect();
        Chunks { lists, usage: Arc::new(RunningUsage::new(*usage, Arc::clone(style), write)) }
    }

    /// Returns the stream of these chunks.
    pub(super) fn stream(&self) -> ChunkStream {
        let left = self.lists.iter().map(EventList::len).sum();
        ChunkStream { usage: Arc::clone(&self.usage), events: Events::new(&self.lists), left, so_far: 0 }
    }
}

/// The chunks of one stream, with their usage.
#[derive(Clone)]
pub(super) struct ChunkStream {
    usage: Arc<RunningUsage>,
    events: Events<Chunk>,
    /// Number of chunks that are left: the last one is special.
    left: usize,
    /// Number of tokens sent.
    so_far: u64,
}

/// A chunk with its usage.
pub(super) struct NextChunk<'a> {
    pub(super) chunk: NextEvent<'a, Chunk>,
    /// True for the last chunk of the stream.
    pub(super) is_last: bool,
    usage: &'a RunningUsage,
    so_far: u64,
}

impl NextChunk<'_> {
    /// Appends the usage.
    pub(super) fn put_usage(&self, out: &mut BytesMut) {
        self.usage.put(self.so_far, self.is_last, out);
    }
}

impl ChunkStream {
    /// Returns the memory of the chunks, in bytes, and 0 if many streams share them. `None` if it is unknown.
    pub(super) fn size(&self) -> Option<usize> {
        self.events.size().map(|chunks| if chunks == 0 { 0 } else { chunks + self.usage.size() })
    }

    /// Returns the next chunk.
    pub(super) fn next(&mut self) -> Option<NextChunk<'_>> {
        let chunk = self.events.next()?;
        self.left = self.left.saturating_sub(1);
        let total = output_tokens(&self.usage.usage);
        self.so_far = self.so_far.saturating_add(u64::from(chunk.tokens())).min(total);
        let is_last = self.left == 0;
        let so_far = if is_last { total } else { self.so_far };
        Some(NextChunk { chunk, is_last, usage: &self.usage, so_far })
    }
}

/// A candidate, as it is sent.
struct CandidateJson<'a> {
    index: usize,
    parts: Vec<Value>,
    finish: Option<&'static str>,
    logprobs: Option<&'a Value>,
    style: &'a EndpointStyle,
}

impl Serialize for CandidateJson<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut candidate = serializer.serialize_map(None)?;
        candidate.serialize_entry("content", &ContentJson { parts: &self.parts, is_vertex: self.style.is_vertex() })?;
        if let Some(finish) = self.finish {
            candidate.serialize_entry("finishReason", finish)?;
        }
        if let Some(logprobs) = self.logprobs {
            candidate.serialize_entry("avgLogprobs", logprobs)?;
        }
        // Vertex AI omits index 0, as protocol buffers omit default values.
        if self.index > 0 || !self.style.is_vertex() {
            candidate.serialize_entry("index", &self.index)?;
        }
        candidate.end()
    }
}

/// The content of a candidate, as it is sent.
struct ContentJson<'a> {
    parts: &'a [Value],
    is_vertex: bool,
}

impl Serialize for ContentJson<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut content = serializer.serialize_map(None)?;
        if self.is_vertex {
            content.serialize_entry("role", "model")?;
        }
        // An empty candidate has no list of parts.
        if !self.parts.is_empty() {
            content.serialize_entry("parts", self.parts)?;
        }
        if !self.is_vertex {
            content.serialize_entry("role", "model")?;
        }
        content.end()
    }
}
