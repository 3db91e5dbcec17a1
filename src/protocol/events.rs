//! The events of a stream, as a list in which long texts are entries of a few bytes.
//!
//! A text's pieces are rendered one by one, when the stream has reached them. Only a list that all plain requests share
//! holds every event, rendered once.

use std::{borrow::Cow, sync::Arc};

use bytes::Bytes;
use smallvec::SmallVec;

use crate::core::{
    reply::{Piece, PieceCursor, Text},
    response::{EventKind, StreamEvent},
};

/// The time at which the events about a text are rendered.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum RenderTime {
    /// When the list is made, because many streams share it. Long texts are rendered late all the same.
    Now,
    /// When a stream has reached them.
    Late,
}

/// Maximum number of pieces of a text whose events are kept. The events take about 130 bytes a piece, in every protocol.
const SHARED_PIECES: usize = 1000;

/// A list of events of type `E`.
pub(super) struct EventList<E> {
    entries: Vec<Entry<E>>,
    time: RenderTime,
}

/// One or more events of a list.
enum Entry<E> {
    /// One event.
    One(E),
    /// One event that is rendered late.
    Late(Box<dyn Fn() -> E + Send + Sync>),
    /// One event for each piece of a text.
    Pieces(Text, Box<RenderPiece<E>>),
}

/// Renders the event of one piece of a text.
type RenderPiece<E> = dyn Fn(Piece<'_>) -> E + Send + Sync;

impl<E: Clone> EventList<E> {
    /// Creates an empty list.
    pub(super) fn new(time: RenderTime) -> Self {
        EventList { entries: Vec::new(), time }
    }

    /// Adds an event.
    pub(super) fn push(&mut self, event: E) {
        self.entries.push(Entry::One(event));
    }

    /// Adds an event that contains a text as a whole.
    pub(super) fn push_late(&mut self, render: impl Fn() -> E + Send + Sync + 'static) {
        self.entries.push(match self.time {
            RenderTime::Now => Entry::One(render()),
            RenderTime::Late => Entry::Late(Box::new(render)),
        });
    }

    /// Adds one event for each piece of a text.
    pub(super) fn push_pieces(&mut self, text: &Text, render: impl Fn(Piece<'_>) -> E + Send + Sync + 'static) {
        match self.time {
            RenderTime::Now if text.piece_count() <= SHARED_PIECES => {
                self.entries.extend(text.pieces().map(|piece| Entry::One(render(piece))));
            }
            RenderTime::Now | RenderTime::Late => self.entries.push(Entry::Pieces(text.clone(), Box::new(render))),
        }
    }
}

/// A position in a list of events.
#[derive(Default)]
struct EventCursor {
    /// Index of the entry.
    entry: usize,
    /// The position in the entry's text.
    pieces: Option<PieceCursor>,
}

impl EventCursor {
    fn next<'l, E: Clone>(&mut self, list: &'l EventList<E>) -> Option<Cow<'l, E>> {
        loop {
            let entry = list.entries.get(self.entry)?;
            let event = match entry {
                Entry::One(event) => Cow::Borrowed(event),
                Entry::Late(render) => Cow::Owned(render()),
                Entry::Pieces(text, render) => {
                    let pieces = self.pieces.get_or_insert_with(|| text.cursor());
                    if let Some(piece) = pieces.next(text) {
                        return Some(Cow::Owned(render(piece)));
                    }
                    self.pieces = None;
                    self.entry += 1;
                    continue;
                }
            };
            self.entry += 1;
            return Some(event);
        }
    }
}

/// The lists of all choices of a reply. Their streams share them.
pub(super) type EventLists<E> = Arc<[EventList<E>]>;

/// The events of one stream: the lists take turns, one event each.
pub(super) struct Events<E> {
    lists: EventLists<E>,
    cursors: SmallVec<[EventCursor; 1]>,
    /// Index of the list whose turn it is.
    turn: usize,
    /// Number of lists in a row that had no more events.
    ended: usize,
}

