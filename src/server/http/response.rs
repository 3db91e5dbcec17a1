//! Delivery: sends a response at its times. The only code that sleeps, stalls, cuts and resets.

mod broken;
mod chunked;
mod pieces;

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

use self::chunked::ChunkedStream;
pub(crate) use self::{broken::Broken, pieces::Pieces};
use super::Connection;
use crate::{
    core::{
        panics::{Panic, catch},
        response::{Body, Delivered, HeadTiming, Response, Step, TimedBody, TimedStep},
    },
    engine::{Outcome, Receipt},
    server::lateness::LatenessHistogram,
};

/// Time for sent bytes to leave the machine before a cut or reset.
pub(super) const FLUSH_TIME: Duration = Duration::from_millis(10);

/// Waits until the head of a response is due, and returns the time the wait began.
///
/// # Errors
/// The response that closes the connection, if no head is to be sent.
async fn wait_for_head(opening: HeadTiming, request: &Request) -> Result<Instant, HttpResponse<SentBody>> {
    let start = Instant::now();
    let closed = |broken, reset| HttpResponse::with_body(StatusCode::OK, BodySource::Closed { broken, reset }.into());
    match opening {
        HeadTiming::After(time) => {
            tokio::time::sleep_until(start + time).await;
            Ok(start)
        }
        HeadTiming::Never => pending().await,
        // A body that fails at once discards the head, which is still buffered.
        HeadTiming::Closed => Err(closed(Broken::Empty, None)),
        HeadTiming::Reset => Err(closed(Broken::Reset, socket(request))),
    }
}

/// The socket of a request's connection.
fn socket(request: &Request) -> Option<Arc<Socket>> {
    request.conn_data::<Connection>()?.socket.clone()
}

/// Waits until a response is due and starts it. The receipt is closed when the response has ended, or when the client
/// has left.
pub(super) async fn deliver(
    response: Response,
    mut receipt: Box<Receipt>,
    request: &Request,
    lateness: &Arc<LatenessHistogram>,
) -> HttpResponse<SentBody> {
    let start = match response.head_timing {
        HeadTiming::After(Duration::ZERO) => None,
        // Boxed, so that the future of a response without a delay stays small.
        opening => match Box::pin(wait_for_head(opening, request)).await {
            Ok(start) => Some(start),
            Err(http_response) => {
                receipt.end(Outcome::Fault);
                return http_response;
            }
        },
    };
    receipt.head_sent();
    let source = match response.body {
        Body::Full(bytes) => BodySource::Full(bytes),
        Body::Stream(events) => BodySource::Stream(ChunkedStream::new(events, request)),
        Body::Timed(steps) => {
            let (start, lateness) = (start.unwrap_or_else(Instant::now), Arc::clone(lateness));
            BodySource::Timed(Box::new(PacedBody::new(steps, start, socket(request), lateness)))
        }
        // Sessions are only opened by WebSocket requests.
        Body::Session(_) => BodySource::Full(Bytes::new()),
    };
    let receipt = match &source {
        // The whole body is handed over with the head.
        BodySource::Full(_) => {
            receipt.end(Outcome::Complete);
            None
        }
        _ => Some(receipt),
    };
    let chunked = matches!(&source, BodySource::Stream(stream) if stream.chunked);
    let mut http_response = head(response.status, response.headers, SentBody { source, receipt });
    if chunked {
        chunked::mark_chunked(http_response.head_mut());
    }
    http_response
}

/// Starts a response with a full body, without its delays.
pub(super) fn deliver_now(response: Response) -> HttpResponse<SentBody> {
    let bytes = if let Body::Full(bytes) = response.body { bytes } else { Bytes::new() };
    head(response.status, response.headers, BodySource::Full(bytes).into())
}

#[inline]
fn head(status: StatusCode, sent: Vec<(HeaderName, HeaderValue)>, body: SentBody) -> HttpResponse<SentBody> {
    let mut http_response = HttpResponse::with_body(status, body);
    let headers = http_response.headers_mut();
    for (name, value) in sent {
        headers.append(name, value);
    }
    http_response
}

/// The body of a response, with the record of its request.
pub(crate) struct SentBody {
    source: BodySource,
    /// The open record; `None` if it is closed, or for pages of the server itself.
    receipt: OpenReceipt,
}

/// The receipt of a response that is being sent.
pub(super) type OpenReceipt = Option<Box<Receipt>>;

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
    /// A WebSocket conversation, or an admin page in pieces.
    Socket(SocketStream),
}

/// The bytes of a WebSocket conversation, or of a page.
pub(in crate::server) type SocketStream = Pin<Box<dyn futures_core::Stream<Item = Result<Bytes, Broken>>>>;

impl Default for SentBody {
    fn default() -> Self {
        BodySource::Full(Bytes::new()).into()
    }
}

impl From<BodySource> for SentBody {
    fn from(source: BodySource) -> Self {
        SentBody { source, receipt: None }
    }
}

impl From<String> for SentBody {
    fn from(text: String) -> Self {
        BodySource::Full(text.into()).into()
    }
}

impl SentBody {
    /// The body of a WebSocket conversation.
    pub(super) fn socket(body: SocketStream, receipt: Box<Receipt>) -> Self {
        SentBody { source: BodySource::Socket(body), receipt: Some(receipt) }
    }

