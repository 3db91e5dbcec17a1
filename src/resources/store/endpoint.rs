//! The view of one endpoint's collections.

use std::collections::BTreeMap;

use serde_json::Value;

use super::{Lookup, ResourceStore, StoreMode};
use crate::{
    core::error::ApiError,
    protocol::{ChangeStep, ResourceKey, StoredObjects},
};

/// The collections that an endpoint reads and writes, by their role in the protocol.
#[derive(Clone, Copy)]
pub struct EndpointStore<'a> {
    resources: &'a ResourceStore,
    names: &'a BTreeMap<String, String>,
}

impl<'a> EndpointStore<'a> {
    /// Creates a view of the collections with these names, by role.
    pub fn new(resources: &'a ResourceStore, names: &'a BTreeMap<String, String>) -> Self {
        EndpointStore { resources, names }
    }
}

impl StoredObjects for EndpointStore<'_> {
    fn key(&self, role: &str, parents: &[&str]) -> Option<ResourceKey> {
        self.names.get(role).map(|name| ResourceKey::new(name, parents))
    }

    fn find(&self, role: &str, parents: &[&str], id: &str) -> Lookup {
        self.key(role, parents).map_or(Lookup::Unknown, |key| self.resources.find(&key, id))
    }

    fn may_name(&self, role: &str, parents: &[&str], id: &str) -> bool {
        let found = self.key(role, parents).map_or(Lookup::Unknown, |key| self.resources.find_text(&key, id));
        match found {
            Lookup::Stored(_) => true,
            Lookup::Unknown => self.resources.mode() != StoreMode::StrictIds,
            Lookup::Deleted => false,
        }
    }

    fn all(&self, role: &str, parents: &[&str]) -> Vec<Value> {
        self.key(role, parents).map(|key| self.resources.all(&key)).unwrap_or_default()
    }

    fn put(&self, role: &str, parents: &[&str], id: &str, value: &Value) {
        if let Some(key) = self.key(role, parents) {
            self.resources.put(&key, id, value);
        }
    }

    fn change(&self, role: &str, parents: &[&str], id: &str, step: &mut ChangeStep<'_>) -> Result<(), ApiError> {
        let Some(key) = self.key(role, parents) else { return Ok(()) };
        self.resources.change(&key, id, |found, writes| {
            for put in step(found)? {
                writes.put(&put.key, &put.id, &put.value);
            }
            Ok(())
        })
    }
}
