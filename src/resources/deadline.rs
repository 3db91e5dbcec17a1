//! Members that are times, so long after others as was sent.

use serde::Deserialize;
use serde_json::{Map, Value};

/// A time that follows upon another member.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Deadline {
    /// That member, in seconds.
    after: String,
    /// Where what was sent says by how much, by their path; the first that is there.
    by: Vec<String>,
    /// How many seconds each of that is.
    #[serde(default = "default_seconds")]
    seconds: u64,
}

fn default_seconds() -> u64 {
    1
}

impl Deadline {
    /// By how many seconds, if that was sent. In a form every number is a text.
    pub(crate) fn wait(&self, sent: &Map<String, Value>) -> Option<u64> {
        let found = self.by.iter().find_map(|path| {
            let mut names = path.split('.');
            let first = sent.get(names.next()?)?;
            names.try_fold(first, |value, name| value.get(name))
        })?;
        let number = found.as_u64().or_else(|| found.as_str()?.parse().ok())?;
        Some(number.saturating_mul(self.seconds))
    }

    /// The time, so many seconds later.
    pub(crate) fn time(&self, object: &Map<String, Value>, wait: u64) -> Value {
        object.get(&self.after).and_then(Value::as_u64).map_or(Value::Null, |from| from.saturating_add(wait).into())
    }
}
