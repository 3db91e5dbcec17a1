//! `text`: protocols that accept a text, return a text, and have little else. The envelope has:
//!
//! - `asks`: the paths in a request of the `prompt`, and optionally of `max_tokens`, one or more, and `stop` (see
//!   [`JsonPath`](crate::protocol::path::JsonPath));
//! - `reasons`: the names of the finish reasons `stop` and `length`, and optionally `content_filter`;
//! - `whole`: a full response; `piece`: a stream event with one piece of the text; optionally `first` and `last`: the
//!   events before and after the text;
//! - `calls`, for models with tools: `call`, the shape of one call, and `whole` and `last`, which replace those above
//!   in a reply with calls. In a stream, all calls are in one `event` after the text. Without `calls`, the arguments
//!   of a call are returned as text;
//! - `echo`: a member of the request that comes first in the response, if the request has it;
//! - `stream_by_path`: true if only the path asks for a stream;
//! - `framing`: `lines` if the stream is not server-sent events; `content_type` of a stream, if not the usual one.
//!
//! Placeholders in the shapes: `{{part.text}}`, the full text or the piece; `{{part.all}}`, the full text;
//! `{{part.reason}}`, the finish reason; `{{part.input}}`, `{{part.output}}` and `{{part.total}}`, numbers of tokens;
//! `{{part.so_far}}`, the number of tokens sent so far in a stream; `{{part.calls}}`, all calls. In `call`:
//! `{{part.name}}` and `{{part.arguments}}`.

mod envelope;
mod stream;

use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderValue, StatusCode, header::CONTENT_TYPE};
use serde::Deserialize;
use serde_json::{Map, Value};

use self::{
    envelope::{EventFraming, InputPaths, Reasons, TextEnvelope},
    stream::TextEvents,
};
use crate::core::{
    context::RequestContext,
    error::ApiError,
    json,
    prompt::{Prompt, Turn},
    reply::{Block, FinishReason, Reply, Text, ToolCall, Usage},
    request,
    response::{self, Body, Response},
};
use crate::protocol::{
    Parsed, Protocol, Reader, ReadyMade, Record, RenderContext, Rendered, ResponseOptions, StoredObjects,
    object_or_empty,
    shape::{self, Placeholders, put_items, put_number},
};

/// Placeholders of all shapes but `call`.
#[derive(Clone, Copy)]
enum Placeholder {
    Text,
    All,
    Reason,
    Input,
    Output,
    Total,
    SoFar,
    Calls,
}

const PLACEHOLDERS: Placeholders<Placeholder> = &[
    ("text", Placeholder::Text),
    ("all", Placeholder::All),
    ("reason", Placeholder::Reason),
    ("input", Placeholder::Input),
    ("output", Placeholder::Output),
    ("total", Placeholder::Total),
    ("so_far", Placeholder::SoFar),
    ("calls", Placeholder::Calls),
];

/// Placeholders of a call.
#[derive(Clone, Copy)]
enum CallPlaceholder {
    Name,
    Arguments,
}

const CALL_PLACEHOLDERS: Placeholders<CallPlaceholder> =
    &[("name", CallPlaceholder::Name), ("arguments", CallPlaceholder::Arguments)];

type Shape = shape::Shape<Placeholder>;
type RenderedShape = shape::RenderedShape<Placeholder>;

/// An empty list, as JSON.
const NO_CALLS: &[u8] = b"[]";

/// Creates the protocol; see [`crate::protocol::Make`].
pub(in crate::protocol) fn make(envelope: &Map<String, Value>) -> Result<Box<dyn Protocol>, String> {
    let envelope = TextEnvelope::deserialize(Value::Object(envelope.clone())).map_err(|error| error.to_string())?;
    let shape =
        |name: &str, value: &Value| Shape::compile(value, PLACEHOLDERS).map_err(|error| format!("`{name}`: {error}"));
    let maybe = |name: &str, value: &Option<Value>| value.as_ref().map(|value| shape(name, value)).transpose();
    let (whole, piece) = (shape("whole", &envelope.whole)?, maybe("piece", &envelope.piece)?);
    let (first, last) = (maybe("first", &envelope.first)?, maybe("last", &envelope.last)?);
    let calls = match envelope.calls {
        None => None,
        Some(file) => {
            let call = shape::Shape::compile(&file.call, CALL_PLACEHOLDERS)
                .map_err(|error| format!("`calls.call`: {error}"))?;
            let (event, last) = (maybe("calls.event", &file.event)?, maybe("calls.last", &file.last)?);
            Some(CallShapes { call, whole: shape("calls.whole", &file.whole)?, event, last })
        }
    };
    if piece.is_none() && (first.is_some() || last.is_some()) {
        return Err("`first` and `last` need `piece`: give it too, or remove them".to_owned());
    }
    let content_type = envelope.content_type.as_deref().unwrap_or(envelope.framing.content_type());
    let content_type = HeaderValue::from_str(content_type).map_err(|error| format!("`content_type`: {error}"))?;
    let TextEnvelope { paths, reasons, framing, echo, stream_by_path, .. } = envelope;
    let shapes = Shapes { whole, first, piece, last, calls, framing, content_type, echo };
    Ok(Box::new(TextProtocol { paths, reasons, stream_by_path, shapes: Arc::new(shapes) }))
}

