//! Dialects: how a protocol reads what is asked and spells what the model says. One file each, and those that it needs.

mod anthropic;
mod bedrock;
mod cohere;
mod envelope;
mod events;
mod gemini;
mod generic;
mod inputs;
mod ollama;
mod openai;
mod path;
mod registry;
pub mod requirements;
mod shape;
mod stored;
mod wrap;

use std::borrow::Cow;

pub use self::{
    registry::{Make, MakeComputedReply, all, computed},
    stored::{Lookup, StoredObjects},
};

use bytes::Bytes;
use serde_json::{Map, Value};

use crate::core::{
    context::RequestContext,
    error::ApiError,
    json,
    limit_status::Cost,
    prompt::Prompt,
    reply::Reply,
    response::{Response, session::Session},
};

/// A protocol, with the head that one endpoint's fixture gives its answers.
pub trait Protocol: Send + Sync {
    /// Checks the rules of the protocol that are more than types and bounds of single members.
    ///
    /// # Errors
    /// The first rule that is broken.
    fn check(&self, body: json::Object<'_>, context: &RequestContext<'_>) -> Result<(), ApiError>;

    /// Whether a request asks for nothing that changes a reply of `tokens` tokens.
    fn is_plain(&self, body: json::Object<'_>, tokens: u64) -> bool;

    /// Reads what a request asks of the model.
    fn read(&self, body: json::Object<'_>, context: &RequestContext<'_>) -> Prompt;

    /// What limits on tokens book for a request before there is a reply.
    fn cost(&self, body: json::Object<'_>, context: &RequestContext<'_>) -> Cost {
        self.read(body, context).cost()
    }

    /// Whether what it spells is then said. A protocol that only counts what a reply would cost leaves scripts where
    /// they are.
    fn delivers_reply(&self) -> bool {
        true
    }

    /// What computes the answer to a request that the model has nothing to say to, where a protocol takes such too.
    fn computed_reply(&self, _: json::Object<'_>) -> Option<&dyn ComputedReply> {
        None
    }

    /// Whether the answer to a request is kept, where its endpoint keeps any. Where the request says nothing of it, it is
    /// not, and nobody remembers that: so many are asked for.
    fn should_store(&self, body: json::Object<'_>) -> Option<bool> {
        body.get("store").and_then(json::Value::as_bool)
    }

    /// The id of the kept answer that a request goes on from. What was kept of it, and of those before it, stands in the
    /// scope once that is known.
    fn previous_response_id<'m>(&self, _: json::Object<'m>) -> Option<Cow<'m, str>> {
        None
    }

    /// Reads what the endpoint keeps of what the request names, such as the conversation that it is part of, and leaves it
    /// in the scope as what was kept `earlier`.
    ///
    /// # Errors
    /// Something that it names is not there.
    fn load_history(&self, _: json::Object<'_>, _: &RequestContext<'_>, _: &dyn StoredObjects) -> Result<(), ApiError> {
        Ok(())
    }

    /// The conversation that a request without a body opens, where the protocol has some.
    ///
    /// # Errors
    /// It has, and this request opens none.
    fn open_session(&self, _: &RequestContext<'_>) -> Result<Option<Box<dyn Session>>, ApiError> {
        Ok(None)
    }

    /// Spells a reply: for one request, or, without a scope, for all that are plain.
    fn render(&self, reply: &Reply, context: Option<&RequestContext<'_>>) -> Box<dyn Rendered>;
}

/// A reply, spelled but for what each request fills in.
pub trait Rendered: Send + Sync {
    /// The answer to one request: whole or event by event, as it asked.
    fn respond(&self, context: &RequestContext<'_>) -> Response;

    /// Whether the answer to a request tells only that something will be said, and so takes no time.
    fn is_deferred(&self, _: &RequestContext<'_>) -> bool {
        false
    }

    /// The whole answer, for keeping.
    fn record(&self, context: &RequestContext<'_>) -> Value;

    /// The id that an answer will have which is not kept.
    fn id(&self, context: &RequestContext<'_>) -> Option<String> {
        self.record(context)["id"].as_str().map(str::to_owned)
    }

    /// What is kept under which id, as JSON, where that is more than the answer alone. Its `after` is the id of the kept
    /// answer that this one goes on from.
    fn stored(&self, _: &RequestContext<'_>) -> Option<(String, Bytes)> {
        None
    }

    /// Keeps what comes of the answer beside it, such as what a conversation has more.
    fn store(&self, _: &RequestContext<'_>, _: &dyn StoredObjects) {}
}

/// A protocol whose answers follow from the request alone, such as vectors of texts: the model says nothing, and so no
/// script is asked.
pub trait ComputedReply: Send + Sync {
    /// Checks the rules of the protocol that are more than types and bounds of single members.
    ///
    /// # Errors
    /// The first rule that is broken.
    fn check(&self, body: json::Object<'_>, context: &RequestContext<'_>) -> Result<(), ApiError>;

    /// Reads what is sent to the model: the texts of it.
    fn read(&self, body: json::Object<'_>, context: &RequestContext<'_>) -> Prompt;

    /// What limits on tokens book for a request before there is an answer.
    fn cost(&self, body: json::Object<'_>, context: &RequestContext<'_>) -> Cost {
        self.read(body, context).cost()
    }

    /// The answer to one request, with what it has cost; `count` tells how many tokens a text is counted as.
    ///
    /// # Errors
    /// The request names something that does not exist.
    fn respond(
        &self,
        body: json::Object<'_>,
        context: &RequestContext<'_>,
        count: TokenCounter<'_>,
    ) -> Result<Response, ApiError>;
}

/// How many tokens a text is counted as.
pub type TokenCounter<'a> = &'a dyn Fn(&str) -> u64;

/// Whether a request wants a stream: the operation that its path ends with is called so, or its body says it.
fn wants_stream(context: &RequestContext<'_>) -> bool {
    let operation = context.request.path.trim_end_matches('/').rsplit(['/', ':']).next().unwrap_or_default();
    operation.contains("stream")
        || context.members().is_ok_and(|body| body.get("stream").and_then(json::Value::as_bool) == Some(true))
}

/// The text of JSON that holds an object, or an empty object: what was cut short at a number of tokens is no JSON any
/// more, and then nothing was put in.
fn object_or_empty(text: &str) -> Value {
    serde_json::from_str(text).ok().filter(Value::is_object).unwrap_or_else(|| Value::Object(Map::new()))
}

/// The items of several lists, the first of each before the second of any: how alternatives share a stream.
fn interleave<T>(lists: Vec<Vec<T>>) -> Vec<T> {
    let mut lists: Vec<_> = lists.into_iter().map(Vec::into_iter).collect();
    let mut all = Vec::new();
    loop {
        let before = all.len();
        all.extend(lists.iter_mut().filter_map(Iterator::next));
        if all.len() == before {
            return all;
        }
    }
}
