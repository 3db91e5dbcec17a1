//! One entry of the journal: what a client sent, and what became of it.

use std::{
    net::IpAddr,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicIsize, Ordering},
    },
    time::{Duration, Instant},
};

use bytes::Bytes;
use http::{HeaderName, HeaderValue, Method, StatusCode};

use crate::{
    core::{
        context::RequestContext,
        limit_status::{Cost, LimitStatuses},
        reply::ReplyFacts,
        request::{ConnectionInfo, RequestBody},
        secret,
    },
    engine::{
        attempts::{CallName, Continued},
        outcome::{Outcome, Phase},
    },
};

/// The start of an entry's id, before its number.
const ID_PREFIX: &str = "req_";
/// Memory that most requests' headers need, in bytes.
const USUAL_HEADERS: usize = 512;

/// A request that was received.
pub(in crate::engine) struct Opened<'a, 'c> {
    pub(in crate::engine) context: &'a RequestContext<'c>,
    /// The path as it was sent.
    pub(in crate::engine) path: &'a str,
    /// The fixture file of the endpoint.
    pub(in crate::engine) route: &'a str,
    pub(in crate::engine) scope: Option<&'a Arc<str>>,
}

/// The head of a response, and what was decided with it.
pub(in crate::engine) struct Head {
    pub(in crate::engine) status: StatusCode,
    /// The headers, one a line.
    pub(in crate::engine) headers: Vec<u8>,
    /// The faults, as they were written.
    pub(in crate::engine) faults: Vec<Box<str>>,
    pub(in crate::engine) reply: ReplyFacts,
    pub(in crate::engine) cost: Option<Cost>,
    pub(in crate::engine) limits: LimitStatuses,
    pub(in crate::engine) queued: Duration,
    /// Time until the head as planned.
    pub(in crate::engine) intended: Duration,
    /// The server's own time.
    pub(in crate::engine) own: Duration,
    pub(in crate::engine) is_stream: bool,
    /// The start of a full body, and its whole length.
    pub(in crate::engine) body: Option<(Bytes, usize)>,
}

/// The end of a request.
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
    /// The start of a stream's body.
    pub(in crate::engine) body: Vec<Bytes>,
}

/// One entry. Its request is complete from the start; the head and the end follow.
pub struct Entry {
    number: u64,
    scope: Option<Arc<str>>,
    /// Time since 1970.
    received: Duration,
    started: Instant,
    client: IpAddr,
    connection: ConnectionInfo,
    method: Method,
    text: SentText,
    head: OnceLock<Head>,
    end: OnceLock<End>,
    /// The call that the request belongs to, and its place in it.
    attempt: OnceLock<Box<(CallName, Continued)>>,
    /// The counted memory, in bytes; negative once the entry is no longer kept.
    memory: AtomicIsize,
}

/// The texts of a request, in one allocation.
struct SentText {
    bytes: Vec<u8>,
    /// The end of each text, in the order of [`Part`].
    ends: [u32; PARTS],
    /// The length of the body as it was sent.
    body_bytes: u64,
}

/// Number of texts.
const PARTS: usize = 9;

/// One of the texts.
#[derive(Clone, Copy)]
enum Part {
    Path,
    Query,
    Headers,
    Key,
    Model,
    Deployment,
    Route,
    PathSecret,
    Body,
}

impl SentText {
    fn new(opened: &Opened<'_, '_>, most_body: usize) -> Self {
        let Opened { context, path, route, .. } = opened;
        let request = context.request;
        let body: &[u8] = match &request.body {
            RequestBody::Whole(body) => body,
            RequestBody::Discarded(_) => b"",
        };
        let kept = &body[..body.len().min(most_body)];
        let model = context.model();
        let key = context.credential().key.unwrap_or_default();
        let usual = path.len() + request.query.len() + USUAL_HEADERS + key.len() + model.len() + route.len();
        let mut bytes = Vec::with_capacity(usual + kept.len());
        let mut ends = [0; PARTS];
        let mut end = |part: Part, bytes: &Vec<u8>| {
            ends[part as usize] = u32::try_from(bytes.len()).unwrap_or(u32::MAX);
        };
        bytes.extend_from_slice(path.as_bytes());
        end(Part::Path, &bytes);
        bytes.extend_from_slice(request.query.as_bytes());
        end(Part::Query, &bytes);
        request.headers.for_each(&mut |name, value| put_header(name, value, &mut bytes));
        end(Part::Headers, &bytes);
        let deployment = context.param("deployment").unwrap_or_default();
        let is_secret = |(name, _): &&(&str, &str)| secret::is_secret_name(name);
        let secret = context.params.iter().find(is_secret).map_or("", |(_, value)| *value);
        let texts = [
            (Part::Key, key.as_bytes()),
            (Part::Model, model.as_bytes()),
            (Part::Deployment, deployment.as_bytes()),
            (Part::Route, route.as_bytes()),
            (Part::PathSecret, secret.as_bytes()),
            (Part::Body, kept),
        ];
        for (part, text) in texts {
            bytes.extend_from_slice(text);
            end(part, &bytes);
        }
        SentText { bytes, ends, body_bytes: request.body.len() }
    }

    fn bytes(&self, part: Part) -> &[u8] {
        let before = (part as usize).checked_sub(1).map_or(0, |before| self.ends[before]);
        &self.bytes[before as usize..self.ends[part as usize] as usize]
    }

    fn text(&self, part: Part) -> &str {
        std::str::from_utf8(self.bytes(part)).unwrap_or_default()
    }
}

