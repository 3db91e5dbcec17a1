//! The `/__admin` pages: what happened, and rules for what is to happen. They are open to this machine, or to clients
//! with the token.

mod filter;
mod guard;
mod page;
mod replies;
mod report;
mod requests;
mod rules;
mod status;
mod verify;

use std::{borrow::Cow, sync::Arc};

use actix_http::{
    HttpMessage, Method, Payload, Request as HttpRequest, Response as HttpResponse, StatusCode,
    header::{
        CACHE_CONTROL, CROSS_ORIGIN_RESOURCE_POLICY, HeaderName, HeaderValue, LOCATION, SET_COOKIE,
        X_CONTENT_TYPE_OPTIONS,
    },
};
use bytes::Bytes;
use serde::{Deserialize, de::DeserializeOwned};
use serde_json::{Value, json};

pub(super) use self::rules::show as show_rule;
use self::status::EventStream;
pub(crate) use self::{guard::Guard, verify::Waiting};
use super::{
    http::{Edge, Pieces, SentBody, empty, events, is_upgrade, page as text_page, read_plain},
    metrics,
};
use crate::{
    core::{
        request::RequestBody,
        suggest::{did_you_mean, suggest_in},
        template::query,
    },
    engine::Engine,
    fixtures::MAX_LIST_BYTES,
    traffic::rule::MAX_RULE_BYTES,
};

/// The path that all pages start with.
pub(super) const PREFIX: &str = "/__admin";

/// The content type of most pages.
const JSON: &str = "application/json";

/// All pages: the method, and the path after the prefix. Error messages list them.
const PAGES: [(&str, &str); 26] = [
    ("GET", "/replies"),
    ("POST", "/replies"),
    ("DELETE", "/replies"),
    ("GET", "/replies/{id}"),
    ("PUT", "/replies/{id}"),
    ("DELETE", "/replies/{id}"),
    ("GET", "/rules"),
    ("POST", "/rules"),
    ("DELETE", "/rules"),
    ("GET", "/rules/{id}"),
    ("PUT", "/rules/{id}"),
    ("DELETE", "/rules/{id}"),
    ("GET", "/requests"),
    ("DELETE", "/requests"),
    ("GET", "/requests/{id}"),
    ("POST", "/verify"),
    ("GET", "/scopes"),
    ("PUT", "/scopes/{name}"),
    ("DELETE", "/scopes/{name}"),
    ("POST", "/reset"),
    ("GET", "/openapi.json"),
    ("GET", "/report"),
    ("GET", "/status"),
    ("GET", "/events"),
    ("GET", "/metrics"),
    ("GET", "/"),
];

/// The description of all pages in the format of OpenAPI 3.1.
const OPENAPI: &str = include_str!("admin/openapi.json");

