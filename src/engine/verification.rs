//! Verification: compares the requests in the journal with what a test expects.

mod error;
mod known;
mod recorded;
mod times;

use std::{cmp::Reverse, fmt, sync::Arc};

use self::error::Details;
pub use self::{
    error::{Nearest, VerifyError},
    known::KnownMatches,
    times::Times,
};
use super::{Engine, Entry, PackedEntry};
use crate::traffic::matcher::Matcher;

/// Maximum number of ids in the result of a failed verification.
const MOST_IDS: usize = 100;

/// The requests that a test expects.
#[derive(Clone, Debug)]
pub struct Verification {
    /// The scope of the requests; `None` for all scopes.
    pub scope: Option<String>,
    /// The requests.
    pub expectation: Expectation,
}

/// The requests that are expected in a scope.
#[derive(Clone, Debug)]
pub enum Expectation {
    /// This number of requests that match.
    Count(Box<Matcher>, Times),
    /// Requests of which each matches the next matcher. Others may come between them.
    InOrder(Vec<Matcher>),
}

impl fmt::Display for Expectation {
    /// Renders the number: `exactly 2`, or `3 in order`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Expectation::Count(_, times) => times.fmt(f),
            Expectation::InOrder(steps) => write!(f, "{} in order", steps.len()),
        }
    }
}

/// The state of a verification.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum VerifyState {
    /// It holds, and more requests change nothing about that.
    Holds,
    /// It holds until there are too many requests.
    HoldsSoFar,
    /// It does not hold yet.
    Open,
    /// It does not hold: too many requests match.
    TooMany,
}

impl VerifyState {
    /// Returns true if it holds now.
    pub fn holds(self) -> bool {
        matches!(self, VerifyState::Holds | VerifyState::HoldsSoFar)
    }

    /// Returns true if waiting for more requests can change the result.
    pub fn can_change(self) -> bool {
        matches!(self, VerifyState::HoldsSoFar | VerifyState::Open)
    }
}

impl Verification {
    /// Returns an estimate of the memory that it takes while it waits, in bytes: its conditions, and the results for as
    /// many entries as the journal keeps.
    pub fn memory(&self, entries: usize) -> usize {
        let conditions = match &self.expectation {
            Expectation::Count(matcher, _) => matcher.memory(),
            Expectation::InOrder(steps) => steps.iter().map(|step| size_of::<Matcher>() + step.memory()).sum(),
        };
        conditions + KnownMatches::memory(entries)
    }

    /// Returns the entries that it is about, oldest first, and true if the journal is full.
    fn entries(&self, engine: &Engine) -> (Vec<Arc<PackedEntry>>, bool) {
        let journal = engine.journal();
        let mut entries = journal.entries();
        let is_full = entries.len() >= journal.spec().entries;
        entries.retain(|entry| self.scope.as_deref().is_none_or(|scope| entry.scope() == scope));
        (entries, is_full)
    }
}

impl Engine {
    /// Compares the journal with what is expected, and returns the number of matching requests.
    pub fn check_journal(&self, verification: &Verification, known: &mut KnownMatches) -> (VerifyState, u64) {
        let (entries, _) = verification.entries(self);
        known.forget_before(&entries);
        let (state, matching) = self.compare(&entries, &verification.expectation, known);
        (state, matching.len() as u64)
    }

    /// Compares entries with what is expected, and returns the indexes of those that match.
    fn compare(
        &self,
        entries: &[Arc<PackedEntry>],
        expectation: &Expectation,
        known: &mut KnownMatches,
    ) -> (VerifyState, Vec<usize>) {
        match expectation {
            Expectation::Count(matcher, times) => {
                let is_match = |at: &usize| known.is_match(self, &entries[*at], (0, matcher));
                let matching: Vec<_> = (0..entries.len()).filter(is_match).collect();
                let count = matching.len() as u64;
                let state = match () {
                    () if times.is_too_many(count) => VerifyState::TooMany,
                    () if times.is_too_few(count) => VerifyState::Open,
                    () if times.holds_at_first() => VerifyState::HoldsSoFar,
                    () => VerifyState::Holds,
                };
                (state, matching)
            }
            Expectation::InOrder(steps) => {
                let found = self.in_order(entries, steps, known);
                (if found.len() < steps.len() { VerifyState::Open } else { VerifyState::Holds }, found)
            }
        }
    }

    /// Returns the indexes of the entries that match the steps in their order, up to the first step without one.
    fn in_order(&self, entries: &[Arc<PackedEntry>], steps: &[Matcher], known: &mut KnownMatches) -> Vec<usize> {
        let mut found = Vec::new();
        let mut next = 0;
        for step in steps.iter().enumerate() {
            let at = (next..entries.len()).find(|at| known.is_match(self, &entries[*at], step));
            let Some(at) = at else { break };
            found.push(at);
            next = at + 1;
        }
        found
    }

    /// Checks that the journal has what is expected now. Returns the number of matching requests.
    ///
    /// # Errors
    /// [`VerifyError`] with the nearest request.
    pub fn verify(&self, verification: &Verification) -> Result<u64, VerifyError> {
        if self.journal().spec().entries == 0 {
            return Err(VerifyError::journal_is_off(verification));
        }
        let (entries, is_full) = verification.entries(self);
        let (state, matching) = self.compare(&entries, &verification.expectation, &mut KnownMatches::default());
        let unmatched = self.unmatched(&entries);
        if state.holds() && unmatched.is_empty() {
            return Ok(matching.len() as u64);
        }
        let (step, nearest) = match &verification.expectation {
            Expectation::Count(matcher, _) => {
                let others = entries.iter().enumerate().filter(|(at, _)| matching.binary_search(at).is_err());
                (None, self.nearest(others.map(|(_, entry)| entry), matcher))
            }
            Expectation::InOrder(steps) => {
                let after = matching.last().map_or(0, |last| last + 1);
                let missing = steps.get(matching.len());
                (Some(matching.len() + 1), missing.and_then(|step| self.nearest(entries[after..].iter(), step)))
            }
        };
        Err(Details {
            expected: verification.expectation.to_string(),
            matched: matching.len() as u64,
            entries: matching.iter().take(MOST_IDS).map(|at| Entry::id_of(entries[*at].number())).collect(),
            step,
            nearest,
            unmatched,
            holds: state.holds(),
            received: entries.len(),
            kept: is_full.then(|| self.journal().spec().entries),
            is_off: false,
            is_too_many: state == VerifyState::TooMany,
        }
        .into())
    }

    /// Returns the ids of the requests that no reply of a strict scope fits.
    fn unmatched(&self, entries: &[Arc<PackedEntry>]) -> Vec<String> {
        let is_unmatched = |entry: &&Arc<PackedEntry>| {
            self.is_strict(entry.scope()) && entry.read().head().is_some_and(|head| head.is_unmatched)
        };
        let unmatched = entries.iter().filter(is_unmatched).take(MOST_IDS);
        unmatched.map(|entry| Entry::id_of(entry.number())).collect()
    }

    /// Returns the entry with the fewest mismatches; of several, the newest.
    fn nearest<'e>(&self, entries: impl Iterator<Item = &'e Arc<PackedEntry>>, matcher: &Matcher) -> Option<Nearest> {
        let scored = entries.map(|entry| (entry, self.mismatches(&entry.read(), matcher)));
        let (entry, mismatches) =
            scored.min_by_key(|(entry, mismatches)| (mismatches.len(), Reverse(entry.number())))?;
        Some(Nearest {
            id: Entry::id_of(entry.number()),
            mismatches: mismatches.iter().map(ToString::to_string).collect(),
        })
    }
}
