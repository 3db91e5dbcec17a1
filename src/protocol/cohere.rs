//! `cohere-chat`: version 2 of Cohere's Chat API, full and streamed.
//!
//! The shapes and the order of keys and events are those of responses recorded in 2025.

mod read;
mod render;

use std::sync::Arc;

use bytes::Bytes;
use http::header::ACCEPT;
use serde_json::{Map, Value, json};

use self::render::ChatParts;
use super::{
    Parsed, Protocol, Reader, Record, RenderContext, Rendered, StoredObjects,
    events::{RenderedEvents, event_data},
    forms,
};
use crate::core::{
    context::RequestContext,
    error::ApiError,
    json,
    prompt::Prompt,
    random::Random,
    reply::Reply,
    response::{self, Body, Response, StreamEvent, StreamFormat, WrittenEvents},
    template::{AllowedSlots, Layout, Template},
};

/// The only member of the envelope, which is required.
const ID: &str = "id";

/// Creates the protocol; see [`super::Make`].
pub(super) fn make(envelope: &Map<String, Value>) -> Result<Box<dyn Protocol>, String> {
    let Some(id) = envelope.get(ID) else { return Err(format!("`{ID}` is missing; give it a value or a slot")) };
    if let Some(name) = envelope.keys().find(|name| *name != ID) {
        return Err(format!("`head` has `{name}`, which the protocol does not use; only `{ID}` is allowed"));
    }
    Ok(Box::new(Chat { id: Arc::new(Template::json(id, Layout::default(), AllowedSlots::Content)?) }))
}

struct Chat {
    id: Arc<Template>,
}

impl Reader for Chat {
    fn check(&self, body: json::Object<'_>, context: &RequestContext<'_>) -> Result<(), ApiError> {
        match (body.get("max_tokens").and_then(json::Value::as_u64), context.model_facts()) {
            (Some(requested), Some(facts)) => facts.check_max_tokens("max_tokens", requested),
            _ => Ok(()),
        }
    }

    fn prompt(&self, body: json::Object<'_>, context: &RequestContext<'_>, _: &[Arc<Value>]) -> Prompt {
        read::prompt(body, context.model().into_owned())
    }
}

impl Protocol for Chat {
    fn parse<'r>(&'r self, body: json::Object<'r>, context: &RequestContext<'_>) -> Parsed<'r> {
        Parsed::new(self, body, context, read::ready_made(body))
    }

    fn render(&self, reply: &Reply, context: Option<RenderContext<'_, '_>>) -> Box<dyn Rendered> {
        let parts = match context {
            Some(context) => ChatParts::new(reply, &mut context.random.borrow_mut()),
            // Replies for all plain requests have no calls, so nothing is drawn.
            None => ChatParts::new(reply, &mut Random::seeded(0)),
        };
        let id = Arc::clone(&self.id);
        let (needs_full, streams, time) = forms(context);
        Box::new(RenderedChat {
            id,
            full: if needs_full { parts.full().into() } else { Bytes::new() },
            stream: streams.then(|| parts.events(time)),
        })
    }
}

struct RenderedChat {
    id: Arc<Template>,
    /// The full response after its id; empty if the request does not need it.
    full: Bytes,
    /// All events after the first.
    stream: Option<RenderedEvents>,
}

impl RenderedChat {
    fn full(&self, context: &RequestContext<'_>) -> Bytes {
        let mut out = b"{\"id\":".to_vec();
        self.id.render_into(context, &mut out);
        out.extend_from_slice(&self.full);
        out.into()
    }

    /// Returns the first event: a message without content.
    fn start(&self, context: &RequestContext<'_>) -> Bytes {
        let message = json!({"role": "assistant", "content": [], "tool_plan": "", "tool_calls": [], "citations": []});
        let mut out = b"event: message-start\ndata: {\"id\":".to_vec();
        self.id.render_into(context, &mut out);
        let rest = format!(",\"type\":\"message-start\",\"delta\":{{\"message\":{message}}}}}\n\n");
        out.extend_from_slice(rest.as_bytes());
        out.into()
    }
}

impl Rendered for RenderedChat {
    fn record(&self, context: RenderContext<'_, '_>) -> Record {
        Record::of_json(&self.full(&context))
    }

    fn respond(&self, context: RenderContext<'_, '_>, _: &dyn StoredObjects) -> Result<Response, ApiError> {
        let Some(stream) = self.stream.as_ref().filter(|_| context.parsed.options.stream) else {
            return Ok(Response::ok("application/json", Body::Full(self.full(&context))));
        };
        let events = stream.stream(Some(self.start(&context)));
        let (content_type, stream) = match wants_lines(&context) {
            true => {
                let lines = WrittenEvents::new(events).filter_map(line);
                ("application/stream+json", response::EventStream::new(lines, StreamFormat::Lines))
            }
            false => ("text/event-stream", response::EventStream::written(events, StreamFormat::Named)),
        };
        Ok(Response::ok(content_type, Body::Stream(stream)))
    }
}

/// Returns true if the client's `Accept` header excludes server-sent events. It then gets lines of JSON.
fn wants_lines(context: &RequestContext<'_>) -> bool {
    let accept = context.request.headers.get(&ACCEPT).unwrap_or("*/*");
    !accept.contains("text/event-stream") && !accept.contains("*/*")
}

/// Returns an event as a line; `None` if it is not JSON.
fn line(event: StreamEvent) -> Option<StreamEvent> {
    let data = event_data(&event.bytes);
    data.starts_with(b"{").then(|| StreamEvent { bytes: [&*data, b"\n"].concat().into(), ..event })
}
