//! Keys, tokens and passwords: no output shows one whole.

use std::{cell::RefCell, fs};

use fake_openai::{Config, traffic::access::Access};
use proptest::{
    prelude::*,
    test_runner::{Config as Cases, TestCaseError, TestRunner},
};
use serde_json::json;

use crate::{
    client::{CHAT, Connection, serve},
    program::{Directory, Program, run},
};

/// Places of a key in a request: target and headers, with `§` for the key and `PATH` for the path.
const PLACES: [(&str, &str); 34] = [
    ("PATH", "authorization: Bearer §\r\n"),
    ("PATH", "authorization: bearer  §\r\n"),
    ("PATH", "authorization: §\r\n"),
    ("PATH", "authorization: Basic §\r\n"),
    ("PATH", "authorization: Some longer scheme §\r\n"),
    ("PATH", "authorization: Bearer §~boom\r\n"),
    ("PATH", "authorization: Bearer sk-x~§\r\n"),
    ("PATH", "authorization: AWS4-HMAC-SHA256 Credential=§/20260101/us-east-1/bedrock/aws4_request\r\n"),
    ("PATH", "authorization: AWS4-HMAC-SHA256 Credential=A/2/r/b/aws4_request, Signature=§\r\n"),
    ("PATH", "proxy-authorization: Basic §\r\n"),
    ("PATH", "api-key: §\r\n"),
    ("PATH", "x-api-key: §\r\n"),
    ("PATH", "x-goog-api-key: §\r\n"),
    ("PATH", "ocp-apim-subscription-key: §\r\n"),
    ("PATH", "x-amz-security-token: §\r\n"),
    ("PATH", "cookie: session=§\r\n"),
    ("PATH", "helicone-auth: Bearer §\r\n"),
    ("PATH", "cf-aig-authorization: Bearer §\r\n"),
    ("PATH", "x-session-token: §\r\n"),
    ("PATH", "upgrade: websocket\r\nconnection: upgrade\r\nsec-websocket-protocol: openai-insecure-api-key.§\r\n"),
    ("PATH?key=§", ""),
    ("PATH?alt=sse&api-key=§", ""),
    ("PATH?API_KEY=§&a", ""),
    ("PATH?access_token=§", ""),
    ("PATH?k%65y=§", ""),
    ("PATH?x=1&token=§", ""),
    ("PATH?X-Amz-Signature=§", ""),
    ("PATH?X-Amz-Credential=§", ""),
    ("PATH?anything=sk-§", ""),
    ("http://§@fakePATH", ""),
    ("http://user:§@fakePATH?key=§", ""),
    ("/~503PATH?password=§", ""),
    ("/~503~sk-§PATH", ""),
    ("PATH?sk-§=1", ""),
];

/// Paths of many providers, of the server's own pages, and of no route.
const PATHS: [&str; 20] = [
    "/v1/chat/completions",
    "/v1/models",
    "/v1/none",
    "/v1/messages",
    "/v1beta/models/gemini-2.5-flash:generateContent",
    "/openai/deployments/gpt-4o/chat/completions",
    "/model/m/converse",
    "/v2/chat",
    "/api/chat",
    "/groq/openai/v1/chat/completions",
    "/api/public/ingestion",
    "/v1/realtime",
    "/",
    "/health",
    "/metrics",
    "/__admin/rules",
    "/services/T0/B0/§",
    "/v1/input/§",
    "/services/sk-§/x/y/z",
    "/v1/none/sk-§",
];

/// Sends one request and checks the response, if the connection gave one.
fn check(program: &Program, key: &str, place: (&str, &str), path: &str, method: &str) -> Result<(), TestCaseError> {
    let target = place.0.replace("PATH", path).replace('§', key);
    let headers = place.1.replace('§', key);
    let mut connection = Connection::open(program.address);
    let body = if method == "POST" { CHAT } else { "" };
    let length = body.len();
    let request =
        format!("{method} {target} HTTP/1.1\r\nhost: fake\r\n{headers}content-length: {length}\r\n\r\n{body}");
    connection.send(request.as_bytes()).unwrap();
    let response = connection.response(false).unwrap();
    let shown = format!("{:?}\n{}", response.headers, response.text());
    prop_assert!(!shown.contains(key), "{request}\n{shown}");
    Ok(())
}

