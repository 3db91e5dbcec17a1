//! CORS, open to all: any origin, method and header, with credentials. A request without `Origin` costs nothing.

use actix_http::{
    HttpMessage, Request as HttpRequest, Response as HttpResponse, StatusCode,
    header::{
        ACCESS_CONTROL_ALLOW_CREDENTIALS, ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS,
        ACCESS_CONTROL_ALLOW_ORIGIN, ACCESS_CONTROL_EXPOSE_HEADERS, ACCESS_CONTROL_MAX_AGE,
        ACCESS_CONTROL_REQUEST_HEADERS, ACCESS_CONTROL_REQUEST_METHOD, HeaderMap, HeaderName, HeaderValue, ORIGIN,
        TRANSFER_ENCODING, VARY,
    },
};

use super::{SentBody, empty};
use crate::engine::Engine;

const METHODS: HeaderValue = HeaderValue::from_static("GET, POST, PUT, PATCH, DELETE, HEAD, OPTIONS");
const ANY: HeaderValue = HeaderValue::from_static("*");
const TRUE: HeaderValue = HeaderValue::from_static("true");
/// The value that OpenAI sends.
const ONE_DAY: HeaderValue = HeaderValue::from_static("86400");

/// Returns the response to a preflight request.
pub(super) fn preflight(request: &HttpRequest, engine: &Engine) -> Option<HttpResponse<SentBody>> {
    let requested = request.headers();
    let is_preflight = requested.contains_key(ORIGIN) && requested.contains_key(ACCESS_CONTROL_REQUEST_METHOD);
    if !is_preflight || !engine.fixtures().has_cors(request.path()) {
        return None;
    }
    let mut http_response = empty(StatusCode::OK);
    let headers = http_response.headers_mut();
    allow(request, engine, headers);
    headers.insert(ACCESS_CONTROL_ALLOW_METHODS, METHODS);
    // With credentials `*` is taken literally, so the requested list is returned.
    let requested_headers = requested.get(ACCESS_CONTROL_REQUEST_HEADERS).cloned();
    headers.insert(ACCESS_CONTROL_ALLOW_HEADERS, requested_headers.unwrap_or(ANY));
    headers.insert(ACCESS_CONTROL_MAX_AGE, ONE_DAY);
    Some(http_response)
}

/// Allows the requesting page to read the response and all its headers, unless the path's provider is closed to pages.
pub(super) fn allow(request: &HttpRequest, engine: &Engine, headers: &mut HeaderMap) {
    let Some(origin) = request.headers().get(ORIGIN) else { return };
    if !engine.fixtures().has_cors(request.path()) {
        return;
    }
    // A page cannot read the transfer encoding.
    let mut exposed: Vec<_> =
        headers.keys().filter(|name| *name != TRANSFER_ENCODING).map(HeaderName::as_str).collect();
    exposed.sort_unstable();
    if let Ok(exposed) = HeaderValue::try_from(exposed.join(", "))
        && !exposed.is_empty()
    {
        headers.insert(ACCESS_CONTROL_EXPOSE_HEADERS, exposed);
    }
    headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, origin.clone());
    headers.insert(ACCESS_CONTROL_ALLOW_CREDENTIALS, TRUE);
    headers.append(VARY, HeaderValue::from_static("Origin"));
}
