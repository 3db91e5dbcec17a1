//! How far each caller has come in what is said in turns. Bounded: of too many, those begun first are forgotten.

use std::{
    collections::{HashMap, VecDeque},
    hash::{BuildHasher, Hash, RandomState},
    sync::{Mutex, PoisonError},
};

/// The most that is remembered.
const MOST: usize = 100_000;

/// Counts by caller and script.
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
    /// How often it has been counted; not if that is `most` already. It is not counted by this.
    pub fn peek(&self, key: impl Hash, most: u64) -> Option<u64> {
        let table = self.table.lock().unwrap_or_else(PoisonError::into_inner);
        let count = table.counts.get(&self.hasher.hash_one(key)).copied().unwrap_or(0);
        (count < most).then_some(count)
    }

    /// Forgets everything.
    pub fn clear(&self) {
        *self.table.lock().unwrap_or_else(PoisonError::into_inner) = Table::default();
    }

    /// Counts one more, and tells how often it had been counted; not if that is `most` already.
    pub fn next(&self, key: impl Hash, most: u64) -> Option<u64> {
        let key = self.hasher.hash_one(key);
        // A count cannot be left half-changed, so a lock poisoned by a panic elsewhere is as good as new.
        let mut table = self.table.lock().unwrap_or_else(PoisonError::into_inner);
        let Table { counts, order } = &mut *table;
        let count = counts.entry(key).or_insert_with(|| {
            order.push_back(key);
            0
        });
        if *count >= most {
            return None;
        }
        let before = *count;
        *count += 1;
        if order.len() > MOST
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
    fn counts_up_to_the_most_for_each_key() {
        let progress = SequenceCounters::default();
        assert_eq!([1, 2, 3, 4].map(|_| progress.next("a", 3)), [Some(0), Some(1), Some(2), None]);
        assert_eq!([progress.peek("b", 1), progress.peek("b", 1), progress.peek("a", 3)], [Some(0), Some(0), None]);
        assert_eq!(progress.next("b", 1), Some(0));
    }

    #[test]
    fn remembers_no_more_than_it_may() {
        let progress = SequenceCounters::default();
        for n in 0..MOST + 10 {
            progress.next(n, 1);
        }
        assert_eq!(progress.table.lock().unwrap().counts.len(), MOST);
        assert_eq!(progress.next(0, 1), Some(0), "the first is forgotten");
        assert_eq!(progress.next(MOST, 1), None, "the last is not");
    }
}
