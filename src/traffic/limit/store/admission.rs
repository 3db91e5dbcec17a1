//! One decision of the store, and its withdrawal if nobody waits for it any more.

use std::{
    future::Future,
    pin::Pin,
    sync::{Arc, LazyLock},
    time::Duration,
};

use redis::{RedisResult, Script};
use smallvec::SmallVec;
use tokio::time::timeout;

use super::{
    Lease, Store, algorithm,
    delivery::{lease_name, manual_micros},
    outbox::{Action, Change, LEASE, Reconciliation},
    period, reconciliation,
};
use crate::traffic::limit::{Limit, window::Algorithm};

/// Time for which a late decision is awaited, in order to withdraw it.
const LATE: Duration = Duration::from_secs(60);

static ADMIT: LazyLock<Script> = LazyLock::new(|| Script::new(include_str!("admit.lua")));

/// The decision that is requested of the store for one limit.
pub(super) struct StoreRequest<'a> {
    /// The index of the limit.
    pub(super) number: usize,
    pub(super) limit: &'a Limit,
    pub(super) lease: Lease,
    pub(super) cost: u32,
}

pub(super) type StoreRequests<'a> = SmallVec<[StoreRequest<'a>; 2]>;

type Call = Pin<Box<dyn Future<Output = RedisResult<Vec<StoreDecision>>> + Send>>;

/// The decision on one request. Dropped without one, because the store took too long or the client left, it withdraws
/// what the store has given or gives later.
pub(super) struct Admission<'a> {
    store: &'a Store,
    pub(super) requests: StoreRequests<'a>,
    /// The call whose outcome is unknown.
    call: Option<Call>,
}

impl<'a> Admission<'a> {
    pub(super) fn new(store: &'a Store, requests: StoreRequests<'a>) -> Self {
        Admission { store, requests, call: None }
    }

    /// Returns the decisions on all limits, or `None` if the store does not respond.
    pub(super) async fn decisions(&mut self) -> Option<Vec<StoreDecision>> {
        let store = self.store;
        let health = &store.health;
        if !health.should_call() {
            return None;
        }
        let mut script = ADMIT.prepare_invoke();
        script.arg(manual_micros(&store.clock)).arg(LEASE.as_micros() as u64);
        for StoreRequest { limit, lease, cost, .. } in &self.requests {
            let name = if uses_slots(limit) { lease_name(store.pool.server, lease.id) } else { String::new() };
            script.key(&*lease.key);
            script.arg(algorithm(&limit.algorithm)).arg(limit.spec.quota).arg(limit.spec.max_at_once());
            script.arg(period(limit)).arg(*cost).arg(name);
        }
        let Some((id, mut connection)) = store.pool.connections.get() else {
            health.failed("there is no connection");
            return None;
        };
        let call = self.call.insert(Box::pin(async move { script.invoke_async(&mut connection).await }));
        match timeout(store.timeout, call).await {
            Ok(Ok(decisions)) => {
                self.call = None;
                health.answered();
                Some(decisions)
            }
            Ok(Err(error)) => {
                // If the connection broke, the store may have decided nevertheless.
                self.call = None;
                self.cancel_leases();
                health.failed(&error);
                store.pool.connections.replace_if_broken(id, &error);
                None
            }
            Err(_) => {
                // The peer may be gone without closing the connection.
                if health.failed(format_args!("it took longer than {:?}", store.timeout)) {
                    store.pool.connections.replace(id);
                }
                None
            }
        }
    }

    /// Ends the leases that were requested, whether or not the store has given them.
    fn cancel_leases(&self) {
        for StoreRequest { lease, .. } in self.requests.iter().filter(|request| uses_slots(request.limit)) {
            self.store.outbox.push(Change { key: Arc::clone(&lease.key), action: Action::Cancel(lease.id) });
        }
    }

    /// Returns the refund of each charge, if the store has charged these windows.
    fn refunds(&self) -> impl FnOnce(Vec<StoreDecision>) -> Vec<Change> + Send + 'static {
        let charge = |StoreRequest { limit, lease, cost, .. }: &StoreRequest<'_>| {
            let refund = reconciliation(limit, 0, *cost, 0);
            (!uses_slots(limit)).then(|| (Arc::clone(&lease.key), refund))
        };
        let charges: Vec<_> = self.requests.iter().map(charge).collect();
        move |decisions| {
            let refund = |(charge, decision): (Option<_>, StoreDecision)| {
                let (key, refund) = charge?;
                let action = Action::Reconcile(Reconciliation { window: decision.window, ..refund });
                Some(Change { key, action })
            };
            charges.into_iter().zip(decisions).filter_map(refund).collect()
        }
    }
}

impl Drop for Admission<'_> {
    fn drop(&mut self) {
        let Some(call) = self.call.take() else { return };
        self.cancel_leases();
        let (outbox, refunds) = (Arc::clone(&self.store.outbox), self.refunds());
        // The call keeps its connection, even if requests use another one by now.
        self.store.pool.spawn(async move {
            let Ok(Ok(decisions)) = timeout(LATE, call).await else { return };
            if !decisions.iter().all(|decision| decision.admitted) {
                return;
            }
            refunds(decisions).into_iter().for_each(|refund| outbox.push(refund));
        });
    }
}

pub(super) fn uses_slots(limit: &Limit) -> bool {
    matches!(limit.algorithm, Algorithm::Slots(_))
}

/// The decision of the store on one limit.
pub(super) struct StoreDecision {
    pub(super) admitted: bool,
    pub(super) too_large: bool,
    pub(super) remaining: u64,
    pub(super) until_full: Duration,
    pub(super) wait: Duration,
    /// The name of the charged window.
    pub(super) window: u64,
}

impl redis::FromRedisValue for StoreDecision {
    fn from_redis_value(value: redis::Value) -> Result<Self, redis::ParsingError> {
        let numbers = <Vec<i64>>::from_redis_value(value)?;
        let [admitted, too_large, remaining, until_full, wait, window] = numbers[..] else {
            return Err("a decision has six numbers".into());
        };
        let number = |number: i64| u64::try_from(number).unwrap_or(0);
        Ok(StoreDecision {
            admitted: admitted == 1,
            too_large: too_large == 1,
            remaining: number(remaining),
            until_full: Duration::from_micros(number(until_full)),
            wait: Duration::from_micros(number(wait)),
            window: number(window),
        })
    }
}
