//! Parsing of message requests.

use serde_json::{Value, json};

use crate::core::{
    json,
    prompt::{Format, Prompt, Role, Tool, ToolChoice, Turn},
};
use crate::protocol::ReadyMade;

/// Members that never change a reply. [`ready_made`] has the rules for further members.
const IGNORED: [&[u8]; 14] = [
    b"model",
    b"messages",
    b"system",
    b"stream",
    b"temperature",
    b"top_p",
    b"top_k",
    b"tools",
    b"metadata",
    b"service_tier",
    b"anthropic_version",
    b"anthropic_beta",
    b"inference_geo",
    b"cache_control",
];

/// Returns the ready-made replies that a request can be answered with.
pub(in crate::protocol) fn ready_made(body: json::Object<'_>) -> ReadyMade {
    ReadyMade::of(body, |key, value| match key {
        b"max_tokens" => ReadyMade::up_to(value),
        b"thinking" => ReadyMade::all_if(kind(value).as_deref() == Some("disabled")),
        b"tool_choice" => ReadyMade::all_if(matches!(kind(value).as_deref(), Some("auto" | "none"))),
        key => ReadyMade::all_if(IGNORED.contains(&key)),
    })
}

/// Returns the `type` of an object.
fn kind(value: json::Value<'_>) -> Option<String> {
    Some(value.members()?.get("type")?.as_str()?.into_owned())
}

/// Returns true if the request wants thinking blocks without their text.
pub(super) fn omits_thinking(body: json::Object<'_>) -> bool {
    let display =
        body.get("thinking").and_then(json::Value::members).and_then(|thinking| thinking.get("display")?.as_str());
    display.is_some_and(|display| display == "omitted")
}

/// See [`crate::protocol::Reader::prompt`].
pub(in crate::protocol) fn prompt(body: json::Object<'_>, model: String) -> Prompt {
    let value = |name: &str| body.get(name).and_then(json::Value::to_value).unwrap_or_default();
    let choice = value("tool_choice");
    let thinking = value("thinking");
    let output = value("output_config");
    let thinks = matches!(thinking["type"].as_str(), Some("enabled" | "adaptive"));
    let effort = || output["effort"].as_str().unwrap_or("medium").to_owned();
    Prompt {
        model,
        turns: turns(&value("system"), &value("messages")),
        tools: items(&value("tools")).iter().filter(|tool| tool["name"].is_string()).map(tool).collect(),
        tool_choice: match (choice["type"].as_str(), choice["name"].as_str()) {
            (Some("any"), _) => ToolChoice::Required,
            (Some("tool"), Some(name)) => ToolChoice::Named(name.to_owned()),
            (Some("none"), _) => ToolChoice::None,
            _ => ToolChoice::Auto,
        },
        parallel_tool_calls: choice["disable_parallel_tool_use"] != true,
        // `output_format` is the beta's name.
        format: [&output["format"], &value("output_format")]
            .into_iter()
            .map(format)
            .find(|format| *format != Format::Text)
            .unwrap_or_default(),
        max_tokens: body.get("max_tokens").and_then(json::Value::as_u64),
        n: 1,
        stop: items(&value("stop_sequences")).iter().filter_map(|stop| Some(stop.as_str()?.to_owned())).collect(),
        reasoning_effort: thinks.then(effort),
        show_reasoning: thinks,
        ..Prompt::default()
    }
}

