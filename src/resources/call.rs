//! One request to a collection: the lookup of its object, and changes that no other request can overwrite.

use serde_json::{Map, Value};

use super::{
    collection::Collection,
    jobs::JobLocation,
    operation::{Action, Operation},
    store::{Lookup, ResourceKey, ResourceStore, Writes},
};
use crate::core::{context::RequestContext, error::ApiError};

/// A request to a collection, and the object that it is about.
pub(crate) struct Call<'a, 'r> {
    pub(crate) operation: &'a Operation,
    pub(crate) context: &'a RequestContext<'r>,
    pub(crate) resources: &'a ResourceStore,
    /// The key of the object's collection.
    pub(crate) key: ResourceKey,
    /// The ids of the objects around it, the outermost first.
    pub(crate) parents: Vec<String>,
    /// Its id; empty if the request is about no object.
    pub(crate) id: String,
}

/// An object after a change, and what is stored with it.
pub(crate) struct Changed {
    pub(crate) object: Value,
    pub(crate) writes: Writes,
}

impl From<Value> for Changed {
    fn from(object: Value) -> Self {
        Changed { object, writes: Writes::default() }
    }
}

impl<'a, 'r> Call<'a, 'r> {
    pub(super) fn new(operation: &'a Operation, context: &'a RequestContext<'r>, resources: &'a ResourceStore) -> Self {
        let collection = &*operation.collection;
        let parents = collection.parents(context);
        let (key, id) = (collection.resource_key(&parents), collection.id(context));
        Call { operation, context, resources, key, parents, id }
    }

    /// Returns the same request to another object.
    pub(super) fn to_object(&self, id: &str) -> Self {
        let Call { operation, context, resources, .. } = *self;
        Call { operation, context, resources, key: self.key.clone(), parents: self.parents.clone(), id: id.to_owned() }
    }

    pub(crate) fn collection(&self) -> &'a Collection {
        &self.operation.collection
    }

    /// Returns the ids of the parents of objects inside this one.
    pub(crate) fn inside(&self) -> Vec<String> {
        [&*self.parents, std::slice::from_ref(&self.id)].concat()
    }

    /// Returns the object.
    ///
    /// # Errors
    /// The id is unknown, or the object does not meet the condition of the action.
    pub(crate) fn object(&self) -> Result<Value, ApiError> {
        self.found(self.resources.find(&self.key, &self.id)).map(|(object, _)| object)
    }

    /// Returns the object for what was found in the store, and true if it was created by a client.
    pub(super) fn found(&self, found: Lookup) -> Result<(Value, bool), ApiError> {
        let collection = self.collection();
        if let Lookup::Stored(object) = &found {
            self.operation.only_if.check(&self.operation.name, object, &self.id, &collection.noun)?;
        }
        collection.object(self.context, self.resources, (&self.parents, &self.id), found)
    }

    /// Changes the object and stores it with what `step` adds. `step` runs again if another request came first.
    ///
    /// # Errors
    /// The errors of [`Call::object`] and of `step`. Nothing is stored then.
    pub(crate) fn change(&self, mut step: impl FnMut(Value) -> Result<Changed, ApiError>) -> Result<Value, ApiError> {
        let collection = self.collection();
        self.resources.change(&self.key, &self.id, |found, writes| {
            let object = match self.found(found) {
                // A single object can be updated even after it was deleted.
                Err(_) if collection.single && matches!(self.operation.action, Action::Update(_)) => {
                    collection.create(self.context, self.resources, &self.parents, Map::new()).1
                }
                found => found?.0,
            };
            let changed = step(object)?;
            writes.append(changed.writes);
            writes.put(&self.key, &self.id, &changed.object);
            Ok(changed.object)
        })
    }

    /// Returns the object. One that was created by a client and runs no batch job advances by so many statuses.
    ///
    /// # Errors
    /// The errors of [`Call::object`].
    pub(super) fn poll(&self, polls: usize) -> Result<Value, ApiError> {
        let collection = self.collection();
        self.resources.change(&self.key, &self.id, |found, writes| {
            let (mut object, was_created) = self.found(found)?;
            let is_done = !was_created || self.has_job();
            for _ in 0..if is_done { 0 } else { polls } {
                let handled = collection.handler.as_ref().and_then(|handler| handler.poll(self, &object));
                let next = handled.or_else(|| collection.next(self.context, &object).map(Changed::from));
                let Some(next) = next else { break };
                writes.append(next.writes);
                object = next.object;
                writes.put(&self.key, &self.id, &object);
            }
            Ok(object)
        })
    }

    /// Returns true if the object runs a batch job. It then advances with that alone.
    pub(super) fn has_job(&self) -> bool {
        self.collection().runs_jobs() && JobLocation::of(self).exists()
    }
}
