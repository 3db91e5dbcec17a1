//! Parsing of Ollama's requests. Tools have OpenAI's form.

use serde_json::Value;

use crate::protocol::ReadyMade;
use crate::{
    core::{
        json,
        prompt::{Format, Prompt, Role, Turn},
    },
    protocol::openai::chat::read::{list, tools, turn},
};

/// Members that never change a reply. [`ready_made`] has the rules for further members.
const IGNORED: [&[u8]; 12] = [
    b"model",
    b"messages",
    b"prompt",
    b"suffix",
    b"images",
    b"system",
    b"template",
    b"context",
    b"raw",
    b"stream",
    b"keep_alive",
    b"tools",
];

/// Returns the ready-made replies that a request can be answered with, if it is no request to load the model.
pub(super) fn ready_made(body: json::Object<'_>) -> ReadyMade {
    ReadyMade::of(body, |key, value| match key {
        b"options" => ReadyMade::of(value.members().unwrap_or_default(), |key, value| match key {
            b"stop" => ReadyMade::None,
            // A negative number is no limit.
            b"num_predict" => value.as_u64().map_or(ReadyMade::All, ReadyMade::UpTo),
            _ => ReadyMade::All,
        }),
        b"format" | b"think" => ReadyMade::all_if(matches!(value.text(), b"false" | b"\"\"")),
        key => ReadyMade::all_if(IGNORED.contains(&key)),
    })
}

/// Returns true if a `generate` request has a prompt. One without only loads or unloads the model.
pub(super) fn has_prompt(body: json::Object<'_>) -> bool {
    body.get("prompt").is_some_and(|prompt| prompt.as_str().is_some_and(|prompt| !prompt.is_empty()))
}

/// Returns true if a request without a prompt unloads the model: `keep_alive` is a time of zero, such as `0` or `0s`.
pub(super) fn unloads(body: json::Object<'_>) -> bool {
    let Some(keep_alive) = body.get("keep_alive") else { return false };
    let is_zero = |time: &str| time.contains('0') && !time.contains(|digit| ('1'..='9').contains(&digit));
    match keep_alive.as_str() {
        Some(time) => is_zero(&time),
        None => std::str::from_utf8(keep_alive.text()).is_ok_and(is_zero),
    }
}

/// Parses a `chat` request.
pub(super) fn chat(body: json::Object<'_>, model: String) -> Prompt {
    let value = |name: &str| body.get(name).and_then(json::Value::to_value).filter(|value| !value.is_null());
    let messages = body.get("messages").map(json::Value::items).unwrap_or_default();
    let messages = messages.into_iter().map(|message| message.members().unwrap_or_default());
    let images = |message: json::Object<'_>| message.get("images").map_or(0, |images| images.items().len() as u64);
    let (tools, tool_choice) = tools(&|name| value(name).filter(|_| name == "tools"));
    Prompt {
        turns: messages.map(|message| Turn { images: images(message), ..turn(message) }).collect(),
        tools,
        tool_choice,
        ..options(body, model)
    }
}

/// Parses a `generate` request.
pub(super) fn generate(body: json::Object<'_>, model: String) -> Prompt {
    let text = |name: &str| body.get(name)?.as_str().map(|text| text.into_owned());
    let system = text("system").map(|text| Turn { role: Role::System, text, ..Turn::default() });
    let images = body.get("images").map_or(0, |images| images.items().len() as u64);
    let user = Turn { text: text("prompt").unwrap_or_default(), images, ..Turn::default() };
    let turns = system.into_iter().chain([user]).collect();
    Prompt { turns, parallel_tool_calls: false, ..options(body, model) }
}

