//! An incremental reader of HTTP/1.1 responses that stores only what is counted.

use memchr::memchr;

/// Bytes of a line that are stored: status lines, chunk sizes and the relevant headers are shorter.
const LINE_LENGTH: usize = 64;

/// The error of bytes that are not an HTTP/1.1 response.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Malformed;

/// The state of one response.
#[derive(Debug)]
pub(super) struct Response {
    /// Status; 0 before the status line is complete.
    pub(super) status: u16,
    /// Number of chunks in the body, without the empty last one.
    pub(super) chunks: u64,
    /// Number of bytes on the wire, of head and body.
    pub(super) bytes: u64,
    /// True if the connection can take another request.
    pub(super) keep_alive: bool,
    length: Option<u64>,
    chunked: bool,
    expected: Expected,
    line: [u8; LINE_LENGTH],
    filled: usize,
}

/// The element that the next bytes belong to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Expected {
    Status,
    Header,
    /// Remaining bytes of a body with a content length.
    Body(u64),
    /// A body that ends with the connection.
    UntilClose,
    ChunkSize,
    /// Remaining bytes of a chunk.
    Chunk(u64),
    ChunkEnd,
    Trailer,
    Nothing,
}

impl Response {
    pub(super) fn new() -> Self {
        Response {
            status: 0,
            chunks: 0,
            bytes: 0,
            keep_alive: true,
            length: None,
            chunked: false,
            expected: Expected::Status,
            line: [0; LINE_LENGTH],
            filled: 0,
        }
    }

    /// Reads bytes and returns true if the response is complete.
    ///
    /// # Errors
    /// The bytes are not HTTP/1.1, or go on after the end of the response.
    pub(super) fn read(&mut self, mut bytes: &[u8]) -> Result<bool, Malformed> {
        self.bytes += bytes.len() as u64;
        while !bytes.is_empty() {
            match self.expected {
                Expected::Body(left) | Expected::Chunk(left) => {
                    let taken = left.min(bytes.len() as u64);
                    bytes = &bytes[taken as usize..];
                    self.expected = match (self.expected, left - taken) {
                        (Expected::Body(_), 0) => Expected::Nothing,
                        (Expected::Body(_), left) => Expected::Body(left),
                        (_, 0) => Expected::ChunkEnd,
                        (_, left) => Expected::Chunk(left),
                    };
                }
                Expected::UntilClose => bytes = &[],
                // There was one request.
                Expected::Nothing => return Err(Malformed),
                _ => {
                    let end = memchr(b'\n', bytes);
                    let (piece, rest) = bytes.split_at(end.unwrap_or(bytes.len()));
                    let room = &mut self.line[self.filled..];
                    let stored = piece.len().min(room.len());
                    room[..stored].copy_from_slice(&piece[..stored]);
                    self.filled += stored;
                    bytes = rest.get(1..).unwrap_or_default();
                    if end.is_some() {
                        self.end_line()?;
                    }
                }
            }
        }
        Ok(self.expected == Expected::Nothing)
    }

    /// Handles the close of the connection.
    ///
    /// # Errors
    /// The response is incomplete.
    pub(super) fn end(&mut self) -> Result<(), Malformed> {
        self.keep_alive = false;
        if self.expected == Expected::UntilClose { Ok(()) } else { Err(Malformed) }
    }

    fn end_line(&mut self) -> Result<(), Malformed> {
        let line = &self.line[..std::mem::take(&mut self.filled)];
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        self.expected = match self.expected {
            Expected::Status => {
                let code = line.strip_prefix(b"HTTP/1.1 ").and_then(|rest| number(rest.get(..3)?, 10));
                self.status = code.ok_or(Malformed)? as u16;
                Expected::Header
            }
            Expected::Header if line.is_empty() => match (self.status, self.length) {
                // An interim response: the final one follows.
                (100..200, _) => Expected::Status,
                (204 | 304, _) => Expected::Nothing,
                _ if self.chunked => Expected::ChunkSize,
                (_, Some(0)) => Expected::Nothing,
                (_, Some(length)) => Expected::Body(length),
                (_, None) => Expected::UntilClose,
            },
            Expected::Header => {
                if let Some(value) = value(line, b"content-length:") {
                    self.length = Some(number(value, 10).ok_or(Malformed)?);
                } else if let Some(value) = value(line, b"transfer-encoding:") {
                    self.chunked = value.eq_ignore_ascii_case(b"chunked");
                } else if let Some(value) = value(line, b"connection:") {
                    self.keep_alive = !value.eq_ignore_ascii_case(b"close");
                }
                Expected::Header
            }
            Expected::ChunkSize => {
                let size = line.split(|byte| *byte == b';').next().unwrap_or_default();
                match number(size.trim_ascii(), 16).ok_or(Malformed)? {
                    0 => Expected::Trailer,
                    size => {
                        self.chunks += 1;
                        Expected::Chunk(size)
                    }
                }
            }
            Expected::ChunkEnd if line.is_empty() => Expected::ChunkSize,
            Expected::Trailer if line.is_empty() => Expected::Nothing,
            Expected::Trailer => Expected::Trailer,
            _ => return Err(Malformed),
        };
        Ok(())
    }
}

