//! Filler text whose number of tokens is known without counting.

use crate::core::random::Random;

/// Words that are one token each with the space before them, in o200k_base and cl100k_base alike.
const WORDS: [&str; 48] = [
    "time",
    "year",
    "people",
    "way",
    "day",
    "man",
    "thing",
    "woman",
    "life",
    "child",
    "world",
    "school",
    "state",
    "family",
    "student",
    "group",
    "country",
    "problem",
    "hand",
    "part",
    "place",
    "case",
    "week",
    "company",
    "system",
    "program",
    "question",
    "work",
    "government",
    "number",
    "night",
    "point",
    "home",
    "water",
    "room",
    "mother",
    "area",
    "money",
    "story",
    "fact",
    "month",
    "lot",
    "right",
    "study",
    "book",
    "eye",
    "job",
    "word",
];

/// Returns words that are `tokens` tokens in every encoding.
pub(super) fn words(tokens: u64, random: &mut Random) -> String {
    let mut text = String::new();
    for n in 0..tokens {
        if n > 0 {
            text.push(' ');
        }
        text.push_str(WORDS[random.index(WORDS.len())]);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::tokens::{Encoding, Tokenizer};

    #[test]
    fn filler_has_the_same_number_of_tokens_in_every_encoding() {
        let counts = [Tokenizer::Words, Tokenizer::Exact(Encoding::O200k), Tokenizer::Exact(Encoding::Cl100k)];
        for length in [0, 1, 2, 7, 100, 3000] {
            let text = words(length, &mut Random::seeded(length));
            for tokenizer in counts {
                assert_eq!(tokenizer.count(&text), length as usize, "{tokenizer:?} {text}");
            }
        }
    }
}
