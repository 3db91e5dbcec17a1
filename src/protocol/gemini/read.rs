//! Parsing of requests. Google's JSON accepts every name in two forms: `maxOutputTokens` and `max_output_tokens`.

use std::borrow::Cow;

use serde_json::Value;

use super::schema::json_schema;
use crate::core::{
    json,
    prompt::{Format, Prompt, Role, Tool, ToolChoice, Turn},
    reply::ToolKind,
};
use crate::protocol::ReadyMade;

/// Maximum number of candidates.
const MAX_CANDIDATES: u64 = 8;

/// Returns the ready-made replies that a request can be answered with.
pub(super) fn ready_made(body: json::Object<'_>) -> ReadyMade {
    ReadyMade::of(body, |key, value| match key {
        b"generationConfig" | b"generation_config" => match value.members() {
            Some(config) => ReadyMade::of(config, ready_made_by_setting),
            None => ReadyMade::None,
        },
        b"contents"
        | b"systemInstruction"
        | b"system_instruction"
        | b"tools"
        | b"safetySettings"
        | b"safety_settings"
        | b"labels"
        | b"model" => ReadyMade::All,
        _ => ReadyMade::None,
    })
}

fn ready_made_by_setting(key: &[u8], value: json::Value<'_>) -> ReadyMade {
    match key {
        b"candidateCount" | b"candidate_count" => ReadyMade::all_if(value.text() == b"1"),
        b"maxOutputTokens" | b"max_output_tokens" => ReadyMade::up_to(value),
        b"responseMimeType" | b"response_mime_type" => ReadyMade::all_if(value.text() == br#""text/plain""#),
        b"responseModalities"
        | b"response_modalities"
        | b"mediaResolution"
        | b"media_resolution"
        | b"temperature"
        | b"topP"
        | b"top_p"
        | b"topK"
        | b"top_k"
        | b"seed"
        | b"presencePenalty"
        | b"presence_penalty"
        | b"frequencyPenalty"
        | b"frequency_penalty" => ReadyMade::All,
        _ => ReadyMade::None,
    }
}

/// Converts a name to the form of protocol buffers: `maxOutputTokens` to `max_output_tokens`.
fn snake(name: &str) -> String {
    let mut snake = String::with_capacity(name.len() + 4);
    for c in name.chars() {
        if c.is_ascii_uppercase() {
            snake.push('_');
        }
        snake.push(c.to_ascii_lowercase());
    }
    snake
}

/// Returns a member in either form; null if there is none.
pub(super) fn member<'v>(value: &'v Value, name: &str) -> &'v Value {
    match &value[name] {
        Value::Null => &value[snake(name).as_str()],
        value => value,
    }
}

/// Returns a member of the body in either form.
pub(super) fn get<'a>(body: json::Object<'a>, name: &str) -> Option<json::Value<'a>> {
    body.get(name).or_else(|| body.get(&snake(name)))
}

pub(super) fn value(body: json::Object<'_>, name: &str) -> Value {
    get(body, name).and_then(json::Value::to_value).unwrap_or_default()
}

/// Returns true if the response is an enum value as text, without JSON's quotes.
pub(super) fn wants_enum_text(body: json::Object<'_>) -> bool {
    let config = get(body, "generationConfig").and_then(json::Value::members);
    config.and_then(|config| get(config, "responseMimeType")).is_some_and(|t| t.text() == br#""text/x.enum""#)
}

/// Returns the request nested in a `countTokens` request, which may contain a full request instead of contents.
pub(super) fn nested_request<'a>(body: json::Object<'a>) -> Option<json::Object<'a>> {
    get(body, "generateContentRequest")?.members()
}

/// See [`crate::protocol::Reader::prompt`].
pub(super) fn prompt(body: json::Object<'_>, model: String) -> Prompt {
    let inner = nested_request(body);
    let body = inner.unwrap_or(body);
    let config = value(body, "generationConfig");
    let thinking = member(&config, "thinkingConfig");
    let show_reasoning = *member(thinking, "includeThoughts") == true;
    let (tools, tool_choice) = tools(body);
    let system = value(body, "systemInstruction");
    let instructions = (!system.is_null()).then(|| Turn { role: Role::System, ..turn(&system) });
    Prompt {
        model,
        turns: instructions.into_iter().chain(list(&value(body, "contents")).iter().map(turn)).collect(),
        tools,
        tool_choice,
        parallel_tool_calls: true,
        format: format(&config),
        max_tokens: number(member(&config, "maxOutputTokens")),
        n: number(member(&config, "candidateCount")).map_or(1, |n| n.clamp(1, MAX_CANDIDATES) as usize),
        stop: texts(member(&config, "stopSequences")),
        // Negative seeds keep their bits.
        seed: config["seed"].as_i64().map(|seed| seed as u64),
        reasoning_effort: effort(thinking, show_reasoning).map(Cow::into_owned),
        show_reasoning,
        ..Prompt::default()
    }
}

