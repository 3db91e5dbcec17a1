//! The WebSocket protocol (RFC 6455): frames in, messages out. Every buffer is bounded.

use std::{cell::RefCell, future::poll_fn, rc::Rc, sync::Arc, task::Poll, time::Duration};

use actix_http::{
    Payload,
    ws::{CloseCode, CloseReason, OpCode, Parser, ProtocolError},
};
use bytes::{Bytes, BytesMut};

use super::super::next;
use crate::core::{
    body_memory::{BodyMemory, MemoryFull, Share},
    json::tree_size,
};

/// Maximum size of a message, in bytes: OpenAI accepts 15 MiB of audio at once, and JSON around it.
const MAX_MESSAGE: usize = 16 << 20;
/// Time that a client has to reply to a close frame.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(1);

/// Bytes of the buffers that take no memory of request bodies: connections bound them.
const FREE: u64 = 64 << 10;

/// A slot for the bytes to send next. Nothing more is written until they are taken.
#[derive(Clone, Default)]
pub(super) struct Wire(Rc<RefCell<Option<Bytes>>>);

impl Wire {
    /// Takes the bytes to send.
    pub(super) fn take(&self) -> Option<Bytes> {
        self.0.borrow_mut().take()
    }

    /// Puts bytes into the slot and waits until they are taken. One task polls both ends in turn, so no waker is
    /// needed.
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

/// An incoming event.
pub(super) enum Event {
    Message(Bytes),
    Ping(Bytes),
    /// The client closed the socket, or is gone.
    Closed,
    /// The input was not accepted: the socket is closed with this reason.
    Refused(CloseReason),
}

/// A WebSocket.
pub(super) struct Socket {
    payload: Payload,
    wire: Wire,
    /// Received bytes that are not a whole frame yet.
    buffer: BytesMut,
    /// The first fragments of a message.
    parts: Option<BytesMut>,
    /// Number of bytes that the session stores.
    stored: u64,
    /// The memory of the buffers and of the session, if they are large.
    share: Share,
}

impl Socket {
    pub(super) fn new(payload: Payload, wire: Wire, memory: &Arc<BodyMemory>) -> Self {
        Socket { payload, wire, buffer: BytesMut::new(), parts: None, stored: 0, share: memory.share() }
    }

    /// Returns the next event. Cancel-safe: it can be called again without loss. The message before it is done with, and
    /// `stored` bytes of it are in the session.
    pub(super) async fn next(&mut self, stored: usize) -> Event {
        self.stored = stored as u64;
        self.release();
        if let Err(full) = self.reserve(0) {
            return refused(full);
        }
        loop {
            match self.frame() {
                Err(code) => return Event::Refused(code.into()),
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
            if let Err(full) = self.reserve(0) {
                return refused(full);
            }
        }
    }

    /// Number of bytes in the buffers and in the session.
    fn held(&self) -> u64 {
        (self.buffer.capacity() + self.parts.as_ref().map_or(0, BytesMut::capacity)) as u64 + self.stored
    }

    /// Takes memory for what is held and `more` bytes, if they are many.
    fn reserve(&mut self, more: u64) -> Result<(), MemoryFull> {
        let needed = self.held() + more;
        if needed > FREE { self.share.grow_to(needed) } else { Ok(()) }
    }

    /// Gives back the memory of a message that is done with.
    fn release(&mut self) {
        if self.share.bytes() > 0 {
            if self.buffer.is_empty() {
                self.buffer = BytesMut::new();
            }
            self.share.shrink_to(if self.held() > FREE { self.held() } else { 0 });
        }
    }

    /// Reads more bytes. Returns false at the end of the connection.
    async fn read(&mut self) -> bool {
        match next(&mut self.payload).await {
            Some(Ok(bytes)) => {
                self.buffer.extend_from_slice(&bytes);
                true
            }
            Some(Err(_)) | None => false,
        }
    }

    /// Returns the next frame if it is complete: true if it is the last of its message, its opcode, and its payload.
    fn frame(&mut self) -> Result<Option<(bool, OpCode, BytesMut)>, CloseCode> {
        // The parser allocates the announced length before it checks the limit.
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

    /// Handles a frame. Returns the event that it completes, if any.
    fn on_frame(&mut self, is_last: bool, code: OpCode, payload: BytesMut) -> Option<Event> {
        match code {
            OpCode::Text | OpCode::Binary | OpCode::Continue => {
                let mut whole = match (self.parts.take(), code) {
                    (None, OpCode::Continue) | (Some(_), OpCode::Text | OpCode::Binary) => {
                        return Some(Event::Refused(CloseCode::Protocol.into()));
                    }
                    (None, _) => payload,
                    (Some(mut parts), _) => {
                        if parts.len() + payload.len() > MAX_MESSAGE {
                            return Some(Event::Refused(CloseCode::Size.into()));
                        }
                        parts.extend_from_slice(&payload);
                        parts
                    }
                };
                if !is_last {
                    // Stores only the payload, not the whole read buffer.
                    self.parts = Some(whole.split());
                    return None;
                }
                if std::str::from_utf8(&whole).is_err() {
                    return Some(Event::Refused(CloseCode::Invalid.into()));
                }
                if whole.len() as u64 > FREE
                    && let Err(full) = self.reserve(whole.len() as u64 + tree_size(&whole))
                {
                    return Some(refused(full));
                }
                Some(Event::Message(whole.freeze()))
            }
            OpCode::Ping => Some(Event::Ping(payload.freeze())),
            OpCode::Pong => None,
            OpCode::Close => Some(Event::Closed),
            OpCode::Bad => Some(Event::Refused(CloseCode::Protocol.into())),
        }
    }

    /// Sends messages, each once the one before was taken.
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

    async fn send_close(&mut self, reason: Option<CloseReason>) {
        let mut frame = BytesMut::new();
        Parser::write_close(&mut frame, reason, false);
        self.wire.send(frame.freeze()).await;
    }

    /// Sends a close frame and waits briefly for the client's. Unread input would reset the connection, and the
    /// client would lose the reason.
    pub(super) async fn close(&mut self, reason: impl Into<CloseReason>) {
        self.send_close(Some(reason.into())).await;
        let closed = async {
            loop {
                match self.frame() {
                    Ok(Some((_, OpCode::Close, _))) => return,
                    Ok(Some(_)) => continue,
                    // The rest of the input cannot be parsed and is discarded.
                    Err(_) => self.buffer.clear(),
                    Ok(None) if self.held() > FREE => self.buffer.clear(),
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

/// Returns the event that closes the socket because there is no memory for a message.
fn refused(MemoryFull { max, .. }: MemoryFull) -> Event {
    let text = format!("no room in the {max} bytes for request bodies (--max-body-memory); try again later");
    Event::Refused(CloseReason { code: CloseCode::Again, description: Some(text) })
}

/// Maximum size of a frame's head, in bytes: two, eight for the length, four for the mask.
const MAX_FRAME_HEAD: u64 = 14;

/// Returns the length of the frame that starts here, in bytes with head and mask; `None` if too few bytes have
/// arrived.
fn frame_length(bytes: &[u8]) -> Option<u64> {
    let second = *bytes.get(1)?;
    let (length, head) = match second & 0x7f {
        126 => (u16::from_be_bytes(bytes.get(2..4)?.try_into().ok()?).into(), 4),
        127 => (u64::from_be_bytes(bytes.get(2..10)?.try_into().ok()?), 10),
        length => (length.into(), 2),
    };
    Some(length.saturating_add(head + u64::from(second >> 7) * 4))
}
