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
    pub(super) fn snapshot(&self) -> MetricsSnapshot {
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
    metrics: Arc<Metrics>,
    /// What the request holds of its limits until then.
    reservation: Option<Reservation>,
    /// Its place among the answers that are said at once.
    permit: Option<Permit>,
}

impl Receipt {
    pub(super) fn open(metrics: &Arc<Metrics>) -> Self {
        metrics.taken.fetch_add(1, Ordering::AcqRel);
        Receipt { metrics: Arc::clone(metrics), reservation: None, permit: None }
    }

    /// Keeps what a request holds of its limits until the answer has ended.
    pub(super) fn hold_reservation(&mut self, reservation: Option<Reservation>) {
        self.reservation = reservation;
    }

    /// Keeps the place that the answer is said at.
    pub(super) fn hold_permit(&mut self, permit: Permit) {
        self.permit = Some(permit);
    }

    /// Gives back what the request holds of its limits, and its place. It is still under way: a conversation that is open
    /// takes nothing but what is said in it.
    pub fn release(&mut self) {
        (self.reservation, self.permit) = (None, None);
    }

    /// Writes down what the answer has cost; what is refused costs nothing in the end.
    pub(super) fn reconcile(&mut self, cost: Option<Cost>) {
        if let Some(Cost { input, output }) = cost {
            self.metrics.input.fetch_add(input, Ordering::Relaxed);
            self.metrics.output.fetch_add(output, Ordering::Relaxed);
        }
        if let Some(reservation) = &mut self.reservation {
            reservation.reconcile(cost.unwrap_or_default());
        }
    }
}

impl Drop for Receipt {
    fn drop(&mut self) {
        self.metrics.ended.fetch_add(1, Ordering::AcqRel);
    }
}
