//! `ollama-chat` and `ollama-generate`: Ollama's own protocol, a JSON value to a line. It streams unless it is asked not to.
//!
//! The shapes and the order of the keys are those of Ollama's source of 2026.

mod read;

use std::sync::Arc;

use serde_json::{Map, Value, json};

use super::{Protocol, Rendered, object_or_empty};
use crate::core::{
    context::RequestContext,
    error::ApiError,
    json,
    prompt::Prompt,
    random::{Alphabet, Random},
    reply::{Block, FinishReason, Reply, Text, Usage},
    response::{self, Body, EventKind, Response, StreamEvent, StreamFormat},
    template::{Layout, Spaces, Template},
};

/// How long a model is said to take, in nanoseconds: to load, for a token of the prompt, for one of the reply. What it
/// really took would be told differently each time.
const TAKES: (u64, u64, u64) = (12_000_000, 1_000_000, 20_000_000);

/// The tokens that the next request is to go on from, as of any prompt: nobody reads them.
const CONTEXT: &str = r#","context":[1,2,3]"#;

/// Which of the two is asked.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// Messages, and tools.
    Chat,
    /// A prompt.
    Generate,
}

/// Makes the dialect; see [`super::Make`].
pub(super) fn make_chat(head: &Map<String, Value>) -> Result<Box<dyn Protocol>, String> {
    make(Kind::Chat, head)
}

/// Makes the dialect; see [`super::Make`].
pub(super) fn make_generate(head: &Map<String, Value>) -> Result<Box<dyn Protocol>, String> {
    make(Kind::Generate, head)
}

/// The head is what each line begins with.
fn make(kind: Kind, head: &Map<String, Value>) -> Result<Box<dyn Protocol>, String> {
    if head.is_empty() {
        return Err("`head` is what each line begins with: give it a `model`".to_owned());
    }
    let head = Template::json(&head.clone().into(), Layout::default(), Spaces::Content)?;
    Ok(Box::new(Ollama { kind, head: Arc::new(head) }))
}

struct Ollama {
    kind: Kind,
    head: Arc<Template>,
}

/// Whether a request wants a stream.
fn streams(body: json::Object<'_>) -> bool {
    body.get("stream").and_then(json::Value::as_bool) != Some(false)
}

impl Protocol for Ollama {
    fn check(&self, _: json::Object<'_>, _: &RequestContext<'_>) -> Result<(), ApiError> {
        Ok(())
    }

    fn is_plain(&self, body: json::Object<'_>, tokens: u64) -> bool {
        read::is_plain(body, tokens) && !(self.kind == Kind::Generate && read::only_loads(body))
    }

    fn read(&self, body: json::Object<'_>, context: &RequestContext<'_>) -> Prompt {
        match self.kind {
            Kind::Chat => read::chat(body, context.model().into_owned()),
            Kind::Generate => read::generate(body, context.model().into_owned()),
        }
    }

    fn render(&self, reply: &Reply, context: Option<&RequestContext<'_>>) -> Box<dyn Rendered> {
        let loads = context.and_then(|context| context.members().ok()).is_some_and(|body| match self.kind {
            Kind::Chat => body.get("messages").is_none_or(|messages| messages.items().is_empty()),
            Kind::Generate => read::only_loads(body),
        });
        let said = match context {
            Some(context) => Said::new(self.kind, reply, loads, &mut context.random.borrow_mut()),
            // Nothing that is said the same every time has calls, and so none of it is drawn.
            None => Said::new(self.kind, reply, loads, &mut Random::seeded(0)),
        };
        Box::new(Spelled { head: Arc::clone(&self.head), said: Arc::new(said) })
    }
}

/// What is said, but for the head of each line.
struct Said {
    kind: Kind,
    thoughts: Text,
    text: Text,
    /// The calls, as JSON; empty if there are none.
    calls: String,
    /// How many tokens they are.
    call_tokens: u32,
    /// The last line's members after what is said, and the end of the line.
    tail: String,
}

