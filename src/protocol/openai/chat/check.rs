//! Rules of a chat request beyond types and bounds of single members. The first violation is reported.

use serde_json::Value;

use crate::core::{
    context::RequestContext,
    error::ApiError,
    json::{self, KeyFilter, Kind},
};

/// Members that some models do not support.
const CAPABILITY_KEYS: KeyFilter = KeyFilter::of(&[
    "max_tokens",
    "max_completion_tokens",
    "temperature",
    "top_p",
    "presence_penalty",
    "frequency_penalty",
    "web_search_options",
]);
/// Members that need other members.
const DEPENDENT_KEYS: KeyFilter = KeyFilter::of(&[
    "stream_options",
    "top_logprobs",
    "tool_choice",
    "parallel_tool_calls",
    "function_call",
    "response_format",
]);

/// See [`crate::protocol::Reader::check`]. The model's capabilities are checked before members that need others.
pub(super) fn check(body: json::Object<'_>, context: &RequestContext<'_>) -> Result<(), ApiError> {
    let given = |name: &str| body.get(name).filter(|value| value.kind() != Kind::Null);
    if body.may_have(CAPABILITY_KEYS) {
        capabilities(&given, context)?;
    }
    if !body.may_have(DEPENDENT_KEYS) {
        return given("messages").map_or(Ok(()), conversation);
    }
    for (param, other, fits) in [
        ("stream_options", "stream", is_true(given("stream"))),
        ("top_logprobs", "logprobs", is_true(given("logprobs"))),
        ("tool_choice", "tools", given("tools").is_some()),
        ("parallel_tool_calls", "tools", given("tools").is_some()),
        ("function_call", "functions", given("functions").is_some()),
    ] {
        if !fits && given(param).is_some() {
            return Err(ApiError::NeedsOther { param, other });
        }
    }
    if let Some(messages) = given("messages") {
        conversation(messages)?;
    }
    if let Some(format) = given("response_format").and_then(json::Value::to_value) {
        match format["type"].as_str() {
            Some("json_object") if !given("messages").is_some_and(mentions_json) => {
                return Err(ApiError::NoJsonWord {});
            }
            Some("json_schema") if format["json_schema"]["strict"] == true => {
                let name = format["json_schema"]["name"].as_str().unwrap_or_default();
                strict(name, &format["json_schema"]["schema"], &mut Vec::new(), 0)?;
            }
            _ => {}
        }
    }
    Ok(())
}

fn is_true(value: Option<json::Value<'_>>) -> bool {
    value.and_then(json::Value::as_bool) == Some(true)
}

fn capabilities<'a>(
    given: &dyn Fn(&str) -> Option<json::Value<'a>>,
    context: &RequestContext<'_>,
) -> Result<(), ApiError> {
    let Some(facts) = context.model_facts() else { return Ok(()) };
    if facts.reasoning {
        if given("max_tokens").is_some() {
            return Err(ApiError::UnsupportedParameter {
                param: "max_tokens".to_owned(),
                instead: "max_completion_tokens",
            });
        }
        for (param, default) in
            [("temperature", "1"), ("top_p", "1"), ("presence_penalty", "0"), ("frequency_penalty", "0")]
        {
            if let Some(value) = given(param)
                && value.as_f64() != default.parse().ok()
            {
                let got = String::from_utf8_lossy(value.text()).into_owned();
                return Err(ApiError::UnsupportedValue { param: param.to_owned(), got, default });
            }
        }
    }
    if !facts.web_search && given("web_search_options").is_some() {
        return Err(ApiError::NoWebSearch {});
    }
    for param in ["max_completion_tokens", "max_tokens"] {
        if let Some(requested) = given(param).and_then(json::Value::as_u64) {
            facts.check_max_tokens(param, requested)?;
        }
    }
    Ok(())
}

/// Checks that tool messages follow each tool call, and that each tool message answers a call.
fn conversation(messages: json::Value<'_>) -> Result<(), ApiError> {
    let mut open: Vec<String> = Vec::new();
    let mut called = false;
    let mut calling = 0;
    let missing = |n: usize, open: &[String]| {
        Err(ApiError::ToolReplyMissing { param: format!("messages.[{n}]"), ids: open.join(", ") })
    };
    let mut check_message = |n: usize, message: json::Object<'_>| {
        match message.get("role").map(json::Value::text) {
            Some(br#""tool""#) => {
                let id = message.get("tool_call_id").and_then(json::Value::as_str).unwrap_or_default();
                if !called {
                    return Err(ApiError::StrayToolReply {
                        param: format!("messages.[{n}].role"),
                        id: id.into_owned(),
                    });
                }
                open.retain(|call| id != *call);
            }
            role => {
                if !open.is_empty() {
                    return missing(calling, &open);
                }
                let calls = match role {
                    Some(br#""assistant""#) => message.get("tool_calls").map(json::Value::items).unwrap_or_default(),
                    _ => Vec::new(),
                };
                called = !calls.is_empty();
                calling = n;
                open.extend(
                    calls.into_iter().filter_map(|call| Some(call.members()?.get("id")?.as_str()?.into_owned())),
                );
            }
        }
        Ok(())
    };
    let (mut n, mut broken) = (0, Ok(()));
    messages.each(|message| {
        if let (Ok(()), Some(message)) = (&broken, message.members()) {
            broken = check_message(n, message);
        }
        n += 1;
    });
    broken?;
    if open.is_empty() { Ok(()) } else { missing(calling, &open) }
}

fn mentions_json(messages: json::Value<'_>) -> bool {
    messages.text().windows(4).any(|word| word.eq_ignore_ascii_case(b"json"))
}

/// Levels of a strict schema that are checked. OpenAI itself allows ten.
const DEPTH: usize = 32;

/// Checks a strict schema: every object is closed, and every property is required.
fn strict(name: &str, schema: &Value, context: &mut Vec<String>, depth: usize) -> Result<(), ApiError> {
    let Some(map) = schema.as_object().filter(|_| depth < DEPTH) else { return Ok(()) };
    let bad = |context: &[String], problem: String| {
        let context = match context {
            [] => "()".to_owned(),
            [one] => format!("('{one}',)"),
            many => format!("('{}')", many.join("', '")),
        };
        Err(ApiError::BadSchema { name: name.to_owned(), context, problem })
    };
    if let Some(properties) = map.get("properties").and_then(Value::as_object) {
        if map.get("additionalProperties") != Some(&Value::Bool(false)) {
            return bad(context, "'additionalProperties' is required to be supplied and to be false.".to_owned());
        }
        let required = map.get("required").and_then(Value::as_array);
        let missing =
            properties.keys().find(|key| !required.is_some_and(|names| names.iter().any(|name| name == key.as_str())));
        if let Some(missing) = missing {
            let rule = "'required' is required to be supplied and to be an array including every key in properties.";
            return bad(context, format!("{rule} Missing '{missing}'."));
        }
    }
    let mut inner = |path: &[&str], schema: &Value| {
        context.extend(path.iter().map(ToString::to_string));
        let result = strict(name, schema, context, depth + 1);
        context.truncate(context.len() - path.len());
        result
    };
    for group in ["properties", "$defs", "definitions"] {
        for (key, schema) in map.get(group).and_then(Value::as_object).into_iter().flatten() {
            inner(&[group, key], schema)?;
        }
    }
    if let Some(items) = map.get("items") {
        inner(&["items"], items)?;
    }
    for (n, schema) in map.get("anyOf").and_then(Value::as_array).into_iter().flatten().enumerate() {
        inner(&["anyOf", &n.to_string()], schema)?;
    }
    Ok(())
}
