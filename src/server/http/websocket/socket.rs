//! Frames of a WebSocket (RFC 6455), as messages that come in and go out. All that grows is bounded.

use std::{cell::RefCell, future::poll_fn, rc::Rc, task::Poll, time::Duration};

use actix_http::{
    Payload,
    ws::{CloseCode, OpCode, Parser, ProtocolError},
};
use bytes::{Bytes, BytesMut};

use super::super::next;

/// The longest message taken, in bytes: OpenAI takes 15 MiB of audio at once, and JSON around it.
const MAX_MESSAGE: usize = 16 << 20;
/// How long a client may take to answer that it closes too.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(1);

/// What is handed over to be sent, one piece at a time: nothing more is written until it has been taken.
#[derive(Clone, Default)]
pub(super) struct Wire(Rc<RefCell<Option<Bytes>>>);

impl Wire {
    /// Takes what is to be sent.
    pub(super) fn take(&self) -> Option<Bytes> {
        self.0.borrow_mut().take()
    }

    /// Hands bytes over, and waits until those before have been taken. Both ends are polled by one task, one after the
    /// other, so that nobody need be woken.
    async fn send(&self, bytes: Bytes) {
        let mut bytes = Some(bytes);
        poll_fn(|_| {
            let mut slot = self.0.borrow_mut();
            if slot.is_some() {
                return Poll::Pending;
            }
            *slot = bytes.take();
            Poll::Ready(())
        })
        .await;
        poll_fn(|_| if self.0.borrow().is_some() { Poll::Pending } else { Poll::Ready(()) }).await;
    }
}

/// What comes in.
pub(super) enum Event {
    Message(Bytes),
    Ping(Bytes),
    /// The client has closed, or is gone.
    Closed,
    /// What came is against the rules: the socket is closed with this code.
    Invalid(CloseCode),
}

/// One socket.
pub(super) struct Socket {
    payload: Payload,
    wire: Wire,
    /// What has come in and is no whole frame yet.
    buffer: BytesMut,
    /// The first parts of a message that comes in several.
    parts: Option<BytesMut>,
}

impl Socket {
    pub(super) fn new(payload: Payload, wire: Wire) -> Self {
        Socket { payload, wire, buffer: BytesMut::new(), parts: None }
    }

    /// The next thing that comes in. To be asked again if something else happens in between: nothing is lost.
    pub(super) async fn next(&mut self) -> Event {
        loop {
            match self.frame() {
                Err(code) => return Event::Invalid(code),
                Ok(Some((is_last, code, payload))) => match self.on_frame(is_last, code, payload) {
                    Some(Event::Closed) => {
                        self.send_close(None).await;
                        return Event::Closed;
                    }
                    Some(event) => return event,
                    None => continue,
                },
                Ok(None) => {}
            }
            if !self.read().await {
                return Event::Closed;
            }
        }
    }

    /// Reads some more; `false` where no more comes.
    async fn read(&mut self) -> bool {
        match next(&mut self.payload).await {
            Some(Ok(bytes)) => {
                self.buffer.extend_from_slice(&bytes);
                true
            }
            Some(Err(_)) | None => false,
        }
    }

    /// The next frame, if all of it is here: whether it is the last of its message, what it is, and what it brings.
    fn frame(&mut self) -> Result<Option<(bool, OpCode, BytesMut)>, CloseCode> {
        // The parser would make room for whatever is promised, and look at the bound last.
        match frame_length(&self.buffer) {
            None => return Ok(None),
            Some(length) if length > MAX_MESSAGE as u64 + MAX_FRAME_HEAD => return Err(CloseCode::Size),
            Some(length) if length > self.buffer.len() as u64 => return Ok(None),
            Some(_) => {}
        }
        match Parser::parse(&mut self.buffer, true, MAX_MESSAGE) {
            Ok(frame) => Ok(frame.map(|(is_last, code, payload)| (is_last, code, payload.unwrap_or_default()))),
            Err(ProtocolError::Overflow) => Err(CloseCode::Size),
            Err(_) => Err(CloseCode::Protocol),
        }
    }

