//! Scopes: tests that run side by side on one server do not see each other.

use std::thread;

use fake_openai::{Config, LimitSpec, StoreMode};
use serde_json::{Value, json};

use crate::{
    client::{CHAT, Connection, serve},
    journal::entries,
};

/// The ways to name a scope: headers, path and body of a chat request.
fn ways(scope: &str) -> [(String, String, String); 6] {
    let (chat, plain) = ("/v1/chat/completions".to_owned(), CHAT.to_owned());
    [
        (format!("x-fake-openai: scope={scope}\r\n"), chat.clone(), plain.clone()),
        (String::new(), format!("{chat}?fake=scope={scope}"), plain.clone()),
        (String::new(), format!("/~scope={scope}{chat}"), plain.clone()),
        (String::new(), chat.clone(), CHAT.replace("gpt-4o", &format!("gpt-4o~scope={scope}"))),
        (format!("authorization: Bearer sk-fake~scope={scope}\r\n"), chat.clone(), plain),
        (String::new(), chat, CHAT.replace("Hi", &format!("Hi [[fake: scope={scope}]]"))),
    ]
}

#[test]
fn a_scope_is_named_wherever_a_fault_is() {
    let server = serve(Config::for_test());
    let mut connection = Connection::open(server.address());
    for (headers, path, body) in ways("t7") {
        let response = connection.request("POST", &path, &headers, &body).unwrap();
        assert_eq!((response.status, &response.json()["model"]), (200, &json!("gpt-4o")), "{headers}{path}{body}");
    }
    let wrong = connection.request("POST", "/v1/chat/completions?fake=scope=a/b", "", CHAT).unwrap();
    assert_eq!(wrong.status, 400);
    assert!(wrong.text().contains("is not a name; write scope="), "{}", wrong.text());
    let scopes: Vec<Value> = entries(&server).into_iter().map(|mut entry| entry["scope"].take()).collect();
    assert_eq!(scopes, [json!("t7"), json!("t7"), json!("t7"), json!("t7"), json!("t7"), json!("t7"), json!("")]);
    let list = connection.admin("GET", "/scopes", "").json();
    assert_eq!(list, json!({"scopes": [{"name": "t7", "requests": 6}]}));
}

