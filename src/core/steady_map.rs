//! A hash map whose memory stays the same while entries come and go.
//!
//! A map of the standard library marks the places of removed entries. Once the marks have used up its free places, it
//! doubles, even if its number of entries is the same as ever. Bounded tables doubled in this way hours after they had
//! reached their bound. This one is built again in the same memory.

use std::{
    collections::HashMap,
    hash::{BuildHasher, Hash},
    mem,
    ops::Deref,
};

/// Spare capacity that is always kept.
const MIN_SPARE: usize = 16;

/// A map that is read like any other. Only changes go through it.
#[derive(Clone, Debug, Default)]
pub struct SteadyMap<K, V, S> {
    map: HashMap<K, V, S>,
    /// Number of entries that fit if no place is marked.
    full: usize,
}

impl<K, V, S> Deref for SteadyMap<K, V, S> {
    type Target = HashMap<K, V, S>;

    fn deref(&self) -> &HashMap<K, V, S> {
        &self.map
    }
}

impl<K: Eq + Hash, V, S: BuildHasher + Default> SteadyMap<K, V, S> {
    /// Adds an entry. Returns the value that it replaces.
    pub fn insert(&mut self, key: K, value: V) -> Option<V> {
        if self.map.len() == self.map.capacity() {
            self.make_room();
        }
        self.map.insert(key, value)
    }

    /// Returns a value to change.
    pub fn get_mut(&mut self, key: &K) -> Option<&mut V> {
        self.map.get_mut(key)
    }

    /// Removes an entry.
    pub fn remove<Q>(&mut self, key: &Q) -> Option<V>
    where
        K: std::borrow::Borrow<Q>,
        Q: Eq + Hash + ?Sized,
    {
        self.map.remove(key)
    }

    /// Removes the entries that `is_kept` rejects.
    pub fn retain(&mut self, is_kept: impl FnMut(&K, &mut V) -> bool) {
        self.map.retain(is_kept);
    }

    /// Releases memory if the map has four times what its entries need.
    pub fn release_spare(&mut self) {
        if self.map.capacity() > 4 * self.map.len() + MIN_SPARE {
            self.map.shrink_to(2 * self.map.len());
            self.full = self.map.capacity();
        }
    }

    fn make_room(&mut self) {
        // To rebuild a map that is nearly full would be needed again too soon.
        if self.map.len() < self.full - self.full / 16 {
            let fresh = HashMap::with_capacity_and_hasher(self.full, S::default());
            let old = mem::replace(&mut self.map, fresh);
            self.map.extend(old);
        } else {
            self.map.reserve(1);
            self.full = self.map.capacity();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_memory_stays_the_same_while_entries_are_replaced() {
        for entries in [10, 900, 6250] {
            let mut map = SteadyMap::<u64, u64, foldhash::fast::RandomState>::default();
            (0..entries).for_each(|n| _ = map.insert(n, n));
            let before = map.full;
            for n in entries..40 * entries + 100_000 {
                assert_eq!(map.remove(&(n - entries)), Some(n - entries));
                assert_eq!(map.insert(n, n), None);
            }
            assert_eq!((map.len() as u64, map.full), (entries, before));
            assert!(map.capacity() <= before);
        }
    }

    #[test]
    fn it_grows_with_its_entries_and_shrinks_on_request() {
        let mut map = SteadyMap::<u64, u64, foldhash::fast::RandomState>::default();
        (0..100_000).for_each(|n| _ = map.insert(n, n));
        assert!((0..100_000).all(|n| map.get(&n) == Some(&n)));
        map.retain(|n, _| *n < 10);
        map.release_spare();
        assert!(map.capacity() < 100);
        (0..1000).for_each(|n| _ = map.insert(n, n + 1));
        assert_eq!((map.len(), map.get(&999)), (1000, Some(&1000)));
    }
}
