//! Realtime conversations over a WebSocket. Passes messages to the session, sends its requests to the engine, and its
//! events to the client when they are due.
//!
//! The conversation is the body of the response to the handshake: it advances as the client reads, and ends with the
//! connection.

mod opening;
mod socket;

use std::{
    future::{Future, pending, poll_fn},
    net::Shutdown,
    pin::{Pin, pin},
    rc::Rc,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll},
    time::Duration,
};

use actix_http::{
    HttpMessage, Payload, Request, Response as HttpResponse, StatusCode,
    ws::{CloseCode, handshake},
};
use actix_web::http::header::{CONTENT_TYPE, SEC_WEBSOCKET_PROTOCOL, UPGRADE};
use bytes::Bytes;
use futures_core::Stream;
use tokio::{sync::Notify, time::Instant};

use self::{
    opening::OpeningRequest,
    socket::{Event, Socket, Wire},
};
use super::{
    Connection, Edge, SentBody, empty,
    response::{self, Broken, OpenReceipt, PacedBody},
};
use crate::{
    core::response::{Body, HeadTiming, Response, session::Session},
    engine::Receipt,
};

/// Interval of pings, by which a vanished client is noticed.
const PING_INTERVAL: Duration = Duration::from_secs(30);

/// The signal that the server stops.
#[derive(Default)]
pub(crate) struct StopSignal {
    stopped: AtomicBool,
    notify: Notify,
}

impl StopSignal {
    /// Notifies all waiting tasks that the server stops.
    pub(crate) fn notify(&self) {
        self.stopped.store(true, Ordering::Release);
        self.notify.notify_waiters();
    }

    /// Waits until the server stops.
    pub(in crate::server) async fn wait(&self) {
        let mut notified = pin!(self.notify.notified());
        // Enabled first, so that a signal after the check below is not missed.
        notified.as_mut().enable();
        if !self.stopped.load(Ordering::Acquire) {
            notified.await;
        }
    }
}

/// Returns true if a request asks for a WebSocket.
pub(in crate::server) fn is_upgrade(request: &Request) -> bool {
    let upgrade = request.headers().get(&UPGRADE);
    upgrade.is_some_and(|upgrade| upgrade.as_bytes().eq_ignore_ascii_case(b"websocket"))
}

/// Responds to a request for a WebSocket. An endpoint without one responds as to any other request.
pub(super) async fn respond(request: &Request, payload: Payload, edge: &Arc<Edge>) -> HttpResponse<SentBody> {
    let opening = OpeningRequest::new(request, &edge.trusted_proxies);
    let (mut response, mut receipt) = edge.engine.get().handle(&opening.request(Bytes::new())).await;
    let (session, time) = match (response.body, response.head_timing) {
        (Body::Session(session), HeadTiming::After(time)) => (session, time),
        (content, opening) => {
            response = Response { body: content, head_timing: opening, ..response };
            return response::deliver(response, receipt, request, &edge.lateness).await;
        }
    };
    if !time.is_zero() {
        tokio::time::sleep(time).await;
    }
    let Ok(mut head) = handshake(request.head()) else { return empty(StatusCode::BAD_REQUEST) };
    if let Some(protocol) = opening::protocol(request) {
        head.insert_header((SEC_WEBSOCKET_PROTOCOL, protocol));
    }
    receipt.release();
    receipt.head_sent();
    let socket = request.conn_data::<Connection>().and_then(|connection| connection.socket.clone());
    let (wire, handle) = (Wire::default(), socket.clone());
    let conversation = Conversation {
        socket: Socket::new(payload, wire.clone(), edge.engine.get().body_memory()),
        session,
        model: Model { opening: Rc::new(opening), edge: Arc::clone(edge), socket, state: ModelState::Idle },
    };
    let run = Box::pin(async move {
        conversation.run().await?;
        // Closed for writing at once: actix waits for the client to close, and the client for the server.
        tokio::time::sleep(response::FLUSH_TIME).await;
        let _ = handle.map(|socket| socket.shutdown(Shutdown::Write));
        Ok(())
    });
    let mut http_response =
        head.message_body(()).unwrap_or_else(|_| HttpResponse::new(StatusCode::BAD_REQUEST).drop_body());
    for (name, value) in response.headers {
        if name != CONTENT_TYPE {
            http_response.headers_mut().append(name, value);
        }
    }
    http_response.map_body(|_, ()| SentBody::socket(Box::pin(SocketBody { run, wire }), receipt))
}

/// The body of the response to a handshake.
struct SocketBody {
    run: Pin<Box<dyn Future<Output = Result<(), Broken>>>>,
    wire: Wire,
}

impl Stream for SocketBody {
    type Item = Result<Bytes, Broken>;

    /// The next bytes to send. The conversation advances once they are taken.
    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        if let Some(bytes) = self.wire.take() {
            return Poll::Ready(Some(Ok(bytes)));
        }
        let polled = self.run.as_mut().poll(context);
        match (polled, self.wire.take()) {
            (Poll::Pending, None) => Poll::Pending,
            (Poll::Pending, Some(bytes)) => Poll::Ready(Some(Ok(bytes))),
            (Poll::Ready(Ok(())), _) => Poll::Ready(None),
            (Poll::Ready(Err(broken)), _) => Poll::Ready(Some(Err(broken))),
        }
    }
}

