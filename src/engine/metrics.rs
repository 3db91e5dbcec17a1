//! The counters of requests: each is counted when it is received, and once more when its record is closed.
//!
//! The counters are in shards, one for each worker, so that workers do not contend for them.

mod calls;
mod names;
mod snapshot;

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use foldhash::fast::RandomState;
use http::StatusCode;

pub use self::calls::{ATTEMPT_BOUNDS, CallCounts, CallerCounts, UNITS};
pub(super) use self::names::Name;
use self::names::{KnownNames, Names};
pub use self::snapshot::{MetricsSnapshot, RequestLabels, Tokens};
use super::outcome::{Outcome, Phase};
use crate::{
    core::{histogram::Histogram, limit_status::Unit, threads},
    traffic::fault::FaultLabel,
};

/// Maximum number of different labels that a shard counts. Beyond it, requests count under their route and status.
const MAX_ROWS: usize = 10_000;
/// The same for a scope besides the default one: there may be a thousand.
const MAX_SCOPE_ROWS: usize = 200;
/// Longest time that is counted as it is: 4.8 hours, in microseconds.
const LONGEST: u64 = 1 << 34;

/// Times in microseconds, each known to an eighth.
pub type TimeHistogram = Histogram<3>;

/// The names that all counters of one engine share.
pub(super) struct LabelNames {
    routes: Names,
    models: Names,
    deployments: Names,
    /// The API keys. They are secrets.
    keys: Names,
}

impl Default for LabelNames {
    fn default() -> Self {
        LabelNames {
            routes: Names::of_routes(),
            models: Names::of_requests(),
            deployments: Names::of_requests(),
            keys: Names::of_keys(),
        }
    }
}

/// The labels of one request, by their numbers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct Labels {
    route: Name,
    model: Name,
    deployment: Name,
}

impl Labels {
    /// The number of the route.
    pub(super) fn route(self) -> u16 {
        self.route
    }
}

/// The counters of one scope.
pub(super) struct Metrics {
    names: Arc<LabelNames>,
    shards: Box<[Padded]>,
    /// Maximum number of rows of a shard.
    max_rows: usize,
    panics: AtomicU64,
}

/// One shard, alone in its cache lines.
#[repr(align(128))]
#[derive(Default)]
struct Padded(Mutex<Shard>);

/// The counters of one worker.
#[derive(Default)]
struct Shard {
    received: u64,
    closed: u64,
    streams_opened: u64,
    streams_closed: u64,
    known: Known,
    rows: HashMap<RowKey, Row, RandomState>,
    /// The row of the newest requests, which often are alike. It is added to the others when they differ, and before
    /// rows are read.
    newest: Option<(RowKey, Row)>,
    responses: [[u64; Phase::ALL.len()]; Outcome::ALL.len()],
    faults: HashMap<FaultLabel, u64, RandomState>,
    times: Option<Box<Times>>,
    calls: CallCounts,
}

/// The properties of requests that are counted together.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
struct RowKey {
    labels: Labels,
    /// The API key.
    key: Name,
    status: Option<StatusCode>,
}

/// Requests with the same properties.
#[derive(Clone, Copy, Default)]
struct Row {
    requests: u64,
    tokens: Tokens,
}

impl Row {
    fn add(&mut self, more: Row) {
        self.requests += more.requests;
        self.tokens += more.tokens;
    }
}

/// The numbers of the names that a shard has met.
#[derive(Default)]
struct Known {
    routes: KnownNames,
    models: KnownNames,
    deployments: KnownNames,
    keys: KnownNames,
}

/// The histograms of times: as intended, and as they were.
#[derive(Default)]
pub struct Times {
    /// Time from the request to the first token of a stream.
    pub first_token: Timing,
    /// Time between two events with tokens of a paced stream.
    pub between_tokens: Timing,
    /// Time from the request to the end of its response.
    pub duration: Timing,
}

