//! A response as plain data: bytes and their times. The server delivers it.

mod event_source;
pub mod event_stream;
pub mod session;
mod steps;

use std::{borrow::Cow, time::Duration};

use bytes::Bytes;
use http::{HeaderName, HeaderValue, StatusCode, header::CONTENT_TYPE};
use serde_json::{Map, Value};

use self::{event_source::IteratedEvents, session::Session};
pub use self::{
    event_source::{EventCopy, EventProperties, EventSource, WriteEvents, WrittenEvents},
    steps::{Delivered, Extent, Step, Steps, TimedBody, TimedStep},
};
use super::{limit_status::Cost, reply::ReplyFacts};

/// One response, ready for the server to deliver.
pub struct Response {
    /// The status line's code.
    pub status: StatusCode,
    /// The headers, in any order. The server adds date, length, transfer encoding and CORS.
    pub headers: Vec<(HeaderName, HeaderValue)>,
    /// The body.
    pub body: Body,
    /// The cost in tokens, if the model has replied.
    pub cost: Option<Cost>,
    /// The facts about the reply that are recorded with the request.
    pub reply: ReplyFacts,
    /// The time at which the head is sent, or what happens instead.
    pub head_timing: HeadTiming,
}

/// Number of headers that most responses do not exceed, limit headers included.
pub const USUAL_HEADERS: usize = 12;

/// The time at which the head of a response is sent, or what happens instead.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HeadTiming {
    /// The head is sent after this delay.
    After(Duration),
    /// The connection stays open, and no head is sent.
    Never,
    /// The connection is closed, and no head is sent.
    Closed,
    /// The connection is reset, and no head is sent.
    Reset,
}

/// The body of a response.
pub enum Body {
    /// A body that is sent at once.
    Full(Bytes),
    /// A stream of events, each sent as soon as the client accepts it.
    Stream(EventStream),
    /// A sequence of steps, each at its time.
    Timed(TimedBody),
    /// No body: the connection becomes a WebSocket session.
    Session(Box<dyn Session>),
}

/// A stream: a lazy sequence of events.
pub struct EventStream {
    /// The events, in order.
    pub events: Box<dyn EventSource>,
    /// The framing of the events.
    pub format: StreamFormat,
}

/// One event, as it goes over the wire.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StreamEvent {
    /// The bytes, framing included.
    pub bytes: Bytes,
    /// The kind.
    pub kind: EventKind,
    /// Number of reply tokens in it.
    pub tokens: u32,
}

/// An error that ends a stream.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct InBandError {
    /// The body, as JSON on one line.
    pub body: Vec<u8>,
    /// True if it is an event with the name `error`, in streams of data alone.
    pub is_named: bool,
    /// True if `[DONE]` follows it, in streams of data alone.
    pub is_followed_by_done: bool,
    /// The choices of a chunk that has the error in it. `None`: the error is an event of its own.
    pub choices: Option<Value>,
}

impl InBandError {
    /// Returns the error as a part of the chunk that it replaces. A chunk that is no JSON object is left out.
    pub fn in_chunk(self, replaced: &Bytes) -> InBandError {
        let data = replaced.strip_prefix(b"data: ").map(<[u8]>::trim_ascii_end);
        let chunk = data.and_then(|data| serde_json::from_slice::<Map<String, Value>>(data).ok());
        let error = serde_json::from_slice::<Value>(&self.body).ok();
        let (Some(choices), Some(Value::Object(error))) = (&self.choices, error) else { return self };
        let mut chunk = chunk.unwrap_or_default();
        for name in ["choices", "usage", "obfuscation"] {
            chunk.shift_remove(name);
        }
        chunk.extend(error);
        chunk.insert("choices".to_owned(), choices.clone());
        InBandError { body: Value::Object(chunk).to_string().into_bytes(), ..self }
    }
}

/// The kind of a stream's event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EventKind {
    /// A part of the reply, or an event before it.
    Content,
    /// The finish reason.
    Finish,
    /// The usage, if it has an event of its own.
    Usage,
    /// The end of the stream.
    End,
}

/// The form of an error within a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ErrorForm {
    /// The provider's.
    Usual,
    /// The members of the error without an object around them, as OpenAI documents it for Responses.
    Flat,
    /// With the event name `error` before it.
    Named,
    /// With a number as its code, the status 500 if it has none.
    NumericCode,
}

/// The framing of a stream's events.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StreamFormat {
    /// Server-sent events with data only, and this line break.
    Data(&'static str),
    /// Server-sent events with a name before the data.
    Named,
    /// The same, with the number of each event at the end of its data.
    Numbered,
    /// The items of one JSON array.
    Array,
    /// JSON values, one per line.
    Lines,
    /// Binary frames: see [`event_stream`].
    Binary,
    /// JSON messages of a WebSocket. An empty message is a keep-alive.
    Messages,
}

impl EventStream {
    /// Creates a stream of the events of an iterator.
    pub fn new(events: impl Iterator<Item = StreamEvent> + Send + 'static, format: StreamFormat) -> Self {
        EventStream { events: Box::new(IteratedEvents(events)), format }
    }

    /// Creates a stream of the events of a writer.
    pub fn written(writer: impl WriteEvents + 'static, format: StreamFormat) -> Self {
        EventStream { events: Box::new(WrittenEvents::new(writer)), format }
    }
}