#[test]
fn no_response_and_no_log_line_shows_a_key_of_a_request() {
    let directory = Directory::new();
    let path = directory.file("log");
    let args = ["--host", "127.0.0.1", "--port", "0", "--access-log", "--api-key", "sk-the-only-one", "--admin-token"];
    let program = Program::start_logging_to(&path, &[&args[..], &["hunter2hunter2"]].concat());
    let keys = RefCell::new(Vec::new());
    // No letter of a prefix that the server knows, and too long to come about by chance.
    let key = "[A-Za-z0-9]{7,15}|[A-Za-z0-9_.-]{16,80}";
    let place = prop::sample::select(&PLACES[..]);
    let case = (key, place, prop::sample::select(&PATHS[..]), prop::sample::select(&["GET", "POST", "DELETE"][..]));
    let mut runner = TestRunner::new(Cases { cases: 1500, failure_persistence: None, ..Cases::default() });
    let outcome = runner.run(&case, |(key, place, path, method)| {
        // Only GET opens a WebSocket; another method would wait for the end of its connection.
        let method = if place.1.contains("upgrade") { "GET" } else { method };
        keys.borrow_mut().push(key.clone());
        check(&program, &key, place, path, method)
    });
    outcome.unwrap_or_else(|error| panic!("{error}"));
    program.signal("TERM");
    let mut program = program;
    assert!(program.status().success());
    let log = fs::read_to_string(&path).unwrap();
    assert!(log.lines().filter(|line| line.contains("HTTP/1.1\"")).count() >= 1500);
    for key in keys.into_inner() {
        let line = log.lines().find(|line| line.contains(&key));
        assert!(line.is_none(), "{key}: {line:?}");
    }
    assert!(!log.contains("hunter2") && !log.contains("sk-the-only-one"), "{log}");
}

#[test]
fn a_401_shows_short_keys_masked() {
    let access = Access { keys: vec!["sk-right".to_owned()], ..Access::default() };
    let server = serve(Config { access, ..Config::for_test() });
    let message = |key: &str| {
        let header = format!("authorization: Bearer {key}\r\n");
        let refused =
            Connection::open(server.address()).request("POST", "/v1/chat/completions", &header, CHAT).unwrap();
        assert_eq!(refused.status, 401);
        refused.json()["error"]["message"].as_str().unwrap().to_owned()
    };
    for (key, shown) in [("kk", "**"), ("sk-12345", "sk******"), ("sk-abc12345678wxyz", "sk-abc12******wxyz")] {
        assert!(message(key).contains(&format!("provided: {shown}. ")), "{}", message(key));
    }
}

#[test]
fn the_texts_of_the_program_show_no_secret() {
    for args in [
        &["--limit-store", "http://u:s3cretpw@host", "--rpm", "1"][..],
        &["--limit-store", "redis://:s3cretpw@ho:st", "--rpm", "1"],
        &["--limit-store", "redis://u:s3cretpw@host"],
        &["--limit-stor=redis://:s3cretpw@h"],
        &["--apikey=sk-s3cretpw"],
        &["--apikey", "sk-s3cretpw"],
        &["sk-s3cretpw"],
        &["--api-key", "sk-a", "sk-s3cretpw"],
        &["--admin-token", "s3cretpw", "--admin-token", "s3cretpw"],
        &["--admin-token", "s3cretpw", "--api-key", "s3cretpw", "--port", "x"],
        &["--port", "sk-s3cretpw"],
        &["--host", "http://u:s3cretpw@h"],
        &["--admin-host", "http://u:s3cretpw@h"],
        &["healthcheck", "http://u:s3cretpw@127.0.0.1:1/x"],
        &["healthcheck", "ftp://u:s3cretpw@127.0.0.1:1/x"],
        &["healthcheck", "http://127.0.0.1:1/x?key=s3cretpw"],
    ] {
        let output = run(args);
        assert!(!output.status.success(), "{args:?}");
        let text = String::from_utf8([output.stdout, output.stderr].concat()).unwrap();
        assert!(text.starts_with("error: ") && !text.contains("s3cretpw"), "{args:?}: {text}");
    }
    for yaml in
        ["api_key: s3cretpw", "admin_token: [s3cretpw]", "admin_token: {a: s3cretpw}", "api_key: [s3cretpw, ' ']"]
    {
        let directory = Directory::with(&[("fake.yaml", yaml)]);
        let output = run(&["check", "--config", &directory.file("fake.yaml")]);
        let text = String::from_utf8(output.stderr).unwrap();
        assert!(text.starts_with("error: ") && !text.contains("s3cretpw"), "{yaml}: {text}");
    }
}

