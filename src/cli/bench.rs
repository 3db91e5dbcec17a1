//! `bench`: how much this fake can do on this very machine, so that a load test of a gateway is not read as one of the
//! gateway when it is one of the fake.
//!
//! A server in this process is loaded over the loopback interface from threads beside it.

mod histogram;
mod load;
mod reader;
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
    load::{Connection, Phase, Tally},
    report::{Case, Report},
    times::Threads,
};
use super::Failure;

/// Longest time before what is measured: whatever is slow the first time is past by then.
const WARM_UP: Duration = Duration::from_secs(1);
/// A limit that admits all there can be: four billion a minute.
const GENEROUS: u32 = 4_000_000_000;
/// Length of the long prompt in bytes.
const LONG: usize = 100_000;
/// A request that the load has given up need not be waited for when its server stops.
const DRAIN: Duration = Duration::from_secs(1);

/// How it is measured.
#[derive(clap::Args)]
pub struct Options {
    /// Time that each case is measured
    #[arg(long, value_name = "N", default_value = "5", value_parser = seconds)]
    seconds: Duration,
    /// Connections, each with one request under way
    #[arg(long, value_name = "N", default_value_t = 64, value_parser = connections)]
    connections: u16,
    /// Print one JSON object
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

/// What is asked in one case.
struct Asked {
    name: &'static str,
    prompt: String,
    stream: bool,
    limited: bool,
}

fn cases() -> [Asked; 4] {
    let plain = |name| Asked { name, prompt: LINE.trim_end().to_owned(), stream: false, limited: false };
    // Lines as long as those of a text: each break is an escape, at which a reader of JSON has to stop.
    let long: String = LINE.chars().cycle().take(LONG).collect();
    [
        plain("plain chat"),
        Asked { limited: true, ..plain("limit") },
        Asked { prompt: long, ..plain("100 KB prompt") },
        Asked { stream: true, ..plain("streamed") },
    ]
}

const LINE: &str = "Say hello to the gateway, and tell it what all this is for.\n";

impl Asked {
    /// The request, with the key and the model that the server takes.
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

/// Measures every case, and tells the result.
///
/// # Errors
/// The server does not start, or the machine has not enough files, ports or threads.
pub(super) fn run(config: &Config, options: &Options) -> Result<String, Failure> {
    let cores = thread::available_parallelism().map_or(1, NonZeroUsize::get);
    let config = Config {
        host: "127.0.0.1".to_owned(),
        port: 0,
        strict_port: false,
        // Whoever reads it looks for a server that stays.
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
        // What a request asks for by its model or key is no setting, and none of these do.
        told: config.capacity.is_some() || !config.faults.is_empty() || !config.rules.is_empty(),
        cases: Vec::new(),
    };
    for asked in cases() {
        let warm_up = options.seconds.min(WARM_UP);
        eprintln!("{}: {:?} to warm up, {:?} measured", asked.name, warm_up, options.seconds);
        let mut config = config.clone();
        if asked.limited {
            config.limits.push(LimitSpec::rpm(GENEROUS));
        }
        let server = Server::bind(config.clone())?;
        report.told |= !server.latency().is_zero();
        let request = asked.request(&config, server.address());
        let case = measure(server, &asked, &request, report.client_threads, options)?;
        report.cases.push(case);
    }
    if options.json { report.json() } else { Ok(report.text()) }
}

/// Without enough of them the server would take some connections and leave the others waiting for ever.
fn enough_files(connections: u16, workers: usize) -> Result<(), Failure> {
    // Both ends of a connection are here, and the server keeps a second handle on its own.
    let needed = 3 * u64::from(connections) + 8 * workers as u64 + 64;
    match rlimit::increase_nofile_limit(u64::MAX) {
        Ok(most) if cfg!(unix) && most < needed => Err(Failure::Machine(format!(
            "{connections} connections need {needed} open files, and the system allows {most}: \
             give fewer --connections, or raise the limit (ulimit -Hn)"
        ))),
        _ => Ok(()),
    }
}

fn measure(server: Server, asked: &Asked, request: &[u8], threads: usize, options: &Options) -> Result<Case, Failure> {
    let machine = |what: String| move |error: std::io::Error| Failure::Machine(format!("{what}: {error}"));
    let server = server.spawn().map_err(machine("cannot serve".to_owned()))?;
    let (address, phase) = (server.address(), Phase::new());
    let mut shares: Vec<Vec<Connection>> = (0..threads).map(|_| Vec::new()).collect();
    for n in 0..usize::from(options.connections) {
        let what = || format!("cannot open {} connections (--connections takes fewer)", options.connections);
        shares[n % threads].push(Connection::open(address).map_err(|error| machine(what())(error))?);
    }
    let (tally, time, before, after) = thread::scope(|scope| {
        // Whatever happens, the threads end.
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
        let mut tally = Tally::new();
        for client in clients {
            tally.merge(&client.join().map_err(|_| Failure::Machine("a thread of the client failed".to_owned()))?);
        }
        Ok::<_, Failure>((tally, time, before, after))
    })?;
    // Its connections are closed: nothing is left to drain.
    server.stop()?;
    let spent = before.zip(after).map(|(before, after)| after.since(&before)).filter(|times| times.client > 0);
    Ok(Case::new(asked.name, asked.stream, &tally, time, spent))
}

/// Tells the threads to stop, when dropped.
struct Stop<'a>(&'a Phase);

impl Drop for Stop<'_> {
    fn drop(&mut self) {
        self.0.set(Phase::STOP);
    }
}

/// Lets time pass for this thread, which has nothing to do.
fn wait(time: Duration) {
    let end = Instant::now() + time;
    while let Some(left) = end.checked_duration_since(Instant::now()).filter(|left| !left.is_zero()) {
        thread::park_timeout(left);
    }
}
