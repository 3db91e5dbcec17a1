//! Tokens: counting them, and cutting texts into them for streams.

pub mod chat_template;
mod encoding;
pub mod hugging_face;

pub use encoding::{Cut, Encoding};

/// The method of cutting a text into tokens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tokenizer {
    /// Words and punctuation marks. For plain English it is close to a model's encoding, at a fraction of the cost.
    Words,
    /// One of OpenAI's encodings.
    Exact(Encoding),
}

impl Tokenizer {
    /// Returns the tokenizer with the encoding of a model.
    pub fn of_model(model: &str) -> Self {
        Tokenizer::Exact(Encoding::of_model(model))
    }

    /// Unpacks the vocabularies, which the first requests would do otherwise. It takes 0.2 s, once per process.
    pub fn prepare() {
        Encoding::O200k.prepare();
        Encoding::Cl100k.prepare();
    }

    /// Number of tokens of a text.
    pub fn count(self, text: &str) -> usize {
        match self {
            Tokenizer::Words => pieces(text).count(),
            Tokenizer::Exact(encoding) => encoding.count(text),
        }
    }

    /// Returns the length of the first `most` tokens of a text, in bytes.
    pub fn prefix(self, text: &str, most: usize) -> usize {
        match self {
            Tokenizer::Words => pieces(text).take(most).map(str::len).sum(),
            Tokenizer::Exact(encoding) => encoding.prefix(text, most),
        }
    }

    /// Cuts a text into its tokens.
    pub fn cut(self, text: &str) -> Cut {
        match self {
            Tokenizer::Words => {
                let ends = pieces(text).scan(0, |end, piece| {
                    *end += piece.len();
                    Some(*end)
                });
                let ends: Vec<_> = ends.collect();
                Cut { tokens: ends.len(), ends }
            }
            Tokenizer::Exact(encoding) => encoding.cut(text),
        }
    }
}

/// Maximum length of a piece of [`pieces`], in characters, without the space before it.
const LONGEST_PIECE: usize = 16;

/// Cuts a text into pieces like a model's tokens: a word with the space before it, a run of line breaks, a single
/// punctuation mark. Joined, the pieces are the text.
fn pieces(text: &str) -> impl Iterator<Item = &str> {
    let mut rest = text;
    std::iter::from_fn(move || {
        let length = piece_length(rest);
        let (piece, after) = rest.split_at(length);
        rest = after;
        (!piece.is_empty()).then_some(piece)
    })
}

fn piece_length(text: &str) -> usize {
    let lead = usize::from(text.starts_with(' ')); // a word includes the one space before it
    let class = |c: char| match c {
        c if c.is_alphabetic() => 1,
        c if c.is_numeric() => 2,
        c if c.is_whitespace() => 3,
        _ => 4,
    };
    let Some(first) = text[lead..].chars().next().map(class) else { return text.len() };
    let lead = if first == 3 { 0 } else { lead };
    let longest = if first == 4 { 1 } else { LONGEST_PIECE };
    text[lead..]
        .char_indices()
        .take(longest)
        .take_while(|(_, c)| class(*c) == first)
        .last()
        .map_or(text.len(), |(at, c)| lead + at + c.len_utf8())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::core::{random::Random, reply::Text};

    #[test]
    fn a_sentence_is_cut_like_tokens() {
        let cut: Vec<_> = pieces("\n\nHello there, how may I assist you today?").collect();
        assert_eq!(cut, ["\n\n", "Hello", " there", ",", " how", " may", " I", " assist", " you", " today", "?"]);
    }

    #[test]
    fn filler_has_the_same_number_of_tokens_in_every_encoding() {
        for length in [0, 1, 2, 7, 100, 3000] {
            let text = Text::filler(length, Random::seeded(length)).whole().into_owned();
            for tokenizer in [Tokenizer::Words, Tokenizer::Exact(Encoding::O200k), Tokenizer::Exact(Encoding::Cl100k)] {
                assert_eq!(tokenizer.count(&text), length as usize, "{tokenizer:?} {text}");
            }
        }
    }

    proptest! {
        #[test]
        fn pieces_join_to_the_text(text: String) {
            let cut: Vec<_> = pieces(&text).collect();
            prop_assert_eq!(cut.concat(), text.as_str());
            prop_assert!(cut.iter().all(|piece| !piece.is_empty() && piece.chars().count() <= LONGEST_PIECE + 1));
        }
    }
}
