//! The rules of message requests beyond types and bounds of single members. The first broken rule is reported. Rules
//! that only Anthropic has use Anthropic's texts.

use std::collections::HashSet;

use serde_json::Value;

use crate::core::{
    context::RequestContext,
    error::ApiError,
    json::{self, Kind},
};

/// Link to the rules of extended thinking, as Anthropic's errors contain it.
const DOCS: &str =
    "Please consult our documentation at https://docs.claude.com/en/docs/build-with-claude/extended-thinking";

/// See [`crate::protocol::Reader::check`].
pub(super) fn check(body: json::Object<'_>, context: &RequestContext<'_>) -> Result<(), ApiError> {
    let given = |name: &str| body.get(name).filter(|value| value.kind() != Kind::Null);
    // The SDK's tool runner sends a thread. After this error it sends all messages instead.
    if given("thread").is_some() {
        return Err(ApiError::NoMemory { param: "thread" });
    }
    let max_tokens = given("max_tokens").and_then(json::Value::as_u64);
    if let (Some(requested), Some(facts)) = (max_tokens, context.model_facts()) {
        facts.check_max_tokens("max_tokens", requested)?;
    }
    let takes_one = || context.model_facts().is_some_and(|facts| facts.one_sampler);
    if given("temperature").is_some() && given("top_p").is_some() && takes_one() {
        return broken("`temperature` and `top_p` cannot both be specified for this model. Please use only one.");
    }
    let choice = given("tool_choice").and_then(json::Value::to_value).unwrap_or_default();
    let tools = given("tools").and_then(json::Value::to_value).unwrap_or_default();
    let tools = tools.as_array().map_or(&[][..], Vec::as_slice);
    check_tools(tools, &choice)?;
    if let Some(thinking) = given("thinking").and_then(json::Value::to_value) {
        check_thinking(&thinking, max_tokens, given("temperature").and_then(json::Value::as_f64), &choice)?;
    }
    let takes_system = takes_system_messages(&context.model());
    given("messages").map_or(Ok(()), |messages| check_messages(messages, takes_system))
}

/// Returns true for models that take instructions between messages: from Claude Opus 4.8 and the fifth generation on, as
/// the SDKs of 2026 document it.
fn takes_system_messages(model: &str) -> bool {
    let Some((_, name)) = model.split_once("claude-") else { return false };
    let mut words = name.split(['-', '@', ':']);
    let family = words.next().unwrap_or_default();
    let mut numbers = words.map_while(|word| word.parse::<u32>().ok());
    // Numbers of eight digits are dates.
    let version = (numbers.next().unwrap_or(0), numbers.next().filter(|minor| *minor < 100).unwrap_or(0));
    version >= if family == "opus" { (4, 8) } else { (5, 0) } && version.0 < 100
}

fn broken(problem: impl Into<String>) -> Result<(), ApiError> {
    Err(ApiError::BrokenRule { problem: problem.into() })
}

fn missing(param: String) -> Result<(), ApiError> {
    Err(ApiError::MissingParameter { param })
}

fn check_tools(tools: &[Value], choice: &Value) -> Result<(), ApiError> {
    let mut names = HashSet::new();
    for (n, tool) in tools.iter().enumerate() {
        let name = tool["name"].as_str();
        // Tools with another type are Anthropic's own and have other members.
        if matches!(tool["type"].as_str(), None | Some("custom")) {
            check_custom(tool, name, &format!("tools[{n}].custom"))?;
        }
        if name.is_some_and(|name| !names.insert(name)) {
            return broken("tools: Tool names must be unique.");
        }
    }
    if choice.is_object() && tools.is_empty() && choice["type"] != "none" {
        return Err(ApiError::NeedsOther { param: "tool_choice", other: "tools" });
    }
    match (choice["type"].as_str(), choice["name"].as_str()) {
        (Some("tool"), None) => missing("tool_choice.tool.name".to_owned()),
        (Some("tool"), Some(name)) if !names.contains(name) => {
            broken(format!("Tool '{name}' not found in provided tools"))
        }
        _ => Ok(()),
    }
}

