//! A client that reports everything: each header, each chunk, and how the response ended.

use std::{
    collections::BTreeMap,
    io::{self, BufRead, BufReader, Read, Write},
    net::{SocketAddr, TcpStream},
    time::{Duration, Instant},
};

use fake_openai::{
    Config, Running, Server,
    core::http1::{Piece, ResponseParser},
};
use serde_json::Value;

/// The longest wait. Nothing takes nearly as long, so a test that waits this long fails.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// Starts a server in this process.
pub fn serve(config: Config) -> Running {
    Server::bind(config).unwrap().spawn().unwrap()
}

/// The body of a simple chat request.
pub const CHAT: &str = r#"{"model":"gpt-4o","messages":[{"role":"user","content":"Hi"}]}"#;

#[derive(Debug)]
pub struct Response {
    pub status: u16,
    /// Values by name in lower case. The values of a repeated header are joined by commas.
    pub headers: BTreeMap<String, String>,
    pub body: Vec<u8>,
    /// The chunks of a chunked body.
    pub chunks: Vec<Vec<u8>>,
}

impl Response {
    pub fn text(&self) -> &str {
        std::str::from_utf8(&self.body).unwrap()
    }

    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error}: {}", self.text()))
    }

    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).unwrap_or_else(|| panic!("no {name} in {:?}", self.headers))
    }
}

/// The end of a connection, or of a body on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// The body ended properly, and the connection is still open.
    Whole,
    /// The connection was closed before the end.
    Cut,
    /// The connection was reset.
    Reset,
}

impl End {
    fn of(error: &io::Error) -> End {
        match error.kind() {
            io::ErrorKind::UnexpectedEof => End::Cut,
            io::ErrorKind::ConnectionReset => End::Reset,
            _ => panic!("{error}"),
        }
    }
}

/// One keep-alive connection.
pub struct Connection {
    stream: BufReader<TcpStream>,
    parser: ResponseParser,
}

impl Connection {
    pub fn open(address: impl Into<SocketAddr>) -> Connection {
        Connection::over(TcpStream::connect(address.into()).unwrap())
    }

    /// Connects from the address `source`, such as 127.0.0.2.
    pub fn open_from(source: &str, address: SocketAddr) -> Connection {
        let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
        socket.bind(&SocketAddr::new(source.parse().unwrap(), 0).into()).unwrap();
        socket.connect(&address.into()).unwrap();
        Connection::over(socket.into())
    }

    fn over(stream: TcpStream) -> Connection {
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.set_write_timeout(Some(PATIENCE)).unwrap();
        Connection { stream: BufReader::new(stream), parser: ResponseParser::new() }
    }

