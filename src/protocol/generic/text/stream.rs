//! The stream of a text and of the calls after it.

use std::sync::Arc;

use bytes::Bytes;

use super::{Content, EventFraming, RenderedShape, StreamPosition};
use crate::core::{
    reply::PieceCursor,
    response::{EventKind, StreamEvent},
};

/// The events of one stream, rendered one by one.
pub(super) struct TextEvents {
    pub(super) content: Arc<Content>,
    pub(super) framing: EventFraming,
    /// All calls, as JSON.
    pub(super) calls: Vec<u8>,
    /// The repeated member of the request.
    pub(super) echo: Vec<u8>,
    pub(super) first: Option<RenderedShape>,
    pub(super) piece: RenderedShape,
    pub(super) call_event: Option<RenderedShape>,
    pub(super) last: Option<RenderedShape>,
    /// The position in the text.
    pub(super) pieces: PieceCursor,
    /// Number of tokens before it.
    pub(super) sent: u64,
    pub(super) ended: bool,
}

impl TextEvents {
    fn event(&self, shape: &RenderedShape, text: &str, so_far: u64, is_last: bool) -> Bytes {
        let event =
            self.content.fill(shape, StreamPosition { text, calls: &self.calls, so_far, is_last, echo: &self.echo });
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
        let content = Arc::clone(&self.content);
        let count = content.text.piece_count();
        if let Some(piece) = self.pieces.next(&content.text) {
            self.sent += u64::from(piece.tokens);
            // Without a `last` event, the last piece contains the finish reason.
            let is_last = self.last.is_none() && piece.index + 1 == count;
            let bytes = self.event(&self.piece, piece.text, self.sent, is_last);
            let kind = if is_last { EventKind::Finish } else { EventKind::Content };
            return Some(StreamEvent { bytes, kind, tokens: piece.tokens });
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
        let last = self.last.as_ref().or(Some(&self.piece).filter(|_| count == 0))?;
        Some(StreamEvent { bytes: self.event(last, "", content.text.tokens, true), kind: EventKind::Finish, tokens: 0 })
    }
}
