//! Tokens as OpenAI's tiktoken counts and cuts them.

mod class;
mod merge;
mod split;

use std::sync::{LazyLock, OnceLock};

use tiktoken::CoreBpe;

use self::{merge::Numbers, split::piece_length};

/// One of OpenAI's encodings.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Encoding {
    /// `o200k_base`: gpt-4o and later models.
    O200k,
    /// `cl100k_base`: gpt-4, gpt-3.5 and the embedding models.
    Cl100k,
}

/// The pieces of a text, and its number of tokens.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Cut {
    /// The end of each piece, in bytes. The last one is the end of the text. An empty text has none.
    pub ends: Vec<usize>,
    /// Number of tokens: at least the number of pieces.
    pub tokens: usize,
}

/// The models of `cl100k_base`. A name may continue after a `-`: gpt-4-turbo is a gpt-4, gpt-4o and gpt-4.1 are not.
const CL100K_MODELS: [&str; 7] = [
    "gpt-4",
    "gpt-3.5",
    "gpt-35", // Azure's name
    "text-embedding-3",
    "text-embedding-ada-002",
    "davinci-002",
    "babbage-002",
];

impl Encoding {
    /// Returns the encoding of a model, by its name. A fine-tuned model (`ft:gpt-4:…`) has that of its base model, and
    /// an unknown one has o200k.
    pub fn of_model(model: &str) -> Encoding {
        let model = model.strip_prefix("ft:").unwrap_or(model);
        let base = model.split_once(':').map_or(model, |(base, _)| base);
        let is = |known: &str| base.strip_prefix(known).is_some_and(|rest| rest.is_empty() || rest.starts_with('-'));
        if CL100K_MODELS.into_iter().any(is) { Encoding::Cl100k } else { Encoding::O200k }
    }

    /// Unpacks the vocabulary, which the first call would do otherwise. It takes 0.1 s, once per process.
    pub fn prepare(self) {
        self.coder();
    }

    /// Number of tokens of a text. The text of a special token, `<|endoftext|>`, counts as ordinary text.
    pub fn count(self, text: &str) -> usize {
        match self.coder() {
            coder if is_rare(text) => coder.encode(text).len(),
            coder => coder.bpe.count(text),
        }
    }

    /// Cuts a text into its tokens. Tokens that end inside a character are joined with the next ones, so that every
    /// piece is text.
    pub fn cut(self, text: &str) -> Cut {
        let tokens = self.coder().ends(text);
        Cut { tokens: tokens.len(), ends: tokens.filter(|end| text.is_char_boundary(*end)).collect() }
    }

    /// Returns the length of the first `most` tokens of a text in whole characters, in bytes.
    pub fn prefix(self, text: &str, most: usize) -> usize {
        self.coder().ends(text).take(most).filter(|end| text.is_char_boundary(*end)).last().unwrap_or(0)
    }

    /// Returns the numbers of a text's tokens.
    pub fn numbers(self, text: &str) -> Vec<u32> {
        self.coder().encode(text)
    }

    /// Returns the text of tokens by their numbers. Unknown numbers are skipped.
    pub fn text(self, numbers: &[u32]) -> String {
        let Coder { bpe, lengths, .. } = self.coder();
        let known: Vec<u32> = numbers.iter().copied().filter(|number| (*number as usize) < lengths.len()).collect();
        String::from_utf8_lossy(&bpe.decode(&known)).into_owned()
    }

    fn bpe(self) -> CoreBpe {
        match self {
            Encoding::O200k => tiktoken::encoding::o200k_base(),
            Encoding::Cl100k => tiktoken::encoding::cl100k_base(),
        }
    }

    fn coder(self) -> &'static Coder {
        static O200K: LazyLock<Coder> = LazyLock::new(|| Coder::new(Encoding::O200k));
        static CL100K: LazyLock<Coder> = LazyLock::new(|| Coder::new(Encoding::Cl100k));
        match self {
            Encoding::O200k => &O200K,
            Encoding::Cl100k => &CL100K,
        }
    }
}

/// Minimum length of a text with rare characters, in bytes. A shorter one is encoded by the crate in less than 5 ms.
const MIN_RARE: usize = 2048;

/// Returns true for texts with so many rare characters that the crate takes microseconds for each: it uses a regular
/// expression where a piece has a character that is neither ASCII nor East Asian.
fn is_rare(text: &str) -> bool {
    let is_rare = |c: &char| !matches!(c, '\0'..='\x7f' | '\u{3000}'..='\u{9fff}' | '\u{ac00}'..='\u{d7a3}');
    text.len() >= MIN_RARE && text.chars().filter(is_rare).nth(text.len() / 16).is_some()
}

struct Coder {
    encoding: Encoding,
    bpe: CoreBpe,
    /// For texts with rare characters, made for the first one.
    numbers: OnceLock<Numbers>,
    /// The length of each token in bytes, by its number: the crate returns it only by decoding the token.
    lengths: Box<[u8]>,
}

