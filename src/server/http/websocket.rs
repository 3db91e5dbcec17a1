//! Conversations over a WebSocket: the one place that speaks it. It hands messages in, asks the model, and sends what is
//! said at its times.
//!
//! All of it is the body of the answer to the handshake: it goes on only as far as the client takes what is sent, and it
//! ends when the connection does.

mod asker;
mod socket;

use std::{
    future::{Future, pending, poll_fn},
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
    asker::Asker,
    socket::{Event, Socket, Wire},
};
use super::{
    Connection, Edge, Sent, empty,
    response::{self, Broken, Play, What},
};
use crate::{
    core::response::{Body, HeadTiming, Response, Step, TimedBody, TimedStep, session::Session},
    engine::Receipt,
};

/// How often a client is asked whether it is there: one that has vanished is noticed by the system then.
const PING: Duration = Duration::from_secs(30);

/// Whether the server stops, and who is to be told.
#[derive(Default)]
pub(crate) struct Stopping {
    stops: AtomicBool,
    told: Notify,
}

impl Stopping {
    /// Tells all who listen that the server stops.
    pub(crate) fn tell(&self) {
        self.stops.store(true, Ordering::Release);
        self.told.notify_waiters();
    }

    async fn listen(&self) {
        let mut told = pin!(self.told.notified());
        // First, so that what is told in between is not missed.
        told.as_mut().enable();
        if !self.stops.load(Ordering::Acquire) {
            told.await;
        }
    }
}

/// Whether a request wants a socket. Asked of those alone that have no body.
pub(super) fn wants(request: &Request) -> bool {
    let upgrade = request.headers().get(&UPGRADE);
    upgrade.is_some_and(|upgrade| upgrade.as_bytes().eq_ignore_ascii_case(b"websocket"))
}

/// Answers a request for a socket: with one, or as any other where there is none.
pub(super) async fn respond(request: &Request, payload: Payload, edge: &Arc<Edge>) -> HttpResponse<Sent> {
    let asker = Asker::new(request, &edge.trusted_proxies);
    let (mut response, mut receipt) = edge.engine.get().handle(&asker.request(Bytes::new())).await;
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
    if let Some(protocol) = asker::protocol(request) {
        head.insert_header((SEC_WEBSOCKET_PROTOCOL, protocol));
    }
    receipt.let_go();
    let socket = request.conn_data::<Connection>().and_then(|connection| connection.socket.clone());
    let wire = Wire::default();
    let talk = Talk {
        socket: Socket::new(payload, wire.clone()),
        session,
        model: Model { asker: Rc::new(asker), edge: Arc::clone(edge), socket, saying: Saying::Nothing },
    };
    let run = Box::pin(async move {
        let _receipt = receipt;
        talk.run().await
    });
    let mut http_response =
        head.message_body(()).unwrap_or_else(|_| HttpResponse::new(StatusCode::BAD_REQUEST).drop_body());
    for (name, value) in response.headers {
        if name != CONTENT_TYPE {
            http_response.headers_mut().append(name, value);
        }
    }
    http_response.map_body(|_, ()| What::Socket(Box::pin(SocketBody { run, wire })).into())
}

/// The body of the answer to a handshake.
struct SocketBody {
    run: Pin<Box<dyn Future<Output = Result<(), Broken>>>>,
    wire: Wire,
}

impl Stream for SocketBody {
    type Item = Result<Bytes, Broken>;

    /// The next bytes to send. The conversation goes on once they are taken.
    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        if let Some(bytes) = self.wire.take() {
            return Poll::Ready(Some(Ok(bytes)));
        }
        match (self.run.as_mut().poll(context), self.wire.take()) {
            (Poll::Pending, None) => Poll::Pending,
            (Poll::Pending, Some(bytes)) => Poll::Ready(Some(Ok(bytes))),
            (Poll::Ready(Ok(())), _) => Poll::Ready(None),
            (Poll::Ready(Err(broken)), _) => Poll::Ready(Some(Err(broken))),
        }
    }
}

/// A conversation that is under way.
struct Talk {
    socket: Socket,
    session: Box<dyn Session>,
    model: Model,
}

