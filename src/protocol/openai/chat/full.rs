//! A full response's `choices` and `usage`.

use std::time::Duration;

use base64::{Engine, prelude::BASE64_STANDARD as BASE64};
use serde_json::{Map, Value, json};

use super::host::{HostStyle, OptionalMember};
use crate::{
    core::{
        random::{Alphabet, Random},
        reply::{Block, Choice, FinishReason, Piece, Text, ToolCall, ToolKind, Usage},
    },
    media::silence::{Format, duration_of, silence},
};

/// The longest audio output. Audio is base64 inside the JSON, so longer audio would be megabytes.
const MAX_AUDIO: Duration = Duration::from_secs(60);

/// The value of `logprobs`.
#[derive(Clone, Copy)]
pub(super) enum Logprobs {
    /// No key, as with reasoning models.
    Absent,
    /// `null`: none were requested.
    Null,
    /// Log probabilities with this number of alternatives.
    Given(u64),
}

/// The parts of one choice's message. Ids are drawn once, so the full and the streamed form have the same.
pub(super) struct MessageParts<'a> {
    pub(super) choice: &'a Choice,
    pub(super) host: &'a HostStyle,
    /// The id of each call, in order.
    pub(super) ids: Vec<String>,
    /// The reasoning, and the name of the member that holds it.
    pub(super) reasoning: Option<(&'a str, &'a Text)>,
    /// The `audio` object.
    pub(super) audio: Option<Value>,
    /// The seed of the log probabilities; 0 if there are none.
    pub(super) logprob_seed: u64,
}

impl<'a> MessageParts<'a> {
    /// Draws the ids of a choice's message. `now` is in seconds since 1970.
    pub(super) fn new(
        choice: &'a Choice,
        host: &'a HostStyle,
        audio_format: Format,
        logprobs: Logprobs,
        random: &mut Random,
        now: u64,
    ) -> Self {
        let logprob_seed = match logprobs {
            Logprobs::Given(_) => random.number(0..=u64::MAX),
            Logprobs::Absent | Logprobs::Null => 0,
        };
        let calls = choice.blocks.iter().filter(|block| matches!(block, Block::ToolCall(_)));
        let ids = calls.map(|_| host.call_id(random)).collect();
        let audio = choice.blocks.iter().find_map(|block| match block {
            Block::Audio(text) => {
                let mut id = b"audio_".to_vec();
                random.put(Alphabet::Hex, 32, &mut id);
                Some(json!({
                    "id": String::from_utf8_lossy(&id),
                    "data": BASE64.encode(silence(audio_format, duration_of(&text.whole()).min(MAX_AUDIO))),
                    "expires_at": now + 3600,
                    "transcript": text.whole(),
                }))
            }
            _ => None,
        });
        let reasoning =
            choice.blocks.iter().find_map(|block| if let Block::Reasoning(text) = block { Some(text) } else { None });
        let reasoning = host.reasoning_member.as_deref().zip(reasoning);
        MessageParts { choice, host, ids, reasoning, audio, logprob_seed }
    }

    pub(super) fn calls(&self) -> impl Iterator<Item = (&'a ToolCall, &String)> {
        let calls = self.choice.blocks.iter().filter_map(|block| match block {
            Block::ToolCall(call) => Some(call),
            _ => None,
        });
        calls.zip(&self.ids)
    }

    /// Returns the text before the calls.
    pub(super) fn text(&self) -> Option<&'a Text> {
        self.choice.blocks.iter().find_map(|block| if let Block::Text(text) = block { Some(text) } else { None })
    }

    pub(super) fn refusal(&self) -> Option<&'a Text> {
        self.choice.blocks.iter().find_map(|block| if let Block::Refusal(text) = block { Some(text) } else { None })
    }

    /// Returns the `function_call`, the predecessor of tool calls.
    pub(super) fn legacy(&self) -> Option<&'a ToolCall> {
        self.calls().map(|(call, _)| call).find(|call| call.kind == ToolKind::Legacy)
    }

    pub(super) fn finish_reason(&self) -> &'static str {
        match self.choice.finish_reason {
            FinishReason::Stop => "stop",
            FinishReason::Length => "length",
            FinishReason::ToolCalls if self.legacy().is_some() => "function_call",
            FinishReason::ToolCalls => "tool_calls",
            FinishReason::ContentFilter => "content_filter",
        }
    }
}

