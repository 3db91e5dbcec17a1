//! `bedrock-invoke`: Bedrock's InvokeModel around a model's own protocol, which the envelope names as `of`. Token
//! counts are in headers. In a stream, each event is a binary frame that contains the model's event in base64.

use base64::{Engine, prelude::BASE64_STANDARD as BASE64};
use http::{HeaderName, HeaderValue, header::CONTENT_TYPE};
use serde_json::{Map, Value};

use super::inner;
use crate::protocol::bedrock::padding;
use crate::{
    core::{
        context::RequestContext,
        error::ApiError,
        json,
        limit_status::Cost,
        random::Random,
        reply::{Reply, Usage},
        request,
        response::{Body, EventStream, Response, StreamEvent, StreamFormat, event_stream},
    },
    protocol::{
        ComputedReply, Parsed, Protocol, Reader, Record, RenderContext, Rendered, StoredObjects, TokenCounter,
        events::event_data,
    },
};

/// Envelope member with the types of the model's events that Bedrock leaves out.
const LEFT_OUT: &str = "without";
/// Reported times in milliseconds: of the full response, and to its first byte. They are fixed, so that bodies are
/// reproducible.
const LATENCY: (u64, u64) = (489, 310);

/// Creates the protocol; see [`crate::protocol::Make`].
pub(in crate::protocol) fn make(envelope: &Map<String, Value>) -> Result<Box<dyn Protocol>, String> {
    let mut envelope = envelope.clone();
    let left_out = match envelope.shift_remove(LEFT_OUT) {
        None => Vec::new(),
        Some(names) => serde_json::from_value(names).map_err(|error| format!("`{LEFT_OUT}` in `head`: {error}"))?,
    };
    Ok(Box::new(Invoke { inner: inner::inner_protocol(envelope)?, left_out }))
}

/// Creates the protocol for computed replies, such as embeddings; see [`crate::protocol::MakeComputedReply`].
pub(in crate::protocol) fn make_computed(envelope: &Map<String, Value>) -> Result<Box<dyn ComputedReply>, String> {
    Ok(Box::new(InvokeComputed(inner::inner_computed(envelope.clone())?)))
}

struct InvokeComputed(Box<dyn ComputedReply>);

impl ComputedReply for InvokeComputed {
    fn reader(&self) -> &dyn Reader {
        self.0.reader()
    }

    fn respond(
        &self,
        parsed: &Parsed<'_>,
        context: &RequestContext<'_>,
        count: TokenCounter<'_>,
    ) -> Result<Response, ApiError> {
        let mut response = self.0.respond(parsed, context, count)?;
        let Cost { input, output } = response.cost.unwrap_or_default();
        response.headers.extend(cost_headers([input, output, 0]));
        Ok(response)
    }
}

/// Returns the headers with the cost of a response: tokens of the prompt, of the reply, and of the prompt from a cache.
fn cost_headers([input, output, cached]: [u64; 3]) -> [(HeaderName, HeaderValue); 5] {
    let counts = [
        ("x-amzn-bedrock-input-token-count", input),
        ("x-amzn-bedrock-output-token-count", output),
        ("x-amzn-bedrock-cache-read-input-token-count", cached),
        ("x-amzn-bedrock-cache-write-input-token-count", 0),
        ("x-amzn-bedrock-invocation-latency", LATENCY.0),
    ];
    counts.map(|(name, number)| (HeaderName::from_static(name), HeaderValue::from(number)))
}

struct Invoke {
    inner: Box<dyn Protocol>,
    left_out: Vec<String>,
}

impl Protocol for Invoke {
    fn parse<'r>(&'r self, body: json::Object<'r>, context: &RequestContext<'_>) -> Parsed<'r> {
        self.inner.parse(body, context)
    }

    fn render(&self, reply: &Reply, context: Option<RenderContext<'_, '_>>) -> Box<dyn Rendered> {
        Box::new(RenderedInvoke {
            inner: self.inner.render(reply, context),
            left_out: self.left_out.clone(),
            usage: reply.usage,
        })
    }
}

