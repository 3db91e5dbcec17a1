//! Rate limits and quotas, and their state after each decision.
//!
//! Any number of limits may apply to a request. They are decided together: all of them are charged, or none is. A fixed
//! window is the exception: it counts a request that it refuses.

mod request;
mod reservation;
mod spec;
mod store;
mod table;
mod window;

use std::{
    hash::{BuildHasher, Hash, Hasher},
    num::NonZeroU32,
    sync::{Arc, MutexGuard},
    time::Duration,
};

use foldhash::quality::RandomState;
use smallvec::SmallVec;

pub use self::{
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
    /// The status of each limit, and the refusal if there is one, are written to `limit_statuses`. The caller keeps the
    /// reservation until the response ends.
    ///
    /// # Errors
    /// [`StoreUnreachable`]: the limits are in a store, which did not respond.
    pub async fn admit(
        self: &Arc<Self>,
        request: &LimitRequest<'_>,
        limit_statuses: &mut LimitStatuses,
    ) -> Result<Option<Reservation>, StoreUnreachable> {
        match &self.store {
            None => Ok(self.decide(request, limit_statuses)),
            // Boxed: the future of the call is large, and requests without a store do not need the room.
            Some(store) => Box::pin(store.decide(self, request, limit_statuses)).await,
        }
    }

    fn decide(self: &Arc<Self>, request: &LimitRequest<'_>, limit_statuses: &mut LimitStatuses) -> Option<Reservation> {
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
        let mut amounts = ReservedAmounts::new();
        for LockedBucket { number, limit, key, shard, bucket_key, cost, decision } in &mut locked {
            if admitted || !decision.admitted {
                shard.set(*bucket_key, decision.after, decision.idle_at);
            } else {
                // Nothing is charged, so the status is that without this request.
                *decision = limit.algorithm.decide(shard.state(*bucket_key), now, 0);
            }
            limit.report(decision.admitted, decision.too_large, decision.limit_status, *cost, limit_statuses);
            if admitted && limit.holds_reservation(self.reconcile) {
                let bucket = BucketLocation::Local { key: *key, bucket_key: *bucket_key };
                amounts.push(ReservedAmount { number: *number, bucket, opened: decision.after.at, reserved: *cost });
            }
        }
        limit_statuses.close();
        Reservation::new(self, amounts)
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
    fn new(spec: LimitSpec) -> Self {
        let quota = Quota { limit: spec.quota, period: spec.period.nanos() };
        let burst = NonZeroU32::new(spec.max_at_once()).unwrap_or(NonZeroU32::MIN);
        let algorithm = Algorithm::new(spec.unit, spec.window, quota, burst);
        let id = serde_json::to_string(&spec).unwrap_or_default();
        Limit { spec, id, algorithm, table: Arc::new(Table::new(table::MAX_BUCKETS)) }
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
                () if self.spec.period == Period::NEVER => Reason::Spent,
                () if too_large => Reason::TooLarge,
                () => Reason::RanOut,
            };
            // A request that never fits is compared with the most that is admitted at once.
            let limit = if reason == Reason::TooLarge { self.spec.max_at_once().into() } else { limit_status.limit };
            let limit_status = LimitStatus { limit, ..limit_status };
            limit_statuses.exceed(LimitExceeded { limit_status, unit: self.spec.unit, requested: cost.into(), reason });
        }
        if !self.spec.silent && self.spec.period != Period::NEVER {
            limit_statuses.record(self.spec.unit, limit_status);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{
        net::Ipv4Addr,
        pin::pin,
        task::{Context, Poll, Waker},
        time::Instant,
    };

    use super::*;
    use crate::core::{clock::ManualClock, limit_status::Cost};

    pub(crate) fn from_client(client: u32) -> LimitRequest<'static> {
        let ip = Ipv4Addr::from(client).into();
        let (at, cost) = (Instant::now(), Cost { input: 10, output: 5 });
        LimitRequest { at, ip, key: None, model: "gpt-4o", deployment: None, path: "/v1", cost }
    }

    pub(crate) fn limits(specs: &[LimitSpec], reconcile: bool) -> (Arc<Limits>, ManualClock) {
        let clock = ManualClock::new();
        (Arc::new(Limits::new(specs.to_vec(), reconcile, None, clock.clone().into()).unwrap()), clock)
    }

    pub(crate) struct Admission {
        pub(crate) limit_statuses: LimitStatuses,
        pub(crate) reservation: Option<Reservation>,
    }

    /// Polls the decision once: without a store it never waits.
    pub(crate) fn admit(limits: &Arc<Limits>, request: &LimitRequest<'_>) -> Admission {
        let mut limit_statuses = LimitStatuses::default();
        let polled = pin!(limits.admit(request, &mut limit_statuses)).poll(&mut Context::from_waker(Waker::noop()));
        match polled {
            Poll::Ready(reservation) => Admission { reservation: reservation.unwrap(), limit_statuses },
            Poll::Pending => panic!("a decision without a store waits"),
        }
    }

    pub(crate) fn passes(limits: &Arc<Limits>, request: &LimitRequest<'_>) -> bool {
        admit(limits, request).limit_statuses.refusal.is_none()
    }

    #[test]
    fn all_limits_are_charged_or_none_is() {
        let specs = [LimitSpec::rpm(100), LimitSpec::per_minute(Unit::Tokens, 40)];
        let (limits, clock) = limits(&specs, false);
        let remaining = |limit_statuses: &LimitStatuses| {
            (limit_statuses.get(Unit::Requests).unwrap().remaining, limit_statuses.get(Unit::Tokens).unwrap().remaining)
        };
        assert_eq!(remaining(&admit(&limits, &from_client(1)).limit_statuses), (99, 25));
        assert_eq!(remaining(&admit(&limits, &from_client(1)).limit_statuses), (98, 10));
        for _ in 0..50 {
            let refused = admit(&limits, &from_client(1)).limit_statuses;
            let refusal = refused.refusal.unwrap();
            assert_eq!((refusal.unit, refusal.reason, refusal.requested), (Unit::Tokens, Reason::RanOut, 15));
            assert_eq!(remaining(&refused), (98, 10), "a refusal by one limit charges no other");
        }
        clock.advance(admit(&limits, &from_client(1)).limit_statuses.refusal.unwrap().limit_status.wait);
        assert!(passes(&limits, &from_client(1)));
        let large = LimitRequest { cost: Cost { input: 41, output: 0 }, ..from_client(2) };
        assert_eq!(admit(&limits, &large).limit_statuses.refusal.unwrap().reason, Reason::TooLarge);
        assert!(passes(&limits, &LimitRequest { cost: Cost { input: 40, output: 0 }, ..from_client(2) }));
    }

    #[test]
    fn the_longest_wait_of_several_refusals_is_reported() {
        let day = LimitSpec { period: Period::DAY, ..LimitSpec::rpm(3) };
        let (limits, clock) = limits(&[LimitSpec::rpm(2), day], false);
        let slower = admit(&limits, &from_client(1)).limit_statuses.get(Unit::Requests).unwrap().limit;
        assert_eq!(slower, 3, "the slower limit is reported");
        passes(&limits, &from_client(1));
        let refusal = admit(&limits, &from_client(1)).limit_statuses.refusal.unwrap();
        assert_eq!(refusal.limit_status.limit, 2);
        clock.advance(refusal.limit_status.wait);
        assert!(passes(&limits, &from_client(1)));
        let refusal = admit(&limits, &from_client(1)).limit_statuses.refusal.unwrap();
        assert_eq!((refusal.limit_status.limit, refusal.limit_status.period), (3, Duration::from_secs(86_400)));
        clock.advance(refusal.limit_status.wait);
        assert!(passes(&limits, &from_client(1)), "a client that waits as long as reported is admitted");
    }

    #[test]
    fn a_limit_applies_to_the_models_of_its_globs() {
        let models = serde_json::from_str(r#"["gpt-4o*", "!gpt-4o-mini*"]"#).unwrap();
        let (limits, _) = limits(&[LimitSpec { models, ..LimitSpec::rpm(1) }], false);
        let of = |model| LimitRequest { model, ..from_client(1) };
        assert!(passes(&limits, &of("gpt-4o")) && !passes(&limits, &of("gpt-4o-2024-08-06")));
        for _ in 0..5 {
            assert!(passes(&limits, &of("gpt-4o-mini")) && passes(&limits, &of("o3")));
        }
    }

    #[test]
    fn removing_idle_buckets_admits_nothing_more() {
        let (limits, clock) = limits(&[LimitSpec::rpm(60)], false);
        for n in 0..100_000 {
            passes(&limits, &from_client(n));
            if n % 10_000 == 9_999 {
                clock.advance(Duration::from_millis(1200));
                limits.forget_idle();
                assert_eq!(limits.buckets(), 0);
            }
        }
        assert_eq!((0..100).filter(|_| passes(&limits, &from_client(1))).count(), 60);
        clock.advance(Duration::from_secs(59));
        limits.forget_idle();
        assert_eq!(limits.buckets(), 1);
        assert_eq!((0..100).filter(|_| passes(&limits, &from_client(1))).count(), 59);
    }

    #[test]
    fn many_keys_take_bounded_room_and_evict_no_used_bucket() {
        let clock = ManualClock::new();
        let mut limits = Limits::new(vec![LimitSpec::rpm(2)], false, None, clock.clone().into()).unwrap();
        limits.list[0].table = Arc::new(Table::new(6400));
        let limits = Arc::new(limits);
        assert!(
            passes(&limits, &from_client(0)) && passes(&limits, &from_client(0)) && !passes(&limits, &from_client(0))
        );
        let passed = (1..=100_000).filter(|n| passes(&limits, &from_client(*n))).count();
        let shared = 64 * (100 / 32);
        assert!(limits.buckets() <= 6400 + shared, "{}", limits.buckets());
        assert!(
            (6300..=6400 + 2 * shared).contains(&passed),
            "{passed}: one per new key, and those of the shared buckets"
        );
        assert!(!passes(&limits, &from_client(0)), "its bucket was not removed before it was full");
        // Buckets that are full again make room.
        clock.advance(Duration::from_secs(60));
        assert!((1..=3000).all(|n| passes(&limits, &from_client(n + 1_000_000))));
    }
}
