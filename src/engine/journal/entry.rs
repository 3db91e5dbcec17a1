//! One entry of the journal: what a client sent, and what became of it.

use std::{
    net::IpAddr,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use http::{Method, StatusCode};

use super::text::{HeadText, Part, SentText, emptied};

use crate::{
    core::{
        context::RequestContext,
        limit_status::{Cost, LimitStatuses},
        reply::ReplyFacts,
        request::ConnectionInfo,
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
    pub(in crate::engine) scope: Option<&'a Arc<str>>,
}

/// The head of a response, and what was decided with it.
pub(in crate::engine) struct Head {
    pub(in crate::engine) status: StatusCode,
    pub(in crate::engine) text: HeadText,
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
    pub(in crate::engine) body: Vec<u8>,
    /// True if it is framed in HTTP chunks.
    pub(in crate::engine) is_framed: bool,
}

/// The part of the response that was sent so far.
#[derive(Default)]
struct Progress {
    head: AtomicBool,
    events: AtomicU64,
    tokens: AtomicU64,
    bytes: AtomicU64,
}

/// Buffers of an old entry, to be used again.
#[derive(Default)]
pub(in crate::engine) struct SpareBuffers {
    /// The buffer for the texts of the head.
    pub(in crate::engine) head: Vec<u8>,
    /// The buffer for the start of a stream's body.
    pub(in crate::engine) body: Vec<u8>,
}

impl SpareBuffers {
    pub(super) fn size(&self) -> usize {
        self.head.capacity() + self.body.capacity()
    }
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
    progress: Progress,
    end: OnceLock<End>,
    /// The call that the request belongs to, and its place in it.
    attempt: OnceLock<Box<(CallName, Continued)>>,
    /// The counted memory, in bytes.
    counted: AtomicUsize,
}

impl Head {
    pub(super) fn size(&self) -> usize {
        let faults: usize = self.faults.iter().map(|fault| fault.len() + size_of::<Box<str>>()).sum();
        let limits = self.limits.as_ref().map_or(0, |_| size_of::<LimitStatuses>());
        self.text.capacity() + faults + limits
    }
}

impl End {
    pub(super) fn size(&self) -> usize {
        self.body.capacity()
    }
}

impl Entry {
    /// Creates an entry, in the memory of an old one unless somebody reads that. Returns buffers for
    /// the texts of its response too.
    pub(super) fn renew(
        old: Option<Arc<Entry>>,
        number: u64,
        received: Duration,
        opened: &Opened<'_, '_>,
        most_body: usize,
    ) -> (Arc<Entry>, SpareBuffers) {
        if let Some(mut old) = old
            && let Some(entry) = Arc::get_mut(&mut old)
        {
            let buffer = entry.text.take_buffer();
            let spare = SpareBuffers {
                head: entry.head.take().map(|head| head.text.into_buffer()).unwrap_or_default(),
                body: entry.end.take().map(|end| emptied(end.body)).unwrap_or_default(),
            };
            *entry = Entry::new(buffer, number, received, opened, most_body);
            return (old, spare);
        }
        (Arc::new(Entry::new(Vec::new(), number, received, opened, most_body)), SpareBuffers::default())
    }

    fn new(buffer: Vec<u8>, number: u64, received: Duration, opened: &Opened<'_, '_>, most_body: usize) -> Self {
        let request = opened.context.request;
        Entry {
            number,
            scope: opened.scope.cloned(),
            received,
            started: opened.context.started,
            client: request.client,
            connection: request.connection,
            method: request.method.clone(),
            text: SentText::new(buffer, opened, most_body),
            head: OnceLock::new(),
            progress: Progress::default(),
            end: OnceLock::new(),
            attempt: OnceLock::new(),
            counted: AtomicUsize::new(0),
        }
    }

    pub(super) fn set_head(&self, head: Head) {
        let _ = self.head.set(head);
    }

    /// Records how much of the response was sent so far.
    pub(in crate::engine) fn set_progress(&self, events: u64, tokens: u64, bytes: u64) {
        let progress = &self.progress;
        progress.head.store(true, Ordering::Relaxed);
        progress.events.store(events, Ordering::Relaxed);
        progress.tokens.store(tokens, Ordering::Relaxed);
        progress.bytes.store(bytes, Ordering::Relaxed);
    }

    /// Returns the end of a response that the server's stop cuts now.
    pub(super) fn drained(&self) -> End {
        let read = |number: &AtomicU64| number.load(Ordering::Relaxed);
        let (head, progress) = (self.head(), &self.progress);
        let (tokens, bytes) = (read(&progress.tokens), read(&progress.bytes));
        let sent_head = progress.head.load(Ordering::Relaxed);
        let output = head.and_then(|head| head.cost).map_or(0, |cost| cost.output);
        End {
            outcome: Outcome::Drained,
            phase: Phase::reached(sent_head, head.is_some_and(|head| head.is_stream), tokens, bytes),
            status: head.map(|head| head.status).filter(|_| sent_head),
            events: read(&progress.events),
            bytes,
            undelivered: output.saturating_sub(tokens),
            first_token: None,
            intended_end: None,
            end: self.started.elapsed(),
            body: Vec::new(),
            is_framed: false,
        }
    }

    /// Sets the end. Returns false if there is one already.
    pub(super) fn set_end(&self, end: End) -> bool {
        self.end.set(end).is_ok()
    }

    /// Sets the call that the request belongs to.
    pub(in crate::engine) fn set_attempt(&self, call: CallName, continued: Continued) {
        let _ = self.attempt.set(Box::new((call, continued)));
    }

    pub(in crate::engine) fn attempt(&self) -> Option<&(CallName, Continued)> {
        self.attempt.get().map(|attempt| &**attempt)
    }

    /// Returns the memory that the entry takes so far, in bytes.
    pub(super) fn size(&self) -> usize {
        let head = self.head().map_or(0, Head::size);
        size_of::<Entry>() + self.text.capacity() + head + self.end().map_or(0, End::size)
    }

    /// Sets the memory that is counted. Returns false if it is the same as before.
    pub(super) fn set_counted(&self, size: usize) -> bool {
        let before = self.counted.load(Ordering::Relaxed);
        self.counted.store(size, Ordering::Relaxed);
        before != size
    }

    /// True if a header is about the call that the request belongs to.
    pub(in crate::engine) fn names_call(&self) -> bool {
        self.text.names_call
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
        self.text.headers()
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
        self.head()?.text.full_length
    }

    pub(in crate::engine) fn head(&self) -> Option<&Head> {
        self.head.get()
    }

    pub(in crate::engine) fn end(&self) -> Option<&End> {
        self.end.get()
    }
}
