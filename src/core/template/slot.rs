//! The slots there are, and what each stands for.

mod example;
mod limits;

use std::{borrow::Cow, fmt, time::Duration};

use http::HeaderName;
use percent_encoding::percent_decode_str;
use serde_json::{Value, json};

pub use self::limits::{Family, Tell};
use self::{example::Example, limits::told};
use super::{Filling, Place};
use crate::core::context::RequestContext;
use crate::core::{
    clock::{FIXED_EPOCH, Rfc3339},
    error::Field,
    json::{self, Kind},
    limit_status::Unit,
    model_catalog::ModelFacts,
    random::Alphabet,
};

/// A value that a request, its outcome or the server fills in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Slot {
    /// `{{path.name}}`: a segment of the path that the route names, percent-decoded.
    Path(Box<str>),
    /// `{{query.name}}`: a parameter of the query.
    Query(Box<str>),
    /// `{{header.name}}`: a header of the request.
    Header(HeaderName),
    /// `{{body.name}}`, `{{body.outer.inner}}`: a member of the request's JSON body.
    Body(Box<[Box<str>]>),
    /// `{{model.name}}`: the model that is asked for, under the name that it answers with.
    ModelName,
    /// `{{request.method}}`.
    Method,
    /// `{{request.path}}`.
    FullPath,
    /// `{{request.processing_ms}}`: milliseconds from the request to its answer.
    ProcessingMs,
    /// `{{resource.self}}`, `{{resource.name}}`: what was found in a collection, and a member of it.
    Resource(Box<[Box<str>]>),
    /// `{{server.models}}`: the models that there are, as OpenAI lists them.
    Models,
    /// `{{request.id}}`: 22 symbols of base58, the same wherever the answer to one request bears them.
    RequestId,
    /// `{{id.alnum29}}`, `{{id.hex32}}`, `{{id.base58_22}}`: fresh symbols, as many as asked for.
    Id(Alphabet, usize),
    /// `{{id.uuid}}`.
    Uuid,
    /// `{{now.unix}}`: whole seconds since 1970.
    Unix,
    /// `{{now.in_3600}}`: whole seconds since 1970, so many from now.
    UnixIn(u64),
    /// `{{now.rfc3339}}`, and `{{now.rfc3339_in_3600}}`: so many seconds from now.
    Rfc3339In(u64),
    /// `{{server.version}}`: the version of this program.
    Version,
    /// `{{example.curl_header}}` and others: a part of an example request that works with the settings.
    Example(Example),
    /// `{{requests.…}}`, `{{tokens.…}}`, `{{refusal.…}}`: where the client stands with its limits.
    LimitStatus(Family, Tell),
    /// `{{error.name}}`: a field of the error being told.
    Error(Box<str>),
    /// `{{part.name}}`: where a dialect puts what it spells itself. It is cut out by [`Template::split`].
    ///
    /// [`Template::split`]: super::Template::split
    Part(Box<str>),
}

/// Which spaces may be named: what a canned body can know differs from what an error text can.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Spaces {
    /// What any content may name.
    Content,
    /// Content, and where the client stands with its limit.
    Limit,
    /// Content, the limit, and the error being told.
    Error,
    /// Content, and what a dialect spells.
    Part,
}

impl Slot {
    /// What it tells the limit of, if it does.
    pub fn unit(&self) -> Option<Unit> {
        match self {
            Slot::LimitStatus(Family::Of(unit), _) => Some(*unit),
            _ => None,
        }
    }

