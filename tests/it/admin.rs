//! The admin pages: open to this machine and to clients with the token, and closed to web pages of other origins.

use std::net::{IpAddr, UdpSocket};

use fake_openai::{Config, Running};

use crate::client::{Connection, Response, report_skipped, serve};

const JSON: &str = "content-type: application/json\r\n";
const RULE: &str = r#"{"fault": "503"}"#;
const TOKEN: &str = "authorization: Bearer secret\r\n";

/// Every page: its method, its path and a body that it accepts.
const PAGES: [(&str, &str, &str); 14] = [
    ("GET", "/__admin/rules", ""),
    ("POST", "/__admin/rules", RULE),
    ("GET", "/__admin/rules/mine", ""),
    ("PUT", "/__admin/rules/mine", RULE),
    ("DELETE", "/__admin/rules/mine", ""),
    ("DELETE", "/__admin/rules", ""),
    ("GET", "/__admin/requests", ""),
    ("GET", "/__admin/requests/req_1", ""),
    ("DELETE", "/__admin/requests", ""),
    ("POST", "/__admin/verify", "{}"),
    ("GET", "/__admin/scopes", ""),
    ("DELETE", "/__admin/scopes/mine", ""),
    ("GET", "/__admin/openapi.json", ""),
    ("POST", "/__admin/reset", ""),
];

fn with_token() -> Config {
    Config { admin_token: Some("secret".to_owned()), ..Config::for_test() }
}

/// Sends a request with a rule that all pages can find.
fn ask(server: &Running, method: &str, path: &str, headers: &str, body: &str) -> Response {
    Connection::open(server.address()).request(method, path, headers, body).unwrap()
}

/// Lists the rules with these headers.
fn list(server: &Running, headers: &str) -> u16 {
    ask(server, "GET", "/__admin/rules", headers, "").status
}

/// Lists the rules under this host.
fn list_at(server: &Running, host: &str) -> u16 {
    list(server, &format!("host: {host}\r\n"))
}

/// Sends a request head as it is, and returns the status.
fn raw(server: &Running, head: &str) -> u16 {
    let mut connection = Connection::open(server.address());
    connection.send(head.replacen("\r\n", "\r\nconnection: close\r\n", 1).as_bytes()).unwrap();
    let response = String::from_utf8(connection.rest().0).unwrap();
    response.split(' ').nth(1).unwrap().parse().unwrap()
}

fn is_without_cors(response: &Response) -> bool {
    !response.headers.keys().any(|name| name.starts_with("access-control"))
}

#[test]
fn no_page_acts_for_another_origin() {
    for (config, token) in [(Config::for_test(), ""), (with_token(), ""), (with_token(), TOKEN)] {
        let server = serve(config);
        let port = server.address().port();
        let own = format!("host: localhost:{port}\r\n");
        let other = port.wrapping_add(1).max(1);
        let foreign = [
            "origin: https://evil.test\r\n".to_owned(),
            "origin: null\r\n".to_owned(),
            "origin: \r\n".to_owned(),
            format!("origin: http://localhost:{other}\r\n"),
            "origin: http://localhost\r\n".to_owned(),
            format!("origin: https://localhost:{port}\r\n"),
            format!("origin: http://127.0.0.1:{port}\r\n"),
            format!("origin: http://localhost:{port}\r\norigin: https://evil.test\r\n"),
            format!("origin: http://localhost:{port}.evil.test\r\n"),
            format!("origin: http://localhost:{port}@evil.test\r\n"),
            "sec-fetch-site: cross-site\r\n".to_owned(),
            "sec-fetch-site: same-site\r\n".to_owned(),
            format!("origin: http://localhost:{port}\r\nsec-fetch-site: cross-site\r\n"),
        ];
        for foreign in &foreign {
            for (method, path, body) in PAGES {
                let refused = ask(&server, method, path, &format!("{own}{foreign}{JSON}{token}"), body);
                assert_eq!(refused.status, 403, "{method} {path} {foreign}{token}");
                assert!(is_without_cors(&refused), "{method} {path} {foreign}{:?}", refused.headers);
            }
        }
    }
}

