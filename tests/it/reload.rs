//! Reload: SIGHUP replaces fixtures and settings while the server runs.

use std::{
    fs,
    io::{BufRead, BufReader},
    process::Stdio,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread,
};

use fake_openai::{Config, LimitSpec, Window, clock::ManualClock};

use crate::{
    client::{CHAT, Connection, eventually, serve},
    program::{Directory, Program, command},
};

/// A program with a configuration file and a fixture directory, whose log is read as it is written.
struct Reloading {
    program: Program,
    log: Arc<Mutex<String>>,
    directory: Directory,
}

impl Reloading {
    fn start(config: &str, replies: &str) -> Reloading {
        let directory = Directory::with(&[("fake.yaml", config), ("fixtures/replies.json", replies)]);
        let config = directory.path().join("fake.yaml");
        let args = ["--host", "127.0.0.1", "--port", "0", "--config", config.to_str().unwrap()];
        let mut child = command(&args).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let stderr = BufReader::new(child.stderr.take().unwrap());
        let log = Arc::new(Mutex::new(String::new()));
        let written = Arc::clone(&log);
        thread::spawn(move || {
            for line in stderr.lines().map_while(Result::ok) {
                *written.lock().unwrap() += &(line + "\n");
            }
        });
        Reloading { program: Program::await_url(child), log, directory }
    }

    fn write(&self, name: &str, text: &str) {
        fs::write(self.directory.path().join(name), text).unwrap();
    }

    /// Sends SIGHUP, and returns what is logged of it.
    fn reload(&self) -> String {
        let before = self.log.lock().unwrap().len();
        self.program.signal("HUP");
        let logged = || self.log.lock().unwrap()[before..].to_owned();
        eventually("the reload is logged", || logged().contains("SIGHUP"));
        logged()
    }

    fn text(&self) -> String {
        let response = Connection::open(self.program.address).chat(CHAT).json();
        response["choices"][0]["message"]["content"].as_str().unwrap().to_owned()
    }
}

#[test]
fn sighup_reloads_fixtures_rules_and_limits_and_logs_what_changed() {
    let fake = Reloading::start("fixtures: fixtures\nrpm: 100\n", r#"[{"text": "one"}]"#);
    assert_eq!(fake.text(), "one");
    fake.write("fixtures/replies.json", r#"[{"text": "two"}]"#);
    fake.write("fake.yaml", "fixtures: fixtures\nrpm: 200\nport: 9\nrules: [{when: {model: slow}, fault: '503'}]\n");
    let log = fake.reload();
    assert!(log.contains("SIGHUP: reloaded, changed: rules, limits, replies.json"), "{log}");
    assert_eq!(fake.text(), "two");
    let mut connection = Connection::open(fake.program.address);
    let response = connection.chat(CHAT);
    assert_eq!(response.headers["x-ratelimit-limit-requests"], "200");
    assert_eq!(connection.chat(&CHAT.replace("gpt-4o", "slow")).status, 503);
    let log = fake.reload();
    assert!(log.contains("SIGHUP: reloaded, nothing changed"), "{log}");
}

#[test]
fn a_setting_that_cannot_change_is_reported_as_needing_a_restart() {
    let fake = Reloading::start("drain: 1s\n", "[]");
    fake.write("fake.yaml", "drain: 2s\nworkers: 3\n");
    let log = fake.reload();
    assert!(log.contains("restart the server to change workers, drain"), "{log}");
}

#[test]
fn a_bad_reload_keeps_the_old_state_and_reports_why() {
    let fake = Reloading::start("fixtures: fixtures\n", r#"[{"text": "one"}]"#);
    fake.write("fixtures/replies.json", r#"[{"txt": "two"}]"#);
    let log = fake.reload();
    assert!(log.contains("not reloaded") && log.contains("replies.json") && log.contains("txt"), "{log}");
    assert_eq!(fake.text(), "one");
    fake.write("fake.yaml", "rpmm: 3\n");
    let log = fake.reload();
    assert!(log.contains("not reloaded") && log.contains("fake.yaml") && log.contains("rpmm"), "{log}");
    assert_eq!(fake.text(), "one");
    fs::remove_file(fake.directory.path().join("fake.yaml")).unwrap();
    assert!(fake.reload().contains("not reloaded"));
    assert_eq!(fake.text(), "one");
}

#[test]
fn reloads_under_load_lose_no_request() {
    let fake = Reloading::start("fixtures: fixtures\n", r#"[{"text": "one"}]"#);
    let (done, stop) = (AtomicU64::new(0), AtomicBool::new(false));
    thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                let mut connection = Connection::open(fake.program.address);
                while !stop.load(Ordering::SeqCst) {
                    assert_eq!(connection.chat(CHAT).status, 200);
                    done.fetch_add(1, Ordering::SeqCst);
                }
            });
        }
        for n in 0..5 {
            let before = done.load(Ordering::SeqCst);
            eventually("requests go on", || done.load(Ordering::SeqCst) > before + 20);
            fake.write("fixtures/replies.json", &format!(r#"[{{"text": "reply {n}"}}]"#));
            assert!(fake.reload().contains("replies.json"));
        }
        stop.store(true, Ordering::SeqCst);
    });
    assert_eq!(fake.text(), "reply 4");
}

#[test]
fn a_limit_whose_number_changes_keeps_its_buckets() {
    let clock = ManualClock::new();
    let limited = |quota| Config {
        limits: vec![LimitSpec { window: Window::Fixed, ..LimitSpec::rpm(quota) }],
        clock: clock.clone().into(),
        ..Config::for_test()
    };
    let server = serve(limited(3));
    let mut connection = Connection::open(server.address());
    let mut statuses = |count| (0..count).map(|_| connection.chat(CHAT).status).collect::<Vec<_>>();
    assert_eq!(statuses(4), [200, 200, 200, 429]);
    let reloaded = server.reloader().reload(limited(6)).unwrap();
    assert_eq!(reloaded.changed, ["limits"]);
    // Three of six are used.
    assert_eq!(statuses(4), [200, 200, 200, 429]);
    server.reloader().reload(Config { limits: Vec::new(), ..limited(6) }).unwrap();
    assert_eq!(statuses(2), [200, 200]);
}
