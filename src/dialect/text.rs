//! `text`: the protocols that take a text and say one, and have nothing else. The head gives the shapes of each:
//!
//! - `asks`: where in a request the `prompt` stands, and maybe `max_tokens` and `stop` (see [`Place`](path::Place));
//! - `reasons`: what the reply's end is called, by `stop` and `length`, and maybe `content_filter`;
//! - `whole`: a whole answer; `piece`: an event of a stream, with one piece of the text; maybe `first` and `last`: the
//!   events before and after the text;
//! - `framing`: how events are told from each other, if not as server-sent ones; `content_type`: that of a stream, if not
//!   the usual one of its framing.
//!
//! In the shapes, `{{part.text}}` stands for the text or the piece, `{{part.all}}` for all of the text, `{{part.reason}}`
//! for why it ends, and `{{part.input}}`, `{{part.output}}`, `{{part.total}}` for numbers of tokens; in those of a stream
//! `{{part.so_far}}` for how many have been said.

use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderValue, StatusCode, header::CONTENT_TYPE};
use serde::Deserialize;
use serde_json::{Map, Value};

use super::{
    Dialect, Spelling, path,
    shape::{self, Places, put_number},
    streams,
};
use crate::{
    answer::{self, Answer, Content, Frame, Framing, Part},
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
    first: Option<Value>,
    piece: Option<Value>,
    last: Option<Value>,
    #[serde(default)]
    framing: Wrapping,
    content_type: Option<String>,
}

/// Where in a request what is asked stands.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Asks {
    prompt: path::Place,
    max_tokens: Option<path::Place>,
    stop: Option<path::Place>,
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
#[serde(rename_all = "lowercase")]
enum Wrapping {
    /// Server-sent events.
    #[default]
    Events,
    /// Lines of JSON.
    Lines,
}

impl Wrapping {
    fn content_type(self) -> &'static str {
        match self {
            Wrapping::Events => "text/event-stream",
            Wrapping::Lines => "application/x-ndjson",
        }
    }

    fn framing(self) -> Framing {
        match self {
            Wrapping::Events => Framing::Data("\n"),
            Wrapping::Lines => Framing::Lines,
        }
    }
}

/// What stands in a place of a shape.
#[derive(Clone, Copy)]
enum Place {
    Text,
    All,
    Reason,
    Input,
    Output,
    Total,
    SoFar,
}

const PLACES: Places<Place> = &[
    ("text", Place::Text),
    ("all", Place::All),
    ("reason", Place::Reason),
    ("input", Place::Input),
    ("output", Place::Output),
    ("total", Place::Total),
    ("so_far", Place::SoFar),
];

type Shape = shape::Shape<Place>;
type Rendered = shape::Rendered<Place>;

/// Makes the dialect; see [`super::Make`].
pub(super) fn make(head: &Map<String, Value>) -> Result<Box<dyn Dialect>, String> {
    let head = Head::deserialize(Value::Object(head.clone())).map_err(|error| error.to_string())?;
    let shape = |name: &str, value: &Value| Shape::compile(value, PLACES).map_err(|error| format!("`{name}`: {error}"));
    let maybe = |name: &str, value: &Option<Value>| value.as_ref().map(|value| shape(name, value)).transpose();
    let (whole, piece) = (shape("whole", &head.whole)?, maybe("piece", &head.piece)?);
    let (first, last) = (maybe("first", &head.first)?, maybe("last", &head.last)?);
    if piece.is_none() && (first.is_some() || last.is_some()) {
        return Err("`first` and `last` stand around pieces: give `piece` too".to_owned());
    }
    let content_type = head.content_type.as_deref().unwrap_or(head.framing.content_type());
    let content_type = HeaderValue::from_str(content_type).map_err(|error| format!("`content_type`: {error}"))?;
    let (asks, reasons, framing) = (head.asks, head.reasons, head.framing);
    let shapes = Shapes { whole, first, piece, last, framing, content_type };
    Ok(Box::new(TextDialect { asks, reasons, shapes: Arc::new(shapes) }))
}

struct TextDialect {
    asks: Asks,
    reasons: Reasons,
    shapes: Arc<Shapes>,
}

