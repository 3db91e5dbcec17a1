//! The server: binds a port, serves, drains, stops.

pub(crate) mod admin;
mod connections;
pub mod http;
mod last_calls;
pub(crate) mod lateness;
mod listen;
pub(crate) mod metrics;
mod port_file;
mod reload;
mod reply_builder;
mod report;
mod running;
mod scope;
mod status;
mod verification;
mod watch;

use std::{
    convert::Infallible,
    fmt,
    future::Future,
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener},
    pin::pin,
    rc::Rc,
    sync::{Arc, Mutex},
    thread,
    time::Duration,
};

use actix_http::Request;
use actix_web::{
    HttpServer,
    dev::{Server as ActixServer, fn_service},
};
use socket2::SockRef;
use tokio::{net::TcpStream, sync::oneshot, time::MissedTickBehavior};

use self::{
    connections::Connections,
    http::Edge,
    lateness::LatenessHistogram,
    port_file::PortFile,
    reload::{CurrentEngine, Worker},
    status::StatusBoard,
    watch::Watch,
};
pub use self::{
    listen::ListenError,
    reload::{Reloaded, Reloader},
    reply_builder::ReplyBuilder,
    report::Reporter,
    running::{Running, Stopped},
    scope::{Received, Scope},
    status::{Activity, ActivitySource, Class},
};
use crate::{
    config::Config,
    core::panics,
    engine::{Engine, Journal},
    fixtures::{Fixtures, Problem},
    model::{Counting, tokens::Tokenizer},
    traffic::{
        latency::Latency,
        limit::{LimitSpec, Limits},
    },
};

/// Longer than proxies keep an idle connection to an upstream (60 s and less), so that the proxy closes it first.
const KEEP_ALIVE: Duration = Duration::from_secs(75);
/// Time for a client to send the head of a request. Far above actix's 5 s, because clients starve under a load test.
const HEAD_TIMEOUT: Duration = Duration::from_secs(60);
/// Maximum number of connections per worker.
const MAX_CONNECTIONS: usize = 100_000;
/// Interval at which idle clients are removed.
const FORGET_INTERVAL: Duration = Duration::from_secs(5);

/// The reason that a server could not start.
#[derive(Debug)]
pub enum StartError {
    /// The fixtures are wrong.
    Fixtures(Vec<Problem>),
    /// No port could be bound.
    Listen(ListenError),
    /// The port file could not be written, or the system has no threads or sockets left.
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

/// A server that is bound to its port and ready to run.
///
/// ```
/// use fake_openai::{Config, LimitSpec, Server};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let fake = Server::bind(Config { limits: vec![LimitSpec::rpm(100)], ..Config::for_test() })?.spawn()?;
/// // Point the code under test at `fake.url()`. The server runs until `fake` is dropped.
/// assert!(fake.url().starts_with("http://127.0.0.1:"));
/// # Ok(())
/// # }
/// ```
pub struct Server {
    config: Config,
    listeners: Vec<TcpListener>,
    /// Removed when the server ends.
    _port_file: Option<PortFile>,
    address: SocketAddr,
    edge: Arc<Edge>,
    /// The engine of the start.
    engine: Arc<Engine>,
    /// The configuration of the last reload.
    reloaded: Arc<Mutex<Config>>,
}

impl Server {
    /// Loads the fixtures and binds the port. Connections are accepted from here on; they get responses once the
    /// server runs.
    ///
    /// # Errors
    /// [`StartError`] if a fixture is wrong or no port can be bound.
    pub fn bind(config: Config) -> Result<Self, StartError> {
        let fixtures =
            Fixtures::load_as(config.fixtures.as_deref(), config.serve_as.as_deref()).map_err(StartError::Fixtures)?;
        config.check_faults(&fixtures).map_err(StartError::Fixtures)?;
        if config.behavior.usage == Counting::Exact {
            // Loaded now, so that no request waits for it.
            Tokenizer::prepare();
        }
        let limits = limits_of(&config, &fixtures)?;
        let limits = Limits::new(limits, config.settle, config.limit_store.as_ref(), config.clock.clone())
            .map_err(|error| StartError::Io("cannot open the limit store".to_owned(), error))?;
        let latency = latency_of(&config, &fixtures)?;
        let journal_file = config.journal_file.as_deref();
        let journal = Journal::new(config.journal, journal_file).map_err(|error| {
            let path = journal_file.map(|path| path.display().to_string()).unwrap_or_default();
            StartError::Io(format!("--journal-file {path}: cannot open"), error)
        })?;
        let engine = Arc::new(Engine::new(fixtures, limits, latency, journal, &config));
        let listeners = listen::listen(&config.host, config.port, config.strict_port).map_err(StartError::Listen)?;
        let local = listeners[0].local_addr();
        let address = local.map_err(|error| StartError::Io("cannot read the bound port".to_owned(), error))?;
        let port_file = config.port_file.as_deref().map(|path| {
            let failed = |error| StartError::Io(format!("cannot write the port file {}", path.display()), error);
            PortFile::write(path, address.port()).map_err(failed)
        });
        let port_file = port_file.transpose()?;
        let (max_body, trusted_proxies) = (config.max_body, config.trusted_proxies.clone());
        let edge = Arc::new(Edge {
            engine: CurrentEngine::new(Arc::clone(&engine)),
            max_body,
            trusted_proxies,
            admin: admin::Guard::new(&config),
            waiting: admin::Waiting::default(),
            lateness: Arc::default(),
            lag: LatenessHistogram::default(),
            connections: Arc::new(Connections::new(engine.open_connections())),
            stopping: http::StopSignal::default(),
            status: StatusBoard::default(),
        });
        let reloaded = Arc::new(Mutex::new(config.clone()));
        Ok(Server { config, listeners, _port_file: port_file, address, edge, engine, reloaded })
    }

