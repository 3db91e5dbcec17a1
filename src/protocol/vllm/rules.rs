//! The rules of requests beyond the types of members, with the texts of vLLM 0.32.0. The first violation is reported.
//!
//! Not observed, but read in vLLM's sources: the rules about `min_tokens`, `prompt_logprobs`, `frequency_penalty` and
//! `repetition_penalty`, and those about values of `tool_choice`.

use std::borrow::Cow;

use serde_json::Value;

use crate::{
    core::{
        context::RequestContext,
        error::ApiError,
        json::{self, Kind},
        prompt::Prompt,
    },
    model::tokens::{Encoding, chat_template::prompt_text},
    protocol::openai::{chat, completions},
};

/// Maximum number of characters of one token. A prompt with more characters for each token of the context window is
/// rejected without counting its tokens.
const LONGEST_TOKEN: u64 = 10;
/// Maximum number of alternatives to a token.
const MAX_LOGPROBS: i64 = 20;
/// Levels of a schema that are checked.
const DEPTH: usize = 32;

/// Returns the error for a broken rule. With a parameter the text ends with its name, and with its value if it has one.
fn broken(param: Option<&str>, value: Option<&str>, problem: &str) -> ApiError {
    let problem = match (param, value) {
        (None, _) => problem.to_owned(),
        (Some(param), None) => format!("{problem} (parameter={param})"),
        (Some(param), Some(value)) => format!("{problem} (parameter={param}, value={value})"),
    };
    ApiError::InvalidRequest { rule: "parameter", param: param.map(str::to_owned), problem }
}

/// The members of a request.
#[derive(Clone, Copy)]
struct Members<'a>(json::Object<'a>);

impl<'a> Members<'a> {
    /// Returns a member that is not null.
    fn get(self, name: &str) -> Option<json::Value<'a>> {
        self.0.get(name).filter(|value| value.kind() != Kind::Null)
    }

    fn is_true(self, name: &str) -> bool {
        self.get(name).and_then(json::Value::as_bool) == Some(true)
    }

    fn integer(self, name: &str) -> Option<i64> {
        let value = self.get(name).filter(|value| value.kind() == Kind::Integer)?;
        let text = std::str::from_utf8(value.text()).ok()?;
        // A number beyond an i64 breaks the same rules as the largest.
        Some(text.parse().unwrap_or(if text.starts_with('-') { i64::MIN } else { i64::MAX }))
    }

    fn number(self, name: &str) -> Option<f64> {
        self.get(name).and_then(json::Value::as_f64)
    }
}

/// Checks a chat request.
pub(super) fn chat(body: json::Object<'_>, context: &RequestContext<'_>) -> Result<(), ApiError> {
    let members = Members(body);
    stream_options(members)?;
    if members.integer("top_logprobs").is_some_and(|top| top != 0) && !members.is_true("logprobs") {
        let problem = "when using `top_logprobs`, `logprobs` must be set to true.";
        return Err(broken(Some("top_logprobs"), None, problem));
    }
    tools(members)?;
    if members.get("messages").is_some_and(|messages| messages.items().is_empty()) {
        let problem = "Cannot apply chat template to an empty conversation. Provide at least one message.";
        return Err(broken(None, None, problem));
    }
    let prompt = || chat::read::prompt(body, String::new());
    let limit = members.integer("max_completion_tokens").or_else(|| members.integer("max_tokens"));
    window(limit, "max_tokens", &prompt, context)?;
    sampling(members, limit, "max_tokens")?;
    most_logprobs(members.integer("top_logprobs"))?;
    vocabulary(members, context)?;
    grammar(members)
}

