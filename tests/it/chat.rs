//! Chat completions over a socket: each request option changes the response.

use fake_openai::{
    Config, Running,
    model::{ContentSource, Counting, ModelBehavior},
};
use serde_json::{Value, json};

use crate::{
    client::{Connection, serve},
    program::Directory,
};

fn usual() -> (Running, Connection) {
    let server = serve(Config { seed: Some(3), ..Config::for_test() });
    let connection = Connection::open(server.address());
    (server, connection)
}

fn with(behavior: ModelBehavior) -> (Running, Connection) {
    let server = serve(Config { behavior, ..Config::for_test() });
    let connection = Connection::open(server.address());
    (server, connection)
}

/// A server with these scripted replies.
fn scripted(replies: &Value) -> (Running, Connection, Directory) {
    let directory = Directory::with(&[("replies.json", &replies.to_string())]);
    let server = serve(Config { fixtures: Some(directory.path().to_owned()), ..Config::for_test() });
    let connection = Connection::open(server.address());
    (server, connection, directory)
}

/// A request with a model, one message and these members.
fn body(members: Value) -> String {
    let mut body = json!({"model": "gpt-4o", "messages": [{"role": "user", "content": "Hi"}]});
    body.as_object_mut().unwrap().extend(members.as_object().unwrap().clone());
    body.to_string()
}

fn ask(connection: &mut Connection, members: Value) -> Value {
    let response = connection.chat(&body(members));
    assert_eq!(response.status, 200, "{}", response.text());
    response.json()
}

/// The chunks of a stream.
fn stream(connection: &mut Connection, mut members: Value) -> Vec<Value> {
    members["stream"] = true.into();
    let response = connection.chat(&body(members));
    assert_eq!(response.status, 200, "{}", response.text());
    let frames = response.text().split("\n\n").filter_map(|frame| frame.strip_prefix("data: "));
    frames.filter(|data| *data != "[DONE]").map(|data| serde_json::from_str(data).unwrap()).collect()
}

/// Accumulates the chunks of one choice, as the SDKs do: its message and finish reason.
fn accumulated(chunks: &[Value], index: u64) -> (Value, Value) {
    let (mut content, mut calls, mut finish) = (String::new(), Vec::<Value>::new(), Value::Null);
    for choice in chunks.iter().flat_map(|chunk| chunk["choices"].as_array().unwrap()).filter(|c| c["index"] == index) {
        content.push_str(choice["delta"]["content"].as_str().unwrap_or(""));
        for call in choice["delta"]["tool_calls"].as_array().into_iter().flatten() {
            let n = call["index"].as_u64().unwrap() as usize;
            if n == calls.len() {
                calls.push(call.clone());
            } else {
                let whole = calls[n]["function"]["arguments"].as_str().unwrap().to_owned();
                calls[n]["function"]["arguments"] = (whole + call["function"]["arguments"].as_str().unwrap()).into();
            }
        }
        if !choice["finish_reason"].is_null() {
            finish = choice["finish_reason"].clone();
        }
    }
    (json!({"content": content, "tool_calls": calls}), finish)
}

#[test]
fn choices_are_indexed_and_their_usage_is_summed() {
    let (_server, mut connection) = usual();
    let answer = ask(&mut connection, json!({"n": 3}));
    let indices: Vec<_> = answer["choices"].as_array().unwrap().iter().map(|choice| choice["index"].clone()).collect();
    assert_eq!(indices, [0, 1, 2]);
    assert_eq!((&answer["usage"]["prompt_tokens"], &answer["usage"]["completion_tokens"]), (&json!(9), &json!(36)));
    let chunks = stream(&mut connection, json!({"n": 2}));
    for index in [0, 1] {
        let (message, finish) = accumulated(&chunks, index);
        assert_eq!(
            (&message["content"], finish),
            (&"\n\nHello there, how may I assist you today?".into(), "stop".into())
        );
    }
    assert_eq!(chunks[0]["choices"][0]["index"], 0);
    assert_eq!(chunks[1]["choices"][0]["index"], 1, "the chunks of choices alternate");
}

