//! Counting requests: each once, and closed once.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use crate::{
    core::limit_status::Cost,
    traffic::{capacity::Permit, limit::Reservation},
};

/// How many requests were taken, how many of them are over, and what their answers have cost.
#[derive(Debug, Default)]
pub(super) struct Metrics {
    taken: AtomicU64,
    ended: AtomicU64,
    input: AtomicU64,
    output: AtomicU64,
}

/// What has been counted since the start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MetricsSnapshot {
    /// Requests taken.
    pub taken: u64,
    /// Those of them whose answers are under way.
    pub in_flight: u64,
    /// Tokens, as the answers tell them.
    pub tokens: Cost,
}

impl Metrics {
    pub(super) fn read(&self) -> MetricsSnapshot {
        // In this order, so that a request can't be seen ended before it is seen taken.
        let ended = self.ended.load(Ordering::Acquire);
        let taken = self.taken.load(Ordering::Acquire);
        let tokens = Cost { input: self.input.load(Ordering::Relaxed), output: self.output.load(Ordering::Relaxed) };
        MetricsSnapshot { taken, in_flight: taken - ended, tokens }
    }
}

/// One request's entry: made when it is taken, closed when it is dropped: its answer has been handed out to the end or is
/// cut, or the client has left.
pub struct Receipt {
    tally: Arc<Metrics>,
    /// What the request holds of its limits until then.
    hold: Option<Reservation>,
    /// Its place among the answers that are said at once.
    seat: Option<Permit>,
}

impl Receipt {
    pub(super) fn open(tally: &Arc<Metrics>) -> Self {
        tally.taken.fetch_add(1, Ordering::AcqRel);
        Receipt { tally: Arc::clone(tally), hold: None, seat: None }
    }

    /// Keeps what a request holds of its limits until the answer has ended.
    pub(super) fn hold_reservation(&mut self, hold: Option<Reservation>) {
        self.hold = hold;
    }

    /// Keeps the place that the answer is said at.
    pub(super) fn hold_permit(&mut self, seat: Permit) {
        self.seat = Some(seat);
    }

    /// Gives back what the request holds of its limits, and its place. It is still under way: a conversation that is open
    /// takes nothing but what is said in it.
    pub fn let_go(&mut self) {
        (self.hold, self.seat) = (None, None);
    }

    /// Writes down what the answer has cost; what is refused costs nothing in the end.
    pub(super) fn reconcile(&mut self, cost: Option<Cost>) {
        if let Some(Cost { input, output }) = cost {
            self.tally.input.fetch_add(input, Ordering::Relaxed);
            self.tally.output.fetch_add(output, Ordering::Relaxed);
        }
        if let Some(hold) = &mut self.hold {
            hold.reconcile(cost.unwrap_or_default());
        }
    }
}

impl Drop for Receipt {
    fn drop(&mut self) {
        self.tally.ended.fetch_add(1, Ordering::AcqRel);
    }
}
