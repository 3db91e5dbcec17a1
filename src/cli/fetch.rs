//! One GET request over plain HTTP, for commands that ask a running server.

use std::{
    io::{self, Read, Write},
    net::{TcpStream, ToSocketAddrs},
    time::Duration,
};

use fake_openai::core::http1::{Piece, ResponseParser};

use super::Failure;

/// Time limit for connecting, for each read and for each write.
const TIMEOUT: Duration = Duration::from_secs(30);
/// Largest response that is read, in bytes.
const MAX_RESPONSE: usize = 64 << 20;

/// The base URL of a server.
pub(super) struct ServerUrl {
    /// Host and port.
    authority: String,
}

/// A response that was read whole.
pub(super) struct Fetched {
    pub(super) status: u16,
    pub(super) body: String,
}

impl ServerUrl {
    /// Parses a URL such as `http://127.0.0.1:8080`. A path at its end is ignored.
    ///
    /// # Errors
    /// It is no `http` URL.
    pub(super) fn parse(url: &str) -> Result<Self, Failure> {
        let rest = url.strip_prefix("http://").unwrap_or_default();
        let authority = rest.split(['/', '?']).next().unwrap_or_default();
        if authority.is_empty() {
            return Err(Failure::User(format!("{url}: this is not an HTTP URL; write http://host:port")));
        }
        let has_port = authority.rsplit_once(':').is_some_and(|(_, port)| port.parse::<u16>().is_ok());
        let authority = if has_port { authority.to_owned() } else { format!("{authority}:80") };
        Ok(ServerUrl { authority })
    }

    /// Requests a path, with a bearer token if there is one.
    ///
    /// # Errors
    /// The server cannot be reached, or does not send a whole response.
    pub(super) fn get(&self, path: &str, token: Option<&str>) -> Result<Fetched, Failure> {
        self.try_get(path, token).map_err(|error| {
            let host = &self.authority;
            Failure::Machine(format!("http://{host}{path}: no response: {error}; check that the server is running"))
        })
    }

    fn try_get(&self, path: &str, token: Option<&str>) -> io::Result<Fetched> {
        let mut last = io::ErrorKind::NotFound.into();
        for address in self.authority.to_socket_addrs()? {
            match TcpStream::connect_timeout(&address, TIMEOUT) {
                Ok(stream) => return self.exchange(stream, path, token),
                Err(error) => last = error,
            }
        }
        Err(last)
    }

    fn exchange(&self, mut stream: TcpStream, path: &str, token: Option<&str>) -> io::Result<Fetched> {
        stream.set_read_timeout(Some(TIMEOUT))?;
        stream.set_write_timeout(Some(TIMEOUT))?;
        let authorization = token.map(|token| format!("authorization: Bearer {token}\r\n")).unwrap_or_default();
        write!(
            stream,
            "GET {path} HTTP/1.1\r\nhost: {}\r\nuser-agent: fake-openai\r\n{authorization}connection: close\r\n\r\n",
            self.authority
        )?;
        let mut sent = Vec::new();
        stream.take(MAX_RESPONSE as u64).read_to_end(&mut sent)?;
        let (mut status, mut body, mut rest) = (0, Vec::new(), sent.as_slice());
        let mut parser = ResponseParser::new();
        loop {
            let (taken, piece) = parser.next(rest).map_err(|_| io::ErrorKind::InvalidData)?;
            match piece {
                Piece::Status(sent) => status = sent,
                Piece::Data(data) => body.extend_from_slice(data),
                Piece::End => break,
                Piece::Incomplete => return Err(io::ErrorKind::UnexpectedEof.into()),
                _ => {}
            }
            rest = &rest[taken..];
        }
        Ok(Fetched { status, body: String::from_utf8_lossy(&body).into_owned() })
    }
}
