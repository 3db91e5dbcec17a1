//! The health of the store: logged when it stops responding and when it is back.

use std::{
    fmt::Display,
    sync::{
        Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use super::{FailurePolicy, StoreSpec, unpoisoned};

/// Interval at which one request tries the store again while it does not respond. Other requests do not wait for it.
const RETRY_EVERY: Duration = Duration::from_millis(100);
/// Time without a response after which a connection is replaced.
const SILENCE: Duration = Duration::from_millis(500);

pub(super) struct Health {
    address: String,
    failure: FailurePolicy,
    down: AtomicBool,
    /// Number of requests decided without the store since its last response.
    undecided: AtomicU64,
    times: Mutex<Times>,
}

struct Times {
    answered: Instant,
    called: Instant,
}

impl Health {
    pub(super) fn new(spec: &StoreSpec) -> Self {
        let now = Instant::now();
        Health {
            address: spec.address(),
            failure: spec.failure,
            down: AtomicBool::new(false),
            undecided: AtomicU64::new(0),
            times: Mutex::new(Times { answered: now, called: now }),
        }
    }

    /// Returns true if this request calls the store: always while the store responds, else once per interval.
    pub(super) fn should_call(&self) -> bool {
        if !self.down.load(Ordering::Acquire) {
            return true;
        }
        let mut times = unpoisoned(self.times.lock());
        let due = times.called.elapsed() >= RETRY_EVERY;
        if due {
            times.called = Instant::now();
        }
        due
    }

    /// Counts a request that the store has not decided. Returns true if it is admitted.
    pub(super) fn admits_undecided(&self) -> bool {
        self.undecided.fetch_add(1, Ordering::AcqRel);
        self.failure == FailurePolicy::Open
    }

    /// Records a response of the store.
    pub(super) fn answered(&self) {
        if self.down.load(Ordering::Acquire) && self.down.swap(false, Ordering::AcqRel) {
            let (undecided, fate) = (self.undecided.swap(0, Ordering::AcqRel), self.failure.description());
            log::info!("the limit store {} responds again; {undecided} requests were {fate} meanwhile", self.address);
            unpoisoned(self.times.lock()).answered = Instant::now();
        }
    }

    /// Records a failure. Returns true if the store has not responded for [`SILENCE`].
    pub(super) fn failed(&self, why: impl Display) -> bool {
        if !self.down.swap(true, Ordering::AcqRel) {
            log::warn!(
                "the limit store {} does not respond ({why}); requests are {} until it does",
                self.address,
                self.failure.description()
            );
            let now = Instant::now();
            *unpoisoned(self.times.lock()) = Times { answered: now, called: now };
        }
        unpoisoned(self.times.lock()).answered.elapsed() >= SILENCE
    }
}
