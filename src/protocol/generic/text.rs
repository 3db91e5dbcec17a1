//! `text`: the protocols that take a text and say one, and have nothing else. The head gives the shapes of each:
//!
//! - `asks`: where in a request the `prompt` stands, and maybe `max_tokens` and `stop` (see [`Place`](path::Place));
//! - `reasons`: what the reply's end is called, by `stop` and `length`, and maybe `content_filter`;
//! - `whole`: a whole answer; `piece`: an event of a stream, with one piece of the text; maybe `first` and `last`: the
//!   events before and after the text;
//! - `calls`, where tools can be called: how one `call` is told, and what is told in place of `whole` and `last` where the
//!   reply has some; in a stream all of them are one `event`, behind the text. Without it, a call is said as its arguments;
//! - `framing`: how events are told from each other, if not as server-sent ones; `content_type`: that of a stream, if not
//!   the usual one of its framing.
//!
//! In the shapes, `{{part.text}}` stands for the text or the piece, `{{part.all}}` for all of the text, `{{part.reason}}`
//! for why it ends, and `{{part.input}}`, `{{part.output}}`, `{{part.total}}` for numbers of tokens; in those of a stream
//! `{{part.so_far}}` for how many have been said. `{{part.calls}}` stands for all calls, and in the shape
//! of a `call` `{{part.name}}` and `{{part.arguments}}` for what they are.

mod stream;

use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderValue, StatusCode, header::CONTENT_TYPE};
use serde::Deserialize;
use serde_json::{Map, Value};

use self::stream::Frames;
use crate::core::{
    context::RequestContext,
    error::ApiError,
    json,
    prompt::{Prompt, Turn},
    reply::{Block, FinishReason, Reply, Text, ToolCall, Usage},
    response::{self, Body, Response, StreamFormat},
};
use crate::protocol::{
    Protocol, Rendered, object_or_empty,
    path::JsonPath,
    shape::{self, Placeholders, put_items, put_number},
    wants_stream,
};

/// The head, as it is written.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Head {
    asks: Asks,
    reasons: Reasons,
    whole: Value,
    first: Option<Value>,
    piece: Option<Value>,
    last: Option<Value>,
    calls: Option<CallsFile>,
    #[serde(default)]
    framing: Wrapping,
    content_type: Option<String>,
}

/// Where in a request what is asked stands.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Asks {
    prompt: JsonPath,
    max_tokens: Option<JsonPath>,
    stop: Option<JsonPath>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct CallsFile {
    call: Value,
    whole: Value,
    event: Option<Value>,
    last: Option<Value>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Reasons {
    stop: Value,
    length: Value,
    content_filter: Option<Value>,
}

/// How the events of a stream are told from each other.
#[derive(Clone, Copy, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Wrapping {
    /// Server-sent events.
    #[default]
    Events,
    /// Lines of JSON.
    Lines,
}

impl Wrapping {
    fn content_type(self) -> &'static str {
        match self {
            Wrapping::Events => "text/event-stream",
            Wrapping::Lines => "application/x-ndjson",
        }
    }

    fn framing(self) -> StreamFormat {
        match self {
            Wrapping::Events => StreamFormat::Data("\n"),
            Wrapping::Lines => StreamFormat::Lines,
        }
    }
}

/// What stands in a place of a shape.
#[derive(Clone, Copy)]
enum Place {
    Text,
    All,
    Reason,
    Input,
    Output,
    Total,
    SoFar,
    Calls,
}

const PLACES: Placeholders<Place> = &[
    ("text", Place::Text),
    ("all", Place::All),
    ("reason", Place::Reason),
    ("input", Place::Input),
    ("output", Place::Output),
    ("total", Place::Total),
    ("so_far", Place::SoFar),
    ("calls", Place::Calls),
];

/// What stands in a place of a call.
#[derive(Clone, Copy)]
enum OfCall {
    Name,
    Arguments,
}

const OF_CALL: Placeholders<OfCall> = &[("name", OfCall::Name), ("arguments", OfCall::Arguments)];

type Shape = shape::Shape<Place>;
type RenderedShape = shape::RenderedShape<Place>;

/// A list of none, as JSON.
const NO_CALLS: &[u8] = b"[]";