impl ErrorForm {
    /// Returns the body of an error in this form. A body without a member `error` stays as it is.
    fn rewrite(self, body: &[u8]) -> Cow<'_, [u8]> {
        let parsed = || serde_json::from_slice::<Value>(body).ok();
        let rewritten = match self {
            ErrorForm::Usual | ErrorForm::Named => None,
            ErrorForm::Flat => parsed().and_then(|mut body| {
                let mut error = body.get_mut("error").map(Value::take).filter(Value::is_object)?;
                // Its own type would be in the place of the event's.
                error.as_object_mut().and_then(|error| error.shift_remove("type"));
                Some(error)
            }),
            ErrorForm::NumericCode => parsed().and_then(|mut body| {
                let code = body.get_mut("error")?.as_object_mut()?.entry("code").or_insert(Value::Null);
                if !code.is_number() {
                    *code = 500.into();
                }
                Some(body)
            }),
        };
        rewritten.map_or(Cow::Borrowed(body), |body| Cow::Owned(body.to_string().into_bytes()))
    }
}

impl StreamFormat {
    /// Renders an error that takes the place of a stream's next event and ends the stream. `sent` is the number of
    /// events before it.
    pub fn error(self, error: &InBandError, form: ErrorForm, sent: u64) -> Bytes {
        /// The start of an error whose `type` is also the name of its event.
        const TYPE: &str = r#"{"type":""#;
        let body = &*form.rewrite(&error.body);
        let is_named = error.is_named || form == ErrorForm::Named;
        let (before, after): (&[&str], &[&str]) = match self {
            StreamFormat::Data(end) => (
                if is_named { &["event: error", end, "data: "] } else { &["data: "] },
                if error.is_followed_by_done { &[end, end, "data: [DONE]", end, end] } else { &[end, end] },
            ),
            StreamFormat::Named | StreamFormat::Numbered => {
                let name = body.strip_prefix(TYPE.as_bytes()).and_then(|rest| rest.split(|byte| *byte == b'"').next());
                let (name, start, rest) = match name {
                    Some(name) => (name, "", body),
                    None => (&b"error"[..], r#"{"type":"error","#, body.strip_prefix(b"{").unwrap_or(body)),
                };
                let start = [b"event: ", name, b"\ndata: ", start.as_bytes()].concat();
                let number = format!(",\"sequence_number\":{sent}}}");
                return match rest.strip_suffix(b"}").filter(|_| self == StreamFormat::Numbered) {
                    Some(rest) => [&start, rest, number.as_bytes(), b"\n\n"].concat().into(),
                    None => [&start, rest, b"\n\n"].concat().into(),
                };
            }
            StreamFormat::Array => (if sent == 0 { &["["] } else { &[",\r\n"] }, &["]"]),
            StreamFormat::Lines => (&[], &["\n"]),
            StreamFormat::Messages => (&[], &[]),
            StreamFormat::Binary => return event_stream::exception(body),
        };
        [before.concat().as_bytes(), body, after.concat().as_bytes()].concat().into()
    }

    /// Returns the keep-alive that clients ignore: a comment, or, in formats without comments, a space or an event of
    /// an unknown type.
    pub fn comment(self) -> Bytes {
        Bytes::from_static(match self {
            StreamFormat::Data("\r\n") => b": keep-alive\r\n\r\n",
            StreamFormat::Data(_) | StreamFormat::Named | StreamFormat::Numbered => b": keep-alive\n\n",
            StreamFormat::Array | StreamFormat::Lines => b" ",
            StreamFormat::Messages => b"",
            StreamFormat::Binary => return event_stream::event("keep-alive", "application/json", b""),
        })
    }

    /// Returns the bytes that close a stream whose last event was dropped.
    pub fn close(self) -> Option<Bytes> {
        (self == StreamFormat::Array).then(|| Bytes::from_static(b"]"))
    }

    /// Truncates the data of an event to about three quarters, with correct framing.
    pub fn broken_off(self, event: &[u8]) -> Bytes {
        let end: &[u8] = match self {
            StreamFormat::Data("\r\n") => b"\r\n\r\n",
            StreamFormat::Data(_) | StreamFormat::Named | StreamFormat::Numbered => b"\n\n",
            StreamFormat::Array | StreamFormat::Messages => b"",
            StreamFormat::Lines => b"\n",
            StreamFormat::Binary => return event_stream::broken_off(event),
        };
        let kept = event.len().saturating_sub(end.len()) * 3 / 4;
        [&event[..kept], end].concat().into()
    }
}

impl Response {
    /// Creates a response whose head is sent at once.
    pub fn new(status: StatusCode, headers: Vec<(HeaderName, HeaderValue)>, body: Body) -> Self {
        Response {
            status,
            headers,
            body,
            cost: None,
            reply: ReplyFacts::default(),
            head_timing: HeadTiming::After(Duration::ZERO),
        }
    }

    /// Creates a response with status 200.
    pub fn ok(content_type: &'static str, body: Body) -> Self {
        let mut headers = Vec::with_capacity(USUAL_HEADERS);
        headers.push((CONTENT_TYPE, HeaderValue::from_static(content_type)));
        Response::new(StatusCode::OK, headers, body)
    }

    /// Creates the response that opens a session.
    pub fn session(session: Box<dyn Session>) -> Self {
        Response::new(StatusCode::SWITCHING_PROTOCOLS, Vec::with_capacity(USUAL_HEADERS), Body::Session(session))
    }

    /// Creates a response without headers and body.
    pub fn empty(status: StatusCode) -> Self {
        Response::new(status, Vec::new(), Body::Full(Bytes::new()))
    }
}

impl StreamEvent {
    /// The part of the reply that the event completes.
    pub fn delivered(&self) -> Delivered {
        Delivered { events: 1, tokens: self.tokens }
    }

    /// Converts the event into a step.
    pub fn due(self, at: Duration) -> TimedStep {
        let delivered = self.delivered();
        TimedStep { at, step: Step::Send(self.bytes, delivered) }
    }

    /// Creates a content event with so many tokens.
    pub fn content(bytes: Bytes, tokens: u32) -> Self {
        StreamEvent { bytes, kind: EventKind::Content, tokens }
    }
}
