//! Gemini and Vertex AI over real sockets: request options, in every response format.

use std::time::Duration;

use fake_openai::{
    Config, Running,
    core::clock::ManualClock,
    fixtures::Fixtures,
    model::{ContextWindow, Counting, ModelBehavior},
};
use serde_json::{Value, json};

use crate::{
    client::{Connection, Response, serve},
    program::Directory,
};

const GEMINI: &str = "/v1beta/models/gemini-2.5-flash";
const VERTEX: &str = "/v1/projects/p/locations/l/publishers/google/models/gemini-2.5-flash";
const HELLO: &str = "\n\nHello there, how may I assist you today?";

fn served(config: Config) -> (Running, Connection) {
    let server = serve(config);
    let connection = Connection::open(server.address());
    (server, connection)
}

/// A server with these scripted replies.
fn scripted(replies: &Value) -> (Running, Connection, Directory) {
    let directory = Directory::with(&[("replies.json", &replies.to_string())]);
    let (server, connection) = served(Config { fixtures: Some(directory.path().to_owned()), ..Config::for_test() });
    (server, connection, directory)
}

/// A request with one turn and these members.
fn body(members: Value) -> String {
    let mut body = json!({"contents": [{"role": "user", "parts": [{"text": "Hi"}]}]});
    body.as_object_mut().unwrap().extend(members.as_object().unwrap().clone());
    body.to_string()
}

fn ask(connection: &mut Connection, members: Value) -> Value {
    let response = connection.post(&format!("{GEMINI}:generateContent"), &body(members));
    assert_eq!(response.status, 200, "{}", response.text());
    response.json()
}

/// The messages of a stream, as events or as an array. Checks that each is one chunk.
fn messages(response: &Response, events: bool) -> Vec<Value> {
    assert_eq!(response.status, 200, "{}", response.text());
    assert_eq!(response.header("content-disposition"), "attachment");
    if !events {
        assert_eq!(response.header("content-type"), "application/json");
        let all: Vec<Value> = serde_json::from_slice(&response.body).unwrap();
        assert_eq!(all.len(), response.chunks.len());
        return all;
    }
    assert_eq!(response.header("content-type"), "text/event-stream");
    let message = |chunk: &Vec<u8>| {
        let frame = std::str::from_utf8(chunk).unwrap();
        let data = frame.strip_prefix("data: ").and_then(|frame| frame.strip_suffix("\r\n\r\n")).unwrap();
        assert!(!data.contains('\n'));
        serde_json::from_str(data).unwrap()
    };
    response.chunks.iter().map(message).collect()
}

fn parts(message: &Value, candidate: usize) -> Vec<Value> {
    message["candidates"][candidate]["content"]["parts"].as_array().cloned().unwrap_or_default()
}

#[test]
fn every_stream_format_carries_the_full_response() {
    let (_server, mut connection) = served(Config::for_test());
    for path in [GEMINI, VERTEX] {
        let vertex = path == VERTEX;
        for members in [json!({}), json!({"generationConfig": {"stopSequences": ["nothing"]}})] {
            let whole = connection.post(&format!("{path}:generateContent"), &body(members.clone())).json();
            assert_eq!(parts(&whole, 0), [json!({"text": HELLO})]);
            for (query, events) in [("?alt=sse", true), ("?key=x&alt=sse", true), ("", false), ("?alt=json", false)] {
                let path = format!("{path}:streamGenerateContent{query}");
                let all = messages(&connection.post(&path, &body(members.clone())), events);
                let (last, others) = all.split_last().unwrap();
                let text: String =
                    all.iter().map(|one| parts(one, 0)[0]["text"].as_str().unwrap().to_owned()).collect();
                assert_eq!(text, HELLO);
                assert_eq!(last["candidates"][0]["finishReason"], "STOP");
                assert_eq!(last["usageMetadata"], whole["usageMetadata"]);
                let mut counted = 0;
                for one in others {
                    assert!(one["candidates"][0].get("finishReason").is_none());
                    assert_eq!(one["responseId"], last["responseId"]);
                    assert_eq!(one["modelVersion"], "gemini-2.5-flash");
                    let usage = &one["usageMetadata"];
                    if vertex {
                        assert_eq!(usage, &json!({"trafficType": "ON_DEMAND"}));
                    } else {
                        assert!(usage["candidatesTokenCount"].as_u64().unwrap() > counted);
                        counted = usage["candidatesTokenCount"].as_u64().unwrap();
                        assert_eq!(usage["totalTokenCount"], counted + 9);
                    }
                }
            }
        }
    }
}

