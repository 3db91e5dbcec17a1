//! What a request holds of its limits until its answer has ended.

use std::sync::Arc;

use smallvec::SmallVec;

use super::{Limits, store};
use crate::core::limit_status::{Cost, Unit};

/// What was charged to one limit, and is to be given back or corrected.
pub(super) struct ReservedAmount {
    /// Which limit of the list.
    pub(super) number: usize,
    pub(super) bucket: Bucket,
    /// When the window opened that was charged.
    pub(super) opened: u64,
    pub(super) reserved: u32,
}

pub(super) type ReservedAmounts = SmallVec<[ReservedAmount; 1]>;

/// Where a bucket is kept.
pub(super) enum Bucket {
    Here { key: u64, place: u64 },
    There(store::Lease),
}

/// What a request holds of its limits until its answer has ended: a place among those in flight, and tokens that are
/// booked. Dropped, it gives the place back and settles the tokens.
pub struct Reservation {
    limits: Arc<Limits>,
    charges: ReservedAmounts,
    spent: Option<Cost>,
}

impl Reservation {
    pub(super) fn new(limits: &Arc<Limits>, charges: ReservedAmounts) -> Option<Reservation> {
        (!charges.is_empty()).then(|| Reservation { limits: Arc::clone(limits), charges, spent: None })
    }

    /// Tells what the request has cost in truth; without it, what was booked stays.
    pub fn reconcile(&mut self, spent: Cost) {
        self.spent = Some(spent);
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        let now = self.limits.now();
        for ReservedAmount { number, bucket, opened, reserved } in self.charges.drain(..) {
            let limit = &self.limits.list[number];
            let spent = match (limit.spec.unit, self.spent) {
                (Unit::InFlight, _) => 0,
                (unit, Some(spent)) => tokens(unit, spent),
                (_, None) => continue,
            };
            match bucket {
                Bucket::Here { key, place } => {
                    let mut shard = limit.table.shard(key);
                    let verdict = limit.meter.correct(shard.state(place), now, opened, reserved, spent);
                    shard.set(place, verdict.after, verdict.idle_at);
                }
                Bucket::There(lease) => {
                    if let Some(store) = &self.limits.store {
                        store.correct(limit, lease, opened, reserved, spent);
                    }
                }
            }
        }
    }
}

/// Of a cost what this unit counts.
pub(super) fn tokens(unit: Unit, cost: Cost) -> u32 {
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
        super::tests::{admit, ask, limits, passes},
        *,
    };
    use crate::{core::limit_status::LimitStatuses, traffic::limit::LimitSpec};

    #[test]
    fn a_place_in_flight_is_held_until_it_is_given_back() {
        let (limits, _) = limits(&[LimitSpec::per_minute(Unit::InFlight, 2)], false);
        let (first, second) = (admit(&limits, &ask(1)), admit(&limits, &ask(1)));
        assert!(first.hold.is_some() && first.limit_statuses == LimitStatuses::default(), "nothing is told of it");
        assert_eq!(admit(&limits, &ask(1)).limit_statuses.refusal.unwrap().unit, Unit::InFlight);
        drop(first);
        let third = admit(&limits, &ask(1));
        assert!(third.limit_statuses.refusal.is_none());
        assert!(!passes(&limits, &ask(1)));
        drop((second, third));
        assert_eq!(limits.buckets(), 0);
    }

    #[test]
    fn tokens_are_settled_when_the_answer_has_ended() {
        let specs = [LimitSpec::per_minute(Unit::Tokens, 20), LimitSpec::per_minute(Unit::OutputTokens, 20)];
        let (limits, _) = limits(&specs, true);
        let mut first = admit(&limits, &ask(1));
        assert!(!passes(&limits, &ask(1)));
        first.hold.as_mut().unwrap().reconcile(Cost { input: 2, output: 1 });
        drop(first);
        let limit_statuses = admit(&limits, &ask(1)).limit_statuses;
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
