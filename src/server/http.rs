//! The edge: converts actix's requests for the engine, and the engine's responses for the wire.

mod access_log;
mod body;
mod cors;
mod form;
mod response;
mod websocket;

use std::{
    future::{poll_fn, ready},
    net::{IpAddr, Ipv4Addr},
    pin::{Pin, pin},
    sync::Arc,
};

use actix_http::{HttpMessage, Payload, Request as HttpRequest, Response as HttpResponse, StatusCode, Version};
use actix_web::http::{
    Method,
    header::{self, HeaderName},
};
use bytes::Bytes;
use futures_core::Stream;
use ipnet::IpNet;
use socket2::Socket;

pub(in crate::server) use self::response::{Broken, Pieces};
use self::{
    body::Received,
    response::{BodySource, SocketStream},
};
pub(in crate::server) use self::{body::read_plain, websocket::is_upgrade};
pub(crate) use self::{response::SentBody, websocket::StopSignal};
use super::{
    admin,
    connections::{self, Connections},
    lateness::LatenessHistogram,
    metrics,
    reload::{CurrentEngine, Worker},
    status::StatusBoard,
};
use crate::{
    core::{
        panics::{Panic, catch_async},
        request::{ConnectionInfo, Headers, Request, RequestBody},
    },
    engine::Engine,
    traffic::access,
};

/// The state that all workers share.
pub(crate) struct Edge {
    pub(crate) engine: CurrentEngine,
    /// Maximum size of a request body, in bytes.
    pub(crate) max_body: u64,
    /// The proxies whose headers about the client's address are trusted.
    pub(crate) trusted_proxies: Vec<IpNet>,
    /// The guard of the admin pages.
    pub(crate) admin: admin::Guard,
    /// The verifications that wait.
    pub(crate) waiting: admin::Waiting,
    /// Lateness of the events that had a due time.
    pub(crate) lateness: Arc<LatenessHistogram>,
    /// Lateness of the workers' own timers.
    pub(crate) lag: LatenessHistogram,
    /// The open connections.
    pub(crate) connections: Arc<Connections>,
    /// The signal for open sockets and event streams that the server stops.
    pub(crate) stopping: StopSignal,
    /// The status of the last minutes.
    pub(crate) status: StatusBoard,
}

/// The data of a connection.
pub(crate) struct Connection {
    /// The socket, for resets.
    pub(crate) socket: Option<Arc<Socket>>,
    /// Its place among the open connections.
    pub(crate) open: connections::Connection,
}

/// Handles every request. Routing is the engine's own: actix's would take a fifth of a bare server's time.
pub(crate) async fn serve(mut request: HttpRequest, worker: &Worker) -> HttpResponse<SentBody> {
    let payload = request.take_payload();
    match catch_async(pin!(respond(&request, payload, worker))).await {
        Ok(http_response) => http_response,
        Err(panic) => respond_to_panic(&request, worker, panic),
    }
}

/// Responds to a request whose handling panicked. What it held was given back as it unwound.
fn respond_to_panic(request: &HttpRequest, worker: &Worker, panic: Panic) -> HttpResponse<SentBody> {
    let response = worker.engine().respond_to_panic(
        &Request {
            method: request.method(),
            path: request.path(),
            query: request.uri().query().unwrap_or_default(),
            headers: &HeaderView(request),
            client: client(request, &worker.edge.trusted_proxies),
            connection: ConnectionInfo::default(),
            body: RequestBody::Whole(Bytes::new()),
            files: &[],
        },
        panic,
    );
    let mut http_response = response::deliver_now(response);
    cors::allow(request, &worker.engine(), http_response.headers_mut());
    http_response
}

