//! OpenAI's chat completions as SGLang renders them.

use serde_json::{Map, Value, json};

use super::{Parts, RunningUsage, usage};
use crate::{
    core::{
        random::Alphabet,
        reply::{Block, Choice, Piece, Text},
        response::EventKind,
    },
    protocol::{
        openai::chat::full::logprob,
        piece_events::{Part, data_event},
    },
};

/// Returns a full response.
pub(super) fn full(parts: &Parts<'_, '_, '_>) -> Value {
    let choices = parts.reply.choices.iter().enumerate();
    let choices: Vec<_> = choices.map(|(index, choice)| full_choice(index, choice, parts)).collect();
    json!({
        "id": parts.member("id"),
        "object": "chat.completion",
        "created": parts.member("created"),
        "model": parts.member("model"),
        "choices": choices,
        "usage": usage(&parts.reply.usage),
        "metadata": parts.metadata(),
    })
}

fn full_choice(index: usize, choice: &Choice, parts: &Parts<'_, '_, '_>) -> Value {
    let text: String = choice.blocks.iter().filter_map(Block::content).map(Text::whole).collect();
    let mut message = Map::new();
    message.insert("role".into(), "assistant".into());
    message.insert("content".into(), text.into());
    let reasoning = choice.blocks.iter().find(|block| matches!(block, Block::Reasoning(_)));
    message.insert("reasoning_content".into(), json!(reasoning.map(|reasoning| reasoning.text().whole())));
    let calls = choice.blocks.iter().filter_map(Block::call).enumerate();
    let calls: Vec<_> = calls
        .map(|(n, call)| {
            let function = json!({"name": call.name, "arguments": call.arguments.whole()});
            json!({"id": call_id(parts), "index": n, "type": "function", "function": function})
        })
        .collect();
    if !calls.is_empty() {
        message.insert("tool_calls".into(), calls.into());
    }
    let logprobs = Logprobs::of(parts).map(|logprobs| {
        let texts = choice.blocks.iter().filter_map(Block::content);
        let content: Vec<_> = texts.flat_map(Text::token_pieces).map(|token| logprobs.entry(token)).collect();
        json!({"content": content})
    });
    let (reason, matched) = parts.finish(choice);
    // Only streams report what ended calls.
    let matched = if reason == "tool_calls" { Value::Null } else { matched };
    json!({
        "index": index,
        "message": message,
        "logprobs": logprobs,
        "finish_reason": reason,
        "matched_stop": matched,
    })
}

/// Draws the id of a call.
fn call_id(parts: &Parts<'_, '_, '_>) -> String {
    let mut id = b"call_".to_vec();
    parts.context.random.borrow_mut().put(Alphabet::Hex, 24, &mut id);
    String::from_utf8(id).unwrap_or_default()
}

