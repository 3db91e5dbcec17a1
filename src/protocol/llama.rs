//! `llama-…`: the protocols of llama.cpp's server: its own completions, and its forms of OpenAI's and Anthropic's APIs.
//!
//! The shapes and the order of keys and events are those of build 11549. The envelope holds the members that do not depend
//! on the reply, such as `id` and `model`.

mod chat;
mod check;
mod completion;
mod computed;
mod messages;
mod read;
mod responses;
mod timings;

use std::sync::Arc;

use http::{HeaderName, HeaderValue, StatusCode, header::CONTENT_TYPE};
use serde_json::{Map, Value};

pub(super) use self::computed::{make_apply_template, make_detokenize, make_slots, make_tokenize};
use super::{
    Parsed, Protocol, Reader, ReadyMade, Record, RenderContext, Rendered, StoredObjects, piece_events::PartEvents,
    response_parts::Parts,
};
use crate::core::{
    context::RequestContext,
    error::ApiError,
    json,
    prompt::Prompt,
    random::Alphabet,
    reply::Reply,
    response::{Body, EventStream, Response, StreamFormat},
    template::{AllowedSlots, Layout, Template},
};

/// The type of all JSON responses.
const JSON: &str = "application/json; charset=utf-8";

/// The API of an endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Api {
    /// OpenAI's chat completions.
    Chat,
    /// OpenAI's completions.
    Completions,
    /// The server's own completions.
    Completion,
    /// Anthropic's messages.
    Messages,
    /// OpenAI's responses.
    Responses,
}

impl Api {
    /// Required members of the envelope.
    fn required(self) -> &'static [&'static str] {
        match self {
            Api::Chat | Api::Completions => &["id", "created", "model", "system_fingerprint"],
            Api::Completion => &["model", "generation_settings"],
            Api::Messages => &["id", "model"],
            Api::Responses => &["id", "created_at", "model"],
        }
    }
}

/// Creates the protocol; see [`super::Make`].
pub(super) fn make_chat(envelope: &Map<String, Value>) -> Result<Box<dyn Protocol>, String> {
    make(Api::Chat, envelope)
}

/// Creates the protocol; see [`super::Make`].
pub(super) fn make_completions(envelope: &Map<String, Value>) -> Result<Box<dyn Protocol>, String> {
    make(Api::Completions, envelope)
}

/// Creates the protocol; see [`super::Make`].
pub(super) fn make_completion(envelope: &Map<String, Value>) -> Result<Box<dyn Protocol>, String> {
    make(Api::Completion, envelope)
}

/// Creates the protocol; see [`super::Make`].
pub(super) fn make_messages(envelope: &Map<String, Value>) -> Result<Box<dyn Protocol>, String> {
    make(Api::Messages, envelope)
}

/// Creates the protocol; see [`super::Make`].
pub(super) fn make_responses(envelope: &Map<String, Value>) -> Result<Box<dyn Protocol>, String> {
    make(Api::Responses, envelope)
}

fn make(api: Api, envelope: &Map<String, Value>) -> Result<Box<dyn Protocol>, String> {
    if let Some(missing) = api.required().iter().find(|name| !envelope.contains_key(**name)) {
        return Err(format!("`{missing}` is missing; give it a value or a slot"));
    }
    let envelope = Template::json(&Value::Object(envelope.clone()), Layout::default(), AllowedSlots::Content)?;
    Ok(Box::new(Llama { api, envelope: Arc::new(envelope) }))
}

struct Llama {
    api: Api,
    envelope: Arc<Template>,
}

impl Reader for Llama {
    fn check(&self, body: json::Object<'_>, context: &RequestContext<'_>) -> Result<(), ApiError> {
        check::check(self.api, body, context)
    }

    fn prompt(&self, body: json::Object<'_>, context: &RequestContext<'_>, _: &[Arc<Value>]) -> Prompt {
        read::prompt(self.api, body, context)
    }
}

impl Protocol for Llama {
    fn parse<'r>(&'r self, body: json::Object<'r>, _: &RequestContext<'_>) -> Parsed<'r> {
        let options = read::options(self.api, body);
        Parsed::with_options(self, body, ReadyMade::None, options)
    }

    fn render(&self, reply: &Reply, _: Option<RenderContext<'_, '_>>) -> Box<dyn Rendered> {
        let (envelope, reply) = (Arc::clone(&self.envelope), Arc::new(reply.clone()));
        Box::new(RenderedReply { api: self.api, envelope, reply })
    }
}

/// A reply that is rendered when it is sent: each response has times and ids of its own.
struct RenderedReply {
    api: Api,
    envelope: Arc<Template>,
    reply: Arc<Reply>,
}

impl Parts<'_, '_, '_> {
    /// Draws an id of 32 symbols behind a prefix.
    fn draw_id(&self, prefix: &str) -> String {
        let mut id = prefix.as_bytes().to_vec();
        self.context.random.borrow_mut().put(Alphabet::Alphanumeric, 32, &mut id);
        String::from_utf8(id).unwrap_or_default()
    }

    fn timings(&self) -> Value {
        timings::timings(&self.reply.usage)
    }
}

impl RenderedReply {
    fn parts<'s, 'c, 'r>(&'s self, context: RenderContext<'c, 'r>) -> Parts<'s, 'c, 'r> {
        Parts::new(&self.envelope, &self.reply, context)
    }

    fn full(&self, parts: &Parts<'_, '_, '_>) -> Value {
        match self.api {
            Api::Chat => chat::full(parts),
            Api::Completions => completion::full_for_openai(parts),
            Api::Completion => completion::full(parts),
            Api::Messages => messages::full(parts),
            Api::Responses => responses::full(parts),
        }
    }
}

impl Rendered for RenderedReply {
    fn record(&self, context: RenderContext<'_, '_>) -> Record {
        Record::Object(self.full(&self.parts(context)))
    }

    fn respond(&self, context: RenderContext<'_, '_>, _: &dyn StoredObjects) -> Result<Response, ApiError> {
        let parts = self.parts(context);
        if !parts.options().stream {
            return Ok(Response::ok(JSON, Body::Full(self.full(&parts).to_string().into())));
        }
        let (list, format) = match self.api {
            Api::Chat => (chat::stream(&parts), StreamFormat::Data("\n")),
            Api::Completions => (completion::stream_for_openai(&parts), StreamFormat::Data("\n")),
            Api::Completion => (completion::stream(&parts), StreamFormat::Data("\n")),
            Api::Messages => (messages::stream(&parts), StreamFormat::Named),
            Api::Responses => (responses::stream(&parts), StreamFormat::Named),
        };
        let headers = vec![
            (CONTENT_TYPE, HeaderValue::from_static("text/event-stream")),
            (HeaderName::from_static("x-accel-buffering"), HeaderValue::from_static("no")),
        ];
        let body = Body::Stream(EventStream::new(PartEvents::new(list), format));
        Ok(Response::new(StatusCode::OK, headers, body))
    }
}
