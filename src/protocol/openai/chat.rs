//! `openai-chat`: OpenAI's Chat Completions, full and streamed.
//!
//! Shapes, key order and stream rules are those of responses recorded in 2025 and 2026. An envelope with a `filter` has
//! Azure's shapes; [`crate::protocol::wrap::azure_filter`] does the same for other protocols. OpenAI does not send its
//! models' reasoning, but hosts do: see [`host`] for all in which they differ. With `stream_by_path` the operation at the
//! end of the path may request a stream, as Bedrock's does.

mod check;
mod events;
pub(in crate::protocol) mod full;
mod host;
pub(in crate::protocol) mod read;
mod stream;

use std::sync::Arc;

use bytes::Bytes;
use serde_json::{Map, Value, json};

use self::{
    events::{ChatEvents, ChunkEnvelope, DATA},
    full::{Logprobs, MessageParts},
    host::{HostStyle, OptionalMember},
    stream::{ChatChunks, ChunkStyle},
};
use crate::protocol::{
    Parsed, Protocol, Reader, Record, RenderContext, Rendered, ResponseOptions, StoredObjects,
    envelope::{LAYOUT, member},
    events::{EventLists, RenderTime},
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
        request,
        response::{self, Body, Response, StreamFormat},
        template::{AllowedSlots, Layout, Slot, Template},
    },
    media::silence::Format,
};

/// Envelope fields with a fixed position in the response. `true`: the field is required.
const HEAD: [(&str, bool); 5] =
    [("id", true), ("created", true), ("model", true), ("service_tier", false), ("system_fingerprint", false)];

/// Creates the protocol; see [`crate::protocol::Make`].
pub(in crate::protocol) fn make(head: &Map<String, Value>) -> Result<Box<dyn Protocol>, String> {
    if let Some((missing, _)) = HEAD.iter().find(|(name, needed)| *needed && !head.contains_key(*name)) {
        return Err(format!("`{missing}` is missing; give it a value or a slot"));
    }
    let tier = head
        .get("service_tier")
        .map(|tier| Template::json(tier, Layout::default(), AllowedSlots::Content))
        .transpose()?;
    let mut head = head.clone();
    let filter = match head.shift_remove("filter") {
        None => None,
        Some(_) if tier.is_some() => {
            return Err("`filter` and `service_tier` exclude each other; remove one of them".to_owned());
        }
        Some(mut filter) => {
            let found = filter.as_object_mut().ok_or("`filter`: not an object; give it one")?;
            Some(ContentFilter::take(found).map_err(|error| format!("`filter`: {error}"))?)
        }
    };
    let host = HostStyle::take(&mut head)?;
    let by_path = match head.shift_remove("stream_by_path") {
        None => false,
        Some(Value::Bool(by_path)) => by_path,
        Some(_) => return Err("`stream_by_path`: not a boolean; use true or false".to_owned()),
    };
    if tier.is_some() {
        head.insert("service_tier".into(), json!("{{part.service_tier}}"));
    }
    let given = |names: &[&str]| -> Map<String, Value> {
        names.iter().filter_map(|name| Some((name.to_string(), head.get(*name)?.clone()))).collect()
    };
    let others = head.iter().filter(|(name, _)| !HEAD.iter().any(|(known, _)| known == name));
    let others: Map<String, Value> = others.map(|(name, value)| (name.clone(), value.clone())).collect();

    let mut full = given(&["id"]);
    full.insert("object".into(), json!("chat.completion"));
    full.extend(given(&["created", "model"]));
    full.insert("choices".into(), json!("{{part.choices}}"));
    full.insert("usage".into(), json!("{{part.usage}}"));
    full.extend(given(&["service_tier", "system_fingerprint"]));
    full.extend(others.clone());

    let mut chunk = given(&["id"]);
    chunk.insert("object".into(), json!("chat.completion.chunk"));
    chunk.extend(given(&["created", "model", "service_tier", "system_fingerprint"]));
    let others = host.of_chunks(others).into_iter();
    let (ends, others): (Map<_, _>, _) = others.partition(|(name, _)| host.at_ends.contains(name));
    if !ends.is_empty() && filter.is_some() {
        return Err("`at_ends` and `filter` exclude each other; remove one of them".to_owned());
    }
    chunk.extend(others);
    chunk.insert("choices".into(), json!("{{part.choices}}"));

    let mut layout = LAYOUT;
    let mut tail = Map::new();
    if let Some(filter) = &filter {
        layout.indent = 0;
        full.insert(PROMPT_RESULTS.into(), filter.prompt_results());
        full.sort_keys();
        chunk.sort_keys();
        let (before, after) = chunk.into_iter().partition(|(name, _)| name.as_str() < "obfuscation");
        (chunk, tail) = (before, after);
    }
    let full = Template::json(&Value::Object(full), layout, AllowedSlots::Part)?.split();
    let chunk = Template::json(&Value::Object(chunk), Layout::default(), AllowedSlots::Part)?.split();
    let tail = Template::json(&Value::Object(tail), Layout::default(), AllowedSlots::Part)?;
    let ends = Template::json(&Value::Object(ends), Layout::default(), AllowedSlots::Content)?;
    let tiers = usize::from(tier.is_some());
    if (full.len(), chunk.len()) != (3 + tiers, 2 + tiers) || tail.slots().any(|slot| matches!(slot, Slot::Part(_))) {
        return Err("{{part.…}} is reserved for the protocol; remove it".to_owned());
    }
    let filter = filter.map(|filter| FilterParts {
        first_event: filter.first_event(),
        filter: Arc::new(filter),
        chunk_tail: tail,
    });
    Ok(Box::new(Chat { envelope: Arc::new(ChatEnvelope { full, chunk, ends, tier, host, by_path, filter }) }))
}