#[test]
fn max_tokens_ends_the_reply_after_that_many_tokens() {
    for usage in [Counting::Canned, Counting::Estimate, Counting::Exact] {
        let (_server, mut connection) = with(ModelBehavior { usage, ..ModelBehavior::default() });
        for most in 1..=5 {
            let answer = ask(&mut connection, json!({"max_tokens": most}));
            assert_eq!(answer["usage"]["completion_tokens"], most);
            assert_eq!(answer["choices"][0]["finish_reason"], "length");
        }
        let whole = ask(&mut connection, json!({"max_completion_tokens": 100}));
        assert_eq!(whole["choices"][0]["finish_reason"], "stop");
    }
}

#[test]
fn a_stop_sequence_ends_the_reply_before_it() {
    let (_server, mut connection) = usual();
    let answer = ask(&mut connection, json!({"stop": [" you", "may"]}));
    assert_eq!(answer["choices"][0]["message"]["content"], "\n\nHello there, how ");
    assert_eq!(answer["choices"][0]["finish_reason"], "stop");
}

#[test]
fn echo_and_lorem_replace_the_default_reply() {
    let (_server, mut connection) = with(ModelBehavior { content: ContentSource::Echo, ..ModelBehavior::default() });
    let messages = json!([{"role": "user", "content": "first"}, {"role": "assistant", "content": "x"},
        {"role": "user", "content": [{"type": "text", "text": "séc\"ond"}, {"type": "text", "text": "part"}]}]);
    let answer = ask(&mut connection, json!({"messages": messages}));
    assert_eq!(answer["choices"][0]["message"]["content"], "séc\"ond\npart");

    for usage in [Counting::Canned, Counting::Exact] {
        let behavior =
            ModelBehavior { content: ContentSource::Lorem, lorem_tokens: 20..=30, usage, ..ModelBehavior::default() };
        let (_server, mut connection) = with(behavior);
        let answer = ask(&mut connection, json!({"max_tokens": 30}));
        assert_eq!(
            (&answer["usage"]["completion_tokens"], &answer["choices"][0]["finish_reason"]),
            (&30.into(), &"length".into())
        );
        // A limit that no reply reaches, such as an SDK's default, does not lengthen it.
        for parameters in [json!({}), json!({"max_tokens": 31}), json!({"max_tokens": 16_000})] {
            let free = ask(&mut connection, parameters);
            let length = free["usage"]["completion_tokens"].as_u64().unwrap();
            assert!((20..=30).contains(&length), "{length}");
            assert_eq!(free["choices"][0]["finish_reason"], "stop");
        }
        let texts = [1, 1, 2]
            .map(|seed| ask(&mut connection, json!({"seed": seed}))["choices"][0]["message"]["content"].clone());
        assert!(texts[0] == texts[1] && texts[0] != texts[2], "the same seed gives the same text");
    }
}

#[test]
fn exact_usage_is_the_same_streamed_or_not() {
    let (_server, mut connection) = with(ModelBehavior { usage: Counting::Exact, ..ModelBehavior::default() });
    for (model, prompt, tokens) in [
        ("gpt-4o", "Say this is a test", 12),
        ("gpt-4o", "What is the capital of Mexico?", 14),
        ("gpt-4", "Say this is a test", 12),
        ("gpt-5", "What is the capital of France?", 13),
    ] {
        let members = json!({"model": model, "messages": [{"role": "user", "content": prompt}]});
        let usage = ask(&mut connection, members.clone())["usage"].clone();
        assert_eq!(usage["prompt_tokens"], tokens, "{model} {prompt}");
        assert_eq!(usage["total_tokens"], tokens + usage["completion_tokens"].as_u64().unwrap());
        let mut asked = members;
        asked["stream_options"] = json!({"include_usage": true});
        let chunks = stream(&mut connection, asked);
        assert_eq!(chunks.last().unwrap()["usage"], usage);
        let text = chunks
            .iter()
            .filter(|chunk| chunk["choices"][0]["delta"]["content"].as_str().is_some_and(|t| !t.is_empty()));
        assert_eq!(text.count() as u64, usage["completion_tokens"].as_u64().unwrap(), "each chunk has one token");
    }
}

