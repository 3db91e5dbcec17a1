//! Replies that are put at run time.

use std::thread;

use fake_openai::{Config, JournalSpec, Matcher, Running, Times};
use serde_json::{Value, json};

use crate::{
    client::{Connection, Response, serve},
    program::Directory,
};

const CHAT: &str = "/v1/chat/completions";

/// A connection to the server, with the calls of these tests.
struct Client(Connection);

impl Client {
    fn new(server: &Running) -> Self {
        Client(Connection::open(server.address()))
    }

    fn put(&mut self, reply: &Value) -> Value {
        let response = self.0.admin("POST", "/replies", &reply.to_string());
        assert_eq!(response.status, 201, "{}", response.text());
        response.json()
    }

    fn refused(&mut self, reply: &Value) -> String {
        let response = self.0.admin("POST", "/replies", &reply.to_string());
        assert_eq!(response.status, 400, "{reply}: {}", response.text());
        response.json()["error"]["message"].as_str().unwrap().to_owned()
    }

    fn ask(&mut self, user: &str, path: &str, headers: &str) -> Response {
        let body = json!({"model": "gpt-4o", "messages": [{"role": "user", "content": user}]});
        self.0.request("POST", &format!("{path}{CHAT}"), headers, &body.to_string()).unwrap()
    }

    /// The content of a reply, or its status.
    fn chat_at(&mut self, user: &str, path: &str, headers: &str) -> String {
        let response = self.ask(user, path, headers);
        match response.json()["choices"][0]["message"]["content"].as_str() {
            Some(text) => text.to_owned(),
            None => response.status.to_string(),
        }
    }

    fn chat(&mut self, user: &str) -> String {
        self.chat_at(user, "", "")
    }

    fn list(&mut self, query: &str) -> Vec<Value> {
        let mut list = self.0.admin("GET", &format!("/replies{query}"), "").json();
        serde_json::from_value(list["replies"].take()).unwrap()
    }
}

