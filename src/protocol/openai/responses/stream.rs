//! The events of a streamed response.

use std::{ops::Range, sync::Arc};

use bytes::BytesMut;
use serde::Serialize;
use serde_json::Value;

use super::{
    ResponseTexts,
    items::{ContentPart, Item, OutputItems, annotation, summary_part},
    json_form::JsonForm,
    object::{ResponseObject, State},
};
use crate::core::{
    random::{Alphabet, Random},
    reply::{Text, ToolCall, ToolKind},
    response::{self, EventCopy, EventProperties, WriteEvents},
};
use crate::protocol::events::{EventList, Events, GapEvent, NextEvent, RenderTime};

/// One event about an item, without the item's id, the padding and the sequence number, which ends it.
#[derive(Clone)]
pub(super) struct ItemEvent {
    text: String,
    /// Index of the item.
    item: usize,
    /// Offset of the item's id in the text.
    id: usize,
    /// Offset of the padding, if the event can have any.
    padding: Option<usize>,
    part: response::EventKind,
    /// Number of tokens in the event.
    tokens: u32,
}

impl GapEvent for ItemEvent {
    fn text(&self) -> &[u8] {
        self.text.as_bytes()
    }

    /// A gap is before the item's id.
    fn without(mut self, part: Range<usize>) -> Option<Self> {
        self.id = self.id.checked_sub(part.len()).filter(|id| part.start <= *id)?;
        self.padding = self.padding.map(|padding| padding - part.len());
        self.text.replace_range(part, "");
        Some(self)
    }
}

/// Returns all events about the items. Those of texts are rendered at `time`.
pub(super) fn events(items: &Arc<OutputItems>, time: RenderTime) -> EventList<ItemEvent> {
    let mut events = EventBuilder { list: EventList::new(time), index: 0 };
    for (index, item) in items.list.iter().enumerate() {
        events.index = index;
        let place = events.place();
        events.list.push(place.item("response.output_item.added", &item.begun(), response::EventKind::Content));
        match item {
            Item::Reasoning { summary: None, .. } => {}
            Item::Reasoning { summary: Some(text), .. } => events.summary(text),
            Item::Search { .. } => {
                for state in ["in_progress", "searching", "completed"] {
                    events.plain(&format!("response.web_search_call.{state}"), "", "", "");
                }
            }
            Item::Message(part) => events.message(part),
            Item::Call(call, _) => events.call(call),
        }
        let is_last = index + 1 == items.list.len();
        // Before the final event, only the last item's status shows why the stream ends.
        let part = if is_last { response::EventKind::Finish } else { response::EventKind::Content };
        let items = Arc::clone(items);
        events.list.push_late(item.size(), move || {
            place.item("response.output_item.done", &items.list[index].done(items.status(index)), part)
        });
    }
    events.list
}

/// The builder of the events about the items.
struct EventBuilder {
    list: EventList<ItemEvent>,
    /// The index of the item.
    index: usize,
}

impl EventBuilder {
    /// The place of the item's events.
    fn place(&self) -> Place {
        Place { index: self.index }
    }