#[test]
fn logprob_tokens_join_to_the_content() {
    let (_server, mut connection, _files) = scripted(&json!([{"text": "Olá, 🦤 <|end|>"}]));
    let answer = ask(&mut connection, json!({"logprobs": true, "top_logprobs": 3}));
    let choice = &answer["choices"][0];
    let entries = choice["logprobs"]["content"].as_array().unwrap();
    let tokens: String = entries.iter().map(|entry| entry["token"].as_str().unwrap()).collect();
    assert_eq!(tokens, choice["message"]["content"]);
    for entry in entries {
        let bytes: Vec<u8> =
            entry["bytes"].as_array().unwrap().iter().map(|byte| byte.as_u64().unwrap() as u8).collect();
        assert_eq!(bytes, entry["token"].as_str().unwrap().as_bytes());
        let top = entry["top_logprobs"].as_array().unwrap();
        assert_eq!(top.len(), 3);
        assert_eq!((&top[0]["token"], &top[0]["logprob"]), (&entry["token"], &entry["logprob"]));
        let all: Vec<_> = top.iter().map(|entry| entry["logprob"].as_f64().unwrap()).collect();
        assert!(all.iter().all(|logprob| *logprob <= 0.0) && all.is_sorted_by(|a, b| a >= b), "{all:?}");
    }
}

const WEATHER: &str = r#"{"type": "function", "function": {"name": "get_weather", "parameters": {"type": "object",
    "properties": {"city": {"type": "string"}, "days": {"type": "integer", "minimum": 1, "maximum": 3}},
    "required": ["city", "days"], "additionalProperties": false}}}"#;

fn weather() -> Value {
    serde_json::from_str(WEATHER).unwrap()
}

#[test]
fn a_forced_tool_is_called_with_arguments_its_schema_accepts() {
    let (_server, mut connection) = usual();
    let named = json!({"type": "function", "function": {"name": "get_weather"}});
    for choice in [json!("required"), named] {
        let members = json!({"tools": [weather()], "tool_choice": choice});
        let answer = ask(&mut connection, members.clone());
        let message = &answer["choices"][0]["message"];
        assert!(message["content"].is_null());
        assert_eq!(answer["choices"][0]["finish_reason"], "tool_calls");
        let streamed = accumulated(&stream(&mut connection, members), 0);
        assert_eq!(streamed.1, "tool_calls");
        for call in [&message["tool_calls"][0], &streamed.0["tool_calls"][0]] {
            assert_eq!((&call["type"], &call["function"]["name"]), (&json!("function"), &json!("get_weather")));
            assert!(call["id"].as_str().unwrap().starts_with("call_") && call["id"].as_str().unwrap().len() == 29);
            let arguments: Value = serde_json::from_str(call["function"]["arguments"].as_str().unwrap()).unwrap();
            let validator = jsonschema::validator_for(&weather()["function"]["parameters"]).unwrap();
            assert!(validator.is_valid(&arguments), "{arguments}");
        }
    }
    // Arguments are an empty object where the function has no parameters or an open schema.
    for function in
        [json!({"name": "f"}), json!({"name": "f", "parameters": {}}), json!({"name": "f", "parameters": null})]
    {
        let tools = json!([{"type": "function", "function": function}]);
        let answer = ask(&mut connection, json!({"tools": tools, "tool_choice": "required"}));
        assert_eq!(answer["choices"][0]["message"]["tool_calls"][0]["function"]["arguments"], "{}", "{function}");
    }
    for choice in ["auto", "none"] {
        let answer = ask(&mut connection, json!({"tools": [weather()], "tool_choice": choice}));
        assert_eq!(answer["choices"][0]["finish_reason"], "stop", "no tool is called unless one is forced");
    }
}

