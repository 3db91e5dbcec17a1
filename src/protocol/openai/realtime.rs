//! `openai-realtime`: OpenAI's Realtime. A session over a WebSocket receives the client's messages, stores the
//! conversation, and queries the model. The reply is rendered as events, one per WebSocket message.
//!
//! Shapes, keys and order are those of sessions recorded in 2026. The code uses the current names; the beta's names are
//! converted on the way in and out.

mod beta;
mod check;
mod events;
mod items;
mod read;
mod session;
mod settings;
mod voice_activity;

use std::sync::Arc;

use http::header::{HeaderName, SEC_WEBSOCKET_PROTOCOL, UPGRADE};
use serde_json::{Map, Value, json};

use self::{events::RenderedRealtime, session::RealtimeSession};
use crate::core::{
    context::RequestContext,
    error::ApiError,
    json,
    limit_status::Cost,
    prompt::Prompt,
    random::{Alphabet, Random},
    reply::Reply,
    response::session::Session,
    template::{AllowedSlots, Layout, Template, query},
};
use crate::protocol::{OpenSession, Parsed, Protocol, Reader, ReadyMade, RenderContext, Rendered, ReplySource};

/// The envelope's keys.
const KEYS: [&str; 4] = ["session", "transcription", "transcript", "beta"];

/// The header with which a client selects the beta, and the subprotocol with which a browser does.
static BETA: (HeaderName, &str, &str) =
    (HeaderName::from_static("openai-beta"), "realtime=v1", "openai-beta.realtime-v1");

/// Creates the protocol; see [`crate::protocol::Make`]. The envelope has the initial `session`, the initial
/// `transcription` session, the `transcript` of user audio, and `beta`: true if the endpoint supports only the beta.
pub(in crate::protocol) fn make(head: &Map<String, Value>) -> Result<Box<dyn Protocol>, String> {
    if let Some(unknown) = head.keys().find(|key| !KEYS.contains(&key.as_str())) {
        return Err(format!("unknown key `{unknown}`; use {}", KEYS.join(", ")));
    }
    let object = |key: &str| {
        let object = head.get(key).filter(|value| value.is_object());
        let object = object.ok_or_else(|| format!("`{key}` is missing or not an object; give it an object"))?;
        Template::json(object, Layout::default(), AllowedSlots::Part)
    };
    let transcript = head.get("transcript").and_then(Value::as_str).unwrap_or_default().to_owned();
    let beta = head.get("beta").and_then(Value::as_bool).unwrap_or(false);
    Ok(Box::new(Realtime { session: object("session")?, transcription: object("transcription")?, transcript, beta }))
}

struct Realtime {
    session: Template,
    transcription: Template,
    transcript: String,
    beta: bool,
}

impl Reader for Realtime {
    fn check(&self, body: json::Object<'_>, context: &RequestContext<'_>) -> Result<(), ApiError> {
        // The opening request is no message of the session.
        if context.request.body.is_empty() && context.request.method == http::Method::GET && !is_socket(context) {
            return Err(no_socket());
        }
        if context.request.body.is_empty() { Ok(()) } else { check::check(body, self.is_beta(context)) }
    }

    fn prompt(&self, body: json::Object<'_>, context: &RequestContext<'_>, _: &[Arc<Value>]) -> Prompt {
        read::prompt(body, context)
    }

    fn cost(&self, body: json::Object<'_>, context: &RequestContext<'_>) -> Cost {
        // The opening request costs no tokens.
        if context.request.body.is_empty() { Cost::default() } else { self.prompt(body, context, &[]).cost() }
    }
}

impl OpenSession for Realtime {
    fn open(&self, context: &RequestContext<'_>) -> Result<Box<dyn Session>, ApiError> {
        if !is_socket(context) {
            return Err(no_socket());
        }
        let parameter = |name| query(context.request.query, name);
        let transcribes = parameter("intent").as_deref() == Some("transcription");
        // A call has its model already, and a transcription session sets one later.
        if context.model().is_empty() && !transcribes && parameter("call_id").is_none() {
            return Err(ApiError::MissingParameter { param: "model".to_owned() });
        }
        let render = |template: &Template| serde_json::from_slice(&template.render(context)).unwrap_or_default();
        let random = context.random.borrow_mut().fork();
        let sessions = (render(&self.session), render(&self.transcription));
        let session = RealtimeSession::new(sessions, transcribes, self.is_beta(context), &self.transcript, random);
        Ok(Box::new(session))
    }
}

impl Protocol for Realtime {
    fn parse<'r>(&'r self, body: json::Object<'r>, context: &RequestContext<'_>) -> Parsed<'r> {
        // A session is opened only by a request without a body.
        let source = if context.request.body.is_empty() { ReplySource::Session(self) } else { ReplySource::Script };
        Parsed { source, store: None, ..Parsed::new(self, body, context, ReadyMade::None) }
    }

    fn render(&self, reply: &Reply, context: Option<RenderContext<'_, '_>>) -> Box<dyn Rendered> {
        Box::new(RenderedRealtime::new(reply, context.is_some()))
    }
}

impl Realtime {
    fn is_beta(&self, context: &RequestContext<'_>) -> bool {
        let (name, value, protocol) = &BETA;
        let has = |name: &HeaderName, value: &str| {
            context.request.headers.get(name).is_some_and(|list| list.split(',').any(|one| one.trim() == value))
        };
        self.beta || has(name, value) || has(&SEC_WEBSOCKET_PROTOCOL, protocol)
    }
}

/// Returns true if a request asks for a WebSocket.
fn is_socket(context: &RequestContext<'_>) -> bool {
    context.request.headers.get(&UPGRADE).is_some_and(|upgrade| upgrade.eq_ignore_ascii_case("websocket"))
}

fn no_socket() -> ApiError {
    ApiError::BrokenRule {
        problem: "This endpoint is spoken to over a WebSocket: ask for an upgrade to one.".to_owned(),
    }
}

/// Draws an id: a prefix and `length` symbols.
fn id(prefix: &str, length: usize, random: &mut Random) -> String {
    let mut id = prefix.as_bytes().to_vec();
    random.put(Alphabet::Alphanumeric, length, &mut id);
    String::from_utf8(id).unwrap_or_default()
}

/// Draws the id of an item.
fn item_id(random: &mut Random) -> String {
    id("item_", 21, random)
}

/// Creates a server event: its type, an id, and the `members` after them.
fn event(kind: &str, members: Value, random: &mut Random) -> Value {
    let mut event = json!({"type": kind, "event_id": id("event_", 21, random)});
    if let (Some(event), Value::Object(members)) = (event.as_object_mut(), members) {
        event.extend(members);
    }
    event
}

/// Creates a server event with padding, which hides the length of `delta`: together they are a multiple of 16 bytes.
fn padded(kind: &str, members: Value, random: &mut Random) -> Value {
    let mut event = event(kind, members, random);
    let length = event["delta"].as_str().map_or(0, str::len);
    event["obfuscation"] = id("", (16 - length % 16) % 16, random).into();
    event
}

/// Returns a string value's text. Other values give an empty text.
fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

/// Returns an array's items. Other values have none.
fn list(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}