    /// The address that the server listens on.
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

    /// The fixtures.
    pub fn fixtures(&self) -> &Fixtures {
        self.engine.fixtures()
    }

    /// The limits in effect.
    pub fn limits(&self) -> impl Iterator<Item = &LimitSpec> {
        self.engine.limits().specs()
    }

    /// The latency of the model.
    pub fn latency(&self) -> &Latency {
        self.engine.latency()
    }

    /// Returns a handle that replaces the configuration while the server runs.
    pub fn reloader(&self) -> Reloader {
        Reloader { edge: Arc::clone(&self.edge), config: Arc::clone(&self.reloaded) }
    }

    /// Returns a handle that reads the current activity while the server runs.
    pub fn activity(&self) -> ActivitySource {
        ActivitySource::new(Arc::clone(&self.edge))
    }

    /// Returns a handle that reports on the callers, also after the server has stopped.
    pub fn reporter(&self) -> Reporter {
        Reporter { edge: Arc::clone(&self.edge) }
    }

    /// The configuration in effect.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// Serves until `stop` completes. Then it accepts no more connections and lets open requests finish, for up to
    /// the configured `drain`.
    ///
    /// # Errors
    /// [`StartError::Io`] if the system lacks threads, or the port file cannot be written.
    pub async fn run(mut self, stop: impl Future<Output = ()>) -> Result<Stopped, StartError> {
        let edge = self.edge.clone();
        let connections = Arc::clone(&edge.connections);
        let listeners = self.listeners.iter().filter_map(|listener| listener.try_clone().ok()).collect();
        let server = self.serve(&connections).map_err(|error| StartError::Io("cannot serve".to_owned(), error))?;
        let handle = server.handle();
        let failed = |error| StartError::Io("the server failed".to_owned(), error);
        let (mut server, mut stop) = (pin!(server), pin!(stop));

        // The first poll of the server starts its workers.
        tokio::select! {
            biased;
            ended = &mut server => ended.map_err(failed)?,
            () = tokio::task::yield_now() => {}
        }
        let mut forget = tokio::time::interval(FORGET_INTERVAL);
        let mut sample = tokio::time::interval(status::SAMPLE_INTERVAL);
        sample.set_missed_tick_behavior(MissedTickBehavior::Skip);
        let mut watch = Watch::start(edge.engine.get().totals().0);
        loop {
            tokio::select! {
                ended = &mut server => { ended.map_err(failed)?; break }
                () = &mut stop => break,
                _ = sample.tick() => {
                    if let Err(panic) = panics::catch(|| edge.status.sample(&edge)) {
                        log::error!("the sample of the status: {panic}");
                    }
                }
                _ = forget.tick() => {
                    let checked = panics::catch(|| {
                        edge.engine.get().forget_idle();
                        watch.check(edge.engine.get().totals().0)
                    });
                    match checked {
                        Ok(Some(warning)) => log::warn!("{warning}"),
                        Ok(None) => {}
                        Err(panic) => log::error!("removal of idle clients: {panic}"),
                    }
                }
            }
        }
        // The copies are dropped, or the port would stay open.
        last_calls::accept(listeners, &connections, self.config.drain, || edge.engine.get().totals().0).await;
        // Idle connections are closed at once, the others after their response. Actix itself checks only once a
        // second if all are closed.
        drop(handle.stop(true));
        edge.stopping.notify();
        tokio::select! {
            _ = &mut server => {}
            () = connections.all_closed() => {}
            () = tokio::time::sleep(self.config.drain) => {}
        }
        edge.engine.get().limits().close().await;
        let engine = edge.engine.get();
        engine.stop();
        let (taken, cut) = engine.totals();
        if let Some(file) = engine.journal().file() {
            file.close();
        }
        if !self.config.report.is_empty() {
            report::write_all(&self.reporter().report(None), &self.config.report);
        }
        Ok(Stopped { taken, cut })
    }

