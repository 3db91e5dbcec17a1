//! What the benchmarks share: servers as processes of their own, a client for them, and what the system tells of them.

// Each benchmark is compiled on its own and uses a part of it.
#![allow(dead_code)]

use std::{
    fmt::Write as _,
    fs,
    io::{BufRead, BufReader, Read, Write},
    net::TcpStream,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use fake_openai::core::http1::{Piece, ResponseParser};

/// The fake's program.
pub const FAKE: &str = env!("CARGO_BIN_EXE_fake-openai");
/// Keep-alive connections, all of them with a request under way.
pub const CONNECTIONS: usize = 64;

/// The body of a plain request.
pub const HELLO: &str =
    r#"{"model":"gpt-4o","messages":[{"role":"user","content":"Say hello to the gateway."}],"max_tokens":20}"#;

/// Gives this process core 0; whether there is `taskset` to do so, and to give servers core 1.
pub fn pin_client() -> bool {
    let me = std::process::id().to_string();
    let taskset = Command::new("taskset").args(["-cp", "0", &me]).stdout(Stdio::null()).status();
    taskset.is_ok_and(|status| status.success())
}

/// A connection of the client.
pub struct Connection {
    stream: TcpStream,
    parser: ResponseParser,
    buffer: Vec<u8>,
}

impl Connection {
    /// Sends a request.
    pub fn send(&mut self, request: &[u8]) {
        self.stream.write_all(request).expect("the server reads");
    }
}

/// A server in a process of its own, with one worker.
pub struct Server {
    child: Child,
    /// Where it listens.
    pub address: String,
    /// The client's connections to it.
    pub connections: Vec<Connection>,
}

/// What a turn has taken.
#[derive(Clone, Copy)]
pub struct Turn {
    /// Time that the server has had on a core.
    pub cpu: Duration,
    /// Time that has passed.
    pub wall: Duration,
}

impl Server {
    /// Starts the fake.
    pub fn fake(args: &[&str], pinned: bool) -> Self {
        let ours = ["--host", "127.0.0.1", "--port", "0", "--workers", "1"];
        Server::start(FAKE, &[&ours, args].concat(), pinned)
    }

    /// Starts a program whose first line tells its URL.
    pub fn start(program: &str, args: &[&str], pinned: bool) -> Self {
        let mut command = if pinned { Command::new("taskset") } else { Command::new(program) };
        if pinned {
            command.args(["-c", "1", program]);
        }
        let mut child =
            command.args(args).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().expect("the server starts");
        let mut url = String::new();
        BufReader::new(child.stdout.take().expect("piped")).read_line(&mut url).expect("the server tells its URL");
        let address = url.trim().trim_start_matches("http://").to_owned();
        Server { child, address, connections: Vec::new() }
    }

    /// Opens so many connections more.
    pub fn connect(mut self, count: usize) -> Self {
        let open = |_| Connection {
            stream: TcpStream::connect(&self.address).expect("the server accepts"),
            parser: ResponseParser::new(),
            buffer: vec![0; 64 * 1024],
        };
        self.connections.extend((0..count).map(open));
        self
    }

    /// Sends a request on one connection; its answer.
    pub fn ask(&mut self, connection: usize, request: &[u8]) -> Response {
        let mut answer = Response::default();
        let connection = &mut self.connections[connection];
        connection.send(request);
        answer.read(connection);
        answer
    }

    /// A turn: so many times a request on every connection and then their answers, which have this status.
    pub fn turn<R: AsRef<[u8]>>(&mut self, times: usize, status: &str, request: impl Fn(usize) -> R) -> Turn {
        let (start, before) = (Instant::now(), self.cpu_time());
        let (mut answer, count) = (Response::default(), self.connections.len());
        for batch in 0..times {
            for (n, connection) in self.connections.iter_mut().enumerate() {
                let request = request(batch * count + n);
                connection.send(request.as_ref());
            }
            for connection in &mut self.connections {
                answer.read(connection);
                assert_eq!(answer.status(), status);
            }
        }
        Turn { cpu: self.cpu_time() - before, wall: start.elapsed() }
    }

    /// The process's id.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Time that the server has had on a core.
    pub fn cpu_time(&self) -> Duration {
        cpu_time(self.id())
    }

    /// Memory that the server has in use, in bytes.
    pub fn resident(&self) -> f64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.id())).expect("Linux");
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("a process has memory");
        line.trim().trim_end_matches(" kB").parse::<f64>().expect("a number") * 1024.0
    }

    /// Waits until the process has ended.
    pub fn wait(&mut self) {
        let _ = self.child.wait();
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Time that a process has had on a core.
pub fn cpu_time(process: u32) -> Duration {
    let tasks = fs::read_dir(format!("/proc/{process}/task")).expect("Linux");
    let time = |path: std::path::PathBuf| fs::read_to_string(path.join("schedstat")).unwrap_or_default();
    let texts = tasks.filter_map(|task| Some(time(task.ok()?.path())));
    Duration::from_nanos(texts.filter_map(|text| text.split(' ').next()?.parse::<u64>().ok()).sum())
}

/// A response as the client reads it; the body without its chunk framing.
#[derive(Default)]
pub struct Response {
    /// The status line and the headers, with the empty line behind them.
    pub head: String,
    /// The body.
    pub body: Vec<u8>,
}

impl Response {
    /// Reads one in place of this.
    fn read(&mut self, connection: &mut Connection) {
        self.head.clear();
        self.body.clear();
        connection.parser.reset();
        loop {
            let length = connection.stream.read(&mut connection.buffer).expect("a response");
            assert!(length > 0, "the server closed the connection: {}", self.head);
            let mut bytes = &connection.buffer[..length];
            loop {
                let (taken, piece) = connection.parser.next(bytes).expect("HTTP/1.1");
                bytes = &bytes[taken..];
                match piece {
                    Piece::Status(status) => {
                        let _ = write!(self.head, "HTTP/1.1 {status} \r\n");
                    }
                    Piece::Header(name, value) => {
                        let [name, value] = [name, value].map(String::from_utf8_lossy);
                        let _ = write!(self.head, "{name}: {value}\r\n");
                    }
                    Piece::Data(data) => self.body.extend_from_slice(data),
                    Piece::End => return,
                    Piece::Incomplete => break,
                    Piece::HeadEnd => self.head.push_str("\r\n"),
                    Piece::ChunkEnd => {}
                }
            }
        }
    }

    /// The status code.
    pub fn status(&self) -> &str {
        self.head.get(9..12).unwrap_or_default()
    }
}

/// The path of chat completions.
pub const CHAT: &str = "/v1/chat/completions";

/// A request for a chat completion.
pub fn request(key: usize, body: &str) -> Vec<u8> {
    request_to(CHAT, key, body)
}

/// A request to a path.
pub fn request_to(path: &str, key: usize, body: &str) -> Vec<u8> {
    format!(
        "POST {path} HTTP/1.1\r\nhost: fake\r\nauthorization: Bearer sk-{key:08}\r\n\
         content-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    )
    .into_bytes()
}

/// The middle one.
pub fn median(values: impl IntoIterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.into_iter().collect();
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}
