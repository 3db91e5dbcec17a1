//! Streams with missing, repeated or damaged events.

use bytes::Bytes;

use super::FaultKind;
use crate::core::response::{ErrorForm, EventKind, InBandError, StreamEvent, StreamFormat};

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
    /// Number of events before the error, its form and its body.
    error: Option<(u64, ErrorForm, InBandError)>,
    /// True if the data of server-sent events has no blank before it.
    has_no_blank: bool,
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
                | FaultKind::NoBlank
                | FaultKind::Error(..)
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
            has_no_blank: false,
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
                FaultKind::Error(form, _) => {
                    stream.error = error.clone().map(|error| (at.unwrap_or(1), *form, error));
                }
                FaultKind::NoBlank => stream.has_no_blank = true,
                _ => {}
            }
        }
        stream
    }
}

impl CorruptedStream {
    /// Returns an event without the blank before its data, if that is to be left out.
    fn without_blank(&self, event: Bytes) -> Bytes {
        const DATA: &[u8] = b"data: ";
        let is_text = matches!(self.format, StreamFormat::Data(_) | StreamFormat::Named | StreamFormat::Numbered);
        let at = if self.has_no_blank && is_text { memchr::memmem::find(&event, DATA) } else { None };
        match at {
            // The data begins a line.
            Some(at) if at == 0 || event[at - 1] == b'\n' => {
                let end = at + DATA.len();
                [&event[..end - 1], &event[end..]].concat().into()
            }
            _ => event,
        }
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
        if let Some((_, form, error)) = self.error.take_if(|(at, ..)| *at <= self.sent) {
            self.ended = true;
            let error = match error.choices {
                Some(_) => error.in_chunk(&self.events.next().map(|event| event.bytes).unwrap_or_default()),
                None => error,
            };
            let bytes = self.format.error(&error, form, self.sent);
            return Some(StreamEvent { bytes: self.without_blank(bytes), kind: EventKind::End, tokens: 0 });
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
        event.bytes = self.without_blank(event.bytes);
        self.sent += 1;
        if self.duplicated.contains(&self.sent) {
            self.duplicate = Some(StreamEvent { tokens: 0, ..event.clone() });
        }
        Some(event)
    }
}
