//! A bounded table of stored texts, the oldest of which are evicted.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    hash::RandomState,
    sync::Arc,
};

use super::text::StoredText;
use crate::{core::steady_map::SteadyMap, protocol::ResourceKey};

/// Memory of an entry besides its text, its id and its key, in bytes: the nodes and buckets of the indexes at their
/// usual load, and the headers of its allocations. A collection of one object takes this much.
pub(super) const ENTRY_BYTES: usize = 640;
/// Spare capacity of the index of collections that a deletion leaves alone.
const MIN_SPARE: usize = 16;

pub(super) struct Table {
    /// Maximum number of entries.
    most_entries: usize,
    /// Maximum size of all entries in bytes.
    most_bytes: usize,
    /// Entries by position, the oldest first.
    entries: BTreeMap<u64, Entry>,
    /// Entries that are evicted only after all others, by position.
    retained: BTreeMap<u64, Entry>,
    collections: HashMap<Arc<ResourceKey>, Collection>,
    /// The last position and version that was given to an entry.
    last: u64,
    bytes: usize,
    retained_bytes: usize,
}

/// The indexes of a collection.
#[derive(Default)]
struct Collection {
    /// Positions by id.
    by_id: SteadyMap<Arc<str>, u64, RandomState>,
    /// Positions in order.
    in_order: BTreeSet<u64>,
}

/// A stored text with its place in the table.
pub(super) struct Entry {
    pub(super) key: Arc<ResourceKey>,
    pub(super) id: Arc<str>,
    pub(super) text: StoredText,
    /// A number that differs for each text that was stored.
    pub(super) version: u64,
    /// Number of reasons to evict the entry only after others.
    retained: u32,
}

impl Entry {
    fn bytes(&self) -> usize {
        ENTRY_BYTES + self.key.bytes() + self.id.len() + self.text.bytes().len()
    }
}

impl Table {
    /// Creates an empty table with these bounds.
    pub(super) fn new(most_entries: usize, most_bytes: usize) -> Self {
        Table {
            most_entries,
            most_bytes,
            entries: BTreeMap::new(),
            retained: BTreeMap::new(),
            collections: HashMap::new(),
            last: 0,
            bytes: 0,
            retained_bytes: 0,
        }
    }

    fn position(&self, key: &ResourceKey, id: &str) -> Option<u64> {
        self.collections.get(key)?.by_id.get(id).copied()
    }

    fn at(&self, position: u64) -> Option<&Entry> {
        self.entries.get(&position).or_else(|| self.retained.get(&position))
    }

    fn at_mut(&mut self, position: u64) -> Option<&mut Entry> {
        self.entries.get_mut(&position).or_else(|| self.retained.get_mut(&position))
    }

    /// Removes everything, and returns it.
    pub(super) fn clear(&mut self) -> Table {
        let empty = Table { last: self.last, ..Table::new(self.most_entries, self.most_bytes) };
        std::mem::replace(self, empty)
    }

    /// Returns the memory that the entries take, in bytes.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Returns the entry of an id.
    pub(super) fn get(&self, key: &ResourceKey, id: &str) -> Option<&Entry> {
        self.at(self.position(key, id)?)
    }

    /// Stores a text in place of one with the same id, which it returns. The table may exceed its bounds until
    /// [`Table::evict`] returns nothing.
    pub(super) fn put(&mut self, key: &ResourceKey, id: &str, text: StoredText) -> Option<Entry> {
        self.last += 1;
        let (version, size) = (self.last, text.bytes().len());
        if let Some(entry) = self.position(key, id).and_then(|position| self.at_mut(position)) {
            let (key, id) = (Arc::clone(&entry.key), Arc::clone(&entry.id));
            let new = Entry { key, id, text, version, retained: entry.retained };
            let replaced = std::mem::replace(entry, new);
            let before = replaced.text.bytes().len();
            self.bytes = self.bytes + size - before;
            if replaced.retained > 0 {
                self.retained_bytes = self.retained_bytes + size - before;
            }
            return Some(replaced);
        }
        let known = self.collections.get_key_value(key).map(|(known, _)| Arc::clone(known));
        let (key, id) = (known.unwrap_or_else(|| Arc::new(key.clone())), Arc::<str>::from(id));
        let indexes = self.collections.entry(Arc::clone(&key)).or_default();
        indexes.by_id.insert(Arc::clone(&id), version);
        indexes.in_order.insert(version);
        let entry = Entry { key, id, text, version, retained: 0 };
        self.bytes += entry.bytes();
        self.entries.insert(version, entry);
        None
    }

