//! Limits in a store that several servers share: a real Redis, which these tests start.

use std::{
    io::{Read, Write},
    net::{TcpListener, TcpStream},
    process::Stdio,
    time::Duration,
};

use fake_openai::{
    Config, Running, Settings,
    core::clock::ManualClock,
    traffic::limit::{FailurePolicy, Window},
};

use crate::{
    client::{CHAT, Connection, Response, eventually, serve},
    program::{Directory, Program, command},
    redis_server::{Redis, connected, patient, server},
};

fn told(response: &Response) -> Vec<(&str, &str)> {
    let known = |name: &str| name.starts_with("x-ratelimit") || name.starts_with("retry-after");
    response.headers.iter().filter(|(name, _)| known(name)).map(|(name, value)| (&**name, &**value)).collect()
}

#[test]
fn three_servers_share_one_quota() {
    let Some(redis) = Redis::start("three_servers_share_one_quota") else { return };
    for (window, later) in [(Window::Gcra, 30), (Window::Fixed, 0), (Window::Sliding, 0)] {
        redis.ask("FLUSHALL");
        let clock = ManualClock::new();
        let settings = Settings { rpm: Some(90), window: Some(window), ..Settings::default() };
        let per_key = Settings { per: Some(vec![fake_openai::traffic::limit::Dimension::Key]), ..settings };
        let servers = [(); 3].map(|()| server(&redis.url(), per_key.clone(), &clock));
        servers.iter().for_each(connected);
        let batch = || {
            std::thread::scope(|scope| {
                let ask = |server: &Running| {
                    let mut connection = Connection::open(server.address());
                    let headers = "authorization: Bearer sk-one\r\n";
                    let statuses = (0..60)
                        .map(|_| connection.request("POST", "/v1/chat/completions", headers, CHAT).unwrap().status);
                    statuses.filter(|status| *status == 200).count()
                };
                let threads = servers.each_ref().map(|server| scope.spawn(move || ask(server)));
                threads.map(|thread| thread.join().unwrap()).iter().sum::<usize>()
            })
        };
        assert_eq!(batch(), 90, "{window:?}");
        assert_eq!(batch(), 0, "{window:?}");
        clock.advance(Duration::from_secs(20));
        assert_eq!(batch(), later, "{window:?}");
        clock.advance(Duration::from_secs(120));
        assert_eq!(batch(), 90, "{window:?}");
    }
}

#[test]
fn the_store_decides_and_reports_as_memory_does() {
    let Some(redis) = Redis::start("the_store_decides_and_reports_as_memory_does") else { return };
    for window in [Window::Gcra, Window::Fixed, Window::Sliding] {
        for settle in [false, true] {
            redis.ask("FLUSHALL");
            let before = redis.scripts_run();
            let clock = ManualClock::new();
            let settings = Settings {
                rpm: Some(30),
                tpm: Some(600),
                window: Some(window),
                settle: Some(settle),
                ..Settings::default()
            };
            let here = serve(Config {
                clock: clock.clone().into(),
                ..Config::try_from(Settings { host: Some("127.0.0.1".to_owned()), port: Some(0), ..settings.clone() })
                    .unwrap()
            });
            let there = server(&redis.url(), settings, &clock);
            connected(&there);
            let settled = if settle { 2 } else { 1 };
            eventually("the cost of the probe is reconciled", || redis.scripts_run() >= before + settled);
            redis.ask("FLUSHALL");
            let mut calls = redis.scripts_run();
            let (mut here, mut there) = (Connection::open(here.address()), Connection::open(there.address()));
            let mut random = 12345u64;
            for n in 0..250 {
                random = random.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
                let (pause, most) = ((random >> 33) % 40, (random >> 45) % 90);
                if pause > 25 {
                    clock.advance(Duration::from_millis(pause * 100));
                }
                let body = match n % 11 {
                    0 => "{}".to_owned(),
                    10 => CHAT.replace("]}", "],\"max_tokens\":700}"),
                    _ => CHAT.replace("]}", &format!("],\"max_tokens\":{}}}", most + 1)),
                };
                let (mine, theirs) = (here.chat(&body), there.chat(&body));
                assert_eq!((mine.status, told(&mine)), (theirs.status, told(&theirs)), "{window:?} {settle} {n}");
                if settle {
                    // Reconciliation reaches the store after the response.
                    calls += if theirs.status == 429 { 1 } else { 2 };
                    eventually("the store has run the scripts of this request", || redis.scripts_run() >= calls);
                }
            }
        }
    }
}

#[test]
fn permits_are_returned_to_the_store() {
    let Some(redis) = Redis::start("permits_are_returned_to_the_store") else { return };
    let settings = Settings { max_in_flight: Some(2), ..Settings::default() };
    let clock = ManualClock::new();
    let servers = [(); 2].map(|()| server(&redis.url(), settings.clone(), &clock));
    servers.iter().for_each(connected);
    let asked = Settings {
        content: Some(fake_openai::model::ContentSource::Lorem),
        lorem_tokens: Some("90000".to_owned()),
        ..settings
    };
    let slow = server(&redis.url(), asked, &clock);
    connected(&slow);
    let long = r#"{"model":"fake","messages":[{"role":"user","content":"Hi"}],"stream":true,"max_tokens":90000}"#;
    let head = format!("POST /v1/chat/completions HTTP/1.1\r\nhost: a\r\ncontent-length: {}\r\n\r\n{long}", long.len());
    let mut streams = [Connection::open(slow.address()), Connection::open(slow.address())];
    for stream in &mut streams {
        eventually("the stream gets a permit", || {
            stream.send(head.as_bytes()).unwrap();
            let begun = stream.head().unwrap();
            if begun.status != 200 {
                *stream = Connection::open(slow.address());
            }
            begun.status == 200
        });
    }
    let mut others = servers.each_ref().map(|server| Connection::open(server.address()));
    for other in &mut others {
        assert_eq!(other.chat(CHAT).status, 429);
    }
    drop(streams);
    for other in &mut others {
        eventually("the permits are free", || other.chat(CHAT).status == 200);
    }
}

