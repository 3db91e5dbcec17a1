//! The attempts of logical calls: which requests belong to one call, and whether the client waited as it was asked to.
//!
//! A call has a name, or its requests are alike: same caller, route, model and content. A request continues the call of
//! one that is alike and failed before. If such requests overlap, only names and counted retries distinguish their calls.
//! The inferences from their sequence before are then taken back.

mod call;
mod facts;
mod key;
mod record;
mod table;
mod tally;
mod wait;
mod windows;

use std::{
    collections::VecDeque,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    time::Duration,
};

use foldhash::quality::RandomState;

pub(super) use self::{
    call::Continued,
    facts::{Arrived, AttemptEnd, CallName, Closed, Failure, Finished, Followed},
    key::is_about_call,
    tally::{Events, Tally},
};
use self::{
    call::{Call, Ended},
    record::{Arrival, Order, Record},
    windows::Windows,
};
use crate::core::{clock::Clock, context::RequestContext, open_connections::OpenConnections, steady_map::SteadyMap};

/// Number of parts of the table, each with a lock of its own.
const SHARDS: u64 = 16;
/// Maximum number of expired records that one request removes.
const REMOVED_AT_ONCE: usize = 32;

/// The calls of one scope.
pub(super) struct Attempts {
    shards: Box<[Mutex<Shard>]>,
    /// Number of records in all shards.
    records: AtomicUsize,
    windows: Windows,
    clock: Clock,
    shared: Arc<Shared>,
}

/// The state that the scopes of an engine share.
#[derive(Default)]
pub(super) struct Shared {
    hasher: RandomState,
    /// Number of calls and fingerprints in all tables.
    places: AtomicUsize,
    /// Number of calls so far.
    calls: AtomicU64,
    pub(super) connections: Arc<OpenConnections>,
}

impl Shared {
    fn next_call(&self) -> u64 {
        self.calls.fetch_add(1, Ordering::Relaxed) + 1
    }
}

#[derive(Default)]
struct Shard {
    records: SteadyMap<u64, Record, foldhash::fast::RandomState>,
    /// The records by the time of their first or last use, the oldest first. Their number is that of the records.
    ages: VecDeque<(Duration, u64)>,
    finished: Finished,
}

/// One request, and its place among the attempts of its call.
#[derive(Default)]
pub(super) struct Attempt {
    connection: u64,
    /// The hash of the name, or the fingerprint where it is known.
    key: Option<u64>,
    /// True if the record of the key counts it as open.
    is_registered: bool,
    /// True if the client counts its retries, as far as its header shows.
    is_counted: bool,
    call: Option<u64>,
    /// The end as far as the response decides it.
    failure: Failure,
}

impl Attempts {
    /// No calls yet of the default scope, or of another one.
    pub(super) fn new(clock: Clock, shared: Arc<Shared>, is_default: bool) -> Self {
        let shards = (0..SHARDS).map(|_| Mutex::default()).collect();
        Attempts { shards, records: AtomicUsize::new(0), windows: Windows::new(is_default), clock, shared }
    }

    fn shard(&self, key: u64) -> MutexGuard<'_, Shard> {
        let shard = usize::try_from(key % SHARDS).unwrap_or_default();
        // A panic leaves a record that expires.
        self.shards[shard].lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns the hash of the caller of a request.
    pub(super) fn caller(&self, context: &RequestContext<'_>) -> u64 {
        key::of_caller(&self.shared.hasher, context)
    }

    /// Returns the time of the engine's clock.
    pub(super) fn now(&self) -> Duration {
        self.clock.elapsed()
    }

    /// Records a request that is received. `call` is the name that it asks for, and `names_call` is true if it may have a
    /// header about its call. Without a name and without a failure in
    /// the last [`LIFETIME`] nothing is locked.
    pub(super) fn open(
        &self,
        context: &RequestContext<'_>,
        route: &str,
        call: Option<&str>,
        names_call: bool,
        entry: Option<u64>,
    ) -> (Attempt, Option<Arrived>) {
        let mut attempt = Attempt { connection: context.request.connection.number, ..Attempt::default() };
        let is_idle = self.records.load(Ordering::Relaxed) == 0;
        if is_idle && call.is_none() && !names_call {
            return (attempt, None);
        }
        let name = key::name(context, call);
        let counted = key::retries(context);
        attempt.is_counted = counted.is_some();
        let retries = counted.unwrap_or(0);
        let is_sent = name.is_some() || retries > 0;
        if !is_sent && is_idle {
            return (attempt, None);
        }
        let opened = self.clock.at(context.started);
        let hasher = &self.shared.hasher;
        let key = name.map_or_else(|| key::fingerprint(hasher, context, route), |name| key::of_name(hasher, name));
        attempt.key = Some(key);
        let connection = attempt.connection;
        let is_on_new_connection = context.request.connection.request <= 1;
        let arrival = Arrival { at: opened, connection, is_on_new_connection, retries };
        let mut shard = self.shard(key);
        self.remove_expired(&mut shard, opened, REMOVED_AT_ONCE);
        let is_new = !shard.records.contains_key(&key);
        if is_new && (!is_sent || !self.insert(&mut shard, key, name, opened)) {
            return (attempt, None);
        }
        let Shard { records, finished, .. } = &mut *shard;
        let Some(record) = records.get_mut(&key) else { return (attempt, None) };
        let places = record.places();
        let found = record.arrive(&arrival, &self.shared);
        self.take_back(record);
        attempt.is_registered = true;
        let mut continued = Continued { number: retries + 1, ..Continued::default() };
        if let Some(at) = found {
            continued = record.continue_call(at, &arrival);
            attempt.call = Some(record.calls[at].number);
            let is_early = continued.is_obeyed == Some(false);
            let caller = || self.caller(context);
            if record.is_inferred() {
                let inferred = record.inferred.get_or_insert_default();
                inferred.tally.add(&continued, entry);
                if is_early {
                    record.calls[at].add_early(continued.unit);
                    let caller = caller();
                    if let Some(ends) = self.windows.add(caller, opened, entry) {
                        inferred.early.add(caller, ends);
                    }
                }
            } else if is_early {
                self.windows.add(caller(), opened, entry);
            }
        } else if is_sent {
            let call = Call::new(self.shared.next_call(), connection, retries);
            attempt.call = Some(call.number);
            finished.calls.extend(record.push(call).map(|dropped| dropped.attempts));
        }
        self.settle(places, record);
        let name = match (&record.name, attempt.call) {
            (Some(name), _) => CallName::Named(name.clone()),
            (None, Some(number)) => CallName::Number(number),
            (None, None) => return (attempt, None),
        };
        (attempt, Some(Arrived { name, continued, is_sent }))
    }

