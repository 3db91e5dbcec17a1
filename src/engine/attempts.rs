//! The attempts of logical calls: which requests belong to one call, and whether the client waited as it was asked to.
//!
//! A call has a name, or its requests are alike: same caller, route, model and content. Requests that are alike are only
//! one call if one follows after a failure of the other. If they overlap, only names distinguish them.

mod call;
mod facts;
mod key;
mod record;
mod wait;

use std::{
    collections::{HashMap, VecDeque},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    time::Duration,
};

use foldhash::quality::RandomState;

pub(super) use self::{
    call::Continued,
    facts::{Arrived, AttemptEnd, CallName, Closed, EndedCalls, Failure, OpenCalls, Tally},
    key::is_about_call,
};
use self::{
    call::{Call, Ended},
    record::{Arrival, Evidence, Record},
};
use crate::core::{clock::Clock, context::RequestContext, open_connections::OpenConnections};

/// Maximum number of calls and fingerprints that are followed at once, in all scopes. Beyond it the oldest of the scope
/// are dropped.
const MAX_CALLS: usize = 100_000;
/// Time after which a call without another attempt has ended.
const LIFETIME: Duration = Duration::from_secs(120);
/// Number of parts of the table, each with a lock of its own.
const SHARDS: u64 = 16;
/// Maximum number of expired records that one request removes.
const REMOVED_AT_ONCE: usize = 32;

/// The calls of one scope.
pub(super) struct Attempts {
    shards: Box<[Mutex<Shard>]>,
    /// Number of records in all shards.
    records: AtomicUsize,
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

#[derive(Default)]
struct Shard {
    records: HashMap<u64, Record, foldhash::fast::RandomState>,
    /// The records by the time of their first or last use, the oldest first. Their number is that of the records.
    ages: VecDeque<(Duration, u64)>,
    ended: EndedCalls,
}

/// One request, and its place among the attempts of its call.
#[derive(Default)]
pub(super) struct Attempt {
    connection: u64,
    /// The hash of the name, or the fingerprint where it is known.
    key: Option<u64>,
    is_named: bool,
    /// True if the record of the key counts it as open.
    is_registered: bool,
    call: Option<u64>,
    /// The inferences about other requests that this one disproves.
    pub(super) disproved: Tally,
    /// The end as far as the response decides it.
    failure: Failure,
}

impl Attempts {
    pub(super) fn new(clock: Clock, shared: Arc<Shared>) -> Self {
        let shards = (0..SHARDS).map(|_| Mutex::default()).collect();
        Attempts { shards, records: AtomicUsize::new(0), clock, shared }
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
        let opened = self.clock.at(context.started);
        let mut attempt = Attempt { connection: context.request.connection.number, ..Attempt::default() };
        let is_idle = self.records.load(Ordering::Relaxed) == 0;
        if is_idle && call.is_none() && !names_call {
            return (attempt, None);
        }
        let name = key::name(context, call);
        let retries = key::retries(context);
        if name.is_none() && retries == 0 && is_idle {
            return (attempt, None);
        }
        let hasher = &self.shared.hasher;
        let key = name.map_or_else(|| key::fingerprint(hasher, context, route), |name| key::of_name(hasher, name));
        (attempt.key, attempt.is_named) = (Some(key), name.is_some());
        let connection = attempt.connection;
        let is_new = context.request.connection.request <= 1;
        let arrival = Arrival { at: opened, connection, is_on_new_connection: is_new, retries };
        let mut shard = self.shard(key);
        self.remove_expired(&mut shard, opened, REMOVED_AT_ONCE);
        let is_new = !shard.records.contains_key(&key);
        if is_new && (name.is_none() && retries == 0 || !self.insert(&mut shard, key, name, opened)) {
            return (attempt, None);
        }
        let Some(record) = shard.records.get_mut(&key) else { return (attempt, None) };
        let found = record.find(&arrival, &self.shared.connections);
        attempt.disproved = record.disproved();
        record.opened(&arrival);
        attempt.is_registered = true;
        let (at, evidence) = found.unzip();
        let continued = match at.and_then(|at| record.calls.get_mut(at)) {
            Some(call) => {
                attempt.call = Some(call.number);
                let continued = call.next(opened, connection);
                record.infer(continued, evidence.unwrap_or(Evidence::Sent), entry)
            }
            None if name.is_some() || retries > 0 => {
                let call = Call::new(self.next_call(), connection, retries);
                let number = call.number;
                if record.push(call) {
                    self.shared.places.fetch_add(1, Ordering::Relaxed);
                    attempt.call = Some(number);
                }
                Continued { number: retries + 1, ..Continued::default() }
            }
            None => return (attempt, None),
        };
        let name = match (&record.name, attempt.call) {
            (Some(name), _) => CallName::Named(name.clone()),
            (None, Some(number)) => CallName::Number(number),
            (None, None) => return (attempt, None),
        };
        (attempt, Some(Arrived { name, continued }))
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
        closed.ended = std::mem::take(&mut shard.ended);
        let is_followed = shard.records.contains_key(&key);
        if !is_followed && (!is_failure || end.is_drained || !self.insert(&mut shard, key, None, now)) {
            closed.is_single = !is_failure;
            return closed;
        }
        let Some(record) = shard.records.get_mut(&key) else { return closed };
        record.last = record.last.max(now);
        if attempt.is_registered {
            record.open = record.open.saturating_sub(1);
        } else if is_followed {
            // It was open while another request like it failed.
            record.is_ambiguous |= !attempt.is_named;
        }
        let ended = Ended {
            at: now,
            status: end.status,
            is_failure: is_failure && !end.is_drained,
            is_cut: !end.is_complete,
            is_final: attempt.failure.is_final,
            wait: attempt.failure.wait,
            unit: attempt.failure.unit,
        };
        let known = attempt.call.and_then(|number| record.calls.iter().position(|call| call.number == number));
        let Some(at) = known else {
            if is_failure && !end.is_drained {
                closed.first = self.begin(record, attempt, ended);
            } else {
                // A success beside a failure that waits for its next attempt: there are two calls.
                record.is_ambiguous |= attempt.is_registered && record.calls.iter().any(Call::waits);
                closed.is_single = !is_failure;
            }
            closed.is_ambiguous = record.is_ambiguous;
            closed.disproved = record.disproved();
            return closed;
        };
        let call = &mut record.calls[at];
        call.open = call.open.saturating_sub(1);
        call.ended = Some(ended);
        if !is_failure {
            call.successes += 1;
            closed.is_duplicate = record.name.is_some() && call.successes > 1;
            if !std::mem::replace(&mut call.is_counted, true) {
                closed.ended.push(call.attempts);
            }
            if record.name.is_none() {
                record.calls.remove(at);
                self.shared.places.fetch_sub(1, Ordering::Relaxed);
            }
        }
        closed
    }

