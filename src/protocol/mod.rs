//! Wire formats. Each protocol parses the requests of one API and renders replies for it.
//!
//! `registry` maps the names in fixtures to protocols. [`Protocol`] renders generated replies; [`ComputedReply`]
//! derives the response from the request alone. The parts in `generic` take their JSON shapes from the fixture, those
//! in `wrap` contain another protocol. [`requirements`] checks types and bounds before any protocol sees the request.
//!
//! The `envelope` of an endpoint is the object under the key `head` of its fixture: the members of a response around
//! the reply, with slots such as `{{id.hex32}}`.

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
    stored::{ChangeStep, Kind, Lookup, Plan, ResourceKey, StoredObjects, StoredPut},
};

use bytes::Bytes;
use serde_json::{Map, Value};

use self::events::RenderTime;

use crate::core::{
    context::RequestContext,
    error::ApiError,
    json,
    limit_status::Cost,
    prompt::Prompt,
    reply::Reply,
    request,
    response::{Response, session::Session},
};

/// A wire format for generated replies, configured by the `envelope` of one endpoint's fixture.
///
/// The pipeline calls these methods in this order:
///
/// 1. [`cost`](Protocol::cost), if limits count tokens;
/// 2. [`check`](Protocol::check), unless the server is lenient;
/// 3. [`computed_reply`](Protocol::computed_reply): if it returns a protocol, that one responds;
/// 4. [`previous_response_id`](Protocol::previous_response_id) and [`load_history`](Protocol::load_history);
/// 5. [`read`](Protocol::read), if choosing a scripted reply needs the prompt;
/// 6. [`render`](Protocol::render), or if [`is_plain`](Protocol::is_plain) returns true, a reply rendered at load time;
/// 7. [`should_store`](Protocol::should_store) and the methods of [`Rendered`].
///
/// The body is a JSON object, but members may have any type: `cost` precedes all checks, and lenient servers skip them.
/// A protocol that wraps another must forward every method whose default does not fit the inner one.
pub trait Protocol: Send + Sync {
    /// Checks the rules that [`requirements`] cannot express: everything beyond types and bounds of single members.
    ///
    /// # Errors
    /// The first broken rule.
    fn check(&self, body: json::Object<'_>, context: &RequestContext<'_>) -> Result<(), ApiError>;

    /// Returns true if no member of the request changes a reply of `tokens` tokens.
    ///
    /// The pipeline then uses the reply that was rendered without a context. Return false when in doubt.
    fn is_plain(&self, body: json::Object<'_>, tokens: u64) -> bool;

    /// Parses the request into the neutral prompt for the model.
    ///
    /// Ignores members with wrong types.
    fn read(&self, body: json::Object<'_>, context: &RequestContext<'_>) -> Prompt;

    /// Estimates the tokens that limits reserve before there is a reply.
    fn cost(&self, body: json::Object<'_>, context: &RequestContext<'_>) -> Cost {
        self.read(body, context).cost()
    }

    /// Returns true if the client receives the scripted reply, which then counts as used.
    ///
    /// Protocols that report only numbers or scores, such as token counts, return false. They do not advance scripts.
    fn delivers_reply(&self) -> bool {
        true
    }

    /// Returns the protocol that computes the response to this request, if no scripted reply is needed.
    fn computed_reply(&self, _: json::Object<'_>) -> Option<&dyn ComputedReply> {
        None
    }

    /// Returns the request's choice to store the response, for endpoints that store responses.
    ///
    /// `None`: the request did not set it. Nothing is stored and no tombstone is written, because most requests are
    /// like this.
    fn should_store(&self, body: json::Object<'_>) -> Option<bool> {
        body.get("store").and_then(json::Value::as_bool)
    }

    /// Returns the id of the stored response that the request continues.
    ///
    /// The pipeline puts that response and its predecessors into the request context before it calls
    /// [`read`](Protocol::read).
    fn previous_response_id<'m>(&self, _: json::Object<'m>) -> Option<Cow<'m, str>> {
        None
    }

    /// Loads the stored objects that the request names, such as its conversation, into `earlier` of the request
    /// context.
    ///
    /// # Errors
    /// The request names an object that does not exist.
    fn load_history(&self, _: json::Object<'_>, _: &RequestContext<'_>, _: &dyn StoredObjects) -> Result<(), ApiError> {
        Ok(())
    }

    /// Opens a realtime session for a request without a body.
    ///
    /// `None`: the protocol has no sessions.
    ///
    /// # Errors
    /// The protocol has sessions, and this request does not open one.
    fn open_session(&self, _: &RequestContext<'_>) -> Result<Option<Box<dyn Session>>, ApiError> {
        Ok(None)
    }

    /// Renders a reply for one request, or without a context for all plain requests.
    ///
    /// Without a context the result serves full and streamed responses alike. With one it may hold only what that
    /// request needs.
    fn render(&self, reply: &Reply, context: Option<&RequestContext<'_>>) -> Box<dyn Rendered>;
}

