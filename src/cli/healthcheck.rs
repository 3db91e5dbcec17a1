//! `healthcheck`: one GET request, for probes in containers without curl.

use std::{
    io::{Read, Write},
    net::{TcpStream, ToSocketAddrs},
    time::Duration,
};

use super::Failure;

/// Time limit for connecting, for each read and for each write.
const TIMEOUT: Duration = Duration::from_secs(3);

/// Requests `url`, which must be plain `http`.
///
/// # Errors
/// The URL is not an HTTP URL, the server is unreachable, or the status is not 200 to 299.
pub(super) fn check(url: &str) -> Result<(), Failure> {
    let Some(rest) = url.strip_prefix("http://") else {
        return Err(Failure::User(format!("{url}: this is not an HTTP URL; write http://host:port/health")));
    };
    let (authority, path) = rest.find('/').map_or((rest, "/health"), |at| rest.split_at(at));
    let host = if authority.contains(':') { authority.to_owned() } else { format!("{authority}:80") };
    let status = get(&host, path)
        .map_err(|error| Failure::Machine(format!("{url}: no response: {error}; check that the server is running")))?;
    match status.split(' ').nth(1) {
        Some(code) if code.starts_with('2') => Ok(()),
        _ => Err(Failure::Machine(format!("{url}: not healthy, the response is `{}`", status.trim()))),
    }
}

/// Returns the status line of the response.
fn get(host: &str, path: &str) -> std::io::Result<String> {
    let mut last = std::io::ErrorKind::NotFound.into();
    for address in host.to_socket_addrs()? {
        let mut stream = match TcpStream::connect_timeout(&address, TIMEOUT) {
            Ok(stream) => stream,
            Err(error) => {
                last = error;
                continue;
            }
        };
        stream.set_read_timeout(Some(TIMEOUT))?;
        stream.set_write_timeout(Some(TIMEOUT))?;
        write!(stream, "GET {path} HTTP/1.1\r\nhost: {host}\r\nuser-agent: fake-openai\r\nconnection: close\r\n\r\n")?;
        let mut response = Vec::new();
        stream.take(16 * 1024).read_to_end(&mut response)?;
        let line = response.split(|byte| *byte == b'\r').next().unwrap_or_default();
        return Ok(String::from_utf8_lossy(line).into_owned());
    }
    Err(last)
}
