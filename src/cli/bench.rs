//! `bench`: the requests per second that this server handles on this machine.
//!
//! Above that rate, a load test of a gateway measures the fake and not the gateway. Client threads load a server in the same
//! process over the loopback interface.

mod load;
mod report;
mod times;

use std::{
    net::SocketAddr,
    num::NonZeroUsize,
    thread,
    time::{Duration, Instant},
};

use fake_openai::{Config, LimitSpec, Server};
use serde_json::json;

use self::{
    load::{Connection, LoadCounts, Phase},
    report::{Case, Report},
    times::Threads,
};
use super::{Failure, print_to_stderr};

/// Longest warm-up. Slow first requests are over by its end.
const WARM_UP: Duration = Duration::from_secs(1);
/// Requests per minute of a limit that refuses nothing.
const GENEROUS: u32 = 4_000_000_000;
/// Length of the long prompt in bytes.
const LONG: usize = 100_000;
/// Longest drain: requests that the load has given up need not finish.
const DRAIN: Duration = Duration::from_secs(1);

/// Options of a measurement.
#[derive(clap::Args)]
pub struct Options {
    /// Time that each case is measured
    #[arg(long, value_name = "N", default_value = "5", value_parser = seconds)]
    seconds: Duration,
    /// Connections, with one request at a time on each
    #[arg(long, value_name = "N", default_value_t = 64, value_parser = connections)]
    connections: u16,
    /// Print the result as a JSON object
    #[arg(long)]
    json: bool,
}

fn seconds(text: &str) -> Result<Duration, String> {
    let seconds = text.parse::<f64>().ok().filter(|seconds| (0.05..=3600.0).contains(seconds));
    seconds
        .map(Duration::from_secs_f64)
        .ok_or_else(|| format!("`{text}` is not a number of seconds; give 0.05 to 3600"))
}

fn connections(text: &str) -> Result<u16, String> {
    let connections = text.parse().ok().filter(|connections| *connections > 0);
    connections.ok_or_else(|| format!("`{text}` is not a number of connections; give 1 to {}", u16::MAX))
}

/// A kind of request to measure.
struct Workload {
    name: &'static str,
    prompt: String,
    stream: bool,
    limited: bool,
}

fn workloads() -> [Workload; 4] {
    let plain = |name| Workload { name, prompt: LINE.trim_end().to_owned(), stream: false, limited: false };
    // Line breaks as in a real text: each is an escape, at which a JSON parser stops.
    let long: String = LINE.chars().cycle().take(LONG).collect();
    [
        plain("plain chat"),
        Workload { limited: true, ..plain("limit") },
        Workload { prompt: long, ..plain("100 KB prompt") },
        Workload { stream: true, ..plain("streamed") },
    ]
}

const LINE: &str = "Say hello to the gateway, and tell it what all this is for.\n";

impl Workload {
    /// Returns the bytes of the request, with a key and a model that the server accepts.
    fn request(&self, config: &Config, address: SocketAddr) -> Vec<u8> {
        let model = config.access.models.first().map_or("gpt-4o", String::as_str);
        let key = config.access.keys.first().map_or("sk-fake", String::as_str);
        let mut body = json!({"model": model, "messages": [{"role": "user", "content": self.prompt}]});
        if self.stream {
            body["stream"] = true.into();
        }
        let body = body.to_string();
        format!(
            "POST /v1/chat/completions HTTP/1.1\r\nhost: {address}\r\naccept: application/json\r\n\
             authorization: Bearer {key}\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
            body.len()
        )
        .into_bytes()
    }
}