async fn respond(request: &HttpRequest, payload: Payload, worker: &Worker) -> HttpResponse<SentBody> {
    let (edge, engine) = (&worker.edge, worker.engine());
    if admin::is_page(request.path()) {
        // Before CORS and sockets, which have no place there. Boxed, so that the future of other requests stays small.
        return Box::pin(access_log::logged(request, &engine, admin::respond(request, payload, edge))).await;
    }
    if request.method() == Method::OPTIONS
        && let Some(http_response) = options(request, &engine)
    {
        return Box::pin(access_log::logged(request, &engine, ready(http_response))).await;
    }
    if request.method() == Method::GET && websocket::is_upgrade(request) {
        // Boxed, so that the future of other requests stays small.
        return Box::pin(websocket::respond(request, payload, edge)).await;
    }
    // What follows CONNECT is the tunnel that the client wants: it waits for the response.
    let payload = if request.method() == Method::CONNECT { Payload::None } else { payload };
    // A client that aborts its body does not read a response.
    let received = body::read(payload, request.headers(), edge.max_body, engine.body_memory()).await;
    let Ok(Received { body, files, share }) = received else {
        return empty(StatusCode::BAD_REQUEST);
    };
    if metrics::is_page(request.path(), engine.fixtures()) {
        return Box::pin(access_log::logged(request, &engine, async { metrics::respond(request, edge) })).await;
    }
    let (response, receipt) = engine
        .handle(&Request {
            method: request.method(),
            path: request.path(),
            query: request.uri().query().unwrap_or_default(),
            headers: &HeaderView(request),
            client: client(request, &edge.trusted_proxies),
            connection: connection_info(request),
            body,
            files: &files,
        })
        .await;
    // The body is dropped by now: its memory does not wait for the response.
    drop((files, share));
    let mut http_response = response::deliver(response, receipt, request, &edge.lateness).await;
    cors::allow(request, &engine, http_response.headers_mut());
    http_response
}

/// The next item of a stream.
async fn next<S: Stream + Unpin>(stream: &mut S) -> Option<S::Item> {
    poll_fn(|context| Pin::new(&mut *stream).poll_next(context)).await
}

/// A response without a body.
pub(in crate::server) fn empty(status: StatusCode) -> HttpResponse<SentBody> {
    HttpResponse::with_body(status, SentBody::default())
}

/// A page that the edge renders itself.
pub(in crate::server) fn page(
    status: StatusCode,
    content_type: &'static str,
    body: impl Into<SentBody>,
) -> HttpResponse<SentBody> {
    let mut http_response = HttpResponse::with_body(status, body.into());
    http_response.headers_mut().insert(header::CONTENT_TYPE, header::HeaderValue::from_static(content_type));
    http_response
}

/// A page whose server-sent events go on until the client leaves.
pub(in crate::server) fn events(body: SocketStream) -> HttpResponse<SentBody> {
    let mut http_response = HttpResponse::with_body(StatusCode::OK, BodySource::Socket(body).into());
    http_response.headers_mut().insert(header::CONTENT_TYPE, header::HeaderValue::from_static("text/event-stream"));
    http_response
}

/// The address of the client: the peer, or the one that a trusted proxy reports.
fn client(request: &HttpRequest, trusted: &[IpNet]) -> IpAddr {
    let peer = request.peer_addr().map_or(Ipv4Addr::LOCALHOST.into(), |address| access::canonical(address.ip()));
    if trusted.is_empty() {
        return peer;
    }
    let values = |name: &'static str| request.headers().get_all(name).filter_map(|value| value.to_str().ok());
    access::client(peer, trusted, values("x-forwarded-for"), values("forwarded"))
}

/// The connection of a request, on which this is one more request.
fn connection_info(request: &HttpRequest) -> ConnectionInfo {
    let port = request.peer_addr().map_or(0, |address| address.port());
    let protocol = protocol(request);
    match request.conn_data::<Connection>() {
        Some(Connection { open, .. }) => {
            ConnectionInfo { number: open.number(), request: open.next_request(), port, protocol }
        }
        None => ConnectionInfo { number: 0, request: 0, port, protocol },
    }
}

/// The protocol of a request, as in its request line.
fn protocol(request: &HttpRequest) -> &'static str {
    match request.version() {
        Version::HTTP_10 => "HTTP/1.0",
        Version::HTTP_2 => "HTTP/2",
        _ => "HTTP/1.1",
    }
}

/// Handles `OPTIONS` for existing paths and CORS preflights. The engine handles the rest.
fn options(request: &HttpRequest, engine: &Engine) -> Option<HttpResponse<SentBody>> {
    if let Some(preflight) = cors::preflight(request, engine) {
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
        // Validates the value as a whole, where `to_str` checks each byte.
        std::str::from_utf8(self.0.headers().get(name)?.as_bytes()).ok()
    }

    fn for_each(&self, visit: &mut dyn FnMut(&HeaderName, &[u8])) {
        self.0.headers().iter().for_each(|(name, value)| visit(name, value.as_bytes()));
    }

    fn any_name(&self, is_meant: fn(&str) -> bool) -> bool {
        // Cheaper than their values, which are lists.
        self.0.headers().keys().any(|name| is_meant(name.as_str()))
    }
}

#[cfg(test)]
mod tests;
