//! The rules of tool blocks in a conversation. The texts are Bedrock's, as public reports of 2025 and 2026 have them.

use crate::core::{
    error::ApiError,
    json::{self, Kind},
};

/// The tool blocks of a message.
#[derive(Default)]
struct ToolBlocks {
    /// The ids of calls.
    calls: Vec<String>,
    /// The ids of the calls that results are for.
    results: Vec<String>,
    /// Index of the first block that is a result with an error and without content.
    empty_error: Option<usize>,
}

impl ToolBlocks {
    fn read(message: json::Object<'_>) -> Self {
        let mut blocks = ToolBlocks::default();
        let mut index = 0;
        let Some(content) = message.get("content") else { return blocks };
        content.each(|block| {
            let block = block.members().unwrap_or_default();
            let inside = |name| block.get(name).and_then(json::Value::members);
            let id = |of: json::Object<'_>| {
                of.get("toolUseId").and_then(json::Value::as_str).unwrap_or_default().into_owned()
            };
            blocks.calls.extend(inside("toolUse").map(id));
            if let Some(result) = inside("toolResult") {
                blocks.results.push(id(result));
                let is_error = result.get("status").is_some_and(|status| status.text() == br#""error""#);
                if is_error && result.get("content").is_none_or(|content| content.items().is_empty()) {
                    blocks.empty_error.get_or_insert(index);
                }
            }
            index += 1;
        });
        blocks
    }
}

fn broken(problem: impl Into<String>) -> Result<(), ApiError> {
    Err(ApiError::BrokenRule { problem: problem.into() })
}

/// Checks that calls and results are pairs, and that a conversation with them has a configuration of tools.
pub(super) fn check_tool_blocks(body: json::Object<'_>) -> Result<(), ApiError> {
    let Some(messages) = body.get("messages") else { return Ok(()) };
    let has_config = body.get("toolConfig").is_some_and(|config| config.kind() != Kind::Null);
    let mut result = Ok(());
    let mut before = ToolBlocks::default();
    let mut n = 0;
    messages.each(|message| {
        if result.is_ok() {
            let blocks = ToolBlocks::read(message.members().unwrap_or_default());
            result = check_message(n, &blocks, &before, has_config);
            before = blocks;
        }
        n += 1;
    });
    result
}

fn check_message(n: usize, blocks: &ToolBlocks, before: &ToolBlocks, has_config: bool) -> Result<(), ApiError> {
    if !has_config && (!blocks.calls.is_empty() || !blocks.results.is_empty()) {
        return broken("The toolConfig field must be defined when using toolUse and toolResult content blocks.");
    }
    if let Some(at) = blocks.empty_error {
        let place = format!("messages.{n}.content.{at}.toolResult");
        return broken(format!("The content field at {place} cannot be empty when status value is error."));
    }
    if blocks.results.len() > before.calls.len() {
        return broken(format!(
            "The number of toolResult blocks at messages.{n}.content exceeds the number of toolUse blocks of previous \
             turn."
        ));
    }
    let open: Vec<_> = before.calls.iter().filter(|id| !blocks.results.contains(id)).map(String::as_str).collect();
    if !open.is_empty() {
        let ids = open.join(", ");
        return broken(format!("Expected toolResult blocks at messages.{n}.content for the following Ids: {ids}"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn problem(messages: &[&Value], has_config: bool) -> String {
        let mut body = json!({ "messages": messages });
        if has_config {
            body["toolConfig"] = json!({"tools": [{"toolSpec": {"name": "f", "inputSchema": {"json": {}}}}]});
        }
        let text = body.to_string();
        match check_tool_blocks(json::Document::read(text.as_bytes()).unwrap().members()) {
            Ok(()) => String::new(),
            Err(ApiError::BrokenRule { problem }) => problem,
            Err(other) => panic!("{other:?}"),
        }
    }

    #[test]
    fn calls_and_results_are_pairs() {
        let user = json!({"role": "user", "content": [{"text": "hi"}]});
        let call = |ids: &[&str]| {
            let block = |id: &&str| json!({"toolUse": {"toolUseId": id, "name": "f", "input": {}}});
            json!({"role": "assistant", "content": ids.iter().map(block).collect::<Vec<_>>()})
        };
        let result = |ids: &[&str]| {
            let block = |id: &&str| json!({"toolResult": {"toolUseId": id, "content": [{"text": "r"}]}});
            json!({"role": "user", "content": ids.iter().map(block).collect::<Vec<_>>()})
        };
        let (one, two) = (call(&["t1"]), call(&["t1", "t2"]));
        let (of_one, of_two) = (result(&["t1"]), result(&["t1", "t2"]));
        for messages in [&[&user][..], &[&user, &one, &of_one], &[&user, &two, &of_two, &one, &of_one], &[&user, &one]]
        {
            assert_eq!(problem(messages, true), "", "{messages:?}");
        }
        let failed = |content: Value| {
            let failed = json!({"toolUseId": "t1", "status": "error", "content": content});
            json!({"role": "user", "content": [{"text": "sorry"}, {"toolResult": failed}]})
        };
        assert_eq!(problem(&[&user, &one, &failed(json!([{"text": "why"}]))], true), "");
        let empty = "The content field at messages.2.content.1.toolResult cannot be empty when status value is error.";
        assert_eq!(problem(&[&user, &one, &failed(json!([]))], true), empty);
        let many = "The number of toolResult blocks at messages.2.content exceeds";
        assert!(problem(&[&user, &one, &of_two], true).starts_with(many));
        assert!(problem(&[&of_one], true).contains("messages.0.content exceeds"));
        let expected = "Expected toolResult blocks at messages.2.content for the following Ids: ";
        assert_eq!(problem(&[&user, &one, &user], true), format!("{expected}t1"));
        assert_eq!(problem(&[&user, &two, &of_one], true), format!("{expected}t2"));
        assert_eq!(problem(&[&user, &two, &user], true), format!("{expected}t1, t2"));
    }

    #[test]
    fn tool_blocks_need_a_configuration_of_tools() {
        let user = json!({"role": "user", "content": [{"text": "hi"}]});
        let call = json!({"role": "assistant", "content": [{"toolUse": {"toolUseId": "t", "name": "f", "input": {}}}]});
        assert_eq!(problem(&[&user], false), "");
        assert!(problem(&[&user, &call], false).starts_with("The toolConfig field must be defined"));
    }
}
