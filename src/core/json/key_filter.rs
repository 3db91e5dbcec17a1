//! A filter for the names of members: requests have few members, and protocols look for many.

/// A set of names, as one bit each. Two names may share a bit; then the text must be compared.
#[derive(Clone, Copy, Debug, Default)]
pub struct KeyFilter(u64);

impl KeyFilter {
    /// Creates the set of these names.
    #[inline]
    pub const fn of(names: &[&str]) -> Self {
        let (mut n, mut all) = (0, KeyFilter(0));
        while n < names.len() {
            all = all.and(names[n].as_bytes());
            n += 1;
        }
        all
    }

    /// Returns the set with one more name.
    #[inline]
    pub(super) const fn and(self, name: &[u8]) -> Self {
        KeyFilter(self.0 | 1 << (slot(name) % u64::BITS as usize))
    }

    /// Returns false if no name is in both sets.
    #[inline]
    pub(super) const fn may_share(self, other: KeyFilter) -> bool {
        self.0 & other.0 != 0
    }
}

/// Hashes a name by its length, and its first, middle and last byte. Names of parameters seldom share them all, and
/// hashing the whole name would cost more than comparing it. The factors separate the members of most chat requests
/// from rare ones.
#[inline]
pub const fn slot(name: &[u8]) -> usize {
    let (Some(first), Some(last)) = (name.first(), name.last()) else { return 0 };
    name.len() + *first as usize * 17 + name[name.len() / 2] as usize * 5 + *last as usize * 3
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_in_the_set_is_never_missed() {
        const KNOWN: KeyFilter = KeyFilter::of(&["model", "messages", "n", ""]);
        for name in ["model", "messages", "n", ""] {
            assert!(KNOWN.may_share(KeyFilter::of(&[name])), "{name}");
        }
        assert!(!KNOWN.may_share(KeyFilter::of(&["stream"])) && !KNOWN.may_share(KeyFilter::default()));
    }
}
