//! User fixtures on top of the built-in ones.

use fake_openai::{Config, fixtures::Fixtures};
use serde_json::json;

use crate::{
    client::{CHAT, Connection, serve},
    program::{Directory, run},
};

const USAGE: &str = r#""usage": {"prompt_tokens": 1, "completion_tokens": 2}"#;

fn served(files: &[(&str, &str)]) -> (fake_openai::Running, Directory) {
    let directory = Directory::with(files);
    (serve(Config { fixtures: Some(directory.path().to_owned()), ..Config::for_test() }), directory)
}

#[test]
fn replies_can_be_scripted_by_model_and_with_slots() {
    let replies = format!(
        r#"[{{"when": {{"model": "gpt-4*"}}, "text": "four", "finish_reason": "length", {USAGE}}},
            {{"text": "you asked {{{{body.model}}}} at {{{{header.host}}}}", {USAGE}}}]"#
    );
    let (server, _files) = served(&[("replies.json", &replies)]);
    let mut connection = Connection::open(server.address());
    let four = connection.chat(CHAT).json();
    assert_eq!(four["choices"][0]["message"]["content"], "four");
    assert_eq!(four["choices"][0]["finish_reason"], "length");
    assert_eq!(four["usage"]["total_tokens"], 3);
    let other = connection.chat(&CHAT.replace("gpt-4o", "o1 \\\"x")).json();
    assert_eq!(other["choices"][0]["message"]["content"], "you asked o1 \"x at fake");
    let stream = connection.chat(&CHAT.replace("gpt-4o", "o1").replace("}]}", r#"}],"stream":true}"#));
    assert!(stream.text().contains(r#"{"content":" asked"}"#), "{}", stream.text());
}

#[test]
fn any_field_of_the_envelope_can_be_pinned_or_added() {
    let chat = r#"{"like": "openai/chat.json", "routes": ["POST /pinned"],
                   "head": {"id": "chatcmpl-mine", "created": 7, "service_tier": null, "citations": ["{{query.q}}"]},
                   "headers": {"x-mine": "{{query.q}}!"}}"#;
    let (server, _files) = served(&[("openai/pinned.json", chat)]);
    let mut connection = Connection::open(server.address());
    let response = connection.post("/pinned?q=a%20b", CHAT);
    assert_eq!(response.header("x-mine"), "a b!");
    let body = response.json();
    assert_eq!(
        (&body["id"], &body["created"], &body["citations"][0]),
        (&"chatcmpl-mine".into(), &7.into(), &"a b".into())
    );
    assert!(body.get("service_tier").is_none());
    assert_eq!(connection.chat(CHAT).json()["object"], "chat.completion", "the built-in route is unchanged");
}

#[test]
fn endpoints_and_providers_can_be_added_and_replaced() {
    let (server, _files) = served(&[
        ("groq/provider.json", r#"{"like": "openai", "paths": ["/groq/"], "headers": {"x-groq": "yes"}}"#),
        ("groq/chat.json", r#"{"like": "openai/chat.json", "routes": ["POST /groq/v1/chat/completions"]}"#),
        (
            "groq/echo.json",
            r#"{"routes": ["PUT /groq/echo/{id}"], "status": 201, "body": {"id": "{{path.id}}", "sent": "{{body.x}}"}}"#,
        ),
        ("openai/models.json", r#"{"routes": ["GET /v1/models"], "body": {"object": "list", "data": []}}"#),
    ]);
    let mut connection = Connection::open(server.address());
    assert_eq!(connection.post("/groq/v1/chat/completions", CHAT).header("x-groq"), "yes");
    let echo = connection.request("PUT", "/groq/echo/5%25", "", r#"{"x": {"y": [1.50]}}"#).unwrap();
    assert_eq!((echo.status, echo.json()), (201, serde_json::json!({"id": "5%", "sent": {"y": [1.5]}})));
    assert_eq!(
        connection.get("/groq/nowhere").header("x-groq"),
        "yes",
        "unknown paths of the new provider have its headers"
    );
    assert_eq!(connection.get("/v1/models").json()["data"], serde_json::json!([]));
    assert_eq!(connection.get("/models").status, 404, "a file replaces the built-in one as a whole");
}

#[test]
fn the_built_in_fixtures_pass_the_check() {
    let fixtures = Fixtures::load(None).unwrap();
    assert_eq!(fixtures.check(), Ok(()), "built-in fixtures are compiled on first use, which must not fail");
}

/// The problems of a set of fixtures, one per line.
fn problems(files: &[(&str, &str)]) -> String {
    let directory = Directory::with(files);
    let problems = Fixtures::load(Some(directory.path())).err().expect("the fixtures are refused");
    problems.iter().map(|problem| format!("{problem}\n")).collect()
}

/// Loads each case, the name and text of a file, alone. The problems reported must contain these words.
fn check_mistakes(cases: &[(&str, &str, &[&str])]) {
    for (name, text, expected) in cases {
        let reported = problems(&[(name, text)]);
        for word in *expected {
            assert!(reported.contains(word), "{name} {text}\nlacks {word} in\n{reported}");
        }
    }
}

#[test]
fn a_mistake_in_an_endpoint_is_reported_with_file_place_and_remedy() {
    check_mistakes(&[
        ("openai/a.json", "{", &["openai/a.json", "line 1 column 1"]),
        ("openai/a.json", r#"{"routs": []}"#, &["unknown field `routs` at line 1 column 8; did you mean `routes`?"]),
        (
            "openai/a.json",
            r#"{"like": "openai/chat.json", "routes": ["POST /a"], "limitd": true}"#,
            &["openai/a.json: unknown field `limitd`; did you mean `limited`?"],
        ),
        ("openai/a.json", r#"{"routes": ["GET /a"], "dialect": "openai-chats"}"#, &["did you mean `openai-chat`?"]),
        ("reply.json", "[]", &["reply.json", "did you mean `replies.json`?"]),
        ("openai/a.json", r#"{"routes": [], "body": {}}"#, &["routes", "is empty", "POST /v1"]),
        ("openai/a.json", r#"{"routes": ["GET v1"], "body": {}}"#, &["routes[0]", "starts with `/`"]),
        ("openai/a.json", r#"{"routes": ["GET /a"]}"#, &["has no response", "`body`", "`dialect`"]),
        ("openai/a.json", r#"{"routes": ["GET /a"], "body": "{{bdy.x}}"}"#, &["body", "`bdy`", "path, query"]),
        ("openai/a.json", r#"{"routes": ["GET /a/{b}"], "body": "{{path.c}}"}"#, &["path.c", "GET /a/{b}", "{c}"]),
        ("openai/a.json", r#"{"routes": ["GET /a"], "body": 1, "status": 99}"#, &["status", "99"]),
        ("openai/a.json", r#"{"routes": ["GET /a"], "body": 1, "headers": {"a b": "c"}}"#, &["headers.a b", "name"]),
        (
            "openai/a.json",
            r#"{"routes": ["GET /a"], "body": 1, "headers": {"Date": "c"}}"#,
            &["headers.Date", "leave it out"],
        ),
        ("openai/a.json", r#"{"routes": ["GET /a"], "dialect": "morse"}"#, &["dialect", "`morse`", "openai-chat"]),
    ]);
}

#[test]
fn a_mistake_in_a_path_a_model_list_or_a_file_name_is_reported_with_file_place_and_remedy() {
    check_mistakes(&[
        ("openai/a.json", r#"{"routes": ["GET /a"], "dialect": "openai-chat"}"#, &["head", "`id` is missing"]),
        (
            "openai/a.json",
            r#"{"routes": ["GET /v1/models"], "body": 1}"#,
            &["routes[0]", "openai/models.json", "name this file"],
        ),
        ("openai/a.json", r#"{"like": "openai/b.json", "routes": ["GET /a"]}"#, &["`openai/b.json`", "does not exist"]),
        ("openai/a.json", r#"{"routes": ["POST /a"], "body": 1, "require": {"required": ["x"]}}"#, &["require", "`x`"]),
        (
            "openai/a.json",
            r#"{"routes": ["POST /a"], "body": 1, "require": {"properties": {"x": {"type": "text"}}}}"#,
            &["properties.x"],
        ),
        (
            "openai/a.json",
            r#"{"routes": ["GET /a", "GET /a/{model}"], "body": 1, "models": {"known": "*", "each": "{{resource.id}}"}}"#,
            &["routes", "`{model}`"],
        ),
        (
            "openai/a.json",
            r#"{"routes": ["GET /a"], "body": 1, "models": {"known": "*", "each": "{{model.id}}"}}"#,
            &["models.each", "`{{model.id}}`"],
        ),
        ("openai/a.yaml", "routes: []", &["openai/a.yaml", ".json"]),
        ("mine/a.json", r#"{"routes": ["GET /a"], "body": 1}"#, &["mine/provider.json", "like"]),
        ("a.json", "{}", &["a.json", "provider's directory"]),
        (
            "openai/a.json",
            r#"{"routes": ["GET /a/{b}"], "body": 1, "errors": {"not_json": {"status": 400, "words": {"message": "{{path.a}}"}}}}"#,
            &["errors.not_json", "path.a", "GET /a/{b}"],
        ),
        ("openai/a.json", r#"{"routes": ["GET /a/{b}c"], "body": 1}"#, &["routes[0]", "{b}c", "{name}:word"]),
    ]);
}

#[test]
fn a_mistake_in_replies_is_reported_with_file_place_and_remedy() {
    check_mistakes(&[
        (
            "replies.json",
            r#"[{"txt": "x"}]"#,
            &["replies.json: unknown field `txt` at line 1 column 7; did you mean `text`?"],
        ),
        ("replies.json", r#"[{}]"#, &["replies.json: [0]", "has nothing", "`tool_calls`"]),
        ("replies.json", r#"[{"text": "a", "echo": true}]"#, &["[0]", "has text and echo"]),
        ("replies.json", r#"[{"text": "{{nope.x}}"}]"#, &["replies.json: [0].text", "`nope`"]),
        ("replies.json", r#"[{"text": "a", "reasoning": "{{nope.x}}"}]"#, &["[0].reasoning", "`nope`"]),
        ("replies.json", r#"[{"sequence": [{"text": "a"}], "reasoning": "b"}]"#, &["[0].reasoning", "each of the"]),
        ("replies.json", r#"[{"when": {"user": {"regex": "("}}, "text": "a"}]"#, &["replies.json", "regex"]),
        ("replies.json", r#"[{"sequence": [{"sequence": []}]}]"#, &["[0].sequence[0]", "has sequence"]),
        (
            "replies.json",
            r#"[{"text": "a", "times": 0}, {"text": "b"}]"#,
            &["replies.json: [0].times: is 0, so the reply is never sent; write 1 or more"],
        ),
        (
            "replies.json",
            r#"[{"when": {"user": {"regex": "a+"}}, "text": "a"}, {"when": {"user": {"regex": "a+"}}, "text": "b"}]"#,
            &["replies.json: [1]: is never sent: reply [0] has the same `when` and no `times`; give that one `times`"],
        ),
        (
            "replies.json",
            r#"[{"tool_calls": [{"name": "f", "arguments": "{\"a\": "}]}]"#,
            &["replies.json: [0].tool_calls[0].arguments: are not JSON: EOF while", "`text` in place of `arguments`"],
        ),
        (
            "replies.json",
            r#"[{"sequence": [{"tool_calls": [{"name": "f", "arguments": "Rome, {{body.x}}"}]}]}]"#,
            &["replies.json: [0].sequence[0].tool_calls[0].arguments: are not JSON: expected value at line 1 column 1"],
        ),
        (
            "replies.json",
            r#"[{"tool_calls": [{"name": "f", "arguments": {}, "text": "x"}]}]"#,
            &["replies.json: [0].tool_calls[0].text: a call has `arguments` or a `text`"],
        ),
        ("replies.json", r#"[{"sequence": []}]"#, &["[0].sequence", "is empty"]),
        ("replies.json", r#"[{"sequence": [{"text": "a"}], "text": "b"}]"#, &["[0]", "has text and sequence"]),
        ("replies.json", r#"[{"sequence": [{"text": "a"}], "usage": {}}]"#, &["[0].usage", "each of the replies"]),
        ("replies.json", r#"[{"sequence": [{"text": "a", "times": 2}]}]"#, &["[0].sequence[0].times", "at the top"]),
        (
            "replies.json",
            r#"[{"sequence": [{"when": {"turn": 1}, "text": "a"}]}]"#,
            &["[0].sequence[0].when", "at the top"],
        ),
        ("replies.json", "[]", &["replies.json", "is empty"]),
    ]);
}

#[test]
fn a_mistake_in_a_provider_or_profile_is_reported_with_file_place_and_remedy() {
    check_mistakes(&[
        ("facts.json", r#"[{"model": "a", "window": 1}]"#, &["facts.json", "unknown field `window`"]),
        (
            "profiles.json",
            r#"{"mine": {"ttft": "1s±2s"}}"#,
            &["profiles.json", "line 1 column", "`1s±2s`: the deviation 2s is above the mean", "write 1s±1s"],
        ),
        ("profiles.json", r#"{"mine": {"itl": 20}}"#, &["profiles.json", "integer `20`", "\"300ms\""]),
        ("profiles.json", r#"{"mine": {"tpot": "20ms"}}"#, &["profiles.json", "unknown field `tpot`", "`itl`"]),
        ("openai/provider.json", "{}", &["openai/provider.json", "missing field `error`"]),
        ("facts.json", r#"[{"model": "a", "apis": ["chats"]}]"#, &["facts.json", "unknown variant `chats`"]),
        (
            "openai/mine.json",
            r#"{"routes": ["POST /mine"], "body": {}, "api": {"name": "chat", "errors": {"not_json": {"status": 400}}}}"#,
            &["api.errors.not_json: is not about models", "move it to `errors`"],
        ),
        (
            "mine/provider.json",
            r#"{"like": "openai", "part_of": "nobody"}"#,
            &["part_of: `nobody` is no provider that could have parts"],
        ),
        (
            "mine/provider.json",
            r#"{"like": "openai", "errors": {"teapot": {"status": 418}}}"#,
            &["errors.teapot", "rate_limited"],
        ),
        (
            "mine/provider.json",
            r#"{"like": "openai", "errors": {"rate_limit": {"status": 429}}}"#,
            &["errors.rate_limit: `rate_limit` is no kind of error; did you mean `rate_limited`?"],
        ),
        (
            "mine/provider.json",
            r#"{"like": "openai", "errors": {"not_json": {"status": 200}}}"#,
            &["errors.not_json.status", "200"],
        ),
        (
            "mine/provider.json",
            r#"{"like": "openai", "errors": {"not_json": {"status": 400, "words": {"mesage": "x"}}}}"#,
            &["words.mesage"],
        ),
        (
            "mine/provider.json",
            r#"{"like": "openai", "errors": {"not_json": {"status": 400, "words": {"message": "{{error.param}}"}}}}"#,
            &["error.param", "fields of this error: none"],
        ),
        (
            "mine/provider.json",
            r#"{"like": "openai", "errors": {"not_json": {"status": 400, "words": {"message": "{{path.a}}"}}}}"#,
            &["errors.not_json", "not known to all routes"],
        ),
        ("mine/provider.json", r#"{"like": "mine"}"#, &["circle"]),
    ]);
}

#[test]
fn replies_that_can_be_sent_are_accepted() {
    let directory = Directory::with(&[(
        "replies.json",
        r#"[
            {"when": {"user": "a"}, "text": "first", "times": 1},
            {"when": {"user": "a"}, "text": "then"},
            {"when": {"user": {"exact": "a*"}}, "text": "another kind of pattern"},
            {"when": {"user": "a*"}, "tool_calls": [
                {"name": "f", "arguments": "{\"city\": \"{{body.user}}\", \"n\": {{body.n}}}"},
                {"name": "g", "arguments": "{{body.metadata.arguments}}"},
                {"name": "h", "text": "no JSON"}
            ]},
            {"text": "else"}
        ]"#,
    )]);
    assert_eq!(Fixtures::load(Some(directory.path())).err(), None);
}

#[test]
fn a_mistake_in_a_shared_reply_is_reported_once() {
    let told = problems(&[("replies.json", r#"[{"tool_calls": [{"name": "f", "arguments": "{{nope.x}}"}]}]"#)]);
    assert_eq!(told.matches("`nope`").count(), 1, "{told}");
    assert!(told.contains("replies.json: [0].tool_calls[0].arguments") && !told.contains("built in"), "{told}");
}

#[test]
fn all_mistakes_are_reported_at_once_with_exit_status_2() {
    let usage = format!(r#"[{{"text": "a", {USAGE}}}, {{"text": "b", {USAGE}}}]"#);
    let files = Directory::with(&[
        ("openai/a.json", "{}"),
        ("openai/b.json", r#"{"routes": ["x"], "body": "{{y}}"}"#),
        ("replies.json", &usage),
    ]);
    for command in [&["check"][..], &["routes"], &[]] {
        let mut args = vec!["--fixtures", files.path().to_str().unwrap()];
        args.extend(command);
        let output = run(&args);
        let error = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(2), "{error}");
        for word in ["a.json", "b.json: routes[0]", "b.json: body", "replies.json: [1]: is never sent"] {
            assert!(error.contains(word), "lacks {word} in\n{error}");
        }
    }
}

#[test]
fn ejected_fixtures_load_without_a_difference() {
    let directory = Directory::new();
    let path = directory.file("mine");
    let output = run(&["eject", &path]);
    assert!(output.status.success(), "{output:?}");
    let check = run(&["check", "--fixtures", &path]);
    let told = String::from_utf8(check.stdout).unwrap();
    assert!(check.status.success() && told.contains("0 added"), "{told}");
    let again = run(&["eject", &path]);
    assert_eq!(again.status.code(), Some(2));
    assert!(String::from_utf8(again.stderr).unwrap().contains("the file exists"));
}

#[test]
fn a_form_is_read_as_an_object_and_its_files_may_have_any_size() {
    let form = r#"{"routes": ["POST /form"], "require": {"required": ["purpose", "file"], "properties": {
                     "purpose": {"type": "string"}, "file": {"type": "object"}}},
                   "body": {"purpose": "{{body.purpose}}", "file": "{{body.file}}", "kinds": "{{body.kinds}}"}}"#;
    let directory = Directory::with(&[("openai/form.json", form)]);
    let fixtures = Some(directory.path().to_owned());
    let server = serve(Config { fixtures, max_body: 10_000, ..Config::for_test() });
    let mut connection = Connection::open(server.address());
    let mut post = |parts: &[(&str, &str)]| {
        let part =
            |(about, text): &(&str, &str)| format!("--x\r\ncontent-disposition: form-data; {about}\r\n\r\n{text}\r\n");
        let body: String = parts.iter().map(part).chain(["--x--\r\n".to_owned()]).collect();
        connection.request("POST", "/form", "content-type: multipart/form-data; boundary=x\r\n", &body).unwrap()
    };
    let purpose = (r#"name="purpose""#, "{\"a\":\n--x}");
    let kinds = [(r#"name="kinds[]""#, "word"), (r#"name="kinds[]""#, "segment")];
    for length in [0, 1, 100_000, 9_000_000] {
        let text = "-".repeat(length);
        let file = ("name=\"file\"; filename=\"a b.wav\"\r\ncontent-type: audio/wav", text.as_str());
        let answer = post(&[kinds[0], file, purpose, kinds[1]]);
        assert_eq!(answer.status, 200, "{}", answer.text());
        let about = json!({"filename": "a b.wav", "content_type": "audio/wav", "bytes": length});
        assert_eq!(
            answer.json(),
            json!({"purpose": "{\"a\":\n--x}", "file": about, "kinds": ["word", "segment"]}),
            "{length}"
        );
    }
    assert_eq!(post(&[purpose]).json()["error"]["param"], "file");
    let long = "a".repeat(10_000);
    assert_eq!(post(&[(r#"name="purpose""#, &long)]).status, 413, "text fields count towards max_body");
    let many = vec![(r#"name="a""#, ""); 50];
    assert_eq!(post(&many).status, 413, "the names of fields count towards max_body");
    let broken =
        connection.request("POST", "/form", "content-type: multipart/form-data; boundary=x\r\n", "--x\r\nwhat");
    assert_eq!(broken.unwrap().status, 400);
}

#[test]
fn a_fixture_that_is_not_utf_8_is_refused_by_name() {
    let directory = Directory::with(&[("replies.json", "[]")]);
    std::fs::write(directory.path().join("replies.json"), b"[{\"text\": \"\xff\"}]").unwrap();
    let problems = Fixtures::load(Some(directory.path())).err().expect("the fixtures are refused");
    let [problem] = problems.as_slice() else { panic!("{problems:?}") };
    let problem = problem.to_string();
    assert!(problem.contains("replies.json") && problem.contains("UTF-8"), "{problem}");
}

#[test]
#[cfg(unix)]
fn eject_writes_through_no_dangling_link() {
    let directory = Directory::new();
    let (into, elsewhere) = (directory.path().join("into"), directory.path().join("elsewhere.json"));
    std::fs::create_dir_all(&into).unwrap();
    std::os::unix::fs::symlink(&elsewhere, into.join("replies.json")).unwrap();
    let output = run(&["eject", into.to_str().unwrap()]);
    assert_eq!(output.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&output.stderr).contains("replies.json"));
    assert!(!elsewhere.exists());
}
