//! Counts of an object's children, recomputed whenever the object is returned.

use serde::Deserialize;
use serde_json::Value;

use super::store::{ResourceKey, ResourceStore};

/// A member that holds the number of objects in a child collection.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct CountRule {
    /// The name of the child collection.
    #[serde(rename = "of")]
    collection: String,
    /// The fields inside the member that are set to the number.
    #[serde(rename = "is")]
    members: Vec<String>,
}

impl CountRule {
    /// Recomputes the count for the object `id`. `parents` are the ids of the objects around it.
    pub(crate) fn update(&self, resources: &ResourceStore, (parents, id): (&[String], &str), member: &mut Value) {
        let count = resources.count(&ResourceKey::new(&self.collection, &[parents, &[id.to_owned()]].concat()));
        for name in &self.members {
            if let Some(number) = member.get_mut(name) {
                *number = count.into();
            }
        }
    }
}
