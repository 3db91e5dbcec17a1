//! `openai-responses`: OpenAI's Responses, full and streamed, and their compaction.
//!
//! Shapes, key order and event order are those of responses recorded in 2026.

mod check;
mod compact;
mod items;
mod json_form;
mod object;
pub(in crate::protocol) mod read;
mod record;
mod retrieve;
mod stream;

use std::{borrow::Cow, sync::Arc};

use bytes::Bytes;
use serde_json::{Map, Value, json};

pub(in crate::protocol) use self::{compact::make as make_compact, retrieve::make as make_retrieve};
use self::{
    items::{Output, OutputItems, ReasoningOptions, ids},
    json_form::JsonForm,
    object::{ResponseEnvelope, ResponseObject, State},
    stream::{ItemEvent, ResponseEvents, events},
};
use crate::core::{
    context::RequestContext,
    error::ApiError,
    json,
    prompt::Prompt,
    random::Random,
    reply::{Reply, Usage},
    response::{self, Body, Response, StreamFormat},
};
use crate::protocol::{
    History, LoadHistory, Parsed, Protocol, Reader, Record, RenderContext, Rendered, ResponseOptions, StoredObjects,
    events::{EventLists, Events, RenderTime},
};

/// The first events of a stream: their names, and the status of the response in them.
const FIRST_EVENTS: [(&str, &str); 2] = [("response.created", "in_progress"), ("response.in_progress", "in_progress")];
/// The first events of a background response.
const FIRST_EVENTS_QUEUED: [(&str, &str); 3] =
    [("response.created", "queued"), ("response.queued", "queued"), ("response.in_progress", "in_progress")];

/// Creates the protocol; see [`crate::protocol::Make`].
pub(in crate::protocol) fn make(head: &Map<String, Value>) -> Result<Box<dyn Protocol>, String> {
    Ok(Box::new(Responses { envelope: Arc::new(ResponseEnvelope::new(head)?) }))
}

struct Responses {
    envelope: Arc<ResponseEnvelope>,
}

impl Reader for Responses {
    fn check(&self, body: json::Object<'_>, context: &RequestContext<'_>) -> Result<(), ApiError> {
        check::check(body, context)
    }

    fn prompt(&self, body: json::Object<'_>, context: &RequestContext<'_>, earlier: &[Arc<Value>]) -> Prompt {
        read::prompt(body, context, earlier)
    }
}

impl Protocol for Responses {
    fn parse<'r>(&'r self, body: json::Object<'r>, _: &RequestContext<'_>) -> Parsed<'r> {
        // Responses are stored unless the request forbids it.
        let store = Some(body.get("store").and_then(json::Value::as_bool) != Some(false));
        let parsed = Parsed::with_options(self, body, read::ready_made(body), read::options(body));
        Parsed { store, history: history(body), ..parsed }
    }

    fn render(&self, reply: &Reply, context: Option<RenderContext<'_, '_>>) -> Box<dyn Rendered> {
        let envelope = Arc::clone(&self.envelope);
        let Some(context) = context else {
            // A reply shared by all plain requests has no calls and no encrypted reasoning, so nothing is drawn.
            let texts = |always| {
                let reasoning = ReasoningOptions { always, encrypted: false };
                let output = OutputItems::new(reply, reasoning, String::new(), &mut Random::seeded(0));
                Arc::new(ResponseTexts::new(output, usage(&reply.usage), None))
            };
            return Box::new(RenderedResponse { envelope, texts: texts(false), reasoning_texts: Some(texts(true)) });
        };
        let Parsed { body, options, .. } = context.parsed;
        let reasoning = read::reasoning(*body, &context);
        let cites =
            reply.choices.iter().flat_map(|choice| &choice.blocks).any(|block| !block.text().citations.is_empty());
        let query = if cites { context.parsed.prompt(&context).last_user().to_owned() } else { String::new() };
        let output = OutputItems::new(reply, reasoning, query, &mut context.random.borrow_mut());
        let texts = Arc::new(ResponseTexts::new(output, usage(&reply.usage), Some(options)));
        Box::new(RenderedResponse { envelope, texts, reasoning_texts: None })
    }
}

