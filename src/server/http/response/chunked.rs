//! Streams whose events are all ready: each in an HTTP chunk of its own, many handed out at once.
//!
//! actix takes a body piece by piece and puts each into a chunk by itself, which costs more than the event does.

use actix_http::{Request, ResponseHead, Version, header};
use bytes::{BufMut, Bytes, BytesMut};

use crate::{core::response::EventStream, engine::Receipt};

/// So much is handed out at once, or an event more.
const AT_ONCE: usize = 4096;
/// Room for that and for an event of usual size.
const ROOM: usize = AT_ONCE + 1024;

/// A lazy sequence of frames as a body. Dropping it, when the client is gone, ends the sequence.
pub(in crate::server::http) struct Stream {
    frames: EventStream,
    receipt: Option<Receipt>,
    /// Whether frames are put into chunks here.
    pub(super) chunked: bool,
}

impl Stream {
    /// Frames in answer to a request. The receipt is closed at their end.
    pub(super) fn new(frames: EventStream, receipt: Receipt, request: &Request) -> Self {
        // Before HTTP/1.1 there are no chunks: the end of the connection ends the body.
        Stream { frames, receipt: Some(receipt), chunked: request.version() >= Version::HTTP_11 }
    }

    /// What is handed out next, and how much of it is the frames' own.
    pub(super) fn next(&mut self) -> Option<(Bytes, usize)> {
        self.receipt.as_ref()?;
        if !self.chunked {
            let frame = self.frame()?;
            let own = frame.len();
            return Some((frame, own));
        }
        let (mut out, mut said) = (BytesMut::with_capacity(ROOM), 0);
        while out.len() < AT_ONCE {
            match self.frame() {
                Some(frame) => {
                    said += frame.len();
                    put(&frame, &mut out);
                }
                None => {
                    put(b"", &mut out);
                    break;
                }
            }
        }
        Some((out.freeze(), said))
    }

    /// The next frame that is not empty; an empty chunk would end the body.
    fn frame(&mut self) -> Option<Bytes> {
        let frame = self.frames.events.by_ref().map(|frame| frame.bytes).find(|bytes| !bytes.is_empty());
        if frame.is_none() {
            self.receipt = None;
        }
        frame
    }
}

/// Tells the head of an answer that its body comes in chunks already.
pub(super) fn tell(head: &mut ResponseHead) {
    head.no_chunking(true);
    head.headers.insert(header::TRANSFER_ENCODING, header::HeaderValue::from_static("chunked"));
}

/// Appends a chunk; an empty one is the last.
fn put(bytes: &[u8], out: &mut BytesMut) {
    // Its length in hexadecimal digits, from the last to the first.
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
    fn chunks_are_framed_as_rfc_9112_says() {
        let mut out = BytesMut::new();
        put(b"data: x\n\n", &mut out);
        put(&[b'y'; 300], &mut out);
        put(b"", &mut out);
        let expected = [&b"9\r\ndata: x\n\n\r\n12C\r\n"[..], &[b'y'; 300], b"\r\n0\r\n\r\n"].concat();
        assert_eq!(out, expected);
    }
}
