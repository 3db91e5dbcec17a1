//! `vllm-responses`: OpenAI's Responses as vLLM has them, full and streamed. They are not stored. The envelope has
//! `created_at` and `model`.
//!
//! Not observed: items of reasoning and of calls.

use std::sync::Arc;

use serde_json::{Map, Value, json};

use super::{EVENT_STREAM, generated, member, members, rules};
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
        envelope::Envelope,
        events::{EventList, RenderTime, RenderedEvents, named_event},
        openai::responses::read,
    },
};

/// Creates the protocol; see [`crate::protocol::Make`].
pub(in crate::protocol) fn make(head: &Map<String, Value>) -> Result<Box<dyn Protocol>, String> {
    let mut own = Map::new();
    own.insert("created_at".into(), member(head, "created_at")?);
    own.insert("model".into(), member(head, "model")?);
    Ok(Box::new(Responses { envelope: Arc::new(Envelope::new(own, Layout::default(), 0)?) }))
}

/// The reader of its requests.
pub(super) struct ResponsesReader;

impl Reader for ResponsesReader {
    fn check(&self, body: json::Object<'_>, context: &RequestContext<'_>) -> Result<(), ApiError> {
        let prompt = || read::prompt(body, context, &[]);
        let is_empty = body.get("input").is_some_and(|input| input.text() == b"[]");
        rules::conversation(body, "max_output_tokens", is_empty, &prompt, context)
    }

    fn prompt(&self, body: json::Object<'_>, context: &RequestContext<'_>, earlier: &[Arc<Value>]) -> Prompt {
        let prompt = read::prompt(body, context, earlier);
        members::extend(Prompt { model: context.served_model().into_owned(), ..prompt }, body)
    }
}

struct Responses {
    /// The time and the model, as an object.
    envelope: Arc<Envelope>,
}

impl Protocol for Responses {
    fn parse<'r>(&'r self, body: json::Object<'r>, context: &RequestContext<'_>) -> Parsed<'r> {
        Parsed { store: None, ..Parsed::new(&ResponsesReader, body, context, read::ready_made(body)) }
    }

    fn render(&self, reply: &Reply, _: Option<RenderContext<'_, '_>>) -> Box<dyn Rendered> {
        Box::new(RenderedResponse { envelope: Arc::clone(&self.envelope), reply: reply.clone() })
    }
}

/// A reply whose response is rendered for each request.
struct RenderedResponse {
    envelope: Arc<Envelope>,
    reply: Reply,
}

/// An item of the output.
struct Item<'a> {
    id: String,
    block: &'a Block,
    /// The id of a call.
    call_id: String,
}

/// Draws an id: a prefix and 16 hexadecimal digits.
fn id(prefix: &str, random: &mut Random) -> String {
    let mut id = prefix.as_bytes().to_vec();
    random.put(Alphabet::Hex, 16, &mut id);
    String::from_utf8_lossy(&id).into_owned()
}

impl<'a> Item<'a> {
    fn new(block: &'a Block, random: &mut Random) -> Self {
        let prefix = match block {
            Block::Reasoning(_) => "rs_",
            Block::ToolCall(_) => "fc_",
            Block::Text(_) | Block::Refusal(_) | Block::Audio(_) => "msg_",
        };
        let own = id(prefix, random);
        let call_id = if block.call().is_some() { id("call_", random) } else { String::new() };
        Item { id: own, block, call_id }
    }

    /// Renders the item, full or as it starts in a stream.
    fn render(&self, is_full: bool) -> Value {
        let text = self.block.text();
        let status = if is_full { "completed" } else { "in_progress" };
        match self.block {
            Block::Reasoning(_) => {
                let content = if is_full { json!([reasoning_part(&text.whole())]) } else { json!([]) };
                json!({"id": self.id, "summary": [], "type": "reasoning", "content": content, "encrypted_content": null,
                    "status": status})
            }
            Block::ToolCall(call) => {
                let arguments = if is_full { text.whole().into_owned() } else { String::new() };
                json!({"arguments": arguments, "call_id": self.call_id, "name": call.name, "type": "function_call",
                    "id": self.id, "status": status})
            }
            Block::Text(_) | Block::Refusal(_) | Block::Audio(_) => {
                let content = if is_full { json!([text_part(&text.whole(), Value::Null)]) } else { json!([]) };
                json!({"id": self.id, "content": content, "role": "assistant", "status": status, "type": "message",
                    "phase": null})
            }
        }
    }
}

