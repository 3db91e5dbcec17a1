//! Members that are a time, an interval after another member.

use serde::Deserialize;
use serde_json::{Map, Value};

/// A time that is computed from another member.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Deadline {
    /// The member with the start time, in Unix seconds.
    after: String,
    /// Paths in the request body that may hold the interval; the first one present counts.
    by: Vec<String>,
    /// Number of seconds in one unit of the interval.
    #[serde(default = "default_seconds")]
    seconds: u64,
}

fn default_seconds() -> u64 {
    1
}

impl Deadline {
    /// Returns the interval in seconds, if the request has one. Form fields are strings.
    pub(crate) fn wait(&self, sent: &Map<String, Value>) -> Option<u64> {
        let found = self.by.iter().find_map(|path| {
            let mut names = path.split('.');
            let first = sent.get(names.next()?)?;
            names.try_fold(first, |value, name| value.get(name))
        })?;
        let number = found.as_u64().or_else(|| found.as_str()?.parse().ok())?;
        Some(number.saturating_mul(self.seconds))
    }

    /// Returns the start time plus `wait` seconds.
    pub(crate) fn time(&self, object: &Map<String, Value>, wait: u64) -> Value {
        object.get(&self.after).and_then(Value::as_u64).map_or(Value::Null, |from| from.saturating_add(wait).into())
    }
}
