//! A table with a state for each caller of a scope, bounded in their number.

use std::{
    collections::HashMap,
    sync::{Mutex, MutexGuard, PoisonError},
};

use foldhash::fast::RandomState;

/// Maximum number of callers that are judged. Further ones have no state.
const MAX_CALLERS: usize = 1000;
/// The same for a scope besides the default one: there may be a thousand.
const MAX_SCOPE_CALLERS: usize = 64;
/// Number of parts of the table, each with a lock of its own.
const SHARDS: usize = 8;

type Shard<T> = HashMap<u64, T, RandomState>;

/// The states of callers, by the hash of the caller.
pub(super) struct ByCaller<T> {
    shards: [Mutex<Shard<T>>; SHARDS],
    max: usize,
}

impl<T> ByCaller<T> {
    /// No callers yet of the default scope, or of another one.
    pub(super) fn new(is_default: bool) -> Self {
        let max = if is_default { MAX_CALLERS } else { MAX_SCOPE_CALLERS };
        ByCaller { shards: std::array::from_fn(|_| Mutex::default()), max }
    }

    fn shard(&self, caller: u64) -> MutexGuard<'_, Shard<T>> {
        lock(&self.shards[usize::try_from(caller % SHARDS as u64).unwrap_or_default()])
    }

    /// Changes the state of a caller, which is created if there is room. `None`: there is none.
    pub(super) fn change_or_create<R>(
        &self,
        caller: u64,
        create: impl FnOnce() -> T,
        change: impl FnOnce(&mut T) -> R,
    ) -> Option<R> {
        let mut shard = self.shard(caller);
        if !shard.contains_key(&caller) && shard.len() >= self.max / SHARDS {
            return None;
        }
        Some(change(shard.entry(caller).or_insert_with(create)))
    }

    /// Changes the state of a caller, if it has one.
    pub(super) fn change<R>(&self, caller: u64, change: impl FnOnce(&mut T) -> R) -> Option<R> {
        self.shard(caller).get_mut(&caller).map(change)
    }

    /// Calls `visit` with each state.
    pub(super) fn for_each(&self, mut visit: impl FnMut(&T)) {
        self.shards.iter().for_each(|shard| lock(shard).values().for_each(&mut visit));
    }

    /// Adds the states of another table. `merge` adds a state to that of the same caller.
    pub(super) fn add(&self, other: &ByCaller<T>, merge: impl Fn(&mut T, T))
    where
        T: Clone,
    {
        for (own, other) in self.shards.iter().zip(&other.shards) {
            let other = lock(other).clone();
            let mut own = lock(own);
            for (caller, state) in other {
                if let Some(known) = own.get_mut(&caller) {
                    merge(known, state);
                } else if own.len() < self.max / SHARDS {
                    own.insert(caller, state);
                }
            }
        }
    }

    /// Forgets all callers.
    pub(super) fn clear(&self) {
        self.shards.iter().for_each(|shard| lock(shard).clear());
    }
}

fn lock<T>(shard: &Mutex<Shard<T>>) -> MutexGuard<'_, Shard<T>> {
    // Every step leaves the states valid.
    shard.lock().unwrap_or_else(PoisonError::into_inner)
}
