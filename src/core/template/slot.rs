//! The slots of templates, and their values.

mod display;
mod example;
mod limits;

use std::{borrow::Cow, time::Duration};

use http::HeaderName;
use percent_encoding::percent_decode_str;
use serde_json::{Value, json};

pub use self::limits::{LimitFamily, LimitField};
use self::{display::prefix, example::Example};
use super::{SlotPosition, SlotValue, Variables};
use crate::core::{
    clock::{FIXED_EPOCH, Rfc3339},
    error::Field,
    json::{self, Kind},
    limit_status::Unit,
    model_catalog::ModelFacts,
    random::Alphabet,
    secret,
    server_numbers::ServerNumber,
};
use crate::core::{context::RequestContext, error::ApiError};

/// The header in which a client gives its request an id.
static CLIENT_ID: HeaderName = HeaderName::from_static("x-request-id");

/// A placeholder for a value of the request, its outcome or the server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Slot {
    /// `{{path.name}}`: a named segment of the path, percent-decoded.
    Path(Box<str>),
    /// `{{query.name}}`: a parameter of the query.
    Query(Box<str>),
    /// `{{header.name}}`: a header of the request.
    Header(HeaderName),
    /// `{{body.name}}`, `{{body.outer.inner}}`: a member of the request's JSON body.
    Body(Box<[Box<str>]>),
    /// `{{model.name}}`: the requested model, by its name in responses.
    ModelName,
    /// `{{model.served}}`: the same; for a request without a model, the first model of the server.
    ServedModel,
    /// `{{request.method}}`.
    Method,
    /// `{{request.path}}`.
    FullPath,
    /// `{{request.processing_ms}}`: time from the request to its response, in milliseconds.
    ProcessingMs,
    /// `{{resource.self}}`, `{{resource.name}}`: the object found in a collection, and a member of it.
    Resource(Box<[Box<str>]>),
    /// `{{server.models}}`: the available models, in OpenAI's list format.
    Models,
    /// `{{request.id}}`: 22 symbols of base58, the same throughout one response.
    RequestId,
    /// `{{id.alnum29}}`, `{{id.hex32}}`, `{{id.base58_22}}`: so many new random symbols.
    Id(Alphabet, usize),
    /// `{{id.client_or_hex16}}`: the request's `x-request-id`, or else so many new random symbols.
    ClientId(Alphabet, usize),
    /// `{{id.uuid}}`.
    Uuid,
    /// `{{now.unix}}`: whole seconds since 1970.
    Unix,
    /// `{{now.in_3600}}`: the time so many seconds from now, in whole seconds since 1970.
    UnixIn(u64),
    /// `{{now.rfc3339}}`, and `{{now.rfc3339_in_3600}}`: the time so many seconds from now.
    Rfc3339In(u64),
    /// `{{server.version}}`: the version of this program.
    Version,
    /// `{{server.model}}`: the first configured model, whichever was requested.
    OnlyModel,
    /// `{{server.slots}}` and others: a number about the server.
    ServerNumber(ServerNumber),
    /// `{{request.json_at}}`: the byte of the first mistake in a body that is no JSON object.
    JsonAt,
    /// `{{request.json_problem}}`: the first mistake in a body that is no JSON object, in the words of nlohmann's parser.
    JsonProblem,
    /// `{{server.fingerprint}}`: 8 hexadecimal digits that depend on the settings.
    Fingerprint,
    /// `{{requests.…}}`, `{{tokens.…}}`, `{{refusal.…}}`: the state of a limit.
    LimitStatus(LimitFamily, LimitField),
    /// `{{example.curl_header}}` and others: a part of an example request that works with the settings.
    Example(Example),
    /// `{{error.name}}`: a field of the error that is rendered.
    Error(Box<str>),
    /// `{{part.name}}`: the position of a part that a protocol renders itself. [`Template::split`] cuts here.
    ///
    /// [`Template::split`]: super::Template::split
    Part(Box<str>),
}

/// The slots that a template may contain. They depend on its use: only error texts have an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AllowedSlots {
    /// The slots of any content.
    Content,
    /// Those of content, and the state of limits.
    Limit,
    /// Those of content, the state of limits, and the error.
    Error,
    /// Those of content, and the parts that a protocol renders.
    Part,
}

impl Slot {
    /// Returns the unit of the limit that the slot reports, if it reports one.
    pub fn unit(&self) -> Option<Unit> {
        match self {
            Slot::LimitStatus(LimitFamily::Of(unit), _) => Some(*unit),
            _ => None,
        }
    }