/// Headers of all pages: browsers show none of them inside the pages of other origins.
const HEADERS: [(HeaderName, HeaderValue); 3] = [
    (CROSS_ORIGIN_RESOURCE_POLICY, HeaderValue::from_static("same-origin")),
    (X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff")),
    (CACHE_CONTROL, HeaderValue::from_static("no-store")),
];

/// The status and the message of an error.
struct Problem(StatusCode, String);

impl Problem {
    /// The error for a reply or rule that is not valid. A reason may end with a question, such as "did you mean …?".
    fn invalid(noun: &str, reason: &str) -> Problem {
        let end = if reason.ends_with('?') { "" } else { "." };
        Problem(StatusCode::BAD_REQUEST, format!("The {noun} is invalid: {reason}{end}"))
    }
}

/// The response of a page.
enum Reply {
    /// A JSON value.
    Json(StatusCode, Value),
    /// A text of this type.
    Text(&'static str, String),
    /// A text of this type, rendered while it is sent.
    Pieces(&'static str, Pieces),
    /// Nothing but the status 204.
    Done,
    /// Server-sent events.
    Events(EventStream),
    /// The live page.
    Page,
    /// A redirect to the live page, with the cookie that stands for the token.
    ToPage(Option<HeaderValue>),
}

/// The settings of a scope.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ScopeSettings {
    /// True if a request that no reply of the scope fits is an error.
    strict: bool,
}

/// A call of a page.
struct Call<'a> {
    request: &'a HttpRequest,
    edge: &'a Arc<Edge>,
    method: &'a Method,
    /// The segments of the path after the prefix.
    segments: Vec<&'a str>,
    query: &'a str,
    body: &'a RequestBody,
    engine: &'a Engine,
}

impl<'a> Call<'a> {
    fn new(request: &'a HttpRequest, body: &'a RequestBody, edge: &'a Arc<Edge>, engine: &'a Engine) -> Self {
        let path = request.path().strip_prefix(PREFIX).unwrap_or_default();
        Call {
            request,
            edge,
            method: request.method(),
            segments: path.split('/').filter(|segment| !segment.is_empty()).collect(),
            query: request.uri().query().unwrap_or_default(),
            body,
            engine,
        }
    }

    /// Returns a parameter of the query.
    fn parameter(&self, name: &str) -> Option<Cow<'a, str>> {
        query(self.query, name)
    }

    /// Checks that the query has no other parameters than these.
    fn check_parameters(&self, known: &[&str]) -> Result<(), Problem> {
        let names = self.query.split('&').filter_map(|pair| pair.split('=').next()).filter(|name| !name.is_empty());
        match names.into_iter().find(|name| !known.contains(name)) {
            None => Ok(()),
            Some(name) => {
                let near = did_you_mean(name, known.iter().copied());
                let remedy = near.unwrap_or_else(|| match known {
                    [] => "this page has none.".to_owned(),
                    [only] => format!("the only one is {only}."),
                    known => format!("the parameters are {}.", known.join(", ")),
                });
                Err(Problem(StatusCode::BAD_REQUEST, format!("The parameter `{name}` is unknown; {remedy}")))
            }
        }
    }

    /// Returns the scope that the call is about; `None` for all.
    fn scope(&self) -> Option<Cow<'a, str>> {
        self.parameter("scope")
    }

    /// Parses the body. `what` names it in errors, `example` shows one.
    ///
    /// # Errors
    /// The body is too large, or no such JSON.
    fn parse<T: DeserializeOwned>(&self, what: &str, example: &str) -> Result<T, Problem> {
        let RequestBody::Whole(bytes) = self.body else {
            let most = max_body(self.request.path()) / 1024;
            let message = format!("The {what} is larger than {most} KiB; send a shorter one.");
            return Err(Problem(StatusCode::PAYLOAD_TOO_LARGE, message));
        };
        serde_json::from_slice(bytes).map_err(|error| {
            let problem = if error.is_data() { "invalid" } else { "not valid JSON" };
            Problem(
                StatusCode::BAD_REQUEST,
                format!("The {what} is {problem}: {}; send one such as {example}.", suggest_in(error.to_string())),
            )
        })
    }
}

/// Returns the maximum size of the body of a call, in bytes. Several replies may come in one.
fn max_body(path: &str) -> usize {
    match path.strip_prefix(PREFIX).is_some_and(|page| page.starts_with("/replies")) {
        true => MAX_LIST_BYTES,
        false => MAX_RULE_BYTES,
    }
}

