//! Changes to stored objects. A change reads an object, works without a lock, and is stored only if nobody else changed
//! the object meanwhile; otherwise it starts again from the new state.

use serde_json::Value;

use super::{Lookup, ResourceStore, tables::Tables, text::StoredText};
use crate::protocol::ResourceKey;

/// The objects that a change stores and removes, all at once.
#[derive(Debug, Default)]
pub struct Writes(Vec<Write>);

#[derive(Debug)]
struct Write {
    key: ResourceKey,
    id: String,
    action: WriteAction,
}

#[derive(Debug)]
enum WriteAction {
    Put(StoredText),
    /// Removes an object and leaves a tombstone, even if there was no object.
    Delete,
    /// Removes an object without a tombstone.
    Remove,
}

impl Writes {
    fn push(&mut self, key: &ResourceKey, id: &str, action: WriteAction) {
        self.0.push(Write { key: key.clone(), id: id.to_owned(), action });
    }

    /// Adds others after these.
    pub fn append(&mut self, others: Writes) {
        self.0.extend(others.0);
    }

    /// Stores an object, in place of one with the same id.
    pub fn put(&mut self, key: &ResourceKey, id: &str, value: &Value) {
        self.put_text(key, id, StoredText::from_value(value));
    }

    /// Stores a text, in place of one with the same id.
    pub fn put_text(&mut self, key: &ResourceKey, id: &str, text: StoredText) {
        self.push(key, id, WriteAction::Put(text));
    }

    /// Deletes an object and leaves a tombstone, even if it was never created.
    pub fn delete(&mut self, key: &ResourceKey, id: &str) {
        self.push(key, id, WriteAction::Delete);
    }

    /// Removes an object without a tombstone.
    pub fn remove(&mut self, key: &ResourceKey, id: &str) {
        self.push(key, id, WriteAction::Remove);
    }
}

impl ResourceStore {
    /// Changes the object of an id. `step` gets its current state and adds what is to be stored, the object included.
    /// If another request changes the object before that is stored, `step` runs again; what it added is discarded. It
    /// must therefore have no other effect on the store.
    ///
    /// # Errors
    /// The error of `step`. Nothing is stored then.
    pub fn change<T, E>(
        &self,
        key: &ResourceKey,
        id: &str,
        mut step: impl FnMut(Lookup, &mut Writes) -> Result<T, E>,
    ) -> Result<T, E> {
        loop {
            let (seen, text) = {
                let tables = self.tables();
                let found = tables.find(key, id);
                (found.as_ref().map(|entry| entry.version), found.map(|entry| entry.text.clone()))
            };
            let mut writes = Writes::default();
            let result = step(text.map(|text| text.parse()), &mut writes)?;
            let is_current = |tables: &Tables| tables.find(key, id).map(|entry| entry.version) == seen;
            // A loop that starts again was overtaken by a request that is done, so somebody always advances.
            if writes.0.is_empty() || self.write_if(is_current, writes) {
                return Ok(result);
            }
        }
    }

    /// Stores and removes all of these.
    pub fn write(&self, writes: Writes) {
        self.write_if(|_| true, writes);
    }

    fn write_if(&self, is_current: impl FnOnce(&Tables) -> bool, Writes(writes): Writes) -> bool {
        // Dropped after the lock.
        let mut freed = Vec::new();
        if !self.is_storing() {
            return true;
        }
        let mut tables = self.tables();
        if !is_current(&tables) {
            return false;
        }
        for Write { key, id, action } in writes {
            match action {
                WriteAction::Put(text) => freed.extend(tables.put(&key, &id, text)),
                WriteAction::Delete => {
                    tables.deleted.insert(&key, &id);
                    freed.extend(tables.remove(&key, &id));
                }
                WriteAction::Remove => freed.extend(tables.remove(&key, &id)),
            }
        }
        drop(tables);
        true
    }
}

#[cfg(test)]
mod tests {
    use std::{cell::Cell, convert::Infallible};

    use serde_json::json;

    use super::*;

    fn things() -> ResourceKey {
        ResourceKey::top("things")
    }

    fn others() -> ResourceKey {
        ResourceKey::top("others")
    }

    #[test]
    fn a_change_starts_again_if_another_one_came_first() {
        let resources = ResourceStore::default();
        resources.put(&things(), "t", &json!({"id": "t"}));
        let overtaken = Cell::new(3);
        let change = |found: Lookup, writes: &mut Writes| {
            let Lookup::Stored(mut object) = found else { panic!() };
            if overtaken.get() > 0 {
                overtaken.set(overtaken.get() - 1);
                let mut other = object.clone();
                other[format!("m{}", overtaken.get())] = json!(1);
                resources.put(&things(), "t", &other);
            }
            object["mine"] = json!(1);
            writes.put(&things(), "t", &object);
            writes.put(&others(), "o", &json!({"of": object}));
            Ok::<_, Infallible>(())
        };
        resources.change(&things(), "t", change).unwrap();
        let object = json!({"id": "t", "m2": 1, "m1": 1, "m0": 1, "mine": 1});
        assert_eq!(resources.get(&things(), "t").unwrap().to_string(), object.to_string());
        assert_eq!(resources.all(&others()), [json!({"of": object})]);
    }

    #[test]
    fn a_change_sees_a_deletion_and_a_creation() {
        let resources = ResourceStore::default();
        let mut seen = Vec::new();
        let change = |found: Lookup, writes: &mut Writes| {
            match seen.len() {
                0 => resources.put(&things(), "t", &json!({})),
                1 => resources.delete(&things(), "t"),
                _ => {}
            }
            seen.push(found);
            writes.put(&things(), "t", &json!({"n": seen.len()}));
            if seen.len() == 3 { Err("deleted") } else { Ok(()) }
        };
        assert_eq!(resources.change(&things(), "t", change), Err("deleted"));
        assert_eq!(seen, [Lookup::Unknown, Lookup::Stored(json!({})), Lookup::Deleted]);
        assert_eq!(resources.find(&things(), "t"), Lookup::Deleted);
    }
}
