//! `anthropic-messages`: Anthropic's Messages, whole and streamed.
//!
//! The shapes, the order of the keys and of the events are those of recorded answers of 2025 and 2026.

mod check;
mod read;
mod stream;
mod whole;

use std::sync::Arc;

use bytes::Bytes;
use http::{
    HeaderValue, StatusCode,
    header::{CACHE_CONTROL, CONTENT_TYPE},
};
use serde_json::{Map, Value, json};

use self::whole::Said;
use super::{
    Protocol, Rendered,
    envelope::Envelope,
    events::{EventIter, RenderedEvents},
    wants_stream,
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

/// What the head must give.
const NEEDED: [&str; 2] = ["id", "model"];

/// What the head may give besides: members of the usage object, after the numbers.
const USAGE: &str = "usage";

/// Makes the dialect; see [`super::Make`].
pub(super) fn make(head: &Map<String, Value>) -> Result<Box<dyn Protocol>, String> {
    if let Some(missing) = NEEDED.iter().find(|name| !head.contains_key(**name)) {
        return Err(format!("`head` lacks `{missing}`: give it a value or a slot"));
    }
    let more = match head.get(USAGE) {
        None => Map::new(),
        Some(Value::Object(more)) => more.clone(),
        Some(_) => return Err("`usage` in `head` must be an object: what stands after the numbers".to_owned()),
    };
    // Recorded: the model comes before the id.
    let mut message = Map::new();
    message.insert("model".into(), head["model"].clone());
    message.insert("id".into(), head["id"].clone());
    message.insert("type".into(), json!("message"));
    message.insert("role".into(), json!("assistant"));
    message.insert("content".into(), json!("{{part.content}}"));
    message.insert("stop_reason".into(), json!("{{part.stop_reason}}"));
    message.insert("stop_sequence".into(), json!("{{part.stop_sequence}}"));
    message.extend(
        head.iter()
            .filter(|(name, _)| *name != USAGE && !NEEDED.contains(&name.as_str()))
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
    let around = |shape| Envelope::new(shape, Layout::default(), PARTS);
    Ok(Box::new(Messages { around: Arc::new(Around { whole: around(message)?, start: around(start)? }) }))
}

struct Messages {
    around: Arc<Around>,
}

/// How many parts a message has that are not the head's: its content, its stop, its numbers.
const PARTS: usize = 6;

/// What stands around the model's words, with the slots of the head.
struct Around {
    /// A whole message around its parts.
    whole: Envelope,
    /// The first event of a stream around the same parts, which are empty as yet.
    start: Envelope,
}

/// The numbers of a message.
struct Numbers {
    /// Tokens of the prompt that did not come from a cache.
    input: u64,
    /// Tokens of the prompt that did.
    cached: u64,
    /// Tokens of the reply, thoughts included; no answer has none.
    output: u64,
}

impl Numbers {
    fn new(usage: &Usage) -> Self {
        Numbers {
            input: usage.prompt_tokens.saturating_sub(usage.cached_tokens),
            cached: usage.cached_tokens,
            output: usage.completion_tokens.max(1),
        }
    }
}

impl Protocol for Messages {
    fn check(&self, body: json::Object<'_>, context: &RequestContext<'_>) -> Result<(), ApiError> {
        check::check(body, context)
    }

    fn is_plain(&self, body: json::Object<'_>, tokens: u64) -> bool {
        read::is_plain(body, tokens)
    }

    fn read(&self, body: json::Object<'_>, context: &RequestContext<'_>) -> Prompt {
        read::prompt(body, context.model().into_owned())
    }

    fn render(&self, reply: &Reply, context: Option<&RequestContext<'_>>) -> Box<dyn Rendered> {
        let omits = context.is_some_and(|context| context.members().is_ok_and(read::omits_thinking));
        let said = match context {
            Some(context) => Said::new(reply, omits, &mut context.random.borrow_mut()),
            // Nothing that is said the same every time has calls or thoughts, and so none of it is drawn.
            None => Said::new(reply, omits, &mut Random::seeded(0)),
        };
        // One spelling for many requests serves both kinds.
        let streams = context.map(wants_stream);
        Box::new(Spelled {
            around: Arc::clone(&self.around),
            content: if streams == Some(true) { Vec::new() } else { said.content() },
            stream: if streams == Some(false) { RenderedEvents::default() } else { stream::events(&said) },
            stop_reason: said.stop_reason(),
            stop_sequence: said.stop_sequence().to_string(),
            numbers: said.numbers,
        })
    }
}

/// What the model says, spelled for whole answers and for streams, or for what one request wants.
struct Spelled {
    around: Arc<Around>,
    content: Vec<u8>,
    /// All events after the first.
    stream: RenderedEvents,
    stop_reason: &'static str,
    /// As JSON.
    stop_sequence: String,
    numbers: Numbers,
}

impl Spelled {
    fn whole(&self, context: &RequestContext<'_>) -> Bytes {
        let Numbers { input, cached, output } = self.numbers;
        let (mut first, mut second, mut third) = (itoa::Buffer::new(), itoa::Buffer::new(), itoa::Buffer::new());
        let parts: [&[u8]; PARTS] = [
            &self.content,
            self.stop_reason.as_bytes(),
            self.stop_sequence.as_bytes(),
            first.format(input).as_bytes(),
            second.format(cached).as_bytes(),
            third.format(output).as_bytes(),
        ];
        self.around.whole.fill(&parts, context)
    }

    /// The first event: a message without content.
    fn start(&self, context: &RequestContext<'_>) -> Bytes {
        let mut out = Vec::with_capacity(640);
        out.extend_from_slice(b"event: message_start\ndata: ");
        let (mut first, mut second) = (itoa::Buffer::new(), itoa::Buffer::new());
        let input = first.format(self.numbers.input).as_bytes();
        let cached = second.format(self.numbers.cached).as_bytes();
        // A token has been said by the time that the first event is sent.
        self.around.start.fill_into(&[b"[]", b"null", b"null", input, cached, b"1"], context, &mut out);
        out.extend_from_slice(b"\n\n");
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
        let headers = vec![
            (CONTENT_TYPE, HeaderValue::from_static("text/event-stream; charset=utf-8")),
            (CACHE_CONTROL, HeaderValue::from_static("no-cache")),
        ];
        let list = Box::new(EventIter::with_first(self.start(context), self.stream.clone()));
        let frames = response::EventStream { list, framing: StreamFormat::Named };
        Response::new(StatusCode::OK, headers, Body::Stream(frames))
    }
}
