//! The outline of a response: its events and its output, without the ids and the texts of the items.
//!
//! Responses whose items are of the same kinds differ in these only, so they share one outline.

use std::sync::OnceLock;

use bytes::BufMut;
use serde_json::Value;
use smallvec::SmallVec;

use super::{
    items::{ContentPart, Item, OutputItems, annotation, summary_part},
    json_form::JsonForm,
};
use crate::core::{
    reply::{ToolCall, ToolKind},
    response::EventKind,
};

/// Text with slots, which each response fills.
#[derive(Debug, Default)]
pub(super) struct Frame {
    text: String,
    /// The slots in their order, each with its offset in the text.
    slots: SmallVec<[(usize, Slot); 3]>,
}

/// A slot of a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Slot {
    /// The id of the item with this index.
    Id(usize),
    /// The text of the item with this index, or one piece of it, as JSON without quotes.
    Text(usize),
    /// Padding, which hides the length of a token. No slot follows it.
    Padding,
}

impl Frame {
    /// Appends the text, with `fill` for the slots. It is called with the number of bytes that follow the slot, too.
    pub(super) fn put<B: BufMut>(&self, out: &mut B, mut fill: impl FnMut(Slot, usize, &mut B)) {
        let mut from = 0;
        for (at, slot) in &self.slots {
            out.put_slice(&self.text.as_bytes()[from..*at]);
            fill(*slot, self.text.len() - at, out);
            from = *at;
        }
        out.put_slice(&self.text.as_bytes()[from..]);
    }

    /// Returns true if the text of an item belongs into it.
    pub(super) fn has_text(&self) -> bool {
        self.slots.iter().any(|(_, slot)| matches!(slot, Slot::Text(_)))
    }

    /// Returns the memory that it takes beside itself, in bytes.
    fn size(&self) -> usize {
        let slots = if self.slots.spilled() { size_of_val(&*self.slots) } else { 0 };
        self.text.capacity() + slots
    }

    fn push(&mut self, part: Part<'_>) {
        match part {
            Part::Json(text) => self.text.push_str(text),
            Part::Slot(slot) => self.slots.push((self.text.len(), slot)),
        }
    }

    /// Appends JSON of an item, or of a part of it, with slots for its id and its text. Both are empty strings in it.
    fn push_item(&mut self, json: &str, index: usize, members: [Option<&str>; 2]) {
        let mut from = 0;
        for (member, slot) in members.into_iter().zip([Slot::Id(index), Slot::Text(index)]) {
            // JSON has quotes without a backslash around strings only, so this is the member and nothing else.
            let at = member.and_then(|member| {
                let name = json[from..].find(&format!("\"{member}\":"))? + from;
                Some(name + json[name..].find("\"\"")? + 1)
            });
            if let Some(at) = at {
                self.text.push_str(&json[from..at]);
                self.push(Part::Slot(slot));
                from = at;
            }
        }
        self.text.push_str(&json[from..]);
    }
}

/// A part of an event.
#[derive(Clone, Copy)]
enum Part<'a> {
    Json(&'a str),
    Slot(Slot),
}

/// One event about an item, without the sequence number, which ends it.
pub(super) struct ItemEvent {
    pub(super) frame: Frame,
    /// Index of the item.
    pub(super) item: usize,
    /// True if it stands for one event for each piece of the item's text, with one token each.
    pub(super) for_each_piece: bool,
    pub(super) kind: EventKind,
}

/// The events about the items, and the output. Each is rendered when it is needed first, from the items of any response
/// that has this outline.
#[derive(Default)]
pub(super) struct Outline {
    events: OnceLock<Vec<ItemEvent>>,
    /// The output, pretty and compact.
    output: [OnceLock<Frame>; 2],
}

impl Outline {
    /// The events about the items.
    pub(super) fn events(&self, items: &OutputItems) -> &[ItemEvent] {
        self.events.get_or_init(|| {
            let mut builder = EventBuilder { events: Vec::new(), index: 0 };
            for (index, item) in items.list.iter().enumerate() {
                builder.index = index;
                builder.item(item, items.status(index), index + 1 == items.list.len());
            }
            builder.events
        })
    }

