//! The `/__admin` pages, which change rules at run time. They are open to this machine, or to clients with the token.

mod guard;

use actix_http::{
    HttpMessage, Method, Payload, Request as HttpRequest, Response as HttpResponse, StatusCode,
    header::{CACHE_CONTROL, CROSS_ORIGIN_RESOURCE_POLICY, HeaderName, HeaderValue, X_CONTENT_TYPE_OPTIONS},
};
use bytes::Bytes;
use serde_json::{Value, json};

pub(crate) use self::guard::Guard;
use super::http::{SentBody, empty, is_upgrade, page, read_plain};
use crate::{
    core::{request::RequestBody, secret},
    engine::Engine,
    traffic::rule::{LiveRule, MAX_RULE_BYTES, RuleError},
};

/// The path that all pages start with.
pub(super) const PREFIX: &str = "/__admin";

/// The content type of the pages.
const JSON: &str = "application/json";

/// The list of pages, for error messages.
const PAGES: &str = "GET, POST or DELETE /__admin/rules; GET, PUT or DELETE /__admin/rules/{id}; POST /__admin/reset";

/// Headers of all pages: browsers show none of them inside the pages of other origins.
const HEADERS: [(HeaderName, HeaderValue); 3] = [
    (CROSS_ORIGIN_RESOURCE_POLICY, HeaderValue::from_static("same-origin")),
    (X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff")),
    (CACHE_CONTROL, HeaderValue::from_static("no-store")),
];

/// The status and the message of an error.
struct Problem(StatusCode, String);

/// Handles a request to one of the pages.
pub(super) async fn respond(
    request: &HttpRequest,
    payload: Payload,
    engine: &Engine,
    guard: &Guard,
) -> HttpResponse<SentBody> {
    let admitted = guard.check(request);
    let body = match is_upgrade(request) {
        // The end of the connection is the end of its body.
        true => Ok(RequestBody::Whole(Bytes::new())),
        // The body of a refused request is read too: a client that is still sending does not read the response.
        false => read_plain(payload, MAX_RULE_BYTES as u64).await,
    };
    let Ok(body) = body else { return empty(StatusCode::BAD_REQUEST) };
    let result = admitted.and_then(|()| {
        if !body.is_empty() {
            guard::check_content_type(request.headers())?;
        }
        dispatch(request, &body, engine)
    });
    let mut http_response = match result {
        Ok((status, Some(value))) => page(status, JSON, format!("{value:#}\n")),
        Ok((status, None)) => empty(status),
        Err(Problem(status, message)) => {
            let body = json!({"error": {"message": message, "type": "fake_openai_admin"}});
            page(status, JSON, format!("{body:#}\n"))
        }
    };
    for (name, value) in HEADERS {
        http_response.headers_mut().insert(name, value);
    }
    http_response
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
        let message = format!("The rule is larger than {} KiB; send a shorter one.", MAX_RULE_BYTES / 1024);
        return Err(Problem(StatusCode::PAYLOAD_TOO_LARGE, message));
    };
    let written: Value = serde_json::from_slice(bytes).map_err(|error| {
        bad(format!(r#"The rule is not valid JSON: {error}; send a rule such as {{"when": {{"model": "gpt-4o"}}, "fault": "429x2"}}."#))
    })?;
    match engine.put_rule(id, &written) {
        Ok(live) => Ok(rule_json(&live)),
        Err(RuleError::Invalid(what)) => Err(bad(format!("The rule is invalid: {what}."))),
        Err(RuleError::TooMany(most)) => Err(Problem(
            StatusCode::INSUFFICIENT_STORAGE,
            format!("There are {most} rules already; delete some first."),
        )),
        Err(RuleError::NoSpace(most)) => Err(Problem(
            StatusCode::INSUFFICIENT_STORAGE,
            format!(
                "All rules together would take more than {} MiB of memory; delete some first, or write shorter conditions.",
                most / (1024 * 1024)
            ),
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
