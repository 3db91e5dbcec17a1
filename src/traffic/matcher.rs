//! Conditions on requests, for scripted replies and rules.

use std::{borrow::Cow, cell::OnceCell};

use regex::Regex;
use serde::{Deserialize, Deserializer, de::Error};
use serde_json::{Map, Value};
use smallvec::SmallVec;

use crate::core::{glob::Glob, json, pattern, prompt::Prompt};

/// Conditions that must all hold for a request; without any, every request matches.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RequestMatcher {
    /// The requested model.
    model: Option<TextPattern>,
    /// The path of the request.
    path: Option<TextPattern>,
    /// The last user message.
    user: Option<TextPattern>,
    /// The system instructions.
    system: Option<TextPattern>,
    /// True if a tool result follows the last user message.
    tool_result: Option<bool>,
    /// Number of the model's turn, from 1.
    turn: Option<u64>,
    /// Members of the body by path, such as `metadata.test`, and their required values.
    body: Map<String, Value>,
}

/// A condition on a text: a glob as a string, or `{"exact": …}`, `{"glob": …}` or `{"regex": …}`.
#[derive(Clone, Debug)]
enum TextPattern {
    Exact(String),
    Glob(Glob),
    Regex(Regex),
}

impl<'de> Deserialize<'de> for TextPattern {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let value = Value::deserialize(deserializer)?;
        let tagged = value.as_object().filter(|map| map.len() == 1).and_then(|map| map.iter().next());
        let glob = |text: &str| {
            let glob = Glob::try_from(text.to_owned()).map(TextPattern::Glob);
            glob.map_err(|problem| D::Error::custom(format_args!(r#"{problem}, or {{"exact": …}} or {{"regex": …}}"#)))
        };
        match (value.as_str(), tagged.and_then(|(kind, text)| Some((kind.as_str(), text.as_str()?)))) {
            (Some(text), _) => glob(text),
            (_, Some(("exact", text))) => Ok(TextPattern::Exact(text.to_owned())),
            (_, Some(("glob", text))) => glob(text),
            (_, Some(("regex", text))) => pattern::compile(text).map(TextPattern::Regex).map_err(D::Error::custom),
            _ => Err(D::Error::custom(
                r#"a condition on a text is a string or an object with one member; write a string with `*`, {"exact": …}, {"glob": …} or {"regex": …}"#,
            )),
        }
    }
}

impl TextPattern {
    fn is_match(&self, text: &str) -> bool {
        match self {
            TextPattern::Exact(exact) => exact == text,
            TextPattern::Glob(glob) => glob.matches(text),
            TextPattern::Regex(regex) => regex.is_match(text),
        }
    }
}

/// The parts of a request that conditions read. The prompt is parsed when the first condition needs it.
pub struct MatchInput<'a, 'm> {
    /// The members of the body.
    pub body: json::Object<'m>,
    /// The requested model.
    model: Cow<'a, str>,
    path: &'a str,
    read_prompt: &'a (dyn Fn() -> Prompt + 'a),
    prompt: OnceCell<Prompt>,
}

impl<'a, 'm> MatchInput<'a, 'm> {
    /// Creates the input for a request; `read_prompt` parses the prompt when it is needed.
    pub fn new(
        body: json::Object<'m>,
        model: Cow<'a, str>,
        path: &'a str,
        read_prompt: &'a (dyn Fn() -> Prompt + 'a),
    ) -> Self {
        MatchInput { body, model, path, read_prompt, prompt: OnceCell::new() }
    }

    /// Returns the prompt, parsed at the first call.
    pub fn prompt(&self) -> &Prompt {
        self.prompt.get_or_init(self.read_prompt)
    }
}

impl RequestMatcher {
    /// Returns true if it matches every request.
    pub fn is_always(&self) -> bool {
        self.conditions() == 0
    }

    /// Returns the model if the only condition is one model's full name.
    pub fn only_model(&self) -> Option<&str> {
        match &self.model {
            Some(TextPattern::Exact(model)) if self.conditions() == 1 => Some(model),
            Some(TextPattern::Glob(model)) if self.conditions() == 1 && model.is_name() => Some(model.as_str()),
            _ => None,
        }
    }

