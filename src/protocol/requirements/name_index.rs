//! An index of known names: a hash table without removal.

use crate::core::json::slot;

/// Positions of names in a list.
#[derive(Clone, Debug)]
pub(super) struct NameIndex {
    /// First position of each chain, by [`slot`] of the name. [`NONE`]: the chain is empty.
    heads: Box<[u16; SLOTS]>,
    /// Next position of the same chain, by position.
    next: Vec<u16>,
}

const SLOTS: usize = 128;
const NONE: u16 = u16::MAX;

impl Default for NameIndex {
    fn default() -> Self {
        NameIndex { heads: Box::new([NONE; SLOTS]), next: Vec::new() }
    }
}

impl NameIndex {
    /// Indexes a list. Names after the first 65,535 are not found.
    pub(super) fn new<'a>(list: impl Iterator<Item = &'a str>) -> Self {
        let mut names = NameIndex::default();
        for (position, name) in (0..NONE).zip(list) {
            let head = &mut names.heads[slot(name.as_bytes()) % SLOTS];
            names.next.push(std::mem::replace(head, position));
        }
        names
    }

    /// Returns the positions where a name may be. The caller compares the names.
    #[inline]
    pub(super) fn candidates(&self, name: &[u8]) -> impl Iterator<Item = usize> {
        let mut position = self.heads[slot(name) % SLOTS];
        std::iter::from_fn(move || {
            let found = position;
            position = *self.next.get(usize::from(found))?;
            Some(usize::from(found))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_is_among_its_candidates_and_few_others_are() {
        let list: Vec<_> = (0..300).map(|n| format!("{}name_{n}", "x".repeat(n % 7))).chain([String::new()]).collect();
        let names = NameIndex::new(list.iter().map(String::as_str));
        for (position, name) in list.iter().enumerate() {
            assert!(names.candidates(name.as_bytes()).any(|candidate| candidate == position), "{name}");
        }
        assert!(names.candidates(b"other").count() < 30);
        assert_eq!(NameIndex::default().candidates(b"model").count(), 0);
    }
}
