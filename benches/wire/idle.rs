//! What the fake takes when it does nothing: memory, the time to start and to stop, the size of the program.

use std::{
    fs,
    io::Write,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use crate::{
    Scratch,
    bare::{self, Take},
    load::{FAKE, HELLO, Server, median, request},
};

/// Idle connections.
const IDLE: usize = 2_000;
/// Times that a server is started.
const STARTS: usize = 20;
/// Times that one is stopped.
const STOPS: usize = 10;

/// A shell that sends signals, which is sooner done than starting a program for each.
struct Signals(Child);

impl Signals {
    fn new() -> Self {
        Signals(Command::new("sh").stdin(Stdio::piped()).spawn().expect("a shell"))
    }

    /// Ends a server; the time that it takes.
    fn end(&mut self, mut server: Server) -> Duration {
        let start = Instant::now();
        let input = self.0.stdin.as_mut().expect("piped");
        writeln!(input, "kill -TERM {}", server.id()).expect("the shell reads");
        server.wait();
        start.elapsed()
    }
}

impl Drop for Signals {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Measures and prints. Nobody is pinned: there is nothing to keep apart.
pub fn measure() {
    let _ = rlimit::increase_nofile_limit(u64::MAX);
    let (scratch, hello) = (Scratch::new(), request(0, HELLO));
    let fake = || Server::fake(&[], false);
    let path = scratch.answer(&fake().connect(1).ask(0, &hello));
    let bare = || bare::start(&path, Take::Drop, Duration::ZERO, false);
    let both: [&dyn Fn() -> Server; 2] = [&fake, &bare];

    let mut signals = Signals::new();
    let [mut first, mut alone, mut kept] = [const { [const { Vec::new() }; 2] }; 3];
    for n in 0..STARTS {
        for (side, start) in both.iter().enumerate() {
            let begin = Instant::now();
            let mut server = start().connect(1);
            server.ask(0, &hello);
            first[side].push(begin.elapsed().as_secs_f64() * 1e3);
            if n < STOPS {
                kept[side].push(signals.end(server).as_secs_f64() * 1e3);
            }
        }
    }
    for _ in 0..STOPS {
        for (side, start) in both.iter().enumerate() {
            let mut server = start().connect(1);
            server.ask(0, &hello);
            server.connections.clear();
            // Until the server has seen that it is gone.
            std::thread::sleep(Duration::from_millis(20));
            alone[side].push(signals.end(server).as_secs_f64() * 1e3);
        }
    }
    let memory = both.map(|start| {
        let mut server = start().connect(1);
        server.ask(0, &hello);
        let before = server.resident();
        server = server.connect(IDLE);
        (1..=IDLE).for_each(|n| drop(server.ask(n, &hello)));
        (before / 1e6, (server.resident() - before) / IDLE as f64 / 1e3)
    });
    let myself = std::env::current_exe().expect("a program knows itself");
    let size = |path| fs::metadata(path).expect("the program is there").len() as f64 / 1e6;

    println!("one worker; medians of {STARTS} starts and {STOPS} stops, {IDLE} idle connections\n");
    println!("{:<56}{:>10}{:>10}{:>12}", "", "fake", "bare", "fake/bare");
    let row = |what: &str, fake: f64, bare: f64| {
        println!("{what:<56}{fake:>10.2}{bare:>10.2}{:>12.2}", fake / bare);
    };
    row("memory after one answer, MB", memory[0].0, memory[1].0);
    row("memory for each idle connection, KB", memory[0].1, memory[1].1);
    let times = |what, [fake, bare]: [Vec<f64>; 2]| row(what, median(fake), median(bare));
    times("from exec to the first answer, ms", first);
    times("from SIGTERM to the end, no connection open, ms", alone);
    times("from SIGTERM to the end, one idle connection open, ms", kept);
    row("size of the program, MB (bare: with this client)", size(FAKE.into()), size(myself));
}
