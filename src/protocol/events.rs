//! The events of a stream, as a list in which long texts are entries of a few bytes.
//!
//! A text's pieces are rendered one by one, when the stream has reached them. Only a list that all plain requests share
//! holds every event, rendered once. Events that differ in nothing but the piece are rendered once per text: the others
//! are copies with another piece in the gap.

#[cfg(test)]
mod tests;

use std::{borrow::Cow, ops::Range, sync::Arc};

use bytes::{Bytes, BytesMut};
use smallvec::SmallVec;

use crate::core::{
    json,
    reply::{Piece, PieceCursor, Text},
    response::{EventCopy, EventKind, EventProperties, StreamEvent, WriteEvents},
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
    /// One event for each piece of a text.
    Pieces(Text, Box<RenderPiece<E>>),
    /// One event for each piece of a text, all with the same text around the piece.
    Gaps(Box<Gaps<E>>),
}

/// The events of a text's pieces. They differ in the piece only.
struct Gaps<E> {
    text: Text,
    event: Gap<E>,
    /// The event of the last piece, if it is another one, and the number of pieces before it.
    last: Option<(usize, Gap<E>)>,
}

/// An event without its piece.
struct Gap<E> {
    event: E,
    /// Offset of the piece in the event's text.
    at: usize,
}

/// An event whose text can have a gap for a piece.
pub(super) trait GapEvent: Clone {
    /// The text of the event, as it is sent.
    fn text(&self) -> &[u8];

    /// Returns the event without a part of its text; `None` if a gap cannot be there.
    fn without(self, part: Range<usize>) -> Option<Self>;

    /// Number of tokens in the event, if each piece is one token.
    fn tokens(&self) -> u32;
}

impl GapEvent for StreamEvent {
    fn text(&self) -> &[u8] {
        &self.bytes
    }

    fn without(self, part: Range<usize>) -> Option<Self> {
        let bytes = [&self.bytes[..part.start], &self.bytes[part.end..]].concat().into();
        Some(StreamEvent { bytes, ..self })
    }

    fn tokens(&self) -> u32 {
        self.tokens
    }
}

/// The piece of an event that is rendered to find its gap. No text of a reply or of a fixture is likely to contain it.
const MARK: &str = "\u{f8ff}piece\u{f8fe}";

impl<E: GapEvent> Gap<E> {
    /// Cuts the mark out of an event that was rendered with it; `None` if it is not there exactly once.
    fn find(event: E) -> Option<Gap<E>> {
        let text = event.text();
        let mut marks = memchr::memchr_iter(MARK.as_bytes()[0], text);
        let mut next = || marks.find(|at| text[*at..].starts_with(MARK.as_bytes()));
        match (next(), next()) {
            (Some(at), None) => Some(Gap { at, event: event.without(at..at + MARK.len())? }),
            _ => None,
        }
    }
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

    /// Adds one event for each piece of a text.
    pub(super) fn push_pieces(&mut self, text: &Text, render: impl Fn(Piece<'_>) -> E + Send + Sync + 'static) {
        match self.renders_now(text) {
            true => self.entries.extend(text.pieces().map(|piece| Entry::One(render(piece)))),
            false => self.entries.push(Entry::Pieces(text.clone(), Box::new(render))),
        }
    }

    /// Returns true if the events about a text are rendered when they are added.
    fn renders_now(&self, text: &Text) -> bool {
        self.time == RenderTime::Now && text.piece_count() <= SHARED_PIECES
    }

    /// Number of events.
    pub(super) fn len(&self) -> usize {
        let count = |entry: &Entry<E>| match entry {
            Entry::One(_) => 1,
            Entry::Pieces(text, _) => text.piece_count(),
            Entry::Gaps(gaps) => gaps.text.piece_count(),
        };
        self.entries.iter().map(count).sum()
    }
}

impl<E: GapEvent> EventList<E> {
    /// Returns the memory of the list, in bytes, and 0 for one that many streams share. `None` if it is unknown.
    fn size(&self) -> Option<usize> {
        if self.time == RenderTime::Now {
            return Some(0);
        }
        let size = |entry: &Entry<E>| match entry {
            Entry::One(event) => Some(event.text().len()),
            Entry::Gaps(gaps) => {
                let last = gaps.last.as_ref().map_or(0, |(_, last)| last.event.text().len());
                Some(size_of::<Gaps<E>>() + gaps.event.event.text().len() + last + gaps.text.size())
            }
            Entry::Pieces(..) => None,
        };
        let sizes: Option<usize> = self.entries.iter().map(size).sum();
        Some(self.entries.capacity() * size_of::<Entry<E>>() + sizes?)
    }

    /// Adds one event for each piece of a text. The events contain the piece in a JSON string, and do not depend on it
    /// otherwise.
    pub(super) fn push_gaps(&mut self, text: &Text, render: impl Fn(&str) -> E + Send + Sync + 'static) {
        if self.renders_now(text) {
            return self.push_pieces(text, move |piece| render(piece.text));
        }
        match Gap::find(render(MARK)) {
            Some(event) => self.push_entry(Gaps { text: text.clone(), event, last: None }),
            None => self.push_pieces(text, move |piece| render(piece.text)),
        }
    }

