//! The server: takes a port, serves, drains, stops.

pub(crate) mod admin;
pub mod http;
pub(crate) mod lateness;
mod listen;
pub(crate) mod metrics;
mod reload;
mod watch;

use std::{
    convert::Infallible,
    fmt, fs,
    future::Future,
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener},
    path::Path,
    pin::pin,
    rc::Rc,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    thread::{self, JoinHandle},
    time::Duration,
};

use actix_http::Request;
use actix_web::{
    HttpServer,
    dev::{Server as ActixServer, fn_service},
};
use socket2::SockRef;
use tokio::{
    net::TcpStream,
    sync::{Notify, oneshot},
};

pub use self::reload::{Reloaded, Reloader};
pub use listen::ListenError;

use self::{
    reload::{CurrentEngine, Worker},
    watch::Watch,
};

use self::{http::Edge, lateness::LatenessHistogram};
use crate::{
    config::Config,
    engine::{Engine, MetricsSnapshot},
    fixtures::{Fixtures, Problem},
    model::{Counting, tokens::Tokenizer},
    traffic::{
        latency::Latency,
        limit::{LimitSpec, Limits},
    },
};

/// Longer than proxies keep an idle connection to an upstream (60 s and less), so that it is they who close it.
const KEEP_ALIVE: Duration = Duration::from_secs(75);
/// A client has this long to send the head of a request. Far above actix's 5 s: under a load test clients are starved.
const HEAD_TIMEOUT: Duration = Duration::from_secs(60);
/// Connections that one worker holds at the most.
const MAX_CONNECTIONS: usize = 100_000;
/// How often idle clients are forgotten.
const FORGET_EVERY: Duration = Duration::from_secs(5);

/// Why a server could not start.
#[derive(Debug)]
pub enum StartError {
    /// The fixtures are wrong.
    Fixtures(Vec<Problem>),
    /// No port could be taken.
    Listen(ListenError),
    /// The file that tells the port could not be written, or the system has no threads or sockets left.
    Io(String, io::Error),
}

impl fmt::Display for StartError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            StartError::Fixtures(problems) => {
                for (n, problem) in problems.iter().enumerate() {
                    write!(f, "{}{problem}", if n > 0 { "\n" } else { "" })?;
                }
                Ok(())
            }
            StartError::Listen(error) => error.fmt(f),
            StartError::Io(what, error) => write!(f, "{what}: {error}"),
        }
    }
}

impl std::error::Error for StartError {}

/// A fake that has taken its port and is about to serve.
///
/// ```
/// use fake_openai::{Config, LimitSpec, Server};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let fake = Server::bind(Config { limits: vec![LimitSpec::rpm(100)], ..Config::for_test() })?.spawn()?;
/// // Point the code under test at `fake.url()`: it is answered until `fake` is dropped.
/// assert!(fake.url().starts_with("http://127.0.0.1:"));
/// # Ok(())
/// # }
/// ```
pub struct Server {
    config: Config,
    listeners: Vec<TcpListener>,
    address: SocketAddr,
    edge: Arc<Edge>,
    /// The engine of the start.
    engine: Arc<Engine>,
    /// The configuration of the last reload.
    reloaded: Arc<Mutex<Config>>,
}

impl Server {
    /// Loads the fixtures and takes a port. From here on connections are accepted, and answered once the server runs.
    ///
    /// # Errors
    /// [`StartError`] when a fixture is wrong or no port can be had.
    pub fn bind(config: Config) -> Result<Self, StartError> {
        let fixtures = Fixtures::load(config.fixtures.as_deref()).map_err(StartError::Fixtures)?;
        config.check_faults(&fixtures).map_err(StartError::Fixtures)?;
        if config.behavior.usage == Counting::Exact {
            // Now, so that no request waits for it.
            Tokenizer::prepare();
        }
        let limits = limits_of(&config, &fixtures)?;
        let limits = Limits::new(limits, config.settle, config.limit_store.as_ref(), config.clock.clone())
            .map_err(|error| StartError::Io("cannot open the limit store".to_owned(), error))?;
        let latency = latency_of(&config, &fixtures)?;
        let engine = Arc::new(Engine::new(fixtures, limits, latency, &config));
        let listeners = listen::listen(&config.host, config.port, config.strict_port).map_err(StartError::Listen)?;
        let local = listeners[0].local_addr();
        let address = local.map_err(|error| StartError::Io("cannot tell the port".to_owned(), error))?;
        let (max_body, trusted_proxies) = (config.max_body, config.trusted_proxies.clone());
        let admin_token = config.admin_token.clone();
        let edge = Arc::new(Edge {
            engine: CurrentEngine::new(Arc::clone(&engine)),
            max_body,
            trusted_proxies,
            admin_token,
            lateness: Arc::default(),
            lag: LatenessHistogram::default(),
            access_log: config.access_log,
            stopping: http::Stopping::default(),
        });
        let reloaded = Arc::new(Mutex::new(config.clone()));
        Ok(Server { config, listeners, address, edge, engine, reloaded })
    }

