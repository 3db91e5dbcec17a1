//! The early retries of each caller within one announced wait.

use std::{
    collections::HashMap,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use foldhash::fast::RandomState;
use smallvec::SmallVec;

use super::tally::Events;

/// Number of parts of the table, each with a lock of its own.
const SHARDS: usize = 8;
/// Maximum number of callers whose announced waits are followed. Further ones are not judged.
const MAX_WAITING: usize = 1000;
/// The same for a scope besides the default one: there may be a thousand.
const MAX_SCOPE_WAITING: usize = 64;
/// Maximum number of windows that one record remembers. Early retries in older ones are not taken back.
const MAX_WINDOWS: usize = 8;

/// The announced waits of the callers of one scope, by the hash of the caller.
pub(super) struct Windows {
    shards: [Mutex<HashMap<u64, CallerWindows, RandomState>>; SHARDS],
    /// Maximum number of callers.
    max: usize,
}

/// The last window of one caller, and that with the most early retries.
#[derive(Default)]
struct CallerWindows {
    last: Window,
    most: Window,
}

/// An announced wait, and the early retries within it.
#[derive(Clone, Default)]
struct Window {
    ends: Duration,
    early: Events,
}

/// The numbers of early retries of one caller by the end of their window, the newest last.
#[derive(Clone, Debug, Default)]
pub(super) struct ByWindow {
    pub(super) caller: u64,
    counts: SmallVec<[(Duration, u64); 1]>,
}

impl ByWindow {
    /// Counts an early retry.
    pub(super) fn add(&mut self, caller: u64, ends: Duration) {
        self.caller = caller;
        match self.counts.last_mut() {
            Some((known, count)) if *known == ends => *count += 1,
            _ => {
                if self.counts.len() >= MAX_WINDOWS {
                    self.counts.remove(0);
                }
                self.counts.push((ends, 1));
            }
        }
    }
}

impl Windows {
    pub(super) fn new(is_default: bool) -> Self {
        Windows { shards: Default::default(), max: if is_default { MAX_WAITING } else { MAX_SCOPE_WAITING } }
    }

    fn shard(&self, caller: u64) -> MutexGuard<'_, HashMap<u64, CallerWindows, RandomState>> {
        let shard = usize::try_from(caller % SHARDS as u64).unwrap_or_default();
        self.shards[shard].lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Records an announced wait. It begins a window if the one before is over.
    pub(super) fn announce(&self, caller: u64, now: Duration, wait: Duration) {
        let mut shard = self.shard(caller);
        if !shard.contains_key(&caller) && shard.len() >= self.max / SHARDS {
            return;
        }
        let windows = shard.entry(caller).or_default();
        if now >= windows.last.ends {
            let last = std::mem::replace(&mut windows.last, Window { ends: now + wait, early: Events::default() });
            if last.early.count > windows.most.early.count {
                windows.most = last;
            }
        }
    }

    /// Counts an early retry. Returns the end of its window; `None` if it is in none.
    pub(super) fn add(&self, caller: u64, now: Duration, entry: Option<u64>) -> Option<Duration> {
        let mut shard = self.shard(caller);
        let last = shard.get_mut(&caller).map(|windows| &mut windows.last).filter(|last| now < last.ends)?;
        last.early.add(entry);
        Some(last.ends)
    }

    /// Takes early retries back. `entries` show them.
    pub(super) fn take_back(&self, disproved: &ByWindow, entries: &[u64]) {
        if disproved.counts.is_empty() {
            return;
        }
        let mut shard = self.shard(disproved.caller);
        let Some(CallerWindows { last, most }) = shard.get_mut(&disproved.caller) else { return };
        for (ends, count) in &disproved.counts {
            for window in [&mut *last, &mut *most].into_iter().filter(|window| window.ends == *ends) {
                window.early.take_back(*count, entries);
            }
        }
    }

    /// Returns the most early retries of one caller within one window.
    pub(super) fn most(&self) -> Events {
        let mut most = Events::default();
        for shard in &self.shards {
            for windows in shard.lock().unwrap_or_else(PoisonError::into_inner).values() {
                most.raise_to(&windows.last.early);
                most.raise_to(&windows.most.early);
            }
        }
        most
    }

    /// Forgets everything.
    pub(super) fn clear(&self) {
        self.shards.iter().for_each(|shard| shard.lock().unwrap_or_else(PoisonError::into_inner).clear());
    }
}
