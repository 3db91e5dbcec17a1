//! Conditions in Rust.

use http::HeaderName;
use serde_json::Value;

use super::{HeaderPattern, Matcher, TextPattern};

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

    /// Requires a member of the body, by its path such as `metadata.test`. One call adds one member.
    pub fn body(mut self, path: &str, value: impl Into<Value>) -> Self {
        self.body.insert(path.to_owned(), value.into());
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
}
