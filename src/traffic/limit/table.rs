//! A bounded table of buckets by key.
//!
//! Keys beyond the bound share a few buckets, and may be refused early. No bucket is removed before it is full again,
//! so a client cannot win a new quota by flooding the table with keys.

use std::{
    hash::{BuildHasherDefault, Hasher},
    sync::{Mutex, MutexGuard, PoisonError},
};

use super::window::BucketState;
use crate::core::steady_map::SteadyMap;

const SHARDS: usize = 64;
/// Maximum number of buckets of a table, about 140 MB.
pub(super) const MAX_BUCKETS: usize = 2 * 1024 * 1024;
/// A full shard adds one bucket, shared by further keys, for this many of its own.
const BUCKETS_PER_SHARED: usize = 32;
/// Minimum time between two searches of a full shard for idle buckets, in nanoseconds.
const SWEEP_EVERY: u64 = 100_000_000;

/// The buckets of one limit.
pub(super) struct Table(Box<[Mutex<Shard>]>);

/// The buckets of some keys. Its lock is held for the arithmetic of one decision.
pub(super) struct Shard {
    buckets: SteadyMap<u64, StoredBucket, BuildHasherDefault<PrehashedKey>>,
    max: usize,
    /// Time of the next search for idle buckets if the shard is full.
    sweep_at: u64,
}

#[derive(Clone, Copy, Default)]
struct StoredBucket {
    state: BucketState,
    idle_at: u64,
}

/// A hasher that returns the key itself: keys are hashes already.
#[derive(Default)]
struct PrehashedKey(u64);

impl Hasher for PrehashedKey {
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

/// Locks a shard. Poisoning is ignored, because a panic cannot leave a shard half-changed.
fn lock(shard: &Mutex<Shard>) -> MutexGuard<'_, Shard> {
    shard.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Table {
    /// Creates a table of at most `max` buckets.
    pub(super) fn new(max: usize) -> Self {
        let shard = || Shard { buckets: SteadyMap::default(), max: max / SHARDS, sweep_at: 0 };
        Table((0..SHARDS).map(|_| Mutex::new(shard())).collect())
    }

    /// Locks the shard of a key.
    pub(super) fn shard(&self, key: u64) -> MutexGuard<'_, Shard> {
        // The map inside uses other bits of the key.
        lock(&self.0[(key >> 32) as usize % SHARDS])
    }

    /// Removes the buckets that equal unused ones.
    pub(super) fn forget_idle(&self, now: u64) {
        for shard in &self.0 {
            lock(shard).forget_idle(now);
        }
    }

    /// Returns the number of buckets.
    pub(super) fn len(&self) -> usize {
        self.0.iter().map(|shard| lock(shard).buckets.len()).sum()
    }
}

impl Shard {
    /// Returns the key of the bucket to use: the key itself, or that of a shared bucket.
    pub(super) fn bucket_key(&mut self, key: u64, now: u64) -> u64 {
        if self.buckets.len() < self.max || self.buckets.contains_key(&key) {
            return key;
        }
        if now >= self.sweep_at {
            self.forget_idle(now);
            self.sweep_at = now.saturating_add(SWEEP_EVERY);
        }
        // Keys are 64-bit hashes, so a key this small is a rare and harmless collision.
        if self.buckets.len() < self.max { key } else { key % (self.max / BUCKETS_PER_SHARED).max(1) as u64 }
    }

    pub(super) fn state(&self, bucket_key: u64) -> BucketState {
        self.buckets.get(&bucket_key).map(|bucket| bucket.state).unwrap_or_default()
    }

    /// Stores the state of a bucket, or removes it if `idle_at` is zero.
    pub(super) fn set(&mut self, bucket_key: u64, state: BucketState, idle_at: u64) {
        if idle_at == 0 {
            self.buckets.remove(&bucket_key);
        } else {
            self.buckets.insert(bucket_key, StoredBucket { state, idle_at });
        }
    }

    fn forget_idle(&mut self, now: u64) {
        self.buckets.retain(|_, bucket| bucket.idle_at > now);
        self.buckets.release_spare();
    }
}
