//! What the fake model says, before any protocol spells it.

/// One reply of the fake model.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reply {
    /// The text said.
    pub text: String,
    /// Why it ended.
    pub finish_reason: FinishReason,
    /// What it is said to have cost.
    pub usage: Usage,
}

/// Why the model stopped.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FinishReason {
    /// It had said all.
    #[default]
    Stop,
    /// It reached the most tokens that it was allowed.
    Length,
    /// A filter stopped it.
    ContentFilter,
}

/// Tokens counted for one request.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Usage {
    /// Tokens of the prompt.
    pub prompt_tokens: u64,
    /// Tokens of the reply.
    pub completion_tokens: u64,
}

/// The longest piece that [`pieces`] gives, in characters.
const LONGEST_PIECE: usize = 16;

/// Cuts a text into pieces that look like a model's tokens: a word with the space before it, a run of line breaks, a
/// single mark. The pieces join to the text.
pub fn pieces(text: &str) -> impl Iterator<Item = &str> {
    let mut rest = text;
    std::iter::from_fn(move || {
        let length = piece_length(rest);
        let (piece, after) = rest.split_at(length);
        rest = after;
        (!piece.is_empty()).then_some(piece)
    })
}

fn piece_length(text: &str) -> usize {
    let lead = usize::from(text.starts_with(' ')); // a word takes the one space before it along
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

    #[test]
    fn a_sentence_is_cut_like_tokens() {
        let cut: Vec<_> = pieces("\n\nHello there, how may I assist you today?").collect();
        assert_eq!(cut, ["\n\n", "Hello", " there", ",", " how", " may", " I", " assist", " you", " today", "?"]);
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