/// Measures every workload and returns the report.
///
/// # Errors
/// The server does not start, or the machine has too few files, ports or threads.
pub(super) fn run(config: &Config, options: &Options) -> Result<String, Failure> {
    let cores = thread::available_parallelism().map_or(1, NonZeroUsize::get);
    let config = Config {
        host: "127.0.0.1".to_owned(),
        port: 0,
        strict_port: false,
        // Readers of the file expect a server that keeps running.
        port_file: None,
        drain: config.drain.min(DRAIN),
        ..config.clone()
    };
    enough_files(options.connections, config.workers.get())?;
    let mut report = Report {
        version: env!("CARGO_PKG_VERSION"),
        cores,
        workers: config.workers.get(),
        connections: options.connections.into(),
        // With fewer, workers wait for requests.
        client_threads: cores.min(options.connections.into()),
        seconds: options.seconds.as_secs_f64(),
        // These requests ask for no fault themselves.
        is_altered: config.capacity.is_some() || !config.faults.is_empty() || !config.rules.is_empty(),
        cases: Vec::new(),
    };
    for workload in workloads() {
        let warm_up = options.seconds.min(WARM_UP);
        print_to_stderr(format_args!("{}: {:?} to warm up, {:?} measured", workload.name, warm_up, options.seconds));
        let mut config = config.clone();
        if workload.limited {
            config.limits.push(LimitSpec::rpm(GENEROUS));
        }
        let server = Server::bind(config.clone())?;
        report.is_altered |= !server.latency().is_zero();
        let request = workload.request(&config, server.address());
        let case = measure(server, &workload, &request, report.client_threads, options)?;
        report.cases.push(case);
    }
    if options.json { report.json() } else { Ok(report.text()) }
}

/// Checks the limit on open files. Beyond it, the server would leave connections waiting for ever.
fn enough_files(connections: u16, workers: usize) -> Result<(), Failure> {
    // This process has both ends of a connection, and the server a second handle on its own end.
    let needed = 3 * u64::from(connections) + 8 * workers as u64 + 64;
    match rlimit::increase_nofile_limit(u64::MAX) {
        Ok(most) if cfg!(unix) && most < needed => Err(Failure::Machine(format!(
            "--connections: {connections} connections need {needed} open files, and the system allows {most}; \
             give fewer connections, or raise the limit (ulimit -Hn)"
        ))),
        _ => Ok(()),
    }
}

fn measure(
    server: Server,
    workload: &Workload,
    request: &[u8],
    threads: usize,
    options: &Options,
) -> Result<Case, Failure> {
    let machine = |what: String| move |error: std::io::Error| Failure::Machine(format!("{what}: {error}"));
    let server = server.spawn().map_err(machine("cannot serve".to_owned()))?;
    let (address, phase) = (server.address(), Phase::new());
    let mut shares: Vec<Vec<Connection>> = (0..threads).map(|_| Vec::new()).collect();
    for n in 0..usize::from(options.connections) {
        let what = || format!("--connections: cannot open {} connections, give fewer", options.connections);
        shares[n % threads].push(Connection::open(address).map_err(|error| machine(what())(error))?);
    }
    let (counts, time, before, after) = thread::scope(|scope| {
        // Dropped on every path, so that the threads end.
        let stop = Stop(&phase);
        let mut clients = Vec::new();
        for (n, share) in shares.into_iter().enumerate() {
            let thread = thread::Builder::new().name(format!("{} {n}", times::CLIENT));
            let phase = &phase;
            let client = thread.spawn_scoped(scope, move || load::load(address, request, share, phase));
            clients.push(client.map_err(machine("cannot start a thread".to_owned()))?);
        }
        wait(options.seconds.min(WARM_UP));
        let (start, before) = (Instant::now(), Threads::now());
        phase.set(Phase::MEASURE);
        wait(options.seconds);
        let (time, after) = (start.elapsed(), Threads::now());
        drop(stop);
        let mut counts = LoadCounts::new();
        for client in clients {
            counts.merge(&client.join().map_err(|_| Failure::Machine("a client thread panicked".to_owned()))?);
        }
        Ok::<_, Failure>((counts, time, before, after))
    })?;
    // The connections are closed: nothing is left to drain.
    server.stop()?;
    let cpu = before.zip(after).map(|(before, after)| after.since(&before)).filter(|times| times.client > 0);
    Ok(Case::new(workload.name, workload.stream, &counts, time, cpu))
}

/// Stops the threads when dropped.
struct Stop<'a>(&'a Phase);

impl Drop for Stop<'_> {
    fn drop(&mut self) {
        self.0.set(Phase::STOP);
    }
}

/// Blocks this thread for a time.
fn wait(time: Duration) {
    let end = Instant::now() + time;
    while let Some(left) = end.checked_duration_since(Instant::now()).filter(|left| !left.is_zero()) {
        thread::park_timeout(left);
    }
}