fn put_header(name: &str, value: &[u8], out: &mut Vec<u8>) {
    out.extend_from_slice(name.as_bytes());
    out.push(b':');
    out.extend_from_slice(value);
    out.push(b'\n');
}

impl Head {
    /// Renders headers, one a line.
    pub(in crate::engine) fn lines(headers: &[(HeaderName, HeaderValue)]) -> Vec<u8> {
        let mut lines = Vec::with_capacity(USUAL_HEADERS);
        headers.iter().for_each(|(name, value)| put_header(name.as_str(), value.as_bytes(), &mut lines));
        lines
    }

    pub(super) fn size(&self) -> usize {
        let faults: usize = self.faults.iter().map(|fault| fault.len() + size_of::<Box<str>>()).sum();
        self.headers.capacity() + faults + self.body.as_ref().map_or(0, |(bytes, _)| bytes.len())
    }
}

impl End {
    pub(super) fn size(&self) -> usize {
        self.body.iter().map(|bytes| bytes.len() + size_of::<Bytes>()).sum()
    }
}

impl Entry {
    pub(super) fn new(number: u64, received: Duration, opened: &Opened<'_, '_>, most_body: usize) -> Self {
        let request = opened.context.request;
        Entry {
            number,
            scope: opened.scope.cloned(),
            received,
            started: opened.context.started,
            client: request.client,
            connection: request.connection,
            method: request.method.clone(),
            text: SentText::new(opened, most_body),
            head: OnceLock::new(),
            end: OnceLock::new(),
            attempt: OnceLock::new(),
            memory: AtomicIsize::new(0),
        }
    }

    pub(super) fn set_head(&self, head: Head) {
        let _ = self.head.set(head);
    }

    pub(super) fn set_end(&self, end: End) {
        let _ = self.end.set(end);
    }

    /// Sets the call that the request belongs to.
    pub(in crate::engine) fn set_attempt(&self, call: CallName, continued: Continued) {
        let _ = self.attempt.set(Box::new((call, continued)));
    }

    pub(super) fn attempt(&self) -> Option<&(CallName, Continued)> {
        self.attempt.get().map(|attempt| &**attempt)
    }

    pub(super) fn opened_size(&self) -> usize {
        size_of::<Entry>() + self.text.bytes.capacity()
    }

    /// Counts more memory. Returns false if the entry is no longer kept.
    pub(super) fn grow(&self, size: usize) -> bool {
        self.memory.fetch_add(isize::try_from(size).unwrap_or(isize::MAX / 4), Ordering::Relaxed) >= 0
    }

    /// Marks the entry as no longer kept. Returns the memory that was counted.
    pub(super) fn forget(&self) -> usize {
        usize::try_from(self.memory.swap(isize::MIN / 2, Ordering::Relaxed)).unwrap_or(0)
    }

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
        self.received
    }

    /// The time when work on the request began.
    pub fn started(&self) -> Instant {
        self.started
    }

    /// The address of the client.
    pub fn client(&self) -> IpAddr {
        self.client
    }

    /// The connection.
    pub fn connection(&self) -> ConnectionInfo {
        self.connection
    }

    /// The method.
    pub fn method(&self) -> &Method {
        &self.method
    }

    /// The path as it was sent. It may contain a secret.
    pub fn path(&self) -> &str {
        self.text.text(Part::Path)
    }

    /// The query as it was sent. It may contain a secret.
    pub fn query(&self) -> &str {
        self.text.text(Part::Query)
    }

    /// The headers as they were sent. They may contain secrets.
    pub fn headers(&self) -> impl Iterator<Item = (&str, &[u8])> {
        header_lines(self.text.bytes(Part::Headers))
    }

    /// The API key; `None` if there was none. It is a secret.
    pub fn key(&self) -> Option<&str> {
        Some(self.text.text(Part::Key)).filter(|key| !key.is_empty())
    }

    /// The requested model; empty if there was none.
    pub fn model(&self) -> &str {
        self.text.text(Part::Model)
    }

    /// The deployment in the path; empty if there was none.
    pub fn deployment(&self) -> &str {
        self.text.text(Part::Deployment)
    }

    /// The fixture file of the endpoint; empty for unknown paths.
    pub fn route(&self) -> &str {
        self.text.text(Part::Route)
    }

    /// The value of a segment of the path that is a secret by its name; empty if there is none.
    pub(super) fn path_secret(&self) -> &str {
        self.text.text(Part::PathSecret)
    }

    /// The body, or its beginning if it was too long.
    pub fn body(&self) -> &[u8] {
        self.text.bytes(Part::Body)
    }

    /// The length of the body as it was sent, in bytes.
    pub fn body_bytes(&self) -> u64 {
        self.text.body_bytes
    }

    /// Returns the length of a full body.
    pub(in crate::engine) fn full_length(&self) -> Option<u64> {
        self.head()?.body.as_ref().map(|(_, length)| *length as u64)
    }

    pub(in crate::engine) fn head(&self) -> Option<&Head> {
        self.head.get()
    }

    pub(in crate::engine) fn end(&self) -> Option<&End> {
        self.end.get()
    }
}

/// Returns the headers in lines that [`put_header`] wrote.
pub(super) fn header_lines(lines: &[u8]) -> impl Iterator<Item = (&str, &[u8])> {
    lines.split(|byte| *byte == b'\n').filter_map(|line| {
        let colon = memchr::memchr(b':', line)?;
        Some((std::str::from_utf8(&line[..colon]).ok()?, &line[colon + 1..]))
    })
}
