//! How near the fake comes to the bare framework: the same requests to the fake and to a bare actix-web server that
//! knows nothing but the fake's answer, in turns.
//!
//! - `cargo bench --bench wire`: CPU time of requests and streams that are answered at once.
//! - `cargo bench --bench wire -- paced [N]`: N streams (10,000 if left out) of 20 tokens a second at once, and how late
//!   their tokens are.
//! - `cargo bench --bench wire -- records [PROGRAM]`: the CPU time of the journal, in turns with a server without it; and
//!   that of another build of the program.
//! - `cargo bench --bench wire -- idle`: memory, the time to start and to stop, the size of the program.
//!
//! Each takes three minutes at the most. The client has one core and the servers another, where the system has `taskset`.
//! What counts is the ratio of the two in one run.

#[path = "wire/bare.rs"]
mod bare;
#[path = "wire/idle.rs"]
mod idle;
mod load;
#[path = "wire/paced.rs"]
mod paced;
#[path = "wire/records.rs"]
mod records;

use std::{
    fs,
    path::PathBuf,
    time::{Duration, Instant},
};

use bare::Take;
use load::{CHAT, CONNECTIONS, HELLO, Response, Server, Turn, median, pin_client, request_to};

/// Turns of each server.
const TURNS: usize = 4;
/// Times that both servers are started anew, at the most: where a process happens to lie in memory makes it a little
/// faster or slower.
const ROUNDS: u32 = 6;
/// A round that would not end within this time is not begun.
const ENOUGH: Duration = Duration::from_secs(165);

/// What is asked of both servers.
struct Case {
    name: &'static str,
    args: &'static [&'static str],
    /// The path and the body of the request.
    asked: (&'static str, &'static str),
    /// Pieces that the answer is streamed in; none if it is not.
    chunks: usize,
    /// Length of the prompt, in bytes; 0 for the plain one.
    prompt: usize,
    take: Take,
    /// Requests on each connection in one turn.
    times: usize,
    /// The status of each answer.
    status: &'static str,
}

const PLAIN: Case = Case {
    name: "chat",
    args: &[],
    asked: (CHAT, HELLO),
    chunks: 0,
    prompt: 0,
    take: Take::Drop,
    times: 300,
    status: "200",
};

/// A stream of 50 tokens that are generated, each an event.
const GENERATED: Case = Case { args: &["--content", "lorem"], times: 40, ..PLAIN };
const CHAT_50: &str =
    r#"{"model":"gpt-4o","messages":[{"role":"user","content":"Say hello."}],"max_tokens":50,"stream":true}"#;
const MESSAGE_50: &str = r#"{"model":"claude-sonnet-4-5","messages":[{"role":"user","content":"Say hello."}],"max_tokens":50,"stream":true}"#;
const CONTENT_50: &str =
    r#"{"contents":[{"role":"user","parts":[{"text":"Say hello."}]}],"generationConfig":{"maxOutputTokens":50}}"#;
const RESPONSE_50: &str =
    r#"{"model":"gpt-4o","input":"Say hello to the gateway.","max_output_tokens":50,"store":false,"stream":true}"#;

const CASES: [Case; 11] = [
    PLAIN,
    Case { name: "chat, with a limit", args: &["--rpm", "4000000000"], ..PLAIN },
    Case { name: "chat, refused", args: &["--rpd", "1"], status: "429", ..PLAIN },
    Case { name: "prompt of 100 KB", prompt: 100_000, take: Take::Keep, times: 20, ..PLAIN },
    Case { name: "prompt of 400 KB", prompt: 400_000, take: Take::Keep, times: 6, ..PLAIN },
    Case { name: "stream of 16 chunks", chunks: 16, times: 100, ..PLAIN },
    Case { name: "stream of 100 chunks", chunks: 100, times: 30, ..PLAIN },
    Case { name: "50 tokens, chat", asked: (CHAT, CHAT_50), ..GENERATED },
    Case { name: "50 tokens, Anthropic", asked: ("/v1/messages", MESSAGE_50), ..GENERATED },
    Case {
        name: "50 tokens, Gemini",
        asked: ("/v1beta/models/gemini-2.5-flash:streamGenerateContent?alt=sse", CONTENT_50),
        ..GENERATED
    },
    Case { name: "50 tokens, Responses", asked: ("/v1/responses", RESPONSE_50), ..GENERATED },
];

