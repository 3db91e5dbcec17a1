//! `openai-chat`: OpenAI's Chat Completions, whole and streamed.
//!
//! The shapes, the order of the keys and the rules of the stream are those of recorded answers of 2025 and 2026.

mod check;
pub(super) mod read;
mod stream;
mod whole;

use std::sync::Arc;

use bytes::Bytes;
use serde_json::{Map, Value, json};

use self::{
    read::{StreamOptions, Wishes, wishes},
    stream::{Frames, Stream},
    whole::Said,
};
use super::{
    Dialect, Spelling,
    frame::{LAYOUT, member},
};
use crate::{
    answer::{self, Answer, Content, Framing},
    audio::Format,
    error::ApiError,
    prompt::Prompt,
    random::Random,
    reply::Reply,
    request::members::{Members, Raw},
    standing::Cost,
    template::{Layout, Spaces, Template, scope::Scope},
};

/// The head's fields that have a place of their own; those that an answer cannot do without are marked.
const HEAD: [(&str, bool); 5] =
    [("id", true), ("created", true), ("model", true), ("service_tier", false), ("system_fingerprint", false)];

/// Makes the dialect; see [`super::Make`].
pub(super) fn make(head: &Map<String, Value>) -> Result<Box<dyn Dialect>, String> {
    if let Some((missing, _)) = HEAD.iter().find(|(name, needed)| *needed && !head.contains_key(*name)) {
        return Err(format!("`head` lacks `{missing}`: give it a value or a slot"));
    }
    let tier =
        head.get("service_tier").map(|tier| Template::json(tier, Layout::default(), Spaces::Content)).transpose()?;
    let mut head = head.clone();
    if tier.is_some() {
        head.insert("service_tier".into(), json!("{{part.service_tier}}"));
    }
    let given = |names: &[&str]| -> Map<String, Value> {
        names.iter().filter_map(|name| Some((name.to_string(), head.get(*name)?.clone()))).collect()
    };
    let others = head.iter().filter(|(name, _)| !HEAD.iter().any(|(known, _)| known == name));
    let others: Map<String, Value> = others.map(|(name, value)| (name.clone(), value.clone())).collect();

    let mut whole = given(&["id"]);
    whole.insert("object".into(), json!("chat.completion"));
    whole.extend(given(&["created", "model"]));
    whole.insert("choices".into(), json!("{{part.choices}}"));
    whole.insert("usage".into(), json!("{{part.usage}}"));
    whole.extend(given(&["service_tier", "system_fingerprint"]));
    whole.extend(others.clone());

    let mut chunk = given(&["id"]);
    chunk.insert("object".into(), json!("chat.completion.chunk"));
    chunk.extend(given(&["created", "model", "service_tier", "system_fingerprint"]));
    chunk.extend(others);
    chunk.insert("choices".into(), json!("{{part.choices}}"));

    let whole = Template::json(&Value::Object(whole), LAYOUT, Spaces::Part)?.split();
    let chunk = Template::json(&Value::Object(chunk), Layout::default(), Spaces::Part)?.split();
    let tiers = usize::from(tier.is_some());
    if (whole.len(), chunk.len()) != (3 + tiers, 2 + tiers) {
        return Err("`head` may not use {{part.…}}: it is the dialect's own".to_owned());
    }
    Ok(Box::new(Chat { frame: Arc::new(Frame { whole, chunk, tier }) }))
}

struct Chat {
    frame: Arc<Frame>,
}

/// What stands around the model's words, with the slots of the head.
struct Frame {
    /// A whole answer around its choices, its usage and its service tier.
    whole: Vec<Template>,
    /// A chunk around its service tier and its choices.
    chunk: Vec<Template>,
    /// The service tier where the request names none; `None` if answers have none.
    tier: Option<Template>,
}

impl Frame {
    fn whole(&self, words: &Words, tier: Option<Raw<'_>>, scope: &Scope<'_>) -> Bytes {
        let Words { choices, usage, .. } = words;
        // What the slots of the head come to is short: an id, a time, a model's name.
        let mut out = Vec::with_capacity(choices.len() + usage.len() + 400);
        let mut around = self.whole.iter();
        let mut next = |out: &mut Vec<u8>| around.next().map(|template| template.render_into(scope, out));
        next(&mut out);
        out.extend_from_slice(choices);
        next(&mut out);
        out.extend_from_slice(usage);
        next(&mut out);
        self.put_tier(tier, scope, &mut out);
        next(&mut out);
        out.into()
    }

    /// A chunk up to the value of `choices`.
    fn chunk(&self, tier: Option<Raw<'_>>, scope: &Scope<'_>) -> Vec<u8> {
        let mut out = self.chunk[0].render(scope);
        if self.tier.is_some() {
            self.put_tier(tier, scope, &mut out);
            self.chunk[1].render_into(scope, &mut out);
        }
        out
    }

