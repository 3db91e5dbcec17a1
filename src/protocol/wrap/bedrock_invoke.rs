//! `bedrock-invoke`: InvokeModel. A model's own protocol, which the head names as `of`, with the numbers in headers; in a stream each of
//! its events is a frame with the event in base64.

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
        prompt::Prompt,
        random::Random,
        reply::{Reply, Usage},
        response::{Body, EventStream, Response, StreamEvent, StreamFormat, event_stream},
    },
    protocol::{ComputedReply, Protocol, Rendered, TokenCounter, events::event_data, wants_stream},
};

/// The head's field that names what the model's protocol gives and Bedrock leaves out: the types of events.
const WITHOUT: &str = "without";
/// How long an answer is said to have taken, in milliseconds: all of it, and until its first byte. What it really took
/// would be told differently each time.
const LATENCY: (u64, u64) = (489, 310);

/// Makes the dialect; see [`crate::protocol::Make`]. What else stands in the head is that of the model's own protocol.
pub(in crate::protocol) fn make(head: &Map<String, Value>) -> Result<Box<dyn Protocol>, String> {
    let mut head = head.clone();
    let without = match head.shift_remove(WITHOUT) {
        None => Vec::new(),
        Some(names) => serde_json::from_value(names).map_err(|error| format!("`{WITHOUT}` in `head`: {error}"))?,
    };
    Ok(Box::new(Invoke { of: inner::inside(head)?, without }))
}

/// Makes the dialect of models that compute, such as those for vectors; see [`crate::protocol::MakeComputedReply`].
pub(in crate::protocol) fn make_computed(head: &Map<String, Value>) -> Result<Box<dyn ComputedReply>, String> {
    Ok(Box::new(InvokeComputed(inner::computing_inside(head.clone())?)))
}

struct InvokeComputed(Box<dyn ComputedReply>);

impl ComputedReply for InvokeComputed {
    fn check(&self, body: json::Object<'_>, context: &RequestContext<'_>) -> Result<(), ApiError> {
        self.0.check(body, context)
    }

    fn read(&self, body: json::Object<'_>, context: &RequestContext<'_>) -> Prompt {
        self.0.read(body, context)
    }

    fn cost(&self, body: json::Object<'_>, context: &RequestContext<'_>) -> Cost {
        self.0.cost(body, context)
    }

    fn respond(
        &self,
        body: json::Object<'_>,
        context: &RequestContext<'_>,
        count: TokenCounter<'_>,
    ) -> Result<Response, ApiError> {
        let mut response = self.0.respond(body, context, count)?;
        let Cost { input, output } = response.cost.unwrap_or_default();
        response.headers.extend(told([input, output, 0]));
        Ok(response)
    }
}

/// The headers that tell what an answer has cost: tokens of the prompt, of the reply, and of the prompt from a cache.
fn told([input, output, cached]: [u64; 3]) -> [(HeaderName, HeaderValue); 5] {
    let told = [
        ("x-amzn-bedrock-input-token-count", input),
        ("x-amzn-bedrock-output-token-count", output),
        ("x-amzn-bedrock-cache-read-input-token-count", cached),
        ("x-amzn-bedrock-cache-write-input-token-count", 0),
        ("x-amzn-bedrock-invocation-latency", LATENCY.0),
    ];
    told.map(|(name, number)| (HeaderName::from_static(name), HeaderValue::from(number)))
}

struct Invoke {
    of: Box<dyn Protocol>,
    without: Vec<String>,
}

impl Protocol for Invoke {
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

    fn render(&self, reply: &Reply, context: Option<&RequestContext<'_>>) -> Box<dyn Rendered> {
        Box::new(Spelled { of: self.of.render(reply, context), without: self.without.clone(), usage: reply.usage })
    }
}

struct Spelled {
    of: Box<dyn Rendered>,
    without: Vec<String>,
    usage: Usage,
}

impl Rendered for Spelled {
    fn record(&self, context: &RequestContext<'_>) -> Value {
        self.of.record(context)
    }

    fn respond(&self, context: &RequestContext<'_>) -> Response {
        let mut response = self.of.respond(context);
        if let (Body::Full(bytes), true) = (&response.content, wants_stream(context)) {
            // A protocol that wants to be asked for a stream in the body, and was not, says all in one event.
            let list = Box::new(std::iter::once(StreamEvent::said(bytes.clone(), 0)));
            response.content = Body::Stream(EventStream { list, framing: StreamFormat::Lines });
        }
        let Usage { prompt_tokens: input, completion_tokens: output, cached_tokens: cached, .. } = self.usage;
        match response.content {
            Body::Stream(EventStream { list, .. }) => {
                let metrics = format!(
                    concat!(
                        r#""amazon-bedrock-invocationMetrics":{{"inputTokenCount":{},"outputTokenCount":{},"#,
                        r#""invocationLatency":{},"firstByteLatency":{}}}"#
                    ),
                    input, output, LATENCY.0, LATENCY.1
                );
                let (without, random) = (self.without.clone(), context.random.borrow_mut().fork());
                let list = Box::new(Chunks { list, next: None, begun: false, without, metrics, random });
                let headers = vec![
                    (CONTENT_TYPE, HeaderValue::from_static("application/vnd.amazon.eventstream")),
                    (
                        HeaderName::from_static("x-amzn-bedrock-content-type"),
                        HeaderValue::from_static("application/json"),
                    ),
                ];
                let content = Body::Stream(EventStream { list, framing: StreamFormat::Binary });
                Response { headers, content, ..response }
            }
            content => {
                let headers = response.headers.into_iter().chain(told([input, output, cached])).collect();
                Response { headers, content, ..response }
            }
        }
    }
}

/// The events of a model's own stream, each in a frame. The last of them tells what it has cost.
struct Chunks {
    list: Box<dyn Iterator<Item = StreamEvent> + Send>,
    next: Option<StreamEvent>,
    begun: bool,
    without: Vec<String>,
    metrics: String,
    random: Random,
}

impl Chunks {
    /// The next event that is not left out, its data alone.
    fn event(&mut self) -> Option<StreamEvent> {
        loop {
            let frame = self.list.next()?;
            let data = event_data(&frame.bytes);
            let kind = || serde_json::from_slice::<Value>(&data).ok().map(|event| event["type"].clone());
            // What ends a stream without being JSON is not the model's.
            let ends = !data.starts_with(b"{");
            if !ends
                && (self.without.is_empty()
                    || !kind().is_some_and(|kind| self.without.iter().any(|name| kind == **name)))
            {
                return Some(StreamEvent { bytes: data, ..frame });
            }
        }
    }
}

impl Iterator for Chunks {
    type Item = StreamEvent;

    fn next(&mut self) -> Option<StreamEvent> {
        if !self.begun {
            (self.begun, self.next) = (true, self.event());
        }
        let frame = self.next.take()?;
        self.next = self.event();
        let event = match (&self.next, frame.bytes.strip_suffix(b"}")) {
            (None, Some(inside)) => {
                let comma: &[u8] = if inside == b"{" { b"" } else { b"," };
                [inside, comma, self.metrics.as_bytes(), b"}"].concat()
            }
            _ => frame.bytes.to_vec(),
        };
        let payload = format!(r#"{{"bytes":"{}","p":"{}"}}"#, BASE64.encode(event), padding(&mut self.random));
        Some(StreamEvent { bytes: event_stream::event("chunk", "application/json", payload.as_bytes()), ..frame })
    }
}
