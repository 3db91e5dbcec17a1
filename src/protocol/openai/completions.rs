//! `openai-completions`: OpenAI's Completions of the time before there were chats, whole and streamed.
//!
//! The shapes and the order of the keys, which differs between whole answers and chunks, are those of recorded answers.

mod read;
mod render;

use std::sync::Arc;

use serde_json::{Map, Value, json};

use self::{
    read::Wishes,
    render::{Frames, Stream},
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
};

/// Makes the dialect; see [`crate::protocol::Make`].
pub(in crate::protocol) fn make(head: &Map<String, Value>) -> Result<Box<dyn Protocol>, String> {
    let object = ("object", json!("text_completion"));
    let choices = ("choices", json!("{{part.choices}}"));
    let usage = ("usage", json!("{{part.usage}}"));
    let given = |name| (name, Value::Null);
    let whole = [given("id"), object.clone(), given("created"), given("model"), choices.clone(), usage];
    let chunk = [given("id"), object, given("created"), choices, given("model")];
    let around = Around {
        whole: Envelope::new(envelope_members(head, &whole)?, LAYOUT, 2)?,
        chunk: Envelope::new(envelope_members(head, &chunk)?, Layout::default(), 1)?,
    };
    Ok(Box::new(Completions { around: Arc::new(around) }))
}

struct Completions {
    around: Arc<Around>,
}

/// What stands around the model's words, with the slots of the head.
struct Around {
    /// A whole answer around its choices and its usage.
    whole: Envelope,
    /// A chunk around its choices.
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
        let wishes = body.map(Wishes::read).unwrap_or_default();
        let prompts = match (body, context) {
            (Some(body), Some(context)) if wishes.wants_prompts() => read::texts(body, &context.model()),
            _ => Vec::new(),
        };
        // Of as many as are best, as many as are wanted; those of one prompt follow each other.
        let best = reply.choices.iter().enumerate().filter(|(n, _)| n % wishes.best_of < wishes.n);
        let said = best.map(|(n, choice)| render::Said::new(choice, prompts.get(n / wishes.best_of), &wishes));
        let said: Vec<_> = said.collect();
        // Nothing that is said the same every time has logprobs, and so none of it is drawn.
        let mut random = context.map_or_else(|| Random::seeded(0), |context| context.random.borrow_mut().fork());
        let mut words = Words { choices: Vec::new(), usage: member(&usage), stream: Arc::default() };
        if context.is_none() || wishes.stream.is_none() {
            let choices = said.iter().enumerate().map(|(n, said)| said.whole(n, &wishes, &mut random));
            words.choices = member(&choices.collect::<Vec<_>>());
        }
        if context.is_none() || wishes.stream.is_some() {
            let chunks = render::chunks(&said, &wishes, &mut random);
            words.stream = Arc::new(Stream { chunks, usage: usage.to_string() });
        }
        Box::new(Spelled { around: Arc::clone(&self.around), words })
    }
}

/// What the model says, spelled for whole answers and for streams.
struct Words {
    choices: Vec<u8>,
    usage: Vec<u8>,
    stream: Arc<Stream>,
}

struct Spelled {
    around: Arc<Around>,
    words: Words,
}

impl Rendered for Spelled {
    fn record(&self, context: &RequestContext<'_>) -> Value {
        let whole = self.around.whole.fill(&[&self.words.choices, &self.words.usage], context);
        serde_json::from_slice(&whole).unwrap_or_default()
    }

    fn respond(&self, context: &RequestContext<'_>) -> Response {
        let wishes = context.members().map(Wishes::read).unwrap_or_default();
        let (content_type, content) = match wishes.stream {
            None => {
                let parts: [&[u8]; 2] = [&self.words.choices, &self.words.usage];
                ("application/json", Body::Full(self.around.whole.fill(&parts, context)))
            }
            Some(include_usage) => {
                let around = self.around.chunk.pieces(context);
                let frames = Frames::new(&around, Arc::clone(&self.words.stream), include_usage);
                let frames = response::EventStream { events: Box::new(frames), format: StreamFormat::Data("\n") };
                // Recorded: without the charset that chats name.
                ("text/event-stream", Body::Stream(frames))
            }
        };
        Response::ok(content_type, content)
    }
}
