//! Globs: names with `*` for any run of characters.

use std::fmt;

use serde::{Deserialize, Serialize};

/// A pattern for names: `*` matches any run of characters, an empty one included.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(try_from = "String", into = "String")]
pub struct Glob {
    text: String,
    /// The byte at which the first `*` is.
    star: Option<usize>,
}

impl Glob {
    /// A glob of text that is known to be one: see `TryFrom` for a user's.
    pub(crate) fn new(text: String) -> Self {
        Glob { star: text.find('*'), text }
    }

    /// Returns the pattern as it was written.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Returns true if the pattern has no `*`.
    pub fn is_name(&self) -> bool {
        self.star.is_none()
    }

    /// Returns true if the pattern matches `name`.
    #[inline]
    pub fn matches(&self, name: &str) -> bool {
        match self.star {
            None => self.text == name,
            // Most globs that are tried for a name fail at their prefix.
            Some(star) => name.as_bytes().starts_with(&self.text.as_bytes()[..star]) && self.matches_from(star, name),
        }
    }

    fn matches_from(&self, star: usize, name: &str) -> bool {
        let mut rest = &name[star..];
        let (parts, last) = self.text[star + 1..].rsplit_once('*').unwrap_or(("", &self.text[star + 1..]));
        for part in parts.split('*') {
            // The leftmost match is always correct, because a star follows.
            let Some(at) = rest.find(part) else { return false };
            rest = &rest[at + part.len()..];
        }
        rest.ends_with(last)
    }
}

impl TryFrom<String> for Glob {
    type Error = String;

    /// Refuses `[`: it would be taken for itself where a character class is meant.
    fn try_from(text: String) -> Result<Self, String> {
        if text.contains('[') {
            return Err(format!(
                "the glob `{text}` has a `[`, and character classes are not supported; write `*` in its place, or one glob for each name"
            ));
        }
        Ok(Glob::new(text))
    }
}

impl From<Glob> for String {
    fn from(glob: Glob) -> Self {
        glob.text
    }
}

impl fmt::Display for Glob {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_star_is_any_run_of_characters() {
        let fits = |glob: &str, name: &str| Glob::new(glob.to_owned()).matches(name);
        for (glob, name) in [("gpt-4o", "gpt-4o"), ("gpt-*", "gpt-4o"), ("*", ""), ("*-mini", "gpt-4o-mini")] {
            assert!(fits(glob, name), "{glob} {name}");
        }
        for (glob, name) in [("a*b*c", "a--b--b--c"), ("a*b", "ab"), ("**", "x"), ("a*a", "aa"), ("é*é", "éé")] {
            assert!(fits(glob, name), "{glob} {name}");
        }
        for (glob, name) in [("gpt-4o", "gpt-4"), ("gpt-*", "o1"), ("a*a", "a"), ("*-mini", "mini"), ("a*b*b", "ab")] {
            assert!(!fits(glob, name), "{glob} {name}");
        }
    }

    #[test]
    fn a_character_class_is_refused_with_a_remedy() {
        let refused = Glob::try_from("gpt-[45]*".to_owned()).unwrap_err();
        assert!(refused.starts_with("the glob `gpt-[45]*` has a `[`") && refused.contains("; write `*`"), "{refused}");
        let read: Result<Glob, _> = serde_json::from_str(r#""gpt-[45]*""#);
        assert_eq!(read.unwrap_err().to_string(), refused);
    }
}
