//! Limits that several servers share: the buckets are in Redis, and one script call there decides on a request.

mod health;
mod pool;

use std::{
    fmt, io,
    str::FromStr,
    sync::{Arc, PoisonError},
    time::Duration,
};

use redis::{Client, IntoConnectionInfo, RedisError, Script, aio::MultiplexedConnection};
use serde::{Deserialize, Serialize, de::IntoDeserializer};
use sha2::{Digest, Sha256};
use smallvec::SmallVec;

use self::{health::Health, pool::Pool};
use super::{
    BucketLocation, Limit, LimitRequest, Limits, Reservation, ReservedAmount, ReservedAmounts, StoreUnreachable,
    request::BucketKeyPart, window::Algorithm,
};
use crate::core::{
    clock::Clock,
    limit_status::{LimitStatus, LimitStatuses},
};

/// The configuration of a shared store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoreSpec {
    /// `redis://[user:password@]host[:port][/database]`.
    pub url: String,
    /// The treatment of requests while the store does not respond.
    pub failure: FailurePolicy,
    /// Maximum time that a request waits for the store.
    pub timeout: Duration,
}

/// The treatment of requests while the shared store does not respond.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum FailurePolicy {
    /// Requests are admitted without a limit
    Open,
    /// Requests are refused with 503
    #[default]
    Closed,
}

impl FailurePolicy {
    /// Returns the treatment as the end of a sentence about requests.
    pub fn description(self) -> &'static str {
        match self {
            FailurePolicy::Open => "let through without a limit",
            FailurePolicy::Closed => "refused with 503",
        }
    }
}

impl FromStr for FailurePolicy {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        FailurePolicy::deserialize(text.into_deserializer()).map_err(|error: serde::de::value::Error| error.to_string())
    }
}

impl StoreSpec {
    /// Time that a request waits for the store, except in tests.
    pub const DEFAULT_TIMEOUT: Duration = Duration::from_millis(50);

    /// Checks the URL.
    ///
    /// # Errors
    /// The mistake and the right form.
    pub fn check(&self) -> Result<(), String> {
        let wrong = |error: RedisError| format!("{error}; write redis://host:6379, or redis://user:password@host/0");
        self.url.as_str().into_connection_info().map(drop).map_err(wrong)
    }

    /// Returns the address, without the password in the URL.
    pub fn address(&self) -> String {
        self.url.as_str().into_connection_info().map(|info| info.addr().to_string()).unwrap_or_default()
    }
}

/// A connection to the store, which is made as soon as the store can be reached.
pub(super) struct Store {
    pool: Pool,
    health: Health,
    timeout: Duration,
    admit: Script,
    correct: Arc<Script>,
    /// A clock that is moved by hand overrides the clock of the store, which all servers share otherwise.
    clock: Clock,
}

