//! What a response has put out, item by item.

use base64::{Engine, prelude::BASE64_STANDARD as BASE64};
use serde_json::{Value, json};

use super::object::Shape;
use crate::core::{
    random::{Alphabet, Random},
    reply::{Block, Citation, FinishReason, Reply, Text, ToolCall, ToolKind},
};

/// How many bytes the seal of thoughts is of, before base64; recorded ones are of hundreds.
const SEAL: usize = 384;

/// What is said, item by item. Calls have their ids, items have not: those follow from the id of the response.
pub(super) struct Said<'a> {
    pub(super) items: Vec<Item<'a>>,
    /// Why it is not complete, if it is not.
    pub(super) incomplete: Option<&'static str>,
}

/// One item.
pub(super) enum Item<'a> {
    /// What is thought: its summary if that is wanted, and all of it under seal.
    Reasoning { summary: Option<&'a Text>, seal: Option<String> },
    /// A search of the web.
    Search { query: &'a str },
    /// What is said.
    Message(Part<'a>),
    /// A call, with its id.
    Call(&'a ToolCall, String),
}

/// What a message is made of.
pub(super) enum Part<'a> {
    Text(&'a Text),
    Refusal(&'a Text),
}

/// How thoughts are to be shown.
#[derive(Clone, Copy, Default)]
pub(super) struct Thoughts {
    /// Whether there is an item for them even where none were counted: models that think have one.
    pub(super) always: bool,
    /// Whether they come under seal.
    pub(super) sealed: bool,
}

impl<'a> Said<'a> {
    /// What a reply comes to; `query` is what the web is searched for.
    pub(super) fn new(reply: &'a Reply, thoughts: Thoughts, query: &'a str, random: &mut Random) -> Self {
        // The protocol knows no alternatives.
        let choice = reply.choices.first();
        let blocks = choice.map_or(&[][..], |choice| &choice.blocks);
        let summary =
            blocks.iter().find_map(|block| if let Block::Reasoning(text) = block { Some(text) } else { None });
        let mut items = Vec::new();
        if thoughts.always || summary.is_some() || reply.usage.reasoning_tokens > 0 {
            let seal = thoughts.sealed.then(|| seal(random));
            items.push(Item::Reasoning { summary, seal });
        }
        let incomplete = choice.and_then(|choice| match choice.finish_reason {
            FinishReason::Length => Some("max_output_tokens"),
            FinishReason::ContentFilter => Some("content_filter"),
            FinishReason::Stop | FinishReason::ToolCalls => None,
        });
        if blocks.iter().any(|block| !block.text().citations.is_empty()) {
            items.push(Item::Search { query });
        }
        for block in blocks {
            match block {
                Block::Reasoning(_) => {}
                // All that may be said has been thought.
                Block::Text(text) | Block::Audio(text) if text.text.is_empty() && incomplete.is_some() => {}
                Block::Text(text) | Block::Audio(text) => items.push(Item::Message(Part::Text(text))),
                Block::Refusal(text) => items.push(Item::Message(Part::Refusal(text))),
                Block::ToolCall(call) => {
                    let mut id = b"call_".to_vec();
                    random.put(Alphabet::Alphanumeric, 24, &mut id);
                    items.push(Item::Call(call, String::from_utf8_lossy(&id).into_owned()));
                }
            }
        }
        Said { items, incomplete }
    }

    /// The status that an item has in the end: that the last is not complete is what makes the response so.
    pub(super) fn status(&self, index: usize) -> &'static str {
        if self.incomplete.is_some() && index + 1 == self.items.len() { "incomplete" } else { "completed" }
    }

    /// Where the text of each item is cut, as JSON: for each the ends of its pieces in bytes.
    pub(super) fn cuts(&self) -> Vec<u8> {
        let mut out = b"[".to_vec();
        for (n, item) in self.items.iter().enumerate() {
            out.extend_from_slice(if n == 0 { b"[" } else { b",[" });
            for (n, end) in item.text().into_iter().flat_map(|text| &text.ends).enumerate() {
                out.extend_from_slice(if n == 0 { b"" } else { b"," });
                out.extend_from_slice(end.to_string().as_bytes());
            }
            out.push(b']');
        }
        out.push(b']');
        out
    }

    /// The whole output.
    pub(super) fn output(&self, shape: Shape) -> Output {
        let mut output = Output::default();
        let (open, next, close): (&[u8], &[u8], &[u8]) = match shape {
            Shape::Whole => (b"[\n    ", b",\n    ", b"\n  ]"),
            Shape::Line => (b"[", b",", b"]"),
        };
        if self.items.is_empty() {
            output.text.extend_from_slice(b"[]");
            return output;
        }
        for (index, item) in self.items.iter().enumerate() {
            output.text.extend_from_slice(if index == 0 { open } else { next });
            let from = output.text.len();
            shape.value(&item.done(self.status(index)), 2, &mut output.text);
            let at = output.text[from..].windows(2).position(|two| two == b"\"\"").map_or(from, |at| from + at + 1);
            output.ids.push(at);
        }
        output.text.extend_from_slice(close);
        output
    }
}

/// A seal like OpenAI's: a Fernet token, which begins with its version and time.
pub(super) fn seal(random: &mut Random) -> String {
    let mut bytes = vec![0x80, 0, 0, 0, 0];
    random.put(Alphabet::Alphanumeric, SEAL, &mut bytes);
    BASE64.encode(bytes).replace('+', "-").replace('/', "_")
}

/// The output of a response, but for the ids of its items.
#[derive(Default)]
pub(super) struct Output {
    text: Vec<u8>,
    /// Where the id of each item stands.
    ids: Vec<usize>,
}

impl Output {
    /// The output with these ids.
    pub(super) fn with(&self, ids: &[String]) -> Vec<u8> {
        let mut out = Vec::with_capacity(self.text.len() + ids.iter().map(String::len).sum::<usize>());
        let mut from = 0;
        for (at, id) in self.ids.iter().zip(ids) {
            out.extend_from_slice(&self.text[from..*at]);
            out.extend_from_slice(id.as_bytes());
            from = *at;
        }
        out.extend_from_slice(&self.text[from..]);
        out
    }
}

/// The ids of items with these prefixes: like the one of their response they are of 48 symbols, and share its first 16.
pub(super) fn ids(response: &str, prefixes: &[&str], random: &mut Random) -> Vec<String> {
    let symbols = response.rsplit('_').next().unwrap_or_default();
    let shared = symbols.get(..16).unwrap_or(symbols);
    let id = |prefix: &&str| {
        let mut id = [prefix.as_bytes(), shared.as_bytes()].concat();
        random.put(Alphabet::Hex, 48_usize.saturating_sub(shared.len()), &mut id);
        String::from_utf8_lossy(&id).into_owned()
    };
    prefixes.iter().map(id).collect()
}

impl Item<'_> {
    /// Its text, where it has one that is told in pieces.
    fn text(&self) -> Option<&Text> {
        match self {
            Item::Reasoning { summary, .. } => *summary,
            Item::Search { .. } => None,
            Item::Message(Part::Text(text) | Part::Refusal(text)) => Some(text),
            Item::Call(call, _) => Some(&call.arguments),
        }
    }

    /// What its id begins with.
    pub(super) fn prefix(&self) -> &'static str {
        match self {
            Item::Reasoning { .. } => "rs_",
            Item::Search { .. } => "ws_",
            Item::Message(_) => "msg_",
            Item::Call(ToolCall { kind: ToolKind::Custom, .. }, _) => "ctc_",
            Item::Call(..) => "fc_",
        }
    }

    /// The item before anything is said of it; its id, which comes first, is empty.
    pub(super) fn begun(&self) -> Value {
        match self {
            Item::Reasoning { seal, .. } => reasoning(Vec::new(), seal.as_deref()),
            Item::Search { query } => search("in_progress", query),
            Item::Message(_) => message("in_progress", Vec::new()),
            Item::Call(call, id) => called(call, id, "in_progress", ""),
        }
    }

    /// The whole item; its id, which comes first, is empty.
    pub(super) fn done(&self, status: &str) -> Value {
        match self {
            Item::Reasoning { summary, seal } => {
                let summary = summary.map(|text| summary_part(&text.text));
                reasoning(summary.into_iter().collect(), seal.as_deref())
            }
            Item::Search { query } => search("completed", query),
            Item::Message(part) => message(status, vec![part.done()]),
            Item::Call(call, id) => called(call, id, status, &call.arguments.text),
        }
    }
}

impl Part<'_> {
    /// The part before anything is said.
    pub(super) fn begun(&self) -> Value {
        match self {
            Part::Text(_) => json!({"type": "output_text", "annotations": [], "logprobs": [], "text": ""}),
            Part::Refusal(_) => json!({"type": "refusal", "refusal": ""}),
        }
    }

    /// The whole part.
    pub(super) fn done(&self) -> Value {
        match self {
            Part::Text(text) => {
                let annotations: Vec<_> = text.citations.iter().map(annotation).collect();
                json!({"type": "output_text", "annotations": annotations, "logprobs": [], "text": text.text})
            }
            Part::Refusal(text) => json!({"type": "refusal", "refusal": text.text}),
        }
    }
}

