//! The access log: one line per response, written when the response ends.

use std::{fmt, net::SocketAddr, time::Instant};

use actix_http::{Request, Response as HttpResponse};

use super::SentBody;
use crate::traffic::access;

/// The log line of a response, written on drop.
pub(super) struct LogLine {
    peer: Option<SocketAddr>,
    request: String,
    status: u16,
    /// Number of body bytes sent.
    pub(super) sent: u64,
    started: Instant,
}

impl LogLine {
    /// Starts the line of a request.
    pub(super) fn start(request: &Request) -> Box<Self> {
        let (peer, started) = (request.peer_addr(), Instant::now());
        Box::new(LogLine { peer, request: request_line(request), status: 0, sent: 0, started })
    }

    /// Attaches the line to the response, to count its bytes.
    pub(super) fn attach_to(mut self: Box<Self>, http_response: HttpResponse<SentBody>) -> HttpResponse<SentBody> {
        self.status = http_response.status().as_u16();
        http_response.map_body(|_, sent| sent.with_log_line(self))
    }
}

impl fmt::Display for LogLine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.peer {
            Some(peer) => write!(f, "{} ", peer.ip())?,
            None => f.write_str("- ")?,
        }
        let millis = self.started.elapsed().as_secs_f64() * 1000.0;
        write!(f, "\"{}\" {} {} {millis:.3}ms", self.request, self.status, self.sent)
    }
}

impl Drop for LogLine {
    fn drop(&mut self) {
        log::info!(target: "access", "{self}");
    }
}

/// The request line for the log, without secrets of the query.
fn request_line(request: &Request) -> String {
    let (method, path, version) = (request.method(), request.path(), request.version());
    let query = request.uri().query().unwrap_or_default();
    let query = access::without_secrets(query);
    let mark = if query.is_empty() { "" } else { "?" };
    format!("{method} {path}{mark}{query} {version:?}")
}