fn check_custom(tool: &Value, name: Option<&str>, place: &str) -> Result<(), ApiError> {
    let Some(name) = name else { return missing(format!("{place}.name")) };
    let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-');
    if !(1..=128).contains(&name.len()) || !name.chars().all(allowed) {
        let pattern = "^[a-zA-Z0-9_-]{1,128}$".to_owned();
        return Err(ApiError::PatternMismatch { param: format!("{place}.name"), pattern, got: name.to_owned() });
    }
    match tool.get("input_schema") {
        None => missing(format!("{place}.input_schema")),
        Some(schema) if schema.get("type").is_none() => missing(format!("{place}.input_schema.type")),
        Some(_) => Ok(()),
    }
}

fn check_thinking(
    thinking: &Value,
    max_tokens: Option<u64>,
    temperature: Option<f64>,
    choice: &Value,
) -> Result<(), ApiError> {
    /// Minimum budget, in tokens.
    const MIN_BUDGET: u64 = 1024;
    let enabled = thinking["type"] == "enabled";
    if enabled {
        let param = "thinking.enabled.budget_tokens".to_owned();
        let Some(budget) = thinking.get("budget_tokens") else { return missing(param) };
        let budget = budget.as_u64().filter(|budget| *budget >= MIN_BUDGET);
        let Some(budget) = budget else {
            let got = thinking["budget_tokens"].to_string();
            return Err(ApiError::BelowMinimum { param, noun: "integer", bound: MIN_BUDGET.to_string(), got });
        };
        if max_tokens.is_some_and(|most| most <= budget) {
            let rule = "`max_tokens` must be greater than `thinking.budget_tokens`.";
            return broken(format!("{rule} {DOCS}#max-tokens-and-context-window-size"));
        }
    }
    if !enabled && thinking["type"] != "adaptive" {
        return Ok(());
    }
    if temperature.is_some_and(|temperature| temperature != 1.0) {
        let rule = "`temperature` may only be set to 1 when thinking is enabled.";
        return broken(format!("{rule} {DOCS}#important-considerations-when-using-extended-thinking"));
    }
    match choice["type"].as_str() {
        Some("any" | "tool") => broken("Thinking may not be enabled when tool_choice forces tool use."),
        _ => Ok(()),
    }
}

/// The tool calls of the last assistant turn.
#[derive(Default)]
struct PendingCalls {
    /// Index of the message with the calls.
    message: usize,
    /// Ids of all calls of the turn.
    ids: Vec<String>,
    /// Ids of the calls without a result.
    open: Vec<String>,
}

impl PendingCalls {
    /// Checks that every call has a result.
    fn check_complete(&self) -> Result<(), ApiError> {
        if self.open.is_empty() {
            return Ok(());
        }
        Err(ApiError::ToolReplyMissing { param: format!("messages[{}]", self.message), ids: self.open.join(", ") })
    }
}

/// Checks that roles are known, contents are not empty, and every tool call is followed by its result. Adjacent
/// messages of one role count as one message.
fn check_messages(messages: json::Value<'_>, takes_system: bool) -> Result<(), ApiError> {
    let messages = messages.items();
    let mut calls = PendingCalls::default();
    for (n, message) in messages.iter().enumerate() {
        let Some(message) = message.members() else { continue };
        let role = message.get("role").and_then(json::Value::as_str).unwrap_or_default();
        let content = Content::read(message.get("content"));
        match &*role {
            "assistant" => {
                calls.check_complete()?;
                // The last message may be empty: the model continues it.
                if n + 1 < messages.len() {
                    content.check_not_empty(n)?;
                }
                let ids: Vec<_> = content.blocks("tool_use").filter_map(|(_, call)| text(call, "id")).collect();
                calls = PendingCalls { message: n, ids: ids.clone(), open: ids };
            }
            "user" => {
                content.check_not_empty(n)?;
                for (k, result) in content.blocks("tool_result") {
                    let id = text(result, "tool_use_id").unwrap_or_default();
                    if !calls.ids.contains(&id) {
                        return Err(ApiError::StrayToolReply { param: format!("messages[{n}].content[{k}]"), id });
                    }
                    calls.open.retain(|open| *open != id);
                }
            }
            // Instructions are no turn of their own.
            "system" if takes_system && n > 0 => content.check_not_empty(n)?,
            "system" => {
                return broken(
                    "messages: Unexpected role \"system\". The Messages API accepts a top-level `system` parameter, \
                     not \"system\" as an input message role.",
                );
            }
            other => {
                let (supported, either) = ("'user' and 'assistant'".to_owned(), "'user' or 'assistant'".to_owned());
                let (param, got) = (format!("messages[{n}].role"), other.to_owned());
                return Err(ApiError::InvalidValue { param, got, supported, either });
            }
        }
    }
    calls.check_complete()
}

