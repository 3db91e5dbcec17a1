//! Predicates: for which requests a reply is said.

use std::{borrow::Cow, cell::OnceCell};

use regex::Regex;
use serde::{Deserialize, Deserializer, de::Error};
use serde_json::{Map, Value};
use smallvec::SmallVec;

use crate::core::{glob::Glob, json, pattern, prompt::Prompt};

/// What a request must be like. All that is given must hold; nothing given holds always.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RequestMatcher {
    /// The model asked for.
    model: Option<Pattern>,
    /// The path.
    path: Option<Pattern>,
    /// What the user said last.
    user: Option<Pattern>,
    /// The instructions.
    system: Option<Pattern>,
    /// Whether a tool has returned something since the user spoke last.
    tool_result: Option<bool>,
    /// The number of the model's turn, from 1.
    turn: Option<u64>,
    /// Members of the body by path, such as `metadata.test`, and the values that they must have.
    body: Map<String, Value>,
}

/// What a text must be: a string with `*` for any run of characters, or `{"exact": …}`, `{"glob": …}`, `{"regex": …}`.
#[derive(Clone, Debug)]
enum Pattern {
    Exact(String),
    Glob(Glob),
    Regex(Regex),
}

impl<'de> Deserialize<'de> for Pattern {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let value = Value::deserialize(deserializer)?;
        let tagged = value.as_object().filter(|map| map.len() == 1).and_then(|map| map.iter().next());
        let glob = |text: &str| {
            let glob = Glob::try_from(text.to_owned()).map(Pattern::Glob);
            glob.map_err(|problem| D::Error::custom(format_args!(r#"{problem}, or {{"exact": …}} or {{"regex": …}}"#)))
        };
        match (value.as_str(), tagged.and_then(|(kind, text)| Some((kind.as_str(), text.as_str()?)))) {
            (Some(text), _) => glob(text),
            (_, Some(("exact", text))) => Ok(Pattern::Exact(text.to_owned())),
            (_, Some(("glob", text))) => glob(text),
            (_, Some(("regex", text))) => pattern::compile(text).map(Pattern::Regex).map_err(D::Error::custom),
            _ => Err(D::Error::custom(
                r#"a text is matched by a string with `*`, or by {"exact": …}, {"glob": …} or {"regex": …}"#,
            )),
        }
    }
}

impl Pattern {
    fn fits(&self, text: &str) -> bool {
        match self {
            Pattern::Exact(exact) => exact == text,
            Pattern::Glob(glob) => glob.fits(text),
            Pattern::Regex(regex) => regex.is_match(text),
        }
    }
}

/// A request as predicates see it: its body, and the prompt in it once somebody asks for that.
pub struct MatchInput<'a, 'm> {
    /// The members of the body.
    pub body: json::Object<'m>,
    /// The model that is asked for.
    model: Cow<'a, str>,
    path: &'a str,
    read: &'a (dyn Fn() -> Prompt + 'a),
    prompt: OnceCell<Prompt>,
}

impl<'a, 'm> MatchInput<'a, 'm> {
    /// A request to `model` at this path and with this body, whose prompt is read by `read` when it is wanted.
    pub fn new(
        body: json::Object<'m>,
        model: Cow<'a, str>,
        path: &'a str,
        read: &'a (dyn Fn() -> Prompt + 'a),
    ) -> Self {
        MatchInput { body, model, path, read, prompt: OnceCell::new() }
    }

    /// The prompt.
    pub fn prompt(&self) -> &Prompt {
        self.prompt.get_or_init(self.read)
    }
}

impl RequestMatcher {
    /// Whether it holds for every request.
    pub fn is_always(&self) -> bool {
        self.conditions() == 0
    }

    /// The name of the one model that it holds for, if it asks for nothing else.
    pub fn only_model(&self) -> Option<&str> {
        match &self.model {
            Some(Pattern::Exact(model)) if self.conditions() == 1 => Some(model),
            Some(Pattern::Glob(model)) if self.conditions() == 1 && model.is_name() => Some(model.as_str()),
            _ => None,
        }
    }

    fn conditions(&self) -> usize {
        let texts = [&self.model, &self.path, &self.user, &self.system].map(Option::is_some);
        let given = texts.into_iter().chain([self.tool_result.is_some(), self.turn.is_some()]);
        given.filter(|given| *given).count() + self.body.len()
    }

    /// The names of the conditions that do not hold; none if it holds.
    pub fn mismatches(&self, asked: &MatchInput<'_, '_>) -> SmallVec<[&str; 4]> {
        let mut mismatches = SmallVec::new();
        let mut want = |name, holds: Option<bool>| {
            if holds == Some(false) {
                mismatches.push(name);
            }
        };
        want("model", self.model.as_ref().map(|model| model.fits(&asked.model)));
        want("path", self.path.as_ref().map(|path| path.fits(asked.path)));
        want("user", self.user.as_ref().map(|user| user.fits(asked.prompt().last_user())));
        want("system", self.system.as_ref().map(|system| system.fits(&asked.prompt().system())));
        want("tool_result", self.tool_result.map(|wanted| wanted == asked.prompt().has_tool_result()));
        want("turn", self.turn.map(|turn| turn == asked.prompt().turn()));
        for (path, wanted) in &self.body {
            want(path, Some(member(asked.body, path).and_then(json::Value::to_value).as_ref() == Some(wanted)));
        }
        mismatches
    }
}

/// A member by its path, such as `metadata.test`.
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
    fn all_conditions_must_hold() {
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
    fn a_wrong_pattern_is_told() {
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
