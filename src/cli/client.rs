//! A client for one request to the admin pages of a running server.

use std::{
    io::{self, Read, Write},
    net::{TcpStream, ToSocketAddrs},
    time::Duration,
};

use fake_openai::core::http1::{Piece, ResponseParser};

use super::Failure;

/// Time limit for connecting and for each write.
const TIMEOUT: Duration = Duration::from_secs(3);
/// Maximum size of a response, in bytes.
const MAX_RESPONSE: usize = 64 << 20;

/// A running server.
pub(super) struct Client<'a> {
    url: &'a str,
    /// The host and the port.
    authority: String,
    /// The path before that of a page.
    base: &'a str,
    token: Option<&'a str>,
}

impl<'a> Client<'a> {
    /// Creates a client for the server at `url`, with the token of its admin pages if it needs one.
    ///
    /// # Errors
    /// The URL is not an HTTP URL, or the token cannot be sent.
    pub(super) fn new(url: &'a str, token: Option<&'a str>) -> Result<Self, Failure> {
        let rest = url.strip_prefix("http://").filter(|rest| !rest.is_empty() && !rest.starts_with('/'));
        let Some(rest) = rest.filter(|rest| rest.bytes().all(|byte| byte.is_ascii_graphic())) else {
            return Err(Failure::User(format!("{url}: this is not an HTTP URL; write http://host:port")));
        };
        if token.is_some_and(|token| !token.bytes().all(|byte| byte.is_ascii_graphic())) {
            return Err(Failure::User("the token has characters that cannot be sent; check --admin-token".to_owned()));
        }
        let (authority, base) = rest.find('/').map_or((rest, ""), |at| rest.split_at(at));
        let has_port = authority.rsplit(']').next().unwrap_or_default().contains(':');
        let authority = if has_port { authority.to_owned() } else { format!("{authority}:80") };
        let port = authority.rsplit(':').next().unwrap_or_default();
        if port.parse::<u16>().is_err() {
            return Err(Failure::User(format!("{url}: `{port}` is not a port; write http://host:port")));
        }
        Ok(Client { url, authority, base: base.trim_end_matches('/'), token })
    }

    /// Sends JSON to a page and returns the status and the body of the response, which takes up to `patience`.
    ///
    /// # Errors
    /// The server is unreachable, or sends no HTTP.
    pub(super) fn post(&self, page: &str, json: &str, patience: Duration) -> Result<(u16, Vec<u8>), Failure> {
        let body = format!("content-type: application/json\r\ncontent-length: {}\r\n\r\n{json}", json.len());
        self.request("POST", page, &body, patience)
    }

    /// Requests a page, and returns the status and the body of the response.
    ///
    /// # Errors
    /// The server is unreachable, or sends no HTTP.
    pub(super) fn get(&self, page: &str, patience: Duration) -> Result<(u16, Vec<u8>), Failure> {
        self.request("GET", page, "\r\n", patience)
    }

    /// Sends a request whose head ends with `rest`, which has the body too.
    fn request(&self, method: &str, page: &str, rest: &str, patience: Duration) -> Result<(u16, Vec<u8>), Failure> {
        let token = self.token.map(|token| format!("authorization: Bearer {token}\r\n")).unwrap_or_default();
        let (base, authority) = (self.base, &self.authority);
        let request = format!(
            "{method} {base}{page} HTTP/1.1\r\nhost: {authority}\r\nuser-agent: fake-openai\r\nconnection: close\r\n\
             {token}{rest}"
        );
        self.send(request.as_bytes(), patience).map_err(|error| {
            let what = match error.kind() {
                io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => "the time is over".to_owned(),
                _ => error.to_string(),
            };
            Failure::Machine(format!("{}: no response: {what}; check that the server is running", self.url))
        })
    }

    fn send(&self, request: &[u8], patience: Duration) -> io::Result<(u16, Vec<u8>)> {
        let mut last = io::ErrorKind::NotFound.into();
        for address in self.authority.to_socket_addrs()? {
            match TcpStream::connect_timeout(&address, TIMEOUT) {
                Ok(stream) => {
                    stream.set_read_timeout(Some(patience + TIMEOUT))?;
                    stream.set_write_timeout(Some(TIMEOUT))?;
                    return exchange(stream, request);
                }
                Err(error) => last = error,
            }
        }
        Err(last)
    }
}

/// Sends a request and reads the response to its end.
fn exchange(mut stream: TcpStream, request: &[u8]) -> io::Result<(u16, Vec<u8>)> {
    stream.write_all(request)?;
    let (mut parser, mut status, mut body) = (ResponseParser::new(), 0, Vec::new());
    let (mut unread, mut buffer) = (Vec::new(), [0; 8192]);
    let not_http = |_| io::Error::new(io::ErrorKind::InvalidData, "it is not HTTP");
    loop {
        let (taken, is_incomplete) = match parser.next(&unread).map_err(not_http)? {
            (_, Piece::End) => return Ok((status, body)),
            (taken, piece) => {
                match piece {
                    Piece::Status(code) => status = code,
                    Piece::Data(data) => body.extend_from_slice(data),
                    _ => {}
                }
                (taken, piece == Piece::Incomplete)
            }
        };
        unread.drain(..taken);
        if is_incomplete {
            let read = stream.read(&mut buffer)?;
            if read == 0 {
                return parser.close().map(|()| (status, body)).map_err(not_http);
            }
            unread.extend_from_slice(&buffer[..read]);
        }
        if body.len() > MAX_RESPONSE {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "it is too long"));
        }
    }
}
