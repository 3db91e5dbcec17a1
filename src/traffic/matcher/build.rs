//! Conditions in Rust.

use http::HeaderName;
use serde_json::{Map, Value};

use super::{HeaderPattern, Matcher, TextPattern, body::BodyCondition};

/// A text as the argument of a condition is a glob. See [`TextPattern`] for others.
impl Matcher {
    /// Creates conditions that match every request.
    pub fn new() -> Self {
        Matcher::default()
    }

    /// Requires a model.
    pub fn model(self, pattern: impl Into<TextPattern>) -> Self {
        Matcher { model: Some(pattern.into()), ..self }
    }

    /// Requires a path.
    pub fn path(self, pattern: impl Into<TextPattern>) -> Self {
        Matcher { path: Some(pattern.into()), ..self }
    }

    /// Requires a method, in upper case.
    pub fn method(self, pattern: impl Into<TextPattern>) -> Self {
        Matcher { method: Some(pattern.into()), ..self }
    }

    /// Requires a text of the last user message.
    pub fn user(self, pattern: impl Into<TextPattern>) -> Self {
        Matcher { user: Some(pattern.into()), ..self }
    }

    /// Requires a text of the system instructions.
    pub fn system(self, pattern: impl Into<TextPattern>) -> Self {
        Matcher { system: Some(pattern.into()), ..self }
    }

    /// Requires an offered tool with this name.
    pub fn tool(self, pattern: impl Into<TextPattern>) -> Self {
        Matcher { tool: Some(pattern.into()), ..self }
    }

    /// Requires that a tool result follows the last user message, or that none does.
    pub fn tool_result(self, follows: bool) -> Self {
        Matcher { tool_result: Some(follows), ..self }
    }

    /// Requires this number of the model's turn, from 1.
    pub fn turn(self, turn: u64) -> Self {
        Matcher { turn: Some(turn), ..self }
    }

    /// Requires that the request wants a stream, or wants none.
    pub fn stream(self, is_stream: bool) -> Self {
        Matcher { stream: Some(is_stream), ..self }
    }

    /// Requires a header. One call adds one header.
    pub fn header(mut self, name: &str, pattern: impl Into<TextPattern>) -> Self {
        let header = HeaderName::from_bytes(name.as_bytes()).ok();
        self.header.push(HeaderPattern { name: name.to_owned(), header, pattern: pattern.into() });
        self
    }

    /// Requires a parameter of the query. One call adds one parameter.
    pub fn query(mut self, name: &str, pattern: impl Into<TextPattern>) -> Self {
        self.query.push((name.to_owned(), pattern.into()));
        self
    }

    /// Requires an API key, as the client sends it.
    pub fn key(self, pattern: impl Into<TextPattern>) -> Self {
        Matcher { key: Some(pattern.into()), ..self }
    }

    /// Requires a member of the body, by its path such as `metadata.test` or `messages[*].content`. One call adds one
    /// member.
    pub fn body(mut self, path: &str, value: impl Into<Value>) -> Self {
        self.body.push(BodyCondition::new(path, value.into()));
        self
    }

    /// Requires this number of the attempt, from 1.
    pub fn attempt(self, number: u64) -> Self {
        Matcher { attempt: Some(number), ..self }
    }

    /// Requires the status of an ended response.
    pub fn status(self, status: u16) -> Self {
        Matcher { status: Some(TextPattern::exact(status.to_string())), ..self }
    }

    /// Requires the outcome of an ended response: `complete`, `client_left`, `fault` or `drained`.
    pub fn outcome(self, pattern: impl Into<TextPattern>) -> Self {
        Matcher { outcome: Some(pattern.into()), ..self }
    }

    /// Returns the conditions as JSON, as in the `when` of a rule.
    pub(crate) fn to_json(&self) -> Value {
        let mut json = Map::new();
        let texts = [
            ("model", &self.model),
            ("path", &self.path),
            ("method", &self.method),
            ("user", &self.user),
            ("system", &self.system),
            ("tool", &self.tool),
            ("key", &self.key),
            ("status", &self.status),
            ("outcome", &self.outcome),
        ];
        let texts = texts.into_iter().filter_map(|(name, pattern)| Some((name, pattern.as_ref()?.to_json())));
        let others = [
            ("tool_result", self.tool_result.map(Value::from)),
            ("turn", self.turn.map(Value::from)),
            ("stream", self.stream.map(Value::from)),
            ("attempt", self.attempt.map(Value::from)),
        ];
        let others = others.into_iter().filter_map(|(name, value)| Some((name, value?)));
        json.extend(texts.chain(others).map(|(name, value)| (name.to_owned(), value)));
        let maps: [(&str, Map<String, Value>); 3] = [
            ("header", self.header.iter().map(|header| (header.name.clone(), header.pattern.to_json())).collect()),
            ("query", self.query.iter().map(|(name, pattern)| (name.clone(), pattern.to_json())).collect()),
            ("body", self.body.iter().map(BodyCondition::to_json).collect()),
        ];
        let maps = maps.into_iter().filter(|(_, map)| !map.is_empty());
        json.extend(maps.map(|(name, map)| (name.to_owned(), map.into())));
        json.into()
    }
}