fn items(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

fn tool(tool: &Value) -> Tool {
    let name = tool["name"].as_str().unwrap_or_default().to_owned();
    // Anthropic's own tools have no schema.
    let parameters = tool.get("input_schema").cloned().unwrap_or_else(|| json!({"type": "object"}));
    Tool { name, parameters, ..Tool::default() }
}

fn format(format: &Value) -> Format {
    match format["type"].as_str() {
        Some("json_schema") => Format::JsonSchema(format["schema"].clone()),
        _ => Format::Text,
    }
}

fn turns(system: &Value, messages: &Value) -> Vec<Turn> {
    let mut turns = Vec::new();
    if !system.is_null() {
        turns.push(Turn { role: Role::System, text: content(system).0, ..Turn::default() });
    }
    for message in items(messages) {
        let results = items(&message["content"]).iter().filter(|block| block["type"] == "tool_result");
        let results: Vec<_> = results.collect();
        let role = match message["role"].as_str() {
            Some("assistant") => Role::Assistant,
            Some("system") => Role::System,
            _ => Role::User,
        };
        let (text, images) = content(&message["content"]);
        if results.is_empty() || !text.is_empty() || images > 0 {
            turns.push(Turn { role, text, images, ..Turn::default() });
        }
        // Tool results make the last turn a tool's, even if the message also contains text.
        for result in results {
            let (text, images) = content(&result["content"]);
            turns.push(Turn { role: Role::Tool, text, images, ..Turn::default() });
        }
    }
    turns
}

/// Returns the text of a content, which is a string or blocks, and its number of images.
fn content(content: &Value) -> (String, u64) {
    if let Some(text) = content.as_str() {
        return (text.to_owned(), 0);
    }
    let text = |block: &Value| match block["type"].as_str() {
        Some("text") => block["text"].as_str().map(str::to_owned),
        // Only documents of plain text can be read.
        Some("document") => {
            block["source"]["data"].as_str().filter(|_| block["source"]["type"] == "text").map(str::to_owned)
        }
        _ => None,
    };
    let texts: Vec<_> = items(content).iter().filter_map(text).collect();
    let images = items(content).iter().filter(|block| block["type"] == "image").count();
    (texts.join("\n"), images as u64)
}

#[cfg(test)]
mod tests {
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
            "system": [{"type": "text", "text": "be brief"}, {"type": "text", "text": "be kind", "cache_control": {"type": "ephemeral"}}],
            "messages": [
                {"role": "user", "content": "weather?"},
                {"role": "assistant", "content": [
                    {"type": "thinking", "thinking": "hm", "signature": "x"}, {"type": "text", "text": "I look."},
                    {"type": "tool_use", "id": "t", "name": "f", "input": {}},
                ]},
                {"role": "user", "content": [
                    {"type": "tool_result", "tool_use_id": "t", "content": [
                        {"type": "text", "text": "sunny"}, {"type": "image", "source": {"type": "url", "url": "u"}},
                    ]},
                    {"type": "text", "text": "and now?"},
                ]},
            ],
        }));
        let turns: Vec<_> = prompt.turns.iter().map(|turn| (turn.role, turn.text.as_str(), turn.images)).collect();
        let expected = [
            (Role::System, "be brief\nbe kind", 0),
            (Role::User, "weather?", 0),
            (Role::Assistant, "I look.", 0),
            (Role::User, "and now?", 0),
            (Role::Tool, "sunny", 1),
        ];
        assert_eq!(turns, expected);
        assert!(prompt.has_tool_result());
        assert_eq!((prompt.last_user(), prompt.turn()), ("and now?", 2));
    }

    #[test]
    fn tool_choice_format_and_thinking_are_parsed() {
        let schema = json!({"type": "object", "properties": {}});
        let prompt = read(&json!({
            "tools": [{"name": "f", "input_schema": schema}, {"type": "bash_20250124", "name": "bash"}],
            "tool_choice": {"type": "tool", "name": "f", "disable_parallel_tool_use": true},
            "output_config": {"format": {"type": "json_schema", "schema": schema}, "effort": "low"},
            "thinking": {"type": "adaptive"}, "stop_sequences": ["a", "b"], "max_tokens": 7,
        }));
        assert_eq!(prompt.tool_choice, ToolChoice::Named("f".to_owned()));
        assert!(!prompt.parallel_tool_calls && prompt.show_reasoning);
        assert_eq!(prompt.format, Format::JsonSchema(schema));
        assert_eq!((prompt.reasoning_effort.as_deref(), prompt.max_tokens), (Some("low"), Some(7)));
        assert_eq!(prompt.stop, ["a", "b"]);
        assert_eq!(prompt.tools.len(), 2);
        let silent = read(&json!({"output_config": {"effort": "low"}, "thinking": {"type": "disabled"}}));
        assert!(silent.reasoning_effort.is_none() && !silent.show_reasoning && silent.parallel_tool_calls);
    }

    #[test]
    fn requests_that_change_no_reply_are_plain() {
        assert!(plain(&json!({"max_tokens": 10, "temperature": 1, "stream": true, "thinking": {"type": "disabled"}})));
        assert!(plain(&json!({"tool_choice": {"type": "auto"}, "stop_sequences": null})));
        for members in [
            json!({"max_tokens": 9}),
            json!({"thinking": {"type": "adaptive"}}),
            json!({"tool_choice": {"type": "any"}}),
            json!({"stop_sequences": []}),
            json!({"output_config": {}}),
            json!({"of_next_year": 1}),
        ] {
            assert!(!plain(&members), "{members}");
        }
    }

    #[test]
    fn wrong_types_do_not_panic() {
        for (value, turns) in [
            (json!(null), &[][..]),
            (json!(1), &[""]),
            (json!("x"), &["x"]),
            (json!([1]), &["", ""]),
            (json!([{"role": 1, "content": [null]}]), &["", ""]),
        ] {
            let all = ["messages", "system", "tools", "tool_choice", "thinking", "output_config", "stop_sequences"];
            let body: serde_json::Map<_, _> = all.iter().map(|name| (name.to_string(), value.clone())).collect();
            let prompt = read(&body.into());
            let texts: Vec<_> = prompt.turns.iter().map(|turn| turn.text.as_str()).collect();
            assert_eq!(texts, turns, "{value}");
            // All but the turns is as in an empty request.
            let empty = Prompt { turns: prompt.turns.clone(), ..read(&json!({})) };
            assert_eq!(format!("{prompt:?}"), format!("{empty:?}"), "{value}");
        }
    }
}
