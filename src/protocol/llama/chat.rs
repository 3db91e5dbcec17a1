//! OpenAI's chat completions as llama.cpp renders them.

use serde_json::{Map, Value, json};

use super::{Parts, timings::usage};
use crate::{
    core::{
        random::Random,
        reply::{Block, Choice, FinishReason, Piece, Text},
        response::EventKind,
    },
    model::tokens::Encoding,
    protocol::piece_events::{Part, data_event},
};

fn finish_reason(choice: &Choice) -> &'static str {
    match choice.finish_reason {
        FinishReason::Stop | FinishReason::ContentFilter => "stop",
        FinishReason::Length => "length",
        FinishReason::ToolCalls => "tool_calls",
    }
}

/// Returns a full response.
pub(super) fn full(parts: &Parts<'_, '_, '_>) -> Value {
    let choices = parts.reply.choices.iter().enumerate();
    let choices: Vec<_> = choices.map(|(index, choice)| full_choice(index, choice, parts)).collect();
    json!({
        "choices": choices,
        "created": parts.member("created"),
        "model": parts.member("model"),
        "system_fingerprint": parts.member("system_fingerprint"),
        "object": "chat.completion",
        "usage": usage(&parts.reply.usage),
        "id": parts.member("id"),
        "timings": parts.timings(),
    })
}

fn full_choice(index: usize, choice: &Choice, parts: &Parts<'_, '_, '_>) -> Value {
    let text: String = choice.blocks.iter().filter_map(Block::content).map(Text::whole).collect();
    let calls: Vec<_> = choice
        .blocks
        .iter()
        .filter_map(Block::call)
        .map(|call| {
            let function = json!({"name": call.name, "arguments": call.arguments.whole()});
            json!({"type": "function", "function": function, "id": parts.draw_id("")})
        })
        .collect();
    let mut message = Map::new();
    message.insert("role".into(), "assistant".into());
    message.insert("content".into(), if text.is_empty() && !calls.is_empty() { Value::Null } else { text.into() });
    if let Some(Block::Reasoning(reasoning)) = choice.blocks.first() {
        message.insert("reasoning_content".into(), reasoning.whole().into());
    }
    if !calls.is_empty() {
        message.insert("tool_calls".into(), calls.into());
    }
    let mut full = json!({"finish_reason": finish_reason(choice), "index": index, "message": message});
    if let Some(logprobs) = Logprobs::of(parts) {
        let texts = choice.blocks.iter().filter_map(Block::content);
        let content: Vec<_> = texts.flat_map(Text::token_pieces).map(|token| logprobs.entry(token)).collect();
        full["logprobs"] = json!({"content": content});
    }
    full
}

