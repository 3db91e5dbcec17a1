//! Rules of a response request beyond types and bounds of single members. The first violation is reported.

use std::collections::HashSet;

use crate::core::{
    context::RequestContext,
    error::ApiError,
    json::{self, Kind},
};

/// See [`crate::protocol::Reader::check`].
pub(super) fn check(body: json::Object<'_>, context: &RequestContext<'_>) -> Result<(), ApiError> {
    let given = |name: &str| body.get(name).filter(|value| value.kind() != Kind::Null);
    capabilities(&given, context)?;
    if given("conversation").is_some() && given("previous_response_id").is_some() {
        return Err(ApiError::Excludes { param: "conversation", other: "previous_response_id" });
    }
    if let Some(choice) = given("tool_choice").filter(|choice| choice.text() != br#""none""#) {
        let forces = choice.text() != br#""auto""#;
        if forces && given("tools").is_none_or(|tools| tools.items().is_empty()) {
            return Err(ApiError::NeedsOther { param: "tool_choice", other: "tools" });
        }
    }
    let json_format = || {
        let format = given("text")?.members()?.get("format")?.members()?;
        format.get("type").filter(|kind| kind.text() == br#""json_object""#)
    };
    let input = given("input");
    if json_format().is_some() && ![input, given("instructions")].into_iter().flatten().any(mentions_json) {
        return Err(ApiError::NoJsonWord {});
    }
    match input {
        Some(input) if input.kind() == Kind::Array => {
            items(input, given("previous_response_id").or(given("conversation")).is_some())
        }
        _ => Ok(()),
    }
}

fn capabilities<'a>(
    given: &dyn Fn(&str) -> Option<json::Value<'a>>,
    context: &RequestContext<'_>,
) -> Result<(), ApiError> {
    let Some(facts) = context.model_facts() else { return Ok(()) };
    let unsupported = |param: &str| Err(ApiError::UnsupportedParameter { param: param.to_owned(), instead: "" });
    if facts.reasoning {
        for param in ["temperature", "top_p"] {
            if given(param).is_some_and(|value| value.as_f64() != Some(1.0)) {
                return unsupported(param);
            }
        }
    } else if given("reasoning").and_then(|reasoning| reasoning.members()?.get("effort")?.as_str()).is_some() {
        return unsupported("reasoning.effort");
    }
    match given("max_output_tokens").and_then(json::Value::as_u64) {
        Some(requested) => facts.check_max_tokens("max_output_tokens", requested),
        None => Ok(()),
    }
}

fn mentions_json(value: json::Value<'_>) -> bool {
    value.text().windows(4).any(|word| word.eq_ignore_ascii_case(b"json"))
}

/// The members of an item that the rules of conversations need.
struct Item {
    kind: String,
    id: String,
    call_id: String,
    /// True if the item can follow reasoning: the model's output, not a tool's.
    by_model: bool,
}

/// Checks the shape of input items, and the items that must follow reasoning and tool calls. With `follows`, calls may
/// have been made in an earlier request.
fn items(input: json::Value<'_>, follows: bool) -> Result<(), ApiError> {
    let mut list = Vec::new();
    for (n, item) in input.items().into_iter().enumerate() {
        let path = format!("input[{n}]");
        let Some(members) = item.members() else {
            let (expected, wanted) = ("an input item".to_owned(), "object");
            return Err(ApiError::InvalidType { param: path, expected, wanted, got: item.kind().noun() });
        };
        let text = |name: &str| members.get(name).and_then(json::Value::as_str).unwrap_or_default().into_owned();
        let kind = if members.get("type").is_some() { text("type") } else { "message".to_owned() };
        let needed: &[&str] = match kind.as_str() {
            "message" => &["role", "content"],
            "function_call_output" | "custom_tool_call_output" => &["call_id", "output"],
            "reasoning" => &["summary"],
            _ => &[],
        };
        if let Some(missing) = needed.iter().find(|name| members.get(name).is_none()) {
            return Err(ApiError::MissingParameter { param: format!("{path}.{missing}") });
        }
        if kind == "message" && text("role") == "assistant" {
            model_content(members.get("content"), &path)?;
        }
        let by_model = if kind == "message" { text("role") == "assistant" } else { !kind.ends_with("_output") };
        list.push(Item { kind, id: text("id"), call_id: text("call_id"), by_model });
    }
    conversation(&list, follows)
}

