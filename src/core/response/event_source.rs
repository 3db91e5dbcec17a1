//! Sources of a stream's events: iterators, and writers that append each event to a buffer.

use bytes::BytesMut;

use super::{EventKind, StreamEvent};

/// The properties of an event whose bytes are elsewhere.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EventProperties {
    /// The kind.
    pub kind: EventKind,
    /// Number of reply tokens in the event.
    pub tokens: u32,
}

/// A source that appends its events to a buffer. Several events share one buffer, and none has an allocation of its own.
pub trait WriteEvents: Send {
    /// Appends the next event, framing included. After the last event it returns `None` and appends nothing.
    fn write(&mut self, out: &mut BytesMut) -> Option<EventProperties>;

    /// Returns a copy, which appends the same events from here on; `None` if there is none, or the memory that it needs
    /// is unknown.
    fn copy(&self) -> Option<EventCopy>;
}

/// A copy of a source.
pub struct EventCopy {
    /// The source.
    pub events: Box<dyn WriteEvents + Sync>,
    /// The memory that only the copies keep once the stream has ended, in bytes.
    pub size: usize,
}

/// The events of a stream. Each is either appended to a buffer or returned.
pub trait EventSource: WriteEvents + Iterator<Item = StreamEvent> {}

impl<S: WriteEvents + Iterator<Item = StreamEvent>> EventSource for S {}

/// The events of an iterator.
pub(super) struct IteratedEvents<I>(pub(super) I);

impl<I: Iterator<Item = StreamEvent>> Iterator for IteratedEvents<I> {
    type Item = StreamEvent;

    fn next(&mut self) -> Option<StreamEvent> {
        self.0.next()
    }
}

impl<I: Iterator<Item = StreamEvent> + Send> WriteEvents for IteratedEvents<I> {
    fn write(&mut self, out: &mut BytesMut) -> Option<EventProperties> {
        let StreamEvent { bytes, kind, tokens } = self.0.next()?;
        out.extend_from_slice(&bytes);
        Some(EventProperties { kind, tokens })
    }

    fn copy(&self) -> Option<EventCopy> {
        None
    }
}

/// The events of a writer.
pub struct WrittenEvents<W> {
    writer: W,
    /// Buffer that events are written into and split off. Several events at once share one allocation; events that come
    /// one by one reuse it.
    buffer: BytesMut,
}

/// Bytes for several events. A stream whose events are returned one by one holds this memory while it is open.
const BUFFER_SIZE: usize = 2048;
/// Bytes that an event usually does not exceed.
const USUAL_SIZE: usize = 512;

impl<W> WrittenEvents<W> {
    /// Creates the events of a writer.
    pub fn new(writer: W) -> Self {
        WrittenEvents { writer, buffer: BytesMut::new() }
    }
}

impl<W: WriteEvents> Iterator for WrittenEvents<W> {
    type Item = StreamEvent;

    fn next(&mut self) -> Option<StreamEvent> {
        if self.buffer.capacity() < USUAL_SIZE {
            self.buffer.reserve(BUFFER_SIZE);
        }
        let EventProperties { kind, tokens } = self.writer.write(&mut self.buffer)?;
        Some(StreamEvent { bytes: self.buffer.split().freeze(), kind, tokens })
    }
}

impl<W: WriteEvents> WriteEvents for WrittenEvents<W> {
    fn write(&mut self, out: &mut BytesMut) -> Option<EventProperties> {
        self.writer.write(out)
    }

    fn copy(&self) -> Option<EventCopy> {
        self.writer.copy()
    }
}

impl EventProperties {
    /// Creates the properties of a content event with so many tokens.
    pub fn content(tokens: u32) -> Self {
        EventProperties { kind: EventKind::Content, tokens }
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;

    /// Events of growing length: `a`, `bb`, and so on.
    struct Letters(u8);

    impl WriteEvents for Letters {
        fn write(&mut self, out: &mut BytesMut) -> Option<EventProperties> {
            let n = self.0;
            self.0 += 1;
            (n < 26).then(|| {
                out.extend_from_slice(&vec![b'a' + n; usize::from(n) * 40 + 1]);
                EventProperties::content(n.into())
            })
        }

        fn copy(&self) -> Option<EventCopy> {
            Some(EventCopy { events: Box::new(Letters(self.0)), size: 1 })
        }
    }

    #[test]
    fn a_writers_events_are_the_same_appended_and_returned() {
        let returned: Vec<_> = WrittenEvents::new(Letters(0)).collect();
        assert_eq!(returned.len(), 26);
        assert_eq!(returned[2], StreamEvent::content(Bytes::from(vec![b'c'; 81]), 2));
        let all: Vec<u8> = returned.iter().flat_map(|event| event.bytes.to_vec()).collect();
        let tokens: u32 = returned.iter().map(|event| event.tokens).sum();
        let sources: [Box<dyn EventSource>; 2] =
            [Box::new(WrittenEvents::new(Letters(0))), Box::new(IteratedEvents(returned.into_iter()))];
        for mut source in sources {
            let (mut out, mut written) = (BytesMut::new(), 0);
            while let Some(properties) = source.write(&mut out) {
                written += properties.tokens;
            }
            assert_eq!((&out[..], written), (&all[..], tokens));
            assert_eq!(source.next(), None);
        }
    }
}
