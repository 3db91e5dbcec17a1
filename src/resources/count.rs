//! What an object tells of how much is in it, which is counted whenever the object is told.

use serde::Deserialize;
use serde_json::Value;

use super::store::{ResourceStore, resource_key};

/// A member that tells how many objects another collection has in this one.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct CountRule {
    /// The name of that collection.
    #[serde(rename = "of")]
    collection: String,
    /// Those members of the member which are that number.
    #[serde(rename = "is")]
    members: Vec<String>,
}

impl CountRule {
    /// Counts anew for the object of this id, in what has these ids.
    pub(crate) fn update(&self, resources: &ResourceStore, (parents, id): (&[String], &str), member: &mut Value) {
        let count = resources.count(&resource_key(&self.collection, &[parents, &[id.to_owned()]].concat()));
        for name in &self.members {
            if let Some(number) = member.get_mut(name) {
                *number = count.into();
            }
        }
    }
}
