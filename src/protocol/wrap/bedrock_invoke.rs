//! `bedrock-invoke`: InvokeModel. A model's own protocol, which the head names as `of`, with the numbers in headers; in a stream each of
//! its events is a frame with the event in base64.

use base64::{Engine, prelude::BASE64_STANDARD as BASE64};
use http::{HeaderName, HeaderValue, header::CONTENT_TYPE};
use serde_json::{Map, Value};

use super::inner;
use crate::protocol::bedrock::padding;
use crate::{
    core::{
        context::Scope,
        error::ApiError,
        json::Members,
        limit_status::Cost,
        prompt::Prompt,
        random::Random,
        reply::{Reply, Usage},
        response::{Answer, Content, Frame, Frames, Framing, event_stream},
    },
    protocol::{Computed, Count, Dialect, Spelling, events::data, streams},
};

/// The head's field that names what the model's protocol gives and Bedrock leaves out: the types of events.
const WITHOUT: &str = "without";
/// How long an answer is said to have taken, in milliseconds: all of it, and until its first byte. What it really took
/// would be told differently each time.
const LATENCY: (u64, u64) = (489, 310);

/// Makes the dialect; see [`crate::protocol::Make`]. What else stands in the head is that of the model's own protocol.
pub(in crate::protocol) fn make(head: &Map<String, Value>) -> Result<Box<dyn Dialect>, String> {
    let mut head = head.clone();
    let without = match head.shift_remove(WITHOUT) {
        None => Vec::new(),
        Some(names) => serde_json::from_value(names).map_err(|error| format!("`{WITHOUT}` in `head`: {error}"))?,
    };
    Ok(Box::new(Invoke { of: inner::inside(head)?, without }))
}

/// Makes the dialect of models that compute, such as those for vectors; see [`crate::protocol::MakeComputed`].
pub(in crate::protocol) fn make_computed(head: &Map<String, Value>) -> Result<Box<dyn Computed>, String> {
    Ok(Box::new(InvokeComputed(inner::computing_inside(head.clone())?)))
}

struct InvokeComputed(Box<dyn Computed>);

impl Computed for InvokeComputed {
    fn check(&self, body: Members<'_>, scope: &Scope<'_>) -> Result<(), ApiError> {
        self.0.check(body, scope)
    }

    fn read(&self, body: Members<'_>, scope: &Scope<'_>) -> Prompt {
        self.0.read(body, scope)
    }

    fn cost(&self, body: Members<'_>, scope: &Scope<'_>) -> Cost {
        self.0.cost(body, scope)
    }

    fn answer(&self, body: Members<'_>, scope: &Scope<'_>, count: Count<'_>) -> Result<Answer, ApiError> {
        let mut answer = self.0.answer(body, scope, count)?;
        let Cost { input, output } = answer.cost.unwrap_or_default();
        answer.headers.extend(told([input, output, 0]));
        Ok(answer)
    }
}

/// The headers that tell what an answer has cost: tokens of the prompt, of the reply, and of the prompt from a cache.
fn told([input, output, cached]: [u64; 3]) -> [(HeaderName, HeaderValue); 5] {
    let told = [
        ("x-amzn-bedrock-input-token-count", input),
        ("x-amzn-bedrock-output-token-count", output),
        ("x-amzn-bedrock-cache-read-input-token-count", cached),
        ("x-amzn-bedrock-cache-write-input-token-count", 0),
        ("x-amzn-bedrock-invocation-latency", LATENCY.0),
    ];
    told.map(|(name, number)| (HeaderName::from_static(name), HeaderValue::from(number)))
}

struct Invoke {
    of: Box<dyn Dialect>,
    without: Vec<String>,
}

impl Dialect for Invoke {
    fn check(&self, body: Members<'_>, scope: &Scope<'_>) -> Result<(), ApiError> {
        self.of.check(body, scope)
    }

    fn is_plain(&self, body: Members<'_>, tokens: u64) -> bool {
        self.of.is_plain(body, tokens)
    }

    fn read(&self, body: Members<'_>, scope: &Scope<'_>) -> Prompt {
        self.of.read(body, scope)
    }

