//! Filler: text whose words follow from a few bytes of state, so that it never needs to be in memory as a whole.

use crate::core::random::Random;

/// Words with the space before them. Each is one token, in o200k_base and cl100k_base alike, with the space or without.
const WORDS: [&str; 48] = [
    " time",
    " year",
    " people",
    " way",
    " day",
    " man",
    " thing",
    " woman",
    " life",
    " child",
    " world",
    " school",
    " state",
    " family",
    " student",
    " group",
    " country",
    " problem",
    " hand",
    " part",
    " place",
    " case",
    " week",
    " company",
    " system",
    " program",
    " question",
    " work",
    " government",
    " number",
    " night",
    " point",
    " home",
    " water",
    " room",
    " mother",
    " area",
    " money",
    " story",
    " fact",
    " month",
    " lot",
    " right",
    " study",
    " book",
    " eye",
    " job",
    " word",
];

/// A number of random words.
#[derive(Clone, Debug)]
pub(super) struct Filler {
    /// Number of words that are left.
    words: u64,
    /// True if the next word is the first, which has no space before it.
    is_start: bool,
    random: Random,
}

impl Filler {
    /// Creates a text of so many words.
    pub(super) fn new(words: u64, random: Random) -> Self {
        Filler { words, is_start: true, random }
    }

    /// Number of words.
    pub(super) fn words(&self) -> u64 {
        self.words
    }

    /// Number of characters, and of bytes: all words are ASCII.
    pub(super) fn characters(&self) -> usize {
        self.clone().map(str::len).sum()
    }

    /// Keeps the first `most` words.
    pub(super) fn truncate(&mut self, most: u64) {
        self.words = self.words.min(most);
    }

    /// Returns true if a text of such words can contain `text`.
    pub(super) fn can_contain(text: &str) -> bool {
        text.bytes().all(|byte| byte == b' ' || byte.is_ascii_lowercase())
    }
}

impl Iterator for Filler {
    type Item = &'static str;

    fn next(&mut self) -> Option<&'static str> {
        self.words = self.words.checked_sub(1)?;
        let word = WORDS[self.random.index(WORDS.len())];
        Some(if std::mem::take(&mut self.is_start) { &word[1..] } else { word })
    }
}
