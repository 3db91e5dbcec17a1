//! Delivery: sends a response at its times. The only code that sleeps, stalls, cuts and resets.

mod broken;
mod chunked;

use std::{
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
use actix_web::http::header::{HeaderName, HeaderValue};
use bytes::Bytes;
use socket2::Socket;
use tokio::time::{Instant, Sleep};

pub(crate) use self::broken::Broken;
use self::chunked::ChunkedStream;
use super::{
    Connection,
    access_log::{End, LogLine},
};
use crate::server::lateness::LatenessHistogram;
use crate::{
    core::{
        panics::{Panic, catch},
        response::{Body, HeadTiming, Response, Step, TimedBody, TimedStep},
    },
    engine::Receipt,
};

/// Time for sent bytes to leave the machine before a cut or reset.
pub(super) const FLUSH_TIME: Duration = Duration::from_millis(10);

/// Waits until the head of a response is due, and returns the time the wait began.
///
/// # Errors
/// The response that closes the connection, if no head is to be sent.
async fn wait_for_head(
    opening: HeadTiming,
    request: &Request,
    line: Option<&mut LogLine>,
) -> Result<Instant, HttpResponse<SentBody>> {
    let start = Instant::now();
    let closed = |broken, reset| HttpResponse::with_body(StatusCode::OK, BodySource::Closed { broken, reset }.into());
    match opening {
        HeadTiming::After(time) => {
            tokio::time::sleep_until(start + time).await;
            Ok(start)
        }
        HeadTiming::Never => {
            if let Some(line) = line {
                line.end = End::Fault("hang");
            }
            pending().await
        }
        // A body that fails at once discards the head, which is still buffered.
        HeadTiming::Closed => Err(closed(Broken::Empty, None)),
        HeadTiming::Reset => Err(closed(Broken::Reset, socket(request))),
    }
}

/// The socket of a request's connection.
fn socket(request: &Request) -> Option<Arc<Socket>> {
    request.conn_data::<Connection>()?.socket.clone()
}

/// Waits until a response is due and starts it. The receipt is closed when the response has ended or the client has
/// left.
pub(super) async fn deliver(
    response: Response,
    receipt: Receipt,
    request: &Request,
    lateness: &Arc<LatenessHistogram>,
    line: Option<&mut LogLine>,
) -> HttpResponse<SentBody> {
    let start = match response.head_timing {
        HeadTiming::After(Duration::ZERO) => None,
        // Boxed, so that the future of a response without a delay stays small.
        opening => match Box::pin(wait_for_head(opening, request, line)).await {
            Ok(start) => Some(start),
            Err(http_response) => return http_response,
        },
    };
    let source = match response.body {
        Body::Full(bytes) => BodySource::Full(bytes),
        Body::Stream(events) => BodySource::Stream(ChunkedStream::new(events, receipt, request)),
        Body::Timed(steps) => {
            let (start, lateness) = (start.unwrap_or_else(Instant::now), Arc::clone(lateness));
            BodySource::Timed(Box::new(PacedBody::new(steps, start, Some(receipt), socket(request), lateness)))
        }
        // Sessions are only opened by WebSocket requests.
        Body::Session(_) => BodySource::Full(Bytes::new()),
    };
    let chunked = matches!(&source, BodySource::Stream(stream) if stream.chunked);
    let mut http_response = head(response.status, response.headers, source);
    if chunked {
        chunked::mark_chunked(http_response.head_mut());
    }
    http_response
}

/// Starts a response with a full body, without its delays.
pub(super) fn deliver_now(response: Response) -> HttpResponse<SentBody> {
    let bytes = if let Body::Full(bytes) = response.body { bytes } else { Bytes::new() };
    head(response.status, response.headers, BodySource::Full(bytes))
}

#[inline]
fn head(status: StatusCode, sent: Vec<(HeaderName, HeaderValue)>, source: BodySource) -> HttpResponse<SentBody> {
    let mut http_response = HttpResponse::with_body(status, source.into());
    let headers = http_response.headers_mut();
    for (name, value) in sent {
        headers.append(name, value);
    }
    http_response
}

/// The body of a response, with its log line.
pub(crate) struct SentBody {
    source: BodySource,
    /// The log line, written when the body is dropped.
    line: Option<Box<LogLine>>,
}

pub(super) enum BodySource {
    /// All of it at once.
    Full(Bytes),
    /// A connection closed without a head.
    Closed {
        broken: Broken,
        reset: Option<Arc<Socket>>,
    },
    Stream(ChunkedStream),
    Timed(Box<PacedBody>),
    /// A WebSocket conversation.
    Socket(Pin<Box<dyn futures_core::Stream<Item = Result<Bytes, Broken>>>>),
}

impl Default for SentBody {
    fn default() -> Self {
        BodySource::Full(Bytes::new()).into()
    }
}

impl From<BodySource> for SentBody {
    fn from(source: BodySource) -> Self {
        SentBody { source, line: None }
    }
}

impl From<String> for SentBody {
    fn from(text: String) -> Self {
        BodySource::Full(text.into()).into()
    }
}

impl SentBody {
    /// Returns false if the connection is closed without a head.
    pub(super) fn sends_head(&self) -> bool {
        !matches!(self.source, BodySource::Closed { .. })
    }

    /// Adds a log line to the body.
    pub(super) fn with_log_line(self, mut line: Box<LogLine>) -> Self {
        if matches!(&self.source, BodySource::Full(bytes) if bytes.is_empty()) {
            // An empty body is not polled.
            line.end = End::Complete;
        }
        SentBody { line: Some(line), ..self }
    }
}

impl MessageBody for SentBody {
    type Error = Broken;

    fn size(&self) -> BodySize {
        match &self.source {
            BodySource::Full(bytes) => BodySize::Sized(bytes.len() as u64),
            BodySource::Closed { .. } | BodySource::Stream(_) | BodySource::Socket(_) => BodySize::Stream,
            BodySource::Timed(timed) => timed.steps.length.map_or(BodySize::Stream, BodySize::Sized),
        }
    }

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Bytes, Broken>>> {
        // The log counts a stream's events without their chunk framing.
        let mut frame_bytes = None;
        let next = match &mut self.source {
            BodySource::Full(bytes) if bytes.is_empty() => None,
            BodySource::Full(bytes) => Some(Ok(std::mem::take(bytes))),
            BodySource::Closed { broken, reset: socket } => {
                reset(socket.as_deref());
                Some(Err(*broken))
            }
            BodySource::Stream(stream) => match stream.next() {
                Ok(next) => next.map(|(bytes, own)| {
                    frame_bytes = Some(own);
                    Ok(bytes)
                }),
                Err(_) => {
                    // The head and the events before it leave the machine first.
                    self.source = BodySource::Timed(Box::new(PacedBody::cut()));
                    return self.poll_next(context);
                }
            },
            BodySource::Timed(timed) => ready!(timed.poll_next(context)),
            BodySource::Socket(body) => ready!(body.as_mut().poll_next(context)),
        };
        let is_full = matches!(self.source, BodySource::Full(_));
        if let Some(line) = &mut self.line {
            match &next {
                Some(Ok(bytes)) => {
                    line.sent += frame_bytes.unwrap_or(bytes.len()) as u64;
                    if is_full {
                        line.end = End::Complete;
                    }
                }
                Some(Err(broken)) => line.end = End::Fault(broken.name()),
                None => line.end = End::Complete,
            }
        }
        Poll::Ready(next)
    }
}

/// Records a panic in the middle of a response, and closes its receipt.
pub(super) fn record_panic(panic: &Panic, receipt: &mut Option<Receipt>) {
    if let Some(receipt) = receipt.take() {
        receipt.record_panic(panic);
    }
}

/// Makes the socket reset the connection when it is closed.
fn reset(socket: Option<&Socket>) {
    let _ = socket.map(|socket| socket.set_linger(Some(Duration::ZERO)));
}

/// A body that is sent in timed steps. Each step has its own deadline from the start, so that delays do not add up.
pub(super) struct PacedBody {
    steps: TimedBody,
    start: Instant,
    /// The step that is not due yet.
    next: Option<TimedStep>,
    sleep: Pin<Box<Sleep>>,
    /// The deadline of `sleep`, if it is running.
    until: Option<Instant>,
    receipt: Option<Receipt>,
    socket: Option<Arc<Socket>>,
    lateness: Arc<LatenessHistogram>,
}

impl PacedBody {
    /// Sends steps from `start` on. The receipt is closed at their end.
    pub(super) fn new(
        steps: TimedBody,
        start: Instant,
        receipt: Option<Receipt>,
        socket: Option<Arc<Socket>>,
        lateness: Arc<LatenessHistogram>,
    ) -> Self {
        let sleep = Box::pin(tokio::time::sleep_until(start));
        PacedBody { steps, start, next: None, sleep, until: None, receipt, socket, lateness }
    }

    /// A body that is cut at once.
    fn cut() -> Self {
        let steps = std::iter::once(TimedStep { at: Duration::ZERO, step: Step::Cut });
        PacedBody::new(TimedBody { length: None, steps: Box::new(steps) }, Instant::now(), None, None, Arc::default())
    }

    /// Waits until an instant; forever without one.
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

    /// The next bytes, once they are due. A panic of the steps cuts the response.
    pub(super) fn poll_next(&mut self, context: &mut Context<'_>) -> Poll<Option<Result<Bytes, Broken>>> {
        let this = self;
        if this.next.is_none() {
            this.next = catch(|| this.steps.steps.next()).unwrap_or_else(|panic| {
                record_panic(&panic, &mut this.receipt);
                Some(TimedStep { at: Duration::ZERO, step: Step::Cut })
            });
            if let Some(TimedStep { at, step: Step::Cut | Step::Reset }) = &mut this.next {
                *at = (*at).max(this.start.elapsed()).saturating_add(FLUSH_TIME);
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
                Poll::Ready(Some(Err(Broken::Reset)))
            }
            Some(Step::Cut) | None => Poll::Ready(Some(Err(Broken::Cut))),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use super::*;

    fn timed(list: impl Iterator<Item = TimedStep> + Send + 'static) -> PacedBody {
        PacedBody::new(TimedBody { length: None, steps: Box::new(list) }, Instant::now(), None, None, Arc::default())
    }

    async fn next(timed: &mut PacedBody) -> Option<Result<Bytes, Broken>> {
        poll_fn(|context| timed.poll_next(context)).await
    }

    /// Ten thousand events, 20.3 ms apart.
    fn events() -> impl Iterator<Item = TimedStep> + Send {
        (0..10_000).map(|n| TimedStep { at: due(n), step: Step::Send(Bytes::from_static(b"x")) })
    }

    fn due(n: u32) -> Duration {
        Duration::from_micros(20_300) * n
    }

    // The paused clock jumps when nothing can run, so any lateness measured here is a fault of the code.
    #[tokio::test(start_paused = true)]
    async fn delays_do_not_add_up_over_ten_thousand_events() {
        let (start, mut timed) = (Instant::now(), timed(events()));
        for n in 0..10_000 {
            assert!(next(&mut timed).await.unwrap().is_ok());
            let late = start.elapsed().checked_sub(due(n)).expect("no event is early");
            // Tokio's timer has a resolution of 1 ms.
            assert!(late <= Duration::from_millis(1), "event {n} is {late:?} late");
        }
        assert!(next(&mut timed).await.is_none());
    }

    #[tokio::test(start_paused = true)]
    async fn a_slow_reader_gets_overdue_events_at_once_and_the_rest_on_time() {
        let (start, mut timed) = (Instant::now(), timed(events()));
        let _ = next(&mut timed).await;
        tokio::time::advance(Duration::from_secs(5)).await;
        for n in 1..=246 {
            let _ = next(&mut timed).await;
            assert_eq!(start.elapsed(), Duration::from_secs(5), "event {n} was due");
        }
        let _ = next(&mut timed).await;
        assert!(start.elapsed() >= due(247) && start.elapsed() <= due(247) + Duration::from_millis(1));
    }

    #[tokio::test(start_paused = true)]
    async fn a_cut_comes_after_the_bytes_before_it_were_flushed() {
        let steps = [Step::Send(Bytes::from_static(b"x")), Step::Cut];
        let (start, mut timed) =
            (Instant::now(), timed(steps.into_iter().map(|step| TimedStep { at: Duration::ZERO, step })));
        assert!(next(&mut timed).await.unwrap().is_ok());
        assert!(next(&mut timed).await.unwrap().is_err());
        assert!(start.elapsed() >= FLUSH_TIME);
    }

    #[tokio::test(start_paused = true)]
    async fn a_step_without_a_due_time_never_comes() {
        let mut timed = timed(std::iter::once(TimedStep { at: Duration::MAX, step: Step::Cut }));
        let year = Duration::from_secs(365 * 86_400);
        assert!(tokio::time::timeout(year, next(&mut timed)).await.is_err());
    }
}