#[test]
fn the_own_origin_and_programs_are_served_without_cors() {
    let server = serve(Config::for_test());
    let port = server.address().port();
    let own = format!("host: localhost:{port}\r\n");
    for headers in [
        own.clone(),
        format!("{own}origin: http://localhost:{port}\r\n"),
        format!("{own}origin: http://LOCALHOST:{port}\r\nsec-fetch-site: same-origin\r\n"),
        format!("{own}sec-fetch-site: none\r\n"),
        "host: localhost\r\norigin: http://localhost:80\r\n".to_owned(),
        "host: localhost:80\r\norigin: http://localhost\r\n".to_owned(),
        format!("host: [::1]:{port}\r\norigin: http://[::1]:{port}\r\n"),
    ] {
        let served = ask(&server, "GET", "/__admin/rules", &headers, "");
        assert_eq!(served.status, 200, "{headers}");
        assert!(is_without_cors(&served), "{headers}{:?}", served.headers);
        assert_eq!(served.header("cross-origin-resource-policy"), "same-origin");
        assert_eq!(served.header("x-content-type-options"), "nosniff");
    }
}

#[test]
fn a_preflight_of_an_admin_page_gets_no_cors() {
    let server = serve(Config::for_test());
    let preflight = "access-control-request-method: POST\r\naccess-control-request-headers: content-type\r\norigin: https://evil.test\r\n";
    for path in ["/__admin/rules", "/__admin/rules/mine", "/__admin/reset", "/__admin", "/__admin/", "/__admin/none"] {
        let refused = ask(&server, "OPTIONS", path, &format!("host: localhost\r\n{preflight}"), "");
        assert_eq!(refused.status, 403, "{path}");
        assert!(is_without_cors(&refused), "{path} {:?}", refused.headers);
        let plain = ask(&server, "OPTIONS", path, "host: localhost\r\n", "");
        assert_eq!(plain.status, 404, "{path}");
        assert!(is_without_cors(&plain), "{path} {:?}", plain.headers);
    }
    let model = ask(&server, "OPTIONS", "/v1/models", preflight, "");
    assert_eq!(model.header("access-control-allow-origin"), "https://evil.test", "other paths stay open");
    let upgrade = "host: localhost\r\nconnection: upgrade\r\nupgrade: websocket\r\norigin: https://evil.test\r\n";
    assert_eq!(list(&server, upgrade), 403);
}

#[test]
fn the_host_is_a_loopback_name_or_an_address_listened_on() {
    let server = serve(Config::for_test());
    for host in [
        "localhost",
        "LocalHost:8080",
        "localhost.",
        "localhost.:1",
        "127.0.0.1",
        "127.0.0.1:80",
        "127.9.9.9",
        "[::1]",
        "[::1]:8080",
        "[0:0:0:0:0:0:0:1]",
        "[::ffff:127.0.0.1]:80",
        "0.0.0.0:8080",
        "[::]",
    ] {
        assert_eq!(list_at(&server, host), 200, "{host}");
    }
    for host in [
        "",
        "evil.test",
        "evil.test:8080",
        "localhost.evil.test",
        "evil.localhost",
        "127.0.0.1.evil.test",
        "192.0.2.1",
        "[2001:db8::1]",
        "localhost:8080:8080",
        "localhost@evil.test",
        "evil.test@localhost",
        "localhost,evil.test",
        "localhost evil.test",
        "[::1",
        "::1",
        "localhost:x",
    ] {
        assert_eq!(list_at(&server, host), 403, "{host}");
    }
    let text = ask(&server, "GET", "/__admin/rules", "host: fake.test:1\r\n", "").text().to_owned();
    assert!(text.contains("--admin-host fake.test,"), "the remedy can be copied: {text}");
}