struct Shapes {
    whole: Shape,
    first: Option<Shape>,
    /// Without it nothing is streamed.
    piece: Option<Shape>,
    last: Option<Shape>,
    framing: Wrapping,
    /// That of a stream.
    content_type: HeaderValue,
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
        self.asks.max_tokens.as_ref()?.one(body)?.as_u64()
    }

    fn stop(&self, body: Members<'_>) -> Vec<String> {
        let stop = self.asks.stop.as_ref().and_then(|place| place.one(body));
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
        let text = self.asks.prompt.one(body).map(texts).unwrap_or_default().join("\n");
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
        // Thoughts are not told, and a call of a tool has no other spelling here than its arguments.
        let blocks = reply.choices.first().map_or(&[][..], |choice| &choice.blocks);
        let said = blocks.iter().find(|block| !matches!(block, Block::Reasoning(_)));
        let text = said.map(|block| block.text().clone()).unwrap_or_default();
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
    /// A shape with what is said in it: a piece of the text, after which `so_far` tokens have been said, and which `ends`
    /// it or not.
    fn fill(&self, shape: &Rendered, text: &str, so_far: u64, ends: bool) -> Vec<u8> {
        let Usage { prompt_tokens: input, completion_tokens: output, .. } = self.usage;
        let mut out = Vec::with_capacity(text.len() + 256);
        shape.fill(&mut out, |place, out| match place {
            Place::Text => out.extend_from_slice(Value::from(text).to_string().as_bytes()),
            Place::All => out.extend_from_slice(Value::from(&*self.text.text).to_string().as_bytes()),
            Place::Reason => out.extend_from_slice(if ends { self.reason.as_bytes() } else { b"null" }),
            Place::Input => put_number(input, out),
            Place::Output => put_number(output, out),
            Place::Total => put_number(input.saturating_add(output), out),
            Place::SoFar => put_number(so_far, out),
        });
        out
    }
}

struct Spelled {
    shapes: Arc<Shapes>,
    said: Arc<Said>,
}

impl Spelled {
    fn whole(&self, scope: &Scope<'_>) -> Bytes {
        let said = &self.said;
        said.fill(&self.shapes.whole.render(scope), &said.text.text, said.usage.completion_tokens, true).into()
    }
}

impl Spelling for Spelled {
    fn record(&self, scope: &Scope<'_>) -> Value {
        serde_json::from_slice(&self.whole(scope)).unwrap_or_default()
    }

    fn answer(&self, scope: &Scope<'_>) -> Answer {
        let shapes = &self.shapes;
        let Some(piece) = shapes.piece.as_ref().filter(|_| streams(scope)) else {
            return Answer::said("application/json", Content::Whole(self.whole(scope)));
        };
        let render = |shape: &Option<Shape>| shape.as_ref().map(|shape| shape.render(scope));
        let (first, piece, last) = (render(&shapes.first), piece.render(scope), render(&shapes.last));
        let (said, wrapping) = (Arc::clone(&self.said), shapes.framing);
        let list = Box::new(Frames { said, wrapping, first, piece, last, next: 0, at: 0, ended: false });
        let content = Content::Frames(answer::Frames { list, framing: wrapping.framing() });
        Answer::new(StatusCode::OK, vec![(CONTENT_TYPE, shapes.content_type.clone())], content)
    }
}

/// The frames of one stream, rendered one by one.
struct Frames {
    said: Arc<Said>,
    wrapping: Wrapping,
    first: Option<Rendered>,
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
        }
    }
}

impl Iterator for Frames {
    type Item = Frame;

    fn next(&mut self) -> Option<Frame> {
        if let Some(first) = self.first.take() {
            return Some(Frame::said(self.wrap(self.said.fill(&first, "", 0, false)), 0));
        }
        let Text { text, ends, tokens, .. } = &self.said.text;
        if let Some(end) = ends.get(self.next).copied() {
            let piece = &text[self.at..end];
            (self.next, self.at) = (self.next + 1, end);
            // Without an event of its own, the end is told with the last piece.
            let ends = self.last.is_none() && self.next == ends.len();
            let bytes = self.wrap(self.said.fill(&self.piece, piece, self.next as u64, ends));
            return Some(Frame { bytes, part: if ends { Part::Finish } else { Part::Said }, tokens: 1 });
        }
        if std::mem::replace(&mut self.ended, true) {
            return None;
        }
        // A stream says something, even if the model does not.
        let last = self.last.as_ref().or(Some(&self.piece).filter(|_| ends.is_empty()))?;
        let bytes = self.wrap(self.said.fill(last, "", *tokens, true));
        Some(Frame { bytes, part: Part::Finish, tokens: 0 })
    }
}
