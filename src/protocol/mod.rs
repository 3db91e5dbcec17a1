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
mod llama;
mod ollama;
mod openai;
mod parsed;
mod path;
mod piece_events;
mod ready_made;
mod registry;
pub mod requirements;
mod response_parts;
mod sglang;
mod shape;
mod stored;
mod vllm;
mod wrap;

pub use self::{
    parsed::{History, LoadHistory, OpenSession, Parsed, Reader, RenderContext, ReplySource, ResponseOptions},
    ready_made::ReadyMade,
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
    reply::{Reply, Text},
    response::Response,
};

/// A wire format for generated replies, configured by the `envelope` of one endpoint's fixture.
///
/// The pipeline parses a request once and keeps the result until it is answered. Everything that it asks about the
/// request is a member of [`Parsed`]. A reply is rendered for the request, or, if [`Parsed::ready_made`] allows it, was
/// rendered at load time.
pub trait Protocol: Send + Sync {
    /// Parses a request.
    ///
    /// The body is a JSON object, but members may have any type: limits precede all checks, and lenient servers skip
    /// them.
    fn parse<'r>(&'r self, body: json::Object<'r>, context: &RequestContext<'_>) -> Parsed<'r>;

    /// Renders a reply for one request, or without a context for all requests that a ready-made reply answers.
    ///
    /// Without a context the result serves full and streamed responses alike. With one it may hold only what that
    /// request needs.
    fn render(&self, reply: &Reply, context: Option<RenderContext<'_, '_>>) -> Box<dyn Rendered>;
}

/// A rendered reply in which only the envelope's slots are open: ids, times, the model's name.
pub trait Rendered: Send + Sync {
    /// Returns the response to one request: full or streamed, as the request asks. Stores the objects that it creates
    /// beside itself, such as new items of a conversation.
    ///
    /// # Errors
    /// Another request has changed an object so that this response does not apply any more.
    fn respond(&self, context: RenderContext<'_, '_>, store: &dyn StoredObjects) -> Result<Response, ApiError>;

    /// Returns the full response, for storing.
    fn record(&self, context: RenderContext<'_, '_>) -> Record;

    /// Returns the id of a response that is not stored, for its tombstone.
    fn id(&self, context: RenderContext<'_, '_>) -> Option<String> {
        match self.record(context) {
            Record::Object(object) => object["id"].as_str().map(str::to_owned),
            Record::Text { id, .. } => Some(id),
        }
    }
}

/// A full response, for storing.
pub enum Record {
    /// The response itself.
    Object(Value),
    /// The JSON of a response that stores more than itself. Its `after` is the id of the stored response that this one
    /// continues.
    Text {
        /// The id of the response.
        id: String,
        /// The JSON.
        text: Bytes,
    },
}

impl Record {
    /// Returns the response itself from its JSON.
    fn of_json(json: &[u8]) -> Self {
        Record::Object(serde_json::from_slice(json).unwrap_or_default())
    }
}

/// A wire format whose responses follow from the request alone, such as embeddings. No scripted reply is used.
pub trait ComputedReply: Send + Sync {
    /// Returns the reader of its requests.
    fn reader(&self) -> &dyn Reader;

    /// Returns the response to one request, with its cost. `count` counts the tokens of a text.
    ///
    /// # Errors
    /// The request names an object that does not exist.
    fn respond(
        &self,
        parsed: &Parsed<'_>,
        context: &RequestContext<'_>,
        count: TokenCounter<'_>,
    ) -> Result<Response, ApiError>;
}

/// Counts the tokens of a text.
pub type TokenCounter<'a> = &'a dyn Fn(&str) -> u64;

/// Returns the forms of a reply that a request needs: full, and streamed. Without a context both are needed, rendered at
/// once. A streamed response is stored in its full form.
fn forms(context: Option<RenderContext<'_, '_>>) -> (bool, bool, RenderTime) {
    let Some(Parsed { options, store, .. }) = context.map(|context| context.parsed) else {
        return (true, true, RenderTime::Now);
    };
    (!options.stream || *store == Some(true), options.stream, RenderTime::Late)
}

/// Returns true if a call's arguments are an object without members. Claude streams nothing of it.
fn has_no_members(arguments: &Text) -> bool {
    let whole = arguments.whole();
    let members = whole.trim().strip_prefix('{').and_then(|rest| rest.strip_suffix('}'));
    members.is_some_and(|members| members.trim().is_empty())
}

/// Parses a JSON object. Other text, such as arguments cut off at the token limit, becomes an empty object.
fn object_or_empty(text: &str) -> Value {
    serde_json::from_str(text).ok().filter(Value::is_object).unwrap_or_else(|| Value::Object(Map::new()))
}