    /// Reads what stands between the braces.
    ///
    /// # Errors
    /// What is wrong with it, and what there is instead.
    pub fn parse(text: &str, spaces: Spaces) -> Result<Self, String> {
        let Some((space, name)) = text.split_once('.').filter(|(_, name)| !name.is_empty()) else {
            return Err(format!(
                "`{{{{{text}}}}}` is not a slot: write {{{{space.name}}}}, or {{{{{{{{ for two braces"
            ));
        };
        let only = |allowed: &[Spaces], place: &str| match allowed.contains(&spaces) {
            true => Ok(()),
            false => Err(format!("`{{{{{text}}}}}` is known only in {place}")),
        };
        let choose =
            |known: &[&str]| Err(format!("`{{{{{text}}}}}` does not exist: `{space}` has {}", known.join(", ")));
        match (space, name) {
            ("path", name) => Ok(Slot::Path(name.into())),
            ("query", name) => Ok(Slot::Query(name.into())),
            ("header", name) => name.parse().map(Slot::Header).map_err(|_| format!("`{name}` is not a header's name")),
            ("body", name) => Ok(Slot::Body(name.split('.').map(Into::into).collect())),
            ("model", "name") => Ok(Slot::ModelName),
            ("model", _) => choose(&["name"]),
            ("request", "method") => Ok(Slot::Method),
            ("request", "path") => Ok(Slot::FullPath),
            ("request", "processing_ms") => Ok(Slot::ProcessingMs),
            ("request", "id") => Ok(Slot::RequestId),
            ("request", _) => choose(&["method", "path", "processing_ms", "id"]),
            ("resource", "self") => Ok(Slot::Resource(Box::default())),
            ("resource", name) => Ok(Slot::Resource(name.split('.').map(Into::into).collect())),
            ("id", "uuid") => Ok(Slot::Uuid),
            ("id", name) => {
                id(name).map_or_else(|| choose(&["alnum29 (any length up to 256)", "hex32", "base58_22", "uuid"]), Ok)
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
            ("server", _) => choose(&["version", "models"]),
            ("example", name) => {
                Example::named(name).map_or_else(|| choose(&Example::NAMES), |part| Ok(Slot::Example(part)))
            }
            ("error", name) => {
                only(&[Spaces::Error], "a provider's `errors`")?;
                Ok(Slot::Error(name.into()))
            }
            ("part", name) if spaces == Spaces::Part => Ok(Slot::Part(name.into())),
            (space, name) => match Family::named(space) {
                Some(family) => {
                    only(&[Spaces::Limit, Spaces::Error], "a provider's `limit_headers` and `errors`")?;
                    Tell::named(family, name)
                        .map(|tell| Slot::LimitStatus(family, tell))
                        .or_else(|known| choose(&[&known]))
                }
                None => Err(format!(
                    "`{{{{{text}}}}}` names no space: `{space}` is none of path, query, header, body, model, request, \
                     resource, id, now, server, example, requests, tokens, input_tokens, output_tokens, refusal, error"
                )),
            },
        }
    }

    /// Appends what it stands for in this request, as it is written in such a place.
    pub(super) fn put(&self, context: &RequestContext<'_>, place: Place, out: &mut Vec<u8>) {
        let quoted = |out: &mut Vec<u8>, put: &dyn Fn(&mut Vec<u8>)| {
            let is_value = matches!(place, Place::Value { .. });
            out.extend_from_slice(if is_value { b"\"" } else { b"" });
            put(out);
            out.extend_from_slice(if is_value { b"\"" } else { b"" });
        };
        match self {
            // Written where they belong: no symbol of them needs an escape.
            Slot::Id(alphabet, length) => quoted(out, &|out| context.random.borrow_mut().put(*alphabet, *length, out)),
            Slot::Uuid => quoted(out, &|out| context.random.borrow_mut().put_uuid(out)),
            _ => self.value(context).put(place, out),
        }
    }

    /// What it stands for in this request.
    pub(super) fn value<'a>(&self, context: &'a RequestContext<'_>) -> Filling<'a> {
        match self {
            Slot::Path(name) => text(context.param(name).map(|raw| percent_decode_str(raw).decode_utf8_lossy())),
            Slot::Query(name) => text(query(context.request.query, name)),
            Slot::Header(name) => text(context.request.headers.get(name).map(Cow::Borrowed)),
            Slot::Body(path) => body(context, path).map_or(Filling::Null, json),
            Slot::ModelName => Filling::Text(context.model_name()),
            Slot::Method => text(Some(context.request.method.as_str().into())),
            Slot::FullPath => text(Some(context.request.path.into())),
            Slot::ProcessingMs => Filling::Number((context.intended + context.elapsed()).as_millis() as u64),
            Slot::RequestId => text(Some(context.request_id().into())),
            Slot::Resource(path) => {
                let resource = context.resource.borrow();
                let found = path.iter().try_fold(&*resource, |value, name| value.get(&**name));
                match found {
                    None | Some(Value::Null) => Filling::Null,
                    Some(Value::String(text)) => Filling::Text(text.clone().into()),
                    Some(value) => Filling::Json(value.clone()),
                }
            }
            Slot::Models => Filling::Json(models(context)),
            Slot::Unix => Filling::Number(context.now.as_secs()),
            Slot::UnixIn(seconds) => Filling::Number(context.now.as_secs() + seconds),
            Slot::Rfc3339In(seconds) => {
                text(Some(Rfc3339(context.now + Duration::from_secs(*seconds)).to_string().into()))
            }
            Slot::Version => text(Some(env!("CARGO_PKG_VERSION").into())),
            Slot::Example(part) => text(Some(part.text(context))),
            Slot::LimitStatus(family, tell) => told(*family, *tell, &context.limit_statuses, context.now),
            Slot::Error(name) => match context.error.as_ref().and_then(|error| error.field(name)) {
                None => Filling::Null,
                Some(Field::Number(number)) => Filling::Number(number),
                Some(Field::Text(text)) => Filling::Text(text),
            },
            // What `put` writes itself, and what the dialect does.
            Slot::Id(..) | Slot::Uuid | Slot::Part(_) => Filling::Null,
        }
    }
}

impl fmt::Display for Slot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Slot::Path(name) => write!(f, "path.{name}"),
            Slot::Query(name) => write!(f, "query.{name}"),
            Slot::Header(name) => write!(f, "header.{name}"),
            Slot::Body(path) => write!(f, "body.{}", path.join(".")),
            Slot::ModelName => f.write_str("model.name"),
            Slot::Method => f.write_str("request.method"),
            Slot::FullPath => f.write_str("request.path"),
            Slot::ProcessingMs => f.write_str("request.processing_ms"),
            Slot::RequestId => f.write_str("request.id"),
            Slot::Resource(path) if path.is_empty() => f.write_str("resource.self"),
            Slot::Resource(path) => write!(f, "resource.{}", path.join(".")),
            Slot::Models => f.write_str("server.models"),
            Slot::Id(Alphabet::Alphanumeric, length) => write!(f, "id.alnum{length}"),
            Slot::Id(Alphabet::Hex, length) => write!(f, "id.hex{length}"),
            Slot::Id(Alphabet::Base58, length) => write!(f, "id.base58_{length}"),
            Slot::Uuid => f.write_str("id.uuid"),
            Slot::Unix => f.write_str("now.unix"),
            Slot::UnixIn(seconds) => write!(f, "now.in_{seconds}"),
            Slot::Rfc3339In(0) => f.write_str("now.rfc3339"),
            Slot::Rfc3339In(seconds) => write!(f, "now.rfc3339_in_{seconds}"),
            Slot::Version => f.write_str("server.version"),
            Slot::Example(part) => write!(f, "example.{part}"),
            Slot::LimitStatus(family, tell) => write!(f, "{family}.{tell}"),
            Slot::Error(name) => write!(f, "error.{name}"),
            Slot::Part(name) => write!(f, "part.{name}"),
        }
    }
}

