//! An answer as plain data: what will be sent, and when; not the sending of it.

pub mod event_stream;
pub mod session;

use std::time::Duration;

use bytes::Bytes;
use http::{HeaderName, HeaderValue, StatusCode, header::CONTENT_TYPE};

use self::session::Session;
use super::limit_status::Cost;

/// One answer, ready for the edge to deliver.
pub struct Response {
    /// The status line's code.
    pub status: StatusCode,
    /// The headers; their order says nothing. The edge adds those of its own trade (date, length, framing, CORS).
    pub headers: Vec<(HeaderName, HeaderValue)>,
    /// What follows the head.
    pub body: Body,
    /// What it has cost in tokens, if the model has said something.
    pub cost: Option<Cost>,
    /// What happens before the head is sent.
    pub head_timing: HeadTiming,
}

/// Headers that most answers have no more of, those of limits included.
pub const USUAL_HEADERS: usize = 12;

/// What happens before the head of an answer is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HeadTiming {
    /// So much time passes.
    After(Duration),
    /// Time passes without end.
    Never,
    /// The connection is closed, and no head is sent.
    Closed,
    /// The connection is reset, and no head is sent.
    Reset,
}

/// The body of an answer.
pub enum Body {
    /// All of it at once.
    Full(Bytes),
    /// Event by event, each as soon as the client takes it.
    Stream(EventStream),
    /// Step by step, each at its time.
    Timed(TimedBody),
    /// None yet: a conversation begins, over a socket.
    Session(Box<dyn Session>),
}

/// A stream: a lazy sequence of events.
pub struct EventStream {
    /// The events, in order.
    pub events: Box<dyn Iterator<Item = StreamEvent> + Send>,
    /// How one is told from the next.
    pub format: StreamFormat,
}

/// One event, as it goes over the wire.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StreamEvent {
    /// All of it, with what frames it.
    pub bytes: Bytes,
    /// What it is for.
    pub kind: EventKind,
    /// How many tokens of the reply it brings.
    pub tokens: u32,
}

/// What an event of a stream is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EventKind {
    /// What is said, or what leads to it.
    Content,
    /// Why the model stopped.
    Finish,
    /// What it has cost, where that has an event of its own.
    Usage,
    /// That the stream ends here.
    End,
}

/// How the events of a stream are told from each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StreamFormat {
    /// Server-sent events that are data alone, with this line break.
    Data(&'static str),
    /// Server-sent events with a name before the data.
    Named,
    /// The items of one JSON array.
    Array,
    /// JSON values, each on a line.
    Lines,
    /// Binary frames: see [`event_stream`].
    Binary,
    /// Messages of a socket, each of which is JSON; an empty one only shows that somebody is there.
    Messages,
}

impl StreamFormat {
    /// An error in place of a stream's next event. Nothing comes after it. `first` is whether nothing came before.
    pub fn error(self, body: &[u8], first: bool) -> Bytes {
        /// The data of an event that has a name bears the name as its type.
        const TYPE: &str = r#"{"type":""#;
        let (before, after): (&[&str], &[&str]) = match self {
            StreamFormat::Data(end) => (&["data: "], &[end, end]),
            StreamFormat::Named => {
                let name = body.strip_prefix(TYPE.as_bytes()).and_then(|rest| rest.split(|byte| *byte == b'"').next());
                let (name, start, rest) = match name {
                    Some(name) => (name, "", body),
                    None => (&b"error"[..], r#"{"type":"error","#, body.strip_prefix(b"{").unwrap_or(body)),
                };
                return [b"event: ", name, b"\ndata: ", start.as_bytes(), rest, b"\n\n"].concat().into();
            }
            StreamFormat::Array => (if first { &["["] } else { &[",\r\n"] }, &["]"]),
            StreamFormat::Lines => (&[], &["\n"]),
            StreamFormat::Messages => (&[], &[]),
            StreamFormat::Binary => return event_stream::exception(body),
        };
        [before.concat().as_bytes(), body, after.concat().as_bytes()].concat().into()
    }

    /// What clients take for nothing, to keep a connection from looking dead; what has no comments has a blank for it,
    /// or an event that nobody knows.
    pub fn comment(self) -> Bytes {
        Bytes::from_static(match self {
            StreamFormat::Data("\r\n") => b": keep-alive\r\n\r\n",
            StreamFormat::Data(_) | StreamFormat::Named => b": keep-alive\n\n",
            StreamFormat::Array | StreamFormat::Lines => b" ",
            StreamFormat::Messages => b"",
            StreamFormat::Binary => return event_stream::event("keep-alive", "application/json", b""),
        })
    }

    /// The bytes that close a stream which has lost its last event.
    pub fn close(self) -> Option<Bytes> {
        (self == StreamFormat::Array).then(|| Bytes::from_static(b"]"))
    }

    /// An event broken off late in its data, but framed as it should be.
    pub fn broken_off(self, event: &[u8]) -> Bytes {
        let end: &[u8] = match self {
            StreamFormat::Data("\r\n") => b"\r\n\r\n",
            StreamFormat::Data(_) | StreamFormat::Named => b"\n\n",
            StreamFormat::Array | StreamFormat::Messages => b"",
            StreamFormat::Lines => b"\n",
            StreamFormat::Binary => return event_stream::broken_off(event),
        };
        let kept = event.len().saturating_sub(end.len()) * 3 / 4;
        [&event[..kept], end].concat().into()
    }
}

/// A body that is sent step by step.
pub struct TimedBody {
    /// The length that the head promises, in bytes; none if it is chunked.
    pub length: Option<u64>,
    /// The steps, in order.
    pub steps: Box<dyn Iterator<Item = TimedStep> + Send>,
}

/// A step, and when it is due.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TimedStep {
    /// Time since the answer was made; [`Duration::MAX`] for never.
    pub at: Duration,
    /// What is done then.
    pub step: Step,
}

/// What is done with a body.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// These bytes are sent.
    Send(Bytes),
    /// The connection is closed, and the body has no end.
    Cut,
    /// The connection is reset.
    Reset,
}

impl Response {
    /// An answer that is sent at once.
    pub fn new(status: StatusCode, headers: Vec<(HeaderName, HeaderValue)>, content: Body) -> Self {
        Response { status, headers, body: content, cost: None, head_timing: HeadTiming::After(Duration::ZERO) }
    }

    /// An answer with a body that is sent at once.
    pub fn ok(content_type: &'static str, content: Body) -> Self {
        let mut headers = Vec::with_capacity(USUAL_HEADERS);
        headers.push((CONTENT_TYPE, HeaderValue::from_static(content_type)));
        Response::new(StatusCode::OK, headers, content)
    }

    /// The answer that opens a session.
    pub fn session(session: Box<dyn Session>) -> Self {
        Response::new(StatusCode::SWITCHING_PROTOCOLS, Vec::with_capacity(USUAL_HEADERS), Body::Session(session))
    }

    /// An answer without headers or body.
    pub fn empty(status: StatusCode) -> Self {
        Response::new(status, Vec::new(), Body::Full(Bytes::new()))
    }
}

impl StreamEvent {
    /// An event that brings so many tokens of what is said.
    pub fn content(bytes: Bytes, tokens: u32) -> Self {
        StreamEvent { bytes, kind: EventKind::Content, tokens }
    }
}
