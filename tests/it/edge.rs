//! The HTTP edge: bodies of any framing and size, malformed requests, CORS.

use fake_openai::Config;

use crate::client::{CHAT, Connection, serve};

fn padded(length: usize) -> String {
    format!(r#"{{"model":"m","messages":[{{"role":"user","content":"{}"}}]}}"#, "a\\n\\\"b ".repeat(length / 7))
}

#[test]
fn prompts_of_8_mb_are_accepted() {
    let server = serve(Config::for_test());
    let mut connection = Connection::open(server.address());
    for length in [1_000, 100_000, 400_000, 8_000_000] {
        assert_eq!(connection.chat(&padded(length)).status, 200, "{length}");
    }
}

#[test]
fn chunked_bodies_and_pipelined_requests_are_accepted() {
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
    // Two pipelined requests are answered in order.
    let one = format!("POST /chat/completions HTTP/1.1\r\nhost: x\r\ncontent-length: {}\r\n\r\n{CHAT}", CHAT.len());
    connection.send(one.repeat(2).as_bytes()).unwrap();
    let ids = [(), ()].map(|()| connection.response(false).unwrap().json()["id"].clone());
    assert_ne!(ids[0], ids[1]);
}

#[test]
fn expect_100_continue_is_answered() {
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
fn a_body_over_the_limit_is_refused_and_the_connection_stays_open() {
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
fn a_client_that_takes_the_server_for_a_proxy_gets_an_error_at_once() {
    let server = serve(Config::for_test());
    let mut connection = Connection::open(server.address());
    connection.send(b"CONNECT api.openai.com:443 HTTP/1.1\r\nhost: api.openai.com:443\r\n\r\n").unwrap();
    let refused = connection.response(false).unwrap();
    assert_eq!(refused.status, 404);
    assert!(refused.text().contains("CONNECT"), "{}", refused.text());
}

#[test]
fn malformed_requests_do_not_affect_other_connections() {
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
fn cors_exposes_every_header_to_a_browser() {
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
