//! `openai-response`: a stored response, full or as the same events as when it was created.

use std::sync::Arc;

use serde_json::{Map, Value};

use super::{
    FIRST_EVENTS, FIRST_EVENTS_QUEUED, ResponseTexts,
    items::{ContentPart, Item, OutputItems},
    json_response,
    object::ResponseObject,
    stream::ResponseEvents,
};
use crate::{
    core::{
        context::RequestContext,
        error::ApiError,
        json,
        prompt::Prompt,
        random::Random,
        reply::{Citation, Text, ToolCall, ToolKind},
        response::{self, Body, Response, StreamFormat, WrittenEvents},
        template::{Layout, query},
    },
    protocol::{ComputedReply, Parsed, Reader, TokenCounter},
};

/// Creates the protocol; see [`crate::protocol::MakeComputedReply`].
pub(in crate::protocol) fn make(head: &Map<String, Value>) -> Result<Box<dyn ComputedReply>, String> {
    match head.keys().next() {
        None => Ok(Box::new(Retrieve)),
        Some(name) => Err(format!("unknown key `{name}`; remove it, a stored response has all its members")),
    }
}

struct Retrieve;

impl Reader for Retrieve {
    fn check(&self, _: json::Object<'_>, _: &RequestContext<'_>) -> Result<(), ApiError> {
        Ok(())
    }

    fn prompt(&self, _: json::Object<'_>, _: &RequestContext<'_>, _: &[Arc<Value>]) -> Prompt {
        Prompt::default()
    }
}

impl ComputedReply for Retrieve {
    fn reader(&self) -> &dyn Reader {
        self
    }

    fn respond(
        &self,
        parsed: &Parsed<'_>,
        context: &RequestContext<'_>,
        _: TokenCounter<'_>,
    ) -> Result<Response, ApiError> {
        let found = parsed.object.as_ref().unwrap_or(&Value::Null);
        let parameter = |name: &str| query(context.request.query, name);
        if parameter("stream").as_deref() != Some("true") {
            return Ok(json_response(Layout { indent: 2, newline: false }.write(&found["answer"])));
        }
        // The number of the last event that the client has received.
        let seen = parameter("starting_after").and_then(|number| number.parse::<usize>().ok());
        let from = seen.map_or(0, |seen| seen.saturating_add(1));
        let is_padded = parameter("include_obfuscation").as_deref() != Some("false");
        let random = is_padded.then(|| context.random.borrow().clone());
        let list = events(found, random).skip(from);
        let events = Body::Stream(response::EventStream::new(list, StreamFormat::Numbered));
        Ok(Response::ok("text/event-stream; charset=utf-8", events))
    }
}

/// Splits a text at the stored offsets, except for those that are no character boundaries.
fn text(text: &Value, cuts: &Value) -> Text {
    let text = text.as_str().unwrap_or_default().to_owned();
    let ends = cuts.as_array().into_iter().flatten().filter_map(|end| usize::try_from(end.as_u64()?).ok());
    let ends: Vec<_> = ends.filter(|end| text.is_char_boundary(*end)).collect();
    Text::written(text, ends, 0)
}

fn citation(annotation: &Value) -> Citation {
    let number = |name: &str| usize::try_from(annotation[name].as_u64().unwrap_or_default()).unwrap_or_default();
    let text = |name: &str| annotation[name].as_str().unwrap_or_default().to_owned();
    Citation { start: number("start_index"), end: number("end_index"), url: text("url"), title: text("title") }
}

/// Converts a stored output item back. `cuts` are the stored offsets of its text.
fn item(item: &Value, cuts: &Value) -> Option<Item> {
    let string = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let call = |kind, arguments| {
        let call = ToolCall { kind, name: string(&item["name"]), arguments: text(arguments, cuts) };
        Item::Call(call, string(&item["call_id"]))
    };
    let part = &item["content"][0];
    Some(match item["type"].as_str()? {
        "message" if part["type"] == "refusal" => Item::Message(ContentPart::Refusal(text(&part["refusal"], cuts))),
        "message" => {
            let citations = part["annotations"].as_array().into_iter().flatten().map(citation).collect();
            Item::Message(ContentPart::Text(text(&part["text"], cuts).with_citations(citations)))
        }
        "reasoning" => {
            let summary = item["summary"].get(0).filter(|part| part.is_object());
            let encrypted = item["encrypted_content"].as_str().map(str::to_owned);
            Item::Reasoning { summary: summary.map(|part| text(&part["text"], cuts)), encrypted }
        }
        "web_search_call" => Item::Search { query: string(&item["action"]["query"]) },
        "function_call" => call(ToolKind::Function, &item["arguments"]),
        "custom_tool_call" => call(ToolKind::Custom, &item["input"]),
        _ => return None,
    })
}

/// Renders all events of a stored response. One that was cancelled before it finished has only the first events.
fn events(record: &Value, padding: Option<Random>) -> impl Iterator<Item = response::StreamEvent> + Send + use<> {
    let (response, replay) = (&record["answer"], &record["told"]);
    let output = response["output"].as_array().map_or(&[][..], Vec::as_slice);
    let string = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let list = output.iter().enumerate().filter_map(|(n, value)| item(value, &replay["cuts"][n])).collect();
    let incomplete = match response["incomplete_details"]["reason"].as_str() {
        Some("content_filter") => Some("content_filter"),
        Some(_) => Some("max_output_tokens"),
        None => None,
    };
    let background = response["background"] == true;
    let first: &[_] = if background { &FIRST_EVENTS_QUEUED } else { &FIRST_EVENTS };
    let is_finished = matches!(response["status"].as_str(), Some("completed" | "incomplete"));
    let texts = ResponseTexts::new(OutputItems { list, incomplete }, response["usage"].clone(), None, false);
    let object = ResponseObject::stored(response, replay["tier"].as_str().unwrap_or("auto"));
    let ids = output.iter().map(|item| string(&item["id"])).collect();
    let padding = padding.filter(|_| !background);
    let events = ResponseEvents::new(object, Arc::new(texts), ids, first, padding);
    WrittenEvents::new(events).take(if is_finished { usize::MAX } else { first.len() })
}
