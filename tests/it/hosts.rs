//! Model hosts over real sockets: the same reply in every host's protocol.

use fake_openai::Config;
use serde_json::{Value, json};

use crate::{
    client::{Connection, Response, serve},
    program::Directory,
};

const HELLO: &str = "\n\nHello there, how may I assist you today?";

fn served() -> (fake_openai::Running, Connection) {
    let server = serve(Config::for_test());
    let connection = Connection::open(server.address());
    (server, connection)
}

/// The JSON data of server-sent events.
fn data(response: &Response) -> Vec<Value> {
    assert_eq!(response.status, 200, "{}", response.text());
    let lines = response.text().lines().filter_map(|line| line.strip_prefix("data: "));
    lines.filter_map(|data| serde_json::from_str(data).ok()).collect()
}

fn joined(events: &[Value], path: &str) -> String {
    events.iter().filter_map(|event| event.pointer(path)?.as_str()).collect()
}

#[test]
fn triton_generates_and_infers() {
    let (_server, mut connection) = served();
    let ask = json!({"text_input": "Hi", "parameters": {"max_tokens": 100}}).to_string();
    assert_eq!(connection.post("/v2/models/m/generate", &ask).json()["text_output"], HELLO);
    let streamed = connection.post("/v2/models/m/generate_stream", &ask);
    assert!(!streamed.text().contains("[DONE]"));
    let events = data(&streamed);
    assert_eq!((joined(&events, "/text_output").as_str(), &events[0]["model_name"]), (HELLO, &json!("m")));
    let tensor = |name: &str, data: Value| json!({"name": name, "shape": [1], "datatype": "BYTES", "data": [data]});
    for (inputs, text) in [
        (json!([tensor("text_input", json!("Hi"))]), HELLO),
        // The order of the tensors does not matter.
        (json!([tensor("max_tokens", json!(3)), tensor("text_input", json!("Hi"))]), "\n\nHello there"),
    ] {
        let answer = connection.post("/v2/models/m/infer", &json!({"inputs": inputs}).to_string()).json();
        assert_eq!(answer["outputs"][0]["data"], json!([text]));
    }
    let broken = connection.post("/v2/models/m/generate_stream?fake=error@2:overloaded", &ask);
    assert!(
        broken.text().ends_with("data: {\"error\":\"[request id: <id_unknown>] Exceeds maximum queue size\"}\n\n"),
        "{}",
        broken.text()
    );
}

