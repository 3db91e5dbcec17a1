//! Limits that several servers share: the buckets are in Redis, and one script call there decides on a request.
//!
//! Slots and tokens that a request gives back wait in an [`Outbox`] until the store confirms them. A slot is a
//! lease of seconds, which is renewed while the response runs: a server that is killed holds it no longer.

mod admission;
mod delivery;
mod health;
mod outbox;
mod pool;
mod spec;

use std::{
    fmt, io,
    sync::{
        Arc, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use redis::Client;
use sha2::{Digest, Sha256};

pub use self::spec::{FailurePolicy, StoreSpec};
use self::{
    admission::{Admission, StoreRequest, StoreRequests, uses_slots},
    delivery::Delivery,
    health::Health,
    outbox::{Action, Change, LeaseId, Outbox, Reconciliation},
    pool::Pool,
};
use super::{
    BucketLocation, Limit, LimitDecision, LimitRequest, Limits, Period, Reservation, ReservedAmount, ReservedAmounts,
    StoreUnreachable, request::BucketKeyPart, window::Algorithm,
};
use crate::core::{
    clock::Clock,
    limit_status::{LimitStatus, LimitStatuses},
};

/// Maximum time that a stopping server waits for the store to confirm what it gives back.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(1);

/// The store, to which connections are made as soon as it can be reached.
pub(super) struct Store {
    pool: Pool,
    health: Health,
    timeout: Duration,
    outbox: Arc<Outbox>,
    lease_count: AtomicU64,
    /// A clock that is moved by hand overrides the clock of the store, which all servers share otherwise.
    clock: Clock,
}

/// A bucket in the store, and the number of the slot that a request holds in it.
pub(super) struct Lease {
    key: Arc<str>,
    /// Without meaning for other algorithms than slots.
    id: LeaseId,
}

impl Store {
    /// Starts to connect.
    pub(super) fn open(spec: &StoreSpec, clock: &Clock) -> io::Result<Self> {
        let client = Client::open(spec.url.as_str()).map_err(io::Error::other)?;
        let (pool, connected) = Pool::open(client)?;
        let health = Health::new(spec);
        if !connected {
            health.failed("it has not been reached yet");
        }
        let delivery = Delivery::new(spec, &pool.connections, clock, pool.server);
        let outbox = Arc::clone(&delivery.outbox);
        pool.spawn(delivery.run());
        let lease_count = AtomicU64::new(0);
        Ok(Store { pool, health, timeout: spec.timeout, outbox, lease_count, clock: clock.clone() })
    }

    /// Decides whether a request is admitted.
    pub(super) async fn decide(
        &self,
        limits: &Arc<Limits>,
        request: &LimitRequest<'_>,
    ) -> Result<LimitDecision, StoreUnreachable> {
        let mut requests = StoreRequests::new();
        for (number, limit) in limits.list.iter().enumerate().filter(|(_, limit)| limit.applies(request)) {
            let id = if uses_slots(limit) { self.lease_count.fetch_add(1, Ordering::Relaxed) } else { 0 };
            let lease = Lease { key: key(limit, request).into(), id };
            requests.push(StoreRequest { number, limit, lease, cost: limit.cost(request) });
        }
        if requests.is_empty() {
            return Ok(LimitDecision::default());
        }
        let mut admission = Admission::new(self, requests);
        let decisions = match admission.decisions().await {
            Some(decisions) => decisions,
            None if self.health.admits_undecided() => return Ok(LimitDecision::default()),
            None => return Err(StoreUnreachable),
        };
        let (mut limit_statuses, mut amounts) = (LimitStatuses::default(), ReservedAmounts::new());
        let admitted = decisions.iter().all(|decision| decision.admitted);
        for (StoreRequest { number, limit, lease, cost }, decision) in admission.requests.drain(..).zip(decisions) {
            let limit_status = LimitStatus {
                limit: limit.spec.quota.into(),
                remaining: decision.remaining,
                until_full: decision.until_full,
                wait: decision.wait,
                period: Duration::from_nanos(limit.spec.period.nanos()),
            };
            limit.count(request, admitted, decision.admitted);
            limit.report(decision.admitted, decision.too_large, limit_status, cost, &mut limit_statuses);
            if admitted && limit.holds_reservation(limits.reconcile) {
                if uses_slots(limit) {
                    self.outbox.hold(lease.id, Arc::clone(&lease.key), self.clock.elapsed());
                }
                amounts.push(ReservedAmount {
                    number,
                    bucket: BucketLocation::Shared(lease),
                    opened: decision.window,
                    reserved: cost,
                });
            }
        }
        limit_statuses.close();
        Ok(LimitDecision { limit_statuses, reservation: Reservation::new(limits, amounts) })
    }

    /// Releases the slot of a request, or reconciles its tokens, without waiting for the result.
    pub(super) fn correct(&self, limit: &Limit, lease: Lease, window: u64, reserved: u32, spent: u32) {
        if uses_slots(limit) {
            self.outbox.release(lease.id);
        } else {
            let action = Action::Reconcile(reconciliation(limit, window, reserved, spent));
            self.outbox.push(Change { key: lease.key, action });
        }
    }

    /// Releases every slot that this server still holds, and waits until the store has everything, but not for long.
    pub(super) async fn close(&self) {
        self.outbox.release_all();
        // A store that does not respond frees the slots itself when their leases end.
        let _ = tokio::time::timeout(CLOSE_TIMEOUT, self.outbox.emptied()).await;
    }
}

fn reconciliation(limit: &Limit, window: u64, reserved: u32, spent: u32) -> Reconciliation {
    Reconciliation { algorithm: algorithm(&limit.algorithm), window, reserved, spent, period: period(limit) }
}

fn algorithm(algorithm: &Algorithm) -> &'static str {
    match algorithm {
        Algorithm::Gcra(_) => "gcra",
        Algorithm::Fixed(_) => "fixed",
        Algorithm::Sliding(_) => "sliding",
        Algorithm::Slots(_) => "slots",
    }
}

/// Returns the period in microseconds; 0 never ends.
fn period(limit: &Limit) -> u64 {
    match limit.spec.period {
        Period::Never => 0,
        period @ Period::Every(_) => (period.nanos() / 1000).max(1),
    }
}

/// Returns the name of a bucket. It is the same on every server with this limit. It is a hash, so that API keys cannot
/// be read from the store.
fn key(limit: &Limit, request: &LimitRequest<'_>) -> String {
    let mut hash = Sha256::new();
    let mut put = |tag: u8, bytes: &[u8]| {
        hash.update([tag]);
        hash.update((bytes.len() as u64).to_le_bytes());
        hash.update(bytes);
    };
    put(0, limit.id.as_bytes());
    for part in request.parts(&limit.spec.per) {
        match part {
            BucketKeyPart::Address(address) => put(1, address.to_string().as_bytes()),
            BucketKeyPart::Key(key) => put(2, key.as_bytes()),
            BucketKeyPart::Model(model) => put(3, model.as_bytes()),
            BucketKeyPart::Path(path) => put(4, path.as_bytes()),
            BucketKeyPart::Global => put(5, b""),
            // A reset on one server must not separate it from the others.
            BucketKeyPart::Scope("", _) => {}
            BucketKeyPart::Scope(name, _) => put(6, name.as_bytes()),
        }
    }
    let mut key = format!("fake-openai:{}:", algorithm(&limit.algorithm));
    for byte in &hash.finalize()[..16] {
        let _ = fmt::Write::write_fmt(&mut key, format_args!("{byte:02x}"));
    }
    key
}

/// Ignores the poisoning of a lock that guards one value: a panic cannot leave it half-changed.
fn unpoisoned<T>(result: Result<T, PoisonError<T>>) -> T {
    result.unwrap_or_else(PoisonError::into_inner)
}