/// One time, as intended and as it was.
pub struct Timing {
    /// The times as intended.
    pub intended: TimeHistogram,
    /// The times as they were.
    pub actual: TimeHistogram,
}

impl Default for Timing {
    fn default() -> Self {
        Timing { intended: Histogram::new(LONGEST), actual: Histogram::new(LONGEST) }
    }
}

impl Timing {
    fn add(&mut self, intended: Duration, actual: Duration) {
        self.intended.add_mut(micros(intended));
        self.actual.add_mut(micros(actual));
    }

    fn merge(&self, other: &Timing) {
        self.intended.merge(&other.intended);
        self.actual.merge(&other.actual);
    }
}

impl Times {
    fn merge(&self, other: &Times) {
        self.first_token.merge(&other.first_token);
        self.between_tokens.merge(&other.between_tokens);
        self.duration.merge(&other.duration);
    }
}

fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}

/// The numbers of a request that are counted when its record is closed.
#[derive(Clone, Copy, Debug)]
pub(super) struct ClosedRequest {
    pub(super) labels: Labels,
    pub(super) key: Name,
    pub(super) is_stream: bool,
    /// True if it is a whole call by itself, with one attempt.
    pub(super) is_single: bool,
    /// The status; `None` if no head was sent.
    pub(super) status: Option<StatusCode>,
    pub(super) outcome: Outcome,
    pub(super) phase: Phase,
    /// The tokens; `None` if the model has not replied.
    pub(super) tokens: Option<Tokens>,
    /// Time until the first token of a stream, intended and actual.
    pub(super) first_token: Option<(Duration, Duration)>,
    /// Time until the end, intended and actual; the intended time only if the response is complete.
    pub(super) duration: Option<(Duration, Duration)>,
}

impl Shard {
    /// Adds requests to those with the same properties, or sets them aside as the newest.
    fn add_newest(&mut self, key: RowKey, more: Row, max_rows: usize) {
        match &mut self.newest {
            Some((newest, row)) if *newest == key => row.add(more),
            _ => {
                self.settle(max_rows);
                self.newest = Some((key, more));
            }
        }
    }

    /// Adds the newest row to the others.
    fn settle(&mut self, max_rows: usize) {
        if let Some((key, row)) = self.newest.take() {
            self.add_row(key, row, max_rows);
        }
    }

    /// Adds requests to those with the same properties; beyond the bound, with the same route and status.
    fn add_row(&mut self, mut key: RowKey, more: Row, max_rows: usize) {
        if self.rows.len() >= max_rows && !self.rows.contains_key(&key) {
            key =
                RowKey { labels: Labels { route: key.labels.route, ..Labels::default() }, key: 0, status: key.status };
        }
        self.rows.entry(key).or_default().add(more);
    }

    /// Adds the counters of another shard.
    fn add(&mut self, other: &Shard, max_rows: usize) {
        self.received += other.received;
        self.closed += other.closed;
        self.streams_opened += other.streams_opened;
        self.streams_closed += other.streams_closed;
        for (key, row) in other.rows.iter().chain(other.newest.as_ref().map(|(key, row)| (key, row))) {
            self.add_row(*key, *row, max_rows);
        }
        for (all, own) in self.responses.iter_mut().flatten().zip(other.responses.iter().flatten()) {
            *all += own;
        }
        for (fault, count) in &other.faults {
            *self.faults.entry(*fault).or_default() += count;
        }
        if let Some(times) = &other.times {
            self.times.get_or_insert_default().merge(times);
        }
        self.calls += other.calls;
    }
}

impl Metrics {
    /// Creates counters at zero, in so many shards.
    pub(super) fn new(names: Arc<LabelNames>, shards: usize) -> Self {
        let shards = (0..shards.max(1)).map(|_| Padded::default()).collect();
        Metrics { names, shards, max_rows: MAX_ROWS, panics: AtomicU64::new(0) }
    }

    /// Creates the counters of a scope besides the default one.
    pub(super) fn of_scope(names: Arc<LabelNames>) -> Self {
        Metrics { max_rows: MAX_SCOPE_ROWS, ..Metrics::new(names, 1) }
    }