#[test]
fn structured_output_is_valid_against_its_schema() {
    let (_server, mut connection) = usual();
    let schema = json!({
        "type": "object", "additionalProperties": false, "required": ["steps", "answer", "next"],
        "properties": {
            "steps": {"type": "array", "minItems": 2, "items": {"$ref": "#/$defs/step"}},
            "answer": {"enum": ["yes", "no"]},
            "next": {"anyOf": [{"type": "null"}, {"type": "string", "format": "date-time"}]},
        },
        "$defs": {"step": {"type": "object", "additionalProperties": false, "required": ["n", "why"],
            "properties": {"n": {"type": "integer", "minimum": 5, "maximum": 7}, "why": {"type": "string"}}}},
    });
    let format = json!({"type": "json_schema", "json_schema": {"name": "it", "strict": true, "schema": schema}});
    let validator = jsonschema::options().should_validate_formats(true).build(&schema).unwrap();
    let answer = ask(&mut connection, json!({"response_format": format, "n": 5}));
    for choice in answer["choices"].as_array().unwrap() {
        let content: Value = serde_json::from_str(choice["message"]["content"].as_str().unwrap()).unwrap();
        assert!(validator.is_valid(&content), "{content}");
        assert_eq!(content.as_object().unwrap().keys().collect::<Vec<_>>(), ["steps", "answer", "next"]);
    }
    let messages = json!([{"role": "user", "content": "as JSON"}]);
    let answer = ask(&mut connection, json!({"response_format": {"type": "json_object"}, "messages": messages}));
    assert!(
        serde_json::from_str::<Value>(answer["choices"][0]["message"]["content"].as_str().unwrap())
            .unwrap()
            .is_object()
    );
}

