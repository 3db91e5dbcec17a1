//! The `/__admin` pages, which change rules at run time. They are open to this machine, or to clients with the token.

use std::net::IpAddr;

use actix_http::{HttpMessage, Method, Request as HttpRequest, Response as HttpResponse, StatusCode, header};
use serde_json::{Value, json};

use super::http::{SentBody, empty, page};
use crate::{
    core::{request::RequestBody, secret},
    engine::Engine,
    traffic::{
        access,
        rule::{LiveRule, RuleError},
    },
};

/// The path that all pages start with.
pub(super) const PREFIX: &str = "/__admin";

/// The content type of the pages.
const JSON: &str = "application/json";

/// The list of pages, for error messages.
const PAGES: &str = "GET, POST or DELETE /__admin/rules; GET, PUT or DELETE /__admin/rules/{id}; POST /__admin/reset";

/// The status and the message of an error.
struct Problem(StatusCode, String);

/// Handles a request to one of the pages.
pub(super) fn respond(
    request: &HttpRequest,
    body: &RequestBody,
    engine: &Engine,
    token: Option<&str>,
) -> HttpResponse<SentBody> {
    match authorize(request, token).and_then(|()| dispatch(request, body, engine)) {
        Ok((status, Some(value))) => page(status, JSON, format!("{value:#}\n")),
        Ok((status, None)) => empty(status),
        Err(Problem(status, message)) => {
            let body = json!({"error": {"message": message, "type": "fake_openai_admin"}});
            page(status, JSON, format!("{body:#}\n"))
        }
    }
}

/// Checks that a client may use the pages. Only the peer's own address counts, not one that a proxy reports.
fn authorize(request: &HttpRequest, token: Option<&str>) -> Result<(), Problem> {
    let is_local = request.peer_addr().is_some_and(|peer| match access::canonical(peer.ip()) {
        IpAddr::V4(ip) => ip.is_loopback(),
        IpAddr::V6(ip) => ip.is_loopback(),
    });
    let authorization = request.headers().get(header::AUTHORIZATION).and_then(|text| text.to_str().ok());
    let sent_token = authorization.map(|text| text.strip_prefix("Bearer ").unwrap_or(text).trim());
    match (token, sent_token) {
        (Some(token), Some(sent)) if equal_in_constant_time(token, sent) => Ok(()),
        (None, _) if is_local => Ok(()),
        (Some(_), _) => Err(Problem(
            StatusCode::UNAUTHORIZED,
            "This page needs the token of --admin-token; send it as `Authorization: Bearer TOKEN`.".to_owned(),
        )),
        (None, _) => Err(Problem(
            StatusCode::FORBIDDEN,
            "This page is open to the server's own machine only; start the server with --admin-token to use it from others."
                .to_owned(),
        )),
    }
}

/// Compares two texts in a time that does not depend on where they differ.
fn equal_in_constant_time(one: &str, other: &str) -> bool {
    one.len() == other.len() && one.bytes().zip(other.bytes()).fold(0, |differs, (a, b)| differs | (a ^ b)) == 0
}

fn dispatch(
    request: &HttpRequest,
    body: &RequestBody,
    engine: &Engine,
) -> Result<(StatusCode, Option<Value>), Problem> {
    let rules = engine.rules();
    let path = request.path().trim_end_matches('/');
    let page_path = path.strip_prefix(PREFIX).unwrap_or_default();
    let id = page_path.strip_prefix("/rules/");
    let missing =
        |id: &str| Problem(StatusCode::NOT_FOUND, format!("There is no rule `{id}`; GET /__admin/rules lists all."));
    match (request.method(), page_path, id) {
        (&Method::GET, "/rules", _) => {
            Ok((StatusCode::OK, Some(json!({"rules": rules.list().iter().map(rule_json).collect::<Vec<_>>()}))))
        }
        (&Method::POST, "/rules", _) => Ok((StatusCode::CREATED, Some(put(engine, None, body)?))),
        (&Method::DELETE, "/rules", _) => {
            rules.clear();
            Ok((StatusCode::NO_CONTENT, None))
        }
        (&Method::POST, "/reset", _) => {
            rules.clear();
            engine.reset_sequences();
            Ok((StatusCode::NO_CONTENT, None))
        }
        (&Method::GET, _, Some(id)) => {
            let found = rules.list().into_iter().find(|live| live.id == id).ok_or_else(|| missing(id))?;
            Ok((StatusCode::OK, Some(rule_json(&found))))
        }
        (&Method::PUT, _, Some(id)) => Ok((StatusCode::OK, Some(put(engine, Some(id), body)?))),
        (&Method::DELETE, _, Some(id)) => {
            if rules.delete(id) {
                Ok((StatusCode::NO_CONTENT, None))
            } else {
                Err(missing(id))
            }
        }
        (method, ..) => {
            Err(Problem(StatusCode::NOT_FOUND, format!("There is no {method} {path}; the pages are {PAGES}.")))
        }
    }
}

fn put(engine: &Engine, id: Option<&str>, body: &RequestBody) -> Result<Value, Problem> {
    let bad = |what: String| Problem(StatusCode::BAD_REQUEST, what);
    let RequestBody::Whole(bytes) = body else {
        return Err(bad("The body is too large for a rule; send one rule as a JSON object.".to_owned()));
    };
    let written: Value = serde_json::from_slice(bytes).map_err(|error| {
        bad(format!(r#"The rule is not valid JSON: {error}; send a rule such as {{"when": {{"model": "gpt-4o"}}, "fault": "429x2"}}."#))
    })?;
    match engine.put_rule(id, &written) {
        Ok(live) => Ok(rule_json(&live)),
        Err(RuleError::Invalid(what)) => Err(bad(format!("The rule is invalid: {what}."))),
        Err(RuleError::Full(most)) => Err(Problem(
            StatusCode::INSUFFICIENT_STORAGE,
            format!("There are {most} rules already; delete some first."),
        )),
    }
}

/// Returns a rule as JSON, with its id. Keys in its conditions are masked.
fn rule_json(live: &LiveRule) -> Value {
    let mut shown = json!({"id": live.id});
    if let (Some(shown), Some(written)) = (shown.as_object_mut(), live.rule.json().as_object()) {
        shown.extend(written.iter().map(|(key, value)| (key.clone(), value.clone())));
    }
    secret::in_json(&mut shown);
    shown
}
