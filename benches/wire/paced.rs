//! Many streams at the pace of a model: how late their tokens are, and what the streams take of the machine.

use std::{
    io,
    sync::Arc,
    time::{Duration, Instant},
};

use tokio::{net::TcpStream, runtime::Runtime, time};

use crate::{
    Case, PLAIN, Scratch,
    bare::{self, AT_ONCE, Take},
    load::{Server, cpu_time, median, pin_client},
};

/// Time from token to token: 20 tokens a second.
const GAP: Duration = Duration::from_millis(50);
/// Time that the streams are opened in, evenly, so that no instant is theirs together.
const OPENING: Duration = Duration::from_secs(4);
/// Time between the opening and the measuring.
const SETTLING: Duration = Duration::from_secs(1);
/// Time that is measured.
const WINDOW: Duration = Duration::from_secs(10);
/// The same for the trial.
const TRIAL: Duration = Duration::from_secs(3);
/// Tokens of each stream: a little more than there is time for.
const TOKENS: usize = 340;
/// Streams of the trial that tells how many there can be.
const FEW: usize = 1_000;
/// Files that the client needs beside its sockets.
const FILES: u64 = 100;
/// The largest share of a core that the trial may promise: with more a queue grows, and its length is all that is measured.
/// The trial does not see what the system does for sockets beside the processes, which is a quarter of a core more.
const BUSY: f64 = 0.6;
/// Times that both servers are started anew.
const ROUNDS: usize = 3;

/// What a server did with so many streams.
struct Run {
    /// How late each token was, in milliseconds, sorted.
    late: Vec<f64>,
    /// The mean lateness of the last tenth of the window, less that of the first, in milliseconds.
    drift: f64,
    /// Memory for each stream, in bytes.
    memory: f64,
    /// Share of its core that the server had.
    server: f64,
    /// The same of the client.
    client: f64,
    /// Streams that could not be opened, or broke off.
    lost: usize,
}

impl Run {
    fn quantile(&self, share: f64) -> f64 {
        self.late[((self.late.len() - 1) as f64 * share) as usize]
    }
}

/// One stream as the client sees it.
struct Stream {
    /// Frames so far.
    frames: u32,
    /// The last byte read.
    last: u8,
    /// When the first token came.
    first: Instant,
    /// How late each token was that came in the window, in milliseconds.
    late: Vec<f64>,
}

impl Stream {
    /// Reads a stream from its request to the end of the window. Each token is due its gaps after the first of this
    /// stream.
    async fn follow(address: &str, request: &[u8], from: Instant, until: Instant) -> io::Result<Vec<f64>> {
        let connection = TcpStream::connect(address).await?;
        connection.writable().await?;
        connection.try_write(request)?;
        let mut stream = Stream { frames: 0, last: 0, first: until, late: Vec::with_capacity(256) };
        loop {
            connection.readable().await?;
            match stream.read(&connection, from, until) {
                Ok(true) => return Ok(stream.late),
                Err(error) if error.kind() != io::ErrorKind::WouldBlock => return Err(error),
                _ => {}
            }
        }
    }

    /// Reads what there is; whether the window is over.
    fn read(&mut self, connection: &TcpStream, from: Instant, until: Instant) -> io::Result<bool> {
        let mut buffer = [0; 4096];
        let length = connection.try_read(&mut buffer)?;
        let now = Instant::now();
        if length == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        for &byte in &buffer[..length] {
            // A frame is at its end; there is no such pair in a head, nor in what frames chunks.
            if (self.last, byte) == (b'\n', b'\n') {
                self.frames += 1;
                self.token(now, now >= from && now < until);
            }
            self.last = byte;
        }
        Ok(now >= until)
    }

    fn token(&mut self, now: Instant, measured: bool) {
        let first = AT_ONCE as u32;
        if self.frames == first {
            self.first = now;
        } else if self.frames > first && measured {
            let due = GAP * (self.frames - first);
            self.late.push(((now - self.first).as_secs_f64() - due.as_secs_f64()) * 1e3);
        }
    }
}

