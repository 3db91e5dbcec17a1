//! The load: client threads that keep connections busy, with one request at a time on each.

use std::{
    io::{self, Read, Write},
    net::{SocketAddr, TcpStream},
    sync::atomic::{AtomicU8, Ordering},
    thread,
    time::{Duration, Instant},
};

use socket2::SockRef;

use fake_openai::core::{
    histogram::Histogram,
    http1::{Malformed, Piece, ResponseParser},
};

/// Interval at which a waiting thread checks whether the load has ended.
const POLL: Duration = Duration::from_millis(100);
/// Pause before new attempts to connect, if all have failed.
const PAUSE: Duration = Duration::from_millis(10);

/// Longest counted time in nanoseconds: 18 minutes. Longer times count as this one.
const LONGEST: u64 = (1 << 40) - 1;

/// The phase of a measurement, shared by all threads.
pub(super) struct Phase(AtomicU8);

impl Phase {
    /// Load without counting.
    pub(super) const WARM: u8 = 0;
    /// Load with counting.
    pub(super) const MEASURE: u8 = 1;
    /// Stop.
    pub(super) const STOP: u8 = 2;

    pub(super) fn new() -> Self {
        Phase(AtomicU8::new(Phase::WARM))
    }

    pub(super) fn set(&self, phase: u8) {
        self.0.store(phase, Ordering::Relaxed);
    }

    fn is(&self, phase: u8) -> bool {
        self.0.load(Ordering::Relaxed) == phase
    }
}

/// Counts of a measurement.
pub(super) struct LoadCounts {
    /// Complete responses.
    pub(super) requests: u64,
    /// Chunks of chunked responses.
    pub(super) frames: u64,
    /// Bytes of complete responses and of their requests.
    pub(super) bytes: u64,
    /// Times from the first byte of a request to the last byte of its response.
    pub(super) times: Histogram<7>,
    /// Responses by status.
    pub(super) statuses: [u64; 1000],
    /// Requests without a complete response: refused connection, close, reset, or malformed bytes.
    pub(super) broken: u64,
}

impl LoadCounts {
    pub(super) fn new() -> Self {
        LoadCounts { requests: 0, frames: 0, bytes: 0, times: Histogram::new(LONGEST), statuses: [0; 1000], broken: 0 }
    }

    pub(super) fn merge(&mut self, other: &LoadCounts) {
        self.requests += other.requests;
        self.frames += other.frames;
        self.bytes += other.bytes;
        self.times.merge(&other.times);
        for (own, others) in self.statuses.iter_mut().zip(&other.statuses) {
            *own += others;
        }
        self.broken += other.broken;
    }
}

/// A reason for a missing response.
enum NoResponse {
    Broken,
    Stopped,
}

impl From<Malformed> for NoResponse {
    fn from(_: Malformed) -> Self {
        NoResponse::Broken
    }
}

/// A connection and the time at which its request was sent. Without a stream, it is opened again.
pub(super) struct Connection {
    stream: Option<TcpStream>,
    parser: ResponseParser,
    sent: Option<Instant>,
}

/// The counted properties of a response.
#[derive(Default)]
struct Response {
    status: u16,
    /// Number of chunks, without the empty last one.
    chunks: u64,
    /// Bytes of head and body on the wire.
    bytes: u64,
}

impl Connection {
    pub(super) fn open(address: SocketAddr) -> io::Result<Self> {
        let stream = TcpStream::connect(address)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(POLL))?;
        stream.set_write_timeout(Some(POLL))?;
        Ok(Connection { stream: Some(stream), parser: ResponseParser::new(), sent: None })
    }

    fn send(&mut self, mut request: &[u8], phase: &Phase) -> Result<(), NoResponse> {
        let stream = self.stream.as_mut().ok_or(NoResponse::Broken)?;
        self.sent = Some(Instant::now());
        while !request.is_empty() {
            let sent = until_stopped(phase, || stream.write(request))?;
            request = &request[sent..];
        }
        Ok(())
    }

    fn receive(&mut self, buffer: &mut [u8], phase: &Phase) -> Result<Response, NoResponse> {
        let stream = self.stream.as_mut().ok_or(NoResponse::Broken)?;
        let mut response = Response::default();
        self.parser.reset();
        loop {
            let length = until_stopped(phase, || stream.read(buffer))?;
            if length == 0 {
                self.parser.close()?;
                return Ok(response);
            }
            response.bytes += length as u64;
            let mut bytes = &buffer[..length];
            loop {
                let (taken, piece) = self.parser.next(bytes)?;
                bytes = &bytes[taken..];
                match piece {
                    Piece::Status(status) => response.status = status,
                    Piece::ChunkEnd => response.chunks += 1,
                    Piece::End if bytes.is_empty() => return Ok(response),
                    // There was one request.
                    Piece::End => return Err(NoResponse::Broken),
                    Piece::Incomplete => break,
                    Piece::Header(..) | Piece::HeadEnd | Piece::Data(_) => {}
                }
            }
        }
    }

    /// Resets the connection, which frees its port at once: thousands of closes per second would use up all ports.
    fn discard(&mut self) {
        if let Some(stream) = self.stream.take() {
            let _ = SockRef::from(&stream).set_linger(Some(Duration::ZERO));
        }
        self.sent = None;
    }
}

/// Reads or writes, again after each timeout until the load ends.
fn until_stopped(phase: &Phase, mut operation: impl FnMut() -> io::Result<usize>) -> Result<usize, NoResponse> {
    loop {
        match operation() {
            Ok(length) => return Ok(length),
            Err(error) => match error.kind() {
                io::ErrorKind::Interrupted => {}
                io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut if !phase.is(Phase::STOP) => {}
                io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => return Err(NoResponse::Stopped),
                _ => return Err(NoResponse::Broken),
            },
        }
    }
}

/// Sends a request on each connection, then reads all responses, and repeats until the phase is [`Phase::STOP`].
pub(super) fn load(address: SocketAddr, request: &[u8], mut connections: Vec<Connection>, phase: &Phase) -> LoadCounts {
    let mut counts = LoadCounts::new();
    let mut buffer = vec![0; 64 * 1024];
    while !phase.is(Phase::STOP) {
        let broken = |connection: &mut Connection, counts: &mut LoadCounts| {
            connection.discard();
            counts.broken += u64::from(phase.is(Phase::MEASURE));
        };
        for connection in &mut connections {
            if connection.stream.is_none() {
                let Ok(open) = Connection::open(address) else {
                    broken(connection, &mut counts);
                    continue;
                };
                *connection = open;
            }
            match connection.send(request, phase) {
                Ok(()) => {}
                Err(NoResponse::Broken) => broken(connection, &mut counts),
                Err(NoResponse::Stopped) => return counts,
            }
        }
        if connections.iter().all(|connection| connection.stream.is_none()) {
            thread::park_timeout(PAUSE);
        }
        for connection in &mut connections {
            let Some(sent) = connection.sent.take() else { continue };
            match connection.receive(&mut buffer, phase) {
                Ok(response) => {
                    if phase.is(Phase::MEASURE) {
                        counts.requests += 1;
                        counts.frames += response.chunks;
                        counts.bytes += request.len() as u64 + response.bytes;
                        counts.times.add(u64::try_from(sent.elapsed().as_nanos()).unwrap_or(u64::MAX));
                        counts.statuses[usize::from(response.status) % 1000] += 1;
                    }
                    if !connection.parser.keep_alive() {
                        connection.discard();
                    }
                }
                Err(NoResponse::Broken) => broken(connection, &mut counts),
                Err(NoResponse::Stopped) => return counts,
            }
        }
    }
    counts
}
