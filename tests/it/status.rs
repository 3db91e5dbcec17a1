//! The status of the server: one snapshot, one each second, and the line on a terminal.

use std::{
    io::{BufRead, BufReader},
    process::{Child, Command, Stdio},
    time::Duration,
};

use fake_openai::{Config, LimitSpec, Running};
use serde_json::Value;

use crate::{
    client::{CHAT, Connection, eventually, serve, skip_for_want_of},
    outcomes::metrics,
    program::Program,
};

const KEY: &str = "authorization: Bearer sk-a-key-that-nobody-may-see-4711\r\n";

/// Returns the status of all scopes.
pub fn status(server: &Running) -> Value {
    let response = Connection::open(server.address()).admin("GET", "/status", "");
    assert_eq!(response.status, 200, "{}", response.text());
    response.json()
}

fn chat(connection: &mut Connection, headers: &str, body: &str) -> u16 {
    connection.request("POST", "/v1/chat/completions", headers, body).unwrap().status
}

fn stream() -> String {
    CHAT.replacen('{', "{\"stream\":true,", 1)
}

/// Sends some requests of each kind.
pub fn send_traffic(server: &Running) {
    let mut connection = Connection::open(server.address());
    for _ in 0..5 {
        assert_eq!(chat(&mut connection, KEY, CHAT), 200);
        assert_eq!(chat(&mut connection, KEY, &stream()), 200);
    }
    assert_eq!(chat(&mut connection, &format!("{KEY}x-fake-openai: 503\r\n"), CHAT), 503);
    assert_eq!(chat(&mut connection, &format!("{KEY}x-fake-openai: 429\r\n"), CHAT), 429);
    let path = "/openai/deployments/eu-1/chat/completions?api-version=2024-06-01";
    assert_eq!(connection.request("POST", path, KEY, CHAT).unwrap().status, 200);
}

#[test]
fn the_numbers_are_those_of_metrics() {
    let server = serve(Config::for_test());
    send_traffic(&server);
    eventually("the status has all requests", || status(&server)["totals"]["outcomes"]["complete"] == 13);
    let (status, metrics) = (status(&server), metrics(&server));
    let sum = |start: &str, part: &str| -> f64 {
        metrics.iter().filter(|(name, _)| name.starts_with(start) && name.contains(part)).map(|(_, value)| value).sum()
    };
    for (code, count) in status["totals"]["by_status"].as_object().unwrap() {
        let label = format!("status=\"{code}\"");
        assert_eq!(count.as_f64().unwrap(), sum("fake_openai_requests_total{", &label), "{code}");
    }
    assert_eq!(status["totals"]["by_class"]["2xx"], 11);
    assert_eq!((&status["totals"]["by_class"]["429"], &status["totals"]["by_class"]["5xx"]), (&1.into(), &1.into()));
    for direction in ["input", "output"] {
        let label = format!("direction=\"{direction}\"");
        let tokens = status["totals"]["tokens"][direction].as_f64().unwrap();
        assert!(tokens > 0.0);
        assert_eq!(tokens, sum("fake_openai_tokens_total{", &label));
    }
    let model = &status["models"][0];
    assert_eq!((&model["model"], &model["requests"]), (&"gpt-4o".into(), &13.into()));
    assert_eq!(model["requests"].as_f64().unwrap(), sum("fake_openai_requests_total{", "model=\"gpt-4o\""));
    let deployment = &status["deployments"][0];
    assert_eq!((&deployment["deployment"], &deployment["requests"]), (&"eu-1".into(), &1.into()));
    let first = &status["latency_ms"]["first_token"];
    let counted = sum("fake_openai_time_to_first_token_seconds_count", "actual");
    assert_eq!(first["count"].as_f64().unwrap(), counted);
    assert!(first["actual"]["p99"].as_f64().unwrap() > 0.0 && first["intended"]["p99"] == 0.0, "{first}");
    let requests = status["requests"].as_array().unwrap();
    assert_eq!((requests.len(), &requests[0]["id"], &requests[12]["id"]), (13, &"req_13".into(), &"req_1".into()));
    assert_eq!((&requests[1]["status"], &requests[1]["faults"]), (&429.into(), &"429".into()));
    assert_eq!(status["findings"], serde_json::json!([]));
}