fn text_part(text: &str, logprobs: Value) -> Value {
    json!({"annotations": [], "text": text, "type": "output_text", "logprobs": logprobs})
}

fn reasoning_part(text: &str) -> Value {
    json!({"text": text, "type": "reasoning_text"})
}

/// The stage of a response.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Stage {
    InProgress,
    Finished,
}

impl RenderedResponse {
    fn choice(&self) -> Option<&Choice> {
        self.reply.choices.first()
    }

    fn items(&self, random: &mut Random) -> Vec<Item<'_>> {
        let blocks = self.choice().map(|choice| choice.blocks.as_slice()).unwrap_or_default();
        blocks.iter().map(|block| Item::new(block, random)).collect()
    }

    /// Renders the response object.
    fn object(&self, id: &str, stage: Stage, items: &[Item<'_>], context: &RenderContext<'_, '_>) -> Value {
        let own: Value = serde_json::from_slice(&self.envelope.fill(&[], context)).unwrap_or_default();
        let body = context.parsed.body;
        let given = |name: &str| body.get(name).and_then(json::Value::to_value).unwrap_or_default();
        let number = |name: &str, default: f64| {
            body.get(name).and_then(json::Value::as_f64).map_or(json!(default), |number| json!(number))
        };
        let or = |value: Value, default: Value| if value.is_null() { default } else { value };
        let is_finished = stage == Stage::Finished;
        let is_cut = self.choice().is_some_and(|choice| choice.finish_reason == FinishReason::Length);
        let incomplete = (is_finished && is_cut).then(|| json!({"reason": "max_output_tokens"}));
        let status = match stage {
            Stage::InProgress => "in_progress",
            Stage::Finished if is_cut => "incomplete",
            Stage::Finished => "completed",
        };
        let tools = or(given("tools"), json!([]));
        let choice = if tools.as_array().is_some_and(|tools| !tools.is_empty()) { "auto" } else { "none" };
        let output: Vec<_> = items.iter().filter(|_| is_finished).map(|item| item.render(true)).collect();
        json!({
            "id": id,
            "created_at": own["created_at"],
            "incomplete_details": incomplete,
            "instructions": given("instructions"),
            "metadata": given("metadata"),
            "model": own["model"],
            "object": "response",
            "output": output,
            "parallel_tool_calls": or(given("parallel_tool_calls"), json!(true)),
            "temperature": number("temperature", 1.0),
            "tool_choice": or(given("tool_choice"), json!(choice)),
            "tools": tools,
            "top_p": number("top_p", 1.0),
            "background": or(given("background"), json!(false)),
            "max_output_tokens": given("max_output_tokens"),
            "max_tool_calls": given("max_tool_calls"),
            "previous_response_id": given("previous_response_id"),
            "prompt": given("prompt"),
            "reasoning": given("reasoning"),
            "service_tier": or(given("service_tier"), json!("auto")),
            "status": status,
            "text": given("text"),
            "top_logprobs": given("top_logprobs"),
            "truncation": or(given("truncation"), json!("disabled")),
            "usage": is_finished.then(|| self.usage()),
            "user": given("user"),
            "presence_penalty": number("presence_penalty", 0.0),
            "frequency_penalty": number("frequency_penalty", 0.0),
            "kv_transfer_params": null,
            "ec_transfer_params": null,
            "input_messages": null,
            "output_messages": null,
        })
    }

    fn usage(&self) -> Value {
        let usage = &self.reply.usage;
        json!({
            "input_tokens": usage.prompt_tokens,
            "input_tokens_details": {
                "cached_tokens": usage.cached_tokens,
                "cache_write_tokens": 0,
                "input_tokens_per_turn": [],
                "cached_tokens_per_turn": [],
            },
            "output_tokens": usage.completion_tokens,
            "output_tokens_details": {
                "reasoning_tokens": usage.reasoning_tokens,
                "tool_output_tokens": 0,
                "output_tokens_per_turn": [],
                "tool_output_tokens_per_turn": [],
            },
            "total_tokens": usage.prompt_tokens.saturating_add(usage.completion_tokens),
        })
    }

    fn full(&self, context: &RenderContext<'_, '_>) -> Value {
        let mut random = context.random.borrow_mut();
        let id = id("resp_", &mut random);
        let items = self.items(&mut random);
        drop(random);
        self.object(&id, Stage::Finished, &items, context)
    }

    fn events(&self, context: &RenderContext<'_, '_>) -> RenderedEvents {
        let mut random = context.random.borrow_mut();
        let id = id("resp_", &mut random);
        let items = self.items(&mut random);
        drop(random);
        let mut events = Numbered { list: EventList::new(RenderTime::Late), next: 0 };
        for name in ["response.created", "response.in_progress"] {
            let response = self.object(&id, Stage::InProgress, &items, context);
            events.push(name, json!({"response": response}), EventKind::Content);
        }
        for (index, item) in items.iter().enumerate() {
            events.item(index, item);
        }
        let response = self.object(&id, Stage::Finished, &items, context);
        // Observed: the name is the same for an incomplete response.
        events.push("response.completed", json!({"response": response}), EventKind::End);
        events.list.into()
    }
}

