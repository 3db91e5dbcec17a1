//! Violations in the words of Pydantic, as FastAPI servers report them: all of a body, not only the first.
//!
//! The texts, the order and the summaries of inputs are those of vLLM 0.32.0. As in Pydantic's lax mode, a number may be
//! a text, and a boolean a word or a number.

mod json_error;
mod repr;
#[cfg(test)]
mod tests;

use std::borrow::Cow;

use http::header::CONTENT_TYPE;

use self::{json_error::json_error, repr::repr};
use super::{Properties, Property, Require, kinds::JsonType};
use crate::core::{
    error::ApiError,
    json::{self, Kind},
    request::{Request, RequestBody},
};

/// Number of violations that are reported. A body of a megabyte may have a hundred thousand.
const MAX_VIOLATIONS: usize = 100;
/// Number of characters of an input that are repeated.
const MAX_INPUT: usize = 100;

/// One violation.
struct Violation {
    kind: &'static str,
    /// The path of the value, from `body`.
    at: String,
    message: Cow<'static, str>,
    /// The rejected value, or a summary of it.
    input: String,
    /// The context: its key and its text.
    context: Option<(&'static str, String)>,
}

impl Violation {
    fn new(kind: &'static str, at: &str, message: impl Into<Cow<'static, str>>, input: String) -> Self {
        Violation { kind, at: at.to_owned(), message: message.into(), input, context: None }
    }

    fn line(&self) -> String {
        let Violation { kind, at, message, input, context } = self;
        let context = context.as_ref().map(|(key, text)| format!(", 'ctx': {{'{key}': {}}}", repr(text)));
        let (at, message, input) = (repr(at), repr(message), repr(input));
        format!("{{'type': '{kind}', 'loc': {at}, 'msg': {message}, 'input': {input}{}}}", context.unwrap_or_default())
    }
}

/// Returns the error that reports these lines; `param` is the path of the first.
fn invalid(lines: &[String], param: Option<String>) -> ApiError {
    let noun = if lines.len() == 1 { "error" } else { "errors" };
    let problem = format!("{} validation {noun}:\n  {}", lines.len(), lines.join("\n  "));
    ApiError::InvalidRequest { rule: "validation", param, problem }
}

/// Checks a request: its content type, its JSON, and its members.
///
/// # Errors
/// All violations, as one error.
pub(super) fn check(
    require: &Require,
    request: &Request<'_>,
    body: Result<json::Object<'_>, json::Malformed>,
) -> Result<(), ApiError> {
    // A request without the header is accepted, because simple clients leave it out.
    if let Some(kind) = request.headers.get(&CONTENT_TYPE)
        && !kind.split(';').next().unwrap_or_default().trim().eq_ignore_ascii_case("application/json")
    {
        return Err(invalid(&["Unsupported Media Type: Only 'application/json' is allowed".to_owned()], None));
    }
    let text: &[u8] = if let RequestBody::Whole(text) = &request.body { text } else { b"" };
    let mut violations = Vec::new();
    match body {
        _ if text.is_empty() => {
            violations.push(Violation::new("missing", "body", "Field required", "None".to_owned()));
        }
        Ok(body) => require.find_all(body, &mut violations),
        Err(malformed) => violations.push(no_object(text, malformed)),
    }
    match violations.first() {
        None => Ok(()),
        Some(first) => {
            let param = Some(first.at.clone());
            let lines: Vec<_> = violations.iter().map(Violation::line).collect();
            Err(invalid(&lines, param))
        }
    }
}

/// Returns the violation of a body that is not a JSON object.
fn no_object(text: &[u8], malformed: json::Malformed) -> Violation {
    if let Ok(value) = serde_json::from_slice::<serde_json::Value>(text)
        && !value.is_object()
    {
        let message = "Input should be a valid dictionary or object to extract fields from";
        return Violation::new("model_attributes_type", "body", message, tree_input(&value));
    }
    let (at, problem) = json_error(text).unwrap_or((malformed.at, "Expecting value"));
    let empty = "<dict of 0 items>".to_owned();
    let violation = Violation::new("json_invalid", &format!("body.{at}"), "JSON decode error", empty);
    Violation { context: Some(("error", problem.to_owned())), ..violation }
}

impl Require {
    fn find_all(&self, body: json::Object<'_>, violations: &mut Vec<Violation>) {
        if self.lacks_any(body) {
            let missing = |name: &String| missing(&format!("body.{name}"), body);
            violations.extend(self.any_required.iter().map(missing));
        }
        if !super::all_valid(&self.required, &self.properties, body, &super::ParamPath::Root) {
            find_in_members(&self.required, &self.properties, body, "body", violations);
        }
    }
}

/// Returns the violation of a member that is missing in `members`.
fn missing(at: &str, members: json::Object<'_>) -> Violation {
    Violation::new("missing", at, "Field required", format!("<dict of {} items>", members.iter().count()))
}

fn find_in_members(
    required: &[String],
    properties: &Properties,
    members: json::Object<'_>,
    path: &str,
    violations: &mut Vec<Violation>,
) {
    for (name, property) in &properties.list {
        let at = format!("{path}.{name}");
        let is_required = required.contains(name);
        match (members.get(name), property) {
            (None, _) if is_required => violations.push(missing(&at, members)),
            (Some(value), None) => {
                violations.push(Violation::new("extra_forbidden", &at, "Extra inputs are not permitted", input(value)));
            }
            (Some(value), Some(property)) if is_required || value.kind() != Kind::Null => {
                property.find_all(value, &at, violations);
            }
            (None | Some(_), _) => {}
        }
        if violations.len() >= MAX_VIOLATIONS {
            return;
        }
    }
}

impl Property {
    fn find_all(&self, value: json::Value<'_>, at: &str, violations: &mut Vec<Violation>) {
        if !self.any_of.is_empty() {
            let mut all = Vec::new();
            for alternative in &self.any_of {
                let before = all.len();
                alternative.find_all(value, at, &mut all);
                if all.len() == before {
                    return;
                }
            }
            violations.append(&mut all);
            return;
        }
        let kinds = self.kinds.list();
        let Some(kind) = kinds.iter().find(|kind| kind.takes(value)) else {
            violations.extend(kinds.iter().map(|kind| self.mismatch(*kind, value, at)));
            return;
        };
        match kind {
            JsonType::Object => {
                let Some(members) = value.members() else { return };
                find_in_members(&self.required, &self.properties, members, at, violations);
            }
            JsonType::Array => {
                let Some(property) = &self.items else { return };
                let mut n = 0;
                value.each(|item| {
                    if violations.len() < MAX_VIOLATIONS {
                        property.find_all(item, &format!("{at}.{n}"), violations);
                    }
                    n += 1;
                });
            }
            JsonType::String => {
                let Some(values) = &self.values else { return };
                if !value.as_str().is_some_and(|text| values.iter().any(|known| *known == text)) {
                    violations.push(literal_error(values, value, at));
                }
            }
            JsonType::Integer | JsonType::Number | JsonType::Boolean => {}
        }
    }