    fn serve(&mut self, connections: &Arc<Connections>) -> io::Result<ActixServer> {
        let (edge, connections) = (Arc::clone(&self.edge), Arc::clone(connections));
        let mut server = HttpServer::new(move || {
            tokio::task::spawn_local(watch::measure_loop_lag(Arc::clone(&edge)));
            // One `Rc` per worker, so that workers do not contend for one counter.
            let worker = Rc::new(Worker::new(Arc::clone(&edge)));
            fn_service(move |request: Request| {
                let worker = Rc::clone(&worker);
                // Boxed, so that the memory of an idle connection stays small.
                Box::pin(async move { Ok::<_, Infallible>(http::serve(request, &worker).await) })
            })
        })
        .on_connect(move |io, data| {
            let open = Connections::opened(&connections);
            let stream = io.downcast_ref::<TcpStream>();
            let socket = stream.and_then(|stream| SockRef::from(stream).try_clone().ok()).map(Arc::new);
            data.insert(http::Connection { socket, open });
        })
        .workers(self.config.workers.get())
        .keep_alive(KEEP_ALIVE)
        .client_request_timeout(HEAD_TIMEOUT)
        .max_connections(MAX_CONNECTIONS)
        // Without it a stream waits 40 ms for the acknowledgement of the last frame.
        .tcp_nodelay(true)
        // With it a client that hangs up during a response would go unnoticed.
        .h1_allow_half_closed(false)
        // `run` itself waits for the drain, to the millisecond.
        .shutdown_timeout(self.config.drain.as_secs() + 1)
        .disable_signals();
        // Moved, not cloned: a clone kept here would hold the port open while requests drain.
        for listener in std::mem::take(&mut self.listeners) {
            server = server.listen(listener)?;
        }
        Ok(server.run())
    }

    /// Serves on a thread of its own, until the [`Running`] is stopped or dropped.
    ///
    /// # Errors
    /// The system lacks threads or sockets.
    pub fn spawn(self) -> io::Result<Running> {
        let (url, address) = (self.url(), self.address);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let (edge, reloader) = (self.edge.clone(), self.reloader());
        let (stop, stopped) = oneshot::channel::<()>();
        let serve = move || {
            runtime.block_on(self.run(async {
                // An error means that the `Running` was dropped, which also stops the server.
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
