//! Completions: the server's own, and OpenAI's.

use serde_json::{Map, Value, json};

use super::{Parts, read, timings};
use crate::{
    core::{
        json,
        reply::{Block, Choice, FinishReason, Text},
        response::EventKind,
    },
    model::tokens::Encoding,
    protocol::piece_events::{Part, data_event},
};

/// Returns the texts of a choice; a call is its arguments.
fn texts(choice: &Choice) -> impl Iterator<Item = &Text> {
    choice.blocks.iter().filter(|block| !matches!(block, Block::Reasoning(_))).map(Block::text)
}

fn whole(choice: &Choice) -> String {
    texts(choice).map(Text::whole).collect()
}

/// Returns a response of the server's own API. Several choices are an array.
pub(super) fn full(parts: &Parts<'_, '_, '_>) -> Value {
    let choices = parts.reply.choices.iter().enumerate();
    let mut all: Vec<_> = choices.map(|(index, choice)| last(index, choice, whole(choice), parts)).collect();
    if all.len() == 1 { all.pop().unwrap_or_default() } else { all.into() }
}

/// Returns the events of the server's own API.
pub(super) fn stream(parts: &Parts<'_, '_, '_>) -> Vec<Part> {
    let evaluated = parts.reply.usage.prompt_tokens;
    let encoding = Encoding::of_model(&parts.context.model());
    let mut list = Vec::new();
    for (index, choice) in parts.reply.choices.iter().enumerate() {
        let tokens = u32::from(index == 0);
        let mut sent = 0;
        for text in texts(choice) {
            let mut predicted = sent;
            sent += text.tokens;
            list.push(Part::Pieces(
                text.clone(),
                Box::new(move |piece| {
                    predicted += u64::from(piece.tokens);
                    let data = json!({
                        "index": index,
                        "content": piece.text,
                        "tokens": encoding.numbers(piece.text),
                        "stop": false,
                        "id_slot": -1,
                        "tokens_predicted": predicted,
                        "tokens_evaluated": evaluated,
                    });
                    data_event(&data.to_string(), EventKind::Content, tokens)
                }),
            ));
        }
        list.push(Part::data(&last(index, choice, String::new(), parts).to_string(), EventKind::Finish));
    }
    list
}

/// Returns the object that ends a completion.
fn last(index: usize, choice: &Choice, content: String, parts: &Parts<'_, '_, '_>) -> Value {
    let usage = &parts.reply.usage;
    let text = whole(choice);
    let stop_type = match (choice.finish_reason, &choice.stopped_by) {
        (FinishReason::Length, _) => "limit",
        (_, Some(_)) => "word",
        (_, None) => "eos",
    };
    json!({
        "index": index,
        "content": content,
        "tokens": [],
        "id_slot": 0,
        "stop": true,
        "model": parts.member("model"),
        "tokens_predicted": usage.completion_tokens,
        "tokens_evaluated": usage.prompt_tokens,
        "generation_settings": settings(parts),
        "prompt": format!("<s> {}", read::text(parts.context.parsed.body)),
        "has_new_line": text.contains('\n'),
        "truncated": false,
        "stop_type": stop_type,
        "stopping_word": choice.stopped_by.as_deref().unwrap_or_default(),
        "tokens_cached": usage.prompt_tokens.saturating_add(usage.completion_tokens).saturating_sub(1),
        "timings": parts.timings(),
    })
}

/// Returns the settings of a request: those of the envelope, with the values that the request gives.
fn settings(parts: &Parts<'_, '_, '_>) -> Value {
    let body = parts.context.parsed.body;
    let Value::Object(mut settings) = parts.member("generation_settings") else { return Value::Null };
    for (name, value) in &mut settings {
        let Some(given) = body.get(name).and_then(json::Value::to_value) else { continue };
        match (&*value, &given) {
            // The server calculates with 32 bits.
            (Value::Number(known), Value::Number(number)) if known.is_f64() => {
                *value = json!(f64::from(number.as_f64().unwrap_or_default() as f32));
            }
            (Value::Number(_), Value::Number(_))
            | (Value::Bool(_), Value::Bool(_))
            | (Value::String(_), Value::String(_))
            | (Value::Array(_), Value::Array(_)) => *value = given,
            _ => {}
        }
    }
    if let Some(most) = read::max_tokens(body) {
        for name in ["max_tokens", "n_predict"] {
            settings.insert(name.to_owned(), most.into());
        }
    }
    Value::Object(settings)
}

fn reason(choice: &Choice) -> &'static str {
    if choice.finish_reason == FinishReason::Length { "length" } else { "stop" }
}

/// Returns a response of OpenAI's API.
pub(super) fn full_for_openai(parts: &Parts<'_, '_, '_>) -> Value {
    let choices = parts.reply.choices.iter().enumerate();
    let choices: Vec<_> = choices
        .map(|(index, choice)| {
            json!({"text": whole(choice), "index": index, "logprobs": null, "finish_reason": reason(choice)})
        })
        .collect();
    let mut full = envelope(parts);
    full.insert("usage".into(), timings::usage(&parts.reply.usage));
    finish(json!(choices), full, parts)
}

/// Returns the events of OpenAI's API. The last has the usage, unasked.
pub(super) fn stream_for_openai(parts: &Parts<'_, '_, '_>) -> Vec<Part> {
    let mut after = envelope(parts);
    after.insert("id".into(), parts.member("id"));
    let after = Value::Object(after).to_string()[1..].to_owned();
    let mut list = Vec::new();
    let count = parts.reply.choices.len();
    for (index, choice) in parts.reply.choices.iter().enumerate() {
        let tokens = u32::from(index == 0);
        for text in texts(choice) {
            let after = after.clone();
            list.push(Part::Pieces(
                text.clone(),
                Box::new(move |piece| {
                    let choice = json!({"text": piece.text, "index": index, "logprobs": null, "finish_reason": null});
                    data_event(&format!(r#"{{"choices":[{choice}],{after}"#), EventKind::Content, tokens)
                }),
            ));
        }
        let mut end = envelope(parts);
        if index + 1 == count {
            end.insert("usage".into(), timings::usage(&parts.reply.usage));
        }
        let choice = json!([{"text": "", "index": index, "logprobs": null, "finish_reason": reason(choice)}]);
        list.push(Part::data(&finish(choice, end, parts).to_string(), EventKind::Finish));
    }
    list.push(Part::data("[DONE]", EventKind::End));
    list
}

/// Returns the members between the choices and the usage.
fn envelope(parts: &Parts<'_, '_, '_>) -> Map<String, Value> {
    let mut members = Map::new();
    for name in ["created", "model", "system_fingerprint"] {
        members.insert(name.to_owned(), parts.member(name));
    }
    members.insert("object".into(), "text_completion".into());
    members
}

/// Returns the choices with these members, the id and the timings.
fn finish(choices: Value, members: Map<String, Value>, parts: &Parts<'_, '_, '_>) -> Value {
    let mut all = Map::new();
    all.insert("choices".into(), choices);
    all.extend(members);
    all.insert("id".into(), parts.member("id"));
    all.insert("timings".into(), parts.timings());
    all.into()
}
