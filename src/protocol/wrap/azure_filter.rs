//! `filtered` and `filtered-images`: Azure's content filter around an OpenAI protocol, which the envelope names as
//! `of`.
//!
//! The envelope contains the filter results: `prompt` for the prompt, `said` for the completion, and `blocked` for a
//! completion that the filter stopped. The wrapper parses the inner response again and adds them. Chats are the most
//! frequent requests, so `openai-chat` renders the results itself.
//!
//! As recorded, full responses and events are on one line with sorted keys, and a stream begins with an event without
//! choices.

use bytes::Bytes;
use serde_json::{Map, Value, json};

use super::inner;
use crate::core::{
    context::RequestContext,
    error::ApiError,
    json,
    reply::Reply,
    response::{Body, EventStream, Response, StreamEvent},
    template::Layout,
};
use crate::protocol::{
    ComputedReply, Parsed, Protocol, Reader, Record, RenderContext, Rendered, StoredObjects, TokenCounter,
    envelope::LAYOUT, events::event_data,
};

/// Member with the filter results of a choice or an image.
const COMPLETION_RESULTS: &str = "content_filter_results";
/// Member with the filter results of the prompts.
pub(in crate::protocol) const PROMPT_RESULTS: &str = "prompt_filter_results";

/// Results of the content filter, by category.
#[derive(Clone)]
pub(in crate::protocol) struct ContentFilter {
    prompt: Value,
    completion: Value,
    /// Results of a completion that the filter stopped.
    blocked: Value,
}

impl ContentFilter {
    /// Removes its members from the envelope.
    ///
    /// # Errors
    /// A member is missing or not an object.
    pub(in crate::protocol) fn take(envelope: &mut Map<String, Value>) -> Result<Self, String> {
        let mut take = |name: &str| match envelope.shift_remove(name) {
            Some(value @ Value::Object(_)) => Ok(value),
            _ => Err(format!("`{name}` is missing; give it an object of filter results, by category")),
        };
        Ok(ContentFilter { prompt: take("prompt")?, completion: take("said")?, blocked: take("blocked")? })
    }

    /// Returns the results of the prompts in the recorded order of keys, which is not sorted.
    pub(in crate::protocol) fn prompt_results(&self) -> Value {
        json!([{"prompt_index": 0, COMPLETION_RESULTS: self.prompt}])
    }

    /// Adds its results to each choice. A choice without text gets an empty object.
    pub(in crate::protocol) fn annotate(&self, choices: &mut Value) {
        for choice in choices.as_array_mut().into_iter().flatten() {
            let has_text = |part: &Value| part.as_str().is_some_and(|text| !text.is_empty());
            let texts = [&choice["message"]["content"], &choice["delta"]["content"], &choice["text"]];
            let results = match texts.into_iter().any(has_text) {
                _ if choice["finish_reason"] == "content_filter" => self.blocked.clone(),
                true => self.completion.clone(),
                false => json!({}),
            };
            choice[COMPLETION_RESULTS] = results;
        }
    }

    /// Returns a full response with the results added.
    fn full(&self, bytes: &Bytes) -> Vec<u8> {
        let mut response: Value = serde_json::from_slice(bytes).unwrap_or_default();
        self.annotate(&mut response["choices"]);
        response[PROMPT_RESULTS] = Value::Null;
        response.sort_all_objects();
        // Recorded: the keys in here are not sorted.
        response[PROMPT_RESULTS] = self.prompt_results();
        Layout { indent: 0, newline: true }.write(&response)
    }

    /// Returns the event that precedes all others of a stream.
    pub(in crate::protocol) fn first_event(&self) -> Bytes {
        let prompts = self.prompt_results();
        let event = json!({"choices": [], "created": 0, "id": "", "model": "", "object": "", PROMPT_RESULTS: prompts});
        format!("data: {event}\n\n").into()
    }

    /// Returns an event with the results added. Events that are not JSON pass unchanged.
    fn event(&self, stream_event: StreamEvent) -> StreamEvent {
        let Ok(mut event) = serde_json::from_slice::<Value>(&event_data(&stream_event.bytes)) else {
            return stream_event;
        };
        self.annotate(&mut event["choices"]);
        event.sort_all_objects();
        StreamEvent { bytes: format!("data: {event}\n\n").into(), ..stream_event }
    }
}

/// Creates the protocol; see [`crate::protocol::Make`].
pub(in crate::protocol) fn make(envelope: &Map<String, Value>) -> Result<Box<dyn Protocol>, String> {
    let mut envelope = envelope.clone();
    let filter = ContentFilter::take(&mut envelope)?;
    Ok(Box::new(Filtered { filter, inner: inner::inner_protocol(envelope)? }))
}

struct Filtered {
    filter: ContentFilter,
    inner: Box<dyn Protocol>,
}

impl Protocol for Filtered {
    fn parse<'r>(&'r self, body: json::Object<'r>, context: &RequestContext<'_>) -> Parsed<'r> {
        self.inner.parse(body, context)
    }

    fn render(&self, reply: &Reply, context: Option<RenderContext<'_, '_>>) -> Box<dyn Rendered> {
        Box::new(RenderedFiltered { filter: self.filter.clone(), inner: self.inner.render(reply, context) })
    }
}

struct RenderedFiltered {
    filter: ContentFilter,
    inner: Box<dyn Rendered>,
}

impl Rendered for RenderedFiltered {
    fn record(&self, context: RenderContext<'_, '_>) -> Record {
        self.inner.record(context)
    }

    fn id(&self, context: RenderContext<'_, '_>) -> Option<String> {
        self.inner.id(context)
    }

    fn respond(&self, context: RenderContext<'_, '_>, store: &dyn StoredObjects) -> Result<Response, ApiError> {
        let response = self.inner.respond(context, store)?;
        let content = match response.body {
            Body::Full(bytes) => Body::Full(self.filter.full(&bytes).into()),
            Body::Stream(EventStream { events: list, format: framing }) => {
                let filter = self.filter.clone();
                let list = std::iter::once(StreamEvent::content(filter.first_event(), 0))
                    .chain(list.map(move |stream_event| filter.event(stream_event)));
                Body::Stream(EventStream::new(list, framing))
            }
            content => content,
        };
        Ok(Response { body: content, ..response })
    }
}

/// Creates the protocol of images; see [`crate::protocol::MakeComputedReply`].
pub(in crate::protocol) fn make_images(envelope: &Map<String, Value>) -> Result<Box<dyn ComputedReply>, String> {
    let mut envelope = envelope.clone();
    let filter = ContentFilter::take(&mut envelope)?;
    Ok(Box::new(FilteredImages { filter, inner: inner::inner_computed(envelope)? }))
}

struct FilteredImages {
    filter: ContentFilter,
    inner: Box<dyn ComputedReply>,
}

impl ComputedReply for FilteredImages {
    fn reader(&self) -> &dyn Reader {
        self.inner.reader()
    }

    fn respond(
        &self,
        parsed: &Parsed<'_>,
        context: &RequestContext<'_>,
        count: TokenCounter<'_>,
    ) -> Result<Response, ApiError> {
        let response = self.inner.respond(parsed, context, count)?;
        let Body::Full(bytes) = &response.body else { return Ok(response) };
        let mut images: Value = serde_json::from_slice(bytes).unwrap_or_default();
        for image in images["data"].as_array_mut().into_iter().flatten() {
            image[COMPLETION_RESULTS] = self.filter.completion.clone();
            image[PROMPT_RESULTS] = self.filter.prompt.clone();
        }
        let content = Body::Full(LAYOUT.write(&images).into());
        Ok(Response { body: content, ..response })
    }
}
