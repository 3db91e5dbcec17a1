//! `gemini-generate`: Google's `generateContent`, whole and streamed, as the Gemini API and Vertex AI speak it.
//!
//! Which of them is asked stands in the path, behind the model: `…/models/{model}:generateContent`,
//! and `:streamGenerateContent` (events with `?alt=sse`, else an array that grows). The shapes, the order of the keys and
//! the framing are those of recorded answers of 2025 and 2026.

mod check;
mod read;
mod render;
mod schema;

use std::sync::Arc;

use http::{HeaderValue, header::CONTENT_DISPOSITION};
use serde_json::{Map, Value, json};

use self::render::{Message, Ways};
use super::{
    Protocol, Rendered,
    envelope::{LAYOUT, member},
};
use crate::core::{
    context::RequestContext,
    error::ApiError,
    json,
    prompt::Prompt,
    reply::Reply,
    response::{self, Body, EventKind, Response, StreamEvent, StreamFormat},
    template::{AllowedSlots, Layout, LineStyle, Template, query},
};

/// The head's fields that follow the usage, in their order; those that an answer cannot do without are marked.
const HEAD: [(&str, bool); 3] = [("modelVersion", true), ("createTime", false), ("responseId", true)];

/// Makes the dialect; see [`super::Make`].
///
/// Three fields of the head have places inside: `avgLogprobs` in a whole answer's candidates, `trafficType` and
/// `serviceTier` in its usage.
pub(super) fn make(head: &Map<String, Value>) -> Result<Box<dyn Protocol>, String> {
    if let Some((missing, _)) = HEAD.iter().find(|(name, needed)| *needed && !head.contains_key(*name)) {
        return Err(format!("`head` lacks `{missing}`: give it a value or a slot"));
    }
    let mut head = head.clone();
    let mut inner = |name: &str| {
        let Some(value) = head.shift_remove(name) else { return Ok(None) };
        let template = Template::json(&value, Layout::default(), AllowedSlots::Content)?;
        let fixed = template.fixed().and_then(|text| serde_json::from_slice(text).ok());
        fixed.map(Some).ok_or_else(|| format!("`head.{name}` has a slot, and is told as it stands"))
    };
    let ways = Ways {
        average_logprobs: inner("avgLogprobs")?,
        traffic_type: inner("trafficType")?,
        service_tier: inner("serviceTier")?,
    };
    let mut around = Map::new();
    around.insert("candidates".into(), json!("{{part.candidates}}"));
    around.insert("usageMetadata".into(), json!("{{part.usage}}"));
    for (name, _) in HEAD {
        around.extend(head.shift_remove(name).map(|value| (name.to_owned(), value)));
    }
    around.extend(head);
    let around = Value::Object(around);
    let pretty = Template::json(&around, LAYOUT, AllowedSlots::Part)?.split();
    let line = Template::from_text(&String::from_utf8_lossy(&line(&around)), 0, AllowedSlots::Part)?.split();
    match (<[Template; 3]>::try_from(pretty), <[Template; 3]>::try_from(line)) {
        (Ok(pretty), Ok(line)) => Ok(Box::new(Generate { around: Arc::new(Around { pretty, line }), ways })),
        _ => Err("`head` may not use {{part.…}}: it is the dialect's own".to_owned()),
    }
}

/// A value on one line as Google's events have it.
fn line(value: &Value) -> Vec<u8> {
    LineStyle::Spaced.write(value)
}

struct Generate {
    around: Arc<Around>,
    ways: Ways,
}

/// What stands before the candidates, between them and the usage, and behind it, with the slots of the head.
struct Around {
    /// Laid out, for whole answers and the items of an array.
    pretty: [Template; 3],
    /// On one line, for events.
    line: [Template; 3],
}

/// In what form an answer is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Form {
    Whole,
    /// Event by event.
    Events,
    /// Item by item of one array.
    Array,
}

impl Form {
    fn of(context: &RequestContext<'_>) -> Form {
        let path = context.request.path.trim_end_matches('/');
        let asks = |name: &str| query(context.request.query, name).is_some_and(|alt| alt == "sse");
        match () {
            () if path.ends_with("streamGenerateContent") && (asks("alt") || asks("$alt")) => Form::Events,
            () if path.ends_with("streamGenerateContent") => Form::Array,
            () => Form::Whole,
        }
    }
}

impl Protocol for Generate {
    fn check(&self, body: json::Object<'_>, _: &RequestContext<'_>) -> Result<(), ApiError> {
        check::check(body)
    }

    fn is_plain(&self, body: json::Object<'_>, tokens: u64) -> bool {
        read::is_plain(body, tokens)
    }

