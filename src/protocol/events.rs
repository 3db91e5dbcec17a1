//! The events of a stream, rendered once and shared by all streams with the same reply.

use std::sync::Arc;

use bytes::Bytes;

use crate::core::response::{EventKind, StreamEvent};

/// Builder of [`RenderedEvents`].
#[derive(Default)]
pub(super) struct EventBuilder {
    text: String,
    list: Vec<Event>,
}

/// Position and purpose of one event in the shared text.
struct Event {
    /// End of the event, in bytes.
    end: usize,
    part: EventKind,
    /// Number of reply tokens in the event.
    tokens: u32,
}

impl EventBuilder {
    /// Adds a server-sent event with a name.
    pub(super) fn push_named(&mut self, event: &str, data: &str, part: EventKind, tokens: u32) {
        self.push(&["event: ", event, "\ndata: ", data, "\n\n"], part, tokens);
    }

    /// Adds an event whose bytes are these texts, concatenated.
    pub(super) fn push(&mut self, texts: &[&str], part: EventKind, tokens: u32) {
        self.text.extend(texts.iter().copied());
        self.list.push(Event { end: self.text.len(), part, tokens });
    }
}

impl From<EventBuilder> for RenderedEvents {
    fn from(events: EventBuilder) -> Self {
        RenderedEvents { text: events.text.into(), list: events.list.into() }
    }
}

/// Rendered events. Clones share them.
#[derive(Clone, Default)]
pub(super) struct RenderedEvents {
    text: Bytes,
    list: Arc<[Event]>,
}

/// Returns the data of a server-sent event, or a line without its line break.
pub(super) fn event_data(event: &Bytes) -> Bytes {
    let from = memchr::memmem::find(event, b"data: ").map_or(0, |at| at + 6);
    let length = event[from..].trim_ascii_end().len();
    event.slice(from..from + length)
}

/// The events of one stream. All are slices of the shared text, except an optional first event.
pub(super) struct EventIter {
    first: Option<Bytes>,
    events: RenderedEvents,
    /// Index of the next shared event.
    next: usize,
    /// Start of the next shared event, in bytes.
    at: usize,
}

impl EventIter {
    /// Creates the stream of `first`, which only this response has, and then `events`.
    pub(super) fn with_first(first: Bytes, events: RenderedEvents) -> Self {
        EventIter { first: Some(first), events, next: 0, at: 0 }
    }

    /// Creates the stream of `events`.
    pub(super) fn new(events: RenderedEvents) -> Self {
        EventIter { first: None, events, next: 0, at: 0 }
    }
}

impl Iterator for EventIter {
    type Item = StreamEvent;

    fn next(&mut self) -> Option<StreamEvent> {
        if let Some(first) = self.first.take() {
            return Some(StreamEvent::content(first, 0));
        }
        let Event { end, part, tokens } = *self.events.list.get(self.next)?;
        let bytes = self.events.text.slice(self.at..end);
        (self.next, self.at) = (self.next + 1, end);
        Some(StreamEvent { bytes, kind: part, tokens })
    }
}
