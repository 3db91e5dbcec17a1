//! The events of a streamed response.

use std::sync::Arc;

use bytes::BytesMut;

use super::{
    ResponseTexts,
    items::Item,
    json_form::JsonForm,
    object::{ResponseObject, State},
    outline::{Frame, Slot},
};
use crate::core::{
    json,
    random::{Alphabet, Random},
    reply::PieceCursor,
    response::{EventCopy, EventKind, EventProperties, WriteEvents},
};

/// The events of one stream, rendered one by one.
#[derive(Clone)]
pub(super) struct ResponseEvents {
    /// The object in the first events and in the last.
    object: Arc<ResponseObject>,
    texts: Arc<ResponseTexts>,
    /// The ids of the items.
    ids: Arc<[String]>,
    /// The first events: their names, and the status of the response in them.
    first: &'static [(&'static str, &'static str)],
    /// The number of the next event.
    next: usize,
    /// The next event about an item, by its index in the outline.
    item_event: usize,
    /// The position in the text of its item, if the event stands for one for each piece.
    pieces: Option<PieceCursor>,
    /// The text of the item with this index, as JSON. Several events contain it, and it may be long: the last one is
    /// kept.
    whole: Option<(usize, String)>,
    is_ended: bool,
    /// The generator for padding, if deltas have any.
    padding: Option<Random>,
}

impl ResponseEvents {
    pub(super) fn new(
        object: impl Into<Arc<ResponseObject>>,
        texts: Arc<ResponseTexts>,
        ids: Vec<String>,
        first: &'static [(&'static str, &'static str)],
        padding: Option<Random>,
    ) -> Self {
        ResponseEvents {
            object: object.into(),
            texts,
            ids: ids.into(),
            first,
            next: 0,
            item_event: 0,
            pieces: None,
            whole: None,
            is_ended: false,
            padding,
        }
    }

    /// Appends the next event about an item, with this number; `None` after the last.
    fn put_item_event(&mut self, number: usize, out: &mut BytesMut) -> Option<EventProperties> {
        let items = &self.texts.items;
        let events = self.texts.outline.events(items);
        loop {
            let event = events.get(self.item_event)?;
            let text = items.list.get(event.item).and_then(Item::text);
            let slots = Slots { ids: &self.ids, padding: &mut self.padding, number };
            if !event.for_each_piece {
                self.item_event += 1;
                if event.frame.has_text() && self.whole.as_ref().is_none_or(|(item, _)| *item != event.item) {
                    // The memory of the text before is free first.
                    self.whole = None;
                    self.whole = text.map(|text| (event.item, text.json().into_owned()));
                }
                slots.put(&event.frame, self.whole.as_ref().map_or("", |(_, text)| text), out);
                return Some(EventProperties { kind: event.kind, tokens: 0 });
            }
            if let Some(text) = text {
                let pieces = self.pieces.get_or_insert_with(|| text.cursor());
                if let Some(piece) = pieces.next(text) {
                    let tokens = piece.tokens;
                    let piece = if pieces.is_plain() { piece.text.into() } else { json::escaped(piece.text) };
                    slots.put(&event.frame, &piece, out);
                    return Some(EventProperties { kind: event.kind, tokens });
                }
            }
            self.pieces = None;
            self.item_event += 1;
        }
    }

    /// Appends an event with the response object.
    fn put_object_event(&self, name: &str, state: State<'_>, number: usize, out: &mut BytesMut) {
        let mut event = ["event: ", name, "\ndata: {\"type\":\"", name, "\",\"response\":"].concat().into_bytes();
        self.object.put(state, &mut event);
        event.extend_from_slice(b",\"sequence_number\":");
        out.extend_from_slice(&event);
        put_number(number, out);
    }
}

/// The content of the slots of an event, except for its text.
struct Slots<'a> {
    ids: &'a [String],
    padding: &'a mut Option<Random>,
    /// The number of the event.
    number: usize,
}

impl Slots<'_> {
    /// Appends an event with this text.
    fn put(self, frame: &Frame, text: &str, out: &mut BytesMut) {
        let Slots { ids, padding, number } = self;
        let start = out.len();
        frame.put(out, |slot, rest, out| match slot {
            Slot::Id(item) => out.extend_from_slice(ids.get(item).map_or(b"", String::as_bytes)),
            Slot::Text(_) => out.extend_from_slice(text.as_bytes()),
            Slot::Padding => {
                let Some(random) = padding else { return };
                // With padding, the lengths of events differ by multiples of 16 bytes.
                let digits = number.checked_ilog10().map_or(1, |log| log as usize + 1);
                let length = out.len() - start + rest + digits + NUMBER_END.len();
                out.extend_from_slice(b"\"obfuscation\":\"");
                random.put(Alphabet::Alphanumeric, (16 - length % 16) % 16, out);
                out.extend_from_slice(b"\",");
            }
        });
        put_number(number, out);
    }
}

impl WriteEvents for ResponseEvents {
    fn write(&mut self, out: &mut BytesMut) -> Option<EventProperties> {
        let number = self.next;
        self.next += 1;
        if let Some((name, status)) = self.first.get(number) {
            self.put_object_event(name, State::Unfinished(status), number, out);
            return Some(EventProperties::content(0));
        }
        if let Some(event) = self.put_item_event(number, out) {
            return Some(event);
        }
        if std::mem::replace(&mut self.is_ended, true) {
            return None;
        }
        let (texts, whole) = (Arc::clone(&self.texts), self.whole.take());
        let output = texts.output(JsonForm::Compact, &self.ids, whole.as_ref());
        let state = State::Finished { incomplete: texts.items.incomplete, output: &output, usage: &texts.usage };
        let name = if texts.items.incomplete.is_some() { "response.incomplete" } else { "response.completed" };
        self.put_object_event(name, state, number, out);
        Some(EventProperties { kind: EventKind::End, tokens: 0 })
    }

    fn copy(&self) -> Option<EventCopy> {
        let ids: usize = self.ids.iter().map(|id| size_of::<String>() + id.len()).sum();
        let whole = self.whole.as_ref().map_or(0, |(_, text)| text.len());
        let size = size_of::<Self>() + self.object.size() + ids + whole + self.texts.size();
        Some(EventCopy { events: Box::new(self.clone()), size })
    }
}

/// The end of an event after its sequence number.
const NUMBER_END: &[u8] = b"}\n\n";

/// Appends the sequence number of an event and its end.
fn put_number(number: usize, out: &mut BytesMut) {
    out.extend_from_slice(itoa::Buffer::new().format(number).as_bytes());
    out.extend_from_slice(NUMBER_END);
}
