//! A streamed response: event by event.

use std::sync::Arc;

use bytes::Bytes;
use serde_json::Value;

use super::{
    Words,
    items::{Item, Part, Said, annotation, summary_part},
    object::{Filled, State},
};
use crate::core::{
    random::{Alphabet, Random},
    reply::{Text, ToolCall, ToolKind},
    response::{self, StreamEvent},
};

/// The events between those that tell of the whole response, shared by all the streams that say the same.
#[derive(Default)]
pub(super) struct Stream {
    text: String,
    events: Vec<Event>,
}

/// One event of the text.
struct Event {
    /// The item that it is about, and where in the text its id stands.
    item: (usize, usize),
    /// Where padding stands, if it may have any.
    padding: Option<usize>,
    /// Where it ends.
    end: usize,
    part: response::EventKind,
    /// The tokens that it brings.
    tokens: u32,
}

/// All events about the items. `first` is the number of the first of them: those before tell of the whole response.
pub(super) fn events(said: &Said<'_>, first: usize) -> Stream {
    let mut events = Events { stream: Stream::default(), number: first, index: 0 };
    for (index, item) in said.items.iter().enumerate() {
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
        let is_last = index + 1 == said.items.len();
        // That the last item is whole, or is not, is all that tells why a stream ends before its last event does.
        let part = if is_last { response::EventKind::Finish } else { response::EventKind::Content };
        events.item("response.output_item.done", &item.done(said.status(index)), part);
    }
    events.stream
}

struct Events {
    stream: Stream,
    /// The number of the next event.
    number: usize,
    /// The index of the item.
    index: usize,
}

impl Events {
    fn message(&mut self, part: &Part<'_>) {
        let (text, kind) = match part {
            Part::Text(text) => (text, "output_text"),
            Part::Refusal(text) => (text, "refusal"),
        };
        const HEAD: &str = r#""content_index":0,"#;
        let logprobs = if kind == "refusal" { "" } else { r#""logprobs":[],"# };
        let whole = Value::from(text.text.as_str());
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
        self.plain(&format!("response.{kind}.done"), HEAD, logprobs, &format!(r#","{member}":{whole}"#));
        self.plain("response.content_part.done", HEAD, "", &format!(r#","part":{}"#, part.done()));
    }

    fn call(&mut self, call: &ToolCall) {
        let (kind, member, name) = match call.kind {
            ToolKind::Custom => ("custom_tool_call_input", "input", String::new()),
            // Recordings lack the name; the schema and the SDKs' types want it.
            ToolKind::Function | ToolKind::Legacy => {
                ("function_call_arguments", "arguments", format!(r#""name":{},"#, Value::from(call.name.as_str())))
            }
        };
        for piece in call.arguments.pieces() {
            self.delta(&format!("response.{kind}.delta"), &format!(r#""delta":{},"#, Value::from(piece)), "", "");
        }
        let whole = Value::from(call.arguments.text.as_str());
        self.plain(&format!("response.{kind}.done"), &format!(r#""{member}":{whole},"#), &name, "");
    }

    fn summary(&mut self, text: &Text) {
        const INDEX: &str = r#","summary_index":0"#;
        let part = |text: &str| format!(r#""part":{}"#, summary_part(text));
        let whole = Value::from(text.text.as_str());
        self.plain("response.reasoning_summary_part.added", "", "", &format!(",{}{INDEX}", part("")));
        for piece in text.pieces() {
            let before = format!(r#""delta":{},"#, Value::from(piece));
            self.delta("response.reasoning_summary_text.delta", &before, "", INDEX);
        }
        let after = format!(r#"{INDEX},"text":{whole}"#);
        self.plain("response.reasoning_summary_text.done", "", "", &after);
        self.plain("response.reasoning_summary_part.done", "", "", &format!(",{}{INDEX}", part(&text.text)));
    }

    /// An event with an item in it, whose id comes first.
    fn item(&mut self, name: &str, item: &Value, part: response::EventKind) {
        let item = item.to_string();
        let (before, after) = item.split_once(r#""""#).unwrap_or((&item, ""));
        self.push(name, &format!(r#""item":{before}""#), &format!(r#""{after},"#), false, "", (part, 0));
    }

    /// An event about an item.
    fn plain(&mut self, name: &str, before: &str, between: &str, after: &str) {
        let (before, between) = (format!(r#"{before}"item_id":""#), format!(r#"",{between}"#));
        self.push(name, &before, &between, false, after, (response::EventKind::Content, 0));
    }

    /// An event that brings a token, and may bear padding.
    fn delta(&mut self, name: &str, before: &str, between: &str, after: &str) {
        let (before, between) = (format!(r#"{before}"item_id":""#), format!(r#"",{between}"#));
        self.push(name, &before, &between, true, after, (response::EventKind::Content, 1));
    }

    /// Members stand in the order of their names, as recorded, but for the number of the event: `before` and the item's id,
    /// `between`, padding, the item's index, `after`.
    fn push(
        &mut self,
        name: &str,
        before: &str,
        between: &str,
        padded: bool,
        after: &str,
        (part, tokens): (response::EventKind, u32),
    ) {
        let Stream { text, events } = &mut self.stream;
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

/// The frames of one stream, rendered one by one.
pub(super) struct Frames {
    /// The object that the first events and the last tell.
    pub(super) object: Filled,
    pub(super) words: Arc<Words>,
    /// The ids of the items.
    pub(super) ids: Vec<String>,
    /// What the first events tell: their names, and the states in which they find the response.
    pub(super) first: &'static [(&'static str, &'static str)],
    pub(super) next: usize,
    /// What padding is drawn from, where deltas have any.
    pub(super) padding: Option<Random>,
}

impl Iterator for Frames {
    type Item = StreamEvent;

    fn next(&mut self) -> Option<StreamEvent> {
        let number = self.next;
        self.next += 1;
        if let Some((name, status)) = self.first.get(number) {
            return Some(StreamEvent::content(self.whole(name, State::Before(status), number), 0));
        }
        let words = Arc::clone(&self.words);
        let at = number - self.first.len();
        if let Some(event) = words.stream.events.get(at) {
            let from = at.checked_sub(1).map_or(0, |before| words.stream.events[before].end);
            let bytes = self.event(&words.stream.text, from, event);
            return Some(StreamEvent { bytes, kind: event.part, tokens: event.tokens });
        }
        if at > words.stream.events.len() {
            return None;
        }
        let output = words.line.with(&self.ids);
        let state = State::After { incomplete: words.incomplete, output: &output, usage: &words.usage };
        let name = if words.incomplete.is_some() { "response.incomplete" } else { "response.completed" };
        Some(StreamEvent { bytes: self.whole(name, state, number), kind: response::EventKind::End, tokens: 0 })
    }
}

impl Frames {
    fn whole(&self, name: &str, state: State<'_>, number: usize) -> Bytes {
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
            // Padding hides the length of a token: with it events are a multiple of 16 bytes longer than each other.
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
