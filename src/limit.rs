//! The limiter: how many requests a client may make, and where it stands after each.
//!
//! It is governor's GCRA, which is the arithmetic that OpenAI's own headers follow: a bucket of N requests, full at
//! first, refilled evenly at N a minute. Governor tells whether a request passes; what the headers need besides (the
//! time until the bucket is full, exact) its own store keeps.

use std::{
    cell::Cell,
    collections::HashMap,
    hash::{BuildHasher, Hash, Hasher, RandomState},
    net::IpAddr,
    num::NonZeroU32,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use governor::{
    Quota, RateLimiter, clock,
    middleware::NoOpMiddleware,
    nanos::Nanos,
    state::{StateStore, keyed::ShrinkableKeyedStateStore},
};

use crate::{clock::Clock, standing::Standing};

impl clock::Clock for Clock {
    type Instant = Duration;

    fn now(&self) -> Duration {
        self.elapsed()
    }
}

/// A limit on the requests per minute of each client address.
pub struct Limit {
    limiter: RateLimiter<Ticket, Buckets, Clock, NoOpMiddleware<Duration>>,
    quota: NonZeroU32,
    /// Time in which one request is refilled, in nanoseconds, as governor rounds it.
    interval: u64,
}

impl Limit {
    /// Admits `quota` requests at once and `quota` a minute thereafter, to each client.
    pub fn per_minute(quota: NonZeroU32, clock: Clock) -> Self {
        let per_minute = Quota::per_minute(quota);
        let interval = Nanos::from(per_minute.replenish_interval()).as_u64().max(1);
        Limit { limiter: RateLimiter::new(per_minute, Buckets::new(), clock), quota, interval }
    }

    /// Decides over one request of `client`, and charges it if it passes.
    pub fn admit(&self, client: IpAddr) -> Standing {
        let ticket = Ticket { client, now: Cell::new(0), full_at: Cell::new(0) };
        let admitted = self.limiter.check_key(&ticket).is_ok();
        // `now` was stamped one interval ahead: see `Buckets::measure_and_replace`.
        let now = ticket.now.get() - self.interval;
        let missing = ticket.full_at.get().saturating_sub(now);
        let bucket = self.interval * u64::from(self.quota.get());
        let remaining = bucket.saturating_sub(missing) / self.interval;
        let wait = if remaining > 0 { 0 } else { (missing + self.interval).saturating_sub(bucket) };
        Standing {
            admitted,
            limit: self.quota.get(),
            remaining: u32::try_from(remaining).unwrap_or(u32::MAX),
            until_full: Duration::from_nanos(missing),
            wait: Duration::from_nanos(wait),
        }
    }

    /// Forgets every client whose bucket has been full for an interval: nothing tells it from one never seen.
    pub fn forget_idle(&self) {
        self.limiter.retain_recent();
    }

    /// How many clients are remembered.
    pub fn clients(&self) -> usize {
        self.limiter.len()
    }
}

/// The key that governor passes to the store, and the store stamps with what the decision was made from: governor
/// itself tells the remaining requests in whole numbers only, and not the time that it took.
#[derive(Clone)]
struct Ticket {
    client: IpAddr,
    /// The time of the decision plus one interval, in nanoseconds since the limiter began.
    now: Cell<u64>,
    /// When the bucket is full again, on the same scale.
    full_at: Cell<u64>,
}

impl PartialEq for Ticket {
    fn eq(&self, other: &Self) -> bool {
        self.client == other.client
    }
}

impl Eq for Ticket {}

impl Hash for Ticket {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.client.hash(state);
    }
}

/// Each client's bucket, as the time when it is full again (GCRA's theoretical arrival time). A client without an entry
/// has a full bucket. Sharded so that workers rarely meet on one lock; it is held for the arithmetic of one decision.
struct Buckets {
    hasher: RandomState,
    shards: Box<[Mutex<HashMap<IpAddr, Nanos>>]>,
}

const SHARDS: usize = 64;

impl Buckets {
    fn new() -> Self {
        Buckets { hasher: RandomState::new(), shards: (0..SHARDS).map(|_| Mutex::default()).collect() }
    }
}

/// A decision cannot leave a shard half-changed, so a lock poisoned by a panic elsewhere is as good as new.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl StateStore for Buckets {
    type Key = Ticket;

    fn measure_and_replace<T, F, E>(&self, ticket: &Ticket, decide: F) -> Result<T, E>
    where
        F: Fn(Option<Nanos>) -> Result<(T, Nanos), E>,
    {
        // Asked about a client never seen, the decision answers "full again one interval from now": so it tells its now.
        if let Ok((_, next)) = decide(None) {
            ticket.now.set(next.as_u64());
        }
        let shard = self.hasher.hash_one(ticket.client) as usize % SHARDS;
        let mut clients = lock(&self.shards[shard]);
        let before = clients.get(&ticket.client).copied();
        ticket.full_at.set(before.map_or(0, Nanos::as_u64));
        let (outcome, after) = decide(before)?;
        clients.insert(ticket.client, after);
        ticket.full_at.set(after.as_u64());
        Ok(outcome)
    }
}

