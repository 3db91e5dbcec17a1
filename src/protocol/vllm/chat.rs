//! `vllm-chat`: vLLM's chat completions, full and streamed.
//!
//! The envelope has `id`, `created`, `model` and `system_fingerprint`.

mod full;
mod stream;

use std::sync::Arc;

use bytes::Bytes;
use serde_json::{Map, Value, json};

use self::full::ChoiceParts;
use super::{
    EVENT_STREAM, generated, logprobs, member,
    members::{self, RenderMembers},
    rules,
    stream::{Chunk, ChunkEnvelope, ChunkEvents, StreamUsage},
    usage,
};
use crate::{
    core::{
        context::RequestContext,
        error::ApiError,
        json,
        limit_status::Cost,
        prompt::{Prompt, ToolChoice},
        random::Random,
        reply::{Reply, Usage},
        response::{Body, EventStream, Response, StreamFormat},
        template::Layout,
    },
    model::tokens::{Encoding, chat_template::prompt_tokens},
    protocol::{
        Parsed, Protocol, Reader, Record, RenderContext, Rendered, StoredObjects, envelope::Envelope,
        events::EventLists, forms, openai::chat::read,
    },
};

/// Creates the protocol; see [`crate::protocol::Make`].
pub(in crate::protocol) fn make(head: &Map<String, Value>) -> Result<Box<dyn Protocol>, String> {
    let own = |name| member(head, name);
    let given = |object: &str| -> Result<Map<String, Value>, String> {
        let members = [
            ("id", own("id")?),
            ("object", object.into()),
            ("created", own("created")?),
            ("model", own("model")?),
            ("choices", json!("{{part.choices}}")),
        ];
        Ok(members.into_iter().map(|(name, value)| (name.to_owned(), value)).collect())
    };
    let mut full = given("chat.completion")?;
    full.insert("service_tier".into(), Value::Null);
    full.insert("system_fingerprint".into(), own("system_fingerprint")?);
    full.insert("usage".into(), json!("{{part.usage}}"));
    full.insert("prompt_logprobs".into(), json!("{{part.prompt_logprobs}}"));
    full.insert("prompt_token_ids".into(), json!("{{part.prompt_token_ids}}"));
    for name in ["prompt_text", "kv_transfer_params", "ec_transfer_params", "metrics"] {
        full.insert(name.into(), Value::Null);
    }
    let mut chunk = given("chat.completion.chunk")?;
    chunk.insert("system_fingerprint".into(), own("system_fingerprint")?);
    Ok(Box::new(Chat {
        envelopes: Arc::new(Envelopes {
            full: Envelope::new(full, Layout::default(), 4)?,
            chunk: Envelope::new(chunk, Layout::default(), 1)?,
        }),
    }))
}

struct Chat {
    envelopes: Arc<Envelopes>,
}

struct Envelopes {
    /// A full response around its choices, its usage, and the two members about the prompt.
    full: Envelope,
    /// A chunk around its choices.
    chunk: Envelope,
}

/// The reader of its requests.
pub(super) struct ChatReader;

impl Reader for ChatReader {
    fn check(&self, body: json::Object<'_>, context: &RequestContext<'_>) -> Result<(), ApiError> {
        rules::chat(body, context)
    }

    fn prompt(&self, body: json::Object<'_>, context: &RequestContext<'_>, _: &[Arc<Value>]) -> Prompt {
        members::extend(read::prompt(body, context.served_model().into_owned()), body)
    }

    fn cost(&self, body: json::Object<'_>, _: &RequestContext<'_>) -> Cost {
        read::cost(body)
    }
}