struct TextProtocol {
    paths: InputPaths,
    reasons: Reasons,
    /// True if the body does not ask for a stream.
    stream_by_path: bool,
    shapes: Arc<Shapes>,
}

struct Shapes {
    whole: Shape,
    first: Option<Shape>,
    /// `None`: the protocol does not stream.
    piece: Option<Shape>,
    last: Option<Shape>,
    calls: Option<CallShapes>,
    framing: EventFraming,
    /// Content type of a stream.
    content_type: HeaderValue,
    /// A member of the request that comes first in the response.
    echo: Option<String>,
}

/// Shapes of replies with calls.
struct CallShapes {
    call: shape::Shape<CallPlaceholder>,
    whole: Shape,
    event: Option<Shape>,
    last: Option<Shape>,
}

/// Returns a string, or the strings of an array.
fn texts(value: json::Value<'_>) -> Vec<String> {
    match value.as_str() {
        Some(text) => vec![text.into_owned()],
        None => value.items().into_iter().filter_map(|item| Some(item.as_str()?.into_owned())).collect(),
    }
}

impl TextProtocol {
    fn max_tokens(&self, body: json::Object<'_>) -> Option<u64> {
        self.paths.max_tokens.as_slice().iter().find_map(|path| path.first(body)?.as_u64())
    }

    fn stop(&self, body: json::Object<'_>) -> Vec<String> {
        let stop = self.paths.stop.as_ref().and_then(|path| path.first(body));
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

impl Reader for TextProtocol {
    fn check(&self, body: json::Object<'_>, context: &RequestContext<'_>) -> Result<(), ApiError> {
        match (self.max_tokens(body), context.model_facts()) {
            (Some(requested), Some(facts)) => facts.check_max_tokens("max_tokens", requested),
            _ => Ok(()),
        }
    }

    fn prompt(&self, body: json::Object<'_>, context: &RequestContext<'_>, _: &[Arc<Value>]) -> Prompt {
        let text = self.paths.prompt.first(body).map(texts).unwrap_or_default().join("\n");
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
}

impl Protocol for TextProtocol {
    fn parse<'r>(&'r self, body: json::Object<'r>, context: &RequestContext<'_>) -> Parsed<'r> {
        // Nothing else of the request is read, so that nothing else can change the reply.
        let ready_made = match self.stop(body).is_empty() {
            true => self.max_tokens(body).map_or(ReadyMade::All, ReadyMade::UpTo),
            false => ReadyMade::None,
        };
        let parsed = Parsed::new(self, body, context, ready_made);
        let by_path = || request::wants_stream(context.request.path, json::Object::default());
        let stream = if self.stream_by_path { by_path() } else { parsed.options.stream };
        Parsed { options: ResponseOptions { stream, ..parsed.options }, ..parsed }
    }

    fn render(&self, reply: &Reply, _: Option<RenderContext<'_, '_>>) -> Box<dyn Rendered> {
        // The protocol has no reasoning.
        let blocks = reply.choices.first().map_or(&[][..], |choice| &choice.blocks);
        let mut output = blocks.iter().filter(|block| !matches!(block, Block::Reasoning(_)));
        let calls: Vec<_> = match &self.shapes.calls {
            Some(_) => blocks.iter().filter_map(Block::call).cloned().collect(),
            None => Vec::new(),
        };
        // Without shapes of calls, a call is rendered as its arguments.
        let block = output.find(|block| calls.is_empty() || block.call().is_none());
        let text = block.map(|block| block.text().clone()).unwrap_or_default();
        let reason = self.reason(reply).to_string();
        Box::new(RenderedText {
            shapes: Arc::clone(&self.shapes),
            content: Arc::new(Content { text, calls, reason, usage: reply.usage }),
        })
    }
}

/// The parts of a reply that the shapes contain.
struct Content {
    text: Text,
    /// Empty if the protocol has no shapes of calls.
    calls: Vec<ToolCall>,
    /// The finish reason, as JSON.
    reason: String,
    usage: Usage,
}

/// State of a response at one of its shapes.
#[derive(Clone, Copy)]
struct StreamPosition<'a> {
    /// The piece of the text in this shape.
    text: &'a str,
    /// The calls, as JSON.
    calls: &'a [u8],
    /// Number of tokens sent, this shape included.
    so_far: u64,
    /// True if this shape contains the finish reason.
    is_last: bool,
    /// The repeated member of the request with a comma, or nothing.
    echo: &'a [u8],
}

