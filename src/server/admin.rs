//! The pages by which rules are put and taken away while the server runs: for this machine, or whoever has the token.

use std::net::IpAddr;

use actix_http::{HttpMessage, Method, Request as HttpRequest, Response as HttpResponse, StatusCode, header};
use serde_json::{Value, json};

use super::http::{Sent, empty, page};
use crate::{
    core::request::RequestBody,
    engine::Engine,
    traffic::{
        access,
        rule::{LiveRule, RuleError},
    },
};

/// Where the pages are.
pub(super) const PREFIX: &str = "/__admin";

/// What the pages are.
const JSON: &str = "application/json";

/// What there is, for whoever asks for something else.
const PAGES: &str = "GET, POST or DELETE /__admin/rules; GET, PUT or DELETE /__admin/rules/{id}; POST /__admin/reset";

/// Why a request is not met, for people.
struct Problem(StatusCode, String);

/// Answers a request for one of the pages.
pub(super) fn respond(
    request: &HttpRequest,
    body: &RequestBody,
    engine: &Engine,
    token: Option<&str>,
) -> HttpResponse<Sent> {
    match opens(request, token).and_then(|()| act(request, body, engine)) {
        Ok((status, Some(value))) => page(status, JSON, format!("{value:#}\n")),
        Ok((status, None)) => empty(status),
        Err(Problem(status, message)) => {
            let body = json!({"error": {"message": message, "type": "fake_openai_admin"}});
            page(status, JSON, format!("{body:#}\n"))
        }
    }
}

/// Whether the pages are open to a request. Who it says it is, behind a proxy, does not count.
fn opens(request: &HttpRequest, token: Option<&str>) -> Result<(), Problem> {
    let is_here = request.peer_addr().is_some_and(|peer| match access::canonical(peer.ip()) {
        IpAddr::V4(ip) => ip.is_loopback(),
        IpAddr::V6(ip) => ip.is_loopback(),
    });
    let authorization = request.headers().get(header::AUTHORIZATION).and_then(|text| text.to_str().ok());
    let given = authorization.map(|text| text.strip_prefix("Bearer ").unwrap_or(text).trim());
    match (token, given) {
        (Some(token), Some(given)) if same(token, given) => Ok(()),
        (None, _) if is_here => Ok(()),
        (Some(_), _) => Err(Problem(
            StatusCode::UNAUTHORIZED,
            "This server was started with --admin-token: send it as `Authorization: Bearer TOKEN`.".to_owned(),
        )),
        (None, _) => Err(Problem(
            StatusCode::FORBIDDEN,
            "Rules are changed from the machine that the server runs on, or with the token of --admin-token."
                .to_owned(),
        )),
    }
}

/// Compares in a time that says nothing of where two texts differ.
fn same(one: &str, other: &str) -> bool {
    one.len() == other.len() && one.bytes().zip(other.bytes()).fold(0, |differs, (a, b)| differs | (a ^ b)) == 0
}

fn act(request: &HttpRequest, body: &RequestBody, engine: &Engine) -> Result<(StatusCode, Option<Value>), Problem> {
    let rules = engine.rules();
    let path = request.path().trim_end_matches('/');
    let place = path.strip_prefix(PREFIX).unwrap_or_default();
    let id = place.strip_prefix("/rules/");
    let missing =
        |id: &str| Problem(StatusCode::NOT_FOUND, format!("There is no rule `{id}`: GET /__admin/rules lists all."));
    match (request.method(), place, id) {
        (&Method::GET, "/rules", _) => {
            Ok((StatusCode::OK, Some(json!({"rules": rules.list().iter().map(shown).collect::<Vec<_>>()}))))
        }
        (&Method::POST, "/rules", _) => Ok((StatusCode::CREATED, Some(put(engine, None, body)?))),
        (&Method::DELETE, "/rules", _) => {
            rules.clear();
            Ok((StatusCode::NO_CONTENT, None))
        }
        (&Method::POST, "/reset", _) => {
            rules.clear();
            engine.forget_progress();
            Ok((StatusCode::NO_CONTENT, None))
        }
        (&Method::GET, _, Some(id)) => {
            let found = rules.list().into_iter().find(|live| live.id == id).ok_or_else(|| missing(id))?;
            Ok((StatusCode::OK, Some(shown(&found))))
        }
        (&Method::PUT, _, Some(id)) => Ok((StatusCode::OK, Some(put(engine, Some(id), body)?))),
        (&Method::DELETE, _, Some(id)) => {
            if rules.delete(id) {
                Ok((StatusCode::NO_CONTENT, None))
            } else {
                Err(missing(id))
            }
        }
        (method, ..) => Err(Problem(StatusCode::NOT_FOUND, format!("There is no {method} {path}, but {PAGES}."))),
    }
}

fn put(engine: &Engine, id: Option<&str>, body: &RequestBody) -> Result<Value, Problem> {
    let bad = |what: String| Problem(StatusCode::BAD_REQUEST, what);
    let RequestBody::Whole(bytes) = body else { return Err(bad("A rule is smaller than that.".to_owned())) };
    let written: Value = serde_json::from_slice(bytes).map_err(|error| {
        bad(format!(r#"A rule is JSON, such as {{"when": {{"model": "gpt-4o"}}, "fault": "429x2"}}: {error}."#))
    })?;
    match engine.put_rule(id, &written) {
        Ok(live) => Ok(shown(&live)),
        Err(RuleError::Invalid(what)) => Err(bad(format!("The rule is wrong: {what}."))),
        Err(RuleError::Full(most)) => {
            Err(Problem(StatusCode::INSUFFICIENT_STORAGE, format!("There are {most} rules: delete some first.")))
        }
    }
}

/// A rule, and what it is called.
fn shown(live: &LiveRule) -> Value {
    let mut shown = json!({"id": live.id});
    if let (Some(shown), Some(written)) = (shown.as_object_mut(), live.rule.json().as_object()) {
        shown.extend(written.iter().map(|(key, value)| (key.clone(), value.clone())));
    }
    shown
}