/// Makes the dialect; see [`crate::protocol::Make`].
pub(in crate::protocol) fn make(head: &Map<String, Value>) -> Result<Box<dyn Protocol>, String> {
    let head = Head::deserialize(Value::Object(head.clone())).map_err(|error| error.to_string())?;
    let shape = |name: &str, value: &Value| Shape::compile(value, PLACES).map_err(|error| format!("`{name}`: {error}"));
    let maybe = |name: &str, value: &Option<Value>| value.as_ref().map(|value| shape(name, value)).transpose();
    let (whole, piece) = (shape("whole", &head.whole)?, maybe("piece", &head.piece)?);
    let (first, last) = (maybe("first", &head.first)?, maybe("last", &head.last)?);
    let calls = match head.calls {
        None => None,
        Some(file) => {
            let call = shape::Shape::compile(&file.call, OF_CALL).map_err(|error| format!("`calls.call`: {error}"))?;
            let (event, last) = (maybe("calls.event", &file.event)?, maybe("calls.last", &file.last)?);
            Some(Calls { call, whole: shape("calls.whole", &file.whole)?, event, last })
        }
    };
    if piece.is_none() && (first.is_some() || last.is_some()) {
        return Err("`first` and `last` stand around pieces: give `piece` too".to_owned());
    }
    let content_type = head.content_type.as_deref().unwrap_or(head.framing.content_type());
    let content_type = HeaderValue::from_str(content_type).map_err(|error| format!("`content_type`: {error}"))?;
    let (asks, reasons, framing) = (head.asks, head.reasons, head.framing);
    let shapes = Shapes { whole, first, piece, last, calls, framing, content_type };
    Ok(Box::new(TextDialect { asks, reasons, shapes: Arc::new(shapes) }))
}

struct TextDialect {
    asks: Asks,
    reasons: Reasons,
    shapes: Arc<Shapes>,
}

struct Shapes {
    whole: Shape,
    first: Option<Shape>,
    /// Without it nothing is streamed.
    piece: Option<Shape>,
    last: Option<Shape>,
    calls: Option<Calls>,
    framing: Wrapping,
    /// That of a stream.
    content_type: HeaderValue,
}

/// How calls are told.
struct Calls {
    call: shape::Shape<OfCall>,
    whole: Shape,
    event: Option<Shape>,
    last: Option<Shape>,
}

/// A text, or several.
fn texts(value: json::Value<'_>) -> Vec<String> {
    match value.as_str() {
        Some(text) => vec![text.into_owned()],
        None => value.items().into_iter().filter_map(|item| Some(item.as_str()?.into_owned())).collect(),
    }
}

impl TextDialect {
    fn max_tokens(&self, body: json::Object<'_>) -> Option<u64> {
        self.asks.max_tokens.as_ref()?.first(body)?.as_u64()
    }

    fn stop(&self, body: json::Object<'_>) -> Vec<String> {
        let stop = self.asks.stop.as_ref().and_then(|place| place.first(body));
        stop.map(texts).unwrap_or_default()
    }

    fn reason(&self, reply: &Reply) -> &Value {
        let Reasons { stop, length, content_filter } = &self.reasons;
        match reply.choices.first().map(|choice| choice.finish_reason) {
            Some(FinishReason::Length) => length,
            Some(FinishReason::ContentFilter) => content_filter.as_ref().unwrap_or(stop),
            _ => stop,
        }
    }
}

impl Protocol for TextDialect {
    fn check(&self, body: json::Object<'_>, context: &RequestContext<'_>) -> Result<(), ApiError> {
        match (self.max_tokens(body), context.model_facts()) {
            (Some(asked), Some(facts)) => facts.can_say("max_tokens", asked),
            _ => Ok(()),
        }
    }

    fn is_plain(&self, body: json::Object<'_>, tokens: u64) -> bool {
        self.max_tokens(body).is_none_or(|most| most >= tokens) && self.stop(body).is_empty()
    }

    fn read(&self, body: json::Object<'_>, context: &RequestContext<'_>) -> Prompt {
        let text = self.asks.prompt.first(body).map(texts).unwrap_or_default().join("\n");
        Prompt {
            model: context.model().into_owned(),
            turns: vec![Turn { text, ..Turn::default() }],
            max_tokens: self.max_tokens(body),
            n: 1,
            stop: self.stop(body),
            parallel_tool_calls: self.shapes.calls.is_some(),
            ..Prompt::default()
        }
    }

    fn render(&self, reply: &Reply, _: Option<&RequestContext<'_>>) -> Box<dyn Rendered> {
        // Thoughts are not told.
        let blocks = reply.choices.first().map_or(&[][..], |choice| &choice.blocks);
        let mut said = blocks.iter().filter(|block| !matches!(block, Block::Reasoning(_)));
        let calls: Vec<_> = match &self.shapes.calls {
            Some(_) => blocks.iter().filter_map(Block::call).cloned().collect(),
            None => Vec::new(),
        };
        // Where nothing can be called, a call has no other spelling than its arguments.
        let said = said.find(|block| calls.is_empty() || block.call().is_none());
        let text = said.map(|block| block.text().clone()).unwrap_or_default();
        let reason = self.reason(reply).to_string();
        Box::new(Spelled {
            shapes: Arc::clone(&self.shapes),
            said: Arc::new(Said { text, calls, reason, usage: reply.usage }),
        })
    }
}

