//! Tombstones of deleted objects. Their number is bounded: the oldest are evicted.

use std::{
    collections::VecDeque,
    hash::{DefaultHasher, Hash, Hasher, RandomState},
};

use crate::{core::steady_map::SteadyMap, protocol::ResourceKey};

/// Maximum number of tombstones.
const MAX_TOMBSTONES: usize = 10_000;

/// Hashes of the deleted ids. An id can be arbitrarily long, a hash cannot.
#[derive(Default)]
pub(super) struct Tombstones {
    hashes: SteadyMap<u64, (), RandomState>,
    in_order: VecDeque<u64>,
}

fn hash(key: &ResourceKey, id: &str) -> u64 {
    let mut hasher = DefaultHasher::new();
    (key, id).hash(&mut hasher);
    hasher.finish()
}

impl Tombstones {
    pub(super) fn insert(&mut self, key: &ResourceKey, id: &str) {
        let hash = hash(key, id);
        if self.hashes.insert(hash, ()).is_none() {
            self.in_order.push_back(hash);
        }
        while self.in_order.len() > MAX_TOMBSTONES {
            let oldest = self.in_order.pop_front();
            oldest.map(|hash| self.hashes.remove(&hash));
        }
    }

    pub(super) fn remove(&mut self, key: &ResourceKey, id: &str) {
        let hash = hash(key, id);
        if self.hashes.remove(&hash).is_some() {
            self.in_order.retain(|known| *known != hash);
        }
    }

    pub(super) fn contains(&self, key: &ResourceKey, id: &str) -> bool {
        self.hashes.contains_key(&hash(key, id))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_tombstone_is_evicted() {
        let (mut tombstones, things) = (Tombstones::default(), ResourceKey::top("things"));
        for n in 0..MAX_TOMBSTONES + 2 {
            tombstones.insert(&things, &n.to_string());
        }
        tombstones.remove(&things, "5");
        let is = |id: &str| tombstones.contains(&things, id);
        assert_eq!(
            [is("0"), is("1"), is("2"), is("5"), tombstones.contains(&ResourceKey::top("others"), "2")],
            [false, false, true, false, false]
        );
        assert_eq!((tombstones.hashes.len(), tombstones.in_order.len()), (MAX_TOMBSTONES - 1, MAX_TOMBSTONES - 1));
    }
}