/// A conversation in progress.
struct Conversation {
    socket: Socket,
    session: Box<dyn Session>,
    model: Model,
}

impl Conversation {
    /// Runs until one side closes.
    ///
    /// # Errors
    /// The connection is to be cut.
    async fn run(self) -> Result<(), Broken> {
        let Conversation { mut socket, mut session, mut model } = self;
        let edge = Arc::clone(&model.edge);
        let mut stopping = pin!(edge.stopping.wait());
        let mut stops = false;
        let mut ping = tokio::time::interval_at(Instant::now() + PING_INTERVAL, PING_INTERVAL);
        socket.send_all(session.on_open()).await;
        loop {
            if model.is_idle() {
                if stops {
                    socket.close(CloseCode::Away).await;
                    return Ok(());
                }
                if let Some(body) = session.next_request() {
                    model.ask(body);
                }
            }
            // Due events go first, so that their timing does not depend on how fast the client sends.
            tokio::select! {
                biased;
                event = model.next() => match event {
                    ModelEvent::Event(event) if event.is_empty() => socket.ping().await,
                    ModelEvent::Event(event) => socket.send_all(session.on_event(event)).await,
                    ModelEvent::Failed(status, body) => socket.send_all(session.on_response_error(status, &body)).await,
                    ModelEvent::End => socket.send_all(session.on_response_end()).await,
                    ModelEvent::Broken(broken) => return Err(broken),
                },
                () = &mut stopping, if !stops => stops = true,
                event = socket.next(session.stored_bytes()) => match event {
                    Event::Message(message) => {
                        let outcome = edge.engine.get().on_message(&model.opening.request(message), &mut *session);
                        if outcome.interrupts {
                            model.cancel();
                        }
                        socket.send_all(outcome.events).await;
                    }
                    Event::Ping(bytes) => socket.pong(&bytes).await,
                    Event::Closed => return Ok(()),
                    Event::Refused(reason) => {
                        socket.close(reason).await;
                        return Ok(());
                    }
                },
                _ = ping.tick() => socket.ping().await,
            }
        }
    }
}

/// The model's side of the conversation.
struct Model {
    opening: Rc<OpeningRequest>,
    edge: Arc<Edge>,
    /// The socket of the connection, for resets.
    socket: Option<Arc<socket2::Socket>>,
    state: ModelState,
}

enum ModelState {
    Idle,
    /// A request was sent to the engine.
    Waiting(Pin<Box<dyn Future<Output = (Response, Box<Receipt>)>>>),
    /// The response is being sent.
    Responding(Box<PacedBody>, OpenReceipt),
    /// The response is an error; its status, and its body so far.
    Failing(Box<PacedBody>, OpenReceipt, u16, Vec<u8>),
}

/// The next event of the model's side.
enum ModelEvent {
    Event(Bytes),
    Failed(u16, Vec<u8>),
    End,
    Broken(Broken),
}

impl Model {
    fn is_idle(&self) -> bool {
        matches!(self.state, ModelState::Idle)
    }

    /// Sends a request to the engine. It is handled like any other.
    fn ask(&mut self, body: Bytes) {
        let (opening, edge) = (Rc::clone(&self.opening), Arc::clone(&self.edge));
        self.state =
            ModelState::Waiting(Box::pin(async move { edge.engine.get().handle(&opening.request(body)).await }));
    }

    /// Drops the current response, which ends its request.
    fn cancel(&mut self) {
        self.state = ModelState::Idle;
    }

    /// Returns the next event when it is due. Cancel-safe: it can be called again after another event came first.
    async fn next(&mut self) -> ModelEvent {
        loop {
            match &mut self.state {
                ModelState::Idle => return pending().await,
                ModelState::Waiting(response) => {
                    let (response, mut receipt) = response.await;
                    receipt.head_sent();
                    let (status, receipt) = (response.status, Some(receipt));
                    let timed = Box::new(self.timed_body(response));
                    self.state = if status.is_success() {
                        ModelState::Responding(timed, receipt)
                    } else {
                        ModelState::Failing(timed, receipt, status.as_u16(), Vec::new())
                    };
                }
                ModelState::Responding(timed, receipt) => {
                    match poll_fn(|context| timed.poll_next(receipt, context)).await {
                        Some(Ok(event)) => return ModelEvent::Event(event),
                        Some(Err(broken)) => return ModelEvent::Broken(broken),
                        None => {
                            self.cancel();
                            return ModelEvent::End;
                        }
                    }
                }
                ModelState::Failing(timed, receipt, status, body) => {
                    match poll_fn(|context| timed.poll_next(receipt, context)).await {
                        Some(Ok(bytes)) => body.extend_from_slice(&bytes),
                        Some(Err(broken)) => return ModelEvent::Broken(broken),
                        None => {
                            let failed = ModelEvent::Failed(*status, std::mem::take(body));
                            self.cancel();
                            return failed;
                        }
                    }
                }
            }
        }
    }

    /// Converts a response into a timed body.
    fn timed_body(&self, response: Response) -> PacedBody {
        let steps = response.body.into_steps(response.head_timing);
        PacedBody::new(steps, Instant::now(), self.socket.clone(), Arc::clone(&self.edge.lateness))
    }
}
