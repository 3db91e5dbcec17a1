//! The events of a streamed response.

use std::sync::Arc;

use bytes::Bytes;
use serde_json::Value;

use super::{
    ResponseTexts,
    items::{ContentPart, Item, OutputItems, annotation, summary_part},
    object::{ResponseObject, State},
};
use crate::core::{
    random::{Alphabet, Random},
    reply::{Text, ToolCall, ToolKind},
    response::{self, StreamEvent},
};

/// The rendered events about the items. All streams that send this reply share them.
#[derive(Default)]
pub(super) struct EventTexts {
    text: String,
    events: Vec<Event>,
}

/// One event of the text.
struct Event {
    /// Index of the item, and offset of its id in the text.
    item: (usize, usize),
    /// Offset of the padding, if the event can have any.
    padding: Option<usize>,
    /// Offset of the event's end.
    end: usize,
    part: response::EventKind,
    /// Number of tokens in the event.
    tokens: u32,
}

/// Renders all events about the items. `first` is the number of the first of them; earlier events are about the whole
/// response.
pub(super) fn events(items: &OutputItems<'_>, first: usize) -> EventTexts {
    let mut events = EventBuilder { stream: EventTexts::default(), number: first, index: 0 };
    for (index, item) in items.list.iter().enumerate() {
        events.index = index;
        events.item("response.output_item.added", &item.begun(), response::EventKind::Content);
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
        events.item("response.output_item.done", &item.done(items.status(index)), part);
    }
    events.stream
}

/// Renders events into a text.
struct EventBuilder {
    stream: EventTexts,
    /// The sequence number of the next event.
    number: usize,
    /// The index of the item.
    index: usize,
}

