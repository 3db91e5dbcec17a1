//! Delivery: an answer sent as it says, and at its times. The one place that sleeps, stalls, cuts and resets.

mod chunked;

use std::{
    fmt,
    future::{Future, pending},
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};

use actix_http::{
    Request, Response as HttpResponse, StatusCode,
    body::{BodySize, MessageBody},
};
use bytes::Bytes;
use socket2::Socket;
use tokio::time::{Instant, Sleep};

use self::chunked::Stream;
use super::{Connection, access_log::Line};
use crate::server::lateness::LatenessHistogram;
use crate::{
    core::response::{Body, HeadTiming, Response, Step, TimedBody, TimedStep},
    engine::Receipt,
};

/// What was sent before a connection is cut or reset has this long to leave the machine.
const GRACE: Duration = Duration::from_millis(10);

/// Waits until an answer is to begin; when that was asked for.
///
/// # Errors
/// It never begins: its connection is closed.
async fn open(opening: HeadTiming, request: &Request) -> Result<Instant, HttpResponse<Sent>> {
    let start = Instant::now();
    let nothing = |reset| HttpResponse::with_body(StatusCode::OK, What::Nothing { reset }.into());
    match opening {
        HeadTiming::After(time) => {
            tokio::time::sleep_until(start + time).await;
            Ok(start)
        }
        HeadTiming::Never => pending().await,
        // A body that fails at once takes the head with it, which is not sent yet.
        HeadTiming::Closed => Err(nothing(None)),
        HeadTiming::Reset => Err(nothing(socket(request))),
    }
}

/// The socket that a request came over.
fn socket(request: &Request) -> Option<Arc<Socket>> {
    request.conn_data::<Connection>()?.socket.clone()
}

/// Waits until an answer is to begin, and begins it. The receipt is closed when the answer has been handed out to its end,
/// or the client has left.
pub(super) async fn deliver(
    response: Response,
    receipt: Receipt,
    request: &Request,
    lateness: &Arc<LatenessHistogram>,
) -> HttpResponse<Sent> {
    let start = match response.head_timing {
        HeadTiming::After(Duration::ZERO) => None,
        // Boxed, so that an answer without it does not carry the room for it.
        opening => match Box::pin(open(opening, request)).await {
            Ok(start) => Some(start),
            Err(http_response) => return http_response,
        },
    };
    let what = match response.body {
        Body::Full(bytes) => What::Whole(bytes),
        Body::Stream(frames) => What::Stream(Stream::new(frames, receipt, request)),
        Body::Timed(steps) => {
            let (start, lateness) = (start.unwrap_or_else(Instant::now), Arc::clone(lateness));
            What::Play(Box::new(Play::new(steps, start, Some(receipt), socket(request), lateness)))
        }
        // What is opened over a socket is opened where sockets are.
        Body::Session(_) => What::Whole(Bytes::new()),
    };
    let chunked = matches!(&what, What::Stream(stream) if stream.chunked);
    let mut http_response = HttpResponse::with_body(response.status, what.into());
    if chunked {
        chunked::tell(http_response.head_mut());
    }
    let headers = http_response.headers_mut();
    for (name, value) in response.headers {
        headers.append(name, value);
    }
    http_response
}

/// A body as it is sent.
pub(crate) struct Sent {
    what: What,
    /// Its line in the log, which is written when it has been sent or given up.
    line: Option<Box<Line>>,
}

pub(super) enum What {
    /// All of it at once.
    Whole(Bytes),
    /// Not a byte, and no head either.
    Nothing {
        reset: Option<Arc<Socket>>,
    },
    Stream(Stream),
    Play(Box<Play>),
    /// A WebSocket conversation, as long as it goes on.
    Socket(Pin<Box<dyn futures_core::Stream<Item = Result<Bytes, Broken>>>>),
}

impl Default for Sent {
    fn default() -> Self {
        What::Whole(Bytes::new()).into()
    }
}

impl From<What> for Sent {
    fn from(what: What) -> Self {
        Sent { what, line: None }
    }
}

impl From<String> for Sent {
    fn from(text: String) -> Self {
        What::Whole(text.into()).into()
    }
}

impl Sent {
    /// The same, and a line in the log at its end.
    pub(super) fn logged(self, line: Box<Line>) -> Self {
        Sent { line: Some(line), ..self }
    }
}

impl MessageBody for Sent {
    type Error = Broken;

    fn size(&self) -> BodySize {
        match &self.what {
            What::Whole(bytes) => BodySize::Sized(bytes.len() as u64),
            What::Nothing { .. } | What::Stream(_) | What::Socket(_) => BodySize::Stream,
            What::Play(play) => play.steps.length.map_or(BodySize::Stream, BodySize::Sized),
        }
    }

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Bytes, Broken>>> {
        // Of a stream, what frames it is not counted.
        let mut said = None;
        let next = match &mut self.what {
            What::Whole(bytes) if bytes.is_empty() => None,
            What::Whole(bytes) => Some(Ok(std::mem::take(bytes))),
            What::Nothing { reset: socket } => {
                reset(socket.as_deref());
                Some(Err(Broken))
            }
            What::Stream(stream) => stream.next().map(|(bytes, own)| {
                said = Some(own);
                Ok(bytes)
            }),
            What::Play(play) => ready!(play.poll_next(context)),
            What::Socket(body) => ready!(body.as_mut().poll_next(context)),
        };
        if let (Some(line), Some(Ok(bytes))) = (&mut self.line, &next) {
            line.sent += said.unwrap_or(bytes.len()) as u64;
        }
        Poll::Ready(next)
    }
}