    fn cost(&self, body: Members<'_>, scope: &Scope<'_>) -> Cost {
        self.of.cost(body, scope)
    }

    fn says(&self) -> bool {
        self.of.says()
    }

    fn spell(&self, reply: &Reply, scope: Option<&Scope<'_>>) -> Box<dyn Spelling> {
        Box::new(Spelled { of: self.of.spell(reply, scope), without: self.without.clone(), usage: reply.usage })
    }
}

struct Spelled {
    of: Box<dyn Spelling>,
    without: Vec<String>,
    usage: Usage,
}

impl Spelling for Spelled {
    fn record(&self, scope: &Scope<'_>) -> Value {
        self.of.record(scope)
    }

    fn answer(&self, scope: &Scope<'_>) -> Answer {
        let mut answer = self.of.answer(scope);
        if let (Content::Whole(bytes), true) = (&answer.content, streams(scope)) {
            // A protocol that wants to be asked for a stream in the body, and was not, says all in one event.
            let list = Box::new(std::iter::once(Frame::said(bytes.clone(), 0)));
            answer.content = Content::Frames(Frames { list, framing: Framing::Lines });
        }
        let Usage { prompt_tokens: input, completion_tokens: output, cached_tokens: cached, .. } = self.usage;
        match answer.content {
            Content::Frames(Frames { list, .. }) => {
                let metrics = format!(
                    concat!(
                        r#""amazon-bedrock-invocationMetrics":{{"inputTokenCount":{},"outputTokenCount":{},"#,
                        r#""invocationLatency":{},"firstByteLatency":{}}}"#
                    ),
                    input, output, LATENCY.0, LATENCY.1
                );
                let (without, random) = (self.without.clone(), scope.random.borrow_mut().fork());
                let list = Box::new(Chunks { list, next: None, begun: false, without, metrics, random });
                let headers = vec![
                    (CONTENT_TYPE, HeaderValue::from_static("application/vnd.amazon.eventstream")),
                    (
                        HeaderName::from_static("x-amzn-bedrock-content-type"),
                        HeaderValue::from_static("application/json"),
                    ),
                ];
                let content = Content::Frames(Frames { list, framing: Framing::Binary });
                Answer { headers, content, ..answer }
            }
            content => {
                let headers = answer.headers.into_iter().chain(told([input, output, cached])).collect();
                Answer { headers, content, ..answer }
            }
        }
    }
}

/// The events of a model's own stream, each in a frame. The last of them tells what it has cost.
struct Chunks {
    list: Box<dyn Iterator<Item = Frame> + Send>,
    next: Option<Frame>,
    begun: bool,
    without: Vec<String>,
    metrics: String,
    random: Random,
}

impl Chunks {
    /// The next event that is not left out, its data alone.
    fn event(&mut self) -> Option<Frame> {
        loop {
            let frame = self.list.next()?;
            let data = data(&frame.bytes);
            let kind = || serde_json::from_slice::<Value>(&data).ok().map(|event| event["type"].clone());
            // What ends a stream without being JSON is not the model's.
            let ends = !data.starts_with(b"{");
            if !ends
                && (self.without.is_empty()
                    || !kind().is_some_and(|kind| self.without.iter().any(|name| kind == **name)))
            {
                return Some(Frame { bytes: data, ..frame });
            }
        }
    }
}

impl Iterator for Chunks {
    type Item = Frame;

    fn next(&mut self) -> Option<Frame> {
        if !self.begun {
            (self.begun, self.next) = (true, self.event());
        }
        let frame = self.next.take()?;
        self.next = self.event();
        let event = match (&self.next, frame.bytes.strip_suffix(b"}")) {
            (None, Some(inside)) => {
                let comma: &[u8] = if inside == b"{" { b"" } else { b"," };
                [inside, comma, self.metrics.as_bytes(), b"}"].concat()
            }
            _ => frame.bytes.to_vec(),
        };
        let payload = format!(r#"{{"bytes":"{}","p":"{}"}}"#, BASE64.encode(event), padding(&mut self.random));
        Some(Frame { bytes: event_stream::event("chunk", "application/json", payload.as_bytes()), ..frame })
    }
}
