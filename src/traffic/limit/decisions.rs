//! The decisions of limits, counted for the whole server and for each scope.

use std::sync::{Mutex, MutexGuard, PoisonError};

use super::LimitSpec;

/// The decisions of the limits that count the same unit for the same dimensions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Decisions {
    /// The name of the unit.
    pub unit: &'static str,
    /// The names of the dimensions, separated by commas.
    pub per: String,
    /// Number of requests that were admitted.
    pub allowed: u64,
    /// Number of requests that were refused.
    pub refused: u64,
}

/// The decisions about the requests of one scope.
#[derive(Debug, Default)]
pub struct ScopeDecisions(Mutex<Vec<Decisions>>);

/// Adds the decisions of one limit.
pub(super) fn add(all: &mut Vec<Decisions>, spec: &LimitSpec, allowed: u64, refused: u64) {
    let unit = spec.unit.name();
    let per: Vec<_> = spec.per.iter().map(|dimension| dimension.name()).collect();
    let per = per.join(",");
    match all.iter_mut().find(|known| known.unit == unit && known.per == per) {
        Some(known) => (known.allowed, known.refused) = (known.allowed + allowed, known.refused + refused),
        None => all.push(Decisions { unit, per, allowed, refused }),
    }
}

impl ScopeDecisions {
    fn list(&self) -> MutexGuard<'_, Vec<Decisions>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Counts a request that all limits admitted, or one that this limit refused.
    pub(super) fn add(&self, spec: &LimitSpec, is_admitted: bool) {
        add(&mut self.list(), spec, u64::from(is_admitted), u64::from(!is_admitted));
    }

    /// Returns the decisions so far.
    pub fn all(&self) -> Vec<Decisions> {
        self.list().clone()
    }

    /// Forgets all decisions.
    pub fn clear(&self) {
        self.list().clear();
    }
}
