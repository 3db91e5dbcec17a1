//! Delivery: sends a response at its times. The only code that sleeps, stalls, cuts and resets.

mod broken;
mod chunked;
mod paced;
mod pieces;

use std::{
    future::pending,
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
use tokio::time::Instant;

use self::chunked::ChunkedStream;
pub(super) use self::paced::PacedBody;
pub(crate) use self::{broken::Broken, pieces::Pieces};
use super::Connection;
use crate::{
    core::{
        panics::{Panic, catch},
        response::{Body, Delivered, Extent, HeadTiming, Response, Steps, TimedBody},
    },
    engine::{Outcome, Receipt},
    server::lateness::LatenessHistogram,
    traffic::capacity::Waiting,
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
    if let Some(waiting) = receipt.take_waiting() {
        match response.head_timing {
            HeadTiming::After(_) => return deliver_queued(waiting, response, receipt, request, lateness),
            _ => Box::pin(waiting).await.into_iter().for_each(|permit| receipt.hold_permit(permit)),
        }
    }
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
        Body::Timed(TimedBody { extent, steps }) => {
            let (start, lateness) = (start.unwrap_or_else(Instant::now), Arc::clone(lateness));
            let size = match extent {
                Extent::Length(length) => BodySize::Sized(length),
                Extent::Events(_) => BodySize::Stream,
            };
            BodySource::Timed(Box::new(PacedBody::new(steps, start, socket(request), lateness)), size)
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

/// Starts a stream that waits for its permit: its head is sent now, and its events are due from the permit on.
fn deliver_queued(
    waiting: Waiting,
    response: Response,
    mut receipt: Box<Receipt>,
    request: &Request,
    lateness: &Arc<LatenessHistogram>,
) -> HttpResponse<SentBody> {
    receipt.head_sent();
    let steps = response.body.into_steps(response.head_timing);
    let (socket, lateness) = (socket(request), Arc::clone(lateness));
    let source = BodySource::Queued(Box::new(QueuedBody { waiting, steps, socket, lateness }));
    head(response.status, response.headers, SentBody { source, receipt: Some(receipt) })
}

/// A body whose steps begin once there is a permit.
pub(super) struct QueuedBody {
    waiting: Waiting,
    steps: Steps,
    socket: Option<Arc<Socket>>,
    lateness: Arc<LatenessHistogram>,
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
    /// Steps at their times, and the size that the head declares.
    Timed(Box<PacedBody>, BodySize),
    /// Steps at their times, once there is a permit.
    Queued(Box<QueuedBody>),
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
            BodySource::Timed(_, size) => *size,
            BodySource::Closed { .. } | BodySource::Stream(_) | BodySource::Queued(_) | BodySource::Socket(_) => {
                BodySize::Stream
            }
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
                    self.source = BodySource::Timed(Box::new(PacedBody::cut()), BodySize::Stream);
                    self.poll_next(context)
                }
            },
            BodySource::Timed(timed, _) => timed.poll_next(receipt, context),
            BodySource::Queued(queued) => {
                let permit = ready!(Pin::new(&mut queued.waiting).poll(context));
                if let (Some(permit), Some(receipt)) = (permit, receipt.as_mut()) {
                    receipt.hold_permit(permit);
                }
                let steps = std::mem::replace(&mut queued.steps, Box::new(std::iter::empty()));
                let (socket, lateness) = (queued.socket.take(), Arc::clone(&queued.lateness));
                let paced = PacedBody::new(steps, Instant::now(), socket, lateness);
                self.source = BodySource::Timed(Box::new(paced), BodySize::Stream);
                self.poll_next(context)
            }
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
