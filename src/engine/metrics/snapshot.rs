//! The counters at one time.

use std::{
    collections::BTreeMap,
    ops::AddAssign,
    sync::{Arc, PoisonError, atomic::Ordering},
};

use http::StatusCode;

use super::{CallCounts, CallerCounts, Metrics, Padded, RowKey, Times};
use crate::{
    core::secret,
    engine::outcome::{Outcome, Phase},
    traffic::fault::FaultLabel,
};

/// The tokens of one or more requests.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tokens {
    /// Number of prompt tokens, cached ones included.
    pub input: u64,
    /// Number of prompt tokens read from a cache.
    pub cached: u64,
    /// Number of reply tokens that were delivered, reasoning included.
    pub output: u64,
    /// Number of reasoning tokens that were delivered.
    pub reasoning: u64,
    /// Number of reply tokens that were not delivered, because the response ended early.
    pub undelivered: u64,
}

impl AddAssign for Tokens {
    fn add_assign(&mut self, other: Tokens) {
        self.input += other.input;
        self.cached += other.cached;
        self.output += other.output;
        self.reasoning += other.reasoning;
        self.undelivered += other.undelivered;
    }
}

/// The labels of requests that are counted together.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct RequestLabels {
    /// The fixture file of the endpoint; empty for unknown paths.
    pub route: Arc<str>,
    /// The requested model; empty for requests without one.
    pub model: Arc<str>,
    /// The deployment in the path.
    pub deployment: Arc<str>,
    /// The status; `None` if no head was sent.
    pub status: Option<StatusCode>,
}

/// The counters at one time.
#[derive(Default)]
pub struct MetricsSnapshot {
    /// Number of requests received.
    pub received: u64,
    /// Number of requests whose record is not closed.
    pub in_flight: u64,
    /// Number of streams whose record is not closed.
    pub open_streams: u64,
    /// Number of requests by labels.
    pub requests: BTreeMap<RequestLabels, u64>,
    /// Number of responses by outcome and phase, in the order of [`Outcome::ALL`] and [`Phase::ALL`].
    pub responses: [[u64; Phase::ALL.len()]; Outcome::ALL.len()],
    /// Number of faults by name.
    pub faults: BTreeMap<String, u64>,
    /// The tokens by model.
    pub tokens: BTreeMap<Arc<str>, Tokens>,
    /// The histograms of times.
    pub times: Times,
    /// The logical calls and their attempts.
    pub calls: CallCounts,
    /// The requests by the hash of their API key; empty for requests without one.
    pub callers: BTreeMap<String, CallerCounts>,
    /// Number of panics that ended a request or a part of one.
    pub panics: u64,
}

impl MetricsSnapshot {
    /// Returns the tokens of all models.
    pub fn all_tokens(&self) -> Tokens {
        let mut all = Tokens::default();
        self.tokens.values().for_each(|tokens| all += *tokens);
        all
    }

    /// Returns the number of responses with an outcome.
    pub fn outcome(&self, outcome: Outcome) -> u64 {
        self.responses[outcome.index()].iter().sum()
    }

    /// Returns the number of responses with an outcome in a phase.
    pub fn response(&self, outcome: Outcome, phase: Phase) -> u64 {
        self.responses[outcome.index()][phase.index()]
    }
}

impl Metrics {
    /// Returns the numbers of requests received and in flight.
    pub(in crate::engine) fn totals(&self) -> (u64, u64) {
        // A request is counted in both by the same lock, unless its record is closed by another thread.
        let (mut received, mut closed) = (0_u64, 0_u64);
        for Padded(shard) in &self.shards {
            let shard = shard.lock().unwrap_or_else(PoisonError::into_inner);
            received += shard.received;
            closed += shard.closed;
        }
        (received, received.saturating_sub(closed))
    }

    /// Adds these counters to a snapshot.
    pub(in crate::engine) fn add_to(&self, snapshot: &mut MetricsSnapshot) {
        let (routes, models) = (self.names.routes.list(), self.names.models.list());
        let (deployments, keys) = (self.names.deployments.list(), self.names.keys.list());
        let mut callers: BTreeMap<u16, CallerCounts> = BTreeMap::new();
        let name = |names: &[Arc<str>], number: u16| names.get(usize::from(number)).cloned().unwrap_or_default();
        let (mut faults, mut received, mut closed): (BTreeMap<FaultLabel, u64>, u64, u64) = (BTreeMap::new(), 0, 0);
        let (mut streams_opened, mut streams_closed) = (0_u64, 0_u64);
        for Padded(shard) in &self.shards {
            let mut shard = shard.lock().unwrap_or_else(PoisonError::into_inner);
            shard.settle(self.max_rows);
            received += shard.received;
            closed += shard.closed;
            streams_opened += shard.streams_opened;
            streams_closed += shard.streams_closed;
            for (RowKey { labels, key, status }, row) in &shard.rows {
                let (route, model) = (name(&routes, labels.route), name(&models, labels.model));
                let deployment = name(&deployments, labels.deployment);
                if row.tokens != Tokens::default() {
                    *snapshot.tokens.entry(Arc::clone(&model)).or_default() += row.tokens;
                }
                callers.entry(*key).or_default().add(*status, row.requests);
                let labels = RequestLabels { route, model, deployment, status: *status };
                *snapshot.requests.entry(labels).or_default() += row.requests;
            }
            for (all, own) in snapshot.responses.iter_mut().flatten().zip(shard.responses.iter().flatten()) {
                *all += own;
            }
            for (fault, count) in &shard.faults {
                *faults.entry(*fault).or_default() += count;
            }
            snapshot.calls += shard.calls;
            if let Some(times) = &shard.times {
                snapshot.times.merge(times);
            }
        }
        for (key, counts) in callers {
            let hash = match (key, &*name(&keys, key)) {
                (0, other) => other.to_owned(),
                (_, "") => String::new(),
                (_, key) => secret::fingerprint(key),
            };
            *snapshot.callers.entry(hash).or_default() += counts;
        }
        snapshot.received += received;
        snapshot.in_flight += received.saturating_sub(closed);
        snapshot.open_streams += streams_opened.saturating_sub(streams_closed);
        snapshot.panics += self.panics.load(Ordering::Relaxed);
        for (fault, count) in faults {
            *snapshot.faults.entry(fault.to_string()).or_default() += count;
        }
    }
}
