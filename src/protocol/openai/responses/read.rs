//! Parsing of a response request.

use std::sync::Arc;

use serde_json::Value;

use super::items::ReasoningOptions;
use crate::{
    core::{
        context::RequestContext,
        json::{self, Kind},
        prompt::{Format, Prompt, Role, Tool, ToolChoice, Turn},
        reply::ToolKind,
    },
    protocol::{ReadyMade, ResponseOptions},
};

/// Members that never change a reply or its rendering. [`ready_made`] has the rules of the others.
const IGNORED: [&[u8]; 23] = [
    b"model",
    b"input",
    b"instructions",
    b"stream",
    b"stream_options",
    b"store",
    b"metadata",
    b"temperature",
    b"top_p",
    b"user",
    b"safety_identifier",
    b"prompt_cache_key",
    b"prompt_cache_retention",
    b"previous_response_id",
    b"conversation",
    b"service_tier",
    b"truncation",
    b"parallel_tool_calls",
    b"max_tool_calls",
    b"prompt",
    b"top_logprobs",
    b"context_management",
    b"seed",
];

/// Prefix of the types of web search tools.
const WEB_SEARCH: &str = "web_search";

/// Returns the ready-made replies that a request can be answered with.
pub(in crate::protocol) fn ready_made(body: json::Object<'_>) -> ReadyMade {
    ReadyMade::of(body, |key, value| match key {
        _ if value.text() == b"false" => ReadyMade::All,
        b"max_output_tokens" => ReadyMade::up_to(value),
        b"tool_choice" => ReadyMade::all_if(matches!(value.text(), br#""auto""# | br#""none""#)),
        b"tools" => {
            let searches = |tool| kind(tool).is_some_and(|kind| kind.starts_with(WEB_SEARCH));
            ReadyMade::all_if(!value.items().into_iter().any(searches))
        }
        b"text" => ReadyMade::all_if(match value.members().and_then(|text| text.get("format")) {
            None => true,
            Some(format) => format.kind() == Kind::Null || kind(format).as_deref() == Some("text"),
        }),
        key => ReadyMade::all_if(IGNORED.contains(&key)),
    })
}

/// Returns the `type` of an object.
fn kind(value: json::Value<'_>) -> Option<String> {
    Some(value.members()?.get("type")?.as_str()?.into_owned())
}

/// Reads the options of the response.
pub(super) fn options(body: json::Object<'_>) -> ResponseOptions<'_> {
    let is_true = |name| body.get(name).and_then(json::Value::as_bool) == Some(true);
    let stream_options = body.get("stream_options").and_then(json::Value::members).unwrap_or_default();
    let (stream, background) = (is_true("stream"), is_true("background"));
    ResponseOptions {
        stream,
        // Recorded: streams of background responses have no padding.
        include_obfuscation: !background
            && stream_options.get("include_obfuscation").and_then(json::Value::as_bool) != Some(false),
        background,
        is_without_reply: background && !stream,
        ..ResponseOptions::default()
    }
}

/// Returns the form in which a request wants reasoning.
pub(super) fn reasoning(body: json::Object<'_>, context: &RequestContext<'_>) -> ReasoningOptions {
    const ENCRYPTED: &str = "reasoning.encrypted_content";
    let effort =
        body.get("reasoning").and_then(json::Value::members).and_then(|reasoning| reasoning.get("effort")?.as_str());
    let included = body.get("include").map(json::Value::items).unwrap_or_default();
    ReasoningOptions {
        always: context.model_facts().is_some_and(|facts| facts.reasoning) && effort.as_deref() != Some("none"),
        encrypted: included.into_iter().any(|one| one.as_str().as_deref() == Some(ENCRYPTED)),
    }
}

/// See [`crate::protocol::Reader::prompt`].
pub(in crate::protocol) fn prompt(
    body: json::Object<'_>,
    context: &RequestContext<'_>,
    earlier: &[Arc<Value>],
) -> Prompt {
    let value = |name: &str| body.get(name).and_then(json::Value::to_value).unwrap_or_default();
    let reasoning = value("reasoning");
    let shown = ["summary", "generate_summary"].iter().any(|name| reasoning[*name].is_string());
    let effort = reasoning["effort"].as_str().or(shown.then_some("medium"));
    let (tools, tool_choice, web_search) = tools(&value("tools"), &value("tool_choice"));
    Prompt {
        model: context.model().into_owned(),
        turns: turns(&value("instructions"), &value("input"), earlier),
        tools,
        tool_choice,
        parallel_tool_calls: body.get("parallel_tool_calls").and_then(json::Value::as_bool).unwrap_or(true),
        format: format(&value("text")["format"]),
        max_tokens: body.get("max_output_tokens").and_then(json::Value::as_u64),
        n: 1,
        reasoning_effort: effort.map(str::to_owned),
        show_reasoning: shown,
        web_search,
        ..Prompt::default()
    }
}

fn list(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

fn string(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

/// Returns the client's tools, the tool choice, and true if there is a web search.
fn tools(tools: &Value, choice: &Value) -> (Vec<Tool>, ToolChoice, bool) {
    let client_tool = |tool: &Value| {
        let kind = match tool["type"].as_str() {
            Some("function") => ToolKind::Function,
            Some("custom") => ToolKind::Custom,
            _ => return None,
        };
        Some(Tool::new(kind, string(&tool["name"]), &tool["parameters"]))
    };
    let mut offered: Vec<Tool> = list(tools).iter().filter_map(client_tool).collect();
    let searches = |tool: &Value| tool["type"].as_str().is_some_and(|kind| kind.starts_with(WEB_SEARCH));
    let web_search = list(tools).iter().any(searches);
    let choice = match (choice.as_str(), choice["type"].as_str()) {
        (Some("none"), _) => ToolChoice::None,
        (Some("required"), _) => ToolChoice::Required,
        (_, Some("function" | "custom")) => ToolChoice::Named(string(&choice["name"])),
        (_, Some("allowed_tools")) => {
            let names: Vec<_> = list(&choice["tools"]).iter().filter_map(|tool| tool["name"].as_str()).collect();
            offered.retain(|tool| names.contains(&tool.name.as_str()));
            if choice["mode"] == "required" { ToolChoice::Required } else { ToolChoice::Auto }
        }
        _ => ToolChoice::Auto,
    };
    let web_search = web_search && choice != ToolChoice::None;
    (offered, choice, web_search)
}

fn format(format: &Value) -> Format {
    match format["type"].as_str() {
        Some("json_object") => Format::JsonObject,
        Some("json_schema") => Format::JsonSchema(format["schema"].clone()),
        _ => Format::Text,
    }
}

/// Returns the conversation: this request's instructions, the earlier input and output, and this request's input.
fn turns(instructions: &Value, input: &Value, earlier: &[Arc<Value>]) -> Vec<Turn> {
    let mut turns = Vec::new();
    if let Some(text) = instructions.as_str() {
        turns.push(Turn { role: Role::System, text: text.to_owned(), ..Turn::default() });
    }
    for record in earlier {
        add(&record["input"], &mut turns);
        add(&record["answer"]["output"], &mut turns);
    }
    add(input, &mut turns);
    turns
}

/// Adds the turns of an input, which is a text or items. Adjacent items of the model become one turn.
fn add(input: &Value, turns: &mut Vec<Turn>) {
    if let Some(text) = input.as_str() {
        turns.push(Turn { text: text.to_owned(), ..Turn::default() });
    }
    for item in list(input) {
        let (role, (text, images)) = match item["type"].as_str() {
            None | Some("message") => (role(item), content(&item["content"])),
            Some(kind) if kind.ends_with("_output") => (Role::Tool, content(&item["output"])),
            // The encrypted summary of earlier turns.
            Some("compaction") => continue,
            Some(_) => (Role::Assistant, (String::new(), 0)),
        };
        match turns.last_mut() {
            Some(last) if role == Role::Assistant && last.role == role => {
                let both = !last.text.is_empty() && !text.is_empty();
                last.text.push_str(if both { "\n" } else { "" });
                last.text.push_str(&text);
            }
            _ => turns.push(Turn { role, text, images, ..Turn::default() }),
        }
    }
}

fn role(item: &Value) -> Role {
    match item["role"].as_str() {
        Some("system" | "developer") => Role::System,
        Some("assistant") => Role::Assistant,
        _ => Role::User,
    }
}

/// Returns the text and the number of images of a content, which is a string or parts.
fn content(content: &Value) -> (String, u64) {
    if let Some(text) = content.as_str() {
        return (text.to_owned(), 0);
    }
    let texts = list(content).iter().filter_map(|part| part["text"].as_str().or(part["refusal"].as_str()));
    let images = list(content).iter().filter(|part| part["type"] == "input_image").count();
    (texts.collect::<Vec<_>>().join("\n"), images as u64)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use serde_json::json;

    use super::*;
    use crate::core::{context::tests::with_context_of, json};

    fn read(body: &Value) -> Prompt {
        with_context_of(&body.to_string(), |context| prompt(context.members().unwrap(), context, &[]))
    }

    #[test]
    fn items_become_turns() {
        let input = json!([
            {"role": "developer", "content": "be kind"},
            {"role": "user", "content": [
                {"type": "input_text", "text": "weather?"}, {"type": "input_image", "image_url": "u"},
            ]},
            {"type": "reasoning", "id": "rs_1", "summary": []},
            {"type": "function_call", "call_id": "a", "name": "f", "arguments": "{}"},
            {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": "I look."}]},
            {"type": "function_call_output", "call_id": "a", "output": "sunny"},
            {"type": "custom_tool_call_output", "call_id": "b", "output": [{"type": "input_text", "text": "warm"}]},
        ]);
        let prompt = read(&json!({"instructions": "be brief", "input": input}));
        let turns: Vec<_> = prompt.turns.iter().map(|turn| (turn.role, turn.text.as_str(), turn.images)).collect();
        let expected = [
            (Role::System, "be brief", 0),
            (Role::System, "be kind", 0),
            (Role::User, "weather?", 1),
            (Role::Assistant, "I look.", 0),
            (Role::Tool, "sunny", 0),
            (Role::Tool, "warm", 0),
        ];
        assert_eq!(turns, expected);
        assert!(prompt.has_tool_result() && prompt.turn() == 2);
    }

    #[test]
    fn earlier_turns_come_first_without_their_instructions() {
        let turns = with_context_of(r#"{"input":"and now?","instructions":"new"}"#, |context| {
            let output =
                json!([{"type": "message", "role": "assistant", "content": [{"type": "refusal", "refusal": "no"}]}]);
            let record = json!({"input": "Hi", "answer": {"instructions": "old", "output": output}});
            prompt(context.members().unwrap(), context, &[Arc::new(record)]).turns
        });
        let turns: Vec<_> = turns.iter().map(|turn| turn.text.as_str()).collect();
        assert_eq!(turns, ["new", "Hi", "no", "and now?"]);
    }

    #[test]
    fn tool_choice_format_and_reasoning_are_parsed() {
        let schema = json!({"type": "object", "properties": {}});
        let prompt = read(&json!({
            "tools": [{"type": "function", "name": "f", "parameters": schema}, {"type": "custom", "name": "g"}, {"type": "mcp"}],
            "tool_choice": {"type": "allowed_tools", "mode": "required", "tools": [{"type": "custom", "name": "g"}]},
            "text": {"format": {"type": "json_schema", "name": "n", "schema": schema}},
            "reasoning": {"summary": "auto"}, "max_output_tokens": 20, "parallel_tool_calls": false,
        }));
        assert_eq!((prompt.tools.len(), prompt.tools[0].kind), (1, ToolKind::Custom));
        assert_eq!(prompt.tool_choice, ToolChoice::Required);
        assert_eq!(prompt.format, Format::JsonSchema(schema));
        assert_eq!((prompt.reasoning_effort.as_deref(), prompt.show_reasoning), (Some("medium"), true));
        assert_eq!((prompt.max_tokens, prompt.parallel_tool_calls), (Some(20), false));
        let searching = json!({"tools": [{"type": "web_search_preview"}]});
        assert!(read(&searching).web_search && !read(&json!({"tools": [{"type": "function"}]})).web_search);
    }

    #[test]
    fn requests_that_do_not_change_the_reply_are_plain() {
        let plain =
            |body: &Value| ready_made(json::Document::read(body.to_string().as_bytes()).unwrap().members()).allows(20);
        for members in [
            json!({"model": "m", "input": "Hi", "stream": true, "store": false, "metadata": {"a": "b"}}),
            json!({"max_output_tokens": 20, "tools": [{"type": "function", "name": "f"}], "tool_choice": "auto"}),
            json!({"text": {"format": {"type": "text"}, "verbosity": "low"}, "reasoning": null}),
        ] {
            assert!(plain(&members), "{members}");
        }
        for members in [
            json!({"max_output_tokens": 19}),
            json!({"tools": [{"type": "web_search"}]}),
            json!({"tool_choice": "required"}),
            json!({"text": {"format": {"type": "json_object"}}}),
            json!({"reasoning": {}}),
            json!({"background": true}),
            json!({"include": ["reasoning.encrypted_content"]}),
            json!({"of_next_year": 1}),
        ] {
            assert!(!plain(&members), "{members}");
        }
    }

    #[test]
    fn members_of_the_wrong_type_are_ignored() {
        for (value, turns, plain) in [
            (json!(null), &[][..], true),
            (json!(1), &[], false),
            (json!("x"), &["x", "x"], false),
            (json!([1]), &[""], false),
            (json!([{"role": 1, "content": [null], "type": []}]), &[""], false),
        ] {
            let all =
                ["input", "instructions", "tools", "tool_choice", "reasoning", "text", "include", "stream_options"];
            let body: serde_json::Map<_, _> = all.iter().map(|name| (name.to_string(), value.clone())).collect();
            let body = Value::from(body);
            let prompt = read(&body);
            let texts: Vec<_> = prompt.turns.iter().map(|turn| turn.text.as_str()).collect();
            assert_eq!(texts, turns, "{value}");
            // All but the turns is as in an empty request.
            let empty = Prompt { turns: prompt.turns.clone(), ..read(&json!({})) };
            assert_eq!(format!("{prompt:?}"), format!("{empty:?}"), "{value}");
            let read = with_context_of(&body.to_string(), |context| {
                let members = context.members().unwrap();
                let padded = options(members).include_obfuscation;
                (ready_made(members).allows(1), padded, reasoning(members, context).encrypted)
            });
            assert_eq!(read, (plain, true, false), "{value}");
        }
    }
}