    /// Takes the inferences about a record back if they are disproved.
    fn take_back(&self, record: &mut Record) {
        if let Some(disproved) = record.disproved() {
            self.windows.take_back(&disproved.early, &disproved.tally.early.entries);
        }
    }

    /// Counts the places of a record that had so many before.
    fn settle(&self, before: usize, record: &Record) {
        self.shared.places.fetch_add(record.places(), Ordering::Relaxed);
        self.shared.places.fetch_sub(before, Ordering::Relaxed);
    }

    /// Records the response that is returned, while the request can still be read. A failure, or a response that may yet
    /// fail, needs the fingerprint of its request.
    pub(super) fn respond(
        &self,
        attempt: &mut Attempt,
        failure: Failure,
        may_fail: bool,
        context: &RequestContext<'_>,
        route: &str,
    ) {
        attempt.failure = failure;
        if attempt.key.is_none() && (failure.is_failure || may_fail) {
            attempt.key = Some(key::fingerprint(&self.shared.hasher, context, route));
        }
        if let Some(wait) = failure.wait {
            self.windows.announce(self.caller(context), self.now(), wait);
        }
    }

    /// Records the end of a request.
    pub(super) fn close(&self, attempt: &Attempt, end: &AttemptEnd) -> Closed {
        let is_failure = attempt.failure.is_failure || end.status >= 400 || !end.is_complete;
        let mut closed = Closed::default();
        let is_idle = self.records.load(Ordering::Relaxed) == 0;
        let Some(key) = attempt.key.filter(|_| attempt.is_registered || is_failure || !is_idle) else {
            closed.is_single = !is_failure;
            return closed;
        };
        let now = self.now();
        let mut shard = self.shard(key);
        self.remove_expired(&mut shard, now, REMOVED_AT_ONCE);
        closed.finished = std::mem::take(&mut shard.finished);
        let is_followed = shard.records.contains_key(&key);
        if !is_followed && (!is_failure || end.is_drained || !self.insert(&mut shard, key, None, now)) {
            closed.is_single = !is_failure;
            return closed;
        }
        let Some(record) = shard.records.get_mut(&key) else { return closed };
        let places = record.places();
        record.last = record.last.max(now);
        if attempt.is_registered {
            record.open = record.open.saturating_sub(1);
        } else if is_followed && record.is_inferred() {
            // It was open while another request like it failed.
            record.leave_sequence(Order::Overlap, &self.shared);
            self.take_back(record);
        }
        let is_failure = is_failure && !end.is_drained;
        let ended = Ended {
            at: now,
            status: end.status,
            is_failure,
            is_cut: !end.is_complete,
            is_final: attempt.failure.is_final,
            wait: attempt.failure.wait,
            unit: attempt.failure.unit,
        };
        let known = attempt.call.and_then(|number| record.calls.iter().position(|call| call.number == number));
        match known {
            Some(at) => {
                let call = &mut record.calls[at];
                call.open = call.open.saturating_sub(1);
                call.ended = Some(ended);
                if !is_failure && !end.is_drained {
                    call.successes += 1;
                    closed.is_duplicate = record.name.is_some() && call.successes > 1;
                    if !std::mem::replace(&mut call.is_counted, true) {
                        closed.finished.add(call);
                    }
                    if record.name.is_none() {
                        record.calls.remove(at);
                    }
                }
            }
            None => {
                let is_unknown = record.order == Order::Overlap;
                record.unknown += u64::from(is_unknown);
                closed.is_single = !is_failure && !end.is_drained;
                // Where calls are unknown, only a client that counts may resolve them.
                if is_failure && (!is_unknown || attempt.is_counted) {
                    let call = Call::failed(self.shared.next_call(), attempt.connection, ended);
                    closed.first = (!is_unknown).then_some(call.number);
                    let dropped = record.push(call).filter(|_| !is_unknown);
                    closed.finished.calls.extend(dropped.map(|call| call.attempts));
                }
            }
        }
        self.settle(places, record);
        closed
    }
}

impl Drop for Attempts {
    fn drop(&mut self) {
        self.clear();
    }
}