#[test]
fn the_model_comes_from_the_path() {
    let replies = json!([
        {"when": {"model": "gemini-3*"}, "text": "three of {{model.name}}"},
        {"text": "other"},
    ]);
    let (_server, mut connection, _files) = scripted(&replies);
    let mut said = |model: &str, body: &str| {
        let answer = connection.post(&format!("/v1beta/models/{model}:generateContent"), body).json();
        (parts(&answer, 0)[0]["text"].as_str().unwrap().to_owned(), answer["modelVersion"].as_str().unwrap().to_owned())
    };
    let pair = |text: &str, model: &str| (text.to_owned(), model.to_owned());
    let named = body(json!({"model": "models/gemini-3-pro"}));
    assert_eq!(said("gemini-3-pro", &body(json!({}))), pair("three of gemini-3-pro", "gemini-3-pro"));
    assert_eq!(said("gemini-2.5-pro", &named), pair("other", "gemini-2.5-pro"), "the model of the body is ignored");
    assert_eq!(said("tuned%2F%22one%22", &named), pair("other", "tuned/\"one\""));

    let behavior =
        ModelBehavior { context: ContextWindow::OfModel, usage: Counting::Estimate, ..ModelBehavior::default() };
    let (_server, mut connection) = served(Config { behavior, ..Config::for_test() });
    let long = json!({"contents": [{"parts": [{"text": "x".repeat(4 * 1_048_576)}]}]}).to_string();
    let refused = connection.post(&format!("{GEMINI}:generateContent"), &long);
    let message = "The input token count (1048583) exceeds the maximum number of tokens allowed (1048576).";
    assert_eq!((refused.status, &refused.json()["error"]["message"]), (400, &message.into()));
}

fn weather() -> Value {
    json!({"name": "get_weather", "parameters": {"type": "OBJECT", "required": ["city", "days"], "properties": {
        "city": {"type": "STRING", "maxLength": "5"}, "days": {"type": "INTEGER", "minimum": 1, "maximum": 3}}}})
}

#[test]
fn a_forced_function_is_called_once() {
    let (_server, mut connection) = served(Config::for_test());
    let tools = json!([{"functionDeclarations": [weather(), {"name": "now"}]}]);
    let mut call = |config: Value| {
        let answer = ask(&mut connection, json!({"tools": tools, "toolConfig": {"functionCallingConfig": config}}));
        assert_eq!(answer["candidates"][0]["finishReason"], "STOP");
        parts(&answer, 0)[0].clone()
    };
    let schema = json!({"type": "object", "required": ["city", "days"], "properties": {
        "city": {"type": "string", "maxLength": 5}, "days": {"type": "integer", "minimum": 1, "maximum": 3}}});
    let called = call(json!({"mode": "ANY"}));
    assert_eq!(called["functionCall"]["name"], "get_weather");
    assert!(jsonschema::validator_for(&schema).unwrap().is_valid(&called["functionCall"]["args"]), "{called}");
    let now = json!({"functionCall": {"name": "now", "args": {}}});
    assert_eq!(call(json!({"mode": "ANY", "allowedFunctionNames": ["now"]})), now);
    for mode in ["AUTO", "NONE", "VALIDATED"] {
        assert_eq!(call(json!({"mode": mode})), json!({"text": HELLO}), "{mode}");
    }

    let returned = json!({
        "contents": [
            {"role": "user", "parts": [{"text": "weather?"}]},
            {"role": "model", "parts": [called]},
            {"role": "user", "parts": [{"functionResponse": {"name": "get_weather", "response": {"sky": "clear"}}}]},
        ],
        "tools": tools, "toolConfig": {"functionCallingConfig": {"mode": "ANY"}},
    });
    assert_eq!(parts(&ask(&mut connection, returned), 0), [json!({"text": HELLO})]);

    // Arguments are never split over messages.
    let members = json!({"tools": tools, "toolConfig": {"functionCallingConfig": {"mode": "ANY"}}});
    let response = connection.post(&format!("{GEMINI}:streamGenerateContent?alt=sse"), &body(members));
    let all = messages(&response, true);
    assert_eq!((all.len(), &all[0]["candidates"][0]["finishReason"]), (1, &"STOP".into()));
    assert!(all[0]["candidates"][0]["content"]["parts"][0]["functionCall"]["args"]["city"].is_string());
}

