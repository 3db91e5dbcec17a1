//! Streams with missing, repeated or damaged events.

use bytes::Bytes;

use super::FaultKind;
use crate::core::response::{EventKind, InBandError, StreamEvent, StreamFormat};

/// The events of a stream with the faults that concern single events applied.
pub(super) struct CorruptedStream {
    events: Box<dyn Iterator<Item = StreamEvent> + Send>,
    format: StreamFormat,
    /// Kinds of events that are omitted.
    omitted: Vec<EventKind>,
    /// Numbers of events after which the next one is truncated.
    truncated_after: Vec<u64>,
    /// Numbers, from 1, of the events that are sent twice.
    duplicated: Vec<u64>,
    /// Number of events before the error, and the error as an event.
    error: Option<(u64, Bytes)>,
    /// The second copy of the last event.
    duplicate: Option<StreamEvent>,
    /// Number of events returned so far.
    sent: u64,
    /// True if the last event of the inner stream was omitted.
    omitted_last: bool,
    ended: bool,
}

impl CorruptedStream {
    /// Returns true if a fault concerns single events.
    pub(super) fn handles(fault: &FaultKind) -> bool {
        matches!(
            fault,
            FaultKind::NoDone
                | FaultKind::NoFinish
                | FaultKind::NoUsage
                | FaultKind::Malformed
                | FaultKind::Dup
                | FaultKind::Error(_)
        )
    }

    /// Creates a stream with these faults, each with its position; `error` is the error that ends it.
    pub(super) fn new<'a>(
        events: Box<dyn Iterator<Item = StreamEvent> + Send>,
        format: StreamFormat,
        faults: impl Iterator<Item = (&'a FaultKind, Option<u64>)>,
        error: Option<InBandError>,
    ) -> Self {
        let mut stream = CorruptedStream {
            events,
            format,
            omitted: Vec::new(),
            truncated_after: Vec::new(),
            duplicated: Vec::new(),
            error: None,
            duplicate: None,
            sent: 0,
            omitted_last: false,
            ended: false,
        };
        for (fault, at) in faults {
            match fault {
                FaultKind::NoDone => stream.omitted.push(EventKind::End),
                FaultKind::NoFinish => stream.omitted.push(EventKind::Finish),
                FaultKind::NoUsage => stream.omitted.push(EventKind::Usage),
                FaultKind::Malformed => stream.truncated_after.push(at.unwrap_or(1)),
                FaultKind::Dup => stream.duplicated.push(at.unwrap_or(1)),
                FaultKind::Error(_) => {
                    let at = at.unwrap_or(1);
                    stream.error = error.as_ref().map(|error| (at, format.error(error, at == 0)));
                }
                _ => {}
            }
        }
        stream
    }
}

impl Iterator for CorruptedStream {
    type Item = StreamEvent;

    fn next(&mut self) -> Option<StreamEvent> {
        if self.ended {
            return None;
        }
        if let Some(event) = self.duplicate.take() {
            return Some(event);
        }
        if let Some((_, bytes)) = self.error.take_if(|(at, _)| *at <= self.sent) {
            self.ended = true;
            return Some(StreamEvent { bytes, kind: EventKind::End, tokens: 0 });
        }
        let mut event = loop {
            let Some(event) = self.events.next() else {
                self.ended = true;
                let close = self.format.close().filter(|_| self.omitted_last);
                return close.map(|bytes| StreamEvent { bytes, kind: EventKind::End, tokens: 0 });
            };
            self.omitted_last = self.omitted.contains(&event.kind);
            if !self.omitted_last {
                break event;
            }
        };
        if self.truncated_after.contains(&self.sent) {
            event.bytes = self.format.broken_off(&event.bytes);
        }
        self.sent += 1;
        if self.duplicated.contains(&self.sent) {
            self.duplicate = Some(StreamEvent { tokens: 0, ..event.clone() });
        }
        Some(event)
    }
}
