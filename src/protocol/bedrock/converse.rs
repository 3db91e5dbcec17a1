//! `bedrock-converse`: Converse and ConverseStream. Amazon's own models use the same bodies in InvokeModel.
//!
//! The shapes, the order of keys and the frames are those of responses recorded in 2025.

mod check;
mod read;
mod render;

use std::sync::Arc;

use bytes::Bytes;
use serde_json::{Map, Value};

use self::render::{ConverseEvents, ConverseParts, Event};
use crate::{
    core::{
        context::RequestContext,
        error::ApiError,
        json,
        prompt::Prompt,
        random::Random,
        reply::Reply,
        response::{self, Body, Response, StreamFormat},
    },
    protocol::{
        Parsed, Protocol, Reader, Record, RenderContext, Rendered, StoredObjects,
        events::{EventLists, Events},
        forms,
    },
};

/// Optional member of the envelope: the reported latency. Without it, the bodies are those of InvokeModel.
const METRICS: &str = "metrics";

/// Creates the protocol; see [`crate::protocol::Make`].
pub(in crate::protocol) fn make(envelope: &Map<String, Value>) -> Result<Box<dyn Protocol>, String> {
    if let Some(name) = envelope.keys().find(|name| *name != METRICS) {
        return Err(format!("`head` has `{name}`, which the protocol does not use; only `{METRICS}` is allowed"));
    }
    let metrics = envelope.get(METRICS).cloned();
    Ok(Box::new(Converse {
        framing: if metrics.is_some() { EventFraming::Frames } else { EventFraming::Nested },
        metrics,
    }))
}

/// Framing of the events of a stream.
#[derive(Clone, Copy, PartialEq, Eq)]
enum EventFraming {
    /// Each event is a binary frame.
    Frames,
    /// Each event is an object with one member, which InvokeModel frames.
    Nested,
}

struct Converse {
    framing: EventFraming,
    metrics: Option<Value>,
}

impl Reader for Converse {
    fn check(&self, body: json::Object<'_>, context: &RequestContext<'_>) -> Result<(), ApiError> {
        let most =
            body.get("inferenceConfig").and_then(json::Value::members).and_then(|inference| inference.get("maxTokens"));
        if let (Some(requested), Some(facts)) = (most.and_then(json::Value::as_u64), context.model_facts()) {
            facts.check_max_tokens("maxTokens", requested)?;
        }
        match self.framing {
            EventFraming::Frames => check::check_tool_blocks(body),
            EventFraming::Nested => Ok(()),
        }
    }

    fn prompt(&self, body: json::Object<'_>, context: &RequestContext<'_>, _: &[Arc<Value>]) -> Prompt {
        read::prompt(body, context.model().into_owned())
    }
}

impl Protocol for Converse {
    fn parse<'r>(&'r self, body: json::Object<'r>, context: &RequestContext<'_>) -> Parsed<'r> {
        Parsed::new(self, body, context, read::ready_made(body))
    }

    fn render(&self, reply: &Reply, context: Option<RenderContext<'_, '_>>) -> Box<dyn Rendered> {
        let parts = match context {
            Some(context) => ConverseParts::new(reply, &mut context.random.borrow_mut()),
            // Replies for all plain requests have no calls and no reasoning, so nothing is drawn.
            None => ConverseParts::new(reply, &mut Random::seeded(0)),
        };
        let (needs_full, streams, time) = forms(context);
        let metrics = self.metrics.as_ref();
        Box::new(RenderedConverse {
            framing: self.framing,
            full: if needs_full { full(&parts, metrics).into() } else { Bytes::new() },
            events: if streams { render::events(&parts, metrics, time) } else { Arc::new([]) },
        })
    }
}

/// Returns the full response.
fn full(parts: &ConverseParts<'_>, metrics: Option<&Value>) -> String {
    let mut full = Map::new();
    full.extend(metrics.map(|metrics| (METRICS.to_owned(), metrics.clone())));
    full.insert("output".into(), Map::from_iter([("message".to_owned(), parts.message())]).into());
    full.insert("stopReason".into(), parts.stop_reason().into());
    full.insert("usage".into(), parts.usage.clone());
    Value::Object(full).to_string()
}

struct RenderedConverse {
    framing: EventFraming,
    /// The full response; empty if the request does not need it.
    full: Bytes,
    /// The events; empty if the request does not need them.
    events: EventLists<Event>,
}

impl Rendered for RenderedConverse {
    fn record(&self, _: RenderContext<'_, '_>) -> Record {
        Record::of_json(&self.full)
    }

    fn respond(&self, context: RenderContext<'_, '_>, _: &dyn StoredObjects) -> Result<Response, ApiError> {
        if !context.parsed.options.stream {
            return Ok(Response::ok("application/json", Body::Full(self.full.clone())));
        }
        let random = context.random.borrow_mut().fork();
        let list = ConverseEvents { framing: self.framing, events: Events::new(&self.events), random };
        let (content_type, format) = match self.framing {
            EventFraming::Frames => ("application/vnd.amazon.eventstream", StreamFormat::Binary),
            EventFraming::Nested => ("text/event-stream", StreamFormat::Data("\n")),
        };
        Ok(Response::ok(content_type, Body::Stream(response::EventStream::new(list, format))))
    }
}
