//! Stopping: no accepted request is lost, and the drain ends in time.

use std::{
    io::BufRead,
    net::TcpStream,
    process::{Command, Stdio},
    sync::atomic::{AtomicBool, AtomicU64, Ordering},
    thread,
    time::Duration,
};

use fake_openai::Config;

use crate::{
    client::{CHAT, Connection, eventually, serve},
    program::{Directory, Program, command},
    streaming::endless,
};

/// The number before `word` in the last `stopped:` line of a log.
fn counted(log: &str, word: &str) -> u64 {
    let line = log.lines().rev().find(|line| line.contains("stopped:")).unwrap_or_else(|| panic!("{log}"));
    let before = line.split(word).next().unwrap();
    before.rsplit(|c: char| !c.is_ascii_digit()).find(|part| !part.is_empty()).unwrap().parse().unwrap()
}

#[test]
fn sigterm_under_load_loses_no_accepted_request() {
    for signal in ["TERM", "INT"] {
        let program = Program::start(&["--host", "127.0.0.1", "--port", "0"]);
        let (whole, stopping) = (AtomicU64::new(0), AtomicBool::new(false));
        thread::scope(|scope| {
            for n in 0..16 {
                let (program, whole, stopping) = (&program, &whole, &stopping);
                scope.spawn(move || {
                    let body = if n % 2 == 0 { CHAT.to_owned() } else { CHAT.replace("}]}", r#"}],"stream":true}"#) };
                    let mut connection = Connection::open(program.address);
                    // Until the server closes. A response that starts must also end.
                    loop {
                        let request = format!(
                            "POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\ncontent-length: {}\r\n\r\n{body}",
                            body.len()
                        );
                        if connection.send(request.as_bytes()).is_err() {
                            break;
                        }
                        match connection.response(false) {
                            Ok(response) => {
                                assert_eq!(response.status, 200);
                                whole.fetch_add(1, Ordering::SeqCst);
                            }
                            Err(_) => {
                                assert!(
                                    stopping.load(Ordering::SeqCst),
                                    "the connection closed before the server was stopping"
                                );
                                break;
                            }
                        }
                    }
                });
            }
            eventually("500 requests are answered", || whole.load(Ordering::SeqCst) > 500);
            stopping.store(true, Ordering::SeqCst);
            program.signal(signal);
        });
        let (status, _, log) = program.end();
        assert!(status.success());
        assert_eq!(
            counted(&log, " requests taken"),
            whole.load(Ordering::SeqCst),
            "every accepted request got its full response"
        );
        assert_eq!(counted(&log, " of them cut"), 0);
    }
}

const STREAM: &str = "POST /endless HTTP/1.1\r\nhost: x\r\ncontent-length: 71\r\n\r\n\
                      {\"model\":\"m\",\"messages\":[{\"role\":\"user\",\"content\":\"Hi\"}],\"stream\":true}";

#[test]
fn requests_longer_than_the_drain_are_cut_and_counted() {
    let fixtures = endless();
    let directory = fixtures.path().to_str().unwrap();
    let args = ["--host", "127.0.0.1", "--port", "0", "--drain", "100ms", "--fixtures", directory];
    let program = Program::start(&args);
    let mut reader = Connection::open(program.address);
    reader.send(STREAM.as_bytes()).unwrap();
    assert_eq!(reader.head().unwrap().status, 200);
    program.signal("TERM");
    let (status, _, log) = program.end();
    assert!(status.success());
    assert_eq!(counted(&log, " of them cut"), 1);
}

#[test]
fn a_second_signal_ends_the_program_at_once() {
    let fixtures = endless();
    let directory = fixtures.path().to_str().unwrap();
    let args = ["--host", "127.0.0.1", "--port", "0", "--drain", "1h", "--fixtures", directory];
    let program = Program::start(&args);
    let mut reader = Connection::open(program.address);
    reader.send(STREAM.as_bytes()).unwrap();
    assert_eq!(reader.head().unwrap().status, 200);
    let mut program = program;
    program.signal("TERM");
    // A second signal that comes before the first is handled counts as the first, so it is sent until the program ends.
    // `eventually` gives up long before the drain of an hour is over.
    eventually("the program has ended", || {
        program.signal("TERM");
        program.has_ended()
    });
    assert_eq!(program.end().0.code(), Some(1));
}

/// Creates a named pipe that nothing reads.
fn pipe(path: &str) {
    assert!(Command::new("mkfifo").arg(path).status().unwrap().success());
}

#[test]
fn a_second_signal_ends_a_program_that_waits_for_a_file() {
    let directory = Directory::new();
    let path = directory.file("report.json");
    pipe(&path);
    let mut program = Program::start(&["--host", "127.0.0.1", "--port", "0", "--report", &path]);
    eventually("the program has ended", || {
        program.signal("TERM");
        program.has_ended()
    });
    assert_eq!(program.end().0.code(), Some(1));
}

#[test]
fn a_journal_file_that_is_a_pipe_delays_neither_start_nor_stop() {
    let directory = Directory::new();
    let path = directory.file("journal");
    pipe(&path);
    let program = Program::start(&["--host", "127.0.0.1", "--port", "0", "--journal-file", &path]);
    let mut reader = std::io::BufReader::new(std::fs::File::open(&path).unwrap());
    assert_eq!(Connection::open(program.address).chat(CHAT).status, 200);
    let mut line = String::new();
    reader.read_line(&mut line).unwrap();
    assert!(line.starts_with("{\"id\":\"req_1\""), "{line}");
    // More than the pipe holds, which nothing reads from here on.
    let prompt = CHAT.replace("Hi", &"Hi".repeat(4000));
    let mut client = Connection::open(program.address);
    (0..20).for_each(|_| assert_eq!(client.chat(&prompt).status, 200));
    program.signal("TERM");
    let (status, _, log) = program.end();
    assert!(status.success() && log.contains("the last entries are lost"), "{log}");
}

#[test]
fn idle_connections_do_not_delay_stopping() {
    let server = serve(Config { drain: Duration::from_secs(3600), ..Config::for_test() });
    let mut connections: Vec<_> = (0..10).map(|_| Connection::open(server.address())).collect();
    for connection in &mut connections {
        assert_eq!(connection.get("/health").status, 200);
    }
    let stopped = server.stop().unwrap();
    assert_eq!((stopped.taken, stopped.cut), (10, 0));
    assert!(connections.iter_mut().all(Connection::is_closed));
}

#[test]
fn one_process_runs_many_servers() {
    let servers: Vec<_> = (0..3).map(|_| serve(Config::for_test())).collect();
    for server in &servers {
        assert_eq!(Connection::open(server.address()).chat(CHAT).status, 200);
    }
    for server in servers {
        assert_eq!(server.taken(), 1);
        assert_eq!(server.stop().unwrap().taken, 1);
    }
}

#[test]
fn new_connections_are_refused_while_requests_drain() {
    let fixtures = endless();
    let directory = fixtures.path().to_str().unwrap();
    let program = Program::start(&["--host", "127.0.0.1", "--port", "0", "--drain", "1h", "--fixtures", directory]);
    let mut reader = Connection::open(program.address);
    reader.send(STREAM.as_bytes()).unwrap();
    assert_eq!(reader.head().unwrap().status, 200);
    program.signal("TERM");
    let refused = || {
        let connected = TcpStream::connect_timeout(&program.address, Duration::from_secs(1));
        connected.is_err_and(|error| error.kind() == std::io::ErrorKind::ConnectionRefused)
    };
    eventually("the port is closed", refused);
    assert!(!reader.chunk().unwrap().is_empty(), "the request in flight goes on");
}

#[test]
#[cfg(target_os = "linux")]
fn connections_that_wait_at_the_signal_are_served() {
    for count in [1, 30, 300] {
        let program = Program::start(&["--host", "127.0.0.1", "--port", "0", "--drain", "60s"]);
        assert_eq!(Connection::open(program.address).get("/health").status, 200);
        // Stopped, it accepts nothing: everything waits when the signal is handled.
        program.signal("STOP");
        let mut waiting: Vec<_> = (0..count).map(|_| Connection::open(program.address)).collect();
        for connection in &mut waiting {
            connection.send(b"GET /health HTTP/1.1\r\nhost: x\r\n\r\n").unwrap();
        }
        program.signal("TERM");
        program.signal("CONT");
        for (n, connection) in waiting.iter_mut().enumerate() {
            let response = connection.response(false).unwrap_or_else(|error| panic!("{n} of {count}: {error}"));
            assert_eq!(response.status, 200);
        }
        let (status, _, log) = program.end();
        assert!(status.success());
        assert_eq!(counted(&log, " requests taken"), count + 1);
    }
}

#[test]
#[cfg(target_os = "linux")]
fn a_server_without_descriptors_recovers() {
    let binary = env!("CARGO_BIN_EXE_fake-openai");
    let script = format!("ulimit -n 64 && exec {binary} --host 127.0.0.1 --port 0");
    let mut shell = std::process::Command::new("sh");
    let child = shell.args(["-c", &script]).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let program = Program::await_url(child);
    let mut first = Connection::open(program.address);
    assert_eq!(first.get("/health").status, 200);
    let others: Vec<_> = (0..100).map(|_| TcpStream::connect(program.address).unwrap()).collect();
    assert_eq!(first.chat(CHAT).status, 200, "an open connection is served");
    drop(others);
    assert_eq!(Connection::open(program.address).get("/health").status, 200, "a new one is accepted again");
    program.signal("TERM");
    drop(first);
    let (status, _, log) = program.end();
    assert!(status.success() && log.contains("Too many open files"), "{log}");
}

#[test]
#[cfg(target_os = "linux")]
fn a_stderr_that_cannot_be_written_does_not_end_the_server() {
    let (closed_reader, closed) = std::io::pipe().unwrap();
    drop(closed_reader);
    let full = std::fs::File::options().write(true).open("/dev/full").unwrap();
    for stderr in [Stdio::from(full), Stdio::from(closed)] {
        let args = ["--host", "127.0.0.1", "--port", "0", "--access-log"];
        let child = command(&args).stdout(Stdio::piped()).stderr(stderr).spawn().unwrap();
        let mut program = Program::await_url(child);
        for _ in 0..3 {
            assert_eq!(Connection::open(program.address).chat(CHAT).status, 200);
        }
        program.signal("TERM");
        eventually("it ends", || program.has_ended());
        assert_eq!(program.status().code(), Some(0));
    }
}
