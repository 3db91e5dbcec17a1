//! Azure's asynchronous content filter: the results come apart from the text that they are about.
//!
//! The shape of its events is that of events in public reports of 2024 and 2025. Clients that expect a `delta` in every
//! choice fail on them.

use std::collections::VecDeque;

use serde_json::{Value, json};

use crate::core::response::{StreamEvent, StreamFormat};

/// Member with the filter results of a choice.
const RESULTS: &str = "content_filter_results";
/// Number of events with text for which the results come together.
const EVENTS_PER_RESULT: usize = 5;

/// The events of a stream with their filter results apart. Streams without any stay as they are.
pub(super) struct AsyncFilter {
    events: Box<dyn Iterator<Item = StreamEvent> + Send>,
    /// Events to be sent before the next one.
    waiting: VecDeque<StreamEvent>,
    /// The results of the text since the last event with results.
    results: Value,
    /// Number of events with text since then.
    unchecked: usize,
    /// The start of that text, and its end, in characters.
    span: (usize, usize),
}

impl AsyncFilter {
    pub(super) fn new(events: Box<dyn Iterator<Item = StreamEvent> + Send>) -> Self {
        AsyncFilter { events, waiting: VecDeque::new(), results: Value::Null, unchecked: 0, span: (0, 0) }
    }

    /// Returns true if streams in this format can have filter results.
    pub(super) fn handles(format: StreamFormat) -> bool {
        matches!(format, StreamFormat::Data(_))
    }

    /// Returns an event without its filter results, which are kept for later.
    fn without_results(&mut self, event: StreamEvent) -> StreamEvent {
        let data = event.bytes.strip_prefix(b"data: ").map(<[u8]>::trim_ascii_end);
        let Some(mut body) = data.and_then(|data| serde_json::from_slice::<Value>(data).ok()) else { return event };
        let Some(choice) = body.pointer_mut("/choices/0").and_then(Value::as_object_mut) else { return event };
        let Some(results) = choice.remove(RESULTS) else { return event };
        let text = choice.get("delta").and_then(|delta| delta["content"].as_str()).unwrap_or_default();
        self.span.1 += text.chars().count();
        self.unchecked += usize::from(!text.is_empty());
        if results.as_object().is_some_and(|results| !results.is_empty()) {
            self.results = results;
        }
        let is_last = choice.get("finish_reason").is_some_and(|reason| !reason.is_null());
        if self.unchecked > 0 && (is_last || self.unchecked == EVENTS_PER_RESULT) {
            let checked = self.checked();
            self.waiting.push_back(checked);
        }
        StreamEvent { bytes: format!("data: {body}\n\n").into(), ..event }
    }

    /// Returns the event with the results of the text since the last one.
    fn checked(&mut self) -> StreamEvent {
        let (start, end) = self.span;
        (self.span, self.unchecked) = ((end, end), 0);
        let offsets = json!({"check_offset": start, "start_offset": start, "end_offset": end});
        let choice = json!({
            "content_filter_offsets": offsets, RESULTS: self.results, "finish_reason": null, "index": 0,
        });
        let event = json!({"choices": [choice], "created": 0, "id": "", "model": "", "object": ""});
        StreamEvent::content(format!("data: {event}\n\n").into(), 0)
    }
}

impl Iterator for AsyncFilter {
    type Item = StreamEvent;

    fn next(&mut self) -> Option<StreamEvent> {
        if let Some(event) = self.waiting.pop_front() {
            return Some(event);
        }
        let event = self.events.next()?;
        Some(self.without_results(event))
    }
}
