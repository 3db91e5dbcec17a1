//! The tables of clients' objects and of internal records, behind the store's lock. Each has its own bounds, so that
//! neither kind evicts the other. Nothing here parses or renders.

use super::{
    Lookup,
    table::{Entry, Table},
    text::StoredText,
    tombstones::Tombstones,
};
use crate::protocol::{Kind, ResourceKey};

/// Maximum number of objects and of their files.
pub(super) const MAX_OBJECTS: usize = 10_000;
/// Maximum size of all objects and files in bytes: their texts, ids and keys, and an overhead for each.
pub(super) const MAX_BYTES: usize = 64 << 20;
/// Maximum number of internal records: plans, and the jobs of batches with their lines and outputs.
pub(super) const MAX_RECORDS: usize = 5000;
/// Maximum size of all internal records in bytes, counted like [`MAX_BYTES`].
pub(super) const MAX_RECORD_BYTES: usize = 64 << 20;

pub(super) struct Tables {
    objects: Table,
    records: Table,
    pub(super) deleted: Tombstones,
    /// Ids of responses that were returned but must not be stored. They have their own tombstones because there can
    /// be more of them than of all others.
    pub(super) unstored: Tombstones,
}

impl Default for Tables {
    fn default() -> Self {
        Tables {
            objects: Table::new(MAX_OBJECTS, MAX_BYTES),
            records: Table::new(MAX_RECORDS, MAX_RECORD_BYTES),
            deleted: Tombstones::default(),
            unstored: Tombstones::default(),
        }
    }
}

impl Tables {
    /// The table of a kind.
    pub(super) fn of(&self, kind: Kind) -> &Table {
        if kind.is_internal() { &self.records } else { &self.objects }
    }

    /// Removes everything, and returns it.
    pub(super) fn clear(&mut self) -> (Table, Table) {
        (self.deleted, self.unstored) = Default::default();
        (self.objects.clear(), self.records.clear())
    }

    /// Returns the memory that the objects and records take, in bytes.
    pub(super) fn bytes(&self) -> usize {
        self.objects.bytes() + self.records.bytes()
    }

    /// Looks an id up.
    pub(super) fn find(&self, key: &ResourceKey, id: &str) -> Lookup<&Entry> {
        match self.of(key.kind()).get(key, id) {
            Some(entry) => Lookup::Stored(entry),
            None if self.deleted.contains(key, id) || self.unstored.contains(key, id) => Lookup::Deleted,
            None => Lookup::Unknown,
        }
    }

    /// Stores a text in place of one with the same key and id, and evicts the oldest ones at either bound. Returns what
    /// it removes: the caller drops it without the lock.
    pub(super) fn put(&mut self, key: &ResourceKey, id: &str, text: StoredText) -> Vec<Entry> {
        let mut freed = Vec::new();
        if !key.kind().is_internal() {
            self.deleted.remove(key, id);
            freed.extend(self.objects.put(key, id, text));
            freed.extend(std::iter::from_fn(|| self.objects.evict()));
            return freed;
        }
        let replaced = self.records.put(key, id, text);
        if replaced.is_none() && key.kind().retains_object() {
            self.objects.retain(&key.of(Kind::Object), id);
        }
        freed.extend(replaced);
        while let Some(evicted) = self.records.evict() {
            self.release_object(&evicted.key, &evicted.id);
            freed.push(evicted);
        }
        freed
    }

    /// Removes a text without a tombstone.
    pub(super) fn remove(&mut self, key: &ResourceKey, id: &str) -> Option<Entry> {
        if !key.kind().is_internal() {
            return self.objects.remove(key, id);
        }
        let removed = self.records.remove(key, id)?;
        self.release_object(key, id);
        Some(removed)
    }

    fn release_object(&mut self, key: &ResourceKey, id: &str) {
        if key.kind().retains_object() {
            self.objects.release(&key.of(Kind::Object), id);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn put(tables: &mut Tables, key: &ResourceKey, id: impl ToString, bytes: usize) {
        tables.put(key, &id.to_string(), vec![b'1'; bytes].into());
    }

    #[test]
    fn objects_and_records_do_not_evict_each_other() {
        let (mut tables, things) = (Tables::default(), ResourceKey::top("things"));
        let inputs = things.of(Kind::JobInput);
        put(&mut tables, &things, "old", 1);
        for n in 0..MAX_RECORDS + 10 {
            put(&mut tables, &inputs, n, 1);
        }
        (0..9).for_each(|n| put(&mut tables, &things.of(Kind::JobOutput { output: 0, part: n }), "job", 10 << 20));
        assert!(tables.records.bytes() <= MAX_RECORD_BYTES);
        assert_eq!((tables.of(Kind::Object).count(&things), tables.of(Kind::JobInput).count(&inputs)), (1, 0));
        put(&mut tables, &inputs, "job", 1);
        for n in 0..MAX_OBJECTS + 10 {
            put(&mut tables, &things, n, 1);
        }
        assert_eq!(tables.of(Kind::Object).count(&things), MAX_OBJECTS);
        assert!(matches!(tables.find(&inputs, "job"), Lookup::Stored(_)));
        assert!(matches!(tables.find(&things, "old"), Lookup::Unknown));
    }

    #[test]
    fn an_object_with_work_to_come_is_evicted_last() {
        let (mut tables, things) = (Tables::default(), ResourceKey::top("things"));
        let is_stored = |tables: &Tables, id: &str| matches!(tables.find(&things, id), Lookup::Stored(_));
        for (id, kind) in [("plan", Kind::Plan), ("job", Kind::Job), ("ended", Kind::EndedJob)] {
            put(&mut tables, &things, id, 1);
            put(&mut tables, &things.of(kind), id, 1);
            put(&mut tables, &things.of(kind), id, 2);
        }
        (0..MAX_OBJECTS).for_each(|n| put(&mut tables, &things, n, 1));
        let stored = ["plan", "job", "ended", "1", "2"].map(|id| is_stored(&tables, id));
        assert_eq!(stored, [true, true, false, false, true]);
        tables.remove(&things.of(Kind::Plan), "plan");
        put(&mut tables, &things, "more", 1);
        assert_eq!(["plan", "job", "2"].map(|id| is_stored(&tables, id)), [false, true, true]);
        // The record of a job that is evicted retains its object no longer.
        (0..MAX_RECORDS).for_each(|n| put(&mut tables, &things.of(Kind::Plan), format!("none {n}"), 1));
        put(&mut tables, &things, "last", 1);
        assert_eq!(["job", "2"].map(|id| is_stored(&tables, id)), [false, true]);
    }

    #[test]
    fn objects_with_work_to_come_are_bounded_too() {
        let (mut tables, things) = (Tables::default(), ResourceKey::top("things"));
        for n in 0..9 {
            put(&mut tables, &things, n, 10 << 20);
            put(&mut tables, &things.of(Kind::Plan), n, 1);
        }
        assert!(tables.objects.bytes() <= MAX_BYTES);
        let is_stored = |tables: &Tables, n: usize| matches!(tables.find(&things, &n.to_string()), Lookup::Stored(_));
        assert_eq!([2, 3, 8].map(|n| is_stored(&tables, n)), [false, true, true]);
        put(&mut tables, &things, 9, 60 << 20);
        assert_eq!([8, 9].map(|n| is_stored(&tables, n)), [false, true], "a new object is stored");
    }
}
