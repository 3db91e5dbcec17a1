//! Reads HTTP/1.1 responses as they arrive, for clients: the benchmarks' and the tests'.

use memchr::memchr;

/// Longest line of a head, a chunk size or a trailer, in bytes.
const MAX_LINE: usize = 64 * 1024;

/// The bytes are not an HTTP/1.1 response.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Malformed;

/// A piece of a response.
#[derive(Debug, PartialEq, Eq)]
pub enum Piece<'a> {
    /// The status code. Interim responses (1xx) have one, too.
    Status(u16),
    /// A header or a trailer; spaces around the value are removed.
    Header(&'a [u8], &'a [u8]),
    /// The end of the head.
    HeadEnd,
    /// Bytes of the body, without the chunk framing.
    Data(&'a [u8]),
    /// The end of a chunk that is not empty.
    ChunkEnd,
    /// The end of the response.
    End,
    /// The bytes end within a piece: read more.
    Incomplete,
}

/// Parser of one response: bytes in, pieces out.
#[derive(Debug)]
pub struct ResponseParser {
    state: State,
    line: Vec<u8>,
    /// True if the line is complete: the next one replaces it.
    line_ended: bool,
    status: u16,
    length: Option<u64>,
    chunked: bool,
    keep_alive: bool,
    /// True if the request was HEAD: no body follows.
    head_only: bool,
}

/// The piece that comes next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Status,
    Header,
    /// A body of so many more bytes.
    Body(u64),
    /// A body that ends with the connection.
    UntilClose,
    ChunkSize,
    /// A chunk of so many more bytes.
    Chunk(u64),
    /// The line break after a chunk.
    ChunkLineEnd,
    Trailer,
    /// Everything was parsed; the end is not returned yet.
    Ending,
    Done,
}

/// Meaning of a line that is complete.
enum LineKind {
    Status,
    /// A header or trailer, with the length of its name.
    Header {
        name: usize,
    },
    HeadEnd,
    ChunkSize,
    ChunkEnd,
    End,
}

impl Default for ResponseParser {
    fn default() -> Self {
        ResponseParser::new()
    }
}

impl ResponseParser {
    /// A parser of the response to any request but HEAD.
    pub fn new() -> Self {
        ResponseParser {
            state: State::Status,
            line: Vec::new(),
            line_ended: false,
            status: 0,
            length: None,
            chunked: false,
            keep_alive: true,
            head_only: false,
        }
    }

    /// A parser of the response to a HEAD request.
    pub fn head_only() -> Self {
        ResponseParser { head_only: true, ..ResponseParser::new() }
    }

    /// Prepares for the next response, with the same buffer.
    pub fn reset(&mut self) {
        let mut line = std::mem::take(&mut self.line);
        line.clear();
        *self = ResponseParser { line, ..ResponseParser::new() };
    }

    /// True if the response is parsed to its end.
    pub fn is_complete(&self) -> bool {
        matches!(self.state, State::Ending | State::Done)
    }

    /// True if the connection may be used for another request.
    pub fn keep_alive(&self) -> bool {
        self.keep_alive
    }