/// Why a body has no end: it was to have none.
#[derive(Debug)]
pub(crate) struct Broken;

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

/// A body that is sent step by step. Each step has its own deadline from the start, so that none is late because one
/// before it was.
pub(super) struct Play {
    steps: TimedBody,
    start: Instant,
    /// The step that is not due yet.
    next: Option<TimedStep>,
    sleep: Pin<Box<Sleep>>,
    /// Until when `sleep` sleeps, if it does.
    until: Option<Instant>,
    receipt: Option<Receipt>,
    socket: Option<Arc<Socket>>,
    lateness: Arc<LatenessHistogram>,
}

impl Play {
    /// Plays steps from `start` on. The receipt is closed at their end.
    pub(super) fn new(
        steps: TimedBody,
        start: Instant,
        receipt: Option<Receipt>,
        socket: Option<Arc<Socket>>,
        lateness: Arc<LatenessHistogram>,
    ) -> Self {
        let sleep = Box::pin(tokio::time::sleep_until(start));
        Play { steps, start, next: None, sleep, until: None, receipt, socket, lateness }
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

    /// What is sent next, once it is due.
    pub(super) fn poll_next(&mut self, context: &mut Context<'_>) -> Poll<Option<Result<Bytes, Broken>>> {
        let this = self;
        if this.next.is_none() {
            this.next = this.steps.steps.next();
            if let Some(TimedStep { at, step: Step::Cut | Step::Reset }) = &mut this.next {
                *at = (*at).max(this.start.elapsed()).saturating_add(GRACE);
            }
        }
        let Some(TimedStep { at, .. }) = &this.next else {
            this.receipt = None;
            return Poll::Ready(None);
        };
        let due = if *at == Duration::MAX { None } else { this.start.checked_add(*at) };
        ready!(this.poll_until(due, context));
        match this.next.take().map(|timed| timed.step) {
            Some(Step::Send(bytes)) => {
                if let Some(due) = due.filter(|due| *due > this.start) {
                    this.lateness.add(Instant::now().saturating_duration_since(due));
                }
                Poll::Ready(Some(Ok(bytes)))
            }
            Some(Step::Reset) => {
                reset(this.socket.as_deref());
                Poll::Ready(Some(Err(Broken)))
            }
            Some(Step::Cut) | None => Poll::Ready(Some(Err(Broken))),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use super::*;

    fn play(list: impl Iterator<Item = TimedStep> + Send + 'static) -> Play {
        Play::new(TimedBody { length: None, steps: Box::new(list) }, Instant::now(), None, None, Arc::default())
    }

    async fn next(play: &mut Play) -> Option<Result<Bytes, Broken>> {
        poll_fn(|context| play.poll_next(context)).await
    }

    /// Ten thousand events, 20.3 ms apart.
    fn events() -> impl Iterator<Item = TimedStep> + Send {
        (0..10_000).map(|n| TimedStep { at: due(n), step: Step::Send(Bytes::from_static(b"x")) })
    }

    fn due(n: u32) -> Duration {
        Duration::from_micros(20_300) * n
    }

    // The clock stands still while anything can be done, and then jumps: what is late is late by design.
    #[tokio::test(start_paused = true)]
    async fn the_last_of_ten_thousand_is_no_later_than_the_first() {
        let (start, mut play) = (Instant::now(), play(events()));
        for n in 0..10_000 {
            assert!(next(&mut play).await.unwrap().is_ok());
            let late = start.elapsed().checked_sub(due(n)).expect("nothing comes early");
            // The timer counts whole milliseconds.
            assert!(late <= Duration::from_millis(1), "event {n} is {late:?} late");
        }
        assert!(next(&mut play).await.is_none());
    }

    #[tokio::test(start_paused = true)]
    async fn who_reads_late_gets_at_once_what_was_due_and_the_rest_in_time() {
        let (start, mut play) = (Instant::now(), play(events()));
        let _ = next(&mut play).await;
        tokio::time::advance(Duration::from_secs(5)).await;
        for n in 1..=246 {
            let _ = next(&mut play).await;
            assert_eq!(start.elapsed(), Duration::from_secs(5), "event {n} was due");
        }
        let _ = next(&mut play).await;
        assert!(start.elapsed() >= due(247) && start.elapsed() <= due(247) + Duration::from_millis(1));
    }

    #[tokio::test(start_paused = true)]
    async fn what_breaks_off_does_so_after_what_came_before_has_left() {
        let steps = [Step::Send(Bytes::from_static(b"x")), Step::Cut];
        let (start, mut play) =
            (Instant::now(), play(steps.into_iter().map(|step| TimedStep { at: Duration::ZERO, step })));
        assert!(next(&mut play).await.unwrap().is_ok());
        assert!(next(&mut play).await.unwrap().is_err());
        assert!(start.elapsed() >= GRACE);
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_never_due_never_comes() {
        let mut play = play(std::iter::once(TimedStep { at: Duration::MAX, step: Step::Cut }));
        let year = Duration::from_secs(365 * 86_400);
        assert!(tokio::time::timeout(year, next(&mut play)).await.is_err());
    }
}