/// Returns true if a path is that of a page, or below it.
pub(super) fn is_page(path: &str) -> bool {
    path.strip_prefix(PREFIX).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

/// Handles a request to one of the pages.
pub(super) async fn respond(request: &HttpRequest, payload: Payload, edge: &Arc<Edge>) -> HttpResponse<SentBody> {
    let engine = &*edge.engine.get();
    let admitted = edge.admin.check(request);
    let body = match is_upgrade(request) {
        // The end of the connection is the end of its body.
        true => Ok(RequestBody::Whole(Bytes::new())),
        // The body of a refused request is read too: a client that is still sending does not read the response.
        false => read_plain(payload, max_body(request.path()) as u64).await,
    };
    let Ok(body) = body else { return empty(StatusCode::BAD_REQUEST) };
    let call = Call::new(request, &body, edge, engine);
    let admitted = admitted.and_then(|()| match body.is_empty() {
        true => Ok(()),
        false => guard::check_content_type(request.headers()),
    });
    let result = match admitted {
        Ok(()) => dispatch(&call).await,
        Err(problem) => Err(problem),
    };
    let mut http_response = match result {
        Ok(Reply::Json(status, value)) => text_page(status, JSON, format!("{value:#}\n")),
        Ok(Reply::Text(content_type, text)) => text_page(StatusCode::OK, content_type, text),
        Ok(Reply::Pieces(content_type, pieces)) => text_page(StatusCode::OK, content_type, pieces),
        Ok(Reply::Done) => empty(StatusCode::NO_CONTENT),
        Ok(Reply::Events(stream)) => events(Box::pin(stream)),
        Ok(Reply::Page) => {
            let mut http_response = text_page(StatusCode::OK, page::HTML_TYPE, page::html());
            page::add_headers(http_response.headers_mut());
            http_response
        }
        Ok(Reply::ToPage(cookie)) => {
            let mut http_response = empty(StatusCode::SEE_OTHER);
            let headers = http_response.headers_mut();
            page::add_headers(headers);
            headers.insert(LOCATION, HeaderValue::from_static("/__admin/"));
            cookie.into_iter().for_each(|cookie| headers.append(SET_COOKIE, cookie));
            http_response
        }
        Err(Problem(status, message)) => {
            let body = json!({"error": {"message": message, "type": "fake_openai_admin"}});
            text_page(status, JSON, format!("{body:#}\n"))
        }
    };
    for (name, value) in HEADERS {
        http_response.headers_mut().insert(name, value);
    }
    http_response
}

async fn dispatch(call: &Call<'_>) -> Result<Reply, Problem> {
    match (call.method, call.segments.as_slice()) {
        (&Method::GET, []) => Ok(match call.parameter("token") {
            Some(_) => Reply::ToPage(call.edge.admin.cookie(call.request)),
            None => Reply::Page,
        }),
        (_, ["status" | "events"]) => status::respond(call),
        (_, ["replies", ..]) => replies::respond(call),
        (_, ["rules", ..]) => rules::respond(call),
        (_, ["requests", ..]) => requests::respond(call),
        (&Method::POST, ["verify"]) => verify::respond(call).await,
        (&Method::GET, ["report"]) => report::respond(call),
        (&Method::GET, ["metrics"]) => {
            let (content_type, text) = metrics::text(call.request, call.edge);
            Ok(Reply::Text(content_type, text))
        }
        (&Method::GET, ["openapi.json"]) => Ok(Reply::Text(JSON, OPENAPI.to_owned())),
        (&Method::GET, ["scopes"]) => {
            call.check_parameters(&[])?;
            let show = |(name, requests, is_strict): (Arc<str>, u64, bool)| match is_strict {
                false => json!({"name": &*name, "requests": requests}),
                true => json!({"name": &*name, "requests": requests, "strict": true}),
            };
            let list: Vec<_> = call.engine.scopes().map(show).collect();
            Ok(Reply::Json(StatusCode::OK, json!({"scopes": list})))
        }
        (&Method::PUT, ["scopes", name]) => {
            call.check_parameters(&[])?;
            let ScopeSettings { strict } = call.parse("scope", r#"{"strict": true}"#)?;
            call.engine.set_strict(name, strict).map_err(|problem| Problem(StatusCode::BAD_REQUEST, problem))?;
            Ok(Reply::Json(StatusCode::OK, json!({"name": name, "strict": strict})))
        }
        (&Method::DELETE, ["scopes", name]) => {
            call.check_parameters(&[])?;
            match call.engine.remove_scope(name) {
                true => Ok(Reply::Done),
                false => Err(no_scope(name)),
            }
        }
        (&Method::POST, ["reset"]) => {
            call.check_parameters(&["scope"])?;
            call.engine.reset(call.scope().as_deref());
            Ok(Reply::Done)
        }
        _ => Err(no_page(call)),
    }
}

/// The error for a scope that is not in use.
fn no_scope(name: &str) -> Problem {
    Problem(StatusCode::NOT_FOUND, format!("There is no scope `{name}`; GET /__admin/scopes lists all."))
}

/// The error for a path or method without a page.
fn no_page(call: &Call<'_>) -> Problem {
    let pages = PAGES.map(|(method, path)| format!("{method} {PREFIX}{path}")).join(", ");
    let message = format!("There is no {} {PREFIX}/{}; the pages are {pages}.", call.method, call.segments.join("/"));
    Problem(StatusCode::NOT_FOUND, message)
}