impl Content {
    /// Returns a shape with its placeholders filled.
    fn fill(
        &self,
        shape: &RenderedShape,
        StreamPosition { text, calls, so_far, is_last, echo }: StreamPosition<'_>,
    ) -> Vec<u8> {
        let Usage { prompt_tokens: input, completion_tokens: output, .. } = self.usage;
        let mut out = Vec::with_capacity(text.len() + calls.len() + 256);
        shape.fill(&mut out, |placeholder, out| match placeholder {
            Placeholder::Text => out.extend_from_slice(Value::from(text).to_string().as_bytes()),
            Placeholder::All => out.extend_from_slice(Value::from(self.text.whole()).to_string().as_bytes()),
            Placeholder::Reason => out.extend_from_slice(if is_last { self.reason.as_bytes() } else { b"null" }),
            Placeholder::Input => put_number(input, out),
            Placeholder::Output => put_number(output, out),
            Placeholder::Total => put_number(input.saturating_add(output), out),
            Placeholder::SoFar => put_number(so_far, out),
            Placeholder::Calls => out.extend_from_slice(calls),
        });
        if out.starts_with(b"{") {
            out.splice(1..1, echo.iter().copied());
        }
        out
    }

    /// Returns the calls as a JSON array.
    fn calls(&self, shapes: &CallShapes, context: &RequestContext<'_>) -> Vec<u8> {
        let (call, mut out) = (shapes.call.render(context), Vec::new());
        put_items(self.calls.iter(), &mut out, |ToolCall { name, arguments, .. }, out| {
            call.fill(out, |placeholder, out| match placeholder {
                CallPlaceholder::Name => out.extend_from_slice(Value::from(&**name).to_string().as_bytes()),
                CallPlaceholder::Arguments => {
                    out.extend_from_slice(object_or_empty(&arguments.whole()).to_string().as_bytes())
                }
            });
        });
        out
    }
}

struct RenderedText {
    shapes: Arc<Shapes>,
    content: Arc<Content>,
}

impl RenderedText {
    /// Returns the shapes of calls if the reply has calls.
    fn call_shapes(&self) -> Option<&CallShapes> {
        self.shapes.calls.as_ref().filter(|_| !self.content.calls.is_empty())
    }

    /// Returns the repeated member of the request, with a comma.
    fn echo(&self, context: &RequestContext<'_>) -> Vec<u8> {
        let found = self.shapes.echo.as_ref().and_then(|name| Some((name, context.members().ok()?.get(name)?)));
        found.map_or_else(Vec::new, |(name, value)| {
            [Value::from(name.as_str()).to_string().as_bytes(), b":", value.text(), b","].concat()
        })
    }

    fn full(&self, context: &RequestContext<'_>) -> Bytes {
        let content = &self.content;
        let (whole, calls) = match self.call_shapes() {
            Some(shapes) => (&shapes.whole, content.calls(shapes, context)),
            None => (&self.shapes.whole, NO_CALLS.to_vec()),
        };
        let end = StreamPosition {
            text: &content.text.whole(),
            calls: &calls,
            so_far: content.usage.completion_tokens,
            is_last: true,
            echo: &self.echo(context),
        };
        content.fill(&whole.render(context), end).into()
    }
}

impl Rendered for RenderedText {
    fn record(&self, context: RenderContext<'_, '_>) -> Record {
        Record::of_json(&self.full(&context))
    }

    fn respond(&self, context: RenderContext<'_, '_>, _: &dyn StoredObjects) -> Result<Response, ApiError> {
        let shapes = &self.shapes;
        let Some(piece) = shapes.piece.as_ref().filter(|_| context.parsed.options.stream) else {
            return Ok(Response::ok("application/json", Body::Full(self.full(&context))));
        };
        let render = |shape: &Option<Shape>| shape.as_ref().map(|shape| shape.render(&context));
        let (first, piece, call_shapes) = (render(&shapes.first), piece.render(&context), self.call_shapes());
        let last = render(call_shapes.map_or(&shapes.last, |shapes| &shapes.last));
        let call_event = call_shapes.and_then(|shapes| render(&shapes.event));
        let calls = call_shapes.map_or(NO_CALLS.to_vec(), |shapes| self.content.calls(shapes, &context));
        let (content, framing) = (Arc::clone(&self.content), shapes.framing);
        let list = TextEvents {
            content,
            framing,
            calls,
            echo: self.echo(&context),
            first,
            piece,
            call_event,
            last,
            pieces: self.content.text.cursor(),
            sent: 0,
            ended: false,
        };
        let body = Body::Stream(response::EventStream::new(list, framing.format()));
        Ok(Response::new(StatusCode::OK, vec![(CONTENT_TYPE, shapes.content_type.clone())], body))
    }
}