struct Chat {
    envelope: Arc<ChatEnvelope>,
}

/// The JSON around the model's output, with the envelope's slots.
struct ChatEnvelope {
    /// Pieces of a full response around its choices, its usage and its service tier.
    full: Vec<Template>,
    /// Pieces of a chunk around its service tier and its choices.
    chunk: Vec<Template>,
    /// The members after the choices of the first and of the last chunk, as an object of their own.
    ends: Template,
    /// The default service tier. `None`: responses have none.
    tier: Option<Template>,
    host: HostStyle,
    /// True if the path may request a stream, too.
    by_path: bool,
    /// Azure's content filter, if the endpoint has one.
    filter: Option<FilterParts>,
}

/// The content filter and the parts of a stream that it adds or moves.
struct FilterParts {
    filter: Arc<ContentFilter>,
    /// The event before all others.
    first_event: Bytes,
    /// The chunk's members after the padding, as an object of their own: Azure sorts keys.
    chunk_tail: Template,
}

impl ChatEnvelope {
    fn full(
        &self,
        (choices, usage): (&[u8], &[u8]),
        tier: Option<json::Value<'_>>,
        context: &RequestContext<'_>,
    ) -> Bytes {
        // The envelope's slots are short: an id, a time, a model's name.
        let mut out = Vec::with_capacity(choices.len() + usage.len() + 400);
        let mut pieces = self.full.iter();
        let mut next = |out: &mut Vec<u8>| pieces.next().map(|template| template.render_into(context, out));
        next(&mut out);
        out.extend_from_slice(choices);
        next(&mut out);
        out.extend_from_slice(usage);
        next(&mut out);
        self.put_tier(tier, context, &mut out);
        next(&mut out);
        out.into()
    }

    /// Renders the parts of a chunk around its choices and its padding.
    fn chunk(&self, tier: Option<json::Value<'_>>, context: &RequestContext<'_>) -> ChunkEnvelope {
        // Most envelopes are about this long.
        let mut head = Vec::with_capacity(256);
        head.extend_from_slice(DATA);
        self.chunk[0].render_into(context, &mut head);
        if self.tier.is_some() {
            self.put_tier(tier, context, &mut head);
            self.chunk[1].render_into(context, &mut head);
        }
        let Some(filter) = &self.filter else {
            let mut ends = Vec::new();
            if !self.host.at_ends.is_empty() {
                // They continue the chunk, so their braces go.
                ends = self.ends.render(context);
                ends.pop();
                ends[0] = b',';
            }
            return ChunkEnvelope { head, ends, finish_usage: self.host.finish_usage, ..ChunkEnvelope::default() };
        };
        // Both are objects. Their members continue the chunk, so their braces go.
        let (mut middle, mut tail) = (self.chunk[1].render(context), filter.chunk_tail.render(context));
        middle.pop();
        tail.pop();
        tail[0] = b',';
        ChunkEnvelope { first: Some(filter.first_event.clone()), head, middle, tail, ..ChunkEnvelope::default() }
    }