impl Case {
    fn request(&self) -> Vec<u8> {
        // Of prose: a line is 80 characters long, and now and then somebody is quoted.
        const PROSE: &str = concat!(
            r#"The gateway had been asked often enough how long it would take, and nobody knew\n"#,
            r#"for certain. \"Longer than yesterday,\" was all that could be had from its owner,\n"#,
            r#"who went on reading. Behind the gateway there was, as far as anyone could tell,\n"#,
            r#"a model; it had been seen to think, and now and then it said how it felt today.\n"#,
        );
        let (path, body) = self.asked;
        if self.chunks > 0 {
            return request_to(path, 0, &body.replace(r#""max_tokens":20"#, r#""stream":true"#));
        }
        match self.prompt / PROSE.len() {
            0 => request_to(path, 0, body),
            times => request_to(path, 0, &body.replace("Say hello to the gateway.", &PROSE.repeat(times))),
        }
    }

    /// The fake, and the answer that it gives.
    fn fake(&self, scratch: &Scratch, pinned: bool) -> (Server, Response) {
        let replies = (self.chunks > 0).then(|| scratch.replies(self.chunks));
        let mut args = self.args.to_vec();
        args.extend(replies.iter().flat_map(|path| ["--fixtures", path]));
        let mut fake = Server::fake(&args, pinned).connect(CONNECTIONS);
        // The limit admits one.
        fake.ask(0, &self.request());
        let answer = fake.ask(0, &self.request());
        assert_eq!(answer.status(), self.status, "{}: {}", self.name, String::from_utf8_lossy(&answer.body));
        (fake, answer)
    }

    /// One round: new servers, and turns of the one and the other.
    fn round(&self, scratch: &Scratch, pinned: bool, measured: &mut Measured) {
        let (mut fake, answer) = self.fake(scratch, pinned);
        let path = scratch.answer(&answer);
        let mut bare = bare::start(&path, self.take, Duration::ZERO, pinned).connect(CONNECTIONS);
        let request = self.request();
        assert_eq!(bare.ask(0, &request).body, answer.body, "the same is answered");
        measured.frames = answer.frames();
        let turn = |server: &mut Server| server.turn(self.times, self.status, |_| &request);
        // All that is slow the first time.
        turn(&mut fake);
        turn(&mut bare);
        measured.turns.extend((0..TURNS).map(|_| (turn(&mut fake), turn(&mut bare))));
    }
}

impl Response {
    /// Events of a stream; none in what is none.
    fn frames(&self) -> usize {
        if self.head.contains("text/event-stream") { bare::frames(&self.body).count() } else { 0 }
    }
}

/// What was measured of a case.
#[derive(Default)]
struct Measured {
    /// What a turn of the fake took, and the next one of the bare server.
    turns: Vec<(Turn, Turn)>,
    /// Events of the answer.
    frames: usize,
}

/// A directory for what servers are told, as long as the benchmark runs.
struct Scratch(PathBuf);

impl Scratch {
    fn new() -> Self {
        let path = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("wire-{}", std::process::id()));
        fs::create_dir_all(&path).expect("a directory is made");
        Scratch(path)
    }

    /// Fixtures whose one reply has so many chunks.
    fn replies(&self, chunks: usize) -> String {
        let path = self.0.join(format!("replies-{chunks}"));
        fs::create_dir_all(&path).expect("a directory is made");
        let words = vec![r#"" word""#; chunks].join(", ");
        fs::write(
            path.join("replies.json"),
            format!(r#"[{{"chunks": [{words}], "usage": {{"prompt_tokens": 9, "completion_tokens": {chunks}}}}}]"#),
        )
        .expect("the file is written");
        path.into_os_string().into_string().expect("UTF-8")
    }

    /// An answer for the bare server.
    fn answer(&self, answer: &Response) -> PathBuf {
        let path = self.0.join("answer");
        bare::write(answer, &path);
        path
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn at_once() {
    let (pinned, scratch, start) = (pin_client(), Scratch::new(), Instant::now());
    let mut measured: [Measured; CASES.len()] = Default::default();
    let mut rounds = 0;
    while rounds < ROUNDS && (rounds == 0 || start.elapsed() / rounds * (rounds + 1) < ENOUGH) {
        for (case, measured) in CASES.iter().zip(&mut measured) {
            case.round(&scratch, pinned, measured);
        }
        rounds += 1;
    }
    println!("{CONNECTIONS} connections, {rounds} rounds of {TURNS} turns of each server; pinned: {pinned}\n");
    println!("{:<22}{:>20}{:>18}{:>20}{:>20}", "", "CPU µs/request", "requests/CPU s,", "requests/s", "frames/s");
    let sides = format!("{:>10}{:>10}", "fake", "bare");
    println!("{:<22}{sides}{:>18}{sides}{sides}", "", "of bare");
    for (case, Measured { turns, frames }) in CASES.iter().zip(&measured) {
        let requests = (case.times * CONNECTIONS) as f64;
        let of = |figure: fn(&Turn) -> Duration| {
            let each =
                |side: fn(&(Turn, Turn)) -> &Turn| median(turns.iter().map(|turn| figure(side(turn)).as_secs_f64()));
            (each(|turn| &turn.0) / requests, each(|turn| &turn.1) / requests)
        };
        let (cpu, wall) = (of(|turn| turn.cpu), of(|turn| turn.wall));
        // Turn by turn, so that what slows the machine down slows both.
        let ratio = median(turns.iter().map(|(fake, bare)| bare.cpu.as_secs_f64() / fake.cpu.as_secs_f64()));
        print!("{:<22}{:>10.2}{:>10.2}{ratio:>18.3}", case.name, cpu.0 * 1e6, cpu.1 * 1e6);
        print!("{:>10.0}{:>10.0}", 1.0 / wall.0, 1.0 / wall.1);
        match *frames as f64 {
            0.0 => println!(),
            frames => println!("{:>10.0}{:>10.0}", frames / wall.0, frames / wall.1),
        }
    }
}

fn main() {
    // Cargo adds an argument of its own.
    let args: Vec<String> = std::env::args().skip(1).filter(|arg| arg != "--bench").collect();
    match args.first().map(String::as_str) {
        None => at_once(),
        Some("paced") => {
            paced::measure(args.get(1).map_or(10_000, |count| count.parse().expect("a number of streams")))
        }
        Some("records") => records::measure(args.get(1).map(String::as_str), pin_client()),
        Some("idle") => idle::measure(),
        Some(bare::SERVE) => bare::serve(&args[1..]).expect("the bare server serves"),
        Some(other) => eprintln!("{other}: there is only `paced [N]`, `records [PROGRAM]` and `idle`"),
    }
}
