//! The access log of the pages that the server renders itself. The engine writes the lines of other requests.

use std::{
    future::Future,
    time::{Instant, SystemTime},
};

use actix_http::{
    Request, Response as HttpResponse,
    body::{BodySize, MessageBody},
};

use super::{SentBody, protocol};
use crate::{
    config::AccessLog,
    core::secret,
    engine::{AccessLine, Engine, Outcome, Phase, RequestDetails},
    traffic::access,
};

/// Waits for a page, and logs it.
pub(super) async fn logged(
    request: &Request,
    engine: &Engine,
    page: impl Future<Output = HttpResponse<SentBody>>,
) -> HttpResponse<SentBody> {
    let format = engine.access_log();
    if format == AccessLog::Off {
        return page.await;
    }
    let started = Instant::now();
    let time = humantime::format_rfc3339_micros(SystemTime::now()).to_string();
    let http_response = page.await;
    let line = AccessLine {
        time,
        client: request.peer_addr().map(|address| access::canonical(address.ip())),
        method: request.method().as_str(),
        path: engine.fixtures().path_without_secrets(request.path()),
        query: secret::in_query(request.uri().query().unwrap_or_default()).into(),
        protocol: protocol(request),
        status: Some(http_response.status().as_u16()),
        bytes: match http_response.body().size() {
            BodySize::Sized(bytes) => bytes,
            BodySize::None | BodySize::Stream => 0,
        },
        millis: started.elapsed().as_secs_f64() * 1000.0,
        outcome: Outcome::Complete.name(),
        phase: Phase::Done.name(),
        request: RequestDetails::default(),
    };
    line.write(format);
    http_response
}
