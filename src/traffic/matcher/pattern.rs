//! Patterns for texts.

use std::fmt;

use regex::Regex;
use serde::{Deserialize, Deserializer, de::Error};
use serde_json::{Value, json};

use crate::{
    core::{glob::Glob, pattern},
    traffic::mismatch::quoted,
};

/// A condition on a text: a glob as a string, or `{"exact": …}`, `{"glob": …}` or `{"regex": …}`.
#[derive(Clone, Debug)]
pub struct TextPattern(Kind);

#[derive(Clone, Debug)]
enum Kind {
    Exact(String),
    Glob(Glob),
    Regex(Regex),
}

impl From<&str> for TextPattern {
    /// Creates a glob: `*` matches any run of characters, and every other character matches itself.
    fn from(text: &str) -> Self {
        TextPattern(Kind::Glob(Glob::new(text.to_owned())))
    }
}

impl From<String> for TextPattern {
    /// Creates a glob: `*` matches any run of characters, and every other character matches itself.
    fn from(text: String) -> Self {
        TextPattern(Kind::Glob(Glob::new(text)))
    }
}

impl<'de> Deserialize<'de> for TextPattern {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let value = Value::deserialize(deserializer)?;
        let tagged = value.as_object().filter(|map| map.len() == 1).and_then(|map| map.iter().next());
        let glob = |text: &str| {
            let glob = Glob::try_from(text.to_owned()).map(|glob| TextPattern(Kind::Glob(glob)));
            glob.map_err(|problem| D::Error::custom(format_args!(r#"{problem}, or {{"exact": …}} or {{"regex": …}}"#)))
        };
        match (value.as_str(), tagged.and_then(|(kind, text)| Some((kind.as_str(), text.as_str()?)))) {
            (Some(text), _) => glob(text),
            (_, Some(("exact", text))) => Ok(TextPattern::exact(text)),
            (_, Some(("glob", text))) => glob(text),
            (_, Some(("regex", text))) => TextPattern::regex(text).map_err(D::Error::custom),
            _ => Err(D::Error::custom(
                r#"a condition on a text is a string or an object with one member; write a string with `*`, {"exact": …}, {"glob": …} or {"regex": …}"#,
            )),
        }
    }
}

impl TextPattern {
    /// Creates a pattern that matches this text alone, stars included.
    pub fn exact(text: impl Into<String>) -> Self {
        TextPattern(Kind::Exact(text.into()))
    }

    /// Creates a regular expression that matches anywhere in a text, unless it has anchors.
    ///
    /// # Errors
    /// The expression is not valid, or too large.
    pub fn regex(text: &str) -> Result<Self, String> {
        pattern::compile(text).map(|regex| TextPattern(Kind::Regex(regex)))
    }

    /// Returns the one text that the pattern matches, if there is one.
    pub(crate) fn only_text(&self) -> Option<&str> {
        match &self.0 {
            Kind::Exact(text) => Some(text),
            Kind::Glob(glob) if glob.is_name() => Some(glob.as_str()),
            _ => None,
        }
    }

    /// Returns the pattern as JSON, as in a condition.
    pub(super) fn to_json(&self) -> Value {
        match &self.0 {
            Kind::Exact(text) => json!({"exact": text}),
            Kind::Glob(glob) => glob.as_str().into(),
            Kind::Regex(regex) => json!({"regex": regex.as_str()}),
        }
    }

    /// Returns an estimate of the memory that the pattern takes, in bytes.
    pub(super) fn memory(&self) -> usize {
        match &self.0 {
            Kind::Exact(text) => text.len(),
            Kind::Glob(glob) => glob.as_str().len(),
            Kind::Regex(regex) => regex.as_str().len() + pattern::size(regex.as_str()),
        }
    }

    /// Returns true if the pattern matches `text`.
    #[inline]
    pub(crate) fn is_match(&self, text: &str) -> bool {
        match &self.0 {
            Kind::Exact(exact) => exact == text,
            Kind::Glob(glob) => glob.matches(text),
            Kind::Regex(regex) => regex.is_match(text),
        }
    }
}

impl PartialEq for TextPattern {
    fn eq(&self, other: &Self) -> bool {
        match (&self.0, &other.0) {
            (Kind::Exact(one), Kind::Exact(other)) => one == other,
            (Kind::Glob(one), Kind::Glob(other)) => one == other,
            (Kind::Regex(one), Kind::Regex(other)) => one.as_str() == other.as_str(),
            _ => false,
        }
    }
}

impl fmt::Display for TextPattern {
    /// Renders the pattern as the expected value of a mismatch.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Kind::Exact(text) => f.write_str(&quoted(text)),
            Kind::Glob(glob) if glob.is_name() => f.write_str(&quoted(glob.as_str())),
            Kind::Glob(glob) => write!(f, "a match of {}", quoted(glob.as_str())),
            Kind::Regex(regex) => write!(f, "a match of the regex {}", quoted(regex.as_str())),
        }
    }
}
