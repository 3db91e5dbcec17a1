//! The objects that clients created, in memory. Their number and size are bounded: the oldest are evicted.

mod key;
mod locks;
mod page;
mod tombstones;

use std::{
    collections::{BTreeMap, HashMap},
    sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError},
};

use bytes::Bytes;
use serde_json::Value;

pub use self::{
    key::{EndpointStore, plans_key, resource_key},
    locks::ObjectLock,
    page::{Query, page},
};
use self::{locks::Locks, tombstones::Tombstones};
pub use crate::protocol::Lookup;

/// Maximum number of objects.
const MAX_OBJECTS: usize = 10_000;
/// Maximum size of all objects as JSON, in bytes.
const MAX_BYTES: usize = 64 << 20;

/// Every object of every collection, and tombstones of those that were deleted.
#[derive(Default)]
pub struct ResourceStore {
    table: Mutex<Table>,
    locks: Locks,
    /// True if ids that were never created are unknown. By default the fixture's object is returned for them, so that
    /// a client works even if another test did the setup.
    pub strict: bool,
}

#[derive(Default)]
struct Table {
    /// Entries by position, the oldest first.
    objects: BTreeMap<u64, Entry>,
    /// Positions by collection and id.
    positions: HashMap<Arc<str>, HashMap<Arc<str>, u64>>,
    deleted: Tombstones,
    /// Ids of responses that were returned but must not be stored. They have their own tombstones because there can
    /// be more of them than of all others.
    unstored: Tombstones,
    last_position: u64,
    bytes: usize,
}

struct Entry {
    collection: Arc<str>,
    id: Arc<str>,
    value: Arc<StoredObject>,
    bytes: usize,
}

/// An object as JSON text, parsed on first use: most are never read.
struct StoredObject {
    text: Bytes,
    value: OnceLock<Arc<Value>>,
}

impl StoredObject {
    fn value(&self) -> Arc<Value> {
        Arc::clone(self.value.get_or_init(|| Arc::new(serde_json::from_slice(&self.text).unwrap_or_default())))
    }
}

impl Table {
    fn position(&self, collection: &str, id: &str) -> Option<u64> {
        self.positions.get(collection)?.get(id).copied()
    }

    fn remove_position(&mut self, collection: &str, id: &str) -> Option<u64> {
        let key = self.positions.get_mut(collection)?;
        let position = key.remove(id);
        if key.is_empty() {
            self.positions.remove(collection);
        }
        position
    }
}

impl ResourceStore {
    /// Creates an empty store.
    pub fn new(strict: bool) -> Self {
        ResourceStore { strict, ..ResourceStore::default() }
    }

    fn table(&self) -> MutexGuard<'_, Table> {
        // No step here can leave the table half-changed, so a lock poisoned by a panic elsewhere is safe to use.
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Stores an object, in place of one with the same id.
    pub fn put(&self, collection: &str, id: &str, value: Value) {
        let bytes = value.to_string().len();
        self.insert(collection, id, StoredObject { text: Bytes::new(), value: Arc::new(value).into() }, bytes);
    }

    /// Stores an object that is already JSON text.
    pub fn put_text(&self, collection: &str, id: &str, text: Bytes) {
        let bytes = text.len();
        self.insert(collection, id, StoredObject { text, value: OnceLock::new() }, bytes);
    }

    fn insert(&self, collection: &str, id: &str, stored: StoredObject, bytes: usize) {
        let bytes = bytes + collection.len() + id.len();
        let (collection, id): (Arc<str>, Arc<str>) = (collection.into(), id.into());
        let object = Entry { collection: Arc::clone(&collection), id: Arc::clone(&id), value: Arc::new(stored), bytes };
        let mut table = self.table();
        table.deleted.remove(&collection, &id);
        let position = table.position(&collection, &id).unwrap_or(table.last_position + 1);
        table.last_position = table.last_position.max(position);
        table.bytes += bytes;
        table.positions.entry(collection).or_default().insert(id, position);
        if let Some(replaced) = table.objects.insert(position, object) {
            table.bytes -= replaced.bytes;
        }
        while table.objects.len() > MAX_OBJECTS || table.bytes > MAX_BYTES {
            let Some((_, oldest)) = table.objects.pop_first() else { break };
            table.bytes -= oldest.bytes;
            table.remove_position(&oldest.collection, &oldest.id);
        }
    }

    /// Looks an id up.
    pub fn find(&self, collection: &str, id: &str) -> Lookup {
        let stored = {
            let table = self.table();
            match table.position(collection, id).and_then(|position| table.objects.get(&position)) {
                Some(object) => Arc::clone(&object.value),
                None if table.deleted.contains(collection, id) || table.unstored.contains(collection, id) => {
                    return Lookup::Deleted;
                }
                None => return Lookup::Unknown,
            }
        };
        Lookup::Stored(stored.value())
    }

    /// Returns the object of an id.
    pub fn get(&self, collection: &str, id: &str) -> Option<Arc<Value>> {
        if let Lookup::Stored(value) = self.find(collection, id) { Some(value) } else { None }
    }