#[test]
fn a_permit_granted_too_late_is_returned() {
    let Some(redis) = Redis::start("a_permit_granted_too_late_is_returned") else { return };
    let settings = Settings { max_in_flight: Some(1), ..Settings::default() };
    let hurried = patient(&redis.url(), settings, &ManualClock::new(), Duration::from_millis(50));
    let mut connection = Connection::open(hurried.address());
    eventually("the store answers", || connection.chat(CHAT).status == 200);
    // Long enough for the request to give up, and short enough to keep the connection.
    let mut pause = TcpStream::connect(redis.address).unwrap();
    pause.write_all(b"CLIENT PAUSE 300 ALL\r\n").unwrap();
    pause.read_exact(&mut [0; 5]).unwrap();
    eventually("a request gives up on the store", || connection.chat(CHAT).status == 503);
    eventually("the permit is free", || connection.chat(CHAT).status == 200);
}

#[test]
fn without_its_store_a_server_refuses_or_admits_and_recovers() {
    let Some(mut redis) = Redis::start("without_its_store_a_server_refuses_or_admits_and_recovers") else { return };
    for (failure, without, word) in [(FailurePolicy::Closed, 503, "refused"), (FailurePolicy::Open, 200, "let through")]
    {
        let name = if failure == FailurePolicy::Open { "open" } else { "closed" };
        let url = redis.url();
        let args = ["--host", "127.0.0.1", "--port", "0", "--rpm", "1000", "--limit-store", &url];
        let program = Program::start(&[&args[..], &["--limit-store-failure", name]].concat());
        let mut connection = Connection::open(program.address);
        let mut ask = || {
            let response = connection.chat(CHAT);
            (response.status, !told(&response).is_empty())
        };
        eventually("the server reaches its store", || ask() == (200, true));
        redis.kill();
        eventually("the server notices that its store is lost", || ask() == (without, false));
        for _ in 0..20 {
            assert_eq!(ask(), (without, false));
        }
        redis.resume();
        eventually("the server reaches its store again", || ask() == (200, true));
        program.signal("TERM");
        let (status, _, error) = program.end();
        assert!(status.success());
        let lines = |what: &str| error.lines().filter(|line| line.contains(what)).count();
        assert_eq!(lines("does not respond ("), lines("responds again; "), "{error}");
        assert!(lines("responds again; ") <= 3, "logged once each time: {error}");
        assert!(error.contains(word) && !error.contains("redis://"), "{error}");
    }
}

#[test]
fn a_silent_store_counts_as_failed() {
    // The system accepts connections, and nobody reads from them.
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("redis://{}", silent.local_addr().unwrap());
    let asked = Settings { rpm: Some(5), ..Settings::default() };
    let brief = Duration::from_millis(50);
    let refused = patient(&url, asked.clone(), &ManualClock::new(), brief);
    let response = Connection::open(refused.address()).chat(CHAT);
    assert_eq!(response.status, 503);
    assert_eq!(response.json()["error"]["code"], "service_unavailable");
    let open = Settings { limit_store_failure: Some(FailurePolicy::Open), ..asked };
    let passed = patient(&url, open, &ManualClock::new(), brief);
    assert_eq!(Connection::open(passed.address()).chat(CHAT).status, 200);
}

#[test]
fn client_keys_appear_neither_in_the_store_nor_in_the_log() {
    let Some(redis) = Redis::start("client_keys_appear_neither_in_the_store_nor_in_the_log") else { return };
    let url = redis.url();
    let mut fake = command(&["--host", "127.0.0.1", "--port", "0", "--rpm", "2", "--per", "key", "--access-log"]);
    let directory = Directory::new();
    let log = directory.path().join("log");
    let written = std::fs::File::create(&log).unwrap();
    fake.args(["--limit-store", &url]).env("RUST_LOG", "trace").stdout(Stdio::piped()).stderr(written);
    let mut program = Program::await_url(fake.spawn().unwrap());
    let mut connection = Connection::open(program.address);
    let secret = "sk-very-secret-key-of-mine";
    eventually("the server reaches its store", || connection.chat(CHAT).status != 503);
    for _ in 0..3 {
        let headers = format!("authorization: Bearer {secret}\r\n");
        connection.request("POST", "/v1/chat/completions", &headers, CHAT).unwrap();
        connection.post(&format!("/v1/chat/completions?a=1&key={secret}"), CHAT);
    }
    let keys = redis.ask("KEYS *");
    assert!(keys.contains("fake-openai:gcra:") && !keys.contains("secret"), "{keys}");
    program.signal("TERM");
    eventually("the program has ended", || program.has_ended());
    let log = std::fs::read_to_string(&log).unwrap();
    assert!(log.contains("/v1/chat/completions?a=1&key=…"), "{log}");
    assert!(!log.contains("secret"), "{log}");
}
