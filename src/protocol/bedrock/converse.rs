//! `bedrock-converse`: Converse and ConverseStream. Amazon's own models speak the same within InvokeModel.
//!
//! The shapes, the order of the keys and the frames are those of recorded answers of 2025.

mod read;
mod render;

use std::sync::Arc;

use bytes::Bytes;
use serde_json::{Map, Value};

use self::render::{Event, Frames, Said};
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
    protocol::{Protocol, Rendered, wants_stream},
};

/// What the head may give: what an answer says of how long it took. Without it, the body is one of InvokeModel.
const METRICS: &str = "metrics";

/// Makes the dialect; see [`crate::protocol::Make`].
pub(in crate::protocol) fn make(head: &Map<String, Value>) -> Result<Box<dyn Protocol>, String> {
    if let Some(name) = head.keys().find(|name| *name != METRICS) {
        return Err(format!(
            "`head` has `{name}`: an answer has {METRICS} beside what the model says, and nothing else"
        ));
    }
    let metrics = head.get(METRICS).cloned();
    Ok(Box::new(Converse { style: if metrics.is_some() { Style::Events } else { Style::Inside }, metrics }))
}

/// How a stream is framed.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Style {
    /// Each event has a frame.
    Events,
    /// Each is an object of one member, for somebody else to frame.
    Inside,
}

struct Converse {
    style: Style,
    metrics: Option<Value>,
}

impl Protocol for Converse {
    fn check(&self, body: json::Object<'_>, context: &RequestContext<'_>) -> Result<(), ApiError> {
        let most =
            body.get("inferenceConfig").and_then(json::Value::members).and_then(|inference| inference.get("maxTokens"));
        match (most.and_then(json::Value::as_u64), context.model_facts()) {
            (Some(asked), Some(facts)) => facts.can_say("maxTokens", asked),
            _ => Ok(()),
        }
    }

    fn is_plain(&self, body: json::Object<'_>, tokens: u64) -> bool {
        read::is_plain(body, tokens)
    }

    fn read(&self, body: json::Object<'_>, context: &RequestContext<'_>) -> Prompt {
        read::prompt(body, context.model().into_owned())
    }

    fn render(&self, reply: &Reply, context: Option<&RequestContext<'_>>) -> Box<dyn Rendered> {
        let said = match context {
            Some(context) => Said::new(reply, &mut context.random.borrow_mut()),
            // Nothing that is said the same every time has calls or thoughts, and so none of it is drawn.
            None => Said::new(reply, &mut Random::seeded(0)),
        };
        Box::new(Spelled {
            style: self.style,
            whole: whole(&said, self.metrics.as_ref()).into(),
            events: render::events(&said, self.metrics.as_ref()),
        })
    }
}

fn whole(said: &Said<'_>, metrics: Option<&Value>) -> String {
    let mut whole = Map::new();
    whole.extend(metrics.map(|metrics| (METRICS.to_owned(), metrics.clone())));
    whole.insert("output".into(), Map::from_iter([("message".to_owned(), said.message())]).into());
    whole.insert("stopReason".into(), said.stop_reason().into());
    whole.insert("usage".into(), said.usage.clone());
    Value::Object(whole).to_string()
}

struct Spelled {
    style: Style,
    whole: Bytes,
    events: Arc<[Event]>,
}

impl Rendered for Spelled {
    fn record(&self, _: &RequestContext<'_>) -> Value {
        serde_json::from_slice(&self.whole).unwrap_or_default()
    }

    fn respond(&self, context: &RequestContext<'_>) -> Response {
        if !wants_stream(context) {
            return Response::said("application/json", Body::Full(self.whole.clone()));
        }
        let random = context.random.borrow_mut().fork();
        let list = Box::new(Frames { style: self.style, events: Arc::clone(&self.events), next: 0, random });
        let (content_type, framing) = match self.style {
            Style::Events => ("application/vnd.amazon.eventstream", StreamFormat::Binary),
            Style::Inside => ("text/event-stream", StreamFormat::Data("\n")),
        };
        Response::said(content_type, Body::Stream(response::EventStream { list, framing }))
    }
}
