//! The chunks of a choice.
//!
//! The first has the role, each following one a piece, and the last piece is in the chunk with the finish reason. Only
//! after calls that chunk has an empty delta.

use serde_json::{Value, json};

use super::{
    super::{
        members::token_ids,
        stream::{Chunk, Place},
    },
    full::ChoiceParts,
};
use crate::{
    core::reply::{Piece, Text},
    model::tokens::Encoding,
    protocol::{
        events::{EventList, RenderTime},
        openai::chat::full::logprobs,
    },
};

/// The properties that all chunks of one choice share.
#[derive(Clone)]
struct Style {
    index: usize,
    logprobs: Option<(u64, u64)>,
    encoding: Option<Encoding>,
    finish_reason: &'static str,
    /// As JSON.
    stop_reason: String,
}

/// Returns the chunks of a choice. Those of texts are rendered at `time`.
pub(super) fn chunks(parts: &ChoiceParts<'_>, time: RenderTime) -> EventList<Chunk> {
    let style = Style {
        index: parts.index,
        logprobs: parts.logprobs,
        encoding: parts.encoding,
        finish_reason: parts.finish_reason,
        stop_reason: parts.stop_reason().to_string(),
    };
    let mut list = EventList::new(time);
    let role = format!(
        r#"[{{"index":{},"delta":{{"role":"assistant","content":""}},"logprobs":null,"finish_reason":null}}]"#,
        style.index
    );
    list.push(Chunk { choices: role, index: style.index, tokens: 0, place: Place::First });
    let text = parts.text().filter(|text| text.piece_count() > 0);
    let reasoning = parts.reasoning().filter(|text| text.piece_count() > 0);
    let has_calls = !parts.calls.is_empty();
    if let Some(reasoning) = reasoning {
        let style = Style { logprobs: None, ..style.clone() };
        push(&mut list, style, reasoning, !has_calls && text.is_none(), |piece| {
            format!(r#"{{"reasoning":{}}}"#, Value::from(piece))
        });
    }
    if let Some(text) = text {
        push(&mut list, style.clone(), text, !has_calls, |piece| format!(r#"{{"content":{}}}"#, Value::from(piece)));
    }
    for (n, (call, id)) in parts.calls.iter().enumerate() {
        let head = json!([{"id": id, "type": "function", "index": n, "function": {"name": call.name}}]);
        list.push(style.chunk(&json!({"content": null, "tool_calls": head}).to_string(), None, false));
        let style = Style { logprobs: None, ..style.clone() };
        push(&mut list, style, &call.arguments, false, move |piece| {
            let fragment = json!([{"index": n, "function": {"arguments": piece}}]);
            json!({"content": null, "tool_calls": fragment}).to_string()
        });
    }
    if has_calls {
        list.push(style.chunk("{}", None, true));
    } else if text.is_none() && reasoning.is_none() {
        list.push(style.chunk(r#"{"content":""}"#, None, true));
    }
    list
}

/// Adds a chunk for each piece of a text. `ends` is true if the last is the last of the choice.
fn push(
    list: &mut EventList<Chunk>,
    style: Style,
    text: &Text,
    ends: bool,
    delta: impl Fn(&str) -> String + Send + Sync + 'static,
) {
    if style.logprobs.is_some() || style.encoding.is_some() {
        let last = text.piece_count().saturating_sub(1);
        let whole = text.clone();
        list.push_pieces(text, move |piece| {
            style.chunk(&delta(piece.text), Some((&whole, piece)), ends && piece.index == last)
        });
    } else {
        let whole = Text::default();
        list.push_gaps_with_last(text, move |piece, is_last| {
            let piece = Piece { index: 0, start: 0, text: piece, tokens: 1 };
            style.chunk(&delta(piece.text), Some((&whole, piece)), ends && is_last)
        });
    }
}

impl Style {
    /// Renders a chunk. `piece` is the text in its delta, with the whole text that it is a piece of.
    fn chunk(&self, delta: &str, piece: Option<(&Text, Piece<'_>)>, is_last: bool) -> Chunk {
        let logprobs = match self.logprobs.zip(piece) {
            Some(((top, seed), (text, piece))) => json!({"content": logprobs(text, piece, top, seed)}),
            None => Value::Null,
        };
        let ids = piece.map_or(Value::Null, |(_, piece)| token_ids(piece.text, self.encoding));
        let reason = match is_last {
            true => format!(r#""{}","stop_reason":{}"#, self.finish_reason, self.stop_reason),
            false => "null".to_owned(),
        };
        let choices = format!(
            r#"[{{"index":{},"delta":{delta},"logprobs":{logprobs},"finish_reason":{reason},"token_ids":{ids}}}]"#,
            self.index
        );
        let place = if is_last { Place::Last } else { Place::Middle };
        Chunk { choices, index: self.index, tokens: u32::from(piece.is_some()), place }
    }
}
