//! The edge: from actix's request to the engine's, and from the engine's answer to the wire.

mod access_log;
mod body;
mod cors;
mod form;
mod response;
mod websocket;

use std::{
    future::poll_fn,
    net::{IpAddr, Ipv4Addr},
    pin::Pin,
    sync::Arc,
};

use actix_http::{HttpMessage, Payload, Request as HttpRequest, Response as HttpResponse, StatusCode};
use actix_web::http::{
    Method,
    header::{self, HeaderName},
};
use futures_core::Stream;
use ipnet::IpNet;
use socket2::Socket;

pub(crate) use self::{response::Sent, websocket::Stopping};
use super::{
    admin,
    lateness::LatenessHistogram,
    metrics,
    reload::{CurrentEngine, Worker},
};
use crate::{
    core::request::{Headers, Request},
    engine::Engine,
    traffic::access,
};

/// What every worker needs to answer.
pub(crate) struct Edge {
    pub(crate) engine: CurrentEngine,
    /// The largest body taken, in bytes.
    pub(crate) max_body: u64,
    /// The proxies that are believed when they tell who the client is.
    pub(crate) trusted_proxies: Vec<IpNet>,
    /// What opens the pages that change rules.
    pub(crate) admin_token: Option<String>,
    /// How late events were sent that had a time.
    pub(crate) lateness: Arc<LatenessHistogram>,
    /// How late the workers' own timers were.
    pub(crate) lag: LatenessHistogram,
    /// Whether every answer is logged.
    pub(crate) access_log: bool,
    /// By which open sockets learn that the server stops.
    pub(crate) stopping: Stopping,
}

/// What is known of a connection.
pub(crate) struct Connection {
    /// Its socket, by which it is reset.
    pub(crate) socket: Option<Arc<Socket>>,
}

/// Answers any request: there is one service, and the engine's own router. Nothing of actix's routing stands before it:
/// a bare server spends a fifth of its own time there.
pub(crate) async fn serve(mut request: HttpRequest, worker: &Worker) -> HttpResponse<Sent> {
    let line = worker.edge.access_log.then(|| access_log::Line::begin(&request));
    let payload = request.take_payload();
    let http_response = respond(&request, payload, worker).await;
    match line {
        None => http_response,
        Some(line) => line.follow(http_response),
    }
}

async fn respond(request: &HttpRequest, payload: Payload, worker: &Worker) -> HttpResponse<Sent> {
    let (edge, engine) = (&worker.edge, worker.engine());
    if request.method() == Method::OPTIONS
        && let Some(http_response) = options(request, &engine)
    {
        return http_response;
    }
    if request.method() == Method::GET && websocket::wants(request) {
        // Boxed, so that other requests do not carry the room for it.
        return Box::pin(websocket::respond(request, payload, edge)).await;
    }
    // A client that breaks off its body is not there to read an answer.
    let Ok((body, files)) = body::read(payload, request.headers(), edge.max_body).await else {
        return empty(StatusCode::BAD_REQUEST);
    };
    if request.path().starts_with(admin::PREFIX) {
        return admin::respond(request, &body, &engine, edge.admin_token.as_deref());
    }
    if request.path() == metrics::PATH {
        return metrics::respond(edge);
    }
    let (response, receipt) = engine
        .handle(&Request {
            method: request.method(),
            path: request.path(),
            query: request.uri().query().unwrap_or_default(),
            headers: &HeaderView(request),
            client: client(request, &edge.trusted_proxies),
            body,
            files: &files,
        })
        .await;
    let mut http_response = response::deliver(response, receipt, request, &edge.lateness).await;
    cors::allow(request, http_response.headers_mut());
    http_response
}

/// The next item of a stream.
async fn next<S: Stream + Unpin>(stream: &mut S) -> Option<S::Item> {
    poll_fn(|context| Pin::new(&mut *stream).poll_next(context)).await
}

/// An answer without a body.
pub(in crate::server) fn empty(status: StatusCode) -> HttpResponse<Sent> {
    HttpResponse::with_body(status, Sent::default())
}

/// A page of the edge's own.
pub(in crate::server) fn page(status: StatusCode, content_type: &'static str, text: String) -> HttpResponse<Sent> {
    let mut http_response = HttpResponse::with_body(status, Sent::from(text));
    http_response.headers_mut().insert(header::CONTENT_TYPE, header::HeaderValue::from_static(content_type));
    http_response
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

/// Answers `OPTIONS` where a path exists or a browser asks before it asks; for the rest the engine has the words.
fn options(request: &HttpRequest, engine: &Engine) -> Option<HttpResponse<Sent>> {
    if let Some(preflight) = cors::preflight(request) {
        return Some(preflight);
    }
    let allow = engine.fixtures().allowed(request.path())?;
    let mut http_response = empty(StatusCode::NO_CONTENT);
    http_response.headers_mut().insert(header::ALLOW, header::HeaderValue::try_from(allow).ok()?);
    Some(http_response)
}

struct HeaderView<'a>(&'a HttpRequest);

impl Headers for HeaderView<'_> {
    fn get(&self, name: &HeaderName) -> Option<&str> {
        // All of it at a look, where `to_str` looks at each byte.
        std::str::from_utf8(self.0.headers().get(name)?.as_bytes()).ok()
    }
}
