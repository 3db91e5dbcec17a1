//! Counters for replies and faults that come in a sequence. Their number is bounded: the oldest are evicted.

use std::{
    collections::{HashMap, VecDeque},
    hash::{BuildHasher, Hash, RandomState},
    sync::{Mutex, PoisonError},
};

/// Maximum number of counters.
const MAX_COUNTERS: usize = 100_000;

/// Counters by caller and script.
#[derive(Default)]
pub struct SequenceCounters {
    hasher: RandomState,
    table: Mutex<Table>,
}

#[derive(Default)]
struct Table {
    counts: HashMap<u64, u64>,
    order: VecDeque<u64>,
}

impl SequenceCounters {
    /// Returns the count without changing it; `None` if it has reached `limit`.
    pub fn peek(&self, key: impl Hash, limit: u64) -> Option<u64> {
        let table = self.table.lock().unwrap_or_else(PoisonError::into_inner);
        let count = table.counts.get(&self.hasher.hash_one(key)).copied().unwrap_or(0);
        (count < limit).then_some(count)
    }

    /// Removes all counters.
    pub fn clear(&self) {
        *self.table.lock().unwrap_or_else(PoisonError::into_inner) = Table::default();
    }

    /// Increments a counter and returns its old value; `None` if that has reached `limit`.
    pub fn next(&self, key: impl Hash, limit: u64) -> Option<u64> {
        let key = self.hasher.hash_one(key);
        // No step here can leave a count half-changed, so a lock poisoned by a panic elsewhere is safe to use.
        let mut table = self.table.lock().unwrap_or_else(PoisonError::into_inner);
        let Table { counts, order } = &mut *table;
        let count = counts.entry(key).or_insert_with(|| {
            order.push_back(key);
            0
        });
        if *count >= limit {
            return None;
        }
        let before = *count;
        *count += 1;
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
    fn the_oldest_counters_are_evicted_at_the_bound() {
        let counters = SequenceCounters::default();
        for n in 0..MAX_COUNTERS + 10 {
            counters.next(n, 1);
        }
        assert_eq!(counters.table.lock().unwrap().counts.len(), MAX_COUNTERS);
        assert_eq!(counters.next(0, 1), Some(0), "the first is forgotten");
        assert_eq!(counters.next(MAX_COUNTERS, 1), None, "the last is not");
    }
}
