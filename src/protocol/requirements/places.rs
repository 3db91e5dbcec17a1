//! Finding a name among some that are known, at one look.

use crate::core::json::slot;

/// Where names may stand in a list of them.
#[derive(Clone, Debug)]
pub(super) struct Places {
    /// The head of each chain, by [`slot`] of the name; none is [`NONE`].
    heads: Box<[u16; SLOTS]>,
    /// The next place of the same chain, by place.
    next: Vec<u16>,
}

const SLOTS: usize = 128;
const NONE: u16 = u16::MAX;

impl Default for Places {
    fn default() -> Self {
        Places { heads: Box::new([NONE; SLOTS]), next: Vec::new() }
    }
}

impl Places {
    /// Of a list in its order. Of more names than 65,534 those beyond are not found.
    pub(super) fn new<'a>(list: impl Iterator<Item = &'a str>) -> Self {
        let mut names = Places::default();
        for (place, name) in (0..NONE).zip(list) {
            let head = &mut names.heads[slot(name.as_bytes()) % SLOTS];
            names.next.push(std::mem::replace(head, place));
        }
        names
    }

    /// The places where a name may stand.
    #[inline]
    pub(super) fn candidates(&self, name: &[u8]) -> impl Iterator<Item = usize> {
        let mut place = self.heads[slot(name) % SLOTS];
        std::iter::from_fn(move || {
            let found = place;
            place = *self.next.get(usize::from(found))?;
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
        let names = Places::new(list.iter().map(String::as_str));
        for (place, name) in list.iter().enumerate() {
            assert!(names.candidates(name.as_bytes()).any(|candidate| candidate == place), "{name}");
        }
        assert!(names.candidates(b"other").count() < 30);
        assert_eq!(Places::default().candidates(b"model").count(), 0);
    }
}
