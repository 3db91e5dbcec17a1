//! `text`: the protocols that take a text and say one, and have nothing else. The head gives the shapes of each:
//!
//! - `asks`: the paths of the request's members that give the `prompt`, and maybe `max_tokens` and `stop`; a step of a
//!   path is the name of a member or the number of an item;
//! - `reasons`: what the reply's end is called, by `stop` and `length`, and maybe `content_filter`;
//! - `whole`: a whole answer; `piece`: an event of a stream, with one piece of the text; maybe `last`: the event after
//!   the text;
//! - `framing`: how events are told from each other, if not as server-sent ones.
//!
//! In the shapes, `{{part.text}}` stands for the text or the piece, `{{part.reason}}` for why it ends, and
//! `{{part.input}}`, `{{part.output}}`, `{{part.total}}` for numbers of tokens; in those of a stream `{{part.so_far}}` for
//! how many have been said.

mod shape;

use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderValue, StatusCode, header::CONTENT_TYPE};
use serde::Deserialize;
use serde_json::{Map, Value};

use self::shape::{Rendered, Shape, Values};
use super::{Dialect, Spelling, streams};
use crate::{
    answer::{self, Answer, Content, Frame, Framing, Part, event_stream},
    error::ApiError,
    prompt::{Prompt, Turn},
    reply::{Block, FinishReason, Reply, Text, Usage},
    request::members::{Members, Raw},
    template::scope::Scope,
};

/// The head, as it is written.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Head {
    asks: Asks,
    reasons: Reasons,
    whole: Value,
    piece: Option<Value>,
    last: Option<Value>,
    #[serde(default)]
    framing: Wrapping,
}

/// Where in a request what is asked stands.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Asks {
    prompt: String,
    max_tokens: Option<String>,
    stop: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Reasons {
    stop: Value,
    length: Value,
    content_filter: Option<Value>,
}

/// How the events of a stream are told from each other.
#[derive(Clone, Copy, Default, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Wrapping {
    /// Server-sent events.
    #[default]
    Events,
    /// Lines of JSON.
    Lines,
    /// Server-sent events, each in a binary frame.
    PayloadParts,
}

/// Makes the dialect; see [`super::Make`].
pub(super) fn make(head: &Map<String, Value>) -> Result<Box<dyn Dialect>, String> {
    let head = Head::deserialize(Value::Object(head.clone())).map_err(|error| error.to_string())?;
    let shape = |name: &str, value: &Value| Shape::compile(value).map_err(|error| format!("`{name}`: {error}"));
    let maybe = |name: &str, value: &Option<Value>| value.as_ref().map(|value| shape(name, value)).transpose();
    let (whole, piece, last) = (shape("whole", &head.whole)?, maybe("piece", &head.piece)?, maybe("last", &head.last)?);
    if last.is_some() && piece.is_none() {
        return Err("`last` follows pieces: give `piece` too".to_owned());
    }
    let (asks, reasons, framing) = (head.asks, head.reasons, head.framing);
    Ok(Box::new(TextDialect { asks, reasons, shapes: Arc::new(Shapes { whole, piece, last, framing }) }))
}

struct TextDialect {
    asks: Asks,
    reasons: Reasons,
    shapes: Arc<Shapes>,
}

struct Shapes {
    whole: Shape,
    /// Without it nothing is streamed.
    piece: Option<Shape>,
    last: Option<Shape>,
    framing: Wrapping,
}

/// A value by its path.
fn at<'m>(body: Members<'m>, path: &str) -> Option<Raw<'m>> {
    let mut steps = path.split('.');
    let first = body.get(steps.next()?)?;
    steps.try_fold(first, |value, step| match (value.members(), step.parse::<usize>()) {
        (Some(members), _) => members.get(step),
        (None, Ok(number)) => value.items().into_iter().nth(number),
        (None, Err(_)) => None,
    })
}

/// A text, or several.
fn texts(value: Raw<'_>) -> Vec<String> {
    match value.as_str() {
        Some(text) => vec![text.into_owned()],
        None => value.items().into_iter().filter_map(|item| Some(item.as_str()?.into_owned())).collect(),
    }
}

impl TextDialect {
    fn max_tokens(&self, body: Members<'_>) -> Option<u64> {
        at(body, self.asks.max_tokens.as_deref()?)?.as_u64()
    }

    fn stop(&self, body: Members<'_>) -> Vec<String> {
        let stop = self.asks.stop.as_deref().and_then(|path| at(body, path));
        stop.map(texts).unwrap_or_default()
    }

    fn reason(&self, reply: &Reply) -> &Value {
        let Reasons { stop, length, content_filter } = &self.reasons;
        match reply.choices.first().map(|choice| choice.finish_reason) {
            Some(FinishReason::Length) => length,
            Some(FinishReason::ContentFilter) => content_filter.as_ref().unwrap_or(stop),
            _ => stop,
        }
    }
}

impl Dialect for TextDialect {
    fn check(&self, body: Members<'_>, scope: &Scope<'_>) -> Result<(), ApiError> {
        match (self.max_tokens(body), scope.model_facts()) {
            (Some(asked), Some(facts)) => facts.can_say("max_tokens", asked),
            _ => Ok(()),
        }
    }