/// Observed with Triton 2.51.0: the route, the body, and the status, the type and the body of the response.
#[test]
fn triton_responds_as_the_observed_server() {
    let inputs = "[request id: <id_unknown>] expected number of inputs between 1 and 2 but got 0 inputs for model 'gen'. Got input(s) [], but missing required input(s) ['text_input']. Please provide all required input(s).";
    let inputs = format!(r#"{{"error":"{inputs}"}}"#);
    let unknown = r#"{"error":"Request for unknown model: 'none' is not found"}"#;
    let not_json = r#"{"error":"failed to parse the request JSON buffer: Invalid value. at 1"}"#;
    let no_inputs = r#"{"error":"Unable to parse 'inputs': attempt to access non-existing object member 'inputs'"}"#;
    let tensor = r#"{"inputs":[{"name":"text_input","datatype":"BYTES","shape":[1],"data":["hi"]}]}"#;
    let (json, plain) = ("application/json", "text/plain");
    let access = fake_openai::Access { keys: Vec::new(), models: vec!["gen".to_owned()] };
    let server = serve(Config { access, ..Config::for_test() });
    let mut connection = Connection::open(server.address());
    for (route, body, status, kind, expected) in [
        (
            "GET /v2",
            "",
            200,
            json,
            r#"{"name":"triton","version":"2.51.0","extensions":["classification","sequence","model_repository","model_repository(unload_dependents)","schedule_policy","model_configuration","system_shared_memory","cuda_shared_memory","binary_tensor_data","parameters","statistics","trace","logging"]}"#,
        ),
        ("GET /v2/health/ready", "", 200, plain, ""),
        ("GET /v2/health/live", "", 200, plain, ""),
        ("GET /v2/models/gen/ready", "", 200, plain, ""),
        ("GET /v2/models/none/ready", "", 400, plain, r#"{"error":"Model version not ready"}"#),
        ("GET /v2/models/none", "", 404, json, unknown),
        ("GET /v2/models/none/config", "", 404, json, unknown),
        ("GET /v2/models/none/stats", "", 400, json, r#"{"error":"requested model 'none' is not available"}"#),
        ("GET /v2/models/gen/nope", "", 404, plain, r#"{"error":"Not Found"}"#),
        ("GET /v2/models/gen/infer", "", 405, plain, r#"{"error":"Method Not Allowed"}"#),
        ("POST /v2/models/gen/infer", "nonsense", 500, json, not_json),
        ("POST /v2/models/gen/infer", "{}", 500, json, no_inputs),
        ("POST /v2/models/gen/infer", r#"{"inputs":[]}"#, 400, json, &inputs),
        ("POST /v2/models/none/infer", tensor, 404, plain, unknown),
        ("POST /v2/models/gen/generate", "nonsense", 500, json, not_json),
        ("POST /v2/models/gen/generate", "{}", 400, json, &inputs),
        ("POST /v2/models/none/generate", r#"{"text_input":"hi"}"#, 404, json, unknown),
        ("POST /v2/models/gen/generate_stream", "nonsense", 500, json, not_json),
    ] {
        let (method, path) = route.split_once(' ').unwrap();
        let response = connection.request(method, path, "", body).unwrap();
        let sent = (response.status, response.header("content-type"), response.text());
        assert_eq!(sent, (status, kind, expected), "{route} {body}");
    }
    let ask = r#"{"id":"abc","text_input":"hi","max_tokens":2,"stream":true}"#;
    let whole = connection.post("/v2/models/gen/generate", ask);
    assert!(whole.text().starts_with(r#"{"id":"abc","model_name":"gen","model_version":"1","#), "{}", whole.text());
    assert_eq!(whole.json()["text_output"], "\n\nHello", "the body asks for no stream, and limits the text");
    let streamed = connection.post("/v2/models/gen/generate_stream", ask);
    assert_eq!(streamed.header("content-type"), "text/event-stream; charset=utf-8");
    assert!(streamed.text().starts_with(r#"data: {"id":"abc","model_name":"gen","#), "{}", streamed.text());
    let tensor = tensor.replace("{\"inputs\"", "{\"id\":\"abc\",\"inputs\"");
    let inferred = connection.post("/v2/models/gen/infer", &tensor);
    assert!(inferred.text().starts_with(r#"{"id":"abc","model_name":"gen","#), "{}", inferred.text());
}

#[test]
fn sagemaker_wraps_streams_in_payload_parts() {
    let (_server, mut connection) = served();
    let ask = json!({"inputs": "Hi"}).to_string();
    let whole = connection.post("/endpoints/tgi/invocations", &ask);
    assert_eq!(whole.json(), json!([{"generated_text": HELLO}]));
    let streamed = connection.post("/endpoints/tgi/invocations-response-stream", &ask);
    assert_eq!(streamed.header("content-type"), "application/vnd.amazon.eventstream");
    let text = String::from_utf8_lossy(&streamed.body).into_owned();
    let events: Vec<Value> =
        text.split("data:").skip(1).map(|rest| serde_json::from_str(rest.lines().next().unwrap()).unwrap()).collect();
    assert_eq!(joined(&events, "/token/text"), HELLO);
    assert_eq!(events.last().unwrap()["generated_text"], HELLO);
}

#[test]
fn vertex_serves_the_protocols_of_other_publishers() {
    let (_server, mut connection) = served();
    let mut ask = |publisher: &str, operation: &str, body: Value| {
        let path = format!("/v1/projects/p/locations/l/publishers/{publisher}/models/m:{operation}");
        connection.post(&path, &body.to_string())
    };
    let messages = json!([{"role": "user", "content": "Hi"}]);
    let body = json!({"anthropic_version": "vertex-2023-10-16", "max_tokens": 99, "messages": messages});
    let message = ask("anthropic", "rawPredict", body.clone()).json();
    assert_eq!((&message["content"][0]["text"], &message["model"]), (&json!(HELLO), &json!("m")));
    let events = data(&ask("anthropic", "streamRawPredict", body));
    assert_eq!(joined(&events, "/delta/text"), HELLO);
    let chat = ask("mistralai", "rawPredict", json!({"model": "m", "messages": messages})).json();
    assert_eq!(chat["choices"][0]["message"]["content"], HELLO);
}

#[test]
fn openai_compatible_hosts_have_ids_and_models_of_their_own() {
    let (_server, mut connection) = served();
    let body = json!({"model": "a/b", "messages": [{"role": "user", "content": "Hi"}]}).to_string();
    for (base, id) in [
        ("/groq/openai/v1", "^chatcmpl-"),
        ("/mistral/v1", "^[0-9a-f]{32}$"),
        ("/together/v1", "^[0-9A-Za-z]{7}-[0-9a-f]{16}$"),
        ("/openrouter/api/v1", "^gen-"),
        ("/vllm/v1", "^chatcmpl-"),
    ] {
        let chat = connection.post(&format!("{base}/chat/completions"), &body).json();
        assert_eq!(chat["choices"][0]["message"]["content"], HELLO, "{base}");
        assert!(regex::Regex::new(id).unwrap().is_match(chat["id"].as_str().unwrap()), "{base}: {}", chat["id"]);
        assert!(!connection.get(&format!("{base}/models")).json()["data"].as_array().unwrap().is_empty(), "{base}");
    }
}

/// Hosts whose chat completions lack members of OpenAI's.
const HOSTS: [&str; 5] = ["/mistral/v1", "/groq/openai/v1", "/together/v1", "/openrouter/api/v1", "/vllm/v1"];

#[test]
fn no_host_has_members_that_only_openai_has() {
    let (_server, mut connection) = served();
    let messages = json!([{"role": "user", "content": "Hi"}]);
    let tools = json!([{"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}]);
    for host in HOSTS {
        let path = format!("{host}/chat/completions");
        for more in [json!({}), json!({"tools": tools, "tool_choice": "required"})] {
            let mut body = json!({"model": "m", "messages": messages});
            body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
            let whole = connection.post(&path, &body.to_string()).json();
            let message = &whole["choices"][0]["message"];
            // vLLM and OpenRouter have it, as null.
            assert_eq!(message.get("refusal").is_some(), ["/vllm/v1", "/openrouter/api/v1"].contains(&host), "{host}");
            assert!(host == "/vllm/v1" || message.get("annotations").is_none(), "{host}: {whole}");
            body["stream"] = true.into();
            let events = data(&connection.post(&path, &body.to_string()));
            assert_eq!(events[0]["choices"][0]["delta"]["role"], "assistant");
            for event in events {
                assert!(event.get("obfuscation").is_none(), "{host}: {event}");
                assert!(event.pointer("/choices/0/delta/refusal").is_none(), "{host}: {event}");
            }
        }
    }
    let chat = data(
        &connection
            .post("/v1/chat/completions", &json!({"model": "m", "messages": messages, "stream": true}).to_string()),
    );
    assert!(chat[0].get("obfuscation").is_some() && chat[0].pointer("/choices/0/delta/refusal").is_some());
}

#[test]
fn groqs_streams_have_their_usage_at_the_end() {
    let (_server, mut connection) = served();
    let path = "/groq/openai/v1/chat/completions";
    let body = r#"{"model":"llama-3.1-8b-instant","stream":true,"messages":[{"role":"user","content":"hi"}]}"#;
    let events = data(&connection.post(path, body));
    let (first, last) = (&events[0]["x_groq"], &events[events.len() - 1]["x_groq"]);
    assert!(first["id"].as_str().unwrap().starts_with("req_") && first["id"] == last["id"]);
    let with: Vec<_> = events.iter().filter(|event| event.get("x_groq").is_some()).collect();
    assert_eq!(with.len(), 2, "the chunks between have none");
    assert_eq!(first.get("usage"), None);
    let names = |usage: &Value| usage.as_object().unwrap().keys().cloned().collect::<Vec<_>>();
    let expected = [
        "queue_time",
        "prompt_tokens",
        "prompt_time",
        "completion_tokens",
        "completion_time",
        "total_tokens",
        "total_time",
    ];
    assert_eq!(names(&last["usage"]), expected);
    assert_eq!(events[events.len() - 1]["usage"], last["usage"], "beside `x_groq`, too");
    let full = connection.post(path, &body.replace(r#""stream":true,"#, "")).json();
    assert_eq!((names(&full["usage"]).as_slice(), &full["usage"]), (&expected.map(str::to_owned)[..], &last["usage"]));
    let counted = body.replace(r#""stream":true"#, r#""stream":true,"stream_options":{"include_usage":true}"#);
    let events = data(&connection.post(path, &counted));
    let (usage, last) = (&events[events.len() - 1], &events[events.len() - 2]);
    assert_eq!((&usage["usage"], &usage["choices"]), (&last["x_groq"]["usage"], &serde_json::json!([])));
}

#[test]
fn openrouters_choices_have_the_models_own_finish_reason_and_each_delta_the_role() {
    let (_server, mut connection) = served();
    let path = "/openrouter/api/v1/chat/completions";
    let body = r#"{"model":"openai/gpt-4o","stream":true,"messages":[{"role":"user","content":"hi"}]}"#;
    let events = data(&connection.post(path, body));
    for event in &events {
        let choice = &event["choices"][0];
        assert_eq!(choice["delta"]["role"], "assistant", "{event}");
        assert_eq!(choice.get("native_finish_reason"), choice.get("finish_reason"), "{event}");
    }
    assert_eq!(events[events.len() - 1]["choices"][0]["native_finish_reason"], "stop");
    let full = connection.post(path, &body.replace(r#""stream":true,"#, "")).json();
    assert_eq!(full["choices"][0]["native_finish_reason"], "stop");
}

#[test]
fn openrouters_errors_have_numbers_and_are_chunks_within_streams() {
    let (_server, mut connection) = served();
    let path = "/openrouter/api/v1/chat/completions";
    let body = r#"{"model":"openai/gpt-4o","stream":true,"messages":[{"role":"user","content":"hi"}]}"#;
    for (fault, sent) in [("error@3", 3), ("error@1", 1), ("error@0", 0), ("error@3:overloaded", 3)] {
        let events = data(&connection.post(path, &body.replace("gpt-4o", &format!("gpt-4o~{fault}"))));
        assert_eq!(events.len(), sent + 1, "{fault}");
        let error = &events[sent];
        let names: Vec<_> = error.as_object().unwrap().keys().map(String::as_str).collect();
        assert_eq!(names, ["id", "object", "created", "model", "provider", "error", "choices"], "{fault}");
        assert!(error["error"]["message"].is_string() && error["error"]["code"].is_u64(), "{error}");
        assert_eq!(error["choices"][0]["finish_reason"], "error");
        assert_eq!(error["error"]["code"], if fault.ends_with("overloaded") { 503 } else { 500 });
        assert!(sent == 0 || error["id"] == events[0]["id"], "{fault}");
    }
    for status in [503, 500, 429, 402] {
        let failed = connection.post(path, &body.replace("gpt-4o", &format!("gpt-4o~{status}")));
        let error = failed.json()["error"].clone();
        assert_eq!((failed.status, &error["code"]), (status, &serde_json::json!(status)), "{error}");
        assert_eq!(error.as_object().unwrap().len(), 2, "{error}");
    }
    let refused = connection.post(path, r#"{"model":"openai/gpt-4o"}"#).json();
    assert_eq!(refused["error"]["code"], 400);
}

#[test]
fn ids_of_calls_have_the_host_s_form() {
    let (_server, mut connection) = served();
    let tools = json!([{"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}]);
    let vertex = "/v1/projects/p/locations/l/publishers/mistralai/models/mistral-large-2411:rawPredict";
    for (path, prefix, symbols) in [
        ("/v1/chat/completions", "call_", 24),
        ("/mistral/v1/chat/completions", "", 9),
        (vertex, "", 9),
        ("/vllm/v1/chat/completions", "chatcmpl-tool-", 16),
    ] {
        for stream in [false, true] {
            let messages = json!([{"role": "user", "content": "Hi"}]);
            let body = json!({"model": "m", "messages": messages, "tools": tools, "tool_choice": "required", "stream": stream});
            let response = connection.post(path, &body.to_string());
            let id = match stream {
                false => response.json()["choices"][0]["message"]["tool_calls"][0]["id"].clone(),
                true => {
                    let events = data(&response);
                    let id = "/choices/0/delta/tool_calls/0/id";
                    events.iter().find_map(|event| event.pointer(id)).cloned().unwrap_or_default()
                }
            };
            let random = id.as_str().unwrap().strip_prefix(prefix).unwrap_or_else(|| panic!("{path}: {id}"));
            assert_eq!(random.len(), symbols, "{path}: {id}");
            assert!(random.bytes().all(|byte| byte.is_ascii_alphanumeric()), "{path}: {id}");
        }
    }
}

/// The text is that of answers of 2025 and 2026.
#[test]
fn mistral_refuses_ids_of_calls_in_another_form() {
    let (_server, mut connection) = served();
    let vertex = "/v1/projects/p/locations/l/publishers/mistralai/models/mistral-large-2411:rawPredict";
    let history = |call: &str, result: &str| {
        let call = json!({"id": call, "type": "function", "function": {"name": "f", "arguments": "{}"}});
        let messages = json!([
            {"role": "user", "content": "Hi"},
            {"role": "assistant", "content": "", "tool_calls": [call]},
            {"role": "tool", "tool_call_id": result, "content": "sun"},
        ]);
        json!({"model": "m", "messages": messages}).to_string()
    };
    for path in ["/mistral/v1/chat/completions", vertex] {
        assert_eq!(connection.post(path, &history("a1B2c3D4e", "a1B2c3D4e")).status, 200, "{path}");
        for (call, result) in [("call_1", "call_1"), ("a1B2c3D4e", "call_1")] {
            let refused = connection.post(path, &history(call, result));
            assert_eq!(refused.status, 400, "{path}: {}", refused.text());
            let mut error = json!({
                "object": "error",
                "message": "Tool call id was call_1 but must be a-z, A-Z, 0-9, with a length of 9.",
                "type": "invalid_function_call",
                "param": null,
                "code": "3280",
            });
            if path != vertex {
                // Mistral's own API has had it since 2026.
                error["raw_status_code"] = 400.into();
            }
            assert_eq!(refused.json(), error, "{path}");
        }
    }
}

#[test]
fn detokenize_reverses_tokenize() {
    let (_server, mut connection) = served();
    for text in ["", "Hello there, friend!\n\n42 🦤"] {
        let told = connection.post("/tokenize", &json!({"model": "m", "prompt": text}).to_string()).json();
        assert_eq!(told["count"].as_u64().unwrap() as usize, told["tokens"].as_array().unwrap().len());
        let back = connection.post("/detokenize", &json!({"model": "m", "tokens": told["tokens"]}).to_string()).json();
        assert_eq!(back, json!({"prompt": text}));
    }
}

#[test]
fn sagemaker_accepts_chat_messages() {
    let (_server, mut connection) = served();
    let ask = |members: Value| {
        let mut body = json!({"messages": [{"role": "user", "content": "Hi"}]});
        body.as_object_mut().unwrap().extend(members.as_object().unwrap().clone());
        body.to_string()
    };
    let whole = connection.post("/endpoints/tgi/invocations", &ask(json!({}))).json();
    assert_eq!((&whole["choices"][0]["message"]["content"], &whole["model"]), (&json!(HELLO), &json!("tgi")));
    let streamed = connection.post("/endpoints/tgi/invocations-response-stream", &ask(json!({"stream": true})));
    assert_eq!(streamed.header("content-type"), "application/vnd.amazon.eventstream");
    let text = String::from_utf8_lossy(&streamed.body).into_owned();
    let events: Vec<Value> =
        text.split("data: ").skip(1).map(|rest| serde_json::from_str(rest.lines().next().unwrap()).unwrap()).collect();
    assert_eq!(joined(&events, "/choices/0/delta/content"), HELLO);
    let plain = connection.post("/invocations", &ask(json!({"stream": true})));
    assert!(plain.text().ends_with("data: [DONE]\n\n"), "/invocations streams the container's own events");
    let tool = json!({"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}});
    let called = connection.post("/invocations", &ask(json!({"tools": [tool], "tool_choice": "required"}))).json();
    assert_eq!(called["choices"][0]["message"]["tool_calls"][0]["function"]["name"], "f");
    let broken =
        connection.post("/endpoints/tgi/invocations-response-stream?fake=error@2", &ask(json!({"stream": true})));
    let text = String::from_utf8_lossy(&broken.body).into_owned();
    assert!(text.contains(":exception-type"), "{text}");
}

#[test]
fn azure_responses_have_content_filter_results() {
    let (_server, mut connection) = served();
    let ask = |members: Value| {
        let mut body = json!({"model": "m", "messages": [{"role": "user", "content": "Hi"}], "prompt": "Hi"});
        body.as_object_mut().unwrap().extend(members.as_object().unwrap().clone());
        body.to_string()
    };
    let safe = json!({"filtered": false, "severity": "safe"});
    for (path, text) in [("chat/completions", "/choices/0/delta/content"), ("completions", "/choices/0/text")] {
        for base in ["/openai/v1", "/openai/deployments/d"] {
            let path = format!("{base}/{path}");
            let whole = connection.post(&path, &ask(json!({}))).json();
            assert_eq!(whole["choices"][0]["content_filter_results"]["hate"], safe, "{path}");
            let prompt = &whole["prompt_filter_results"][0];
            assert_eq!((&prompt["prompt_index"], &prompt["content_filter_results"]["violence"]), (&json!(0), &safe));
            let mut keys: Vec<_> = whole.as_object().unwrap().keys().collect();
            let told = keys.clone();
            keys.sort();
            assert_eq!(told, keys, "{path}");
            let events = data(&connection.post(&path, &ask(json!({"stream": true}))));
            assert_eq!((&events[0]["choices"], &events[0]["id"]), (&json!([]), &json!("")), "{path}");
            assert!(events[0]["prompt_filter_results"].is_array());
            assert!(joined(&events, text).starts_with("\n\nHello there, how"), "{path}");
            for event in &events[1..] {
                let says = event.pointer(text).and_then(Value::as_str).is_some_and(|text| !text.is_empty());
                let found = event["choices"][0]["content_filter_results"].as_object().unwrap();
                assert_eq!(found.is_empty(), !says, "{event}");
            }
            let blocked = connection.post(&format!("{path}?fake=filter"), &ask(json!({}))).json();
            let choice = &blocked["choices"][0];
            assert_eq!(choice["finish_reason"], "content_filter", "{blocked}");
            assert_eq!(choice["content_filter_results"]["violence"]["filtered"], true);
        }
    }
    let images = connection.post("/openai/v1/images/generations", &ask(json!({"model": "dall-e-3"}))).json();
    assert_eq!(images["data"][0]["content_filter_results"]["sexual"], safe);
    assert_eq!(images["data"][0]["prompt_filter_results"]["jailbreak"]["detected"], false);
}

#[test]
fn scripted_reasoning_appears_in_every_protocol_that_shows_it() {
    let replies = json!([
        {"when": {"user": "brief"}, "reasoning": "Hm.", "reasoning_tokens": 7, "text": "Yes."},
        {
            "when": {"user": "call"}, "reasoning": "A tool is wanted.",
            "tool_calls": [{"name": "f", "arguments": {"city": "Rome"}}],
        },
        {"reasoning": "They said {{body.model}}, so I say it.", "text": "Yes."},
    ]);
    let directory = Directory::with(&[("replies.json", &replies.to_string())]);
    let server = serve(Config { fixtures: Some(directory.path().to_owned()), ..Config::for_test() });
    let mut connection = Connection::open(server.address());
    let messages = json!([{"role": "user", "content": "Hi"}]);
    let contents = json!([{"role": "user", "parts": [{"text": "Hi"}]}]);
    let thinking = json!({"type": "enabled", "budget_tokens": 1024});
    let bedrock = json!([{"role": "user", "content": [{"text": "Hi"}]}]);
    for (path, body, place) in [
        (
            "/v1/messages",
            json!({"model": "m", "max_tokens": 2000, "messages": messages, "thinking": thinking}),
            "/content/0/thinking",
        ),
        (
            "/v1beta/models/gemini-2.5-pro:generateContent",
            json!({"model": "m", "contents": contents, "generationConfig": {"thinkingConfig": {"includeThoughts": true}}}),
            "/candidates/0/content/parts/0/text",
        ),
        (
            "/v1/responses",
            json!({"model": "m", "input": "Hi", "reasoning": {"summary": "auto"}}),
            "/output/0/summary/0/text",
        ),
        ("/api/chat", json!({"model": "m", "messages": messages, "think": true, "stream": false}), "/message/thinking"),
        (
            "/groq/openai/v1/chat/completions",
            json!({"model": "m", "messages": messages}),
            "/choices/0/message/reasoning",
        ),
        ("/vllm/v1/chat/completions", json!({"model": "m", "messages": messages}), "/choices/0/message/reasoning"),
        (
            "/v2/chat",
            json!({"model": "m", "messages": messages, "thinking": {"type": "enabled"}}),
            "/message/content/0/thinking",
        ),
        (
            "/model/anthropic.claude-3-7-sonnet-20250219-v1:0/converse",
            json!({"model": "m", "messages": bedrock, "additionalModelRequestFields": {"thinking": thinking}}),
            "/output/message/content/0/reasoningContent/reasoningText/text",
        ),
    ] {
        let answer = connection.post(path, &body.to_string());
        assert_eq!(answer.status, 200, "{path}: {}", answer.text());
        assert_eq!(answer.json().pointer(place).unwrap(), "They said m, so I say it.", "{path}");
    }
    let body = json!({"model": "m", "messages": messages, "stream": true}).to_string();
    let events = data(&connection.post("/openrouter/api/v1/chat/completions", &body));
    assert_eq!(events[0]["choices"][0]["delta"]["role"], "assistant");
    assert_eq!(joined(&events, "/choices/0/delta/reasoning"), "They said m, so I say it.");
    assert_eq!(joined(&events, "/choices/0/delta/content"), "Yes.");
    // Reasoning comes before a tool call too, and counts towards max_tokens.
    let body = json!({"model": "m", "messages": [{"role": "user", "content": "call"}], "stream": true}).to_string();
    let events = data(&connection.post("/vllm/v1/chat/completions", &body));
    assert_eq!(joined(&events, "/choices/0/delta/reasoning"), "A tool is wanted.");
    assert_eq!(joined(&events, "/choices/0/delta/tool_calls/0/function/arguments"), r#"{"city":"Rome"}"#);
    let body = json!({"model": "m", "messages": messages, "max_tokens": 3}).to_string();
    let cut = connection.post("/vllm/v1/chat/completions", &body).json();
    assert_eq!(cut["choices"][0]["message"]["reasoning"], "They said m");
    assert_eq!(
        (&cut["choices"][0]["finish_reason"], &cut["usage"]["completion_tokens"]),
        (&json!("length"), &json!(3))
    );
    // OpenAI's own chat completions report only the number of reasoning tokens.
    let mut chat = |content: &str| {
        let body = json!({"model": "m", "messages": [{"role": "user", "content": content}]}).to_string();
        let answer = connection.post("/v1/chat/completions", &body);
        assert!(!answer.text().contains("so I say it"));
        answer.json()["usage"]["completion_tokens_details"]["reasoning_tokens"].as_u64().unwrap()
    };
    assert_eq!((chat("brief"), chat("Hi") > 7), (7, true));
}

#[test]
fn protocols_without_tools_render_a_call_as_its_arguments() {
    let replies = json!([{"tool_calls": [{"name": "f", "arguments": {"city": "Rome"}}, {"name": "g"}]}]);
    let directory = Directory::with(&[("replies.json", &replies.to_string())]);
    let server = serve(Config { fixtures: Some(directory.path().to_owned()), ..Config::for_test() });
    let mut connection = Connection::open(server.address());
    for (path, body, place) in [
        ("/v2/models/m/generate", json!({"text_input": "Hi"}), "/text_output"),
        ("/model/meta.llama3/invoke", json!({"prompt": "Hi"}), "/generation"),
        ("/api/generate", json!({"model": "m", "prompt": "Hi", "stream": false}), "/response"),
    ] {
        let answer = connection.post(path, &body.to_string()).json();
        assert_eq!(answer.pointer(place), Some(&json!(r#"{"city":"Rome"}"#)), "{path}");
    }
    let streamed = connection.post("/v2/models/m/generate_stream", &json!({"text_input": "Hi"}).to_string());
    assert_eq!(joined(&data(&streamed), "/text_output"), r#"{"city":"Rome"}"#);
}

#[test]
fn an_empty_reply_streams_one_event() {
    let directory = Directory::with(&[("replies.json", r#"[{"text": ""}]"#)]);
    let server = serve(Config { fixtures: Some(directory.path().to_owned()), ..Config::for_test() });
    let mut connection = Connection::open(server.address());
    let events = data(&connection.post("/v2/models/m/generate_stream", r#"{"text_input": "Hi"}"#));
    assert_eq!(events.len(), 1);
    assert_eq!(events[0]["text_output"], "");
}
