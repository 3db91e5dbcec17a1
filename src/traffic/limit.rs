//! The limits: how much a client may ask for, and where it stands after each decision.
//!
//! Any number of limits may apply to a request. They are decided together: all of them are charged, or none is, but for a
//! fixed window that counts what it refuses.

mod ask;
mod hold;
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
    ask::LimitRequest,
    hold::Reservation,
    spec::{Dimension, LimitSpec, Models, Period},
    store::{Failure, StoreSpec},
    window::Window,
};
use self::{
    hold::{Bucket, ReservedAmount, ReservedAmounts},
    store::Store,
    table::{Shard, Table},
    window::{Meter, Quota, Verdict},
};
use crate::core::{
    clock::Clock,
    limit_status::{LimitExceeded, LimitStatus, LimitStatuses, Reason, Unit},
};

/// The shared store does not answer, and whoever started the server would rather refuse than admit too much.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unreachable;

/// All limits of a server.
pub struct Limits {
    list: Vec<Limit>,
    /// Where the buckets are kept, if not here.
    store: Option<Arc<Store>>,
    ask_key: bool,
    ask_model: bool,
    ask_cost: bool,
    /// Whether tokens that were booked and not used are given back, and those used beyond are charged.
    settle: bool,
    /// Which hash is whose changes from run to run, and so nobody can choose keys that meet.
    hasher: RandomState,
    clock: Clock,
}

struct Limit {
    spec: LimitSpec,
    /// What tells it from other limits, on any server.
    name: String,
    meter: Meter,
    table: Arc<Table>,
}

impl Limits {
    /// Limits that begin now, kept in this process or in a store that several share.
    ///
    /// # Errors
    /// The system has no thread left for the store.
    pub fn new(specs: Vec<LimitSpec>, settle: bool, store: Option<&StoreSpec>, clock: Clock) -> std::io::Result<Self> {
        let store = store.map(|spec| Store::open(spec, &clock).map(Arc::new)).transpose()?;
        Ok(Limits::over(specs, settle, store, RandomState::default(), clock))
    }