    fn message(&mut self, part: &ContentPart) {
        let (text, kind) = match part {
            ContentPart::Text(text) => (text, "output_text"),
            ContentPart::Refusal(text) => (text, "refusal"),
        };
        const HEAD: &str = r#""content_index":0,"#;
        let logprobs = if kind == "refusal" { "" } else { r#""logprobs":[],"# };
        self.plain("response.content_part.added", HEAD, "", &format!(r#","part":{}"#, part.begun()));
        let name = format!("response.{kind}.delta");
        self.deltas(text, move |place, delta| place.delta(&name, &format!(r#"{HEAD}"delta":{delta},"#), logprobs, ""));
        for (n, citation) in text.citations.iter().enumerate() {
            let before = format!(r#""annotation":{},"annotation_index":{n},{HEAD}"#, annotation(citation));
            self.plain("response.output_text.annotation.added", &before, "", "");
        }
        let member = if kind == "refusal" { "refusal" } else { "text" };
        self.late(text, move |place, text| {
            place.plain(&format!("response.{kind}.done"), HEAD, logprobs, &format!(r#","{member}":{text}"#))
        });
        let (place, part) = (self.place(), part.clone());
        self.list.push_late(text.size(), move || {
            place.plain("response.content_part.done", HEAD, "", &format!(r#","part":{}"#, compact(&part.done())))
        });
    }

    fn call(&mut self, call: &ToolCall) {
        let (kind, member, name) = match call.kind {
            ToolKind::Custom => ("custom_tool_call_input", "input", String::new()),
            // Recordings lack the name; the schema and the SDKs' types require it.
            ToolKind::Function | ToolKind::Legacy => {
                ("function_call_arguments", "arguments", format!(r#""name":{},"#, Value::from(call.name.as_str())))
            }
        };
        self.deltas(&call.arguments, move |place, delta| {
            place.delta(&format!("response.{kind}.delta"), &format!(r#""delta":{delta},"#), "", "")
        });
        self.late(&call.arguments, move |place, text| {
            place.plain(&format!("response.{kind}.done"), &format!(r#""{member}":{text},"#), &name, "")
        });
    }

    fn summary(&mut self, text: &Text) {
        const INDEX: &str = r#","summary_index":0"#;
        let part = |text: &str| format!(r#","part":{}{INDEX}"#, summary_part(text));
        self.plain("response.reasoning_summary_part.added", "", "", &part(""));
        self.deltas(text, |place, delta| {
            place.delta("response.reasoning_summary_text.delta", &format!(r#""delta":{delta},"#), "", INDEX)
        });
        self.late(text, |place, text| {
            place.plain("response.reasoning_summary_text.done", "", "", &format!(r#"{INDEX},"text":{text}"#))
        });
        let (place, text) = (self.place(), text.clone());
        self.list.push_late(text.size(), move || {
            place.plain("response.reasoning_summary_part.done", "", "", &part(&text.whole()))
        });
    }

    /// Adds an event about the item.
    fn plain(&mut self, name: &str, before: &str, between: &str, after: &str) {
        let place = self.place();
        self.list.push(place.plain(name, before, between, after));
    }

    /// Adds an event for each piece of a text, given as JSON.
    fn deltas(&mut self, text: &Text, render: impl Fn(Place, Value) -> ItemEvent + Send + Sync + 'static) {
        let place = self.place();
        self.list.push_gaps(text, move |piece| render(place, Value::from(piece)));
    }

    /// Adds an event that contains a whole text, given as JSON.
    fn late(&mut self, text: &Text, render: impl Fn(Place, Value) -> ItemEvent + Send + Sync + 'static) {
        let (place, text) = (self.place(), text.clone());
        self.list.push_late(text.size(), move || render(place, Value::from(text.whole())));
    }
}

/// The place of an event in the response.
#[derive(Clone, Copy)]
struct Place {
    /// Index of the item.
    index: usize,
}

impl Place {
    /// Renders an event that contains the item, whose id comes first.
    fn item(self, name: &str, item: &impl Serialize, part: response::EventKind) -> ItemEvent {
        let item = compact(item);
        let (before, after) = item.split_once(r#""""#).unwrap_or((&item, ""));
        self.event(name, &format!(r#""item":{before}""#), &format!(r#""{after},"#), false, "", (part, 0))
    }

    /// Renders an event about the item.
    fn plain(self, name: &str, before: &str, between: &str, after: &str) -> ItemEvent {
        let (before, between) = (format!(r#"{before}"item_id":""#), format!(r#"",{between}"#));
        self.event(name, &before, &between, false, after, (response::EventKind::Content, 0))
    }

    /// Renders an event with one token, which can have padding.
    fn delta(self, name: &str, before: &str, between: &str, after: &str) -> ItemEvent {
        let (before, between) = (format!(r#"{before}"item_id":""#), format!(r#"",{between}"#));
        self.event(name, &before, &between, true, after, (response::EventKind::Content, 1))
    }

    /// Renders an event. Its members are `before` and the item's id, `between`, padding, the item's index, `after`.
    /// Recorded: they are sorted by name, except for the sequence number.
    fn event(
        self,
        name: &str,
        before: &str,
        between: &str,
        padded: bool,
        after: &str,
        (part, tokens): (response::EventKind, u32),
    ) -> ItemEvent {
        let Place { index } = self;
        let mut text = ["event: ", name, "\ndata: {\"type\":\"", name, "\",", before].concat();
        let id = text.len();
        text.push_str(between);
        let padding = padded.then_some(text.len());
        text.push_str(&format!("\"output_index\":{index}{after},\"sequence_number\":"));
        ItemEvent { text, item: index, id, padding, part, tokens }
    }
}

/// Renders a value on one line.
fn compact(value: &impl Serialize) -> String {
    serde_json::to_string(value).unwrap_or_default()
}

/// The events of one stream, rendered one by one.
#[derive(Clone)]
pub(super) struct ResponseEvents {
    /// The object in the first events and in the last.
    pub(super) object: Arc<ResponseObject>,
    pub(super) texts: Arc<ResponseTexts>,
    /// The ids of the items.
    pub(super) ids: Arc<[String]>,
    /// The first events: their names, and the status of the response in them.
    pub(super) first: &'static [(&'static str, &'static str)],
    /// The number of the next event.
    pub(super) next: usize,
    /// The events about the items.
    pub(super) items: Events<ItemEvent>,
    pub(super) is_ended: bool,
    /// The generator for padding, if deltas have any.
    pub(super) padding: Option<Random>,
}

impl WriteEvents for ResponseEvents {
    fn write(&mut self, out: &mut BytesMut) -> Option<EventProperties> {
        let number = self.next;
        self.next += 1;
        if let Some((name, status)) = self.first.get(number) {
            self.put_object_event(name, State::Unfinished(status), number, out);
            return Some(EventProperties::content(0));
        }
        if let Some(event) = self.items.next() {
            put_item_event(&event, &self.ids, &mut self.padding, number, out);
            return Some(EventProperties { kind: event.event.part, tokens: event.event.tokens });
        }
        if std::mem::replace(&mut self.is_ended, true) {
            return None;
        }
        let texts = Arc::clone(&self.texts);
        let output = texts.output(JsonForm::Compact).with_ids(&self.ids);
        let state = State::Finished { incomplete: texts.items.incomplete, output: &output, usage: &texts.usage };
        let name = if texts.items.incomplete.is_some() { "response.incomplete" } else { "response.completed" };
        self.put_object_event(name, state, number, out);
        Some(EventProperties { kind: response::EventKind::End, tokens: 0 })
    }

    fn copy(&self) -> Option<EventCopy> {
        let ids: usize = self.ids.iter().map(|id| size_of::<String>() + id.len()).sum();
        let size = size_of::<Self>() + self.object.size() + ids + self.texts.size() + self.items.size()?;
        Some(EventCopy { events: Box::new(self.clone()), size })
    }
}

impl ResponseEvents {
    /// Appends an event with the response object.
    fn put_object_event(&self, name: &str, state: State<'_>, number: usize, out: &mut BytesMut) {
        let mut event = format!("event: {name}\ndata: {{\"type\":\"{name}\",\"response\":").into_bytes();
        self.object.put(state, &mut event);
        event.extend_from_slice(b",\"sequence_number\":");
        out.extend_from_slice(&event);
        put_number(number, out);
    }
}

/// Appends an event about an item.
fn put_item_event(
    next: &NextEvent<'_, ItemEvent>,
    ids: &[String],
    padding: &mut Option<Random>,
    number: usize,
    out: &mut BytesMut,
) {
    let (start, event) = (out.len(), &*next.event);
    let text = event.text.as_bytes();
    out.extend_from_slice(&text[..next.at]);
    next.put_piece(out);
    out.extend_from_slice(&text[next.at..event.id]);
    out.extend_from_slice(ids.get(event.item).map_or(b"", String::as_bytes));
    let mut done = event.id;
    if let (Some(at), Some(random)) = (event.padding, padding) {
        out.extend_from_slice(&text[event.id..at]);
        // Padding hides the length of a token. With it, the lengths of events differ by multiples of 16 bytes.
        let digits = number.checked_ilog10().map_or(1, |log| log as usize + 1);
        let length = out.len() - start + text.len() - at + digits + NUMBER_END.len();
        out.extend_from_slice(b"\"obfuscation\":\"");
        random.put(Alphabet::Alphanumeric, (16 - length % 16) % 16, out);
        out.extend_from_slice(b"\",");
        done = at;
    }
    out.extend_from_slice(&text[done..]);
    put_number(number, out);
}

/// The end of an event after its sequence number.
const NUMBER_END: &[u8] = b"}\n\n";

/// Appends the sequence number of an event and its end.
fn put_number(number: usize, out: &mut BytesMut) {
    out.extend_from_slice(itoa::Buffer::new().format(number).as_bytes());
    out.extend_from_slice(NUMBER_END);
}
