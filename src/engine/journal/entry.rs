//! One entry of the journal: what a client sent, and what became of it.

use std::{
    borrow::Cow,
    net::IpAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::BytesMut;
use http::{HeaderName, Method, StatusCode};

use super::packed::Facts;
use crate::{
    core::{
        context::RequestContext,
        limit_status::{Cost, LimitStatuses},
        reply::ReplyFacts,
        request::ConnectionInfo,
        response::EventCopy,
    },
    engine::{
        attempts::{CallName, Continued},
        outcome::{Outcome, Phase},
    },
};

/// The start of an entry's id, before its number.
const ID_PREFIX: &str = "req_";

/// A request that was received.
pub(in crate::engine) struct Opened<'a, 'c> {
    pub(in crate::engine) context: &'a RequestContext<'c>,
    /// The path as it was sent.
    pub(in crate::engine) path: &'a str,
    /// The fixture file of the endpoint.
    pub(in crate::engine) route: &'a str,
    /// The number of the route.
    pub(in crate::engine) route_number: u16,
    pub(in crate::engine) scope: Option<&'a Arc<str>>,
}

/// The head of a response, and what was decided with it.
#[derive(Clone)]
pub(in crate::engine) struct Head {
    pub(in crate::engine) status: StatusCode,
    /// The length of a full body.
    pub(in crate::engine) full_length: Option<u64>,
    /// The faults, as they were written.
    pub(in crate::engine) faults: Vec<Box<str>>,
    pub(in crate::engine) reply: ReplyFacts,
    pub(in crate::engine) cost: Option<Cost>,
    /// The limits; `None` if none applies. Boxed, because most requests have none.
    pub(in crate::engine) limits: Option<Box<LimitStatuses>>,
    pub(in crate::engine) queued: Duration,
    /// Time until the head as planned.
    pub(in crate::engine) intended: Duration,
    /// The server's own time.
    pub(in crate::engine) own: Duration,
    pub(in crate::engine) is_stream: bool,
    /// True if no reply of a strict scope fits.
    pub(in crate::engine) is_unmatched: bool,
}

/// The end of a request.
#[derive(Clone)]
pub(in crate::engine) struct End {
    pub(in crate::engine) outcome: Outcome,
    pub(in crate::engine) phase: Phase,
    /// The status; `None` if no head was sent.
    pub(in crate::engine) status: Option<StatusCode>,
    pub(in crate::engine) events: u64,
    pub(in crate::engine) bytes: u64,
    pub(in crate::engine) undelivered: u64,
    pub(in crate::engine) first_token: Option<Duration>,
    pub(in crate::engine) intended_end: Option<Duration>,
    pub(in crate::engine) end: Duration,
    /// True if the kept body is framed in HTTP chunks.
    pub(in crate::engine) is_framed: bool,
}

/// The texts of a request beside its headers and its body.
#[derive(Clone, Copy)]
enum RequestText {
    Path,
    Query,
    Key,
    Model,
    Deployment,
    Route,
    PathSecret,
}

/// One entry, as it was when it was read.
pub struct Entry {
    pub(super) number: u64,
    pub(super) scope: Option<Arc<str>>,
    pub(super) facts: Facts,
    /// The texts and headers of the request.
    pub(super) request: super::heads::Head,
    /// The start of the request's body.
    pub(super) request_body: Vec<u8>,
    pub(super) response_headers: Vec<(HeaderName, Vec<u8>)>,
    pub(super) response_body: KeptBody,
    pub(super) head: Option<Head>,
    pub(super) end: Option<End>,
    /// The call that the request belongs to, and its place in it.
    pub(super) attempt: Option<(CallName, Continued)>,
}

/// The kept start of a response's body.
pub(super) enum KeptBody {
    /// The bytes, as they were sent.
    Bytes(Vec<u8>),
    /// A copy of the stream's events, of which so many bytes were sent and are kept.
    Events(EventCopy, usize),
}

impl KeptBody {
    /// Returns the bytes, or their start up to the end of the first events with `most` bytes.
    pub(super) fn bytes(&self, most: usize) -> Cow<'_, [u8]> {
        let (events, length) = match self {
            KeptBody::Bytes(bytes) => return Cow::Borrowed(bytes),
            KeptBody::Events(copy, length) => (copy.events.copy(), *length),
        };
        let mut out = BytesMut::new();
        if let Some(mut copy) = events {
            while out.len() < length.min(most) && copy.events.write(&mut out).is_some() {}
        }
        out.truncate(length);
        Cow::Owned(out.into())
    }
}

