//! A realtime session: a WebSocket without a library, because the load is one of raw sockets.

use std::time::Duration;

use socket2::SockRef;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    time::timeout,
};

use crate::client::{Broken, Client};

const PATIENCE: Duration = Duration::from_secs(20);
const CLOSE: u8 = 8;

const HANDSHAKE: &[u8] = b"GET /v1/realtime?model=gpt-realtime HTTP/1.1\r\nhost: 127.0.0.1\r\nconnection: Upgrade\r\n\
    upgrade: websocket\r\nsec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
const MESSAGES: [&str; 3] = [
    r#"{"type":"session.update","session":{"type":"realtime","output_modalities":["text"]}}"#,
    r#"{"type":"conversation.item.create","item":{"type":"message","role":"user","content":[{"type":"input_text","text":"Hi"}]}}"#,
    r#"{"type":"response.create"}"#,
];

/// The end of a session.
#[derive(Clone, Copy)]
pub enum End {
    /// A close frame, and the server's answer to it.
    Closed,
    /// A reset after the response.
    Reset,
    /// A reset while the response is sent.
    ResetEarly,
}

/// Opens a session, asks for a response, and ends it. Counts the handshake and the response.
pub async fn session(client: &mut Client, end: End) -> Result<(), Broken> {
    client.discard();
    client.send_bytes(HANDSHAKE).await?;
    client.counts.surely(1);
    let stream = client.take_stream().ok_or(Broken)?;
    let mut frames = Frames { stream, bytes: Vec::new() };
    let head = frames.head().await?;
    if !head.starts_with(b"HTTP/1.1 101 ") {
        return Err(Broken);
    }
    for message in MESSAGES {
        frames.send(1, message.as_bytes()).await?;
    }
    let result = match end {
        // Perhaps it has begun.
        End::ResetEarly => {
            client.counts.perhaps();
            Ok(())
        }
        End::Closed | End::Reset => {
            client.counts.surely(1);
            frames.until("\"response.done\"").await
        }
    };
    if matches!(end, End::Closed) && result.is_ok() {
        frames.send(CLOSE, &1000_u16.to_be_bytes()).await?;
        while frames.next().await?.0 != CLOSE {}
    } else {
        let _ = SockRef::from(&frames.stream).set_linger(Some(Duration::ZERO));
    }
    result
}

/// The frames of a connection.
struct Frames {
    stream: TcpStream,
    bytes: Vec<u8>,
}

impl Frames {
    /// Sends a frame of less than 64 KiB. The mask is zero, which leaves the bytes as they are.
    async fn send(&mut self, opcode: u8, payload: &[u8]) -> Result<(), Broken> {
        let mut frame = vec![0x80 | opcode];
        match u8::try_from(payload.len()).ok().filter(|length| *length < 126) {
            Some(length) => frame.push(0x80 | length),
            None => {
                frame.push(0x80 | 126);
                frame.extend(u16::try_from(payload.len()).map_err(|_| Broken)?.to_be_bytes());
            }
        }
        frame.extend([0; 4]);
        frame.extend_from_slice(payload);
        Ok(self.stream.write_all(&frame).await?)
    }

    async fn more(&mut self) -> Result<(), Broken> {
        match timeout(PATIENCE, self.stream.read_buf(&mut self.bytes)).await {
            Ok(Ok(length)) if length > 0 => Ok(()),
            _ => Err(Broken),
        }
    }

    /// The head of the response to the handshake.
    async fn head(&mut self) -> Result<Vec<u8>, Broken> {
        loop {
            if let Some(end) = self.bytes.windows(4).position(|bytes| bytes == b"\r\n\r\n") {
                return Ok(self.bytes.drain(..end + 4).collect());
            }
            self.more().await?;
        }
    }

    /// The opcode and the payload of the next frame.
    async fn next(&mut self) -> Result<(u8, Vec<u8>), Broken> {
        loop {
            if let [first, second, ..] = self.bytes[..] {
                let (head, length) = match second & 0x7f {
                    126 => (4, self.bytes.get(2..4).map(|b| usize::from(u16::from_be_bytes([b[0], b[1]])))),
                    // None of the messages is as long as that.
                    127 => return Err(Broken),
                    length => (2, Some(usize::from(length))),
                };
                if let Some(length) = length.filter(|length| self.bytes.len() >= head + length) {
                    let frame: Vec<u8> = self.bytes.drain(..head + length).skip(head).collect();
                    return Ok((first & 0x0f, frame));
                }
            }
            self.more().await?;
        }
    }

    /// Reads frames up to one that contains this text.
    async fn until(&mut self, text: &str) -> Result<(), Broken> {
        loop {
            let (opcode, payload) = self.next().await?;
            if opcode == CLOSE {
                return Err(Broken);
            }
            if payload.windows(text.len()).any(|part| part == text.as_bytes()) {
                return Ok(());
            }
        }
    }
}