    /// Adds one event for each piece of a text, like [`EventList::push_gaps`]. The second argument of `render` is true
    /// for the last one.
    pub(super) fn push_gaps_with_last(
        &mut self,
        text: &Text,
        render: impl Fn(&str, bool) -> E + Send + Sync + 'static,
    ) {
        let last = text.piece_count().saturating_sub(1);
        let gap = |is_last| Gap::find(render(MARK, is_last));
        match if self.renders_now(text) { None } else { gap(false).zip(gap(true)) } {
            Some((event, last_event)) => {
                self.push_entry(Gaps { text: text.clone(), event, last: Some((last, last_event)) });
            }
            None => self.push_pieces(text, move |piece| render(piece.text, piece.index == last)),
        }
    }

    fn push_entry(&mut self, gaps: Gaps<E>) {
        self.entries.push(Entry::Gaps(Box::new(gaps)));
    }
}

/// The next event of a list.
pub(super) struct NextEvent<'l, E: Clone> {
    /// The event, which can have a gap.
    pub(super) event: Cow<'l, E>,
    /// Offset of the gap in the event's text.
    pub(super) at: usize,
    /// The piece in the gap; empty if there is none.
    piece: &'l str,
    /// True if JSON escapes no character of the piece.
    is_plain: bool,
    /// Number of tokens of the piece, by which those of the event are multiplied.
    piece_tokens: u32,
}

impl<'l, E: Clone> NextEvent<'l, E> {
    fn whole(event: Cow<'l, E>, piece_tokens: u32) -> Self {
        NextEvent { event, at: 0, piece: "", is_plain: true, piece_tokens }
    }
}

impl<E: GapEvent> NextEvent<'_, E> {
    /// Number of tokens in the event.
    pub(super) fn tokens(&self) -> u32 {
        self.event.tokens().saturating_mul(self.piece_tokens)
    }

    /// Appends the text of the event.
    pub(super) fn put(&self, out: &mut BytesMut) {
        let (before, after) = self.event.text().split_at(self.at);
        out.extend_from_slice(before);
        self.put_piece(out);
        out.extend_from_slice(after);
    }

    /// Appends the piece in the gap, as JSON without quotes.
    pub(super) fn put_piece(&self, out: &mut BytesMut) {
        let piece = if self.is_plain { Cow::Borrowed(self.piece) } else { json::escaped(self.piece) };
        out.extend_from_slice(piece.as_bytes());
    }
}

/// A position in a list of events.
#[derive(Clone, Default)]
struct EventCursor {
    /// Index of the entry.
    entry: usize,
    /// The position in the entry's text.
    pieces: Option<PieceCursor>,
}

impl EventCursor {
    fn next<'l, E: Clone>(&mut self, list: &'l EventList<E>) -> Option<NextEvent<'l, E>> {
        loop {
            let entry = list.entries.get(self.entry)?;
            let event = match entry {
                Entry::One(event) => Cow::Borrowed(event),
                Entry::Pieces(text, render) => {
                    let pieces = self.pieces.get_or_insert_with(|| text.cursor());
                    if let Some(piece) = pieces.next(text) {
                        return Some(NextEvent::whole(Cow::Owned(render(piece)), piece.tokens));
                    }
                    self.pieces = None;
                    self.entry += 1;
                    continue;
                }
                Entry::Gaps(gaps) => {
                    let pieces = self.pieces.get_or_insert_with(|| gaps.text.cursor());
                    if let Some(piece) = pieces.next(&gaps.text) {
                        let gap = match &gaps.last {
                            Some((last, gap)) if piece.index == *last => gap,
                            _ => &gaps.event,
                        };
                        let event = Cow::Borrowed(&gap.event);
                        let is_plain = pieces.is_plain();
                        let Piece { text: piece, tokens: piece_tokens, .. } = piece;
                        return Some(NextEvent { event, at: gap.at, piece, is_plain, piece_tokens });
                    }
                    self.pieces = None;
                    self.entry += 1;
                    continue;
                }
            };
            self.entry += 1;
            return Some(NextEvent::whole(event, 1));
        }
    }
}

/// The lists of all choices of a reply. Their streams share them.
pub(super) type EventLists<E> = Arc<[EventList<E>]>;

/// The events of one stream: the lists take turns, one event each.
#[derive(Clone)]
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
    pub(super) fn next(&mut self) -> Option<NextEvent<'_, E>> {
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

impl<E: GapEvent> Events<E> {
    /// Returns the memory of the lists, as [`EventList::size`] does.
    pub(super) fn size(&self) -> Option<usize> {
        self.lists.iter().map(EventList::size).sum()
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
    /// Returns the stream of `first`, which only this response has, and then these events.
    pub(super) fn stream(&self, first: Option<Bytes>) -> impl WriteEvents + use<> {
        RenderedStream { first, events: Events::new(&self.0) }
    }
}

/// One stream of rendered events.
#[derive(Clone)]
struct RenderedStream {
    first: Option<Bytes>,
    events: Events<StreamEvent>,
}

impl WriteEvents for RenderedStream {
    fn write(&mut self, out: &mut BytesMut) -> Option<EventProperties> {
        if let Some(first) = self.first.take() {
            out.extend_from_slice(&first);
            return Some(EventProperties::content(0));
        }
        let next = self.events.next()?;
        next.put(out);
        Some(EventProperties { kind: next.event.kind, tokens: next.tokens() })
    }

    fn copy(&self) -> Option<EventCopy> {
        let size = size_of::<Self>() + self.first.as_ref().map_or(0, Bytes::len) + self.events.size()?;
        Some(EventCopy { events: Box::new(self.clone()), size })
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