/// Parses the options of both requests.
fn options(body: json::Object<'_>, model: String) -> Prompt {
    let options = body.get("options").and_then(json::Value::to_value).unwrap_or_default();
    let think = body.get("think").and_then(json::Value::to_value).unwrap_or_default();
    let effort = match &think {
        Value::String(effort) => Some(effort.clone()),
        Value::Bool(true) => Some("medium".to_owned()),
        _ => None,
    };
    Prompt {
        model,
        parallel_tool_calls: true,
        format: match body.get("format").and_then(json::Value::to_value) {
            Some(Value::String(format)) if format == "json" => Format::JsonObject,
            Some(schema @ Value::Object(_)) => Format::JsonSchema(schema),
            _ => Format::Text,
        },
        // Negative numbers mean no limit.
        max_tokens: options["num_predict"].as_u64(),
        n: 1,
        stop: match &options["stop"] {
            Value::String(stop) => vec![stop.clone()],
            stops => list(Some(stops.clone())).iter().filter_map(|stop| Some(stop.as_str()?.to_owned())).collect(),
        },
        seed: options["seed"].as_i64().map(|seed| seed as u64),
        show_reasoning: effort.is_some(),
        reasoning_effort: effort,
        ..Prompt::default()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::core::json;

    fn with<T>(body: &Value, read: impl FnOnce(json::Object<'_>) -> T) -> T {
        read(json::Document::read(body.to_string().as_bytes()).unwrap().members())
    }

    #[test]
    fn messages_prompts_and_options_are_parsed() {
        let schema = json!({"type": "object"});
        let body = json!({
            "messages": [{"role": "user", "content": "see", "images": ["a", "b"]}, {"role": "tool", "content": "sun"}],
            "tools": [{"type": "function", "function": {"name": "f", "parameters": schema}}], "format": schema,
            "options": {"num_predict": 7, "stop": ["x"], "seed": -1}, "think": "low",
        });
        let prompt = with(&body, |body| chat(body, "m".to_owned()));
        assert_eq!((prompt.turns[0].images, prompt.turns[1].role, prompt.tools.len()), (2, Role::Tool, 1));
        assert_eq!(
            (prompt.format, prompt.max_tokens, prompt.stop),
            (Format::JsonSchema(schema), Some(7), vec!["x".into()])
        );
        assert_eq!((prompt.seed, prompt.reasoning_effort.as_deref()), (Some(u64::MAX), Some("low")));
        let prompt = with(&json!({"prompt": "Hi", "system": "be brief", "format": "json"}), |body| {
            generate(body, "m".to_owned())
        });
        assert_eq!(
            (prompt.system().as_str(), prompt.last_user(), &prompt.format),
            ("be brief", "Hi", &Format::JsonObject)
        );
    }

    #[test]
    fn requests_that_change_no_reply_are_plain() {
        for (body, plain) in [
            (
                json!({"messages": [1], "options": {"num_predict": 10, "temperature": 1}, "think": false, "format": ""}),
                true,
            ),
            (json!({"options": {"num_predict": -1}}), true),
            (json!({"options": {"num_predict": 9}}), false),
            (json!({"options": {"stop": "x"}}), false),
            (json!({"format": "json"}), false),
            (json!({"think": true}), false),
            (json!({"of_next_year": 1}), false),
        ] {
            assert_eq!(with(&body, ready_made).allows(10), plain, "{body}");
        }
    }

    #[test]
    fn wrong_types_do_not_panic() {
        for (value, turns) in [(json!(null), [&[][..], &[""]]), (json!(1), [&[], &[""]]), (json!([1]), [&[""], &[""]])]
        {
            let all = ["messages", "tools", "format", "options", "think", "prompt", "system", "images"];
            let body: serde_json::Map<_, _> = all.iter().map(|name| (name.to_string(), value.clone())).collect();
            let body = Value::from(body);
            for (read, turns) in [chat, generate].into_iter().zip(turns) {
                let prompt = with(&body, |body| read(body, String::new()));
                let texts: Vec<_> = prompt.turns.iter().map(|turn| turn.text.as_str()).collect();
                assert_eq!(texts, turns, "{value}");
                // All but the turns and tools is as in an empty request.
                let (turns, tools) = (prompt.turns.clone(), prompt.tools.clone());
                assert!(tools.iter().all(|tool| tool.name.is_empty()) && tools.len() <= 1, "{value}");
                let empty = Prompt { turns, tools, ..with(&json!({}), |body| read(body, String::new())) };
                assert_eq!(format!("{prompt:?}"), format!("{empty:?}"), "{value}");
            }
            assert!(!with(&body, has_prompt), "{value}");
        }
        for (value, effort, format) in
            [(json!("x"), Some("x"), Format::Text), (json!({"stop": 1}), None, Format::JsonSchema(json!({"stop": 1})))]
        {
            let body = json!({"messages": value, "tools": value, "format": value, "options": value, "think": value});
            let prompt = with(&body, |body| chat(body, String::new()));
            assert_eq!((prompt.reasoning_effort.as_deref(), prompt.format), (effort, format), "{value}");
            assert!(prompt.turns.is_empty() && prompt.tools.is_empty() && prompt.stop.is_empty(), "{value}");
        }
    }
}
