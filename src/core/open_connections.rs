//! The numbers of the connections that are open.

use std::{
    collections::HashSet,
    sync::{Mutex, MutexGuard, PoisonError},
};

use foldhash::fast::RandomState;

/// The open connections of a server. The server bounds their number.
#[derive(Debug, Default)]
pub struct OpenConnections(Mutex<HashSet<u64, RandomState>>);

impl OpenConnections {
    fn set(&self) -> MutexGuard<'_, HashSet<u64, RandomState>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Records that a connection is open.
    pub fn opened(&self, number: u64) {
        self.set().insert(number);
    }

    /// Records that a connection is closed.
    pub fn closed(&self, number: u64) {
        self.set().remove(&number);
    }

    /// Returns true if a connection is open.
    pub fn is_open(&self, number: u64) -> bool {
        self.set().contains(&number)
    }
}
