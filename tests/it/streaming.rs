//! Streams over a real socket: their frames, slow readers and disconnected clients.

use fake_openai::Config;
use serde_json::Value;

use crate::{
    client::{Connection, eventually, serve},
    program::Directory,
};

const STREAM: &str = r#"{"model":"m","messages":[{"role":"user","content":"Hi"}],"stream":true,"stream_options":{"include_usage":true}}"#;

/// The number of words of a stream that is far larger than all buffers between server and client.
const PIECES: usize = 80_000;

/// Fixtures with a chat endpoint at `/endless` whose stream cannot end while nobody reads it. The reply belongs to this
/// endpoint alone: in `replies.json` every endpoint would compile it, which takes a debug build 40 seconds.
pub fn endless() -> Directory {
    let endpoint = format!(
        r#"{{"like": "openai/chat.json", "routes": ["POST /endless"], "replies": [
            {{"text": "{}", "usage": {{"prompt_tokens": 1, "completion_tokens": 1}}}}]}}"#,
        "word ".repeat(PIECES)
    );
    Directory::with(&[("openai/endless.json", &endpoint)])
}

#[test]
fn every_event_is_one_chunk_and_one_frame() {
    let server = serve(Config::for_test());
    let mut connection = Connection::open(server.address());
    for _ in 0..3 {
        let response = connection.chat(STREAM);
        assert_eq!(response.header("content-type"), "text/event-stream; charset=utf-8");
        assert!(!response.headers.contains_key("content-length"));
        assert_eq!(response.chunks.last().unwrap(), b"data: [DONE]\n\n");
        let mut text = String::new();
        for chunk in &response.chunks[..response.chunks.len() - 1] {
            let frame = std::str::from_utf8(chunk).unwrap();
            let data = frame.strip_prefix("data: ").and_then(|frame| frame.strip_suffix("\n\n")).unwrap();
            assert!(!data.contains('\n'));
            let value: Value = serde_json::from_str(data).unwrap();
            text.push_str(value["choices"][0]["delta"]["content"].as_str().unwrap_or(""));
        }
        assert_eq!(text, "\n\nHello there, how may I assist you today?");
    }
}

#[test]
fn a_disconnected_client_frees_its_stream() {
    let fixtures = endless();
    let server = serve(Config { fixtures: Some(fixtures.path().to_owned()), ..Config::for_test() });
    let mut clients: Vec<_> = (0..8).map(|_| Connection::open(server.address())).collect();
    for client in &mut clients {
        let request = format!("POST /endless HTTP/1.1\r\nhost: x\r\ncontent-length: {}\r\n\r\n{STREAM}", STREAM.len());
        client.send(request.as_bytes()).unwrap();
        assert_eq!(client.head().unwrap().status, 200);
    }
    assert_eq!(server.in_flight(), 8, "no stream ends while its client does not read");
    clients.truncate(3);
    eventually("the streams of disconnected clients have ended", || server.in_flight() == 3);
    drop(clients);
    eventually("all streams have ended", || server.in_flight() == 0);
}

#[test]
fn a_slow_reader_blocks_nobody_and_misses_nothing() {
    let fixtures = endless();
    let server = serve(Config { fixtures: Some(fixtures.path().to_owned()), ..Config::for_test() });
    let mut slow = Connection::open(server.address());
    let request = format!("POST /endless HTTP/1.1\r\nhost: x\r\ncontent-length: {}\r\n\r\n{STREAM}", STREAM.len());
    slow.send(request.as_bytes()).unwrap();
    eventually("the stream has started", || server.in_flight() == 1);
    let mut other = Connection::open(server.address());
    for _ in 0..100 {
        assert_eq!(other.get("/health").status, 200);
    }
    let response = slow.response(false).unwrap();
    assert_eq!(response.chunks.len(), PIECES + 1 + 4, "pieces, role, finish, usage and [DONE]");
    assert_eq!(server.in_flight(), 0);
}
