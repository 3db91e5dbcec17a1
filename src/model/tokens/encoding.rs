//! Tokens as OpenAI's tiktoken counts and cuts them.

mod class;
mod merge;
mod special;
mod split;
mod vocabulary;

use std::sync::{LazyLock, OnceLock};

use tiktoken::CoreBpe;

pub use self::special::Mark;
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

    /// Number of tokens of the vocabulary, special ones included.
    pub fn size(self) -> u32 {
        match self {
            Encoding::O200k => 200_019,
            Encoding::Cl100k => 100_277,
        }
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

    /// Returns the text of tokens by their numbers. A special token is its name. Unknown numbers are skipped.
    pub fn text(self, numbers: &[u32]) -> String {
        let bytes: Vec<u8> = numbers.iter().flat_map(|number| self.bytes(*number)).collect();
        String::from_utf8_lossy(&bytes).into_owned()
    }

    /// Returns the bytes of a token; none for an unknown one.
    fn bytes(self, number: u32) -> Vec<u8> {
        let Coder { bpe, lengths, .. } = self.coder();
        if (number as usize) < lengths.len() {
            return bpe.decode(&[number]);
        }
        self.special(number).map(|name| name.into_owned().into_bytes()).unwrap_or_default()
    }

    /// Number of ordinary tokens. Their numbers begin at 0, and those of the special ones after them.
    fn ordinary(self) -> u32 {
        match self {
            Encoding::O200k => 199_998,
            Encoding::Cl100k => 100_256,
        }
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

/// Minimum length of a rare text, in bytes. The crate encodes shorter ones in less than 10 ms.
const MIN_RARE: usize = 2048;

/// Maximum number of wide spaces in a text, times its bytes, that the crate encodes: 30 ms.
const MAX_SPACE_BYTES: usize = 1 << 25;

/// Returns true for texts that the crate takes long for. It uses a regular expression where a piece has a character that
/// is neither ASCII nor East Asian. That takes microseconds for each where many scripts are mixed, because it learns
/// them anew. At a run of spaces outside ASCII it checks the whole rest of the text: quadratic time.
fn is_rare(text: &str) -> bool {
    if text.len() < MIN_RARE || text.is_ascii() {
        return false;
    }
    let (mut changes, mut spaces, mut last) = (0, 0, 0);
    for c in text.chars().filter(|c| !c.is_ascii()) {
        spaces += usize::from(c.is_whitespace());
        let block = u32::from(c) >> 8;
        if block != last && !matches!(c, '\u{3000}'..='\u{9fff}' | '\u{ac00}'..='\u{d7a3}') {
            (changes, last) = (changes + 1, block);
        }
    }
    changes > text.len() / 32 || spaces.saturating_mul(text.len()) > MAX_SPACE_BYTES
}

struct Coder {
    encoding: Encoding,
    bpe: CoreBpe,
    /// For rare texts and [`vocabulary`], made for the first one.
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

    fn numbers(&self) -> &Numbers {
        self.numbers.get_or_init(|| Numbers::new(&self.bpe))
    }

    /// The same without the crate's regular expression.
    fn encode_pieces(&self, text: &str) -> Vec<u32> {
        let numbers = self.numbers();
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
mod tests;
