//! Streams without delays: each event is an HTTP chunk of its own, many chunks are one write.
//!
//! actix turns each piece of a body into one chunk, which costs more than rendering the event.

use actix_http::{Request, ResponseHead, Version, header};
use bytes::{BufMut, Bytes, BytesMut};

use super::{OpenReceipt, end, record_panic};
use crate::{
    core::{
        panics::{Panic, catch},
        response::{Delivered, EventProperties, EventStream},
    },
    engine::Outcome,
};

/// Number of bytes that end a write.
const MIN_WRITE: usize = 4096;
/// Capacity of the buffer: those bytes and a usual event.
const CAPACITY: usize = MIN_WRITE + 1024;

/// Number of hexadecimal digits of most chunks' lengths.
const USUAL_DIGITS: usize = 3;

/// A lazy sequence of events as a body. It is dropped when the client is gone.
pub(in crate::server::http) struct ChunkedStream {
    events: EventStream,
    ended: bool,
    /// True if events are put into chunks here.
    pub(super) chunked: bool,
    /// Number of digits of the last chunk's length.
    digits: usize,
}

impl ChunkedStream {
    /// The events of a response.
    pub(super) fn new(events: EventStream, request: &Request) -> Self {
        // Before HTTP/1.1 there are no chunks: the end of the connection ends the body.
        ChunkedStream { events, ended: false, chunked: request.version() >= Version::HTTP_11, digits: USUAL_DIGITS }
    }

    /// The next write. The receipt is closed with the last event: a client that has seen it may send its next request.
    ///
    /// # Errors
    /// The events panicked. The response is to be cut.
    pub(super) fn next(&mut self, receipt: &mut OpenReceipt) -> Result<Option<Bytes>, Panic> {
        if self.ended {
            return Ok(None);
        }
        catch(|| self.next_write(receipt)).inspect_err(|panic| record_panic(panic, receipt))
    }

    fn next_write(&mut self, receipt: &mut OpenReceipt) -> Option<Bytes> {
        if !self.chunked {
            return self.next_event(receipt);
        }
        let (mut out, mut sent, mut delivered) = (BytesMut::with_capacity(CAPACITY), 0, Delivered::default());
        while out.len() < MIN_WRITE {
            let mut chunk = Chunk::begin(self.digits, &mut out);
            let Some(EventProperties { tokens, .. }) = self.events.events.write(&mut out) else {
                self.ended = true;
                chunk.end(&mut out);
                break;
            };
            match chunk.length(&out) {
                // An empty chunk would end the body.
                0 => chunk.remove(&mut out),
                length => {
                    chunk.end(&mut out);
                    self.digits = chunk.digits;
                    sent += length;
                    delivered.events += 1;
                    delivered.tokens += tokens;
                }
            }
        }
        if let Some(receipt) = receipt {
            receipt.body_sent(sent, delivered, None);
            receipt.keep_chunks(&out);
        }
        if self.ended {
            end(receipt, Outcome::Complete);
        }
        Some(out.freeze())
    }

    /// The next write of a body without chunks: one event.
    fn next_event(&mut self, receipt: &mut OpenReceipt) -> Option<Bytes> {
        let event = self.events.events.find(|event| !event.bytes.is_empty());
        self.ended = event.is_none();
        if let (Some(receipt), Some(event)) = (receipt.as_mut(), &event) {
            receipt.body_sent(event.bytes.len(), event.delivered(), None);
            receipt.keep(&event.bytes);
        }
        if self.ended {
            end(receipt, Outcome::Complete);
        }
        event.map(|event| event.bytes)
    }
}

/// A chunk whose data is being appended to a buffer.
struct Chunk {
    /// Offset of the chunk.
    start: usize,
    /// Number of digits for which there is room in front of the data.
    digits: usize,
}

/// Number of bytes of a line break.
const BREAK: usize = 2;
/// Room for the digits of any length, and the line break after them.
const ROOM: &[u8; 16 + BREAK] = b"0000000000000000\r\n";

impl Chunk {
    /// Begins a chunk. Its length follows when it ends, and has this number of digits in most cases.
    fn begin(digits: usize, out: &mut BytesMut) -> Self {
        let start = out.len();
        out.extend_from_slice(&ROOM[ROOM.len() - BREAK - digits..]);
        Chunk { start, digits }
    }

    /// Number of bytes of data so far.
    fn length(&self, out: &BytesMut) -> usize {
        out.len() - self.start - self.digits - BREAK
    }

    /// Removes the chunk.
    fn remove(&self, out: &mut BytesMut) {
        out.truncate(self.start);
    }

    /// Writes the length of the data in front of it. A chunk without data is the last.
    fn end(&mut self, out: &mut BytesMut) {
        let length = self.length(out);
        let digits = length.checked_ilog2().map_or(1, |log| log as usize / 4 + 1);
        if digits != self.digits {
            self.move_data(digits, length, out);
        }
        let places = &mut out[self.start..self.start + digits];
        let mut rest = length;
        for digit in places.iter_mut().rev() {
            *digit = b"0123456789ABCDEF"[rest & 15];
            rest >>= 4;
        }
        out.extend_from_slice(b"\r\n");
    }

    /// Moves the data, so that there is room for so many digits.
    fn move_data(&mut self, digits: usize, length: usize, out: &mut BytesMut) {
        let data = out.len() - length;
        let moved = self.start + digits + BREAK;
        out.put_bytes(b'0', digits.saturating_sub(self.digits));
        out.copy_within(data..data + length, moved);
        out.truncate(moved + length);
        out[moved - BREAK..moved].copy_from_slice(b"\r\n");
        self.digits = digits;
    }
}

/// Marks a head as having a body that is already in chunks.
pub(super) fn mark_chunked(head: &mut ResponseHead) {
    head.no_chunking(true);
    head.headers.insert(header::TRANSFER_ENCODING, header::HeaderValue::from_static("chunked"));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chunks_are_framed_as_in_rfc_9112() {
        for digits in 1..=5 {
            let mut out = BytesMut::new();
            for data in [&b"data: x\n\n"[..], &[b'y'; 300], &[b'z'; 4096], b""] {
                let mut chunk = Chunk::begin(digits, &mut out);
                out.extend_from_slice(data);
                chunk.end(&mut out);
            }
            let heads = [&b"9\r\ndata: x\n\n\r\n12C\r\n"[..], b"\r\n1000\r\n", b"\r\n0\r\n\r\n"];
            let expected = [heads[0], &[b'y'; 300], heads[1], &[b'z'; 4096], heads[2]].concat();
            assert_eq!(out, expected, "with room for {digits} digits");
        }
    }
}
