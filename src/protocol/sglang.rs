//! `sglang-…`: the protocols of SGLang 0.5.23: its own generation, and its forms of OpenAI's chat and text completions.
//!
//! The members and their order were read in its sources; none was seen on the wire. The envelope holds `id`, `created`,
//! `model`, `eos`, the number of the token that ends replies, and `weight_version`.

mod chat;
mod completions;
mod generate;
mod read;

use std::sync::Arc;

use serde_json::{Map, Value, json};

use super::{
    Parsed, Protocol, Reader, ReadyMade, Record, RenderContext, Rendered, StoredObjects, piece_events::PartEvents,
    response_parts::Parts,
};
use crate::core::{
    context::RequestContext,
    error::ApiError,
    json,
    prompt::Prompt,
    reply::{Block, Choice, FinishReason, Reply, Text, Usage},
    response::{Body, EventStream, Response, StreamFormat},
    template::{AllowedSlots, Layout, Template},
};

/// The API of an endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Api {
    /// OpenAI's chat completions.
    Chat,
    /// OpenAI's completions.
    Completions,
    /// The server's own.
    Generate,
}

/// Required members of the envelope.
const REQUIRED: [&str; 5] = ["id", "created", "model", "eos", "weight_version"];

/// Creates the protocol; see [`super::Make`].
pub(super) fn make_chat(envelope: &Map<String, Value>) -> Result<Box<dyn Protocol>, String> {
    make(Api::Chat, envelope)
}

/// Creates the protocol; see [`super::Make`].
pub(super) fn make_completions(envelope: &Map<String, Value>) -> Result<Box<dyn Protocol>, String> {
    make(Api::Completions, envelope)
}

/// Creates the protocol; see [`super::Make`].
pub(super) fn make_generate(envelope: &Map<String, Value>) -> Result<Box<dyn Protocol>, String> {
    make(Api::Generate, envelope)
}

fn make(api: Api, envelope: &Map<String, Value>) -> Result<Box<dyn Protocol>, String> {
    if let Some(missing) = REQUIRED.iter().find(|name| !envelope.contains_key(**name)) {
        return Err(format!("`{missing}` is missing; give it a value or a slot"));
    }
    let envelope = Template::json(&Value::Object(envelope.clone()), Layout::default(), AllowedSlots::Content)?;
    Ok(Box::new(SgLang { api, envelope: Arc::new(envelope) }))
}

struct SgLang {
    api: Api,
    envelope: Arc<Template>,
}

impl Reader for SgLang {
    fn check(&self, body: json::Object<'_>, _: &RequestContext<'_>) -> Result<(), ApiError> {
        read::check(self.api, body)
    }

    fn prompt(&self, body: json::Object<'_>, context: &RequestContext<'_>, _: &[Arc<Value>]) -> Prompt {
        read::prompt(self.api, body, context.served_model().into_owned())
    }
}

impl Protocol for SgLang {
    fn parse<'r>(&'r self, body: json::Object<'r>, _: &RequestContext<'_>) -> Parsed<'r> {
        let options = read::options(self.api, body);
        Parsed { store: None, ..Parsed::with_options(self, body, ReadyMade::None, options) }
    }

    fn render(&self, reply: &Reply, _: Option<RenderContext<'_, '_>>) -> Box<dyn Rendered> {
        let (envelope, reply) = (Arc::clone(&self.envelope), Arc::new(reply.clone()));
        Box::new(RenderedReply { api: self.api, envelope, reply })
    }
}

/// A reply that is rendered when it is sent.
struct RenderedReply {
    api: Api,
    envelope: Arc<Template>,
    reply: Arc<Reply>,
}