    fn conditions(&self) -> usize {
        let texts = [&self.model, &self.path, &self.user, &self.system].map(Option::is_some);
        let given = texts.into_iter().chain([self.tool_result.is_some(), self.turn.is_some()]);
        given.filter(|given| *given).count() + self.body.len()
    }

    /// Returns the names of the conditions that do not hold; empty if the request matches.
    pub fn mismatches(&self, input: &MatchInput<'_, '_>) -> SmallVec<[&str; 4]> {
        let mut mismatches = SmallVec::new();
        let mut check = |name, holds: Option<bool>| {
            if holds == Some(false) {
                mismatches.push(name);
            }
        };
        check("model", self.model.as_ref().map(|model| model.is_match(&input.model)));
        check("path", self.path.as_ref().map(|path| path.is_match(input.path)));
        check("user", self.user.as_ref().map(|user| user.is_match(input.prompt().last_user())));
        check("system", self.system.as_ref().map(|system| system.is_match(&input.prompt().system())));
        check("tool_result", self.tool_result.map(|required| required == input.prompt().has_tool_result()));
        check("turn", self.turn.map(|turn| turn == input.prompt().turn()));
        for (path, required) in &self.body {
            check(path, Some(member(input.body, path).and_then(json::Value::to_value).as_ref() == Some(required)));
        }
        mismatches
    }
}

/// Returns a member by its path, such as `metadata.test`.
fn member<'m>(body: json::Object<'m>, path: &str) -> Option<json::Value<'m>> {
    let mut names = path.split('.');
    let first = body.get(names.next()?)?;
    names.try_fold(first, |value, name| value.members()?.get(name))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::core::json;
    use crate::core::prompt::{Role, Turn};

    fn mismatches(when: Value) -> Vec<String> {
        let when: RequestMatcher = serde_json::from_value(when).unwrap();
        let body = json::Document::read(br#"{"model":"gpt-4o","metadata":{"test":[1]}}"#).unwrap();
        let body = body.members();
        let turn = |role, text: &str| Turn { role, text: text.to_owned(), ..Turn::default() };
        let turns = vec![
            turn(Role::System, "be brief"),
            turn(Role::User, "weather in Rome?"),
            turn(Role::Assistant, ""),
            turn(Role::Tool, "sunny"),
        ];
        let read = || Prompt { turns: turns.clone(), ..Prompt::default() };
        when.mismatches(&MatchInput::new(body, "gpt-4o".into(), "/v1/chat/completions", &read))
            .iter()
            .map(ToString::to_string)
            .collect()
    }

    #[test]
    fn every_condition_that_does_not_hold_is_a_mismatch() {
        assert!(mismatches(json!({})).is_empty());
        let all = json!({
            "model": "gpt-*", "path": "/v1/*", "user": {"regex": "(?i)WEATHER"}, "system": {"exact": "be brief"},
            "tool_result": true, "turn": 2, "body": {"metadata.test": [1]},
        });
        assert!(mismatches(all).is_empty());
        let none = json!({
            "model": "o1", "path": "/v2/*", "user": "weather", "system": {"glob": "be*x"}, "tool_result": false, "turn": 1,
            "body": {"metadata.test": [2], "absent": null},
        });
        assert_eq!(
            mismatches(none),
            ["model", "path", "user", "system", "tool_result", "turn", "metadata.test", "absent"]
        );
    }

    #[test]
    fn a_wrong_condition_is_refused_with_a_remedy() {
        let problem = |value| serde_json::from_value::<RequestMatcher>(value).unwrap_err().to_string();
        assert_eq!(problem(json!({"user": {"regex": "("}})), "the regex `(` is not valid: unclosed group");
        assert!(problem(json!({"user": {"regex": r"\w{1000}"}})).contains("larger than 1 MiB"));
        assert!(problem(json!({"user": {"like": "x"}})).contains("exact"));
        for class in [json!({"model": "gpt-[45]*"}), json!({"path": {"glob": "/v[12]/*"}}), json!({"user": "[x]"})] {
            let refused = problem(class);
            assert!(refused.contains("character classes are not supported") && refused.contains("regex"), "{refused}");
        }
        let exact = json!({"user": {"exact": "[x]"}, "system": {"regex": r"\[x]"}, "model": "*x]"});
        assert!(serde_json::from_value::<RequestMatcher>(exact).is_ok());
        assert!(problem(json!({"users": "x"})).contains("unknown field"));
    }
}
