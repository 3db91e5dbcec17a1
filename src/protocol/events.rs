//! The events of a stream, written once for all the streams that say the same.

use std::sync::Arc;

use bytes::Bytes;

use crate::core::response::{EventKind, StreamEvent};

/// EventBuilder in the making.
#[derive(Default)]
pub(super) struct EventBuilder {
    text: String,
    list: Vec<Event>,
}

/// One event of the text.
struct Event {
    /// Where it ends, in bytes.
    end: usize,
    part: EventKind,
    /// The tokens it brings.
    tokens: u32,
}

impl EventBuilder {
    /// Adds an event with a name.
    pub(super) fn push_named(&mut self, event: &str, data: &str, part: EventKind, tokens: u32) {
        self.push(&["event: ", event, "\ndata: ", data, "\n\n"], part, tokens);
    }

    /// Adds an event that consists of these texts.
    pub(super) fn push(&mut self, texts: &[&str], part: EventKind, tokens: u32) {
        self.text.extend(texts.iter().copied());
        self.list.push(Event { end: self.text.len(), part, tokens });
    }
}

impl From<EventBuilder> for RenderedEvents {
    fn from(events: EventBuilder) -> Self {
        RenderedEvents { text: events.text.into(), events: events.list.into() }
    }
}

/// EventBuilder, shared by all the streams that say the same.
#[derive(Clone, Default)]
pub(super) struct RenderedEvents {
    text: Bytes,
    events: Arc<[Event]>,
}

/// The data of a server-sent event, or a line without its end.
pub(super) fn event_data(frame: &Bytes) -> Bytes {
    let from = memchr::memmem::find(frame, b"data: ").map_or(0, |at| at + 6);
    let length = frame[from..].trim_ascii_end().len();
    frame.slice(from..from + length)
}

/// The frames of one stream. Each but the first is a piece of what all of them share.
pub(super) struct EventIter {
    first: Option<Bytes>,
    stream: RenderedEvents,
    next: usize,
    at: usize,
}

impl EventIter {
    /// The frames of `stream`, after the one that only this answer has.
    pub(super) fn with_first(first: Bytes, stream: RenderedEvents) -> Self {
        EventIter { first: Some(first), stream, next: 0, at: 0 }
    }

    /// The frames of `stream` alone.
    pub(super) fn new(stream: RenderedEvents) -> Self {
        EventIter { first: None, stream, next: 0, at: 0 }
    }
}

impl Iterator for EventIter {
    type Item = StreamEvent;

    fn next(&mut self) -> Option<StreamEvent> {
        if let Some(first) = self.first.take() {
            return Some(StreamEvent::said(first, 0));
        }
        let Event { end, part, tokens } = *self.stream.events.get(self.next)?;
        let bytes = self.stream.text.slice(self.at..end);
        (self.next, self.at) = (self.next + 1, end);
        Some(StreamEvent { bytes, part, tokens })
    }
}