impl Said {
    fn new(kind: Kind, reply: &Reply, loads: bool, random: &mut Random) -> Self {
        // The protocol knows no alternatives.
        let choice = reply.choices.first();
        let mut said = Said {
            kind,
            thoughts: Text::default(),
            text: Text::default(),
            calls: String::new(),
            call_tokens: 0,
            tail: String::new(),
        };
        if loads {
            said.tail = r#","done":true,"done_reason":"load"}"#.to_owned();
            return said;
        }
        let mut calls = Vec::new();
        for block in choice.iter().flat_map(|choice| &choice.blocks) {
            match block {
                Block::Reasoning(text) => said.thoughts = text.clone(),
                Block::Text(text) | Block::Refusal(text) | Block::Audio(text) => said.text = text.clone(),
                // No tool can be called here: the call is what it says.
                Block::ToolCall(call) if kind == Kind::Generate => said.text = call.arguments.clone(),
                Block::ToolCall(call) => {
                    let mut id = b"call_".to_vec();
                    random.put(Alphabet::Alphanumeric, 8, &mut id);
                    let function = json!({"index": calls.len(), "name": call.name, "arguments": object_or_empty(&call.arguments.text)});
                    calls.push(json!({"id": String::from_utf8_lossy(&id).to_lowercase(), "function": function}));
                    said.call_tokens += u32::try_from(call.arguments.tokens).unwrap_or(u32::MAX);
                }
            }
        }
        if !calls.is_empty() {
            said.calls = Value::Array(calls).to_string();
        }
        let reason = match choice.map(|choice| choice.finish_reason) {
            Some(FinishReason::Length) => "length",
            _ => "stop",
        };
        let context = if kind == Kind::Generate { CONTEXT } else { "" };
        said.tail = format!(r#","done":true,"done_reason":"{reason}"{context},{}}}"#, numbers(&reply.usage));
        said
    }

    /// A line after its head, up to what follows what is said.
    fn line(&self, thoughts: &str, text: &str, calls: &str, out: &mut Vec<u8>) {
        let quoted = |text: &str| Value::from(text).to_string();
        let thinking = if thoughts.is_empty() { String::new() } else { format!(r#","thinking":{}"#, quoted(thoughts)) };
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

/// What it has cost, and how long each part of it took.
fn numbers(usage: &Usage) -> String {
    let (load, prompt, reply) = TAKES;
    let (input, output) = (usage.prompt_tokens, usage.completion_tokens);
    let (prompt, reply) = (input.saturating_mul(prompt), output.saturating_mul(reply));
    format!(
        r#""total_duration":{},"load_duration":{load},"prompt_eval_count":{input},"prompt_eval_duration":{prompt},"eval_count":{output},"eval_duration":{reply}"#,
        load.saturating_add(prompt).saturating_add(reply)
    )
}

struct Spelled {
    head: Arc<Template>,
    said: Arc<Said>,
}

impl Spelled {
    /// What each line begins with, open at its end.
    fn head(&self, context: &RequestContext<'_>) -> Vec<u8> {
        let mut head = self.head.render(context);
        head.pop();
        head
    }

    fn whole(&self, context: &RequestContext<'_>) -> Vec<u8> {
        let (said, mut out) = (&self.said, self.head(context));
        said.line(&said.thoughts.text, &said.text.text, &said.calls, &mut out);
        out.extend_from_slice(said.tail.as_bytes());
        out
    }
}

impl Rendered for Spelled {
    fn record(&self, context: &RequestContext<'_>) -> Value {
        serde_json::from_slice(&self.whole(context)).unwrap_or_default()
    }

    fn respond(&self, context: &RequestContext<'_>) -> Response {
        if !context.members().is_ok_and(streams) {
            return Response::said("application/json; charset=utf-8", Body::Full(self.whole(context).into()));
        }
        let list =
            Frames { said: Arc::clone(&self.said), head: self.head(context), thought: 0, spoken: 0, at: 0, left: 2 };
        let content = Body::Stream(response::EventStream { list: Box::new(list), framing: StreamFormat::Lines });
        Response::said("application/x-ndjson", content)
    }
}

/// The lines of one stream, rendered one by one: thoughts, text, the calls, and the last.
struct Frames {
    said: Arc<Said>,
    head: Vec<u8>,
    /// How many pieces of the thoughts and of the text are said.
    thought: usize,
    spoken: usize,
    /// How far what is being said has been, in bytes.
    at: usize,
    /// Which lines are left after the text: the calls and the last, or the last.
    left: u8,
}

impl Iterator for Frames {
    type Item = StreamEvent;

    fn next(&mut self) -> Option<StreamEvent> {
        let said = Arc::clone(&self.said);
        let mut out = self.head.clone();
        let (mut part, mut tokens, mut tail) = (EventKind::Said, 1, r#","done":false}"#);
        if let Some(end) = said.thoughts.ends.get(self.thought) {
            said.line(&said.thoughts.text[self.at..*end], "", "", &mut out);
            self.thought += 1;
            self.at = if self.thought == said.thoughts.ends.len() { 0 } else { *end };
        } else if let Some(end) = said.text.ends.get(self.spoken) {
            said.line("", &said.text.text[self.at..*end], "", &mut out);
            (self.spoken, self.at) = (self.spoken + 1, *end);
        } else if self.left == 2 && !said.calls.is_empty() {
            said.line("", "", &said.calls, &mut out);
            (self.left, tokens) = (1, said.call_tokens);
        } else if self.left > 0 {
            said.line("", "", "", &mut out);
            (self.left, part, tokens, tail) = (0, EventKind::Finish, 0, &said.tail);
        } else {
            return None;
        }
        out.extend_from_slice(tail.as_bytes());
        out.push(b'\n');
        Some(StreamEvent { bytes: out.into(), part, tokens })
    }
}
