//! Conditions on members of the body: `{"messages[*].content": "*Rome*"}`.

use std::borrow::Cow;

use serde::{Deserialize, Deserializer, de::Error};
use serde_json::{Map, Value};

use super::TextPattern;
use crate::core::json;

/// Maximum number of steps of a path.
const MAX_STEPS: usize = 32;

/// A condition on the values at a path. It holds if one of them is the wanted one.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct BodyCondition {
    /// The path as it was written.
    pub(super) path: String,
    steps: Vec<Step>,
    wanted: Wanted,
}

/// One step of a path.
#[derive(Clone, Debug, PartialEq)]
enum Step {
    /// The member with this name; in a list, the item with this number.
    Name(String),
    /// The item with this number, from 0.
    Index(usize),
    /// Every item of a list.
    Each,
}

/// The value that a condition wants.
#[derive(Clone, Debug, PartialEq)]
enum Wanted {
    /// A text that matches.
    Text(TextPattern),
    /// A JSON value that is equal.
    Value(Value),
}

impl BodyCondition {
    /// Reads a condition.
    ///
    /// # Errors
    /// The path or the pattern is wrong.
    fn read(path: &str, wanted: Value) -> Result<Self, String> {
        let is_pattern = |map: &Map<String, Value>| {
            let kinds = ["exact", "glob", "regex"];
            map.len() == 1 && map.iter().all(|(kind, text)| kinds.contains(&kind.as_str()) && text.is_string())
        };
        let wanted = match &wanted {
            Value::String(_) => Wanted::Text(TextPattern::deserialize(wanted).map_err(|error| error.to_string())?),
            Value::Object(map) if is_pattern(map) => {
                Wanted::Text(TextPattern::deserialize(wanted).map_err(|error| error.to_string())?)
            }
            _ => Wanted::Value(wanted),
        };
        Ok(BodyCondition { path: path.to_owned(), steps: steps(path)?, wanted })
    }

    /// Creates a condition in Rust. A text is a glob. What is no path is the name of a member.
    pub(super) fn new(path: &str, wanted: Value) -> Self {
        let wanted = match wanted {
            Value::String(text) => Wanted::Text(text.into()),
            wanted => Wanted::Value(wanted),
        };
        let steps = steps(path).unwrap_or_else(|_| vec![Step::Name(path.to_owned())]);
        BodyCondition { path: path.to_owned(), steps, wanted }
    }

    /// Returns true if the condition holds.
    pub(super) fn is_match(&self, body: json::Object<'_>) -> bool {
        self.any(body, &mut |value| match &self.wanted {
            Wanted::Text(pattern) => value.as_str().is_some_and(|text| pattern.is_match(&text)),
            Wanted::Value(wanted) => value.to_value().as_ref() == Some(wanted),
        })
    }

    /// Returns the wanted value for a mismatch.
    pub(super) fn expected(&self) -> String {
        match &self.wanted {
            Wanted::Text(pattern) => pattern.to_string(),
            Wanted::Value(value) => value.to_string(),
        }
    }

    /// Returns the values at the path for a mismatch; `None` if there are none.
    pub(super) fn actual(&self, body: json::Object<'_>) -> Option<String> {
        let mut found = Vec::new();
        self.any(body, &mut |value| {
            found.push(String::from_utf8_lossy(value.text()).into_owned());
            false
        });
        (!found.is_empty()).then(|| found.join(", "))
    }

    /// Returns true if `test` holds for a value at the path.
    fn any<'m>(&self, body: json::Object<'m>, test: &mut dyn FnMut(json::Value<'m>) -> bool) -> bool {
        let Some((Step::Name(first), rest)) = self.steps.split_first() else { return false };
        body.get(first).is_some_and(|value| any_below(value, rest, test))
    }

    /// Returns an estimate of the memory that the condition takes, in bytes.
    pub(super) fn memory(&self) -> usize {
        let wanted = match &self.wanted {
            Wanted::Text(pattern) => pattern.memory(),
            Wanted::Value(value) => json::memory(value),
        };
        size_of::<Self>() + 2 * self.path.len() + self.steps.capacity() * size_of::<Step>() + wanted
    }

