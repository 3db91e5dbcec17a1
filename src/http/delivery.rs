//! Delivery: an answer sent as it says, and at its times. The one place that sleeps, stalls, cuts and resets.

use std::{
    fmt,
    future::{Future, pending},
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};

use actix_web::{
    HttpResponse,
    body::{BodySize, BoxBody, MessageBody},
    http::StatusCode,
};
use bytes::Bytes;
use socket2::Socket;
use tokio::time::{Instant, Sleep};

use crate::{
    answer::{Answer, Content, Frames, Opening, Step, Steps, Timed},
    engine::Receipt,
};

/// What was sent before a connection is cut or reset has this long to leave the machine.
const GRACE: Duration = Duration::from_millis(10);

/// Waits until an answer is to begin, and begins it. `socket` is that of the connection; the receipt is closed when the
/// answer has been handed out to its end, or the client has left.
pub(super) async fn deliver(answer: Answer, receipt: Receipt, socket: Option<Arc<Socket>>) -> HttpResponse {
    let start = Instant::now();
    match answer.opening {
        Opening::After(Duration::ZERO) => {}
        Opening::After(time) => tokio::time::sleep_until(start + time).await,
        Opening::Never => return pending().await,
        // A body that fails at once takes the head with it, which is not sent yet.
        Opening::Closed => return HttpResponse::with_body(StatusCode::OK, BoxBody::new(Nothing { reset: None })),
        Opening::Reset => return HttpResponse::with_body(StatusCode::OK, BoxBody::new(Nothing { reset: socket })),
    }
    let body = match answer.content {
        Content::Whole(bytes) => BoxBody::new(bytes),
        Content::Frames(frames) => BoxBody::new(Stream { frames, receipt: Some(receipt) }),
        Content::Steps(steps) => BoxBody::new(Play::new(steps, start, receipt, socket)),
    };
    let mut response = HttpResponse::with_body(answer.status, body);
    for (name, value) in answer.headers {
        response.headers_mut().append(name, value);
    }
    response
}

/// Why a body has no end: it was to have none.
#[derive(Debug)]
struct Broken;

impl fmt::Display for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the answer was to break off here")
    }
}

impl std::error::Error for Broken {}

/// Sees to it that a connection, once closed, is reset: closed with nothing to linger for.
fn reset(socket: Option<&Socket>) {
    let _ = socket.map(|socket| socket.set_linger(Some(Duration::ZERO)));
}

/// The body of an answer of which not a byte is sent.
struct Nothing {
    reset: Option<Arc<Socket>>,
}

impl MessageBody for Nothing {
    type Error = Broken;

    fn size(&self) -> BodySize {
        BodySize::Stream
    }

    fn poll_next(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Bytes, Broken>>> {
        reset(self.reset.as_deref());
        Poll::Ready(Some(Err(Broken)))
    }
}

/// A lazy sequence of frames as a body. Each frame is ready when it is asked for, so that actix joins those that are due
/// into one write; dropping it, when the client is gone, ends the sequence.
struct Stream {
    frames: Frames,
    receipt: Option<Receipt>,
}

impl MessageBody for Stream {
    type Error = Broken;

    fn size(&self) -> BodySize {
        BodySize::Stream
    }

    fn poll_next(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Bytes, Broken>>> {
        let frame = self.frames.list.next();
        if frame.is_none() {
            self.receipt = None;
        }
        Poll::Ready(frame.map(|frame| Ok(frame.bytes)))
    }
}

/// A body that is sent step by step. Each step has its own deadline from the start, so that none is late because one
/// before it was.
struct Play {
    steps: Steps,
    start: Instant,
    /// The step that is not due yet.
    next: Option<Timed>,
    sleep: Pin<Box<Sleep>>,
    /// Until when `sleep` sleeps, if it does.
    until: Option<Instant>,
    receipt: Option<Receipt>,
    socket: Option<Arc<Socket>>,
}

impl Play {
    fn new(steps: Steps, start: Instant, receipt: Receipt, socket: Option<Arc<Socket>>) -> Self {
        let sleep = Box::pin(tokio::time::sleep_until(start));
        Play { steps, start, next: None, sleep, until: None, receipt: Some(receipt), socket }
    }

    /// Waits until an instant; for ever if there is none.
    fn poll_until(&mut self, due: Option<Instant>, context: &mut Context<'_>) -> Poll<()> {
        let Some(due) = due else { return Poll::Pending };
        if self.until != Some(due) {
            if due <= Instant::now() {
                return Poll::Ready(());
            }
            self.sleep.as_mut().reset(due);
            self.until = Some(due);
        }
        self.sleep.as_mut().poll(context)
    }
}

impl MessageBody for Play {
    type Error = Broken;

    fn size(&self) -> BodySize {
        self.steps.length.map_or(BodySize::Stream, BodySize::Sized)
    }

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Bytes, Broken>>> {
        let this = &mut *self;
        if this.next.is_none() {
            this.next = this.steps.list.next();
            if let Some(Timed { at, step: Step::Cut | Step::Reset }) = &mut this.next {
                *at = (*at).max(this.start.elapsed()).saturating_add(GRACE);
            }
        }
        let Some(Timed { at, .. }) = &this.next else {
            this.receipt = None;
            return Poll::Ready(None);
        };
        let due = if *at == Duration::MAX { None } else { this.start.checked_add(*at) };
        ready!(this.poll_until(due, context));
        match this.next.take().map(|timed| timed.step) {
            Some(Step::Send(bytes)) => Poll::Ready(Some(Ok(bytes))),
            Some(Step::Reset) => {
                reset(this.socket.as_deref());
                Poll::Ready(Some(Err(Broken)))
            }
            Some(Step::Cut) | None => Poll::Ready(Some(Err(Broken))),
        }
    }
}