/// Events with their numbers.
struct Numbered {
    list: EventList<StreamEvent>,
    next: usize,
}

/// Renders an event. Its number and its type are its last members.
fn event(name: &str, mut data: Value, number: usize, kind: EventKind, tokens: u32) -> StreamEvent {
    data["sequence_number"] = number.into();
    data["type"] = name.into();
    named_event(name, &data.to_string(), kind, tokens)
}

impl Numbered {
    fn push(&mut self, name: &str, data: Value, kind: EventKind) {
        self.list.push(event(name, data, self.next, kind, 0));
        self.next += 1;
    }

    fn content(&mut self, name: &str, data: Value) {
        self.push(name, data, EventKind::Content);
    }

    /// Adds an event for each piece of a text.
    fn deltas(&mut self, name: &'static str, text: &Text, data: impl Fn(&str) -> Value + Send + Sync + 'static) {
        let first = self.next;
        self.list
            .push_pieces(text, move |piece| event(name, data(piece.text), first + piece.index, EventKind::Content, 1));
        self.next += text.piece_count();
    }

    fn item(&mut self, index: usize, item: &Item<'_>) {
        let (id, text) = (item.id.clone(), item.block.text());
        let whole = text.whole();
        self.content("response.output_item.added", json!({"item": item.render(false), "output_index": index}));
        match item.block {
            Block::ToolCall(_) => {
                self.deltas(
                    "response.function_call_arguments.delta",
                    text,
                    move |piece| json!({"delta": piece, "item_id": id, "output_index": index}),
                );
                let done = json!({"arguments": whole, "item_id": item.id, "output_index": index});
                self.content("response.function_call_arguments.done", done);
            }
            Block::Reasoning(_) => {
                self.part("added", index, item, reasoning_part(""));
                self.deltas(
                    "response.reasoning_text.delta",
                    text,
                    move |piece| json!({"content_index": 0, "delta": piece, "item_id": id, "output_index": index}),
                );
                let done = json!({"content_index": 0, "item_id": item.id, "output_index": index, "text": whole});
                self.content("response.reasoning_text.done", done);
                self.part("done", index, item, reasoning_part(&whole));
            }
            Block::Text(_) | Block::Refusal(_) | Block::Audio(_) => {
                self.part("added", index, item, text_part("", json!([])));
                self.deltas("response.output_text.delta", text, move |piece| {
                    json!({"content_index": 0, "delta": piece, "item_id": id, "logprobs": [], "output_index": index})
                });
                // The number stands before the text here.
                let mut done = json!({"content_index": 0, "item_id": item.id, "logprobs": [], "output_index": index});
                done["sequence_number"] = self.next.into();
                done["text"] = whole.as_ref().into();
                self.content("response.output_text.done", done);
                self.part("done", index, item, text_part(&whole, Value::Null));
            }
        }
        self.content("response.output_item.done", json!({"item": item.render(true), "output_index": index}));
    }

    fn part(&mut self, stage: &str, index: usize, item: &Item<'_>, part: Value) {
        let data = json!({"content_index": 0, "item_id": item.id, "output_index": index, "part": part});
        self.content(&format!("response.content_part.{stage}"), data);
    }
}

impl Rendered for RenderedResponse {
    fn record(&self, context: RenderContext<'_, '_>) -> Record {
        Record::Object(self.full(&context))
    }

    fn respond(&self, context: RenderContext<'_, '_>, _: &dyn StoredObjects) -> Result<Response, ApiError> {
        let body = context.parsed.body;
        if !context.parsed.options.stream {
            let text = self.full(&context).to_string();
            return Ok(generated(Response::ok("application/json", Body::Full(text.into())), body, "max_output_tokens"));
        }
        let events = EventStream::written(self.events(&context).stream(None), StreamFormat::Named);
        Ok(generated(Response::ok(EVENT_STREAM, Body::Stream(events)), body, "max_output_tokens"))
    }
}
