//! `openai-response`: a response that is kept, told once more: whole, or event by event as it was told when it was made.

use std::sync::Arc;

use serde_json::{Map, Value};

use super::{
    FIRST, FIRST_QUEUED, Words,
    items::{Item, Part, Said},
    json_answer,
    object::Filled,
    read::Wishes,
    stream::Frames,
};
use crate::{
    core::{
        context::RequestContext,
        error::ApiError,
        json,
        prompt::Prompt,
        random::Random,
        reply::{Citation, Text, ToolCall, ToolKind},
        response::{self, Body, Response, StreamFormat},
        template::{Layout, query},
    },
    protocol::{ComputedReply, TokenCounter},
};

/// Makes the dialect; see [`crate::protocol::MakeComputedReply`].
pub(in crate::protocol) fn make(head: &Map<String, Value>) -> Result<Box<dyn ComputedReply>, String> {
    match head.keys().next() {
        None => Ok(Box::new(Again)),
        Some(name) => Err(format!("`head` has `{name}`: what is kept has all its members")),
    }
}

struct Again;

impl ComputedReply for Again {
    fn check(&self, _: json::Object<'_>, _: &RequestContext<'_>) -> Result<(), ApiError> {
        Ok(())
    }

    fn read(&self, _: json::Object<'_>, _: &RequestContext<'_>) -> Prompt {
        Prompt::default()
    }

    fn respond(
        &self,
        _: json::Object<'_>,
        context: &RequestContext<'_>,
        _: TokenCounter<'_>,
    ) -> Result<Response, ApiError> {
        let found = Arc::clone(&context.resource.borrow());
        let asked = |name: &str| query(context.request.query, name);
        if asked("stream").as_deref() != Some("true") {
            return Ok(json_answer(Layout { indent: 2, newline: false }.write(&found["answer"])));
        }
        // The number of the last event that the client has seen.
        let seen = asked("starting_after").and_then(|number| number.parse::<usize>().ok());
        let from = seen.map_or(0, |seen| seen.saturating_add(1));
        let is_padded = asked("include_obfuscation").as_deref() != Some("false");
        let random = is_padded.then(|| context.random.borrow().clone());
        let frames = Body::Stream(response::EventStream {
            events: Box::new(frames(&found, random).skip(from)),
            format: StreamFormat::Named,
        });
        Ok(Response::ok("text/event-stream; charset=utf-8", frames))
    }
}

/// The pieces of a text, if it is cut as it is kept to have been.
fn text(text: &Value, cuts: &Value) -> Text {
    let text = text.as_str().unwrap_or_default().to_owned();
    let ends = cuts.as_array().into_iter().flatten().filter_map(|end| usize::try_from(end.as_u64()?).ok());
    let ends: Vec<_> = ends.filter(|end| text.is_char_boundary(*end)).collect();
    Text { text, ends, ..Text::default() }
}

/// What an item of a kept output says.
enum Kept {
    Text(Text),
    Refusal(Text),
    Call(ToolCall),
    Other,
}

fn kept(item: &Value, cuts: &Value) -> Kept {
    let call = |kind, arguments| {
        let name = item["name"].as_str().unwrap_or_default().to_owned();
        Kept::Call(ToolCall { kind, name, arguments: text(arguments, cuts) })
    };
    let part = &item["content"][0];
    match item["type"].as_str() {
        Some("message") if part["type"] == "refusal" => Kept::Refusal(text(&part["refusal"], cuts)),
        Some("message") => {
            let citations = part["annotations"].as_array().into_iter().flatten().map(citation).collect();
            Kept::Text(Text { citations, ..text(&part["text"], cuts) })
        }
        Some("reasoning") if item["summary"][0].is_object() => Kept::Text(text(&item["summary"][0]["text"], cuts)),
        Some("function_call") => call(ToolKind::Function, &item["arguments"]),
        Some("custom_tool_call") => call(ToolKind::Custom, &item["input"]),
        _ => Kept::Other,
    }
}

fn citation(annotation: &Value) -> Citation {
    let number = |name: &str| usize::try_from(annotation[name].as_u64().unwrap_or_default()).unwrap_or_default();
    let text = |name: &str| annotation[name].as_str().unwrap_or_default().to_owned();
    Citation { start: number("start_index"), end: number("end_index"), url: text("url"), title: text("title") }
}

/// An item of a kept output as it was said.
fn again<'k>(item: &'k Value, text: &'k Kept) -> Option<Item<'k>> {
    let string = |value: &'k Value| value.as_str().unwrap_or_default();
    Some(match (string(&item["type"]), text) {
        ("reasoning", text) => {
            let summary = if let Kept::Text(text) = text { Some(text) } else { None };
            Item::Reasoning { summary, seal: item["encrypted_content"].as_str().map(str::to_owned) }
        }
        ("web_search_call", _) => Item::Search { query: string(&item["action"]["query"]) },
        (_, Kept::Text(text)) => Item::Message(Part::Text(text)),
        (_, Kept::Refusal(text)) => Item::Message(Part::Refusal(text)),
        (_, Kept::Call(call)) => Item::Call(call, string(&item["call_id"]).to_owned()),
        (_, Kept::Other) => return None,
    })
}

/// All events of what is kept. One that was given up before it was made has no more than the first of them.
fn frames(record: &Value, padding: Option<Random>) -> impl Iterator<Item = response::StreamEvent> + Send + use<> {
    let (response, told) = (&record["answer"], &record["told"]);
    let output = response["output"].as_array().map_or(&[][..], Vec::as_slice);
    let string = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let texts: Vec<_> = output.iter().enumerate().map(|(n, item)| kept(item, &told["cuts"][n])).collect();
    let items: Vec<Item<'_>> = output.iter().zip(&texts).filter_map(|(item, text)| again(item, text)).collect();
    let incomplete = match response["incomplete_details"]["reason"].as_str() {
        Some("content_filter") => Some("content_filter"),
        Some(_) => Some("max_output_tokens"),
        None => None,
    };
    let background = response["background"] == true;
    let first: &[_] = if background { &FIRST_QUEUED } else { &FIRST };
    let is_made = matches!(response["status"].as_str(), Some("completed" | "incomplete"));
    let wishes = Wishes { stream: true, background, ..Wishes::default() };
    let words = Words::new(&Said { items, incomplete }, response["usage"].clone(), Some(wishes));
    let object = Filled::kept(response, told["tier"].as_str().unwrap_or("auto"));
    let ids = output.iter().map(|item| string(&item["id"])).collect();
    let padding = padding.filter(|_| !background);
    let frames = Frames { object, words: Arc::new(words), ids, first, next: 0, padding };
    frames.take(if is_made { usize::MAX } else { first.len() })
}
