//! The stored objects that a protocol reads and writes: the runs of a thread, the items of a conversation.

use std::sync::Arc;

use serde_json::Value;

/// Result of a lookup by id.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Lookup {
    /// The object in its current state.
    Stored(Arc<Value>),
    /// The object was deleted, or was created unstored, not too long ago.
    Deleted,
    /// The object was never created, or was evicted long ago.
    Unknown,
}

/// The stored objects of one endpoint. `role` is the part that a collection plays in the protocol, such as `runs`; the
/// endpoint's fixture maps it to a collection. `parents` are the ids of the enclosing objects, the outermost first.
pub trait StoredObjects {
    /// Returns the key of a collection; `None` if the endpoint's fixture maps no collection to `role`.
    fn key(&self, role: &str, parents: &[&str]) -> Option<String>;

    /// Finds an object by its id.
    fn find(&self, role: &str, parents: &[&str], id: &str) -> Lookup;

    /// Returns true if a request may name this id: the object exists, or another test may have created it.
    fn may_name(&self, role: &str, parents: &[&str], id: &str) -> bool;

    /// Returns all objects of a collection, the oldest first.
    fn all(&self, role: &str, parents: &[&str]) -> Vec<Arc<Value>>;

    /// Stores an object. It replaces one with the same id.
    fn put(&self, role: &str, parents: &[&str], id: &str, value: Value);

    /// Stores the changes that an object goes through when it is next read, keyed by status.
    ///
    /// A change has `set`, the members that change, and `put`, the objects created with it as `[key, id, object]`.
    fn plan(&self, role: &str, parents: &[&str], id: &str, plan: Value);
}
