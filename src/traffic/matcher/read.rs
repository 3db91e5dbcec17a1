//! Conditions as JSON.

use std::str::FromStr;

use http::HeaderName;
use serde::{Deserialize, Deserializer, de::Error};
use serde_json::{Map, Value};

use super::{HeaderPattern, Matcher, OUTCOMES, TextPattern};
use crate::core::suggest::{did_you_mean, suggest_in};

/// The error for a list, which serde would read as the members in their order.
const LIST: &str = r#"it is a list; write an object such as {"model": "gpt-4o"}"#;

impl Matcher {
    /// Reads conditions as in the `when` of a rule: `{"model": "gpt-4o"}`.
    ///
    /// # Errors
    /// The text names the mistake.
    pub fn from_json(json: &Value) -> Result<Self, String> {
        if json.is_array() {
            return Err(LIST.to_owned());
        }
        Matcher::deserialize(json).map_err(|error| suggest_in(error.to_string()))
    }
}

impl FromStr for Matcher {
    type Err = String;

    /// Reads conditions as in the `when` of a rule: `{"model": "gpt-4o"}`.
    fn from_str(text: &str) -> Result<Self, String> {
        if text.trim_start().starts_with('[') {
            return Err(LIST.to_owned());
        }
        serde_json::from_str(text).map_err(|error| suggest_in(error.to_string()))
    }
}

pub(super) fn headers<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<HeaderPattern>, D::Error> {
    let read = |(name, pattern): (String, TextPattern)| match HeaderName::from_bytes(name.as_bytes()) {
        Ok(header) => Ok(HeaderPattern { name, header: Some(header), pattern }),
        Err(_) => {
            Err(D::Error::custom(format_args!("`{name}` is not the name of a header; write one such as `x-team`")))
        }
    };
    patterns(deserializer)?.into_iter().map(read).collect()
}

pub(super) fn parameters<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<(String, TextPattern)>, D::Error> {
    patterns(deserializer)
}

fn patterns<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<(String, TextPattern)>, D::Error> {
    let read = |(name, value): (String, Value)| {
        let pattern =
            TextPattern::deserialize(value).map_err(|error| D::Error::custom(format_args!("{name}: {error}")));
        Ok((name, pattern?))
    };
    Map::deserialize(deserializer)?.into_iter().map(read).collect()
}

/// Reads a status: `429`, `"4*"` or `"4xx"`.
pub(super) fn status<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<TextPattern>, D::Error> {
    let value = Value::deserialize(deserializer)?;
    let pattern = match &value {
        Value::Null => return Ok(None),
        Value::Number(number) => TextPattern::exact(number.to_string()),
        Value::String(text) => match text.strip_suffix("xx") {
            Some(class) => format!("{class}*").into(),
            None => TextPattern::deserialize(&value).map_err(D::Error::custom)?,
        },
        _ => TextPattern::deserialize(&value).map_err(D::Error::custom)?,
    };
    let is_status = |text: &str| text.parse().is_ok_and(|status: u16| (100..1000).contains(&status));
    match pattern.only_text().filter(|text| !is_status(text)) {
        None => Ok(Some(pattern)),
        Some(_) => Err(D::Error::custom(format_args!("{value} is not a status; write one such as 429, or \"4xx\""))),
    }
}

pub(super) fn outcome<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<TextPattern>, D::Error> {
    let Some(pattern) = Option::<TextPattern>::deserialize(deserializer)? else { return Ok(None) };
    match pattern.only_text().filter(|text| !OUTCOMES.contains(text)) {
        None => Ok(Some(pattern)),
        Some(text) => {
            let near = did_you_mean(text, OUTCOMES);
            let remedy = near.unwrap_or_else(|| format!("write one of {}", OUTCOMES.join(", ")));
            Err(D::Error::custom(format_args!("`{text}` is not an outcome; {remedy}")))
        }
    }
}
