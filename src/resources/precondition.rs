//! What an object must be for something to be done with it.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::{Map, Value};

use crate::core::error::ApiError;

/// The members of which an object must have one of these values each: `{"status": ["pending"]}`. What was never created
/// may be anything.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(transparent)]
pub(crate) struct Precondition(BTreeMap<String, Vec<Value>>);

impl Precondition {
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Sees to it that an object is as it must be for this action; `id` and `noun` are what is said of it.
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

    /// What is wrong with it where objects are like this, if anything is.
    pub(crate) fn problem(&self, object: Option<&Map<String, Value>>) -> Option<String> {
        let object = object?;
        self.0.iter().find_map(|(member, allowed)| {
            if !object.contains_key(member) {
                return Some(format!("`{member}` is not among the members of `object`"));
            }
            allowed.is_empty().then(|| format!("`{member}` may have no value: list one at least"))
        })
    }
}
