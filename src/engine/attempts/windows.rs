//! The early retries of each caller within one announced wait.

use std::time::Duration;

use smallvec::SmallVec;

use super::tally::Events;
use crate::engine::by_caller::ByCaller;

/// Maximum number of windows that one record remembers. Early retries in older ones are not taken back.
const MAX_WINDOWS: usize = 8;

/// The announced waits of the callers of one scope.
pub(super) struct Windows(ByCaller<CallerWindows>);

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
    /// No waits yet in the default scope, or in another one.
    pub(super) fn new(is_default: bool) -> Self {
        Windows(ByCaller::new(is_default))
    }

    /// Records an announced wait. It begins a window if the one before is over.
    pub(super) fn announce(&self, caller: u64, now: Duration, wait: Duration) {
        self.0.change_or_create(caller, CallerWindows::default, |windows| {
            if now >= windows.last.ends {
                let last = std::mem::replace(&mut windows.last, Window { ends: now + wait, early: Events::default() });
                if last.early.count > windows.most.early.count {
                    windows.most = last;
                }
            }
        });
    }

    /// Counts an early retry. Returns the end of its window; `None` if it is in none.
    pub(super) fn add(&self, caller: u64, now: Duration, entry: Option<u64>) -> Option<Duration> {
        let add = |windows: &mut CallerWindows| {
            let last = Some(&mut windows.last).filter(|last| now < last.ends)?;
            last.early.add(entry);
            Some(last.ends)
        };
        self.0.change(caller, add).flatten()
    }

    /// Takes early retries back. `entries` show them.
    pub(super) fn take_back(&self, disproved: &ByWindow, entries: &[u64]) {
        if disproved.counts.is_empty() {
            return;
        }
        self.0.change(disproved.caller, |CallerWindows { last, most }| {
            for (ends, count) in &disproved.counts {
                for window in [&mut *last, &mut *most].into_iter().filter(|window| window.ends == *ends) {
                    window.early.take_back(*count, entries);
                }
            }
        });
    }

    /// Returns the most early retries of one caller within one window.
    pub(super) fn most(&self) -> Events {
        let mut most = Events::default();
        self.0.for_each(|windows| {
            most.raise_to(&windows.last.early);
            most.raise_to(&windows.most.early);
        });
        most
    }

    /// Forgets everything.
    pub(super) fn clear(&self) {
        self.0.clear();
    }
}
