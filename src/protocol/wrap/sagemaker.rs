//! `payload-parts`: SageMaker around the inner protocol, which the envelope names as `of`. Responses pass unchanged,
//! except when the path asks for an AWS stream: each event is then the payload of a binary frame.

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

/// Creates the protocol; see [`crate::protocol::Make`].
pub(in crate::protocol) fn make(envelope: &Map<String, Value>) -> Result<Box<dyn Protocol>, String> {
    Ok(Box::new(SageMaker { inner: inner::inner_protocol(envelope.clone())? }))
}

struct SageMaker {
    inner: Box<dyn Protocol>,
}

impl Protocol for SageMaker {
    fn check(&self, body: json::Object<'_>, context: &RequestContext<'_>) -> Result<(), ApiError> {
        self.inner.check(body, context)
    }

    fn is_plain(&self, body: json::Object<'_>, tokens: u64) -> bool {
        self.inner.is_plain(body, tokens)
    }

    fn read(&self, body: json::Object<'_>, context: &RequestContext<'_>) -> Prompt {
        self.inner.read(body, context)
    }

    fn cost(&self, body: json::Object<'_>, context: &RequestContext<'_>) -> Cost {
        self.inner.cost(body, context)
    }

    fn delivers_reply(&self) -> bool {
        self.inner.delivers_reply()
    }

    fn computed_reply(&self, body: json::Object<'_>) -> Option<&dyn ComputedReply> {
        self.inner.computed_reply(body)
    }

    fn render(&self, reply: &Reply, context: Option<&RequestContext<'_>>) -> Box<dyn Rendered> {
        Box::new(RenderedPayloads { inner: self.inner.render(reply, context) })
    }
}

struct RenderedPayloads {
    inner: Box<dyn Rendered>,
}

impl Rendered for RenderedPayloads {
    fn record(&self, context: &RequestContext<'_>) -> Value {
        self.inner.record(context)
    }

    fn respond(&self, context: &RequestContext<'_>) -> Response {
        let response = self.inner.respond(context);
        if !context.request.path.trim_end_matches('/').ends_with("-stream") {
            return response;
        }
        let list: Box<dyn Iterator<Item = StreamEvent> + Send> = match response.body {
            // Events that only mark the end are dropped: clients parse every payload as JSON.
            Body::Stream(stream) => Box::new(stream.events.filter(|event| event.kind != EventKind::End)),
            Body::Full(bytes) => Box::new(std::iter::once(StreamEvent::content(bytes, 0))),
            _ => return response,
        };
        let list = list.map(|event| {
            let bytes = event_stream::event("PayloadPart", "application/octet-stream", &event.bytes);
            StreamEvent { bytes, ..event }
        });
        let headers = vec![(CONTENT_TYPE, HeaderValue::from_static("application/vnd.amazon.eventstream"))];
        Response { headers, body: Body::Stream(EventStream::new(list, StreamFormat::Binary)), ..response }
    }
}