pub(super) fn list(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

fn texts(value: &Value) -> Vec<String> {
    list(value).iter().filter_map(Value::as_str).map(str::to_owned).collect()
}

fn string(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

/// Parses a count. Some clients send `100.0`, and protocol buffers allow `"100"`.
fn number(value: &Value) -> Option<u64> {
    let whole = || value.as_f64().filter(|number| *number >= 0.0).map(|number| number as u64);
    value.as_u64().or_else(whole).or_else(|| value.as_str()?.parse().ok())
}

fn turn(content: &Value) -> Turn {
    let mut turn = Turn { role: Role::User, ..Turn::default() };
    if content["role"] == "model" {
        turn.role = Role::Assistant;
    }
    let mut pieces = Vec::new();
    for part in list(&content["parts"]) {
        let response = member(part, "functionResponse");
        if !response.is_null() {
            turn.role = Role::Tool;
            pieces.push(response["response"].to_string());
        }
        // Earlier thoughts are not part of the prompt.
        pieces.extend(part["text"].as_str().filter(|_| part["thought"] != true).map(str::to_owned));
        let is_image = |name| member(member(part, name), "mimeType").as_str().is_some_and(|t| t.starts_with("image/"));
        turn.images += u64::from(is_image("inlineData") || is_image("fileData"));
    }
    turn.text = pieces.join("\n");
    turn
}

/// Returns the functions that may be called, and the tool choice.
pub(super) fn tools(body: json::Object<'_>) -> (Vec<Tool>, ToolChoice) {
    let tools = value(body, "tools");
    let declared = list(&tools).iter().flat_map(|tool| list(member(tool, "functionDeclarations")));
    let mut tools: Vec<_> = declared
        .map(|function| {
            let parameters = match member(function, "parametersJsonSchema") {
                Value::Null => json_schema(&function["parameters"]),
                schema => schema.clone(),
            };
            Tool::new(ToolKind::Function, string(&function["name"]), &parameters)
        })
        .collect();
    let config = value(body, "toolConfig");
    let calling = member(&config, "functionCallingConfig");
    let choice = match calling["mode"].as_str() {
        Some("ANY") => ToolChoice::Required,
        Some("NONE") => ToolChoice::None,
        _ => ToolChoice::Auto,
    };
    let allowed = texts(member(calling, "allowedFunctionNames"));
    if !allowed.is_empty() {
        tools.retain(|tool| allowed.contains(&tool.name));
    }
    (tools, choice)
}

fn format(config: &Value) -> Format {
    let schema_member = |name| Some(member(config, name)).filter(|schema| !schema.is_null());
    let schema =
        schema_member("responseJsonSchema").cloned().or_else(|| schema_member("responseSchema").map(json_schema));
    match (schema, member(config, "responseMimeType").as_str()) {
        (_, Some("text/plain")) => Format::Text,
        (Some(schema), _) => Format::JsonSchema(schema),
        (None, Some("application/json")) => Format::JsonObject,
        (None, _) => Format::Text,
    }
}

/// Returns the reasoning effort: the requested level, or the largest of the fake's own levels within a token budget.
///
/// `medium` is used for a budget of -1, which lets the model decide, and for requests that only show thoughts.
fn effort(thinking: &Value, show: bool) -> Option<Cow<'static, str>> {
    if let Some(level) = member(thinking, "thinkingLevel").as_str() {
        return Some(level.to_ascii_lowercase().into());
    }
    let level = match member(thinking, "thinkingBudget").as_i64() {
        None if !show => return None,
        None | Some(..0) => "medium",
        Some(0..16) => "none",
        Some(16..64) => "minimal",
        Some(64..256) => "low",
        Some(256..1024) => "medium",
        Some(1024..4096) => "high",
        Some(4096..) => "xhigh",
    };
    Some(level.into())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::core::json;

    fn read(body: &Value) -> Prompt {
        let text = body.to_string();
        prompt(json::Document::read(text.as_bytes()).unwrap().members(), "m".to_owned())
    }

    fn plain(config: &Value) -> bool {
        let text = json!({"contents": [], "generationConfig": config}).to_string();
        ready_made(json::Document::read(text.as_bytes()).unwrap().members()).allows(11)
    }

    #[test]
    fn both_forms_of_names_are_accepted() {
        let camel = json!({
            "systemInstruction": {"parts": [{"text": "be brief"}]},
            "contents": [
                {"role": "user", "parts": [{"text": "a"}, {"inlineData": {"mimeType": "image/png", "data": ""}}]},
                {"role": "model", "parts": [{"text": "hm", "thought": true}, {"functionCall": {"name": "f", "args": {}}}]},
                {"role": "user", "parts": [{"functionResponse": {"name": "f", "response": {"r": 1}}}]},
            ],
            "tools": [{"functionDeclarations": [{"name": "f", "parameters": {"type": "OBJECT"}}, {"name": "g"}]}],
            "toolConfig": {"functionCallingConfig": {"mode": "ANY", "allowedFunctionNames": ["g"]}},
            "generationConfig": {
                "maxOutputTokens": 7, "candidateCount": 2, "stopSequences": ["x"], "seed": -1,
                "responseMimeType": "application/json", "responseSchema": {"type": "STRING"},
                "thinkingConfig": {"thinkingBudget": 2000, "includeThoughts": true},
            },
        });
        fn snaked(value: &Value) -> Value {
            match value {
                Value::Object(map) => map.iter().map(|(key, value)| (snake(key), snaked(value))).collect(),
                Value::Array(items) => items.iter().map(snaked).collect(),
                value => value.clone(),
            }
        }
        for body in [snaked(&camel), json!({"generateContentRequest": camel}), camel] {
            let prompt = read(&body);
            let roles: Vec<_> = prompt.turns.iter().map(|turn| turn.role).collect();
            assert_eq!(roles, [Role::System, Role::User, Role::Assistant, Role::Tool], "{body}");
            let texts: Vec<_> = prompt.turns.iter().map(|turn| turn.text.as_str()).collect();
            assert_eq!(texts, ["be brief", "a", "", r#"{"r":1}"#]);
            assert!(prompt.has_tool_result() && prompt.turns[1].images == 1 && prompt.show_reasoning);
            assert_eq!((prompt.tools.len(), prompt.tools[0].name.as_str()), (1, "g"));
            assert_eq!(prompt.tools[0].parameters, json!({"type": "object"}));
            assert_eq!(prompt.tool_choice, ToolChoice::Required);
            assert_eq!((prompt.max_tokens, prompt.n, prompt.seed), (Some(7), 2, Some(u64::MAX)));
            assert_eq!(prompt.stop, ["x"]);
            assert_eq!(prompt.format, Format::JsonSchema(json!({"type": "string"})));
            assert_eq!(prompt.reasoning_effort.as_deref(), Some("high"));
        }
    }

    #[test]
    fn effort_is_a_level_or_follows_from_the_budget() {
        for (config, expected) in [
            (json!({}), None),
            (json!({"includeThoughts": true}), Some("medium")),
            (json!({"thinkingBudget": 0, "includeThoughts": true}), Some("none")),
            (json!({"thinkingBudget": -1}), Some("medium")),
            (json!({"thinkingBudget": 24576}), Some("xhigh")),
            (json!({"thinkingLevel": "LOW"}), Some("low")),
        ] {
            let prompt = read(&json!({"generationConfig": {"thinkingConfig": config}}));
            assert_eq!(prompt.reasoning_effort.as_deref(), expected, "{config}");
        }
    }

    #[test]
    fn requests_that_change_no_reply_are_plain() {
        for config in [
            json!(null),
            json!({"temperature": 0.5, "topK": 40, "seed": 3, "candidateCount": 1, "responseModalities": ["TEXT"]}),
            json!({"maxOutputTokens": 11, "responseMimeType": "text/plain", "stopSequences": null}),
        ] {
            assert!(plain(&config), "{config}");
        }
        for config in [
            json!([]),
            json!({"max_output_tokens": 10}),
            json!({"candidateCount": 2}),
            json!({"stop_sequences": ["x"]}),
            json!({"responseMimeType": "application/json"}),
            json!({"response_schema": {}}),
            json!({"thinkingConfig": {}}),
            json!({"ofNextYear": 1}),
        ] {
            assert!(!plain(&config), "{config}");
        }
    }

    #[test]
    fn wrong_types_do_not_panic() {
        for text in [
            r#"{"contents": 1, "tools": {"a": 1}, "toolConfig": [], "generationConfig": "x", "systemInstruction": 7}"#,
            r#"{"contents": [1, [], {"parts": 1}, {"parts": [1, null, {"text": 1, "inlineData": 3}]}], "tools": [1]}"#,
            r#"{"tools": [{"functionDeclarations": [1, {"name": 2, "parameters": 3}]}], "generationConfig": {"seed": "x"}}"#,
            r#"{"generationConfig": {"maxOutputTokens": -1.5, "candidateCount": 1e300, "responseSchema": 1}}"#,
        ] {
            let body: Value = serde_json::from_str(text).unwrap();
            assert!((1..=8).contains(&read(&body).n));
        }
    }
}