    /// The output in this form.
    pub(super) fn output(&self, items: &OutputItems, form: JsonForm) -> &Frame {
        let [pretty, compact] = &self.output;
        let frame = if form == JsonForm::Pretty { pretty } else { compact };
        frame.get_or_init(|| output(items, form))
    }

    /// Returns the memory of the events and of the compact output, in bytes.
    pub(super) fn size(&self, items: &OutputItems) -> usize {
        let events = self.events(items);
        let frames = events.iter().map(|event| &event.frame).chain([self.output(items, JsonForm::Compact)]);
        size_of::<Self>() + size_of_val(events) + frames.map(Frame::size).sum::<usize>()
    }
}

/// Renders the output.
fn output(items: &OutputItems, form: JsonForm) -> Frame {
    let [open, next, close] = match form {
        JsonForm::Pretty => ["[\n    ", ",\n    ", "\n  ]"],
        JsonForm::Compact => ["[", ",", "]"],
    };
    let mut frame = Frame::default();
    if items.list.is_empty() {
        frame.push(Part::Json("[]"));
        return frame;
    }
    for (index, item) in items.list.iter().enumerate() {
        frame.push(Part::Json(if index == 0 { open } else { next }));
        let mut text = Vec::new();
        form.value(&item.done(items.status(index)), 2, &mut text);
        frame.push_item(&String::from_utf8_lossy(&text), index, [Some("id"), item.text_member()]);
    }
    frame.push(Part::Json(close));
    frame
}

/// The builder of the events about the items.
struct EventBuilder {
    events: Vec<ItemEvent>,
    /// The index of the item.
    index: usize,
}

impl EventBuilder {
    fn item(&mut self, item: &Item, status: &str, is_last: bool) {
        self.whole_item("response.output_item.added", &item.begun(), None, EventKind::Content);
        match item {
            Item::Reasoning { summary: None, .. } => {}
            Item::Reasoning { summary: Some(_), .. } => self.summary(),
            Item::Search { .. } => {
                for state in ["in_progress", "searching", "completed"] {
                    self.plain(&format!("response.web_search_call.{state}"), "", "", "");
                }
            }
            Item::Message(part) => self.message(part),
            Item::Call(call, _) => self.call(call),
        }
        // Before the final event, only the last item's status shows why the stream ends.
        let kind = if is_last { EventKind::Finish } else { EventKind::Content };
        self.whole_item("response.output_item.done", &item.done(status), item.text_member(), kind);
    }