    /// Returns the violation of a value that has not this type.
    fn mismatch(&self, kind: JsonType, value: json::Value<'_>, at: &str) -> Violation {
        let is_text = value.kind() == Kind::String;
        if let (JsonType::String, Some(values)) = (kind, &self.values) {
            return literal_error(values, value, at);
        }
        let (kind, message) = match kind {
            JsonType::String => ("string_type", "Input should be a valid string"),
            JsonType::Integer if is_text => {
                ("int_parsing", "Input should be a valid integer, unable to parse string as an integer")
            }
            JsonType::Integer if value.kind() == Kind::Decimal => {
                ("int_from_float", "Input should be a valid integer, got a number with a fractional part")
            }
            JsonType::Integer => ("int_type", "Input should be a valid integer"),
            JsonType::Number if is_text => {
                ("float_parsing", "Input should be a valid number, unable to parse string as a number")
            }
            JsonType::Number => ("float_type", "Input should be a valid number"),
            JsonType::Boolean if is_text || matches!(value.kind(), Kind::Integer | Kind::Decimal) => {
                ("bool_parsing", "Input should be a valid boolean, unable to interpret input")
            }
            JsonType::Boolean => ("bool_type", "Input should be a valid boolean"),
            JsonType::Array => ("list_type", "Input should be a valid list"),
            JsonType::Object if self.required.is_empty() && self.properties.list.is_empty() => {
                ("dict_type", "Input should be a valid dictionary")
            }
            JsonType::Object => {
                ("model_attributes_type", "Input should be a valid dictionary or object to extract fields from")
            }
        };
        Violation::new(kind, at, message, input(value))
    }
}

impl JsonType {
    /// Returns true if a value has the type, or is converted to it.
    fn takes(self, value: json::Value<'_>) -> bool {
        let text = || value.as_str().unwrap_or_default();
        match (self, value.kind()) {
            (JsonType::Integer, Kind::Decimal) => value.as_f64().is_some_and(|number| number.fract() == 0.0),
            (JsonType::Integer, Kind::String) => text().trim().parse::<i128>().is_ok(),
            (JsonType::Number, Kind::String) => text().trim().parse::<f64>().is_ok(),
            (JsonType::Integer | JsonType::Number, Kind::Boolean) => true,
            (JsonType::Boolean, Kind::Integer) => matches!(value.text(), b"0" | b"1"),
            (JsonType::Boolean, Kind::String) => {
                let words = ["true", "false", "t", "f", "yes", "no", "y", "n", "on", "off", "1", "0"];
                words.contains(&&*text().to_ascii_lowercase())
            }
            (kind, of) => kind.accepts(of),
        }
    }
}

/// Returns the violation of a text that is not one of `values`.
fn literal_error(values: &[String], value: json::Value<'_>, at: &str) -> Violation {
    let quoted: Vec<_> = values.iter().map(|value| repr(value)).collect();
    let expected = match quoted.as_slice() {
        [others @ .., last] if !others.is_empty() => format!("{} or {last}", others.join(", ")),
        quoted => quoted.concat(),
    };
    let violation = Violation::new("literal_error", at, format!("Input should be {expected}"), input(value));
    Violation { context: Some(("expected", expected)), ..violation }
}

/// Returns a value as a violation repeats it: objects and lists are summarized.
fn input(value: json::Value<'_>) -> String {
    match value.kind() {
        Kind::Object => {
            let count = value.members().map_or(0, |members| members.iter().count());
            format!("<dict of {count} items>")
        }
        Kind::Array => {
            let mut count = 0;
            value.each(|_| count += 1);
            format!("<list of {count} items>")
        }
        _ => value.to_value().map_or_else(String::new, |value| tree_input(&value)),
    }
}

fn tree_input(value: &serde_json::Value) -> String {
    use serde_json::Value;
    match value {
        Value::Null => "None".to_owned(),
        Value::Bool(true) => "True".to_owned(),
        Value::Bool(false) => "False".to_owned(),
        Value::Number(number) => number.to_string(),
        Value::Array(items) => format!("<list of {} items>", items.len()),
        Value::Object(members) => format!("<dict of {} items>", members.len()),
        Value::String(text) => match text.char_indices().nth(MAX_INPUT) {
            Some((end, _)) => format!("{}...", &text[..end]),
            None => text.clone(),
        },
    }
}