/// Opens so many streams, and measures for a while once all are open.
fn run(server: Server, request: &Arc<[u8]>, streams: usize, window: Duration) -> Run {
    // Until its worker has come up.
    std::thread::sleep(Duration::from_millis(200));
    let idle = server.resident();
    let runtime: Runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async {
        let (start, address) = (Instant::now(), Arc::<str>::from(&*server.address));
        let from = start + OPENING + SETTLING;
        let until = from + window;
        let mut tasks = Vec::new();
        for n in 0..streams {
            let opened = start + OPENING * n as u32 / streams as u32;
            let (address, request) = (Arc::clone(&address), Arc::clone(request));
            tasks.push(tokio::spawn(async move {
                time::sleep_until(opened.into()).await;
                time::timeout_at((until + GAP * 20).into(), Stream::follow(&address, &request, from, until)).await
            }));
        }
        let cpu = || (Instant::now(), server.cpu_time(), cpu_time(std::process::id()));
        time::sleep_until(from.into()).await;
        let before = cpu();
        time::sleep_until(until.into()).await;
        let (after, resident) = (cpu(), server.resident());
        let mut each = Vec::new();
        for task in tasks {
            each.extend(task.await.ok().and_then(Result::ok).and_then(Result::ok));
        }
        let wall = (after.0 - before.0).as_secs_f64();
        let mean = |late: &mut dyn Iterator<Item = &f64>| {
            let (count, sum) = late.fold((0, 0.0), |(count, sum), late| (count + 1, sum + late));
            sum / f64::from(count.max(1))
        };
        let tenth = (window.as_secs_f64() / GAP.as_secs_f64() / 10.0) as usize;
        let drift = mean(&mut each.iter().flat_map(|late| late.iter().rev().take(tenth)))
            - mean(&mut each.iter().flat_map(|late| late.iter().take(tenth)));
        let lost = streams - each.len();
        let mut late = each.concat();
        assert!(!late.is_empty(), "no token has come");
        late.sort_by(f64::total_cmp);
        Run {
            late,
            drift,
            memory: (resident - idle) / streams as f64,
            server: (after.1 - before.1).as_secs_f64() / wall,
            client: (after.2 - before.2).as_secs_f64() / wall,
            lost,
        }
    })
}

/// Measures and prints.
pub fn measure(asked: usize) {
    let files = rlimit::increase_nofile_limit(u64::MAX).unwrap_or(1024);
    let (pinned, scratch) = (pin_client(), Scratch::new());
    let case = Case { name: "paced", chunks: TOKENS, ..PLAIN };
    let (_, answer) = case.fake(&scratch, pinned);
    let (path, request) = (scratch.answer(&answer), Arc::from(case.request()));
    let replies = scratch.replies(TOKENS);
    let gap = format!("{}ms", GAP.as_millis());
    let fake = || Server::fake(&["--fixtures", &replies, "--itl", &gap], pinned);
    let bare = || bare::start(&path, Take::Drop, GAP, pinned);

    let mut streams = asked.min(files.saturating_sub(FILES) as usize);
    if streams < asked {
        println!("{asked} streams were asked for, but this process may have only {files} files open");
    }
    let few = streams.min(FEW);
    let trial = [run(fake(), &request, few, TRIAL), run(bare(), &request, few, TRIAL)];
    let busy = trial.iter().flat_map(|run| [run.server, run.client]).fold(0.0, f64::max);
    let most = (few as f64 * BUSY / busy) as usize;
    if most < streams {
        println!(
            "{streams} streams would take too much of a core: {few} take {:.0}% of one already. So it is {most}",
            busy * 100.0
        );
        streams = most;
    }
    let (mut fakes, mut bares) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        fakes.push(run(fake(), &request, streams, WINDOW));
        bares.push(run(bare(), &request, streams, WINDOW));
    }
    println!(
        "{streams} streams, of {TOKENS} tokens each, 20 a second; medians of {ROUNDS} rounds of {WINDOW:?}; pinned: {pinned}\n"
    );
    println!("{:<46}{:>10}{:>10}{:>14}", "", "fake", "bare", "fake to bare");
    let both = |figure: &dyn Fn(&Run) -> f64| (median(fakes.iter().map(figure)), median(bares.iter().map(figure)));
    let difference = |what: &str, figure: &dyn Fn(&Run) -> f64| {
        let (fake, bare) = both(figure);
        println!("{what:<46}{fake:>10.2}{bare:>10.2}{:>+14.2}", fake - bare);
    };
    let ratio = |what: &str, figure: &dyn Fn(&Run) -> f64| {
        let (fake, bare) = both(figure);
        println!("{what:<46}{fake:>10.2}{bare:>10.2}{:>13.2}x", fake / bare);
    };
    difference("a token is late, in the median, ms", &|run| run.quantile(0.5));
    difference("one in a hundred is later than, ms", &|run| run.quantile(0.99));
    difference("the latest, ms", &|run| run.quantile(1.0));
    difference("drift: last tenth less the first, ms", &|run| run.drift);
    ratio("the server's share of its core, %", &|run| run.server * 100.0);
    ratio("CPU for each token, µs", &|run| run.server * WINDOW.as_secs_f64() * 1e6 / run.late.len() as f64);
    ratio("memory for each stream, KB", &|run| run.memory / 1e3);
    difference("the client's share of its core, %", &|run| run.client * 100.0);
    difference("streams lost", &|run| run.lost as f64);
}
