//! The difference between a condition and a request.

use std::{borrow::Cow, fmt};

use crate::core::secret;

/// The number of characters above which a value is cut.
const LONGEST_VALUE: usize = 80;

/// The number of mismatches that are listed; of the others only the number is given.
const MOST_LISTED: usize = 8;

/// A condition that does not hold for a request. Long values are cut.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mismatch {
    /// The name of the condition: `model`, `user`, or the path of a member of the body.
    pub name: String,
    /// The value that was expected, as JSON, or `a match of …`.
    pub expected: String,
    /// The value that came, as JSON, or `nothing`.
    pub actual: String,
}

impl fmt::Display for Mismatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: expected {}, got {}", self.name, self.expected, self.actual)
    }
}

/// Renders mismatches as a list in one line.
pub fn list(mismatches: &[Mismatch]) -> String {
    let mut texts: Vec<_> = mismatches.iter().take(MOST_LISTED).map(ToString::to_string).collect();
    if let Some(more) = mismatches.len().checked_sub(MOST_LISTED).filter(|more| *more > 0) {
        texts.push(format!("and {more} more"));
    }
    texts.join("; ")
}

/// Renders a text as a JSON string, cut if it is long. Keys in it are masked.
pub(super) fn quoted(text: &str) -> String {
    serde_json::Value::from(&*secret::in_text(&cut(text))).to_string()
}

/// Returns the text, cut if it is long.
pub(super) fn cut(text: &str) -> Cow<'_, str> {
    match text.char_indices().nth(LONGEST_VALUE) {
        Some((end, _)) => Cow::Owned(format!("{}…", &text[..end])),
        None => Cow::Borrowed(text),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_values_and_long_lists_are_cut() {
        assert_eq!(quoted("a\"b\n"), r#""a\"b\n""#);
        assert_eq!(quoted(&"ä".repeat(80)), format!("\"{}\"", "ä".repeat(80)));
        assert_eq!(quoted(&"ä".repeat(81)), format!("\"{}…\"", "ä".repeat(80)));
        let mismatch = Mismatch { name: "turn".to_owned(), expected: "2".to_owned(), actual: "1".to_owned() };
        assert_eq!(list(std::slice::from_ref(&mismatch)), "turn: expected 2, got 1");
        let long = list(&vec![mismatch; 10]);
        assert!(long.ends_with("; turn: expected 2, got 1; and 2 more"), "{long}");
    }
}
