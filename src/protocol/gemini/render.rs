//! What the model says in Google's shapes: candidates, parts and usage.

use serde_json::{Map, Value, json};

use super::super::interleave;
use crate::core::{
    random::{Alphabet, Random},
    reply::{Block, FinishReason, Reply, ToolCall, Usage},
};

/// How the answers of an endpoint are spelled, beside what is said.
pub(super) struct Ways {
    /// How likely what is said was, told of whole candidates.
    pub(super) average_logprobs: Option<Value>,
    /// How the request was served; only Vertex AI tells it.
    pub(super) traffic_type: Option<Value>,
    /// How the request was served, as the Gemini API tells it.
    pub(super) service_tier: Option<Value>,
}

impl Ways {
    /// Whether it is Vertex AI that answers. It puts the role first, numbers no candidates, tells what candidates cost
    /// by modality, and counts in the last chunk of a stream alone.
    pub(super) fn is_vertex(&self) -> bool {
        self.traffic_type.is_some()
    }
}

/// A message but for what the head says around it.
#[derive(Default)]
pub(super) struct Message {
    pub(super) candidates: Vec<u8>,
    pub(super) usage: Vec<u8>,
    /// The tokens that it brings to a stream. Candidates are said at the same time, and so only those of the first take
    /// any.
    pub(super) tokens: u32,
}

/// A candidate in the pieces that it is streamed in.
pub(super) struct Said {
    pieces: Vec<Piece>,
    finish: &'static str,
}

/// One part, or what a stream gives of it at once.
struct Piece {
    part: Value,
    /// Whether it goes on from the piece before it.
    continues: bool,
    /// What it is counted as; what is thought is counted apart.
    tokens: u64,
}

/// The candidates of a reply, a JSON string `bare` of its quotes. Their calls draw ids and signatures from `random`,
/// where the model gives them such.
pub(super) fn said(reply: &Reply, model: &str, bare: bool, mut random: Option<&mut Random>) -> Vec<Said> {
    let signs = model.starts_with("gemini-3");
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
                Block::Text(text) if bare && text.text.starts_with('"') => {
                    let cut_off = || text.text.trim_matches('"').to_owned();
                    let word: String = serde_json::from_str(&text.text).unwrap_or_else(|_| cut_off());
                    pieces.push(Piece { part: json!({"text": word}), continues: false, tokens: text.tokens });
                }
                Block::Text(text) | Block::Refusal(text) | Block::Audio(text) => {
                    let piece = |(n, piece)| Piece { part: json!({"text": piece}), continues: n > 0, tokens: 1 };
                    pieces.extend(text.pieces().enumerate().map(piece));
                }
                Block::ToolCall(call) => match function_call(call, random.as_deref_mut().filter(|_| signs), !signed) {
                    Some(part) => {
                        signed = true;
                        pieces.push(Piece { part, continues: false, tokens: call.arguments.tokens });
                    }
                    // A call that was cut short ends for that reason.
                    None if finish == "STOP" => finish = "MALFORMED_FUNCTION_CALL",
                    None => {}
                },
            }
        }
        Said { pieces, finish }
    };
    reply.choices.iter().map(choice).collect()
}

/// A part that calls a function; `None` if its arguments are no object. With `random` the call has an id, and the first
/// of several a signature.
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
            // Some number of whole groups of base64.
            part["thoughtSignature"] = fresh(128);
        }
    }
    Some(part)
}

