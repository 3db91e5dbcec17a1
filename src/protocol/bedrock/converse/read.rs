//! Parsing of Converse requests.

use serde_json::Value;

use crate::core::{
    json,
    prompt::{Format, Prompt, Role, Tool, ToolChoice, Turn},
    reply::ToolKind,
};
use crate::protocol::ReadyMade;

/// Members that never change a reply. [`ready_made`] has the rules for further members.
const IGNORED: [&[u8]; 9] = [
    b"messages",
    b"system",
    b"schemaVersion",
    b"additionalModelResponseFieldPaths",
    b"guardrailConfig",
    b"performanceConfig",
    b"promptVariables",
    b"requestMetadata",
    b"serviceTier",
];

/// Returns the ready-made replies that a request can be answered with.
pub(super) fn ready_made(body: json::Object<'_>) -> ReadyMade {
    ReadyMade::of(body, |key, value| {
        let inside = value.members().unwrap_or_default();
        match key {
            b"inferenceConfig" => ReadyMade::of(inside, |key, value| match key {
                b"maxTokens" | b"max_new_tokens" => ReadyMade::up_to(value),
                b"stopSequences" => ReadyMade::all_if(value.items().is_empty()),
                b"temperature" | b"topP" | b"topK" => ReadyMade::All,
                _ => ReadyMade::None,
            }),
            b"toolConfig" => ReadyMade::of(inside, |key, value| match key {
                b"tools" => ReadyMade::All,
                b"toolChoice" => {
                    ReadyMade::of(value.members().unwrap_or_default(), |key, _| ReadyMade::all_if(key == b"auto"))
                }
                _ => ReadyMade::None,
            }),
            b"additionalModelRequestFields" | b"outputConfig" => ReadyMade::all_if(inside.iter().next().is_none()),
            key => ReadyMade::all_if(IGNORED.contains(&key)),
        }
    })
}

/// Returns the maximum number of reply tokens. `max_new_tokens` is Nova's former name for it.
fn max_tokens(inference: json::Object<'_>) -> Option<u64> {
    ["maxTokens", "max_new_tokens"].iter().find_map(|name| inference.get(name).and_then(json::Value::as_u64))
}

/// See [`crate::protocol::Reader::prompt`].
pub(in crate::protocol::bedrock) fn prompt(body: json::Object<'_>, model: String) -> Prompt {
    let value = |name: &str| body.get(name).and_then(json::Value::to_value).unwrap_or_default();
    let tools = value("toolConfig");
    let choice = &tools["toolChoice"];
    let inference = value("inferenceConfig");
    let more = value("additionalModelRequestFields");
    let thinking = [&more["thinking"], &more["reasoning_config"], &more["reasoningConfig"]];
    let thinks = thinking.iter().any(|thinking| matches!(thinking["type"].as_str(), Some("enabled" | "adaptive")));
    let effort = thinking.iter().find_map(|thinking| thinking["maxReasoningEffort"].as_str()).unwrap_or("medium");
    Prompt {
        model,
        turns: turns(&value("system"), &value("messages")),
        tools: items(&tools["tools"]).iter().filter_map(tool).collect(),
        tool_choice: match choice["tool"]["name"].as_str() {
            Some(name) => ToolChoice::Named(name.to_owned()),
            None if choice.get("any").is_some() => ToolChoice::Required,
            None => ToolChoice::Auto,
        },
        parallel_tool_calls: true,
        format: format(&value("outputConfig")["textFormat"]),
        max_tokens: body.get("inferenceConfig").and_then(json::Value::members).and_then(max_tokens),
        n: 1,
        stop: items(&inference["stopSequences"]).iter().filter_map(|stop| Some(stop.as_str()?.to_owned())).collect(),
        reasoning_effort: thinks.then(|| effort.to_owned()),
        show_reasoning: thinks,
        ..Prompt::default()
    }
}

