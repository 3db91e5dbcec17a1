//! The conduct of the callers, counted as their requests arrive and end. Bounded, and independent of the journal.

use std::{
    collections::BTreeMap,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use smallvec::SmallVec;

use super::callers::{Bucket, CallerConduct, Callers};
use crate::{
    core::context::RequestContext,
    engine::attempts::{Closed, Continued, Failure, Tally},
};

/// Maximum number of entries of the journal that a finding names.
const MAX_EXAMPLES: usize = 5;

/// A number of events, and the first entries of the journal that show them.
#[derive(Clone, Debug, Default)]
pub(super) struct Events {
    pub(super) count: u64,
    pub(super) entries: SmallVec<[u64; MAX_EXAMPLES]>,
}

impl Events {
    fn add(&mut self, entry: Option<u64>) {
        self.count += 1;
        self.entries.extend(entry.filter(|_| self.entries.len() < MAX_EXAMPLES));
    }

    fn merge(&mut self, other: &Events) {
        self.count += other.count;
        let room = MAX_EXAMPLES.saturating_sub(self.entries.len());
        self.entries.extend(other.entries.iter().copied().take(room));
    }
}

/// The counts of one scope, and its callers with their buckets.
pub(super) type Read = (Counts, Vec<(CallerConduct, Vec<Bucket>)>);

/// The counts for all callers of a scope.
#[derive(Clone, Debug, Default)]
pub(super) struct Counts {
    /// Number of responses that announced a wait.
    pub(super) announced: u64,
    /// Retries before and after the announced wait was over.
    pub(super) early: Events,
    pub(super) obeyed: u64,
    /// The shortest share of an announced wait that was waited for.
    pub(super) least_share: Option<f64>,
    /// Number of attempts after the first one of their call.
    pub(super) retries: u64,
    /// The most attempts of one call, and the entry of the last.
    pub(super) most_attempts: (u32, Option<u64>),
    /// Early retries within one announced wait of a caller, the most of them.
    pub(super) hammering: Events,
    /// Number of calls with two waits or more that were not announced.
    pub(super) judged_waits: u64,
    pub(super) flat_waits: i64,
    pub(super) flat_entries: Events,
    pub(super) retried_final: Events,
    pub(super) final_statuses: BTreeMap<u16, u64>,
    pub(super) duplicates: Events,
    pub(super) abandoned: Events,
    pub(super) undelivered: u64,
    pub(super) ambiguous: u64,
}

impl Counts {
    pub(super) fn merge(&mut self, other: &Counts) {
        self.announced += other.announced;
        self.early.merge(&other.early);
        self.obeyed += other.obeyed;
        self.least_share = [self.least_share, other.least_share].into_iter().flatten().reduce(f64::min);
        self.retries += other.retries;
        self.most_attempts = self.most_attempts.max(other.most_attempts);
        if other.hammering.count > self.hammering.count {
            self.hammering = other.hammering.clone();
        }
        self.judged_waits += other.judged_waits;
        self.flat_waits += other.flat_waits;
        self.flat_entries.merge(&other.flat_entries);
        self.retried_final.merge(&other.retried_final);
        for (status, count) in &other.final_statuses {
            *self.final_statuses.entry(*status).or_default() += count;
        }
        self.duplicates.merge(&other.duplicates);
        self.abandoned.merge(&other.abandoned);
        self.undelivered += other.undelivered;
        self.ambiguous += other.ambiguous;
    }
}

/// The conduct of the callers of one scope.
#[derive(Default)]
pub(in crate::engine) struct Conduct {
    counts: Mutex<Counts>,
    callers: Callers,
}

impl Conduct {
    /// No conduct yet of the callers of a scope besides the default one.
    pub(in crate::engine) fn of_scope() -> Self {
        Conduct { callers: Callers::of_scope(), ..Conduct::default() }
    }

    fn counts(&self) -> MutexGuard<'_, Counts> {
        // Every step leaves the counts valid.
        self.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Records that a request continues a call. `caller` is the hash of its caller.
    pub(in crate::engine) fn continued(&self, continued: &Continued, caller: u64, now: Duration, entry: Option<u64>) {
        let is_early = continued.is_obeyed == Some(false);
        let in_one_wait =
            if is_early && !continued.is_pooled { self.callers.add_early(caller, now, entry) } else { None };
        let mut counts = self.counts();
        if !continued.is_pooled {
            counts.most_attempts = counts.most_attempts.max((continued.number, entry));
        }
        counts.retries += u64::from(continued.number > 1);
        match continued.is_obeyed {
            Some(true) => counts.obeyed += 1,
            Some(false) => {
                counts.early.add(entry);
                let (after, wait) = (continued.after.unwrap_or_default(), continued.wait.unwrap_or_default());
                let share = after.as_secs_f64() / wait.as_secs_f64().max(1e-9);
                counts.least_share = Some(counts.least_share.map_or(share, |least| least.min(share)));
            }
            None => {}
        }
        if let Some((count, entries)) = in_one_wait
            && count > counts.hammering.count
        {
            counts.hammering = Events { count, entries };
        }
        counts.judged_waits += continued.judged;
        counts.flat_waits += continued.flat;
        if continued.flat > 0 {
            counts.flat_entries.add(entry);
        }
        if let Some(status) = continued.retried_final {
            counts.retried_final.add(entry);
            *counts.final_statuses.entry(status).or_default() += 1;
        }
    }

    /// Takes back inferences that were disproved.
    pub(in crate::engine) fn take_back(&self, disproved: &Tally) {
        if disproved.retries == 0 {
            return;
        }
        let mut counts = self.counts();
        counts.retries = counts.retries.saturating_sub(disproved.retries);
        counts.obeyed = counts.obeyed.saturating_sub(disproved.obeyed);
        counts.early.count = counts.early.count.saturating_sub(disproved.early);
        counts.judged_waits = counts.judged_waits.saturating_sub(disproved.judged);
        counts.flat_waits -= disproved.flat;
        for (status, count) in &disproved.finals {
            counts.retried_final.count = counts.retried_final.count.saturating_sub(*count);
            if let Some(known) = counts.final_statuses.get_mut(status) {
                *known = known.saturating_sub(*count);
            }
        }
        counts.final_statuses.retain(|_, count| *count > 0);
        let Counts { early, retried_final, flat_entries, .. } = &mut *counts;
        for events in [early, retried_final, flat_entries] {
            events.entries.retain(|entry| !disproved.entries.contains(entry));
        }
    }

    /// Records a response that announces a wait, or reports limits.
    pub(in crate::engine) fn respond(
        &self,
        context: &RequestContext<'_>,
        failure: &Failure,
        caller: impl FnOnce() -> u64,
        now: impl FnOnce() -> Duration,
    ) {
        if failure.wait.is_none() && !context.limit_statuses.are_reported() {
            return;
        }
        self.callers.respond(caller(), context, failure.wait, now());
        if failure.wait.is_some() {
            self.counts().announced += 1;
        }
    }

    /// Records the end of a request. `undelivered` is the number of tokens that a client that left did not get.
    pub(in crate::engine) fn closed(&self, closed: &Closed, undelivered: u64, entry: Option<u64>) {
        self.take_back(&closed.disproved);
        if !closed.is_duplicate && !closed.is_ambiguous && undelivered == 0 {
            return;
        }
        let mut counts = self.counts();
        if closed.is_duplicate {
            counts.duplicates.add(entry);
        }
        counts.ambiguous += u64::from(closed.is_ambiguous);
        if undelivered > 0 {
            counts.abandoned.add(entry);
            counts.undelivered += undelivered;
        }
    }

    /// Returns the counts, and the callers.
    pub(super) fn read(&self) -> Read {
        (self.counts().clone(), self.callers.list())
    }

    /// Adds the counts of a scope that is dropped.
    pub(in crate::engine) fn add(&self, dropped: &Conduct) {
        let other = dropped.counts().clone();
        self.counts().merge(&other);
        self.callers.add(&dropped.callers);
    }

    /// Forgets everything.
    pub(in crate::engine) fn clear(&self) {
        *self.counts() = Counts::default();
        self.callers.clear();
    }
}
