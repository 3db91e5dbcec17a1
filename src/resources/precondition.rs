//! Conditions that an object must meet for an action.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::{Map, Value};

use crate::core::error::ApiError;

/// The values that members of an object must have: `{"status": ["pending"]}`. An object that was never created meets
/// every condition.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(transparent)]
pub(crate) struct Precondition(BTreeMap<String, Vec<Value>>);

impl Precondition {
    /// Creates the condition that a member has one of these values.
    pub(crate) fn of(member: &str, allowed: &[&str]) -> Self {
        let allowed = allowed.iter().map(|value| Value::from(*value)).collect();
        Precondition(BTreeMap::from([(member.to_owned(), allowed)]))
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Checks the condition. `action`, `id` and `noun` are for the error message.
    pub(crate) fn check(&self, action: &str, object: &Value, id: &str, noun: &str) -> Result<(), ApiError> {
        let broken = self.0.iter().find_map(|(member, allowed)| {
            let value = object.get(member).unwrap_or(&Value::Null);
            (!allowed.contains(value)).then_some(value)
        });
        let Some(state) = broken else { return Ok(()) };
        Err(ApiError::WrongState {
            action: action.to_owned(),
            id: id.to_owned(),
            noun: noun.to_owned(),
            state: state.as_str().map_or_else(|| state.to_string(), str::to_owned),
        })
    }

    /// Returns the mistake in this condition, if objects look like `object`.
    pub(crate) fn problem(&self, object: Option<&Map<String, Value>>) -> Option<String> {
        let object = object?;
        self.0.iter().find_map(|(member, allowed)| {
            if !object.contains_key(member) {
                return Some(format!("`{member}` is no member of `object`; name one of its members"));
            }
            allowed.is_empty().then(|| format!("`{member}` allows no value; list at least one"))
        })
    }
}
