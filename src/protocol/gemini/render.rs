//! Rendering of replies in Google's shapes: candidates, parts and usage.

use serde_json::{Map, Value, json};

use super::super::interleave;
use crate::core::{
    random::{Alphabet, Random},
    reply::{Block, FinishReason, Reply, ToolCall, Usage},
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
    /// Number of tokens for the pace of a stream. Candidates are generated in parallel, so only the first one counts.
    pub(super) tokens: u32,
}

/// A candidate in the pieces of a stream.
pub(super) struct Candidate {
    pieces: Vec<Piece>,
    finish: &'static str,
}

/// A part, or a piece of a part that is one chunk of a stream.
struct Piece {
    part: Value,
    /// True if it continues the part of the piece before it.
    continues: bool,
    /// Number of tokens. Thoughts are counted separately.
    tokens: u64,
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
        let mut pieces = Vec::new();
        let mut signed = false;
        for block in &choice.blocks {
            match block {
                Block::Reasoning(text) => {
                    pieces.push(Piece {
                        part: json!({"text": text.text, "thought": true}),
                        continues: false,
                        tokens: 0,
                    });
                }
                Block::Text(text) if unquoted && text.text.starts_with('"') => {
                    let truncated = || text.text.trim_matches('"').to_owned();
                    let value: String = serde_json::from_str(&text.text).unwrap_or_else(|_| truncated());
                    pieces.push(Piece { part: json!({"text": value}), continues: false, tokens: text.tokens });
                }
                Block::Text(text) | Block::Refusal(text) | Block::Audio(text) => {
                    let piece = |(n, piece)| Piece { part: json!({"text": piece}), continues: n > 0, tokens: 1 };
                    pieces.extend(text.pieces().enumerate().map(piece));
                }
                Block::ToolCall(call) => {
                    match function_call(call, random.as_deref_mut().filter(|_| has_signatures), !signed) {
                        Some(part) => {
                            signed = true;
                            pieces.push(Piece { part, continues: false, tokens: call.arguments.tokens });
                        }
                        // Arguments cut off at the token limit are not an object.
                        None if finish == "STOP" => finish = "MALFORMED_FUNCTION_CALL",
                        None => {}
                    }
                }
            }
        }
        Candidate { pieces, finish }
    };
    reply.choices.iter().map(choice).collect()
}

/// Returns the part of a function call; `None` if its arguments are not an object. With `random` the call has an id,
/// and the first call a signature.
fn function_call(call: &ToolCall, random: Option<&mut Random>, first: bool) -> Option<Value> {
    let arguments: Map<String, Value> = serde_json::from_str(&call.arguments.text).ok()?;
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
        let mut parts: Vec<Value> = Vec::new();
        for piece in &candidate.pieces {
            match parts.last_mut() {
                Some(Value::Object(last)) if piece.continues => {
                    if let (Some(Value::String(text)), Some(more)) = (last.get_mut("text"), piece.part["text"].as_str())
                    {
                        text.push_str(more);
                    }
                }
                _ => parts.push(piece.part.clone()),
            }
        }
        candidate_json(n, parts, Some(candidate.finish), style.average_logprobs.as_ref(), style)
    });
    let usage = usage_json(usage, output_tokens(usage), style);
    Message { candidates: write(&candidates.collect()), usage: write(&usage), tokens: 0 }
}

/// Returns the messages of a stream. The candidates take turns, one piece per message.
pub(super) fn chunks(
    candidates: &[Candidate],
    usage: &Usage,
    style: &EndpointStyle,
    write: fn(&Value) -> Vec<u8>,
) -> Vec<Message> {
    let chunks_of = |n, candidate: &Candidate| {
        let last = candidate.pieces.len().saturating_sub(1);
        let finish = |at| (at == last).then_some(candidate.finish);
        if candidate.pieces.is_empty() {
            return vec![(candidate_json(n, Vec::new(), finish(0), None, style), 0)];
        }
        let pieces = candidate.pieces.iter().enumerate();
        pieces
            .map(|(at, piece)| (candidate_json(n, vec![piece.part.clone()], finish(at), None, style), piece.tokens))
            .collect()
    };
    let chunks = interleave(candidates.iter().enumerate().map(|(n, candidate)| chunks_of(n, candidate)).collect());
    let (total, length) = (output_tokens(usage), chunks.len());
    let mut so_far = 0;
    let message = |(at, (candidate, tokens)): (usize, (Value, u64))| {
        so_far = if at + 1 == length { total } else { total.min(so_far + tokens) };
        let usage = match &style.traffic_type {
            Some(traffic) if at + 1 < length => json!({"trafficType": traffic}),
            _ => usage_json(usage, so_far, style),
        };
        let tokens =
            if candidate["index"].as_u64().unwrap_or(0) == 0 { u32::try_from(tokens).unwrap_or(u32::MAX) } else { 0 };
        Message { candidates: write(&json!([candidate])), usage: write(&usage), tokens }
    };
    chunks.into_iter().enumerate().map(message).collect()
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
