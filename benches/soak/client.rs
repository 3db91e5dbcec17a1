//! The clients: a task each, with one connection and one request at a time.

use std::{
    io::{self, Write as _},
    net::SocketAddr,
    sync::Arc,
    time::Duration,
};

use fake_openai::core::http1::{Malformed, Piece, ResponseParser};
use socket2::SockRef;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    time::timeout,
};

use crate::{
    actions::{self, Action},
    counts::Counts,
};

/// Time after which a response is missing.
const PATIENCE: Duration = Duration::from_secs(20);
/// Callers of the first phase whose faults are counted; the server counts those of 100,000.
const FAULT_KEYS: u64 = 120_000;
/// Actions of the first phase that leave objects, for each kind of action; the server keeps 5000 records of batches and
/// uploads, and 10,000 objects.
const STORING: u64 = 8_000;
/// The kinds of them.
const STORES: [Action; 4] = [Action::Batch, Action::Upload, Action::Responses, Action::Objects];

/// The body of a plain request.
pub const HELLO: &str = r#"{"model":"gpt-4o","messages":[{"role":"user","content":"Say hello to the gateway."}]}"#;
/// A request that the limit of the first phase counts.
const LIMITED: &str = r#"{"model":"limited","messages":[{"role":"user","content":"Hi"}]}"#;

/// The extent of the load.
pub struct Plan {
    pub clients: usize,
    pub keys: u64,
    /// The kinds of requests; none for all.
    pub actions: Vec<Action>,
}

/// A response that is missing: the connection was closed, or the bytes are no HTTP.
#[derive(Debug)]
pub struct Broken;

impl From<io::Error> for Broken {
    fn from(_: io::Error) -> Self {
        Broken
    }
}

impl From<Malformed> for Broken {
    fn from(_: Malformed) -> Self {
        Broken
    }
}

/// One client.
pub struct Client {
    address: SocketAddr,
    stream: Option<TcpStream>,
    parser: ResponseParser,
    buffer: Vec<u8>,
    request: Vec<u8>,
    /// The body of the last response.
    pub body: Vec<u8>,
    pub random: fastrand::Rng,
    pub counts: Arc<Counts>,
    /// Number of keys that requests draw from.
    pub keys: u64,
}

/// Sends one request, so that everything is loaded that the first request loads.
pub fn ask_once(address: SocketAddr) {
    let plan = Plan { clients: 1, keys: 0, actions: Vec::new() };
    runtime().block_on(async {
        let mut client = Client::new(address, 0, &plan, &Arc::default());
        let status = client.ask("POST /v1/chat/completions", "", HELLO.as_bytes()).await;
        assert_eq!(status.ok(), Some(200), "the server does not answer");
    });
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime")
}

/// Fills the server's tables, then sends mixed requests until the counts are stopped.
pub fn run(address: SocketAddr, plan: Plan, counts: &Arc<Counts>) {
    let each = |fill: bool| {
        let tasks: Vec<_> = (0..plan.clients)
            .map(|n| {
                let mut client = Client::new(address, n as u64, &plan, counts);
                let mix = actions::Mix::new(&plan.actions);
                async move { if fill { client.fill().await } else { client.mix(&mix).await } }
            })
            .collect();
        let local = tokio::task::LocalSet::new();
        let tasks: Vec<_> = tasks.into_iter().map(|task| local.spawn_local(task)).collect();
        runtime().block_on(local.run_until(async {
            for task in tasks {
                task.await.expect("a client ends");
            }
        }));
    };
    each(true);
    counts.fill();
    each(false);
}

impl Client {
    fn new(address: SocketAddr, seed: u64, plan: &Plan, counts: &Arc<Counts>) -> Self {
        Client {
            address,
            stream: None,
            parser: ResponseParser::new(),
            buffer: vec![0; 64 * 1024],
            request: Vec::new(),
            body: Vec::new(),
            random: fastrand::Rng::with_seed(seed),
            counts: Arc::clone(counts),
            keys: plan.keys.max(1),
        }
    }

    /// Sends a request with each key, a fault with some more, then what is stored, until the tables are full.
    async fn fill(&mut self) {
        while !self.counts.is_stopped() {
            let key = self.counts.next_key();
            if key < self.keys {
                self.limited(key).await;
            } else if key - self.keys < FAULT_KEYS {
                let headers = format!("authorization: Bearer sk-fault-{key}\r\nx-fake-openai: 429x1\r\n");
                self.expect(&[429], "POST /v1/chat/completions", &headers, HELLO).await;
            } else if key - self.keys - FAULT_KEYS < STORING * STORES.len() as u64 {
                STORES[(key % STORES.len() as u64) as usize].run(self).await;
            } else {
                return;
            }
        }
    }

    async fn mix(&mut self, mix: &actions::Mix) {
        while !self.counts.is_stopped() {
            let action = mix.pick(&mut self.random);
            self.counts.action(action);
            action.run(self).await;
        }
        self.discard();
    }

