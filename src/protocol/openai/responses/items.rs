//! The output items of a response.

use base64::{Engine, prelude::BASE64_STANDARD as BASE64};
use serde_json::{Value, json};

use crate::core::{
    random::{Alphabet, Random},
    reply::{Block, Citation, FinishReason, Reply, Text, ToolCall, ToolKind},
};

/// Bytes of encrypted content, before base64. Recorded content has hundreds.
const ENCRYPTED_BYTES: usize = 384;

/// The output items of a reply. Call ids are set; item ids follow from the id of the response.
pub(super) struct OutputItems {
    pub(super) list: Vec<Item>,
    /// Reason why the response is incomplete.
    pub(super) incomplete: Option<&'static str>,
}

/// One item.
pub(super) enum Item {
    /// Reasoning: its summary and its encrypted content, if requested.
    Reasoning { summary: Option<Text>, encrypted: Option<String> },
    /// A web search.
    Search { query: String },
    /// A message.
    Message(ContentPart),
    /// A tool call, with its id.
    Call(ToolCall, String),
}

/// The content part of a message.
#[derive(Clone)]
pub(super) enum ContentPart {
    Text(Text),
    Refusal(Text),
}

/// The form of reasoning in the output.
#[derive(Clone, Copy, Default)]
pub(super) struct ReasoningOptions {
    /// True if there is a reasoning item even without reasoning tokens, as with reasoning models.
    pub(super) always: bool,
    /// True if the item has encrypted content.
    pub(super) encrypted: bool,
}

impl Item {
    /// Returns the memory that it takes beside itself, in bytes.
    pub(super) fn size(&self) -> usize {
        match self {
            Item::Reasoning { summary, encrypted } => {
                summary.as_ref().map_or(0, Text::size) + encrypted.as_ref().map_or(0, String::len)
            }
            Item::Search { query } => query.len(),
            Item::Message(part) => part.text().size(),
            Item::Call(call, id) => call.name.len() + call.arguments.size() + id.len(),
        }
    }
}

impl OutputItems {
    /// Creates the items of a reply. `query` is the query of a web search.
    pub(super) fn new(reply: &Reply, reasoning: ReasoningOptions, query: String, random: &mut Random) -> Self {
        // The protocol has one choice.
        let choice = reply.choices.first();
        let blocks = choice.map_or(&[][..], |choice| &choice.blocks);
        let summary =
            blocks.iter().find_map(|block| if let Block::Reasoning(text) = block { Some(text) } else { None });
        let mut list = Vec::new();
        if reasoning.always || summary.is_some() || reply.usage.reasoning_tokens > 0 {
            let encrypted = reasoning.encrypted.then(|| encrypted_content(random));
            list.push(Item::Reasoning { summary: summary.cloned(), encrypted });
        }
        let incomplete = choice.and_then(|choice| match choice.finish_reason {
            FinishReason::Length => Some("max_output_tokens"),
            FinishReason::ContentFilter => Some("content_filter"),
            FinishReason::Stop | FinishReason::ToolCalls => None,
        });
        if blocks.iter().any(|block| !block.text().citations.is_empty()) {
            list.push(Item::Search { query });
        }
        for block in blocks {
            match block {
                Block::Reasoning(_) => {}
                // Reasoning has used up the output tokens.
                Block::Text(text) | Block::Audio(text) if text.is_empty() && incomplete.is_some() => {}
                Block::Text(text) | Block::Audio(text) => list.push(Item::Message(ContentPart::Text(text.clone()))),
                Block::Refusal(text) => list.push(Item::Message(ContentPart::Refusal(text.clone()))),
                Block::ToolCall(call) => {
                    let mut id = b"call_".to_vec();
                    random.put(Alphabet::Alphanumeric, 24, &mut id);
                    list.push(Item::Call(call.clone(), String::from_utf8_lossy(&id).into_owned()));
                }
            }
        }
        OutputItems { list, incomplete }
    }

    /// Returns the final status of an item. In an incomplete response, the last item is incomplete.
    pub(super) fn status(&self, index: usize) -> &'static str {
        if self.incomplete.is_some() && index + 1 == self.list.len() { "incomplete" } else { "completed" }
    }

    /// Renders the byte offsets at which the pieces of each item's text end, as JSON.
    pub(super) fn cuts(&self) -> Vec<u8> {
        let mut out = b"[".to_vec();
        for (n, item) in self.list.iter().enumerate() {
            out.extend_from_slice(if n == 0 { b"[" } else { b",[" });
            let mut end = 0;
            for piece in item.text().into_iter().flat_map(Text::pieces) {
                end += piece.text.len();
                out.extend_from_slice(if piece.index == 0 { b"" } else { b"," });
                out.extend_from_slice(end.to_string().as_bytes());
            }
            out.push(b']');
        }
        out.push(b']');
        out
    }
}

