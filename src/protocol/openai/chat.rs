//! `openai-chat`: OpenAI's Chat Completions, whole and streamed.
//!
//! The shapes, the order of the keys and the rules of the stream are those of recorded answers of 2025 and 2026. Where the
//! head has a `filter`, they are those of Azure: see [`crate::protocol::wrap::azure_filter`], which does the same for other dialects. OpenAI
//! tells nothing of what its models think; of hosts that do, the head's `thoughts` names the member of a message. With
//! `stream_by_path` the operation that the path ends with may ask for a stream, as Bedrock's does.

mod check;
pub(in crate::protocol) mod read;
mod stream;
mod whole;

use std::sync::Arc;

use bytes::Bytes;
use serde_json::{Map, Value, json};

use self::{
    read::{StreamOptions, Wishes, wishes},
    stream::{Around, Frames, Stream},
    whole::Said,
};
use crate::protocol::{
    Protocol, Rendered,
    envelope::{LAYOUT, member},
    wants_stream,
    wrap::azure_filter::{ContentFilter, PROMPT_RESULTS},
};
use crate::{
    core::{
        context::RequestContext,
        error::ApiError,
        json,
        limit_status::Cost,
        prompt::Prompt,
        random::Random,
        reply::Reply,
        response::{self, Body, Response, StreamFormat},
        template::{AllowedSlots, Layout, Slot, Template},
    },
    media::silence::Format,
};

/// The head's fields that have a place of their own; those that an answer cannot do without are marked.
const HEAD: [(&str, bool); 5] =
    [("id", true), ("created", true), ("model", true), ("service_tier", false), ("system_fingerprint", false)];

/// Makes the dialect; see [`crate::protocol::Make`].
pub(in crate::protocol) fn make(head: &Map<String, Value>) -> Result<Box<dyn Protocol>, String> {
    if let Some((missing, _)) = HEAD.iter().find(|(name, needed)| *needed && !head.contains_key(*name)) {
        return Err(format!("`head` lacks `{missing}`: give it a value or a slot"));
    }
    let tier = head
        .get("service_tier")
        .map(|tier| Template::json(tier, Layout::default(), AllowedSlots::Content))
        .transpose()?;
    let mut head = head.clone();
    let filter = match head.shift_remove("filter") {
        None => None,
        Some(_) if tier.is_some() => {
            return Err("`head` has a `filter`: behind it there is no `service_tier`".to_owned());
        }
        Some(mut filter) => {
            let found = filter.as_object_mut().ok_or("`filter` must be an object")?;
            Some(ContentFilter::take(found).map_err(|error| format!("`filter`: {error}"))?)
        }
    };
    let thoughts = match head.shift_remove("thoughts") {
        None => None,
        Some(Value::String(member)) => Some(member),
        Some(_) => return Err("`thoughts` must be the name of a member, such as `reasoning_content`".to_owned()),
    };
    let by_path = match head.shift_remove("stream_by_path") {
        None => false,
        Some(Value::Bool(by_path)) => by_path,
        Some(_) => return Err("`stream_by_path` must be true or false".to_owned()),
    };
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

    let mut layout = LAYOUT;
    let mut behind = Map::new();
    if let Some(filter) = &filter {
        layout.indent = 0;
        whole.insert(PROMPT_RESULTS.into(), filter.prompt_results());
        whole.sort_keys();
        chunk.sort_keys();
        let (before, after) = chunk.into_iter().partition(|(name, _)| name.as_str() < "obfuscation");
        (chunk, behind) = (before, after);
    }
    let whole = Template::json(&Value::Object(whole), layout, AllowedSlots::Part)?.split();
    let chunk = Template::json(&Value::Object(chunk), Layout::default(), AllowedSlots::Part)?.split();
    let behind = Template::json(&Value::Object(behind), Layout::default(), AllowedSlots::Part)?;
    let tiers = usize::from(tier.is_some());
    if (whole.len(), chunk.len()) != (3 + tiers, 2 + tiers) || behind.slots().any(|slot| matches!(slot, Slot::Part(_)))
    {
        return Err("`head` may not use {{part.…}}: it is the dialect's own".to_owned());
    }
    let filter = filter.map(|filter| Behind { first: filter.first_event(), filter, chunk: behind });
    Ok(Box::new(Chat { frame: Arc::new(Frame { whole, chunk, tier, thoughts, by_path, filter }) }))
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
    /// The member of a message that tells what was thought; `None` if none does.
    thoughts: Option<String>,
    /// Whether the path may ask for a stream, too.
    by_path: bool,
    /// The filter that it stands behind, if it does.
    filter: Option<Behind>,
}