    pub fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.stream.get_mut().write_all(bytes)
    }

    pub fn request(&mut self, method: &str, path: &str, headers: &str, body: &str) -> io::Result<Response> {
        let length = if body.is_empty() { String::new() } else { format!("content-length: {}\r\n", body.len()) };
        let host = if headers.starts_with("host:") { "" } else { "host: fake\r\n" };
        self.send(format!("{method} {path} HTTP/1.1\r\n{host}{headers}{length}\r\n{body}").as_bytes())?;
        self.response(method == "HEAD")
    }

    /// Sends a request to a page of the admin API: `admin("GET", "/rules", "")`.
    pub fn admin(&mut self, method: &str, page: &str, body: &str) -> Response {
        let headers = "host: localhost\r\ncontent-type: application/json\r\n";
        self.request(method, &format!("/__admin{page}"), headers, body).unwrap()
    }

    pub fn post(&mut self, path: &str, body: &str) -> Response {
        self.request("POST", path, "", body).unwrap()
    }

    pub fn chat(&mut self, body: &str) -> Response {
        self.post("/v1/chat/completions", body)
    }

    pub fn get(&mut self, path: &str) -> Response {
        self.request("GET", path, "", "").unwrap()
    }

    /// Reads the next piece of the response and passes it to `on`.
    fn next(&mut self, mut on: impl FnMut(Piece<'_>)) -> io::Result<()> {
        loop {
            let (taken, piece) = self.parser.next(self.stream.buffer()).map_err(|_| io::ErrorKind::InvalidData)?;
            let more = piece == Piece::Incomplete;
            if !more {
                on(piece);
            }
            self.stream.consume(taken);
            if !more {
                return Ok(());
            }
            if self.stream.fill_buf()?.is_empty() {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
    }

    /// Reads the head of a response and leaves its body. An interim response (1xx) has a head of its own.
    pub fn head(&mut self) -> io::Result<Response> {
        if self.parser.is_complete() {
            self.parser.reset();
        }
        let mut response = Response { status: 0, headers: BTreeMap::new(), body: Vec::new(), chunks: Vec::new() };
        let mut ended = false;
        while !ended {
            self.next(|piece| match piece {
                Piece::Status(status) => response.status = status,
                Piece::Header(name, value) => {
                    let [name, value] = [name, value].map(|text| String::from_utf8(text.to_vec()).unwrap());
                    let known = response.headers.entry(name.to_lowercase()).or_default();
                    *known = if known.is_empty() { value } else { format!("{known}, {value}") };
                }
                _ => ended = true,
            })?;
        }
        Ok(response)
    }

    /// Reads one response to its end.
    pub fn response(&mut self, head_only: bool) -> io::Result<Response> {
        if head_only {
            self.parser = ResponseParser::head_only();
        }
        let mut response = self.head()?;
        let mut chunk = Vec::new();
        let mut ended = false;
        while !ended {
            self.next(|piece| match piece {
                Piece::Data(data) => {
                    response.body.extend_from_slice(data);
                    chunk.extend_from_slice(data);
                }
                Piece::ChunkEnd => response.chunks.push(std::mem::take(&mut chunk)),
                Piece::End => ended = true,
                _ => {}
            })?;
        }
        Ok(response)
    }

    /// Reads a chunked body: its chunks, one for each event, and how it ended.
    pub fn stream(&mut self) -> (Vec<String>, End) {
        let mut chunks = Vec::new();
        let end = loop {
            match self.chunk() {
                Ok(chunk) if chunk.is_empty() => break End::Whole,
                Ok(chunk) => chunks.push(String::from_utf8(chunk).unwrap()),
                Err(error) => break End::of(&error),
            }
        };
        (chunks, end)
    }

    /// Returns true if a byte of a response has come that is not read yet.
    pub fn has_received(&self) -> bool {
        let stream = self.stream.get_ref();
        stream.set_nonblocking(true).unwrap();
        let received = stream.peek(&mut [0]).is_ok();
        stream.set_nonblocking(false).unwrap();
        received || !self.stream.buffer().is_empty()
    }

    /// Reads one chunk of a chunked body. The last chunk is empty.
    pub fn chunk(&mut self) -> io::Result<Vec<u8>> {
        let mut chunk = Vec::new();
        let mut ended = false;
        while !ended {
            self.next(|piece| match piece {
                Piece::Data(data) => chunk.extend_from_slice(data),
                Piece::ChunkEnd | Piece::End => ended = true,
                _ => {}
            })?;
        }
        Ok(chunk)
    }

    /// Reads until the connection ends: the bytes, and how it ended.
    pub fn rest(&mut self) -> (Vec<u8>, End) {
        let (mut rest, mut buffer) = (Vec::new(), [0; 4096]);
        loop {
            match self.stream.read(&mut buffer) {
                Ok(0) => return (rest, End::Cut),
                Ok(length) => rest.extend_from_slice(&buffer[..length]),
                Err(error) => return (rest, End::of(&error)),
            }
        }
    }

    /// Returns whether the other side has closed without sending anything more.
    pub fn is_closed(&mut self) -> bool {
        matches!(self.stream.read(&mut [0]), Ok(0)) || self.stream.get_ref().peer_addr().is_err()
    }
}

/// Reports that a test is skipped, in whole or in part: on standard error itself, because libtest captures what the
/// print macros write.
pub fn report_skipped(test: &str, reason: &str) {
    let _ = writeln!(io::stderr(), "SKIPPED {test}: {reason}");
}

/// Reports that a test is skipped because a tool is missing. Fails it where the environment has a `CI`.
#[track_caller]
pub fn skip_for_want_of(tool: &str, test: &str) {
    assert!(std::env::var_os("CI").is_none(), "{test} must not be skipped in CI: install {tool}");
    report_skipped(test, &format!("{tool} is not installed"));
}

/// Waits until a condition holds, trying it once a millisecond. Fails the test after [`PATIENCE`]; `what` names the
/// condition in the message.
pub fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !holds() {
        assert!(Instant::now() < deadline, "waited {PATIENCE:?} in vain: {what}");
        std::thread::sleep(Duration::from_millis(1));
    }
}
