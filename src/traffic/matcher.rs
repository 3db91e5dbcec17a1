//! Conditions on requests, for scripted replies, rules and verification.

mod body;
mod build;
mod input;
mod pattern;
mod read;
#[cfg(test)]
mod tests;

use std::{borrow::Cow, ops::Deref};

use http::HeaderName;
use serde::{Deserialize, Deserializer, de::Error};

use self::body::BodyCondition;
pub use self::{
    input::{MatchInput, RecordedEnd, RequestRecord},
    pattern::TextPattern,
};
use super::mismatch::{Mismatch, cut, quoted};
use crate::core::secret;

/// The names of outcomes that a condition can require.
pub const OUTCOMES: [&str; 4] = ["complete", "client_left", "fault", "drained"];

/// Conditions that must all hold for a request; without any, every request matches.
///
/// They are the `when` of [rules](crate::Rule) and scripted replies, and select recorded requests:
///
/// ```
/// use fake_openai::{Matcher, TextPattern};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let built = Matcher::new().model("gpt-4*").user(TextPattern::regex("^weather")?).status(200);
/// let read: Matcher = r#"{"model": "gpt-4*", "user": {"regex": "^weather"}, "status": 200}"#.parse()?;
/// assert_eq!(built, read);
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug, Default, Deserialize, PartialEq)]
#[serde(deny_unknown_fields, default)]
pub struct Matcher {
    /// The requested model.
    model: Option<TextPattern>,
    /// The path of the request.
    path: Option<TextPattern>,
    /// The method of the request.
    method: Option<TextPattern>,
    /// The last user message.
    user: Option<TextPattern>,
    /// The system instructions.
    system: Option<TextPattern>,
    /// The name of one of the offered tools.
    tool: Option<TextPattern>,
    /// True if a tool result follows the last user message.
    tool_result: Option<bool>,
    /// Number of the model's turn, from 1.
    turn: Option<u64>,
    /// True if the request wants a stream.
    stream: Option<bool>,
    /// Headers of the request.
    #[serde(deserialize_with = "read::headers")]
    header: Vec<HeaderPattern>,
    /// Parameters of the query, decoded.
    #[serde(deserialize_with = "read::parameters")]
    query: Vec<(String, TextPattern)>,
    /// The API key as the client sent it, without the faults after it.
    key: Option<TextPattern>,
    /// Members of the body by path, such as `metadata.test`, and their required values.
    #[serde(deserialize_with = "body::conditions")]
    body: Vec<BodyCondition>,
    /// Number of the attempt of a call, from 1.
    attempt: Option<u64>,
    /// The status of the response.
    #[serde(deserialize_with = "read::status")]
    status: Option<TextPattern>,
    /// The outcome of the request: one of [`OUTCOMES`].
    #[serde(deserialize_with = "read::outcome")]
    outcome: Option<TextPattern>,
}

/// A condition on a header.
#[derive(Clone, Debug, PartialEq)]
struct HeaderPattern {
    /// The name as it was written.
    name: String,
    /// The name; `None` if no header can have it.
    header: Option<HeaderName>,
    pattern: TextPattern,
}

/// Conditions that are decided before there is a response.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct RequestMatcher(Matcher);

impl Deref for RequestMatcher {
    type Target = Matcher;

    fn deref(&self) -> &Matcher {
        &self.0
    }
}

impl<'de> Deserialize<'de> for RequestMatcher {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        RequestMatcher::try_from(Matcher::deserialize(deserializer)?).map_err(D::Error::custom)
    }
}

impl TryFrom<Matcher> for RequestMatcher {
    type Error = String;

    fn try_from(matcher: Matcher) -> Result<Self, String> {
        let later = [("status", matcher.status.is_some()), ("outcome", matcher.outcome.is_some())];
        match later.iter().find(|(_, given)| *given) {
            None => Ok(RequestMatcher(matcher)),
            Some((name, _)) => Err(format!(
                "`{name}` is known only after this is decided; remove it here, and use it in GET /__admin/requests and \
                 POST /__admin/verify"
            )),
        }
    }
}

/// A condition on a text: its name, its pattern and the text that it is about.
struct TextCondition<'c> {
    name: &'static str,
    pattern: Option<&'c TextPattern>,
    read: for<'r, 'a, 'm> fn(&'r MatchInput<'a, 'm>) -> Cow<'r, str>,
}

impl Matcher {
    /// Returns true if it matches every request.
    pub fn is_always(&self) -> bool {
        self.conditions() == 0
    }

    /// Returns the model if the only condition is one model's full name.
    pub fn only_model(&self) -> Option<&str> {
        self.model.as_ref()?.only_text().filter(|_| self.conditions() == 1)
    }

    /// Returns true if a condition is about the body, beyond its model.
    pub fn reads_body(&self) -> bool {
        self.user.is_some()
            || self.system.is_some()
            || self.tool.is_some()
            || self.tool_result.is_some()
            || self.turn.is_some()
            || self.stream.is_some()
            || !self.body.is_empty()
    }

