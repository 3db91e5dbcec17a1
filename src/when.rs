//! Predicates: for which requests something holds.

use serde::Deserialize;

use crate::template::scope::Scope;

/// What a request must be like. All that is given must hold; nothing given holds always.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Eq)]
#[serde(deny_unknown_fields)]
pub struct When {
    /// The model asked for; `*` stands for any run of characters.
    pub model: Option<String>,
}

impl When {
    /// Whether it holds for every request.
    pub fn is_always(&self) -> bool {
        *self == When::default()
    }

    /// Whether it holds for this request.
    pub fn holds(&self, scope: &Scope<'_>) -> bool {
        match &self.model {
            None => true,
            Some(glob) => {
                let model = scope.members().ok().and_then(|body| body.get("model")?.as_str());
                matches(glob, model.as_deref().unwrap_or(""))
            }
        }
    }
}

/// Whether `text` is what `glob` describes; in it `*` stands for any run of characters, none included.
fn matches(glob: &str, text: &str) -> bool {
    let Some((first, rest)) = glob.split_once('*') else { return glob == text };
    let Some(mut text) = text.strip_prefix(first) else { return false };
    let mut parts: Vec<_> = rest.split('*').collect();
    let last = parts.pop().unwrap_or("");
    for part in parts {
        // The leftmost place is always a right one, since a star follows.
        let Some(at) = text.find(part) else { return false };
        text = &text[at + part.len()..];
    }
    text.ends_with(last)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn globs() {
        for (glob, text) in [("gpt-4o", "gpt-4o"), ("gpt-*", "gpt-4o"), ("*", ""), ("*-mini", "gpt-4o-mini")] {
            assert!(matches(glob, text), "{glob} {text}");
        }
        for (glob, text) in [("a*b*c", "a--b--b--c"), ("a*b", "ab"), ("**", "x"), ("a*a", "aa")] {
            assert!(matches(glob, text), "{glob} {text}");
        }
        for (glob, text) in [("gpt-4o", "gpt-4"), ("gpt-*", "o1"), ("a*a", "a"), ("*-mini", "mini"), ("a*b*b", "ab")] {
            assert!(!matches(glob, text), "{glob} {text}");
        }
    }
}
