//! Reservations: what a request holds of its limits until the response ends.

use std::sync::Arc;

use smallvec::SmallVec;

use super::{Limits, store};
use crate::core::limit_status::{Cost, Unit};

/// The amount that was charged to one limit, and is released or reconciled later.
pub(super) struct ReservedAmount {
    /// The index of the limit.
    pub(super) number: usize,
    pub(super) bucket: BucketLocation,
    /// The time at which the charged window opened.
    pub(super) opened: u64,
    pub(super) reserved: u32,
}

pub(super) type ReservedAmounts = SmallVec<[ReservedAmount; 1]>;

/// The location of a bucket.
pub(super) enum BucketLocation {
    /// In a table of this process: the key of the request selects the shard, `bucket_key` the bucket in it.
    Local { key: u64, bucket_key: u64 },
    /// In the shared store.
    Shared(store::Lease),
}

/// The slots and tokens that a request holds until its response ends. Dropped, it releases the slots and reconciles the
/// tokens.
pub struct Reservation {
    limits: Arc<Limits>,
    amounts: ReservedAmounts,
    spent: Option<Cost>,
}

impl Reservation {
    pub(super) fn new(limits: &Arc<Limits>, amounts: ReservedAmounts) -> Option<Reservation> {
        (!amounts.is_empty()).then(|| Reservation { limits: Arc::clone(limits), amounts, spent: None })
    }

    /// Sets the true cost of the request; without it, the reserved amount stays charged.
    pub fn reconcile(&mut self, spent: Cost) {
        self.spent = Some(spent);
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        let now = self.limits.now();
        for ReservedAmount { number, bucket, opened, reserved } in self.amounts.drain(..) {
            let limit = &self.limits.list[number];
            let spent = match (limit.spec.unit, self.spent) {
                (Unit::InFlight, _) => 0,
                (unit, Some(spent)) => counted_tokens(unit, spent),
                (_, None) => continue,
            };
            match bucket {
                BucketLocation::Local { key, bucket_key } => {
                    let mut shard = limit.table.shard(key);
                    let decision = limit.algorithm.correct(shard.state(bucket_key), now, opened, reserved, spent);
                    shard.set(bucket_key, decision.after, decision.idle_at);
                }
                BucketLocation::Shared(lease) => {
                    if let Some(store) = &self.limits.store {
                        store.correct(limit, lease, opened, reserved, spent);
                    }
                }
            }
        }
    }
}

/// Returns the tokens of a cost that this unit counts.
pub(super) fn counted_tokens(unit: Unit, cost: Cost) -> u32 {
    let tokens = match unit {
        Unit::InputTokens => cost.input,
        Unit::OutputTokens => cost.output,
        _ => cost.input.saturating_add(cost.output),
    };
    u32::try_from(tokens).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::{
        super::tests::{admit, from_client, limits, passes},
        *,
    };
    use crate::{core::limit_status::LimitStatuses, traffic::limit::LimitSpec};

    #[test]
    fn a_slot_in_flight_is_held_until_its_reservation_is_dropped() {
        let (limits, _) = limits(&[LimitSpec::per_minute(Unit::InFlight, 2)], false);
        let (first, second) = (admit(&limits, &from_client(1)), admit(&limits, &from_client(1)));
        assert!(first.reservation.is_some() && first.limit_statuses == LimitStatuses::default(), "it has no headers");
        assert_eq!(admit(&limits, &from_client(1)).limit_statuses.refusal.unwrap().unit, Unit::InFlight);
        drop(first);
        let third = admit(&limits, &from_client(1));
        assert!(third.limit_statuses.refusal.is_none());
        assert!(!passes(&limits, &from_client(1)));
        drop((second, third));
        assert_eq!(limits.buckets(), 0);
    }

    #[test]
    fn tokens_are_reconciled_when_the_response_ends() {
        let specs = [LimitSpec::per_minute(Unit::Tokens, 20), LimitSpec::per_minute(Unit::OutputTokens, 20)];
        let (limits, _) = limits(&specs, true);
        let mut first = admit(&limits, &from_client(1));
        assert!(!passes(&limits, &from_client(1)));
        first.reservation.as_mut().unwrap().reconcile(Cost { input: 2, output: 1 });
        drop(first);
        let limit_statuses = admit(&limits, &from_client(1)).limit_statuses;
        assert_eq!(limit_statuses.refusal, None);
        assert_eq!(
            (
                limit_statuses.get(Unit::Tokens).unwrap().remaining,
                limit_statuses.get(Unit::OutputTokens).unwrap().remaining
            ),
            (2, 14)
        );
    }
}
