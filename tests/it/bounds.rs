//! Bounds of the process: the memory of request bodies.

use std::{
    io::{Read as _, Write as _},
    iter::repeat_n,
    net::TcpStream,
    time::Instant,
};

use fake_openai::{Config, Running};
use flate2::{Compression, write::GzEncoder};
use tungstenite::{
    Message, WebSocket,
    protocol::{Role, frame::coding::CloseCode},
};

use crate::{
    client::{CHAT, Connection, PATIENCE, eventually, serve},
    realtime::{MODEL, shake_hands},
};

/// A server whose request bodies may take one mebibyte.
fn small() -> Running {
    serve(Config { max_body_memory: 1 << 20, ..Config::for_test() })
}

fn used(server: &Running) -> u64 {
    let page = Connection::open(server.address()).get("/metrics");
    let line = page.text().lines().find_map(|line| line.strip_prefix("fake_openai_body_memory_bytes "));
    line.unwrap().parse().unwrap()
}

/// A chat request of so many bytes.
fn padded(length: usize) -> String {
    CHAT.replace("Hi", &"x".repeat(length - CHAT.len() + 2))
}

/// Starts a request on a new connection, and leaves its last byte out.
fn begin(server: &Running, body: &str) -> Connection {
    let mut connection = Connection::open(server.address());
    let head = format!("POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\ncontent-length: {}\r\n\r\n", body.len());
    connection.send(head.as_bytes()).unwrap();
    connection.send(&body.as_bytes()[..body.len() - 1]).unwrap();
    connection
}

#[test]
fn bodies_beyond_the_memory_are_refused_in_the_provider_s_words() {
    let server = small();
    let body = padded(700_000);
    let mut first = begin(&server, &body);
    eventually("the first body holds its memory", || used(&server) >= 700_000);
    let mut second = Connection::open(server.address());
    for (path, pointer) in [
        ("/v1/chat/completions", "/error/message"),
        ("/openai/deployments/gpt-4o/chat/completions", "/error/message"),
        ("/anthropic/v1/messages", "/error/message"),
        ("/gemini/v1beta/models/gemini-2.5-flash:generateContent", "/error/message"),
        ("/model/m/converse", "/message"),
        ("/cohere/v2/chat", "/message"),
    ] {
        let refused = second.post(path, &body);
        assert_eq!((refused.status, refused.header("retry-after")), (503, "1"), "{path}: {}", refused.text());
        let json = refused.json();
        let message = json.pointer(pointer).unwrap().as_str().unwrap();
        assert!(message.contains("700") && message.contains("1048576 bytes"), "{path}: {message}");
        assert!(message.contains("--max-body-memory"), "{path}: {message}");
    }
    assert_eq!(second.chat(CHAT).status, 200, "a small body needs no memory, and the connection stays open");
    first.send(b"}").unwrap();
    assert_eq!(first.response(false).unwrap().status, 200);
    assert_eq!(used(&server), 0);
    assert_eq!(second.chat(&body).status, 200);
}

#[test]
fn a_client_that_hangs_up_gives_its_memory_back() {
    let server = small();
    for _ in 0..3 {
        let begun: Vec<_> = (0..10).map(|_| begin(&server, &padded(90_000))).collect();
        eventually("all bodies hold their memory", || used(&server) >= 890_000);
        drop(begun);
        eventually("the memory is given back", || used(&server) == 0);
    }
    assert_eq!(Connection::open(server.address()).chat(&padded(900_000)).status, 200);
}

#[test]
fn memory_is_given_back_before_a_slow_response_ends() {
    let server = small();
    let mut connection = Connection::open(server.address());
    let body = padded(700_000).replace("gpt-4o", "gpt-4o~hang");
    let head = format!("POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\ncontent-length: {}\r\n\r\n", body.len());
    connection.send(head.as_bytes()).unwrap();
    connection.send(body.as_bytes()).unwrap();
    eventually("the response hangs", || server.in_flight() == 1);
    eventually("the memory is given back", || used(&server) == 0);
}

