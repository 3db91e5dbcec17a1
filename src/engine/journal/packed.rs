//! The packed form of an entry, in which the journal keeps it.

use std::{
    net::IpAddr,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use http::Method;

use super::{
    Opened,
    bodies::PackedBody,
    entry::{End, Entry, Head, KeptBody},
    heads::{PackedHead, SentHeaders},
    shards::Route,
};
use crate::{
    core::{
        request::{ConnectionInfo, RequestBody},
        response::{Body, EventCopy, EventStream, Response},
        secret,
    },
    engine::{
        attempts::{CallName, Continued},
        outcome::{Outcome, Phase},
    },
};

/// Capacity of a buffer that is always used again, in bytes.
const SMALL: usize = 4 << 10;
/// Number of bytes that an entry with a long body needs for the rest, in most cases.
const USUAL: usize = 1 << 10;

/// One entry. Its request is complete from the start; the head and the end follow.
pub struct PackedEntry {
    number: u64,
    scope: Option<Arc<str>>,
    progress: Progress,
    content: Mutex<Content>,
    /// The counted memory, in bytes.
    counted: AtomicUsize,
}

/// The part of the response that was sent so far.
#[derive(Default)]
struct Progress {
    head: AtomicBool,
    events: AtomicU64,
    tokens: AtomicU64,
    bytes: AtomicU64,
}

/// The content of an entry.
struct Content {
    facts: Facts,
    /// The request, then the response.
    messages: [PackedMessage; 2],
    /// The texts of both that differ from others.
    bytes: Vec<u8>,
    /// A copy of the events of the response, in place of the bytes of its body.
    events: Option<KeptEvents>,
    head: Option<Head>,
    end: Option<End>,
    /// The call that the request belongs to, and its place in it.
    attempt: Option<Box<(CallName, Continued)>>,
}

/// The events of a stream.
struct KeptEvents {
    copy: EventCopy,
    /// Number of bytes that are kept of them; 0 if they are those of an earlier request.
    most: usize,
}

/// A request or a response.
#[derive(Default)]
struct PackedMessage {
    head: PackedHead,
    body: PackedBody,
    /// The end of its head's bytes, and that of all.
    ends: (usize, usize),
}

/// The facts about a request that are known from the start.
#[derive(Clone)]
pub(super) struct Facts {
    /// Time since 1970.
    pub(super) received: Duration,
    pub(super) started: Instant,
    pub(super) client: IpAddr,
    pub(super) connection: ConnectionInfo,
    pub(super) method: Method,
    /// The length of the body as it was sent.
    pub(super) body_bytes: u64,
}

impl Facts {
    fn of(opened: &Opened<'_, '_>, received: Duration) -> Self {
        let request = opened.context.request;
        Facts {
            received,
            started: opened.context.started,
            client: request.client,
            connection: request.connection,
            method: request.method.clone(),
            body_bytes: request.body.len(),
        }
    }
}

impl Content {
    /// Replaces the content with that of another request. Keeps the memory.
    fn open(&mut self, facts: Facts, opened: &Opened<'_, '_>, most_body: usize, texts: &mut Route) {
        self.facts = facts;
        (self.head, self.end, self.attempt) = (None, None, None);
        if let Some(events) = &mut self.events {
            events.most = 0;
        }
        let Opened { context, path, route, .. } = opened;
        let request = context.request;
        let body: &[u8] = match &request.body {
            RequestBody::Whole(body) => &body[..body.len().min(most_body)],
            RequestBody::MalformedForm | RequestBody::Discarded(_) => b"",
        };
        match self.bytes.capacity() > SMALL.max(4 * body.len()) {
            true => self.bytes = Vec::new(),
            false => self.bytes.clear(),
        }
        self.bytes.reserve(if body.len() > SMALL { body.len() + USUAL } else { 0 });
        let is_secret = |(name, _): &&(&str, &str)| secret::is_secret_name(name);
        let secret = context.params.iter().find(is_secret).map_or("", |(_, value)| *value);
        let model = context.model();
        // In the order of `RequestText`.
        let parts = [
            path,
            request.query,
            context.credential().key.unwrap_or_default(),
            &model,
            context.param("deployment").unwrap_or_default(),
            route,
            secret,
        ];
        let [message, response] = &mut self.messages;
        let headers = SentHeaders::Request(request.headers);
        message.head.pack(&mut texts.requests.heads, &parts, headers, &mut self.bytes);
        message.ends.0 = self.bytes.len();
        message.body.pack(texts.requests.body(body.len()), body, &mut self.bytes);
        message.ends.1 = self.bytes.len();
        response.ends = (self.bytes.len(), self.bytes.len());
    }

    /// Adds the headers of the response.
    fn respond(&mut self, response: &Response, texts: &mut Route) {
        let [_, message] = &mut self.messages;
        let headers = SentHeaders::Response(&response.headers);
        message.head.pack(&mut texts.responses.heads, &[], headers, &mut self.bytes);
        message.ends = (self.bytes.len(), self.bytes.len());
    }

    /// Adds the start of the response's body.
    fn put_body(&mut self, body: &[u8], texts: &mut Route) {
        let [_, message] = &mut self.messages;
        message.body.pack(texts.responses.body(body.len()), body, &mut self.bytes);
        message.ends.1 = self.bytes.len();
    }

    /// Returns the heads and bodies of the request and of the response.
    fn messages(&self) -> [(super::heads::Head, Vec<u8>); 2] {
        let mut start = 0;
        let mut has_head = true;
        self.messages.each_ref().map(|PackedMessage { head, body, ends: (head_end, end) }| {
            let bytes = |from: usize, to: usize| self.bytes.get(from..to).unwrap_or_default();
            let unpacked = match has_head {
                true => (head.unpack(bytes(start, *head_end)), body.unpack(bytes(*head_end, *end))),
                false => Default::default(),
            };
            // The response still has the shape of an earlier one before its head is known.
            (start, has_head) = (*end, self.head.is_some());
            unpacked
        })
    }

    /// Returns the memory that it takes, in bytes.
    fn size(&self) -> usize {
        let messages: usize = self.messages.iter().map(|message| message.head.size() + message.body.size()).sum();
        let events = self.events.as_ref().map_or(0, |events| events.copy.size);
        self.bytes.capacity() + messages + events + self.head.as_ref().map_or(0, Head::size)
    }
}

impl PackedEntry {
    /// Creates an entry, in the memory of an old one unless somebody reads that. Returns true too if a header is about
    /// the call that the request belongs to, and the memory that it takes.
    pub(super) fn open(
        old: Option<Arc<PackedEntry>>,
        number: u64,
        received: Duration,
        opened: &Opened<'_, '_>,
        most_body: usize,
        texts: &mut Route,
    ) -> (Arc<PackedEntry>, bool, usize) {
        let facts = Facts::of(opened, received);
        let mut entry = match old {
            Some(old) if Arc::strong_count(&old) == 1 => old,
            _ => Arc::new(PackedEntry::new(facts.clone())),
        };
        let (mut names_call, mut size) = (false, 0);
        if let Some(entry) = Arc::get_mut(&mut entry) {
            entry.number = number;
            if entry.scope.as_ref() != opened.scope {
                entry.scope = opened.scope.cloned();
            }
            entry.progress = Progress::default();
            let content = entry.content.get_mut().unwrap_or_else(PoisonError::into_inner);
            content.open(facts, opened, most_body, texts);
            names_call = content.messages[0].head.names_call();
            size = size_of::<PackedEntry>() + content.size();
            *entry.counted.get_mut() = size;
        }
        (entry, names_call, size)
    }

    fn new(facts: Facts) -> Self {
        let content = Content {
            facts,
            messages: Default::default(),
            bytes: Vec::new(),
            events: None,
            head: None,
            end: None,
            attempt: None,
        };
        PackedEntry {
            number: 0,
            scope: None,
            progress: Progress::default(),
            content: Mutex::new(content),
            counted: AtomicUsize::new(0),
        }
    }

    fn content(&self) -> MutexGuard<'_, Content> {
        // Every step leaves the content valid.
        self.content.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Sets the head, with the headers and the start of a full body.
    pub(super) fn respond(&self, head: Head, response: &Response, most_body: usize, texts: &mut Route) {
        let mut content = self.content();
        content.respond(response, texts);
        if content.events.as_ref().is_some_and(|events| events.most == 0) {
            content.events = None;
        }
        if let Body::Full(body) = &response.body {
            content.put_body(&body[..body.len().min(most_body)], texts);
        }
        content.head = Some(head);
    }

    /// Keeps a copy of a stream's events, which stand for the bytes of its body. Returns false if there is none, or it
    /// takes more than `most` bytes of memory.
    pub(super) fn keep_events(&self, stream: &EventStream, most: usize) -> bool {
        let mut content = self.content();
        // The memory of the earlier copy is out of the cache. It is used again for this one, and for nothing else.
        content.events = None;
        let copy = stream.events.copy().filter(|copy| copy.size <= most);
        content.events = copy.map(|copy| KeptEvents { copy, most });
        content.events.is_some()
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
        let progress = &self.progress;
        let (tokens, bytes) = (read(&progress.tokens), read(&progress.bytes));
        let sent_head = progress.head.load(Ordering::Relaxed);
        let content = self.content();
        let head = content.head.as_ref();
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
            end: content.facts.started.elapsed(),
            is_framed: false,
        }
    }

    /// Sets the end, with the start of a stream's body. Returns the memory that the entry takes; `None` if it had an end.
    pub(super) fn close(
        &self,
        mut end: End,
        body: &[u8],
        texts: impl FnOnce(&mut dyn FnMut(&mut Route)),
    ) -> Option<usize> {
        let mut content = self.content();
        if content.end.is_some() {
            return None;
        }
        let full_length = content.head.as_ref().and_then(|head| head.full_length);
        if let (Outcome::Complete, 0, Some(length)) = (end.outcome, end.bytes, full_length) {
            end.bytes = length;
        }
        if !body.is_empty() {
            texts(&mut |texts| content.put_body(body, texts));
        }
        content.end = Some(end);
        Some(size_of::<PackedEntry>() + content.size())
    }

    /// Sets the call that the request belongs to.
    pub(in crate::engine) fn set_attempt(&self, call: CallName, continued: Continued) {
        self.content().attempt = Some(Box::new((call, continued)));
    }

    /// Returns the memory that the entry takes so far, in bytes.
    pub(super) fn size(&self) -> usize {
        size_of::<PackedEntry>() + self.content().size()
    }

    /// Sets the memory that is counted. Returns false if it is the same as before.
    pub(super) fn set_counted(&self, size: usize) -> bool {
        let before = self.counted.load(Ordering::Relaxed);
        self.counted.store(size, Ordering::Relaxed);
        before != size
    }

    /// The number of the entry, from 1 at the start of the server.
    pub fn number(&self) -> u64 {
        self.number
    }

    /// The scope; empty for the default scope.
    pub fn scope(&self) -> &str {
        self.scope.as_deref().unwrap_or_default()
    }

    /// Returns true while the response has not ended.
    pub fn is_open(&self) -> bool {
        self.content().end.is_none()
    }

    /// Returns the entry as it is now.
    pub fn read(&self) -> Entry {
        let content = self.content();
        let [(request, request_body), (response, response_body)] = content.messages();
        let events = content.events.as_ref().filter(|events| events.most > 0);
        let events = events.and_then(|KeptEvents { copy, most }| {
            let sent = content.end.as_ref().map_or(0, |end| usize::try_from(end.bytes).unwrap_or(usize::MAX));
            Some(KeptBody::Events(copy.events.copy()?, sent.min(*most)))
        });
        let response_body = events.unwrap_or(KeptBody::Bytes(response_body));
        Entry {
            number: self.number,
            scope: self.scope.clone(),
            facts: content.facts.clone(),
            request,
            request_body,
            response_headers: response.headers,
            response_body,
            head: content.head.clone(),
            end: content.end.clone(),
            attempt: content.attempt.as_deref().cloned(),
        }
    }
}
