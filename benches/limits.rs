//! What limits cost: the same requests to servers with and without them, in turns, by the CPU time that each server takes.
//!
//! `cargo bench --bench limits`. The client has one core and the servers another, where the system has `taskset`. All
//! figures are ratios against the server without limits in the same run, which is sent requests of as many keys.

mod load;

use load::{CONNECTIONS, HELLO, Server, median, pin_client};

/// Requests on each connection in one turn.
const TIMES: usize = 300;
/// Requests of one turn.
const TURN: usize = CONNECTIONS * TIMES;
/// Turns of each server.
const TURNS: usize = 3;
/// Times that all servers are started anew: where a process happens to lie in memory makes it a little faster or slower.
const ROUNDS: usize = 12;

/// A server, and whose requests it gets.
struct Case {
    name: &'static str,
    args: &'static [&'static str],
    keys: usize,
    status: &'static str,
}

const CASES: [Case; 8] = [
    Case { name: "no limit", args: &[], keys: 1, status: "200" },
    Case { name: "no limit, 100,000 keys", args: &[], keys: 100_000, status: "200" },
    Case { name: "requests", args: &["--rpm", "4000000000"], keys: 1, status: "200" },
    Case {
        // Its buckets take longer to refill than the benchmark takes: all of them are there the whole time.
        name: "requests, 100,000 keys",
        args: &["--rpd", "1000", "--per", "key"],
        keys: 100_000,
        status: "200",
    },
    Case {
        name: "requests, fixed windows",
        args: &["--rpm", "4000000000", "--window", "fixed"],
        keys: 1,
        status: "200",
    },
    Case { name: "requests and tokens", args: &["--rpm", "4000000000", "--tpm", "4000000000"], keys: 1, status: "200" },
    Case {
        name: "the guide's preset",
        args: &["--limit-preset", "litellm-guide", "--rpm", "4000000000"],
        keys: 1,
        status: "200",
    },
    Case { name: "refusing", args: &["--rpd", "1", "--per", "global"], keys: 1, status: "429" },
];

/// One turn; the CPU time that the server has taken for each request of it, in nanoseconds.
fn turn(server: &mut Server, case: &Case, turn: usize) -> f64 {
    let request = |n| load::request((turn * TURN + n) % case.keys, HELLO);
    server.turn(TIMES, case.status, request).cpu.as_nanos() as f64 / TURN as f64
}

fn main() {
    let pinned = pin_client();
    println!("{CONNECTIONS} connections, {ROUNDS} rounds of {TURNS} turns of {TURN} requests; pinned: {pinned}");

    let mut times = vec![Vec::new(); CASES.len()];
    for _ in 0..ROUNDS {
        let start = |case: &Case| Server::fake(case.args, pinned).connect(CONNECTIONS);
        let mut servers: Vec<_> = CASES.iter().map(start).collect();
        for (server, case) in servers.iter_mut().zip(&CASES) {
            // The one request that a refusing server lets pass, and all that is slow the first time, with each key.
            server.ask(0, &load::request(0, HELLO));
            for n in 0..case.keys.div_ceil(TURN) {
                turn(server, case, n);
            }
        }
        for n in 0..TURNS {
            for ((server, case), times) in servers.iter_mut().zip(&CASES).zip(&mut times) {
                times.push(turn(server, case, n));
            }
        }
    }
    println!("\n{:<26} {:>14} {:>26}", "limits", "CPU/request", "requests/CPU s, of no limit");
    for (case, time) in CASES.iter().zip(&times) {
        // Turn by turn, so that what slows the machine down slows both.
        let without = if case.keys == 1 { &times[0] } else { &times[1] };
        let ratio = median(without.iter().zip(time).map(|(without, with)| without / with));
        println!("{:<26} {:>11.2} µs {ratio:>26.3}", case.name, median(time.iter().copied()) / 1000.0);
    }
}
