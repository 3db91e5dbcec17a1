//! Tools in requests: what each kind must have, so that a gateway that forgot to translate them is noticed.

use fake_openai::Config;
use serde_json::{Value, json};

use crate::client::{Connection, serve};

const CHAT: &str = "/v1/chat/completions";
const RESPONSES: &str = "/v1/responses";

/// A request with these members.
fn body(path: &str, members: Value) -> Value {
    let mut body = match path {
        RESPONSES => json!({"model": "gpt-4o", "input": "Hi"}),
        _ => json!({"model": "gpt-4o", "messages": [{"role": "user", "content": "Hi"}]}),
    };
    body.as_object_mut().unwrap().extend(members.as_object().unwrap().clone());
    body
}

/// Tools and choices of the one API that were sent to the other, and tools without what they need. The names of members
/// follow microsoft/autogen#6935 and OpenAI's OpenAPI description.
fn incomplete() -> Vec<(&'static str, Value, &'static str)> {
    let (flat, nested) =
        (json!({"type": "function", "name": "f"}), json!({"type": "function", "function": {"name": "f"}}));
    vec![
        (RESPONSES, json!({"tools": [nested]}), "tools[0].name"),
        (RESPONSES, json!({"tools": [flat, {"type": "custom"}]}), "tools[1].name"),
        (RESPONSES, json!({"tools": [{"type": "file_search"}]}), "tools[0].vector_store_ids"),
        (RESPONSES, json!({"tools": [{"type": "mcp"}]}), "tools[0].server_label"),
        (RESPONSES, json!({"tools": [{"type": "code_interpreter"}]}), "tools[0].container"),
        (RESPONSES, json!({"tools": [flat], "tool_choice": nested}), "tool_choice.name"),
        (CHAT, json!({"tools": [flat]}), "tools[0].function"),
        (CHAT, json!({"tools": [{"type": "custom", "name": "f"}]}), "tools[0].custom"),
        (CHAT, json!({"tools": [{"type": "function", "function": {}}]}), "tools[0].function.name"),
        (CHAT, json!({"tools": [nested], "tool_choice": flat}), "tool_choice.function"),
    ]
}

#[test]
fn a_tool_without_a_required_member_is_refused() {
    let server = serve(Config::for_test());
    let mut connection = Connection::open(server.address());
    for (path, members, param) in incomplete() {
        let refused = connection.post(path, &body(path, members.clone()).to_string());
        assert_eq!(refused.status, 400, "{members}: {}", refused.text());
        let error = &refused.json()["error"];
        assert_eq!(error["param"], param, "{members}");
        assert_eq!(
            (&error["type"], &error["code"]),
            (&json!("invalid_request_error"), &json!("missing_required_parameter"))
        );
        assert!(error["message"].as_str().unwrap().contains(param), "{error}");
    }
    for (path, members) in
        [(RESPONSES, json!({"tools": [{"type": "foo"}]})), (CHAT, json!({"tools": [{"type": "foo"}]}))]
    {
        let error = connection.post(path, &body(path, members).to_string()).json();
        assert_eq!(
            (&error["error"]["param"], &error["error"]["code"]),
            (&json!("tools[0].type"), &json!("invalid_value"))
        );
    }
}

#[test]
fn complete_tools_are_accepted() {
    let server = serve(Config::for_test());
    let mut connection = Connection::open(server.address());
    let mcp = json!({"type": "mcp", "server_label": "s", "server_url": "https://example.com"});
    for tool in [
        json!({"type": "function", "name": "f"}),
        json!({"type": "file_search", "vector_store_ids": ["vs_1"]}),
        json!({"type": "code_interpreter", "container": {"type": "auto"}}),
        json!({"type": "web_search"}),
        json!({"type": "local_shell"}),
        mcp,
    ] {
        let response = connection.post(RESPONSES, &body(RESPONSES, json!({"tools": [tool]})).to_string());
        assert_eq!(response.status, 200, "{tool}: {}", response.text());
    }
    // A host's own kinds of tools.
    let hosted = body(RESPONSES, json!({"tools": [{"type": "openrouter:datetime"}]}));
    assert_eq!(connection.post("/openrouter/api/v1/responses", &hosted.to_string()).status, 200);
}

#[test]
fn no_call_has_an_empty_name() {
    let server = serve(Config { lenient: true, ..Config::for_test() });
    let mut connection = Connection::open(server.address());
    let mut incomplete = incomplete();
    let anonymous = json!({"tools": [{"type": "function", "function": {"name": ""}, "name": ""}]});
    incomplete.extend([(CHAT, anonymous.clone(), ""), (RESPONSES, anonymous, "")]);
    for (path, members, _) in incomplete {
        for choice in [
            json!("required"),
            json!({"type": "function", "name": ""}),
            json!({"type": "function", "function": {"name": ""}}),
        ] {
            for stream in [false, true] {
                let mut body = body(path, members.clone());
                body["tool_choice"] = choice.clone();
                body["stream"] = stream.into();
                let response = connection.post(path, &body.to_string());
                assert_eq!(response.status, 200, "{body}: {}", response.text());
                let text = response.text().replace(' ', "");
                for call in [r#""type":"function_call""#, r#""tool_calls":[{"#, r#""function_call":{"#] {
                    let made = text.split(call).skip(1).collect::<String>();
                    assert!(!made.contains(r#""name":"""#), "{body}: {text}");
                }
            }
        }
    }
}