#[test]
fn rules_and_mismatches_mask_keys() {
    let server = serve(Config::for_test());
    let mut connection = Connection::open(server.address());
    let when = json!({"user": "sk-0123456789abcdefXYZ", "body": {"metadata.api_key": "hunter2hunter2"}});
    let put = connection.admin("POST", "/rules", &json!({"when": when, "fault": "503"}).to_string());
    assert_eq!(put.status, 201);
    for text in [put.text(), connection.admin("GET", "/rules", "").text()] {
        assert!(!text.contains("sk-0123456789abcdefXYZ") && !text.contains("hunter2hunter2"), "{text}");
        assert!(text.contains("sk-01234") && text.contains("hun***"), "{text}");
    }
    let chat = json!({
        "model": "gpt-4o",
        "messages": [{"role": "user", "content": "sk-0123456789abcdefXYZ"}],
        "metadata": {"api_key": "hunter2hunter2"},
    });
    assert_eq!(connection.chat(&chat.to_string()).status, 503, "the rule itself holds the keys");
}

#[test]
fn the_nearest_reply_is_shown_without_keys() {
    let replies = json!([{"when": {"user": "x", "body": {"api_key": "hunter2hunter2"}}, "text": "Hi"}]);
    let fixtures = Directory::with(&[("replies.json", &replies.to_string())]);
    let server = serve(Config { fixtures: Some(fixtures.path().to_owned()), ..Config::for_test() });
    let chat = json!({
        "model": "gpt-4o",
        "messages": [{"role": "user", "content": "use sk-0123456789abcdefXYZ"}],
        "api_key": "correct horse battery",
    });
    let missed = Connection::open(server.address()).chat(&chat.to_string());
    let text = missed.text();
    assert_ne!(missed.status, 200, "{text}");
    for secret in ["sk-0123456789abcdefXYZ", "hunter2hunter2", "correct horse"] {
        assert!(!text.contains(secret), "{text}");
    }
}

#[test]
fn a_body_that_is_not_kept_whole_is_shown_without_secrets() {
    let server = serve(Config::for_test());
    let mut connection = Connection::open(server.address());
    let long = CHAT.replace("Hi", &"Hi ".repeat(8000));
    for body in [
        long.replacen('{', r#"{"api_key": "hidden-hidden-hidden", "#, 1),
        long.replace("gpt-4o", "gpt-4o~ok~sk-hidden-hidden-hidden"),
        r#"{"model": "gpt-4o", "aws_secret_access_key": "hidden-hidden-hidden"#.to_owned(),
        "model=gpt-4o&api_key=hidden-hidden-hidden".to_owned(),
        CHAT.replacen('{', r#"{"sk-hidden-hidden-hidden": 1, "#, 1),
    ] {
        connection.chat(&body);
        let entry = connection.admin("GET", "/requests?order=desc&limit=1", "");
        assert!(entry.text().contains("gpt-4o") && !entry.text().contains("hidden-hidden-hidden"), "{}", entry.text());
    }
}
