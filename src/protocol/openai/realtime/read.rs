//! Parsing of a session's model request: the session, its items, and the settings of one response.

use serde_json::Value;

use super::{list, text};
use crate::core::{
    context::RequestContext,
    json,
    prompt::{Prompt, Role, Tool, ToolChoice, Turn},
    reply::ToolKind,
};

/// See [`crate::protocol::Reader::prompt`].
pub(super) fn prompt(body: json::Object<'_>, context: &RequestContext<'_>) -> Prompt {
    let value = |name: &str| body.get(name).and_then(json::Value::to_value).unwrap_or_default();
    let (session, items, response) = (value("session"), value("items"), value("response"));
    // The response's settings override the session's.
    let setting = |name: &str| if response[name].is_null() { &session[name] } else { &response[name] };
    let tool = |tool: &Value| Tool::new(ToolKind::Function, text(&tool["name"]).to_owned(), &tool["parameters"]);
    let choice = setting("tool_choice");
    let system = Turn { role: Role::System, text: text(setting("instructions")).to_owned(), ..Turn::default() };
    let before = list(&items);
    let input = response["input"].as_array().map_or(before, Vec::as_slice);
    let resolve = |item: &Value| match item["type"].as_str() {
        Some("item_reference") => before.iter().find(|known| known["id"] == item["id"]).and_then(turn),
        _ => turn(item),
    };
    let transcribes = !value("transcribes").is_null();
    Prompt {
        model: context.model().into_owned(),
        turns: Some(system)
            .filter(|turn| !turn.text.is_empty())
            .into_iter()
            .chain(input.iter().filter_map(resolve))
            .collect(),
        tools: list(setting("tools")).iter().filter(|tool| tool["type"] == "function").map(tool).collect(),
        tool_choice: match (choice.as_str(), choice["type"].as_str()) {
            (Some("none"), _) => ToolChoice::None,
            (Some("required"), _) => ToolChoice::Required,
            (_, Some("function")) => ToolChoice::Named(text(&choice["name"]).to_owned()),
            _ => ToolChoice::Auto,
        },
        parallel_tool_calls: true,
        max_tokens: setting("max_output_tokens").as_u64(),
        n: 1,
        reasoning_effort: setting("reasoning")["effort"].as_str().map(str::to_owned),
        audio: !transcribes && list(setting("output_modalities")).iter().any(|kind| kind == "audio"),
        ..Prompt::default()
    }
}

/// Converts an item to a turn.
fn turn(item: &Value) -> Option<Turn> {
    let (role, text) = match (text(&item["type"]), text(&item["role"])) {
        ("message", role) => {
            let role = match role {
                "assistant" => Role::Assistant,
                "system" => Role::System,
                _ => Role::User,
            };
            let part = |part: &Value| part["text"].as_str().or(part["transcript"].as_str()).map(str::to_owned);
            (role, list(&item["content"]).iter().filter_map(part).collect::<Vec<_>>().join("\n"))
        }
        ("function_call_output", _) => (Role::Tool, text(&item["output"]).to_owned()),
        ("function_call", _) => (Role::Assistant, String::new()),
        _ => return None,
    };
    let images = list(&item["content"]).iter().filter(|part| part["type"] == "input_image").count() as u64;
    Some(Turn { role, text, images, name: None })
}
