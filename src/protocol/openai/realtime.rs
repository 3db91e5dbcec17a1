//! `openai-realtime`: OpenAI's Realtime. A session over a socket hears what the client sends, keeps the conversation, and
//! asks the model; what the model says is spelled as events, one to a message.
//!
//! Shapes, keys and order are those of recorded sessions of 2026. All is written in the names of today; the beta's are
//! put in their place on the way in and out.

mod beta;
mod check;
mod ear;
mod items;
mod read;
mod said;
mod session;
mod settings;

use http::header::{HeaderName, SEC_WEBSOCKET_PROTOCOL, UPGRADE};
use serde_json::{Map, Value, json};

use self::{said::Spelled, session::Conversation};
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
use crate::protocol::{Protocol, Rendered};

/// What the head may give.
const KEYS: [&str; 4] = ["session", "transcription", "transcript", "beta"];

/// The header by which a client wants the names of the beta, and the subprotocol by which a browser does.
static BETA: (HeaderName, &str, &str) =
    (HeaderName::from_static("openai-beta"), "realtime=v1", "openai-beta.realtime-v1");

/// Makes the dialect; see [`crate::protocol::Make`]. The head has the `session` as it is at first, the same for one of
/// `transcription`, the `transcript` of what a user is heard to say, and whether only the `beta` is spoken here.
pub(in crate::protocol) fn make(head: &Map<String, Value>) -> Result<Box<dyn Protocol>, String> {
    if let Some(unknown) = head.keys().find(|key| !KEYS.contains(&key.as_str())) {
        return Err(format!("`{unknown}` is not known: the head has {}", KEYS.join(", ")));
    }
    let object = |key: &str| {
        let object = head.get(key).filter(|value| value.is_object());
        let object = object.ok_or_else(|| format!("`{key}` is missing, which is an object"))?;
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

impl Protocol for Realtime {
    fn check(&self, body: json::Object<'_>, context: &RequestContext<'_>) -> Result<(), ApiError> {
        // What opens a session is no message of it.
        if context.request.body.is_empty() && context.request.method == http::Method::GET && !is_socket(context) {
            return Err(no_socket());
        }
        if context.request.body.is_empty() { Ok(()) } else { check::check(body, self.is_beta(context)) }
    }

    fn is_plain(&self, _: json::Object<'_>, _: u64) -> bool {
        false
    }

    fn read(&self, body: json::Object<'_>, context: &RequestContext<'_>) -> Prompt {
        read::prompt(body, context)
    }

    fn cost(&self, body: json::Object<'_>, context: &RequestContext<'_>) -> Cost {
        // To come in costs no tokens.
        if context.request.body.is_empty() { Cost::default() } else { self.read(body, context).cost() }
    }

    fn should_store(&self, _: json::Object<'_>) -> Option<bool> {
        None
    }

    fn open_session(&self, context: &RequestContext<'_>) -> Result<Option<Box<dyn Session>>, ApiError> {
        if !is_socket(context) {
            return Err(no_socket());
        }
        let asked = |name| query(context.request.query, name);
        let transcribes = asked("intent").as_deref() == Some("transcription");
        // A call has its model already, and what only transcribes names one later.
        if context.model().is_empty() && !transcribes && asked("call_id").is_none() {
            return Err(ApiError::MissingParameter { param: "model".to_owned() });
        }
        let render = |template: &Template| serde_json::from_slice(&template.render(context)).unwrap_or_default();
        let random = context.random.borrow_mut().fork();
        let sessions = (render(&self.session), render(&self.transcription));
        let session = Conversation::new(sessions, transcribes, self.is_beta(context), &self.transcript, random);
        Ok(Some(Box::new(session)))
    }

    fn render(&self, reply: &Reply, context: Option<&RequestContext<'_>>) -> Box<dyn Rendered> {
        Box::new(Spelled::new(reply, context))
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

/// Whether a request asks for a socket.
fn is_socket(context: &RequestContext<'_>) -> bool {
    context.request.headers.get(&UPGRADE).is_some_and(|upgrade| upgrade.eq_ignore_ascii_case("websocket"))
}

fn no_socket() -> ApiError {
    ApiError::BrokenRule {
        problem: "This endpoint is spoken to over a WebSocket: ask for an upgrade to one.".to_owned(),
    }
}

/// A new id: a prefix and so many symbols.
fn id(prefix: &str, length: usize, random: &mut Random) -> String {
    let mut id = prefix.as_bytes().to_vec();
    random.put(Alphabet::Alphanumeric, length, &mut id);
    String::from_utf8(id).unwrap_or_default()
}

/// The id of an item.
fn item_id(random: &mut Random) -> String {
    id("item_", 21, random)
}

/// An event of the server: its type, an id, and the `members` behind them.
fn event(kind: &str, members: Value, random: &mut Random) -> Value {
    let mut event = json!({"type": kind, "event_id": id("event_", 21, random)});
    if let (Some(event), Value::Object(members)) = (event.as_object_mut(), members) {
        event.extend(members);
    }
    event
}

/// The same, with padding that hides how long the `delta` is: both together are a multiple of 16 bytes.
fn padded(kind: &str, members: Value, random: &mut Random) -> Value {
    let mut event = event(kind, members, random);
    let length = event["delta"].as_str().map_or(0, str::len);
    event["obfuscation"] = id("", (16 - length % 16) % 16, random).into();
    event
}

/// The string that a value is; an empty one where it is none.
fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

/// The items of the array that a value is.
fn list(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}
