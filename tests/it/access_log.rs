//! The access log: what was sent, and how it ended.

use std::fs;

use crate::{
    client::{CHAT, Connection, End, eventually},
    program::{Directory, Program},
};

/// Returns the end of each access line, after the request, without the time that the response took and what varies.
fn ends(log: &str) -> Vec<String> {
    let lines = log.lines().filter_map(|line| line.rsplit_once("HTTP/1.1\" "));
    let without_time = |end: &str| {
        let varies = |word: &str| word.ends_with("ms") || word.starts_with("id=") || word.starts_with("tokens=");
        let words = end.split(' ').filter(|word| !varies(word) && *word != "model=gpt-4o");
        words.collect::<Vec<_>>().join(" ")
    };
    lines.map(|(_, end)| without_time(end)).collect()
}

const ARGS: &[&str] = &["--host", "127.0.0.1", "--port", "0", "--access-log", "--workers", "1"];

fn chat_head(path: &str, body: &str) -> String {
    format!("POST {path} HTTP/1.1\r\nhost: fake\r\ncontent-length: {}\r\n\r\n{body}", body.len())
}

fn stream() -> String {
    CHAT.replacen('{', "{\"stream\":true,", 1)
}

#[test]
fn faults_before_the_head_have_no_status() {
    let program = Program::start(ARGS);
    for (fault, end) in [("reset", End::Reset), ("empty", End::Cut)] {
        let mut connection = Connection::open(program.address);
        let head = chat_head(&format!("/v1/chat/completions?fake={fault}"), CHAT);
        connection.send(head.as_bytes()).unwrap();
        assert_eq!(connection.rest(), (Vec::new(), end), "{fault}");
    }
    program.signal("TERM");
    assert_eq!(ends(&program.end().2), ["- 0 fault:before_head faults=reset", "- 0 fault:before_head faults=empty"]);
}

#[test]
fn a_client_that_leaves_is_logged_with_its_reason() {
    let directory = Directory::new();
    let path = directory.file("log");
    let program = Program::start_logging_to(&path, ARGS);
    let metrics = |number: u32| {
        let page = Connection::open(program.address).get("/metrics");
        page.text().contains(&format!("fake_openai_requests_in_flight {number}\n"))
    };
    for (fault, end) in [("hang", "before_head"), ("ttft=1h", "before_head"), ("stall@1", "before_first_token")] {
        let mut connection = Connection::open(program.address);
        let target = format!("/v1/chat/completions?fake={fault}");
        connection.send(chat_head(&target, &stream()).as_bytes()).unwrap();
        eventually("the request is in flight", || metrics(1));
        if fault == "stall@1" {
            assert_eq!(connection.head().unwrap().status, 200);
            assert!(!connection.chunk().unwrap().is_empty());
        }
        drop(connection);
        let line = || fs::read_to_string(&path).unwrap().lines().find(|line| line.contains(&target)).map(str::to_owned);
        eventually("the request is logged", || line().is_some_and(|line| !ends(&line).is_empty()));
        let ended = ends(&line().unwrap()).remove(0);
        assert!(ended.ends_with(&format!(" client_left:{end} faults={fault}")), "{ended}");
        assert_eq!(ended.starts_with("200 "), fault == "stall@1", "{fault}: {ended}");
    }
}

#[test]
fn faults_within_the_body_follow_the_status() {
    let program = Program::start(ARGS);
    for fault in ["cut@2", "reset@2"] {
        let mut connection = Connection::open(program.address);
        connection.send(chat_head(&format!("/v1/chat/completions?fake={fault}"), &stream()).as_bytes()).unwrap();
        assert_ne!(connection.rest().1, End::Whole);
    }
    let mut connection = Connection::open(program.address);
    assert_eq!(connection.chat(CHAT).status, 200);
    assert_eq!(connection.chat(&stream()).status, 200);
    assert_eq!(connection.post("/v1/chat/completions?fake=503", CHAT).status, 503);
    assert_eq!(connection.admin("DELETE", "/rules", "").status, 204);
    program.signal("TERM");
    let ends = ends(&program.end().2);
    let shown: Vec<_> = ends.iter().map(|end| end.splitn(3, ' ').collect::<Vec<_>>()).collect();
    let shown: Vec<_> = shown.iter().map(|words| (words[0], words[2])).collect();
    assert_eq!(
        shown,
        [
            ("200", "fault:mid_stream faults=cut@2"),
            ("200", "fault:mid_stream faults=reset@2"),
            ("200", "complete"),
            ("200", "complete"),
            ("503", "complete faults=503"),
            ("204", "complete"),
        ],
        "{ends:?}"
    );
}