    /// Returns true if a condition can only hold when the response has ended.
    pub fn needs_end(&self) -> bool {
        self.status.is_some() || self.outcome.is_some()
    }

    /// Returns true if a condition is about the number of the attempt.
    pub fn reads_attempt(&self) -> bool {
        self.attempt.is_some()
    }

    /// Returns true if all conditions hold for a request.
    pub fn is_match(&self, asked: &MatchInput<'_, '_>) -> bool {
        if asked.kept_body().is_some() && self.reads_body() {
            return self.mismatches(asked).is_empty();
        }
        let mut texts = self.texts().into_iter();
        texts.all(|text| text.pattern.is_none_or(|pattern| pattern.is_match(&(text.read)(asked))))
            && self.tool.as_ref().is_none_or(|tool| offers_tool(asked, tool))
            && self.tool_result.is_none_or(|wanted| wanted == asked.prompt().has_tool_result())
            && self.turn.is_none_or(|turn| turn == asked.prompt().turn())
            && self.stream.is_none_or(|stream| stream == asked.is_stream())
            && self.header.iter().all(|header| header.is_match(asked))
            && self.query.iter().all(|(name, pattern)| is_parameter(asked, name, pattern))
            && self.key.as_ref().is_none_or(|key| key.is_match(asked.key().unwrap_or_default()))
            && self.body.iter().all(|condition| condition.is_match(asked.body))
            && self.attempt.is_none_or(|attempt| Some(attempt) == asked.attempt())
            && self.status.as_ref().is_none_or(|pattern| is_status(asked, pattern))
            && self.outcome.as_ref().is_none_or(|pattern| is_outcome(asked, pattern))
    }

    /// Returns the conditions that do not hold for a request; none if it [`is_match`](Self::is_match).
    pub fn mismatches(&self, asked: &MatchInput<'_, '_>) -> Vec<Mismatch> {
        let mut found = Vec::new();
        let mut add = |name: &str, expected: String, actual: String| {
            found.push(Mismatch { name: cut(name).into_owned(), expected, actual });
        };
        let unread = asked
            .kept_body()
            .map(|kept| format!("a body of which the journal kept only {kept} bytes; raise --journal-body"));
        // The value of a part of the body, or the reason that it is not known.
        let of_body = |value: String| unread.clone().unwrap_or(value);
        for TextCondition { name, pattern, read } in self.texts() {
            let is_of_body = ["user", "system"].contains(&name);
            let Some(pattern) = pattern else { continue };
            if is_of_body && unread.is_some() {
                add(name, pattern.to_string(), of_body(String::new()));
            } else if !pattern.is_match(&read(asked)) {
                add(name, pattern.to_string(), quoted(&read(asked)));
            }
        }
        if let Some(tool) = self.tool.as_ref().filter(|tool| unread.is_some() || !offers_tool(asked, tool)) {
            let names: Vec<_> = asked.prompt().tools.iter().map(|tool| quoted(&tool.name)).collect();
            let offered = if names.is_empty() { "nothing".to_owned() } else { cut(&names.join(", ")).into_owned() };
            add("tool", tool.to_string(), of_body(offered));
        }
        let has_result = || asked.prompt().has_tool_result();
        if let Some(wanted) = self.tool_result.filter(|wanted| unread.is_some() || *wanted != has_result()) {
            add("tool_result", wanted.to_string(), of_body((!wanted).to_string()));
        }
        if let Some(turn) = self.turn.filter(|turn| unread.is_some() || *turn != asked.prompt().turn()) {
            add("turn", turn.to_string(), of_body(asked.prompt().turn().to_string()));
        }
        let is_unknown = unread.is_some() && !asked.is_stream();
        if let Some(stream) = self.stream.filter(|stream| is_unknown || *stream != asked.is_stream()) {
            add("stream", stream.to_string(), if is_unknown { of_body(String::new()) } else { (!stream).to_string() });
        }
        for header in self.header.iter().filter(|header| !header.is_match(asked)) {
            let actual = header.header.as_ref().and_then(|name| asked.header(name));
            let (expected, actual) = shown_pair(&header.name, &header.pattern, actual);
            add(&format!("header.{}", header.name), expected, actual);
        }
        for (name, pattern) in self.query.iter().filter(|(name, pattern)| !is_parameter(asked, name, pattern)) {
            let (expected, actual) = shown_pair(name, pattern, asked.parameter(name).as_deref());
            add(&format!("query.{name}"), expected, actual);
        }
        if let Some(key) = self.key.as_ref().filter(|key| !key.is_match(asked.key().unwrap_or_default())) {
            let (expected, actual) = shown_pair("api_key", key, asked.key());
            add("key", expected, actual);
        }
        for condition in &self.body {
            if unread.is_none() && condition.is_match(asked.body) {
                continue;
            }
            let shown = |text: &str| body::shown(&condition.path, &cut(text)).into_owned();
            let actual = condition.actual(asked.body).map_or_else(|| "nothing".to_owned(), |sent| shown(&sent));
            add(&condition.path, shown(&condition.expected()), of_body(actual));
        }
        self.add_later(asked, &mut add);
        found
    }