#[test]
fn each_second_has_its_requests() {
    let server = serve(Config::for_test());
    let seconds = |class: &str| -> u64 {
        let status = status(&server);
        status["rate"]["classes"][class].as_array().unwrap().iter().map(|count| count.as_u64().unwrap()).sum()
    };
    send_traffic(&server);
    eventually("the next sample", || (seconds("2xx"), seconds("429"), seconds("5xx")) == (11, 1, 1));
    Connection::open(server.address()).admin("POST", "/reset", "");
    eventually("the reset begins again", || seconds("2xx") == 0);
}

#[test]
fn open_streams_are_counted_until_they_end() {
    let fixtures = crate::streaming::endless();
    let server = serve(Config { fixtures: Some(fixtures.path().to_owned()), ..Config::for_test() });
    let mut reader = Connection::open(server.address());
    let body = stream();
    let head = format!("POST /endless HTTP/1.1\r\nhost: x\r\ncontent-length: {}\r\n\r\n{body}", body.len());
    reader.send(head.as_bytes()).unwrap();
    assert_eq!(reader.head().unwrap().status, 200);
    let open = || status(&server)["totals"]["open_streams"].as_u64().unwrap();
    eventually("the stream is open", || open() == 1 && metrics(&server)["fake_openai_streams_open"] == 1.0);
    Connection::open(server.address()).admin("POST", "/reset", "");
    eventually("a reset keeps it", || status(&server)["totals"]["received"] == 1 && open() == 1);
    drop(reader);
    eventually("the stream has ended", || open() == 0 && metrics(&server)["fake_openai_streams_open"] == 0.0);
}

#[test]
fn limits_are_those_of_the_newest_request_of_each_caller() {
    let limits = vec![LimitSpec { per: vec![fake_openai::Dimension::Key], ..LimitSpec::rpm(2) }];
    let server = serve(Config { limits, ..Config::for_test() });
    let mut connection = Connection::open(server.address());
    for expected in [200, 200, 429] {
        assert_eq!(chat(&mut connection, KEY, CHAT), expected);
    }
    assert_eq!(chat(&mut connection, "authorization: Bearer other\r\n", CHAT), 200);
    eventually("both callers are listed", || {
        let limits = status(&server)["limits"].take();
        let rows: Vec<_> = limits.as_array().unwrap().iter().map(|row| (&row["remaining"], &row["decision"])).collect();
        rows == [(&1.into(), &"allowed".into()), (&0.into(), &"refused".into())]
    });
}

#[test]
fn a_scope_has_a_status_of_its_own() {
    let server = serve(Config::for_test());
    let mut connection = Connection::open(server.address());
    assert_eq!(chat(&mut connection, "x-fake-openai: scope=t7\r\n", CHAT), 200);
    assert_eq!(chat(&mut connection, "", CHAT), 200);
    let received = |connection: &mut Connection, scope: &str| {
        let status = connection.admin("GET", &format!("/status?scope={scope}"), "").json();
        let requests = status["requests"].as_array().unwrap().len();
        (status["totals"]["received"].as_u64().unwrap(), requests)
    };
    eventually("each scope has its request", || {
        [received(&mut connection, "t7"), received(&mut connection, "")] == [(1, 1), (1, 1)]
    });
    assert_eq!(received(&mut connection, "none"), (0, 0));
    assert_eq!(status(&server)["scopes"], serde_json::json!([{"name": "t7", "requests": 1}]));
    // More scopes than have a history at once.
    for n in 0..40 {
        assert_eq!(received(&mut connection, &format!("s{n}")), (0, 0));
    }
}

