//! `anthropic-messages`: Anthropic's Messages API, full and streamed.
//!
//! The shapes and the order of keys and events are those of responses recorded in 2025 and 2026.

mod check;
mod message;
pub(in crate::protocol) mod read;
mod stream;

use std::sync::Arc;

use bytes::Bytes;
use http::{
    HeaderValue, StatusCode,
    header::{CACHE_CONTROL, CONTENT_TYPE},
};
use serde_json::{Map, Value, json};

use self::message::MessageParts;
use super::{
    Parsed, Protocol, Reader, Record, RenderContext, Rendered, StoredObjects, envelope::Envelope,
    events::RenderedEvents, forms,
};
use crate::core::{
    context::RequestContext,
    error::ApiError,
    json,
    prompt::Prompt,
    random::Random,
    reply::{Reply, Usage},
    response::{self, Body, Response, StreamFormat},
    template::Layout,
};

/// Required members of the envelope.
const REQUIRED: [&str; 2] = ["id", "model"];

/// Optional member of the envelope: further members of the usage object, after the counts.
const USAGE: &str = "usage";

/// Creates the protocol; see [`super::Make`].
pub(super) fn make(envelope: &Map<String, Value>) -> Result<Box<dyn Protocol>, String> {
    if let Some(missing) = REQUIRED.iter().find(|name| !envelope.contains_key(**name)) {
        return Err(format!("`{missing}` is missing; give it a value or a slot"));
    }
    let more = match envelope.get(USAGE) {
        None => Map::new(),
        Some(Value::Object(more)) => more.clone(),
        Some(_) => return Err("`usage` in `head` must be an object: the members after the token counts".to_owned()),
    };
    // Recorded: the model precedes the id.
    let mut message = Map::new();
    message.insert("model".into(), envelope["model"].clone());
    message.insert("id".into(), envelope["id"].clone());
    message.insert("type".into(), json!("message"));
    message.insert("role".into(), json!("assistant"));
    message.insert("content".into(), json!("{{part.content}}"));
    message.insert("stop_reason".into(), json!("{{part.stop_reason}}"));
    message.insert("stop_sequence".into(), json!("{{part.stop_sequence}}"));
    message.extend(
        envelope
            .iter()
            .filter(|(name, _)| *name != USAGE && !REQUIRED.contains(&name.as_str()))
            .map(|(name, value)| (name.clone(), value.clone())),
    );
    let mut usage = json!({
        "input_tokens": "{{part.input}}",
        "cache_creation_input_tokens": 0,
        "cache_read_input_tokens": "{{part.cached}}",
        "cache_creation": {"ephemeral_5m_input_tokens": 0, "ephemeral_1h_input_tokens": 0},
        "output_tokens": "{{part.output}}",
    });
    if let Some(usage) = usage.as_object_mut() {
        usage.extend(more);
    }
    message.insert("usage".into(), usage);

    let mut start = Map::new();
    start.insert("type".into(), json!("message_start"));
    start.insert("message".into(), message.clone().into());
    let compile = |shape| Envelope::new(shape, Layout::default(), PARTS);
    Ok(Box::new(Messages { envelopes: Arc::new(Envelopes { full: compile(message)?, start: compile(start)? }) }))
}

struct Messages {
    envelopes: Arc<Envelopes>,
}

/// Number of parts of a message that the protocol renders: content, two stop members, three token counts.
const PARTS: usize = 6;

/// The compiled envelopes.
struct Envelopes {
    /// A full message.
    full: Envelope,
    /// The first event of a stream. It has the same parts, still empty.
    start: Envelope,
}

/// Token counts of a message.
struct Counts {
    /// Tokens of the prompt that did not come from a cache.
    input: u64,
    /// Tokens of the prompt that came from a cache.
    cached: u64,
    /// Tokens of the reply, thinking included. At least 1, even for an empty reply.
    output: u64,
}

impl Counts {
    fn new(usage: &Usage) -> Self {
        Counts {
            input: usage.prompt_tokens.saturating_sub(usage.cached_tokens),
            cached: usage.cached_tokens,
            output: usage.completion_tokens.max(1),
        }
    }
}

