//! Texts outside of any conversation, as OpenAI's older endpoints accept them: a string, its tokens, or a list of
//! either.

use std::borrow::Cow;

use crate::{
    core::{
        json::{self, Kind},
        prompt::{Role, Turn},
    },
    model::tokens::Encoding,
};

/// Maximum number of texts in one request.
pub(super) const MAX_TEXTS: usize = 2048;

/// Maximum number of tokens parsed of one text. Endpoints allow fewer. A token is up to 128 bytes of text.
const MAX_TOKENS: usize = 131_072;

/// One text of a request.
#[derive(Clone, Debug)]
pub(super) enum Input<'a> {
    /// A string.
    Text(Cow<'a, str>),
    /// The numbers of its tokens.
    Tokens(Vec<u32>),
}

impl<'a> Input<'a> {
    /// Parses the texts of a value; `None` if it has none of the four forms.
    pub(super) fn list(value: json::Value<'a>) -> Option<Vec<Input<'a>>> {
        let first = |value: json::Value<'_>| value.items().first().map(|item| item.kind());
        match (value.kind(), first(value)) {
            (Kind::String, _) => Some(vec![Input::Text(value.as_str()?)]),
            (Kind::Array, Some(Kind::Integer)) => Some(vec![Input::tokens(value)?]),
            (Kind::Array, Some(Kind::Array)) => value.items().into_iter().map(Input::tokens).collect(),
            (Kind::Array, _) => value.items().into_iter().map(|item| Some(Input::Text(item.as_str()?))).collect(),
            _ => None,
        }
    }

    fn tokens(value: json::Value<'_>) -> Option<Input<'static>> {
        let (mut tokens, mut all) = (Vec::new(), value.kind() == Kind::Array);
        value.each(|item| {
            let token = item.as_u64().and_then(|token| u32::try_from(token).ok());
            all &= token.is_some();
            tokens.extend(token.filter(|_| tokens.len() < MAX_TOKENS));
        });
        all.then_some(Input::Tokens(tokens))
    }

    /// Returns the text. Tokens are decoded with the vocabulary of `model`.
    pub(super) fn text(&self, model: &str) -> Cow<'_, str> {
        match self {
            Input::Text(text) => Cow::Borrowed(text),
            Input::Tokens(tokens) => Cow::Owned(Encoding::of_model(model).text(tokens)),
        }
    }

    /// Returns true if there are no characters or tokens.
    pub(super) fn is_empty(&self) -> bool {
        match self {
            Input::Text(text) => text.is_empty(),
            Input::Tokens(tokens) => tokens.is_empty(),
        }
    }

    /// Returns the text as a turn of a prompt.
    pub(super) fn turn(&self, model: &str) -> Turn {
        Turn { role: Role::Text, text: self.text(model).into_owned(), ..Turn::default() }
    }
}

/// Returns the number of texts in a value and an estimate of their tokens, without parsing them.
///
/// The estimate is a quarter of the characters, as recorded for embeddings. Tokens count as themselves.
pub(super) fn estimate(value: json::Value<'_>) -> (u64, u64) {
    let (mut texts, mut chars, mut tokens) = (0, value.chars(), 0);
    value.each(|item| match item.kind() {
        Kind::Array => {
            texts += 1;
            item.each(|_| tokens += 1);
        }
        Kind::Integer => tokens += 1,
        _ => {
            texts += 1;
            chars += item.chars();
        }
    });
    (texts.max(1), chars.div_ceil(4) + tokens)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::json;

    fn with<T>(value: &str, test: impl FnOnce(json::Value<'_>) -> T) -> T {
        let text = format!(r#"{{"input":{value}}}"#);
        let document = json::Document::read(text.as_bytes()).unwrap();
        test(document.members().get("input").unwrap())
    }

    fn texts(value: &str) -> Option<Vec<String>> {
        let model = "text-embedding-3-small";
        with(value, |value| Some(Input::list(value)?.iter().map(|input| input.text(model).into_owned()).collect()))
    }

    #[test]
    fn all_four_forms_are_parsed_as_texts() {
        assert_eq!(texts(r#""a\n""#).unwrap(), ["a\n"]);
        assert_eq!(texts(r#"["a", "", "b"]"#).unwrap(), ["a", "", "b"]);
        assert_eq!(texts("[15339, 1917]").unwrap(), ["hello world"]);
        assert_eq!(texts("[[15339, 1917], [15339], []]").unwrap(), ["hello world", "hello", ""]);
        assert_eq!(texts("[]").unwrap(), [""; 0]);
    }

    #[test]
    fn other_values_are_no_texts() {
        for value in [
            "1",
            "null",
            "{}",
            "[{}]",
            r#"["a", 1]"#,
            r#"[1, "a"]"#,
            "[[1], 2]",
            "[1.5]",
            "[-1]",
            "[4294967296]",
            r#"["\ud800"]"#,
        ] {
            assert_eq!(texts(value), None, "{value}");
        }
    }

    #[test]
    fn tokens_are_estimated_without_parsing() {
        for (value, expected) in [
            (r#""12345""#, (1, 2)),
            (r#"["1234", "5"]"#, (2, 2)),
            ("[1, 2, 3]", (1, 3)),
            ("[[1, 2], [3], []]", (3, 3)),
            ("[]", (1, 0)),
            ("7", (1, 0)),
        ] {
            assert_eq!(with(value, estimate), expected, "{value}");
        }
    }
}
