//! Results of comparisons that a verification need not repeat while it waits.

use std::{collections::VecDeque, sync::Arc};

use crate::{
    engine::{Engine, PackedEntry},
    traffic::matcher::Matcher,
};

/// Maximum number of entries whose results are known. Older ones are compared again at each look.
const MAX_KNOWN: usize = 1_000_000;

/// Results that no longer change, so that a waiting verification compares each entry about once. Of each entry the
/// result for the matcher that it was last compared with is known: an order compares an entry with one step at a time.
#[derive(Default)]
pub struct KnownMatches {
    /// The number of the first entry.
    first: u64,
    results: VecDeque<Known>,
}

/// The result for one entry.
#[derive(Clone, Copy, Default)]
struct Known {
    /// The number of the matcher, from 1; 0 if nothing is known.
    matcher: u16,
    is_match: bool,
}

impl KnownMatches {
    /// Returns the memory of the results for as many entries, in bytes.
    pub(super) fn memory(entries: usize) -> usize {
        entries.min(MAX_KNOWN) * size_of::<Known>()
    }

    /// Forgets the results of entries that are no longer kept, or too old.
    pub(super) fn forget_before(&mut self, entries: &[Arc<PackedEntry>]) {
        let number = |entry: Option<&Arc<PackedEntry>>| entry.map(|entry| entry.number());
        let (Some(first), Some(last)) = (number(entries.first()), number(entries.last())) else {
            self.results.clear();
            return;
        };
        let first = first.max((last + 1).saturating_sub(MAX_KNOWN as u64)).max(self.first);
        let forgotten = usize::try_from(first - self.first).unwrap_or(usize::MAX);
        self.results.drain(..forgotten.min(self.results.len()));
        self.first = first;
    }

    pub(super) fn is_match(&mut self, engine: &Engine, entry: &PackedEntry, (n, matcher): (usize, &Matcher)) -> bool {
        let at = entry.number().checked_sub(self.first).and_then(|at| usize::try_from(at).ok());
        let number = u16::try_from(n + 1).ok();
        let (Some(at), Some(number)) = (at.filter(|at| *at < MAX_KNOWN), number) else {
            return engine.is_match(&entry.read(), matcher);
        };
        if let Some(known) = self.results.get(at).filter(|known| known.matcher == number) {
            return known.is_match;
        }
        let entry = entry.read();
        let is_final = entry.outcome().is_some() || !matcher.needs_end();
        let is_match = engine.is_match(&entry, matcher);
        if is_final {
            if self.results.len() <= at {
                self.results.resize(at + 1, Known::default());
            }
            self.results[at] = Known { matcher: number, is_match };
        }
        is_match
    }
}