#[test]
fn no_status_shows_a_key() {
    let server = serve(Config { admin_token: Some("the-admin-token".to_owned()), ..Config::for_test() });
    let mut connection = Connection::open(server.address());
    let key = "sk-a-key-that-nobody-may-see-4711";
    let paths = [format!("/v1/chat/completions?key={key}"), format!("/{key}/none"), "/v1/chat/completions".to_owned()];
    let body = CHAT.replace("gpt-4o", key);
    for path in paths {
        connection.request("POST", &path, KEY, &body).unwrap();
    }
    let token = "host: localhost\r\nauthorization: Bearer the-admin-token\r\ncontent-type: application/json\r\n";
    let rule = format!(r#"{{"fault": "503", "when": {{"model": "{key}"}}}}"#);
    assert_eq!(connection.request("POST", "/__admin/rules", token, &rule).unwrap().status, 201);
    let status = connection.request("GET", "/__admin/status", token, "").unwrap();
    assert!(!status.text().contains("nobody-may-see"), "{}", status.text());
    assert!(!status.text().contains("the-admin-token"));
    assert_eq!(status.json()["requests"].as_array().unwrap().len(), 3);
}

/// Opens an event stream.
fn events(server: &Running, query: &str) -> (Connection, crate::client::Response) {
    let mut connection = Connection::open(server.address());
    let head = format!("GET /__admin/events{query} HTTP/1.1\r\nhost: localhost\r\n\r\n");
    connection.send(head.as_bytes()).unwrap();
    let head = connection.head().unwrap();
    (connection, head)
}

/// Reads the next event.
fn next_event(connection: &mut Connection) -> Value {
    let chunk = String::from_utf8(connection.chunk().unwrap()).unwrap();
    let data = chunk.strip_prefix("data: ").and_then(|data| data.strip_suffix("\n\n"));
    let data = data.unwrap_or_else(|| panic!("{chunk}"));
    assert!(!data.contains('\n'), "an event is one line");
    serde_json::from_str(data).unwrap()
}

#[test]
fn an_event_a_second_has_the_status() {
    let server = serve(Config::for_test());
    let (mut reader, head) = events(&server, "");
    assert_eq!((head.status, head.header("content-type")), (200, "text/event-stream"));
    assert_eq!(next_event(&mut reader)["totals"]["received"], 0, "the first event comes at once");
    send_traffic(&server);
    eventually("an event has the requests", || next_event(&mut reader)["totals"]["received"] == 13);
    let (event, status) = (next_event(&mut reader), status(&server));
    let members = |value: &Value| value.as_object().unwrap().keys().cloned().collect::<Vec<_>>();
    assert_eq!(members(&event), members(&status));
    let (mut reader, _) = events(&server, "?scope=t7");
    assert_eq!(next_event(&mut reader)["scope"], "t7");
}

#[test]
fn an_open_event_stream_does_not_delay_stopping() {
    let server = serve(Config { drain: Duration::from_secs(3600), ..Config::for_test() });
    let (mut reader, _) = events(&server, "");
    next_event(&mut reader);
    let stopped = server.stop().unwrap();
    assert_eq!((stopped.taken, stopped.cut), (0, 0));
    eventually("the stream ends properly", || reader.chunk().unwrap().is_empty());
}

#[test]
fn event_streams_are_bounded() {
    let server = serve(Config::for_test());
    let mut open: Vec<_> = (0..32).map(|_| events(&server, "")).collect();
    assert!(open.iter().all(|(_, head)| head.status == 200));
    let mut connection = Connection::open(server.address());
    let refused = connection.admin("GET", "/events", "");
    assert_eq!(refused.status, 503);
    assert!(refused.text().contains("close a page, or poll GET /__admin/status"), "{}", refused.text());
    assert_eq!(connection.admin("GET", "/status", "").status, 200);
    open.pop();
    eventually("a place is free", || events(&server, "").1.status == 200);
}

/// Runs the program on a terminal of its own. Standard output has what the terminal shows.
#[cfg(target_os = "linux")]
fn on_terminal(args: &str) -> Option<Child> {
    if Command::new("script").arg("--version").stdout(Stdio::null()).status().is_err() {
        skip_for_want_of("script", "status line");
        return None;
    }
    // `exec`: not every shell gives way to the program, which is signalled as the child of `script`.
    let run = format!("exec {} --host 127.0.0.1 --port 0 {args}", env!("CARGO_BIN_EXE_fake-openai"));
    let mut script = Command::new("script");
    script
        .args(["-qefc", &run, "/dev/null"])
        .env("SHELL", "/bin/sh")
        .env("TERM", "xterm")
        .env_remove("RUST_LOG")
        .env_remove("NO_COLOR");
    Some(script.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().unwrap())
}

/// Reads until a part that ends with `end` contains `word`. Returns everything.
#[cfg(target_os = "linux")]
fn read_until(terminal: &mut impl BufRead, end: u8, word: &str) -> String {
    let mut all = Vec::new();
    loop {
        let from = all.len();
        assert!(terminal.read_until(end, &mut all).unwrap() > 0, "{}", String::from_utf8_lossy(&all));
        if String::from_utf8_lossy(&all[from..]).contains(word) {
            return String::from_utf8(all).unwrap();
        }
    }
}

#[test]
#[cfg(target_os = "linux")]
fn a_terminal_shows_one_line_that_never_mixes_with_the_log() {
    let Some(mut child) = on_terminal("--access-log") else { return };
    let mut terminal = BufReader::new(child.stdout.take().unwrap());
    let start = read_until(&mut terminal, b'\n', "http://");
    let url = start.trim().rsplit("http://").next().unwrap();
    let mut connection = Connection::open(url.parse::<std::net::SocketAddr>().unwrap());
    assert_eq!(connection.chat(CHAT).status, 200);
    let before = read_until(&mut terminal, b'h', "req/s ·");
    let (log, line) = before.rsplit_once("\r\x1b[K\x1b[?7l").unwrap();
    assert!(line.ends_with("0 streams\x1b[?7h"), "{line:?}");
    assert!(log.contains("POST /v1/chat/completions") && !log.contains("req/s"), "{log:?}");
    // A log line clears the status line, and it is drawn again below.
    assert_eq!(connection.get("/v1/models").status, 200);
    let logged = read_until(&mut terminal, b'\n', "GET /v1/models");
    let (_, logged) = logged.rsplit_once("\r\x1b[K").unwrap();
    assert!(!logged.contains("req/s"), "{logged:?}");
    let again = read_until(&mut terminal, b'h', "req/s ·");
    assert!(again.starts_with("\r\x1b[K\x1b[?7l"), "{again:?}");
    let found = Command::new("pkill").args(["-TERM", "-P", &child.id().to_string()]).status();
    assert!(found.unwrap().success());
    let end = read_until(&mut terminal, b'\n', "stopped: 2 requests taken");
    let (_, end) = end.rsplit_once("\r\x1b[K").unwrap();
    assert!(!end.contains("req/s"), "the line is gone: {end:?}");
    child.wait().unwrap();
}

#[test]
fn without_a_terminal_there_is_no_line() {
    let program = Program::start(&["--host", "127.0.0.1", "--port", "0"]);
    let mut connection = Connection::open(program.address);
    assert_eq!(connection.chat(CHAT).status, 200);
    eventually("two samples", || {
        let status = connection.admin("GET", "/status", "").json();
        status["rate"]["classes"]["2xx"].as_array().unwrap().len() > 1
    });
    program.signal("TERM");
    let (_, _, log) = program.end();
    assert!(!log.contains("req/s") && !log.contains('\r'), "{log}");
}