    /// Parses the next piece. Returns how many of the bytes it took, and the piece.
    ///
    /// # Errors
    /// [`Malformed`] if the bytes are not HTTP/1.1, or follow the end of the response.
    pub fn next<'a>(&'a mut self, bytes: &'a [u8]) -> Result<(usize, Piece<'a>), Malformed> {
        match self.state {
            State::Ending => {
                self.state = State::Done;
                return Ok((0, Piece::End));
            }
            State::Done if bytes.is_empty() => return Ok((0, Piece::End)),
            State::Done => return Err(Malformed),
            _ if bytes.is_empty() => return Ok((0, Piece::Incomplete)),
            State::Body(_) | State::Chunk(_) => return Ok(self.next_data(bytes)),
            State::UntilClose => return Ok((bytes.len(), Piece::Data(bytes))),
            _ => {}
        }
        let mut taken = 0;
        while let Some(length) = self.take_line(&bytes[taken..])? {
            taken += length;
            match self.end_line()? {
                LineKind::Header { name } => {
                    let (name, value) = self.line.split_at(name);
                    return Ok((taken, Piece::Header(name, value[1..].trim_ascii())));
                }
                LineKind::Status => return Ok((taken, Piece::Status(self.status))),
                LineKind::HeadEnd => return Ok((taken, Piece::HeadEnd)),
                LineKind::ChunkEnd => return Ok((taken, Piece::ChunkEnd)),
                LineKind::End => return Ok((taken, Piece::End)),
                LineKind::ChunkSize if matches!(self.state, State::Chunk(_)) => {
                    let (more, piece) = self.next_data(&bytes[taken..]);
                    return Ok((taken + more, piece));
                }
                LineKind::ChunkSize => {}
            }
        }
        Ok((bytes.len(), Piece::Incomplete))
    }

    /// Bytes of the body, as many as there are.
    fn next_data<'a>(&mut self, bytes: &'a [u8]) -> (usize, Piece<'a>) {
        let (State::Body(left) | State::Chunk(left)) = self.state else { return (0, Piece::Incomplete) };
        if bytes.is_empty() {
            return (0, Piece::Incomplete);
        }
        let length = usize::try_from(left).unwrap_or(usize::MAX).min(bytes.len());
        self.state = match (self.state, left - length as u64) {
            (State::Body(_), 0) => State::Ending,
            (State::Body(_), left) => State::Body(left),
            (_, 0) => State::ChunkLineEnd,
            (_, left) => State::Chunk(left),
        };
        (length, Piece::Data(&bytes[..length]))
    }

    /// Appends bytes to the line up to its end. Returns how many it took; `None` if the line goes on.
    fn take_line(&mut self, bytes: &[u8]) -> Result<Option<usize>, Malformed> {
        if std::mem::take(&mut self.line_ended) {
            self.line.clear();
        }
        let end = memchr(b'\n', bytes);
        let part = &bytes[..end.unwrap_or(bytes.len())];
        if self.line.len() + part.len() > MAX_LINE {
            return Err(Malformed);
        }
        self.line.extend_from_slice(part);
        let Some(end) = end else { return Ok(None) };
        self.line_ended = true;
        if self.line.last() == Some(&b'\r') {
            self.line.pop();
        }
        Ok(Some(end + 1))
    }

    /// Interprets a line that is complete.
    fn end_line(&mut self) -> Result<LineKind, Malformed> {
        let line = self.line.as_slice();
        let (state, found) = match self.state {
            State::Status => {
                let code = line.strip_prefix(b"HTTP/1.1 ").and_then(|rest| number(rest.get(..3)?, 10));
                self.status = code.and_then(|code| u16::try_from(code).ok()).ok_or(Malformed)?;
                (State::Header, LineKind::Status)
            }
            State::Header if line.is_empty() => {
                let state = match (self.status, self.length) {
                    (100..200, _) => State::Status,
                    (204 | 304, _) => State::Ending,
                    _ if self.head_only => State::Ending,
                    _ if self.chunked => State::ChunkSize,
                    (_, Some(0)) => State::Ending,
                    (_, Some(length)) => State::Body(length),
                    (_, None) => State::UntilClose,
                };
                (state, LineKind::HeadEnd)
            }
            State::Header | State::Trailer if !line.is_empty() => {
                let colon = memchr(b':', line).ok_or(Malformed)?;
                let (name, value) = (&line[..colon], line[colon + 1..].trim_ascii());
                if name.eq_ignore_ascii_case(b"content-length") {
                    self.length = Some(number(value, 10).ok_or(Malformed)?);
                } else if name.eq_ignore_ascii_case(b"transfer-encoding") {
                    self.chunked = value.eq_ignore_ascii_case(b"chunked");
                } else if name.eq_ignore_ascii_case(b"connection") {
                    self.keep_alive = !value.eq_ignore_ascii_case(b"close");
                }
                (self.state, LineKind::Header { name: colon })
            }
            State::ChunkSize => {
                let size = line.split(|byte| *byte == b';').next().unwrap_or_default();
                match number(size.trim_ascii(), 16).ok_or(Malformed)? {
                    0 => (State::Trailer, LineKind::ChunkSize),
                    size => (State::Chunk(size), LineKind::ChunkSize),
                }
            }
            State::ChunkLineEnd if line.is_empty() => (State::ChunkSize, LineKind::ChunkEnd),
            State::Trailer => (State::Done, LineKind::End),
            _ => return Err(Malformed),
        };
        self.state = state;
        Ok(found)
    }

    /// Reports that the connection was closed.
    ///
    /// # Errors
    /// [`Malformed`] if the response is not complete.
    pub fn close(&mut self) -> Result<(), Malformed> {
        self.keep_alive = false;
        match self.state {
            State::UntilClose | State::Ending | State::Done => Ok(()),
            _ => Err(Malformed),
        }
    }
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

    #[derive(Debug, Default, PartialEq)]
    struct Parsed {
        status: u16,
        headers: Vec<(String, String)>,
        body: Vec<u8>,
        chunks: u32,
        ended: bool,
    }

    /// Parses the pieces that the bytes arrive in.
    fn parse(parser: &mut ResponseParser, arrivals: &[&[u8]]) -> Result<Parsed, Malformed> {
        let mut parsed = Parsed::default();
        for arrival in arrivals {
            let mut bytes = *arrival;
            loop {
                let (taken, piece) = parser.next(bytes)?;
                let incomplete = piece == Piece::Incomplete;
                match piece {
                    Piece::Status(status) => parsed.status = status,
                    Piece::Header(name, value) => {
                        parsed.headers.push((text(name).to_lowercase(), text(value)));
                    }
                    Piece::Data(data) => parsed.body.extend_from_slice(data),
                    Piece::ChunkEnd => parsed.chunks += 1,
                    Piece::End => parsed.ended = true,
                    Piece::HeadEnd | Piece::Incomplete => {}
                }
                bytes = &bytes[taken..];
                if incomplete || parsed.ended && bytes.is_empty() {
                    break;
                }
            }
        }
        Ok(parsed)
    }

    fn text(bytes: &[u8]) -> String {
        String::from_utf8(bytes.to_vec()).unwrap()
    }

    #[test]
    fn a_response_may_be_split_at_every_byte() {
        for (bytes, status, chunks, body, keep_alive) in [
            (SIZED, 429, 0, &b"hello"[..], true),
            (CHUNKED, 200, 2, b"data:\n0\r\n\r\n0123456789012345678\r\n", true),
            (EMPTY, 204, 0, b"", false),
            (INTERIM, 200, 0, b"", true),
        ] {
            let check = |arrivals: &[&[u8]]| {
                let mut parser = ResponseParser::new();
                let parsed = parse(&mut parser, arrivals).unwrap();
                assert_eq!((parsed.status, parsed.chunks, parsed.ended), (status, chunks, true), "{arrivals:?}");
                assert_eq!((parsed.body.as_slice(), parser.keep_alive()), (body, keep_alive));
                parsed.headers
            };
            let headers = check(&[bytes]);
            assert_eq!(check(&bytes.chunks(1).collect::<Vec<_>>()), headers);
            for one in 1..bytes.len() {
                assert_eq!(check(&[&bytes[..one], &bytes[one..]]), headers, "split at {one}");
            }
        }
    }

    #[test]
    fn a_response_that_ends_early_or_late_is_malformed() {
        for bytes in [SIZED, CHUNKED] {
            for end in 0..bytes.len() {
                let mut parser = ResponseParser::new();
                assert!(!parse(&mut parser, &[&bytes[..end]]).unwrap().ended);
                assert_eq!(parser.close(), Err(Malformed));
            }
            assert_eq!(parse(&mut ResponseParser::new(), &[bytes, b"x"]), Err(Malformed));
        }
        let mut parser = ResponseParser::new();
        assert_eq!(parse(&mut parser, &[b"HTTP/1.1 200 OK\r\n\r\nuntil the end"]).unwrap().body, b"until the end");
        assert_eq!((parser.close(), parser.keep_alive()), (Ok(()), false));
    }

    #[test]
    fn the_response_to_head_has_no_body() {
        let head = b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\n";
        assert!(parse(&mut ResponseParser::head_only(), &[head]).unwrap().ended);
    }

    #[test]
    fn bytes_that_are_not_http_are_malformed() {
        for bytes in [
            &b"\x15\x03\x01\n"[..],
            b"HTTP/1.1 abc\r\n",
            b"HTTP/1.1 2\r\n",
            b"HTTP/1.1 200 OK\r\nno colon\r\n",
            b"HTTP/1.1 200 OK\r\ncontent-length: -1\r\n",
            b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n\r\n",
            b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n1\r\nxx\r\n",
            b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n11111111111111111\r\n",
        ] {
            assert_eq!(parse(&mut ResponseParser::new(), &[bytes]), Err(Malformed), "{}", bytes.escape_ascii());
        }
        assert_eq!(parse(&mut ResponseParser::new(), &[&[b'x'; MAX_LINE + 1]]), Err(Malformed));
    }
}
