//! The members of OpenAI-compatible chat completions: no host sends one that it is not known to have.
//!
//! Requests are made of options at random. Paths of members have `[]` for any item of an array. Members that hosts add and
//! the fake does not send are not listed.

use std::{cell::RefCell, collections::BTreeSet, fs};

use fake_openai::Config;
use proptest::{
    prelude::{ProptestConfig, Strategy, any},
    test_runner::TestRunner,
};
use serde_json::{Value, json};

use crate::client::{Connection, serve};

/// A host, and the members that its responses may have.
struct Host {
    path: &'static str,
    /// Members of full responses and of chunks.
    both: &'static [&'static str],
    full: &'static [&'static str],
    chunk: &'static [&'static str],
    /// True if the host is known to take `logprobs`.
    logprobs: bool,
    /// Members of the body of an error.
    error: &'static [&'static str],
}

/// What all have.
const HEAD: &[&str] = &["id", "object", "created", "model", "choices", "choices[].index", "choices[].finish_reason"];
const MESSAGE: &[&str] = &[
    "choices[].message",
    "choices[].message.role",
    "choices[].message.content",
    "choices[].message.tool_calls",
    "choices[].message.tool_calls[].id",
    "choices[].message.tool_calls[].type",
    "choices[].message.tool_calls[].function",
    "choices[].message.tool_calls[].function.name",
    "choices[].message.tool_calls[].function.arguments",
];
const DELTA: &[&str] = &[
    "choices[].delta",
    "choices[].delta.role",
    "choices[].delta.content",
    "choices[].delta.tool_calls",
    "choices[].delta.tool_calls[].index",
    "choices[].delta.tool_calls[].id",
    "choices[].delta.tool_calls[].type",
    "choices[].delta.tool_calls[].function",
    "choices[].delta.tool_calls[].function.name",
    "choices[].delta.tool_calls[].function.arguments",
];
const USAGE: &[&str] = &["usage", "usage.prompt_tokens", "usage.completion_tokens", "usage.total_tokens"];
const USAGE_DETAILS: &[&str] = &[
    "usage.prompt_tokens_details",
    "usage.prompt_tokens_details.cached_tokens",
    "usage.prompt_tokens_details.audio_tokens",
    "usage.completion_tokens_details",
    "usage.completion_tokens_details.reasoning_tokens",
    "usage.completion_tokens_details.audio_tokens",
    "usage.completion_tokens_details.accepted_prediction_tokens",
    "usage.completion_tokens_details.rejected_prediction_tokens",
];
const LOGPROBS: &[&str] = &[
    "choices[].logprobs",
    "choices[].logprobs.content",
    "choices[].logprobs.refusal",
    "choices[].logprobs.content[].token",
    "choices[].logprobs.content[].logprob",
    "choices[].logprobs.content[].bytes",
    "choices[].logprobs.content[].top_logprobs",
    "choices[].logprobs.content[].top_logprobs[].token",
    "choices[].logprobs.content[].top_logprobs[].logprob",
    "choices[].logprobs.content[].top_logprobs[].bytes",
];
const FILTER: &[&str] = &["choices[].content_filter_results", "prompt_filter_results"];
const OPENAI_ERROR: &[&str] = &["error", "error.message", "error.type", "error.param", "error.code"];

