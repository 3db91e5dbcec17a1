//! `vllm-messages`: Anthropic's Messages as vLLM has them, full and streamed. The envelope has `id` and `model`.
//!
//! Not observed: blocks of thinking and of tools.

use std::sync::Arc;

use bytes::Bytes;
use serde_json::{Map, Value, json};

use super::{
    EVENT_STREAM, generated, member,
    members::{self, call_id},
    rules,
};
use crate::{
    core::{
        context::RequestContext,
        error::ApiError,
        json,
        prompt::Prompt,
        random::{Alphabet, Random},
        reply::{Block, Choice, FinishReason, Reply, Text},
        response::{Body, EventKind, EventStream, Response, StreamEvent, StreamFormat},
        template::Layout,
    },
    protocol::{
        Parsed, Protocol, Reader, Record, RenderContext, Rendered, StoredObjects,
        anthropic::read,
        envelope::Envelope,
        events::{EventList, RenderTime, RenderedEvents, named_event},
        object_or_empty,
    },
};

/// Creates the protocol; see [`crate::protocol::Make`].
pub(in crate::protocol) fn make(head: &Map<String, Value>) -> Result<Box<dyn Protocol>, String> {
    let mut message = Map::new();
    message.insert("id".into(), member(head, "id")?);
    message.insert("type".into(), "message".into());
    message.insert("role".into(), "assistant".into());
    message.insert("content".into(), json!("{{part.content}}"));
    message.insert("model".into(), member(head, "model")?);
    message.insert("stop_reason".into(), json!("{{part.stop_reason}}"));
    Ok(Box::new(Messages { envelope: Arc::new(Envelope::new(message, Layout::default(), 2)?) }))
}

/// The reader of its requests.
pub(super) struct MessagesReader;

impl Reader for MessagesReader {
    fn check(&self, body: json::Object<'_>, context: &RequestContext<'_>) -> Result<(), ApiError> {
        let prompt = || read::prompt(body, context.served_model().into_owned());
        let is_empty = body.get("messages").is_some_and(|messages| messages.items().is_empty());
        rules::conversation(body, "max_tokens", is_empty, &prompt, context)
    }

    fn prompt(&self, body: json::Object<'_>, context: &RequestContext<'_>, _: &[Arc<Value>]) -> Prompt {
        members::extend(read::prompt(body, context.served_model().into_owned()), body)
    }
}

struct Messages {
    /// A message around its content and its stop reason. The usage follows.
    envelope: Arc<Envelope>,
}

impl Protocol for Messages {
    fn parse<'r>(&'r self, body: json::Object<'r>, context: &RequestContext<'_>) -> Parsed<'r> {
        Parsed { store: None, ..Parsed::new(&MessagesReader, body, context, read::ready_made(body)) }
    }

    fn render(&self, reply: &Reply, _: Option<RenderContext<'_, '_>>) -> Box<dyn Rendered> {
        Box::new(RenderedMessage { envelope: Arc::clone(&self.envelope), reply: reply.clone() })
    }
}

/// A reply whose response is rendered for each request.
struct RenderedMessage {
    envelope: Arc<Envelope>,
    reply: Reply,
}

impl RenderedMessage {
    /// Returns the only choice: the protocol has no alternatives.
    fn choice(&self) -> Option<&Choice> {
        self.reply.choices.first()
    }

    fn blocks(&self) -> impl Iterator<Item = &Block> {
        let blocks = self.choice().map(|choice| choice.blocks.as_slice()).unwrap_or_default();
        blocks.iter().filter(|block| block.call().is_some() || !block.text().is_empty())
    }

