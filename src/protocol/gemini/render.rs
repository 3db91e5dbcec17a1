//! Rendering of replies in Google's shapes: candidates, parts and usage.

use std::{ops::Range, sync::Arc};

use bytes::BytesMut;
use serde_json::{Map, Value, json};

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
    let has_signatures = model.starts_with("gemini-3");
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
pub(super) fn full(
    candidates: &[Candidate],
    usage: &Usage,
    style: &EndpointStyle,
    write: fn(&Value) -> Vec<u8>,
) -> Message {
    let candidates = candidates.iter().enumerate().map(|(n, candidate)| {
        let part = |part: &Part| match part {
            Part::Fixed(value, _) => value.clone(),
            Part::Text(text) => json!({"text": text.whole()}),
        };
        let parts = candidate.parts.iter().map(part).collect();
        candidate_json(n, parts, Some(candidate.finish), style.average_logprobs.as_ref(), style)
    });
    let usage = usage_json(usage, output_tokens(usage), style);
    Message { candidates: write(&candidates.collect()), usage: write(&usage) }
}

/// A chunk of a stream, without its usage.
#[derive(Clone)]
pub(super) struct Chunk {
    /// The candidate in it, as a JSON array.
    pub(super) candidates: Vec<u8>,
    /// Number of tokens for the usage.
    tokens: u64,
    /// Number of tokens for the pace of a stream. Candidates are generated in parallel, so only the first one counts.
    pub(super) paced: u32,
}

impl GapEvent for Chunk {
    fn text(&self) -> &[u8] {
        &self.candidates
    }

    fn without(&self, part: Range<usize>) -> Option<Self> {
        let candidates = [&self.candidates[..part.start], &self.candidates[part.end..]].concat();
        Some(Chunk { candidates, ..*self })
    }
}

/// Returns the chunks of a candidate with index `n`, one piece each. Those of texts are rendered at `time`.
fn chunks_of(
    n: usize,
    candidate: &Candidate,
    style: &Arc<EndpointStyle>,
    write: fn(&Value) -> Vec<u8>,
    time: RenderTime,
) -> EventList<Chunk> {
    let (style, finish) = (Arc::clone(style), candidate.finish);
    let chunk = move |part: Option<Value>, is_last: bool, tokens: u64| {
        let candidate = candidate_json(n, part.into_iter().collect(), is_last.then_some(finish), None, &style);
        let paced = if n == 0 { u32::try_from(tokens).unwrap_or(u32::MAX) } else { 0 };
        Chunk { candidates: write(&json!([candidate])), tokens, paced }
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
    /// The usage of every chunk but the last.
    running: Arc<UsageTemplate>,
    /// The usage of the last chunk.
    last: Arc<[u8]>,
    /// Number of tokens in total.
    total: u64,
}

impl Chunks {
    /// Creates the chunks, whose texts are rendered at `time`. `write` renders their values.
    pub(super) fn new(
        candidates: &[Candidate],
        usage: &Usage,
        style: &Arc<EndpointStyle>,
        write: fn(&Value) -> Vec<u8>,
        time: RenderTime,
    ) -> Self {
        let lists = candidates.iter().enumerate();
        let lists = lists.map(|(n, candidate)| chunks_of(n, candidate, style, write, time)).collect();
        let total = output_tokens(usage);
        Chunks {
            lists,
            running: Arc::new(UsageTemplate::new(usage, style, write)),
            last: write(&usage_json(usage, total, style)).into(),
            total,
        }
    }

    /// Returns the stream of these chunks.
    pub(super) fn stream(&self) -> ChunkStream {
        let left = self.lists.iter().map(EventList::len).sum();
        ChunkStream { chunks: self.clone(), events: Events::new(&self.lists), left, so_far: 0 }
    }
}

/// The chunks of one stream, with their usage.
pub(super) struct ChunkStream {
    chunks: Chunks,
    events: Events<Chunk>,
    /// Number of chunks that are left: the last one is special.
    left: usize,
    /// Number of tokens sent.
    so_far: u64,
}

/// A chunk with its usage.
pub(super) struct NextChunk<'a> {
    pub(super) chunk: NextEvent<'a, Chunk>,
    usage: Option<&'a UsageTemplate>,
    last_usage: &'a [u8],
    so_far: u64,
}

impl NextChunk<'_> {
    /// Returns true for the last chunk of the stream.
    pub(super) fn is_last(&self) -> bool {
        self.usage.is_none()
    }

    /// Appends the usage.
    pub(super) fn put_usage(&self, out: &mut BytesMut) {
        match self.usage {
            Some(usage) => usage.put(self.so_far, out),
            None => out.extend_from_slice(self.last_usage),
        }
    }
}

impl ChunkStream {
    /// Returns the next chunk.
    pub(super) fn next(&mut self) -> Option<NextChunk<'_>> {
        let chunk = self.events.next()?;
        self.left = self.left.saturating_sub(1);
        let Chunks { running, last, total, .. } = &self.chunks;
        self.so_far = self.so_far.saturating_add(chunk.event.tokens).min(*total);
        let usage = (self.left > 0).then_some(&**running);
        Some(NextChunk { chunk, usage, last_usage: last, so_far: self.so_far })
    }
}