    /// Returns the text that was stored under an id, unchanged.
    pub fn text(&self, collection: &str, id: &str) -> Option<Bytes> {
        let table = self.table();
        let object = table.objects.get(&table.position(collection, id)?)?;
        Some(object.value.text.clone())
    }

    /// Deletes the object of an id and leaves a tombstone, even if it was never created.
    pub fn delete(&self, collection: &str, id: &str) {
        let mut table = self.table();
        table.deleted.insert(collection, id);
        let object = table.remove_position(collection, id).and_then(|position| table.objects.remove(&position));
        table.bytes -= object.map_or(0, |object| object.bytes);
    }

    /// Marks a response as not stored: its id counts as deleted.
    pub fn mark_unstored(&self, collection: &str, id: &str) {
        self.table().unstored.insert(collection, id);
    }

    /// Removes an object without a tombstone and returns its text.
    pub fn take(&self, collection: &str, id: &str) -> Option<Bytes> {
        let mut table = self.table();
        let position = table.remove_position(collection, id)?;
        let object = table.objects.remove(&position)?;
        table.bytes -= object.bytes;
        Some(object.value.text.clone())
    }

    /// Locks an object until the lock is dropped; `None` if it is locked already.
    pub fn try_lock(&self, collection: &str, id: &str) -> Option<ObjectLock<'_>> {
        self.locks.try_lock(collection, id)
    }

    /// All objects of a collection, the oldest first.
    pub fn all(&self, collection: &str) -> Vec<Arc<Value>> {
        let stored: Vec<_> = {
            let table = self.table();
            let positions = table.positions.get(collection).into_iter().flat_map(HashMap::values);
            let mut positions: Vec<u64> = positions.copied().collect();
            positions.sort_unstable();
            positions.iter().filter_map(|position| Some(Arc::clone(&table.objects.get(position)?.value))).collect()
        };
        stored.iter().map(|stored| stored.value()).collect()
    }

    /// Number of objects in a collection.
    pub fn count(&self, collection: &str) -> usize {
        self.table().positions.get(collection).map_or(0, HashMap::len)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn store_with(count: u64) -> ResourceStore {
        let resources = ResourceStore::default();
        for n in 0..count {
            resources.put("things", &format!("t{n}"), json!({"id": format!("t{n}")}));
        }
        resources
    }

    #[test]
    fn an_object_is_found_and_listed_until_it_is_deleted() {
        let resources = store_with(5);
        let found = |id: &str| resources.find("things", id);
        assert_eq!(resources.get("things", "t3").unwrap()["id"], "t3");
        assert_eq!(resources.find("others", "t3"), Lookup::Unknown);
        resources.put("things", "t3", json!({"id": "t3", "new": true}));
        assert_eq!(resources.get("things", "t3").unwrap()["new"], true);
        resources.delete("things", "t0");
        resources.delete("things", "t9");
        assert_eq!([found("t0"), found("t9"), found("t8")], [Lookup::Deleted, Lookup::Deleted, Lookup::Unknown]);
        let ids: Vec<_> = resources.all("things").iter().map(|thing| thing["id"].clone()).collect();
        assert_eq!(ids, ["t1", "t2", "t3", "t4"]);
        assert_eq!((resources.count("things"), resources.count("others")), (4, 0));
        resources.mark_unstored("things", "t7");
        assert_eq!(found("t7"), Lookup::Deleted);
        resources.put("things", "t9", json!({}));
        assert!(resources.get("things", "t9").is_some(), "an object created anew is found again");
        let bytes = resources.table().bytes;
        resources.put_text("texts", "t", Bytes::from_static(b"text"));
        assert_eq!(resources.take("texts", "t").unwrap(), "text");
        assert_eq!((resources.find("texts", "t"), resources.take("texts", "t")), (Lookup::Unknown, None));
        assert_eq!(resources.table().bytes, bytes);
    }

    #[test]
    fn text_is_parsed_when_it_is_read() {
        let resources = ResourceStore::default();
        resources.put_text("things", "t", Bytes::from_static(br#"{"id": "t"}"#));
        assert_eq!(*resources.get("things", "t").unwrap(), json!({"id": "t"}));
        assert_eq!(resources.all("things").len(), 1);
    }

    #[test]
    fn the_oldest_objects_are_evicted_at_either_bound() {
        let resources = store_with(MAX_OBJECTS as u64 + 3);
        assert_eq!(resources.all("things").len(), MAX_OBJECTS);
        assert_eq!(resources.find("things", "t2"), Lookup::Unknown, "it was not deleted");
        assert!(resources.get("things", "t3").is_some());
        for n in 0..9 {
            resources.put("large", &n.to_string(), json!("x".repeat(10 << 20)));
        }
        assert_eq!(resources.all("large").len(), 6);
        let table = resources.table();
        assert!(table.bytes <= MAX_BYTES && !table.positions.contains_key("things"));
    }
}
