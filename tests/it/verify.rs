//! Verification: the requests that were received against those that a test expects.

use std::{thread, time::Duration};

use fake_openai::{Config, JournalSpec, Matcher, Outcome, Running, TextPattern, Times};
use serde_json::{Value, json};

use crate::{
    client::{CHAT, Connection, PATIENCE, Response, eventually, serve},
    program::{Program, command},
};

/// Longer than any wait that a test ends by a request.
const LONG: &str = "10m";

fn post(server: &Running, body: &Value) -> Response {
    Connection::open(server.address()).admin("POST", "/verify", &body.to_string())
}

/// Verifies, and returns the number of matching requests, or the result that shows what is wrong.
fn verify(server: &Running, body: Value) -> Result<u64, Value> {
    let response = post(server, &body);
    match response.status {
        200 => {
            assert_eq!(response.json()["ok"], true);
            Ok(response.json()["matched"].as_u64().unwrap())
        }
        422 => Err(response.json()),
        status => panic!("{status}: {}", response.text()),
    }
}

fn chat(server: &Running, model: &str, user: &str) {
    let body = json!({"model": model, "messages": [{"role": "user", "content": user}]}).to_string();
    assert_eq!(Connection::open(server.address()).chat(&body).status, 200);
}

#[test]
fn requests_are_counted_by_every_condition() {
    let server = serve(Config::for_test());
    let body = json!({
        "model": "gpt-4o", "stream": true, "metadata": {"test": "a"},
        "messages": [{"role": "system", "content": "be brief"}, {"role": "user", "content": "weather in Rome"}],
        "tools": [{"type": "function", "function": {"name": "get_weather"}}],
    });
    let mut connection = Connection::open(server.address());
    let sent =
        connection.request("POST", "/v1/chat/completions?a=b%20c", "x-team: red\r\n", &body.to_string()).unwrap();
    assert_eq!(sent.status, 200);
    assert_eq!(connection.get("/nowhere?x=1").status, 404);
    for (name, value) in [
        ("model", json!("gpt-4*")),
        ("path", json!("/v1/chat/*")),
        ("method", json!("POST")),
        ("user", json!({"regex": "^weather"})),
        ("system", json!("be brief")),
        ("tool", json!("get_*")),
        ("tool_result", json!(false)),
        ("turn", json!(1)),
        ("stream", json!(true)),
        ("header", json!({"X-Team": "red"})),
        ("query", json!({"a": "b c"})),
        ("body", json!({"metadata.test": "a", "stream": true})),
        ("status", json!(200)),
        ("outcome", json!("complete")),
    ] {
        let when = json!({name: value, "path": "/v1/chat/*"});
        let within = json!({"when": when, "count": 1, "within": LONG});
        assert_eq!(verify(&server, within), Ok(1), "{name}");
    }
    assert_eq!(verify(&server, json!({"when": {"status": "4xx", "method": "GET"}, "count": 1})), Ok(1));
    assert_eq!(verify(&server, json!({})), Ok(2), "without conditions every request matches");
    assert_eq!(verify(&server, json!({"count": {"at_least": 2, "at_most": 3}})), Ok(2));
    assert_eq!(verify(&server, json!({"when": {"model": "o3"}, "count": 0})), Ok(0));
}

