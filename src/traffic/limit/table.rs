//! Buckets by key, bounded.
//!
//! When there are more keys than may be remembered, new ones share buckets of their own. They may then be refused early,
//! but no bucket is forgotten before it is full, and so none can be had twice by crowding it out.

use std::{
    collections::HashMap,
    hash::{BuildHasherDefault, Hasher},
    sync::{Mutex, MutexGuard, PoisonError},
};

use super::window::State;

const SHARDS: usize = 64;
/// The buckets that a table remembers, about 140 MB if they are all in use.
pub(super) const MOST: usize = 2 * 1024 * 1024;
/// Of so many buckets of a shard, a full one keeps one more for all further keys to share.
const SHARED: usize = 32;
/// A full shard is searched for idle buckets this often at the most, in nanoseconds.
const SWEEP_EVERY: u64 = 100_000_000;

/// The buckets of one limit.
pub(super) struct Table(Box<[Mutex<Shard>]>);

/// The buckets of some keys. The lock on it is held for the arithmetic of one decision.
pub(super) struct Shard {
    buckets: HashMap<u64, Bucket, BuildHasherDefault<Hashed>>,
    most: usize,
    /// When it may be searched again because it is full.
    sweep_at: u64,
}

#[derive(Clone, Copy, Default)]
struct Bucket {
    state: State,
    idle_at: u64,
}

/// Keys are hashes already.
#[derive(Default)]
struct Hashed(u64);

impl Hasher for Hashed {
    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = self.0.rotate_left(8) ^ u64::from(*byte);
        }
    }

    fn write_u64(&mut self, hash: u64) {
        self.0 = hash;
    }

    fn finish(&self) -> u64 {
        self.0
    }
}

/// A decision cannot leave a shard half-changed, so a lock poisoned by a panic elsewhere is as good as new.
fn lock(shard: &Mutex<Shard>) -> MutexGuard<'_, Shard> {
    shard.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Table {
    /// A table that remembers `most` buckets.
    pub(super) fn new(most: usize) -> Self {
        let shard = || Shard { buckets: HashMap::default(), most: most / SHARDS, sweep_at: 0 };
        Table((0..SHARDS).map(|_| Mutex::new(shard())).collect())
    }

    /// The shard that a key is in, locked: nothing else is decided over its keys meanwhile.
    pub(super) fn shard(&self, key: u64) -> MutexGuard<'_, Shard> {
        // Not the bits by which the map inside places its keys.
        lock(&self.0[(key >> 32) as usize % SHARDS])
    }

    /// Forgets the buckets that are as good as never used.
    pub(super) fn forget_idle(&self, now: u64) {
        for shard in &self.0 {
            lock(shard).forget_idle(now);
        }
    }

    /// How many buckets are remembered.
    pub(super) fn len(&self) -> usize {
        self.0.iter().map(|shard| lock(shard).buckets.len()).sum()
    }
}

impl Shard {
    /// Where the bucket of a key is: a place of its own or one that it shares.
    pub(super) fn place(&mut self, key: u64, now: u64) -> u64 {
        if self.buckets.len() < self.most || self.buckets.contains_key(&key) {
            return key;
        }
        if now >= self.sweep_at {
            self.forget_idle(now);
            self.sweep_at = now.saturating_add(SWEEP_EVERY);
        }
        // No key is so small but by a chance that does no harm.
        if self.buckets.len() < self.most { key } else { key % (self.most / SHARED).max(1) as u64 }
    }

    pub(super) fn state(&self, place: u64) -> State {
        self.buckets.get(&place).map(|bucket| bucket.state).unwrap_or_default()
    }

    /// Changes a bucket; one that is idle from the beginning is not remembered.
    pub(super) fn set(&mut self, place: u64, state: State, idle_at: u64) {
        if idle_at == 0 {
            self.buckets.remove(&place);
        } else {
            self.buckets.insert(place, Bucket { state, idle_at });
        }
    }

    fn forget_idle(&mut self, now: u64) {
        self.buckets.retain(|_, bucket| bucket.idle_at > now);
        if self.buckets.capacity() > 4 * self.buckets.len() + 64 {
            self.buckets.shrink_to_fit();
        }
    }
}
