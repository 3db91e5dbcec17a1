//! The records that all scopes share.

use std::{
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use super::ScopeState;
use crate::{
    config::AccessLog,
    core::clock::Clock,
    engine::{
        attempts,
        journal::Journal,
        metrics::{LabelNames, Metrics},
        report::Conduct,
        vllm_metrics::VllmMetrics,
    },
    resources::sequence_counters::SequenceCounters,
};

/// The records that all scopes share.
pub(in crate::engine) struct Records {
    pub(in crate::engine) journal: Journal,
    pub(in crate::engine) access_log: AccessLog,
    pub(super) clock: Clock,
    pub(in crate::engine) attempts: Arc<attempts::Shared>,
    /// The conduct of the callers of scopes that were dropped.
    pub(in crate::engine) dropped_conduct: Conduct,
    pub(super) names: Arc<LabelNames>,
    /// The time of the start, since 1970.
    pub(in crate::engine) started: Duration,
    /// The counters of vLLM's metrics.
    pub(in crate::engine) vllm: VllmMetrics,
    /// The sequences of the default scope. Those of the others share their table.
    pub(super) sequences: SequenceCounters,
    /// The memory of the objects of all scopes besides the default one, in bytes.
    pub(super) objects_memory: AtomicUsize,
    /// The counters of scopes that were dropped.
    pub(super) dropped: Metrics,
    /// The counters of dropped scopes that requests may still use.
    leaving: Mutex<Vec<Arc<Metrics>>>,
    stopped: AtomicBool,
}

impl Records {
    /// Records that the time of the drain is over: what is open now, the server itself cuts.
    pub(in crate::engine) fn stop(&self) {
        self.stopped.store(true, Ordering::Release);
    }

    pub(in crate::engine) fn is_stopped(&self) -> bool {
        self.stopped.load(Ordering::Acquire)
    }

    /// Creates records without content.
    pub(super) fn new(journal: Journal, access_log: AccessLog, clock: Clock) -> Self {
        let names = Arc::<LabelNames>::default();
        let dropped = Metrics::new(Arc::clone(&names), 1);
        Records {
            journal,
            access_log,
            started: clock.unix(),
            clock,
            attempts: Arc::default(),
            dropped_conduct: Conduct::new(true),
            names,
            vllm: VllmMetrics::default(),
            sequences: SequenceCounters::default(),
            objects_memory: AtomicUsize::new(0),
            dropped,
            leaving: Mutex::default(),
            stopped: AtomicBool::new(false),
        }
    }

    /// Forgets a scope that is dropped, except for its counters. The list of scopes is locked meanwhile: otherwise a
    /// reader would miss the counters, and a scope with the same name would lose its first requests.
    pub(super) fn drop_scope(&self, scope: &ScopeState) {
        let counted = scope.counted_memory().take().unwrap_or_default();
        self.objects_memory.fetch_sub(counted, Ordering::Relaxed);
        self.journal.clear(Some(scope.name()));
        scope.attempts.end().iter().for_each(|finished| scope.add_finished(finished));
        self.leaving().push(Arc::clone(&scope.metrics));
        self.dropped_conduct.add(&scope.conduct);
    }

    /// Returns the counters of dropped scopes that requests may still use. A request that has found its scope counts
    /// there, also if it was not counted before the scope was dropped.
    pub(super) fn leaving(&self) -> MutexGuard<'_, Vec<Arc<Metrics>>> {
        let mut leaving = self.leaving.lock().unwrap_or_else(PoisonError::into_inner);
        leaving.retain(|metrics| {
            let is_used = Arc::strong_count(metrics) > 1;
            if !is_used {
                self.dropped.add(metrics);
            }
            is_used
        });
        leaving
    }
}