#[test]
fn replies_put_at_run_time_win_by_priority_and_then_the_newest() {
    let server = serve(Config::for_test());
    let mut client = Client::new(&server);
    assert_eq!(client.put(&json!({"text": "old"})), json!({"id": "reply-1", "text": "old", "used": 0}));
    client.put(&json!({"text": "new"}));
    assert_eq!(client.chat("Hi"), "new");
    client.put(&json!({"text": "first", "priority": 1, "when": {"user": "H*"}, "times": 1}));
    assert_eq!([client.chat("Hi"), client.chat("Hi")], ["first", "new"]);
    let list = json!([{"when": {"user": "a"}, "text": "in order"}, {"text": "last", "id": "mine"}]);
    assert_eq!(client.put(&list)["replies"][1]["id"], "mine");
    assert_eq!([client.chat("a"), client.chat("b")], ["in order", "last"], "a list keeps its order");

    let used: Vec<_> = client.list("").iter().map(|reply| (reply["id"].clone(), reply["used"].clone())).collect();
    let expected = [("reply-3", 1), ("reply-4", 1), ("mine", 1), ("reply-2", 2), ("reply-1", 0)];
    assert_eq!(used, expected.map(|(id, used)| (json!(id), json!(used))));
    assert_eq!(client.list("?unused=true").len(), 1);
    let replaced = client.0.admin("PUT", "/replies/mine", r#"{"text": "again"}"#);
    assert_eq!((replaced.status, replaced.json()["used"].clone()), (200, json!(0)));
    assert_eq!(client.chat("b"), "again");
    assert_eq!(client.0.admin("GET", "/replies/mine", "").json()["used"], 1);
    assert_eq!(client.0.admin("DELETE", "/replies/mine", "").status, 204);
    assert_eq!(client.0.admin("GET", "/replies/mine", "").status, 404);
    assert_eq!(client.chat("b"), "new");
    assert_eq!(client.0.admin("DELETE", "/replies", "").status, 204);
    assert!(client.list("").is_empty());
    client.put(&json!({"text": "x"}));
    assert_eq!(client.0.admin("POST", "/reset", "").status, 204);
    assert!(client.list("").is_empty());
}

#[test]
fn a_sequence_has_errors_and_an_end() {
    let server = serve(Config::for_test());
    let mut client = Client::new(&server);
    let steps = json!([{"error": 429, "retry_after": "2s"}, {"error": "503:slow_down"}, {"text": "done"}]);
    for (then, fourth) in [("repeat-last", "done"), ("cycle", "429"), ("error", "404")] {
        client.put(&json!({"id": then, "when": {"user": then}, "sequence": steps, "then": then}));
        let first = client.ask(then, "", "");
        assert_eq!((first.status, first.header("retry-after")), (429, "2"));
        assert_eq!([client.chat(then), client.chat(then), client.chat(then)], ["503", "done", fourth]);
    }
    let over = client.ask("error", "", "");
    assert!(over.text().contains("its `sequence` is over"), "{}", over.text());
    let entries = client.0.admin("GET", "/requests?status=503", "").json();
    let first = &entries["requests"][0];
    assert_eq!([&first["reply"], &first["faults"]], [&json!("repeat-last"), &json!(["503:slow_down"])]);
}

#[test]
fn a_reply_has_faults_delays_alternatives_and_tool_calls() {
    let alternatives = |seed| {
        let server = serve(Config { seed: Some(seed), explain: true, ..Config::for_test() });
        let mut client = Client::new(&server);
        client.put(&json!({"any_of": [{"text": "a"}, {"text": "b"}, {"error": 500}]}));
        let drawn: Vec<_> = (0..24).map(|_| client.chat("Hi")).collect();
        assert!(["a", "b", "500"].iter().all(|one| drawn.iter().any(|other| other == one)), "{drawn:?}");
        client.put(&json!({"when": {"user": "fault"}, "text": "x", "fault": "503x1", "ttft": "1ms"}));
        let refused = client.ask("fault", "", "");
        assert_eq!((refused.status, refused.header("x-fake-openai-reply")), (503, "reply-2; fault=ttft=1ms~503x1"));
        assert_eq!(client.chat("fault"), "x");
        client.put(&json!({"when": {"user": "tool"}, "tool_calls": [{"name": "f", "arguments": {"a": 1}}]}));
        let called = client.ask("tool", "", "").json();
        assert_eq!(called["choices"][0]["message"]["tool_calls"][0]["function"]["name"], "f");
        drawn
    };
    assert_eq!(alternatives(1), alternatives(1), "the seed draws them");
}

#[test]
fn the_keys_of_run_time_replies_work_in_files() {
    let replies = r#"[
        {"when": {"user": "s"}, "sequence": [{"error": 429}, {"any_of": [{"text": "done"}]}], "then": "cycle"},
        {"when": {"user": "f"}, "text": "x", "fault": "empty-200"},
        {"text": "all"}
    ]"#;
    let directory = Directory::with(&[("replies.json", replies)]);
    let server = serve(Config { fixtures: Some(directory.path().to_owned()), ..Config::for_test() });
    let mut client = Client::new(&server);
    assert_eq!([client.chat("s"), client.chat("s"), client.chat("s"), client.chat("x")], ["429", "done", "429", "all"]);
    assert_eq!(client.ask("f", "", "").text(), "");
    let refused = |replies: &str| {
        let directory = Directory::with(&[("replies.json", replies)]);
        fake_openai::fixtures::Fixtures::load(Some(directory.path())).err().unwrap()[0].to_string()
    };
    let priority = refused(r#"[{"priority": 1, "text": "x"}]"#);
    assert!(priority.contains("[0].priority: belongs to replies that are put at run time"), "{priority}");
    let fault = refused(r#"[{"text": "x", "fault": "503:slow_donw"}]"#);
    assert!(fault.contains("replies.json: [0]: ") && fault.contains("did you mean `slow_down`"), "{fault}");
}

#[test]
fn a_mistake_names_its_place_and_a_remedy() {
    let server = serve(Config::for_test());
    let mut client = Client::new(&server);
    for (reply, message) in [
        (json!({"txt": "a"}), "unknown field `txt`; did you mean `text`?"),
        (json!([{"text": "a"}, {"sequence": [{"texd": "b"}]}]), "[1]: sequence[0]: unknown field `texd`; did you mean"),
        (json!({"text": "a", "fault": "cutt@5"}), "did you mean `cut`?"),
        (json!({"text": "a", "fault": "503:slow_donw"}), "did you mean `slow_down`"),
        (json!({"text": "{{nope}}"}), "is invalid: text: "),
        (json!({"text": "a", "then": "cycle"}), "then: belongs beside `sequence`"),
        (json!({"error": "cut@5"}), "error: `cut@5` is not an error alone; write a status"),
        (json!({"error": 429, "usage": {}}), "usage: has no effect beside `error`; leave it out"),
        (json!({"text": "a", "retry_after": 2}), "retry_after: belongs beside `error` or `fault`"),
        (json!({"text": "a", "ttft": "1s~503"}), "ttft: `1s~503` is more than one time"),
        (json!({"any_of": [{"text": "a", "times": 1}]}), "any_of[0].times: belongs to the reply at the top"),
        (json!({"any_of": []}), "any_of: is empty"),
        (json!({"text": "a", "times": 0}), "times: is 0"),
        (json!({"text": "a", "id": "a/b"}), "`a/b` is no id; write 1 to 100 of"),
        (json!({"text": "a", "when": {"status": 200}}), "`status` is known only after"),
        (json!({"text": "a", "when": {"body": {"a[x]": 1}}}), "body: a[x]: `a[x]` is no path; write one such as"),
        (json!(7), "it is no object"),
    ] {
        let refused = client.refused(&reply);
        assert!(refused.contains(message) && !refused.ends_with("?."), "{reply}: {refused}");
    }
    assert!(client.list("").is_empty(), "a list is put whole or not at all");
}

#[test]
fn a_reply_is_for_a_key_an_attempt_or_a_member_of_the_body() {
    let server = serve(Config::for_test());
    let mut client = Client::new(&server);
    client.put(&json!([
        {"when": {"key": "sk-team-*"}, "text": "by key"},
        {"when": {"user": "call", "attempt": 1}, "error": 500},
        {"when": {"user": "call", "attempt": 2}, "text": "second"},
        {"when": {"body": {"messages[*].content": "*Rome*"}}, "text": "by each"},
        {"when": {"body": {"messages[0].content": {"regex": "^\\d+$"}}}, "text": "by item"}
    ]));
    assert_eq!(client.chat_at("x", "", "authorization: Bearer sk-team-1\r\n"), "by key");
    assert_eq!([client.chat("call"), client.chat("call")], ["500", "second"]);
    assert_eq!([client.chat("To Rome!"), client.chat("42")], ["by each", "by item"]);
    server.verify(Matcher::new().key("sk-team-*"), Times::exactly(1)).unwrap();
    assert!(!client.0.admin("GET", "/replies", "").text().contains("sk-team"), "keys are masked");
}

#[test]
fn a_strict_scope_refuses_what_no_reply_fits() {
    let server = serve(Config::for_test());
    let mut client = Client::new(&server);
    let strict = client.0.admin("PUT", "/scopes/t", r#"{"strict": true}"#);
    assert_eq!((strict.status, strict.json()), (200, json!({"name": "t", "strict": true})));
    client.put(&json!({"scope": "t", "when": {"user": "only*"}, "text": "scripted"}));
    assert_eq!(client.chat_at("only this", "/~scope=t", ""), "scripted");
    let scope = server.scope("t");
    scope.verify(Matcher::new(), Times::exactly(1)).unwrap();
    let refused = client.ask("Hi", "/~scope=t", "");
    assert_eq!(refused.status, 404);
    assert!(refused.text().contains(r#"The nearest is reply-1: user: expected a match of \"only*\", got \"Hi\""#));
    let error = scope.verify(Matcher::new(), Times::exactly(2)).unwrap_err();
    assert!(error.to_string().contains("no reply of the strict scope fits these requests: req_2"), "{error}");
    let verified = client.0.admin("POST", "/verify", r#"{"scope": "t", "count": 2}"#);
    assert_eq!((verified.status, verified.json()["unmatched"].clone()), (422, json!(["req_2"])));
    assert_ne!(client.chat_at("Hi", "/~scope=u", ""), "404", "other scopes are not strict");
    let scopes = client.0.admin("GET", "/scopes", "").json();
    assert_eq!(scopes["scopes"][0], json!({"name": "t", "requests": 2, "strict": true}));
    assert_eq!(client.0.admin("POST", "/reset?scope=t", "").status, 204);
    assert_ne!(client.chat_at("Hi", "/~scope=t", ""), "404", "a reset ends it");
    let misspelled = client.0.admin("PUT", "/scopes/t", r#"{"strickt": true}"#);
    assert!(misspelled.status == 400 && misspelled.text().contains("did you mean `strict`"));
}

#[test]
fn scopes_in_parallel_have_replies_of_their_own() {
    let server = serve(Config::for_test());
    thread::scope(|threads| {
        for n in 0..6 {
            let server = &server;
            threads.spawn(move || {
                let (mut client, scope) = (Client::new(server), format!("test-{n}"));
                client.put(&json!({"scope": scope, "text": scope}));
                for _ in 0..5 {
                    assert_eq!(client.chat_at("Hi", &format!("/~scope={scope}"), ""), scope);
                }
                let list = client.list(&format!("?scope={scope}"));
                assert_eq!((list.len(), &list[0]["used"]), (1, &json!(5)));
                assert_eq!(client.0.admin("DELETE", &format!("/replies?scope={scope}"), "").status, 204);
            });
        }
    });
    assert!(Client::new(&server).list("").is_empty());
}

#[test]
fn the_header_with_the_reply_is_sent_on_request_alone() {
    let server = serve(Config::for_test());
    let mut client = Client::new(&server);
    client.put(&json!({"text": "x"}));
    assert!(!client.ask("Hi", "", "").headers.contains_key("x-fake-openai-reply"));
}

#[test]
fn run_time_replies_are_bounded() {
    let server = serve(Config { journal: JournalSpec { entries: 0, ..JournalSpec::default() }, ..Config::for_test() });
    let mut client = Client::new(&server);
    let many = |count: usize, text: &str| Value::from(vec![json!({"text": text}); count]);
    client.put(&many(1000, "x"));
    let refused = client.0.admin("POST", "/replies", r#"{"text": "one more"}"#);
    assert!(refused.status == 507 && refused.text().contains("more than 1000 replies"), "{}", refused.text());
    assert_eq!(client.0.admin("PUT", "/replies/reply-7", r#"{"text": "replaced"}"#).status, 200);
    let refused = client.0.admin("POST", "/replies", &many(1, &"x".repeat(1 << 20)).to_string());
    assert_eq!(refused.status, 413);
    client.0.admin("DELETE", "/replies", "");
    let large = many(1, &"x".repeat(1_000_000)).to_string();
    let statuses: Vec<_> = (0..12).map(|_| client.0.admin("POST", "/replies", &large).status).collect();
    assert!(statuses.starts_with(&[201]) && statuses.ends_with(&[507]), "{statuses:?}");
}

#[test]
fn replies_are_scripted_from_rust() {
    let server = serve(Config::for_test());
    let mut client = Client::new(&server);
    let id = server.on(Matcher::new().user("weather*")).times(1).reply("Sunny.").unwrap();
    server.scope("t").on(Matcher::new()).fault("503x1".parse().unwrap()).reply("in t").unwrap();
    assert_eq!(client.chat("weather?"), "Sunny.");
    assert_ne!(client.chat("weather?"), "Sunny.");
    assert_eq!([client.chat_at("Hi", "/~scope=t", ""), client.chat_at("Hi", "/~scope=t", "")], ["503", "in t"]);
    let shown = client.0.admin("GET", &format!("/replies/{id}"), "").json();
    assert_eq!(shown["when"], json!({"user": "weather*"}));
    assert!(server.on(Matcher::new()).reply(json!({"txt": 1})).unwrap_err().contains("did you mean `text`"));
    server.reset();
    assert!(client.list("").is_empty());
}