    /// What a frame brings, if it is something by itself.
    fn on_frame(&mut self, is_last: bool, code: OpCode, payload: BytesMut) -> Option<Event> {
        match code {
            OpCode::Text | OpCode::Binary | OpCode::Continue => {
                let mut whole = match (self.parts.take(), code) {
                    (None, OpCode::Continue) | (Some(_), OpCode::Text | OpCode::Binary) => {
                        return Some(Event::Invalid(CloseCode::Protocol));
                    }
                    (None, _) => payload,
                    (Some(mut parts), _) => {
                        if parts.len() + payload.len() > MAX_MESSAGE {
                            return Some(Event::Invalid(CloseCode::Size));
                        }
                        parts.extend_from_slice(&payload);
                        parts
                    }
                };
                if !is_last {
                    // What is kept of a frame is no more than the frame.
                    self.parts = Some(whole.split());
                    return None;
                }
                if std::str::from_utf8(&whole).is_err() {
                    return Some(Event::Invalid(CloseCode::Invalid));
                }
                Some(Event::Message(whole.freeze()))
            }
            OpCode::Ping => Some(Event::Ping(payload.freeze())),
            OpCode::Pong => None,
            OpCode::Close => Some(Event::Closed),
            OpCode::Bad => Some(Event::Invalid(CloseCode::Protocol)),
        }
    }

    /// Sends messages, each once the one before has been taken.
    pub(super) async fn send_all(&mut self, messages: impl IntoIterator<Item = Bytes>) {
        for message in messages {
            self.send(&message, OpCode::Text).await;
        }
    }

    pub(super) async fn ping(&mut self) {
        self.send(b"", OpCode::Ping).await;
    }

    pub(super) async fn pong(&mut self, bytes: &[u8]) {
        self.send(bytes, OpCode::Pong).await;
    }

    async fn send(&mut self, payload: &[u8], code: OpCode) {
        let mut frame = BytesMut::with_capacity(payload.len() + 10);
        Parser::write_message(&mut frame, payload, code, true, false);
        self.wire.send(frame.freeze()).await;
    }

    async fn send_close(&mut self, code: Option<CloseCode>) {
        let mut frame = BytesMut::new();
        Parser::write_close(&mut frame, code.map(Into::into), false);
        self.wire.send(frame.freeze()).await;
    }

    /// Closes, and waits a little for the client to close too: what it has sent and nobody has read would reset the
    /// connection, and with it lose why.
    pub(super) async fn close(&mut self, code: CloseCode) {
        self.send_close(Some(code)).await;
        let closed = async {
            loop {
                match self.frame() {
                    Ok(Some((_, OpCode::Close, _))) => return,
                    Ok(Some(_)) => continue,
                    // What follows is not understood any more, and is thrown away.
                    Err(_) => self.buffer.clear(),
                    Ok(None) => {}
                }
                if !self.read().await {
                    return;
                }
            }
        };
        let _ = tokio::time::timeout(CLOSE_TIMEOUT, closed).await;
    }
}

/// The longest head of a frame, in bytes: two, eight for the length, four for the mask.
const MAX_FRAME_HEAD: u64 = 14;

/// How long the frame is that begins here, in bytes with its head and its mask; none if that cannot be told yet.
fn frame_length(bytes: &[u8]) -> Option<u64> {
    let second = *bytes.get(1)?;
    let (length, head) = match second & 0x7f {
        126 => (u16::from_be_bytes(bytes.get(2..4)?.try_into().ok()?).into(), 4),
        127 => (u64::from_be_bytes(bytes.get(2..10)?.try_into().ok()?), 10),
        length => (length.into(), 2),
    };
    Some(length.saturating_add(head + u64::from(second >> 7) * 4))
}
