//! Counters for replies and faults that come in a sequence. Their number is bounded: the oldest are evicted.

use std::{
    collections::VecDeque,
    hash::{BuildHasher, Hash, RandomState},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use crate::core::steady_map::SteadyMap;

/// Maximum number of counters.
const MAX_COUNTERS: usize = 100_000;

/// Counters by caller and script, in a space of their own. All spaces share one bounded table.
#[derive(Default)]
pub struct SequenceCounters {
    shared: Arc<Shared>,
    /// The number of the space.
    space: AtomicU64,
}

#[derive(Default)]
struct Shared {
    hasher: RandomState,
    table: Mutex<Table>,
    /// The number of the newest space.
    spaces: AtomicU64,
}

impl Shared {
    fn next_space(&self) -> u64 {
        self.spaces.fetch_add(1, Ordering::Relaxed) + 1
    }
}

#[derive(Default)]
struct Table {
    counts: SteadyMap<u64, u64, RandomState>,
    order: VecDeque<u64>,
}

impl SequenceCounters {
    /// Creates counters in another space of the same table.
    pub fn in_new_space(&self) -> Self {
        let shared = Arc::clone(&self.shared);
        let space = shared.next_space().into();
        SequenceCounters { shared, space }
    }

    fn hash(&self, key: impl Hash) -> u64 {
        self.shared.hasher.hash_one((self.space.load(Ordering::Relaxed), key))
    }

    fn table(&self) -> MutexGuard<'_, Table> {
        // No step here can leave a count half-changed, so a lock poisoned by a panic elsewhere is safe to use.
        self.shared.table.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns the count without changing it; `None` if it has reached `limit`.
    pub fn peek(&self, key: impl Hash, limit: u64) -> Option<u64> {
        let key = self.hash(key);
        let count = self.table().counts.get(&key).copied().unwrap_or(0);
        (count < limit).then_some(count)
    }

    /// Starts all counters of the space again. The old ones are evicted in time.
    pub fn clear(&self) {
        self.space.store(self.shared.next_space(), Ordering::Relaxed);
    }

    /// Increments a counter and returns its old value; `None` if that has reached `limit`.
    pub fn next(&self, key: impl Hash, limit: u64) -> Option<u64> {
        let key = self.hash(key);
        let mut table = self.table();
        let Table { counts, order } = &mut *table;
        let before = match counts.get_mut(&key) {
            Some(count) if *count >= limit => return None,
            Some(count) => {
                *count += 1;
                *count - 1
            }
            None => {
                order.push_back(key);
                counts.insert(key, u64::from(limit > 0));
                if limit == 0 {
                    return None;
                }
                0
            }
        };
        if order.len() > MAX_COUNTERS
            && let Some(first) = order.pop_front()
        {
            counts.remove(&first);
        }
        Some(before)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_key_counts_up_to_its_limit() {
        let counters = SequenceCounters::default();
        assert_eq!([1, 2, 3, 4].map(|_| counters.next("a", 3)), [Some(0), Some(1), Some(2), None]);
        assert_eq!([counters.peek("b", 1), counters.peek("b", 1), counters.peek("a", 3)], [Some(0), Some(0), None]);
        assert_eq!(counters.next("b", 1), Some(0));
    }

    #[test]
    fn spaces_share_the_bound_and_nothing_else() {
        let counters = SequenceCounters::default();
        let other = counters.in_new_space();
        assert_eq!([counters.next("a", 1), other.next("a", 1), other.next("a", 1)], [Some(0), Some(0), None]);
        other.clear();
        assert_eq!([counters.next("a", 1), other.next("a", 1)], [None, Some(0)]);
        (0..MAX_COUNTERS + 10).for_each(|n| _ = counters.in_new_space().next(n, 1));
        assert_eq!(other.table().counts.len(), MAX_COUNTERS);
    }

    #[test]
    fn the_oldest_counters_are_evicted_at_the_bound() {
        let counters = SequenceCounters::default();
        for n in 0..MAX_COUNTERS + 10 {
            counters.next(n, 1);
        }
        assert_eq!(counters.table().counts.len(), MAX_COUNTERS);
        assert_eq!(counters.next(0, 1), Some(0), "the first is forgotten");
        assert_eq!(counters.next(MAX_COUNTERS, 1), None, "the last is not");
    }
}
