//! The vocabulary of an encoding in the form of byte-level vocabularies: each byte is a character that can be seen.

use super::Encoding;

impl Encoding {
    /// Returns the text of a token in a byte-level vocabulary: ` a` is `Ġa`. A special token is its name, and an unknown
    /// one is empty.
    pub fn byte_level(self, number: u32) -> String {
        self.special(number).map_or_else(|| byte_level(&self.bytes(number)), Into::into)
    }

    /// Returns the ordinary tokens, in the order of their numbers.
    pub fn vocabulary(self) -> impl Iterator<Item = String> {
        (0..self.ordinary()).map(move |number| byte_level(&self.bytes(number)))
    }

    /// Returns the pairs that are merged, in their order. Each token has one at most: merging the bytes within it goes
    /// the same way wherever it is.
    pub fn merges(self) -> impl Iterator<Item = [String; 2]> {
        let numbers = self.coder().numbers();
        (0..self.ordinary()).filter_map(move |number| {
            let bytes = self.bytes(number);
            let (first, second) = bytes.split_at(numbers.first_of_pair(&bytes)?);
            Some([byte_level(first), byte_level(second)])
        })
    }

    /// Returns the pattern of the pieces in which a text is merged, as a regular expression of Oniguruma.
    pub fn pattern(self) -> String {
        // No flag for both cases: with it, the long s and other letters are an s for some engines and none for others.
        let contraction = "'(?:[sSſtTmMdD]|[rR][eE]|[vV][eE]|[lL][lL])";
        let [upper, lower] = [r"[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]", r"[\p{Ll}\p{Lm}\p{Lo}\p{M}]"];
        let lead = r"[^\r\n\p{L}\p{N}]?";
        let (words, tail) = match self {
            Encoding::O200k => {
                let [mixed, capital] = [format!("{upper}*{lower}+"), format!("{upper}+{lower}*")];
                (format!("{lead}{mixed}(?:{contraction})?|{lead}{capital}(?:{contraction})?"), r"[\r\n/]*")
            }
            Encoding::Cl100k => (format!(r"{contraction}|{lead}\p{{L}}+"), r"[\r\n]*"),
        };
        format!(r"{words}|\p{{N}}{{1,3}}| ?[^\s\p{{L}}\p{{N}}]+{tail}|\s*[\r\n]+|\s+(?!\S)|\s+")
    }
}

/// Writes bytes as byte-level vocabularies do: as the characters of Latin-1 that can be seen, and from U+0100 on in place
/// of the others.
fn byte_level(bytes: &[u8]) -> String {
    let shown = |byte: u8| match byte {
        0..=0x20 => 0x100 + u32::from(byte),
        0x7f..=0xa0 => 0x121 + u32::from(byte - 0x7f),
        0xad => 0x143,
        byte => u32::from(byte),
    };
    bytes.iter().filter_map(|byte| char::from_u32(shown(*byte))).collect()
}
