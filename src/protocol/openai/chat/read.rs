//! Parsing of a chat request.

use serde_json::Value;

use crate::{
    core::{
        json::{self, KeyFilter},
        limit_status::Cost,
        prompt::{Format, Prompt, Role, Tool, ToolChoice, Turn, reserved_cost},
        reply::ToolKind,
    },
    media::silence,
};

/// Members that change a reply whenever they are set.
const CHANGES: [&str; 11] = [
    "stop",
    "functions",
    "function_call",
    "response_format",
    "modalities",
    "audio",
    "prediction",
    "web_search_options",
    "reasoning_effort",
    "top_logprobs",
    "store",
];
/// The same members, and others that change a reply with some values.
const MAY_CHANGE: [KeyFilter; 2] =
    [KeyFilter::of(&CHANGES), KeyFilter::of(&["n", "logprobs", "max_tokens", "max_completion_tokens", "tool_choice"])];

/// See [`super::Protocol::is_plain`].
pub(super) fn is_plain(body: json::Object<'_>, tokens: u64) -> bool {
    let given = |name: &str| body.get(name).filter(|value| !matches!(value.text(), b"null" | b"false"));
    let [changes, may_change] = MAY_CHANGE;
    if body.may_have(changes) && CHANGES.iter().any(|name| given(name).is_some()) {
        return false;
    }
    if !body.may_have(may_change) {
        return true;
    }
    let room = |name| given(name).is_none_or(|most| most.as_u64().is_some_and(|most| most >= tokens));
    given("n").is_none_or(|n| n.text() == b"1")
        && given("logprobs").is_none()
        && room("max_tokens")
        && room("max_completion_tokens")
        && given("tool_choice").is_none_or(|choice| matches!(choice.text(), br#""auto""# | br#""none""#))
}

/// See [`super::Protocol::read`].
pub(super) fn prompt(body: json::Object<'_>, model: String) -> Prompt {
    let value = |name: &str| body.get(name).and_then(json::Value::to_value).filter(|value| !value.is_null());
    let text = |name: &str| body.get(name)?.as_str().map(|text| text.into_owned());
    let number = |name: &str| body.get(name).and_then(json::Value::as_u64);
    let flag = |name: &str| body.get(name).and_then(json::Value::as_bool);
    let (tools, tool_choice) = tools(&value);
    let modalities = value("modalities");
    Prompt {
        model,
        turns: list(value("messages")).iter().map(turn).collect(),
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
        prediction: value("prediction").map(|prediction| content(&prediction["content"]).0),
        web_search: value("web_search_options").is_some(),
        show_reasoning: false,
        audio: list(modalities).iter().any(|modality| modality == "audio"),
    }
}

/// Returns the cost of [`prompt`] without building it: limits are checked before the request is read.
pub(super) fn cost(body: json::Object<'_>) -> Cost {
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

/// Converts a message. Other protocols share its shape.
pub(in crate::protocol) fn turn(message: &Value) -> Turn {
    let role = match message["role"].as_str() {
        Some("system" | "developer") => Role::System,
        Some("assistant") => Role::Assistant,
        Some("tool" | "function") => Role::Tool,
        _ => Role::User,
    };
    let (text, images) = content(&message["content"]);
    Turn { role, text, images, name: message["name"].as_str().map(str::to_owned) }
}

/// Returns the text and the number of images of a message's content, which is a string or parts.
fn content(content: &Value) -> (String, u64) {
    match content {
        Value::Array(parts) => {
            let texts: Vec<_> = parts.iter().filter_map(|part| part["text"].as_str()).collect();
            let images = parts.iter().filter(|part| part["type"] == "image_url").count();
            (texts.join("\n"), images as u64)
        }
        content => (string(content), 0),
    }
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

/// The response options of a request.
#[derive(Clone, Copy, Debug)]
pub(super) struct ChatOptions<'a> {
    /// Options of the stream. `None`: a full response.
    pub(super) stream: Option<StreamOptions>,
    /// Number of alternatives to each token. `None`: no log probabilities.
    pub(super) logprobs: Option<u64>,
    /// Format of audio output.
    pub(super) audio_format: silence::Format,
    /// True if the response is stored.
    pub(super) store: bool,
    /// The requested service tier.
    pub(super) tier: Option<json::Value<'a>>,
}

impl Default for ChatOptions<'_> {
    fn default() -> Self {
        ChatOptions { stream: None, logprobs: None, audio_format: silence::Format::Wav, store: false, tier: None }
    }
}

/// The `stream_options` of a request.
#[derive(Clone, Copy, Debug)]
pub(super) struct StreamOptions {
    pub(super) include_usage: bool,
    pub(super) include_obfuscation: bool,
}

impl Default for StreamOptions {
    fn default() -> Self {
        StreamOptions { include_usage: false, include_obfuscation: true }
    }
}

/// Members that are response options.
const OPTION_KEYS: KeyFilter =
    KeyFilter::of(&["stream", "stream_options", "logprobs", "top_logprobs", "store", "service_tier", "audio"]);

impl<'a> ChatOptions<'a> {
    /// Parses the response options of a request.
    pub(super) fn read(body: json::Object<'a>) -> Self {
        if !body.may_have(OPTION_KEYS) {
            return ChatOptions::default();
        }
        let is_true = |value: json::Value<'_>| value.as_bool() == Some(true);
        let (mut streamed, mut stream_options, mut logprobs, mut top) = (false, None, false, None);
        let mut options = ChatOptions::default();
        for (key, value) in body.iter() {
            match key {
                b"stream" => streamed = is_true(value),
                b"stream_options" => stream_options = value.members(),
                b"logprobs" => logprobs = is_true(value),
                b"top_logprobs" => top = value.as_u64(),
                b"store" => options.store = is_true(value),
                b"service_tier" => options.tier = Some(value),
                b"audio" => {
                    let format = value.members().and_then(|audio| audio.get("format")?.as_str());
                    let format = format.and_then(|name| silence::Format::named(&name));
                    options.audio_format = format.unwrap_or(silence::Format::Wav);
                }
                _ => {}
            }
        }
        if streamed {
            let option = |name, default| stream_options.and_then(|list| list.get(name)?.as_bool()).unwrap_or(default);
            let StreamOptions { include_usage, include_obfuscation } = StreamOptions::default();
            options.stream = Some(StreamOptions {
                include_usage: option("include_usage", include_usage),
                include_obfuscation: option("include_obfuscation", include_obfuscation),
            });
        }
        options.logprobs = logprobs.then(|| top.unwrap_or(0).min(20));
        options
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::core::json;

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
