//! The limit over real sockets, with a clock moved by hand.

use std::{num::NonZeroU32, time::Duration};

use fake_openai::{Config, Running, clock::ManualClock};

use crate::client::{CHAT, Connection, serve};

fn limited(rpm: u32) -> (Running, ManualClock) {
    let clock = ManualClock::new();
    let config = Config { rpm: NonZeroU32::new(rpm), clock: clock.clone().into(), ..Config::for_test() };
    (serve(config), clock)
}

#[test]
fn n_pass_and_the_next_does_not_for_each_address() {
    let (server, _) = limited(100);
    for source in ["127.0.0.1", "127.0.0.2"] {
        let mut connection = Connection::open_from(source, server.address());
        for n in 1..=100 {
            let response = connection.chat(CHAT);
            assert_eq!(response.status, 200);
            assert_eq!(response.header("x-ratelimit-remaining-requests"), (100 - n).to_string());
        }
        assert_eq!(connection.chat(CHAT).status, 429);
        let mut second = Connection::open_from(source, server.address());
        assert_eq!(second.chat(CHAT).status, 429, "another connection is the same client");
    }
}

#[test]
fn a_refusal_tells_the_truth_and_obeyed_lets_the_request_pass() {
    let (server, clock) = limited(7);
    let mut connection = Connection::open(server.address());
    for _ in 0..7 {
        assert_eq!(connection.chat(CHAT).status, 200);
    }
    for advice in ["retry-after", "retry-after-ms"] {
        let refused = connection.chat(CHAT);
        assert_eq!(refused.status, 429);
        assert_eq!(refused.header("x-ratelimit-limit-requests"), "7");
        assert_eq!(refused.header("x-ratelimit-remaining-requests"), "0");
        let body = refused.json();
        assert_eq!(body["error"]["type"], "requests");
        assert_eq!(body["error"]["code"], "rate_limit_exceeded");
        assert_eq!(body["detail"], "Rate Limited!");
        let message = body["error"]["message"].as_str().unwrap();
        assert!(message.contains("Limit 7, Used 7, Requested 1."), "{message}");
        let number: u64 = refused.header(advice).parse().unwrap();
        assert!(number >= 1);
        clock.advance(if advice == "retry-after" {
            Duration::from_secs(number)
        } else {
            Duration::from_millis(number)
        });
        assert_eq!(connection.chat(CHAT).status, 200, "{advice}: {number}");
    }
}

#[test]
fn stream_heads_and_errors_tell_where_the_client_stands() {
    let (server, _) = limited(10);
    let mut connection = Connection::open(server.address());
    let remaining = |response: &crate::client::Response| response.header("x-ratelimit-remaining-requests").to_owned();
    assert_eq!(
        remaining(&connection.chat(r#"{"model":"m","messages":[{"role":"user","content":"Hi"}],"stream":true}"#)),
        "9"
    );
    let wrong = connection.chat("{}");
    assert_eq!((wrong.status, remaining(&wrong).as_str()), (400, "8"));
    let azure = connection.post("/openai/deployments/d/chat/completions?api-version=2024-10-21", CHAT);
    assert_eq!(remaining(&azure), "7", "one address is one client, whatever it calls");
    assert_eq!(azure.header("x-ratelimit-reset-requests"), "18000", "bare milliseconds on Azure");
}

#[test]
fn health_models_and_preflight_are_free() {
    let (server, _) = limited(1);
    let mut connection = Connection::open(server.address());
    for _ in 0..5 {
        for path in ["/health", "/health/readiness", "/v1/models", "/models/x", "/"] {
            let response = connection.get(path);
            assert_eq!(response.status, 200);
            assert!(!response.headers.keys().any(|name| name.starts_with("x-ratelimit")), "{path}");
        }
        let asks = "origin: http://a\r\naccess-control-request-method: POST\r\n";
        assert_eq!(connection.request("OPTIONS", "/v1/chat/completions", asks, "").unwrap().status, 200);
        assert_eq!(connection.get("/nowhere").status, 404);
    }
    assert_eq!(connection.chat(CHAT).status, 200);
    assert_eq!(connection.chat(CHAT).status, 429);
}

#[test]
fn without_a_limit_there_is_none_and_none_is_told() {
    let server = serve(Config::for_test());
    let mut connection = Connection::open(server.address());
    for _ in 0..500 {
        let response = connection.chat(CHAT);
        assert_eq!(response.status, 200);
        assert!(!response.headers.keys().any(|name| name.starts_with("x-ratelimit")));
    }
}

#[test]
fn ipv4_mapped_and_loopback_addresses_are_one_client() {
    let clock = ManualClock::new();
    let config =
        Config { host: "0.0.0.0".to_owned(), rpm: NonZeroU32::new(2), clock: clock.into(), ..Config::for_test() };
    let server = serve(config);
    let port = server.address().port();
    let v4 = ([127, 0, 0, 1], port);
    let v6: std::net::SocketAddr =
        if server.address().is_ipv6() { ([0, 0, 0, 0, 0, 0, 0, 1], port).into() } else { v4.into() };
    // The dual-stack socket sees the IPv4 clients as ::ffff:127.0.0.1 and ::ffff:127.0.0.2.
    let connections = [
        Connection::open(v4),
        Connection::open(v6),
        Connection::open(v4),
        Connection::open_from("127.0.0.2", v4.into()),
    ];
    let statuses = connections.map(|mut connection| connection.chat(CHAT).status);
    assert_eq!(statuses, [200, 200, 429, 200]);
}
