//! Rate limits and quotas, and their state after each decision.
//!
//! Any number of limits may apply to a request. They are decided together: all of them are charged, or none is. A fixed
//! window is the exception: it counts a request that it refuses.

mod decisions;
mod request;
mod reservation;
mod spec;
mod store;
mod table;
#[cfg(test)]
mod tests;
mod window;

use std::{
    hash::{BuildHasher, Hash, Hasher},
    num::NonZeroU32,
    sync::{
        Arc, MutexGuard,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use foldhash::quality::RandomState;
use smallvec::SmallVec;

pub use self::{
    decisions::{Decisions, ScopeDecisions},
    request::LimitRequest,
    reservation::Reservation,
    spec::{Dimension, LimitSpec, Models, Period},
    store::{FailurePolicy, StoreSpec},
    window::Window,
};
use self::{
    reservation::{BucketLocation, ReservedAmount, ReservedAmounts},
    store::Store,
    table::{Shard, Table},
    window::{Algorithm, Decision, Quota},
};
use crate::core::{
    clock::Clock,
    limit_status::{LimitExceeded, LimitStatus, LimitStatuses, Reason, Unit},
};

/// The shared store does not respond, and [`FailurePolicy::Closed`] refuses requests then.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StoreUnreachable;

/// All limits of a server.
pub struct Limits {
    list: Vec<Limit>,
    /// The shared store of the buckets; `None` for tables in this process.
    store: Option<Arc<Store>>,
    needs_key: bool,
    needs_model: bool,
    needs_cost: bool,
    /// True if reserved tokens are reconciled with those used when the response ends.
    reconcile: bool,
    /// The hasher of bucket keys. Its seed is new in each process, so a client cannot choose keys that collide.
    hasher: RandomState,
    clock: Clock,
}

struct Limit {
    spec: LimitSpec,
    /// The same on every server that has this limit, and different from that of every other limit.
    id: String,
    algorithm: Algorithm,
    table: Arc<Table>,
    counts: Arc<Counts>,
}

/// The decision about one request.
#[derive(Default)]
pub struct LimitDecision {
    /// The status of each limit, and the refusal if there is one.
    pub limit_statuses: LimitStatuses,
    /// The reservation of an admitted request. The caller keeps it until the response ends.
    pub reservation: Option<Reservation>,
}

/// Number of decisions of one limit.
#[derive(Default)]
struct Counts {
    allowed: AtomicU64,
    refused: AtomicU64,
}

impl Limits {
    /// Creates limits with full buckets, in this process or in a store that several servers share.
    ///
    /// # Errors
    /// The thread for the store cannot be created.
    pub fn new(
        specs: Vec<LimitSpec>,
        reconcile: bool,
        store: Option<&StoreSpec>,
        clock: Clock,
    ) -> std::io::Result<Self> {
        let store = store.map(|spec| Store::open(spec, &clock).map(Arc::new)).transpose()?;
        Ok(Limits::over(specs, reconcile, store, RandomState::default(), clock))
    }

    /// Limits with other specifications in place of these. A limit that differs from an old one only in its numbers keeps
    /// the buckets; the others start full.
    pub fn reloaded(&self, specs: Vec<LimitSpec>, reconcile: bool) -> Self {
        let mut limits = Limits::over(specs, reconcile, self.store.clone(), self.hasher.clone(), self.clock.clone());
        // Tables are shared in their old order only: that is the order in which decisions lock them.
        let mut old = self.list.iter();
        for limit in &mut limits.list {
            let mut rest = old.clone();
            if let Some(found) = rest.find(|old| old.spec.is_alike(&limit.spec)) {
                limit.table = Arc::clone(&found.table);
                limit.counts = Arc::clone(&found.counts);
                old = rest;
            }
        }
        limits
    }

    fn over(
        specs: Vec<LimitSpec>,
        reconcile: bool,
        store: Option<Arc<Store>>,
        hasher: RandomState,
        clock: Clock,
    ) -> Self {
        let by_model = |dimension: &Dimension| matches!(dimension, Dimension::Model | Dimension::Deployment);
        let needs_model = specs.iter().any(|spec| !spec.models.is_any() || spec.per.iter().any(by_model));
        let needs_key = specs.iter().any(|spec| spec.per.contains(&Dimension::Key));
        let needs_cost = specs.iter().any(|spec| spec.unit.kind() == "tokens");
        let list = specs.into_iter().map(Limit::new).collect();
        Limits { list, store, needs_key, needs_model, needs_cost, reconcile, hasher, clock }
    }

    /// Returns true if there are no limits.
    pub fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    /// Returns the configuration of each limit.
    pub fn specs(&self) -> impl Iterator<Item = &LimitSpec> {
        self.list.iter().map(|limit| &limit.spec)
    }

    /// Returns the decisions so far, those of limits on the same unit for the same dimensions together.
    pub fn decisions(&self) -> Vec<Decisions> {
        let mut all = Vec::new();
        for Limit { spec, counts, .. } in &self.list {
            let (allowed, refused) = (counts.allowed.load(Ordering::Relaxed), counts.refused.load(Ordering::Relaxed));
            decisions::add(&mut all, spec, allowed, refused);
        }
        all
    }

    /// Returns true if a limit needs the API key.
    pub fn needs_key(&self) -> bool {
        self.needs_key
    }

    /// Returns true if a limit needs the model.
    pub fn needs_model(&self) -> bool {
        self.needs_model
    }

    /// Returns true if a limit needs the cost in tokens.
    pub fn needs_cost(&self) -> bool {
        self.needs_cost
    }

    /// Decides whether a request is admitted, and charges every limit that applies if all of them admit it.
    ///
    /// # Errors
    /// [`StoreUnreachable`]: the limits are in a store, which did not respond.
    pub async fn admit(self: &Arc<Self>, request: &LimitRequest<'_>) -> Result<LimitDecision, StoreUnreachable> {
        match &self.store {
            None => Ok(self.decide(request)),
            // Boxed: the future of the call is large, and requests without a store do not need the room.
            Some(store) => Box::pin(store.decide(self, request)).await,
        }
    }

    fn decide(self: &Arc<Self>, request: &LimitRequest<'_>) -> LimitDecision {
        let now = nanos(self.clock.at(request.at));
        // Locks are taken in the order of the list, so two decisions cannot deadlock.
        let mut locked: SmallVec<[LockedBucket<'_>; 2]> = SmallVec::new();
        for (number, limit) in self.list.iter().enumerate().filter(|(_, limit)| limit.applies(request)) {
            let key = self.key(limit, request);
            let mut shard = limit.table.shard(key);
            let bucket_key = shard.bucket_key(key, now);
            let cost = limit.cost(request);
            let decision = limit.algorithm.decide(shard.state(bucket_key), now, cost);
            locked.push(LockedBucket { number, limit, key, shard, bucket_key, cost, decision });
        }
        let admitted = locked.iter().all(|locked| locked.decision.admitted);
        let (mut limit_statuses, mut amounts) = (LimitStatuses::default(), ReservedAmounts::new());
        for LockedBucket { number, limit, key, shard, bucket_key, cost, decision } in &mut locked {
            if admitted || !decision.admitted {
                shard.set(*bucket_key, decision.after, decision.idle_at);
            } else {
                // Nothing is charged, so the status is that without this request.
                *decision = limit.algorithm.decide(shard.state(*bucket_key), now, 0);
            }
            limit.count(request, admitted, decision.admitted);
            limit.report(decision.admitted, decision.too_large, decision.limit_status, *cost, &mut limit_statuses);
            if admitted && limit.holds_reservation(self.reconcile) {
                let bucket = BucketLocation::Local { key: *key, bucket_key: *bucket_key };
                amounts.push(ReservedAmount { number: *number, bucket, opened: decision.after.at, reserved: *cost });
            }
        }
        limit_statuses.close();
        LimitDecision { limit_statuses, reservation: Reservation::new(self, amounts) }
    }

    /// Returns the key of the bucket that a request is charged to.
    fn key(&self, limit: &Limit, request: &LimitRequest<'_>) -> u64 {
        let mut hasher = self.hasher.build_hasher();
        request.parts(&limit.spec.per).for_each(|part| part.hash(&mut hasher));
        hasher.finish()
    }

    /// Returns the time in nanoseconds since the clock began.
    fn now(&self) -> u64 {
        nanos(self.clock.elapsed())
    }

    /// Gives back what requests still hold in a shared store. The server ends, and their responses with it.
    pub async fn close(&self) {
        if let Some(store) = &self.store {
            store.close().await;
        }
    }

    /// Removes every bucket that equals an unused one.
    pub fn forget_idle(&self) {
        let now = self.now();
        for limit in &self.list {
            limit.table.forget_idle(now);
        }
    }

    /// Returns the number of buckets in this process.
    pub fn buckets(&self) -> usize {
        self.list.iter().map(|limit| limit.table.len()).sum()
    }
}

/// Converts a time to whole nanoseconds.
fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

/// A limit that applies to a request, with its shard locked until all limits have decided.
struct LockedBucket<'a> {
    number: usize,
    limit: &'a Limit,
    key: u64,
    shard: MutexGuard<'a, Shard>,
    bucket_key: u64,
    cost: u32,
    decision: Decision,
}

impl Limit {
    /// Counts one decision: as allowed if all limits admit the request, as refused if this one does not.
    fn count(&self, request: &LimitRequest<'_>, all_admit: bool, admits: bool) {
        if all_admit || !admits {
            let count = if all_admit { &self.counts.allowed } else { &self.counts.refused };
            count.fetch_add(1, Ordering::Relaxed);
            if let Some(decisions) = request.decisions {
                decisions.add(&self.spec, all_admit);
            }
        }
    }

    fn new(spec: LimitSpec) -> Self {
        let quota = Quota { limit: spec.quota, period: spec.period.nanos() };
        let burst = NonZeroU32::new(spec.max_at_once()).unwrap_or(NonZeroU32::MIN);
        // A quota that never refills has a single window.
        let window = if spec.period == Period::Never { Window::Fixed } else { spec.window };
        let algorithm = Algorithm::new(spec.unit, window, quota, burst);
        let id = serde_json::to_string(&spec).unwrap_or_default();
        Limit { spec, id, algorithm, table: Arc::new(Table::new(table::MAX_BUCKETS)), counts: Arc::default() }
    }

    fn applies(&self, request: &LimitRequest<'_>) -> bool {
        self.spec.models.is_any() || self.spec.models.contain(request.model)
    }

    /// Returns the cost of a request in the unit of the limit.
    fn cost(&self, request: &LimitRequest<'_>) -> u32 {
        match self.spec.unit {
            Unit::Requests | Unit::InFlight => 1,
            unit => reservation::counted_tokens(unit, request.cost),
        }
    }

    /// Returns true if a request holds a reservation until the response ends.
    fn holds_reservation(&self, reconcile: bool) -> bool {
        match self.spec.unit {
            Unit::Requests => false,
            Unit::InFlight => true,
            Unit::Tokens | Unit::InputTokens | Unit::OutputTokens => reconcile,
        }
    }

    /// Writes the outcome to `limit_statuses`.
    fn report(
        &self,
        admitted: bool,
        too_large: bool,
        limit_status: LimitStatus,
        cost: u32,
        limit_statuses: &mut LimitStatuses,
    ) {
        if !admitted {
            let reason = match () {
                () if self.spec.silent => Reason::Hidden,
                () if self.spec.period == Period::Never => Reason::Spent,
                () if too_large => Reason::TooLarge,
                () => Reason::RanOut,
            };
            // A request that never fits is compared with the most that is admitted at once.
            let limit = if reason == Reason::TooLarge { self.spec.max_at_once().into() } else { limit_status.limit };
            let limit_status = LimitStatus { limit, ..limit_status };
            limit_statuses.exceed(LimitExceeded { limit_status, unit: self.spec.unit, requested: cost.into(), reason });
        }
        if !self.spec.silent && self.spec.period != Period::Never {
            limit_statuses.record(self.spec.unit, limit_status);
        }
    }
}
