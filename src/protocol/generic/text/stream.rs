//! The stream of a text and of the calls after it.

use std::sync::Arc;

use bytes::Bytes;

use super::{Content, EventFraming, RenderedShape, StreamPosition};
use crate::core::{
    reply::Text,
    response::{EventKind, StreamEvent},
};

/// The events of one stream, rendered one by one.
pub(super) struct TextEvents {
    pub(super) content: Arc<Content>,
    pub(super) framing: EventFraming,
    /// All calls, as JSON.
    pub(super) calls: Vec<u8>,
    pub(super) first: Option<RenderedShape>,
    pub(super) piece: RenderedShape,
    pub(super) call_event: Option<RenderedShape>,
    pub(super) last: Option<RenderedShape>,
    /// Index of the next piece.
    pub(super) next: usize,
    /// Start of the next piece, in bytes.
    pub(super) start: usize,
    pub(super) ended: bool,
}

impl TextEvents {
    fn event(&self, shape: &RenderedShape, text: &str, so_far: u64, is_last: bool) -> Bytes {
        let event = self.content.fill(shape, StreamPosition { text, calls: &self.calls, so_far, is_last });
        match self.framing {
            EventFraming::Events => [b"data: ", &*event, b"\n\n"].concat().into(),
            EventFraming::Lines => [&*event, b"\n"].concat().into(),
        }
    }
}

impl Iterator for TextEvents {
    type Item = StreamEvent;

    fn next(&mut self) -> Option<StreamEvent> {
        if let Some(first) = self.first.take() {
            return Some(StreamEvent::content(self.event(&first, "", 0, false), 0));
        }
        let Text { text, ends, tokens, .. } = &self.content.text;
        if let Some(end) = ends.get(self.next).copied() {
            let piece = &text[self.start..end];
            (self.next, self.start) = (self.next + 1, end);
            // Without a `last` event, the last piece contains the finish reason.
            let is_last = self.last.is_none() && self.next == ends.len();
            let bytes = self.event(&self.piece, piece, self.next as u64, is_last);
            return Some(StreamEvent {
                bytes,
                kind: if is_last { EventKind::Finish } else { EventKind::Content },
                tokens: 1,
            });
        }
        if let Some(call_event) = self.call_event.take() {
            let tokens: u64 = self.content.calls.iter().map(|call| call.arguments.tokens).sum();
            return Some(StreamEvent::content(
                self.event(&call_event, "", tokens, false),
                u32::try_from(tokens).unwrap_or(u32::MAX),
            ));
        }
        if std::mem::replace(&mut self.ended, true) {
            return None;
        }
        // Without a `last` event, an empty text still gets one event.
        let last = self.last.as_ref().or(Some(&self.piece).filter(|_| ends.is_empty()))?;
        Some(StreamEvent { bytes: self.event(last, "", *tokens, true), kind: EventKind::Finish, tokens: 0 })
    }
}