impl Reader for Messages {
    fn check(&self, body: json::Object<'_>, context: &RequestContext<'_>) -> Result<(), ApiError> {
        check::check(body, context)
    }

    fn prompt(&self, body: json::Object<'_>, context: &RequestContext<'_>, _: &[Arc<Value>]) -> Prompt {
        read::prompt(body, context.model().into_owned())
    }
}

impl Protocol for Messages {
    fn parse<'r>(&'r self, body: json::Object<'r>, context: &RequestContext<'_>) -> Parsed<'r> {
        Parsed::new(self, body, context, read::ready_made(body))
    }

    fn render(&self, reply: &Reply, context: Option<RenderContext<'_, '_>>) -> Box<dyn Rendered> {
        let omits = context.is_some_and(|context| read::omits_thinking(context.parsed.body));
        let parts = match context {
            Some(context) => MessageParts::new(reply, omits, &mut context.random.borrow_mut()),
            // Replies for all plain requests have no calls and no thinking, so nothing is drawn.
            None => MessageParts::new(reply, omits, &mut Random::seeded(0)),
        };
        let (needs_full, streams, time) = forms(context);
        Box::new(RenderedMessage {
            envelopes: Arc::clone(&self.envelopes),
            content: if needs_full { parts.content() } else { Vec::new() },
            stream: streams.then(|| stream::events(&parts, time)),
            stop_reason: parts.stop_reason(),
            stop_sequence: parts.stop_sequence().to_string(),
            counts: parts.counts,
        })
    }
}

/// A rendered message: full, streamed, or both.
struct RenderedMessage {
    envelopes: Arc<Envelopes>,
    /// The content blocks, as JSON.
    content: Vec<u8>,
    /// All events after the first.
    stream: Option<RenderedEvents>,
    /// As JSON.
    stop_reason: &'static str,
    /// As JSON.
    stop_sequence: String,
    counts: Counts,
}

impl RenderedMessage {
    fn full(&self, context: &RequestContext<'_>) -> Bytes {
        let Counts { input, cached, output } = self.counts;
        let (mut first, mut second, mut third) = (itoa::Buffer::new(), itoa::Buffer::new(), itoa::Buffer::new());
        let parts: [&[u8]; PARTS] = [
            &self.content,
            self.stop_reason.as_bytes(),
            self.stop_sequence.as_bytes(),
            first.format(input).as_bytes(),
            second.format(cached).as_bytes(),
            third.format(output).as_bytes(),
        ];
        self.envelopes.full.fill(&parts, context)
    }

    /// Returns the first event: a message without content.
    fn start(&self, context: &RequestContext<'_>) -> Bytes {
        let mut out = Vec::with_capacity(640);
        out.extend_from_slice(b"event: message_start\ndata: ");
        let (mut first, mut second) = (itoa::Buffer::new(), itoa::Buffer::new());
        let input = first.format(self.counts.input).as_bytes();
        let cached = second.format(self.counts.cached).as_bytes();
        // One output token is already generated when the first event is sent.
        self.envelopes.start.fill_into(&[b"[]", b"null", b"null", input, cached, b"1"], context, &mut out);
        out.extend_from_slice(b"\n\n");
        out.into()
    }
}

impl Rendered for RenderedMessage {
    fn record(&self, context: RenderContext<'_, '_>) -> Record {
        Record::of_json(&self.full(&context))
    }

    fn respond(&self, context: RenderContext<'_, '_>, _: &dyn StoredObjects) -> Result<Response, ApiError> {
        let Some(stream) = self.stream.as_ref().filter(|_| context.parsed.options.stream) else {
            return Ok(Response::ok("application/json", Body::Full(self.full(&context))));
        };
        let headers = vec![
            (CONTENT_TYPE, HeaderValue::from_static("text/event-stream; charset=utf-8")),
            (CACHE_CONTROL, HeaderValue::from_static("no-cache")),
        ];
        let stream = stream.stream(Some(self.start(&context)));
        let stream = response::EventStream::written(stream, StreamFormat::Named);
        Ok(Response::new(StatusCode::OK, headers, Body::Stream(stream)))
    }
}
