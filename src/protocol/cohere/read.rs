//! Parsing of chat requests. Messages and tools have OpenAI's form.

use serde_json::Value;

use crate::protocol::ReadyMade;
use crate::{
    core::{
        json,
        prompt::{Format, Prompt},
    },
    protocol::openai::chat::read::{list, tools, turns},
};

/// Members that never change a reply. [`ready_made`] has the rules for further members.
const IGNORED: [&[u8]; 15] = [
    b"model",
    b"messages",
    b"stream",
    b"temperature",
    b"p",
    b"k",
    b"seed",
    b"frequency_penalty",
    b"presence_penalty",
    b"tools",
    b"strict_tools",
    b"documents",
    b"citation_options",
    b"safety_mode",
    b"priority",
];

/// Returns the ready-made replies that a request can be answered with.
pub(super) fn ready_made(body: json::Object<'_>) -> ReadyMade {
    ReadyMade::of(body, |key, value| match key {
        b"max_tokens" => ReadyMade::up_to(value),
        b"thinking" => ReadyMade::all_if(!thinks(Some(value))),
        key => ReadyMade::all_if(IGNORED.contains(&key)),
    })
}

fn thinks(thinking: Option<json::Value<'_>>) -> bool {
    let kind = thinking.and_then(json::Value::members).and_then(|thinking| thinking.get("type")?.as_str());
    kind.is_some_and(|kind| kind == "enabled")
}

/// See [`crate::protocol::Reader::prompt`].
pub(super) fn prompt(body: json::Object<'_>, model: String) -> Prompt {
    let value = |name: &str| body.get(name).and_then(json::Value::to_value).filter(|value| !value.is_null());
    let (tools, tool_choice) = tools(&|name| match (name, value(name)) {
        ("tool_choice", Some(Value::String(choice))) => Some(choice.to_ascii_lowercase().into()),
        (_, value) => value,
    });
    let thinks = thinks(body.get("thinking"));
    let stops = list(value("stop_sequences"));
    Prompt {
        model,
        turns: turns(body.get("messages")),
        tools,
        tool_choice,
        parallel_tool_calls: true,
        format: format(&value("response_format").unwrap_or_default()),
        max_tokens: body.get("max_tokens").and_then(json::Value::as_u64),
        n: 1,
        stop: stops.iter().filter_map(|stop| Some(stop.as_str()?.to_owned())).collect(),
        seed: body.get("seed").and_then(json::Value::as_u64),
        reasoning_effort: thinks.then(|| "medium".to_owned()),
        show_reasoning: thinks,
        ..Prompt::default()
    }
}

/// Parses the response format. The schema's member is `json_schema`, formerly `schema`.
fn format(format: &Value) -> Format {
    let schema = ["json_schema", "schema"].into_iter().find_map(|name| format.get(name).filter(|it| it.is_object()));
    match (format["type"].as_str(), schema) {
        (Some("json_object"), Some(schema)) => Format::JsonSchema(schema.clone()),
        (Some("json_object"), None) => Format::JsonObject,
        _ => Format::Text,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::core::{
        json,
        prompt::{Role, ToolChoice},
    };

    fn read(body: &Value) -> Prompt {
        prompt(json::Document::read(body.to_string().as_bytes()).unwrap().members(), "m".to_owned())
    }

    #[test]
    fn messages_tools_and_options_are_parsed() {
        let schema = json!({"type": "object", "properties": {}});
        let prompt = read(&json!({
            "messages": [
                {"role": "system", "content": "be brief"},
                {"role": "user", "content": [{"type": "text", "text": "weather?"}]},
                {"role": "assistant", "tool_plan": "I look.", "tool_calls": []},
                {"role": "tool", "tool_call_id": "t", "content": "sunny"},
            ],
            "tools": [{"type": "function", "function": {"name": "f", "parameters": schema}}], "tool_choice": "REQUIRED",
            "response_format": {"type": "json_object", "json_schema": schema},
            "stop_sequences": ["a", 1], "thinking": {"type": "enabled", "token_budget": 9}, "max_tokens": 7,
        }));
        let turns: Vec<_> = prompt.turns.iter().map(|turn| (turn.role, turn.text.as_str())).collect();
        let expected =
            [(Role::System, "be brief"), (Role::User, "weather?"), (Role::Assistant, ""), (Role::Tool, "sunny")];
        assert_eq!(turns, expected);
        assert_eq!((prompt.tools.len(), prompt.tool_choice), (1, ToolChoice::Required));
        assert_eq!(
            (prompt.format, prompt.stop, prompt.max_tokens),
            (Format::JsonSchema(schema), vec!["a".into()], Some(7))
        );
        assert!(prompt.show_reasoning);
    }

    #[test]
    fn requests_that_change_no_reply_are_plain() {
        let plain =
            |body: Value| ready_made(json::Document::read(body.to_string().as_bytes()).unwrap().members()).allows(10);
        assert!(plain(json!({"max_tokens": 10, "thinking": {"type": "disabled"}, "stop_sequences": null})));
        for body in [
            json!({"max_tokens": 9}),
            json!({"thinking": {"type": "enabled"}}),
            json!({"tool_choice": "NONE"}),
            json!({"of_next_year": 1}),
        ] {
            assert!(!plain(body.clone()), "{body}");
        }
    }

    #[test]
    fn wrong_types_do_not_panic() {
        for (value, turns) in
            [(json!(null), &[][..]), (json!(1), &[]), (json!("x"), &[]), (json!([1]), &[""]), (json!({"type": 1}), &[])]
        {
            let all = ["messages", "tools", "tool_choice", "thinking", "response_format", "stop_sequences"];
            let body: serde_json::Map<_, _> = all.iter().map(|name| (name.to_string(), value.clone())).collect();
            let prompt = read(&body.into());
            let texts: Vec<_> = prompt.turns.iter().map(|turn| turn.text.as_str()).collect();
            assert_eq!(texts, turns, "{value}");
            // All but the turns and tools is as in an empty request.
            let (turns, tools) = (prompt.turns.clone(), prompt.tools.clone());
            assert!(tools.iter().all(|tool| tool.name.is_empty()) && tools.len() <= 1, "{value}");
            let empty = Prompt { turns, tools, ..read(&json!({})) };
            assert_eq!(format!("{prompt:?}"), format!("{empty:?}"), "{value}");
        }
    }
}