#[test]
fn what_parsing_takes_is_counted() {
    let server = small();
    let mut connection = Connection::open(server.address());
    for item in ["[]", "0", "{}"] {
        let list: Vec<_> = repeat_n(item, 100_000 / (item.len() + 1)).collect();
        let body = CHAT.replace("}]}", &format!(r#"}}],"metadata":[{}]}}"#, list.join(",")));
        let refused = connection.chat(&body);
        assert_eq!(refused.status, 503, "{item}: {}", refused.text());
        assert_eq!(connection.chat(&body.replace(&list.join(","), "")).status, 400, "{item}: metadata is an object");
    }
    assert_eq!(used(&server), 0);
}

#[test]
fn chunked_bodies_and_forms_are_counted() {
    let server = small();
    let mut connection = Connection::open(server.address());
    let body = padded(2_000_000);
    let head = "POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n";
    connection.send(format!("{head}{:x}\r\n{body}\r\n0\r\n\r\n", body.len()).as_bytes()).unwrap();
    assert_eq!(connection.response(false).unwrap().status, 503);
    let part = |about: &str, text: &str| format!("--x\r\ncontent-disposition: form-data; {about}\r\n\r\n{text}\r\n");
    let form = |files: usize, length: usize| {
        let file = part("name=\"file\"; filename=\"a.jsonl\"", &"x".repeat(length));
        part("name=\"purpose\"", "batch") + &file.repeat(files) + "--x--\r\n"
    };
    let mut post = |form: &str| {
        connection.request("POST", "/v1/files", "content-type: multipart/form-data; boundary=x\r\n", form).unwrap()
    };
    assert_eq!(post(&form(1, 500_000)).status, 200);
    assert_eq!(post(&form(1, 2_000_000)).status, 503);
    assert_eq!(post(&form(20, 100_000)).status, 503, "the files of a form count together");
    assert_eq!(post(&form(1, 500_000)).status, 200);
    assert_eq!(used(&server), 0);
}

#[test]
fn a_small_body_that_unzips_to_a_large_one_is_counted() {
    let server = small();
    let zipped = |count: usize| {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
        encoder.write_all(format!("[{}{{}}]", "{},".repeat(count)).as_bytes()).unwrap();
        encoder.finish().unwrap()
    };
    let mut connection = Connection::open(server.address());
    for (count, status) in [(100, 202), (3_000_000, 503), (100, 202)] {
        let body = zipped(count);
        assert!(body.len() < 30_000);
        let head = "POST /api/v2/logs HTTP/1.1\r\nhost: x\r\ncontent-encoding: gzip\r\n";
        connection.send(format!("{head}content-length: {}\r\n\r\n", body.len()).as_bytes()).unwrap();
        connection.send(&body).unwrap();
        assert_eq!(connection.response(false).unwrap().status, status, "{count}");
    }
    assert_eq!(used(&server), 0);
}

fn session(server: &Running) -> WebSocket<TcpStream> {
    let (_, stream) = shake_hands(server, MODEL, "");
    let mut socket = WebSocket::from_raw_socket(stream, Role::Client, None);
    assert!(socket.read().unwrap().to_text().unwrap().contains("session.created"));
    socket
}

#[test]
fn large_messages_of_a_session_are_counted() {
    let server = small();
    let append = |length: usize| {
        let audio = "A".repeat(length / 4 * 4);
        Message::text(format!(r#"{{"type":"input_audio_buffer.append","audio":"{audio}"}}"#))
    };
    let mut session_1 = session(&server);
    for _ in 0..5 {
        session_1.send(append(300_000)).unwrap();
        session_1.send(Message::text(r#"{"type":"input_audio_buffer.clear"}"#)).unwrap();
        assert!(session_1.read().unwrap().to_text().unwrap().contains("input_audio_buffer.cleared"));
        eventually("the memory is given back", || used(&server) == 0);
    }
    let mut session_2 = session(&server);
    session_2.send(append(3_000_000)).unwrap();
    match session_2.read() {
        Ok(Message::Close(Some(frame))) => {
            assert_eq!(frame.code, CloseCode::Again);
            assert!(frame.reason.contains("--max-body-memory"), "{}", frame.reason);
        }
        other => panic!("{other:?}"),
    }
    drop(session_2);
    eventually("the memory is given back", || used(&server) == 0);
    session_1.send(Message::text(r#"{"type":"input_audio_buffer.clear"}"#)).unwrap();
    assert!(session_1.read().unwrap().to_text().unwrap().contains("input_audio_buffer.cleared"));
}

#[test]
fn the_conversation_of_a_session_is_counted() {
    let server = small();
    let mut session = session(&server);
    let item = format!(
        r#"{{"type":"conversation.item.create","item":{{"type":"message","role":"user","content":[{{"type":"input_text","text":"{}"}}]}}}}"#,
        "x".repeat(100_000)
    );
    let mut created = 0;
    loop {
        // The close may come before all of the message is written.
        let _ = session.send(Message::text(item.clone()));
        match session.read().unwrap() {
            Message::Close(Some(frame)) => break assert_eq!(frame.code, CloseCode::Again),
            _ => assert!(session.read().unwrap().to_text().unwrap().contains("conversation.item.done")),
        }
        created += 1;
        assert!(used(&server) >= created * 100_000);
    }
    assert!((5..=10).contains(&created), "{created}");
    drop(session);
    eventually("the memory is given back", || used(&server) == 0);
}

#[test]
fn a_session_closes_as_soon_as_its_client_does() {
    let server = serve(Config::for_test());
    let start = Instant::now();
    for _ in 0..100 {
        let mut session = session(&server);
        session.close(None).unwrap();
        assert!(matches!(session.read(), Ok(Message::Close(None))));
        // A client leaves the end of the connection to the server.
        assert_eq!(session.get_mut().read(&mut [0]).unwrap(), 0);
    }
    assert!(start.elapsed() < PATIENCE, "closing a session takes about a second");
}
