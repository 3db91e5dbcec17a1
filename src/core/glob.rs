//! Globs: names with `*` for any run of characters.

use std::fmt;

use serde::{Deserialize, Serialize};

/// A name, or many at once: `*` stands for any run of characters, none included.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(from = "String", into = "String")]
pub struct Glob {
    text: String,
    /// Where its first star is.
    star: Option<usize>,
}

impl Glob {
    /// As it is written.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Whether it is one name and no other.
    pub fn is_name(&self) -> bool {
        self.star.is_none()
    }

    /// Whether it describes this name.
    #[inline]
    pub fn matches(&self, name: &str) -> bool {
        match self.star {
            None => self.text == name,
            // Many globs are tried for a name, and most of them end here.
            Some(star) => name.as_bytes().starts_with(&self.text.as_bytes()[..star]) && self.matches_from(star, name),
        }
    }

    fn matches_from(&self, star: usize, name: &str) -> bool {
        let mut rest = &name[star..];
        let (parts, last) = self.text[star + 1..].rsplit_once('*').unwrap_or(("", &self.text[star + 1..]));
        for part in parts.split('*') {
            // The leftmost place is always a right one, since a star follows.
            let Some(at) = rest.find(part) else { return false };
            rest = &rest[at + part.len()..];
        }
        rest.ends_with(last)
    }
}

impl From<String> for Glob {
    fn from(text: String) -> Self {
        Glob { star: text.find('*'), text }
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
        let fits = |glob: &str, name: &str| Glob::from(glob.to_owned()).matches(name);
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
}
