//! The server's own generation. An event of a stream has the whole text so far.

use serde_json::{Map, Value, json};

use super::{Parts, texts, whole};
use crate::{
    core::{
        reply::{Choice, FinishReason, Text},
        response::EventKind,
    },
    model::tokens::Encoding,
    protocol::piece_events::{Part, data_event},
};

/// The `meta_info` of one choice.
#[derive(Clone)]
struct MetaInfo {
    id: Value,
    weight_version: Value,
    prompt_tokens: u64,
    cached_tokens: u64,
    /// The number of tokens of the choice.
    completion_tokens: u64,
    /// The finish reason of the choice.
    finish_reason: Value,
}

impl MetaInfo {
    fn new(choice: &Choice, parts: &Parts<'_, '_, '_>) -> Self {
        let count = parts.reply.choices.len().max(1) as u64;
        let (reason, matched) = parts.finish(choice);
        let usage = &parts.reply.usage;
        let tokens: u64 = texts(choice).map(|text| text.tokens).sum();
        // A reply of one choice has the usage that its script reports.
        let completion_tokens = if count == 1 { usage.completion_tokens } else { tokens };
        let finish_reason = match choice.finish_reason {
            FinishReason::Length => json!({"type": reason, "length": completion_tokens}),
            _ => json!({"type": "stop", "matched": matched}),
        };
        let prompts = (count / parts.context.parsed.prompt(&parts.context).n.max(1) as u64).max(1);
        MetaInfo {
            id: parts.member("id"),
            weight_version: parts.member("weight_version"),
            prompt_tokens: usage.prompt_tokens / prompts,
            cached_tokens: usage.cached_tokens / prompts,
            completion_tokens,
            finish_reason,
        }
    }

    /// Renders an object with the text and the tokens so far. `index` is that of the choice, if there are several.
    fn render(&self, text: &str, ids: &[u32], so_far: Option<u64>, index: Option<usize>) -> String {
        let meta_info = json!({
            "id": self.id,
            "finish_reason": if so_far.is_some() { &Value::Null } else { &self.finish_reason },
            "prompt_tokens": self.prompt_tokens,
            "weight_version": self.weight_version,
            "num_retractions": 0,
            "reasoning_tokens": 0,
            "completion_tokens": so_far.unwrap_or(self.completion_tokens),
            "cached_tokens": self.cached_tokens,
        });
        let mut object = Map::new();
        object.insert("text".to_owned(), text.into());
        object.insert("output_ids".to_owned(), ids.into());
        object.insert("meta_info".to_owned(), meta_info);
        if let Some(index) = index {
            object.insert("index".to_owned(), index.into());
        }
        Value::Object(object).to_string()
    }
}

/// Returns a full response: an object, or a list of them for several choices.
pub(super) fn full(parts: &Parts<'_, '_, '_>) -> Value {
    let encoding = Encoding::of_model(&parts.context.served_model());
    let choice = |choice: &Choice| {
        let text = whole(choice);
        let ids: Vec<_> = texts(choice).flat_map(Text::pieces).flat_map(|piece| encoding.numbers(piece.text)).collect();
        let object = MetaInfo::new(choice, parts).render(&text, &ids, None, None);
        serde_json::from_str(&object).unwrap_or_default()
    };
    let mut choices: Vec<Value> = parts.reply.choices.iter().map(choice).collect();
    match choices.as_mut_slice() {
        [one] => one.take(),
        _ => choices.into(),
    }
}

/// Returns the events of a stream.
pub(super) fn stream(parts: &Parts<'_, '_, '_>) -> Vec<Part> {
    let encoding = Encoding::of_model(&parts.context.served_model());
    let mut list = Vec::new();
    let has_several = parts.reply.choices.len() > 1;
    for (number, choice) in parts.reply.choices.iter().enumerate() {
        let (meta, index) = (MetaInfo::new(choice, parts), has_several.then_some(number));
        let mut left: usize = texts(choice).map(Text::piece_count).sum();
        if left == 0 {
            list.push(Part::data(&meta.render("", &[], None, index), EventKind::Finish));
        }
        // Choices are generated at once: the first one's pieces stand for the time of all.
        let tokens = u32::from(number == 0);
        let (mut before, mut ids_before, mut sent) = (String::new(), Vec::new(), 0);
        for text in texts(choice) {
            let (meta, mut so_far, mut ids, mut count, mut rest) =
                (meta.clone(), before.clone(), ids_before.clone(), sent, left);
            before.push_str(&text.whole());
            ids_before.extend(text.pieces().flat_map(|piece| encoding.numbers(piece.text)));
            sent += text.tokens;
            left -= text.piece_count();
            list.push(Part::Pieces(
                text.clone(),
                Box::new(move |piece| {
                    so_far.push_str(piece.text);
                    ids.extend(encoding.numbers(piece.text));
                    count += u64::from(piece.tokens);
                    rest -= 1;
                    let event = meta.render(&so_far, &ids, (rest > 0).then_some(count), index);
                    let kind = if rest == 0 { EventKind::Finish } else { EventKind::Content };
                    data_event(&event, kind, tokens)
                }),
            ));
        }
    }
    list.push(Part::data("[DONE]", EventKind::End));
    list
}