#[test]
fn lost_signatures_and_split_responses_are_refused() {
    let (_server, mut connection) = served(Config::for_test());
    let part = |name: &str| json!({"functionCall": {"name": name, "args": {}}});
    let result = |name: &str| json!({"role": "user", "parts": [{"functionResponse": {"name": name, "response": {}}}]});
    let user = json!({"role": "user", "parts": [{"text": "hi"}]});
    let tools = json!([{"functionDeclarations": [{"name": "f"}, {"name": "g"}]}]);
    let unsigned = json!([user, {"role": "model", "parts": [part("f")]}, result("f")]);
    let split = json!([user, {"role": "model", "parts": [part("f"), part("g")]}, result("f"), result("g")]);
    let mut refused = |path: &str, contents: &Value| {
        let response = connection.post(path, &json!({"contents": contents, "tools": tools}).to_string());
        assert_eq!(response.header("content-type"), "application/json; charset=UTF-8", "{path}");
        let error = response.json();
        (response.status, error["error"]["message"].as_str().unwrap_or_default().to_owned())
    };
    for path in [
        "/v1beta/models/gemini-3-pro-preview:generateContent",
        "/v1beta/models/gemini-3-flash-preview:streamGenerateContent?alt=sse",
        "/v1/projects/p/locations/l/publishers/google/models/gemini-3-pro-preview:generateContent",
    ] {
        let (status, message) = refused(path, &unsigned);
        assert_eq!(status, 400, "{path}");
        assert!(message.contains("function call `default_api:f` , position 2."), "{path}: {message}");
    }
    assert_eq!(refused(&format!("{GEMINI}:generateContent"), &unsigned).0, 200, "older models want no signature");
    let (status, message) = refused(&format!("{GEMINI}:generateContent"), &split);
    assert!(status == 400 && message.contains("equal to the number of function call parts"), "{message}");

    // The fake's own calls can be sent back.
    let path = "/v1beta/models/gemini-3-pro-preview:generateContent";
    let forced = json!({"contents": [user], "tools": tools, "toolConfig": {"functionCallingConfig": {"mode": "ANY"}}});
    let called = connection.post(path, &forced.to_string()).json()["candidates"][0]["content"].clone();
    let answered = json!({"contents": [user, called, result("f")], "tools": tools}).to_string();
    assert_eq!(connection.post(path, &answered).status, 200);
}

#[test]
fn schemas_that_are_not_googles_are_refused() {
    let (_server, mut connection) = served(Config::for_test());
    let mut refused = |members: Value| {
        let response = connection.post(&format!("{GEMINI}:generateContent"), &body(members));
        let error = response.json();
        assert_eq!((response.status, &error["error"]["status"]), (400, &json!("INVALID_ARGUMENT")));
        error["error"]["message"].as_str().unwrap_or_default().to_owned()
    };
    let inner = json!({"type": "STRING", "properties": {"x": {"type": "STRING"}}});
    let parameters = json!({"type": "OBJECT", "properties": {"d": inner}});
    assert_eq!(
        refused(json!({"tools": [{"functionDeclarations": [{"name": "f", "parameters": parameters}]}]})),
        "* GenerateContentRequest.tools[0].function_declarations[0].parameters.properties[d].properties: only allowed \
         for OBJECT type\n"
    );
    let schema = json!({"type": "OBJECT", "properties": {"go": {"type": "OBJECT", "properties": {}}}});
    let config = json!({"responseMimeType": "application/json", "responseSchema": schema});
    assert_eq!(
        refused(json!({ "generationConfig": config })),
        "* GenerateContentRequest.generation_config.response_schema.properties[go].properties: should be non-empty \
         for OBJECT type\n"
    );
}

