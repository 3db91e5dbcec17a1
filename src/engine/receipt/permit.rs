//! The limits that a request holds while it is open.

use super::Receipt;
use crate::traffic::{
    capacity::{Admission, Permit, Waiting},
    limit::Reservation,
};

impl Receipt {
    /// Holds a reservation until the response has ended.
    pub(in crate::engine) fn hold_reservation(&mut self, reservation: Option<Reservation>) {
        self.reservation = reservation;
    }

    /// Holds a permit until the response has ended.
    pub fn hold_permit(&mut self, permit: Permit) {
        self.permit = Some(Admission::Granted(permit));
    }

    /// Keeps a place in the queue until the response is delivered.
    pub(in crate::engine) fn keep_waiting(&mut self, waiting: Waiting) {
        self.permit = Some(Admission::Queued(waiting));
    }

    /// Takes the place in the queue: the events of the stream are due from the permit on.
    pub fn take_waiting(&mut self) -> Option<Waiting> {
        match self.permit.take_if(|admission| matches!(admission, Admission::Queued(_)))? {
            Admission::Queued(waiting) => Some(waiting),
            Admission::Granted(_) => None,
        }
    }

    /// Releases the reservation and the permit. The request stays open: a realtime session takes limits only for its
    /// responses.
    pub fn release(&mut self) {
        (self.reservation, self.permit) = (None, None);
    }
}
