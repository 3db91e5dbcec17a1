//! The table of all stored objects, behind the store's lock. Nothing here parses or renders.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::Arc,
};

use super::{Lookup, text::StoredText, tombstones::Tombstones};

/// Maximum number of objects.
pub(super) const MAX_OBJECTS: usize = 10_000;
/// Maximum size of all objects in bytes: their texts, ids and keys, and [`ENTRY_BYTES`] for each.
pub(super) const MAX_BYTES: usize = 64 << 20;
/// Memory of an object besides its text, its id and the key of its collection, in bytes: the nodes and buckets of the
/// indexes at their usual load, and the headers of its allocations. A collection of one object takes this much.
pub(super) const ENTRY_BYTES: usize = 640;
/// Spare capacity of an index that a deletion leaves alone.
const MIN_SPARE: usize = 16;

#[derive(Default)]
pub(super) struct Table {
    /// Entries by position, the oldest first.
    entries: BTreeMap<u64, Entry>,
    collections: HashMap<Arc<str>, Collection>,
    pub(super) deleted: Tombstones,
    /// Ids of responses that were returned but must not be stored. They have their own tombstones because there can
    /// be more of them than of all others.
    pub(super) unstored: Tombstones,
    /// The last position and version that was given to an entry.
    last: u64,
    bytes: usize,
}

/// The indexes of a collection.
#[derive(Default)]
struct Collection {
    /// Positions by id.
    by_id: HashMap<Arc<str>, u64>,
    /// Positions in order.
    in_order: BTreeSet<u64>,
}

/// An object with its place in the table.
pub(super) struct Entry {
    collection: Arc<str>,
    pub(super) id: Arc<str>,
    pub(super) text: StoredText,
    /// A number that differs for each text that was stored.
    pub(super) version: u64,
}

impl Entry {
    fn bytes(&self) -> usize {
        ENTRY_BYTES + self.collection.len() + self.id.len() + self.text.bytes().len()
    }
}

impl Table {
    fn position(&self, collection: &str, id: &str) -> Option<u64> {
        self.collections.get(collection)?.by_id.get(id).copied()
    }

    /// Removes everything, and returns it.
    pub(super) fn clear(&mut self) -> Table {
        let last = self.last;
        std::mem::replace(self, Table { last, ..Table::default() })
    }

    /// Returns the memory that the objects take, in bytes.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Looks an id up.
    pub(super) fn find(&self, collection: &str, id: &str) -> Lookup<&Entry> {
        match self.position(collection, id).and_then(|position| self.entries.get(&position)) {
            Some(entry) => Lookup::Stored(entry),
            None if self.deleted.contains(collection, id) || self.unstored.contains(collection, id) => Lookup::Deleted,
            None => Lookup::Unknown,
        }
    }

    /// Stores a text in place of one with the same id, and evicts the oldest objects at either bound. What it removes
    /// goes to `freed`, so that the caller drops it without the lock.
    pub(super) fn put(&mut self, collection: &str, id: &str, text: StoredText, freed: &mut Vec<Entry>) {
        self.deleted.remove(collection, id);
        self.last += 1;
        let version = self.last;
        match self.position(collection, id).and_then(|position| self.entries.get_mut(&position)) {
            Some(entry) => {
                self.bytes = self.bytes + text.bytes().len() - entry.text.bytes().len();
                let (collection, id) = (Arc::clone(&entry.collection), Arc::clone(&entry.id));
                freed.push(std::mem::replace(entry, Entry { collection, id, text, version }));
            }
            None => {
                let known = self.collections.get_key_value(collection).map(|(known, _)| Arc::clone(known));
                let (collection, id) = (known.unwrap_or_else(|| collection.into()), Arc::<str>::from(id));
                let indexes = self.collections.entry(Arc::clone(&collection)).or_default();
                indexes.by_id.insert(Arc::clone(&id), version);
                indexes.in_order.insert(version);
                let entry = Entry { collection, id, text, version };
                self.bytes += entry.bytes();
                self.entries.insert(version, entry);
            }
        }
        while self.entries.len() > MAX_OBJECTS || self.bytes > MAX_BYTES {
            let Some((position, oldest)) = self.entries.pop_first() else { break };
            self.bytes -= oldest.bytes();
            self.remove_position(&oldest.collection, &oldest.id, position);
            freed.push(oldest);
        }
    }

    /// Removes an object without a tombstone.
    pub(super) fn remove(&mut self, collection: &str, id: &str) -> Option<Entry> {
        let position = self.position(collection, id)?;
        self.remove_position(collection, id, position);
        let entry = self.entries.remove(&position)?;
        self.bytes -= entry.bytes();
        Some(entry)
    }

    fn remove_position(&mut self, collection: &str, id: &str, position: u64) {
        let Some(indexes) = self.collections.get_mut(collection) else { return };
        indexes.by_id.remove(id);
        indexes.in_order.remove(&position);
        if indexes.by_id.is_empty() {
            self.collections.remove(collection);
            shrink(&mut self.collections);
        } else {
            shrink(&mut indexes.by_id);
        }
    }

    /// Number of objects in a collection.
    pub(super) fn count(&self, collection: &str) -> usize {
        self.collections.get(collection).map_or(0, |indexes| indexes.by_id.len())
    }

    /// The objects of a collection after this position, the oldest first, with their positions.
    pub(super) fn after(&self, collection: &str, position: u64) -> impl DoubleEndedIterator<Item = (u64, &Entry)> {
        let positions = self.collections.get(collection).map(|indexes| indexes.in_order.range(position + 1..));
        positions.into_iter().flatten().filter_map(|position| Some((*position, self.entries.get(position)?)))
    }
}

/// Releases the capacity of an index that was much larger.
fn shrink<V>(index: &mut HashMap<Arc<str>, V>) {
    if index.capacity() > 4 * index.len() + MIN_SPARE {
        index.shrink_to(2 * index.len());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_index_shrinks_with_its_collection() {
        let mut table = Table::default();
        for n in 0..MAX_OBJECTS {
            table.put("things", &n.to_string(), StoredText::default(), &mut Vec::new());
        }
        for n in 1..MAX_OBJECTS {
            table.remove("things", &n.to_string()).unwrap();
        }
        assert!(table.collections["things"].by_id.capacity() < 64);
        assert_eq!(table.bytes, ENTRY_BYTES + "things".len() + "0".len());
    }

    #[test]
    fn the_bytes_are_those_of_the_entries() {
        let (mut table, mut random) = (Table::default(), fastrand::Rng::with_seed(1));
        for _ in 0..2000 {
            let (collection, id) = (["a", "bb"][random.usize(0..2)], random.u8(0..50).to_string());
            if random.bool() {
                let text = StoredText::from(vec![b'x'; random.usize(0..2_000_000)]);
                table.put(collection, &id, text, &mut Vec::new());
            } else {
                table.remove(collection, &id);
            }
            assert_eq!(table.bytes, table.entries.values().map(Entry::bytes).sum::<usize>());
            assert!(table.bytes <= MAX_BYTES);
            assert_eq!(table.count("a") + table.count("bb"), table.entries.len());
            assert_eq!(table.after("a", 0).count(), table.count("a"));
        }
    }
}