impl EventBuilder {
    fn message(&mut self, part: &ContentPart<'_>) {
        let (text, kind) = match part {
            ContentPart::Text(text) => (text, "output_text"),
            ContentPart::Refusal(text) => (text, "refusal"),
        };
        const HEAD: &str = r#""content_index":0,"#;
        let logprobs = if kind == "refusal" { "" } else { r#""logprobs":[],"# };
        let full_text = Value::from(text.text.as_str());
        self.plain("response.content_part.added", HEAD, "", &format!(r#","part":{}"#, part.begun()));
        for piece in text.pieces() {
            let before = format!(r#"{HEAD}"delta":{},"#, Value::from(piece));
            self.delta(&format!("response.{kind}.delta"), &before, logprobs, "");
        }
        for (n, citation) in text.citations.iter().enumerate() {
            let before = format!(r#""annotation":{},"annotation_index":{n},{HEAD}"#, annotation(citation));
            self.plain("response.output_text.annotation.added", &before, "", "");
        }
        let member = if kind == "refusal" { "refusal" } else { "text" };
        self.plain(&format!("response.{kind}.done"), HEAD, logprobs, &format!(r#","{member}":{full_text}"#));
        self.plain("response.content_part.done", HEAD, "", &format!(r#","part":{}"#, part.done()));
    }

    fn call(&mut self, call: &ToolCall) {
        let (kind, member, name) = match call.kind {
            ToolKind::Custom => ("custom_tool_call_input", "input", String::new()),
            // Recordings lack the name; the schema and the SDKs' types require it.
            ToolKind::Function | ToolKind::Legacy => {
                ("function_call_arguments", "arguments", format!(r#""name":{},"#, Value::from(call.name.as_str())))
            }
        };
        for piece in call.arguments.pieces() {
            self.delta(&format!("response.{kind}.delta"), &format!(r#""delta":{},"#, Value::from(piece)), "", "");
        }
        let full_text = Value::from(call.arguments.text.as_str());
        self.plain(&format!("response.{kind}.done"), &format!(r#""{member}":{full_text},"#), &name, "");
    }

    fn summary(&mut self, text: &Text) {
        const INDEX: &str = r#","summary_index":0"#;
        let part = |text: &str| format!(r#""part":{}"#, summary_part(text));
        let full_text = Value::from(text.text.as_str());
        self.plain("response.reasoning_summary_part.added", "", "", &format!(",{}{INDEX}", part("")));
        for piece in text.pieces() {
            let before = format!(r#""delta":{},"#, Value::from(piece));
            self.delta("response.reasoning_summary_text.delta", &before, "", INDEX);
        }
        let after = format!(r#"{INDEX},"text":{full_text}"#);
        self.plain("response.reasoning_summary_text.done", "", "", &after);
        self.plain("response.reasoning_summary_part.done", "", "", &format!(",{}{INDEX}", part(&text.text)));
    }

    /// Adds an event that contains an item, whose id comes first.
    fn item(&mut self, name: &str, item: &Value, part: response::EventKind) {
        let item = item.to_string();
        let (before, after) = item.split_once(r#""""#).unwrap_or((&item, ""));
        self.push(name, &format!(r#""item":{before}""#), &format!(r#""{after},"#), false, "", (part, 0));
    }

    /// Adds an event about an item.
    fn plain(&mut self, name: &str, before: &str, between: &str, after: &str) {
        let (before, between) = (format!(r#"{before}"item_id":""#), format!(r#"",{between}"#));
        self.push(name, &before, &between, false, after, (response::EventKind::Content, 0));
    }

    /// Adds an event with one token, which can have padding.
    fn delta(&mut self, name: &str, before: &str, between: &str, after: &str) {
        let (before, between) = (format!(r#"{before}"item_id":""#), format!(r#"",{between}"#));
        self.push(name, &before, &between, true, after, (response::EventKind::Content, 1));
    }

    /// Adds an event. Its members are `before` and the item's id, `between`, padding, the item's index, `after`.
    /// Recorded: they are sorted by name, except for the sequence number.
    fn push(
        &mut self,
        name: &str,
        before: &str,
        between: &str,
        padded: bool,
        after: &str,
        (part, tokens): (response::EventKind, u32),
    ) {
        let EventTexts { text, events } = &mut self.stream;
        for piece in ["event: ", name, "\ndata: {\"type\":\"", name, "\",", before] {
            text.push_str(piece);
        }
        let item = (self.index, text.len());
        text.push_str(between);
        let padding = padded.then_some(text.len());
        let (index, number) = (self.index, self.number);
        text.push_str(&format!("\"output_index\":{index}{after},\"sequence_number\":{number}}}\n\n"));
        events.push(Event { item, padding, end: text.len(), part, tokens });
        self.number += 1;
    }
}

/// The events of one stream, rendered one by one.
pub(super) struct ResponseEvents {
    /// The object in the first events and in the last.
    pub(super) object: ResponseObject,
    pub(super) texts: Arc<ResponseTexts>,
    /// The ids of the items.
    pub(super) ids: Vec<String>,
    /// The first events: their names, and the status of the response in them.
    pub(super) first: &'static [(&'static str, &'static str)],
    pub(super) next: usize,
    /// The generator for padding, if deltas have any.
    pub(super) padding: Option<Random>,
}

impl Iterator for ResponseEvents {
    type Item = StreamEvent;

    fn next(&mut self) -> Option<StreamEvent> {
        let number = self.next;
        self.next += 1;
        if let Some((name, status)) = self.first.get(number) {
            return Some(StreamEvent::content(self.object_event(name, State::Unfinished(status), number), 0));
        }
        let texts = Arc::clone(&self.texts);
        let at = number - self.first.len();
        if let Some(event) = texts.stream.events.get(at) {
            let from = at.checked_sub(1).map_or(0, |before| texts.stream.events[before].end);
            let bytes = self.event(&texts.stream.text, from, event);
            return Some(StreamEvent { bytes, kind: event.part, tokens: event.tokens });
        }
        if at > texts.stream.events.len() {
            return None;
        }
        let output = texts.compact.with_ids(&self.ids);
        let state = State::Finished { incomplete: texts.incomplete, output: &output, usage: &texts.usage };
        let name = if texts.incomplete.is_some() { "response.incomplete" } else { "response.completed" };
        Some(StreamEvent { bytes: self.object_event(name, state, number), kind: response::EventKind::End, tokens: 0 })
    }
}

impl ResponseEvents {
    /// Renders an event with the response object.
    fn object_event(&self, name: &str, state: State<'_>, number: usize) -> Bytes {
        let mut out = format!("event: {name}\ndata: {{\"type\":\"{name}\",\"response\":").into_bytes();
        self.object.put(state, &mut out);
        out.extend_from_slice(format!(",\"sequence_number\":{number}}}\n\n").as_bytes());
        out.into()
    }

    fn event(&mut self, text: &str, from: usize, event: &Event) -> Bytes {
        let (item, at) = event.item;
        let id = self.ids.get(item).map_or("", String::as_str);
        let mut out = Vec::with_capacity(event.end - from + id.len() + 48);
        out.extend_from_slice(&text.as_bytes()[from..at]);
        out.extend_from_slice(id.as_bytes());
        let mut done = at;
        if let (Some(padding), Some(random)) = (event.padding, &mut self.padding) {
            out.extend_from_slice(&text.as_bytes()[at..padding]);
            // Padding hides the length of a token. With it, the lengths of events differ by multiples of 16 bytes.
            let length = out.len() + event.end - padding;
            out.extend_from_slice(b"\"obfuscation\":\"");
            random.put(Alphabet::Alphanumeric, (16 - length % 16) % 16, &mut out);
            out.extend_from_slice(b"\",");
            done = padding;
        }
        out.extend_from_slice(&text.as_bytes()[done..event.end]);
        out.into()
    }
}
