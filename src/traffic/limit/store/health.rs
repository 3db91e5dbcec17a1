//! Whether the store answers: told once when it stops and once when it is back, and counted meanwhile.

use std::{
    fmt::Display,
    sync::{
        Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use super::{FailurePolicy, StoreSpec, unpoisoned};

/// While the store does not answer, it is asked again this often, by one request; the others do not wait for it.
const ASK_EVERY: Duration = Duration::from_millis(100);
/// A connection on which nothing has come for so long is made anew.
const SILENCE: Duration = Duration::from_millis(500);

pub(super) struct Health {
    address: String,
    failure: FailurePolicy,
    down: AtomicBool,
    /// Requests that were decided without the store since it was last there.
    without: AtomicU64,
    times: Mutex<Times>,
}

struct Times {
    answered: Instant,
    asked: Instant,
}

impl Health {
    pub(super) fn new(spec: &StoreSpec) -> Self {
        let now = Instant::now();
        Health {
            address: spec.address(),
            failure: spec.failure,
            down: AtomicBool::new(false),
            without: AtomicU64::new(0),
            times: Mutex::new(Times { answered: now, asked: now }),
        }
    }

    /// Whether this request is to ask: always while the store answers, else one now and then.
    pub(super) fn may_be_asked(&self) -> bool {
        if !self.down.load(Ordering::Acquire) {
            return true;
        }
        let mut times = unpoisoned(self.times.lock());
        let due = times.asked.elapsed() >= ASK_EVERY;
        if due {
            times.asked = Instant::now();
        }
        due
    }

    /// What becomes of a request that the store has not decided. It is counted.
    pub(super) fn lets_pass(&self) -> bool {
        self.without.fetch_add(1, Ordering::AcqRel);
        self.failure == FailurePolicy::Open
    }

    /// The store has answered.
    pub(super) fn answered(&self) {
        if self.down.load(Ordering::Acquire) && self.down.swap(false, Ordering::AcqRel) {
            let (without, fate) = (self.without.swap(0, Ordering::AcqRel), self.failure.description());
            log::info!("the limit store {} answers: {without} requests were {fate} meanwhile", self.address);
            unpoisoned(self.times.lock()).answered = Instant::now();
        }
    }

    /// The store has not answered; whether that has been so for long.
    pub(super) fn failed(&self, why: impl Display) -> bool {
        if !self.down.swap(true, Ordering::AcqRel) {
            log::warn!(
                "the limit store {} does not answer ({why}): requests are {} until it does",
                self.address,
                self.failure.description()
            );
            let now = Instant::now();
            *unpoisoned(self.times.lock()) = Times { answered: now, asked: now };
        }
        unpoisoned(self.times.lock()).answered.elapsed() >= SILENCE
    }
}