/// Returns the value of a header; `None` if the line is another header.
fn value<'a>(line: &'a [u8], name: &[u8]) -> Option<&'a [u8]> {
    let (start, value) = line.split_at_checked(name.len())?;
    start.eq_ignore_ascii_case(name).then(|| value.trim_ascii())
}

fn number(digits: &[u8], radix: u32) -> Option<u64> {
    // `from_str_radix` would take a sign.
    digits.first().filter(|byte| byte.is_ascii_hexdigit())?;
    u64::from_str_radix(std::str::from_utf8(digits).ok()?, radix).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const SIZED: &[u8] = b"HTTP/1.1 429 Too Many Requests\r\nContent-Length: 5\r\nx-long: \
        0123456789012345678901234567890123456789012345678901234567890123456789012345678901234567890123456789\r\n\r\nhello";
    const CHUNKED: &[u8] = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n\
        6\r\ndata:\n\r\n1A;x=y\r\n0\r\n\r\n0123456789012345678\r\n\r\n0\r\nx: y\r\n\r\n";
    const EMPTY: &[u8] = b"HTTP/1.1 204 No Content\r\nconnection: close\r\n\r\n";
    const INTERIM: &[u8] = b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n";

    /// Reads pieces, of which only the last completes the response.
    fn whole(pieces: &[&[u8]]) -> (u16, u64, u64, bool) {
        let mut response = Response::new();
        let (last, first) = pieces.split_last().unwrap();
        for piece in first {
            assert_eq!(response.read(piece), Ok(false), "{response:?}");
        }
        assert_eq!(response.read(last), Ok(true), "{response:?}");
        (response.status, response.chunks, response.bytes, response.keep_alive)
    }

    #[test]
    fn a_response_may_be_split_at_every_byte() {
        for (bytes, status, chunks, keep_alive) in
            [(SIZED, 429, 0, true), (CHUNKED, 200, 2, true), (EMPTY, 204, 0, false), (INTERIM, 200, 0, true)]
        {
            let expected = (status, chunks, bytes.len() as u64, keep_alive);
            assert_eq!(whole(&[bytes]), expected);
            assert_eq!(whole(&bytes.chunks(1).collect::<Vec<_>>()), expected);
            for one in 1..bytes.len() {
                for two in one + 1..bytes.len() {
                    assert_eq!(whole(&[&bytes[..one], &bytes[one..two], &bytes[two..]]), expected, "{one} {two}");
                }
            }
        }
    }

    #[test]
    fn an_incomplete_or_overlong_response_is_refused() {
        for bytes in [SIZED, CHUNKED] {
            for end in 0..bytes.len() {
                let mut response = Response::new();
                assert_eq!(response.read(&bytes[..end]), Ok(false));
                assert_eq!(response.end(), Err(Malformed));
            }
            assert_eq!(Response::new().read(&[bytes, b"x"].concat()), Err(Malformed));
        }
        let mut response = Response::new();
        assert_eq!(response.read(b"HTTP/1.1 200 OK\r\n\r\nuntil the end"), Ok(false));
        assert_eq!((response.end(), response.keep_alive), (Ok(()), false));
    }

    #[test]
    fn bytes_that_are_not_http_are_refused() {
        for bytes in [
            &b"\x15\x03\x01\n"[..],
            b"HTTP/1.1 abc\r\n",
            b"HTTP/1.1 2\r\n",
            b"HTTP/1.1 200 OK\r\ncontent-length: -1\r\n",
            b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n\r\n",
            b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n1\r\nxx\r\n",
            b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n11111111111111111\r\n",
        ] {
            assert_eq!(Response::new().read(bytes), Err(Malformed), "{}", bytes.escape_ascii());
        }
    }
}
