//! Reads answers of HTTP/1.1 as they come, piece by piece, keeping nothing but what is counted.

use memchr::memchr;

/// Bytes of a line that are kept: status lines, sizes and the headers that matter are shorter.
const KEPT: usize = 64;

/// The bytes are no answer.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Malformed;

/// What has been read of one answer.
#[derive(Debug)]
pub(super) struct Response {
    /// 0 until it is known.
    pub(super) status: u16,
    /// Chunks of the body, without the last, which is empty.
    pub(super) chunks: u64,
    /// Bytes of the head and the body, as they are on the wire.
    pub(super) bytes: u64,
    /// Whether the connection is good for another request.
    pub(super) keeps: bool,
    length: Option<u64>,
    chunked: bool,
    part: Part,
    line: [u8; KEPT],
    filled: usize,
}

/// What comes next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Part {
    Status,
    Header,
    /// So many bytes of a body that tells its length.
    Body(u64),
    /// A body that ends with the connection.
    Rest,
    ChunkSize,
    /// So many bytes of a chunk.
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
            keeps: true,
            length: None,
            chunked: false,
            part: Part::Status,
            line: [0; KEPT],
            filled: 0,
        }
    }

    /// Reads what has come; whether the answer is whole with it.
    pub(super) fn read(&mut self, mut bytes: &[u8]) -> Result<bool, Malformed> {
        self.bytes += bytes.len() as u64;
        while !bytes.is_empty() {
            match self.part {
                Part::Body(left) | Part::Chunk(left) => {
                    let taken = left.min(bytes.len() as u64);
                    bytes = &bytes[taken as usize..];
                    self.part = match (self.part, left - taken) {
                        (Part::Body(_), 0) => Part::Nothing,
                        (Part::Body(_), left) => Part::Body(left),
                        (_, 0) => Part::ChunkEnd,
                        (_, left) => Part::Chunk(left),
                    };
                }
                Part::Rest => bytes = &[],
                // Nobody has asked for more.
                Part::Nothing => return Err(Malformed),
                _ => {
                    let end = memchr(b'\n', bytes);
                    let (piece, rest) = bytes.split_at(end.unwrap_or(bytes.len()));
                    let room = &mut self.line[self.filled..];
                    let kept = piece.len().min(room.len());
                    room[..kept].copy_from_slice(&piece[..kept]);
                    self.filled += kept;
                    bytes = rest.get(1..).unwrap_or_default();
                    if end.is_some() {
                        self.end_line()?;
                    }
                }
            }
        }
        Ok(self.part == Part::Nothing)
    }

    /// The connection was closed.
    ///
    /// # Errors
    /// That was not the end of the answer.
    pub(super) fn end(&mut self) -> Result<(), Malformed> {
        self.keeps = false;
        if self.part == Part::Rest { Ok(()) } else { Err(Malformed) }
    }

    fn end_line(&mut self) -> Result<(), Malformed> {
        let line = &self.line[..std::mem::take(&mut self.filled)];
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        self.part = match self.part {
            Part::Status => {
                let code = line.strip_prefix(b"HTTP/1.1 ").and_then(|rest| number(rest.get(..3)?, 10));
                self.status = code.ok_or(Malformed)? as u16;
                Part::Header
            }
            Part::Header if line.is_empty() => match (self.status, self.length) {
                // Only an interim answer.
                (100..200, _) => Part::Status,
                (204 | 304, _) => Part::Nothing,
                _ if self.chunked => Part::ChunkSize,
                (_, Some(0)) => Part::Nothing,
                (_, Some(length)) => Part::Body(length),
                (_, None) => Part::Rest,
            },
            Part::Header => {
                if let Some(value) = value(line, b"content-length:") {
                    self.length = Some(number(value, 10).ok_or(Malformed)?);
                } else if let Some(value) = value(line, b"transfer-encoding:") {
                    self.chunked = value.eq_ignore_ascii_case(b"chunked");
                } else if let Some(value) = value(line, b"connection:") {
                    self.keeps = !value.eq_ignore_ascii_case(b"close");
                }
                Part::Header
            }
            Part::ChunkSize => {
                let size = line.split(|byte| *byte == b';').next().unwrap_or_default();
                match number(size.trim_ascii(), 16).ok_or(Malformed)? {
                    0 => Part::Trailer,
                    size => {
                        self.chunks += 1;
                        Part::Chunk(size)
                    }
                }
            }
            Part::ChunkEnd if line.is_empty() => Part::ChunkSize,
            Part::Trailer if line.is_empty() => Part::Nothing,
            Part::Trailer => Part::Trailer,
            _ => return Err(Malformed),
        };
        Ok(())
    }
}

/// The value of a header, if the line is that header's.
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

    /// Reads pieces; only with the last the answer is whole.
    fn whole(pieces: &[&[u8]]) -> (u16, u64, u64, bool) {
        let mut response = Response::new();
        let (last, first) = pieces.split_last().unwrap();
        for piece in first {
            assert_eq!(response.read(piece), Ok(false), "{response:?}");
        }
        assert_eq!(response.read(last), Ok(true), "{response:?}");
        (response.status, response.chunks, response.bytes, response.keeps)
    }

    #[test]
    fn an_answer_may_be_split_at_every_byte() {
        for (bytes, status, chunks, keeps) in
            [(SIZED, 429, 0, true), (CHUNKED, 200, 2, true), (EMPTY, 204, 0, false), (INTERIM, 200, 0, true)]
        {
            let expected = (status, chunks, bytes.len() as u64, keeps);
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
    fn what_ends_early_or_late_is_no_answer() {
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
        assert_eq!((response.end(), response.keeps), (Ok(()), false));
    }

    #[test]
    fn what_is_not_http_is_refused() {
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