/// Renders a choice of a full response.
pub(super) fn choice(index: usize, parts: &MessageParts<'_>, logprobs: Logprobs) -> Value {
    let text = |text: Option<&Text>| text.map_or(Value::Null, |text| text.whole().into());
    let mut message = Map::new();
    message.insert("role".into(), "assistant".into());
    message.insert("content".into(), text(parts.text()));
    message.extend(parts.reasoning.map(|(member, reasoning)| (member.to_owned(), reasoning.whole().into())));
    if let Some(call) = parts.legacy() {
        message.insert("function_call".into(), json!({"name": call.name, "arguments": call.arguments.whole()}));
    } else if !parts.ids.is_empty() {
        message.insert(
            "tool_calls".into(),
            parts.calls().map(|(call, id)| tool_call(call, id, &call.arguments.whole())).collect(),
        );
    }
    if parts.refusal().is_some() || parts.host.has(OptionalMember::MessageRefusal) {
        message.insert("refusal".into(), text(parts.refusal()));
    }
    let annotations = parts.text().map_or_else(Vec::new, annotations);
    if !annotations.is_empty() || parts.host.has(OptionalMember::MessageAnnotations) {
        message.insert("annotations".into(), annotations.into());
    }
    message.extend(parts.audio.clone().map(|audio| ("audio".to_owned(), audio)));

    let mut choice = Map::new();
    choice.insert("index".into(), index.into());
    choice.insert("message".into(), message.into());
    match logprobs {
        Logprobs::Absent => {}
        Logprobs::Null => _ = choice.insert("logprobs".into(), Value::Null),
        Logprobs::Given(top) => {
            let logprobs = |text: Option<&Text>| match text {
                Some(text) => text.token_pieces().map(|token| logprob(token, top, parts.logprob_seed)).collect(),
                None => Value::Null,
            };
            let (content, refusal) = (logprobs(parts.text()), logprobs(parts.refusal()));
            choice.insert("logprobs".into(), json!({"content": content, "refusal": refusal}));
        }
    }
    choice.insert("finish_reason".into(), parts.finish_reason().into());
    if parts.host.native_finish_reason {
        choice.insert("native_finish_reason".into(), parts.finish_reason().into());
    }
    choice.into()
}

/// Renders a tool call. `arguments` may be incomplete.
pub(super) fn tool_call(call: &ToolCall, id: &str, arguments: &str) -> Value {
    match call.kind {
        ToolKind::Custom => json!({"id": id, "type": "custom", "custom": {"name": call.name, "input": arguments}}),
        _ => json!({"id": id, "type": "function", "function": {"name": call.name, "arguments": arguments}}),
    }
}

/// Renders the web citations of a text.
pub(super) fn annotations(text: &Text) -> Vec<Value> {
    let annotation = |citation: &crate::core::reply::Citation| {
        let (start, end) = (citation.start, citation.end);
        let citation = json!({"start_index": start, "end_index": end, "url": citation.url, "title": citation.title});
        json!({"type": "url_citation", "url_citation": citation})
    };
    text.citations.iter().map(annotation).collect()
}

/// Draws the log probabilities of the tokens of a text's piece.
pub(in crate::protocol) fn logprobs(text: &Text, piece: Piece<'_>, top: u64, seed: u64) -> Value {
    text.tokens_of(piece).map(|token| logprob(token, top, seed)).collect()
}

/// Draws the log probability of a token, with `top` alternatives, of which the first is the token itself. The same
/// piece of a message with the same seed always has the same one.
pub(in crate::protocol) fn logprob(piece: Piece<'_>, top: u64, seed: u64) -> Value {
    let (mut random, piece) = (Random::seeded(seed ^ piece.index as u64), piece.text);
    // Six decimals, in the range of a confident model.
    let mut rounded = |scale: f64| -(random.unit() * scale * 1e6).round() / 1e6;
    let logprob = rounded(0.7);
    let entry = |token: &str, logprob: f64| json!({"token": token, "logprob": logprob, "bytes": token.as_bytes()});
    let mut last = logprob;
    let alternatives = (0..top).map(|n| {
        if n == 0 {
            return entry(piece, logprob);
        }
        last += rounded(2.0) - 0.1;
        entry(&format!(" {}", alternative(n)), (last * 1e6).round() / 1e6)
    });
    let top_logprobs: Vec<_> = alternatives.collect();
    let mut entry = entry(piece, logprob);
    entry["top_logprobs"] = top_logprobs.into();
    entry
}

fn alternative(n: u64) -> char {
    char::from(b'a' + ((n - 1) % 26) as u8)
}

/// Seconds in the queue that hosts with times report.
const QUEUE_TIME: f64 = 0.02;
/// Seconds for a token of the prompt, and of the reply, that hosts with times report.
const TOKEN_TIMES: (f64, f64) = (0.000_05, 0.002);

/// Renders the usage object. OpenAI has had both `*_tokens_details` since 2024.
pub(super) fn usage(usage: &Usage, host: &HostStyle) -> Value {
    let mut object = json!({
        "prompt_tokens": usage.prompt_tokens,
        "completion_tokens": usage.completion_tokens,
        "total_tokens": usage.prompt_tokens.saturating_add(usage.completion_tokens),
    });
    if host.usage_times {
        // The model's time is not known here. Recorded: nine decimals.
        let seconds = |tokens: u64, each: f64| (tokens as f64 * each * 1e9).round() / 1e9;
        let (prompt, completion) =
            (seconds(usage.prompt_tokens, TOKEN_TIMES.0), seconds(usage.completion_tokens, TOKEN_TIMES.1));
        object = json!({
            "queue_time": QUEUE_TIME,
            "prompt_tokens": usage.prompt_tokens,
            "prompt_time": prompt,
            "completion_tokens": usage.completion_tokens,
            "completion_time": completion,
            "total_tokens": object["total_tokens"],
            "total_time": seconds(1, prompt + completion),
        });
    }
    if host.has(OptionalMember::UsageDetails) {
        object["prompt_tokens_details"] =
            json!({"cached_tokens": usage.cached_tokens, "audio_tokens": usage.prompt_audio_tokens});
        object["completion_tokens_details"] = json!({
            "reasoning_tokens": usage.reasoning_tokens,
            "audio_tokens": usage.audio_tokens,
            "accepted_prediction_tokens": usage.accepted_prediction_tokens,
            "rejected_prediction_tokens": usage.rejected_prediction_tokens,
        });
    }
    object
}
