//! `gemini-generate`: Google's `generateContent`, full and streamed, for the Gemini API and Vertex AI.
//!
//! The operation follows the model in the path: `…/models/{model}:generateContent`, or `:streamGenerateContent`, which
//! returns server-sent events with `?alt=sse` and else the items of one array. The shapes, the order of keys and the
//! framing are those of responses recorded in 2025 and 2026.

mod check;
mod read;
mod render;
mod schema;
mod schema_rules;
mod turns;
mod usage;

use std::sync::Arc;

use bytes::BytesMut;
use http::{HeaderValue, header::CONTENT_DISPOSITION};
use serde_json::{Map, Value, json};

use self::{
    render::{ChunkStream, Chunks, EndpointStyle, Message},
    usage::JsonLayout,
};
use super::{
    Parsed, Protocol, Reader, Record, RenderContext, Rendered, StoredObjects, envelope::LAYOUT, events::RenderTime,
};
use crate::core::{
    context::RequestContext,
    error::ApiError,
    json,
    prompt::Prompt,
    reply::Reply,
    response::{self, Body, EventCopy, EventKind, EventProperties, Response, StreamFormat, WriteEvents},
    template::{AllowedSlots, Layout, Template, query},
};

/// Members of the envelope after the usage, in order. True: the member is required.
const MEMBERS: [(&str, bool); 3] = [("modelVersion", true), ("createTime", false), ("responseId", true)];

/// Creates the protocol; see [`super::Make`].
///
/// Three members of the envelope are placed inside the reply: `avgLogprobs` in a full response's candidates,
/// `trafficType` and `serviceTier` in the usage.
pub(super) fn make(envelope: &Map<String, Value>) -> Result<Box<dyn Protocol>, String> {
    if let Some((missing, _)) = MEMBERS.iter().find(|(name, needed)| *needed && !envelope.contains_key(*name)) {
        return Err(format!("`{missing}` is missing; give it a value or a slot"));
    }
    let mut envelope = envelope.clone();
    let mut fixed_member = |name: &str| {
        let Some(value) = envelope.shift_remove(name) else { return Ok(None) };
        let template = Template::json(&value, Layout::default(), AllowedSlots::Content)?;
        let fixed = template.fixed().and_then(|text| serde_json::from_slice(text).ok());
        fixed.map(Some).ok_or_else(|| format!("`head.{name}` has a slot; give it a fixed value"))
    };
    let style = EndpointStyle {
        average_logprobs: fixed_member("avgLogprobs")?,
        traffic_type: fixed_member("trafficType")?,
        service_tier: fixed_member("serviceTier")?,
    };
    let mut response = Map::new();
    response.insert("candidates".into(), json!("{{part.candidates}}"));
    response.insert("usageMetadata".into(), json!("{{part.usage}}"));
    for (name, _) in MEMBERS {
        response.extend(envelope.shift_remove(name).map(|value| (name.to_owned(), value)));
    }
    response.extend(envelope);
    let response = Value::Object(response);
    let pretty = Template::json(&response, LAYOUT, AllowedSlots::Part)?.split();
    let line =
        Template::from_text(&String::from_utf8_lossy(&JsonLayout::Line.write(&response)), 0, AllowedSlots::Part)?
            .split();
    match (<[Template; 3]>::try_from(pretty), <[Template; 3]>::try_from(line)) {
        (Ok(pretty), Ok(line)) => {
            Ok(Box::new(Generate { templates: Arc::new(Templates { pretty, line }), style: Arc::new(style) }))
        }
        _ => Err("`head` may not use {{part.…}}: only the protocol does; remove it".to_owned()),
    }
}

/// Returns true for models whose function calls have signatures, which they want back.
fn has_signatures(model: &str) -> bool {
    model.starts_with("gemini-3")
}

struct Generate {
    templates: Arc<Templates>,
    style: Arc<EndpointStyle>,
}

/// The response before the candidates, between them and the usage, and after the usage.
struct Templates {
    /// Indented, for full responses and the items of an array.
    pretty: [Template; 3],
    /// On one line, for events.
    line: [Template; 3],
}

/// The form of a response that a request asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Form {
    Full,
    /// Server-sent events.
    Events,
    /// A stream of the items of one array.
    Array,
}

impl Form {
    fn requested(context: &RequestContext<'_>) -> Form {
        let path = context.request.path.trim_end_matches('/');
        let is_sse = |name: &str| query(context.request.query, name).is_some_and(|alt| alt == "sse");
        match () {
            () if path.ends_with("streamGenerateContent") && (is_sse("alt") || is_sse("$alt")) => Form::Events,
            () if path.ends_with("streamGenerateContent") => Form::Array,
            () => Form::Full,
        }
    }
}

impl Reader for Generate {
    fn check(&self, body: json::Object<'_>, context: &RequestContext<'_>) -> Result<(), ApiError> {
        check::check(body, context)
    }

    fn prompt(&self, body: json::Object<'_>, context: &RequestContext<'_>, _: &[Arc<Value>]) -> Prompt {
        read::prompt(body, context.model().into_owned())
    }
}

