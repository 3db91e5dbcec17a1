//! `ollama-chat` and `ollama-generate`: Ollama's own protocol of JSON lines. It streams unless `stream` is false.
//!
//! The shapes and the order of keys are those of Ollama's source of 2026.

mod read;

use std::sync::Arc;

use serde_json::{Map, Value, json};

use super::{
    Parsed, Protocol, Reader, ReadyMade, Record, RenderContext, Rendered, ResponseOptions, StoredObjects,
    object_or_empty,
};
use crate::core::{
    context::RequestContext,
    error::ApiError,
    json,
    prompt::Prompt,
    random::{Alphabet, Random},
    reply::{Block, FinishReason, PieceCursor, Reply, Text, Usage},
    response::{self, Body, EventKind, Response, StreamEvent, StreamFormat},
    template::{AllowedSlots, Layout, Template},
};

/// Reported durations in nanoseconds: to load the model, per token of the prompt, per token of the reply. They are
/// fixed, so that bodies are reproducible.
const DURATIONS: (u64, u64, u64) = (12_000_000, 1_000_000, 20_000_000);

/// Member with the encoded conversation for the next request. Requests' `context` is ignored, so it is constant.
const CONTEXT: &str = r#","context":[1,2,3]"#;

/// The endpoint of a request.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// Messages and tools.
    Chat,
    /// One prompt.
    Generate,
}

/// Creates the protocol; see [`super::Make`].
pub(super) fn make_chat(envelope: &Map<String, Value>) -> Result<Box<dyn Protocol>, String> {
    make(Kind::Chat, envelope)
}

/// Creates the protocol; see [`super::Make`].
pub(super) fn make_generate(envelope: &Map<String, Value>) -> Result<Box<dyn Protocol>, String> {
    make(Kind::Generate, envelope)
}

/// Creates the protocol. The envelope is the beginning of each line.
fn make(kind: Kind, envelope: &Map<String, Value>) -> Result<Box<dyn Protocol>, String> {
    if envelope.is_empty() {
        return Err("`head` is empty: give it a `model`, which each line begins with".to_owned());
    }
    let prefix = Template::json(&envelope.clone().into(), Layout::default(), AllowedSlots::Content)?;
    Ok(Box::new(Ollama { kind, prefix: Arc::new(prefix) }))
}

struct Ollama {
    kind: Kind,
    prefix: Arc<Template>,
}

impl Reader for Ollama {
    fn check(&self, _: json::Object<'_>, _: &RequestContext<'_>) -> Result<(), ApiError> {
        Ok(())
    }

    fn prompt(&self, body: json::Object<'_>, context: &RequestContext<'_>, _: &[Arc<Value>]) -> Prompt {
        match self.kind {
            Kind::Chat => read::chat(body, context.model().into_owned()),
            Kind::Generate => read::generate(body, context.model().into_owned()),
        }
    }
}

