//! The counted conduct of callers in their retries.

use std::collections::BTreeMap;

use smallvec::SmallVec;

use super::call::Continued;

/// Maximum number of entries of the journal that a finding names.
const MAX_EXAMPLES: usize = 5;

/// A number of events, and the first entries of the journal that show them.
#[derive(Clone, Debug, Default)]
pub(in crate::engine) struct Events {
    pub(in crate::engine) count: u64,
    pub(in crate::engine) entries: SmallVec<[u64; MAX_EXAMPLES]>,
}

/// The conduct in retries.
#[derive(Clone, Debug, Default)]
pub(in crate::engine) struct Tally {
    /// Number of attempts after the first one of their call.
    pub(in crate::engine) retries: u64,
    /// Retries before the announced wait was over.
    pub(in crate::engine) early: Events,
    /// Number of retries after it.
    pub(in crate::engine) obeyed: u64,
    /// The shortest share of an announced wait that was waited for.
    pub(in crate::engine) least_share: Option<f64>,
    /// The most attempts of one call, and the entry of the last.
    pub(in crate::engine) most_attempts: (u32, Option<u64>),
    /// The most early retries of one caller within one announced wait.
    pub(in crate::engine) hammering: Events,
    /// Number of calls with two waits or more that were not announced.
    pub(in crate::engine) judged_waits: u64,
    pub(in crate::engine) flat_waits: i64,
    pub(in crate::engine) flat_entries: Events,
    pub(in crate::engine) retried_final: Events,
    pub(in crate::engine) final_statuses: BTreeMap<u16, u64>,
    /// Number of requests whose call is unknown.
    pub(in crate::engine) ambiguous: u64,
}

impl Events {
    pub(in crate::engine) fn add(&mut self, entry: Option<u64>) {
        self.count += 1;
        self.entries.extend(entry.filter(|_| self.entries.len() < MAX_EXAMPLES));
    }

    pub(in crate::engine) fn merge(&mut self, other: &Events) {
        self.count += other.count;
        let room = MAX_EXAMPLES.saturating_sub(self.entries.len());
        self.entries.extend(other.entries.iter().copied().take(room));
    }

    /// Takes events back. `others` are the entries that show them.
    pub(super) fn take_back(&mut self, count: u64, others: &[u64]) {
        self.count = self.count.saturating_sub(count);
        self.entries.retain(|entry| !others.contains(entry));
    }

    /// Replaces the events by others if those are more.
    pub(super) fn raise_to(&mut self, other: &Events) {
        if other.count > self.count {
            *self = other.clone();
        }
    }
}

impl Tally {
    /// Counts one more attempt.
    pub(in crate::engine) fn add(&mut self, continued: &Continued, entry: Option<u64>) {
        self.most_attempts = self.most_attempts.max((continued.number, entry));
        self.retries += u64::from(continued.number > 1);
        match continued.is_obeyed {
            Some(true) => self.obeyed += 1,
            Some(false) => {
                self.early.add(entry);
                let (after, wait) = (continued.after.unwrap_or_default(), continued.wait.unwrap_or_default());
                let share = after.as_secs_f64() / wait.as_secs_f64().max(1e-9);
                self.least_share = Some(self.least_share.map_or(share, |least| least.min(share)));
            }
            None => {}
        }
        self.judged_waits += continued.judged;
        self.flat_waits += continued.flat;
        if continued.flat > 0 {
            self.flat_entries.add(entry);
        }
        if let Some(status) = continued.retried_final {
            self.retried_final.add(entry);
            *self.final_statuses.entry(status).or_default() += 1;
        }
    }

    pub(in crate::engine) fn merge(&mut self, other: &Tally) {
        self.retries += other.retries;
        self.early.merge(&other.early);
        self.obeyed += other.obeyed;
        self.least_share = [self.least_share, other.least_share].into_iter().flatten().reduce(f64::min);
        self.most_attempts = self.most_attempts.max(other.most_attempts);
        self.hammering.raise_to(&other.hammering);
        self.judged_waits += other.judged_waits;
        self.flat_waits += other.flat_waits;
        self.flat_entries.merge(&other.flat_entries);
        self.retried_final.merge(&other.retried_final);
        for (status, count) in &other.final_statuses {
            *self.final_statuses.entry(*status).or_default() += count;
        }
        self.ambiguous += other.ambiguous;
    }
}