impl Protocol for Generate {
    fn parse<'r>(&'r self, body: json::Object<'r>, context: &RequestContext<'_>) -> Parsed<'r> {
        Parsed::new(self, body, context, read::ready_made(body))
    }

    fn render(&self, reply: &Reply, context: Option<RenderContext<'_, '_>>) -> Box<dyn Rendered> {
        let model = context.as_ref().map(|context| context.model()).unwrap_or_default();
        let form = context.map(|context| Form::requested(&context));
        let unquoted = context.is_some_and(|context| read::wants_enum_text(context.parsed.body));
        // Responses are stored in full form.
        let is_stored = || context.is_some_and(|context| context.parsed.store == Some(true));
        let needs = |wanted| form.is_none_or(|form| form == wanted);
        let candidates = context.as_ref().map_or_else(
            || render::candidates(reply, &model, unquoted, None),
            |context| render::candidates(reply, &model, unquoted, Some(&mut context.random.borrow_mut())),
        );
        let full = match needs(Form::Full) || is_stored() {
            true => render::full(&candidates, &reply.usage, &self.style, JsonLayout::Indented),
            false => Message::default(),
        };
        let time = if context.is_some() { RenderTime::Late } else { RenderTime::Now };
        let chunks =
            |wanted, write| needs(wanted).then(|| Chunks::new(&candidates, &reply.usage, &self.style, write, time));
        let (events, array) = (chunks(Form::Events, JsonLayout::Line), chunks(Form::Array, JsonLayout::Indented));
        Box::new(RenderedContent { templates: Arc::clone(&self.templates), full, events, array })
    }
}

/// A reply, rendered in the forms that are needed.
struct RenderedContent {
    templates: Arc<Templates>,
    full: Message,
    events: Option<Chunks>,
    array: Option<Chunks>,
}

impl RenderedContent {
    fn full(&self, context: &RequestContext<'_>) -> Vec<u8> {
        let [before, between, after] = &self.templates.pretty;
        // The envelope's slots render to short texts: a model's name, an id, a time.
        let mut out = Vec::with_capacity(self.full.candidates.len() + self.full.usage.len() + 300);
        before.render_into(context, &mut out);
        out.extend_from_slice(&self.full.candidates);
        between.render_into(context, &mut out);
        out.extend_from_slice(&self.full.usage);
        after.render_into(context, &mut out);
        out
    }

    fn stream(&self, form: Form, context: &RequestContext<'_>) -> response::EventStream {
        let (templates, chunks, framing) = match form {
            Form::Events => (&self.templates.line, &self.events, StreamFormat::Data("\r\n")),
            _ => (&self.templates.pretty, &self.array, StreamFormat::Array),
        };
        let around = templates.each_ref().map(|template| template.render(context));
        let chunks = chunks.as_ref().map(Chunks::stream);
        let list = GeminiEvents { around, chunks, is_sse: form == Form::Events, is_first: true };
        response::EventStream::written(list, framing)
    }
}

impl Rendered for RenderedContent {
    fn record(&self, context: RenderContext<'_, '_>) -> Record {
        Record::of_json(&self.full(&context))
    }

    fn respond(&self, context: RenderContext<'_, '_>, _: &dyn StoredObjects) -> Result<Response, ApiError> {
        let form = Form::requested(&context);
        let (content_type, content) = match form {
            Form::Full => ("application/json; charset=UTF-8", Body::Full(self.full(&context).into())),
            Form::Events => ("text/event-stream", Body::Stream(self.stream(form, &context))),
            Form::Array => ("application/json", Body::Stream(self.stream(form, &context))),
        };
        let mut response = Response::ok(content_type, content);
        if form != Form::Full {
            response.headers.push((CONTENT_DISPOSITION, HeaderValue::from_static("attachment")));
        }
        Ok(response)
    }
}

/// The events of one stream, rendered one by one: server-sent events, or the items of an array with their separators.
#[derive(Clone)]
struct GeminiEvents {
    /// The rendered templates, the same for all events.
    around: [Vec<u8>; 3],
    chunks: Option<ChunkStream>,
    /// True for server-sent events, false for an array.
    is_sse: bool,
    is_first: bool,
}

impl WriteEvents for GeminiEvents {
    fn write(&mut self, out: &mut BytesMut) -> Option<EventProperties> {
        let next = self.chunks.as_mut()?.next()?;
        let (is_first, is_last) = (std::mem::replace(&mut self.is_first, false), next.is_last);
        let (open, close): (&[u8], &[u8]) = match self.is_sse {
            true => (b"data: ", b"\r\n\r\n"),
            false => (if is_first { b"[" } else { b",\r\n" }, if is_last { b"]" } else { b"" }),
        };
        let [before, between, after] = &self.around;
        out.extend_from_slice(open);
        out.extend_from_slice(before);
        next.chunk.put(out);
        out.extend_from_slice(between);
        next.put_usage(out);
        out.extend_from_slice(after);
        out.extend_from_slice(close);
        let kind = if is_last { EventKind::Finish } else { EventKind::Content };
        Some(EventProperties { kind, tokens: if next.chunk.event.is_paced { next.chunk.tokens() } else { 0 } })
    }

    fn copy(&self) -> Option<EventCopy> {
        let around: usize = self.around.iter().map(|text| text.len()).sum();
        let chunks = self.chunks.as_ref().map_or(Some(0), ChunkStream::size)?;
        Some(EventCopy { events: Box::new(self.clone()), size: size_of::<Self>() + around + chunks })
    }
}