    /// Records what was sent, and the end.
    fn record(receipt: &mut OpenReceipt, sent: &Option<Result<Bytes, Broken>>, delivered: Delivered) {
        match (sent, receipt.as_mut()) {
            (Some(Ok(bytes)), Some(receipt)) => receipt.body_sent(bytes.len(), delivered, None),
            (Some(Err(_)), _) => end(receipt, Outcome::Fault),
            (None, _) => end(receipt, Outcome::Complete),
            (Some(Ok(_)), None) => {}
        }
    }
}

/// Closes a receipt that is open.
pub(super) fn end(receipt: &mut OpenReceipt, outcome: Outcome) {
    if let Some(receipt) = receipt.take() {
        receipt.end(outcome);
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
        let SentBody { source, receipt } = &mut *self;
        match source {
            BodySource::Full(bytes) if bytes.is_empty() => Poll::Ready(None),
            BodySource::Full(bytes) => Poll::Ready(Some(Ok(std::mem::take(bytes)))),
            BodySource::Closed { broken, reset: socket } => {
                reset(socket.as_deref());
                Poll::Ready(Some(Err(*broken)))
            }
            BodySource::Stream(stream) => match stream.next(receipt) {
                Ok(next) => Poll::Ready(next.map(Ok)),
                Err(_) => {
                    // The head and the events before it leave the machine first.
                    self.source = BodySource::Timed(Box::new(PacedBody::cut()));
                    self.poll_next(context)
                }
            },
            BodySource::Timed(timed) => timed.poll_next(receipt, context),
            BodySource::Socket(body) => {
                let next = ready!(catch(|| body.as_mut().poll_next(context)).unwrap_or_else(|panic| {
                    record_panic(&panic, receipt);
                    Poll::Ready(Some(Err(Broken::Cut)))
                }));
                SentBody::record(receipt, &next, Delivered::default());
                Poll::Ready(next)
            }
        }
    }
}

/// Records a panic in the middle of a response, and closes its receipt.
fn record_panic(panic: &Panic, receipt: &mut OpenReceipt) {
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
    socket: Option<Arc<Socket>>,
    lateness: Arc<LatenessHistogram>,
}

impl PacedBody {
    /// Sends steps from `start` on.
    pub(super) fn new(
        steps: TimedBody,
        start: Instant,
        socket: Option<Arc<Socket>>,
        lateness: Arc<LatenessHistogram>,
    ) -> Self {
        let sleep = Box::pin(tokio::time::sleep_until(start));
        PacedBody { steps, start, next: None, sleep, until: None, socket, lateness }
    }

    /// A body that is cut at once.
    fn cut() -> Self {
        let steps = std::iter::once(TimedStep { at: Duration::ZERO, step: Step::Cut });
        PacedBody::new(TimedBody { length: None, steps: Box::new(steps) }, Instant::now(), None, Arc::default())
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

    /// The next bytes, once they are due. A panic of the steps cuts the response. The receipt is closed at the end.
    pub(super) fn poll_next(
        &mut self,
        receipt: &mut OpenReceipt,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Bytes, Broken>>> {
        let this = self;
        if this.next.is_none() {
            this.next = catch(|| this.steps.steps.next()).unwrap_or_else(|panic| {
                record_panic(&panic, receipt);
                Some(TimedStep { at: Duration::ZERO, step: Step::Cut })
            });
            if let Some(TimedStep { at, step: Step::Cut | Step::Reset }) = &mut this.next {
                *at = (*at).max(this.start.elapsed()).saturating_add(FLUSH_TIME);
            }
        }
        let Some(TimedStep { at, .. }) = &this.next else {
            end(receipt, Outcome::Complete);
            return Poll::Ready(None);
        };
        let due = if *at == Duration::MAX { None } else { this.start.checked_add(*at) };
        ready!(this.poll_until(due, context));
        let broken = match this.next.take() {
            Some(TimedStep { at, step: Step::Send(bytes, delivered) }) => {
                if let Some(due) = due.filter(|due| *due > this.start) {
                    this.lateness.add(Instant::now().saturating_duration_since(due));
                }
                if let Some(receipt) = receipt {
                    receipt.body_sent(bytes.len(), delivered, Some(at));
                    receipt.keep(&bytes);
                }
                return Poll::Ready(Some(Ok(bytes)));
            }
            Some(TimedStep { step: Step::Reset, .. }) => {
                reset(this.socket.as_deref());
                Broken::Reset
            }
            Some(TimedStep { step: Step::Cut, .. }) | None => Broken::Cut,
        };
        end(receipt, Outcome::Fault);
        Poll::Ready(Some(Err(broken)))
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use super::*;

    fn timed(list: impl Iterator<Item = TimedStep> + Send + 'static) -> PacedBody {
        PacedBody::new(TimedBody { length: None, steps: Box::new(list) }, Instant::now(), None, Arc::default())
    }

    async fn next(timed: &mut PacedBody) -> Option<Result<Bytes, Broken>> {
        poll_fn(|context| timed.poll_next(&mut None, context)).await
    }

    /// Ten thousand events, 20.3 ms apart.
    fn events() -> impl Iterator<Item = TimedStep> + Send {
        (0..10_000).map(|n| TimedStep { at: due(n), step: Step::Send(Bytes::from_static(b"x"), Delivered::default()) })
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
        let steps = [Step::Send(Bytes::from_static(b"x"), Delivered::default()), Step::Cut];
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
