//! The load: threads that keep connections busy, one request at a time on each.

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

/// How often a thread that waits for the server looks whether it is to stop.
const LOOK: Duration = Duration::from_millis(100);
/// Time that the server gets before it is asked for connections again, when it gives none.
const PAUSE: Duration = Duration::from_millis(10);

/// Longest time that is counted as it is: 18 minutes, in nanoseconds.
const LONGEST: u64 = (1 << 40) - 1;

/// What the threads are to do, set by whoever measures.
pub(super) struct Phase(AtomicU8);

impl Phase {
    /// Load, and count nothing.
    pub(super) const WARM: u8 = 0;
    /// Load and count.
    pub(super) const MEASURE: u8 = 1;
    /// End.
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

/// What was counted.
pub(super) struct Tally {
    /// Answers that came whole.
    pub(super) requests: u64,
    /// Chunks of chunked ones.
    pub(super) frames: u64,
    /// Bytes of these answers, and of their requests.
    pub(super) bytes: u64,
    /// From the first byte of the request to the last of the answer.
    pub(super) times: Histogram<7>,
    /// Answers by status.
    pub(super) statuses: [u64; 1000],
    /// Requests without a whole answer: the server closed or reset, took no connection, or sent something else.
    pub(super) broken: u64,
}

impl Tally {
    pub(super) fn new() -> Self {
        Tally { requests: 0, frames: 0, bytes: 0, times: Histogram::new(LONGEST), statuses: [0; 1000], broken: 0 }
    }

    pub(super) fn merge(&mut self, other: &Tally) {
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

/// Why there is no answer.
enum Lack {
    Broken,
    Stopped,
}

impl From<Malformed> for Lack {
    fn from(_: Malformed) -> Self {
        Lack::Broken
    }
}

/// One connection, and when its request was sent. Without a stream it is to be opened again.
pub(super) struct Connection {
    stream: Option<TcpStream>,
    parser: ResponseParser,
    sent: Option<Instant>,
}

/// A response, as far as it is counted.
#[derive(Default)]
struct Response {
    status: u16,
    /// Number of chunks, without the last, which is empty.
    chunks: u64,
    /// Bytes of head and body on the wire.
    bytes: u64,
}

impl Connection {
    pub(super) fn open(address: SocketAddr) -> io::Result<Self> {
        let stream = TcpStream::connect(address)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(LOOK))?;
        stream.set_write_timeout(Some(LOOK))?;
        Ok(Connection { stream: Some(stream), parser: ResponseParser::new(), sent: None })
    }

    fn send(&mut self, mut request: &[u8], phase: &Phase) -> Result<(), Lack> {
        let stream = self.stream.as_mut().ok_or(Lack::Broken)?;
        self.sent = Some(Instant::now());
        while !request.is_empty() {
            let sent = patiently(phase, || stream.write(request))?;
            request = &request[sent..];
        }
        Ok(())
    }

    fn receive(&mut self, buffer: &mut [u8], phase: &Phase) -> Result<Response, Lack> {
        let stream = self.stream.as_mut().ok_or(Lack::Broken)?;
        let mut response = Response::default();
        self.parser.reset();
        loop {
            let length = patiently(phase, || stream.read(buffer))?;
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
                    // Nobody has asked for more.
                    Piece::End => return Err(Lack::Broken),
                    Piece::Incomplete => break,
                    Piece::Header(..) | Piece::HeadEnd | Piece::Data(_) => {}
                }
            }
        }
    }

    /// Closes it so that its port is free at once: thousands of these in a second would use up all there are.
    fn discard(&mut self) {
        if let Some(stream) = self.stream.take() {
            let _ = SockRef::from(&stream).set_linger(Some(Duration::ZERO));
        }
        self.sent = None;
    }
}

/// Reads or writes, for as long as the load goes on.
fn patiently(phase: &Phase, mut act: impl FnMut() -> io::Result<usize>) -> Result<usize, Lack> {
    loop {
        match act() {
            Ok(length) => return Ok(length),
            Err(error) => match error.kind() {
                io::ErrorKind::Interrupted => {}
                io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut if !phase.is(Phase::STOP) => {}
                io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => return Err(Lack::Stopped),
                _ => return Err(Lack::Broken),
            },
        }
    }
}

/// Sends a request on each of the connections, then reads all answers, over and over until the phase says to stop.
pub(super) fn load(address: SocketAddr, request: &[u8], mut connections: Vec<Connection>, phase: &Phase) -> Tally {
    let mut tally = Tally::new();
    let mut buffer = vec![0; 64 * 1024];
    while !phase.is(Phase::STOP) {
        let broken = |connection: &mut Connection, tally: &mut Tally| {
            connection.discard();
            tally.broken += u64::from(phase.is(Phase::MEASURE));
        };
        for connection in &mut connections {
            if connection.stream.is_none() {
                let Ok(open) = Connection::open(address) else {
                    broken(connection, &mut tally);
                    continue;
                };
                *connection = open;
            }
            match connection.send(request, phase) {
                Ok(()) => {}
                Err(Lack::Broken) => broken(connection, &mut tally),
                Err(Lack::Stopped) => return tally,
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
                        tally.requests += 1;
                        tally.frames += response.chunks;
                        tally.bytes += request.len() as u64 + response.bytes;
                        tally.times.add(u64::try_from(sent.elapsed().as_nanos()).unwrap_or(u64::MAX));
                        tally.statuses[usize::from(response.status) % 1000] += 1;
                    }
                    if !connection.parser.keep_alive() {
                        connection.discard();
                    }
                }
                Err(Lack::Broken) => broken(connection, &mut tally),
                Err(Lack::Stopped) => return tally,
            }
        }
    }
    tally
}