    /// Removes the entry that is to be evicted next, if the table exceeds a bound. Retained entries may take half of
    /// the memory, and are evicted before the last other entry, which may be new.
    pub(super) fn evict(&mut self) -> Option<Entry> {
        if self.entries.len() + self.retained.len() <= self.most_entries && self.bytes <= self.most_bytes {
            return None;
        }
        let is_retained = self.retained_bytes > self.most_bytes / 2 || self.entries.len() <= 1;
        let retained = self.retained.first_key_value().filter(|_| is_retained);
        let (_, oldest) = retained.or_else(|| self.entries.first_key_value())?;
        let (key, id) = (Arc::clone(&oldest.key), Arc::clone(&oldest.id));
        self.remove(&key, &id)
    }

    /// Adds a reason to evict an entry only after others. There may be no such entry.
    pub(super) fn retain(&mut self, key: &ResourceKey, id: &str) {
        let Some(position) = self.position(key, id) else { return };
        if let Some(entry) = self.entries.remove(&position) {
            self.retained_bytes += entry.bytes();
            self.retained.insert(position, entry);
        }
        if let Some(entry) = self.retained.get_mut(&position) {
            entry.retained += 1;
        }
    }

    /// Removes such a reason.
    pub(super) fn release(&mut self, key: &ResourceKey, id: &str) {
        let Some(position) = self.position(key, id) else { return };
        let Some(entry) = self.retained.get_mut(&position) else { return };
        entry.retained -= 1;
        if entry.retained == 0
            && let Some(entry) = self.retained.remove(&position)
        {
            self.retained_bytes -= entry.bytes();
            self.entries.insert(position, entry);
        }
    }

    /// Removes an entry.
    pub(super) fn remove(&mut self, key: &ResourceKey, id: &str) -> Option<Entry> {
        let position = self.position(key, id)?;
        self.remove_position(key, id, position);
        let entry = self.entries.remove(&position).or_else(|| self.retained.remove(&position))?;
        self.bytes -= entry.bytes();
        if entry.retained > 0 {
            self.retained_bytes -= entry.bytes();
        }
        Some(entry)
    }

    fn remove_position(&mut self, key: &ResourceKey, id: &str, position: u64) {
        let Some(indexes) = self.collections.get_mut(key) else { return };
        indexes.by_id.remove(id);
        indexes.in_order.remove(&position);
        if indexes.by_id.is_empty() {
            self.collections.remove(key);
            if self.collections.capacity() > 4 * self.collections.len() + MIN_SPARE {
                self.collections.shrink_to(2 * self.collections.len());
            }
        } else {
            indexes.by_id.release_spare();
        }
    }

    /// Number of entries in a collection.
    pub(super) fn count(&self, key: &ResourceKey) -> usize {
        self.collections.get(key).map_or(0, |indexes| indexes.by_id.len())
    }

    /// The entries of a collection after this position, the oldest first, with their positions.
    pub(super) fn after(&self, key: &ResourceKey, position: u64) -> impl DoubleEndedIterator<Item = (u64, &Entry)> {
        let positions = self.collections.get(key).map(|indexes| indexes.in_order.range(position + 1..));
        positions.into_iter().flatten().filter_map(|position| Some((*position, self.at(*position)?)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ENTRIES: usize = 1000;
    const BYTES: usize = 20_000_000;

    #[test]
    fn an_index_shrinks_with_its_collection() {
        let (mut table, things) = (Table::new(ENTRIES, BYTES), ResourceKey::top("things"));
        for n in 0..ENTRIES {
            table.put(&things, &n.to_string(), StoredText::default());
        }
        for n in 1..ENTRIES {
            table.remove(&things, &n.to_string()).unwrap();
        }
        assert!(table.collections[&things].by_id.capacity() < 64);
        assert_eq!(table.bytes, ENTRY_BYTES + "things".len() + "0".len());
    }

    #[test]
    fn the_bytes_are_those_of_the_entries() {
        let (mut table, mut random) = (Table::new(ENTRIES, BYTES), fastrand::Rng::with_seed(1));
        let keys = [ResourceKey::top("a"), ResourceKey::new("a", &["b", "c"])];
        for _ in 0..4000 {
            let (key, id) = (&keys[random.usize(0..2)], random.u8(0..50).to_string());
            match random.u8(0..8) {
                0..4 => {
                    table.put(key, &id, vec![b'x'; random.usize(0..2_000_000)].into());
                    while table.evict().is_some() {}
                }
                4 => table.retain(key, &id),
                5 => table.release(key, &id),
                _ => _ = table.remove(key, &id),
            }
            let all = || table.entries.values().chain(table.retained.values());
            assert_eq!(table.bytes, all().map(Entry::bytes).sum::<usize>());
            assert_eq!(table.retained_bytes, table.retained.values().map(Entry::bytes).sum::<usize>());
            assert!(table.bytes <= BYTES);
            assert_eq!(keys.each_ref().map(|key| table.count(key)).iter().sum::<usize>(), all().count());
            assert_eq!(table.after(key, 0).count(), table.count(key));
            assert!(table.entries.values().all(|entry| entry.retained == 0));
            assert!(table.retained.values().all(|entry| entry.retained > 0));
        }
        assert!(!table.retained.is_empty());
    }
}
