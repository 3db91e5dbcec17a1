//! Numbers of requests.

use std::fmt;

use serde::{Deserialize, Deserializer, de::Error};
use serde_json::Value;

/// The number of requests that are expected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Times {
    at_least: u64,
    at_most: Option<u64>,
}

impl Times {
    /// This number of requests.
    pub fn exactly(times: u64) -> Self {
        Times::between(times, times)
    }

    /// This number of requests, or more.
    pub fn at_least(times: u64) -> Self {
        Times { at_least: times, at_most: None }
    }

    /// This number of requests, or fewer.
    pub fn at_most(times: u64) -> Self {
        Times::between(0, times)
    }

    /// A number of requests from one bound to the other, both included.
    pub fn between(least: u64, most: u64) -> Self {
        Times { at_least: least, at_most: Some(most) }
    }

    /// No request.
    pub fn never() -> Self {
        Times::exactly(0)
    }

    pub(super) fn is_too_few(self, count: u64) -> bool {
        count < self.at_least
    }

    pub(super) fn is_too_many(self, count: u64) -> bool {
        self.at_most.is_some_and(|most| count > most)
    }

    /// Returns true if it holds before the first request, so that only more requests can change it.
    pub(super) fn holds_at_first(self) -> bool {
        self.at_least == 0
    }
}

impl Default for Times {
    /// One request, or more.
    fn default() -> Self {
        Times::at_least(1)
    }
}

impl fmt::Display for Times {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Times { at_least, at_most: None } => write!(f, "at least {at_least}"),
            Times { at_least: least, at_most: Some(most) } if least == most => write!(f, "exactly {most}"),
            Times { at_least: 0, at_most: Some(most) } => write!(f, "at most {most}"),
            Times { at_least, at_most: Some(most) } => write!(f, "between {at_least} and {most}"),
        }
    }
}

impl<'de> Deserialize<'de> for Times {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        /// The members of a number with bounds.
        #[derive(Deserialize)]
        #[serde(deny_unknown_fields, rename = "count")]
        struct Bounds {
            at_least: Option<u64>,
            at_most: Option<u64>,
        }
        let value = Value::deserialize(deserializer)?;
        if let Some(times) = value.as_u64() {
            return Ok(Times::exactly(times));
        }
        let wrong = r#"write a number such as 2, or {"at_least": 1, "at_most": 3}"#;
        if !value.is_object() {
            return Err(D::Error::custom(format_args!("`count` {value} is not a number of requests; {wrong}")));
        }
        match Bounds::deserialize(value).map_err(D::Error::custom)? {
            Bounds { at_least: None, at_most: None } => {
                Err(D::Error::custom(format_args!("`count` is empty; {wrong}")))
            }
            Bounds { at_least: Some(least), at_most: Some(most) } if least > most => {
                Err(D::Error::custom(format_args!(
                    "`count` is at least {least} and at most {most}, which is no number; give at_most {least} or more"
                )))
            }
            Bounds { at_least, at_most } => Ok(Times { at_least: at_least.unwrap_or(0), at_most }),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn numbers_are_read_and_rendered() {
        let read = |json: Value| Times::deserialize(json).map(|times| times.to_string()).map_err(|e| e.to_string());
        for (json, text) in [
            (json!(2), "exactly 2"),
            (json!(0), "exactly 0"),
            (json!({"at_least": 2}), "at least 2"),
            (json!({"at_most": 2}), "at most 2"),
            (json!({"at_least": 1, "at_most": 3}), "between 1 and 3"),
        ] {
            assert_eq!(read(json).as_deref(), Ok(text));
        }
        for wrong in [json!(-1), json!("2"), json!({}), json!({"atleast": 1}), json!({"at_least": 3, "at_most": 1})] {
            assert!(read(wrong.clone()).is_err(), "{wrong}");
        }
    }
}
