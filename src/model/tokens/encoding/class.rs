//! Classes of characters that the patterns of the encodings name.

use std::sync::LazyLock;

use regex::Regex;

/// A class of characters: some of Unicode's general categories.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Class {
    /// `Lu` and `Lt`.
    Upper,
    /// `Ll`.
    Lower,
    /// `Lm` and `Lo`.
    Caseless,
    /// `M`.
    Mark,
    /// `N`.
    Number,
    /// `\s`.
    Space,
    Other,
}

/// Number of characters in a block.
const BLOCK: usize = 256;

/// The classes of all characters. Most blocks are the same as another one.
struct Classes {
    /// The index of each block.
    blocks: Box<[u16]>,
    distinct: Vec<[Class; BLOCK]>,
}

impl Class {
    /// Returns the class of a character. The first call computes the classes of all.
    pub(super) fn of(c: char) -> Class {
        static CLASSES: LazyLock<Classes> = LazyLock::new(Classes::compute);
        let (block, at) = (c as usize / BLOCK, c as usize % BLOCK);
        CLASSES.distinct[usize::from(CLASSES.blocks[block])][at]
    }

    pub(super) fn is_letter(self) -> bool {
        matches!(self, Class::Upper | Class::Lower | Class::Caseless)
    }

    /// True for characters that are in `[^\s\p{L}\p{N}]`.
    pub(super) fn is_symbol(self) -> bool {
        matches!(self, Class::Mark | Class::Other)
    }
}

impl Classes {
    fn compute() -> Self {
        let all: String = ('\0'..=char::MAX).collect();
        let mut classes = vec![Class::Other; char::MAX as usize + 1];
        for (pattern, class) in [
            (r"[\p{Lu}\p{Lt}]", Class::Upper),
            (r"\p{Ll}", Class::Lower),
            (r"[\p{Lm}\p{Lo}]", Class::Caseless),
            (r"\p{M}", Class::Mark),
            (r"\p{N}", Class::Number),
            (r"\s", Class::Space),
        ] {
            // The patterns are valid: a test computes the classes.
            let Ok(pattern) = Regex::new(pattern) else { continue };
            for found in pattern.find_iter(&all) {
                found.as_str().chars().for_each(|c| classes[c as usize] = class);
            }
        }
        let mut distinct: Vec<[Class; BLOCK]> = Vec::new();
        let blocks = classes.chunks_exact(BLOCK).map(|block| {
            let index = distinct.iter().position(|known| known == block).unwrap_or_else(|| {
                distinct.push(std::array::from_fn(|at| block[at]));
                distinct.len() - 1
            });
            index as u16
        });
        Classes { blocks: blocks.collect(), distinct }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn characters_have_their_classes() {
        let classes = ['A', 'ǅ', 'é', '汉', 'ʰ', '\u{301}', '²', '\u{3000}', '!', '🦤', '\u{10ffff}'].map(Class::of);
        assert_eq!(
            classes,
            [
                Class::Upper,
                Class::Upper,
                Class::Lower,
                Class::Caseless,
                Class::Caseless,
                Class::Mark,
                Class::Number,
                Class::Space,
                Class::Other,
                Class::Other,
                Class::Other
            ]
        );
    }
}
