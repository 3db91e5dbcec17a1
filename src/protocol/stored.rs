//! The stored objects that a protocol reads and writes: the runs of a thread, the items of a conversation.

mod key;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

pub use self::key::{Kind, ResourceKey};
use crate::core::error::ApiError;

/// Result of a lookup by id.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Lookup<T = Value> {
    /// The object in its current state.
    Stored(T),
    /// The object was deleted, or was created unstored, not too long ago.
    Deleted,
    /// The object was never created, or was evicted long ago.
    Unknown,
}

impl<T> Lookup<T> {
    /// Applies `convert` to the object.
    pub fn map<U>(self, convert: impl FnOnce(T) -> U) -> Lookup<U> {
        match self {
            Lookup::Stored(object) => Lookup::Stored(convert(object)),
            Lookup::Deleted => Lookup::Deleted,
            Lookup::Unknown => Lookup::Unknown,
        }
    }

    /// Borrows the object.
    pub fn as_ref(&self) -> Lookup<&T> {
        match self {
            Lookup::Stored(object) => Lookup::Stored(object),
            Lookup::Deleted => Lookup::Deleted,
            Lookup::Unknown => Lookup::Unknown,
        }
    }
}

/// An object or record to store. It replaces one with the same key and id.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
pub struct StoredPut {
    /// The key of its collection and kind.
    pub key: ResourceKey,
    /// The id of the object.
    pub id: String,
    /// The object or record.
    pub value: Value,
}

/// A change that an object goes through when a client next reads it in this status. It then is removed.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
pub struct Plan {
    /// The status.
    pub status: String,
    /// The members that change.
    pub set: Map<String, Value>,
    /// The objects that are created with the change.
    pub put: Vec<StoredPut>,
}

/// Computes what a change stores from the state of an object. It can run more than once.
pub type ChangeStep<'a> = dyn FnMut(Lookup) -> Result<Vec<StoredPut>, ApiError> + 'a;

/// The stored objects of one endpoint. `role` is the part that a collection plays in the protocol, such as `runs`; the
/// endpoint's fixture maps it to a collection. `parents` are the ids of the enclosing objects, the outermost first.
pub trait StoredObjects {
    /// Returns the key of a collection; `None` if the endpoint's fixture maps no collection to `role`.
    fn key(&self, role: &str, parents: &[&str]) -> Option<ResourceKey>;

    /// Finds an object by its id.
    fn find(&self, role: &str, parents: &[&str], id: &str) -> Lookup;

    /// Returns true if a request may name this id: the object exists, or another test may have created it.
    fn may_name(&self, role: &str, parents: &[&str], id: &str) -> bool;

    /// Returns all objects of a collection, the oldest first.
    fn all(&self, role: &str, parents: &[&str]) -> Vec<Value>;

    /// Stores an object. It replaces one with the same id.
    fn put(&self, role: &str, parents: &[&str], id: &str, value: &Value);

    /// Changes an object: stores what `step` returns, the object included, all at once. If another request changes the
    /// object meanwhile, `step` runs again with the new state.
    ///
    /// # Errors
    /// The error of `step`. Nothing is stored then.
    fn change(&self, role: &str, parents: &[&str], id: &str, step: &mut ChangeStep<'_>) -> Result<(), ApiError>;
}