impl<E: Clone> Events<E> {
    /// Creates the stream of these lists.
    pub(super) fn new(lists: &EventLists<E>) -> Self {
        let cursors = lists.iter().map(|_| EventCursor::default()).collect();
        Events { lists: Arc::clone(lists), cursors, turn: 0, ended: 0 }
    }

    /// Returns the next event.
    pub(super) fn next(&mut self) -> Option<Cow<'_, E>> {
        while self.ended < self.cursors.len() {
            let turn = self.turn;
            self.turn = if turn + 1 == self.cursors.len() { 0 } else { turn + 1 };
            if let Some(event) = self.cursors[turn].next(&self.lists[turn]) {
                self.ended = 0;
                return Some(event);
            }
            self.ended += 1;
        }
        None
    }
}

/// The events of a protocol whose streams differ in the first event only. Clones share them.
#[derive(Clone)]
pub(super) struct RenderedEvents(EventLists<StreamEvent>);

impl From<EventList<StreamEvent>> for RenderedEvents {
    fn from(list: EventList<StreamEvent>) -> Self {
        RenderedEvents([list].into())
    }
}

impl RenderedEvents {
    /// Returns the stream of these events.
    pub(super) fn stream(&self) -> impl Iterator<Item = StreamEvent> + Send + use<> {
        let mut events = Events::new(&self.0);
        std::iter::from_fn(move || events.next().map(Cow::into_owned))
    }

    /// Returns the stream of `first`, which only this response has, and then these events.
    pub(super) fn stream_after(&self, first: Bytes) -> impl Iterator<Item = StreamEvent> + Send + use<> {
        std::iter::once(StreamEvent::content(first, 0)).chain(self.stream())
    }
}

/// Returns a server-sent event with a name.
pub(super) fn named_event(name: &str, data: &str, kind: EventKind, tokens: u32) -> StreamEvent {
    let bytes = ["event: ", name, "\ndata: ", data, "\n\n"].concat().into();
    StreamEvent { bytes, kind, tokens }
}

/// Returns the data of a server-sent event, or a line without its line break.
pub(super) fn event_data(event: &Bytes) -> Bytes {
    let from = memchr::memmem::find(event, b"data: ").map_or(0, |at| at + 6);
    let length = event[from..].trim_ascii_end().len();
    event.slice(from..from + length)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::random::Random;

    fn list(time: RenderTime, name: &'static str, text: &Text) -> EventList<String> {
        let mut list = EventList::new(time);
        list.push(format!("{name} starts"));
        list.push_pieces(text, move |piece| format!("{name} {}:{}", piece.index, piece.text));
        let whole = text.clone();
        list.push_late(move || format!("{name} ends {}", whole.whole().len()));
        list
    }

    fn all(lists: Vec<EventList<String>>) -> Vec<String> {
        let mut events = Events::new(&lists.into());
        std::iter::from_fn(|| events.next().map(Cow::into_owned)).collect()
    }

    #[test]
    fn the_time_of_rendering_does_not_change_the_events() {
        let (long, short) = (Text::filler(9, Random::seeded(1)), Text::filler(2, Random::seeded(2)));
        let of = |time| all(vec![list(time, "a", &short), list(time, "b", &long), list(time, "c", &Text::default())]);
        let (now, late) = (of(RenderTime::Now), of(RenderTime::Late));
        assert_eq!(now, late);
        assert_eq!(now.len(), 6 + 2 + 9);
        let first: Vec<_> = now[..6].iter().map(|event| event.split(':').next().unwrap()).collect();
        assert_eq!(first, ["a starts", "b starts", "c starts", "a 0", "b 0", "c ends 0"]);
        assert!(now[6].starts_with("a 1") && now[7].starts_with("b 1") && now[8].starts_with("a ends"));
        assert!(now.last().unwrap().starts_with("b ends"), "the longest list goes on by itself");
        assert!(all(Vec::new()).is_empty());
    }
}