    /// Renders a reply in the given forms. The stream's events are rendered at `time`, and its usage only if it is sent.
    fn texts(
        &self,
        reply: &Reply,
        (logprobs, audio_format): (Logprobs, Format),
        (forms, time, streams_usage): (Forms, RenderTime, bool),
        random: &mut Random,
        now: u64,
    ) -> ChatTexts {
        let filter = self.filter.as_ref().map(|parts| &parts.filter);
        let laid_out = |value: &Value| if filter.is_some() { value.to_string().into() } else { member(value) };
        let message = |choice| MessageParts::new(choice, &self.host, audio_format, logprobs, random, now);
        let messages: Vec<_> = reply.choices.iter().map(message).collect();
        let usage = || {
            let mut usage = full::usage(&reply.usage, &self.host);
            if filter.is_some() {
                usage.sort_all_objects();
            }
            usage
        };
        let mut texts = ChatTexts { choices: Vec::new(), usage: Vec::new(), stream: ChatChunks::default() };
        if forms != Forms::Stream {
            texts.usage = laid_out(&usage());
            let choices = messages.iter().enumerate();
            let choices = choices.map(|(n, message)| full::choice(n, message, logprobs)).collect();
            let mut choices = Value::Array(choices);
            if let Some(filter) = filter {
                filter.annotate(&mut choices);
                choices.sort_all_objects();
            }
            texts.choices = laid_out(&choices);
        }
        if forms != Forms::Full {
            let style = |message: &MessageParts<'_>, index| {
                let (seed, filter) = (message.logprob_seed, filter.map(Arc::clone));
                let host = (self.host.native_finish_reason, self.host.role_in_deltas);
                ChunkStyle { index, logprobs, seed, filter, host }
            };
            let chunks = messages.iter().enumerate();
            let chunks: EventLists<_> =
                chunks.map(|(n, message)| stream::chunks(message, style(message, n), time)).collect();
            let usage = if streams_usage || !self.host.at_ends.is_empty() {
                usage().to_string().into()
            } else {
                Arc::default()
            };
            texts.stream = ChatChunks { chunks, usage };
        }
        texts
    }

    /// Writes the tier that serves a request: the requested one, by the name that responses use.
    fn put_tier(&self, requested: Option<json::Value<'_>>, context: &RequestContext<'_>, out: &mut Vec<u8>) {
        let Some(tier) = &self.tier else { return };
        match requested.map(json::Value::text) {
            Some(br#""priority""# | br#""fast""#) => out.extend_from_slice(br#""priority""#),
            Some(tier @ (br#""flex""# | br#""scale""#)) => out.extend_from_slice(tier),
            _ => tier.render_into(context, out),
        }
    }
}

impl Reader for Chat {
    fn check(&self, body: json::Object<'_>, context: &RequestContext<'_>) -> Result<(), ApiError> {
        check::check(body, context)
    }

    fn prompt(&self, body: json::Object<'_>, context: &RequestContext<'_>, _: &[Arc<Value>]) -> Prompt {
        let prompt = read::prompt(body, context.model().into_owned());
        Prompt { show_reasoning: self.envelope.host.reasoning_member.is_some(), ..prompt }
    }

    fn cost(&self, body: json::Object<'_>, _: &RequestContext<'_>) -> Cost {
        read::cost(body)
    }
}

impl Protocol for Chat {
    fn parse<'r>(&'r self, body: json::Object<'r>, context: &RequestContext<'_>) -> Parsed<'r> {
        let (options, ready_made) = read::options(body);
        let stream = options.stream || self.envelope.by_path && request::wants_stream(context.request.path, body);
        Parsed::with_options(self, body, ready_made, ResponseOptions { stream, ..options })
    }

    fn render(&self, reply: &Reply, context: Option<RenderContext<'_, '_>>) -> Box<dyn Rendered> {
        let envelope = Arc::clone(&self.envelope);
        let Some(context) = context else {
            // A reply shared by all plain requests has no calls, so no id is drawn.
            let mut random = Random::seeded(0);
            let forms = (Forms::Both, RenderTime::Now, true);
            let mut texts = |logprobs| envelope.texts(reply, (logprobs, Format::Wav), forms, &mut random, 0);
            let has_logprobs = self.envelope.host.has(OptionalMember::Logprobs);
            let none = if has_logprobs { Logprobs::Null } else { Logprobs::Absent };
            let (with, without) = (texts(none), texts(Logprobs::Absent));
            return Box::new(RenderedChat { envelope, texts: with, reasoning_texts: Some(without) });
        };
        let is_reasoning = context.model_facts().is_some_and(|facts| facts.reasoning);
        let Parsed { options, store, .. } = context.parsed;
        let logprobs = match options.logprobs {
            Some(top) => Logprobs::Given(top),
            None if is_reasoning || !self.envelope.host.has(OptionalMember::Logprobs) => Logprobs::Absent,
            None => Logprobs::Null,
        };
        let now = context.now.as_secs();
        let forms = match options.stream {
            false => Forms::Full,
            // A streamed response is stored in its full form.
            true if *store == Some(true) => Forms::Both,
            true => Forms::Stream,
        };
        let random = &mut context.random.borrow_mut();
        let parts = (logprobs, options.audio_format);
        let texts = envelope.texts(reply, parts, (forms, RenderTime::Late, options.include_usage), random, now);
        Box::new(RenderedChat { envelope, texts, reasoning_texts: None })
    }
}