/// A whole message, its values written by `write`.
pub(super) fn whole(said: &[Said], usage: &Usage, ways: &Ways, write: fn(&Value) -> Vec<u8>) -> Message {
    let candidates = said.iter().enumerate().map(|(n, said)| {
        let mut parts: Vec<Value> = Vec::new();
        for piece in &said.pieces {
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
        candidate(n, parts, Some(said.finish), ways.average_logprobs.as_ref(), ways)
    });
    let usage = counts(usage, said_tokens(usage), ways);
    Message { candidates: write(&candidates.collect()), usage: write(&usage), tokens: 0 }
}

/// The messages of a stream: those of the candidates take turns, one to a message.
pub(super) fn chunks(said: &[Said], usage: &Usage, ways: &Ways, write: fn(&Value) -> Vec<u8>) -> Vec<Message> {
    let chunk = |n, said: &Said| {
        let last = said.pieces.len().saturating_sub(1);
        let finish = |at| (at == last).then_some(said.finish);
        if said.pieces.is_empty() {
            return vec![(candidate(n, Vec::new(), finish(0), None, ways), 0)];
        }
        let pieces = said.pieces.iter().enumerate();
        pieces
            .map(|(at, piece)| (candidate(n, vec![piece.part.clone()], finish(at), None, ways), piece.tokens))
            .collect()
    };
    let chunks = interleave(said.iter().enumerate().map(|(n, said)| chunk(n, said)).collect());
    let (most, length) = (said_tokens(usage), chunks.len());
    let mut so_far = 0;
    let message = |(at, (candidate, tokens)): (usize, (Value, u64))| {
        so_far = if at + 1 == length { most } else { most.min(so_far + tokens) };
        let usage = match &ways.traffic_type {
            Some(traffic) if at + 1 < length => json!({"trafficType": traffic}),
            _ => counts(usage, so_far, ways),
        };
        let tokens =
            if candidate["index"].as_u64().unwrap_or(0) == 0 { u32::try_from(tokens).unwrap_or(u32::MAX) } else { 0 };
        Message { candidates: write(&json!([candidate])), usage: write(&usage), tokens }
    };
    chunks.into_iter().enumerate().map(message).collect()
}

fn candidate(n: usize, parts: Vec<Value>, finish: Option<&str>, logprobs: Option<&Value>, ways: &Ways) -> Value {
    let mut content = Map::new();
    if ways.is_vertex() {
        content.insert("role".into(), "model".into());
    }
    // A candidate that says nothing has no list of parts.
    if !parts.is_empty() {
        content.insert("parts".into(), parts.into());
    }
    content.insert("role".into(), "model".into());
    let mut candidate = Map::new();
    candidate.insert("content".into(), content.into());
    candidate.extend(finish.map(|finish| ("finishReason".to_owned(), finish.into())));
    candidate.extend(logprobs.map(|logprobs| ("avgLogprobs".to_owned(), logprobs.clone())));
    // The first is 0, which Vertex AI leaves out as protocol buffers do.
    if n > 0 || !ways.is_vertex() {
        candidate.insert("index".into(), n.into());
    }
    candidate.into()
}

/// Tokens of the reply that were said.
fn said_tokens(usage: &Usage) -> u64 {
    usage.completion_tokens.saturating_sub(usage.reasoning_tokens)
}

/// What some tokens are by modality. All are text.
pub(super) fn details(tokens: u64) -> Value {
    json!([{"modality": "TEXT", "tokenCount": tokens}])
}

/// The usage once `said` tokens have been said. What is zero is left out.
fn counts(usage: &Usage, said: u64, ways: &Ways) -> Value {
    let total = usage.prompt_tokens.saturating_add(said).saturating_add(usage.reasoning_tokens);
    let number = |tokens: u64| (tokens > 0).then(|| tokens.into());
    let by_modality = |tokens: u64| (tokens > 0).then(|| details(tokens));
    let members = [
        ("promptTokenCount", number(usage.prompt_tokens)),
        ("candidatesTokenCount", number(said)),
        ("totalTokenCount", number(total)),
        ("cachedContentTokenCount", number(usage.cached_tokens)),
        ("trafficType", ways.traffic_type.clone()),
        ("promptTokensDetails", by_modality(usage.prompt_tokens)),
        ("cacheTokensDetails", by_modality(usage.cached_tokens)),
        ("candidatesTokensDetails", by_modality(said).filter(|_| ways.is_vertex())),
        ("thoughtsTokenCount", number(usage.reasoning_tokens)),
        ("serviceTier", ways.service_tier.clone()),
    ];
    members.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?))).collect()
}
