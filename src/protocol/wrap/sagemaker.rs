//! `payload-parts`: SageMaker around the inner protocol, which the envelope names as `of`. Responses pass unchanged,
//! except when the path asks for an AWS stream: each event is then the payload of a binary frame.

use http::{HeaderValue, header::CONTENT_TYPE};
use serde_json::{Map, Value};

use super::inner;
use crate::core::{
    context::RequestContext,
    error::ApiError,
    json,
    reply::Reply,
    response::{Body, EventKind, EventStream, Response, StreamEvent, StreamFormat, event_stream},
};
use crate::protocol::{Parsed, Protocol, Record, RenderContext, Rendered, StoredObjects};

/// Creates the protocol; see [`crate::protocol::Make`].
pub(in crate::protocol) fn make(envelope: &Map<String, Value>) -> Result<Box<dyn Protocol>, String> {
    Ok(Box::new(SageMaker { inner: inner::inner_protocol(envelope.clone())? }))
}

struct SageMaker {
    inner: Box<dyn Protocol>,
}

impl Protocol for SageMaker {
    fn parse<'r>(&'r self, body: json::Object<'r>, context: &RequestContext<'_>) -> Parsed<'r> {
        self.inner.parse(body, context)
    }

    fn render(&self, reply: &Reply, context: Option<RenderContext<'_, '_>>) -> Box<dyn Rendered> {
        Box::new(RenderedPayloads { inner: self.inner.render(reply, context) })
    }
}

struct RenderedPayloads {
    inner: Box<dyn Rendered>,
}

impl Rendered for RenderedPayloads {
    fn record(&self, context: RenderContext<'_, '_>) -> Record {
        self.inner.record(context)
    }

    fn respond(&self, context: RenderContext<'_, '_>, store: &dyn StoredObjects) -> Result<Response, ApiError> {
        let response = self.inner.respond(context, store)?;
        if !context.request.path.trim_end_matches('/').ends_with("-stream") {
            return Ok(response);
        }
        let list: Box<dyn Iterator<Item = StreamEvent> + Send> = match response.body {
            // Events that only mark the end are dropped: clients parse every payload as JSON.
            Body::Stream(stream) => Box::new(stream.events.filter(|event| event.kind != EventKind::End)),
            Body::Full(bytes) => Box::new(std::iter::once(StreamEvent::content(bytes, 0))),
            _ => return Ok(response),
        };
        let list = list.map(|event| {
            let bytes = event_stream::event("PayloadPart", "application/octet-stream", &event.bytes);
            StreamEvent { bytes, ..event }
        });
        let headers = vec![(CONTENT_TYPE, HeaderValue::from_static("application/vnd.amazon.eventstream"))];
        Ok(Response { headers, body: Body::Stream(EventStream::new(list, StreamFormat::Binary)), ..response })
    }
}
