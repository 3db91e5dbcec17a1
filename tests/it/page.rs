//! The live page: who may open it, and what a browser shows.

use std::collections::BTreeMap;

use fake_openai::{Config, Running};

use crate::{
    browser::Browser,
    client::{Connection, Response, serve},
    outcomes::metrics,
    program::Program,
    status::send_traffic,
};

const TOKEN: &str = "a t;ken/ü";
const ENCODED: &str = "a%20t%3Bken%2F%C3%BC";

fn with_token() -> Running {
    serve(Config { admin_token: Some(TOKEN.to_owned()), ..Config::for_test() })
}

fn get(server: &Running, path: &str, headers: &str) -> Response {
    let host = format!("host: localhost:{}\r\n", server.address().port());
    Connection::open(server.address()).request("GET", path, &format!("{host}{headers}"), "").unwrap()
}

#[test]
fn the_page_is_one_file_with_a_strict_policy() {
    let server = serve(Config::for_test());
    for path in ["/__admin/", "/__admin"] {
        let page = get(&server, path, "");
        assert_eq!((page.status, page.header("content-type")), (200, "text/html; charset=utf-8"));
        assert_eq!(page.header("cache-control"), "no-store");
        let policy = page.header("content-security-policy");
        assert!(policy.starts_with("default-src 'none'; script-src 'sha256-"), "{policy}");
        assert!(!policy.contains("unsafe") && policy.contains("frame-ancestors 'none'"), "{policy}");
        assert!(page.text().starts_with("<!doctype html>"));
    }
    assert_eq!(get(&server, "/__admin/", "origin: https://evil.test\r\n").status, 403);
    assert_eq!(get(&server, "/__admin/", "sec-fetch-site: cross-site\r\n").status, 403);
}

#[test]
fn the_token_in_the_address_becomes_a_cookie() {
    let server = with_token();
    let refused = get(&server, "/__admin/", "");
    assert_eq!(refused.status, 401);
    assert!(refused.text().contains("open /__admin/?token=TOKEN in a browser"), "{}", refused.text());
    for path in ["/__admin/?token=wrong", "/__admin/?token=", "/__admin/?token"] {
        let refused = get(&server, path, "");
        assert_eq!((refused.status, refused.headers.contains_key("set-cookie")), (401, false), "{path}");
    }
    for path in ["/__admin", "/__admin/"] {
        let moved = get(&server, &format!("{path}?token={ENCODED}"), "sec-fetch-site: none\r\n");
        assert_eq!((moved.status, moved.header("location")), (303, "/__admin/"));
        assert!(moved.header("set-cookie").ends_with("; Path=/__admin; HttpOnly; SameSite=Strict"));
        let cookie = moved.header("set-cookie").split(';').next().unwrap();
        assert!(!cookie.contains("ken"), "{cookie}");
        let with = format!("cookie: theme=dark; {cookie}; a=b\r\n");
        for page in ["/__admin/", "/__admin/status", "/__admin/requests", "/__admin/rules"] {
            assert_eq!(get(&server, page, &with).status, 200, "{page}");
            // Every other rule still holds.
            assert_eq!(get(&server, page, &format!("{with}origin: https://evil.test\r\n")).status, 403);
            assert_eq!(get(&server, page, &format!("{with}sec-fetch-site: same-site\r\n")).status, 403);
        }
        for changed in
            [cookie.replace('=', "=x"), cookie[..cookie.len() - 1].to_owned(), cookie.replace("admin_", "admin_1")]
        {
            assert_eq!(get(&server, "/__admin/status", &format!("cookie: {changed}\r\n")).status, 401, "{changed}");
        }
    }
    // No other page takes the token from its address.
    assert_eq!(get(&server, &format!("/__admin/status?token={ENCODED}"), "").status, 401);
    assert_eq!(get(&server, &format!("/v1/../__admin/rules?token={ENCODED}"), "").status, 404);
    let mut connection = Connection::open(server.address());
    let head = format!("host: localhost:{}\r\n", server.address().port());
    let posted = connection.request("POST", &format!("/__admin/?token={ENCODED}"), &head, "").unwrap();
    assert_eq!(posted.status, 401);
    // Without a token there is none to accept, and the address is cleaned all the same.
    let open = serve(Config::for_test());
    let moved = get(&open, "/__admin/?token=x", "");
    assert_eq!((moved.status, moved.headers.contains_key("set-cookie")), (303, false));
}

#[test]
fn the_log_shows_neither_token_nor_cookie() {
    let args = ["--host", "127.0.0.1", "--port", "0", "--access-log", "--admin-token", "very-secret-token"];
    let program = Program::start(&args);
    let mut connection = Connection::open(program.address);
    let moved = connection.admin("GET", "/?token=very-secret-token", "");
    let cookie = moved.header("set-cookie").split(';').next().unwrap().to_owned();
    let headers = format!("host: localhost\r\ncookie: {cookie}\r\n");
    assert_eq!(connection.request("GET", "/__admin/", &headers, "").unwrap().status, 200);
    program.signal("TERM");
    let (_, _, log) = program.end();
    let value = cookie.split('=').nth(1).unwrap();
    assert!(log.contains("GET /__admin/?token=… ") && !log.contains("secret-token") && !log.contains(value), "{log}");
}

/// Returns a number that the page shows.
fn shown(page: &mut Browser, script: &str) -> f64 {
    let text = page.text(script);
    text.replace(',', "").parse().unwrap_or_else(|_| panic!("{script}: {text}"))
}