    /// Sends a request of this key, which the limit admits three times a day.
    pub async fn limited(&mut self, key: u64) {
        let headers = format!("authorization: Bearer sk-{key:08}\r\n");
        self.expect(&[200, 429], "POST /v1/chat/completions", &headers, LIMITED).await;
    }

    /// Sends a request whose status is one of these. Returns the status.
    pub async fn expect(&mut self, allowed: &[u16], route: &str, headers: &str, body: &str) -> Option<u16> {
        let status = self.ask(route, headers, body.as_bytes()).await.ok();
        self.counts.surely(1);
        if !status.is_some_and(|status| allowed.contains(&status)) {
            self.surprise(&format!("{route} {headers:?}: {status:?}, expected {allowed:?}"));
        }
        status
    }

    /// Records a response that should not be.
    pub fn surprise(&self, what: &str) {
        let body = String::from_utf8_lossy(&self.body[..self.body.len().min(200)]);
        self.counts.surprise(|| format!("{what}: {body}"));
    }

    /// Sends a request, and reads its response. Returns the status.
    ///
    /// # Errors
    /// [`Broken`] if the response is not complete.
    pub async fn ask(&mut self, route: &str, headers: &str, body: &[u8]) -> Result<u16, Broken> {
        let asked = async {
            self.send(route, headers, body).await?;
            self.receive().await
        };
        let status = match timeout(PATIENCE, asked).await {
            Ok(status) => status,
            Err(_) => Err(Broken),
        };
        if status.is_err() || !self.parser.keep_alive() {
            self.discard();
        }
        status
    }

    /// Sends a request.
    pub async fn send(&mut self, route: &str, headers: &str, body: &[u8]) -> Result<(), Broken> {
        let (method, path) = route.split_once(' ').unwrap_or((route, "/"));
        self.request.clear();
        let json = if headers.contains("content-type") { "" } else { "content-type: application/json\r\n" };
        let length = body.len();
        write!(
            self.request,
            "{method} {path} HTTP/1.1\r\nhost: 127.0.0.1\r\n{json}{headers}content-length: {length}\r\n\r\n"
        )?;
        self.request.extend_from_slice(body);
        let request = std::mem::take(&mut self.request);
        let sent = self.send_bytes(&request).await;
        self.request = request;
        sent
    }

    /// Sends bytes over the open connection, or a new one.
    pub async fn send_bytes(&mut self, bytes: &[u8]) -> Result<(), Broken> {
        let stream = match &mut self.stream {
            Some(stream) => stream,
            none => {
                let stream = TcpStream::connect(self.address).await?;
                stream.set_nodelay(true)?;
                none.insert(stream)
            }
        };
        Ok(stream.write_all(bytes).await?)
    }

    /// Reads a response to its end. Returns the status.
    async fn receive(&mut self) -> Result<u16, Broken> {
        self.parser.reset();
        self.body.clear();
        let stream = self.stream.as_mut().ok_or(Broken)?;
        let mut status = 0;
        loop {
            let length = stream.read(&mut self.buffer).await?;
            if length == 0 {
                self.parser.close()?;
                return Ok(status);
            }
            let mut bytes = &self.buffer[..length];
            loop {
                let (taken, piece) = self.parser.next(bytes)?;
                bytes = &bytes[taken..];
                match piece {
                    Piece::Status(code) => status = code,
                    Piece::Data(data) => self.body.extend_from_slice(data),
                    Piece::End if bytes.is_empty() => return Ok(status),
                    Piece::End => return Err(Broken),
                    Piece::Incomplete => break,
                    Piece::Header(..) | Piece::HeadEnd | Piece::ChunkEnd => {}
                }
            }
        }
    }

    /// Reads once. Returns the bytes; none at the end of the connection.
    pub async fn read_some(&mut self) -> Result<&[u8], Broken> {
        let stream = self.stream.as_mut().ok_or(Broken)?;
        let length = timeout(PATIENCE, stream.read(&mut self.buffer)).await.map_err(|_| Broken)??;
        Ok(&self.buffer[..length])
    }

    /// The open connection, for the frames of a WebSocket.
    pub fn take_stream(&mut self) -> Option<TcpStream> {
        self.stream.take()
    }

    /// Resets the connection, which frees its port at once.
    pub fn discard(&mut self) {
        if let Some(stream) = self.stream.take() {
            let _ = SockRef::from(&stream).set_linger(Some(Duration::ZERO));
        }
    }

    /// The first value of a member of the last response.
    pub fn member(&self, name: &str) -> Option<String> {
        let body = std::str::from_utf8(&self.body).ok()?;
        let (_, rest) = body.split_once(&format!("\"{name}\": \""))?;
        Some(rest.split_once('"')?.0.to_owned())
    }
}