const HOSTS: &[Host] = &[
    // Responses recorded in 2025 and 2026; OpenAI's OpenAPI document of 2026-08.
    Host {
        path: "/v1/chat/completions",
        both: &["service_tier", "system_fingerprint"],
        full: &["choices[].message.refusal", "choices[].message.annotations"],
        chunk: &["choices[].delta.refusal", "obfuscation"],
        logprobs: true,
        error: OPENAI_ERROR,
    },
    // Responses recorded in 2025 and 2026. They have no `service_tier`.
    Host {
        path: "/openai/v1/chat/completions",
        both: &["system_fingerprint"],
        full: &["choices[].message.refusal", "choices[].message.annotations"],
        chunk: &["choices[].delta.refusal", "obfuscation"],
        logprobs: true,
        error: OPENAI_ERROR,
    },
    // Streams recorded on 2026-01-30; the types of groq 1.7.0; errors of 2025 and 2026.
    Host {
        path: "/groq/openai/v1/chat/completions",
        both: &[
            "service_tier",
            "system_fingerprint",
            "choices[].logprobs",
            "x_groq",
            "x_groq.id",
            "usage.queue_time",
            "usage.prompt_time",
            "usage.completion_time",
            "usage.total_time",
        ],
        full: &["choices[].message.reasoning"],
        chunk: &[
            "choices[].delta.reasoning",
            "x_groq.usage",
            "x_groq.usage.queue_time",
            "x_groq.usage.prompt_tokens",
            "x_groq.usage.prompt_time",
            "x_groq.usage.completion_tokens",
            "x_groq.usage.completion_time",
            "x_groq.usage.total_tokens",
            "x_groq.usage.total_time",
        ],
        logprobs: false,
        error: &["error", "error.message", "error.type", "error.code"],
    },
    // The types of mistralai 3.7.0; errors of 2026.
    Host {
        path: "/mistral/v1/chat/completions",
        both: &[],
        full: &[],
        chunk: &[],
        logprobs: false,
        error: &["object", "message", "type", "param", "code", "raw_status_code"],
    },
    // The types of together 3.1.1; errors of 2026.
    Host {
        path: "/together/v1/chat/completions",
        both: &["choices[].logprobs"],
        full: &["prompt"],
        chunk: &[],
        logprobs: false,
        error: &["id", "error", "error.message", "error.type", "error.param", "error.code"],
    },
    // The types of openrouter 1.3.84; `provider` and `native_finish_reason` of streams recorded in 2025.
    Host {
        path: "/openrouter/api/v1/chat/completions",
        both: &["provider", "system_fingerprint", "service_tier", "choices[].native_finish_reason"],
        full: &["choices[].message.refusal", "choices[].message.reasoning"],
        chunk: &["choices[].delta.refusal", "choices[].delta.reasoning"],
        logprobs: true,
        error: &["error", "error.message", "error.code", "error.metadata"],
    },
    // The structs of Ollama's openai/openai.go of 2026.
    Host {
        path: "/ollama/v1/chat/completions",
        both: &["system_fingerprint"],
        full: &["choices[].message.reasoning"],
        chunk: &["choices[].delta.reasoning"],
        logprobs: false,
        error: OPENAI_ERROR,
    },
    // Bodies of the documentation of Gemini's OpenAI compatibility; errors of 2026 are in an array.
    Host {
        path: "/v1beta/openai/chat/completions",
        both: &[],
        full: &[],
        chunk: &[],
        logprobs: false,
        error: &[
            "[].error",
            "[].error.code",
            "[].error.message",
            "[].error.status",
            "[].error.details",
            "[].error.details[].@type",
            "[].error.details[].fieldViolations",
            "[].error.details[].fieldViolations[].field",
            "[].error.details[].fieldViolations[].description",
        ],
    },
    // The documentation of Cohere's compatibility API.
    Host {
        path: "/compatibility/v1/chat/completions",
        both: &[],
        full: &[],
        chunk: &[],
        logprobs: false,
        error: &["id", "message"],
    },
];

/// Collects the paths of all members of a value.
fn members(value: &Value, path: &str, found: &mut BTreeSet<String>) {
    match value {
        Value::Object(map) => {
            for (name, value) in map {
                let path = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
                if ["choices[].content_filter_results", "prompt_filter_results"].contains(&path.as_str()) {
                    found.insert(path);
                    continue;
                }
                members(value, &path, found);
                found.insert(path);
            }
        }
        Value::Array(items) => items.iter().for_each(|item| members(item, &format!("{path}[]"), found)),
        _ => {}
    }
}

fn data(text: &str) -> impl Iterator<Item = Value> {
    let lines = text.lines().filter_map(|line| line.strip_prefix("data: "));
    lines.filter_map(|data| serde_json::from_str(data).ok())
}

