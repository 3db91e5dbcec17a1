//! The counts of the client, shared with the thread that prints them.

use std::sync::{
    Mutex, PoisonError,
    atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
};

use clap::ValueEnum as _;

use crate::actions::Action;

/// Unexpected responses that are listed.
const LISTED: usize = 10;

/// Numbers since the start.
#[derive(Default)]
pub struct Counts {
    /// Requests that the server has answered or cut: its metrics count them.
    surely: AtomicU64,
    /// Requests that were sent, and given up before any response: the server may have read them or not.
    perhaps: AtomicU64,
    /// Pages that the server does not count: metrics, admin, garbage.
    uncounted: AtomicU64,
    /// Next key of the first phase.
    key: AtomicU64,
    actions: [AtomicU64; 32],
    filled: AtomicBool,
    stopped: AtomicBool,
    surprises: Mutex<(u64, Vec<String>)>,
}

impl Counts {
    pub fn surely(&self, count: u64) {
        self.surely.fetch_add(count, Relaxed);
    }

    pub fn perhaps(&self) {
        self.perhaps.fetch_add(1, Relaxed);
    }

    pub fn uncounted(&self) {
        self.uncounted.fetch_add(1, Relaxed);
    }

    pub fn action(&self, action: Action) {
        self.actions[action as usize].fetch_add(1, Relaxed);
    }

    /// The next number of the first phase.
    pub fn next_key(&self) -> u64 {
        self.key.fetch_add(1, Relaxed)
    }

    /// Records a response that should not be.
    pub fn surprise(&self, text: impl FnOnce() -> String) {
        let (count, list) = &mut *self.surprises.lock().unwrap_or_else(PoisonError::into_inner);
        *count += 1;
        if list.len() < LISTED {
            list.push(text());
        }
    }

    /// The unexpected responses; the first ones, and the number of the others.
    pub fn surprises(&self) -> Vec<String> {
        let (count, list) = &*self.surprises.lock().unwrap_or_else(PoisonError::into_inner);
        let more = *count - list.len() as u64;
        list.iter().cloned().chain((more > 0).then(|| format!("and {more} more"))).collect()
    }

    pub fn surprise_count(&self) -> u64 {
        self.surprises.lock().unwrap_or_else(PoisonError::into_inner).0
    }

    /// Requests sent, of every kind.
    pub fn sent(&self) -> u64 {
        self.surely.load(Relaxed) + self.perhaps.load(Relaxed) + self.uncounted.load(Relaxed)
    }

    /// Requests that the server must have counted, beside those before, and those that it may have counted.
    pub fn received(&self, before: f64) -> (u64, u64) {
        (self.surely.load(Relaxed) + before as u64, self.perhaps.load(Relaxed))
    }

    pub fn fill(&self) {
        self.filled.store(true, Relaxed);
    }

    pub fn is_filled(&self) -> bool {
        self.filled.load(Relaxed)
    }

    pub fn stop(&self) {
        self.stopped.store(true, Relaxed);
    }

    pub fn is_stopped(&self) -> bool {
        self.stopped.load(Relaxed)
    }

    /// Prints how often each kind of request was made.
    pub fn print(&self) {
        let each = Action::value_variants().iter().map(|action| {
            let name = action.to_possible_value().map(|value| value.get_name().to_owned()).unwrap_or_default();
            format!("{name} {}", self.actions[*action as usize].load(Relaxed))
        });
        println!("actions: {}", each.collect::<Vec<_>>().join(", "));
    }
}
