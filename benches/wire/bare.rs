//! The baseline: a bare actix-web server that knows nothing but one answer, which it gives to everybody. Nothing of the
//! fake is in it.

use std::{
    fs,
    future::{Future, poll_fn},
    io,
    ops::Range,
    path::Path,
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};

use actix_web::{
    App, HttpResponse, HttpServer,
    body::{BodySize, BoxBody, MessageBody},
    http::{
        StatusCode,
        header::{HeaderName, HeaderValue},
    },
    web,
};
use bytes::Bytes;
use tokio::time::{Instant, Sleep};

use crate::load::{Response, Server};

/// The argument that makes this program the bare server.
pub const SERVE: &str = "serve-bare";
/// Frames of a paced stream that come at once: that of the role, and the first token's.
pub const AT_ONCE: usize = 2;
/// The largest body taken, in bytes: as the fake takes it.
const MAX_BODY: usize = 64 << 20;

/// What the bare server does with the bodies of requests.
#[derive(Clone, Copy)]
pub enum Take {
    /// Reads each and keeps nothing of it: the least that can be done.
    Drop,
    /// Has all of it in one piece, as `web::Bytes`.
    Keep,
}

/// Starts one that gives the answer which is written in a file, the frames of a stream so far apart.
pub fn start(answer: &Path, take: Take, gap: Duration, pinned: bool) -> Server {
    let program = std::env::current_exe().expect("a program knows itself");
    let take = if let Take::Keep = take { "keep" } else { "drop" };
    let answer = answer.to_str().expect("UTF-8");
    Server::start(program.to_str().expect("UTF-8"), &[SERVE, answer, take, &gap.as_millis().to_string()], pinned)
}

/// Writes an answer for one.
pub fn write(answer: &Response, path: &Path) {
    fs::write(path, [answer.head.as_bytes(), &answer.body].concat()).expect("the file is written");
}

/// Serves as told by the arguments.
pub fn serve(args: &[String]) -> io::Result<()> {
    let [answer, take, gap] = args else { panic!("{SERVE} ANSWER drop|keep GAP-MS") };
    let gap = Duration::from_millis(gap.parse().expect("milliseconds"));
    let (known, keep) = (web::Data::new(Known::read(Path::new(answer), gap)), take == "keep");
    // As the fake does it: src/main.rs and src/server.rs.
    tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(async {
        let server = HttpServer::new(move || {
            let app = App::new().app_data(known.clone()).app_data(web::PayloadConfig::new(MAX_BODY));
            app.default_service(if keep { web::to(keeping) } else { web::to(dropping) })
        })
        .workers(1)
        .backlog(8192)
        .keep_alive(Duration::from_secs(75))
        .client_request_timeout(Duration::from_secs(60))
        .max_connections(100_000)
        .tcp_nodelay(true)
        .h1_allow_half_closed(false)
        .bind(("127.0.0.1", 0))?;
        println!("http://{}", server.addrs()[0]);
        server.run().await
    })
}

/// The answer that it gives.
struct Known {
    status: StatusCode,
    headers: Vec<(HeaderName, HeaderValue)>,
    body: Bytes,
    /// The frames of a stream; none if it is no stream.
    frames: Vec<Bytes>,
    gap: Duration,
}

impl Known {
    fn read(path: &Path, gap: Duration) -> Self {
        let answer = Bytes::from(fs::read(path).expect("the answer is there"));
        let end = 4 + answer.windows(4).position(|bytes| bytes == b"\r\n\r\n").expect("a head");
        let (head, body) = (String::from_utf8_lossy(&answer[..end]), answer.slice(end..));
        // The framework's own.
        let own = ["date", "content-length", "transfer-encoding", "connection"];
        let headers = head.lines().skip(1).filter_map(|line| line.split_once(": "));
        let headers = headers.filter(|(name, _)| !own.contains(name)).map(|(name, value)| {
            (name.parse().expect("the name of a header"), value.parse().expect("the value of a header"))
        });
        let is_stream = head.contains("text/event-stream");
        let frames = frames(&body).filter(|_| is_stream).map(|frame| body.slice(frame)).collect();
        let status = head[9..12].parse().expect("a status");
        Known { status, headers: headers.collect(), body, frames, gap }
    }

    fn response(known: &web::Data<Self>) -> HttpResponse {
        let body = match known.frames.is_empty() {
            true => BoxBody::new(known.body.clone()),
            false if known.gap.is_zero() => BoxBody::new(Ready { known: known.clone(), next: 0 }),
            false => {
                let sleep = Box::pin(tokio::time::sleep(known.gap));
                BoxBody::new(Paced { known: known.clone(), next: 0, sleep })
            }
        };
        let mut response = HttpResponse::with_body(known.status, body);
        for (name, value) in &known.headers {
            response.headers_mut().append(name.clone(), value.clone());
        }
        response
    }
}

/// The places of a stream's frames: each ends with an empty line.
pub fn frames(body: &[u8]) -> impl Iterator<Item = Range<usize>> {
    let mut from = 0;
    std::iter::from_fn(move || {
        let rest = &body[from..];
        let ends = |at: &usize| rest[..*at].ends_with(b"\n\n") || rest[..*at].ends_with(b"\r\n\r\n");
        let start = from;
        from += (1..=rest.len()).find(ends)?;
        Some(start..from)
    })
}

async fn dropping(mut payload: web::Payload, known: web::Data<Known>) -> HttpResponse {
    use futures_core::Stream;
    while let Some(Ok(_)) = poll_fn(|context| Pin::new(&mut payload).poll_next(context)).await {}
    Known::response(&known)
}

async fn keeping(body: web::Bytes, known: web::Data<Known>) -> HttpResponse {
    std::hint::black_box(body);
    Known::response(&known)
}

/// A stream whose frames are all ready.
struct Ready {
    known: web::Data<Known>,
    next: usize,
}

impl MessageBody for Ready {
    type Error = std::convert::Infallible;

    fn size(&self) -> BodySize {
        BodySize::Stream
    }

    fn poll_next(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Bytes, Self::Error>>> {
        self.next += 1;
        Poll::Ready(self.known.frames.get(self.next - 1).cloned().map(Ok))
    }
}

/// A stream whose frames come one by one, each a gap after the deadline of the one before.
struct Paced {
    known: web::Data<Known>,
    next: usize,
    sleep: Pin<Box<Sleep>>,
}

impl MessageBody for Paced {
    type Error = std::convert::Infallible;

    fn size(&self) -> BodySize {
        BodySize::Stream
    }

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Bytes, Self::Error>>> {
        let this = &mut *self;
        if this.next >= AT_ONCE {
            ready!(this.sleep.as_mut().poll(context));
            let due: Instant = this.sleep.deadline() + this.known.gap;
            this.sleep.as_mut().reset(due);
        }
        this.next += 1;
        Poll::Ready(this.known.frames.get(this.next - 1).cloned().map(Ok))
    }
}