    /// Limits with other specifications in place of these. A limit that differs from an old one only in its numbers keeps
    /// the buckets; the others start full.
    pub fn reloaded(&self, specs: Vec<LimitSpec>, settle: bool) -> Self {
        let mut limits = Limits::over(specs, settle, self.store.clone(), self.hasher.clone(), self.clock.clone());
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

    fn over(specs: Vec<LimitSpec>, settle: bool, store: Option<Arc<Store>>, hasher: RandomState, clock: Clock) -> Self {
        let by_model = |dimension: &Dimension| matches!(dimension, Dimension::Model | Dimension::Deployment);
        let ask_model = specs.iter().any(|spec| !spec.models.is_any() || spec.per.iter().any(by_model));
        let ask_key = specs.iter().any(|spec| spec.per.contains(&Dimension::Key));
        let ask_cost = specs.iter().any(|spec| spec.unit.kind() == "tokens");
        let list = specs.into_iter().map(Limit::new).collect();
        Limits { list, store, ask_key, ask_model, ask_cost, settle, hasher, clock }
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    /// What was asked for.
    pub fn specs(&self) -> impl Iterator<Item = &LimitSpec> {
        self.list.iter().map(|limit| &limit.spec)
    }

    /// Whether any wants to know the key.
    pub fn ask_key(&self) -> bool {
        self.ask_key
    }

    /// Whether any wants to know the model.
    pub fn ask_model(&self) -> bool {
        self.ask_model
    }

    /// Whether any wants to know the cost in tokens.
    pub fn ask_cost(&self) -> bool {
        self.ask_cost
    }

    /// Decides over one request, and charges it to every limit that applies if all of them let it pass. Where the client
    /// stands then, and whether it is refused, is written to `limit_statuses`; what is returned is to be given back, or
    /// corrected, when the answer has ended, and to be kept until then.
    ///
    /// # Errors
    /// [`Unreachable`]: the limits are in a store, which did not answer.
    pub async fn admit(
        self: &Arc<Self>,
        ask: &LimitRequest<'_>,
        limit_statuses: &mut LimitStatuses,
    ) -> Result<Option<Reservation>, Unreachable> {
        match &self.store {
            None => Ok(self.decide(ask, limit_statuses)),
            // Boxed, so that requests which need no store do not carry the room that asking it takes.
            Some(store) => Box::pin(store.decide(self, ask, limit_statuses)).await,
        }
    }

    fn decide(self: &Arc<Self>, ask: &LimitRequest<'_>, limit_statuses: &mut LimitStatuses) -> Option<Reservation> {
        let now = nanos(self.clock.at(ask.at));
        // Locks are taken in the order of the list, so that no two decisions wait for each other.
        let mut held: SmallVec<[Held<'_>; 2]> = SmallVec::new();
        for (number, limit) in self.list.iter().enumerate().filter(|(_, limit)| limit.applies(ask)) {
            let key = self.key(limit, ask);
            let mut shard = limit.table.shard(key);
            let place = shard.place(key, now);
            let cost = limit.cost(ask);
            let verdict = limit.meter.decide(shard.state(place), now, cost);
            held.push(Held { number, limit, key, shard, place, cost, verdict });
        }
        let admitted = held.iter().all(|held| held.verdict.admitted);
        let mut charges = ReservedAmounts::new();
        for Held { number, limit, key, shard, place, cost, verdict } in &mut held {
            if admitted || !verdict.admitted {
                shard.set(*place, verdict.after, verdict.idle_at);
            } else {
                // Nothing is charged: told is where the client stands without this request.
                *verdict = limit.meter.decide(shard.state(*place), now, 0);
            }
            limit.tell(verdict.admitted, verdict.too_large, verdict.limit_status, *cost, limit_statuses);
            if admitted && limit.is_held(self.settle) {
                let bucket = Bucket::Here { key: *key, place: *place };
                charges.push(ReservedAmount { number: *number, bucket, opened: verdict.after.at, reserved: *cost });
            }
        }
        limit_statuses.close();
        Reservation::new(self, charges)
    }

    /// Which of a limit's buckets a request is charged to.
    fn key(&self, limit: &Limit, ask: &LimitRequest<'_>) -> u64 {
        let mut hasher = self.hasher.build_hasher();
        ask.parts(&limit.spec.per).for_each(|part| part.hash(&mut hasher));
        hasher.finish()
    }

    /// The time, in nanoseconds since the clock began.
    fn now(&self) -> u64 {
        nanos(self.clock.elapsed())
    }

    /// Forgets every bucket that is as good as never used.
    pub fn forget_idle(&self) {
        let now = self.now();
        for limit in &self.list {
            limit.table.forget_idle(now);
        }
    }

    /// How many buckets are remembered here.
    pub fn buckets(&self) -> usize {
        self.list.iter().map(|limit| limit.table.len()).sum()
    }
}

/// A time in whole nanoseconds.
fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

/// A limit that applies to a request, its buckets locked until all are decided.
struct Held<'a> {
    number: usize,
    limit: &'a Limit,
    key: u64,
    shard: MutexGuard<'a, Shard>,
    place: u64,
    cost: u32,
    verdict: Verdict,
}

impl Limit {
    fn new(spec: LimitSpec) -> Self {
        let quota = Quota { limit: spec.quota, period: spec.period.nanos() };
        let burst = NonZeroU32::new(spec.most()).unwrap_or(NonZeroU32::MIN);
        let meter = Meter::new(spec.unit, spec.window, quota, burst);
        let name = serde_json::to_string(&spec).unwrap_or_default();
        Limit { spec, name, meter, table: Arc::new(Table::new(table::MOST)) }
    }

    fn applies(&self, ask: &LimitRequest<'_>) -> bool {
        self.spec.models.is_any() || self.spec.models.contain(ask.model)
    }

    /// What a request takes of it.
    fn cost(&self, ask: &LimitRequest<'_>) -> u32 {
        match self.spec.unit {
            Unit::Requests | Unit::InFlight => 1,
            unit => hold::tokens(unit, ask.cost),
        }
    }

    /// Whether something remains to be done with it when the answer has ended.
    fn is_held(&self, settle: bool) -> bool {
        match self.spec.unit {
            Unit::Requests => false,
            Unit::InFlight => true,
            Unit::Tokens | Unit::InputTokens | Unit::OutputTokens => settle,
        }
    }

    /// Writes down what it said.
    fn tell(
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
            // What never fits at once is measured by that.
            let limit = if reason == Reason::TooLarge { self.spec.most().into() } else { limit_status.limit };
            let limit_status = LimitStatus { limit, ..limit_status };
            limit_statuses.exceed(LimitExceeded { limit_status, unit: self.spec.unit, requested: cost.into(), reason });
        }
        if !self.spec.silent && self.spec.period != Period::NEVER {
            limit_statuses.tell(self.spec.unit, limit_status);
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

    pub(crate) fn ask(client: u32) -> LimitRequest<'static> {
        let ip = Ipv4Addr::from(client).into();
        let (at, cost) = (Instant::now(), Cost { input: 10, output: 5 });
        LimitRequest { at, ip, key: None, model: "gpt-4o", deployment: None, path: "/v1", cost }
    }

    pub(crate) fn limits(specs: &[LimitSpec], settle: bool) -> (Arc<Limits>, ManualClock) {
        let clock = ManualClock::new();
        (Arc::new(Limits::new(specs.to_vec(), settle, None, clock.clone().into()).unwrap()), clock)
    }

    pub(crate) struct Admission {
        pub(crate) limit_statuses: LimitStatuses,
        pub(crate) hold: Option<Reservation>,
    }

    /// Without a store nothing is waited for.
    pub(crate) fn admit(limits: &Arc<Limits>, ask: &LimitRequest<'_>) -> Admission {
        let mut limit_statuses = LimitStatuses::default();
        let polled = pin!(limits.admit(ask, &mut limit_statuses)).poll(&mut Context::from_waker(Waker::noop()));
        match polled {
            Poll::Ready(hold) => Admission { hold: hold.unwrap(), limit_statuses },
            Poll::Pending => panic!("waits"),
        }
    }

    pub(crate) fn passes(limits: &Arc<Limits>, ask: &LimitRequest<'_>) -> bool {
        admit(limits, ask).limit_statuses.refusal.is_none()
    }

    #[test]
    fn all_limits_are_charged_or_none_is() {
        let specs = [LimitSpec::rpm(100), LimitSpec::per_minute(Unit::Tokens, 40)];
        let (limits, clock) = limits(&specs, false);
        let told = |limit_statuses: &LimitStatuses| {
            (limit_statuses.get(Unit::Requests).unwrap().remaining, limit_statuses.get(Unit::Tokens).unwrap().remaining)
        };
        assert_eq!(told(&admit(&limits, &ask(1)).limit_statuses), (99, 25));
        assert_eq!(told(&admit(&limits, &ask(1)).limit_statuses), (98, 10));
        for _ in 0..50 {
            let refused = admit(&limits, &ask(1)).limit_statuses;
            let refusal = refused.refusal.unwrap();
            assert_eq!((refusal.unit, refusal.reason, refusal.requested), (Unit::Tokens, Reason::RanOut, 15));
            assert_eq!(told(&refused), (98, 10), "a refusal by one limit takes nothing from the other");
        }
        clock.advance(admit(&limits, &ask(1)).limit_statuses.refusal.unwrap().limit_status.wait);
        assert!(passes(&limits, &ask(1)));
        let large = LimitRequest { cost: Cost { input: 41, output: 0 }, ..ask(2) };
        assert_eq!(admit(&limits, &large).limit_statuses.refusal.unwrap().reason, Reason::TooLarge);
        assert!(passes(&limits, &LimitRequest { cost: Cost { input: 40, output: 0 }, ..ask(2) }));
    }

    #[test]
    fn of_several_that_refuse_the_longest_wait_is_told() {
        let day = LimitSpec { period: Period::DAY, ..LimitSpec::rpm(3) };
        let (limits, clock) = limits(&[LimitSpec::rpm(2), day], false);
        assert_eq!(
            admit(&limits, &ask(1)).limit_statuses.get(Unit::Requests).unwrap().limit,
            3,
            "the slower one is told"
        );
        passes(&limits, &ask(1));
        let refusal = admit(&limits, &ask(1)).limit_statuses.refusal.unwrap();
        assert_eq!(refusal.limit_status.limit, 2);
        clock.advance(refusal.limit_status.wait);
        assert!(passes(&limits, &ask(1)));
        let refusal = admit(&limits, &ask(1)).limit_statuses.refusal.unwrap();
        assert_eq!(
            (refusal.limit_status.limit, refusal.limit_status.period),
            (3, std::time::Duration::from_secs(86_400))
        );
        clock.advance(refusal.limit_status.wait);
        assert!(passes(&limits, &ask(1)), "who waits as told passes");
    }

    #[test]
    fn a_limit_holds_for_the_models_of_its_globs() {
        let models = serde_json::from_str(r#"["gpt-4o*", "!gpt-4o-mini*"]"#).unwrap();
        let (limits, _) = limits(&[LimitSpec { models, ..LimitSpec::rpm(1) }], false);
        let of = |model| LimitRequest { model, ..ask(1) };
        assert!(passes(&limits, &of("gpt-4o")) && !passes(&limits, &of("gpt-4o-2024-08-06")));
        for _ in 0..5 {
            assert!(passes(&limits, &of("gpt-4o-mini")) && passes(&limits, &of("o3")));
        }
    }

    #[test]
    fn idle_buckets_are_forgotten_and_give_nothing_back() {
        let (limits, clock) = limits(&[LimitSpec::rpm(60)], false);
        for n in 0..100_000 {
            passes(&limits, &ask(n));
            if n % 10_000 == 9_999 {
                clock.advance(std::time::Duration::from_millis(1200));
                limits.forget_idle();
                assert_eq!(limits.buckets(), 0);
            }
        }
        assert_eq!((0..100).filter(|_| passes(&limits, &ask(1))).count(), 60);
        clock.advance(std::time::Duration::from_secs(59));
        limits.forget_idle();
        assert_eq!(limits.buckets(), 1);
        assert_eq!((0..100).filter(|_| passes(&limits, &ask(1))).count(), 59);
    }

    #[test]
    fn any_number_of_keys_takes_no_more_room_and_crowds_nobody_out() {
        let clock = ManualClock::new();
        let mut limits = Limits::new(vec![LimitSpec::rpm(2)], false, None, clock.clone().into()).unwrap();
        limits.list[0].table = Arc::new(Table::new(6400));
        let limits = Arc::new(limits);
        assert!(passes(&limits, &ask(0)) && passes(&limits, &ask(0)) && !passes(&limits, &ask(0)));
        let passed = (1..=100_000).filter(|n| passes(&limits, &ask(*n))).count();
        let shared = 64 * (100 / 32);
        assert!(limits.buckets() <= 6400 + shared, "{}", limits.buckets());
        assert!((6300..=6400 + 2 * shared).contains(&passed), "{passed}: each new key, and what the shared ones hold");
        assert!(!passes(&limits, &ask(0)), "its bucket was not forgotten before it was full");
        // What is full again makes room.
        clock.advance(std::time::Duration::from_secs(60));
        assert!((1..=3000).all(|n| passes(&limits, &ask(n + 1_000_000))));
    }
}
