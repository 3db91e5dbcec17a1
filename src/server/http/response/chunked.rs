//! Streams without delays: each event is an HTTP chunk of its own, many chunks are one write.
//!
//! actix turns each piece of a body into one chunk, which costs more than rendering the event.

use actix_http::{Request, ResponseHead, Version, header};
use bytes::{BufMut, Bytes, BytesMut};

use super::{OpenReceipt, end, record_panic};
use crate::{
    core::{
        panics::{Panic, catch},
        response::{Delivered, EventStream},
    },
    engine::Outcome,
};

/// Number of bytes that end a write.
const MIN_WRITE: usize = 4096;
/// Capacity of the buffer: those bytes and a usual event.
const CAPACITY: usize = MIN_WRITE + 1024;

/// A lazy sequence of events as a body. It is dropped when the client is gone.
pub(in crate::server::http) struct ChunkedStream {
    events: EventStream,
    ended: bool,
    /// True if events are put into chunks here.
    pub(super) chunked: bool,
}

impl ChunkedStream {
    /// The events of a response.
    pub(super) fn new(events: EventStream, request: &Request) -> Self {
        // Before HTTP/1.1 there are no chunks: the end of the connection ends the body.
        ChunkedStream { events, ended: false, chunked: request.version() >= Version::HTTP_11 }
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
        let (mut out, mut sent, mut delivered) = (BytesMut::new(), 0, Delivered::default());
        if self.chunked {
            out.reserve(CAPACITY);
        }
        let mut single = None;
        while out.len() < MIN_WRITE {
            let Some((event, part)) = self.next_event() else {
                self.ended = true;
                if self.chunked {
                    put(b"", &mut out);
                }
                break;
            };
            sent += event.len();
            delivered.events += part.events;
            delivered.tokens += part.tokens;
            if !self.chunked {
                if let Some(receipt) = receipt {
                    receipt.keep(&event);
                }
                single = Some(event);
                break;
            }
            put(&event, &mut out);
        }
        if let Some(receipt) = receipt {
            receipt.body_sent(sent, delivered, None);
            receipt.keep_chunks(&out);
        }
        if self.ended {
            end(receipt, Outcome::Complete);
        }
        single.or_else(|| (!out.is_empty()).then(|| out.freeze()))
    }

    /// The next event that is not empty; an empty chunk would end the body.
    fn next_event(&mut self) -> Option<(Bytes, Delivered)> {
        let event = self.events.events.by_ref().find(|event| !event.bytes.is_empty())?;
        let delivered = event.delivered();
        Some((event.bytes, delivered))
    }
}

/// Marks a head as having a body that is already in chunks.
pub(super) fn mark_chunked(head: &mut ResponseHead) {
    head.no_chunking(true);
    head.headers.insert(header::TRANSFER_ENCODING, header::HeaderValue::from_static("chunked"));
}

/// Appends a chunk; an empty one is the last.
fn put(bytes: &[u8], out: &mut BytesMut) {
    // The length in hexadecimal digits, from the last to the first.
    let (mut digits, mut at, mut rest) = ([0; 2 * size_of::<usize>() + 2], 2 * size_of::<usize>(), bytes.len());
    digits[at..].copy_from_slice(b"\r\n");
    loop {
        at -= 1;
        digits[at] = b"0123456789ABCDEF"[rest % 16];
        rest /= 16;
        if rest == 0 {
            break;
        }
    }
    out.reserve(bytes.len() + digits.len() + 2);
    out.put_slice(&digits[at..]);
    out.put_slice(bytes);
    out.put_slice(b"\r\n");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chunks_are_framed_as_in_rfc_9112() {
        let mut out = BytesMut::new();
        put(b"data: x\n\n", &mut out);
        put(&[b'y'; 300], &mut out);
        put(b"", &mut out);
        let expected = [&b"9\r\ndata: x\n\n\r\n12C\r\n"[..], &[b'y'; 300], b"\r\n0\r\n\r\n"].concat();
        assert_eq!(out, expected);
    }
}