    /// Returns the condition as JSON.
    pub(super) fn to_json(&self) -> (String, Value) {
        let wanted = match &self.wanted {
            Wanted::Text(pattern) => pattern.to_json(),
            Wanted::Value(value) => value.clone(),
        };
        (self.path.clone(), wanted)
    }
}

fn any_below<'m>(value: json::Value<'m>, steps: &[Step], test: &mut dyn FnMut(json::Value<'m>) -> bool) -> bool {
    let Some((step, rest)) = steps.split_first() else { return test(value) };
    let item = |number: usize| value.items().get(number).copied();
    let found = match step {
        Step::Each => return value.items().into_iter().any(|item| any_below(item, rest, test)),
        Step::Index(number) => item(*number),
        Step::Name(name) => match value.members() {
            Some(members) => members.get(name),
            None => name.parse().ok().and_then(item),
        },
    };
    found.is_some_and(|value| any_below(value, rest, test))
}

/// Splits a path: `messages[0].content`, `messages.0.content`, `messages[*].content`, `messages.*.content`.
fn steps(path: &str) -> Result<Vec<Step>, String> {
    let mut steps = Vec::new();
    let wrong = || format!("`{path}` is no path; write one such as messages[0].content or messages[*].content");
    for part in path.split('.') {
        let (name, indexes) = part.split_at(part.find('[').unwrap_or(part.len()));
        match name {
            "" => return Err(wrong()),
            "*" => steps.push(Step::Each),
            name => steps.push(Step::Name(name.to_owned())),
        }
        let Some(indexes) = indexes.strip_prefix('[') else { continue };
        let indexes = indexes.strip_suffix(']').ok_or_else(wrong)?;
        for index in indexes.split("][") {
            steps.push(match index {
                "*" => Step::Each,
                index => Step::Index(index.parse().map_err(|_| wrong())?),
            });
        }
    }
    match steps.first() {
        Some(Step::Name(_)) if steps.len() <= MAX_STEPS => Ok(steps),
        Some(Step::Name(_)) => {
            Err(format!("`{}…` has more than {MAX_STEPS} steps; write a shorter path", super::cut(path)))
        }
        _ => Err(wrong()),
    }
}

pub(super) fn conditions<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<BodyCondition>, D::Error> {
    let read = |(path, wanted): (String, Value)| {
        BodyCondition::read(&path, wanted).map_err(|problem| D::Error::custom(format_args!("body: {path}: {problem}")))
    };
    Map::deserialize(deserializer)?.into_iter().map(read).collect()
}

/// Renders the values at a path without the secrets among them.
pub(super) fn shown<'t>(path: &str, text: &'t str) -> Cow<'t, str> {
    let name = path.rsplit(['.', '[']).find(|name| !name.ends_with(']') && *name != "*").unwrap_or(path);
    crate::core::secret::in_member(name, text)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_path_has_names_numbers_and_stars() {
        let text = r#"{"messages": [{"content": "a"}, {"content": "Rome"}], "n": 1, "m": {"0": {"x": [[1, 2]]}}}"#;
        let document = json::Document::read(text.as_bytes()).unwrap();
        let holds = |path: &str, wanted: Value| BodyCondition::read(path, wanted).unwrap().is_match(document.members());
        for path in ["messages[1].content", "messages.1.content", "messages[*].content", "messages.*.content"] {
            assert!(holds(path, json!("Ro*")), "{path}");
            assert!(holds(path, json!({"regex": "^Ro"})), "{path}");
            assert!(!holds(path, json!({"exact": "Ro*"})), "{path}");
        }
        assert!(!holds("messages[0].content", json!("Rome")) && !holds("messages[7].content", json!("*")));
        assert!(holds("n", json!(1)) && !holds("n", json!("1")) && !holds("n[0]", json!(1)));
        assert!(holds("m.0.x[0][1]", json!(2)) && holds("m.0.x[*][*]", json!(2)) && holds("m.0.x", json!([[1, 2]])));
        for wrong in ["", "a..b", "a[", "a[b]", "a[0", "*.a", "[0]", "a[0]b"] {
            assert!(steps(wrong).unwrap_err().contains("is no path; write one"), "{wrong}");
        }
        assert!(steps(&"a.".repeat(40)).is_err() && steps(&["a"; 40].join(".")).unwrap_err().contains("shorter"));
    }
}
