//! `filtered`: another dialect of OpenAI's behind Azure's filter, the one that the head names as `of`; `filtered-images` is
//! the same for images. The head gives what the filter finds: `prompt` in what is asked, `said` in what is said, and
//! `blocked` in what it stopped. What stands here reads again what the other dialect has written; chats, of which there are
//! more than of all else, are spelled so at once by their own dialect.
//!
//! As recorded, whole answers and events have their keys in the order of the alphabet and on one line, and a stream begins
//! with an event that has no choices.

use bytes::Bytes;
use serde_json::{Map, Value, json};

use super::inner;
use crate::core::{
    context::RequestContext,
    error::ApiError,
    json,
    limit_status::Cost,
    prompt::Prompt,
    reply::Reply,
    response::{Body, EventStream, Response, StreamEvent},
    template::Layout,
};
use crate::protocol::{ComputedReply, Protocol, Rendered, TokenCounter, envelope::LAYOUT, events::event_data};

/// The member of a choice, and of an image, that tells what was found in it.
const FOUND: &str = "content_filter_results";
/// The member of an answer that tells what was found in the prompts.
pub(in crate::protocol) const PROMPT_RESULTS: &str = "prompt_filter_results";

/// What the filter finds, by category.
#[derive(Clone)]
pub(in crate::protocol) struct ContentFilter {
    prompt: Value,
    pub(in crate::protocol) said: Value,
    blocked: Value,
}

impl ContentFilter {
    /// Takes what the head says of it.
    pub(in crate::protocol) fn take(head: &mut Map<String, Value>) -> Result<Self, String> {
        let mut take = |name: &str| match head.shift_remove(name) {
            Some(value @ Value::Object(_)) => Ok(value),
            _ => Err(format!("`head` lacks `{name}`: an object of what is found, by category")),
        };
        Ok(ContentFilter { prompt: take("prompt")?, said: take("said")?, blocked: take("blocked")? })
    }

    /// What was found in the prompts, in the recorded order: not that of the alphabet.
    pub(in crate::protocol) fn prompt_results(&self) -> Value {
        json!([{"prompt_index": 0, FOUND: self.prompt}])
    }

    /// Adds to each choice what was found in it; what says nothing has nothing.
    pub(in crate::protocol) fn annotate(&self, choices: &mut Value) {
        for choice in choices.as_array_mut().into_iter().flatten() {
            let says = |part: &Value| part.as_str().is_some_and(|text| !text.is_empty());
            let said = [&choice["message"]["content"], &choice["delta"]["content"], &choice["text"]];
            let found = match said.into_iter().any(says) {
                _ if choice["finish_reason"] == "content_filter" => self.blocked.clone(),
                true => self.said.clone(),
                false => json!({}),
            };
            choice[FOUND] = found;
        }
    }

    fn whole(&self, bytes: &Bytes) -> Vec<u8> {
        let mut response: Value = serde_json::from_slice(bytes).unwrap_or_default();
        self.annotate(&mut response["choices"]);
        response[PROMPT_RESULTS] = Value::Null;
        response.sort_all_objects();
        // Recorded: in here the order is another.
        response[PROMPT_RESULTS] = self.prompt_results();
        Layout { indent: 0, newline: true }.write(&response)
    }

    /// What comes before all other events.
    pub(in crate::protocol) fn first_event(&self) -> Bytes {
        let prompts = self.prompt_results();
        let event = json!({"choices": [], "created": 0, "id": "", "model": "", "object": "", PROMPT_RESULTS: prompts});
        format!("data: {event}\n\n").into()
    }

    fn event(&self, frame: StreamEvent) -> StreamEvent {
        let Ok(mut event) = serde_json::from_slice::<Value>(&event_data(&frame.bytes)) else { return frame };
        self.annotate(&mut event["choices"]);
        event.sort_all_objects();
        StreamEvent { bytes: format!("data: {event}\n\n").into(), ..frame }
    }
}

