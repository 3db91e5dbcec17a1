//! Trouble with a shared store: what requests hold there is given back, however the store or the way to it fails.

use std::{
    sync::atomic::{AtomicBool, Ordering},
    time::{Duration, Instant},
};

use fake_openai::{
    Running, Settings,
    core::clock::ManualClock,
    model::ContentSource,
    traffic::limit::{FailurePolicy, Window},
};

use crate::{
    client::{CHAT, Connection, eventually},
    program::Program,
    redis_server::{Proxy, Redis, connected, patient, server},
};

/// The patience of a server in use.
const BRIEF: Duration = Duration::from_millis(50);

fn one_slot() -> Settings {
    let lorem_tokens = Some("90000".to_owned());
    Settings { max_in_flight: Some(1), content: Some(ContentSource::Lorem), lorem_tokens, ..Settings::default() }
}

/// Begins a stream that does not end while the test runs.
fn stream(address: std::net::SocketAddr) -> Connection {
    let long = r#"{"model":"fake","messages":[{"role":"user","content":"Hi"}],"stream":true,"max_tokens":90000}"#;
    let head = format!("POST /v1/chat/completions HTTP/1.1\r\nhost: a\r\ncontent-length: {}\r\n\r\n{long}", long.len());
    let mut connection = Connection::open(address);
    eventually("the stream gets a slot", || {
        connection.send(head.as_bytes()).unwrap();
        let begun = connection.head().unwrap();
        if begun.status != 200 {
            connection = Connection::open(address);
        }
        begun.status == 200
    });
    connection
}

fn status(server: &Running) -> u16 {
    Connection::open(server.address()).chat(CHAT).status
}

#[test]
fn slots_are_free_after_the_store_paused() {
    let Some(redis) = Redis::start("slots_are_free_after_the_store_paused") else { return };
    for (failure, without) in [(FailurePolicy::Closed, 503), (FailurePolicy::Open, 200)] {
        let settings = Settings { limit_store_failure: Some(failure), ..one_slot() };
        // The clock stands still, so no lease ends by itself.
        let server = patient(&redis.url(), settings, &ManualClock::new(), BRIEF);
        let before = redis.scripts_run();
        eventually("the server reaches its store", || {
            status(&server);
            redis.scripts_run() > before
        });
        eventually("the slot is given back", || redis.held() == 0);
        redis.signal("STOP");
        // Longer than a silent connection is kept, so that requests are sent on several.
        let paused = Instant::now();
        while paused.elapsed() < Duration::from_millis(1300) {
            assert_eq!(status(&server), without);
        }
        redis.signal("CONT");
        // With a server that refuses meanwhile, requests go on until the store decides again.
        eventually("no slot is taken", || status(&server) == 200 && redis.held() == 0);
        let mut running = None;
        eventually("a stream gets the slot", || {
            running = Some(stream(server.address()));
            redis.held() == 1
        });
        eventually("the store decides", || status(&server) == 429);
    }
}

#[test]
fn a_slot_is_held_for_as_long_as_its_response_runs() {
    let Some(mut redis) = Redis::start("a_slot_is_held_for_as_long_as_its_response_runs") else { return };
    let clock = ManualClock::new();
    let servers = [(); 2].map(|()| server(&redis.url(), one_slot(), &clock));
    servers.iter().for_each(connected);
    let running = stream(servers[0].address());
    // Three leases in all.
    for second in (3..=30).step_by(3) {
        clock.advance(Duration::from_secs(3));
        let ends = format!("{}", (second + 10) * 1_000_000);
        let bucket = redis.buckets().pop().unwrap();
        eventually("the lease is renewed", || redis.ask(&format!("ZRANGE {bucket} 0 -1 WITHSCORES")).contains(&ends));
        assert_eq!(status(&servers[1]), 429);
    }
    redis.kill();
    redis.resume();
    clock.advance(Duration::from_secs(3));
    eventually("the empty store learns of it", || redis.held() == 1);
    eventually("the other server reaches the store", || status(&servers[1]) == 429);
    drop(running);
    eventually("the slot is free", || status(&servers[1]) == 200);
}