struct Said {
    text: Text,
    /// Those that have a spelling.
    calls: Vec<ToolCall>,
    /// As JSON.
    reason: String,
    usage: Usage,
}

/// Where an answer is.
#[derive(Clone, Copy)]
struct At<'a> {
    /// The piece of the text that is said.
    text: &'a str,
    /// The calls, as JSON.
    calls: &'a [u8],
    /// How many tokens have been said then.
    so_far: u64,
    /// Whether this ends it.
    ends: bool,
}

impl Said {
    /// A shape with what is said in it.
    fn fill(&self, shape: &RenderedShape, At { text, calls, so_far, ends }: At<'_>) -> Vec<u8> {
        let Usage { prompt_tokens: input, completion_tokens: output, .. } = self.usage;
        let mut out = Vec::with_capacity(text.len() + calls.len() + 256);
        shape.fill(&mut out, |place, out| match place {
            Place::Text => out.extend_from_slice(Value::from(text).to_string().as_bytes()),
            Place::All => out.extend_from_slice(Value::from(&*self.text.text).to_string().as_bytes()),
            Place::Reason => out.extend_from_slice(if ends { self.reason.as_bytes() } else { b"null" }),
            Place::Input => put_number(input, out),
            Place::Output => put_number(output, out),
            Place::Total => put_number(input.saturating_add(output), out),
            Place::SoFar => put_number(so_far, out),
            Place::Calls => out.extend_from_slice(calls),
        });
        out
    }

    /// The calls as JSON.
    fn calls(&self, shape: &Calls, context: &RequestContext<'_>) -> Vec<u8> {
        let (call, mut out) = (shape.call.render(context), Vec::new());
        put_items(self.calls.iter(), &mut out, |ToolCall { name, arguments, .. }, out| {
            call.fill(out, |place, out| match place {
                OfCall::Name => out.extend_from_slice(Value::from(&**name).to_string().as_bytes()),
                OfCall::Arguments => out.extend_from_slice(object_or_empty(&arguments.text).to_string().as_bytes()),
            });
        });
        out
    }
}

struct Spelled {
    shapes: Arc<Shapes>,
    said: Arc<Said>,
}

impl Spelled {
    /// How its calls are told, if it has any.
    fn calling(&self) -> Option<&Calls> {
        self.shapes.calls.as_ref().filter(|_| !self.said.calls.is_empty())
    }

    fn whole(&self, context: &RequestContext<'_>) -> Bytes {
        let said = &self.said;
        let (whole, calls) = match self.calling() {
            Some(calling) => (&calling.whole, said.calls(calling, context)),
            None => (&self.shapes.whole, NO_CALLS.to_vec()),
        };
        let at = At { text: &said.text.text, calls: &calls, so_far: said.usage.completion_tokens, ends: true };
        said.fill(&whole.render(context), at).into()
    }
}

impl Rendered for Spelled {
    fn record(&self, context: &RequestContext<'_>) -> Value {
        serde_json::from_slice(&self.whole(context)).unwrap_or_default()
    }

    fn respond(&self, context: &RequestContext<'_>) -> Response {
        let shapes = &self.shapes;
        let Some(piece) = shapes.piece.as_ref().filter(|_| wants_stream(context)) else {
            return Response::said("application/json", Body::Full(self.whole(context)));
        };
        let render = |shape: &Option<Shape>| shape.as_ref().map(|shape| shape.render(context));
        let (first, piece, calling) = (render(&shapes.first), piece.render(context), self.calling());
        let last = render(calling.map_or(&shapes.last, |calling| &calling.last));
        let called = calling.and_then(|calling| render(&calling.event));
        let calls = calling.map_or(NO_CALLS.to_vec(), |calling| self.said.calls(calling, context));
        let (said, wrapping) = (Arc::clone(&self.said), shapes.framing);
        let list = Box::new(Frames { said, wrapping, calls, first, piece, called, last, next: 0, at: 0, ended: false });
        let content = Body::Stream(response::EventStream { list, framing: wrapping.framing() });
        Response::new(StatusCode::OK, vec![(CONTENT_TYPE, shapes.content_type.clone())], content)
    }
}
