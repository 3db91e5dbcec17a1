//! Limits that several machines share: every bucket is kept in Redis, and one call there decides over a request.

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
    Bucket, Limit, LimitRequest, Limits, Reservation, ReservedAmount, ReservedAmounts, StoreUnreachable, request::Part,
    window::Meter,
};
use crate::core::{
    clock::Clock,
    limit_status::{LimitStatus, LimitStatuses},
};

/// Where limits are kept that several servers share.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoreSpec {
    /// `redis://[user:password@]host[:port][/database]`.
    pub url: String,
    /// What happens to requests while it does not answer.
    pub failure: FailurePolicy,
    /// A request waits so long for it, and no longer.
    pub timeout: Duration,
}

/// What happens to requests while the shared store does not answer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum FailurePolicy {
    /// They pass, without a limit
    Open,
    /// They are refused, with 503
    #[default]
    Closed,
}

impl FailurePolicy {
    /// What becomes of requests, as a sentence tells it.
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
    /// How long a request waits for the store unless a test says otherwise.
    pub const DEFAULT_TIMEOUT: Duration = Duration::from_millis(50);

    /// Sees to it that the URL is one.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn check(&self) -> Result<(), String> {
        let wrong = |error: RedisError| format!("{error}: write redis://host:6379, or redis://user:password@host/0");
        self.url.as_str().into_connection_info().map(drop).map_err(wrong)
    }

    /// Its address, without what is secret in the URL.
    pub fn address(&self) -> String {
        self.url.as_str().into_connection_info().map(|info| info.addr().to_string()).unwrap_or_default()
    }
}

/// A store that is open, or will be once it can be reached.
pub(super) struct Store {
    pool: Pool,
    health: Health,
    timeout: Duration,
    admit: Script,
    correct: Arc<Script>,
    /// Moved by hand, it rules here too; else the store's own clock does, which all servers share.
    clock: Clock,
}

/// What a request holds in the store.
#[derive(Clone)]
pub(super) struct Lease {
    key: String,
    name: String,
}

impl Store {
    /// Begins to connect.
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

    /// Decides over one request.
    pub(super) async fn decide(
        &self,
        limits: &Arc<Limits>,
        ask: &LimitRequest<'_>,
        limit_statuses: &mut LimitStatuses,
    ) -> Result<Option<Reservation>, StoreUnreachable> {
        let mut asked: SmallVec<[StoreRequest<'_>; 2]> = SmallVec::new();
        for (number, limit) in limits.list.iter().enumerate().filter(|(_, limit)| limit.applies(ask)) {
            let name = if matches!(limit.meter, Meter::Slots(_)) { self.pool.name() } else { String::new() };
            asked.push(StoreRequest {
                number,
                limit,
                lease: Lease { key: key(limit, ask), name },
                cost: limit.cost(ask),
            });
        }
        if asked.is_empty() {
            return Ok(None);
        }
        // Should nobody wait for the answer to its end, what the store then holds for this request is given back.
        let mut places = Places { store: self, asked: &asked };
        let verdicts = match self.ask(&asked).await {
            Some(verdicts) if verdicts.len() == asked.len() => {
                places.asked = &[];
                verdicts
            }
            _ if self.health.lets_pass() => return Ok(None),
            _ => return Err(StoreUnreachable),
        };
        drop(places);
        let mut charges = ReservedAmounts::new();
        let admitted = verdicts.iter().all(|verdict| verdict.admitted);
        for (StoreRequest { number, limit, lease, cost }, verdict) in asked.into_iter().zip(verdicts) {
            let limit_status = LimitStatus {
                limit: limit.spec.quota.into(),
                remaining: verdict.remaining,
                until_full: verdict.until_full,
                wait: verdict.wait,
                period: Duration::from_nanos(limit.spec.period.nanos()),
            };
            limit.tell(verdict.admitted, verdict.too_large, limit_status, cost, limit_statuses);
            if admitted && limit.is_held(limits.settle) {
                charges.push(ReservedAmount {
                    number,
                    bucket: Bucket::There(lease),
                    opened: verdict.opened,
                    reserved: cost,
                });
            }
        }
        limit_statuses.close();
        Ok(Reservation::new(limits, charges))
    }

    async fn ask(&self, asked: &[StoreRequest<'_>]) -> Option<Vec<Verdict>> {
        if !self.health.may_be_asked() {
            return None;
        }
        let mut call = self.admit.prepare_invoke();
        call.arg(self.clock.moved_by_hand().map_or_else(String::new, |elapsed| elapsed.as_micros().to_string()));
        for StoreRequest { limit, lease, cost, .. } in asked {
            call.key(&lease.key);
            call.arg(algorithm(&limit.meter)).arg(limit.spec.quota).arg(limit.spec.most());
            call.arg(period(limit)).arg(*cost).arg(&lease.name);
        }
        let Some((slot, mut connection)) = self.pool.connection() else {
            self.health.failed("there is no connection");
            return None;
        };
        match tokio::time::timeout(self.timeout, call.invoke_async(&mut connection)).await {
            Ok(Ok(verdicts)) => {
                self.health.answered();
                Some(verdicts)
            }
            Ok(Err(error)) => {
                self.health.failed(&error);
                if error.is_unrecoverable_error() || error.is_connection_dropped() {
                    self.pool.is_broken(slot);
                }
                None
            }
            Err(_) => {
                // It may be that nobody is there any more to say so.
                if self.health.failed(format_args!("it took longer than {:?}", self.timeout)) {
                    self.pool.is_broken(slot);
                }
                None
            }
        }
    }

    /// Gives back what a request held, or settles what it had booked. Nobody waits for it.
    pub(super) fn correct(&self, limit: &Limit, lease: Lease, opened: u64, reserved: u32, spent: u32) {
        if let Some((_, connection)) = self.pool.connection() {
            self.send_correction(connection, limit, lease, opened, reserved, spent);
        }
    }

    /// Gives a place back on every connection: whichever has asked for it, there the asking comes first.
    fn abandon(&self, limit: &Limit, lease: &Lease) {
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
        let (script, algorithm, period) = (Arc::clone(&self.correct), algorithm(&limit.meter), period(limit));
        self.pool.spawn(async move {
            let mut call = script.prepare_invoke();
            call.key(lease.key).arg(algorithm).arg(lease.name).arg(opened).arg(reserved).arg(spent).arg(period);
            // Lost, it is as if the answer had been as long as was booked, and a place is free again in ten minutes.
            let _ = call.invoke_async::<()>(&mut connection).await;
        });
    }
}

/// A limit that the store is asked about.
struct StoreRequest<'a> {
    number: usize,
    limit: &'a Limit,
    lease: Lease,
    cost: u32,
}

/// Places in flight that the store may have given to a request whose admission came to nothing: it took too long, or the
/// client has left. Dropped, it gives them back; one that was not given is none.
struct Places<'a> {
    store: &'a Store,
    asked: &'a [StoreRequest<'a>],
}