#[test]
fn a_failure_has_the_matching_and_the_nearest_requests() {
    let server = serve(Config::for_test());
    let nothing = verify(&server, json!({"count": 1})).unwrap_err();
    assert_eq!(nothing["nearest"], Value::Null);
    assert!(nothing["message"].as_str().unwrap().ends_with("\nno request was received"), "{nothing}");
    for (model, user) in [("gpt-4o", "Hi"), ("gpt-4o", "Hi"), ("gpt-4o-mini", "Hi"), ("o3", "Bye")] {
        chat(&server, model, user);
    }
    let few = verify(&server, json!({"when": {"model": "gpt-4o", "user": "Hi"}, "count": 3})).unwrap_err();
    assert_eq!(
        few,
        json!({
            "ok": false,
            "expected": "exactly 3",
            "matched": 2,
            "entries": ["req_1", "req_2"],
            "nearest": {"id": "req_3", "mismatches": [r#"model: expected "gpt-4o", got "gpt-4o-mini""#]},
            "message": "expected exactly 3 matching requests, got 2: req_1, req_2\nthe nearest request is req_3:\n  \
                        model: expected \"gpt-4o\", got \"gpt-4o-mini\"",
        })
    );
    let many = verify(&server, json!({"when": {"user": "Hi"}, "count": {"at_most": 2}})).unwrap_err();
    assert_eq!((&many["expected"], &many["matched"]), (&json!("at most 2"), &json!(3)));
    assert_eq!(many["message"], "expected at most 2 matching requests, got 3: req_1, req_2, req_3");
}

#[test]
fn mismatches_show_no_secret() {
    let server = serve(Config::for_test());
    let key = "plain-key-0123456789";
    let headers = format!("authorization: Bearer {key}\r\nx-note: {key}\r\n");
    let body = CHAT.replace("Hi", key);
    Connection::open(server.address())
        .request("POST", "/v1/chat/completions?key=s3cr3ts3cr3t", &headers, &body)
        .unwrap();
    let when = json!({"header": {"authorization": "x", "x-note": "x"}, "query": {"key": "x"}, "user": "x"});
    let failed = verify(&server, json!({"when": when})).unwrap_err();
    assert_eq!(failed["nearest"]["mismatches"].as_array().unwrap().len(), 4);
    assert!(!failed.to_string().contains(key) && !failed.to_string().contains("s3cr3t"), "{failed}");
}

#[test]
fn an_order_allows_other_requests_between_its_steps() {
    let server = serve(Config::for_test());
    for user in ["one", "two", "three"] {
        chat(&server, "gpt-4o", user);
    }
    assert_eq!(verify(&server, json!({"in_order": [{"user": "one"}, {"user": "three"}]})), Ok(2));
    let wrong = verify(&server, json!({"in_order": [{"user": "two"}, {"user": "one"}]})).unwrap_err();
    assert_eq!((&wrong["expected"], &wrong["matched"], &wrong["step"]), (&json!("2 in order"), &json!(1), &json!(2)));
    assert_eq!(wrong["nearest"], json!({"id": "req_3", "mismatches": [r#"user: expected "one", got "three""#]}));
    let last = verify(&server, json!({"in_order": [{"user": "three"}, {"user": "three"}]})).unwrap_err();
    let message = "expected 2 requests in order, 1 matched: req_3\nno request came after req_3";
    assert_eq!((&last["nearest"], &last["message"]), (&Value::Null, &json!(message)));
}

#[test]
fn within_waits_for_requests_that_come_later() {
    let server = serve(Config::for_test());
    thread::scope(|threads| {
        let waiting = threads.spawn(|| verify(&server, json!({"when": {"user": "late"}, "count": 2, "within": LONG})));
        let in_order = json!({"in_order": [{"user": "late"}, {"user": "late", "outcome": "complete"}], "within": LONG});
        let ordered = threads.spawn(|| verify(&server, in_order));
        // Fails as soon as one request is too many.
        let never = json!({"when": {"user": "late"}, "count": 0, "within": LONG});
        let never = threads.spawn(|| verify(&server, never));
        for _ in 0..2 {
            chat(&server, "gpt-4o", "late");
        }
        assert_eq!(waiting.join().unwrap(), Ok(2));
        assert_eq!(ordered.join().unwrap(), Ok(2));
        assert_eq!(never.join().unwrap().unwrap_err()["expected"], "exactly 0");
    });
    assert_eq!(verify(&server, json!({"when": {"user": "none"}, "count": 0, "within": "50ms"})), Ok(0));
    assert_eq!(verify(&server, json!({"when": {"user": "none"}, "within": "50ms"})).unwrap_err()["matched"], 0);
}

#[test]
fn a_wait_ends_with_the_server_and_does_not_delay_its_stop() {
    let server = serve(Config::for_test());
    let mut connection = Connection::open(server.address());
    let body = format!(r#"{{"within": "{LONG}"}}"#);
    let head = "POST /__admin/verify HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n";
    connection.send(format!("{head}content-length: {}\r\n\r\n{body}", body.len()).as_bytes()).unwrap();
    // A later request on another connection is served, so the call above has begun to wait, or soon will.
    assert_eq!(Connection::open(server.address()).admin("GET", "/scopes", "").status, 200);
    let stopping = thread::spawn(move || server.stop().unwrap());
    let response = connection.response(false).unwrap();
    assert_eq!(response.status, 422);
    assert_eq!(stopping.join().unwrap().cut, 0);
}

#[test]
fn open_responses_count_unless_a_condition_is_about_their_end() {
    let server = serve(Config::for_test());
    let mut connection = Connection::open(server.address());
    let head = format!(
        "POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\nx-fake-openai: hang\r\ncontent-length: {}\r\n\r\n{CHAT}",
        CHAT.len()
    );
    connection.send(head.as_bytes()).unwrap();
    assert_eq!(verify(&server, json!({"when": {"model": "gpt-4o"}, "count": 1, "within": LONG})), Ok(1));
    let open = verify(&server, json!({"when": {"outcome": "client_left"}})).unwrap_err();
    assert_eq!(
        open["nearest"]["mismatches"],
        json!([r#"outcome: expected "client_left", got a response that is still open"#])
    );
    drop(connection);
    assert_eq!(verify(&server, json!({"when": {"outcome": "client_left"}, "within": LONG})), Ok(1));
}

#[test]
fn scopes_are_verified_by_themselves() {
    let server = serve(Config::for_test());
    for path in ["/v1/chat/completions", "/~scope=t7/v1/chat/completions", "/~scope=t8/v1/chat/completions"] {
        assert_eq!(Connection::open(server.address()).post(path, CHAT).status, 200);
    }
    // The path is that after the scope, as rules see it.
    let when = json!({"path": "/v1/chat/completions"});
    for (scope, count) in [(json!(null), 3), (json!("t7"), 1), (json!(""), 1), (json!("none"), 0)] {
        assert_eq!(verify(&server, json!({"scope": scope, "when": when, "count": count})), Ok(count), "{scope}");
    }
    let nearest = verify(&server, json!({"scope": "t8", "when": {"model": "o3"}})).unwrap_err();
    assert_eq!(nearest["nearest"]["id"], "req_3");
    let by_query = Connection::open(server.address()).admin("POST", "/verify?scope=t7", r#"{"count": 1}"#);
    assert_eq!(by_query.status, 200);
}

#[test]
fn wrong_verifications_are_refused_with_a_remedy() {
    let server = serve(Config::for_test());
    for (body, part) in [
        (json!({"wen": {}}), "did you mean `when`?"),
        (json!({"when": {"modle": "x"}}), "did you mean `model`?"),
        (json!({"when": {"user": {"regex": "("}}}), "unclosed group"),
        (json!({"count": -1}), "write a number such as 2"),
        (json!({"count": {"at_least": 2, "at_most": 1}}), "give at_most 2 or more"),
        (json!({"within": "soon"}), "give one such as 2s"),
        (json!({"within": "2h"}), "give 1h or less"),
        (json!({"scope": "a b"}), "write scope="),
        (json!({"in_order": []}), "give 1 to 1000"),
        (json!({"in_order": [{}], "count": 1}), "send two verifications"),
    ] {
        let refused = post(&server, &body);
        assert_eq!(refused.status, 400, "{body}");
        assert!(refused.text().contains(part), "{body}: {}", refused.text());
    }
    let long = json!({"when": {"user": "x".repeat(65 << 10)}});
    assert_eq!(post(&server, &long).status, 413);
    let refused =
        Connection::open(server.address()).admin("POST", "/rules", r#"{"when": {"status": 200}, "fault": "503"}"#);
    assert_eq!(refused.status, 400);
    assert!(refused.text().contains("`status` is known only after"), "{}", refused.text());
    let off = serve(Config { journal: JournalSpec { entries: 0, ..JournalSpec::default() }, ..Config::for_test() });
    let refused = post(&off, &json!({}));
    assert_eq!(refused.status, 409);
    assert!(refused.text().contains("--journal 1000"), "{}", refused.text());
}

#[test]
fn a_body_that_is_not_kept_whole_meets_no_condition_on_it() {
    let server = serve(Config { journal: JournalSpec { body: 16, ..JournalSpec::default() }, ..Config::for_test() });
    chat(&server, "gpt-4o", "Hi");
    assert_eq!(verify(&server, json!({"when": {"model": "gpt-4o"}})), Ok(1));
    let failed = verify(&server, json!({"when": {"user": "Hi"}})).unwrap_err();
    let mismatch = r#"user: expected "Hi", got a body of which the journal kept only 16 bytes; raise --journal-body"#;
    assert_eq!(failed["nearest"]["mismatches"], json!([mismatch]));
}

#[test]
fn a_full_journal_is_reported() {
    let server = serve(Config { journal: JournalSpec { entries: 2, ..JournalSpec::default() }, ..Config::for_test() });
    for _ in 0..3 {
        chat(&server, "gpt-4o", "Hi");
    }
    let failed = verify(&server, json!({"count": 3})).unwrap_err();
    assert!(failed["message"].as_str().unwrap().contains("it has the newest 2 requests; start"), "{failed}");
}

#[test]
fn verification_changes_no_response() {
    let body = |verifies: bool| {
        let server = serve(Config { seed: Some(7), ..Config::for_test() });
        let mut connection = Connection::open(server.address());
        connection.chat(CHAT);
        if verifies {
            assert_eq!(verify(&server, json!({"when": {"user": "Hi"}})), Ok(1));
        }
        connection.chat(CHAT).body
    };
    assert_eq!(body(true), body(false));
}

#[test]
fn the_list_of_requests_is_filtered() {
    let server = serve(Config::for_test());
    let mut connection = Connection::open(server.address());
    let key = "authorization: Bearer sk-0123456789abcdef\r\n";
    connection.request("POST", "/v1/chat/completions", key, CHAT).unwrap();
    connection.post("/~scope=t7~call=mine/v1/chat/completions", &CHAT.replace("gpt-4o", "o3"));
    connection.post("/openai/deployments/prod/chat/completions?api-version=2024-10-21", CHAT);
    connection.get("/nowhere");
    let mut list = |query: &str| {
        let response = connection.admin("GET", &format!("/requests?{query}"), "");
        assert_eq!(response.status, 200, "{query}: {}", response.text());
        let list = response.json()["requests"].as_array().unwrap().clone();
        list.iter().map(|entry| entry["seq"].as_u64().unwrap()).collect::<Vec<_>>()
    };
    let hash = {
        let entry = Connection::open(server.address()).admin("GET", "/requests/req_1", "").json();
        entry["client"]["key_hash"].as_str().unwrap().to_owned()
    };
    for (query, numbers) in [
        ("scope=t7", &[2][..]),
        ("scope=", &[1, 3, 4]),
        ("deployment=prod", &[3]),
        ("route=openai/*", &[1, 2]),
        ("model=gpt-4*", &[1, 3]),
        ("model=o3&scope=t7", &[2]),
        ("model=o3&scope=", &[]),
        ("status=404", &[4]),
        ("status=2xx", &[1, 2, 3]),
        (&format!("key_hash={hash}"), &[1]),
        ("outcome=complete", &[1, 2, 3, 4]),
        ("outcome=client_left", &[]),
        ("since=1h", &[1, 2, 3, 4]),
        ("until=1h", &[]),
        ("since=2020-01-01T00:00:00Z&until=2020-01-01T00:00:01Z", &[]),
        ("when=%7B%22user%22%3A%22Hi%22%7D", &[1, 2, 3]),
        ("when=%7B%22model%22%3A%22o3%22%7D&status=200", &[2]),
        ("call=c_2", &[4]),
        ("call=mine", &[2]),
    ] {
        let numbers = numbers.to_vec();
        // The end of a request is recorded after its response was sent.
        eventually(query, || list(query) == numbers);
    }
    for (wrong, part) in [
        ("modle=x", "did you mean `model`?"),
        ("colour=x", "the parameters are scope, "),
        ("status=2000", "is not a status"),
        ("outcome=completed", "did you mean `complete`?"),
        ("since=yesterday", "give one such as"),
        ("when=%7B", "The parameter `when` is wrong"),
        ("when=%7B%22usr%22%3A%22Hi%22%7D", "did you mean `user`?"),
        ("model=gpt-[45]", "character classes are not supported"),
        ("format=xml", "give json or jsonl"),
    ] {
        let refused = Connection::open(server.address()).admin("GET", &format!("/requests?{wrong}"), "");
        assert_eq!(refused.status, 400, "{wrong}");
        assert!(refused.text().contains(part), "{wrong}: {}", refused.text());
    }
}

#[test]
fn requests_are_sent_as_lines() {
    let server = serve(Config::for_test());
    for _ in 0..150 {
        chat(&server, "gpt-4o", "Hi");
    }
    let mut connection = Connection::open(server.address());
    let mut lines = |query: &str| {
        let response = connection.admin("GET", &format!("/requests?format=jsonl{query}"), "");
        assert_eq!((response.status, response.header("content-type")), (200, "application/x-ndjson"));
        let numbers = response.text().lines().map(|line| serde_json::from_str::<Value>(line).unwrap()["seq"].as_u64());
        numbers.map(Option::unwrap).collect::<Vec<_>>()
    };
    assert_eq!(lines(""), (1..=150).collect::<Vec<_>>());
    assert_eq!(lines("&order=desc&limit=2"), [150, 149]);
    assert_eq!(lines("&model=none"), [0; 0]);
}

/// Runs `fake-openai verify`, and returns its exit status, standard output and standard error.
fn run_verify(url: &str, args: &[&str]) -> (i32, String, String) {
    let output = command(&[&["verify", url], args].concat()).output().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    (output.status.code().unwrap(), text(output.stdout), text(output.stderr))
}

#[test]
fn the_command_reports_by_its_exit_status() {
    let program = Program::start(&["--host", "127.0.0.1", "--port", "0", "--admin-token", "t0ken"]);
    for path in ["/v1/chat/completions", "/~scope=t7/v1/chat/completions"] {
        assert_eq!(Connection::open(program.address).post(path, CHAT).status, 200);
    }
    let url = program.url.as_str();
    let verify = |args: &[&str]| run_verify(url, &[&["--admin-token", "t0ken"], args].concat());
    let when = r#"{"model": "gpt-4o"}"#;
    assert_eq!(verify(&["--when", when, "--count", "2"]), (0, "ok: 2 requests match\n".to_owned(), String::new()));
    assert_eq!(verify(&["--scope", "t7", "--at-least", "1", "--at-most", "1"]).1, "ok: 1 request matches\n");
    assert_eq!(verify(&["--in-order", &format!("[{when}, {{}}]"), "--within", "1s"]).0, 0);
    let (code, out, error) = verify(&["--when", r#"{"model": "o3"}"#, "--count", "1", "--within", "10ms"]);
    assert_eq!((code, out.as_str()), (1, ""));
    let nearest = "the nearest request is req_2:\n  model: expected \"o3\", got \"gpt-4o\"\n";
    assert_eq!(error, format!("expected exactly 1 matching request, got 0\n{nearest}"));
    for (args, part) in [
        (&["--when", r#"{"modle": "o3"}"#][..], "did you mean `model`?"),
        (&["--when", "{"], "--when"),
        (&["--when", "[]"], "write an object such as"),
        (&["--in-order", "[[]]"], "write an object such as"),
        (&["--count", "1", "--at-least", "1"], "--at-least"),
        (&["--within", "soon"], "give one such as 2s"),
        (&["--scope", "a b"], "write scope="),
        (&["--within", "2h"], "give 1h or less"),
        (&["--in-order", "[]"], "give 1 to 1000"),
    ] {
        let (code, _, error) = verify(args);
        assert_eq!(code, 2, "{args:?}: {error}");
        assert!(error.starts_with("error: ") && error.contains(part), "{args:?}: {error}");
    }
    let (code, _, error) = run_verify(url, &[]);
    assert!(code == 2 && error.contains(url) && error.contains("--admin-token"), "{error}");
    assert_eq!(run_verify("ftp://x", &[]).0, 2);
    let (code, _, error) = run_verify("http://127.0.0.1:99999", &[]);
    assert!(code == 2 && error.contains("`99999` is not a port"), "{error}");
    let mut with_environment = command(&["verify", url]);
    assert!(with_environment.env("FAKE_OPENAI_ADMIN_TOKEN", "t0ken").output().unwrap().status.success());
    let url = program.url.clone();
    drop(program);
    let (code, _, error) = run_verify(&url, &[]);
    assert!(code == 1 && error.contains("check that the server is running"), "{error}");
}

#[test]
fn a_test_in_rust_reads_and_verifies_requests() {
    let server = serve(Config::for_test());
    let headers = "authorization: Bearer sk-0123456789abcdef\r\nx-team: red\r\n";
    let sent = Connection::open(server.address()).request("POST", "/v1/chat/completions?a=1", headers, CHAT).unwrap();
    assert_eq!(sent.status, 200);
    eventually("the request has ended", || server.requests()[0].outcome() == Some(Outcome::Complete));
    let [request] = &server.requests()[..] else { panic!("one request was sent") };
    assert_eq!((request.method(), request.path(), request.query()), ("POST", "/v1/chat/completions", "a=1"));
    assert_eq!((request.model(), request.status(), request.is_stream()), ("gpt-4o", Some(200), false));
    assert_eq!((request.header("X-Team"), request.header("none")), (Some("red"), None));
    assert_eq!(request.header("authorization"), Some("Bearer sk-0123456789abcdef"));
    assert_eq!(request.body(), serde_json::from_str(CHAT).ok());
    assert_eq!(request.to_json()["response"]["body"], sent.json());
    assert!(!format!("{request:?}").contains("0123456789"), "{request:?}");

    let hi = || Matcher::new().model("gpt-4o").path("/v1/*").user(TextPattern::exact("Hi")).status(200);
    for times in [Times::exactly(1), Times::at_least(1), Times::at_most(1), Times::between(0, 2)] {
        assert_eq!(server.verify(hi(), times), Ok(()), "{times}");
    }
    let failed = server.verify(hi(), Times::never()).unwrap_err();
    assert_eq!((failed.expected(), failed.matched(), failed.entries()), ("exactly 0", 1, &["req_1".to_owned()][..]));
    let failed = server.verify(hi().header("x-team", "blue"), Times::exactly(1)).unwrap_err();
    assert_eq!(failed.nearest().unwrap().mismatches, [r#"header.x-team: expected "blue", got "red""#]);
    assert!(failed.to_string().contains("the nearest request is req_1:\n  header.x-team"), "{failed}");
    assert_eq!(server.verify_in_order([hi()]), Ok(()));
    assert!(server.verify_in_order([hi(), hi()]).is_err());
    server.reset();
    assert!(server.requests().is_empty());
    assert!(server.verify(hi(), Times::exactly(1)).unwrap_err().to_string().ends_with("no request was received"));
}

#[test]
fn a_test_in_rust_waits_and_has_a_scope_of_its_own() {
    let server = serve(Config::for_test());
    let (t7, t8) = (server.scope("t7"), server.scope("t8"));
    let path = t7.url().strip_prefix(server.url()).unwrap().to_owned() + "/v1/chat/completions";
    let wait = || Matcher::new().user("Hi");
    thread::scope(|threads| {
        let waiting = threads.spawn(|| t7.verify_within_blocking(wait(), Times::exactly(1), PATIENCE));
        let waiting_async = threads.spawn(|| block_on(t7.verify_within(wait(), Times::exactly(1), PATIENCE)));
        assert_eq!(Connection::open(server.address()).post(&path, CHAT).status, 200);
        assert_eq!(waiting.join().unwrap(), Ok(()));
        assert_eq!(waiting_async.join().unwrap(), Ok(()));
    });
    assert_eq!((t7.requests().len(), t8.requests().len(), server.requests().len()), (1, 0, 1));
    assert_eq!(t8.verify(Matcher::new(), Times::never()), Ok(()));
    let failed = t8.verify_within_blocking(Matcher::new(), Times::at_least(1), Duration::from_millis(20));
    assert!(failed.unwrap_err().to_string().ends_with("no request was received"));
    t8.reset();
    assert_eq!(t7.requests()[0].scope(), "t7");
    t7.reset();
    assert!(server.requests().is_empty());
}

/// Runs a future on a runtime without timers.
fn block_on<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(future)
}