    /// The address it listens on.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The base URL for a client on this machine, without a path.
    pub fn url(&self) -> String {
        let ip = match self.address.ip() {
            IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
            IpAddr::V6(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
            IpAddr::V6(ip) if ip == Ipv6Addr::LOCALHOST && self.config.host == "localhost" => {
                Ipv4Addr::LOCALHOST.into()
            }
            ip => ip,
        };
        format!("http://{}", SocketAddr::new(ip, self.address.port()))
    }

    /// The fixtures it answers with.
    pub fn fixtures(&self) -> &Fixtures {
        self.engine.fixtures()
    }

    /// The limits that hold.
    pub fn limits(&self) -> impl Iterator<Item = &LimitSpec> {
        self.engine.limits().specs()
    }

    /// How long the model takes.
    pub fn latency(&self) -> &Latency {
        self.engine.latency()
    }

    /// Returns what replaces the configuration while the server runs.
    pub fn reloader(&self) -> Reloader {
        Reloader { edge: Arc::clone(&self.edge), config: Arc::clone(&self.reloaded) }
    }

    /// The configuration that holds.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// Serves until `stop` completes; then accepts no more and lets the requests under way finish, for as long as the
    /// configuration's `drain` says.
    ///
    /// # Errors
    /// [`StartError::Io`] when the system lacks threads, or the port file cannot be written.
    pub async fn run(self, stop: impl Future<Output = ()>) -> Result<Stopped, StartError> {
        let edge = self.edge.clone();
        let connections = Arc::new(Connections::default());
        let server = self.serve(&connections).map_err(|error| StartError::Io("cannot serve".to_owned(), error))?;
        let handle = server.handle();
        let failed = |error| StartError::Io("the server failed".to_owned(), error);
        let (mut server, mut stop) = (pin!(server), pin!(stop));

        // One look at the server starts its workers.
        tokio::select! {
            biased;
            ended = &mut server => ended.map_err(failed)?,
            () = tokio::task::yield_now() => {}
        }
        if let Some(path) = &self.config.port_file {
            let shown = format!("cannot write the port file {}", path.display());
            write_whole(path, self.address.port()).map_err(|error| StartError::Io(shown, error))?;
        }
        let mut forget = tokio::time::interval(FORGET_EVERY);
        let mut watch = Watch::begin(edge.engine.get().count().taken);
        loop {
            tokio::select! {
                ended = &mut server => { ended.map_err(failed)?; break }
                () = &mut stop => break,
                _ = forget.tick() => {
                    edge.engine.get().forget_idle();
                    if let Some(warning) = watch.look(edge.engine.get().count().taken) {
                        log::warn!("{warning}");
                    }
                }
            }
        }
        // Idle connections are closed at once, those with a request under way when it is answered. Actix itself would
        // look only once a second whether all are gone.
        drop(handle.stop(true));
        edge.stopping.tell();
        tokio::select! {
            _ = &mut server => {}
            () = connections.all_closed() => {}
            () = tokio::time::sleep(self.config.drain) => {}
        }
        let MetricsSnapshot { taken, in_flight: cut, .. } = edge.engine.get().count();
        Ok(Stopped { taken, cut })
    }

    fn serve(&self, connections: &Arc<Connections>) -> io::Result<ActixServer> {
        let (edge, connections) = (Arc::clone(&self.edge), Arc::clone(connections));
        let mut server = HttpServer::new(move || {
            tokio::task::spawn_local(watch::measure_loop_lag(Arc::clone(&edge)));
            // Counted by each worker for itself, so that they have nothing to agree on.
            let worker = Rc::new(Worker::new(Arc::clone(&edge)));
            fn_service(move |request: Request| {
                let worker = Rc::clone(&worker);
                // Boxed, so that a connection with nothing under way does not carry the room for it.
                Box::pin(async move { Ok::<_, Infallible>(http::serve(request, &worker).await) })
            })
        })
        .on_connect(move |io, data| {
            data.insert(Connections::opened(&connections));
            let stream = io.downcast_ref::<TcpStream>();
            let socket = stream.and_then(|stream| SockRef::from(stream).try_clone().ok()).map(Arc::new);
            data.insert(http::Connection { socket });
        })
        .workers(self.config.workers.get())
        .keep_alive(KEEP_ALIVE)
        .client_request_timeout(HEAD_TIMEOUT)
        .max_connections(MAX_CONNECTIONS)
        // Without it a stream waits 40 ms for the acknowledgement of the frame before.
        .tcp_nodelay(true)
        // With it a client that hangs up during an answer would not be noticed.
        .h1_allow_half_closed(false)
        // `run` waits for the drain itself, to the millisecond.
        .shutdown_timeout(self.config.drain.as_secs() + 1)
        .disable_signals();
        for listener in &self.listeners {
            server = server.listen(listener.try_clone()?)?;
        }
        Ok(server.run())
    }

    /// Serves on a thread of its own, until the [`Running`] is stopped or dropped.
    ///
    /// # Errors
    /// When the system lacks threads or sockets.
    pub fn spawn(self) -> io::Result<Running> {
        let (url, address) = (self.url(), self.address);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let (edge, reloader) = (self.edge.clone(), self.reloader());
        let (stop, stopped) = oneshot::channel::<()>();
        let serve = move || {
            runtime.block_on(self.run(async {
                // An error means that `Running` is gone without a word: that too is a stop.
                let _ = stopped.await;
            }))
        };
        let thread = thread::Builder::new().name("fake-openai".to_owned()).spawn(serve)?;
        Ok(Running { url, address, edge, reloader, stop: Some(stop), thread: Some(thread) })
    }
}

/// The limits of a configuration, those of its tier included.
fn limits_of(config: &Config, fixtures: &Fixtures) -> Result<Vec<LimitSpec>, StartError> {
    let mut limits = config.limits.clone();
    if let Some(tier) = &config.tier {
        limits.extend_from_slice(fixtures.tier(tier).map_err(|problem| StartError::Fixtures(vec![problem]))?);
    }
    Ok(limits)
}

/// The latency of a configuration: its own over that of its profile.
fn latency_of(config: &Config, fixtures: &Fixtures) -> Result<Latency, StartError> {
    Ok(match &config.profile {
        None => config.latency.over(&Latency::default()),
        Some(name) => {
            config.latency.over(fixtures.profile(name).map_err(|problem| StartError::Fixtures(vec![problem]))?)
        }
    })
}

/// Counts the open connections, to tell when the last has closed.
#[derive(Default)]
struct Connections {
    open: AtomicUsize,
    closed: Notify,
}

/// One open connection; it lives as long as actix's data of the connection.
struct Connection(Arc<Connections>);

impl Connections {
    fn opened(connections: &Arc<Self>) -> Connection {
        connections.open.fetch_add(1, Ordering::AcqRel);
        Connection(Arc::clone(connections))
    }

