//! The cost of records of requests: servers with and without the journal, and another build of the program, in turns.

use crate::{
    ENOUGH, PLAIN, ROUNDS,
    load::{CONNECTIONS, FAKE, Server, Turn, median},
};
use std::time::Instant;

/// Turns of each server.
const TURNS: usize = 8;

/// Measures the journal's share of a plain chat's CPU time; with `other`, also how this build compares to that program.
pub fn measure(other: Option<&str>, pinned: bool) {
    let mut variants = vec![("--journal 0", FAKE, &["--journal", "0"][..]), ("default", FAKE, &[])];
    variants.extend(other.map(|other| ("other build", other, &[][..])));
    let request = PLAIN.request();
    let mut turns: Vec<Vec<Turn>> = vec![Vec::new(); variants.len()];
    let (start, mut rounds) = (Instant::now(), 0);
    while rounds < ROUNDS && (rounds == 0 || start.elapsed() / rounds * (rounds + 1) < ENOUGH) {
        let ours = ["--host", "127.0.0.1", "--port", "0", "--workers", "1"];
        let start = |(_, program, args): &(_, &str, &[&str])| {
            Server::start(program, &[&ours[..], args].concat(), pinned).connect(CONNECTIONS)
        };
        let mut servers: Vec<_> = variants.iter().map(start).collect();
        for turn in 0..=TURNS {
            for (server, turns) in servers.iter_mut().zip(&mut turns) {
                let measured = server.turn(PLAIN.times, "200", |_| &request);
                // The first one is that of all that is slow the first time.
                turns.extend((turn > 0).then_some(measured));
            }
        }
        rounds += 1;
    }
    println!("{CONNECTIONS} connections, {rounds} rounds of {TURNS} turns of each server; pinned: {pinned}\n");
    println!("{:<16}{:>16}{:>24}", "plain chat", "CPU µs/request", "of that of --journal 0");
    let requests = (PLAIN.times * CONNECTIONS) as f64;
    for ((name, ..), own) in variants.iter().zip(&turns) {
        let cpu = median(own.iter().map(|turn| turn.cpu.as_secs_f64())) / requests;
        let ratio = median(own.iter().zip(&turns[0]).map(|(own, base)| own.cpu.as_secs_f64() / base.cpu.as_secs_f64()));
        println!("{name:<16}{:>16.2}{ratio:>24.3}", cpu * 1e6);
    }
}