impl Protocol for Chat {
    fn parse<'r>(&'r self, body: json::Object<'r>, _: &RequestContext<'_>) -> Parsed<'r> {
        let (options, ready_made) = read::options(body);
        Parsed { store: None, ..Parsed::with_options(&ChatReader, body, ready_made, options) }
    }

    fn render(&self, reply: &Reply, context: Option<RenderContext<'_, '_>>) -> Box<dyn Rendered> {
        let (needs_full, streams, time) = forms(context);
        let members = context.map(|context| RenderMembers::of(context.parsed.body)).unwrap_or_default();
        // A reply shared by all plain requests has no calls, so no id is drawn.
        let mut shared = Random::seeded(0);
        let mut own = context.as_ref().map(|context| context.random.borrow_mut());
        let random = own.as_deref_mut().unwrap_or(&mut shared);
        let logprobs = context.and_then(|context| context.parsed.options.logprobs);
        let prompt = context.map(|context| context.parsed.prompt(&context));
        let is_named = prompt.is_some_and(|prompt| matches!(prompt.tool_choice, ToolChoice::Named(_)));
        let encoding = prompt.filter(|_| members.token_ids).map(|prompt| Encoding::of_model(&prompt.model));
        let choices = reply.choices.iter().enumerate();
        let choices: Vec<_> = choices
            .map(|(n, choice)| {
                let logprobs = logprobs.map(|top| (top, random.number(0..=u64::MAX)));
                ChoiceParts::new(n, choice, if is_named { "stop" } else { "tool_calls" }, logprobs, encoding, random)
            })
            .collect();
        let prompt_ids = prompt.filter(|_| members.token_ids).map(prompt_tokens);
        let prompt_logprobs = prompt.zip(members.prompt_logprobs).filter(|_| needs_full).map(|(prompt, top)| {
            let encoding = Encoding::of_model(&prompt.model);
            logprobs::of_prompt(&prompt_tokens(prompt), encoding, top, random.number(0..=u64::MAX))
        });
        let full = if needs_full {
            let choices: Vec<_> = choices.iter().map(ChoiceParts::full).collect();
            [json!(choices), usage(&reply.usage), json!(prompt_logprobs), json!(prompt_ids)]
        } else {
            Default::default()
        };
        let chunks =
            if streams { choices.iter().map(|choice| stream::chunks(choice, time)).collect() } else { Arc::default() };
        Box::new(RenderedChat {
            envelopes: Arc::clone(&self.envelopes),
            full: full.map(|part| part.to_string().into_bytes()),
            chunks,
            prompt_ids: json!(prompt_ids).to_string(),
            usage: reply.usage,
        })
    }
}

/// A reply rendered but for the envelope's slots.
struct RenderedChat {
    envelopes: Arc<Envelopes>,
    /// The parts of the full response.
    full: [Vec<u8>; 4],
    chunks: EventLists<Chunk>,
    /// The numbers of the prompt's tokens, as JSON.
    prompt_ids: String,
    usage: Usage,
}

impl RenderedChat {
    fn full(&self, context: &RequestContext<'_>) -> Bytes {
        let [choices, usage, prompt_logprobs, prompt_ids] = &self.full;
        self.envelopes.full.fill(&[choices, usage, prompt_logprobs, prompt_ids], context)
    }
}

impl Rendered for RenderedChat {
    fn record(&self, context: RenderContext<'_, '_>) -> Record {
        Record::of_json(&self.full(&context))
    }

    fn respond(&self, context: RenderContext<'_, '_>, _: &dyn StoredObjects) -> Result<Response, ApiError> {
        let body = context.parsed.body;
        // The newer name of the limit takes precedence.
        let limit = if body.get("max_completion_tokens").is_some() { "max_completion_tokens" } else { "max_tokens" };
        if !context.parsed.options.stream {
            let full = Response::ok("application/json", Body::Full(self.full(&context)));
            return Ok(generated(full, body, limit));
        }
        let first = format!(r#","prompt_token_ids":{},"prompt_text":null"#, self.prompt_ids).into_bytes();
        let envelope = ChunkEnvelope::new(&self.envelopes.chunk, first, &context);
        let usage = StreamUsage {
            usage: self.usage,
            at_end: context.parsed.options.include_usage,
            continuous: RenderMembers::of(body).continuous_usage,
        };
        let events = EventStream::written(ChunkEvents::new(&self.chunks, envelope, usage), StreamFormat::Data("\n"));
        Ok(generated(Response::ok(EVENT_STREAM, Body::Stream(events)), body, limit))
    }
}