    fn stop_reason(&self) -> &'static str {
        match self.choice().map(|choice| (choice.finish_reason, &choice.stopped_by)) {
            Some((FinishReason::Length, _)) => "max_tokens",
            Some((FinishReason::ToolCalls, _)) => "tool_use",
            Some((FinishReason::Stop, Some(_))) => "stop_sequence",
            _ => "end_turn",
        }
    }

    fn stop_sequence(&self) -> Option<&str> {
        self.choice().and_then(|choice| choice.stopped_by.as_deref())
    }

    /// Renders the message with a usage, and the members that follow its stop reason.
    fn message(&self, content: &str, more: &Value, context: &RequestContext<'_>) -> Vec<u8> {
        let (stop_reason, rest) = match more {
            Value::Object(more) => {
                let text = Value::Object(more.clone()).to_string();
                (Value::from(self.stop_reason()).to_string(), text)
            }
            _ => ("null".to_owned(), String::new()),
        };
        let mut out = Vec::new();
        self.envelope.fill_into(&[content.as_bytes(), stop_reason.as_bytes()], context, &mut out);
        // The braces between the two objects go.
        out.pop();
        out.push(b',');
        out.extend_from_slice(rest.get(1..).unwrap_or_default().as_bytes());
        out
    }

    fn full(&self, context: &RequestContext<'_>) -> Bytes {
        let mut random = context.random.borrow_mut();
        let content: Vec<_> = self.blocks().map(|block| content_block(block, true, &mut random)).collect();
        drop(random);
        let mut more = Map::new();
        more.extend(self.stop_sequence().map(|stop| ("stop_sequence".to_owned(), stop.into())));
        more.insert("usage".into(), self.usage());
        self.message(&Value::from(content).to_string(), &more.into(), context).into()
    }

    fn usage(&self) -> Value {
        let usage = &self.reply.usage;
        json!({"input_tokens": usage.prompt_tokens, "output_tokens": usage.completion_tokens})
    }

    fn start(&self, context: &RequestContext<'_>) -> Vec<u8> {
        let mut out = b"event: message_start\ndata: {\"type\":\"message_start\",\"message\":".to_vec();
        let mut message = self.message("[]", &Value::Null, context);
        message.pop();
        out.append(&mut message);
        let usage = json!({"input_tokens": self.reply.usage.prompt_tokens, "output_tokens": 0});
        out.extend_from_slice(format!(",\"stop_sequence\":null,\"usage\":{usage}}}}}\n\n").as_bytes());
        out
    }

    fn events(&self, random: &mut Random) -> RenderedEvents {
        let mut list = EventList::new(RenderTime::Late);
        let push = |list: &mut EventList<StreamEvent>, data: Value, kind| {
            let name = data["type"].as_str().unwrap_or_default();
            list.push(named_event(name, &data.to_string(), kind, 0));
        };
        for (index, block) in self.blocks().enumerate() {
            let block_start = content_block(block, false, random);
            let start = json!({"type": "content_block_start", "content_block": block_start, "index": index});
            push(&mut list, start, EventKind::Content);
            match block {
                Block::Reasoning(text) => deltas(&mut list, index, "thinking_delta", "thinking", text),
                Block::ToolCall(call) => {
                    deltas(&mut list, index, "input_json_delta", "partial_json", &call.arguments);
                }
                Block::Text(text) | Block::Refusal(text) | Block::Audio(text) => {
                    deltas(&mut list, index, "text_delta", "text", text);
                }
            }
            push(&mut list, json!({"type": "content_block_stop", "index": index}), EventKind::Content);
        }
        let delta = json!({"stop_reason": self.stop_reason(), "stop_sequence": self.stop_sequence()});
        let end = json!({"type": "message_delta", "delta": delta, "usage": self.usage()});
        push(&mut list, end, EventKind::Finish);
        push(&mut list, json!({"type": "message_stop"}), EventKind::End);
        list.into()
    }
}

/// Renders a content block, full or as it starts in a stream.
fn content_block(block: &Block, is_full: bool, random: &mut Random) -> Value {
    let text = |text: &Text| if is_full { text.whole().into_owned() } else { String::new() };
    match block {
        Block::Reasoning(thinking) => {
            let mut signature = Vec::new();
            random.put(Alphabet::Hex, 32, &mut signature);
            let signature = String::from_utf8_lossy(&signature).into_owned();
            json!({"type": "thinking", "thinking": text(thinking), "signature": signature})
        }
        Block::ToolCall(call) => {
            let input = if is_full { object_or_empty(&call.arguments.whole()) } else { json!({}) };
            json!({"type": "tool_use", "id": call_id(random), "name": call.name, "input": input})
        }
        Block::Text(own) | Block::Refusal(own) | Block::Audio(own) => json!({"type": "text", "text": text(own)}),
    }
}

fn deltas(list: &mut EventList<StreamEvent>, index: usize, kind: &'static str, member: &'static str, text: &Text) {
    list.push_gaps(text, move |piece| {
        let data = json!({"type": "content_block_delta", "delta": {"type": kind, member: piece}, "index": index});
        named_event("content_block_delta", &data.to_string(), EventKind::Content, 1)
    });
}

impl Rendered for RenderedMessage {
    fn record(&self, context: RenderContext<'_, '_>) -> Record {
        Record::of_json(&self.full(&context))
    }

    fn respond(&self, context: RenderContext<'_, '_>, _: &dyn StoredObjects) -> Result<Response, ApiError> {
        let body = context.parsed.body;
        if !context.parsed.options.stream {
            let full = Response::ok("application/json", Body::Full(self.full(&context)));
            return Ok(generated(full, body, "max_tokens"));
        }
        let start = self.start(&context);
        let events = self.events(&mut context.random.borrow_mut()).stream(Some(start.into()));
        Ok(generated(
            Response::ok(EVENT_STREAM, Body::Stream(EventStream::written(events, StreamFormat::Named))),
            body,
            "max_tokens",
        ))
    }
}