    async fn all_closed(&self) {
        while self.open.load(Ordering::Acquire) > 0 {
            self.closed.notified().await;
        }
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        if self.0.open.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.0.closed.notify_one();
        }
    }
}

/// Writes the port so that a reader sees all of it or no file.
fn write_whole(path: &Path, port: u16) -> io::Result<()> {
    let mut partial = path.as_os_str().to_owned();
    partial.push(format!(".{}", std::process::id()));
    fs::write(&partial, format!("{port}\n"))?;
    fs::rename(&partial, path)
}

/// What a server did in its time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stopped {
    /// Requests taken.
    pub taken: u64,
    /// Those of them that were not answered to the end: the drain was over.
    pub cut: u64,
}

/// A fake that serves on a thread of its own. Dropping it stops it.
pub struct Running {
    url: String,
    address: SocketAddr,
    edge: Arc<Edge>,
    reloader: Reloader,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<Result<Stopped, StartError>>>,
}

impl Running {
    /// The base URL for a client on this machine, without a path.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// The address it listens on.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Requests whose answers are still under way.
    pub fn in_flight(&self) -> u64 {
        self.edge.engine.get().count().in_flight
    }

    /// Requests taken so far.
    pub fn taken(&self) -> u64 {
        self.edge.engine.get().count().taken
    }

    /// Returns what replaces the configuration while the server runs.
    pub fn reloader(&self) -> &Reloader {
        &self.reloader
    }

    /// Stops it as `SIGTERM` stops the program, and waits until it has.
    ///
    /// # Errors
    /// That of [`Server::run`].
    pub fn stop(mut self) -> Result<Stopped, StartError> {
        self.end().unwrap_or(Ok(Stopped { taken: 0, cut: 0 }))
    }

    fn end(&mut self) -> Option<Result<Stopped, StartError>> {
        self.stop.take().map(|stop| stop.send(()));
        self.thread.take()?.join().ok()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.end();
    }
}
