//! The members of vLLM's chat completions: none that vLLM 0.32.0 was not observed to send.

use std::{cell::RefCell, collections::BTreeSet};

use proptest::{prelude::*, sample::subsequence, test_runner::TestRunner};
use serde_json::{Value, json};

use crate::vllm::{chat, observed, read, send, served};

/// Adds the paths of all members of a value. Items of lists count alike, and maps of tokens not at all.
fn add_members(value: &Value, path: &str, members: &mut BTreeSet<String>) {
    match value {
        Value::Object(object) => {
            for (name, value) in object {
                let path = format!("{path}.{name}");
                if name != "prompt_logprobs" {
                    add_members(value, &path, members);
                }
                members.insert(path);
            }
        }
        Value::Array(items) => items.iter().for_each(|item| add_members(item, path, members)),
        _ => {}
    }
}

/// The members of full responses, of chunks and of errors.
#[derive(Default)]
struct Known {
    full: BTreeSet<String>,
    chunk: BTreeSet<String>,
    error: BTreeSet<String>,
}

impl Known {
    /// Reads the observed responses.
    fn observed() -> Self {
        let mut known = Known::default();
        let files = ["chat", "chat-logprobs", "chat-stream", "chat-stream-usage", "chat-stream-continuous-usage"];
        let texts = files.map(|file| read(&format!("{file}.http"))).into_iter();
        for text in texts.chain([read("chat-tools.txt"), read("errors.txt")]) {
            for line in text.lines() {
                let json = line.find('{').and_then(|start| serde_json::from_str::<Value>(&line[start..]).ok());
                let Some(body) = json else { continue };
                let members = match body["object"].as_str() {
                    Some("chat.completion") => &mut known.full,
                    Some("chat.completion.chunk") => &mut known.chunk,
                    _ => &mut known.error,
                };
                add_members(&body, "", members);
            }
        }
        // Observed in full responses only, and in the words of the report about streams.
        let logprobs = known.full.iter().filter(|member| member.starts_with(".choices.logprobs."));
        known.chunk.extend(logprobs.cloned());
        known.chunk.insert(".choices.delta.reasoning".to_owned());
        known
    }

    fn check(&self, body: &Value) -> Result<(), TestCaseError> {
        let known = match body["object"].as_str() {
            Some("chat.completion") => &self.full,
            Some("chat.completion.chunk") => &self.chunk,
            _ => &self.error,
        };
        let mut members = BTreeSet::new();
        add_members(body, "", &mut members);
        let unknown: Vec<_> = members.difference(known).collect();
        prop_assert!(unknown.is_empty(), "{:?} in {}", unknown, body);
        Ok(())
    }
}

/// Options of requests, with right and with wrong values. Of two for one member the later one counts.
fn options() -> Vec<(&'static str, Value)> {
    let function = json!({"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}});
    let schema = json!({"name": "s", "schema": {"type": "object", "properties": {"a": {"type": "integer"}}}});
    vec![
        ("stream", json!("x")),
        ("stream_options", json!({"include_usage": true})),
        ("stream_options", json!({"include_usage": true, "continuous_usage_stats": true})),
        ("max_tokens", json!(3)),
        ("max_completion_tokens", json!(7)),
        ("max_tokens", json!(0)),
        ("n", json!(2)),
        ("n", json!("x")),
        ("temperature", json!(0.5)),
        ("temperature", json!(9)),
        ("stop", json!("may")),
        ("stop", json!([""])),
        ("stop_token_ids", json!([1340])),
        ("include_stop_str_in_output", json!(true)),
        ("ignore_eos", json!(true)),
        ("min_tokens", json!(2)),
        ("logprobs", json!(true)),
        ("top_logprobs", json!(2)),
        ("prompt_logprobs", json!(1)),
        ("return_token_ids", json!(true)),
        ("tools", json!([function])),
        ("tool_choice", json!("required")),
        ("tool_choice", json!({"type": "function", "function": {"name": "f"}})),
        ("response_format", json!({"type": "json_object"})),
        ("response_format", json!({"type": "json_schema", "json_schema": schema})),
        ("response_format", json!({"type": "nonsense"})),
        ("reasoning_effort", json!("low")),
        ("service_tier", json!("flex")),
        ("store", json!(true)),
        ("metadata", json!({"a": "b"})),
        ("modalities", json!(["text", "audio"])),
        ("audio", json!({"voice": "alloy", "format": "wav"})),
        ("web_search_options", json!({})),
        ("prediction", json!({"type": "content", "content": "Hello"})),
        ("functions", json!([{"name": "f"}])),
        ("function_call", json!({"name": "f"})),
        ("seed", json!(7)),
        ("user", json!("u")),
        ("model", json!("other")),
        ("model", json!(null)),
        ("messages", json!([])),
    ]
}

#[test]
fn no_response_has_members_that_were_not_observed() {
    let known = Known::observed();
    assert!(known.full.len() > 30 && known.chunk.len() > 20 && known.error.len() > 4);
    let (_server, connection) = served(observed());
    let connection = RefCell::new(connection);
    let config = ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(300) };
    let counts = RefCell::new([0; 3]);
    // Few options at once: with many, most requests are refused.
    let strategy = (subsequence(options(), 0..6), any::<bool>());
    let holds = TestRunner::new(config).run(&strategy, |(chosen, stream)| {
        let mut body = chat(json!({"stream": stream}));
        for (name, value) in chosen {
            body[name] = value;
        }
        let response = send(&mut connection.borrow_mut(), "POST /v1/chat/completions", &body);
        let counts = &mut *counts.borrow_mut();
        if !response.header("content-type").starts_with("text/event-stream") {
            counts[usize::from(response.status == 200)] += 1;
            return known.check(&response.json());
        }
        counts[2] += 1;
        let events = response.text().lines().filter_map(|line| line.strip_prefix("data: "));
        events.filter(|event| *event != "[DONE]").try_for_each(|event| {
            let chunk = serde_json::from_str(event).unwrap();
            known.check(&chunk)
        })
    });
    holds.unwrap();
    assert!(counts.borrow().iter().all(|count| *count > 10), "errors, full responses and streams: {counts:?}");
}