/// Returns the stored objects that a request continues: earlier responses, or the items of a conversation.
fn history(body: json::Object<'_>) -> History<'_> {
    match body.get("previous_response_id").and_then(json::Value::as_str) {
        Some(id) => History::Response(id, &Conversation),
        None => History::Objects(&Conversation),
    }
}

/// Returns the id of the conversation that a request belongs to.
fn conversation(body: json::Object<'_>) -> Option<Cow<'_, str>> {
    let given = body.get("conversation")?;
    given.as_str().or_else(|| given.members()?.get("id")?.as_str())
}

/// The loader of the items of a request's conversation.
struct Conversation;

impl LoadHistory for Conversation {
    fn load(&self, parsed: &Parsed<'_>, store: &dyn StoredObjects) -> Result<Option<Vec<Arc<Value>>>, ApiError> {
        let Some(id) = conversation(parsed.body) else { return Ok(None) };
        if !store.may_name("conversations", &[], &id) {
            return Err(ApiError::UnknownResource { id: id.into_owned(), noun: "conversation".to_owned() });
        }
        let mut history = json!({"input": null});
        history["input"] = store.all("items", &[&id]).into();
        Ok(Some(vec![Arc::new(history)]))
    }
}

/// Renders the usage object. The schema requires `cache_write_tokens`; recorded responses of older models lack it.
fn usage(usage: &Usage) -> Value {
    json!({
        "input_tokens": usage.prompt_tokens,
        "input_tokens_details": {"cache_write_tokens": 0, "cached_tokens": usage.cached_tokens},
        "output_tokens": usage.completion_tokens,
        "output_tokens_details": {"reasoning_tokens": usage.reasoning_tokens},
        "total_tokens": usage.prompt_tokens.saturating_add(usage.completion_tokens),
    })
}

/// Creates a full response.
fn json_response(body: impl Into<Bytes>) -> Response {
    Response::ok("application/json", Body::Full(body.into()))
}

/// A reply rendered but for the envelope's slots and the ids of the items.
struct RenderedResponse {
    envelope: Arc<ResponseEnvelope>,
    texts: Arc<ResponseTexts>,
    /// The texts for reasoning models, if the rendered reply serves many requests.
    reasoning_texts: Option<Arc<ResponseTexts>>,
}

/// The model's output. For a reply that many requests share, all forms are rendered once.
struct ResponseTexts {
    items: Arc<OutputItems>,
    /// The output in the layouts of full responses and of events, if it is shared.
    shared: Option<[Output; 2]>,
    /// The events about the items; empty for a request that wants a full response.
    stream: EventLists<ItemEvent>,
    usage: Value,
}

impl ResponseTexts {
    fn new(items: OutputItems, usage: Value, options: Option<&ResponseOptions<'_>>) -> Self {
        let streams = options.is_none_or(|options| options.stream);
        let time = if options.is_none() { RenderTime::Now } else { RenderTime::Late };
        let items = Arc::new(items);
        ResponseTexts {
            shared: options.is_none().then(|| [items.output(JsonForm::Pretty), items.output(JsonForm::Compact)]),
            stream: if streams { [events(&items, time)].into() } else { Arc::new([]) },
            items,
            usage,
        }
    }

    /// Returns the memory of the items, in bytes, and 0 if many responses share them.
    fn size(&self) -> usize {
        let size = |item: &items::Item| size_of::<items::Item>() + item.size();
        if self.shared.is_some() { 0 } else { size_of::<Self>() + self.items.list.iter().map(size).sum::<usize>() }
    }

    /// Renders the output in this layout.
    fn output(&self, form: JsonForm) -> Cow<'_, Output> {
        match (&self.shared, form) {
            (None, _) => Cow::Owned(self.items.output(form)),
            (Some([pretty, _]), JsonForm::Pretty) => Cow::Borrowed(pretty),
            (Some([_, compact]), JsonForm::Compact) => Cow::Borrowed(compact),
        }
    }

    /// Renders the object of a finished response.
    fn finished(&self, object: &ResponseObject, form: JsonForm, ids: &[String]) -> Vec<u8> {
        let (mut out, output) = (Vec::new(), self.output(form).with_ids(ids));
        let state = State::Finished { incomplete: self.items.incomplete, output: &output, usage: &self.usage };
        object.put(state, &mut out);
        out
    }
}

impl RenderedResponse {
    fn texts(&self, context: &RequestContext<'_>) -> &Arc<ResponseTexts> {
        match &self.reasoning_texts {
            Some(texts) if context.model_facts().is_some_and(|facts| facts.reasoning) => texts,
            _ => &self.texts,
        }
    }

    /// Draws the object's id and the ids of its items, in this order.
    fn draw(&self, form: JsonForm, context: &RequestContext<'_>) -> (ResponseObject, Vec<String>) {
        let object = self.envelope.fill(form, context);
        let prefixes: Vec<_> = self.texts(context).items.list.iter().map(items::Item::prefix).collect();
        let ids = ids(&object.id, &prefixes, &mut context.random.borrow_mut());
        (object, ids)
    }
}

impl Rendered for RenderedResponse {
    fn id(&self, context: RenderContext<'_, '_>) -> Option<String> {
        Some(self.envelope.id(&context))
    }

    fn record(&self, context: RenderContext<'_, '_>) -> Record {
        let Parsed { body, options, .. } = *context.parsed;
        let (object, ids) = self.draw(JsonForm::Compact, &context);
        let texts = self.texts(&context);
        let input = record::input_items(body, &mut context.random.borrow_mut());
        let finished = texts.finished(&object, JsonForm::Compact, &ids);
        let unfinished = |status| {
            let mut out = Vec::new();
            object.put(State::Unfinished(status), &mut out);
            out
        };
        let tier = Value::from(object.requested_tier()).to_string();
        let replay = [br#"{"tier":"#, tier.as_bytes(), br#","cuts":"#, &texts.items.cuts(), b"}"].concat();
        let text = match (options.background, options.stream) {
            (false, _) => record::record(&object.id, &finished, None, &input, body, &replay),
            // The stream shows its stages.
            (true, true) => record::record(&object.id, &finished, Some(&[]), &input, body, &replay),
            (true, false) => {
                let stages = [unfinished("in_progress"), finished];
                record::record(&object.id, &unfinished("queued"), Some(&stages), &input, body, &replay)
            }
        };
        Record::Text { id: object.id, text: text.into() }
    }

    fn respond(&self, context: RenderContext<'_, '_>, store: &dyn StoredObjects) -> Result<Response, ApiError> {
        if let Some(conversation) = conversation(context.parsed.body) {
            self.add_items(&conversation, &context, store);
        }
        Ok(self.response(context))
    }
}

impl RenderedResponse {
    /// Adds the items of the request and of the response to a conversation.
    fn add_items(&self, conversation: &str, context: &RenderContext<'_, '_>, store: &dyn StoredObjects) {
        let body = context.parsed.body;
        // The response is rendered with the same random state, so its items have the same ids.
        let random = context.random.borrow().clone();
        let (object, ids) = self.draw(JsonForm::Compact, context);
        let finished = self.texts(context).finished(&object, JsonForm::Compact, &ids);
        let mut response: Value = serde_json::from_slice(&finished).unwrap_or_default();
        let input = record::input_items(body, &mut context.random.borrow_mut());
        context.random.replace(random);
        let output = response["output"].as_array_mut().map(std::mem::take).unwrap_or_default();
        for item in input.into_iter().chain(output) {
            if let Some(id) = item["id"].as_str().map(str::to_owned) {
                store.put("items", &[conversation], &id, &item);
            }
        }
    }

    fn response(&self, context: RenderContext<'_, '_>) -> Response {
        let options = &context.parsed.options;
        let texts = self.texts(&context);
        if !options.stream {
            let (object, ids) = self.draw(JsonForm::Pretty, &context);
            if !options.background {
                return json_response(texts.finished(&object, JsonForm::Pretty, &ids));
            }
            let mut out = Vec::new();
            object.put(State::Unfinished("queued"), &mut out);
            return json_response(out);
        }
        let (object, ids) = self.draw(JsonForm::Compact, &context);
        let events = ResponseEvents {
            object: object.into(),
            texts: Arc::clone(texts),
            ids: ids.into(),
            first: if options.background { &FIRST_EVENTS_QUEUED } else { &FIRST_EVENTS },
            next: 0,
            items: Events::new(&texts.stream),
            is_ended: false,
            padding: options.include_obfuscation.then(|| context.random.borrow().clone()),
        };
        let events = response::EventStream::written(events, StreamFormat::Named);
        Response::ok("text/event-stream; charset=utf-8", Body::Stream(events))
    }
}