impl Coder {
    fn new(encoding: Encoding) -> Self {
        let bpe = encoding.bpe();
        // The longest token is one of 128 spaces.
        let lengths = (0..bpe.vocab_size() as u32).map(|token| bpe.decode(&[token]).len() as u8).collect();
        Coder { encoding, bpe, numbers: OnceLock::new(), lengths }
    }

    /// Returns the numbers of a text's tokens.
    fn encode(&self, text: &str) -> Vec<u32> {
        if is_rare(text) { self.encode_pieces(text) } else { self.bpe.encode(text) }
    }

    /// The same without the crate's regular expression.
    fn encode_pieces(&self, text: &str) -> Vec<u32> {
        let numbers = self.numbers.get_or_init(|| Numbers::new(&self.bpe));
        let (mut rest, mut out) = (text, Vec::with_capacity(text.len() / 3));
        while !rest.is_empty() {
            let (piece, after) = rest.split_at(piece_length(self.encoding, rest));
            numbers.merge(piece.as_bytes(), &mut out);
            rest = after;
        }
        out
    }

    /// Returns the end of each token of a text, in bytes.
    fn ends(&self, text: &str) -> impl ExactSizeIterator<Item = usize> {
        let mut end = 0;
        self.encode(text).into_iter().map(move |token| {
            end += usize::from(self.lengths[token as usize]);
            end
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{
        Encoding::{Cl100k, O200k},
        *,
    };

    fn pieces(encoding: Encoding, text: &str) -> Vec<&str> {
        let mut from = 0;
        let ends = encoding.cut(text).ends.into_iter();
        ends.map(|end| &text[std::mem::replace(&mut from, end)..end]).collect()
    }

    #[test]
    fn models_have_their_encodings() {
        for model in [
            "gpt-4",
            "gpt-4-turbo",
            "gpt-4-0613",
            "gpt-4-32k",
            "gpt-4-vision-preview",
            "gpt-3.5",
            "gpt-3.5-turbo",
            "gpt-3.5-turbo-0125",
            "gpt-3.5-turbo-instruct",
            "gpt-35-turbo-16k",
            "text-embedding-3-small",
            "text-embedding-3-large",
            "text-embedding-ada-002",
            "davinci-002",
            "ft:gpt-4:org::id",
            "ft:gpt-3.5-turbo-0125:org:name:id",
        ] {
            assert_eq!(Encoding::of_model(model), Cl100k, "{model}");
        }
        for model in [
            "gpt-4o",
            "gpt-4o-mini-2024-07-18",
            "gpt-4.1",
            "gpt-4.1-nano",
            "gpt-4.5-preview",
            "gpt-5",
            "gpt-5.2-chat-latest",
            "o1",
            "o3-mini",
            "o4-mini",
            "chatgpt-4o-latest",
            "gpt-oss-120b",
            "ft:gpt-4o-mini-2024-07-18:org::id",
            "ft:gpt-4.1-2025-04-14:org::id",
            "my-model",
            "",
        ] {
            assert_eq!(Encoding::of_model(model), O200k, "{model}");
        }
    }

    /// The counts are from tiktoken 0.14 for Python: o200k, cl100k.
    #[test]
    fn counts_are_those_of_tiktoken() {
        for (text, o200k, cl100k) in [
            ("", 0, 0),
            ("Say this is a test", 5, 5),
            ("What is the capital of Mexico?", 7, 7),
            ("<|endoftext|>", 7, 7),
            ("\n\n \n   ", 2, 3),
            ("it'ſ", 3, 4),
            ("antidisestablishmentarianism", 6, 6),
        ] {
            assert_eq!((O200k.count(text), Cl100k.count(text)), (o200k, cl100k), "{text:?}");
        }
    }

    /// Recorded from gpt-4o: a message costs its role, its content and 3; the start of the reply costs 3.
    #[test]
    fn prompts_cost_the_recorded_numbers() {
        let cost = |content| 3 + O200k.count("user") + O200k.count(content) + 3;
        assert_eq!(cost("Say this is a test"), 12);
        assert_eq!(cost("What is the capital of Mexico?"), 14);
    }

    #[test]
    fn pieces_are_tokens() {
        assert_eq!(pieces(O200k, "Hello there, friend!\n\n42"), ["Hello", " there", ",", " friend", "!\n\n", "42"]);
        assert_eq!(O200k.cut(""), Cut::default());
    }

    #[test]
    fn a_character_of_many_tokens_is_one_piece() {
        let text = "a🦤🜏b";
        assert_eq!(pieces(Cl100k, text), ["a", "🦤", "🜏", "b"]);
        assert!(Cl100k.cut(text).tokens > 4);
    }

    #[test]
    fn tokens_decode_to_their_text() {
        assert_eq!(Cl100k.text(&[15339, 1917]), "hello world");
        assert_eq!(Cl100k.text(&[u32::MAX, 15339, 100_256, 99_999_999]), "hello");
        // The first bytes of an incomplete character.
        assert!(Cl100k.text(&[9468, 99]).contains(char::REPLACEMENT_CHARACTER));
        assert_eq!(O200k.text(&[]), "");
    }

    #[test]
    fn a_prefix_has_whole_characters() {
        let text = "a🦤b";
        let prefixes: Vec<_> = (0..=6).map(|most| &text[..Cl100k.prefix(text, most)]).collect();
        assert_eq!(Cl100k.count(text), 5);
        assert_eq!(prefixes, ["", "a", "a", "a", "a🦤", "a🦤b", "a🦤b"]);
    }

    #[test]
    fn every_length_is_that_of_its_token() {
        for (encoding, tokens) in [(O200k, 199_998), (Cl100k, 100_256)] {
            let Coder { bpe, lengths, .. } = encoding.coder();
            assert_eq!(lengths.len(), tokens);
            assert!((0..).zip(lengths).all(|(token, length)| {
                let bytes = bpe.decode(&[token]).len();
                bytes > 0 && bytes == usize::from(*length)
            }));
        }
    }

    #[test]
    fn long_runs_do_not_take_quadratic_time() {
        let begin = std::time::Instant::now();
        for run in ["a", " ", "\n", "é", "汉", "!"] {
            let text = run.repeat(100_000);
            assert_eq!(O200k.cut(&text).tokens, O200k.count(&text));
        }
        assert!(begin.elapsed().as_secs() < 60, "quadratic time would be hours");
    }

    #[test]
    fn numbers_are_those_of_tiktoken_and_decode_to_the_text() {
        assert_eq!(Cl100k.numbers("Hello there"), [9906, 1070]);
        assert_eq!(Cl100k.text(&[9906, 1070, u32::MAX]), "Hello there");
        for text in ["", "a🦤b", "\n\n \n"] {
            assert_eq!(O200k.text(&O200k.numbers(text)), text);
        }
    }

    fn check(encoding: Encoding, text: &str) -> Result<(), TestCaseError> {
        let cut = encoding.cut(text);
        let pieces = pieces(encoding, text);
        prop_assert_eq!(pieces.concat(), text);
        prop_assert!(pieces.iter().all(|piece| !piece.is_empty()));
        prop_assert_eq!(cut.tokens, encoding.count(text));
        prop_assert!(cut.ends.len() <= cut.tokens);
        prop_assert_eq!(encoding.prefix(text, cut.tokens), text.len());
        Ok(())
    }

    /// Checks that the tokens are those of the crate.
    fn check_pieces(text: &str) -> Result<(), TestCaseError> {
        for encoding in [O200k, Cl100k] {
            let coder = encoding.coder();
            prop_assert_eq!(coder.encode_pieces(text), coder.bpe.encode(text));
        }
        Ok(())
    }

    #[test]
    fn rare_characters_do_not_take_long() {
        let mut random = fastrand::Rng::with_seed(1);
        let text: String = (0..10_000).map(|_| random.char(..)).collect();
        assert!(is_rare(&text) && !is_rare(&"Hello 汉字".repeat(1000)));
        for encoding in [O200k, Cl100k] {
            assert_eq!(encoding.numbers(&text), encoding.coder().bpe.encode(&text));
            assert_eq!(encoding.count(&text), encoding.numbers(&text).len());
        }
    }

    #[test]
    #[ignore = "prints times"]
    fn times_of_a_megabyte() {
        let mut random = fastrand::Rng::with_seed(1);
        let unicode: String = (0..260_000).map(|_| random.char(..)).collect();
        let word: String = (0..1_000_000).map(|_| random.lowercase()).collect();
        for encoding in [O200k, Cl100k] {
            for (name, text) in [("Unicode", &unicode), ("aaaa", &"a".repeat(1_000_000)), ("word", &word)] {
                for of in ["first", "again"] {
                    let start = std::time::Instant::now();
                    let count = encoding.count(text);
                    println!("{encoding:?} {name} {of}: {count} tokens in {:?}", start.elapsed());
                }
                let start = std::time::Instant::now();
                let count = encoding.coder().bpe.count(text);
                println!("{encoding:?} {name} crate: {count} tokens in {:?}", start.elapsed());
            }
        }
    }

    proptest! {
        #[test]
        fn tokens_are_those_of_the_crate(text: String, repeated in 1..20_usize) {
            check_pieces(&text.repeat(repeated))?;
        }

        #[test]
        fn tokens_of_mixed_classes_are_those_of_the_crate(
            text in r"[ \n\t\r\u{3000}\u{a0}'/.,!aBsStTrelLvVmd\u{17f}12²é汉ʰǅÉ\u{301}\u{200d}🦤]{0,60}",
        ) {
            check_pieces(&text)?;
        }

        #[test]
        fn pieces_join_to_the_text(text: String) {
            check(O200k, &text)?;
            check(Cl100k, &text)?;
        }

        #[test]
        fn pieces_join_to_a_text_of_spaces_and_quotes(text in r"[ \n\t\r\u{3000}'/.aBsſ1é汉\u{301}\u{200d}🦤]{0,40}") {
            check(O200k, &text)?;
            check(Cl100k, &text)?;
        }
    }
}
