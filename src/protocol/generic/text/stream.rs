//! The stream of a text, and of the calls behind it.

use std::sync::Arc;

use bytes::Bytes;

use super::{At, RenderedShape, Said, Wrapping};
use crate::core::{
    reply::Text,
    response::{EventKind, StreamEvent},
};

/// The frames of one stream, rendered one by one.
pub(super) struct Frames {
    pub(super) said: Arc<Said>,
    pub(super) wrapping: Wrapping,
    /// As JSON.
    pub(super) calls: Vec<u8>,
    pub(super) first: Option<RenderedShape>,
    pub(super) piece: RenderedShape,
    pub(super) called: Option<RenderedShape>,
    pub(super) last: Option<RenderedShape>,
    pub(super) next: usize,
    /// How far the text has been said, in bytes.
    pub(super) at: usize,
    pub(super) ended: bool,
}

impl Frames {
    fn frame(&self, shape: &RenderedShape, text: &str, so_far: u64, ends: bool) -> Bytes {
        let event = self.said.fill(shape, At { text, calls: &self.calls, so_far, ends });
        match self.wrapping {
            Wrapping::Events => [b"data: ", &*event, b"\n\n"].concat().into(),
            Wrapping::Lines => [&*event, b"\n"].concat().into(),
        }
    }
}

impl Iterator for Frames {
    type Item = StreamEvent;

    fn next(&mut self) -> Option<StreamEvent> {
        if let Some(first) = self.first.take() {
            return Some(StreamEvent::said(self.frame(&first, "", 0, false), 0));
        }
        let Text { text, ends, tokens, .. } = &self.said.text;
        if let Some(end) = ends.get(self.next).copied() {
            let piece = &text[self.at..end];
            (self.next, self.at) = (self.next + 1, end);
            // Without an event of its own, the end is told with the last piece.
            let ends = self.last.is_none() && self.next == ends.len();
            let bytes = self.frame(&self.piece, piece, self.next as u64, ends);
            return Some(StreamEvent {
                bytes,
                part: if ends { EventKind::Finish } else { EventKind::Said },
                tokens: 1,
            });
        }
        if let Some(called) = self.called.take() {
            let tokens: u64 = self.said.calls.iter().map(|call| call.arguments.tokens).sum();
            return Some(StreamEvent::said(
                self.frame(&called, "", tokens, false),
                u32::try_from(tokens).unwrap_or(u32::MAX),
            ));
        }
        if std::mem::replace(&mut self.ended, true) {
            return None;
        }
        // A stream says something, even if the model does not.
        let last = self.last.as_ref().or(Some(&self.piece).filter(|_| ends.is_empty()))?;
        Some(StreamEvent { bytes: self.frame(last, "", *tokens, true), part: EventKind::Finish, tokens: 0 })
    }
}
