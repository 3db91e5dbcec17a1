//! `openai-completions`: OpenAI's legacy Completions, full and streamed.
//!
//! Shapes and key order are those of recorded responses. The key order of full responses and of chunks differs.

mod read;
mod render;

use std::sync::Arc;

use serde_json::{Map, Value, json};

use self::{
    read::CompletionOptions,
    render::{ChoiceText, CompletionChunks, CompletionEvents},
};
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
    Protocol, Rendered,
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

impl Protocol for Completions {
    fn check(&self, body: json::Object<'_>, _: &RequestContext<'_>) -> Result<(), ApiError> {
        read::check(body)
    }

    fn is_plain(&self, body: json::Object<'_>, tokens: u64) -> bool {
        read::is_plain(body, tokens)
    }

    fn read(&self, body: json::Object<'_>, context: &RequestContext<'_>) -> Prompt {
        read::prompt(body, context.model().into_owned())
    }

    fn cost(&self, body: json::Object<'_>, _: &RequestContext<'_>) -> Cost {
        read::cost(body)
    }

    fn render(&self, reply: &Reply, context: Option<&RequestContext<'_>>) -> Box<dyn Rendered> {
        let usage = json!({
            "prompt_tokens": reply.usage.prompt_tokens,
            "completion_tokens": reply.usage.completion_tokens,
            "total_tokens": reply.usage.prompt_tokens.saturating_add(reply.usage.completion_tokens),
        });
        let body = context.and_then(|context| context.members().ok());
        let options = body.map(CompletionOptions::read).unwrap_or_default();
        let prompts = match (body, context) {
            (Some(body), Some(context)) if options.needs_prompts() => read::texts(body, &context.model()),
            _ => Vec::new(),
        };
        // The first `n` of each prompt's `best_of` choices; the choices of one prompt are adjacent.
        let best = reply.choices.iter().enumerate().filter(|(n, _)| n % options.best_of < options.n);
        // A reply shared by all plain requests has no log probabilities, so nothing is drawn.
        let mut random = context.map_or_else(|| Random::seeded(0), |context| context.random.borrow_mut().fork());
        let choices =
            best.map(|(n, choice)| ChoiceText::new(choice, prompts.get(n / options.best_of), &options, &mut random));
        let choices: Vec<_> = choices.collect();
        let mut texts = CompletionTexts { choices: Vec::new(), usage: member(&usage), stream: Default::default() };
        if context.is_none() || options.stream.is_none() {
            let choices = choices.iter().enumerate().map(|(n, choice)| choice.full(n));
            texts.choices = member(&choices.collect::<Vec<_>>());
        }
        if context.is_none() || options.stream.is_some() {
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
    fn record(&self, context: &RequestContext<'_>) -> Value {
        let full = self.envelope.full.fill(&[&self.texts.choices, &self.texts.usage], context);
        serde_json::from_slice(&full).unwrap_or_default()
    }

    fn respond(&self, context: &RequestContext<'_>) -> Response {
        let options = context.members().map(CompletionOptions::read).unwrap_or_default();
        let (content_type, content) = match options.stream {
            None => {
                let parts: [&[u8]; 2] = [&self.texts.choices, &self.texts.usage];
                ("application/json", Body::Full(self.envelope.full.fill(&parts, context)))
            }
            Some(include_usage) => {
                let envelope = self.envelope.chunk.pieces(context);
                let events = CompletionEvents::new(&envelope, &self.texts.stream, include_usage);
                let events = response::EventStream::written(events, StreamFormat::Data("\n"));
                // Recorded: unlike chat, there is no charset.
                ("text/event-stream", Body::Stream(events))
            }
        };
        Response::ok(content_type, content)
    }
}
