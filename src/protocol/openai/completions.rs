//! `openai-completions`: OpenAI's legacy Completions, full and streamed.
//!
//! Shapes and key order are those of recorded responses. The key order of full responses and of chunks differs.

pub(in crate::protocol) mod read;
mod render;

use std::sync::Arc;

use serde_json::{Map, Value, json};

use self::render::{ChoiceText, CompletionChunks, CompletionEvents};
use crate::core::{
    context::RequestContext,
    error::ApiError,
    json,
    limit_status::Cost,
    prompt::Prompt,
    random::Random,
    reply::Reply,
    response::{self, Body, Response, StreamFormat},
    template::Layout,
};
use crate::protocol::{
    Parsed, Protocol, Reader, Record, RenderContext, Rendered, StoredObjects,
    envelope::{Envelope, LAYOUT, envelope_members, member},
    events::RenderTime,
};

/// Creates the protocol; see [`crate::protocol::Make`].
pub(in crate::protocol) fn make(head: &Map<String, Value>) -> Result<Box<dyn Protocol>, String> {
    let object = ("object", json!("text_completion"));
    let choices = ("choices", json!("{{part.choices}}"));
    let usage = ("usage", json!("{{part.usage}}"));
    let given = |name| (name, Value::Null);
    let full = [given("id"), object.clone(), given("created"), given("model"), choices.clone(), usage];
    let chunk = [given("id"), object, given("created"), choices, given("model")];
    let envelope = CompletionEnvelope {
        full: Envelope::new(envelope_members(head, &full)?, LAYOUT, 2)?,
        chunk: Envelope::new(envelope_members(head, &chunk)?, Layout::default(), 1)?,
    };
    Ok(Box::new(Completions { envelope: Arc::new(envelope) }))
}

struct Completions {
    envelope: Arc<CompletionEnvelope>,
}

/// The JSON envelope the model's output, with the envelope's slots.
struct CompletionEnvelope {
    /// A full response envelope its choices and its usage.
    full: Envelope,
    /// A chunk envelope its choices.
    chunk: Envelope,
}

impl Reader for Completions {
    fn check(&self, body: json::Object<'_>, _: &RequestContext<'_>) -> Result<(), ApiError> {
        read::check(body)
    }

    fn prompt(&self, body: json::Object<'_>, context: &RequestContext<'_>, _: &[Arc<Value>]) -> Prompt {
        read::prompt(body, context.model().into_owned())
    }

    fn cost(&self, body: json::Object<'_>, _: &RequestContext<'_>) -> Cost {
        read::cost(body)
    }
}

impl Protocol for Completions {
    fn parse<'r>(&'r self, body: json::Object<'r>, _: &RequestContext<'_>) -> Parsed<'r> {
        Parsed::with_options(self, body, read::ready_made(body), read::options(body))
    }

    fn render(&self, reply: &Reply, context: Option<RenderContext<'_, '_>>) -> Box<dyn Rendered> {
        let usage = json!({
            "prompt_tokens": reply.usage.prompt_tokens,
            "completion_tokens": reply.usage.completion_tokens,
            "total_tokens": reply.usage.prompt_tokens.saturating_add(reply.usage.completion_tokens),
        });
        let options = context.map(|context| context.parsed.options).unwrap_or_default();
        let prompts = match context {
            Some(context) if options.echo || options.logprobs.is_some() => {
                read::texts(context.parsed.body, &context.model())
            }
            _ => Vec::new(),
        };
        // The first `n` of each prompt's `best_of` choices; the choices of one prompt are adjacent.
        let best = reply.choices.iter().enumerate().filter(|(n, _)| n % options.best_of < options.n);
        // A reply shared by all plain requests has no log probabilities, so nothing is drawn.
        let mut random =
            context.as_ref().map_or_else(|| Random::seeded(0), |context| context.random.borrow_mut().fork());
        let choices =
            best.map(|(n, choice)| ChoiceText::new(choice, prompts.get(n / options.best_of), &options, &mut random));
        let choices: Vec<_> = choices.collect();
        let mut texts = CompletionTexts { choices: Vec::new(), usage: member(&usage), stream: Default::default() };
        if context.is_none() || !options.stream {
            let choices = choices.iter().enumerate().map(|(n, choice)| choice.full(n));
            texts.choices = member(&choices.collect::<Vec<_>>());
        }
        if context.is_none() || options.stream {
            let time = if context.is_none() { RenderTime::Now } else { RenderTime::Late };
            let chunks = choices.iter().enumerate().map(|(n, choice)| choice.chunks(n, time)).collect();
            texts.stream = CompletionChunks { chunks, usage: usage.to_string().into() };
        }
        Box::new(RenderedCompletion { envelope: Arc::clone(&self.envelope), texts })
    }
}

/// The model's output, rendered for full responses and for streams.
struct CompletionTexts {
    choices: Vec<u8>,
    usage: Vec<u8>,
    stream: CompletionChunks,
}

/// A reply rendered but for the envelope's slots.
struct RenderedCompletion {
    envelope: Arc<CompletionEnvelope>,
    texts: CompletionTexts,
}

impl Rendered for RenderedCompletion {
    fn record(&self, context: RenderContext<'_, '_>) -> Record {
        Record::of_json(&self.envelope.full.fill(&[&self.texts.choices, &self.texts.usage], &context))
    }

    fn respond(&self, context: RenderContext<'_, '_>, _: &dyn StoredObjects) -> Result<Response, ApiError> {
        let options = &context.parsed.options;
        let (content_type, content) = match options.stream {
            false => {
                let parts: [&[u8]; 2] = [&self.texts.choices, &self.texts.usage];
                ("application/json", Body::Full(self.envelope.full.fill(&parts, &context)))
            }
            true => {
                let envelope = self.envelope.chunk.pieces(&context);
                let events = CompletionEvents::new(&envelope, &self.texts.stream, options.include_usage);
                let events = response::EventStream::written(events, StreamFormat::Data("\n"));
                // Recorded: unlike chat, there is no charset.
                ("text/event-stream", Body::Stream(events))
            }
        };
        Ok(Response::ok(content_type, content))
    }
}
