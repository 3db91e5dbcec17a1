//! How many instructions the program takes for a request, counted by callgrind: the same on a busy machine as on an idle
//! one. The counts are held against `benches/instructions.txt`, and one that is 5 % above it fails.
//!
//! `cargo bench --profile counted --bench instructions`; with `-- --write` the counts become the ones to be held. It needs
//! `valgrind`, and says so. Another compiler makes other instructions: then nothing is held, and all is told.

mod load;

use std::{
    collections::BTreeMap,
    fmt::Write,
    fs,
    path::Path,
    process::{Command, ExitCode, Stdio},
};

use load::{CHAT, FAKE, HELLO, Server};

/// The counts that are held.
const HELD: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/benches/instructions.txt");
/// How much more than these is too much.
const TOLERANCE: f64 = 1.05;
/// Requests of two runs of one program. Their difference has nothing of its start, and the journal is full in both.
const REQUESTS: [usize; 2] = [1200, 2000];
/// Functions that are told of.
const TOLD: usize = 25;

/// The sequence of requests that is counted, and what the server is started with.
struct Case {
    name: &'static str,
    args: &'static [&'static str],
    path: &'static str,
    body: fn() -> String,
    /// The status of each answer but perhaps the first.
    status: &'static str,
}

fn cases() -> [Case; 8] {
    let streamed = || HELLO.replace("}]", r#"}],"stream":true"#);
    let generated = || HELLO.replace("}]", r#"}],"stream":true"#).replace(r#""max_tokens":20"#, r#""max_tokens":50"#);
    // Lines of a text, with a word in quotes now and then.
    let long = || {
        HELLO.replace(
            "hello",
            &r#"some words of a long text that nobody reads, and \"one\" of them quoted\n"#.repeat(1400),
        )
    };
    // Anthropic's request has the same members.
    let message = || HELLO.replace("gpt-4o", "claude-sonnet-4-5").replace("}]", r#"}],"stream":true"#);
    let plain = Case { name: "plain", args: &[], path: CHAT, body: || HELLO.to_owned(), status: "200" };
    [
        Case { name: "no journal", args: &["--journal", "0"], ..plain },
        Case { name: "limited", args: &["--rpm", "4000000000"], ..plain },
        Case { name: "refused", args: &["--rpd", "1"], status: "429", ..plain },
        Case { name: "streamed", body: streamed, ..plain },
        Case { name: "Anthropic stream", path: "/v1/messages", body: message, ..plain },
        Case { name: "generated stream", args: &["--content", "lorem"], body: generated, ..plain },
        Case { name: "100 KB prompt", body: long, ..plain },
        plain,
    ]
}

/// Instructions by function; those of all together have an empty name.
type Counts = BTreeMap<String, f64>;

/// The function whose thread answers requests. What others do, they do by the clock.
const WORKER: &str = "actix_http::h1::dispatcher";

/// What the thread that answers takes in one run.
fn run(case: &Case, requests: usize) -> Counts {
    let directory = std::env::temp_dir().join(format!("fake-openai.{}.callgrind", std::process::id()));
    fs::create_dir_all(&directory).expect("a directory for the counts");
    let file = format!("--callgrind-out-file={}/out", directory.display());
    let ours = ["--tool=callgrind", "--separate-threads=yes", &file, FAKE];
    let ours = [&ours[..], &["--host", "127.0.0.1", "--port", "0", "--workers", "1", "--seed", "1"]].concat();
    let mut server = Server::start("valgrind", &[&ours[..], case.args].concat(), false).connect(1);
    let body = (case.body)();
    let request = format!(
        "POST {} HTTP/1.1\r\nhost: fake\r\nauthorization: Bearer sk-fake\r\n\
         content-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
        case.path,
        body.len()
    );
    for n in 0..requests {
        let answer = server.ask(0, request.as_bytes());
        assert!(n == 0 || answer.status() == case.status, "{}: {}", case.name, answer.status());
    }
    let _ = Command::new("kill").args(["-TERM", &server.id().to_string()]).status();
    server.wait();
    let threads = fs::read_dir(&directory).expect("the counts").flatten().map(|file| counts(&file.path()));
    let worker = threads.max_by_key(|counts| counts.keys().filter(|name| name.contains(WORKER)).count());
    let _ = fs::remove_dir_all(&directory);
    worker.expect("a thread that answers")
}

/// What one thread takes.
fn counts(file: &Path) -> Counts {
    let annotated = Command::new("callgrind_annotate").args(["--auto=no", "--threshold=100"]).arg(file).output();
    let text = String::from_utf8_lossy(&annotated.expect("callgrind_annotate comes with valgrind").stdout).into_owned();
    let mut counts = Counts::new();
    for line in text.lines() {
        // `1,234,567 ( 1.23%)  file:function [object]`
        let Some((count, rest)) = line.trim_start().split_once(" (") else { continue };
        let Ok(count) = count.replace(',', "").parse::<f64>() else { continue };
        let Some((_, place)) = rest.split_once(')') else { continue };
        let place = place.trim();
        let name = match place {
            "PROGRAM TOTALS" => String::new(),
            _ => {
                let function = place.split(" [").next().unwrap_or(place);
                // The file has no colon, and the function's path has two of them together.
                function.split_once(':').map_or(function, |(_, function)| function).to_owned()
            }
        };
        *counts.entry(name).or_default() += count;
    }
    counts
}

/// Times that a case is counted: where a process happens to lie in memory makes 3 % of difference, either way.
const TIMES: usize = 3;

/// All together.
fn total(counts: &Counts) -> f64 {
    counts.get("").copied().unwrap_or(0.0)
}

/// What a request takes.
fn count(case: &Case) -> Counts {
    let [few, many] = REQUESTS.map(|requests| run(case, requests));
    let each = |(name, count): (&String, &f64)| {
        let more = count - few.get(name).copied().unwrap_or(0.0);
        (name.clone(), (more / (REQUESTS[1] - REQUESTS[0]) as f64).round())
    };
    many.iter().map(each).filter(|(_, count)| *count >= 1.0).collect()
}

fn compiler() -> String {
    let output = Command::new(std::env::var_os("RUSTC").unwrap_or("rustc".into())).arg("--version").output();
    output.map(|output| String::from_utf8_lossy(&output.stdout).trim().to_owned()).unwrap_or_default()
}

/// The counts as they are written down: the compiler, then each case with its functions, the largest first.
fn written(all: &[(&str, Counts)]) -> String {
    let mut text = format!("{}\n", compiler());
    for (name, counts) in all {
        let _ = writeln!(text, "\n{name}: {}", total(counts));
        for (function, count) in largest(counts.iter().filter(|(name, _)| !name.is_empty())).into_iter().take(60) {
            let _ = writeln!(text, "{count:>8} {function}");
        }
    }
    text
}

fn largest<'a>(counts: impl Iterator<Item = (&'a String, &'a f64)>) -> Vec<(&'a str, f64)> {
    let mut list: Vec<_> = counts.map(|(name, count)| (name.as_str(), *count)).collect();
    list.sort_by(|one, other| other.1.total_cmp(&one.1));
    list
}

/// The compiler, and the counts of each case, as they were written down.
fn held() -> Option<(String, BTreeMap<String, Counts>)> {
    let text = fs::read_to_string(HELD).ok()?;
    let mut lines = text.lines();
    let compiler = lines.next()?.to_owned();
    let (mut all, mut case) = (BTreeMap::<String, Counts>::new(), String::new());
    for line in lines.filter(|line| !line.is_empty()) {
        match line.strip_prefix(' ') {
            None => {
                let (name, total) = line.rsplit_once(": ")?;
                case = name.to_owned();
                all.entry(case.clone()).or_default().insert(String::new(), total.parse().ok()?);
            }
            Some(line) => {
                let (count, function) = line.trim_start().split_once(' ')?;
                all.entry(case.clone()).or_default().insert(function.to_owned(), count.parse().ok()?);
            }
        }
    }
    Some((compiler, all))
}

fn main() -> ExitCode {
    let there = Command::new("valgrind").arg("--version").stdout(Stdio::null()).status();
    if !there.is_ok_and(|status| status.success()) {
        eprintln!("skipped: there is no valgrind to count instructions with");
        return ExitCode::SUCCESS;
    }
    if std::env::args().any(|arg| arg == "--write") {
        let most = |case: &Case| (0..TIMES).map(|_| count(case)).max_by(|a, b| total(a).total_cmp(&total(b)));
        let counted: Vec<_> = cases().iter().filter_map(|case| Some((case.name, most(case)?))).collect();
        fs::write(HELD, written(&counted)).expect("the counts are written");
        println!("wrote {HELD}");
        return ExitCode::SUCCESS;
    }
    let Some((compiler_then, held)) = held() else {
        eprintln!("{HELD} is missing, or not as `-- --write` writes it");
        return ExitCode::FAILURE;
    };
    let same = compiler_then == compiler();
    if !same {
        println!("not held: the counts are those of {compiler_then}, and this is {}", compiler());
    }
    let mut grown = false;
    println!("{:<16} {:>12} {:>12} {:>8}", "instructions", "a request", "held", "of it");
    for case in cases() {
        let (name, none) = (case.name, Counts::new());
        let before = held.get(name).unwrap_or(&none);
        let mut counts = count(&case);
        for _ in 1..TIMES {
            if total(&counts) <= total(before) * TOLERANCE {
                break;
            }
            counts = count(&case);
        }
        let (now, then) = (total(&counts), total(before));
        println!("{name:<16} {now:>12} {then:>12} {:>8.3}", now / then);
        if now <= then * TOLERANCE {
            continue;
        }
        grown = true;
        let growth: Counts = counts
            .iter()
            .filter(|(function, _)| !function.is_empty())
            .map(|(function, count)| (function.clone(), count - before.get(function).copied().unwrap_or(0.0)))
            .collect();
        println!("  what grew:");
        for (function, more) in largest(growth.iter()).into_iter().take(TOLD).filter(|(_, more)| *more > 0.0) {
            println!("  {more:>+8} {function}");
        }
    }
    if grown && same {
        println!("If that is meant: cargo bench --profile counted --bench instructions -- --write");
        return ExitCode::FAILURE;
    }
    ExitCode::SUCCESS
}