fn message(status: &str, content: Vec<Value>) -> Value {
    json!({"id": "", "type": "message", "status": status, "content": content, "role": "assistant"})
}

fn search(status: &str, query: &str) -> Value {
    let action = json!({"type": "search", "query": query});
    json!({"id": "", "type": "web_search_call", "status": status, "action": action})
}

fn reasoning(summary: Vec<Value>, seal: Option<&str>) -> Value {
    let mut item = json!({"id": "", "type": "reasoning", "summary": summary});
    if let Some(seal) = seal {
        item["encrypted_content"] = seal.into();
    }
    item
}

fn called(call: &ToolCall, id: &str, status: &str, arguments: &str) -> Value {
    let name = &call.name;
    match call.kind {
        ToolKind::Custom => {
            json!({"id": "", "type": "custom_tool_call", "status": status, "call_id": id, "input": arguments, "name": name})
        }
        ToolKind::Function | ToolKind::Legacy => {
            json!({"id": "", "type": "function_call", "status": status, "arguments": arguments, "call_id": id, "name": name})
        }
    }
}

/// A part of the summary of what is thought.
pub(super) fn summary_part(text: &str) -> Value {
    json!({"type": "summary_text", "text": text})
}

/// A passage that quotes the web.
pub(super) fn annotation(citation: &Citation) -> Value {
    json!({
        "type": "url_citation",
        "end_index": citation.end,
        "start_index": citation.start,
        "title": citation.title,
        "url": citation.url,
    })
}