#[test]
fn finish_reason_names_what_ended_the_reply() {
    let replies = json!([
        {"when": {"user": "calls"}, "tool_calls": [{"name": "f", "arguments": {"a": 1}}, {"name": "g"}]},
        {"when": {"user": "breaks"}, "tool_calls": [{"name": "f", "text": "{\"a\":"}]},
        {"when": {"user": "filtered"}, "text": "half", "finish_reason": "content_filter"},
        {"when": {"user": "refuses"}, "refusal": "No."},
        {"when": {"user": "nothing"}, "text": ""},
        {"text": "one two three"},
    ]);
    let (_server, mut connection, _files) = scripted(&replies);
    let text = |text: &str| json!([{"text": text}]);
    for (user, config, expected, finish) in [
        ("x", json!({}), text("one two three"), "STOP"),
        ("x", json!({"maxOutputTokens": 2}), text("one two"), "MAX_TOKENS"),
        ("x", json!({"stop_sequences": [" three", "never"]}), text("one two"), "STOP"),
        (
            "calls",
            json!({}),
            json!([{"functionCall": {"name": "f", "args": {"a": 1}}}, {"functionCall": {"name": "g", "args": {}}}]),
            "STOP",
        ),
        ("calls", json!({"maxOutputTokens": 1}), json!([]), "MAX_TOKENS"),
        ("breaks", json!({}), json!([]), "MALFORMED_FUNCTION_CALL"),
        ("filtered", json!({}), text("half"), "SAFETY"),
        ("refuses", json!({}), text("No."), "STOP"),
        ("nothing", json!({}), json!([]), "STOP"),
    ] {
        let contents = json!([{"role": "user", "parts": [{"text": user}]}]);
        let members = json!({"contents": contents, "generationConfig": config});
        let answer = ask(&mut connection, members.clone());
        assert_eq!(
            (json!(parts(&answer, 0)), &answer["candidates"][0]["finishReason"]),
            (expected, &finish.into()),
            "{user}"
        );
        assert_eq!(answer["candidates"][0]["content"]["role"], "model");
        let path = format!("{GEMINI}:streamGenerateContent?alt=sse");
        let streamed = messages(&connection.post(&path, &body(members)), true);
        assert_eq!(streamed.last().unwrap()["candidates"][0]["finishReason"], finish);
    }
}

#[test]
fn thoughts_are_shown_on_request_and_always_counted() {
    let (_server, mut connection) = served(Config::for_test());
    let thinking =
        |show: bool| json!({"generationConfig": {"thinkingConfig": {"thinkingBudget": 100, "includeThoughts": show}}});
    let shown = ask(&mut connection, thinking(true));
    assert_eq!((&parts(&shown, 0)[0]["thought"], &parts(&shown, 0)[1]), (&true.into(), &json!({"text": HELLO})));
    let hidden = ask(&mut connection, thinking(false));
    assert_eq!(parts(&hidden, 0), [json!({"text": HELLO})]);
    let usage = json!({"promptTokenCount": 9, "candidatesTokenCount": 11, "totalTokenCount": 84,
        "promptTokensDetails": [{"modality": "TEXT", "tokenCount": 9}], "thoughtsTokenCount": 64, "serviceTier": "standard"});
    assert_eq!((&shown["usageMetadata"], &hidden["usageMetadata"]), (&usage, &usage));
    let path = format!("{GEMINI}:streamGenerateContent");
    let streamed = messages(&connection.post(&path, &body(thinking(true))), false);
    assert_eq!(parts(&streamed[0], 0)[0]["thought"], true);
    assert!(streamed[0]["usageMetadata"].get("candidatesTokenCount").is_none());
    assert_eq!(streamed.last().unwrap()["usageMetadata"], usage);
}