/// What a filter changes.
struct Behind {
    filter: ContentFilter,
    /// The event that comes before all others.
    first: Bytes,
    /// What of a chunk comes after the padding, as an object of its own: keys are in the order of the alphabet.
    chunk: Template,
}

impl Frame {
    /// What a request asks of the form of its answer.
    fn wishes<'a>(&self, context: &'a RequestContext<'_>) -> Wishes<'a> {
        let wishes = context.members().map(wishes).unwrap_or_default();
        match self.by_path && wants_stream(context) {
            true => Wishes { stream: Some(wishes.stream.unwrap_or_default()), ..wishes },
            false => wishes,
        }
    }

    fn whole(
        &self,
        (choices, usage): (&[u8], &[u8]),
        tier: Option<json::Value<'_>>,
        context: &RequestContext<'_>,
    ) -> Bytes {
        // What the slots of the head come to is short: an id, a time, a model's name.
        let mut out = Vec::with_capacity(choices.len() + usage.len() + 400);
        let mut around = self.whole.iter();
        let mut next = |out: &mut Vec<u8>| around.next().map(|template| template.render_into(context, out));
        next(&mut out);
        out.extend_from_slice(choices);
        next(&mut out);
        out.extend_from_slice(usage);
        next(&mut out);
        self.put_tier(tier, context, &mut out);
        next(&mut out);
        out.into()
    }

    /// What stands around the choices and the padding of a chunk.
    fn chunk(&self, tier: Option<json::Value<'_>>, context: &RequestContext<'_>) -> Around {
        let mut head = self.chunk[0].render(context);
        if self.tier.is_some() {
            self.put_tier(tier, context, &mut head);
            self.chunk[1].render_into(context, &mut head);
        }
        let Some(behind) = &self.filter else { return Around { head, ..Around::default() } };
        // Objects, of which members go on and follow.
        let (mut middle, mut tail) = (self.chunk[1].render(context), behind.chunk.render(context));
        middle.pop();
        tail.pop();
        tail[0] = b',';
        Around { first: Some(behind.first.clone()), head, middle, tail }
    }

    /// What a reply says, as it stands in this.
    fn words(
        &self,
        reply: &Reply,
        logprobs: &Logprobs,
        speech: Format,
        shape: Shape,
        random: &mut Random,
        now: u64,
    ) -> Words {
        let filter = self.filter.as_ref().map(|behind| &behind.filter);
        let laid_out = |value: &Value| if filter.is_some() { value.to_string().into() } else { member(value) };
        let thoughts = self.thoughts.as_deref();
        let said = reply.choices.iter().map(|choice| Said::new(choice, thoughts, speech, random, now));
        let said: Vec<_> = said.collect();
        let mut usage = whole::usage(&reply.usage);
        if filter.is_some() {
            usage.sort_all_objects();
        }
        let mut words = Words {
            choices: Vec::new(),
            usage: laid_out(&usage),
            stream: Arc::new(Stream { chunks: Vec::new(), usage: usage.to_string() }),
        };
        if shape != Shape::Stream {
            let choices = said.iter().enumerate().map(|(n, said)| whole::choice(n, said, logprobs, random)).collect();
            let mut choices = Value::Array(choices);
            if let Some(filter) = filter {
                filter.annotate(&mut choices);
                choices.sort_all_objects();
            }
            words.choices = laid_out(&choices);
        }
        if shape != Shape::Whole {
            let chunks = stream::chunks(&said, logprobs, filter, random);
            words.stream = Arc::new(Stream { chunks, usage: usage.to_string() });
        }
        words
    }

