//! Names of members, told apart at a glance: requests have few members, and are asked for many.

/// Some names, as a bit each. Two names may have the same bit: then the text decides.
#[derive(Clone, Copy, Debug, Default)]
pub struct KeyFilter(u64);

impl KeyFilter {
    /// These.
    #[inline]
    pub const fn of(names: &[&str]) -> Self {
        let (mut n, mut all) = (0, KeyFilter(0));
        while n < names.len() {
            all = all.and(names[n].as_bytes());
            n += 1;
        }
        all
    }

    /// These and one more.
    #[inline]
    pub(super) const fn and(self, name: &[u8]) -> Self {
        KeyFilter(self.0 | 1 << (slot(name) % u64::BITS as usize))
    }

    /// Whether any name could be among both.
    #[inline]
    pub(super) const fn may_share(self, other: KeyFilter) -> bool {
        self.0 & other.0 != 0
    }
}

/// A number for a name, by its length, and its first, middle and last byte: names of parameters seldom share them all, and
/// a hash of the whole name would cost more than comparing it. The factors keep what most chat requests have apart from
/// what few have.
#[inline]
pub const fn slot(name: &[u8]) -> usize {
    let (Some(first), Some(last)) = (name.first(), name.last()) else { return 0 };
    name.len() + *first as usize * 17 + name[name.len() / 2] as usize * 5 + *last as usize * 3
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_there_is_never_overlooked() {
        const KNOWN: KeyFilter = KeyFilter::of(&["model", "messages", "n", ""]);
        for name in ["model", "messages", "n", ""] {
            assert!(KNOWN.may_share(KeyFilter::of(&[name])), "{name}");
        }
        assert!(!KNOWN.may_share(KeyFilter::of(&["stream"])) && !KNOWN.may_share(KeyFilter::default()));
    }
}