/// Returns the events of a stream.
pub(super) fn stream(parts: &Parts<'_, '_, '_>) -> Vec<Part> {
    let mut list = Vec::new();
    let style = ChunkStyle::new(parts);
    for (index, choice) in parts.reply.choices.iter().enumerate() {
        choice_events(index, choice, &style, parts, &mut list);
    }
    for (index, choice) in parts.reply.choices.iter().enumerate() {
        let (reason, matched) = parts.finish(choice);
        let choice = style.choice(index, r#"{"reasoning_content":null}"#, "null", &json!(reason), &matched);
        list.push(Part::data(&style.chunk(&choice, None), EventKind::Finish));
    }
    if parts.options().include_usage {
        list.push(Part::data(&style.chunk("", Some(&usage(&parts.reply.usage))), EventKind::Usage));
    }
    list.push(Part::data("[DONE]", EventKind::End));
    list
}

/// The members that all chunks of a stream share.
#[derive(Clone)]
struct ChunkStyle {
    /// The chunk up to its choices.
    head: String,
}

impl ChunkStyle {
    fn new(parts: &Parts<'_, '_, '_>) -> Self {
        let head = json!({
            "id": parts.member("id"),
            "object": "chat.completion.chunk",
            "created": parts.member("created"),
            "model": parts.member("model"),
        });
        let head = head.to_string();
        ChunkStyle { head: format!(r#"{},"choices":["#, head.strip_suffix('}').unwrap_or_default()) }
    }

    /// Renders a choice of a chunk.
    fn choice(&self, index: usize, delta: &str, logprobs: &str, reason: &Value, matched: &Value) -> String {
        format!(
            r#"{{"index":{index},"delta":{delta},"logprobs":{logprobs},"finish_reason":{reason},"matched_stop":{matched}}}"#
        )
    }

    /// Renders a chunk. Its usage is left out if there is none.
    fn chunk(&self, choice: &str, usage: Option<&Value>) -> String {
        let usage = usage.map_or_else(String::new, |usage| format!(r#","usage":{usage}"#));
        format!("{}{choice}]{usage}}}", self.head)
    }

    /// Renders a chunk with a delta alone.
    fn delta(&self, index: usize, delta: &str, logprobs: &str, usage: Option<&Value>) -> String {
        self.chunk(&self.choice(index, delta, logprobs, &Value::Null, &Value::Null), usage)
    }

    /// Renders a chunk with a part of a call. Other members of its delta, and its usage, are null if they are missing.
    fn call(&self, index: usize, call: &Value, usage: Option<&Value>) -> String {
        let delta = json!({"role": null, "content": null, "reasoning_content": null, "tool_calls": [call]});
        self.delta(index, &delta.to_string(), "null", Some(usage.unwrap_or(&Value::Null)))
    }
}

fn choice_events(index: usize, choice: &Choice, style: &ChunkStyle, parts: &Parts<'_, '_, '_>, list: &mut Vec<Part>) {
    let role = r#"{"reasoning_content":null,"role":"assistant","content":""}"#;
    list.push(Part::data(&style.delta(index, role, "null", None), EventKind::Content));
    // Choices are generated at once: the first one's pieces stand for the time of all.
    let tokens = u32::from(index == 0);
    let mut calls = 0;
    let mut sent = RunningUsage::new(parts);
    for block in &choice.blocks {
        let (style, mut running) = (style.clone(), sent.clone());
        sent.count(block.text().tokens);
        match block {
            Block::Reasoning(text) => list.push(Part::Pieces(
                text.clone(),
                Box::new(move |piece| {
                    let usage = running.count(piece.tokens.into());
                    let delta = json!({"reasoning_content": piece.text}).to_string();
                    let chunk = style.delta(index, &delta, "null", usage.as_ref());
                    data_event(&chunk, EventKind::Content, tokens)
                }),
            )),
            Block::Text(text) | Block::Refusal(text) | Block::Audio(text) => {
                let (whole, logprobs) = (text.clone(), Logprobs::of(parts));
                list.push(Part::Pieces(
                    text.clone(),
                    Box::new(move |piece| {
                        let usage = running.count(piece.tokens.into());
                        let logprobs = logprobs.as_ref().map_or(Value::Null, |logprobs| {
                            let content = whole.tokens_of(piece).map(|token| logprobs.entry(token));
                            json!({"content": content.collect::<Vec<_>>()})
                        });
                        let delta = json!({"reasoning_content": null, "content": piece.text}).to_string();
                        let chunk = style.delta(index, &delta, &logprobs.to_string(), usage.as_ref());
                        data_event(&chunk, EventKind::Content, tokens)
                    }),
                ));
            }
            Block::ToolCall(call) => {
                let (nth, id) = (calls, call_id(parts));
                calls += 1;
                let function = json!({"name": call.name, "arguments": ""});
                let first = json!({"id": id, "index": nth, "type": "function", "function": function});
                let usage = running.count(0);
                list.push(Part::data(&style.call(index, &first, usage.as_ref()), EventKind::Content));
                list.push(Part::Pieces(
                    call.arguments.clone(),
                    Box::new(move |piece| {
                        let usage = running.count(piece.tokens.into());
                        let function = json!({"name": null, "arguments": piece.text});
                        let more = json!({"id": null, "index": nth, "type": "function", "function": function});
                        data_event(&style.call(index, &more, usage.as_ref()), EventKind::Content, tokens)
                    }),
                ));
            }
        }
    }
}

/// The log probabilities of a response.
#[derive(Clone)]
struct Logprobs {
    /// Number of alternatives.
    top: u64,
    seed: u64,
}

impl Logprobs {
    /// Returns those that the request wants.
    fn of(parts: &Parts<'_, '_, '_>) -> Option<Self> {
        Some(Logprobs { top: parts.options().logprobs?, seed: parts.seed })
    }

    /// Returns the entry of a token, whose bytes precede its log probability.
    fn entry(&self, token: Piece<'_>) -> Value {
        let ordered = |entry: &Value| {
            let mut ordered = Map::new();
            for name in ["token", "bytes", "logprob"] {
                ordered.insert(name.to_owned(), entry[name].clone());
            }
            ordered
        };
        let entry = logprob(token, self.top, self.seed);
        let alternatives = entry["top_logprobs"].as_array().map(Vec::as_slice).unwrap_or_default();
        let alternatives: Vec<_> = alternatives.iter().map(ordered).collect();
        let mut entry = ordered(&entry);
        entry.insert("top_logprobs".to_owned(), json!(alternatives));
        entry.into()
    }
}
