//! The access log: one line per response, written when the response ends.

use std::{fmt, net::SocketAddr, time::Instant};

use actix_http::{Request, Response as HttpResponse};

use super::SentBody;
use crate::{core::secret, engine::Engine};

/// The log line of a response, written on drop.
pub(super) struct LogLine {
    peer: Option<SocketAddr>,
    request: String,
    /// The status that was sent; `None` without a response head.
    status: Option<u16>,
    /// Number of body bytes sent.
    pub(super) sent: u64,
    pub(super) end: End,
    started: Instant,
}

/// The end of a response.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    /// The response is not complete. On drop the client has left.
    Open,
    /// The whole response was sent.
    Complete,
    /// A fault of this name ended the response.
    Fault(&'static str),
}

impl LogLine {
    /// Starts the line of a request.
    pub(super) fn start(request: &Request, engine: &Engine) -> Box<Self> {
        let (peer, started) = (request.peer_addr(), Instant::now());
        let request = request_line(request, engine);
        Box::new(LogLine { peer, request, status: None, sent: 0, end: End::Open, started })
    }

    /// Attaches the line to the response, to count its bytes.
    pub(super) fn attach_to(mut self: Box<Self>, http_response: HttpResponse<SentBody>) -> HttpResponse<SentBody> {
        let sends_head = http_response.body().sends_head();
        self.status = sends_head.then(|| http_response.status().as_u16());
        http_response.map_body(|_, sent| sent.with_log_line(self))
    }
}

impl fmt::Display for LogLine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.peer {
            Some(peer) => write!(f, "{} ", peer.ip())?,
            None => f.write_str("- ")?,
        }
        write!(f, "\"{}\" ", self.request)?;
        match self.status {
            Some(status) => status.fmt(f)?,
            None => f.write_str("-")?,
        }
        let millis = self.started.elapsed().as_secs_f64() * 1000.0;
        write!(f, " {} {millis:.3}ms", self.sent)?;
        match self.end {
            End::Complete => Ok(()),
            End::Fault(name) => write!(f, " {name}"),
            End::Open => f.write_str(" client_left"),
        }
    }
}

impl Drop for LogLine {
    fn drop(&mut self) {
        log::info!(target: "access", "{self}");
    }
}

/// The request line for the log, without secrets of the path and the query.
fn request_line(request: &Request, engine: &Engine) -> String {
    let (method, version) = (request.method(), request.version());
    let path = engine.fixtures().path_without_secrets(request.path());
    let query = secret::in_query(request.uri().query().unwrap_or_default());
    let mark = if query.is_empty() { "" } else { "?" };
    format!("{method} {path}{mark}{query} {version:?}")
}