    /// Returns the shard of the calling thread.
    fn shard(&self) -> MutexGuard<'_, Shard> {
        let Padded(shard) = &self.shards[threads::number() % self.shards.len()];
        // No step under the lock leaves a count half-changed.
        shard.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Counts a request that is received, and returns its labels.
    pub(super) fn add_received(&self, route: &str, model: &str, deployment: &str, key: &str) -> (Labels, Name) {
        let mut shard = self.shard();
        shard.received += 1;
        let Known { routes, models, deployments, keys } = &mut shard.known;
        let labels = Labels {
            route: routes.number(route, &self.names.routes),
            model: models.number(model, &self.names.models),
            deployment: deployments.number(deployment, &self.names.deployments),
        };
        (labels, keys.number(key, &self.names.keys))
    }

    /// Counts a request whose record is closed.
    pub(super) fn add_closed(&self, request: &ClosedRequest) {
        let mut shard = self.shard();
        shard.closed += 1;
        shard.streams_closed += u64::from(request.is_stream);
        let key = RowKey { labels: request.labels, key: request.key, status: request.status };
        shard.add_newest(key, Row { requests: 1, tokens: request.tokens.unwrap_or_default() }, self.max_rows);
        shard.responses[request.outcome.index()][request.phase.index()] += 1;
        shard.calls.add_closed(request.is_stream, request.is_single);
        let times = shard.times.get_or_insert_default();
        if let Some((intended, actual)) = request.first_token {
            times.first_token.add(intended, actual);
        }
        if let Some((intended, actual)) = request.duration {
            times.duration.add(intended, actual);
        }
    }

    /// Counts a stream that begins. It ends when its record is closed.
    pub(super) fn add_stream(&self) {
        self.shard().streams_opened += 1;
    }

    /// Counts the time between two events with tokens.
    pub(super) fn add_between_tokens(&self, intended: Duration, actual: Duration) {
        self.shard().times.get_or_insert_default().between_tokens.add(intended, actual);
    }

    /// Counts calls that have ended, by their number of attempts.
    pub(super) fn add_calls(&self, attempts: &[u32]) {
        if !attempts.is_empty() {
            let mut shard = self.shard();
            attempts.iter().for_each(|attempts| shard.calls.add_call(*attempts));
        }
    }

    /// Counts a retry before the announced wait was over.
    pub(super) fn add_early_retries(&self, unit: Option<Unit>, count: u64) {
        self.shard().calls.add_early_retries(unit, count);
    }

    /// Counts the faults of one request.
    pub(super) fn add_faults(&self, faults: impl Iterator<Item = FaultLabel>) {
        let mut shard = self.shard();
        for fault in faults {
            *shard.faults.entry(fault).or_default() += 1;
        }
    }

    /// Adds the counters of a scope that is dropped.
    pub(super) fn add(&self, dropped: &Metrics) {
        self.panics.fetch_add(dropped.panics.load(Ordering::Relaxed), Ordering::Relaxed);
        for Padded(other) in &dropped.shards {
            let other = other.lock().unwrap_or_else(PoisonError::into_inner);
            self.shard().add(&other, self.max_rows);
        }
    }

    /// Sets all counters to zero. Requests that are in flight stay counted as received.
    pub(super) fn reset(&self) {
        self.panics.store(0, Ordering::Relaxed);
        for Padded(shard) in &self.shards {
            let mut shard = shard.lock().unwrap_or_else(PoisonError::into_inner);
            let received = shard.received.saturating_sub(shard.closed);
            let streams_opened = shard.streams_opened.saturating_sub(shard.streams_closed);
            let known = std::mem::take(&mut shard.known);
            *shard = Shard { received, streams_opened, known, ..Shard::default() };
        }
    }

    /// Counts a panic.
    pub(super) fn add_panic(&self) {
        self.panics.fetch_add(1, Ordering::Relaxed);
    }
}
