//! The events of a stream: single ones, and one for each piece of a text.

use crate::core::{
    reply::{Piece, PieceCursor, Text},
    response::{EventKind, StreamEvent},
};

/// Renders the event of one piece, with the number of its tokens if each piece is one token.
pub(super) type RenderPiece = Box<dyn FnMut(Piece<'_>) -> StreamEvent + Send>;

/// A part of a stream.
pub(super) enum Part {
    /// One event.
    One(StreamEvent),
    /// An event for each piece of a text.
    Pieces(Text, RenderPiece),
}

impl Part {
    /// Returns the part with an event of data alone.
    pub(super) fn data(data: &str, kind: EventKind) -> Part {
        Part::One(data_event(data, kind, 0))
    }
}

/// Returns an event of data alone.
pub(super) fn data_event(data: &str, kind: EventKind, tokens: u32) -> StreamEvent {
    StreamEvent { bytes: ["data: ", data, "\n\n"].concat().into(), kind, tokens }
}

/// The events of the parts, rendered one by one.
pub(super) struct PartEvents {
    parts: std::vec::IntoIter<Part>,
    /// The text that is being sent, and the position in it.
    current: Option<(Text, PieceCursor, RenderPiece)>,
}

impl PartEvents {
    /// Creates the events.
    pub(super) fn new(parts: Vec<Part>) -> Self {
        PartEvents { parts: parts.into_iter(), current: None }
    }
}

impl Iterator for PartEvents {
    type Item = StreamEvent;

    fn next(&mut self) -> Option<StreamEvent> {
        loop {
            if let Some((text, cursor, render)) = &mut self.current {
                if let Some(piece) = cursor.next(text) {
                    let event = render(piece);
                    return Some(StreamEvent { tokens: event.tokens.saturating_mul(piece.tokens), ..event });
                }
                self.current = None;
            }
            match self.parts.next()? {
                Part::One(event) => return Some(event),
                Part::Pieces(text, render) => self.current = Some((text.clone(), text.cursor(), render)),
            }
        }
    }
}