#[test]
fn the_host_is_checked_in_every_form_of_a_request() {
    let server = serve(Config::for_test());
    let page = "/__admin/rules";
    for (head, status) in [
        (format!("GET {page} HTTP/1.0\r\n\r\n"), 403),
        (format!("GET {page} HTTP/1.0\r\nhost: localhost\r\n\r\n"), 200),
        (format!("GET http://localhost{page} HTTP/1.1\r\nhost: localhost\r\n\r\n"), 200),
        (format!("GET http://evil.test{page} HTTP/1.1\r\nhost: localhost\r\n\r\n"), 403),
        (format!("GET http://localhost{page} HTTP/1.1\r\nhost: evil.test\r\n\r\n"), 403),
        (format!("GET http://evil.test{page} HTTP/1.1\r\nhost: evil.test\r\n\r\n"), 403),
        (format!("GET http://u:p@localhost{page} HTTP/1.1\r\nhost: localhost\r\n\r\n"), 403),
    ] {
        assert_eq!(raw(&server, &head), status, "{head}");
    }
    // The HTTP library itself refuses some of these.
    for head in [
        format!("GET {page} HTTP/1.1\r\nhost: localhost\r\nhost: evil.test\r\n\r\n"),
        format!("GET {page} HTTP/1.1\r\nhost: evil.test\r\nhost: localhost\r\n\r\n"),
        format!("GET {page} HTTP/1.1\r\n\r\n"),
    ] {
        let status = raw(&server, &head);
        assert!([400, 403].contains(&status), "{status}: {head}");
    }
}

#[test]
fn an_admin_host_or_the_token_opens_another_host() {
    let server = serve(Config { admin_hosts: vec!["Fake.test.".parse().unwrap()], ..Config::for_test() });
    for (host, status) in [("fake.test", 200), ("FAKE.TEST:99", 200), ("other.test", 403), ("x.fake.test", 403)] {
        assert_eq!(list_at(&server, host), status, "{host}");
    }
    let server = serve(with_token());
    for (headers, status) in [
        ("host: localhost\r\n", 401),
        ("host: evil.test\r\n", 403),
        ("host: evil.test\r\nauthorization: Bearer wrong\r\n", 403),
        ("host: evil.test\r\nauthorization: Bearer secret\r\n", 200),
        ("host: localhost\r\nauthorization: Bearer secreT\r\n", 401),
        ("host: localhost\r\nauthorization: Bearer secret2\r\n", 401),
        ("host: localhost\r\nauthorization: Bearer\r\n", 401),
        ("host: localhost\r\nauthorization: bearer  secret\r\n", 200),
        ("host: localhost\r\nauthorization: secret\r\n", 200),
    ] {
        assert_eq!(list(&server, headers), status, "{headers}");
    }
}

#[test]
fn a_server_that_listens_on_a_name_is_open_under_it() {
    let server = serve(Config { host: "localhost".to_owned(), ..Config::for_test() });
    assert_eq!(list_at(&server, "localhost"), 200);
    assert_eq!(list_at(&server, "ip6-localhost"), 403);
}

#[test]
fn a_request_through_a_proxy_needs_the_token() {
    let proxied = [
        "x-forwarded-for: 127.0.0.1",
        "X-Forwarded-For:",
        "forwarded: for=127.0.0.1",
        "via: 1.1 proxy",
        "x-real-ip: 127.0.0.1",
        "x-forwarded-host: localhost",
        "x-forwarded-proto: https",
        "cf-connecting-ip: ::1",
    ];
    let trusting = || Config { trusted_proxies: vec!["127.0.0.1/32".parse().unwrap()], ..Config::for_test() };
    let (plain, trusting) = (serve(Config::for_test()), serve(trusting()));
    let token = serve(with_token());
    for header in proxied {
        let headers = format!("host: localhost\r\n{header}\r\n");
        assert_eq!(list(&plain, &headers), 403, "{header}");
        assert_eq!(list(&trusting, &headers), 403, "{header}");
        assert_eq!(list(&token, &headers), 401, "{header}");
        assert_eq!(list(&token, &format!("{headers}{TOKEN}")), 200, "{header}");
    }
}

/// An address of this machine other than loopback. Nothing is sent to the address that it asks the way to.
fn address_of_this_machine() -> Option<IpAddr> {
    let socket = UdpSocket::bind("0.0.0.0:0").ok()?;
    socket.connect("192.0.2.1:9").ok()?;
    socket.local_addr().ok().map(|address| address.ip()).filter(|address| !address.is_loopback())
}

