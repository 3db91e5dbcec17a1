//! OpenAI's completions as SGLang renders them.

use serde_json::{Map, Value, json};

use super::{Parts, RunningUsage, texts, usage, whole};
use crate::{
    core::{
        reply::{Choice, Piece, Text},
        response::EventKind,
    },
    protocol::{
        openai::{chat::full::logprob, completions::read},
        piece_events::{Part, data_event},
    },
};

/// Returns the choices that are sent: the first `n` of each prompt's `best_of`, with the prompt's number.
fn choices<'p>(parts: &Parts<'p, '_, '_>) -> impl Iterator<Item = (usize, &'p Choice)> {
    let (n, best_of) = (parts.options().n, parts.options().best_of);
    let all = parts.reply.choices.iter().enumerate().filter(move |(number, _)| number % best_of < n);
    all.map(move |(number, choice)| (number / best_of, choice))
}

/// Returns the prompts that precede their completions; none if they are not wanted.
fn echoed(parts: &Parts<'_, '_, '_>) -> Vec<String> {
    match parts.options().echo {
        true => read::texts(parts.context.parsed.body, &parts.context.served_model()),
        false => Vec::new(),
    }
}

/// Returns a full response.
pub(super) fn full(parts: &Parts<'_, '_, '_>) -> Value {
    let echoed = echoed(parts);
    let choice = |(index, (prompt, choice)): (usize, (usize, &Choice))| {
        let (reason, matched) = finish(choice, parts);
        let text = [echoed.get(prompt).map_or("", String::as_str), &whole(choice)].concat();
        let tokens = texts(choice).flat_map(Text::token_pieces);
        let logprobs = parts.options().logprobs.map(|top| logprobs(tokens, top, parts.seed));
        json!({"index": index, "text": text, "logprobs": logprobs, "finish_reason": reason, "matched_stop": matched})
    };
    let choices: Vec<_> = choices(parts).enumerate().map(choice).collect();
    json!({
        "id": parts.member("id"),
        "object": "text_completion",
        "created": parts.member("created"),
        "model": parts.member("model"),
        "choices": choices,
        "usage": usage(&parts.reply.usage),
        "metadata": parts.metadata(),
    })
}

/// Returns the finish reason, which is never that of a call.
fn finish(choice: &Choice, parts: &Parts<'_, '_, '_>) -> (&'static str, Value) {
    match parts.finish(choice) {
        ("tool_calls", matched) => ("stop", matched),
        finish => finish,
    }
}

/// Returns the lists of log probabilities. The server does not know the offsets.
fn logprobs<'t>(tokens: impl Iterator<Item = Piece<'t>>, top: u64, seed: u64) -> Value {
    let (mut texts, mut own, mut alternatives) = (Vec::new(), Vec::new(), Vec::new());
    for token in tokens {
        let entry = logprob(token, top, seed);
        let top = entry["top_logprobs"].as_array().map(Vec::as_slice).unwrap_or_default();
        let top =
            top.iter().map(|entry| (entry["token"].as_str().unwrap_or_default().to_owned(), entry["logprob"].clone()));
        alternatives.push(top.collect::<Map<_, _>>());
        texts.push(token.text.to_owned());
        own.push(entry["logprob"].clone());
    }
    json!({
        "text_offset": vec![-1; texts.len()],
        "token_logprobs": own,
        "tokens": texts,
        "top_logprobs": alternatives,
    })
}

/// Returns the events of a stream. The last piece of a choice has its finish reason.
pub(super) fn stream(parts: &Parts<'_, '_, '_>) -> Vec<Part> {
    let head = json!({
        "id": parts.member("id"),
        "object": "text_completion",
        "created": parts.member("created"),
        "model": parts.member("model"),
    });
    let head = head.to_string();
    let head = head.strip_suffix('}').unwrap_or_default();
    let echoed = echoed(parts);
    let mut list = Vec::new();
    for (index, (prompt, choice)) in choices(parts).enumerate() {
        let (reason, matched) = finish(choice, parts);
        let chunk = {
            let head = head.to_owned();
            move |text: &str, logprobs: Option<Value>, is_last: bool, usage: Option<&Value>| {
                let reason = is_last.then_some(reason);
                let matched = if is_last { &matched } else { &Value::Null };
                let choice: Value = json!({
                    "index": index,
                    "text": text,
                    "logprobs": logprobs,
                    "finish_reason": reason,
                    "matched_stop": matched,
                });
                format!(r#"{head},"choices":[{choice}],"usage":{}}}"#, usage.unwrap_or(&Value::Null))
            }
        };
        let mut left: usize = texts(choice).map(Text::piece_count).sum();
        let mut echo = echoed.get(prompt).cloned().unwrap_or_default();
        if left == 0 {
            list.push(Part::data(&chunk(&echo, None, true, None), EventKind::Finish));
        }
        // Choices are generated at once: the first one's pieces stand for the time of all.
        let tokens = u32::from(index == 0);
        let mut sent = RunningUsage::new(parts);
        let (top, seed) = (parts.options().logprobs, parts.seed);
        for text in texts(choice) {
            let (chunk, whole, mut running) = (chunk.clone(), text.clone(), sent.clone());
            sent.count(text.tokens);
            let (mut echo, mut rest) = (std::mem::take(&mut echo), left);
            left -= text.piece_count();
            list.push(Part::Pieces(
                text.clone(),
                Box::new(move |piece| {
                    rest -= 1;
                    let usage = running.count(piece.tokens.into());
                    let logprobs = top.map(|top| logprobs(whole.tokens_of(piece), top, seed));
                    let text = [&std::mem::take(&mut echo), piece.text].concat();
                    let kind = if rest == 0 { EventKind::Finish } else { EventKind::Content };
                    data_event(&chunk(&text, logprobs, rest == 0, usage.as_ref()), kind, tokens)
                }),
            ));
        }
    }
    if parts.options().include_usage {
        let mut usage = usage(&parts.reply.usage);
        // Members without a value are left out here.
        if let Some(usage) = usage.as_object_mut() {
            usage.retain(|_, value| !value.is_null());
        }
        list.push(Part::data(&format!(r#"{head},"choices":[],"usage":{usage}}}"#), EventKind::Usage));
    }
    list.push(Part::data("[DONE]", EventKind::End));
    list
}
