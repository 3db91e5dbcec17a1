//! Streams without delays: each event is an HTTP chunk of its own, many chunks are one write.
//!
//! actix turns each piece of a body into one chunk, which costs more than rendering the event.

use actix_http::{Request, ResponseHead, Version, header};
use bytes::{BufMut, Bytes, BytesMut};

use super::{Broken, record_panic};
use crate::{
    core::{panics::catch, response::EventStream},
    engine::Receipt,
};

/// Number of bytes that end a write.
const MIN_WRITE: usize = 4096;
/// Capacity of the buffer: those bytes and a usual event.
const CAPACITY: usize = MIN_WRITE + 1024;

/// A lazy sequence of events as a body. It is dropped when the client is gone.
pub(in crate::server::http) struct ChunkedStream {
    events: EventStream,
    receipt: Option<Receipt>,
    /// True if events are put into chunks here.
    pub(super) chunked: bool,
}

impl ChunkedStream {
    /// The events of a response. The receipt is closed at their end.
    pub(super) fn new(events: EventStream, receipt: Receipt, request: &Request) -> Self {
        // Before HTTP/1.1 there are no chunks: the end of the connection ends the body.
        ChunkedStream { events, receipt: Some(receipt), chunked: request.version() >= Version::HTTP_11 }
    }

    /// The next write, and the number of event bytes in it.
    ///
    /// # Errors
    /// The events panicked. The response is to be cut.
    pub(super) fn next(&mut self) -> Result<Option<(Bytes, usize)>, Broken> {
        if self.receipt.is_none() {
            return Ok(None);
        }
        catch(|| self.next_write()).map_err(|panic| {
            record_panic(&panic, &mut self.receipt);
            Broken::Cut
        })
    }

    fn next_write(&mut self) -> Option<(Bytes, usize)> {
        if !self.chunked {
            let event = self.next_event()?;
            let own = event.len();
            return Some((event, own));
        }
        let (mut out, mut event_bytes) = (BytesMut::with_capacity(CAPACITY), 0);
        while out.len() < MIN_WRITE {
            match self.next_event() {
                Some(event) => {
                    event_bytes += event.len();
                    put(&event, &mut out);
                }
                None => {
                    put(b"", &mut out);
                    break;
                }
            }
        }
        Some((out.freeze(), event_bytes))
    }

    /// The next event that is not empty; an empty chunk would end the body.
    fn next_event(&mut self) -> Option<Bytes> {
        let event = self.events.events.by_ref().map(|event| event.bytes).find(|bytes| !bytes.is_empty());
        if event.is_none() {
            self.receipt = None;
        }
        event
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