/// Returns the events of a stream.
pub(super) fn stream(parts: &Parts<'_, '_, '_>) -> Vec<Part> {
    let mut after = Map::new();
    for name in ["created", "id", "model", "system_fingerprint"] {
        after.insert(name.to_owned(), parts.member(name));
    }
    after.insert("object".into(), "chat.completion.chunk".into());
    // Its members follow the choices.
    let after = Value::Object(after).to_string()[1..].to_owned();
    let mut list = Vec::new();
    for (index, choice) in parts.reply.choices.iter().enumerate() {
        choice_events(index, choice, &after, parts, &mut list);
    }
    let timings = parts.timings();
    let put_tail = |tail: Value| tail.to_string()[1..].to_owned();
    let after = after.strip_suffix('}').unwrap_or_default();
    if parts.options().include_usage {
        let tail = put_tail(json!({"usage": usage(&parts.reply.usage), "timings": timings}));
        list.push(Part::data(&format!(r#"{{"choices":[],{after},{tail}"#), EventKind::Usage));
    } else if let Some(Part::One(last)) = list.last_mut() {
        // The last event is the finish chunk.
        let data = String::from_utf8_lossy(&last.bytes).trim_end().to_owned();
        let start = data.strip_suffix('}').unwrap_or_default();
        last.bytes = format!("{start},{}\n\n", put_tail(json!({"timings": timings}))).into();
    }
    list.push(Part::data("[DONE]", EventKind::End));
    list
}

fn choice_events(index: usize, choice: &Choice, after: &str, parts: &Parts<'_, '_, '_>, list: &mut Vec<Part>) {
    let chunk = {
        let after = after.to_owned();
        move |delta: &str, finish: &str, logprobs: &str| {
            let choice = format!(r#"{{"finish_reason":{finish},"index":{index},"delta":{delta}{logprobs}}}"#);
            format!(r#"{{"choices":[{choice}],{after}"#)
        }
    };
    let first = chunk(r#"{"role":"assistant","content":null}"#, "null", "");
    list.push(Part::data(&first, EventKind::Content));
    // Choices are generated at once: the first one's pieces stand for the time of all.
    let tokens = u32::from(index == 0);
    let mut calls = 0;
    for block in &choice.blocks {
        let chunk = chunk.clone();
        let logprobs = Logprobs::of(parts);
        match block {
            Block::Reasoning(text) => list.push(Part::Pieces(
                text.clone(),
                Box::new(move |piece| {
                    let delta = json!({"reasoning_content": piece.text}).to_string();
                    data_event(&chunk(&delta, "null", ""), EventKind::Content, tokens)
                }),
            )),
            Block::Text(text) | Block::Refusal(text) | Block::Audio(text) => {
                let whole = text.clone();
                let logprobs = move |piece: Piece<'_>| {
                    let logprobs = logprobs.as_ref()?;
                    let content: Vec<_> = whole.tokens_of(piece).map(|token| logprobs.entry(token)).collect();
                    Some(format!(r#","logprobs":{}"#, json!({"content": content})))
                };
                list.push(Part::Pieces(
                    text.clone(),
                    Box::new(move |piece| {
                        let delta = json!({"content": piece.text}).to_string();
                        let logprobs = logprobs(piece).unwrap_or_default();
                        data_event(&chunk(&delta, "null", &logprobs), EventKind::Content, tokens)
                    }),
                ));
            }
            Block::ToolCall(call) => {
                let (nth, id) = (calls, parts.draw_id(""));
                calls += 1;
                let function = json!({"name": call.name, "arguments": ""});
                let first = json!({"index": nth, "id": id, "type": "function", "function": function});
                let delta = json!({"tool_calls": [first]}).to_string();
                list.push(Part::data(&chunk(&delta, "null", ""), EventKind::Content));
                list.push(Part::Pieces(
                    call.arguments.clone(),
                    Box::new(move |piece| {
                        let more = json!({"index": nth, "function": {"arguments": piece.text}});
                        let delta = json!({"tool_calls": [more]}).to_string();
                        data_event(&chunk(&delta, "null", ""), EventKind::Content, tokens)
                    }),
                ));
            }
        }
    }
    let reason = format!(r#""{}""#, finish_reason(choice));
    list.push(Part::data(&chunk("{}", &reason, ""), EventKind::Finish));
}

/// The log probabilities of a response.
#[derive(Clone)]
struct Logprobs {
    /// Number of alternatives.
    top: u64,
    seed: u64,
    encoding: Encoding,
}

impl Logprobs {
    /// Returns those that the request wants.
    fn of(parts: &Parts<'_, '_, '_>) -> Option<Self> {
        let encoding = Encoding::of_model(&parts.context.model());
        Some(Logprobs { top: parts.options().logprobs?, seed: parts.seed, encoding })
    }

    /// Returns the entry of a piece. The same piece of a reply with the same seed always has the same.
    fn entry(&self, piece: Piece<'_>) -> Value {
        let mut random = Random::seeded(self.seed ^ piece.index as u64);
        let mut logprob = -random.unit() * 0.7;
        let entry = |text: &str, logprob: f64| {
            let id = self.encoding.numbers(text).first().copied().unwrap_or_default();
            json!({"id": id, "token": text, "bytes": text.as_bytes(), "logprob": logprob})
        };
        let mut own = entry(piece.text, logprob);
        let alternatives = (0..self.top).map(|nth| {
            let letter = format!(" {}", char::from(b'a' + (nth % 26) as u8));
            let alternative = entry(if nth == 0 { piece.text } else { &letter }, logprob);
            logprob -= 0.1 + random.unit() * 2.0;
            alternative
        });
        let alternatives: Vec<_> = alternatives.collect();
        own["top_logprobs"] = alternatives.into();
        own
    }
}
