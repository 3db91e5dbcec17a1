//! The conduct of the callers, counted as their requests arrive and end. Bounded, and independent of the journal.

use std::{
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use super::callers::{Bucket, CallerConduct, Callers};
use crate::{
    core::context::RequestContext,
    engine::{
        attempts::{Closed, Continued, Events, Failure, Finished, Tally},
        scope::ScopeState,
    },
    traffic::limit::ScopeDecisions,
};

/// The counts of one scope, and its callers with their buckets.
pub(super) type Read = (Counts, Vec<(CallerConduct, Vec<Bucket>)>);

/// The counts for all callers of a scope.
#[derive(Clone, Debug, Default)]
pub(super) struct Counts {
    /// Number of responses that announced a wait.
    pub(super) announced: u64,
    /// The conduct in retries.
    pub(super) tally: Tally,
    pub(super) duplicates: Events,
    pub(super) abandoned: Events,
    pub(super) undelivered: u64,
}

impl Counts {
    pub(super) fn merge(&mut self, other: &Counts) {
        self.announced += other.announced;
        self.tally.merge(&other.tally);
        self.duplicates.merge(&other.duplicates);
        self.abandoned.merge(&other.abandoned);
        self.undelivered += other.undelivered;
    }
}

impl ScopeState {
    /// Counts calls that ended, and the conduct of their callers.
    pub(in crate::engine) fn add_finished(&self, finished: &Finished) {
        self.metrics.add_calls(&finished.calls);
        finished.early.iter().for_each(|(unit, count)| self.metrics.add_early_retries(*unit, *count));
        if let Some(tally) = &finished.tally {
            self.conduct.counts().tally.merge(tally);
        }
    }
}

/// The conduct of the callers of one scope.
pub(in crate::engine) struct Conduct {
    counts: Mutex<Counts>,
    callers: Callers,
    /// The decisions of limits; none for the default scope.
    decisions: ScopeDecisions,
}

impl Conduct {
    /// No conduct yet of the callers of the default scope, or of another one.
    pub(in crate::engine) fn new(is_default: bool) -> Self {
        Conduct { counts: Mutex::default(), callers: Callers::new(is_default), decisions: ScopeDecisions::default() }
    }

    fn counts(&self) -> MutexGuard<'_, Counts> {
        // Every step leaves the counts valid.
        self.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Records that a request continues a call, which its client names or counts.
    pub(in crate::engine) fn continued(&self, continued: &Continued, entry: Option<u64>) {
        self.counts().tally.add(continued, entry);
    }

    /// Records a response that announces a wait, or reports limits. `is_limited` is true if those limits are set.
    pub(in crate::engine) fn respond(
        &self,
        context: &RequestContext<'_>,
        failure: &Failure,
        is_limited: bool,
        caller: impl FnOnce() -> u64,
        now: impl FnOnce() -> Duration,
    ) {
        if is_limited && context.decisions.limit_statuses.are_reported() {
            self.callers.respond(caller(), context, now());
        }
        if failure.wait.is_some() {
            self.counts().announced += 1;
        }
    }

    /// Records the end of a request. `undelivered` is the number of tokens that a client that left did not get.
    pub(in crate::engine) fn closed(&self, closed: &Closed, undelivered: u64, entry: Option<u64>) {
        if !closed.is_duplicate && undelivered == 0 {
            return;
        }
        let mut counts = self.counts();
        if closed.is_duplicate {
            counts.duplicates.add(entry);
        }
        if undelivered > 0 {
            counts.abandoned.add(entry);
            counts.undelivered += undelivered;
        }
    }

    /// The decisions of limits about the requests of a scope besides the default one.
    pub(in crate::engine) fn decisions(&self) -> &ScopeDecisions {
        &self.decisions
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
        self.decisions.clear();
    }
}