    /// Parses the text between the braces.
    ///
    /// # Errors
    /// A message with the problem and the available slots.
    pub fn parse(text: &str, allowed: AllowedSlots) -> Result<Self, String> {
        let Some((space, name)) = text.split_once('.').filter(|(_, name)| !name.is_empty()) else {
            return Err(format!(
                "`{{{{{text}}}}}` is not a slot; write `{{{{space.name}}}}`, or `{{{{{{{{` for a literal `{{{{`"
            ));
        };
        let only = |uses: &[AllowedSlots], place: &str| match uses.contains(&allowed) {
            true => Ok(()),
            false => Err(format!("`{{{{{text}}}}}` has no value here; use it only in {place}")),
        };
        let choose =
            |known: &[&str]| Err(format!("`{{{{{text}}}}}` does not exist; `{space}` has {}", known.join(", ")));
        match (space, name) {
            ("path", name) => Ok(Slot::Path(name.into())),
            ("query", name) => Ok(Slot::Query(name.into())),
            ("header", name) => {
                let problem = |_| format!("`{name}` is not a header name; write a name such as `user-agent`");
                name.parse().map(Slot::Header).map_err(problem)
            }
            ("body", name) => Ok(Slot::Body(name.split('.').map(Into::into).collect())),
            ("model", "name") => Ok(Slot::ModelName),
            ("model", "served") => Ok(Slot::ServedModel),
            ("model", _) => choose(&["name", "served"]),
            ("request", "method") => Ok(Slot::Method),
            ("request", "path") => Ok(Slot::FullPath),
            ("request", "processing_ms") => Ok(Slot::ProcessingMs),
            ("request", "id") => Ok(Slot::RequestId),
            ("request", "json_at") => Ok(Slot::JsonAt),
            ("request", "json_problem") => Ok(Slot::JsonProblem),
            ("request", _) => choose(&["method", "path", "processing_ms", "id", "json_at", "json_problem"]),
            ("resource", "self") => Ok(Slot::Resource(Box::default())),
            ("resource", name) => Ok(Slot::Resource(name.split('.').map(Into::into).collect())),
            ("id", "uuid") => Ok(Slot::Uuid),
            ("id", name) => {
                let client = || match id(name.strip_prefix("client_or_")?)? {
                    Slot::Id(alphabet, length) => Some(Slot::ClientId(alphabet, length)),
                    _ => None,
                };
                let known = ["alnum29 (any length up to 256)", "hex32", "base58_22", "client_or_hex16", "uuid"];
                id(name).or_else(client).map_or_else(|| choose(&known), Ok)
            }
            ("now", "unix") => Ok(Slot::Unix),
            ("now", "rfc3339") => Ok(Slot::Rfc3339In(0)),
            ("now", name) => {
                let after = |prefix| name.strip_prefix(prefix)?.parse::<u32>().ok().map(u64::from);
                match (after("in_"), after("rfc3339_in_")) {
                    (Some(seconds), _) => Ok(Slot::UnixIn(seconds)),
                    (None, Some(seconds)) => Ok(Slot::Rfc3339In(seconds)),
                    (None, None) => {
                        choose(&["unix", "in_3600 (any number of seconds)", "rfc3339", "rfc3339_in_3600 (the same)"])
                    }
                }
            }
            ("server", "version") => Ok(Slot::Version),
            ("server", "models") => Ok(Slot::Models),
            ("server", "model") => Ok(Slot::OnlyModel),
            ("server", "fingerprint") => Ok(Slot::Fingerprint),
            ("server", name) => ServerNumber::named(name).map_or_else(
                || {
                    let names = ServerNumber::NAMES.map(|(name, _)| name).join(", ");
                    choose(&["version", "models", "model", "fingerprint", &names])
                },
                |number| Ok(Slot::ServerNumber(number)),
            ),
            ("example", name) => {
                Example::named(name).map_or_else(|| choose(&Example::NAMES), |part| Ok(Slot::Example(part)))
            }
            ("error", name) => {
                only(&[AllowedSlots::Error], "a provider's `errors`")?;
                Ok(Slot::Error(name.into()))
            }
            ("part", name) if allowed == AllowedSlots::Part => Ok(Slot::Part(name.into())),
            (space, name) => match LimitFamily::named(space) {
                Some(family) => {
                    only(&[AllowedSlots::Limit, AllowedSlots::Error], "a provider's `limit_headers` and `errors`")?;
                    LimitField::named(family, name)
                        .map(|field| Slot::LimitStatus(family, field))
                        .or_else(|known| choose(&[&known]))
                }
                None => Err(format!(
                    "`{{{{{text}}}}}` has the unknown space `{space}`; use path, query, header, body, model, request, \
                     resource, id, now, server, example, requests, tokens, input_tokens, output_tokens, refusal or error"
                )),
            },
        }
    }

