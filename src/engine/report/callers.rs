//! The callers: the offered rate against the limit, and the fill of their buckets.

use std::{collections::VecDeque, time::Duration};

use crate::{
    core::{context::RequestContext, limit_status::Unit, secret},
    engine::{UNITS, by_caller::ByCaller},
};

/// Number of successive seconds over which an offered rate is sustained.
const SUSTAINED: usize = 10;
/// Maximum number of points in the history of a bucket. Beyond it every second one is dropped.
const MAX_POINTS: usize = 60;

/// The callers of one scope.
pub(super) struct Callers(ByCaller<Caller>);

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
    /// No callers yet of the default scope, or of another one.
    pub(super) fn new(is_default: bool) -> Self {
        Callers(ByCaller::new(is_default))
    }

    /// Records a response that reports limits.
    pub(super) fn respond(&self, hash: u64, context: &RequestContext<'_>, now: Duration) {
        let create = || {
            let key_hash = context.credential().key.map(secret::fingerprint).unwrap_or_default();
            Caller { conduct: CallerConduct { key_hash, ..CallerConduct::default() }, ..Caller::default() }
        };
        self.0.change_or_create(hash, create, |caller| {
            let statuses = &context.limit_statuses;
            if let Some(status) = statuses.get(Unit::Requests) {
                caller.offer(status.limit, status.period, now);
            }
            for unit in UNITS {
                if let Some(status) = statuses.get(unit) {
                    caller.fill(unit, status.limit, status.remaining, now);
                }
            }
        });
    }

    /// Returns all callers, with their buckets.
    pub(super) fn list(&self) -> Vec<(CallerConduct, Vec<Bucket>)> {
        let mut all = Vec::new();
        self.0.for_each(|caller| all.push((caller.conduct.clone(), caller.buckets.clone())));
        all.sort_by(|(one, _), (other, _)| one.key_hash.cmp(&other.key_hash));
        all
    }

    /// Adds the callers of a scope that is dropped.
    pub(super) fn add(&self, dropped: &Callers) {
        self.0.add(&dropped.0, |known, caller| {
            known.conduct.offered += caller.conduct.offered;
            known.conduct.sustained = known.conduct.sustained.max(caller.conduct.sustained);
        });
    }

    /// Forgets all callers.
    pub(super) fn clear(&self) {
        self.0.clear();
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
