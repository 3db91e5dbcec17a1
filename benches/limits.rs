//! What limits cost: the same requests to servers with and without them, in turns, by the CPU time that each server takes.
//!
//! `cargo bench --bench limits`. The client has one core and the servers another, where the system has `taskset`. All
//! figures are ratios against the server without limits in the same run.

use std::{
    fs,
    io::{BufRead, BufReader, Read, Write},
    net::TcpStream,
    process::{Child, Command, Stdio},
};

/// Keep-alive connections, all of them with a request under way.
const CONNECTIONS: usize = 64;
/// Requests of one turn.
const TURN: usize = 64 * 300;
/// Turns of each server.
const TURNS: usize = 4;
/// Times that all servers are started anew: where a process happens to lie in memory makes it a little faster or slower.
const ROUNDS: usize = 6;

/// A server, and whose requests it gets.
struct Case {
    name: &'static str,
    args: &'static [&'static str],
    keys: usize,
    status: &'static str,
}

const CASES: [Case; 8] = [
    Case { name: "no limit", args: &[], keys: 1, status: "200" },
    Case { name: "the same again", args: &[], keys: 1, status: "200" },
    Case { name: "requests", args: &["--rpm", "4000000000"], keys: 1, status: "200" },
    Case {
        name: "requests, 100,000 keys",
        args: &["--rpm", "4000000000", "--per", "key"],
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

struct Server {
    child: Child,
    connections: Vec<BufReader<TcpStream>>,
}

impl Server {
    fn start(args: &[&str], pinned: bool) -> Server {
        let mut command = match pinned {
            true => Command::new("taskset"),
            false => Command::new(env!("CARGO_BIN_EXE_fake-openai")),
        };
        if pinned {
            command.args(["-c", "1", env!("CARGO_BIN_EXE_fake-openai")]);
        }
        command.args(["--host", "127.0.0.1", "--port", "0", "--workers", "1"]).args(args);
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().expect("the server starts");
        let mut url = String::new();
        BufReader::new(child.stdout.take().expect("piped")).read_line(&mut url).expect("the server tells its URL");
        let address = url.trim().trim_start_matches("http://").to_owned();
        let open = |_| BufReader::new(TcpStream::connect(&address).expect("the server accepts"));
        Server { child, connections: (0..CONNECTIONS).map(open).collect() }
    }

    /// Time that the process has had on a core, in nanoseconds.
    fn cpu_time(&self) -> u64 {
        let tasks = fs::read_dir(format!("/proc/{}/task", self.child.id())).expect("Linux");
        let time = |path: std::path::PathBuf| fs::read_to_string(path.join("schedstat")).unwrap_or_default();
        let texts = tasks.filter_map(|task| Some(time(task.ok()?.path())));
        texts.filter_map(|text| text.split(' ').next()?.parse::<u64>().ok()).sum()
    }

    /// One turn; the CPU time that the server has taken for it.
    fn turn(&mut self, case: &Case, turn: usize) -> u64 {
        let before = self.cpu_time();
        for batch in 0..TURN / CONNECTIONS {
            for (n, connection) in self.connections.iter_mut().enumerate() {
                let key = (turn * TURN + batch * CONNECTIONS + n) % case.keys;
                let _ = connection.get_mut().write_all(&request(key));
            }
            for connection in &mut self.connections {
                assert_eq!(answer(connection), case.status, "{}", case.name);
            }
        }
        self.cpu_time() - before
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn request(key: usize) -> Vec<u8> {
    const BODY: &str =
        r#"{"model":"gpt-4o","messages":[{"role":"user","content":"Say hello to the gateway."}],"max_tokens":20}"#;
    format!(
        "POST /v1/chat/completions HTTP/1.1\r\nhost: fake\r\nauthorization: Bearer sk-{key:08}\r\n\
         content-type: application/json\r\ncontent-length: {}\r\n\r\n{BODY}",
        BODY.len()
    )
    .into_bytes()
}

/// Reads one answer; its status.
fn answer(connection: &mut BufReader<TcpStream>) -> String {
    let (mut status, mut length, mut line) = (String::new(), 0, String::new());
    loop {
        line.clear();
        connection.read_line(&mut line).expect("an answer");
        if status.is_empty() {
            status = line.get(9..12).unwrap_or_default().to_owned();
        } else if let Some(digits) = line.strip_prefix("content-length: ") {
            length = digits.trim().parse().expect("a length");
        } else if line == "\r\n" {
            break;
        }
    }
    let mut body = [0; 4096];
    connection.read_exact(&mut body[..length]).expect("a body");
    status
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

fn main() {
    let me = std::process::id().to_string();
    let taskset = Command::new("taskset").args(["-cp", "0", &me]).stdout(Stdio::null()).status();
    let pinned = taskset.is_ok_and(|status| status.success());
    println!("{CONNECTIONS} connections, {ROUNDS} rounds of {TURNS} turns of {TURN} requests; pinned: {pinned}");

    let mut times = vec![Vec::new(); CASES.len()];
    for round in 0..ROUNDS {
        let mut servers: Vec<_> = CASES.iter().map(|case| Server::start(case.args, pinned)).collect();
        for (server, case) in servers.iter_mut().zip(&CASES) {
            // The one request that a refusing server lets pass, and all that is slow the first time.
            let _ = server.connections[0].get_mut().write_all(&request(0));
            answer(&mut server.connections[0]);
            server.turn(case, 0);
        }
        for turn in 1..=TURNS {
            for (n, (server, case)) in servers.iter_mut().zip(&CASES).enumerate() {
                times[n].push(server.turn(case, round * TURNS + turn) as f64 / TURN as f64);
            }
        }
    }
    println!("\n{:<26} {:>14} {:>26}", "limits", "CPU/request", "requests/CPU s, of no limit");
    for (case, time) in CASES.iter().zip(&times) {
        // Turn by turn, so that what slows the machine down slows both; without limits is the mean of two servers.
        let without = times[0].iter().zip(&times[1]).map(|(one, other)| (one + other) / 2.0);
        let ratios = without.zip(time).map(|(without, with)| without / with).collect();
        println!("{:<26} {:>11.2} µs {:>26.3}", case.name, median(time.clone()) / 1000.0, median(ratios));
    }
}