/// A reply rendered but for the envelope's slots.
struct RenderedChat {
    envelope: Arc<ChatEnvelope>,
    texts: ChatTexts,
    /// The texts for reasoning models, if the rendered reply serves many requests.
    reasoning_texts: Option<ChatTexts>,
}

/// The model's output, rendered for full responses and for streams.
struct ChatTexts {
    choices: Vec<u8>,
    usage: Vec<u8>,
    stream: ChatChunks,
}

impl ChatTexts {
    /// Returns the choices and the usage of a full response.
    fn full(&self) -> (&[u8], &[u8]) {
        (&self.choices, &self.usage)
    }
}

/// The forms in which a reply is rendered.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Forms {
    Full,
    Stream,
    Both,
}

impl RenderedChat {
    fn texts(&self, context: &RequestContext<'_>) -> &ChatTexts {
        match &self.reasoning_texts {
            Some(texts) if context.model_facts().is_some_and(|facts| facts.reasoning) => texts,
            _ => &self.texts,
        }
    }
}

impl Rendered for RenderedChat {
    fn record(&self, context: RenderContext<'_, '_>) -> Record {
        let tier = context.parsed.options.service_tier;
        Record::of_json(&self.envelope.full(self.texts(&context).full(), tier, &context))
    }

    fn id(&self, context: RenderContext<'_, '_>) -> Option<String> {
        // The id does not depend on the model's output.
        let empty = self.envelope.full((b"null", b"null"), None, &context);
        let document = json::Document::read(&empty).ok()?;
        Some(document.members().get("id")?.as_str()?.into_owned())
    }

    fn respond(&self, context: RenderContext<'_, '_>, _: &dyn StoredObjects) -> Result<Response, ApiError> {
        let texts = self.texts(&context);
        let ResponseOptions { stream, include_usage, include_obfuscation, service_tier: tier, .. } =
            context.parsed.options;
        let (content_type, content) = match stream {
            false => ("application/json", Body::Full(self.envelope.full(texts.full(), tier, &context))),
            true => {
                let envelope = self.envelope.chunk(tier, &context);
                let pads = include_obfuscation && self.envelope.host.has(OptionalMember::Obfuscation);
                let obfuscation = pads.then(|| context.random.borrow().clone());
                let null_usage = include_usage && self.envelope.host.has(OptionalMember::ChunkUsage);
                let events = ChatEvents::new(&texts.stream, envelope, (include_usage, null_usage), obfuscation);
                let events = response::EventStream::written(events, StreamFormat::Data("\n"));
                ("text/event-stream; charset=utf-8", Body::Stream(events))
            }
        };
        Ok(Response::ok(content_type, content))
    }
}