    fn is_plain(&self, body: Members<'_>, tokens: u64) -> bool {
        self.max_tokens(body).is_none_or(|most| most >= tokens) && self.stop(body).is_empty()
    }

    fn read(&self, body: Members<'_>, scope: &Scope<'_>) -> Prompt {
        let text = at(body, &self.asks.prompt).map(texts).unwrap_or_default().join("\n");
        Prompt {
            model: scope.model().into_owned(),
            turns: vec![Turn { text, ..Turn::default() }],
            max_tokens: self.max_tokens(body),
            n: 1,
            stop: self.stop(body),
            ..Prompt::default()
        }
    }

    fn spell(&self, reply: &Reply, _: Option<&Scope<'_>>) -> Box<dyn Spelling> {
        // Nobody can call a tool in these protocols, and thoughts are not told.
        let text = |block: &Block| match block {
            Block::Text(text) | Block::Refusal(text) | Block::Audio(text) => Some(text.clone()),
            Block::Reasoning(_) | Block::ToolCall(_) => None,
        };
        let blocks = reply.choices.first().map_or(&[][..], |choice| &choice.blocks);
        let text = blocks.iter().find_map(text).unwrap_or_default();
        let reason = self.reason(reply).to_string();
        Box::new(Spelled {
            shapes: Arc::clone(&self.shapes),
            said: Arc::new(Said { text, reason, usage: reply.usage }),
        })
    }
}

struct Said {
    text: Text,
    /// As JSON.
    reason: String,
    usage: Usage,
}

impl Said {
    fn values<'a>(&'a self, text: &'a str, so_far: u64, ends: bool) -> Values<'a> {
        let reason = if ends { &self.reason } else { "null" };
        Values { text, reason, input: self.usage.prompt_tokens, output: self.usage.completion_tokens, so_far }
    }
}

struct Spelled {
    shapes: Arc<Shapes>,
    said: Arc<Said>,
}

impl Spelled {
    fn whole(&self, scope: &Scope<'_>) -> Bytes {
        let said = &self.said;
        self.shapes.whole.render(scope).fill(&said.values(&said.text.text, said.usage.completion_tokens, true)).into()
    }
}

impl Spelling for Spelled {
    fn record(&self, scope: &Scope<'_>) -> Value {
        serde_json::from_slice(&self.whole(scope)).unwrap_or_default()
    }

    fn answer(&self, scope: &Scope<'_>) -> Answer {
        let (content_type, content) = match &self.shapes.piece {
            Some(piece) if streams(scope) => {
                let piece = piece.render(scope);
                let last = self.shapes.last.as_ref().map(|last| last.render(scope));
                let (said, wrapping) = (Arc::clone(&self.said), self.shapes.framing);
                let list = Box::new(Frames { said, wrapping, piece, last, next: 0, at: 0, ended: false });
                let (content_type, framing) = match wrapping {
                    Wrapping::Events => ("text/event-stream", Framing::Data("\n")),
                    Wrapping::Lines => ("application/x-ndjson", Framing::Lines),
                    Wrapping::PayloadParts => ("application/vnd.amazon.eventstream", Framing::Binary),
                };
                (content_type, Content::Frames(answer::Frames { list, framing }))
            }
            _ => ("application/json", Content::Whole(self.whole(scope))),
        };
        Answer::new(StatusCode::OK, vec![(CONTENT_TYPE, HeaderValue::from_static(content_type))], content)
    }
}

/// The frames of one stream, rendered one by one.
struct Frames {
    said: Arc<Said>,
    wrapping: Wrapping,
    piece: Rendered,
    last: Option<Rendered>,
    next: usize,
    /// How far the text has been said, in bytes.
    at: usize,
    ended: bool,
}

impl Frames {
    fn wrap(&self, event: Vec<u8>) -> Bytes {
        match self.wrapping {
            Wrapping::Events => [b"data: ", &*event, b"\n\n"].concat().into(),
            Wrapping::Lines => [&*event, b"\n"].concat().into(),
            Wrapping::PayloadParts => {
                let payload = [b"data:", &*event, b"\n\n"].concat();
                event_stream::event("PayloadPart", "application/octet-stream", &payload)
            }
        }
    }
}

impl Iterator for Frames {
    type Item = Frame;

    fn next(&mut self) -> Option<Frame> {
        let Text { text, ends, tokens, .. } = &self.said.text;
        if let Some(end) = ends.get(self.next).copied() {
            let piece = &text[self.at..end];
            (self.next, self.at) = (self.next + 1, end);
            // Without an event of its own, the end is told with the last piece.
            let ends = self.last.is_none() && self.next == ends.len();
            let bytes = self.wrap(self.piece.fill(&self.said.values(piece, self.next as u64, ends)));
            return Some(Frame { bytes, part: if ends { Part::Finish } else { Part::Said }, tokens: 1 });
        }
        if std::mem::replace(&mut self.ended, true) {
            return None;
        }
        let bytes = self.wrap(self.last.as_ref()?.fill(&self.said.values("", *tokens, true)));
        Some(Frame { bytes, part: Part::Finish, tokens: 0 })
    }
}