impl Talk {
    /// Goes on until one side closes; an error where the connection is to break off.
    async fn run(self) -> Result<(), Broken> {
        let Talk { mut socket, mut session, mut model } = self;
        let edge = Arc::clone(&model.edge);
        let mut stopping = pin!(edge.stopping.listen());
        let mut stops = false;
        let mut ping = tokio::time::interval_at(Instant::now() + PING, PING);
        socket.say_all(session.on_open()).await;
        loop {
            if model.is_silent() {
                if stops {
                    socket.close(CloseCode::Away).await;
                    return Ok(());
                }
                if let Some(body) = session.next_request() {
                    model.ask(body);
                }
            }
            // What is due goes first: so what a client is told does not hang on how fast it sends.
            tokio::select! {
                biased;
                spoken = model.next() => match spoken {
                    Spoken::Event(event) if event.is_empty() => socket.ping().await,
                    Spoken::Event(event) => socket.say_all(session.on_event(event)).await,
                    Spoken::Refusal(status, body) => socket.say_all(session.on_response_error(status, &body)).await,
                    Spoken::End => socket.say_all(session.on_response_end()).await,
                    Spoken::Broken(broken) => return Err(broken),
                },
                () = &mut stopping, if !stops => stops = true,
                event = socket.next() => match event {
                    Event::Message(message) => {
                        let heard = edge.engine.get().on_message(&model.asker.request(message), &mut *session);
                        if heard.interrupts {
                            model.hush();
                        }
                        socket.say_all(heard.events).await;
                    }
                    Event::Ping(bytes) => socket.pong(&bytes).await,
                    Event::Closed => return Ok(()),
                    Event::Wrong(code) => {
                        socket.close(code).await;
                        return Ok(());
                    }
                },
                _ = ping.tick() => socket.ping().await,
            }
        }
    }
}

/// The model, as one conversation asks it.
struct Model {
    asker: Rc<Asker>,
    edge: Arc<Edge>,
    /// The connection's own, by which it is reset.
    socket: Option<Arc<socket2::Socket>>,
    saying: Saying,
}

enum Saying {
    Nothing,
    /// It has been asked.
    Asked(Pin<Box<dyn Future<Output = (Response, Receipt)>>>),
    /// It answers.
    Events(Box<Play>),
    /// It refuses; what has come of the body.
    Refusal(Box<Play>, u16, Vec<u8>),
}

/// What the model says next.
enum Spoken {
    Event(Bytes),
    Refusal(u16, Vec<u8>),
    End,
    Broken(Broken),
}

impl Model {
    fn is_silent(&self) -> bool {
        matches!(self.saying, Saying::Nothing)
    }

    /// Asks it something. That is a request like any other.
    fn ask(&mut self, body: Bytes) {
        let (asker, edge) = (Rc::clone(&self.asker), Arc::clone(&self.edge));
        self.saying = Saying::Asked(Box::pin(async move { edge.engine.get().handle(&asker.request(body)).await }));
    }

    /// Breaks off what it is saying: that request is over.
    fn hush(&mut self) {
        self.saying = Saying::Nothing;
    }

    /// What it says next, at its time. To be asked again if something else comes in between.
    async fn next(&mut self) -> Spoken {
        loop {
            match &mut self.saying {
                Saying::Nothing => return pending().await,
                Saying::Asked(response) => {
                    let (response, receipt) = response.await;
                    let status = response.status;
                    let play = Box::new(self.play(response, receipt));
                    self.saying = if status.is_success() {
                        Saying::Events(play)
                    } else {
                        Saying::Refusal(play, status.as_u16(), Vec::new())
                    };
                }
                Saying::Events(play) => match poll_fn(|context| play.poll_next(context)).await {
                    Some(Ok(event)) => return Spoken::Event(event),
                    Some(Err(broken)) => return Spoken::Broken(broken),
                    None => {
                        self.hush();
                        return Spoken::End;
                    }
                },
                Saying::Refusal(play, status, body) => match poll_fn(|context| play.poll_next(context)).await {
                    Some(Ok(bytes)) => body.extend_from_slice(&bytes),
                    Some(Err(broken)) => return Spoken::Broken(broken),
                    None => {
                        let refusal = Spoken::Refusal(*status, std::mem::take(body));
                        self.hush();
                        return refusal;
                    }
                },
            }
        }
    }

    /// An answer as it is to be sent, step by step.
    fn play(&self, response: Response, receipt: Receipt) -> Play {
        let once = |at, step| -> Box<dyn Iterator<Item = TimedStep> + Send> {
            Box::new(std::iter::once(TimedStep { at, step }))
        };
        let list = match (response.head_timing, response.body) {
            (HeadTiming::Never, _) => once(Duration::MAX, Step::Cut),
            (HeadTiming::Closed, _) => once(Duration::ZERO, Step::Cut),
            (HeadTiming::Reset, _) => once(Duration::ZERO, Step::Reset),
            (HeadTiming::After(_), Body::Timed(steps)) => steps.steps,
            (HeadTiming::After(at), Body::Full(bytes)) => once(at, Step::Send(bytes)),
            (HeadTiming::After(at), Body::Stream(frames)) => {
                Box::new(frames.events.map(move |frame| TimedStep { at, step: Step::Send(frame.bytes) }))
            }
            // What has a body opens no session.
            (HeadTiming::After(_), Body::Session(_)) => Box::new(std::iter::empty()),
        };
        let steps = TimedBody { length: None, steps: list };
        Play::new(steps, Instant::now(), Some(receipt), self.socket.clone(), Arc::clone(&self.edge.lateness))
    }
}
