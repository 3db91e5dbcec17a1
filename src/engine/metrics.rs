//! Request metrics: each request is counted once, and closed once.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use http::HeaderValue;

use crate::{
    core::limit_status::Cost,
    traffic::{capacity::Permit, limit::Reservation},
};

/// Numbers of requests and tokens since the start.
#[derive(Debug, Default)]
pub(super) struct Metrics {
    taken: AtomicU64,
    ended: AtomicU64,
    input: AtomicU64,
    output: AtomicU64,
    panics: AtomicU64,
}

/// The numbers at one time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MetricsSnapshot {
    /// Number of requests received.
    pub taken: u64,
    /// Number of requests whose response is not complete.
    pub in_flight: u64,
    /// Number of tokens, as reported in the responses' usage.
    pub tokens: Cost,
    /// Number of panics that ended a request or a part of one.
    pub panics: u64,
}

impl Metrics {
    pub(super) fn snapshot(&self) -> MetricsSnapshot {
        // In this order, so that no request counts as ended before it counts as received.
        let ended = self.ended.load(Ordering::Acquire);
        let taken = self.taken.load(Ordering::Acquire);
        let tokens = Cost { input: self.input.load(Ordering::Relaxed), output: self.output.load(Ordering::Relaxed) };
        let panics = self.panics.load(Ordering::Relaxed);
        MetricsSnapshot { taken, in_flight: taken - ended, tokens, panics }
    }

    pub(super) fn add_panic(&self) {
        self.panics.fetch_add(1, Ordering::Relaxed);
    }
}

/// The open entry of one request. It is closed on drop: when the response is complete or cut, or the client has left.
pub struct Receipt {
    pub(super) metrics: Arc<Metrics>,
    /// The id that the client got in the head. It is set while the body can still fail.
    pub(super) request_id: Option<HeaderValue>,
    /// The request's reservation in its limits.
    reservation: Option<Reservation>,
    /// The request's permit of the concurrency limit.
    permit: Option<Permit>,
}

impl Receipt {
    pub(super) fn open(metrics: &Arc<Metrics>) -> Self {
        metrics.taken.fetch_add(1, Ordering::AcqRel);
        Receipt { metrics: Arc::clone(metrics), request_id: None, reservation: None, permit: None }
    }

    /// Holds a reservation until the response has ended.
    pub(super) fn hold_reservation(&mut self, reservation: Option<Reservation>) {
        self.reservation = reservation;
    }

    /// Holds a permit until the response has ended.
    pub(super) fn hold_permit(&mut self, permit: Permit) {
        self.permit = Some(permit);
    }

    /// Releases the reservation and the permit. The request stays open: a realtime session takes limits only for its
    /// responses.
    pub fn release(&mut self) {
        (self.reservation, self.permit) = (None, None);
    }

    /// Records the cost of the response; without a cost the reservation is returned in full.
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
