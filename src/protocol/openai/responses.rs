//! `openai-responses`: OpenAI's Responses, whole and streamed, and their compaction.
//!
//! The shapes, the order of the keys and of the events are those of recorded answers of 2026.

mod again;
mod check;
mod compact;
mod items;
mod kept;
mod object;
mod read;
mod stream;

use std::{borrow::Cow, sync::Arc};

use bytes::Bytes;
use serde_json::{Map, Value, json};

pub(in crate::protocol) use self::{again::make as make_again, compact::make as make_compact};
use self::{
    items::{Output, Said, Thoughts, ids},
    object::{Filled, Frame, Shape, State},
    read::{Wishes, wishes},
    stream::{Frames, Stream, events},
};
use crate::protocol::{Protocol, Rendered};
use crate::{
    core::{
        context::RequestContext,
        error::ApiError,
        json,
        prompt::Prompt,
        random::Random,
        reply::{Reply, Usage},
        response::{self, Body, Response, StreamFormat},
    },
    protocol::StoredObjects,
};

/// What the first events of a stream tell.
const FIRST: [(&str, &str); 2] = [("response.created", "in_progress"), ("response.in_progress", "in_progress")];
/// The same for what is made in the background.
const FIRST_QUEUED: [(&str, &str); 3] =
    [("response.created", "queued"), ("response.queued", "queued"), ("response.in_progress", "in_progress")];

/// Makes the dialect; see [`crate::protocol::Make`].
pub(in crate::protocol) fn make(head: &Map<String, Value>) -> Result<Box<dyn Protocol>, String> {
    Ok(Box::new(Responses { frame: Arc::new(Frame::new(head)?) }))
}

struct Responses {
    frame: Arc<Frame>,
}

impl Protocol for Responses {
    fn check(&self, body: json::Object<'_>, context: &RequestContext<'_>) -> Result<(), ApiError> {
        check::check(body, context)
    }

    fn is_plain(&self, body: json::Object<'_>, tokens: u64) -> bool {
        read::is_plain(body, tokens)
    }

    fn read(&self, body: json::Object<'_>, context: &RequestContext<'_>) -> Prompt {
        read::prompt(body, context)
    }

    fn should_store(&self, body: json::Object<'_>) -> Option<bool> {
        Some(wishes(body).keep)
    }

    fn previous_response_id<'m>(&self, body: json::Object<'m>) -> Option<Cow<'m, str>> {
        previous_response_id(body)
    }

    fn load_history(
        &self,
        body: json::Object<'_>,
        context: &RequestContext<'_>,
        kept: &dyn StoredObjects,
    ) -> Result<(), ApiError> {
        load_history(body, context, kept)
    }

    fn render(&self, reply: &Reply, context: Option<&RequestContext<'_>>) -> Box<dyn Rendered> {
        let frame = Arc::clone(&self.frame);
        let Some(context) = context else {
            // Nothing that is said the same every time has calls or seals, and so none of it is drawn.
            let words = |always| {
                let said = Said::new(reply, Thoughts { always, sealed: false }, "", &mut Random::seeded(0));
                Arc::new(Words::new(&said, usage(&reply.usage), None))
            };
            return Box::new(Spelled { frame, words: words(false), thinking: Some(words(true)) });
        };
        let body = context.members().unwrap_or_default();
        let (wishes, thoughts) = (wishes(body), read::thoughts(body, context));
        let quotes =
            reply.choices.iter().flat_map(|choice| &choice.blocks).any(|block| !block.text().citations.is_empty());
        let query = if quotes { read::prompt(body, context).last_user().to_owned() } else { String::new() };
        let said = Said::new(reply, thoughts, &query, &mut context.random.borrow_mut());
        Box::new(Spelled {
            frame,
            words: Arc::new(Words::new(&said, usage(&reply.usage), Some(wishes))),
            thinking: None,
        })
    }
}