    /// Appends the value for this request, rendered for this position.
    pub(super) fn put(
        &self,
        context: &RequestContext<'_>,
        variables: Variables<'_>,
        position: SlotPosition,
        out: &mut Vec<u8>,
    ) {
        let quoted = |out: &mut Vec<u8>, put: &dyn Fn(&mut Vec<u8>)| {
            let is_value = matches!(position, SlotPosition::Value { .. });
            out.extend_from_slice(if is_value { b"\"" } else { b"" });
            put(out);
            out.extend_from_slice(if is_value { b"\"" } else { b"" });
        };
        match self {
            // Written where they belong: no symbol of them needs an escape.
            Slot::Id(alphabet, length) => quoted(out, &|out| context.random.borrow_mut().put(*alphabet, *length, out)),
            Slot::ClientId(alphabet, length) => match context.request.headers.get(&CLIENT_ID) {
                Some(id) if !id.is_empty() => text(Some(id.into())).put(position, out),
                _ => quoted(out, &|out| context.random.borrow_mut().put(*alphabet, *length, out)),
            },
            Slot::Uuid => quoted(out, &|out| context.random.borrow_mut().put_uuid(out)),
            // Borrowed: an object can be as large as a request body.
            Slot::Resource(path) => resource(variables.object.unwrap_or(&Value::Null), path).put(position, out),
            _ => self.value(context, variables.error).put(position, out),
        }
    }

    /// Returns the value for this request.
    fn value<'a>(&self, context: &'a RequestContext<'_>, error: Option<&'a ApiError>) -> SlotValue<'a> {
        match self {
            Slot::Path(name) => text(context.param(name).map(|raw| percent_decode_str(raw).decode_utf8_lossy())),
            Slot::Query(name) => text(query(context.request.query, name)),
            Slot::Header(name) => text(context.request.headers.get(name).map(Cow::Borrowed)),
            Slot::Body(path) => body(context, path).map_or(SlotValue::Null, json),
            Slot::ModelName => SlotValue::Text(context.model_name()),
            Slot::ServedModel => SlotValue::Text(context.served_model()),
            Slot::Method => text(Some(context.request.method.as_str().into())),
            Slot::FullPath => text(Some(secret::in_path(context.request.path, &[]))),
            Slot::ProcessingMs => {
                SlotValue::Number((context.decisions.intended + context.elapsed()).as_millis() as u64)
            }
            Slot::RequestId => text(Some(context.request_id().into())),
            Slot::Models => SlotValue::Json(Cow::Owned(models(context))),
            Slot::Unix => SlotValue::Number(context.now.as_secs()),
            Slot::UnixIn(seconds) => SlotValue::Number(context.now.as_secs() + seconds),
            Slot::Rfc3339In(seconds) => {
                text(Some(Rfc3339(context.now + Duration::from_secs(*seconds)).to_string().into()))
            }
            Slot::Version => text(Some(env!("CARGO_PKG_VERSION").into())),
            Slot::OnlyModel => SlotValue::Text(context.only_model()),
            Slot::ServerNumber(number) => match context.server_number(*number) {
                whole if whole.fract() == 0.0 => SlotValue::Number(whole as u64),
                number => SlotValue::Json(Cow::Owned(number.into())),
            },
            Slot::JsonAt => SlotValue::Number(json::mistake_at(context.request.body.bytes()) as u64),
            Slot::JsonProblem => text(Some(json::nlohmann_problem(context.request.body.bytes()).into())),
            Slot::Fingerprint => text(Some(format!("{:08x}", context.served.fingerprint).into())),
            Slot::Example(part) => text(Some(part.text(context))),
            Slot::LimitStatus(family, field) => {
                limits::value(*family, *field, &context.decisions.limit_statuses, context.now)
            }
            Slot::Error(name) => match error.and_then(|error| error.field(name)) {
                None => SlotValue::Null,
                Some(Field::Number(number)) => SlotValue::Number(number),
                Some(Field::Text(text)) => SlotValue::Text(text),
                Some(Field::Null) => SlotValue::Null,
            },
            // `put` renders the first four, and the protocol renders parts.
            Slot::Id(..) | Slot::ClientId(..) | Slot::Uuid | Slot::Resource(_) | Slot::Part(_) => SlotValue::Null,
        }
    }
}

