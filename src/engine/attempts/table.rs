//! The table of the followed calls: its bound, the end of those that expire, and their sum.

use std::{
    sync::{Mutex, PoisonError, atomic::Ordering},
    time::Duration,
};

use super::{
    Attempts, Shard, Tally,
    facts::{Finished, Followed},
    key,
    record::{Order, Record},
};

/// Maximum number of calls and fingerprints that are followed at once, in all scopes. Beyond it the oldest of the scope
/// are dropped.
const MAX_CALLS: usize = 100_000;
/// Time after which a call without another attempt has ended.
const LIFETIME: Duration = Duration::from_secs(120);

impl Attempts {
    /// Adds a record. Returns false if there is no room.
    pub(super) fn insert(&self, shard: &mut Shard, key: u64, name: Option<&str>, now: Duration) -> bool {
        while self.shared.places.load(Ordering::Relaxed) >= MAX_CALLS {
            if !self.remove_oldest(shard) {
                return false;
            }
        }
        let name = name.map(|name| key::shown(name).into());
        shard.records.insert(key, Record::new(name, now));
        shard.ages.push_back((now, key));
        self.records.fetch_add(1, Ordering::Relaxed);
        self.shared.places.fetch_add(1, Ordering::Relaxed);
        true
    }

    /// Removes records whose last request is long ago.
    pub(super) fn remove_expired(&self, shard: &mut Shard, now: Duration, most: usize) {
        for _ in 0..most {
            let Some((at, key)) = shard.ages.front().copied() else { return };
            if at + LIFETIME > now {
                return;
            }
            match shard.records.get(&key) {
                Some(record) if record.open > 0 || record.last + LIFETIME > now => {
                    let last = if record.open > 0 { now } else { record.last };
                    shard.ages.pop_front();
                    shard.ages.push_back((last, key));
                }
                _ => _ = self.remove_oldest(shard),
            }
        }
    }

    /// Removes the record at the front. Returns false if there is none.
    fn remove_oldest(&self, shard: &mut Shard) -> bool {
        let Some((_, key)) = shard.ages.pop_front() else { return false };
        if let Some(mut record) = shard.records.remove(&key) {
            self.records.fetch_sub(1, Ordering::Relaxed);
            self.shared.places.fetch_sub(record.places(), Ordering::Relaxed);
            if record.order != Order::Overlap {
                record.calls.iter_mut().filter(|call| !call.is_counted).for_each(|call| shard.finished.add(call));
            }
            if let Some(inferred) = &record.inferred {
                shard.finished.add_tally(&inferred.tally);
            }
            if record.unknown > 0 {
                shard.finished.add_tally(&Tally { ambiguous: record.unknown, ..Tally::default() });
            }
        }
        true
    }

    /// Removes all calls that have expired, and returns them.
    pub(in crate::engine) fn expire(&self) -> Vec<Finished> {
        let now = self.now();
        self.all(|shard| {
            let most = shard.ages.len();
            self.remove_expired(shard, now, most);
            std::mem::take(&mut shard.finished)
        })
    }

    /// Removes all calls, and returns them.
    pub(in crate::engine) fn end(&self) -> Vec<Finished> {
        let mut all = self.all(|shard| {
            while self.remove_oldest(shard) {}
            std::mem::take(&mut shard.finished)
        });
        let tally = Tally { hammering: self.windows.most(), ..Tally::default() };
        all.push(Finished { tally: Some(Box::new(tally)), ..Finished::default() });
        self.windows.clear();
        all
    }

    /// Returns the calls that are not yet counted as ended, and the conduct that may yet be disproved.
    pub(in crate::engine) fn followed(&self) -> Followed {
        let mut sum = Followed::default();
        sum.tally.hammering = self.windows.most();
        let parts = self.all(|shard| {
            let mut part = Followed::default();
            for record in shard.records.values() {
                if record.order != Order::Overlap {
                    let uncounted = record.calls.iter().filter(|call| !call.is_counted);
                    uncounted.for_each(|call| {
                        part.calls += 1;
                        part.attempts += u64::from(call.attempts);
                    });
                }
                if let Some(inferred) = &record.inferred {
                    part.tally.merge(&inferred.tally);
                }
                part.tally.ambiguous += record.unknown;
            }
            part
        });
        for part in parts {
            sum.calls += part.calls;
            sum.attempts += part.attempts;
            sum.tally.merge(&part.tally);
        }
        sum
    }

    /// Forgets all calls.
    pub(in crate::engine) fn clear(&self) {
        self.end();
    }

    fn all<T>(&self, part: impl Fn(&mut Shard) -> T) -> Vec<T> {
        let locked = |shard: &Mutex<Shard>| part(&mut shard.lock().unwrap_or_else(PoisonError::into_inner));
        self.shards.iter().map(locked).collect()
    }
}
