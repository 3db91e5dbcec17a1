//! The objects that clients created, in memory, as JSON text. Their number and size are bounded: the oldest are evicted.

mod change;
mod endpoint;
mod locks;
mod page;
mod table;
mod tables;
mod text;
mod tombstones;

use std::sync::{Mutex, MutexGuard, PoisonError};

use serde_json::Value;

pub use self::{
    change::Writes,
    endpoint::EndpointStore,
    locks::ObjectLock,
    page::{Listed, Query, page},
    text::StoredText,
};
use self::{locks::Locks, tables::Tables};
pub use crate::protocol::{Kind, Lookup, ResourceKey};

/// Number of objects that a list reads under one lock.
const LIST_STEP: usize = 256;

/// Every object of every collection with the server's records about it, and tombstones of those that were deleted.
#[derive(Default)]
pub struct ResourceStore {
    tables: Mutex<Tables>,
    locks: Locks,
    mode: StoreMode,
}

/// The treatment of objects that clients create, and of ids that they never created.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum StoreMode {
    /// Objects are stored. For an unknown id the fixture's object is returned, so that a client works even if another
    /// test did the setup.
    #[default]
    Stored,
    /// Objects are stored. An unknown id is not found.
    StrictIds,
    /// Nothing is stored or deleted. For any id the fixture's object is returned.
    Stateless,
}

impl ResourceStore {
    /// Creates an empty store.
    pub fn new(mode: StoreMode) -> Self {
        ResourceStore { mode, ..ResourceStore::default() }
    }

    /// The treatment of objects and of unknown ids.
    pub fn mode(&self) -> StoreMode {
        self.mode
    }

    /// Returns true if objects are stored.
    pub fn is_storing(&self) -> bool {
        self.mode != StoreMode::Stateless
    }

    /// Removes all objects and tombstones.
    pub fn clear(&self) {
        let cleared = self.tables().clear();
        // Without the lock.
        drop(cleared);
    }

    /// Returns the memory that the objects and the records about them take, in bytes.
    pub fn memory(&self) -> usize {
        self.tables().bytes()
    }

    fn tables(&self) -> MutexGuard<'_, Tables> {
        // No step here can leave the tables half-changed, so a lock poisoned by a panic elsewhere is safe to use.
        self.tables.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Stores an object, in place of one with the same id. An object that exists is changed with
    /// [`ResourceStore::change`], or the changes of others are lost.
    pub fn put(&self, key: &ResourceKey, id: &str, value: &Value) {
        self.put_text(key, id, StoredText::from_value(value));
    }

    /// Stores a text, in place of one with the same id.
    pub fn put_text(&self, key: &ResourceKey, id: &str, text: StoredText) {
        if !self.is_storing() {
            return;
        }
        // Dropped after the lock.
        let freed = self.tables().put(key, id, text);
        drop(freed);
    }

    /// Looks an id up and parses its object.
    pub fn find(&self, key: &ResourceKey, id: &str) -> Lookup {
        self.find_text(key, id).map(|text| text.parse())
    }

    /// Looks an id up.
    pub fn find_text(&self, key: &ResourceKey, id: &str) -> Lookup<StoredText> {
        self.tables().find(key, id).map(|entry| entry.text.clone())
    }

    /// Returns the object of an id.
    pub fn get(&self, key: &ResourceKey, id: &str) -> Option<Value> {
        self.text(key, id).map(|text| text.parse())
    }

    /// Returns the text that is stored under an id.
    pub fn text(&self, key: &ResourceKey, id: &str) -> Option<StoredText> {
        if let Lookup::Stored(text) = self.find_text(key, id) { Some(text) } else { None }
    }

    /// Deletes the object of an id and leaves a tombstone, even if it was never created.
    pub fn delete(&self, key: &ResourceKey, id: &str) {
        let mut writes = Writes::default();
        writes.delete(key, id);
        self.write(writes);
    }

    /// Marks a response as not stored: its id counts as deleted.
    pub fn mark_unstored(&self, key: &ResourceKey, id: &str) {
        if self.is_storing() {
            self.tables().unstored.insert(key, id);
        }
    }

    /// Removes an object without a tombstone and returns its text.
    pub fn take(&self, key: &ResourceKey, id: &str) -> Option<StoredText> {
        self.tables().remove(key, id).map(|entry| entry.text)
    }

