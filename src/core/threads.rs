//! Numbers of threads, to choose a shard by.

use std::{
    cell::Cell,
    sync::atomic::{AtomicUsize, Ordering},
};

/// The number of the calling thread, counted from the first thread that asked.
pub fn number() -> usize {
    static THREADS: AtomicUsize = AtomicUsize::new(0);
    thread_local! {
        static NUMBER: Cell<Option<usize>> = const { Cell::new(None) };
    }
    NUMBER.get().unwrap_or_else(|| {
        let number = THREADS.fetch_add(1, Ordering::Relaxed);
        NUMBER.set(Some(number));
        number
    })
}
