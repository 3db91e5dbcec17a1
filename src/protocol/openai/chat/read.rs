//! Parsing of a chat request.

use std::borrow::Cow;

use serde_json::Value;

use crate::{
    core::{
        json::{self, Kind},
        limit_status::Cost,
        prompt::{Format, Prompt, Role, Tool, ToolChoice, Turn, reserved_cost},
        reply::ToolKind,
    },
    media::silence,
    protocol::{ReadyMade, ResponseOptions},
};

/// Members whose values never change a reply that is the same for all requests: sampling, and notes about the request.
const IGNORED: [&[u8]; 22] = [
    b"temperature",
    b"top_p",
    b"tools",
    b"parallel_tool_calls",
    b"frequency_penalty",
    b"presence_penalty",
    b"logit_bias",
    b"seed",
    b"user",
    b"metadata",
    b"safety_identifier",
    b"prompt_cache_key",
    b"prompt_cache_retention",
    b"verbosity",
    // Of other hosts and engines.
    b"top_k",
    b"min_p",
    b"top_a",
    b"repetition_penalty",
    b"provider",
    b"random_seed",
    b"safe_prompt",
    b"extra_body",
];

/// Reads the options of the response, and the ready-made replies that the request can be answered with, in one pass.
pub(in crate::protocol) fn options(body: json::Object<'_>) -> (ResponseOptions<'_>, ReadyMade) {
    let (mut options, mut ready_made) = (ResponseOptions::default(), ReadyMade::All);
    let (mut logprobs, mut top, mut stream_options) = (false, None, None);
    for (key, value) in body.iter() {
        let is_given = !matches!(value.text(), b"null" | b"false");
        let allowed = match key {
            b"messages" | b"model" => continue,
            b"stream" => {
                options.stream = value.as_bool() == Some(true);
                continue;
            }
            b"stream_options" => {
                stream_options = value.members();
                continue;
            }
            b"max_tokens" | b"max_completion_tokens" => ReadyMade::up_to(value),
            b"n" => ReadyMade::all_if(value.text() == b"1"),
            b"tool_choice" => ReadyMade::all_if(matches!(value.text(), br#""auto""# | br#""none""#)),
            b"service_tier" => {
                options.service_tier = Some(value);
                ReadyMade::All
            }
            b"logprobs" => {
                logprobs = value.as_bool() == Some(true);
                ReadyMade::None
            }
            b"top_logprobs" => {
                top = value.as_u64();
                ReadyMade::None
            }
            b"audio" => {
                let format = value.members().and_then(|audio| audio.get("format")?.as_str());
                let format = format.and_then(|name| silence::Format::named(&name));
                options.audio_format = format.unwrap_or(silence::Format::Wav);
                ReadyMade::None
            }
            key => ReadyMade::all_if(IGNORED.contains(&key)),
        };
        if is_given {
            ready_made = ready_made.min(allowed);
        }
    }
    if options.stream {
        let option = |name, default| stream_options.and_then(|list| list.get(name)?.as_bool()).unwrap_or(default);
        options.include_usage = option("include_usage", options.include_usage);
        options.include_obfuscation = option("include_obfuscation", options.include_obfuscation);
    }
    options.logprobs = logprobs.then(|| top.unwrap_or(0).min(20));
    (options, ready_made)
}

/// See [`crate::protocol::Reader::prompt`].
pub(in crate::protocol) fn prompt(body: json::Object<'_>, model: String) -> Prompt {
    let value = |name: &str| body.get(name).and_then(json::Value::to_value).filter(|value| !value.is_null());
    let text = |name: &str| body.get(name)?.as_str().map(|text| text.into_owned());
    let number = |name: &str| body.get(name).and_then(json::Value::as_u64);
    let flag = |name: &str| body.get(name).and_then(json::Value::as_bool);
    let (tools, tool_choice) = tools(&value);
    let modalities = value("modalities");
    Prompt {
        model,
        turns: turns(body.get("messages")),
        tools,
        tool_choice,
        parallel_tool_calls: flag("parallel_tool_calls").unwrap_or(true),
        format: format(value("response_format")),
        max_tokens: number("max_completion_tokens").or_else(|| number("max_tokens")),
        n: number("n").map_or(1, |n| n.clamp(1, 128) as usize),
        stop: match value("stop") {
            Some(Value::String(stop)) => vec![stop],
            stops => list(stops).into_iter().filter_map(|stop| stop.as_str().map(str::to_owned)).collect(),
        },
        // Any 64-bit integer. A negative one is taken by its bits.
        seed: body
            .get("seed")
            .and_then(|seed| std::str::from_utf8(seed.text()).ok()?.parse::<i64>().ok())
            .map(|seed| seed as u64),
        reasoning_effort: text("reasoning_effort"),
        prediction: body.get("prediction").filter(|prediction| prediction.kind() != Kind::Null).map(|prediction| {
            let predicted = prediction.members().unwrap_or_default().get("content");
            predicted.map(content).unwrap_or_default().0
        }),
        web_search: value("web_search_options").is_some(),
        audio: list(modalities).iter().any(|modality| modality == "audio"),
        ..Prompt::default()
    }
}

/// Returns the cost of [`prompt`] without building it: limits are checked before the request is read.
pub(in crate::protocol) fn cost(body: json::Object<'_>) -> Cost {
    let (mut messages, mut chars, mut images) = (0, 0, 0);
    let mut message = |message: json::Value<'_>| {
        messages += 1;
        let Some(content) = message.members().and_then(|message| message.get("content")) else { return };
        chars += content.chars();
        content.each(|part| {
            let Some(part) = part.members() else { return };
            chars += part.get("text").map_or(0, json::Value::chars);
            images += u64::from(part.get("type").is_some_and(|kind| kind.text() == br#""image_url""#));
        });
    };
    if let Some(list) = body.get("messages") {
        list.each(&mut message);
    }
    let number = |name: &str| body.get(name).and_then(json::Value::as_u64);
    let most = number("max_completion_tokens").or_else(|| number("max_tokens"));
    reserved_cost(chars, messages, images, most, number("n").map_or(1, |n| n.clamp(1, 128)))
}

/// Returns the items of an array. Other values have none.
pub(in crate::protocol) fn list(value: Option<Value>) -> Vec<Value> {
    match value {
        Some(Value::Array(items)) => items,
        _ => Vec::new(),
    }
}

fn string(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

/// Converts the messages of a request.
pub(in crate::protocol) fn turns(messages: Option<json::Value<'_>>) -> Vec<Turn> {
    let mut turns = Vec::new();
    if let Some(messages) = messages {
        messages.each(|message| turns.push(turn(message.members().unwrap_or_default())));
    }
    turns
}

/// Converts a message. Other protocols share its shape. No tree is built of it: conversations can be long.
pub(in crate::protocol) fn turn(message: json::Object<'_>) -> Turn {
    let string = |name: &str| message.get(name).and_then(json::Value::as_str);
    let role = match string("role").as_deref() {
        Some("system" | "developer") => Role::System,
        Some("assistant") => Role::Assistant,
        Some("tool" | "function") => Role::Tool,
        _ => Role::User,
    };
    let (text, images) = message.get("content").map(content).unwrap_or_default();
    Turn { role, text, images, name: string("name").map(Cow::into_owned) }
}

/// Returns the text and the number of images of a message's content, which is a string or parts.
fn content(content: json::Value<'_>) -> (String, u64) {
    let (mut texts, mut images) = (Vec::new(), 0);
    content.each(|part| {
        let part = part.members().unwrap_or_default();
        let string = |name: &str| part.get(name).and_then(json::Value::as_str);
        texts.extend(string("text"));
        images += u64::from(string("type").as_deref() == Some("image_url"));
    });
    (content.as_str().map_or_else(|| texts.join("\n"), Cow::into_owned), images)
}

/// Returns a request's tools and its tool choice. `value` returns a member of the request.
pub(in crate::protocol) fn tools(value: &dyn Fn(&str) -> Option<Value>) -> (Vec<Tool>, ToolChoice) {
    let function =
        |kind: ToolKind, function: &Value| Tool::new(kind, string(&function["name"]), &function["parameters"]);
    let tools = list(value("tools"));
    if tools.is_empty() {
        let functions = list(value("functions"));
        let choice = match value("function_call") {
            Some(Value::Object(call)) => ToolChoice::Named(string(&call["name"])),
            Some(Value::String(word)) if word == "none" => ToolChoice::None,
            _ => ToolChoice::Auto,
        };
        return (functions.iter().map(|one| function(ToolKind::Legacy, one)).collect(), choice);
    }
    let mut tools: Vec<Tool> = tools
        .iter()
        .map(|tool| match tool["type"].as_str() {
            Some("custom") => function(ToolKind::Custom, &tool["custom"]),
            _ => function(ToolKind::Function, &tool["function"]),
        })
        .collect();
    let choice = value("tool_choice").unwrap_or_default();
    let choice = match (choice.as_str(), choice["type"].as_str()) {
        (Some("none"), _) => ToolChoice::None,
        // Some hosts name it `any`.
        (Some("required" | "any"), _) => ToolChoice::Required,
        (_, Some("function")) => ToolChoice::Named(string(&choice["function"]["name"])),
        (_, Some("custom")) => ToolChoice::Named(string(&choice["custom"]["name"])),
        (_, Some("allowed_tools")) => {
            let allowed = list(choice["allowed_tools"].get("tools").cloned());
            let name =
                |tool: &Value| tool["function"]["name"].as_str().or(tool["custom"]["name"].as_str()).map(str::to_owned);
            let names: Vec<_> = allowed.iter().filter_map(name).collect();
            tools.retain(|tool| names.contains(&tool.name));
            match choice["allowed_tools"]["mode"].as_str() {
                Some("required") => ToolChoice::Required,
                _ => ToolChoice::Auto,
            }
        }
        _ => ToolChoice::Auto,
    };
    (tools, choice)
}

/// Parses a `response_format`.
pub(in crate::protocol) fn format(format: Option<Value>) -> Format {
    let Some(format) = format else { return Format::Text };
    match format["type"].as_str() {
        Some("json_object") => Format::JsonObject,
        Some("json_schema") => Format::JsonSchema(format["json_schema"].get("schema").cloned().unwrap_or_default()),
        _ => Format::Text,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::core::json;

    #[test]
    fn only_members_that_are_known_not_to_matter_allow_a_ready_made_reply() {
        let read = |body: &Value| options(json::Document::read(body.to_string().as_bytes()).unwrap().members()).1;
        for (members, allowed) in [
            (json!({"model": "m", "messages": [], "stream": true, "stream_options": {}, "temperature": 0}), true),
            (json!({"tools": [], "tool_choice": "auto", "n": 1, "logprobs": false, "service_tier": "flex"}), true),
            (json!({"max_tokens": 12, "max_completion_tokens": null, "stop": null, "user": "u"}), true),
            (json!({"max_tokens": 11}), false),
            (json!({"max_completion_tokens": 11, "max_tokens": 99}), false),
            (json!({"n": 2}), false),
            (json!({"tool_choice": "required"}), false),
            (json!({"logprobs": true}), false),
            (json!({"stop": "x"}), false),
            (json!({"store": true}), false),
            (json!({"audio": {"format": "mp3"}}), false),
            (json!({"of_next_year": 1}), false),
        ] {
            assert_eq!(read(&members).allows(12), allowed, "{members}");
        }
    }

    #[test]
    fn reserved_tokens_match_recordings_with_and_without_a_built_prompt() {
        let user = |content: Value| json!({"role": "user", "content": content});
        let letters = |chars: usize| user("é".repeat(chars).into());
        let seen = json!([{"type": "text", "text": "four"}, {"type": "image_url", "image_url": {"url": "u"}}]);
        for (body, input, output) in [
            (json!({"messages": [letters(18)]}), 7, 0),
            (json!({"messages": [letters(84), letters(84)]}), 45, 0),
            (json!({"messages": [letters(34)]}), 11, 0),
            (json!({"messages": [letters(18)], "max_tokens": 50}), 7, 50),
            (json!({"messages": [letters(18)], "max_tokens": 50, "max_completion_tokens": 9, "n": 3}), 7, 27),
            (json!({"messages": [letters(52)], "tools": [{"type": "function", "function": {"name": "f"}}]}), 15, 0),
            (json!({"messages": [user(seen)]}), 768, 0),
            (json!({"messages": [user(Value::Null), user("a\n\"".into())], "n": 500}), 4, 0),
            (json!({}), 1, 0),
        ] {
            let text = body.to_string();
            let document = json::Document::read(text.as_bytes()).unwrap();
            let members = document.members();
            assert_eq!(cost(members), Cost { input, output }, "{body}");
            assert_eq!(prompt(members, String::new()).cost(), Cost { input, output }, "{body}");
        }
    }
}