/// Checks a completion request.
pub(super) fn completions(body: json::Object<'_>, context: &RequestContext<'_>) -> Result<(), ApiError> {
    let members = Members(body);
    stream_options(members)?;
    let prompt = members.get("prompt");
    if prompt.is_none_or(|prompt| matches!(prompt.text(), br#""""# | b"[]")) {
        let problem = "Either prompt or prompt_embeds must be provided and non-empty.";
        return Err(broken(Some("prompt"), None, problem));
    }
    if completions::read::texts(body, "").is_empty() {
        let problem = "prompt must be a string, array of strings, array of tokens, or array of token arrays";
        return Err(broken(None, None, problem));
    }
    let prompt = || completions::read::prompt(body, context.served_model().into_owned());
    let limit = members.integer("max_tokens");
    window(limit, "max_tokens", &prompt, context)?;
    sampling(members, limit, "max_tokens")?;
    most_logprobs(members.integer("logprobs"))?;
    vocabulary(members, context)?;
    grammar(members)
}

/// Checks a request of another protocol, whose token limit is the member `limit`. `empty` is true if its conversation has
/// no messages.
pub(super) fn conversation(
    body: json::Object<'_>,
    limit: &str,
    empty: bool,
    prompt: &dyn Fn() -> Prompt,
    context: &RequestContext<'_>,
) -> Result<(), ApiError> {
    let members = Members(body);
    if empty {
        let problem = "Cannot apply chat template to an empty conversation. Provide at least one message.";
        return Err(broken(None, None, problem));
    }
    window(members.integer(limit), limit, prompt, context)?;
    sampling(members, members.integer(limit), limit)
}

fn stream_options(members: Members<'_>) -> Result<(), ApiError> {
    if members.get("stream_options").is_some() && !members.is_true("stream") {
        let problem = "Stream options can only be defined when `stream=True`.";
        return Err(broken(Some("stream_options"), None, problem));
    }
    match members.integer("prompt_logprobs") {
        Some(top) if top != 0 && members.is_true("stream") => {
            Err(broken(Some("prompt_logprobs"), None, "`prompt_logprobs` are not available when `stream=True`."))
        }
        Some(top) if top < -1 => {
            let value = top.to_string();
            Err(broken(Some("prompt_logprobs"), Some(&value), "`prompt_logprobs` must be a positive value or -1."))
        }
        _ => Ok(()),
    }
}

fn tools(members: Members<'_>) -> Result<(), ApiError> {
    let tools = members.get("tools").map(json::Value::items);
    if tools.as_ref().is_some_and(Vec::is_empty) {
        let problem =
            "`tools` must not be an empty array. Either provide at least one tool or omit the field entirely.";
        return Err(broken(Some("tools"), None, problem));
    }
    let Some(choice) = members.get("tool_choice").filter(|choice| choice.text() != br#""none""#) else { return Ok(()) };
    let Some(tools) = tools else {
        return Err(broken(Some("tool_choice"), None, "When using `tool_choice`, `tools` must be set."));
    };
    if choice.kind() == Kind::Object {
        let name = function_name(choice);
        if !tools.iter().any(|tool| name.is_some() && function_name(*tool) == name) {
            let problem = "The tool specified in `tool_choice` does not match any of the specified `tools`";
            return Err(broken(Some("tool_choice"), None, problem));
        }
        return Ok(());
    }
    match choice.as_str().as_deref() {
        Some("auto" | "required") | None => Ok(()),
        Some(other) => {
            let problem = format!(
                "Invalid value for `tool_choice`: {other}! Only named tools, \"none\", \"auto\" or \"required\" are \
                 supported."
            );
            Err(broken(Some("tool_choice"), None, &problem))
        }
    }
}

/// Returns the name of the function of a tool, or of a tool choice.
fn function_name(value: json::Value<'_>) -> Option<Cow<'_, str>> {
    value.members()?.get("function")?.members()?.get("name")?.as_str()
}

/// Checks the token limit and the length of the prompt. The tokens of the prompt are counted later.
fn window(
    limit: Option<i64>,
    name: &str,
    prompt: &dyn Fn() -> Prompt,
    context: &RequestContext<'_>,
) -> Result<(), ApiError> {
    let Some(window) = context.context_window() else { return Ok(()) };
    if let Some(limit) = limit.filter(|limit| u64::try_from(*limit).is_ok_and(|limit| limit > window)) {
        let problem = format!(
            "{name}={limit} cannot be greater than max_model_len={window}. Please request fewer output tokens."
        );
        return Err(broken(Some(name), Some(&limit.to_string()), &problem));
    }
    let most = window.saturating_mul(LONGEST_TOKEN);
    let longest = prompt().split_texts().iter().map(|prompt| prompt_text(prompt).chars().count() as u64).max();
    match longest.filter(|chars| *chars > most) {
        None => Ok(()),
        Some(chars) => {
            let problem = format!(
                "This model's maximum context length is {window} tokens. However, your prompt contains {chars} \
                 characters (more than {most} characters, which is the upper bound for {window} input tokens). Please \
                 reduce the length of the input prompt."
            );
            Err(broken(Some("input_text"), Some(&chars.to_string()), &problem))
        }
    }
}

/// Checks the sampling parameters. Only some of the texts name the parameter.
fn sampling(members: Members<'_>, limit: Option<i64>, limit_name: &str) -> Result<(), ApiError> {
    let outside = |name: &str, fits: &dyn Fn(f64) -> bool| members.number(name).filter(|number| !fits(*number));
    if let Some(n) = members.integer("n").filter(|n| *n < 1) {
        return Err(broken(None, None, &format!("n must be at least 1, got {n}.")));
    }
    for name in ["presence_penalty", "frequency_penalty"] {
        if let Some(got) = outside(name, &|number| (-2.0..=2.0).contains(&number)) {
            return Err(broken(None, None, &format!("{name} must be in [-2, 2], got {got:?}.")));
        }
    }
    if let Some(got) = outside("repetition_penalty", &|number| number > 0.0) {
        return Err(broken(None, None, &format!("repetition_penalty must be greater than zero, got {got:?}.")));
    }
    for (name, range, fits) in [
        ("temperature", "non-negative", (|number| number >= 0.0) as fn(f64) -> bool),
        ("temperature", "in [0, 2]", |number| number <= 2.0),
        ("top_p", "in (0, 1]", |number| number > 0.0 && number <= 1.0),
    ] {
        if let Some(got) = outside(name, &fits) {
            let got = format!("{got:?}");
            return Err(broken(Some(name), Some(&got), &format!("{name} must be {range}, got {got}.")));
        }
    }
    if let Some(top_k) = members.integer("top_k").filter(|top_k| *top_k < -1) {
        let problem = format!("top_k must be 0 (disable), or at least 1, got {top_k}.");
        return Err(broken(None, None, &problem));
    }
    if let Some(got) = outside("min_p", &|number| (0.0..=1.0).contains(&number)) {
        return Err(broken(None, None, &format!("min_p must be in [0, 1], got {got:?}.")));
    }
    if let Some(limit) = limit.filter(|limit| *limit < 1) {
        let problem = format!("{limit_name} must be at least 1, got {limit}.");
        return Err(broken(Some(limit_name), Some(&limit.to_string()), &problem));
    }
    if let Some(least) = members.integer("min_tokens") {
        if least < 0 {
            return Err(broken(None, None, &format!("min_tokens must be greater than or equal to 0, got {least}.")));
        }
        if let Some(limit) = limit.filter(|limit| least > *limit) {
            let problem = format!("min_tokens must be less than or equal to max_tokens={limit}, got {least}.");
            return Err(broken(None, None, &problem));
        }
    }
    let is_empty = |value: json::Value<'_>| value.text() == br#""""#;
    if members.get("stop").is_some_and(|stop| is_empty(stop) || stop.items().into_iter().any(is_empty)) {
        return Err(broken(None, None, "stop cannot contain an empty string."));
    }
    Ok(())
}

fn most_logprobs(top: Option<i64>) -> Result<(), ApiError> {
    match top.filter(|top| *top > MAX_LOGPROBS) {
        None => Ok(()),
        Some(top) => {
            let problem =
                format!("Requested sample logprobs of {top}, which is greater than max allowed: {MAX_LOGPROBS}");
            Err(broken(Some("logprobs"), Some(&top.to_string()), &problem))
        }
    }
}

/// Checks that the model has all tokens of `logit_bias`.
fn vocabulary(members: Members<'_>, context: &RequestContext<'_>) -> Result<(), ApiError> {
    let Some(bias) = members.get("logit_bias").and_then(json::Value::members) else { return Ok(()) };
    let size = Encoding::of_model(&context.served_model()).size();
    let token = |key: &[u8]| std::str::from_utf8(key).ok()?.parse::<u64>().ok();
    let unknown = bias.iter().filter_map(|(key, _)| token(key)).filter(|token| *token >= u64::from(size));
    let unknown: Vec<_> = unknown.map(|token| token.to_string()).collect();
    if unknown.is_empty() {
        return Ok(());
    }
    let list = format!("[{}]", unknown.join(", "));
    let problem = format!("token_id(s) {list} in logit_bias contain out-of-vocab token ids. Vocabulary size: {size}");
    Err(broken(Some("logit_bias"), Some(&list), &problem))
}

/// Checks the schema of the response.
fn grammar(members: Members<'_>) -> Result<(), ApiError> {
    let Some(format) = members.get("response_format").and_then(json::Value::to_value) else { return Ok(()) };
    match invalid_type(&format["json_schema"]["schema"], 0) {
        None => Ok(()),
        Some(name) => Err(broken(None, None, &format!("Grammar error: Invalid type: {name}"))),
    }
}

/// Finds a type in a schema that does not exist.
fn invalid_type(schema: &Value, depth: usize) -> Option<&str> {
    const TYPES: [&str; 7] = ["object", "array", "string", "number", "integer", "boolean", "null"];
    let map = schema.as_object().filter(|_| depth < DEPTH)?;
    let named = |value: &'_ Value| value.as_str().is_some_and(|name| !TYPES.contains(&name));
    match map.get("type") {
        Some(name) if named(name) => return name.as_str(),
        Some(Value::Array(names)) => {
            if let Some(name) = names.iter().find(|name| named(name)) {
                return name.as_str();
            }
        }
        _ => {}
    }
    let groups = ["properties", "$defs", "definitions"].into_iter().filter_map(|group| map.get(group)?.as_object());
    let lists = ["anyOf", "oneOf", "allOf"].into_iter().filter_map(|list| map.get(list)?.as_array());
    let inner = groups.flat_map(|group| group.values()).chain(lists.flatten()).chain(map.get("items"));
    inner.into_iter().find_map(|schema| invalid_type(schema, depth + 1))
}
