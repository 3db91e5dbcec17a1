use serde_json::{Value, json};

use super::*;
use crate::core::{
    json,
    prompt::{Prompt, Role, Tool, Turn},
};

fn mismatches(when: Value) -> Vec<String> {
    recorded_mismatches(when, None)
}

fn recorded_mismatches(when: Value, record: Option<RequestRecord>) -> Vec<String> {
    let when: Matcher = serde_json::from_value(when).unwrap();
    let body = json::Document::read(br#"{"model":"gpt-4o","metadata":{"test":[1]}}"#).unwrap();
    let body = body.members();
    let turn = |role, text: &str| Turn { role, text: text.to_owned(), ..Turn::default() };
    let turns = vec![
        turn(Role::System, "be brief"),
        turn(Role::User, "weather in Rome?"),
        turn(Role::Assistant, ""),
        turn(Role::Tool, "sunny"),
    ];
    let tools = ["get_time", "get_weather"].map(|name| Tool { name: name.to_owned(), ..Tool::default() }).to_vec();
    let prompt = Prompt { turns: turns.clone(), tools: tools.clone(), ..Prompt::default() };
    let read = || &prompt;
    let request = chat_request();
    let input = MatchInput::new(body, "gpt-4o".into(), &request, &read);
    let input = match record {
        None => input,
        Some(record) => input.recorded(record),
    };
    let mismatches: Vec<_> = when.mismatches(&input).iter().map(ToString::to_string).collect();
    assert_eq!(when.is_match(&input), mismatches.is_empty());
    mismatches
}

#[test]
fn every_condition_that_does_not_hold_is_a_mismatch() {
    assert!(mismatches(json!({})).is_empty());
    let all = json!({
        "model": "gpt-*", "path": "/v1/*", "user": {"regex": "(?i)WEATHER"}, "system": {"exact": "be brief"},
        "tool_result": true, "turn": 2, "body": {"metadata.test": [1]},
    });
    assert!(mismatches(all).is_empty());
    let none = json!({
        "model": "o1", "path": "/v2/*", "user": "weather", "system": {"glob": "be*x"}, "tool_result": false, "turn": 1,
        "body": {"metadata.test": [2], "absent": null},
    });
    let expected = [
        r#"model: expected "o1", got "gpt-4o""#,
        r#"path: expected a match of "/v2/*", got "/v1/chat/completions""#,
        r#"user: expected "weather", got "weather in Rome?""#,
        r#"system: expected a match of "be*x", got "be brief""#,
        "tool_result: expected false, got true",
        "turn: expected 1, got 2",
        "metadata.test: expected [2], got [1]",
        "absent: expected null, got nothing",
    ];
    assert_eq!(mismatches(none), expected);
}

#[test]
fn a_wrong_condition_is_refused_with_a_remedy() {
    let problem = |value| serde_json::from_value::<RequestMatcher>(value).unwrap_err().to_string();
    assert_eq!(problem(json!({"user": {"regex": "("}})), "the regex `(` is not valid: unclosed group");
    assert!(problem(json!({"user": {"regex": r"\w{1000}"}})).contains("larger than 1 MiB"));
    assert!(problem(json!({"user": {"like": "x"}})).contains("exact"));
    for class in [json!({"model": "gpt-[45]*"}), json!({"path": {"glob": "/v[12]/*"}}), json!({"user": "[x]"})] {
        let refused = problem(class);
        assert!(refused.contains("character classes are not supported") && refused.contains("regex"), "{refused}");
    }
    let exact = json!({"user": {"exact": "[x]"}, "system": {"regex": r"\[x]"}, "model": "*x]"});
    assert!(serde_json::from_value::<RequestMatcher>(exact).is_ok());
    assert!(problem(json!({"users": "x"})).contains("unknown field"));
}

#[test]
fn conditions_on_the_request_line_headers_and_tools_are_compared() {
    let holds = json!({
        "method": "POST", "tool": "get_w*", "stream": false, "header": {"X-Team": "r*", "authorization": {"regex": "s3"}},
        "query": {"api-version": "2024-*"},
    });
    assert!(mismatches(holds).is_empty());
    let none = json!({
        "method": "GET", "tool": "search", "stream": true, "header": {"X-Team": "blue", "x-none": "*", "Authorization": "Bearer x"},
        "query": {"api-version": {"exact": "*"}, "key": "x", "none": "y"},
    });
    let expected = [
        r#"method: expected "GET", got "POST""#,
        r#"tool: expected "search", got "get_time", "get_weather""#,
        "stream: expected true, got false",
        r#"header.X-Team: expected "blue", got "red""#,
        r#"header.x-none: expected a match of "*", got nothing"#,
        "header.Authorization: expected …, got another …",
        r#"query.api-version: expected "*", got "2024-10-21""#,
        "query.key: expected …, got another …",
        r#"query.none: expected "y", got nothing"#,
    ];
    assert_eq!(mismatches(none), expected);
}

#[test]
fn conditions_on_the_end_need_a_closed_record() {
    let end = RecordedEnd { status: Some(429), outcome: "complete" };
    let closed = Some(RequestRecord { end: Some(end), attempt: Some(2), ..RequestRecord::default() });
    for holds in [json!({"status": 429}), json!({"status": "4xx"}), json!({"status": "4*"}), json!({"outcome": "c*"})] {
        assert!(recorded_mismatches(holds, closed).is_empty());
    }
    assert!(recorded_mismatches(json!({"attempt": 2}), closed).is_empty());
    let none = json!({"status": 200, "outcome": "fault", "attempt": 1});
    let expected =
        ["attempt: expected 1, got 2", "status: expected 200, got 429", r#"outcome: expected "fault", got "complete""#];
    assert_eq!(recorded_mismatches(none, closed), expected);
    let open = Some(RequestRecord::default());
    assert_eq!(
        recorded_mismatches(json!({"status": 429, "attempt": 1}), open),
        ["attempt: expected 1, got nothing", "status: expected 429, got a response that is still open"]
    );
}

#[test]
fn conditions_on_a_body_that_is_not_kept_whole_do_not_hold() {
    let cut = Some(RequestRecord { kept_body: Some(16), is_stream: true, ..RequestRecord::default() });
    assert!(recorded_mismatches(json!({"model": "gpt-4o", "stream": true}), cut).is_empty());
    for name in ["user", "system", "tool"] {
        assert_eq!(
            recorded_mismatches(json!({name: "*"}), cut),
            [format!(
                r#"{name}: expected a match of "*", got a body of which the journal kept only 16 bytes; raise --journal-body"#
            )]
        );
    }
    assert_eq!(
        recorded_mismatches(json!({"turn": 2, "tool_result": true, "body": {"metadata.test": [1]}}), cut).len(),
        3
    );
}

#[test]
fn conditions_on_the_response_are_refused_where_there_is_none_yet() {
    for (name, value) in [("status", json!(200)), ("outcome", json!("fault"))] {
        let refused = serde_json::from_value::<RequestMatcher>(json!({name: value})).unwrap_err().to_string();
        assert!(
            refused.starts_with(&format!("`{name}` is known only after")) && refused.contains("; remove"),
            "{refused}"
        );
    }
    let problem = |text: &str| text.parse::<Matcher>().unwrap_err();
    assert!(problem(r#"{"modle": "x"}"#).contains("did you mean `model`?"));
    assert!(problem(r#"{"outcome": "completed"}"#).contains("did you mean `complete`?"));
    assert!(problem(r#"{"status": 20}"#).contains("is not a status"));
    assert!(problem(r#"{"status": "ok"}"#).contains("is not a status"));
    assert!(problem(r#"{"header": {"a b": "x"}}"#).contains("is not the name of a header"));
    assert!(problem(r#"{"header": {"x-team": 7}}"#).contains("x-team: a condition on a text"));
}

#[test]
fn only_a_single_model_condition_counts_as_such() {
    let only = |text: &str| text.parse::<Matcher>().unwrap().only_model().map(str::to_owned);
    assert_eq!(only(r#"{"model": "a"}"#).as_deref(), Some("a"));
    for more in [
        r#""header": {"x": "y"}"#,
        r#""query": {"x": "y"}"#,
        r#""tool": "t""#,
        r#""stream": true"#,
        r#""method": "GET""#,
    ] {
        assert_eq!(only(&format!(r#"{{"model": "a", {more}}}"#)), None, "{more}");
    }
}