/// Returns the configured models, or else all that the catalog lists by name.
fn models(context: &RequestContext<'_>) -> Value {
    let card = |id: &str, facts: Option<&ModelFacts>| {
        let created = facts.and_then(|facts| facts.created).unwrap_or(FIXED_EPOCH.as_secs());
        let owner = facts.and_then(|facts| facts.owned_by.as_deref()).unwrap_or("fake-openai");
        json!({"id": id, "object": "model", "created": created, "owned_by": owner})
    };
    let known = |id: &String| context.model_catalog.iter().find(|facts| facts.model.as_str() == id);
    if context.served.names.is_empty() {
        let listed = context.model_catalog.iter().filter(|facts| facts.created.is_some() && facts.model.is_name());
        listed.map(|facts| card(facts.model.as_str(), Some(facts))).collect()
    } else {
        context.served.names.iter().map(|id| card(id, known(id))).collect()
    }
}

fn id(name: &str) -> Option<Slot> {
    let alphabets = [Alphabet::Alphanumeric, Alphabet::Hex, Alphabet::Base58, Alphabet::Digits];
    let (alphabet, length) =
        alphabets.iter().find_map(|alphabet| Some((*alphabet, name.strip_prefix(prefix(*alphabet))?)))?;
    let length = length.parse().ok().filter(|length| (1..=256).contains(length))?;
    Some(Slot::Id(alphabet, length))
}

/// Returns a member of the object that was found for the request.
fn resource<'a>(found: &'a Value, path: &[Box<str>]) -> SlotValue<'a> {
    match path.iter().try_fold(found, |value, name| value.get(&**name)) {
        None | Some(Value::Null) => SlotValue::Null,
        Some(Value::String(text)) => SlotValue::Text(Cow::Borrowed(text)),
        Some(value) => SlotValue::Json(Cow::Borrowed(value)),
    }
}

fn text(text: Option<Cow<'_, str>>) -> SlotValue<'_> {
    text.map_or(SlotValue::Null, SlotValue::Text)
}

fn json(raw: json::Value<'_>) -> SlotValue<'_> {
    match raw.kind() {
        Kind::String => text(raw.as_str()),
        Kind::Null => SlotValue::Null,
        Kind::Integer | Kind::Decimal | Kind::Boolean => SlotValue::Raw(raw.text()),
        _ => raw.to_value().map_or(SlotValue::Null, |value| SlotValue::Json(Cow::Owned(value))),
    }
}

fn body<'a>(context: &'a RequestContext<'_>, path: &[Box<str>]) -> Option<json::Value<'a>> {
    let (first, inner) = path.split_first()?;
    let outer = context.members().ok()?.get(first)?;
    inner.iter().try_fold(outer, |value, name| value.members()?.get(name))
}

/// Returns a parameter of a query, decoded like a form (`+` is a space).
pub(crate) fn query<'a>(query: &'a str, name: &str) -> Option<Cow<'a, str>> {
    let decode = |text: &'a str| match text.contains('+') {
        true => Cow::Owned(percent_decode_str(&text.replace('+', " ")).decode_utf8_lossy().into_owned()),
        false => percent_decode_str(text).decode_utf8_lossy(),
    };
    let mut pairs = query.split('&').map(|pair| pair.split_once('=').unwrap_or((pair, "")));
    pairs.find(|(key, _)| decode(key) == name).map(|(_, value)| decode(value))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn queries_are_decoded() {
        assert_eq!(query("a=1&b=%20x+y&c", "b").as_deref(), Some(" x y"));
        assert_eq!(query("a=1&b=2&c", "c").as_deref(), Some(""));
        assert_eq!(query("a=1", "b"), None);
    }

    #[test]
    fn a_slot_displays_as_it_is_written() {
        let slots = [
            "path.id",
            "body.a.b",
            "id.alnum29",
            "id.hex32",
            "id.base58_22",
            "id.client_or_hex16",
            "id.uuid",
            "model.served",
            "server.fingerprint",
            "now.unix",
            "now.rfc3339",
            "now.rfc3339_in_60",
        ];
        for text in slots.into_iter().chain([
            "requests.reset_ms",
            "refusal.short",
            "request.id",
            "request.json_problem",
            "now.in_60",
            "server.model",
            "server.slots",
        ]) {
            assert_eq!(Slot::parse(text, AllowedSlots::Error).unwrap().to_string(), text);
        }
    }
}
