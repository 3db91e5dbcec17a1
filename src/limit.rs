//! The limits: how much a client may ask for, and where it stands after each decision.
//!
//! Any number of limits may apply to a request. They are decided together: all of them are charged, or none is, but for a
//! fixed window that counts what it refuses.

mod spec;
mod store;
mod table;
mod tests;
mod window;

use std::{
    hash::{BuildHasher, Hash, RandomState},
    net::IpAddr,
    num::NonZeroU32,
    sync::{Arc, MutexGuard},
};

use smallvec::SmallVec;

pub use self::{
    spec::{Dimension, LimitSpec, Models, Period},
    store::{Failure, StoreSpec},
    window::Window,
};
use self::{
    store::Store,
    table::{Shard, Table},
    window::{Meter, Quota, Verdict},
};
use crate::{
    clock::Clock,
    standing::{Cost, Reason, Refusal, Standing, Standings, Unit},
};

/// What limits ask of a request.
#[derive(Clone, Copy, Debug)]
pub struct Ask<'a> {
    /// The client's address.
    pub ip: IpAddr,
    /// The key that came with it; wanted only if [`Limits::ask_key`].
    pub key: Option<&'a str>,
    /// The model asked for; wanted only if [`Limits::ask_model`].
    pub model: &'a str,
    /// The deployment in the path, if there is one.
    pub deployment: Option<&'a str>,
    /// The path.
    pub path: &'a str,
    /// What it is booked with; wanted only if [`Limits::ask_cost`].
    pub cost: Cost,
}

/// What limits say to a request.
pub struct Admission {
    /// Where the client stands, and whether it is refused.
    pub standings: Standings,
    /// What is to be given back, or corrected, when the answer has ended. To be kept until then.
    pub hold: Option<Hold>,
}

/// The shared store was not to be asked, and whoever started the server would rather refuse than admit too much.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unreachable;

/// All limits of a server.
pub struct Limits {
    list: Vec<Limit>,
    /// Where the buckets are kept, if not here.
    store: Option<Store>,
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
    table: Table,
}