/// Draws encrypted content like OpenAI's: a Fernet token, which begins with its version and time.
pub(super) fn encrypted_content(random: &mut Random) -> String {
    let mut bytes = vec![0x80, 0, 0, 0, 0];
    random.put(Alphabet::Alphanumeric, ENCRYPTED_BYTES, &mut bytes);
    BASE64.encode(bytes).replace('+', "-").replace('/', "_")
}

/// Draws item ids with these prefixes. Like the response's id they have 48 symbols, and they share its first 16.
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

impl Item {
    /// Returns the text that is streamed in pieces.
    pub(super) fn text(&self) -> Option<&Text> {
        match self {
            Item::Reasoning { summary, .. } => summary.as_ref(),
            Item::Search { .. } => None,
            Item::Message(part) => Some(part.text()),
            Item::Call(call, _) => Some(&call.arguments),
        }
    }

    /// Returns the name of the member that contains the text.
    pub(super) fn text_member(&self) -> Option<&'static str> {
        match self {
            Item::Reasoning { summary, .. } => summary.as_ref().map(|_| "text"),
            Item::Search { .. } => None,
            Item::Message(part) => Some(part.text_member()),
            Item::Call(ToolCall { kind: ToolKind::Custom, .. }, _) => Some("input"),
            Item::Call(..) => Some("arguments"),
        }
    }

    /// Returns the prefix of the item's id.
    pub(super) fn prefix(&self) -> &'static str {
        match self {
            Item::Reasoning { .. } => "rs_",
            Item::Search { .. } => "ws_",
            Item::Message(_) => "msg_",
            Item::Call(ToolCall { kind: ToolKind::Custom, .. }, _) => "ctc_",
            Item::Call(..) => "fc_",
        }
    }

    /// Renders the item without content. Its id, which comes first, is empty.
    pub(super) fn begun(&self) -> Value {
        match self {
            Item::Reasoning { encrypted, .. } => reasoning(Vec::new(), encrypted.as_deref()),
            Item::Search { query } => search("in_progress", query),
            Item::Message(_) => message("in_progress", Vec::new()),
            Item::Call(call, id) => tool_call(call, id, "in_progress"),
        }
    }

    /// Renders the complete item. Its id, which comes first, and its text are empty.
    pub(super) fn done(&self, status: &str) -> Value {
        match self {
            Item::Reasoning { summary, encrypted } => {
                reasoning(summary.iter().map(|_| summary_part()).collect(), encrypted.as_deref())
            }
            Item::Search { query } => search("completed", query),
            Item::Message(part) => message(status, vec![part.done()]),
            Item::Call(call, id) => tool_call(call, id, status),
        }
    }
}

impl ContentPart {
    /// Returns the type, which the names of its events contain.
    pub(super) fn kind(&self) -> &'static str {
        match self {
            ContentPart::Text(_) => "output_text",
            ContentPart::Refusal(_) => "refusal",
        }
    }

    /// Returns the name of the member that contains the text.
    pub(super) fn text_member(&self) -> &'static str {
        match self {
            ContentPart::Text(_) => "text",
            ContentPart::Refusal(_) => "refusal",
        }
    }

    /// Returns the text.
    pub(super) fn text(&self) -> &Text {
        match self {
            ContentPart::Text(text) | ContentPart::Refusal(text) => text,
        }
    }

    /// Renders the part without text and citations.
    pub(super) fn begun(&self) -> Value {
        self.with_annotations(Vec::new())
    }

    /// Renders the complete part. Its text is empty.
    pub(super) fn done(&self) -> Value {
        self.with_annotations(self.text().citations.iter().map(annotation).collect())
    }

    fn with_annotations(&self, annotations: Vec<Value>) -> Value {
        match self {
            ContentPart::Text(_) => {
                json!({"type": "output_text", "annotations": annotations, "logprobs": [], "text": ""})
            }
            ContentPart::Refusal(_) => json!({"type": "refusal", "refusal": ""}),
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

fn reasoning(summary: Vec<Value>, encrypted: Option<&str>) -> Value {
    let mut item = json!({"id": "", "type": "reasoning", "summary": summary});
    if let Some(encrypted) = encrypted {
        item["encrypted_content"] = encrypted.into();
    }
    item
}

fn tool_call(call: &ToolCall, id: &str, status: &str) -> Value {
    let name = &call.name;
    match call.kind {
        ToolKind::Custom => {
            json!({"id": "", "type": "custom_tool_call", "status": status, "call_id": id, "input": "", "name": name})
        }
        ToolKind::Function | ToolKind::Legacy => {
            json!({"id": "", "type": "function_call", "status": status, "arguments": "", "call_id": id, "name": name})
        }
    }
}

/// Renders a part of a reasoning summary. Its text is empty.
pub(super) fn summary_part() -> Value {
    json!({"type": "summary_text", "text": ""})
}

/// Renders a web citation.
pub(super) fn annotation(citation: &Citation) -> Value {
    json!({
        "type": "url_citation",
        "end_index": citation.end,
        "start_index": citation.start,
        "title": citation.title,
        "url": citation.url,
    })
}
