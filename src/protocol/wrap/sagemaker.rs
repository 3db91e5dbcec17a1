//! `payload-parts`: another dialect behind SageMaker, the one that the head names as `of`. Its answers are told as they
//! stand, but where the path asks for a stream of AWS: there, each event comes in a binary frame as it is.

use http::{HeaderValue, header::CONTENT_TYPE};
use serde_json::{Map, Value};

use super::inner;
use crate::core::{
    context::RequestContext,
    error::ApiError,
    json,
    limit_status::Cost,
    prompt::Prompt,
    reply::Reply,
    response::{Body, EventKind, EventStream, Response, StreamEvent, StreamFormat, event_stream},
};
use crate::protocol::{ComputedReply, Protocol, Rendered};

/// Makes the dialect; see [`crate::protocol::Make`].
pub(in crate::protocol) fn make(head: &Map<String, Value>) -> Result<Box<dyn Protocol>, String> {
    Ok(Box::new(PayloadParts { of: inner::inside(head.clone())? }))
}

struct PayloadParts {
    of: Box<dyn Protocol>,
}

impl Protocol for PayloadParts {
    fn check(&self, body: json::Object<'_>, context: &RequestContext<'_>) -> Result<(), ApiError> {
        self.of.check(body, context)
    }

    fn is_plain(&self, body: json::Object<'_>, tokens: u64) -> bool {
        self.of.is_plain(body, tokens)
    }

    fn read(&self, body: json::Object<'_>, context: &RequestContext<'_>) -> Prompt {
        self.of.read(body, context)
    }

    fn cost(&self, body: json::Object<'_>, context: &RequestContext<'_>) -> Cost {
        self.of.cost(body, context)
    }

    fn delivers_reply(&self) -> bool {
        self.of.delivers_reply()
    }

    fn computed_reply(&self, body: json::Object<'_>) -> Option<&dyn ComputedReply> {
        self.of.computed_reply(body)
    }

    fn render(&self, reply: &Reply, context: Option<&RequestContext<'_>>) -> Box<dyn Rendered> {
        Box::new(Spelled { of: self.of.render(reply, context) })
    }
}

struct Spelled {
    of: Box<dyn Rendered>,
}

impl Rendered for Spelled {
    fn record(&self, context: &RequestContext<'_>) -> Value {
        self.of.record(context)
    }

    fn respond(&self, context: &RequestContext<'_>) -> Response {
        let response = self.of.respond(context);
        if !context.request.path.trim_end_matches('/').ends_with("-stream") {
            return response;
        }
        let list: Box<dyn Iterator<Item = StreamEvent> + Send> = match response.content {
            // What only says that the stream ends is left out: clients look for JSON in all of it.
            Body::Stream(frames) => Box::new(frames.list.filter(|frame| frame.part != EventKind::End)),
            Body::Full(bytes) => Box::new(std::iter::once(StreamEvent::said(bytes, 0))),
            _ => return response,
        };
        let list = Box::new(list.map(|frame| {
            let bytes = event_stream::event("PayloadPart", "application/octet-stream", &frame.bytes);
            StreamEvent { bytes, ..frame }
        }));
        let headers = vec![(CONTENT_TYPE, HeaderValue::from_static("application/vnd.amazon.eventstream"))];
        Response { headers, content: Body::Stream(EventStream { list, framing: StreamFormat::Binary }), ..response }
    }
}