impl ShrinkableKeyedStateStore<Ticket> for Buckets {
    fn retain_recent(&self, drop_below: Nanos) {
        for shard in &self.shards {
            let mut clients = lock(shard);
            clients.retain(|_, full_at| *full_at > drop_below);
            if clients.capacity() > 4 * clients.len() + 64 {
                clients.shrink_to_fit();
            }
        }
    }

    fn len(&self) -> usize {
        self.shards.iter().map(|shard| lock(shard).len()).sum()
    }

    fn is_empty(&self) -> bool {
        self.shards.iter().all(|shard| lock(shard).is_empty())
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use proptest::prelude::*;

    use super::*;
    use crate::clock::ManualClock;

    const ONE: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 0, 0, 1));
    const TWO: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 0, 0, 2));

    fn limit(quota: u32) -> (Limit, ManualClock) {
        let clock = ManualClock::new();
        (Limit::per_minute(NonZeroU32::new(quota).unwrap(), clock.clone().into()), clock)
    }

    #[test]
    fn n_pass_and_the_next_does_not_for_each_client() {
        let (limit, clock) = limit(100);
        for client in [ONE, TWO] {
            for n in 1..=100 {
                let standing = limit.admit(client);
                assert!(standing.admitted);
                assert_eq!(standing.remaining, 100 - n);
            }
            let refused = limit.admit(client);
            assert!(!refused.admitted);
            assert_eq!((refused.remaining, refused.used()), (0, 100));
            assert_eq!(refused.wait, Duration::from_millis(600));
            assert_eq!(refused.until_full, Duration::from_secs(60));
        }
        clock.advance(Duration::from_millis(600) - Duration::from_nanos(1));
        assert!(!limit.admit(ONE).admitted);
        clock.advance(Duration::from_nanos(1));
        assert!(limit.admit(ONE).admitted);
        assert!(!limit.admit(ONE).admitted);
    }

    #[test]
    fn headers_follow_the_recorded_arithmetic() {
        for (quota, reset) in [(10_000, "6ms"), (5_000, "12ms"), (30_000, "2ms"), (3_000, "20ms"), (500, "120ms")] {
            let (limit, clock) = limit(quota);
            clock.advance(Duration::from_secs(3600));
            let standing = limit.admit(ONE);
            assert_eq!(standing.remaining, quota - 1);
            assert_eq!(crate::standing::GoDuration(standing.until_full).to_string(), reset);
        }
    }

    #[test]
    fn a_million_clients_are_forgotten_once_idle() {
        let (limit, clock) = limit(100);
        for n in 0..1_000_000 {
            limit.admit(IpAddr::V4(Ipv4Addr::from(n)));
            if n % 100_000 == 99_999 {
                clock.advance(Duration::from_millis(1200));
                limit.forget_idle();
                assert_eq!(limit.clients(), 0);
            }
        }
    }

    #[test]
    fn forgetting_gives_nothing_back() {
        let (limit, clock) = limit(60);
        for _ in 0..60 {
            assert!(limit.admit(ONE).admitted);
        }
        clock.advance(Duration::from_secs(59));
        limit.forget_idle();
        assert_eq!(limit.clients(), 1);
        assert_eq!((0..100).filter(|_| limit.admit(ONE).admitted).count(), 59);
    }

    proptest! {
        /// Against the bucket as one would write it down: a deficit that shrinks evenly.
        #[test]
        fn admits_what_a_naive_bucket_admits(quota in 1u32..200, pauses in prop::collection::vec(0u64..3_000, 1..300)) {
            let (limit, clock) = limit(quota);
            let interval = u128::from(60_000_000_000 / u64::from(quota));
            let (mut now, mut full_at) = (0u128, 0u128);
            for pause in pauses {
                clock.advance(Duration::from_millis(pause));
                now += u128::from(pause) * 1_000_000;
                let missing = full_at.saturating_sub(now);
                let admitted = missing + interval <= interval * u128::from(quota);
                if admitted {
                    full_at = full_at.max(now) + interval;
                }
                let standing = limit.admit(ONE);
                prop_assert_eq!(standing.admitted, admitted);
                prop_assert_eq!(standing.until_full.as_nanos(), full_at.saturating_sub(now));
                if !admitted {
                    clock.advance(standing.wait);
                    now += standing.wait.as_nanos();
                    prop_assert!(limit.admit(ONE).admitted, "a client that waits as told passes");
                    full_at = full_at.max(now) + interval;
                }
            }
        }
    }
}