fn items(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

fn tool(tool: &Value) -> Option<Tool> {
    let tool = &tool["toolSpec"];
    Some(Tool::new(ToolKind::Function, tool["name"].as_str()?.to_owned(), &tool["inputSchema"]["json"]))
}

/// Parses the text format. The schema is a string of JSON.
fn format(format: &Value) -> Format {
    let schema = format["structure"]["jsonSchema"]["schema"].as_str().and_then(|text| serde_json::from_str(text).ok());
    schema.map_or(Format::Text, Format::JsonSchema)
}

fn turns(system: &Value, messages: &Value) -> Vec<Turn> {
    let mut turns = Vec::new();
    if !items(system).is_empty() {
        turns.push(Turn { role: Role::System, text: content(system).0, ..Turn::default() });
    }
    for message in items(messages) {
        let role = if message["role"] == "assistant" { Role::Assistant } else { Role::User };
        let results: Vec<_> = items(&message["content"]).iter().filter_map(|block| block.get("toolResult")).collect();
        let (text, images) = content(&message["content"]);
        if results.is_empty() || !text.is_empty() || images > 0 {
            turns.push(Turn { role, text, images, ..Turn::default() });
        }
        for result in results {
            let (text, images) = content(&result["content"]);
            turns.push(Turn { role: Role::Tool, text, images, ..Turn::default() });
        }
    }
    turns
}

/// Returns the text of content blocks and the number of images.
fn content(blocks: &Value) -> (String, u64) {
    let text = |block: &Value| match (block["text"].as_str(), block.get("json")) {
        (Some(text), _) => Some(text.to_owned()),
        (None, Some(json)) => Some(json.to_string()),
        (None, None) => None,
    };
    let texts: Vec<_> = items(blocks).iter().filter_map(text).collect();
    let images = items(blocks).iter().filter(|block| block.get("image").is_some()).count();
    (texts.join("\n"), images as u64)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::core::json;

    fn read(body: &Value) -> Prompt {
        prompt(json::Document::read(body.to_string().as_bytes()).unwrap().members(), "m".to_owned())
    }

    fn plain(body: &Value) -> bool {
        ready_made(json::Document::read(body.to_string().as_bytes()).unwrap().members()).allows(10)
    }

    #[test]
    fn blocks_become_turns() {
        let prompt = read(&json!({
            "system": [{"text": "be brief"}, {"cachePoint": {"type": "default"}}],
            "messages": [
                {"role": "user", "content": [{"text": "weather?"}, {"image": {"format": "png", "source": {"bytes": "AA=="}}}]},
                {"role": "assistant", "content": [{"text": "I look."}, {"toolUse": {"toolUseId": "t", "name": "f", "input": {}}}]},
                {"role": "user", "content": [{"toolResult": {"toolUseId": "t", "content": [{"json": {"sun": true}}]}}]},
            ],
        }));
        let turns: Vec<_> = prompt.turns.iter().map(|turn| (turn.role, turn.text.as_str(), turn.images)).collect();
        let expected = [
            (Role::System, "be brief", 0),
            (Role::User, "weather?", 1),
            (Role::Assistant, "I look.", 0),
            (Role::Tool, r#"{"sun":true}"#, 0),
        ];
        assert_eq!(turns, expected);
        assert!(prompt.has_tool_result());
    }

    #[test]
    fn tools_format_and_reasoning_are_parsed() {
        let prompt = read(&json!({
            "inferenceConfig": {"maxTokens": 7, "stopSequences": ["a"]},
            "toolConfig": {
                "tools": [{"toolSpec": {"name": "f", "inputSchema": {"json": {"type": "object"}}}}, {"cachePoint": {}}],
                "toolChoice": {"tool": {"name": "f"}},
            },
            "outputConfig": {"textFormat": {"type": "json_schema", "structure": {"jsonSchema": {"schema": "{\"type\":\"object\"}"}}}},
            "additionalModelRequestFields": {"thinking": {"type": "enabled", "budget_tokens": 1024}},
        }));
        assert_eq!((prompt.tools.len(), prompt.tool_choice), (1, ToolChoice::Named("f".to_owned())));
        assert_eq!((prompt.max_tokens, prompt.stop), (Some(7), vec!["a".to_owned()]));
        assert_eq!(prompt.format, Format::JsonSchema(json!({"type": "object"})));
        assert_eq!((prompt.reasoning_effort.as_deref(), prompt.show_reasoning), (Some("medium"), true));
    }

    #[test]
    fn requests_that_change_no_reply_are_plain() {
        assert!(plain(&json!({"inferenceConfig": {"maxTokens": 10, "topP": 1, "stopSequences": []}})));
        assert!(plain(&json!({"toolConfig": {"toolChoice": {"auto": {}}}, "additionalModelRequestFields": {}})));
        for members in [
            json!({"inferenceConfig": {"maxTokens": 9}}),
            json!({"inferenceConfig": {"stopSequences": ["a"]}}),
            json!({"toolConfig": {"toolChoice": {"any": {}}}}),
            json!({"additionalModelRequestFields": {"thinking": {}}}),
            json!({"of_next_year": 1}),
            json!({"inferenceConfig": {"of_next_year": 1}}),
        ] {
            assert!(!plain(&members), "{members}");
        }
    }

    #[test]
    fn wrong_types_do_not_panic() {
        for (value, turns) in [
            (json!(null), &[][..]),
            (json!(1), &[]),
            (json!("x"), &[]),
            (json!([1]), &["", ""]),
            (json!([{"role": 1, "content": [null]}]), &["", ""]),
        ] {
            let all =
                ["messages", "system", "toolConfig", "inferenceConfig", "outputConfig", "additionalModelRequestFields"];
            let body: serde_json::Map<_, _> = all.iter().map(|name| (name.to_string(), value.clone())).collect();
            let prompt = read(&body.clone().into());
            let texts: Vec<_> = prompt.turns.iter().map(|turn| turn.text.as_str()).collect();
            assert_eq!(texts, turns, "{value}");
            // All but the turns is as in an empty request.
            let empty = Prompt { turns: prompt.turns.clone(), ..read(&json!({})) };
            assert_eq!(format!("{prompt:?}"), format!("{empty:?}"), "{value}");
            assert!(plain(&body.into()), "{value}");
        }
    }
}