/// Checks the content of an earlier turn of the model: it has parts of the model alone.
fn model_content(content: Option<json::Value<'_>>, path: &str) -> Result<(), ApiError> {
    let parts = content.filter(|content| content.kind() == Kind::Array).map(json::Value::items).unwrap_or_default();
    for (n, part) in parts.into_iter().enumerate() {
        let kind = part.members().and_then(|part| part.get("type")?.as_str()).unwrap_or_default();
        if kind.starts_with("input_") {
            return Err(ApiError::InvalidValue {
                param: format!("{path}.content[{n}]"),
                got: kind.into_owned(),
                supported: "'output_text' and 'refusal'".to_owned(),
                either: "'output_text' or 'refusal'".to_owned(),
            });
        }
    }
    Ok(())
}

/// Returns the call ids of the items of this kind.
fn calls<'a>(items: &'a [Item], kind: &'a str) -> impl Iterator<Item = &'a String> {
    items.iter().filter(move |item| item.kind == kind).map(|item| &item.call_id)
}

fn conversation(items: &[Item], follows: bool) -> Result<(), ApiError> {
    let broken = |problem: String| Err(ApiError::BrokenRule { problem });
    for (n, item) in items.iter().enumerate() {
        let is_followed = items.get(n + 1).is_some_and(|item| item.by_model);
        if item.kind == "reasoning" && !item.id.is_empty() && !is_followed {
            let id = &item.id;
            return broken(format!(
                "Item '{id}' of type 'reasoning' was provided without its required following item."
            ));
        }
    }
    for (kind, word) in [("function_call", "function call"), ("custom_tool_call", "custom tool call")] {
        let output = format!("{kind}_output");
        let ids = |kind| calls(items, kind);
        let (called, returned): (HashSet<_>, HashSet<_>) = (ids(kind).collect(), ids(&output).collect());
        if let Some(id) = ids(&output).find(|id| !follows && !called.contains(id)) {
            return broken(format!("No tool call found for {word} output with call_id {id}."));
        }
        if let Some(id) = ids(kind).find(|id| !returned.contains(id)) {
            return broken(format!("No tool output found for {word} {id}."));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::core::context::tests::with_context_of;

    fn refusal(body: &Value) -> Option<ApiError> {
        with_context_of(&body.to_string(), |context| check(context.members().unwrap(), context).err())
    }

    fn problem(input: &Value) -> Option<String> {
        match refusal(&json!({"input": input}))? {
            ApiError::BrokenRule { problem } => Some(problem),
            error => Some(format!("{} {}", error.kind(), error.param().unwrap_or_default())),
        }
    }

    #[test]
    fn valid_requests_pass() {
        let call = json!({"type": "function_call", "call_id": "c", "name": "f", "arguments": "{}"});
        let output = json!({"type": "function_call_output", "call_id": "c", "output": "x"});
        let reasoning = json!({"type": "reasoning", "id": "rs_1", "summary": []});
        assert_eq!(refusal(&json!({"input": [{"role": "user", "content": "Hi"}, reasoning, call, output]})), None);
        assert_eq!(refusal(&json!({"input": [output], "previous_response_id": "resp_1"})), None);
        assert_eq!(refusal(&json!({"input": "Hi", "tool_choice": "none", "text": {"format": {"type": "text"}}})), None);
    }

    #[test]
    fn the_first_violation_is_reported() {
        for (input, expected) in [
            (json!(["Hi"]), "invalid_type input[0]"),
            (json!([{"content": "Hi"}]), "missing_parameter input[0].role"),
            (json!([{"role": "user"}]), "missing_parameter input[0].content"),
            (json!([{"type": "function_call_output", "output": ""}]), "missing_parameter input[0].call_id"),
            (json!([{"type": "reasoning", "id": "rs_1"}]), "missing_parameter input[0].summary"),
            (
                json!([{"role": "assistant", "content": [{"type": "input_text", "text": "Hi"}]}]),
                "invalid_value input[0].content[0]",
            ),
            (
                json!([{"type": "function_call_output", "call_id": "c", "output": ""}]),
                "No tool call found for function call output with call_id c.",
            ),
            (json!([{"type": "custom_tool_call", "call_id": "c"}]), "No tool output found for custom tool call c."),
            (
                json!([{"type": "reasoning", "id": "rs_1", "summary": []}]),
                "Item 'rs_1' of type 'reasoning' was provided without its required following item.",
            ),
        ] {
            assert_eq!(problem(&input).as_deref(), Some(expected), "{input}");
        }
        let kind = |body: Value| refusal(&body).map(|error| error.kind());
        assert_eq!(kind(json!({"input": "x", "tool_choice": "required"})), Some("needs_other"));
        assert_eq!(kind(json!({"input": "x", "text": {"format": {"type": "json_object"}}})), Some("no_json_word"));
        assert_eq!(kind(json!({"input": "x", "conversation": "conv_1"})), None);
        let both = json!({"input": "x", "conversation": {"id": "conv_1"}, "previous_response_id": "resp_1"});
        assert_eq!(kind(both), Some("excludes"));
    }
}