/// A rendered reply in which only the envelope's slots are open: ids, times, the model's name.
pub trait Rendered: Send + Sync {
    /// Returns the response to one request: full or streamed, as the request asks.
    fn respond(&self, context: &RequestContext<'_>) -> Response;

    /// Returns true if the response only announces a later reply, as for a queued run. It costs no tokens and takes no
    /// time.
    fn is_deferred(&self, _: &RequestContext<'_>) -> bool {
        false
    }

    /// Returns the full response as JSON, for storing.
    fn record(&self, context: &RequestContext<'_>) -> Value;

    /// Returns the id of a response that is not stored, for its tombstone.
    fn id(&self, context: &RequestContext<'_>) -> Option<String> {
        self.record(context)["id"].as_str().map(str::to_owned)
    }

    /// Returns the id and the stored JSON of a response that stores more than itself.
    ///
    /// The JSON's `after` is the id of the stored response that this one continues. `None`: store
    /// [`record`](Rendered::record).
    fn stored(&self, _: &RequestContext<'_>) -> Option<(String, Bytes)> {
        None
    }

    /// Stores the objects that a response creates beside itself, such as new items of a conversation.
    ///
    /// # Errors
    /// Another request has changed an object so that this one does not apply any more.
    fn store(&self, _: &RequestContext<'_>, _: &dyn StoredObjects) -> Result<(), ApiError> {
        Ok(())
    }
}

/// A wire format whose responses follow from the request alone, such as embeddings. No scripted reply is used.
pub trait ComputedReply: Send + Sync {
    /// Checks the rules that [`requirements`] cannot express: everything beyond types and bounds of single members.
    ///
    /// # Errors
    /// The first broken rule.
    fn check(&self, body: json::Object<'_>, context: &RequestContext<'_>) -> Result<(), ApiError>;

    /// Parses the texts that the request sends to the model.
    fn read(&self, body: json::Object<'_>, context: &RequestContext<'_>) -> Prompt;

    /// Estimates the tokens that limits reserve before there is a response.
    fn cost(&self, body: json::Object<'_>, context: &RequestContext<'_>) -> Cost {
        self.read(body, context).cost()
    }

    /// Returns the response to one request, with its cost. `count` counts the tokens of a text.
    ///
    /// # Errors
    /// The request names an object that does not exist.
    fn respond(
        &self,
        body: json::Object<'_>,
        context: &RequestContext<'_>,
        count: TokenCounter<'_>,
    ) -> Result<Response, ApiError>;
}

/// Counts the tokens of a text.
pub type TokenCounter<'a> = &'a dyn Fn(&str) -> u64;

/// Returns true if a request wants a stream.
fn wants_stream(context: &RequestContext<'_>) -> bool {
    request::wants_stream(context.request.path, context.members().unwrap_or_default())
}

/// Returns the forms of a reply that a request needs: full, and streamed. Without a context both are needed, rendered at
/// once. A streamed response is stored in its full form.
fn forms(context: Option<&RequestContext<'_>>) -> (bool, bool, RenderTime) {
    let Some(context) = context else { return (true, true, RenderTime::Now) };
    let streams = wants_stream(context);
    let is_stored =
        || context.members().is_ok_and(|body| body.get("store").and_then(json::Value::as_bool) == Some(true));
    (!streams || is_stored(), streams, RenderTime::Late)
}

/// Parses a JSON object. Other text, such as arguments cut off at the token limit, becomes an empty object.
fn object_or_empty(text: &str) -> Value {
    serde_json::from_str(text).ok().filter(Value::is_object).unwrap_or_else(|| Value::Object(Map::new()))
}