struct RenderedInvoke {
    inner: Box<dyn Rendered>,
    left_out: Vec<String>,
    usage: Usage,
}

impl Rendered for RenderedInvoke {
    fn record(&self, context: RenderContext<'_, '_>) -> Record {
        self.inner.record(context)
    }

    fn respond(&self, context: RenderContext<'_, '_>, store: &dyn StoredObjects) -> Result<Response, ApiError> {
        let mut response = self.inner.respond(context, store)?;
        let wants_stream = request::wants_stream(context.request.path, context.parsed.body);
        if let (Body::Full(bytes), true) = (&response.body, wants_stream) {
            // The model's protocol looks for `stream` in the body, which InvokeModel lacks: all goes into one event.
            let list = std::iter::once(StreamEvent::content(bytes.clone(), 0));
            response.body = Body::Stream(EventStream::new(list, StreamFormat::Lines));
        }
        let Usage { prompt_tokens: input, completion_tokens: output, cached_tokens: cached, .. } = self.usage;
        Ok(match response.body {
            Body::Stream(EventStream { events: list, .. }) => {
                let metrics = format!(
                    concat!(
                        r#""amazon-bedrock-invocationMetrics":{{"inputTokenCount":{},"outputTokenCount":{},"#,
                        r#""invocationLatency":{},"firstByteLatency":{}}}"#
                    ),
                    input, output, LATENCY.0, LATENCY.1
                );
                let (left_out, random) = (self.left_out.clone(), context.random.borrow_mut().fork());
                let list = InvokeEvents { list, next: None, started: false, left_out, metrics, random };
                let headers = vec![
                    (CONTENT_TYPE, HeaderValue::from_static("application/vnd.amazon.eventstream")),
                    (
                        HeaderName::from_static("x-amzn-bedrock-content-type"),
                        HeaderValue::from_static("application/json"),
                    ),
                ];
                let content = Body::Stream(EventStream::new(list, StreamFormat::Binary));
                Response { headers, body: content, ..response }
            }
            content => {
                let headers = response.headers.into_iter().chain(cost_headers([input, output, cached])).collect();
                Response { headers, body: content, ..response }
            }
        })
    }
}

/// The events of a model's own stream, each in a frame. The last one contains the metrics.
struct InvokeEvents {
    list: Box<dyn Iterator<Item = StreamEvent> + Send>,
    /// The event that `next` returns, read one ahead: the last one is special.
    next: Option<StreamEvent>,
    started: bool,
    left_out: Vec<String>,
    metrics: String,
    random: Random,
}

impl InvokeEvents {
    /// Returns the data of the next event that is not left out.
    fn next_event(&mut self) -> Option<StreamEvent> {
        loop {
            let event = self.list.next()?;
            let data = event_data(&event.bytes);
            let kind = || serde_json::from_slice::<Value>(&data).ok().map(|event| event["type"].clone());
            // An end marker that is not JSON is not part of the model's events.
            let is_end_marker = !data.starts_with(b"{");
            if !is_end_marker
                && (self.left_out.is_empty()
                    || !kind().is_some_and(|kind| self.left_out.iter().any(|name| kind == **name)))
            {
                return Some(StreamEvent { bytes: data, ..event });
            }
        }
    }
}

impl Iterator for InvokeEvents {
    type Item = StreamEvent;

    fn next(&mut self) -> Option<StreamEvent> {
        if !self.started {
            (self.started, self.next) = (true, self.next_event());
        }
        let event = self.next.take()?;
        self.next = self.next_event();
        let data = match (&self.next, event.bytes.strip_suffix(b"}")) {
            (None, Some(inside)) => {
                let comma: &[u8] = if inside == b"{" { b"" } else { b"," };
                [inside, comma, self.metrics.as_bytes(), b"}"].concat()
            }
            _ => event.bytes.to_vec(),
        };
        let payload = format!(r#"{{"bytes":"{}","p":"{}"}}"#, BASE64.encode(data), padding(&mut self.random));
        Some(StreamEvent { bytes: event_stream::event("chunk", "application/json", payload.as_bytes()), ..event })
    }
}