impl Limits {
    /// Limits that begin now, kept in this process or in a store that several share.
    ///
    /// # Errors
    /// The system has no thread left for the store.
    pub fn new(specs: Vec<LimitSpec>, settle: bool, store: Option<&StoreSpec>, clock: Clock) -> std::io::Result<Self> {
        let by_model = |dimension: &Dimension| matches!(dimension, Dimension::Model | Dimension::Deployment);
        let ask_model = specs.iter().any(|spec| !spec.models.is_any() || spec.per.iter().any(by_model));
        let ask_key = specs.iter().any(|spec| spec.per.contains(&Dimension::Key));
        let ask_cost = specs.iter().any(|spec| spec.unit.kind() == "tokens");
        let list = specs.into_iter().map(|spec| Limit::new(spec, &clock)).collect();
        let store = store.map(|spec| Store::open(spec, &clock)).transpose()?;
        Ok(Limits { list, store, ask_key, ask_model, ask_cost, settle, hasher: RandomState::new(), clock })
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

    /// Decides over one request, and charges it to every limit that applies if all of them let it pass.
    ///
    /// # Errors
    /// [`Unreachable`]: the limits are in a store, which did not answer.
    pub async fn admit(self: &Arc<Self>, ask: &Ask<'_>) -> Result<Admission, Unreachable> {
        match &self.store {
            None => Ok(self.decide(ask)),
            Some(store) => store.decide(self, ask).await,
        }
    }

    fn decide(self: &Arc<Self>, ask: &Ask<'_>) -> Admission {
        let now = self.now();
        // Locks are taken in the order of the list, so that no two decisions wait for each other.
        let mut held: SmallVec<[Held<'_>; 2]> = SmallVec::new();
        for (number, limit) in self.list.iter().enumerate().filter(|(_, limit)| limit.applies(ask)) {
            let key = self.hasher.hash_one(limit.parts(ask));
            let mut shard = limit.table.shard(key);
            let place = shard.place(key, now);
            let cost = limit.cost(ask);
            let verdict = limit.meter.decide(shard.state(place), now, cost);
            held.push(Held { number, limit, key, shard, place, cost, verdict });
        }
        let admitted = held.iter().all(|held| held.verdict.admitted);
        let (mut standings, mut charges) = (Standings::default(), Charges::new());
        for Held { number, limit, key, shard, place, cost, verdict } in &mut held {
            if admitted || !verdict.admitted {
                shard.set(*place, verdict.after, verdict.idle_at);
            } else {
                // Nothing is charged: told is where the client stands without this request.
                *verdict = limit.meter.decide(shard.state(*place), now, 0);
            }
            limit.tell(verdict.admitted, verdict.too_large, verdict.standing, *cost, &mut standings);
            if admitted && limit.is_held(self.settle) {
                let bucket = Bucket::Here { key: *key, place: *place };
                charges.push(Charge { number: *number, bucket, opened: verdict.after.at, booked: *cost });
            }
        }
        standings.close();
        Admission { standings, hold: Hold::new(self, charges) }
    }

    /// The time, in nanoseconds since the clock began.
    fn now(&self) -> u64 {
        u64::try_from(self.clock.elapsed().as_nanos()).unwrap_or(u64::MAX)
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
    fn new(spec: LimitSpec, clock: &Clock) -> Self {
        let quota = Quota { limit: spec.quota, period: spec.period.nanos() };
        let burst = NonZeroU32::new(spec.most()).unwrap_or(NonZeroU32::MIN);
        let meter = Meter::new(spec.unit, spec.window, quota, burst, clock.clone());
        let name = serde_json::to_string(&spec).unwrap_or_default();
        Limit { spec, name, meter, table: Table::new(table::MOST) }
    }

    fn applies(&self, ask: &Ask<'_>) -> bool {
        self.spec.models.is_any() || self.spec.models.contain(ask.model)
    }

    /// What a request takes of it.
    fn cost(&self, ask: &Ask<'_>) -> u32 {
        match self.spec.unit {
            Unit::Requests | Unit::InFlight => 1,
            unit => tokens(unit, ask.cost),
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

    /// What tells a bucket of its own from the others.
    fn parts<'a>(&self, ask: &Ask<'a>) -> SmallVec<[Part<'a>; 3]> {
        let part = |dimension: &Dimension| match (dimension, ask.key) {
            (Dimension::Ip, _) | (Dimension::Key, None) => Part::Address(ask.ip),
            (Dimension::Key, Some(key)) => Part::Key(key),
            (Dimension::Model, _) => Part::Model(ask.model),
            (Dimension::Deployment, _) => Part::Model(ask.deployment.unwrap_or(ask.model)),
            (Dimension::Endpoint, _) => Part::Path(ask.path),
            (Dimension::Global, _) => Part::Global,
        };
        self.spec.per.iter().map(part).collect()
    }

    /// Writes down what it said. Of several that refuse, the one that takes longest holds, so that who waits as told
    /// passes.
    fn tell(&self, admitted: bool, too_large: bool, standing: Standing, cost: u32, standings: &mut Standings) {
        let reason = match () {
            () if self.spec.silent => Reason::Silent,
            () if self.spec.period == Period::NEVER => Reason::Spent,
            () if too_large => Reason::TooLarge,
            () => Reason::RanOut,
        };
        // What never fits at once is measured by that.
        let limit = if reason == Reason::TooLarge { self.spec.most().into() } else { standing.limit };
        let refusal =
            Refusal { standing: Standing { limit, ..standing }, unit: self.spec.unit, requested: cost.into(), reason };
        if !admitted && standings.refusal.is_none_or(|known| refusal.is_longer_than(&known)) {
            standings.refusal = Some(refusal);
        }
        let told = !self.spec.silent && self.spec.period != Period::NEVER;
        if let Some(known) = standings.of(self.spec.unit).filter(|_| told)
            && known.is_none_or(|known| standing.is_slower_than(&known))
        {
            *known = Some(standing);
        }
    }
}

fn tokens(unit: Unit, cost: Cost) -> u32 {
    let tokens = match unit {
        Unit::InputTokens => cost.input,
        Unit::OutputTokens => cost.output,
        _ => cost.input.saturating_add(cost.output),
    };
    u32::try_from(tokens).unwrap_or(u32::MAX)
}

/// One part of what a bucket is for.
#[derive(Clone, Copy, Hash)]
enum Part<'a> {
    Address(IpAddr),
    Key(&'a str),
    Model(&'a str),
    Path(&'a str),
    Global,
}

/// What was charged to one limit, and is to be given back or corrected.
struct Charge {
    number: usize,
    bucket: Bucket,
    /// When the window opened that was charged.
    opened: u64,
    booked: u32,
}

type Charges = SmallVec<[Charge; 1]>;

/// Where a bucket is kept.
enum Bucket {
    Here { key: u64, place: u64 },
    There(store::Lease),
}

/// What a request holds of its limits until its answer has ended: a place among those in flight, and tokens that are
/// booked. Dropped, it gives the place back and settles the tokens.
pub struct Hold {
    limits: Arc<Limits>,
    charges: Charges,
    spent: Option<Cost>,
}

impl Hold {
    fn new(limits: &Arc<Limits>, charges: Charges) -> Option<Hold> {
        (!charges.is_empty()).then(|| Hold { limits: Arc::clone(limits), charges, spent: None })
    }

    /// Tells what the request has cost in truth; without it, what was booked stays.
    pub fn settle(&mut self, spent: Cost) {
        self.spent = Some(spent);
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        let now = self.limits.now();
        for Charge { number, bucket, opened, booked } in self.charges.drain(..) {
            let limit = &self.limits.list[number];
            let spent = match (limit.spec.unit, self.spent) {
                (Unit::InFlight, _) => 0,
                (unit, Some(spent)) => tokens(unit, spent),
                (_, None) => continue,
            };
            match bucket {
                Bucket::Here { key, place } => {
                    let mut shard = limit.table.shard(key);
                    let verdict = limit.meter.correct(shard.state(place), now, opened, booked, spent);
                    shard.set(place, verdict.after, verdict.idle_at);
                }
                Bucket::There(lease) => {
                    if let Some(store) = &self.limits.store {
                        store.correct(limit, lease, opened, booked, spent);
                    }
                }
            }
        }
    }
}