#[test]
fn scripted_replies_answer_the_requests_they_match() {
    let replies = json!([
        {"when": {"user": {"regex": "^weather in (Rome|Oslo)"}, "tool_result": false},
         "tool_calls": [{"name": "get_weather", "arguments": {"city": "{{body.metadata.city}}"}}, {"name": "get_time"}]},
        {"when": {"tool_result": true}, "text": "It is sunny.", "usage": {"prompt_tokens": 50, "completion_tokens": 4, "cached_tokens": 40}},
        {"when": {"system": "*pirate*"}, "chunks": ["Arr", "", ", ma", "tey"]},
        {"when": {"user": {"exact": "bad"}}, "refusal": "I can't say that."},
        {"when": {"user": "filter*"}, "text": "so", "finish_reason": "content_filter"},
        {"when": {"turn": 3}, "text": "third turn"},
        {"when": {"body": {"metadata.think": true}}, "text": "thought", "reasoning_tokens": 77},
        {"when": {"user": "say it"}, "echo": true},
        {"text": "else"},
    ]);
    let (_server, mut connection, _files) = scripted(&replies);
    let user = |text: &str| json!([{"role": "user", "content": text}]);

    let calls = json!({"messages": user("weather in Rome?"), "tools": [weather()], "metadata": {"city": "Rome"}});
    let (message, finish) = accumulated(&stream(&mut connection, calls.clone()), 0);
    assert_eq!(
        (&message["tool_calls"][0]["function"]["arguments"], finish),
        (&json!(r#"{"city":"Rome"}"#), json!("tool_calls"))
    );
    assert_eq!(message["tool_calls"][1]["function"], json!({"name": "get_time", "arguments": "{}"}));
    let mut one = calls.clone();
    one["parallel_tool_calls"] = false.into();
    let whole = ask(&mut connection, one)["choices"][0]["message"]["tool_calls"].clone();
    assert_eq!(whole.as_array().unwrap().len(), 1, "parallel_tool_calls: false leaves one call");

    let mut messages = user("weather in Rome?");
    let call = json!({"id": "c", "type": "function", "function": {"name": "get_weather", "arguments": "{}"}});
    messages.as_array_mut().unwrap().extend([
        json!({"role": "assistant", "content": null, "tool_calls": [call]}),
        json!({"role": "tool", "tool_call_id": "c", "content": "sunny"}),
    ]);
    let answer = ask(&mut connection, json!({"messages": messages}));
    assert_eq!(answer["choices"][0]["message"]["content"], "It is sunny.");
    assert_eq!(answer["usage"]["prompt_tokens_details"]["cached_tokens"], 40);
    assert_eq!(answer["usage"]["total_tokens"], 54);

    let pirate =
        json!({"messages": [{"role": "system", "content": "you are a pirate!"}, {"role": "user", "content": "Hi"}]});
    let chunks = stream(&mut connection, pirate);
    let pieces: Vec<_> = chunks.iter().filter_map(|chunk| chunk["choices"][0]["delta"]["content"].as_str()).collect();
    assert_eq!(pieces, ["", "Arr", "", ", ma", "tey"], "the role chunk, then exactly the scripted chunks");

    let refused = ask(&mut connection, json!({"messages": user("bad")}))["choices"][0].clone();
    assert_eq!(
        (&refused["message"]["content"], &refused["message"]["refusal"]),
        (&Value::Null, &"I can't say that.".into())
    );
    assert_eq!(refused["finish_reason"], "stop");
    let chunks = stream(&mut connection, json!({"messages": user("bad")}));
    assert_eq!(chunks[0]["choices"][0]["delta"], json!({"role": "assistant", "content": null, "refusal": ""}));
    assert_eq!(chunks[1]["choices"][0]["delta"], json!({"refusal": "I"}));

    assert_eq!(
        ask(&mut connection, json!({"messages": user("filter me")}))["choices"][0]["finish_reason"],
        "content_filter"
    );
    // A scripted finish reason applies to every response format, but not to a forced tool call.
    let format = json!({"type": "json_schema", "json_schema": {"name": "x", "schema": {"type": "object"}}});
    let formed = ask(&mut connection, json!({"messages": user("filter me"), "response_format": format}));
    assert_eq!(formed["choices"][0]["finish_reason"], "content_filter");
    let forced = json!({"messages": user("filter me"), "tools": [weather()], "tool_choice": "required"});
    assert_eq!(ask(&mut connection, forced)["choices"][0]["finish_reason"], "tool_calls");
    let said = |role: &str| json!({"role": role, "content": "x"});
    let turns = json!([said("user"), said("assistant"), said("user"), said("assistant"), said("user")]);
    assert_eq!(ask(&mut connection, json!({"messages": turns}))["choices"][0]["message"]["content"], "third turn");
    let thought = ask(&mut connection, json!({"metadata": {"think": true}}))["usage"].clone();
    assert_eq!(thought["completion_tokens_details"]["reasoning_tokens"], 77);
    assert_eq!(thought["completion_tokens"], 78);
    assert_eq!(ask(&mut connection, json!({"messages": user("say it")}))["choices"][0]["message"]["content"], "say it");
    assert_eq!(ask(&mut connection, json!({}))["choices"][0]["message"]["content"], "else");
}

#[test]
fn times_and_sequences_count_per_conversation_or_caller() {
    let replies = json!([
        {"when": {"user": "count"}, "sequence": [{"text": "one"}, {"text": "two"}, {"text": "three"}]},
        {"when": {"model": "gpt-4o"}, "text": "twice", "times": 2, "per": "caller"},
        {"text": "after"},
    ]);
    let (_server, mut connection, _files) = scripted(&replies);
    let mut say = |user: &str, key: &str| {
        let body = body(json!({"messages": [{"role": "user", "content": user}]}));
        let headers = format!("authorization: Bearer {key}\r\n");
        let response = connection.request("POST", "/v1/chat/completions", &headers, &body).unwrap();
        response.json()["choices"][0]["message"]["content"].as_str().unwrap().to_owned()
    };
    assert_eq!([1, 2, 3, 4].map(|_| say("count", "a")), ["one", "two", "three", "three"]);
    assert_eq!(say("count", "b"), "one", "another caller has its own count");
    assert_eq!([1, 2, 3].map(|n| say(&n.to_string(), "a")), ["twice", "twice", "after"]);
    assert_eq!(say("x", "b"), "twice");
}

#[test]
fn a_request_that_fits_no_reply_gets_the_nearest_and_its_mismatches() {
    let replies = json!([
        {"when": {"model": "o1", "user": "x", "turn": 9}, "text": "a"},
        {"when": {"turn": 4}, "text": "b"},
        {"when": {"model": "gpt-4o", "user": "exactly this"}, "text": "c"},
        {"when": {"model": "gpt-4o", "user": "or this"}, "text": "d"},
        {"when": {"user": "once"}, "text": "e", "times": 1},
    ]);
    let (_server, mut connection, _files) = scripted(&replies);
    let mut miss = |user: &str| {
        let missed = connection.chat(&body(json!({"messages": [{"role": "user", "content": user}]})));
        assert_eq!((missed.status, missed.json()["error"]["code"].as_str()), (404, Some("no_matching_reply")));
        missed.json()["error"]["message"].as_str().unwrap().to_owned()
    };
    let start = "No scripted reply is for this request. The nearest is replies.json";
    assert_eq!(miss("Hi"), format!(r#"{start}[2]: user: expected "exactly this", got "Hi"."#));
    let long = miss(&"ä".repeat(10_000));
    assert_eq!(long, format!(r#"{start}[2]: user: expected "exactly this", got "{}…"."#, "ä".repeat(80)));
    let message = body(json!({"messages": [{"role": "user", "content": "once"}]}));
    assert_eq!(connection.chat(&message).status, 200);
    let message = connection.chat(&message).json()["error"]["message"].as_str().unwrap().to_owned();
    assert_eq!(message, format!("{start}[4]: it fits, but has been sent as often as its `times` allows."));
}

#[test]
fn a_stored_completion_can_be_read_changed_and_deleted() {
    let (_server, mut connection) = usual();
    let stored = ask(&mut connection, json!({"store": true, "metadata": {"run": "7"}, "n": 2}));
    let streamed = stream(&mut connection, json!({"store": true}));
    let id = stored["id"].as_str().unwrap();
    let mut found = connection.get(&format!("/v1/chat/completions/{id}")).json();
    assert_eq!(found.as_object_mut().unwrap().remove("metadata").unwrap(), json!({"run": "7"}));
    assert_eq!(found, stored);
    let other = streamed[0]["id"].as_str().unwrap();
    let whole = connection.get(&format!("/v1/chat/completions/{other}")).json();
    assert_eq!(whole["choices"][0]["message"]["content"], accumulated(&streamed, 0).0["content"]);

    let list = connection.get("/v1/chat/completions").json();
    assert_eq!((&list["first_id"], &list["last_id"], &list["has_more"]), (&json!(id), &json!(other), &json!(false)));
    let filtered = connection.get("/v1/chat/completions?metadata%5Brun%5D=7&model=gpt-4o").json();
    assert_eq!(filtered["data"].as_array().unwrap().len(), 1);
    let messages = connection.get(&format!("/v1/chat/completions/{id}/messages")).json();
    assert_eq!(messages["data"].as_array().unwrap().len(), 2);
    assert_eq!(messages["data"][1]["id"], format!("{id}-1"));

    let changed = connection.post(&format!("/v1/chat/completions/{id}"), r#"{"metadata": {"run": "8"}}"#).json();
    assert_eq!(changed["metadata"], json!({"run": "8"}));
    let deleted = connection.request("DELETE", &format!("/v1/chat/completions/{id}"), "", "").unwrap().json();
    assert_eq!(deleted, json!({"object": "chat.completion.deleted", "id": id, "deleted": true}));
    assert_eq!(connection.get(&format!("/v1/chat/completions/{id}")).status, 404);
}

#[test]
fn lenient_accepts_any_json_body() {
    let server = serve(Config { lenient: true, ..Config::for_test() });
    let mut connection = Connection::open(server.address());
    for body in [r#"{}"#, r#"{"model":7,"messages":"x","n":-1,"temperature":"hot","stop":{},"tools":[1]}"#] {
        let response = connection.chat(body);
        assert_eq!((response.status, response.json()["object"].as_str()), (200, Some("chat.completion")), "{body}");
    }
    assert_eq!(connection.chat("nonsense").status, 400);
}

#[test]
fn api_headers_appear_on_the_responses_where_openai_sends_them() {
    let server = serve(Config { limits: vec![fake_openai::LimitSpec::rpm(2)], ..Config::for_test() });
    let mut connection = Connection::open(server.address());
    let api = ["openai-organization", "openai-processing-ms", "openai-version"];
    let mut ids = std::collections::BTreeSet::new();
    let mut check = |response: crate::client::Response, status: u16, has_api: bool| {
        assert_eq!(response.status, status);
        let id = response.header("x-request-id").to_owned();
        assert!(id.len() == 36 && id.starts_with("req_") && ids.insert(id.clone()), "{id}");
        for name in api {
            assert_eq!(response.headers.contains_key(name), has_api, "{name} on {status}");
        }
    };
    check(connection.chat(&body(json!({}))), 200, true);
    check(connection.chat("{}"), 400, true);
    check(connection.chat(&body(json!({}))), 429, false);
    check(connection.get("/nowhere"), 404, false);
    check(connection.get("/v1/models"), 200, true);
}

#[test]
fn spoken_replies_have_an_audio_file_and_its_transcript() {
    let (_server, mut connection) = usual();
    let spoken = |format: &str| json!({"modalities": ["text", "audio"], "audio": {"voice": "alloy", "format": format}});
    // The first bytes of each file format, in base64.
    let kinds =
        [("wav", "UklG"), ("flac", "ZkxhQ"), ("opus", "T2dn"), ("mp3", "//NE"), ("aac", "//F"), ("pcm16", "AAAA")];
    for (format, magic) in kinds {
        let answer = ask(&mut connection, spoken(format));
        let message = &answer["choices"][0]["message"];
        assert!(message["content"].is_null());
        assert_eq!(message["audio"]["transcript"], "\n\nHello there, how may I assist you today?");
        let data = message["audio"]["data"].as_str().unwrap();
        assert!(data.len() > 200 && data.starts_with(magic), "{format}: {}", &data[..8]);
    }
    let whole = ask(&mut connection, spoken("pcm16"))["choices"][0]["message"]["audio"]["data"].clone();
    let chunks = stream(&mut connection, spoken("pcm16"));
    let data: String =
        chunks.iter().filter_map(|chunk| chunk["choices"][0]["delta"]["audio"]["data"].as_str()).collect();
    assert_eq!(data, whole);
}

/// Echoes arbitrary text, streamed or not, and adds up its usage.
#[test]
fn any_text_is_echoed_unchanged_and_its_usage_adds_up() {
    use proptest::{prelude::*, test_runner::TestRunner};
    for usage in [Counting::Estimate, Counting::Exact] {
        let (_server, connection) =
            with(ModelBehavior { content: ContentSource::Echo, usage, ..ModelBehavior::default() });
        let connection = std::cell::RefCell::new(connection);
        let mut runner =
            TestRunner::new(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(100) });
        let strategy = (any::<String>(), 1..3u64, proptest::option::of(1..40u64), any::<bool>());
        let holds = runner.run(&strategy, |(text, n, most, logprobs)| {
            let connection = &mut *connection.borrow_mut();
            let mut members = json!({"messages": [{"role": "user", "content": text}], "n": n, "logprobs": logprobs});
            if let Some(most) = most {
                members["max_tokens"] = most.into();
            }
            let whole = ask(connection, members.clone());
            members["stream_options"] = json!({"include_usage": true});
            let chunks = stream(connection, members);
            for index in 0..n {
                let said = whole["choices"][index as usize]["message"]["content"].as_str().unwrap().to_owned();
                prop_assert!(text.starts_with(&said) && (most.is_some() || said == text));
                prop_assert_eq!(&accumulated(&chunks, index).0["content"], &json!(said));
            }
            let usage = &whole["usage"];
            prop_assert_eq!(usage, &chunks.last().unwrap()["usage"]);
            let count = |name: &str| usage[name].as_u64().unwrap();
            prop_assert_eq!(count("total_tokens"), count("prompt_tokens") + count("completion_tokens"));
            prop_assert!(most.is_none_or(|most| count("completion_tokens") <= most * n));
            Ok(())
        });
        holds.unwrap();
    }
}

#[test]
fn huge_token_limits_are_refused_or_bounded() {
    let context = fake_openai::model::ContextWindow::Tokens(100);
    let (_server, mut connection) = with(ModelBehavior { context, ..ModelBehavior::default() });
    let refused = connection.chat(&body(json!({"model": "m", "max_tokens": u64::MAX})));
    assert_eq!((refused.status, refused.json()["error"]["code"].as_str()), (400, Some("context_length_exceeded")));

    let lorem_tokens = 100_000..=100_000;
    let (_server, mut connection) =
        with(ModelBehavior { content: ContentSource::Lorem, lorem_tokens, ..ModelBehavior::default() });
    let answer = ask(&mut connection, json!({"model": "m", "max_tokens": u64::MAX, "n": 128}));
    assert_eq!(answer["choices"].as_array().unwrap().len(), 128);
    assert!(answer["usage"]["completion_tokens"].as_u64().unwrap() <= 100_000, "all choices share one limit for lorem");
}