/// Makes the dialect; see [`crate::protocol::Make`].
pub(in crate::protocol) fn make(head: &Map<String, Value>) -> Result<Box<dyn Protocol>, String> {
    let mut head = head.clone();
    let filter = ContentFilter::take(&mut head)?;
    Ok(Box::new(Filtered { filter, of: inner::inside(head)? }))
}

struct Filtered {
    filter: ContentFilter,
    of: Box<dyn Protocol>,
}

impl Protocol for Filtered {
    fn check(&self, body: json::Object<'_>, context: &RequestContext<'_>) -> Result<(), ApiError> {
        self.of.check(body, context)
    }

    fn is_plain(&self, body: json::Object<'_>, tokens: u64) -> bool {
        self.of.is_plain(body, tokens)
    }

    fn read(&self, body: json::Object<'_>, context: &RequestContext<'_>) -> Prompt {
        self.of.read(body, context)
    }

    fn cost(&self, body: json::Object<'_>, context: &RequestContext<'_>) -> Cost {
        self.of.cost(body, context)
    }

    fn should_store(&self, body: json::Object<'_>) -> Option<bool> {
        self.of.should_store(body)
    }

    fn render(&self, reply: &Reply, context: Option<&RequestContext<'_>>) -> Box<dyn Rendered> {
        Box::new(Spelled { filter: self.filter.clone(), of: self.of.render(reply, context) })
    }
}

struct Spelled {
    filter: ContentFilter,
    of: Box<dyn Rendered>,
}

impl Rendered for Spelled {
    fn record(&self, context: &RequestContext<'_>) -> Value {
        self.of.record(context)
    }

    fn id(&self, context: &RequestContext<'_>) -> Option<String> {
        self.of.id(context)
    }

    fn respond(&self, context: &RequestContext<'_>) -> Response {
        let response = self.of.respond(context);
        let content = match response.content {
            Body::Full(bytes) => Body::Full(self.filter.whole(&bytes).into()),
            Body::Stream(EventStream { list, framing }) => {
                let filter = self.filter.clone();
                let list = std::iter::once(StreamEvent::said(filter.first_event(), 0))
                    .chain(list.map(move |frame| filter.event(frame)));
                Body::Stream(EventStream { list: Box::new(list), framing })
            }
            content => content,
        };
        Response { content, ..response }
    }
}

/// Makes the dialect of images; see [`crate::protocol::MakeComputedReply`].
pub(in crate::protocol) fn make_images(head: &Map<String, Value>) -> Result<Box<dyn ComputedReply>, String> {
    let mut head = head.clone();
    let filter = ContentFilter::take(&mut head)?;
    Ok(Box::new(FilteredImages { filter, of: inner::computing_inside(head)? }))
}

struct FilteredImages {
    filter: ContentFilter,
    of: Box<dyn ComputedReply>,
}

impl ComputedReply for FilteredImages {
    fn check(&self, body: json::Object<'_>, context: &RequestContext<'_>) -> Result<(), ApiError> {
        self.of.check(body, context)
    }

    fn read(&self, body: json::Object<'_>, context: &RequestContext<'_>) -> Prompt {
        self.of.read(body, context)
    }

    fn cost(&self, body: json::Object<'_>, context: &RequestContext<'_>) -> Cost {
        self.of.cost(body, context)
    }

    fn respond(
        &self,
        body: json::Object<'_>,
        context: &RequestContext<'_>,
        count: TokenCounter<'_>,
    ) -> Result<Response, ApiError> {
        let response = self.of.respond(body, context, count)?;
        let Body::Full(bytes) = &response.content else { return Ok(response) };
        let mut whole: Value = serde_json::from_slice(bytes).unwrap_or_default();
        for image in whole["data"].as_array_mut().into_iter().flatten() {
            image[FOUND] = self.filter.said.clone();
            image[PROMPT_RESULTS] = self.filter.prompt.clone();
        }
        let content = Body::Full(LAYOUT.write(&whole).into());
        Ok(Response { content, ..response })
    }
}
