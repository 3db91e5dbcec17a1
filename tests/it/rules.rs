//! The sources of faults, their priority, and rules that change at run time.

use fake_openai::{Config, Running, Server};
use serde_json::json;

use crate::{
    client::{CHAT, Connection, Response, serve},
    program::{Directory, run},
};

fn request(server: &Running, path: &str, headers: &str, body: &str) -> Response {
    Connection::open(server.address()).request("POST", path, headers, body).unwrap()
}

const PATH: &str = "/v1/chat/completions";

#[test]
fn a_request_can_ask_for_a_fault_in_any_field_a_gateway_forwards() {
    let server = serve(Config::for_test());
    let marked = |text: &str| CHAT.replace(r#""Hi""#, &format!(r#""Hi {text} there""#));
    let ways = [
        (PATH, String::new(), CHAT.replace("gpt-4o", "gpt-4o~503")),
        (PATH, "authorization: Bearer sk-x~503\r\n".to_owned(), CHAT.to_owned()),
        (PATH, "api-key: x~503\r\n".to_owned(), CHAT.to_owned()),
        ("/~503/v1/chat/completions", String::new(), CHAT.to_owned()),
        ("/v1/chat/completions?fake=503", String::new(), CHAT.to_owned()),
        ("/v1/chat/completions?a=b&fake=503%25100", String::new(), CHAT.to_owned()),
        (PATH, "x-fake-openai: 503\r\n".to_owned(), CHAT.to_owned()),
        (PATH, String::new(), marked("[[fake: 503]]")),
        ("/openai/deployments/gpt-4o~503/chat/completions?api-version=2024-10-21", String::new(), CHAT.to_owned()),
    ];
    for (path, headers, body) in &ways {
        assert_eq!(request(&server, path, headers, body).status, 503, "{path} {headers} {body}");
    }
    let gemini = r#"{"contents":[{"role":"user","parts":[{"text":"Hi"}]}]}"#;
    for path in ["gemini-2.5-flash~503:generateContent", "gemini-2.5-flash~stall@2:1s~503:generateContent"] {
        assert_eq!(request(&server, &format!("/v1beta/models/{path}"), "", gemini).status, 503, "{path}");
    }
    // Only the last user message counts.
    let earlier =
        r#"{"model":"m","messages":[{"role":"user","content":"[[fake: 503]]"},{"role":"user","content":"Hi"}]}"#;
    assert_eq!(request(&server, PATH, "", earlier).status, 200);
    // The fault is not part of the model's name.
    assert_eq!(request(&server, PATH, "", &CHAT.replace("gpt-4o", "gpt-4o~ttft=1ms")).json()["model"], "gpt-4o");

    let closed = serve(Config { request_faults: false, ..Config::for_test() });
    for (path, headers, body) in &ways {
        let response = request(&closed, path, headers, body);
        let expected = if path.starts_with("/~") { 404 } else { 200 };
        assert_eq!(response.status, expected, "{path} {headers} {body}");
    }
    let model = request(&closed, PATH, "", &CHAT.replace("gpt-4o", "gpt-4o~503")).json()["model"].clone();
    assert_eq!(model, "gpt-4o~503");
}

#[test]
fn the_fault_source_nearest_to_the_request_wins() {
    let rules: Vec<_> = [json!({"when": {"model": "gpt-*"}, "fault": "507"})]
        .iter()
        .map(|rule| serde_json::from_value(rule.clone()).unwrap())
        .collect();
    let server = serve(Config { faults: vec!["508".parse().unwrap()], rules, ..Config::for_test() });
    let put = |fault: &str| {
        let body = json!({"when": {"model": "gpt-4o"}, "fault": fault}).to_string();
        assert_eq!(Connection::open(server.address()).admin("POST", "/rules", &body).status, 201);
    };
    assert_eq!(request(&server, PATH, "", &CHAT.replace("gpt-4o", "o3")).status, 508);
    assert_eq!(request(&server, PATH, "", CHAT).status, 507);
    put("506");
    assert_eq!(request(&server, PATH, "", CHAT).status, 506);
    put("505");
    assert_eq!(request(&server, PATH, "", CHAT).status, 505, "the newest rule wins");
    let marked = CHAT.replace("Hi", "[[fake: 504]]");
    assert_eq!(request(&server, PATH, "", &marked).status, 504);
    let key = "authorization: Bearer k~503\r\n";
    assert_eq!(request(&server, PATH, key, &marked).status, 503);
    let model = marked.replace("gpt-4o", "gpt-4o~502");
    assert_eq!(request(&server, PATH, key, &model).status, 502);
    assert_eq!(request(&server, "/~501/v1/chat/completions", key, &model).status, 501);
    assert_eq!(request(&server, "/~501/v1/chat/completions?fake=500", key, &model).status, 500);
    let header = format!("{key}x-fake-openai: 418\r\n");
    assert_eq!(request(&server, "/~501/v1/chat/completions?fake=500", &header, &model).status, 418);
    let fine = format!("{key}x-fake-openai: ok\r\n");
    assert_eq!(
        request(&server, "/~501/v1/chat/completions?fake=500", &fine, &model).status,
        200,
        "`ok` overrides every other fault"
    );
}

#[test]
fn rules_can_be_added_replaced_and_deleted_at_run_time() {
    let server = serve(Config::for_test());
    let mut connection = Connection::open(server.address());
    let mut admin = |method: &str, page: &str, body: &str| connection.admin(method, page, body);
    assert_eq!(admin("GET", "/rules", "").json(), json!({"rules": []}));
    let put = admin("POST", "/rules", r#"{"when": {"model": "gpt-4o"}, "fault": "429x1"}"#);
    assert_eq!(put.status, 201);
    let rule = put.json();
    assert_eq!(rule["fault"], "429x1");
    let id = rule["id"].as_str().unwrap().to_owned();
    assert_eq!(admin("GET", &format!("/rules/{id}"), "").json(), rule);
    let statuses = |n: usize| -> Vec<u16> { (0..n).map(|_| request(&server, PATH, "", CHAT).status).collect() };
    assert_eq!(statuses(3), [429, 200, 200]);
    assert_eq!(admin("PUT", &format!("/rules/{id}"), r#"{"fault": "503"}"#).status, 200);
    assert_eq!(statuses(2), [503, 503]);
    let get = |path: &str| Connection::open(server.address()).get(path).status;
    assert_eq!((get("/health"), get("/v1/models")), (200, 503), "rules do not apply to /health");
    assert_eq!(admin("DELETE", &format!("/rules/{id}"), "").status, 204);
    assert_eq!(admin("DELETE", &format!("/rules/{id}"), "").status, 404);
    assert_eq!(statuses(1), [200]);
    admin("POST", "/rules", r#"{"fault": "429x1"}"#);
    assert_eq!(statuses(2), [429, 200]);
    assert_eq!(admin("POST", "/reset", "").status, 204);
    assert_eq!(admin("GET", "/rules", "").json(), json!({"rules": []}));
    admin("POST", "/rules", r#"{"fault": "429x1"}"#);
    assert_eq!(statuses(2), [429, 200], "a reset clears the counts");
    assert_eq!(admin("DELETE", "/rules", "").status, 204);
    for (body, words) in
        [("{", "is not valid JSON"), (r#"{"fault": "boom"}"#, "boom"), (r#"{"faults": "503"}"#, "unknown field")]
    {
        let refused = admin("POST", "/rules", body);
        assert_eq!(refused.status, 400);
        assert!(refused.text().contains(words), "{}", refused.text());
    }
    assert_eq!(admin("GET", "/nothing", "").status, 404);
}

#[test]
fn models_of_litellms_fake_behave_as_they_do_there() {
    let server = serve(Config::for_test());
    assert_eq!(request(&server, PATH, "", &CHAT.replace("gpt-4o", "429")).status, 429);
    // The slow models hold the request until their client disconnects.
    for model in ["random_sleep", "slow-endpoint", "degraded", "slow_provider", "blocked"] {
        let mut connection = Connection::open(server.address());
        let body = CHAT.replace("gpt-4o", model);
        let head = format!("POST {PATH} HTTP/1.1\r\nhost: x\r\ncontent-length: {}\r\n\r\n{body}", body.len());
        connection.send(head.as_bytes()).unwrap();
        crate::client::eventually("the request is in flight", || server.in_flight() == 1);
        drop(connection);
        crate::client::eventually("the request has ended", || server.in_flight() == 0);
    }
}

#[test]
fn fixture_rules_can_be_overridden() {
    let none = Directory::with(&[("rules.json", "[]")]);
    let server = serve(Config { fixtures: Some(none.path().to_owned()), ..Config::for_test() });
    assert_eq!(request(&server, PATH, "", &CHAT.replace("gpt-4o", "429")).status, 200);
    let wrong = Directory::with(&[("rules.json", r#"[{"fault": "boom"}]"#)]);
    let config = Config { fixtures: Some(wrong.path().to_owned()), ..Config::for_test() };
    let problem = Server::bind(config).err().unwrap().to_string();
    assert!(problem.contains("rules.json") && problem.contains("there is no fault `boom`"), "{problem}");
}

#[test]
fn an_error_name_that_no_provider_has_is_refused_wherever_it_is_read() {
    let suggestion = "no provider has an error `insufficient_quotas`; did you mean `insufficient_quota`?";
    let flag = run(&["check", "--fault", "429:insufficient_quotas"]);
    assert_eq!(flag.status.code(), Some(2));
    let text = String::from_utf8(flag.stderr).unwrap();
    assert_eq!(text, format!("error: fault: `429:insufficient_quotas`: {suggestion}\n"));

    let rule = json!({"when": {"model": "gpt-4o"}, "fault": "503x1~429:insufficient_quotas"});
    let rules = vec![serde_json::from_value(rule.clone()).unwrap()];
    let refused = Server::bind(Config { rules, ..Config::for_test() }).err().unwrap().to_string();
    assert_eq!(refused, format!("rules[0].fault: `429:insufficient_quotas`: {suggestion}"));

    let fixtures = Directory::with(&[("rules.json", &json!([{"fault": "ok"}, rule]).to_string())]);
    let config = Config { fixtures: Some(fixtures.path().to_owned()), ..Config::for_test() };
    let refused = Server::bind(config).err().unwrap().to_string();
    let place = format!("rules.json: [1].fault: `429:insufficient_quotas`: {suggestion}");
    assert!(refused.ends_with(&place), "{refused}");

    let server = serve(Config::for_test());
    let admin = Connection::open(server.address()).admin("POST", "/rules", &rule.to_string());
    assert_eq!(admin.status, 400);
    assert!(admin.text().contains(suggestion), "{}", admin.text());
    let by_model = request(&server, PATH, "", &CHAT.replace("gpt-4o", "gpt-4o~error@5:overloadde"));
    assert_eq!(by_model.status, 400);
    assert_eq!(
        by_model.json()["error"]["message"],
        "`error:overloadde`: no provider has an error `overloadde`; did you mean `overloaded`?"
    );
}

#[test]
fn an_error_name_of_the_users_own_provider_is_accepted() {
    let provider = r#"{"like": "openai", "paths": ["/mine"], "errors": {"injected:napping": {"status": 503, "words": {"message": "Zzz"}}}}"#;
    let fixtures = Directory::with(&[("mine/provider.json", provider)]);
    let config = Config { fixtures: Some(fixtures.path().to_owned()), ..Config::for_test() };
    let server = serve(Config { faults: vec!["503:napping".parse().unwrap()], ..config });
    assert_eq!(request(&server, PATH, "", CHAT).status, 503);
}