#[test]
fn other_machines_need_the_token() {
    let Some(address) = address_of_this_machine() else {
        return report_skipped("other_machines_need_the_token", "this machine has no address but loopback");
    };
    for (config, token, status) in [(Config::for_test(), "", 403), (with_token(), "", 401), (with_token(), TOKEN, 200)]
    {
        let server = serve(Config { host: "0.0.0.0".to_owned(), ..config });
        let mut connection = Connection::open((address, server.address().port()));
        let headers = format!("host: {address}\r\n{token}");
        assert_eq!(connection.request("GET", "/__admin/rules", &headers, "").unwrap().status, status);
    }
}

#[test]
fn a_body_has_to_be_declared_as_json() {
    let server = serve(Config::for_test());
    let post = |content_type: &str, path: &str, body: &str| {
        let method = if path.ends_with("/mine") { "PUT" } else { "POST" };
        ask(&server, method, path, &format!("host: localhost\r\n{content_type}"), body).status
    };
    let form = "--b\r\ncontent-disposition: form-data; name=\"fault\"\r\n\r\n503\r\n--b--\r\n";
    for content_type in [
        "",
        "text/plain",
        "application/x-www-form-urlencoded",
        "multipart/form-data; boundary=b",
        "application/jsonp",
        "text/plain; application/json",
        "application/json, text/plain",
        "application/csp-report",
    ] {
        let header = if content_type.is_empty() { String::new() } else { format!("content-type: {content_type}\r\n") };
        for path in ["/__admin/rules", "/__admin/rules/mine", "/__admin/reset"] {
            assert_eq!(post(&header, path, RULE), 415, "{path} {content_type}");
            assert_eq!(post(&header, path, form), 415, "{path} {content_type}");
        }
    }
    assert_eq!(post("", "/__admin/reset", ""), 204, "no body needs no type");
    assert_eq!(post("content-type: Application/JSON ; charset=utf-8\r\n", "/__admin/rules", RULE), 201);
}

#[test]
fn pages_outside_admin_stay_open() {
    let server = serve(with_token());
    for path in ["/", "/health", "/health/readiness", "/metrics", "/v1/models"] {
        let headers = "host: evil.test\r\norigin: https://evil.test\r\nx-forwarded-for: 192.0.2.1\r\n";
        assert_eq!(ask(&server, "GET", path, headers, "").status, 200, "{path}");
    }
}

#[test]
fn a_parameter_that_is_misspelled_changes_nothing() {
    let server = serve(Config::for_test());
    let mut connection = Connection::open(server.address());
    assert_eq!(connection.admin("POST", "/rules", RULE).status, 201);
    connection.get("/v1/models");
    for (method, path, body) in PAGES.into_iter().filter(|(_, path, _)| !path.ends_with(".json")) {
        let page = path.strip_prefix("/__admin").unwrap();
        let refused = connection.admin(method, &format!("{page}?scoope=t7"), body);
        assert_eq!(refused.status, 400, "{method} {path}");
        assert!(refused.text().contains("The parameter `scoope` is unknown; "), "{method} {path}: {}", refused.text());
    }
    assert_eq!(connection.admin("GET", "/requests", "").json()["requests"].as_array().unwrap().len(), 1);
    assert_eq!(connection.admin("GET", "/rules", "").json()["rules"].as_array().unwrap().len(), 1);
    let refused = connection.admin("POST", "/reset?scoope=t7", "");
    assert!(refused.text().contains("did you mean `scope`?"), "{}", refused.text());
}

#[test]
fn a_path_that_only_begins_like_the_pages_is_none_of_them() {
    let server = serve(Config::for_test());
    let mut connection = Connection::open(server.address());
    connection.get("/v1/models");
    let missing = connection.post("/__adminreset", "");
    assert!(missing.status == 404 && missing.text().contains("/__adminreset"), "{}", missing.text());
    assert_eq!(server.taken(), 2, "nothing was reset");
}