/// The response that a request goes on from.
fn previous_response_id(body: json::Object<'_>) -> Option<Cow<'_, str>> {
    body.get("previous_response_id")?.as_str()
}

/// The conversation that a request is part of.
fn conversation(body: json::Object<'_>) -> Option<Cow<'_, str>> {
    let given = body.get("conversation")?;
    given.as_str().or_else(|| given.members()?.get("id")?.as_str())
}

/// Leaves in the scope what has been asked and said in the conversation that a request is part of.
fn load_history(
    body: json::Object<'_>,
    context: &RequestContext<'_>,
    kept: &dyn StoredObjects,
) -> Result<(), ApiError> {
    let Some(id) = conversation(body) else { return Ok(()) };
    if !kept.may_name("conversations", &[], &id) {
        return Err(ApiError::UnknownResource { id: id.into_owned(), noun: "conversation".to_owned() });
    }
    let items: Vec<Value> = kept.all("items", &[&id]).iter().map(|item| Value::clone(item)).collect();
    context.history.replace(vec![Arc::new(json!({"input": items}))]);
    Ok(())
}

/// What a response is said to have cost. The schema wants to know what was written to a cache; recorded answers of older
/// models are silent on it.
fn usage(usage: &Usage) -> Value {
    json!({
        "input_tokens": usage.prompt_tokens,
        "input_tokens_details": {"cache_write_tokens": 0, "cached_tokens": usage.cached_tokens},
        "output_tokens": usage.completion_tokens,
        "output_tokens_details": {"reasoning_tokens": usage.reasoning_tokens},
        "total_tokens": usage.prompt_tokens.saturating_add(usage.completion_tokens),
    })
}

/// A whole answer.
fn json_answer(body: impl Into<Bytes>) -> Response {
    Response::ok("application/json", Body::Full(body.into()))
}

struct Spelled {
    frame: Arc<Frame>,
    words: Arc<Words>,
    /// The same for models that think first, where one spelling serves many requests.
    thinking: Option<Arc<Words>>,
}

/// What the model says, spelled for whole answers and for streams, or for what one request wants.
struct Words {
    /// What the ids of the items begin with.
    prefixes: Vec<&'static str>,
    whole: Output,
    line: Output,
    stream: Stream,
    incomplete: Option<&'static str>,
    usage: Value,
    /// Where the texts of each item are cut, as JSON.
    cuts: Vec<u8>,
}

impl Words {
    fn new(said: &Said<'_>, usage: Value, wishes: Option<Wishes>) -> Self {
        let streams = wishes.is_none_or(|wishes| wishes.stream);
        let wants_whole = wishes.is_none_or(|wishes| !wishes.stream);
        let wants_line = wishes.is_none_or(|wishes| wishes.stream || wishes.keep || wishes.converses);
        let first = if wishes.is_some_and(|wishes| wishes.background) { FIRST_QUEUED.len() } else { FIRST.len() };
        Words {
            prefixes: said.items.iter().map(items::Item::prefix).collect(),
            whole: if wants_whole { said.output(Shape::Whole) } else { Output::default() },
            line: if wants_line { said.output(Shape::Line) } else { Output::default() },
            stream: if streams { events(said, first) } else { Stream::default() },
            incomplete: said.incomplete,
            usage,
            cuts: if wishes.is_none_or(|wishes| wishes.keep) { said.cuts() } else { Vec::new() },
        }
    }

    /// The object once all is said.
    fn after(&self, object: &Filled, output: &Output, ids: &[String]) -> Vec<u8> {
        let (mut out, output) = (Vec::new(), output.with(ids));
        object.put(State::After { incomplete: self.incomplete, output: &output, usage: &self.usage }, &mut out);
        out
    }
}

impl Spelled {
    fn words(&self, context: &RequestContext<'_>) -> &Arc<Words> {
        match &self.thinking {
            Some(thinking) if context.model_facts().is_some_and(|facts| facts.reasoning) => thinking,
            _ => &self.words,
        }
    }

    /// The object and the ids of its items, which are drawn in this order.
    fn drawn(&self, shape: Shape, context: &RequestContext<'_>) -> (Filled, Vec<String>) {
        let object = self.frame.fill(shape, context);
        let ids = ids(&object.id, &self.words(context).prefixes, &mut context.random.borrow_mut());
        (object, ids)
    }
}

impl Rendered for Spelled {
    fn is_deferred(&self, context: &RequestContext<'_>) -> bool {
        context.members().map(wishes).is_ok_and(|wishes| wishes.background && !wishes.stream)
    }

    fn record(&self, context: &RequestContext<'_>) -> Value {
        let (object, ids) = self.drawn(Shape::Line, context);
        let words = self.words(context);
        serde_json::from_slice(&words.after(&object, &words.line, &ids)).unwrap_or_default()
    }

    fn id(&self, context: &RequestContext<'_>) -> Option<String> {
        Some(self.frame.fill(Shape::Line, context).id)
    }

    fn stored(&self, context: &RequestContext<'_>) -> Option<(String, Bytes)> {
        let body = context.members().ok()?;
        let (object, ids) = self.drawn(Shape::Line, context);
        let words = self.words(context);
        let input = kept::items(body, &mut context.random.borrow_mut());
        let whole = words.after(&object, &words.line, &ids);
        let Wishes { background, stream, .. } = wishes(body);
        let before = |status| {
            let mut out = Vec::new();
            object.put(State::Before(status), &mut out);
            out
        };
        let tier = Value::from(object.started_tier()).to_string();
        let told = [br#"{"tier":"#, tier.as_bytes(), br#","cuts":"#, &words.cuts, b"}"].concat();
        let text = match (background, stream) {
            (false, _) => kept::record(&object.id, &whole, None, &input, body, &told),
            // Who reads the stream sees it made.
            (true, true) => kept::record(&object.id, &whole, Some(&[]), &input, body, &told),
            (true, false) => {
                let stages = [before("in_progress"), whole];
                kept::record(&object.id, &before("queued"), Some(&stages), &input, body, &told)
            }
        };
        Some((object.id, text.into()))
    }

    fn store(&self, context: &RequestContext<'_>, kept: &dyn StoredObjects) {
        let Ok(body) = context.members() else { return };
        let Some(conversation) = conversation(body) else { return };
        // What is drawn for the conversation is drawn for the answer: its items have the same ids.
        let random = context.random.borrow().clone();
        let mut response = self.record(context);
        let asked = kept::items(body, &mut context.random.borrow_mut());
        context.random.replace(random);
        let said = response["output"].as_array_mut().map(std::mem::take).unwrap_or_default();
        for item in asked.into_iter().chain(said) {
            if let Some(id) = item["id"].as_str().map(str::to_owned) {
                kept.put("items", &[&conversation], &id, item);
            }
        }
    }

    fn respond(&self, context: &RequestContext<'_>) -> Response {
        let wishes = context.members().map(wishes).unwrap_or_default();
        let words = self.words(context);
        if !wishes.stream {
            let (object, ids) = self.drawn(Shape::Whole, context);
            if !wishes.background {
                return json_answer(words.after(&object, &words.whole, &ids));
            }
            let mut out = Vec::new();
            object.put(State::Before("queued"), &mut out);
            return json_answer(out);
        }
        let (object, ids) = self.drawn(Shape::Line, context);
        let frames = Frames {
            object,
            words: Arc::clone(words),
            ids,
            first: if wishes.background { &FIRST_QUEUED } else { &FIRST },
            next: 0,
            padding: wishes.padded.then(|| context.random.borrow().clone()),
        };
        let frames = response::EventStream { events: Box::new(frames), format: StreamFormat::Named };
        Response::ok("text/event-stream; charset=utf-8", Body::Stream(frames))
    }
}