#[test]
fn a_killed_server_holds_no_slot_for_long() {
    let Some(redis) = Redis::start("a_killed_server_holds_no_slot_for_long") else { return };
    let url = redis.url();
    let args = ["--host", "127.0.0.1", "--port", "0", "--max-in-flight", "1", "--limit-store", &url];
    let [killed, other] =
        [(); 2].map(|()| Program::start(&[&args[..], &["--content", "lorem", "--lorem-tokens", "90000"]].concat()));
    let _stream = stream(killed.address);
    let mut connection = Connection::open(other.address);
    eventually("the other server reaches the store", || connection.chat(CHAT).status == 429);
    killed.signal("KILL");
    eventually("the lease has ended", || connection.chat(CHAT).status == 200);
}

#[test]
fn a_stopped_server_holds_no_slot() {
    let Some(redis) = Redis::start("a_stopped_server_holds_no_slot") else { return };
    let url = redis.url();
    let args = ["--host", "127.0.0.1", "--port", "0", "--max-in-flight", "3", "--limit-store", &url];
    let program =
        Program::start(&[&args[..], &["--content", "lorem", "--lorem-tokens", "90000", "--drain", "0s"]].concat());
    let _streams = [(); 3].map(|()| stream(program.address));
    assert_eq!(redis.held(), 3);
    program.signal("TERM");
    assert!(program.end().0.success());
    assert_eq!(redis.held(), 0);
}

#[test]
fn a_request_that_was_given_up_is_charged_nothing() {
    let Some(redis) = Redis::start("a_request_that_was_given_up_is_charged_nothing") else { return };
    for window in [Window::Gcra, Window::Fixed, Window::Sliding] {
        let proxy = Proxy::start(&redis);
        // A day, so that no bucket is full again before it is looked at.
        let settings = Settings { rpd: Some(1000), window: Some(window), ..Settings::default() };
        let server = patient(&proxy.url(), settings, &ManualClock::new(), BRIEF);
        eventually("the server reaches its store", || status(&server) == 200);
        proxy.delay(Duration::from_millis(200));
        eventually("a request gives up", || status(&server) == 503);
        redis.ask("FLUSHALL");
        let used = || redis.bucket().first().copied();
        eventually("the store charges a request that gives up", || {
            assert_eq!(status(&server), 503);
            used() > Some(0.0)
        });
        proxy.delay(Duration::ZERO);
        eventually("late decisions are withdrawn", || used() == Some(0.0));
        eventually("the store decides again", || status(&server) == 200);
    }
}

#[test]
fn a_demoted_store_gets_everything_back_when_it_is_promoted() {
    let Some(redis) = Redis::start("a_demoted_store_gets_everything_back_when_it_is_promoted") else { return };
    let server = server(&redis.url(), one_slot(), &ManualClock::new());
    connected(&server);
    let running = stream(server.address());
    // A replica refuses scripts that write.
    assert!(redis.ask("REPLICAOF 127.0.0.1 1").starts_with("+OK"));
    eventually("the store counts as lost", || status(&server) == 503);
    drop(running);
    assert_eq!((status(&server), redis.held()), (503, 1));
    assert!(redis.ask("REPLICAOF NO ONE").starts_with("+OK"));
    eventually("the slot is given back", || redis.held() == 0);
    eventually("the store decides again", || status(&server) == 200);
}

#[test]
fn connections_cut_under_load_leave_nothing_behind() {
    let Some(redis) = Redis::start("connections_cut_under_load_leave_nothing_behind") else { return };
    let proxy = Proxy::start(&redis);
    let settings = Settings { max_in_flight: Some(1000), ..Settings::default() };
    let server = server(&proxy.url(), settings, &ManualClock::new());
    connected(&server);
    let over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                let mut connection = Connection::open(server.address());
                while !over.load(Ordering::SeqCst) {
                    let status = connection.chat(CHAT).status;
                    assert!(matches!(status, 200 | 503), "{status}");
                }
            });
        }
        for _ in 0..20 {
            let before = redis.scripts_run();
            eventually("the store decides", || redis.scripts_run() >= before + 20);
            proxy.cut();
        }
        over.store(true, Ordering::SeqCst);
    });
    eventually("no slot is taken", || redis.held() == 0);
    eventually("the server has recovered", || status(&server) == 200);
}