    /// The tier that serves a request: the one it asks for under the name that answers use.
    fn put_tier(&self, asked: Option<json::Value<'_>>, context: &RequestContext<'_>, out: &mut Vec<u8>) {
        let Some(tier) = &self.tier else { return };
        match asked.map(json::Value::text) {
            Some(br#""priority""# | br#""fast""#) => out.extend_from_slice(br#""priority""#),
            Some(asked @ (br#""flex""# | br#""scale""#)) => out.extend_from_slice(asked),
            _ => tier.render_into(context, out),
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

impl Protocol for Chat {
    fn check(&self, body: json::Object<'_>, context: &RequestContext<'_>) -> Result<(), ApiError> {
        check::check(body, context)
    }

    fn is_plain(&self, body: json::Object<'_>, tokens: u64) -> bool {
        read::is_plain(body, tokens)
    }

    fn read(&self, body: json::Object<'_>, context: &RequestContext<'_>) -> Prompt {
        Prompt { show_reasoning: self.frame.thoughts.is_some(), ..read::prompt(body, context.model().into_owned()) }
    }

    fn cost(&self, body: json::Object<'_>, _: &RequestContext<'_>) -> Cost {
        read::cost(body)
    }

    fn render(&self, reply: &Reply, context: Option<&RequestContext<'_>>) -> Box<dyn Rendered> {
        let frame = Arc::clone(&self.frame);
        let Some(context) = context else {
            // Nothing that is said the same every time has calls, and so none of it is drawn.
            let mut random = Random::seeded(0);
            let mut words = |logprobs| frame.words(reply, &logprobs, Format::Wav, Shape::Both, &mut random, 0);
            let (with, without) = (words(Logprobs::Null), words(Logprobs::Absent));
            return Box::new(Spelled { frame, words: with, thinking: Some(without) });
        };
        let thinks = context.model_facts().is_some_and(|facts| facts.reasoning);
        let wishes = frame.wishes(context);
        let logprobs = match wishes.logprobs {
            Some(top) => Logprobs::Given(top),
            None if thinks => Logprobs::Absent,
            None => Logprobs::Null,
        };
        let now = context.now.as_secs();
        let shape = match wishes.stream {
            None => Shape::Whole,
            // A stream that is kept is kept whole.
            Some(_) if wishes.store => Shape::Both,
            Some(_) => Shape::Stream,
        };
        let words = frame.words(reply, &logprobs, wishes.speech, shape, &mut context.random.borrow_mut(), now);
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

impl Words {
    /// Those of a whole answer: the choices, and the usage.
    fn said(&self) -> (&[u8], &[u8]) {
        (&self.choices, &self.usage)
    }
}

/// In which shapes a reply is spelled.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Shape {
    Whole,
    Stream,
    Both,
}

impl Spelled {
    fn words(&self, context: &RequestContext<'_>) -> &Words {
        match &self.thinking {
            Some(thinking) if context.model_facts().is_some_and(|facts| facts.reasoning) => thinking,
            _ => &self.words,
        }
    }
}

impl Rendered for Spelled {
    fn record(&self, context: &RequestContext<'_>) -> Value {
        let words = self.words(context);
        let Wishes { tier, .. } = self.frame.wishes(context);
        serde_json::from_slice(&self.frame.whole(words.said(), tier, context)).unwrap_or_default()
    }

    fn id(&self, context: &RequestContext<'_>) -> Option<String> {
        // What is said has nothing to do with it.
        let around = self.frame.whole((b"null", b"null"), None, context);
        let document = json::Document::read(&around).ok()?;
        Some(document.members().get("id")?.as_str()?.into_owned())
    }

    fn respond(&self, context: &RequestContext<'_>) -> Response {
        let words = self.words(context);
        let Wishes { stream, tier, .. } = self.frame.wishes(context);
        let (content_type, content) = match stream {
            None => ("application/json", Body::Full(self.frame.whole(words.said(), tier, context))),
            Some(StreamOptions { include_usage, include_obfuscation }) => {
                let around = self.frame.chunk(tier, context);
                let obfuscation = include_obfuscation.then(|| context.random.borrow().clone());
                let frames = Frames::new(&words.stream, around, include_usage, obfuscation);
                let frames = response::EventStream { events: Box::new(frames), format: StreamFormat::Data("\n") };
                ("text/event-stream; charset=utf-8", Body::Stream(frames))
            }
        };
        Response::ok(content_type, content)
    }
}