#[test]
fn scopes_in_parallel_do_not_see_each_other() {
    let limits = vec![LimitSpec::rpm(3)];
    let server = serve(Config { limits, ..Config::for_test() });
    thread::scope(|threads| {
        for n in 0..8 {
            let address = server.address();
            threads.spawn(move || {
                let (scope, mut connection) = (format!("test-{n}"), Connection::open(address));
                let headers = format!("x-fake-openai: scope={scope}\r\n");
                // A rule of the scope, for one request.
                let rule = format!(r#"{{"scope": "{scope}", "fault": "503x1"}}"#);
                assert_eq!(connection.admin("POST", "/rules", &rule).status, 201);
                let mut chat = || connection.request("POST", "/v1/chat/completions", &headers, CHAT).unwrap().status;
                assert_eq!(
                    [chat(), chat(), chat(), chat()],
                    [503, 200, 200, 429],
                    "its rule and its limit are its own"
                );
                let list = connection.admin("GET", &format!("/requests?scope={scope}"), "").json();
                assert_eq!(list["requests"].as_array().unwrap().len(), 4);
                let rules = connection.admin("GET", &format!("/rules?scope={scope}"), "").json();
                assert_eq!(rules["rules"].as_array().unwrap().len(), 1);
                assert_eq!(rules["rules"][0]["scope"], *scope);
            });
        }
    });
    let mut connection = Connection::open(server.address());
    assert_eq!(connection.chat(CHAT).status, 200, "the default scope has used nothing of its limit");
    assert_eq!(connection.admin("GET", "/rules", "").json()["rules"].as_array().unwrap().len(), 8);
}

#[test]
fn stored_objects_belong_to_their_scope() {
    let server = serve(Config { objects: StoreMode::StrictIds, ..Config::for_test() });
    let mut connection = Connection::open(server.address());
    let mut send = |method: &str, path: &str, scope: &str, body: &str| {
        let headers = format!("content-type: application/json\r\nx-fake-openai: scope={scope}\r\n");
        connection.request(method, path, &headers, body).unwrap()
    };
    let made = send("POST", "/v1/assistants", "one", r#"{"model": "gpt-4o"}"#).json();
    let path = format!("/v1/assistants/{}", made["id"].as_str().unwrap());
    assert_eq!(send("GET", &path, "one", "").status, 200);
    assert_eq!(send("GET", &path, "two", "").status, 404);
    assert_eq!(connection.get(&path).status, 404);
}

#[test]
fn a_reset_forgets_one_scope_or_all() {
    let server = serve(Config { limits: vec![LimitSpec::rpm(1)], objects: StoreMode::StrictIds, ..Config::for_test() });
    let mut connection = Connection::open(server.address());
    let chat = |connection: &mut Connection, scope: &str| {
        let headers = format!("x-fake-openai: scope={scope}\r\n");
        connection.request("POST", "/v1/chat/completions", &headers, CHAT).unwrap().status
    };
    for scope in ["a", "b"] {
        assert_eq!([chat(&mut connection, scope), chat(&mut connection, scope)], [200, 429]);
    }
    assert_eq!([connection.chat(CHAT).status, connection.chat(CHAT).status], [200, 429]);
    assert_eq!(connection.admin("POST", "/reset?scope=a", "").status, 204);
    assert_eq!([chat(&mut connection, "a"), chat(&mut connection, "b")], [200, 429], "only its own limit is reset");
    assert_eq!(entries(&server).len(), 6, "2 of a are forgotten");
    assert_eq!(connection.admin("POST", "/reset", "").status, 204);
    assert!(entries(&server).is_empty());
    let metrics = crate::outcomes::metrics(&server);
    assert!(metrics.keys().all(|name| !name.starts_with("fake_openai_requests_total")), "counters start again");
    assert_eq!([chat(&mut connection, "b"), connection.chat(CHAT).status], [200, 200]);

    assert_eq!(connection.admin("DELETE", "/scopes/b", "").status, 204);
    assert_eq!(connection.admin("DELETE", "/scopes/b", "").status, 404);
    assert_eq!(entries(&server).len(), 1);
    let metrics = crate::outcomes::metrics(&server);
    let total: f64 =
        metrics.iter().filter(|(name, _)| name.starts_with("fake_openai_requests_total")).map(|(_, n)| n).sum();
    assert_eq!(total, 2.0, "/metrics counts the requests of a scope that has ended");
}

#[test]
fn a_scripted_reply_can_belong_to_a_scope() {
    let replies = r#"[{"scope": "t7", "text": "for t7"}, {"text": "for all"}]"#;
    let directory = crate::program::Directory::with(&[("replies.json", replies)]);
    let server = serve(Config { fixtures: Some(directory.path().to_owned()), ..Config::for_test() });
    let mut connection = Connection::open(server.address());
    let mut chat = |headers: &str| {
        let response = connection.request("POST", "/v1/chat/completions", headers, CHAT).unwrap().json();
        response["choices"][0]["message"]["content"].as_str().unwrap().to_owned()
    };
    assert_eq!(chat("x-fake-openai: scope=t7\r\n"), "for t7");
    assert_eq!(chat("x-fake-openai: scope=t8\r\n"), "for all");
    assert_eq!(chat(""), "for all");
}

#[test]
fn the_objects_of_all_scopes_have_one_bound() {
    let server = serve(Config { objects: StoreMode::StrictIds, ..Config::for_test() });
    let mut connection = Connection::open(server.address());
    let file = "x".repeat(8 << 20);
    let mut upload = |scope: &str| {
        let field = |name: &str| format!("--b\r\ncontent-disposition: form-data; name=\"{name}\"");
        let (purpose, form) = (field("purpose"), field("file"));
        let body = format!("{purpose}\r\n\r\nbatch\r\n{form}; filename=\"a.jsonl\"\r\n\r\n{file}\r\n--b--\r\n");
        let headers = format!("content-type: multipart/form-data; boundary=b\r\nx-fake-openai: scope={scope}\r\n");
        let made = connection.request("POST", "/v1/files", &headers, &body).unwrap();
        assert_eq!(made.status, 200, "{}", made.text());
        format!("/v1/files/{}", made.json()["id"].as_str().unwrap())
    };
    let first = upload("s0");
    let last = (1..12).map(|n| upload(&format!("s{n}"))).last().unwrap();
    let mut connection = Connection::open(server.address());
    let mut get = |path: &str, scope: &str| {
        connection.request("GET", path, &format!("x-fake-openai: scope={scope}\r\n"), "").unwrap().status
    };
    assert_eq!(
        (get(&first, "s0"), get(&last, "s11")),
        (404, 200),
        "96 MiB are too many: the oldest scopes are dropped"
    );
}

#[test]
fn rules_of_all_scopes_have_one_bound() {
    let server = serve(Config::for_test());
    let mut connection = Connection::open(server.address());
    let mut put = |n: usize| connection.admin("POST", &format!("/rules?scope=s{}", n % 10), r#"{"fault": 503}"#).status;
    assert!((0..1000).all(|n| put(n) == 201));
    assert_eq!(put(1000), 507);
}
