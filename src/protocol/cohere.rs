//! `cohere-chat`: the second version of Cohere's Chat, whole and streamed.
//!
//! The shapes, the order of the keys and of the events are those of recorded answers of 2025.

mod read;
mod render;

use std::sync::Arc;

use bytes::Bytes;
use http::header::ACCEPT;
use serde_json::{Map, Value, json};

use self::render::Said;
use super::{
    Protocol, Rendered,
    events::{EventIter, RenderedEvents, event_data},
    wants_stream,
};
use crate::core::{
    context::RequestContext,
    error::ApiError,
    json,
    prompt::Prompt,
    random::Random,
    reply::Reply,
    response::{self, Body, Response, StreamEvent, StreamFormat},
    template::{Layout, Spaces, Template},
};

/// What the head must give, and all that it may.
const ID: &str = "id";

/// Makes the dialect; see [`super::Make`].
pub(super) fn make(head: &Map<String, Value>) -> Result<Box<dyn Protocol>, String> {
    let Some(id) = head.get(ID) else { return Err(format!("`head` lacks `{ID}`: give it a value or a slot")) };
    if let Some(name) = head.keys().find(|name| *name != ID) {
        return Err(format!(
            "`head` has `{name}`: an answer has its {ID} beside what the model says, and nothing else"
        ));
    }
    Ok(Box::new(Chat { id: Arc::new(Template::json(id, Layout::default(), Spaces::Content)?) }))
}

struct Chat {
    id: Arc<Template>,
}

impl Protocol for Chat {
    fn check(&self, body: json::Object<'_>, context: &RequestContext<'_>) -> Result<(), ApiError> {
        match (body.get("max_tokens").and_then(json::Value::as_u64), context.model_facts()) {
            (Some(asked), Some(facts)) => facts.can_say("max_tokens", asked),
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
            // Nothing that is said the same every time has calls, and so none of it is drawn.
            None => Said::new(reply, &mut Random::seeded(0)),
        };
        Box::new(Spelled { id: Arc::clone(&self.id), whole: said.whole().into(), stream: said.events() })
    }
}

struct Spelled {
    id: Arc<Template>,
    /// A whole answer after its id.
    whole: Bytes,
    /// All events after the first.
    stream: RenderedEvents,
}

impl Spelled {
    fn whole(&self, context: &RequestContext<'_>) -> Bytes {
        let mut out = b"{\"id\":".to_vec();
        self.id.render_into(context, &mut out);
        out.extend_from_slice(&self.whole);
        out.into()
    }

    /// The first event: a message without content.
    fn start(&self, context: &RequestContext<'_>) -> Bytes {
        let message = json!({"role": "assistant", "content": [], "tool_plan": "", "tool_calls": [], "citations": []});
        let mut out = b"event: message-start\ndata: {\"id\":".to_vec();
        self.id.render_into(context, &mut out);
        let rest = format!(",\"type\":\"message-start\",\"delta\":{{\"message\":{message}}}}}\n\n");
        out.extend_from_slice(rest.as_bytes());
        out.into()
    }
}

impl Rendered for Spelled {
    fn record(&self, context: &RequestContext<'_>) -> Value {
        serde_json::from_slice(&self.whole(context)).unwrap_or_default()
    }

    fn respond(&self, context: &RequestContext<'_>) -> Response {
        if !wants_stream(context) {
            return Response::said("application/json", Body::Full(self.whole(context)));
        }
        let frames = EventIter::with_first(self.start(context), self.stream.clone());
        let (content_type, list, framing): (_, Box<dyn Iterator<Item = StreamEvent> + Send>, _) =
            match wants_lines(context) {
                true => ("application/stream+json", Box::new(frames.filter_map(line)), StreamFormat::Lines),
                false => ("text/event-stream", Box::new(frames), StreamFormat::Named),
            };
        Response::said(content_type, Body::Stream(response::EventStream { list, framing }))
    }
}

/// Whether events are to come as lines: server-sent ones are for those who take them.
fn wants_lines(context: &RequestContext<'_>) -> bool {
    let accept = context.request.headers.get(&ACCEPT).unwrap_or("*/*");
    !accept.contains("text/event-stream") && !accept.contains("*/*")
}

/// An event as a line. What is no JSON is none.
fn line(frame: StreamEvent) -> Option<StreamEvent> {
    let data = event_data(&frame.bytes);
    data.starts_with(b"{").then(|| StreamEvent { bytes: [&*data, b"\n"].concat().into(), ..frame })
}
