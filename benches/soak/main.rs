//! A soak: millions of mixed requests against the release program, while its memory, descriptors and threads are watched.
//!
//! `cargo bench --bench soak -- --requests 50000000 --seconds 7200` runs until the first of the two is reached. It fails
//! unless the server is as it was before: no growth after the warm-up, no request in flight, no descriptor or thread
//! more, no warning on standard error, no response that was not expected, and its metrics agree with the client.
//!
//! Without arguments nothing is done, so that `cargo bench` ends.

mod actions;
mod client;
mod counts;
mod growth;
mod server;
mod socket;
mod table;

use std::{
    path::PathBuf,
    process::ExitCode,
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use clap::Parser;

use actions::Action;
use counts::Counts;
use growth::Growth;
use server::{Sample, Server};
use table::Table;

/// Share of the requests, or of the time, after which memory may no longer grow.
const WARM_UP: f64 = 0.1;
/// Growth that is allowed after the warm-up, in MiB an hour.
const ALLOWED: f64 = 1.0;
/// Time between two reloads.
const RELOAD_EVERY: Duration = Duration::from_secs(5);
/// Interval at which the end of the load is noticed.
const TICK: Duration = Duration::from_millis(50);

/// Loads a server with mixed requests, and fails if it grows
#[derive(Parser)]
struct Options {
    /// Requests in all
    #[arg(long)]
    requests: Option<u64>,
    /// Longest time, in seconds
    #[arg(long)]
    seconds: Option<u64>,
    /// Clients, with one connection and one request at a time each
    #[arg(long, default_value_t = 64)]
    clients: usize,
    /// Keys that the limit of the first phase is filled with; its table holds two million
    #[arg(long, default_value_t = 2_500_000)]
    keys: u64,
    /// Seconds between two samples
    #[arg(long, default_value_t = 10.0)]
    every: f64,
    /// Kinds of requests, to find the one that makes the server grow [default: all]
    #[arg(long, value_delimiter = ',')]
    only: Vec<Action>,
    /// Program to load, such as the static one of the image [default: the one that cargo has built]
    #[arg(long, default_value = env!("CARGO_BIN_EXE_fake-openai"), hide_default_value = true)]
    program: PathBuf,
    /// Cargo's own argument
    #[arg(long, hide = true)]
    bench: bool,
}

fn main() -> ExitCode {
    let options = Options::parse();
    if options.requests.is_none() && options.seconds.is_none() {
        println!("soak: give --requests N or --seconds N to start it; --help lists the rest");
        return ExitCode::SUCCESS;
    }
    let mut server = Server::start(&options.program);
    println!("server {} at {}", server.id(), server.address());
    client::ask_once(server.address());
    let before = server.settled(|_| true);

    let counts = Arc::new(Counts::default());
    let load = {
        let (counts, address) = (Arc::clone(&counts), server.address());
        let plan = client::Plan { clients: options.clients, keys: options.keys, actions: options.only.clone() };
        thread::spawn(move || client::run(address, plan, &counts))
    };
    let growth = watch(&options, &mut server, &counts);
    counts.stop();
    load.join().expect("the load ends");

    let problems = verdict(&growth, &mut server, &before, &counts);
    counts.print();
    for problem in &problems {
        println!("FAILED  {problem}");
    }
    println!("{}", if problems.is_empty() { "passed" } else { "failed" });
    ExitCode::from(u8::from(!problems.is_empty()))
}

/// Samples and reloads the server until the load has ended. Returns the growth after the warm-up.
fn watch(options: &Options, server: &mut Server, counts: &Counts) -> Growth {
    let mut table = Table::new();
    let mut growth = Growth::default();
    let (every, start) = (Duration::from_secs_f64(options.every), Instant::now());
    let (mut next, mut reload) = (every, RELOAD_EVERY);
    // The load itself begins when the tables of the server are full.
    let mut filled = None;
    loop {
        thread::sleep(TICK);
        let passed = start.elapsed();
        let (since, before) = *filled.get_or_insert_with(|| (passed, counts.sent()));
        if !counts.is_filled() {
            filled = None;
        }
        let by_time = options.seconds.map(|most| (passed - since).as_secs_f64() / most as f64);
        let by_count =
            options.requests.map(|most| (counts.sent() - before) as f64 / most.saturating_sub(before).max(1) as f64);
        let progress = by_time.unwrap_or(0.0).max(by_count.unwrap_or(0.0));
        if passed >= reload {
            server.reload();
            reload = passed + RELOAD_EVERY;
        }
        if passed >= next || progress >= 1.0 {
            let sample = server.sample();
            let phase = match filled {
                None => "fill",
                Some(_) if progress < WARM_UP => "warm-up",
                Some(_) => "soak",
            };
            table.print(phase, passed, &sample, counts, server.warnings().len());
            if phase == "soak" {
                growth.add(passed, sample.resident);
            }
            next = passed + every;
        }
        if progress >= 1.0 || server.has_ended() {
            return growth;
        }
    }
}

/// The reasons to fail.
fn verdict(growth: &Growth, server: &mut Server, before: &Sample, counts: &Counts) -> Vec<String> {
    let mut problems = Vec::new();
    let mut expect = |holds: bool, problem: String| problems.extend((!holds).then_some(problem));
    let after = server.settled(|sample| sample.in_flight == 0.0 && sample.descriptors <= before.descriptors);
    println!("\nbefore  {before}\nafter   {after}");
    expect(after.in_flight == 0.0, format!("{} requests are in flight at the end", after.in_flight));
    expect(
        after.descriptors <= before.descriptors,
        format!("{} descriptors at the end, {} before", after.descriptors, before.descriptors),
    );
    expect(after.threads <= before.threads, format!("{} threads at the end, {} before", after.threads, before.threads));

    let (surely, perhaps) = counts.received(before.requests);
    let agrees = (surely..=surely + perhaps).contains(&(after.requests as u64));
    println!("requests: {} by the server's metrics, {surely} to {} by the client", after.requests, surely + perhaps);
    expect(agrees, "the server's metrics do not agree with the client's count".to_owned());
    expect(counts.surprises().is_empty(), format!("unexpected responses: {}", counts.surprises().join("; ")));

    match growth.fit() {
        None => expect(false, "too few samples after the warm-up for a trend: run it longer".to_owned()),
        Some(fit) => {
            println!("growth after the warm-up: {fit}");
            let certainty = if fit.low() < ALLOWED { ", or less: run it longer to be certain" } else { "" };
            let problem = format!("resident memory grows by {:.1} MiB an hour{certainty}", fit.slope);
            expect(fit.slope < ALLOWED, problem);
        }
    }
    let stopped = server.stop();
    println!("server: {stopped}");
    expect(stopped.success(), format!("the server ended with {stopped}"));
    let warnings = server.warnings();
    expect(warnings.is_empty(), format!("{} lines on standard error: {:?}", warnings.len(), warnings.iter().take(5)));
    problems
}