    fn read(&self, body: json::Object<'_>, context: &RequestContext<'_>) -> Prompt {
        read::prompt(body, context.model().into_owned())
    }

    fn render(&self, reply: &Reply, context: Option<&RequestContext<'_>>) -> Box<dyn Rendered> {
        let model = context.map(RequestContext::model).unwrap_or_default();
        let form = context.map(Form::of);
        let body = context.and_then(|context| context.members().ok());
        let bare = body.is_some_and(read::wants_a_word);
        // What is kept is kept whole.
        let kept = || body.and_then(|body| body.get("store")).and_then(json::Value::as_bool) == Some(true);
        let is = |wanted| form.is_none_or(|form| form == wanted);
        let said = context.map_or_else(
            || render::said(reply, &model, bare, None),
            |context| render::said(reply, &model, bare, Some(&mut context.random.borrow_mut())),
        );
        let mut rendered = Spelled {
            around: Arc::clone(&self.around),
            whole: Message::default(),
            events: Arc::default(),
            array: Arc::default(),
        };
        if is(Form::Whole) || kept() {
            rendered.whole = render::whole(&said, &reply.usage, &self.ways, member);
        }
        if is(Form::Events) {
            rendered.events = render::chunks(&said, &reply.usage, &self.ways, line).into();
        }
        if is(Form::Array) {
            rendered.array = render::chunks(&said, &reply.usage, &self.ways, member).into();
        }
        Box::new(rendered)
    }
}

/// A reply in the forms that are wanted of it.
struct Spelled {
    around: Arc<Around>,
    whole: Message,
    events: Arc<[Message]>,
    array: Arc<[Message]>,
}

impl Spelled {
    fn whole(&self, context: &RequestContext<'_>) -> Vec<u8> {
        let [before, between, after] = &self.around.pretty;
        // What the slots of the head come to is short: a model's name, an id, a time.
        let mut out = Vec::with_capacity(self.whole.candidates.len() + self.whole.usage.len() + 300);
        before.render_into(context, &mut out);
        out.extend_from_slice(&self.whole.candidates);
        between.render_into(context, &mut out);
        out.extend_from_slice(&self.whole.usage);
        after.render_into(context, &mut out);
        out
    }

    fn frames(&self, form: Form, context: &RequestContext<'_>) -> response::EventStream {
        let (around, messages, framing) = match form {
            Form::Events => (&self.around.line, &self.events, StreamFormat::Data("\r\n")),
            _ => (&self.around.pretty, &self.array, StreamFormat::Array),
        };
        let around = around.each_ref().map(|template| template.render(context));
        let frames = Frames { around, messages: Arc::clone(messages), events: form == Form::Events, next: 0 };
        response::EventStream { events: Box::new(frames), format: framing }
    }
}

impl Rendered for Spelled {
    fn record(&self, context: &RequestContext<'_>) -> Value {
        serde_json::from_slice(&self.whole(context)).unwrap_or_default()
    }

    fn respond(&self, context: &RequestContext<'_>) -> Response {
        let form = Form::of(context);
        let (content_type, content) = match form {
            Form::Whole => ("application/json; charset=UTF-8", Body::Full(self.whole(context).into())),
            Form::Events => ("text/event-stream", Body::Stream(self.frames(form, context))),
            Form::Array => ("application/json", Body::Stream(self.frames(form, context))),
        };
        let mut response = Response::ok(content_type, content);
        if form != Form::Whole {
            response.headers.push((CONTENT_DISPOSITION, HeaderValue::from_static("attachment")));
        }
        response
    }
}

/// The frames of one stream, rendered one by one: events, or the items of an array with what stands between them.
struct Frames {
    /// The same for all of them.
    around: [Vec<u8>; 3],
    messages: Arc<[Message]>,
    events: bool,
    next: usize,
}

impl Iterator for Frames {
    type Item = StreamEvent;

    fn next(&mut self) -> Option<StreamEvent> {
        let message = self.messages.get(self.next)?;
        self.next += 1;
        let (open, close): (&[u8], &[u8]) = match (self.events, self.next) {
            (true, _) => (b"data: ", b"\r\n\r\n"),
            (false, n) => (if n == 1 { b"[" } else { b",\r\n" }, if n == self.messages.len() { b"]" } else { b"" }),
        };
        let [before, between, after] = &self.around;
        let parts = [open, before, &message.candidates, between, &message.usage, after, close];
        let mut out = Vec::with_capacity(parts.iter().map(|part| part.len()).sum());
        for part in parts {
            out.extend_from_slice(part);
        }
        let part = if self.next == self.messages.len() { EventKind::Finish } else { EventKind::Content };
        Some(StreamEvent { bytes: out.into(), kind: part, tokens: message.tokens })
    }
}