/// The usage of a chunk before the last one.
enum UsageTemplate {
    /// The same in all chunks.
    Fixed(Vec<u8>),
    /// With the counts of tokens so far.
    Counted {
        /// The usage before the first token.
        none: Vec<u8>,
        /// The parts of the usage around the number of output tokens and the total.
        parts: [Vec<u8>; 3],
        /// Number of other tokens in the total.
        others: u64,
    },
}

impl UsageTemplate {
    fn new(usage: &Usage, style: &EndpointStyle, write: fn(&Value) -> Vec<u8>) -> Self {
        if let Some(traffic) = &style.traffic_type {
            return UsageTemplate::Fixed(write(&json!({"trafficType": traffic})));
        }
        // The numbers are rendered as marks, in quotes.
        const MARKS: [&str; 2] = ["candidatesTokenCount", "totalTokenCount"];
        let mut marked = usage_json(usage, 1, style);
        for name in MARKS {
            marked[name] = format!("\u{f8ff}{name}").into();
        }
        let (mut rest, mut parts) = (write(&marked), <[Vec<u8>; 3]>::default());
        for (part, name) in parts.iter_mut().zip(MARKS) {
            let mark = format!("\"\u{f8ff}{name}\"");
            let at = memchr::memmem::find(&rest, mark.as_bytes()).unwrap_or(rest.len());
            let after = rest.split_off((at + mark.len()).min(rest.len()));
            rest.truncate(at);
            *part = std::mem::replace(&mut rest, after);
        }
        parts[2] = rest;
        let others = usage.prompt_tokens.saturating_add(usage.reasoning_tokens);
        UsageTemplate::Counted { none: write(&usage_json(usage, 0, style)), parts, others }
    }

    /// Appends the usage after `output` tokens.
    fn put(&self, output: u64, out: &mut BytesMut) {
        match self {
            UsageTemplate::Fixed(usage) => out.extend_from_slice(usage),
            UsageTemplate::Counted { none, .. } if output == 0 => out.extend_from_slice(none),
            UsageTemplate::Counted { parts: [before, between, after], others, .. } => {
                let mut digits = itoa::Buffer::new();
                out.extend_from_slice(before);
                out.extend_from_slice(digits.format(output).as_bytes());
                out.extend_from_slice(between);
                out.extend_from_slice(digits.format(others.saturating_add(output)).as_bytes());
                out.extend_from_slice(after);
            }
        }
    }
}

/// Returns the candidate with index `n`.
fn candidate_json(
    n: usize,
    parts: Vec<Value>,
    finish: Option<&str>,
    logprobs: Option<&Value>,
    style: &EndpointStyle,
) -> Value {
    let mut content = Map::new();
    if style.is_vertex() {
        content.insert("role".into(), "model".into());
    }
    // An empty candidate has no list of parts.
    if !parts.is_empty() {
        content.insert("parts".into(), parts.into());
    }
    content.insert("role".into(), "model".into());
    let mut candidate = Map::new();
    candidate.insert("content".into(), content.into());
    candidate.extend(finish.map(|finish| ("finishReason".to_owned(), finish.into())));
    candidate.extend(logprobs.map(|logprobs| ("avgLogprobs".to_owned(), logprobs.clone())));
    // Vertex AI omits index 0, as protocol buffers omit default values.
    if n > 0 || !style.is_vertex() {
        candidate.insert("index".into(), n.into());
    }
    candidate.into()
}

/// Returns the number of reply tokens without thoughts.
fn output_tokens(usage: &Usage) -> u64 {
    usage.completion_tokens.saturating_sub(usage.reasoning_tokens)
}

/// Returns token counts by modality. All tokens are text.
pub(super) fn details(tokens: u64) -> Value {
    json!([{"modality": "TEXT", "tokenCount": tokens}])
}

/// Returns the usage after `output` tokens. Zero counts are omitted.
fn usage_json(usage: &Usage, output: u64, style: &EndpointStyle) -> Value {
    let total = usage.prompt_tokens.saturating_add(output).saturating_add(usage.reasoning_tokens);
    let number = |tokens: u64| (tokens > 0).then(|| tokens.into());
    let by_modality = |tokens: u64| (tokens > 0).then(|| details(tokens));
    let members = [
        ("promptTokenCount", number(usage.prompt_tokens)),
        ("candidatesTokenCount", number(output)),
        ("totalTokenCount", number(total)),
        ("cachedContentTokenCount", number(usage.cached_tokens)),
        ("trafficType", style.traffic_type.clone()),
        ("promptTokensDetails", by_modality(usage.prompt_tokens)),
        ("cacheTokensDetails", by_modality(usage.cached_tokens)),
        ("candidatesTokensDetails", by_modality(output).filter(|_| style.is_vertex())),
        ("thoughtsTokenCount", number(usage.reasoning_tokens)),
        ("serviceTier", style.service_tier.clone()),
    ];
    members.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?))).collect()
}
