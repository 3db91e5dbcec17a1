//! Limits over real sockets, with a manual clock.

use std::time::Duration;

use fake_openai::{
    Config, LimitSpec, Running, Settings,
    core::clock::ManualClock,
    traffic::limit::{Dimension, Window},
};

use crate::{
    client::{CHAT, Connection, Response, eventually, report_skipped, serve},
    program::Directory,
};

fn limited(rpm: u32) -> (Running, ManualClock) {
    let clock = ManualClock::new();
    let config = Config { limits: vec![LimitSpec::rpm(rpm)], clock: clock.clone().into(), ..Config::for_test() };
    (serve(config), clock)
}

#[test]
fn each_address_gets_exactly_its_quota() {
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
        assert_eq!(second.chat(CHAT).status, 429, "another connection from the same address is the same client");
    }
}

#[test]
fn retry_after_is_enough_when_obeyed() {
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
fn streams_and_errors_carry_ratelimit_headers() {
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
    assert_eq!(remaining(&azure), "7", "one address is one client on every endpoint");
    assert_eq!(azure.header("x-ratelimit-reset-requests"), "18000", "Azure sends milliseconds without a unit");
}

#[test]
fn health_models_and_preflight_cost_nothing() {
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
fn counting_tokens_costs_nothing() {
    let (server, _) = limited(1);
    let mut connection = Connection::open(server.address());
    let (claude, gemini) = (
        r#"{"model":"claude-sonnet-4-5","messages":[{"role":"user","content":"Hi"}]}"#,
        r#"{"contents":[{"parts":[{"text":"Hi"}]}]}"#,
    );
    let vertex = "/v1/projects/p/locations/l/publishers/google/models/gemini-2.5-flash:countTokens";
    for _ in 0..2 {
        for (path, body) in [
            ("/v1/messages/count_tokens", claude),
            ("/v1beta/models/gemini-2.5-flash:countTokens", gemini),
            (vertex, gemini),
        ] {
            assert_eq!(connection.post(path, body).status, 200, "{path}");
        }
    }
    assert_eq!(connection.chat(CHAT).status, 200);
}

#[test]
fn without_a_limit_nothing_is_refused_and_no_header_sent() {
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
    let config = Config {
        host: "0.0.0.0".to_owned(),
        limits: vec![LimitSpec::rpm(2)],
        clock: clock.into(),
        ..Config::for_test()
    };
    let server = serve(config);
    let port = server.address().port();
    let v4 = ([127, 0, 0, 1], port);
    let v6: std::net::SocketAddr = if server.address().is_ipv6() {
        ([0, 0, 0, 0, 0, 0, 0, 1], port).into()
    } else {
        report_skipped("ipv4_mapped_and_loopback_addresses_are_one_client", "in part: this machine has no IPv6");
        v4.into()
    };
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

fn with(settings: Settings) -> (Running, ManualClock) {
    let clock = ManualClock::new();
    let asked = Settings { host: Some("127.0.0.1".to_owned()), port: Some(0), workers: Some(2), ..settings };
    (serve(Config { clock: clock.clone().into(), ..Config::try_from(asked).unwrap() }), clock)
}

#[test]
fn ten_times_overload_admits_exactly_burst_plus_refill() {
    for workers in [1, 4] {
        let asked = Settings { rpm: Some(60), ..Settings::default() };
        let clock = ManualClock::new();
        let config = Config { workers: workers.try_into().unwrap(), ..Config::for_test() };
        let limits = Config::try_from(asked).unwrap().limits;
        let server = serve(Config { limits, clock: clock.clone().into(), ..config });
        let mut connections: Vec<_> = (0..8).map(|_| Connection::open(server.address())).collect();
        let mut admitted = 0;
        for second in 0..20 {
            // Eight clients at once send far more than a second refills, and more than the burst.
            let batch = std::thread::scope(|scope| {
                let ask = |connection: &mut Connection| (0..10).filter(|_| connection.chat(CHAT).status == 200).count();
                let threads: Vec<_> =
                    connections.iter_mut().map(|connection| scope.spawn(move || ask(connection))).collect();
                threads.into_iter().map(|thread| thread.join().unwrap()).sum::<usize>()
            });
            admitted += batch;
            assert_eq!(admitted, 60 + second, "{workers} workers, second {second}");
            clock.advance(Duration::from_secs(1));
        }
    }
}

#[test]
fn remaining_rises_by_refill_only() {
    let (server, clock) = with(Settings { rpm: Some(50), tpm: Some(1000), ..Settings::default() });
    let mut connection = Connection::open(server.address());
    let told = |response: &Response, unit: &str| -> i64 {
        response.header(&format!("x-ratelimit-remaining-{unit}")).parse().unwrap()
    };
    let (mut requests, mut tokens) = (50, 1000);
    for n in 0..200u64 {
        let response = connection.chat(if n % 7 == 0 { "{}" } else { CHAT });
        assert!([200, 400, 429].contains(&response.status));
        assert!(told(&response, "requests") <= requests && told(&response, "tokens") <= tokens);
        (requests, tokens) = (told(&response, "requests"), told(&response, "tokens"));
        if n % 3 == 0 {
            let micros = 400_000 * (n % 5);
            clock.advance(Duration::from_micros(micros));
            // The refill of that time, plus one for a fraction that was there before.
            requests += (50 * micros / 60_000_000) as i64 + 1;
            tokens += (1000 * micros / 60_000_000) as i64 + 1;
        }
    }
}

/// The seconds that openai-python waits, by its `_parse_retry_after_header`; `None` if it would not retry.
fn openai_python(response: &Response) -> Option<f64> {
    let milliseconds = response.headers.get("retry-after-ms").and_then(|text| text.parse::<f64>().ok());
    let seconds = milliseconds.map(|ms| ms / 1000.0);
    seconds.or_else(|| response.headers.get("retry-after")?.parse().ok()).filter(|wait| *wait > 0.0 && *wait <= 120.0)
}

/// The seconds that LiteLLM waits, which reads whole seconds only. Over 60 s it uses a backoff of its own.
fn litellm(response: &Response) -> Option<f64> {
    let seconds: i64 = response.headers.get("retry-after")?.parse().ok()?;
    (seconds > 0).then_some(seconds as f64)
}

#[test]
fn clients_that_wait_as_advised_are_never_refused_twice() {
    let limits = [
        Settings { rpm: Some(7), ..Settings::default() },
        Settings { rpm: Some(100), burst: Some("3".to_owned()), ..Settings::default() },
        Settings { tpm: Some(90), rpm: Some(1000), ..Settings::default() },
        Settings { rpm: Some(5), window: Some(Window::Fixed), ..Settings::default() },
        Settings { rpm: Some(5), window: Some(Window::Sliding), ..Settings::default() },
        Settings { rpm: Some(5), tpm: Some(40), window: Some(Window::Sliding), ..Settings::default() },
    ];
    for settings in limits {
        for advice in [openai_python, litellm] {
            let (server, clock) = with(settings.clone());
            let mut connection = Connection::open(server.address());
            let mut refused = 0;
            for _ in 0..60 {
                let response = connection.chat(CHAT);
                if response.status == 429 {
                    refused += 1;
                    let wait = advice(&response).unwrap_or_else(|| panic!("no advice in {:?}", response.headers));
                    clock.advance(Duration::from_secs_f64(wait));
                    assert_eq!(connection.chat(CHAT).status, 200, "{settings:?} after {wait} s");
                }
            }
            assert!(refused > 3, "{settings:?}");
        }
    }
}

#[test]
fn tokens_are_reserved_as_recorded_and_reconciled_if_configured() {
    let remaining = |settle| {
        let (server, _) = with(Settings { tpm: Some(1000), settle: Some(settle), ..Settings::default() });
        let mut connection = Connection::open(server.address());
        // 18 characters and 50 tokens of reply: 57, as recorded.
        let body = r#"{"model":"gpt-4o","messages":[{"role":"user","content":"What is the time?!"}],"max_tokens":50}"#;
        let told = |response: Response| response.header("x-ratelimit-remaining-tokens").to_owned();
        [told(connection.chat(body)), told(connection.chat(body)), told(connection.chat("{}"))]
    };
    assert_eq!(remaining(false), ["943", "886", "885"]);
    // The default reply has a usage of 9 and 12 tokens. A refused request costs nothing after reconciliation.
    assert_eq!(remaining(true), ["943", "922", "957"]);
}

#[test]
fn requests_in_flight_count_until_their_responses_end() {
    let (server, _) = with(Settings {
        max_in_flight: Some(2),
        content: Some(fake_openai::model::ContentSource::Lorem),
        lorem_tokens: Some("90000".to_owned()),
        ..Settings::default()
    });
    let long = r#"{"model":"fake","messages":[{"role":"user","content":"Hi"}],"stream":true,"max_tokens":90000}"#;
    // Far more than the socket buffers hold, so the responses last until they are read.
    let mut streams = [Connection::open(server.address()), Connection::open(server.address())];
    for stream in &mut streams {
        let request =
            format!("POST /v1/chat/completions HTTP/1.1\r\nhost: fake\r\ncontent-length: {}\r\n\r\n{long}", long.len());
        stream.send(request.as_bytes()).unwrap();
        assert_eq!(stream.head().unwrap().status, 200);
    }
    let mut third = Connection::open(server.address());
    let refused = third.chat(CHAT);
    assert_eq!(refused.status, 429);
    assert_eq!(refused.header("retry-after"), "1");
    assert!(refused.json()["error"]["message"].as_str().unwrap().contains("on concurrent requests: Limit 2, Used 2"));
    assert_eq!(Connection::open_from("127.0.0.2", server.address()).chat(CHAT).status, 200);
    // A reader disconnects, which frees its permit.
    let [first, _second] = streams;
    drop(first);
    eventually("a permit is free", || third.chat(CHAT).status == 200);
}

#[test]
fn the_concurrency_limit_refuses_with_every_providers_own_error() {
    let (server, _) = with(Settings { max_in_flight: Some(1), ..Settings::default() });
    let mut held = Connection::open(server.address());
    let body = CHAT.replace("\"messages\"", "\"stream\":true,\"messages\"");
    let length = body.len();
    let head =
        format!("POST /v1/chat/completions?fake=stall@1 HTTP/1.1\r\nhost: fake\r\ncontent-length: {length}\r\n\r\n");
    held.send(format!("{head}{body}").as_bytes()).unwrap();
    assert_eq!(held.head().unwrap().status, 200);
    let mut connection = Connection::open(server.address());
    let vertex = "/v1/projects/p/locations/l/publishers";
    for (path, status, place, words) in [
        ("/openai/deployments/d/chat/completions?api-version=1", 429, "/error/message", "call rate limit"),
        ("/mistral/v1/chat/completions", 429, "/message", "Rate limit exceeded"),
        ("/openrouter/api/v1/chat/completions", 429, "/error/message", "limit of 1 concurrent requests"),
        ("/v1/messages", 429, "/error/message", "Number of concurrent connections"),
        ("/v1beta/models/m:generateContent", 429, "/error/status", "RESOURCE_EXHAUSTED"),
        (&format!("{vertex}/google/models/m:generateContent"), 429, "/error/status", "RESOURCE_EXHAUSTED"),
        (&format!("{vertex}/anthropic/models/m:rawPredict"), 429, "/error/status", "RESOURCE_EXHAUSTED"),
        ("/model/m/converse", 429, "/message", "Too many requests"),
        ("/endpoints/e/invocations", 429, "/Message", "Rate exceeded"),
        ("/v2/chat", 429, "/message", "limited to 1 concurrent requests. "),
        ("/v1/chat", 429, "/message", "limited to 1 concurrent requests. "),
        ("/jina/v1/rerank", 429, "/detail", "Rate limit of 1 concurrent requests"),
        ("/tei/rerank", 429, "/error", "Model is overloaded"),
        ("/api/chat", 503, "/error", "server busy"),
        ("/v2/models/m/generate", 503, "/error", "Exceeds maximum queue size"),
    ] {
        let refused = connection.post(path, "{}");
        assert_eq!(refused.status, status, "{path}: {}", refused.text());
        let said = refused.json().pointer(place).and_then(|said| said.as_str().map(str::to_owned));
        assert!(said.is_some_and(|said| said.contains(words)), "{path}: {}", refused.text());
    }
}

#[test]
fn forwarded_addresses_count_from_trusted_proxies_only() {
    let (server, _) = with(Settings {
        rpm: Some(1),
        trusted_proxy: Some(vec!["127.0.0.2".to_owned(), "10.0.0.0/8".to_owned()]),
        ..Settings::default()
    });
    let ask = |from: &str, headers: &str| {
        let mut connection = Connection::open_from(from, server.address());
        connection.request("POST", "/v1/chat/completions", headers, CHAT).unwrap().status
    };
    for n in 0..5 {
        let forged = ask("127.0.0.1", &format!("x-forwarded-for: 203.0.113.{n}\r\nforwarded: for=203.0.113.{n}\r\n"));
        assert_eq!(forged, if n == 0 { 200 } else { 429 }, "headers of an untrusted address are ignored");
    }
    let via_proxy = |headers| ask("127.0.0.2", headers);
    assert_eq!(via_proxy("x-forwarded-for: 203.0.113.1\r\n"), 200);
    assert_eq!(
        via_proxy("x-forwarded-for: 6.6.6.6, 203.0.113.1, 10.1.1.1\r\n"),
        429,
        "only the last addresses were added by trusted proxies"
    );
    assert_eq!(via_proxy("x-forwarded-for: 203.0.113.2\r\n"), 200);
    assert_eq!(via_proxy("forwarded: for=203.0.113.2;proto=http\r\n"), 429);
    assert_eq!(via_proxy("forwarded: for=\"[2001:db8::1]:443\"\r\n"), 200);
    assert_eq!(via_proxy(""), 200, "without a header the client is the proxy itself");
}

#[test]
fn a_key_has_one_quota_in_any_header_or_query() {
    let (server, _) = with(Settings { rpm: Some(1), per: Some(vec![Dimension::Key]), ..Settings::default() });
    let ask = |path: &str, headers: &str| {
        Connection::open(server.address()).request("POST", path, headers, CHAT).unwrap().status
    };
    let chat = "/v1/chat/completions";
    assert_eq!(ask(chat, "authorization: Bearer sk-one\r\n"), 200);
    for headers in ["authorization: bearer sk-one\r\n", "api-key: sk-one\r\n", "x-api-key: sk-one\r\n"] {
        assert_eq!(ask(chat, headers), 429, "{headers}");
    }
    assert_eq!(ask(chat, "x-goog-api-key: sk-one\r\n"), 429);
    assert_eq!(ask("/chat/completions?key=sk-one", ""), 429);
    assert_eq!(ask(chat, "authorization: Bearer sk-two\r\n"), 200);
    assert_eq!(ask(chat, ""), 200, "without a key the client is the address");
    assert_eq!(ask(chat, ""), 429);
}

#[test]
fn all_limits_of_the_file_apply_together() {
    let file = r#"
limits:
  - {quota: 2, per: [key], models: "gpt-4*"}
  - {unit: tokens, quota: 100, per: [global], window: fixed}
  - {quota: 3, per: [ip, endpoint], silent: true}
"#;
    let directory = Directory::with(&[("fake.yaml", file)]);
    let (server, _) = with(Settings::read(&directory.path().join("fake.yaml")).unwrap());
    let mut connection = Connection::open(server.address());
    let first = connection.chat(CHAT);
    assert_eq!(first.header("x-ratelimit-limit-requests"), "2");
    assert_eq!(first.header("x-ratelimit-remaining-tokens"), "97");
    assert_eq!(connection.chat(CHAT).status, 200);
    let refused = connection.chat(CHAT);
    assert!(refused.text().contains("requests per min (RPM): Limit 2, Used 2, Requested 1"), "{}", refused.text());
    let other = connection.chat(&CHAT.replace("gpt-4o", "o3"));
    assert_eq!((other.status, other.headers.get("x-ratelimit-limit-requests")), (200, None));
    let silent = connection.chat(&CHAT.replace("gpt-4o", "o3"));
    assert_eq!((silent.status, silent.text()), (429, r#"{"detail":"Rate Limited!"}"#));
    assert!(!silent.headers.contains_key("retry-after"));
}