impl Head {
    pub(super) fn size(&self) -> usize {
        let faults: usize = self.faults.iter().map(|fault| fault.len() + size_of::<Box<str>>()).sum();
        faults + self.limits.as_ref().map_or(0, |_| size_of::<LimitStatuses>())
    }
}

impl Entry {
    /// The number of the entry, from 1 at the start of the server.
    pub fn number(&self) -> u64 {
        self.number
    }

    /// Returns the id, which contains the number.
    pub fn id(&self) -> String {
        Entry::id_of(self.number)
    }

    /// Returns the id of the entry with this number.
    pub fn id_of(number: u64) -> String {
        format!("{ID_PREFIX}{number}")
    }

    /// Returns the number in an id; `None` if it is no id.
    pub fn number_of(id: &str) -> Option<u64> {
        id.strip_prefix(ID_PREFIX)?.parse().ok()
    }

    /// The scope; empty for the default scope.
    pub fn scope(&self) -> &str {
        self.scope.as_deref().unwrap_or_default()
    }

    /// Time since 1970 when the request was received.
    pub fn received(&self) -> Duration {
        self.facts.received
    }

    /// The time when work on the request began.
    pub fn started(&self) -> Instant {
        self.facts.started
    }

    /// The address of the client.
    pub fn client(&self) -> IpAddr {
        self.facts.client
    }

    /// The connection.
    pub fn connection(&self) -> ConnectionInfo {
        self.facts.connection
    }

    /// The method.
    pub fn method(&self) -> &Method {
        &self.facts.method
    }

    /// The path as it was sent. It may contain a secret.
    pub fn path(&self) -> &str {
        self.text(RequestText::Path)
    }

    /// The query as it was sent. It may contain a secret.
    pub fn query(&self) -> &str {
        self.text(RequestText::Query)
    }

    /// The headers as they were sent. They may contain secrets.
    pub fn headers(&self) -> impl Iterator<Item = (&str, &[u8])> {
        shown_headers(&self.request.headers)
    }

    pub(in crate::engine) fn header_list(&self) -> &[(HeaderName, Vec<u8>)] {
        &self.request.headers
    }

    /// The API key; `None` if there was none. It is a secret.
    pub fn key(&self) -> Option<&str> {
        Some(self.text(RequestText::Key)).filter(|key| !key.is_empty())
    }

    /// The requested model; empty if there was none.
    pub fn model(&self) -> &str {
        self.text(RequestText::Model)
    }

    /// The deployment in the path; empty if there was none.
    pub fn deployment(&self) -> &str {
        self.text(RequestText::Deployment)
    }

    /// The fixture file of the endpoint; empty for unknown paths.
    pub fn route(&self) -> &str {
        self.text(RequestText::Route)
    }

    /// The value of a segment of the path that is a secret by its name; empty if there is none.
    pub(super) fn path_secret(&self) -> &str {
        self.text(RequestText::PathSecret)
    }

    /// The body, or its beginning if it was too long.
    pub fn body(&self) -> &[u8] {
        &self.request_body
    }

    /// The length of the body as it was sent, in bytes.
    pub fn body_bytes(&self) -> u64 {
        self.facts.body_bytes
    }

    pub(in crate::engine) fn head(&self) -> Option<&Head> {
        self.head.as_ref()
    }

    pub(in crate::engine) fn end(&self) -> Option<&End> {
        self.end.as_ref()
    }

    pub(in crate::engine) fn attempt(&self) -> Option<&(CallName, Continued)> {
        self.attempt.as_ref()
    }

    /// The headers of the response.
    pub(super) fn response_headers(&self) -> impl Iterator<Item = (&str, &[u8])> {
        shown_headers(&self.response_headers)
    }

    fn text(&self, part: RequestText) -> &str {
        let text = self.request.texts.get(part as usize).map(Vec::as_slice);
        std::str::from_utf8(text.unwrap_or_default()).unwrap_or_default()
    }
}

fn shown_headers(headers: &[(HeaderName, Vec<u8>)]) -> impl Iterator<Item = (&str, &[u8])> {
    headers.iter().map(|(name, value)| (name.as_str(), value.as_slice()))
}