impl Drop for Places<'_> {
    fn drop(&mut self) {
        for StoreRequest { limit, lease, .. } in self.asked.iter().filter(|asked| !asked.lease.name.is_empty()) {
            self.store.abandon(limit, lease);
        }
    }
}

/// What the store says of one limit.
struct Verdict {
    admitted: bool,
    too_large: bool,
    remaining: u64,
    until_full: Duration,
    wait: Duration,
    opened: u64,
}

impl redis::FromRedisValue for Verdict {
    fn from_redis_value(value: redis::Value) -> Result<Self, redis::ParsingError> {
        let numbers = <Vec<i64>>::from_redis_value(value)?;
        let [admitted, too_large, remaining, until_full, wait, opened] = numbers[..] else {
            return Err("a limit's verdict has six numbers".into());
        };
        let number = |number: i64| u64::try_from(number).unwrap_or(0);
        Ok(Verdict {
            admitted: admitted == 1,
            too_large: too_large == 1,
            remaining: number(remaining),
            until_full: Duration::from_micros(number(until_full)),
            wait: Duration::from_micros(number(wait)),
            opened: number(opened),
        })
    }
}

fn algorithm(meter: &Meter) -> &'static str {
    match meter {
        Meter::Gcra(_) => "gcra",
        Meter::Fixed(_) => "fixed",
        Meter::Sliding(_) => "sliding",
        Meter::Slots(_) => "slots",
    }
}

/// In microseconds; 0 is for ever.
fn period(limit: &Limit) -> u64 {
    match limit.spec.period.nanos() {
        u64::MAX => 0,
        nanos => (nanos / 1000).max(1),
    }
}

/// The name of a bucket: the same on every server that has this limit, and no way back to the key that a client sent.
fn key(limit: &Limit, ask: &LimitRequest<'_>) -> String {
    let mut hash = Sha256::new();
    let mut put = |tag: u8, bytes: &[u8]| {
        hash.update([tag]);
        hash.update((bytes.len() as u64).to_le_bytes());
        hash.update(bytes);
    };
    put(0, limit.name.as_bytes());
    for part in ask.parts(&limit.spec.per) {
        match part {
            Part::Address(address) => put(1, address.to_string().as_bytes()),
            Part::Key(key) => put(2, key.as_bytes()),
            Part::Model(model) => put(3, model.as_bytes()),
            Part::Path(path) => put(4, path.as_bytes()),
            Part::Global => put(5, b""),
        }
    }
    let mut key = format!("fake-openai:{}:", algorithm(&limit.meter));
    for byte in &hash.finalize()[..16] {
        let _ = fmt::Write::write_fmt(&mut key, format_args!("{byte:02x}"));
    }
    key
}

/// A lock that guards one value is as good as new after a panic elsewhere.
fn unpoisoned<T>(result: Result<T, PoisonError<T>>) -> T {
    result.unwrap_or_else(PoisonError::into_inner)
}
