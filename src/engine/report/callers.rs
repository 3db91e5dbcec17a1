//! The callers: the offered rate against the limit, and the fill of their buckets.

use std::{
    collections::{HashMap, VecDeque},
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use foldhash::fast::RandomState;

use crate::{
    core::{context::RequestContext, limit_status::Unit, secret},
    engine::UNITS,
};

/// Maximum number of callers whose conduct is counted. Further ones are not judged.
const MAX_CALLERS: usize = 1000;
/// The same for a scope besides the default one: there may be a thousand.
const MAX_SCOPE_CALLERS: usize = 64;
/// Number of parts of the table, each with a lock of its own.
const SHARDS: usize = 8;
/// Number of successive seconds over which an offered rate is sustained.
const SUSTAINED: usize = 10;
/// Maximum number of points in the history of a bucket. Beyond it every second one is dropped.
const MAX_POINTS: usize = 60;

/// The callers of one scope, by their hash.
pub(super) struct Callers {
    shards: [Mutex<HashMap<u64, Caller, RandomState>>; SHARDS],
    max: usize,
}

impl Default for Callers {
    fn default() -> Self {
        Callers { shards: Default::default(), max: MAX_CALLERS }
    }
}

/// The fill of one bucket of a caller.
#[derive(Clone, Debug)]
pub(super) struct Bucket {
    pub(super) unit: Unit,
    pub(super) limit: u64,
    pub(super) remaining: u64,
    pub(super) lowest: u64,
    /// The lowest number of remaining units in each interval, with the time of its start.
    pub(super) history: Vec<(Duration, u64)>,
    /// The interval of the history.
    step: Duration,
}

/// The conduct of one caller.
#[derive(Clone, Debug, Default)]
pub(super) struct CallerConduct {
    /// The hash of its key; empty if it has none.
    pub(super) key_hash: String,
    /// The highest rate that was offered for [`SUSTAINED`] seconds, as a multiple of the limit.
    pub(super) sustained: f64,
    /// The requests of the limit, and its period.
    pub(super) limit: (u64, Duration),
    /// Number of requests in all.
    pub(super) offered: u64,
}

#[derive(Clone, Default)]
struct Caller {
    conduct: CallerConduct,
    /// The second that requests are counted in, and their number.
    second: (u64, u64),
    /// The shares of the limit in the seconds before, the newest last.
    shares: VecDeque<f64>,
    buckets: Vec<Bucket>,
}

impl Caller {
    /// Counts an offered request.
    fn offer(&mut self, limit: u64, period: Duration, now: Duration) {
        self.conduct.limit = (limit, period);
        self.conduct.offered += 1;
        let (second, count) = self.second;
        if now.as_secs() <= second && count > 0 {
            self.second.1 += 1;
            return;
        }
        self.second = (now.as_secs(), 1);
        let usual = limit as f64 / period.as_secs_f64().max(1e-9);
        if now.as_secs() > second + 1 {
            self.shares.clear();
            return;
        }
        if self.shares.len() >= SUSTAINED {
            self.shares.pop_front();
        }
        self.shares.push_back(count as f64 / usual.max(1e-9));
        if self.shares.len() == SUSTAINED {
            let least = self.shares.iter().copied().fold(f64::INFINITY, f64::min);
            self.conduct.sustained = self.conduct.sustained.max(least);
        }
    }

    fn fill(&mut self, unit: Unit, limit: u64, remaining: u64, now: Duration) {
        let at = self.buckets.iter().position(|bucket| bucket.unit == unit).unwrap_or_else(|| {
            let (history, step) = (Vec::new(), Duration::from_secs(1));
            self.buckets.push(Bucket { unit, limit, remaining, lowest: remaining, history, step });
            self.buckets.len() - 1
        });
        let bucket = &mut self.buckets[at];
        (bucket.limit, bucket.remaining, bucket.lowest) = (limit, remaining, bucket.lowest.min(remaining));
        match bucket.history.last_mut() {
            Some((start, lowest)) if now < *start + bucket.step => *lowest = remaining.min(*lowest),
            _ => bucket.history.push((now, remaining)),
        }
        if bucket.history.len() > MAX_POINTS {
            bucket.step *= 2;
            let mut number = 0;
            bucket.history.retain(|_| {
                number += 1;
                number % 2 == 1
            });
        }
    }
}

impl Callers {
    /// No callers yet of a scope besides the default one.
    pub(super) fn of_scope() -> Self {
        Callers { max: MAX_SCOPE_CALLERS, ..Callers::default() }
    }

    fn shard(&self, caller: u64) -> MutexGuard<'_, HashMap<u64, Caller, RandomState>> {
        let shard = usize::try_from(caller % SHARDS as u64).unwrap_or_default();
        self.shards[shard].lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Records a response that reports limits.
    pub(super) fn respond(&self, hash: u64, context: &RequestContext<'_>, now: Duration) {
        let mut shard = self.shard(hash);
        if !shard.contains_key(&hash) && shard.len() >= self.max / SHARDS {
            return;
        }
        let caller = shard.entry(hash).or_insert_with(|| {
            let key_hash = context.credential().key.map(secret::fingerprint).unwrap_or_default();
            Caller { conduct: CallerConduct { key_hash, ..CallerConduct::default() }, ..Caller::default() }
        });
        let statuses = &context.limit_statuses;
        if let Some(status) = statuses.get(Unit::Requests).filter(|status| status.period != Duration::MAX) {
            caller.offer(status.limit, status.period, now);
        }
        for unit in UNITS {
            if let Some(status) = statuses.get(unit) {
                caller.fill(unit, status.limit, status.remaining, now);
            }
        }
    }

    /// Returns all callers, with their buckets.
    pub(super) fn list(&self) -> Vec<(CallerConduct, Vec<Bucket>)> {
        let all = self.shards.iter().flat_map(|shard| {
            let shard = shard.lock().unwrap_or_else(PoisonError::into_inner);
            shard.values().map(|caller| (caller.conduct.clone(), caller.buckets.clone())).collect::<Vec<_>>()
        });
        let mut all: Vec<_> = all.collect();
        all.sort_by(|(one, _), (other, _)| one.key_hash.cmp(&other.key_hash));
        all
    }

    /// Adds the callers of a scope that is dropped.
    pub(super) fn add(&self, dropped: &Callers) {
        for (own, other) in self.shards.iter().zip(&dropped.shards) {
            let other = other.lock().unwrap_or_else(PoisonError::into_inner).clone();
            let mut own = own.lock().unwrap_or_else(PoisonError::into_inner);
            for (hash, caller) in other {
                if let Some(known) = own.get_mut(&hash) {
                    known.conduct.offered += caller.conduct.offered;
                    known.conduct.sustained = known.conduct.sustained.max(caller.conduct.sustained);
                } else if own.len() < self.max / SHARDS {
                    own.insert(hash, caller);
                }
            }
        }
    }

    /// Forgets all callers.
    pub(super) fn clear(&self) {
        self.shards.iter().for_each(|shard| shard.lock().unwrap_or_else(PoisonError::into_inner).clear());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rate_is_sustained_if_no_second_of_ten_is_below_it() {
        let sustained = |counts: &[u64]| {
            let mut caller = Caller::default();
            for (second, count) in counts.iter().enumerate() {
                (0..*count).for_each(|_| caller.offer(60, Duration::from_secs(60), Duration::from_secs(second as u64)));
            }
            caller.conduct.sustained
        };
        assert_eq!(sustained(&[60, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]), 0.0, "a burst");
        assert_eq!(sustained(&[3; 10]), 0.0, "the tenth second is not over");
        assert_eq!(sustained(&[3; 11]), 3.0);
        assert_eq!(sustained(&[9, 9, 9, 9, 9, 1, 9, 9, 9, 9, 9]), 1.0);
        assert_eq!(sustained(&[3, 3, 3, 3, 3, 0, 3, 3, 3, 3, 3, 3]), 0.0, "a pause");
    }

    #[test]
    fn the_history_of_a_bucket_is_bounded() {
        let mut caller = Caller::default();
        for second in 0..10_000 {
            caller.fill(Unit::Requests, 100, second % 100, Duration::from_secs(second));
        }
        assert!(caller.buckets[0].history.len() <= MAX_POINTS);
        assert_eq!((caller.buckets[0].lowest, caller.buckets[0].remaining), (0, 99));
    }
}
