//! Parsing of a run: its instructions, the messages of its thread, and its tool outputs.

use std::sync::Arc;

use serde_json::Value;

use super::outputs;
use crate::{
    core::{
        json,
        prompt::{Prompt, Role, Turn},
    },
    protocol::openai::chat::read::{format, list, tools},
};

/// See [`crate::protocol::Reader::prompt`]. The first of `earlier` is the run, once it is loaded.
pub(super) fn prompt(body: json::Object<'_>, earlier: &[Arc<Value>]) -> Prompt {
    let (run, earlier) = earlier.split_first().map_or((&Value::Null, earlier), |(run, earlier)| (&**run, earlier));
    let value = |name: &str| run.get(name).filter(|value| !value.is_null()).cloned();
    let text = |name: &str| run[name].as_str().unwrap_or_default();
    let mut turns = Vec::new();
    if !text("instructions").is_empty() {
        turns.push(Turn { role: Role::System, text: text("instructions").to_owned(), ..Turn::default() });
    }
    for before in earlier {
        turns.extend(list(before.get("messages").cloned()).iter().map(turn));
        for step in list(before.get("steps").cloned()) {
            let calls = list(step["step_details"].get("tool_calls").cloned());
            if !calls.is_empty() {
                turns.push(Turn { role: Role::Assistant, ..Turn::default() });
            }
            turns.extend(calls.iter().filter_map(|call| Some(tool_output(call["function"]["output"].as_str()?))));
        }
    }
    let outputs = outputs(body).unwrap_or_default();
    turns.extend(outputs.iter().map(|output| tool_output(output["output"].as_str().unwrap_or_default())));
    let (tools, tool_choice) = tools(&value);
    Prompt {
        model: text("model").to_owned(),
        turns,
        tools,
        tool_choice,
        parallel_tool_calls: run["parallel_tool_calls"].as_bool().unwrap_or(true),
        format: format(value("response_format")),
        max_tokens: run["max_completion_tokens"].as_u64(),
        n: 1,
        reasoning_effort: value("reasoning_effort").and_then(|effort| effort.as_str().map(str::to_owned)),
        ..Prompt::default()
    }
}

fn tool_output(text: &str) -> Turn {
    Turn { role: Role::Tool, text: text.to_owned(), ..Turn::default() }
}

/// Converts a message of the thread.
fn turn(message: &Value) -> Turn {
    let parts = list(message.get("content").cloned());
    let texts = parts.iter().filter_map(|part| part["text"]["value"].as_str().or(part["text"].as_str()));
    let images = parts.iter().filter(|part| part["type"].as_str().is_some_and(|kind| kind.starts_with("image_")));
    Turn {
        role: if message["role"] == "assistant" { Role::Assistant } else { Role::User },
        text: texts.collect::<Vec<_>>().join("\n"),
        images: images.count() as u64,
        ..Turn::default()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::core::{context::tests::with_context_of, prompt::ToolChoice};

    #[test]
    fn a_run_is_read_from_its_thread_and_its_tool_outputs() {
        let run = json!({
            "model": "m", "instructions": "Be kind.", "max_completion_tokens": 300, "tool_choice": "required",
            "tools": [{"type": "function", "function": {"name": "f"}}],
        });
        let message = |role: &str, content: Value| json!({"role": role, "content": content});
        let text = |text: &str| json!({"type": "text", "text": {"value": text, "annotations": []}});
        let called = json!({"function": {"name": "f", "arguments": "{}", "output": "warm"}});
        let earlier = json!({
            "messages": [
                message("user", json!([text("Hi"), {"type": "image_file"}, {"type": "text", "text": "there"}])),
                message("assistant", json!([text("Hello")])),
            ],
            "steps": [
                {"step_details": {"type": "message_creation"}},
                {"step_details": {"type": "tool_calls", "tool_calls": [called]}},
            ],
        });
        let prompt = with_context_of(r#"{"tool_outputs": [{"tool_call_id": "c", "output": "cold"}]}"#, |context| {
            prompt(context.members().unwrap(), &[Arc::new(run), Arc::new(earlier)])
        });
        let turns: Vec<_> = prompt.turns.iter().map(|turn| (turn.role, turn.text.as_str(), turn.images)).collect();
        assert_eq!(
            turns,
            [
                (Role::System, "Be kind.", 0),
                (Role::User, "Hi\nthere", 1),
                (Role::Assistant, "Hello", 0),
                (Role::Assistant, "", 0),
                (Role::Tool, "warm", 0),
                (Role::Tool, "cold", 0),
            ]
        );
        assert_eq!((prompt.max_tokens, prompt.tool_choice), (Some(300), ToolChoice::Required));
        assert!(prompt.tools.len() == 1 && prompt.model == "m");
    }

    #[test]
    fn bad_input_is_read_as_nothing() {
        for value in [json!(null), json!(1), json!([1]), json!({"messages": 1, "steps": [1], "tools": {}})] {
            with_context_of(r#"{"tool_outputs": [7, {}]}"#, |context| {
                let earlier = [Arc::new(value.clone()), Arc::new(value)];
                assert_eq!(prompt(context.members().unwrap(), &earlier).turns.len(), 2);
            });
        }
    }
}