/// The options of a request.
#[derive(Clone, Debug)]
struct Options {
    members: Vec<(&'static str, Value)>,
    tools: bool,
    calls: bool,
    usage: bool,
    logprobs: bool,
}

fn options() -> impl Strategy<Value = Options> {
    let optional = [
        ("n", json!(2)),
        ("seed", json!(7)),
        ("user", json!("u1")),
        ("max_tokens", json!(5)),
        ("temperature", json!(0.5)),
        ("stop", json!(["x"])),
        ("reasoning_effort", json!("low")),
        ("reasoning", json!({"effort": "low"})),
        ("response_format", json!({"type": "text"})),
        ("metadata", json!({"a": "b"})),
        ("parallel_tool_calls", json!(true)),
    ];
    (proptest::sample::subsequence(optional.to_vec(), 0..=optional.len()), any::<[bool; 4]>()).prop_map(
        |(members, [tools, calls, usage, logprobs])| Options { members, tools: tools || calls, calls, usage, logprobs },
    )
}

impl Options {
    fn request(&self, host: &Host, stream: bool) -> Value {
        let mut body = json!({"model": "m", "messages": [{"role": "user", "content": "Hi"}], "stream": stream});
        let members = self.members.iter().filter(|(name, _)| self.tools || *name != "parallel_tool_calls");
        members.for_each(|(name, value)| body[name] = value.clone());
        if self.tools {
            let schema = json!({"type": "object", "properties": {"a": {"type": "string"}}, "required": ["a"]});
            body["tools"] = json!([{"type": "function", "function": {"name": "f", "parameters": schema}}]);
        }
        if self.calls {
            body["tool_choice"] = json!("required");
        }
        if self.usage && stream {
            body["stream_options"] = json!({"include_usage": true});
        }
        if self.logprobs && host.logprobs {
            (body["logprobs"], body["top_logprobs"]) = (json!(true), json!(2));
        }
        body
    }
}

fn check(host: &Host, of_form: &[&[&str]], value: &Value, request: &Value) {
    let mut found = BTreeSet::new();
    members(value, "", &mut found);
    let is_known = |member: &String| of_form.iter().any(|list| list.contains(&member.as_str()));
    let unknown: Vec<_> = found.iter().filter(|member| !is_known(member)).collect();
    assert!(unknown.is_empty(), "{}: {unknown:?} in {value}\nto {request}", host.path);
}

#[test]
fn no_host_sends_a_member_that_it_is_not_known_to_have() {
    let server = serve(Config::for_test());
    let connection = RefCell::new(Connection::open(server.address()));
    let post = |path: &str, request: &Value| connection.borrow_mut().post(path, &request.to_string());
    let cases = ProptestConfig { cases: 48, failure_persistence: None, ..ProptestConfig::default() };
    TestRunner::new_with_rng(
        cases,
        proptest::test_runner::TestRng::deterministic_rng(proptest::test_runner::RngAlgorithm::ChaCha),
    )
    .run(&options(), |options| {
        for host in HOSTS {
            let is_plain = ["/v1/chat/completions", "/openai/v1/chat/completions"].contains(&host.path);
            let details: &[&str] = if is_plain || host.path.starts_with("/openrouter") { USAGE_DETAILS } else { &[] };
            let logprobs: &[&str] = if host.logprobs { LOGPROBS } else { &[] };
            let filter: &[&str] = if host.path.starts_with("/openai/") { FILTER } else { &[] };
            let always = [HEAD, USAGE, host.both, details, logprobs, filter];
            let request = options.request(host, false);
            let full = post(host.path, &request);
            assert_eq!(full.status, 200, "{}: {request}: {}", host.path, full.text());
            check(host, &[&always[..], &[MESSAGE, host.full]].concat(), &full.json(), &request);
            let request = options.request(host, true);
            let streamed = post(host.path, &request);
            assert_eq!(streamed.status, 200, "{}: {request}", host.path);
            for event in data(streamed.text()) {
                check(host, &[&always[..], &[DELTA, host.chunk]].concat(), &event, &request);
            }
        }
        Ok(())
    })
    .unwrap();
}

#[test]
fn no_host_s_error_has_a_member_that_it_is_not_known_to_have() {
    let server = serve(Config::for_test());
    let mut connection = Connection::open(server.address());
    for host in HOSTS {
        for body in [
            json!({"model": "m"}),
            json!({"model": "m", "messages": [], "temperature": 9}),
            json!({"model": "m", "messages": [{"role": "user", "content": "Hi"}], "temperature": "warm"}),
            json!({"model": "m~500", "messages": [{"role": "user", "content": "Hi"}]}),
            json!({"model": "m~503", "messages": [{"role": "user", "content": "Hi"}]}),
            json!({"model": "m~400", "messages": [{"role": "user", "content": "Hi"}]}),
        ] {
            let refused = connection.post(host.path, &body.to_string());
            assert!(refused.status >= 400, "{}: {body}", host.path);
            check(host, &[host.error], &refused.json(), &body);
        }
    }
}

/// Returns the members of all observed responses of a kind.
fn observed(directory: &str, kind: &str) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for file in fs::read_dir(format!("tests/observed/{directory}")).unwrap() {
        let text = fs::read_to_string(file.unwrap().path()).unwrap();
        let bodies = text.lines().map(|line| line.strip_prefix("data: ").unwrap_or(line));
        let values = bodies.filter_map(|line| serde_json::from_str::<Value>(line).ok());
        values.filter(|value| value["object"] == kind).for_each(|value| members(&value, "", &mut found));
    }
    assert!(!found.is_empty(), "{directory} {kind}");
    found
}

#[test]
fn local_servers_send_members_that_were_observed() {
    let server = serve(Config::for_test());
    let mut connection = Connection::open(server.address());
    for (directory, path) in [("vllm", "/vllm/v1/chat/completions"), ("llama", "/llama-cpp/v1/chat/completions")] {
        let host = Host { path, both: &[], full: &[], chunk: &[], logprobs: true, error: &[] };
        let [full, chunk] = ["chat.completion", "chat.completion.chunk"].map(|kind| observed(directory, kind));
        for (usage, logprobs) in [(false, false), (true, false), (true, true)] {
            let options = Options { members: vec![("seed", json!(7))], tools: false, calls: false, usage, logprobs };
            for (stream, known) in [(false, &full), (true, &chunk)] {
                // Streams with log probabilities were not observed.
                if stream && logprobs {
                    continue;
                }
                let request = options.request(&host, stream);
                let response = connection.post(path, &request.to_string());
                let known: Vec<_> = known.iter().map(String::as_str).collect();
                let values: Vec<_> = if stream { data(response.text()).collect() } else { vec![response.json()] };
                values.iter().for_each(|value| check(&host, &[&known], value, &request));
            }
        }
    }
}