    /// The tier that serves a request: the one it asks for under the name that answers use.
    fn put_tier(&self, asked: Option<Raw<'_>>, scope: &Scope<'_>, out: &mut Vec<u8>) {
        let Some(tier) = &self.tier else { return };
        match asked.map(Raw::text) {
            Some(br#""priority""# | br#""fast""#) => out.extend_from_slice(br#""priority""#),
            Some(asked @ (br#""flex""# | br#""scale""#)) => out.extend_from_slice(asked),
            _ => tier.render_into(scope, out),
        }
    }
}

/// What stands as `logprobs`.
enum Logprobs {
    /// The key is missing, as it is with models that think first.
    Absent,
    /// `null`: none were asked for.
    Null,
    /// With so many alternatives.
    Given(u64),
}

impl Dialect for Chat {
    fn check(&self, body: Members<'_>, scope: &Scope<'_>) -> Result<(), ApiError> {
        check::check(body, scope)
    }

    fn is_plain(&self, body: Members<'_>, tokens: u64) -> bool {
        read::is_plain(body, tokens)
    }

    fn read(&self, body: Members<'_>, scope: &Scope<'_>) -> Prompt {
        read::prompt(body, scope.model().into_owned())
    }

    fn cost(&self, body: Members<'_>, _: &Scope<'_>) -> Cost {
        read::cost(body)
    }

    fn spell(&self, reply: &Reply, scope: Option<&Scope<'_>>) -> Box<dyn Spelling> {
        let frame = Arc::clone(&self.frame);
        let Some(scope) = scope else {
            // Nothing that is said the same every time has calls, and so none of it is drawn.
            let mut random = Random::seeded(0);
            let with = Words::new(reply, &Logprobs::Null, Format::Wav, Shape::Both, &mut random, 0);
            let without = Words::new(reply, &Logprobs::Absent, Format::Wav, Shape::Both, &mut random, 0);
            return Box::new(Spelled { frame, words: with, thinking: Some(without) });
        };
        let thinks = scope.model_facts().is_some_and(|facts| facts.reasoning);
        let wishes = scope.members().map(wishes).unwrap_or_default();
        let logprobs = match wishes.logprobs {
            Some(top) => Logprobs::Given(top),
            None if thinks => Logprobs::Absent,
            None => Logprobs::Null,
        };
        let now = scope.now.as_secs();
        let shape = match wishes.stream {
            None => Shape::Whole,
            // A stream that is kept is kept whole.
            Some(_) if wishes.store => Shape::Both,
            Some(_) => Shape::Stream,
        };
        let words = Words::new(reply, &logprobs, wishes.speech, shape, &mut scope.random.borrow_mut(), now);
        Box::new(Spelled { frame, words, thinking: None })
    }
}

struct Spelled {
    frame: Arc<Frame>,
    words: Words,
    /// The same for models that think first, where one spelling serves many requests.
    thinking: Option<Words>,
}

/// What the model says, spelled for whole answers and for streams.
struct Words {
    choices: Vec<u8>,
    usage: Vec<u8>,
    stream: Arc<Stream>,
}

/// In which shapes a reply is spelled.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Shape {
    Whole,
    Stream,
    Both,
}

impl Words {
    fn new(reply: &Reply, logprobs: &Logprobs, speech: Format, shape: Shape, random: &mut Random, now: u64) -> Self {
        let said: Vec<_> = reply.choices.iter().map(|choice| Said::new(choice, speech, random, now)).collect();
        let usage = whole::usage(&reply.usage);
        let mut words = Words {
            choices: Vec::new(),
            usage: member(&usage),
            stream: Arc::new(Stream { chunks: Vec::new(), usage: usage.to_string() }),
        };
        if shape != Shape::Stream {
            let choices = said.iter().enumerate().map(|(n, said)| whole::choice(n, said, logprobs, random)).collect();
            words.choices = member(&Value::Array(choices));
        }
        if shape != Shape::Whole {
            let chunks = stream::chunks(&said, logprobs, random);
            words.stream = Arc::new(Stream { chunks, usage: usage.to_string() });
        }
        words
    }
}

impl Spelled {
    fn words(&self, scope: &Scope<'_>) -> &Words {
        match &self.thinking {
            Some(thinking) if scope.model_facts().is_some_and(|facts| facts.reasoning) => thinking,
            _ => &self.words,
        }
    }
}

impl Spelling for Spelled {
    fn record(&self, scope: &Scope<'_>) -> Value {
        let words = self.words(scope);
        let Wishes { tier, .. } = scope.members().map(wishes).unwrap_or_default();
        serde_json::from_slice(&self.frame.whole(words, tier, scope)).unwrap_or_default()
    }

    fn answer(&self, scope: &Scope<'_>) -> Answer {
        let words = self.words(scope);
        let Wishes { stream, tier, .. } = scope.members().map(wishes).unwrap_or_default();
        let (content_type, content) = match stream {
            None => ("application/json", Content::Whole(self.frame.whole(words, tier, scope))),
            Some(StreamOptions { include_usage, include_obfuscation }) => {
                let head = self.frame.chunk(tier, scope);
                let obfuscation = include_obfuscation.then(|| scope.random.borrow().clone());
                let frames = Frames::new(&words.stream, head, include_usage, obfuscation);
                let frames = answer::Frames { list: Box::new(frames), framing: Framing::Data("\n") };
                ("text/event-stream; charset=utf-8", Content::Frames(frames))
            }
        };
        Answer::said(content_type, content)
    }
}