    fn message(&mut self, part: &ContentPart) {
        let (kind, member) = (part.kind(), part.text_member());
        const HEAD: &str = r#""content_index":0,"#;
        let logprobs = if member == "refusal" { "" } else { r#""logprobs":[],"# };
        self.plain("response.content_part.added", HEAD, "", &format!(r#","part":{}"#, part.begun()));
        self.delta(&format!("response.{kind}.delta"), HEAD, logprobs, "");
        for (n, citation) in part.text().citations.iter().enumerate() {
            let before = format!(r#""annotation":{},"annotation_index":{n},{HEAD}"#, annotation(citation));
            self.plain("response.output_text.annotation.added", &before, "", "");
        }
        self.text_done(&format!("response.{kind}.done"), HEAD, logprobs, &format!(r#","{member}":"#));
        self.part_done("response.content_part.done", HEAD, &part.done(), member, "");
    }

    fn call(&mut self, call: &ToolCall) {
        let (kind, member, name) = match call.kind {
            ToolKind::Custom => ("custom_tool_call_input", "input", String::new()),
            // Recordings lack the name; the schema and the SDKs' types require it.
            ToolKind::Function | ToolKind::Legacy => {
                ("function_call_arguments", "arguments", format!(r#""name":{},"#, Value::from(call.name.as_str())))
            }
        };
        self.delta(&format!("response.{kind}.delta"), "", "", "");
        let text = Part::Slot(Slot::Text(self.index));
        let before = [Part::Json("\""), Part::Json(member), Part::Json("\":\""), text, Part::Json("\",")];
        self.about_item(&format!("response.{kind}.done"), &before, &[Part::Json(&name)], &[]);
    }

    fn summary(&mut self) {
        const INDEX: &str = r#","summary_index":0"#;
        self.plain("response.reasoning_summary_part.added", "", "", &format!(r#","part":{}{INDEX}"#, summary_part()));
        self.delta("response.reasoning_summary_text.delta", "", "", INDEX);
        self.text_done("response.reasoning_summary_text.done", "", "", &format!(r#"{INDEX},"text":"#));
        self.part_done("response.reasoning_summary_part.done", "", &summary_part(), "text", INDEX);
    }

    /// Adds an event that contains the item, whose id comes first.
    fn whole_item(
        &mut self,
        name: &str,
        item: &impl serde::Serialize,
        text_member: Option<&'static str>,
        kind: EventKind,
    ) {
        let mut frame = event_start(name);
        frame.push(Part::Json(r#""item":"#));
        frame.push_item(&compact(item), self.index, [Some("id"), text_member]);
        frame.push(Part::Json(","));
        self.finish(frame, &[], false, kind);
    }

    /// Adds an event about the item, without its text.
    fn plain(&mut self, name: &str, before: &str, between: &str, after: &str) {
        self.about_item(name, &[Part::Json(before)], &[Part::Json(between)], &[Part::Json(after)]);
    }

    /// Adds the events of the item's pieces, which can have padding.
    fn delta(&mut self, name: &str, before: &str, between: &str, after: &str) {
        let text = Part::Slot(Slot::Text(self.index));
        let before = [Part::Json(before), Part::Json(r#""delta":""#), text, Part::Json("\",")];
        self.about_item(name, &before, &[Part::Json(between), Part::Slot(Slot::Padding)], &[Part::Json(after)]);
        if let Some(event) = self.events.last_mut() {
            event.for_each_piece = true;
        }
    }

    /// Adds the event that contains the whole text at its end.
    fn text_done(&mut self, name: &str, before: &str, between: &str, after: &str) {
        let text = Part::Slot(Slot::Text(self.index));
        let after = [Part::Json(after), Part::Json("\""), text, Part::Json("\"")];
        self.about_item(name, &[Part::Json(before)], &[Part::Json(between)], &after);
    }

    /// Adds the event that contains a part with the whole text.
    fn part_done(&mut self, name: &str, before: &str, part: &impl serde::Serialize, member: &str, after: &str) {
        let mut frame = event_start(name);
        self.push_id(&mut frame, &[Part::Json(before)]);
        frame.push(Part::Json(&format!(r#""output_index":{},"part":"#, self.index)));
        frame.push_item(&compact(part), self.index, [None, Some(member)]);
        frame.push(Part::Json(after));
        self.end(frame, false, EventKind::Content);
    }

    /// Adds an event. Its members are `before` and the item's id, `between`, the item's index, `after`.
    /// Recorded: they are sorted by name, except for the sequence number.
    fn about_item(&mut self, name: &str, before: &[Part<'_>], between: &[Part<'_>], after: &[Part<'_>]) {
        let mut frame = event_start(name);
        self.push_id(&mut frame, before);
        between.iter().for_each(|part| frame.push(*part));
        self.finish(frame, after, false, EventKind::Content);
    }

    fn push_id(&self, frame: &mut Frame, before: &[Part<'_>]) {
        before.iter().for_each(|part| frame.push(*part));
        [Part::Json(r#""item_id":""#), Part::Slot(Slot::Id(self.index)), Part::Json("\",")]
            .into_iter()
            .for_each(|part| frame.push(part));
    }

    fn finish(&mut self, mut frame: Frame, after: &[Part<'_>], for_each_piece: bool, kind: EventKind) {
        frame.push(Part::Json(&format!("\"output_index\":{}", self.index)));
        after.iter().for_each(|part| frame.push(*part));
        self.end(frame, for_each_piece, kind);
    }

    fn end(&mut self, mut frame: Frame, for_each_piece: bool, kind: EventKind) {
        frame.push(Part::Json(",\"sequence_number\":"));
        frame.text.shrink_to_fit();
        self.events.push(ItemEvent { frame, item: self.index, for_each_piece, kind });
    }
}

/// The start of an event.
fn event_start(name: &str) -> Frame {
    Frame { text: ["event: ", name, "\ndata: {\"type\":\"", name, "\","].concat(), slots: SmallVec::new() }
}

/// Renders a value on one line.
fn compact(value: &impl serde::Serialize) -> String {
    serde_json::to_string(value).unwrap_or_default()
}
