//! Conditions on requests, for scripted replies and rules.

use std::{borrow::Cow, cell::OnceCell, fmt};

use regex::Regex;
use serde::{Deserialize, Deserializer, de::Error};
use serde_json::{Map, Value};

use super::mismatch::{Mismatch, cut, quoted};
use crate::core::{glob::Glob, json, pattern, prompt::Prompt, secret};

/// Conditions that must all hold for a request; without any, every request matches.
#[derive(Clone, Debug, Default, Deserialize, PartialEq)]
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
    /// Returns an estimate of the memory that the pattern takes, in bytes.
    fn memory(&self) -> usize {
        match self {
            TextPattern::Exact(text) => text.len(),
            TextPattern::Glob(glob) => glob.as_str().len(),
            TextPattern::Regex(regex) => regex.as_str().len() + pattern::size(regex.as_str()),
        }
    }

    fn is_match(&self, text: &str) -> bool {
        match self {
            TextPattern::Exact(exact) => exact == text,
            TextPattern::Glob(glob) => glob.matches(text),
            TextPattern::Regex(regex) => regex.is_match(text),
        }
    }
}

impl PartialEq for TextPattern {
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (TextPattern::Exact(one), TextPattern::Exact(other)) => one == other,
            (TextPattern::Glob(one), TextPattern::Glob(other)) => one == other,
            (TextPattern::Regex(one), TextPattern::Regex(other)) => one.as_str() == other.as_str(),
            _ => false,
        }
    }
}

impl fmt::Display for TextPattern {
    /// Renders the pattern as the expected value of a mismatch.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            TextPattern::Exact(text) => f.write_str(&quoted(text)),
            TextPattern::Glob(glob) if glob.is_name() => f.write_str(&quoted(glob.as_str())),
            TextPattern::Glob(glob) => write!(f, "a match of {}", quoted(glob.as_str())),
            TextPattern::Regex(regex) => write!(f, "a match of the regex {}", quoted(regex.as_str())),
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

/// Reads the text of a request that a condition is about.
type ReadText = for<'r, 'a, 'm> fn(&'r MatchInput<'a, 'm>) -> Cow<'r, str>;

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

    /// Returns true if all conditions hold for a request.
    pub fn is_match(&self, asked: &MatchInput<'_, '_>) -> bool {
        let mut texts = self.texts().into_iter();
        texts.all(|(_, pattern, read)| pattern.is_none_or(|pattern| pattern.is_match(&read(asked))))
            && self.tool_result.is_none_or(|wanted| wanted == asked.prompt().has_tool_result())
            && self.turn.is_none_or(|turn| turn == asked.prompt().turn())
            && self.body.iter().all(|(path, wanted)| has_member(asked.body, path, wanted))
    }

    /// Returns the conditions that do not hold for a request; none if it [`is_match`](Self::is_match).
    pub fn mismatches(&self, asked: &MatchInput<'_, '_>) -> Vec<Mismatch> {
        let mut mismatches = Vec::new();
        let mut add = |name: &str, expected: String, actual: String| {
            mismatches.push(Mismatch { name: cut(name).into_owned(), expected, actual });
        };
        for (name, pattern, read) in self.texts() {
            if let Some(pattern) = pattern.filter(|pattern| !pattern.is_match(&read(asked))) {
                add(name, pattern.to_string(), quoted(&read(asked)));
            }
        }
        if let Some(wanted) = self.tool_result.filter(|wanted| *wanted != asked.prompt().has_tool_result()) {
            add("tool_result", wanted.to_string(), (!wanted).to_string());
        }
        if let Some(turn) = self.turn.filter(|turn| *turn != asked.prompt().turn()) {
            add("turn", turn.to_string(), asked.prompt().turn().to_string());
        }
        for (path, wanted) in self.body.iter().filter(|(path, wanted)| !has_member(asked.body, path, wanted)) {
            let sent = member(asked.body, path).map(json::Value::text).map(String::from_utf8_lossy);
            let shown = |text: &str| secret::in_member(path, &cut(text)).into_owned();
            let actual = sent.map_or_else(|| "nothing".to_owned(), |sent| shown(&sent));
            add(path, shown(&wanted.to_string()), actual);
        }
        mismatches
    }

    /// Returns an estimate of the memory that the conditions take, in bytes.
    pub fn memory(&self) -> usize {
        let texts = self.texts().into_iter().filter_map(|(_, pattern, _)| pattern);
        let texts: usize = texts.map(TextPattern::memory).sum();
        let members = self.body.iter().map(|(path, value)| json::member_memory(path, value));
        texts + members.sum::<usize>()
    }

    /// Returns the conditions on texts, each with its name and the text that it is about.
    fn texts(&self) -> [(&'static str, Option<&TextPattern>, ReadText); 4] {
        [
            ("model", self.model.as_ref(), |asked| Cow::Borrowed(&*asked.model)),
            ("path", self.path.as_ref(), |asked| Cow::Borrowed(asked.path)),
            ("user", self.user.as_ref(), |asked| Cow::Borrowed(asked.prompt().last_user())),
            ("system", self.system.as_ref(), |asked| Cow::Owned(asked.prompt().system())),
        ]
    }

    /// Returns the number of conditions.
    pub fn conditions(&self) -> usize {
        let texts = self.texts().map(|(_, pattern, _)| pattern.is_some());
        let given = texts.into_iter().chain([self.tool_result.is_some(), self.turn.is_some()]);
        given.filter(|given| *given).count() + self.body.len()
    }
}

/// Returns true if a member of the body has this value.
fn has_member(body: json::Object<'_>, path: &str, wanted: &Value) -> bool {
    member(body, path).and_then(json::Value::to_value).as_ref() == Some(wanted)
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
        let input = MatchInput::new(body, "gpt-4o".into(), "/v1/chat/completions", &read);
        let mismatches: Vec<_> = when.mismatches(&input).iter().map(ToString::to_string).collect();
        assert_eq!(when.is_match(&input), mismatches.is_empty());
        mismatches
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
        let expected = [
            r#"model: expected "o1", got "gpt-4o""#,
            r#"path: expected a match of "/v2/*", got "/v1/chat/completions""#,
            r#"user: expected "weather", got "weather in Rome?""#,
            r#"system: expected a match of "be*x", got "be brief""#,
            "tool_result: expected false, got true",
            "turn: expected 1, got 2",
            "metadata.test: expected [2], got [1]",
            "absent: expected null, got nothing",
        ];
        assert_eq!(mismatches(none), expected);
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