/// A bucket in the store, and the name of the slot that a request holds in it.
#[derive(Clone)]
pub(super) struct Lease {
    key: String,
    /// The member of the sorted set of slots; empty for other algorithms.
    name: String,
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
        Ok(Store {
            pool,
            health,
            timeout: spec.timeout,
            admit: Script::new(include_str!("store/admit.lua")),
            correct: Arc::new(Script::new(include_str!("store/correct.lua"))),
            clock: clock.clone(),
        })
    }

    /// Decides whether a request is admitted.
    pub(super) async fn decide(
        &self,
        limits: &Arc<Limits>,
        request: &LimitRequest<'_>,
        limit_statuses: &mut LimitStatuses,
    ) -> Result<Option<Reservation>, StoreUnreachable> {
        let mut requests: SmallVec<[StoreRequest<'_>; 2]> = SmallVec::new();
        for (number, limit) in limits.list.iter().enumerate().filter(|(_, limit)| limit.applies(request)) {
            let name =
                if matches!(limit.algorithm, Algorithm::Slots(_)) { self.pool.lease_name() } else { String::new() };
            requests.push(StoreRequest {
                number,
                limit,
                lease: Lease { key: key(limit, request), name },
                cost: limit.cost(request),
            });
        }
        if requests.is_empty() {
            return Ok(None);
        }
        // If this future is dropped before the store responds, the slots that the store may have given are released.
        let mut unconfirmed = UnconfirmedLeases { store: self, requests: &requests };
        let decisions = match self.call_script(&requests).await {
            Some(decisions) if decisions.len() == requests.len() => {
                unconfirmed.requests = &[];
                decisions
            }
            _ if self.health.admits_undecided() => return Ok(None),
            _ => return Err(StoreUnreachable),
        };
        drop(unconfirmed);
        let mut amounts = ReservedAmounts::new();
        let admitted = decisions.iter().all(|decision| decision.admitted);
        for (StoreRequest { number, limit, lease, cost }, decision) in requests.into_iter().zip(decisions) {
            let limit_status = LimitStatus {
                limit: limit.spec.quota.into(),
                remaining: decision.remaining,
                until_full: decision.until_full,
                wait: decision.wait,
                period: Duration::from_nanos(limit.spec.period.nanos()),
            };
            limit.report(decision.admitted, decision.too_large, limit_status, cost, limit_statuses);
            if admitted && limit.holds_reservation(limits.reconcile) {
                amounts.push(ReservedAmount {
                    number,
                    bucket: BucketLocation::Shared(lease),
                    opened: decision.opened,
                    reserved: cost,
                });
            }
        }
        limit_statuses.close();
        Ok(Reservation::new(limits, amounts))
    }

    async fn call_script(&self, requests: &[StoreRequest<'_>]) -> Option<Vec<StoreDecision>> {
        if !self.health.should_call() {
            return None;
        }
        let mut call = self.admit.prepare_invoke();
        call.arg(self.clock.manual_elapsed().map_or_else(String::new, |elapsed| elapsed.as_micros().to_string()));
        for StoreRequest { limit, lease, cost, .. } in requests {
            call.key(&lease.key);
            call.arg(algorithm(&limit.algorithm)).arg(limit.spec.quota).arg(limit.spec.max_at_once());
            call.arg(period(limit)).arg(*cost).arg(&lease.name);
        }
        let Some((slot, mut connection)) = self.pool.connection() else {
            self.health.failed("there is no connection");
            return None;
        };
        match tokio::time::timeout(self.timeout, call.invoke_async(&mut connection)).await {
            Ok(Ok(decisions)) => {
                self.health.answered();
                Some(decisions)
            }
            Ok(Err(error)) => {
                self.health.failed(&error);
                if error.is_unrecoverable_error() || error.is_connection_dropped() {
                    self.pool.reconnect(slot);
                }
                None
            }
            Err(_) => {
                // The peer may be gone without closing the connection.
                if self.health.failed(format_args!("it took longer than {:?}", self.timeout)) {
                    self.pool.reconnect(slot);
                }
                None
            }
        }
    }

    /// Releases the slot of a request, or reconciles its tokens, without waiting for the result.
    pub(super) fn correct(&self, limit: &Limit, lease: Lease, opened: u64, reserved: u32, spent: u32) {
        if let Some((_, connection)) = self.pool.connection() {
            self.send_correction(connection, limit, lease, opened, reserved, spent);
        }
    }

    /// Releases a slot on every connection: on the one that requested it, the release is sent after the request.
    fn release_unconfirmed(&self, limit: &Limit, lease: &Lease) {
        for connection in self.pool.connections() {
            self.send_correction(connection, limit, lease.clone(), 0, 1, 0);
        }
    }

    fn send_correction(
        &self,
        mut connection: MultiplexedConnection,
        limit: &Limit,
        lease: Lease,
        opened: u64,
        reserved: u32,
        spent: u32,
    ) {
        let (script, algorithm, period) = (Arc::clone(&self.correct), algorithm(&limit.algorithm), period(limit));
        self.pool.spawn(async move {
            let mut call = script.prepare_invoke();
            call.key(lease.key).arg(algorithm).arg(lease.name).arg(opened).arg(reserved).arg(spent).arg(period);
            // If it is lost, the reserved tokens stay charged, and the slot is free after ten minutes.
            let _ = call.invoke_async::<()>(&mut connection).await;
        });
    }
}

/// The decision that is requested of the store for one limit.
struct StoreRequest<'a> {
    number: usize,
    limit: &'a Limit,
    lease: Lease,
    cost: u32,
}

/// The slots that the store may have given to a request whose admission was not completed, because it took too long or
/// the client left. Dropped, it releases them; releasing a slot that was not given has no effect.
struct UnconfirmedLeases<'a> {
    store: &'a Store,
    requests: &'a [StoreRequest<'a>],
}

impl Drop for UnconfirmedLeases<'_> {
    fn drop(&mut self) {
        for StoreRequest { limit, lease, .. } in self.requests.iter().filter(|requests| !requests.lease.name.is_empty())
        {
            self.store.release_unconfirmed(limit, lease);
        }
    }
}

/// The decision of the store on one limit.
struct StoreDecision {
    admitted: bool,
    too_large: bool,
    remaining: u64,
    until_full: Duration,
    wait: Duration,
    opened: u64,
}

impl redis::FromRedisValue for StoreDecision {
    fn from_redis_value(value: redis::Value) -> Result<Self, redis::ParsingError> {
        let numbers = <Vec<i64>>::from_redis_value(value)?;
        let [admitted, too_large, remaining, until_full, wait, opened] = numbers[..] else {
            return Err("a decision has six numbers".into());
        };
        let number = |number: i64| u64::try_from(number).unwrap_or(0);
        Ok(StoreDecision {
            admitted: admitted == 1,
            too_large: too_large == 1,
            remaining: number(remaining),
            until_full: Duration::from_micros(number(until_full)),
            wait: Duration::from_micros(number(wait)),
            opened: number(opened),
        })
    }
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
    match limit.spec.period.nanos() {
        u64::MAX => 0,
        nanos => (nanos / 1000).max(1),
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