    /// Locks an object until the lock is dropped; `None` if it is locked already.
    pub fn try_lock(&self, key: &ResourceKey, id: &str) -> Option<ObjectLock<'_>> {
        self.locks.try_lock(key, id)
    }

    /// All objects of a collection, the oldest first, unparsed.
    pub fn list(&self, key: &ResourceKey) -> Vec<Listed> {
        let (mut listed, mut last) = (Vec::new(), 0);
        loop {
            let tables = self.tables();
            let before = listed.len();
            for (position, entry) in tables.of(key.kind()).after(key, last).take(LIST_STEP) {
                listed.push(Listed::Stored { id: entry.id.clone(), text: entry.text.clone() });
                last = position;
            }
            if listed.len() < before + LIST_STEP {
                return listed;
            }
        }
    }

    /// All objects of a collection, the oldest first.
    pub fn all(&self, key: &ResourceKey) -> Vec<Value> {
        self.list(key).into_iter().map(Listed::into_value).collect()
    }

    /// Number of objects in a collection.
    pub fn count(&self, key: &ResourceKey) -> usize {
        self.tables().of(key.kind()).count(key)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::{
        table::ENTRY_BYTES,
        tables::{MAX_BYTES, MAX_OBJECTS},
        *,
    };

    fn key(collection: &str) -> ResourceKey {
        ResourceKey::top(collection)
    }

    fn store_with(count: usize) -> ResourceStore {
        let resources = ResourceStore::default();
        for n in 0..count {
            resources.put(&key("things"), &format!("t{n}"), &json!({"id": format!("t{n}")}));
        }
        resources
    }

    #[test]
    fn an_object_is_found_and_listed_until_it_is_deleted() {
        let resources = store_with(5);
        let found = |id: &str| resources.find(&key("things"), id);
        assert_eq!(resources.get(&key("things"), "t3").unwrap()["id"], "t3");
        assert_eq!(resources.find(&key("others"), "t3"), Lookup::Unknown);
        resources.put(&key("things"), "t3", &json!({"id": "t3", "new": true}));
        assert_eq!(resources.get(&key("things"), "t3").unwrap()["new"], true);
        resources.delete(&key("things"), "t0");
        resources.delete(&key("things"), "t9");
        assert_eq!([found("t0"), found("t9"), found("t8")], [Lookup::Deleted, Lookup::Deleted, Lookup::Unknown]);
        let ids: Vec<_> = resources.all(&key("things")).iter().map(|thing| thing["id"].clone()).collect();
        assert_eq!(ids, ["t1", "t2", "t3", "t4"]);
        assert_eq!((resources.count(&key("things")), resources.count(&key("others"))), (4, 0));
        resources.mark_unstored(&key("things"), "t7");
        assert_eq!(found("t7"), Lookup::Deleted);
        resources.put(&key("things"), "t9", &json!({}));
        assert!(resources.get(&key("things"), "t9").is_some(), "an object created anew is found again");
        resources.put_text(&key("texts"), "t", StoredText::copy_of(b"text"));
        assert_eq!(resources.take(&key("texts"), "t").unwrap().bytes(), "text");
        assert_eq!((resources.find(&key("texts"), "t"), resources.take(&key("texts"), "t")), (Lookup::Unknown, None));
    }

    #[test]
    fn a_list_is_read_in_steps() {
        for count in [0, 1, LIST_STEP - 1, LIST_STEP, LIST_STEP + 1, 3 * LIST_STEP] {
            let all = store_with(count).all(&key("things"));
            assert_eq!(all.len(), count);
            assert!(all.iter().enumerate().all(|(n, thing)| thing["id"] == format!("t{n}")));
        }
    }

    #[test]
    fn the_oldest_objects_are_evicted_at_either_bound() {
        let resources = store_with(MAX_OBJECTS + 3);
        assert_eq!(resources.count(&key("things")), MAX_OBJECTS);
        assert_eq!(resources.find(&key("things"), "t2"), Lookup::Unknown, "it was not deleted");
        assert!(resources.get(&key("things"), "t3").is_some());
        for n in 0..9 {
            resources.put_text(&key("large"), &n.to_string(), vec![b'1'; 10 << 20].into());
        }
        assert_eq!((resources.count(&key("large")), resources.count(&key("things"))), (6, 0));
        let largest = MAX_BYTES - ENTRY_BYTES - "large".len() - "9".len();
        resources.put_text(&key("large"), "9", vec![b'1'; largest].into());
        assert_eq!(resources.count(&key("large")), 1, "it fills the store by itself");
        resources.put_text(&key("large"), "9", vec![b'1'; largest + 1].into());
        assert_eq!(resources.count(&key("large")), 0, "it is larger than the store");
    }
}