impl Parts<'_, '_, '_> {
    /// Returns the finish reason of a choice, and what ended it: a stop sequence or the number of a token.
    fn finish(&self, choice: &Choice) -> (&'static str, Value) {
        let matched = || match (choice.stop_token, &choice.stopped_by) {
            (Some(token), _) => token.into(),
            (None, Some(stop)) => stop.as_str().into(),
            (None, None) => self.member("eos"),
        };
        match choice.finish_reason {
            FinishReason::Stop => ("stop", matched()),
            FinishReason::ToolCalls => ("tool_calls", matched()),
            FinishReason::Length => ("length", Value::Null),
            FinishReason::ContentFilter => ("content_filter", Value::Null),
        }
    }

    /// Returns the `metadata` of a full response.
    fn metadata(&self) -> Value {
        json!({"weight_version": self.member("weight_version")})
    }
}

impl RenderedReply {
    fn parts<'s, 'c, 'r>(&'s self, context: RenderContext<'c, 'r>) -> Parts<'s, 'c, 'r> {
        Parts::new(&self.envelope, &self.reply, context)
    }

    fn full(&self, parts: &Parts<'_, '_, '_>) -> Value {
        match self.api {
            Api::Chat => chat::full(parts),
            Api::Completions => completions::full(parts),
            Api::Generate => generate::full(parts),
        }
    }
}

impl Rendered for RenderedReply {
    fn record(&self, context: RenderContext<'_, '_>) -> Record {
        Record::Object(self.full(&self.parts(context)))
    }

    fn respond(&self, context: RenderContext<'_, '_>, _: &dyn StoredObjects) -> Result<Response, ApiError> {
        let parts = self.parts(context);
        if !parts.options().stream {
            return Ok(Response::ok("application/json", Body::Full(self.full(&parts).to_string().into())));
        }
        let list = match self.api {
            Api::Chat => chat::stream(&parts),
            Api::Completions => completions::stream(&parts),
            Api::Generate => generate::stream(&parts),
        };
        let events = EventStream::new(PartEvents::new(list), StreamFormat::Data("\n"));
        Ok(Response::ok("text/event-stream; charset=utf-8", Body::Stream(events)))
    }
}

/// Returns the `usage` of a response of OpenAI's APIs. Servers report cached tokens only if they are configured to.
fn usage(usage: &Usage) -> Value {
    let reasoning = usage.reasoning_tokens;
    json!({
        "prompt_tokens": usage.prompt_tokens,
        "total_tokens": usage.prompt_tokens.saturating_add(usage.completion_tokens),
        "completion_tokens": usage.completion_tokens,
        "prompt_tokens_details": null,
        "reasoning_tokens": reasoning,
        "completion_tokens_details": (reasoning > 0).then(|| json!({"reasoning_tokens": reasoning})),
    })
}

/// The usage that the chunks of one choice report while it is generated.
#[derive(Clone)]
struct RunningUsage {
    prompt_tokens: u64,
    completion_tokens: u64,
    /// False if the request does not want it.
    is_reported: bool,
}

impl RunningUsage {
    fn new(parts: &Parts<'_, '_, '_>) -> Self {
        let prompt_tokens = parts.reply.usage.prompt_tokens;
        RunningUsage {
            prompt_tokens,
            completion_tokens: 0,
            is_reported: read::wants_running_usage(parts.context.parsed.body),
        }
    }

    /// Counts tokens. Returns the usage so far; `None` if it is not reported.
    fn count(&mut self, tokens: u64) -> Option<Value> {
        self.completion_tokens += tokens;
        let (prompt_tokens, completion_tokens) = (self.prompt_tokens, self.completion_tokens);
        let so_far = Usage { prompt_tokens, completion_tokens, ..Usage::default() };
        self.is_reported.then(|| usage(&so_far))
    }
}

/// Returns the texts of a choice; a call is its arguments.
fn texts(choice: &Choice) -> impl Iterator<Item = &Text> {
    choice.blocks.iter().filter(|block| !matches!(block, Block::Reasoning(_))).map(Block::text)
}

fn whole(choice: &Choice) -> String {
    texts(choice).map(Text::whole).collect()
}
