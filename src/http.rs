//! The edge: from actix's request to the engine's, and from the engine's answer to the wire.

mod body;
mod cors;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use actix_web::{
    HttpRequest, HttpResponse,
    body::BoxBody,
    http::{Method, StatusCode, header},
    web,
};

use crate::{
    answer::Content,
    engine::Engine,
    request::{Headers, Request},
};

/// What every worker needs to answer.
pub(crate) struct Edge {
    pub(crate) engine: Engine,
    /// The largest body taken, in bytes.
    pub(crate) max_body: u64,
}

/// Answers any request: there is one handler, and the engine's own router.
pub(crate) async fn answer(request: HttpRequest, payload: web::Payload, edge: web::Data<Edge>) -> HttpResponse {
    if request.method() == Method::OPTIONS
        && let Some(response) = options(&request, &edge.engine)
    {
        return response;
    }
    // A client that breaks off its body is not there to read an answer.
    let Ok(body) = body::read(payload, edge.max_body).await else { return HttpResponse::BadRequest().finish() };
    let answer = edge
        .engine
        .handle(&Request {
            method: request.method(),
            path: request.path(),
            query: request.query_string(),
            headers: &HeaderView(&request),
            client: client(&request),
            body,
        })
        .await;

    let mut response = match answer.content {
        Content::Whole(bytes) => HttpResponse::with_body(answer.status, BoxBody::new(bytes)),
        Content::Frames(frames) => HttpResponse::with_body(answer.status, BoxBody::new(body::FrameBody(frames))),
    };
    for (name, value) in answer.headers {
        response.headers_mut().append(name, value);
    }
    cors::allow(&request, response.headers_mut());
    response
}

/// Who asks. An IPv4 client of a dual-stack socket comes as `::ffff:a.b.c.d` and is the same client as over IPv4; and so
/// is this machine, whether it calls itself `::1` or `127.0.0.1`.
fn client(request: &HttpRequest) -> IpAddr {
    match request.peer_addr().map(|address| address.ip().to_canonical()) {
        Some(IpAddr::V6(Ipv6Addr::LOCALHOST)) | None => Ipv4Addr::LOCALHOST.into(),
        Some(address) => address,
    }
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
}
