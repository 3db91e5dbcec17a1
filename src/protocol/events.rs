//! The events of a stream, written once for all the streams that say the same.

use std::sync::Arc;

use bytes::Bytes;

use crate::core::response::{EventKind, StreamEvent};

/// Events in the making.
#[derive(Default)]
pub(super) struct Events {
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

impl Events {
    /// Adds an event with a name.
    pub(super) fn named(&mut self, event: &str, data: &str, part: EventKind, tokens: u32) {
        self.put(&["event: ", event, "\ndata: ", data, "\n\n"], part, tokens);
    }

    /// Adds an event that consists of these texts.
    pub(super) fn put(&mut self, texts: &[&str], part: EventKind, tokens: u32) {
        self.text.extend(texts.iter().copied());
        self.list.push(Event { end: self.text.len(), part, tokens });
    }
}

impl From<Events> for Stream {
    fn from(events: Events) -> Self {
        Stream { text: events.text.into(), events: events.list.into() }
    }
}

/// Events, shared by all the streams that say the same.
#[derive(Clone, Default)]
pub(super) struct Stream {
    text: Bytes,
    events: Arc<[Event]>,
}

/// The data of a server-sent event, or a line without its end.
pub(super) fn data(frame: &Bytes) -> Bytes {
    let from = memchr::memmem::find(frame, b"data: ").map_or(0, |at| at + 6);
    let length = frame[from..].trim_ascii_end().len();
    frame.slice(from..from + length)
}

/// The frames of one stream. Each but the first is a piece of what all of them share.
pub(super) struct Frames {
    first: Option<Bytes>,
    stream: Stream,
    next: usize,
    at: usize,
}

impl Frames {
    /// The frames of `stream`, after the one that only this answer has.
    pub(super) fn new(first: Bytes, stream: Stream) -> Self {
        Frames { first: Some(first), stream, next: 0, at: 0 }
    }

    /// The frames of `stream` alone.
    pub(super) fn of(stream: Stream) -> Self {
        Frames { first: None, stream, next: 0, at: 0 }
    }
}

impl Iterator for Frames {
    type Item = StreamEvent;

    fn next(&mut self) -> Option<StreamEvent> {
        if let Some(first) = self.first.take() {
            return Some(StreamEvent::content(first, 0));
        }
        let Event { end, part, tokens } = *self.stream.events.get(self.next)?;
        let bytes = self.stream.text.slice(self.at..end);
        (self.next, self.at) = (self.next + 1, end);
        Some(StreamEvent { bytes, kind: part, tokens })
    }
}