#[test]
fn a_browser_shows_the_numbers_of_metrics() {
    let server = serve(Config::for_test());
    let Some(mut page) = Browser::start("a_browser_shows_the_numbers_of_metrics") else { return };
    page.open(&format!("http://localhost:{}/__admin/", server.address().port()));
    page.eventually("the page follows the events", "document.querySelector('#live').textContent === 'live'");
    send_traffic(&server);
    page.eventually("the requests are shown", "document.querySelector('#received').textContent === '13'");
    page.eventually("the chart has a line", "document.querySelectorAll('#chart path').length === 3");

    let metrics = metrics(&server);
    let mut by_class: BTreeMap<&str, f64> = BTreeMap::new();
    let mut by_model = 0.0;
    for (name, count) in metrics.iter().filter(|(name, _)| name.starts_with("fake_openai_requests_total{")) {
        let class = ["2xx", "429", "5xx"]
            .into_iter()
            .find(|class| name.contains(&format!("status=\"{}", class.trim_end_matches('x'))));
        *by_class.entry(class.unwrap()).or_default() += count;
        by_model += if name.contains("model=\"gpt-4o\"") { *count } else { 0.0 };
    }
    for (class, count) in by_class {
        let script = format!("document.querySelector('#legend [data-class=\"{class}\"] b').textContent");
        assert_eq!(shown(&mut page, &script), count, "{class}");
    }
    assert_eq!(shown(&mut page, "document.querySelector('#models tbody tr').cells[1].textContent"), by_model);
    for (id, direction) in [("tokens-in", "input"), ("tokens-out", "output")] {
        let names = metrics.iter().filter(|(name, _)| {
            name.starts_with("fake_openai_tokens_total{") && name.contains(&format!("direction=\"{direction}\""))
        });
        let total: f64 = names.map(|(_, count)| count).sum();
        assert_eq!(shown(&mut page, &format!("document.getElementById('{id}').textContent")), total);
    }
    assert_eq!(shown(&mut page, "String(document.querySelectorAll('#requests tbody tr').length)"), 13.0);
    assert_eq!(page.text("document.querySelector('#deployments tbody tr').cells[0].textContent"), "eu-1");

    // A text of a client is shown as it is, and is no markup.
    let mut connection = Connection::open(server.address());
    let body = r#"{"model":"<img src=x onerror=alert(1)>","messages":[{"role":"user","content":"<b>bold</b>"}]}"#;
    assert_eq!(connection.chat(body).status, 200);
    page.eventually(
        "the model is shown",
        "[...document.querySelectorAll('#models td')].some(cell => cell.textContent.includes('<img'))",
    );
    assert_eq!(page.text("String(document.querySelectorAll('img, b b').length)"), "0");

    // The drawer has the request and its response, and closes by keyboard.
    page.text("document.querySelector('#requests tbody button').focus(), ''");
    page.press("Enter");
    page.eventually(
        "the drawer is open",
        "document.querySelector('#drawer').open && document.querySelectorAll('#drawer pre').length === 2",
    );
    let text = page.text("document.querySelector('#drawer').textContent");
    assert!(text.contains("<b>bold</b>") && text.contains("chat.completion") && text.contains("req_14"), "{text}");
    page.press("Escape");
    page.eventually("the drawer is closed", "!document.querySelector('#drawer').open");

    // Rules are added, refused with the server's message, and cleared after a question.
    page.text(
        "document.querySelector('#fault').value = 'nope', document.querySelector('#add-rule').requestSubmit(), ''",
    );
    page.eventually(
        "the mistake is shown",
        "document.querySelector('#rule-error').textContent.includes('there is no fault `nope`')",
    );
    page.text(
        "document.querySelector('#fault').value = '418', document.querySelector('#add-rule').requestSubmit(), ''",
    );
    page.eventually("the rule is listed", "document.querySelectorAll('#rules tbody tr').length === 1");
    assert_eq!(connection.chat(body).status, 418);
    page.text("document.querySelector('#clear-rules').click(), ''");
    page.eventually("the question is asked", "document.querySelector('#ask').open");
    assert_eq!(connection.chat(body).status, 418, "nothing happens before the answer");
    page.text("document.querySelector('#ask-yes').click(), ''");
    page.eventually("the rule is gone", "document.querySelectorAll('#rules tbody tr').length === 0");
    assert_eq!(connection.chat(body).status, 200);
    page.text("document.querySelector('#reset').click(), ''");
    page.eventually("the question is asked", "document.querySelector('#ask').open");
    page.text("document.querySelector('#ask-yes').click(), ''");
    page.eventually("all is forgotten", "document.querySelector('#received').textContent === '0'");
    assert_eq!(page.violations(), "", "nothing breaks the page's policy");
}

#[test]
fn a_browser_opens_the_page_with_a_token() {
    let server = with_token();
    let Some(mut page) = Browser::start("a_browser_opens_the_page_with_a_token") else { return };
    page.open(&format!("http://localhost:{}/__admin/?token={ENCODED}", server.address().port()));
    page.eventually("the page follows the events", "document.querySelector('#live')?.textContent === 'live'");
    assert_eq!(page.text("location.pathname + location.search + document.cookie"), "/__admin/");
    send_traffic(&server);
    page.eventually("the requests are shown", "document.querySelector('#received').textContent === '13'");
}
