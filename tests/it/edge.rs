//! The edge: bodies in any framing, of any size, from clients of any manners.

use fake_openai::Config;

use crate::client::{CHAT, Connection, serve};

fn padded(length: usize) -> String {
    format!(r#"{{"model":"m","messages":[{{"role":"user","content":"{}"}}]}}"#, "a\\n\\\"b ".repeat(length / 7))
}

#[test]
fn long_prompts_are_taken() {
    let server = serve(Config::for_test());
    let mut connection = Connection::open(server.address());
    for length in [1_000, 100_000, 400_000, 8_000_000] {
        assert_eq!(connection.chat(&padded(length)).status, 200, "{length}");
    }
}

#[test]
fn bodies_in_chunks_and_pieces_are_taken() {
    let server = serve(Config::for_test());
    let mut connection = Connection::open(server.address());
    let body = padded(5_000);
    let mut chunks = String::new();
    for chunk in body.as_bytes().chunks(700) {
        chunks.push_str(&format!("{:x}\r\n{}\r\n", chunk.len(), std::str::from_utf8(chunk).unwrap()));
    }
    let head = "POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n";
    let request = format!("{head}{chunks}0\r\n\r\n");
    for piece in request.as_bytes().chunks(97) {
        connection.send(piece).unwrap();
    }
    assert_eq!(connection.response(false).unwrap().status, 200);
    // Two requests in one write are answered one after the other.
    let one = format!("POST /chat/completions HTTP/1.1\r\nhost: x\r\ncontent-length: {}\r\n\r\n{CHAT}", CHAT.len());
    connection.send(one.repeat(2).as_bytes()).unwrap();
    let ids = [(), ()].map(|()| connection.response(false).unwrap().json()["id"].clone());
    assert_ne!(ids[0], ids[1]);
}

#[test]
fn a_client_that_waits_for_leave_gets_it() {
    let server = serve(Config::for_test());
    let mut connection = Connection::open(server.address());
    let head = format!(
        "POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\nexpect: 100-continue\r\ncontent-length: {}\r\n\r\n",
        CHAT.len()
    );
    connection.send(head.as_bytes()).unwrap();
    assert_eq!(connection.head().unwrap().status, 100);
    connection.send(CHAT.as_bytes()).unwrap();
    assert_eq!(connection.response(false).unwrap().status, 200);
}

#[test]
fn a_body_that_is_too_large_is_refused_and_the_connection_lives_on() {
    let server = serve(Config { max_body: 100_000, ..Config::for_test() });
    let mut connection = Connection::open(server.address());
    for _ in 0..3 {
        let refused = connection.chat(&padded(1_000_000));
        assert_eq!(refused.status, 413);
        assert!(refused.json()["error"]["message"].as_str().unwrap().contains("100000 bytes"));
        assert_eq!(connection.chat(&padded(50_000)).status, 200);
    }
}

#[test]
fn garbage_harms_nobody() {
    let server = serve(Config::for_test());
    let mut neighbour = Connection::open(server.address());
    for garbage in [
        "\0\0\0\0",
        "GET\r\n\r\n",
        "\u{16}\u{3}\u{1}",
        "POST / HTTP/9.9\r\n\r\n",
        "GET / HTTP/1.1\r\nhost: x\r\ncontent-length: x\r\n\r\n",
    ] {
        let mut connection = Connection::open(server.address());
        let _ = connection.send(garbage.as_bytes());
        drop(connection);
        assert_eq!(neighbour.chat(CHAT).status, 200);
    }
    let deep = format!(r#"{{"model":"m","messages":{}"#, "[".repeat(1_000_000));
    assert_eq!(neighbour.chat(&deep).status, 400);
    assert_eq!(neighbour.chat("\u{0}").status, 400);
    assert_eq!(neighbour.chat(&CHAT.replace("gpt-4o", r"\q")).status, 400);
    let path = format!("/{}", "%ff".repeat(5_000));
    assert_eq!(neighbour.get(&path).status, 404);
    assert_eq!(neighbour.chat(CHAT).status, 200);
}

#[test]
fn a_page_in_a_browser_reads_every_header() {
    let server = serve(Config { limits: vec![fake_openai::LimitSpec::rpm(5)], ..Config::for_test() });
    let mut connection = Connection::open(server.address());
    let origin = "origin: https://app.example\r\n";
    let response = connection.request("POST", "/v1/chat/completions", origin, CHAT).unwrap();
    assert_eq!(response.header("access-control-allow-origin"), "https://app.example");
    assert_eq!(response.header("access-control-allow-credentials"), "true");
    assert!(response.header("vary").contains("Origin"));
    let exposed = response.header("access-control-expose-headers");
    assert!(exposed.contains("x-request-id") && exposed.contains("x-ratelimit-remaining-requests"), "{exposed}");
    let plain = connection.chat(CHAT);
    assert!(!plain.headers.keys().any(|name| name.starts_with("access-control")));
}