    /// Adds the mismatches of conditions on what is known after the request was received.
    fn add_later(&self, asked: &MatchInput<'_, '_>, add: &mut impl FnMut(&str, String, String)) {
        if let Some(attempt) = self.attempt.filter(|attempt| Some(*attempt) != asked.attempt()) {
            let actual = asked.attempt().map_or_else(|| "nothing".to_owned(), |attempt| attempt.to_string());
            add("attempt", attempt.to_string(), actual);
        }
        let open = || "a response that is still open".to_owned();
        if let Some(status) = self.status.as_ref().filter(|pattern| !is_status(asked, pattern)) {
            let expected = status.only_text().map_or_else(|| status.to_string(), str::to_owned);
            let code = |status: Option<u16>| status.map_or_else(|| "nothing".to_owned(), |status| status.to_string());
            add("status", expected, asked.end().map_or_else(open, |end| code(end.status)));
        }
        if let Some(outcome) = self.outcome.as_ref().filter(|pattern| !is_outcome(asked, pattern)) {
            add("outcome", outcome.to_string(), asked.end().map_or_else(open, |end| quoted(end.outcome)));
        }
    }

    /// Returns an estimate of the memory that the conditions take, in bytes.
    pub fn memory(&self) -> usize {
        let texts = self.texts().into_iter().filter_map(|text| text.pattern);
        let others = [&self.tool, &self.key, &self.status, &self.outcome].into_iter().filter_map(Option::as_ref);
        let named = self.header.iter().map(|header| (&header.name, &header.pattern));
        let named = named.chain(self.query.iter().map(|(name, pattern)| (name, pattern)));
        let named = named.map(|(name, pattern)| size_of::<HeaderPattern>() + 2 * name.len() + pattern.memory());
        let members = self.body.iter().map(BodyCondition::memory);
        texts.chain(others).map(TextPattern::memory).chain(named).chain(members).sum()
    }

    /// Returns the conditions on texts that every request has.
    fn texts(&self) -> [TextCondition<'_>; 5] {
        let text = |name, pattern, read| TextCondition { name, pattern, read };
        [
            text("model", self.model.as_ref(), |asked| Cow::Borrowed(&*asked.model)),
            text("path", self.path.as_ref(), |asked| Cow::Borrowed(asked.path())),
            text("method", self.method.as_ref(), |asked| Cow::Borrowed(asked.method())),
            text("user", self.user.as_ref(), |asked| Cow::Borrowed(asked.prompt().last_user())),
            text("system", self.system.as_ref(), |asked| Cow::Owned(asked.prompt().system())),
        ]
    }

    /// Returns the number of conditions.
    pub fn conditions(&self) -> usize {
        let texts = self.texts().map(|text| text.pattern.is_some());
        let others = [
            self.tool.is_some(),
            self.tool_result.is_some(),
            self.turn.is_some(),
            self.stream.is_some(),
            self.key.is_some(),
            self.attempt.is_some(),
            self.status.is_some(),
            self.outcome.is_some(),
        ];
        let given = texts.into_iter().chain(others).filter(|given| *given).count();
        given + self.header.len() + self.query.len() + self.body.len()
    }
}

impl HeaderPattern {
    fn is_match(&self, asked: &MatchInput<'_, '_>) -> bool {
        let sent = self.header.as_ref().and_then(|name| asked.header(name));
        sent.is_some_and(|value| self.pattern.is_match(value))
    }
}

fn is_parameter(asked: &MatchInput<'_, '_>, name: &str, pattern: &TextPattern) -> bool {
    asked.parameter(name).is_some_and(|value| pattern.is_match(&value))
}

fn offers_tool(asked: &MatchInput<'_, '_>, pattern: &TextPattern) -> bool {
    asked.prompt().tools.iter().any(|tool| pattern.is_match(&tool.name))
}

fn is_status(asked: &MatchInput<'_, '_>, pattern: &TextPattern) -> bool {
    let status = asked.end().and_then(|end| end.status);
    status.is_some_and(|status| pattern.is_match(&status.to_string()))
}

fn is_outcome(asked: &MatchInput<'_, '_>, pattern: &TextPattern) -> bool {
    asked.end().is_some_and(|end| pattern.is_match(end.outcome))
}

/// Renders the expected and the actual value of a header or parameter. Both are masked if its name is that of a secret.
fn shown_pair(name: &str, pattern: &TextPattern, actual: Option<&str>) -> (String, String) {
    let is_secret = secret::is_secret_name(name);
    let expected = if is_secret { secret::HIDDEN.to_owned() } else { pattern.to_string() };
    let actual = match actual {
        None => "nothing".to_owned(),
        Some(_) if is_secret => format!("another {}", secret::HIDDEN),
        Some(actual) => quoted(actual),
    };
    (expected, actual)
}

#[cfg(test)]
pub(crate) use self::input::tests::chat_request;
