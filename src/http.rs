//! The edge: from actix's request to the engine's, and from the engine's answer to the wire.

mod admin;
mod body;
mod cors;
mod delivery;
pub(crate) mod lateness;
mod metrics;

use std::{
    net::{IpAddr, Ipv4Addr},
    sync::Arc,
};

use actix_web::{
    HttpRequest, HttpResponse,
    dev::ServiceRequest,
    http::{Method, StatusCode, header},
    web,
};
use ipnet::IpNet;
use socket2::Socket;

use self::lateness::Lateness;
use crate::{
    access,
    engine::Engine,
    request::{Headers, Request},
};

/// What every worker needs to answer.
pub(crate) struct Edge {
    pub(crate) engine: Engine,
    /// The largest body taken, in bytes.
    pub(crate) max_body: u64,
    /// The proxies that are believed when they tell who the client is.
    pub(crate) trusted_proxies: Vec<IpNet>,
    /// What opens the pages that change rules.
    pub(crate) admin_token: Option<String>,
    /// How late events were sent that had a time.
    pub(crate) lateness: Arc<Lateness>,
    /// How late the workers' own timers were.
    pub(crate) lag: Lateness,
}

/// What is known of a connection.
pub(crate) struct Connection {
    /// Its socket, by which it is reset.
    pub(crate) socket: Option<Arc<Socket>>,
}

/// Answers any request: there is one handler, and the engine's own router.
pub(crate) async fn answer(request: HttpRequest, payload: web::Payload, edge: web::Data<Edge>) -> HttpResponse {
    if request.method() == Method::OPTIONS
        && let Some(response) = options(&request, &edge.engine)
    {
        return response;
    }
    // A client that breaks off its body is not there to read an answer.
    let promised =
        || request.headers().get(header::CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse().ok());
    let Ok(body) = body::read(payload, edge.max_body, promised).await else {
        return HttpResponse::BadRequest().finish();
    };
    if request.path().starts_with(admin::PREFIX) {
        return admin::answer(&request, &body, &edge.engine, edge.admin_token.as_deref());
    }
    if request.path() == metrics::PATH {
        return metrics::answer(&edge);
    }
    let (answer, receipt) = edge
        .engine
        .handle(&Request {
            method: request.method(),
            path: request.path(),
            query: request.query_string(),
            headers: &HeaderView(&request),
            client: client(&request, &edge.trusted_proxies),
            body,
        })
        .await;
    let mut response = delivery::deliver(answer, receipt, &request, &edge.lateness).await;
    cors::allow(&request, response.headers_mut());
    response
}

/// Who asks: the peer, or the client that a trusted proxy tells of.
fn client(request: &HttpRequest, trusted: &[IpNet]) -> IpAddr {
    let peer = request.peer_addr().map_or(Ipv4Addr::LOCALHOST.into(), |address| access::canonical(address.ip()));
    if trusted.is_empty() {
        return peer;
    }
    let values = |name: &'static str| request.headers().get_all(name).filter_map(|value| value.to_str().ok());
    access::client(peer, trusted, values("x-forwarded-for"), values("forwarded"))
}

/// The request line as it is logged: a key in the query is not.
pub(crate) fn request_line(request: &ServiceRequest) -> String {
    let (method, path, version) = (request.method(), request.path(), request.version());
    let query = request.query_string();
    let hidden = |pair: &str| match pair.split_once('=') {
        Some(("key", _)) => "key=…".to_owned(),
        _ => pair.to_owned(),
    };
    let query = query.split('&').map(hidden).collect::<Vec<_>>().join("&");
    let mark = if query.is_empty() { "" } else { "?" };
    format!("{method} {path}{mark}{query} {version:?}")
}

/// Answers `OPTIONS` where a path exists or a browser asks before it asks; for the rest the engine has the words.
fn options(request: &HttpRequest, engine: &Engine) -> Option<HttpResponse> {
    if let Some(preflight) = cors::preflight(request) {
        return Some(preflight);
    }
    let allow = engine.fixtures().allowed(request.path())?;
    Some(HttpResponse::build(StatusCode::NO_CONTENT).insert_header((header::ALLOW, allow)).finish())
}

struct HeaderView<'a>(&'a HttpRequest);

impl Headers for HeaderView<'_> {
    fn get(&self, name: &str) -> Option<&str> {
        self.0.headers().get(name)?.to_str().ok()
    }

    fn hint(&self, name: &str, byte: u8) -> bool {
        let mut all = self.0.headers().iter();
        all.any(|(known, value)| memchr::memchr(byte, value.as_bytes()).is_some() || known.as_str() == name)
    }
}