#[test]
fn structured_output_is_valid_against_its_schema() {
    let (_server, mut connection) = served(Config::for_test());
    let google = json!({"type": "OBJECT", "required": ["b", "a"], "property_ordering": ["b", "a"], "properties": {
        "a": {"type": "ARRAY", "min_items": "2", "maxItems": 2, "items": {"type": "NUMBER", "minimum": 5, "maximum": 6}},
        "b": {"anyOf": [{"type": "STRING", "enum": ["x", "y"]}]}}});
    let theirs = json!({"type": "object", "required": ["b", "a"], "properties": {
        "b": {"enum": ["x", "y"]},
        "a": {"type": "array", "minItems": 2, "maxItems": 2, "items": {"type": "number", "minimum": 5, "maximum": 6}}}});
    let validator = jsonschema::validator_for(&theirs).unwrap();
    for (name, schema) in [("responseSchema", &google), ("responseJsonSchema", &theirs), ("response_schema", &google)] {
        let mut config = json!({"responseMimeType": "application/json", "candidateCount": 2});
        config[name] = schema.clone();
        let answer = ask(&mut connection, json!({"generationConfig": config}));
        for n in [0, 1] {
            let said: Value = serde_json::from_str(parts(&answer, n)[0]["text"].as_str().unwrap()).unwrap();
            assert!(validator.is_valid(&said), "{name}: {said}");
            assert_eq!(said.as_object().unwrap().keys().collect::<Vec<_>>(), ["b", "a"], "{name}");
        }
    }
    let answer = ask(&mut connection, json!({"generationConfig": {"response_mime_type": "application/json"}}));
    assert_eq!(parts(&answer, 0)[0]["text"], json!({"message": HELLO}).to_string());
}

#[test]
fn count_tokens_advances_no_script() {
    let replies = json!([{"text": "once", "times": 1}, {"text": "then"}]);
    let (_server, mut connection, _files) = scripted(&replies);
    let mut count = |text: &str| {
        let body = json!({"contents": [{"parts": [{"text": text}]}]}).to_string();
        connection.post(&format!("{GEMINI}:countTokens"), &body).json()["totalTokens"].as_u64().unwrap()
    };
    assert_eq!(count(&"four".repeat(100)) - count("four"), 99);
    assert_eq!(parts(&ask(&mut connection, json!({})), 0)[0]["text"], "once");
    assert_eq!(parts(&ask(&mut connection, json!({})), 0)[0]["text"], "then");
}

#[test]
fn a_429_has_its_retry_delay_in_the_body_only() {
    let clock = ManualClock::new();
    let (_server, mut connection) = served(Config {
        limits: vec![fake_openai::LimitSpec::rpm(7)],
        clock: clock.clone().into(),
        ..Config::for_test()
    });
    let mut status = || connection.post(&format!("{GEMINI}:streamGenerateContent?alt=sse"), &body(json!({})));
    for _ in 0..7 {
        let response = status();
        assert_eq!(response.status, 200);
        assert!(!response.headers.keys().any(|name| name.contains("ratelimit")), "{:?}", response.headers);
    }
    let refused = status();
    assert_eq!(refused.status, 429);
    assert!(!refused.headers.keys().any(|name| name.contains("retry") || name.contains("ratelimit")));
    let error = &refused.json()["error"];
    assert_eq!((&error["code"], &error["status"]), (&429.into(), &"RESOURCE_EXHAUSTED".into()));
    assert_eq!(error["details"][1]["violations"][0]["quotaValue"], "7");
    let delay = error["details"][2]["retryDelay"].as_str().unwrap().strip_suffix('s').unwrap();
    clock.advance(Duration::from_secs(delay.parse().unwrap()));
    assert_eq!(status().status, 200);
}

#[test]
fn an_impossible_envelope_is_refused_at_start() {
    for (head, word) in [
        (r#"{"responseId": null}"#, "`responseId` is missing"),
        (r#"{"trafficType": "{{body.x}}"}"#, "`head.trafficType`"),
        (r#"{"more": "{{part.more}}"}"#, "{{part.…}}"),
    ] {
        let endpoint =
            format!(r#"{{"like": "gemini/generate-content.json", "routes": ["POST /mine"], "head": {head}}}"#);
        let directory = Directory::with(&[("gemini/mine.json", &endpoint)]);
        let problems = Fixtures::load(Some(directory.path())).err().expect("the fixtures are refused");
        assert!(problems.iter().any(|problem| problem.to_string().contains(word)), "{problems:?}");
    }
}
