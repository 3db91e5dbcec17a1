//! The filters of the list of requests.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use actix_http::StatusCode;
use serde_json::{Map, Value};

use super::{Call, Problem};
use crate::{
    core::secret,
    engine::{Engine, Entry},
    traffic::matcher::{Matcher, TextPattern},
};

/// The parameters that are conditions of a matcher.
const CONDITIONS: [&str; 3] = ["model", "status", "outcome"];

/// The filters of a call. An entry has to pass all of them.
pub(super) struct Filter {
    scope: Option<String>,
    deployment: Option<TextPattern>,
    route: Option<TextPattern>,
    key_hash: Option<String>,
    call: Option<String>,
    /// Times since 1970.
    since: Option<Duration>,
    until: Option<Duration>,
    /// The conditions of other parameters, and of `when`.
    matchers: [Matcher; 2],
}

impl Filter {
    /// Reads the filters in the query of a call.
    ///
    /// # Errors
    /// A parameter has no such value.
    pub(super) fn new(call: &Call<'_>) -> Result<Self, Problem> {
        let text = |name| call.parameter(name).map(std::borrow::Cow::into_owned);
        let pattern = |name| {
            let read = |text: String| serde_json::from_value(Value::from(text));
            text(name).map(read).transpose().map_err(|error| wrong(name, &error))
        };
        let mut conditions = Map::new();
        for name in CONDITIONS {
            if let Some(text) = text(name) {
                conditions.insert(name.to_owned(), text.into());
            }
        }
        let conditions = Matcher::from_json(&conditions.into())
            .map_err(|error| Problem(StatusCode::BAD_REQUEST, format!("A parameter is wrong: {error}.")))?;
        let when = text("when").map(|text| text.parse::<Matcher>()).transpose();
        let when = when.map_err(|error| wrong("when", &error))?.unwrap_or_default();
        Ok(Filter {
            scope: text("scope"),
            deployment: pattern("deployment")?,
            route: pattern("route")?,
            key_hash: text("key_hash"),
            call: text("call"),
            since: time(call, "since")?,
            until: time(call, "until")?,
            matchers: [conditions, when],
        })
    }

    /// Returns true if an entry passes.
    pub(super) fn is_match(&self, engine: &Engine, entry: &Entry) -> bool {
        let is_text =
            |pattern: &Option<TextPattern>, text: &str| pattern.as_ref().is_none_or(|pattern| pattern.is_match(text));
        let is_call = |call: &String| entry.is_of_call(call);
        let is_key = |hash: &String| entry.key().is_some_and(|key| secret::fingerprint(key) == *hash);
        self.scope.as_ref().is_none_or(|scope| scope == entry.scope())
            && self.since.is_none_or(|since| entry.received() >= since)
            && self.until.is_none_or(|until| entry.received() < until)
            && is_text(&self.deployment, entry.deployment())
            && is_text(&self.route, entry.route())
            && self.key_hash.as_ref().is_none_or(is_key)
            && self.call.as_ref().is_none_or(is_call)
            && self.matchers.iter().all(|matcher| engine.is_match(entry, matcher))
    }
}

/// Reads a time: one in RFC 3339, or a duration before now.
fn time(call: &Call<'_>, name: &str) -> Result<Option<Duration>, Problem> {
    let Some(text) = call.parameter(name) else { return Ok(None) };
    let time = humantime::parse_duration(&text).ok().and_then(|ago| SystemTime::now().checked_sub(ago));
    let time = time.or_else(|| humantime::parse_rfc3339(&text).ok());
    match time {
        Some(time) => Ok(Some(time.duration_since(UNIX_EPOCH).unwrap_or_default())),
        None => Err(Problem(
            StatusCode::BAD_REQUEST,
            format!("`{name}={text}` is not a time; give one such as 2026-11-30T10:00:00Z, or 30s for 30 seconds ago."),
        )),
    }
}

fn wrong(name: &str, error: &dyn std::fmt::Display) -> Problem {
    Problem(StatusCode::BAD_REQUEST, format!("The parameter `{name}` is wrong: {error}."))
}