    /// Begins to follow a call whose first attempt failed.
    fn begin(&self, record: &mut Record, attempt: &Attempt, ended: Ended) -> Option<u64> {
        let mut call = Call::new(self.next_call(), attempt.connection, 0);
        (call.open, call.ended) = (0, Some(ended));
        let number = call.number;
        if !record.push(call) {
            return None;
        }
        self.shared.places.fetch_add(1, Ordering::Relaxed);
        (!record.is_ambiguous).then_some(number)
    }

    fn next_call(&self) -> u64 {
        self.shared.calls.fetch_add(1, Ordering::Relaxed) + 1
    }

    /// Adds a record. Returns false if there is no room.
    fn insert(&self, shard: &mut Shard, key: u64, name: Option<&str>, now: Duration) -> bool {
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
    fn remove_expired(&self, shard: &mut Shard, now: Duration, most: usize) {
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
        if let Some(record) = shard.records.remove(&key) {
            self.records.fetch_sub(1, Ordering::Relaxed);
            self.shared.places.fetch_sub(record.places(), Ordering::Relaxed);
            let uncounted = record.calls.iter().filter(|call| !call.is_counted && !record.is_ambiguous);
            shard.ended.extend(uncounted.map(|call| call.attempts));
        }
        true
    }

    /// Removes all calls that have expired. Returns their numbers of attempts.
    pub(super) fn expire(&self) -> EndedCalls {
        let now = self.now();
        self.all(|shard| {
            let most = shard.ages.len();
            self.remove_expired(shard, now, most);
            std::mem::take(&mut shard.ended)
        })
        .concat()
    }

    /// Returns the number of the calls that are not yet counted as ended.
    pub(super) fn open_calls(&self) -> OpenCalls {
        let of_shard = |shard: &mut Shard| {
            let calls = shard
                .records
                .values()
                .filter(|record| !record.is_ambiguous)
                .flat_map(|record| &record.calls)
                .filter(|call| !call.is_counted);
            calls.fold(OpenCalls::default(), |sum, call| OpenCalls {
                calls: sum.calls + 1,
                attempts: sum.attempts + u64::from(call.attempts),
            })
        };
        self.all(of_shard).into_iter().fold(OpenCalls::default(), |sum, part| OpenCalls {
            calls: sum.calls + part.calls,
            attempts: sum.attempts + part.attempts,
        })
    }

    /// Forgets all calls.
    pub(super) fn clear(&self) {
        self.all(|shard| {
            while self.remove_oldest(shard) {}
            shard.ended.clear();
        });
    }

    fn all<T>(&self, part: impl Fn(&mut Shard) -> T) -> Vec<T> {
        let locked = |shard: &Mutex<Shard>| part(&mut shard.lock().unwrap_or_else(PoisonError::into_inner));
        self.shards.iter().map(locked).collect()
    }
}

impl Drop for Attempts {
    fn drop(&mut self) {
        self.clear();
    }
}