/// The models that the configuration names, or else those that are known by name.
fn models(context: &RequestContext<'_>) -> Value {
    let card = |id: &str, facts: Option<&ModelFacts>| {
        let created = facts.and_then(|facts| facts.created).unwrap_or(FIXED_EPOCH.as_secs());
        let owner = facts.and_then(|facts| facts.owned_by.as_deref()).unwrap_or("fake-openai");
        json!({"id": id, "object": "model", "created": created, "owned_by": owner})
    };
    let known = |id: &String| context.facts.iter().find(|facts| facts.model.as_str() == id);
    if context.models.is_empty() {
        let listed = context.facts.iter().filter(|facts| facts.created.is_some() && facts.model.is_name());
        listed.map(|facts| card(facts.model.as_str(), Some(facts))).collect()
    } else {
        context.models.iter().map(|id| card(id, known(id))).collect()
    }
}

fn id(name: &str) -> Option<Slot> {
    let alphabets = [("alnum", Alphabet::Alphanumeric), ("hex", Alphabet::Hex), ("base58_", Alphabet::Base58)];
    let (alphabet, length) =
        alphabets.iter().find_map(|(prefix, alphabet)| Some((*alphabet, name.strip_prefix(prefix)?)))?;
    let length = length.parse().ok().filter(|length| (1..=256).contains(length))?;
    Some(Slot::Id(alphabet, length))
}

fn text(text: Option<Cow<'_, str>>) -> Filling<'_> {
    text.map_or(Filling::Null, Filling::Text)
}

fn json(raw: json::Value<'_>) -> Filling<'_> {
    match raw.kind() {
        Kind::String => text(raw.as_str()),
        Kind::Null => Filling::Null,
        Kind::Integer | Kind::Decimal | Kind::Boolean => Filling::Spelled(raw.text()),
        _ => raw.to_value().map_or(Filling::Null, Filling::Json),
    }
}

fn body<'a>(context: &'a RequestContext<'_>, path: &[Box<str>]) -> Option<json::Value<'a>> {
    let (first, inner) = path.split_first()?;
    let outer = context.members().ok()?.get(first)?;
    inner.iter().try_fold(outer, |value, name| value.members()?.get(name))
}

/// A parameter of a query, decoded as forms are (`+` is a space).
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
    fn a_slot_is_shown_as_it_is_written() {
        let slots = [
            "path.id",
            "body.a.b",
            "id.alnum29",
            "id.hex32",
            "id.base58_22",
            "id.uuid",
            "now.unix",
            "now.rfc3339",
            "now.rfc3339_in_60",
        ];
        for text in slots.into_iter().chain(["requests.reset_ms", "refusal.short", "request.id", "now.in_60"]) {
            assert_eq!(Slot::parse(text, Spaces::Error).unwrap().to_string(), text);
        }
    }
}