fn text(members: json::Object<'_>, name: &str) -> Option<String> {
    Some(members.get(name)?.as_str()?.into_owned())
}

/// The content of a message.
struct Content<'a> {
    is_empty: bool,
    /// The blocks; none if the content is a string.
    blocks: Vec<json::Object<'a>>,
}

impl<'a> Content<'a> {
    fn read(content: Option<json::Value<'a>>) -> Self {
        let blocks: Vec<_> = content.map(json::Value::items).unwrap_or_default();
        let is_empty = content.is_some_and(|content| match content.kind() {
            Kind::String => content.text() == br#""""#,
            Kind::Array => blocks.is_empty(),
            _ => false,
        });
        Content { is_empty, blocks: blocks.into_iter().map(|block| block.members().unwrap_or_default()).collect() }
    }

    /// Returns the blocks of one type with their indices.
    fn blocks(&self, kind: &str) -> impl Iterator<Item = (usize, json::Object<'a>)> {
        let is = move |block: json::Object<'_>| {
            block.get("type").and_then(json::Value::as_str).is_some_and(|name| name == kind)
        };
        self.blocks.iter().copied().enumerate().filter(move |(_, block)| is(*block))
    }

    /// Checks that the message with index `n` has text.
    fn check_not_empty(&self, n: usize) -> Result<(), ApiError> {
        if self.is_empty {
            return broken(format!(
                "messages.{n}: all messages must have non-empty content except for the optional final assistant message"
            ));
        }
        let is_empty =
            |(_, block): (usize, json::Object<'_>)| block.get("text").is_some_and(|text| text.text() == br#""""#);
        if self.blocks("text").any(is_empty) {
            return broken("messages: text content blocks must be non-empty");
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::core::context::tests::with_context_of;

    fn rejection(members: Value) -> ApiError {
        let mut body = json!({"model": "m", "max_tokens": 2000, "messages": [{"role": "user", "content": "Hi"}]});
        body.as_object_mut().unwrap().extend(members.as_object().unwrap().clone());
        with_context_of(&body.to_string(), |context| check(context.members().unwrap(), context))
            .expect_err("a broken rule")
    }

    fn passes(messages: Value) {
        let body = json!({"model": "m", "max_tokens": 9, "messages": messages}).to_string();
        with_context_of(&body, |context| check(context.members().unwrap(), context)).unwrap();
    }

    fn problem(members: Value) -> String {
        match rejection(members) {
            ApiError::BrokenRule { problem } => problem,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn every_call_needs_a_result_in_the_next_turn() {
        let call = json!({"role": "assistant", "content": [{"type": "tool_use", "id": "a", "name": "f", "input": {}}]});
        let result = json!({"role": "user", "content": [{"type": "tool_result", "tool_use_id": "a", "content": "1"}]});
        let user = json!({"role": "user", "content": "Hi"});
        passes(json!([user, call, result]));
        passes(json!([user, call, user, result]));
        let missing = ApiError::ToolReplyMissing { param: "messages[1]".to_owned(), ids: "a".to_owned() };
        assert_eq!(rejection(json!({"messages": [user, call]})), missing);
        assert_eq!(rejection(json!({"messages": [user, call, user, call]})), missing);
        let stray = ApiError::StrayToolReply { param: "messages[0].content[0]".to_owned(), id: "a".to_owned() };
        assert_eq!(rejection(json!({"messages": [result]})), stray);
    }

    #[test]
    fn only_a_last_assistant_message_may_be_empty() {
        passes(json!([{"role": "user", "content": "Hi"}, {"role": "assistant", "content": ""}]));
        let empty = |content: Value| problem(json!({"messages": [{"role": "user", "content": content}]}));
        assert!(empty(json!("")).starts_with("messages.0: all messages must have non-empty content"));
        assert!(empty(json!([])).starts_with("messages.0: all messages must have non-empty content"));
        let blocks = json!([{"type": "text", "text": ""}]);
        assert_eq!(empty(blocks), "messages: text content blocks must be non-empty");
    }

    #[test]
    fn stored_threads_are_rejected() {
        let thread = json!({"thread": {"type": "create"}, "messages": []});
        assert_eq!(rejection(thread), ApiError::NoMemory { param: "thread" });
    }

    #[test]
    fn only_user_and_assistant_are_roles() {
        let with = |role: &str| json!({"messages": [{"role": role, "content": "Hi"}]});
        assert!(problem(with("system")).contains("top-level `system` parameter"));
        assert!(
            matches!(rejection(with("tool")), ApiError::InvalidValue { either, .. } if either == "'user' or 'assistant'")
        );
    }

    #[test]
    fn newer_models_take_instructions_between_messages() {
        for (model, takes) in [
            ("claude-opus-4-8", true),
            ("claude-opus-4-8-20260715", true),
            ("claude-opus-5", true),
            ("us.anthropic.claude-sonnet-5-20261001-v1:0", true),
            ("claude-opus-4-7", false),
            ("claude-opus-4-20250514", false),
            ("claude-sonnet-4-6", false),
            ("claude-3-haiku-20240307", false),
            ("claude", false),
            ("m", false),
        ] {
            assert_eq!(takes_system_messages(model), takes, "{model}");
        }
        let messages = json!([{"role": "user", "content": "Hi"}, {"role": "system", "content": "Be brief."}]);
        let body = json!({"model": "claude-opus-4-8", "max_tokens": 9, "messages": messages}).to_string();
        with_context_of(&body, |context| check(context.members().unwrap(), context)).unwrap();
    }

    #[test]
    fn thinking_needs_budget_temperature_and_tool_choice_to_fit() {
        let with = |budget: u64, more: Value| {
            let mut members = json!({"thinking": {"type": "enabled", "budget_tokens": budget}});
            members.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
            members
        };
        assert!(matches!(rejection(with(1023, json!({}))), ApiError::BelowMinimum { .. }));
        assert!(problem(with(2000, json!({}))).starts_with("`max_tokens` must be greater"));
        assert!(problem(with(1024, json!({"temperature": 0.5}))).starts_with("`temperature` may only be set to 1"));
        let tools = json!([{"name": "f", "input_schema": {"type": "object"}}]);
        let forced = with(1024, json!({"tools": tools, "tool_choice": {"type": "any"}}));
        assert!(problem(forced).starts_with("Thinking may not be enabled"));
    }

    #[test]
    fn tools_are_complete_and_unique() {
        let tools = |tools: Value| rejection(json!({"tools": tools}));
        let missing = |param: &str| ApiError::MissingParameter { param: param.to_owned() };
        assert_eq!(tools(json!([{"name": "f"}])), missing("tools[0].custom.input_schema"));
        assert_eq!(tools(json!([{"name": "f", "input_schema": {}}])), missing("tools[0].custom.input_schema.type"));
        assert_eq!(tools(json!([{"input_schema": {"type": "object"}}])), missing("tools[0].custom.name"));
        let f = json!({"name": "f", "input_schema": {"type": "object"}});
        assert_eq!(
            tools(json!([f, f])),
            ApiError::BrokenRule { problem: "tools: Tool names must be unique.".to_owned() }
        );
        let choice = json!({"type": "tool", "name": "g"});
        let unknown = problem(json!({"tools": [f], "tool_choice": choice}));
        assert_eq!(unknown, "Tool 'g' not found in provided tools");
        let alone = ApiError::NeedsOther { param: "tool_choice", other: "tools" };
        assert_eq!(rejection(json!({"tool_choice": {"type": "auto"}})), alone);
    }
}