impl Ollama {
    /// Returns the `done_reason` of a request that only loads or unloads the model.
    fn load_reason(&self, body: json::Object<'_>) -> Option<&'static str> {
        let has_prompt = match self.kind {
            Kind::Chat => body.get("messages").is_some_and(|messages| !messages.items().is_empty()),
            Kind::Generate => read::has_prompt(body),
        };
        (!has_prompt).then(|| if read::unloads(body) { "unload" } else { "load" })
    }
}

impl Protocol for Ollama {
    fn parse<'r>(&'r self, body: json::Object<'r>, _: &RequestContext<'_>) -> Parsed<'r> {
        let loads = self.load_reason(body).is_some();
        let ready_made = if loads { ReadyMade::None } else { read::ready_made(body) };
        // A stream is the default. Loading and unloading have none.
        let stream = !loads && body.get("stream").and_then(json::Value::as_bool) != Some(false);
        let options = ResponseOptions { stream, is_without_reply: loads, ..ResponseOptions::default() };
        Parsed::with_options(self, body, ready_made, options)
    }

    fn render(&self, reply: &Reply, context: Option<RenderContext<'_, '_>>) -> Box<dyn Rendered> {
        let load_reason = context.and_then(|context| self.load_reason(context.parsed.body));
        let content = match (load_reason, context) {
            (Some(reason), _) => LineContent::empty(self.kind, format!(r#","done":true,"done_reason":"{reason}"}}"#)),
            (None, Some(context)) => LineContent::new(self.kind, reply, &mut context.random.borrow_mut()),
            // Replies for all plain requests have no calls, so nothing is drawn.
            (None, None) => LineContent::new(self.kind, reply, &mut Random::seeded(0)),
        };
        Box::new(RenderedLines { prefix: Arc::clone(&self.prefix), content: Arc::new(content) })
    }
}

/// The parts of a reply after the prefix of each line.
struct LineContent {
    kind: Kind,
    thinking: Text,
    text: Text,
    /// The calls, as JSON; empty if there are none.
    calls: String,
    /// Number of tokens of the calls.
    call_tokens: u32,
    /// The last line's members after the content, and its closing brace.
    tail: String,
}

impl LineContent {
    /// Creates the parts of a reply without content.
    fn empty(kind: Kind, tail: String) -> Self {
        let (thinking, text, calls) = Default::default();
        LineContent { kind, thinking, text, calls, call_tokens: 0, tail }
    }

    /// Draws the ids of a reply's calls.
    fn new(kind: Kind, reply: &Reply, random: &mut Random) -> Self {
        // The protocol has no alternatives.
        let choice = reply.choices.first();
        let mut content = LineContent::empty(kind, String::new());
        let mut calls = Vec::new();
        for block in choice.iter().flat_map(|choice| &choice.blocks) {
            match block {
                Block::Reasoning(text) => content.thinking = text.clone(),
                Block::Text(text) | Block::Refusal(text) | Block::Audio(text) => content.text = text.clone(),
                // `generate` has no tools: a scripted call becomes its arguments.
                Block::ToolCall(call) if kind == Kind::Generate => content.text = call.arguments.clone(),
                Block::ToolCall(call) => {
                    let mut id = b"call_".to_vec();
                    random.put(Alphabet::Alphanumeric, 8, &mut id);
                    let function = json!({"index": calls.len(), "name": call.name, "arguments": object_or_empty(&call.arguments.whole())});
                    calls.push(json!({"id": String::from_utf8_lossy(&id).to_lowercase(), "function": function}));
                    content.call_tokens += u32::try_from(call.arguments.tokens).unwrap_or(u32::MAX);
                }
            }
        }
        if !calls.is_empty() {
            content.calls = Value::Array(calls).to_string();
        }
        let reason = match choice.map(|choice| choice.finish_reason) {
            Some(FinishReason::Length) => "length",
            _ => "stop",
        };
        let context = if kind == Kind::Generate { CONTEXT } else { "" };
        content.tail = format!(r#","done":true,"done_reason":"{reason}"{context},{}}}"#, metrics(&reply.usage));
        content
    }

    /// Appends the content of a line.
    fn put_content(&self, thinking: &str, text: &str, calls: &str, out: &mut Vec<u8>) {
        let quoted = |text: &str| Value::from(text).to_string();
        let thinking = if thinking.is_empty() { String::new() } else { format!(r#","thinking":{}"#, quoted(thinking)) };
        let calls = if calls.is_empty() { String::new() } else { format!(r#","tool_calls":{calls}"#) };
        let line = match self.kind {
            Kind::Chat => {
                format!(r#","message":{{"role":"assistant","content":{}{thinking}{calls}}}"#, quoted(text))
            }
            Kind::Generate => format!(r#","response":{}{thinking}"#, quoted(text)),
        };
        out.extend_from_slice(line.as_bytes());
    }
}

/// Returns the members with token counts and durations.
fn metrics(usage: &Usage) -> String {
    let (load, prompt, reply) = DURATIONS;
    let (input, output) = (usage.prompt_tokens, usage.completion_tokens);
    let (prompt, reply) = (input.saturating_mul(prompt), output.saturating_mul(reply));
    format!(
        r#""total_duration":{},"load_duration":{load},"prompt_eval_count":{input},"prompt_eval_duration":{prompt},"eval_count":{output},"eval_duration":{reply}"#,
        load.saturating_add(prompt).saturating_add(reply)
    )
}

struct RenderedLines {
    prefix: Arc<Template>,
    content: Arc<LineContent>,
}

impl RenderedLines {
    /// Returns the beginning of each line: an object without its closing brace.
    fn prefix(&self, context: &RequestContext<'_>) -> Vec<u8> {
        let mut prefix = self.prefix.render(context);
        prefix.pop();
        prefix
    }

    fn full(&self, context: &RequestContext<'_>) -> Vec<u8> {
        let (content, mut out) = (&self.content, self.prefix(context));
        content.put_content(&content.thinking.whole(), &content.text.whole(), &content.calls, &mut out);
        out.extend_from_slice(content.tail.as_bytes());
        out
    }
}

impl Rendered for RenderedLines {
    fn record(&self, context: RenderContext<'_, '_>) -> Record {
        Record::of_json(&self.full(&context))
    }

    fn respond(&self, context: RenderContext<'_, '_>, _: &dyn StoredObjects) -> Result<Response, ApiError> {
        if !context.parsed.options.stream {
            return Ok(Response::ok("application/json; charset=utf-8", Body::Full(self.full(&context).into())));
        }
        let list = OllamaLines {
            thinking: self.content.thinking.cursor(),
            text: self.content.text.cursor(),
            content: Arc::clone(&self.content),
            prefix: self.prefix(&context),
            remaining: 2,
        };
        let body = Body::Stream(response::EventStream::new(list, StreamFormat::Lines));
        Ok(Response::ok("application/x-ndjson", body))
    }
}

/// The lines of one stream, rendered one by one: thinking, text, the calls, and the last line.
struct OllamaLines {
    content: Arc<LineContent>,
    prefix: Vec<u8>,
    /// The position in the thinking.
    thinking: PieceCursor,
    /// The position in the text.
    text: PieceCursor,
    /// Lines left after the text. 2: the calls, if any, and the last line; 1: the last line.
    remaining: u8,
}

impl Iterator for OllamaLines {
    type Item = StreamEvent;

    fn next(&mut self) -> Option<StreamEvent> {
        let content = Arc::clone(&self.content);
        let mut out = self.prefix.clone();
        let (mut part, mut tail) = (EventKind::Content, r#","done":false}"#);
        let tokens;
        if let Some(piece) = self.thinking.next(&content.thinking) {
            content.put_content(piece.text, "", "", &mut out);
            tokens = piece.tokens;
        } else if let Some(piece) = self.text.next(&content.text) {
            content.put_content("", piece.text, "", &mut out);
            tokens = piece.tokens;
        } else if self.remaining == 2 && !content.calls.is_empty() {
            content.put_content("", "", &content.calls, &mut out);
            self.remaining = 1;
            tokens = content.call_tokens;
        } else if self.remaining > 0 {
            content.put_content("", "", "", &mut out);
            (self.remaining, part, tail) = (0, EventKind::Finish, &content.tail);
            tokens = 0;
        } else {
            return None;
        }
        out.extend_from_slice(tail.as_bytes());
        out.push(b'\n');
        Some(StreamEvent { bytes: out.into(), kind: part, tokens })
    }
}
