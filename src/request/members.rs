//! The top-level members of a JSON object, found in one pass without building a tree.
//!
//! A chat request is a handful of small members and one prompt of up to megabytes that a fake seldom reads. So the reader
//! checks the whole structure (brackets, commas, literals, numbers, nesting up to [`MAX_DEPTH`]) but passes over the
//! inside of a string by looking for its closing quote alone: an ill-formed escape or encoding inside a string is found
//! only if somebody reads that string.

mod reader;

use std::borrow::Cow;

use smallvec::SmallVec;

use self::reader::Reader;

/// How deep values may be nested; the same as serde_json's own bound.
pub const MAX_DEPTH: usize = 128;

/// The text is not a JSON object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Malformed {
    /// Where it stops being one, in bytes from the start.
    pub at: usize,
}

/// The members of one JSON object, in the order they were sent.
#[derive(Debug, Default)]
pub struct Members<'a> {
    list: SmallVec<[(&'a [u8], Raw<'a>); 12]>,
    /// Whether any key is written with an escape, and so is not to be compared byte by byte.
    escaped_keys: bool,
}

impl<'a> Members<'a> {
    /// Finds the members of the object that `text` is. Empty text counts as `{}`: that is what OpenAI makes of a
    /// request without a body.
    ///
    /// # Errors
    /// [`Malformed`] where `text` is not one JSON object.
    pub fn read(text: &'a [u8]) -> Result<Self, Malformed> {
        let mut members = Members::default();
        let mut reader = Reader { text, at: 0 };
        reader.skip_space();
        if reader.at == text.len() {
            return Ok(members);
        }
        reader.object(0, |key, value| {
            members.escaped_keys |= key.contains(&b'\\');
            members.list.push((key, value));
        })?;
        reader.skip_space();
        if reader.at == text.len() { Ok(members) } else { Err(reader.malformed()) }
    }

    /// The value of a member; of the last one where a key is given twice, as JSON readers commonly do.
    pub fn get(&self, name: &str) -> Option<Raw<'a>> {
        let is = |key: &[u8]| match self.escaped_keys {
            false => key == name.as_bytes(),
            true => unescape(key).is_some_and(|key| key == name),
        };
        self.list.iter().rev().find(|(key, _)| is(key)).map(|(_, value)| *value)
    }

    /// Key and value of every member. A key is the text between its quotes, escapes and all.
    pub fn iter(&self) -> impl Iterator<Item = (&'a [u8], Raw<'a>)> + '_ {
        self.list.iter().copied()
    }
}

/// The text between a JSON string's quotes, decoded; `None` if it is not well-formed.
fn unescape(inner: &[u8]) -> Option<Cow<'_, str>> {
    let plain = inner.iter().all(|b| *b >= 0x20 && *b != b'\\');
    if plain {
        return std::str::from_utf8(inner).ok().map(Cow::Borrowed);
    }
    let mut quoted = Vec::with_capacity(inner.len() + 2);
    quoted.push(b'"');
    quoted.extend_from_slice(inner);
    quoted.push(b'"');
    serde_json::from_slice(&quoted).ok().map(Cow::Owned)
}

/// One JSON value, as it stands in the request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Raw<'a>(&'a [u8]);

/// The JSON type of a value. Numbers are told apart by their spelling: `1` is an integer, `1.0` is not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Kind {
    Null,
    Boolean,
    Integer,
    Decimal,
    String,
    Array,
    Object,
}

impl<'a> Raw<'a> {
    /// The text of the value.
    pub fn text(self) -> &'a [u8] {
        self.0
    }

    /// Its JSON type.
    pub fn kind(self) -> Kind {
        match self.0.first() {
            Some(b'"') => Kind::String,
            Some(b'{') => Kind::Object,
            Some(b'[') => Kind::Array,
            Some(b't' | b'f') => Kind::Boolean,
            Some(b'n') | None => Kind::Null,
            Some(_) if self.0.iter().any(|b| matches!(b, b'.' | b'e' | b'E')) => Kind::Decimal,
            Some(_) => Kind::Integer,
        }
    }

    /// The string it is; `None` if it is something else, or a string with an ill-formed escape or encoding.
    pub fn as_str(self) -> Option<Cow<'a, str>> {
        match self.0 {
            [b'"', inner @ .., b'"'] => unescape(inner),
            _ => None,
        }
    }

    /// The boolean it is.
    pub fn as_bool(self) -> Option<bool> {
        match self.0 {
            b"true" => Some(true),
            b"false" => Some(false),
            _ => None,
        }
    }

    /// The number it is.
    pub fn as_f64(self) -> Option<f64> {
        match self.kind() {
            Kind::Integer | Kind::Decimal => std::str::from_utf8(self.0).ok()?.parse().ok(),
            _ => None,
        }
    }

    /// The number it is, if that is a whole one and not negative.
    pub fn as_u64(self) -> Option<u64> {
        std::str::from_utf8(self.0).ok()?.parse().ok()
    }

    /// The items of the array that it is; none if it is something else.
    pub fn items(self) -> Vec<Raw<'a>> {
        let mut items = Vec::new();
        self.each(|item| items.push(item));
        items
    }

    /// Shows every item of the array that it is.
    pub fn each(self, show: impl FnMut(Raw<'a>)) {
        // What is part of a body that was read is well-formed, so an error means only that it is no array.
        let _ = Reader { text: self.0, at: 0 }.array(0, show);
    }

    /// The members of the object that it is.
    pub fn members(self) -> Option<Members<'a>> {
        if self.kind() == Kind::Object { Members::read(self.0).ok() } else { None }
    }

    /// The whole value as a tree; `None` if a string in it is ill-formed.
    pub fn to_value(self) -> Option<serde_json::Value> {
        serde_json::from_slice(self.0).ok()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::*;

    fn get<'a>(text: &'a str, name: &str) -> Option<Raw<'a>> {
        Members::read(text.as_bytes()).unwrap().get(name)
    }

    #[test]
    fn finds_what_was_sent() {
        let text = r#" { "model" : "gpt-4o", "n":1,"t":0.5,"stream":true, "x":null,"m":[{"a":"}\"]"}, []] } "#;
        assert_eq!(get(text, "model").unwrap().as_str().unwrap(), "gpt-4o");
        assert_eq!(get(text, "n").unwrap().kind(), Kind::Integer);
        assert_eq!(get(text, "t").unwrap().as_f64(), Some(0.5));
        assert_eq!(get(text, "stream").unwrap().as_bool(), Some(true));
        assert_eq!(get(text, "x").unwrap().kind(), Kind::Null);
        assert_eq!(get(text, "m").unwrap().items().len(), 2);
        assert_eq!(get(text, "absent"), None);
    }

    #[test]
    fn the_last_of_two_equal_keys_wins_and_escaped_keys_are_read() {
        assert_eq!(get(r#"{"a":1,"a":2}"#, "a").unwrap().text(), b"2");
        assert_eq!(get(r#"{"mod\u0065l":1}"#, "model").unwrap().text(), b"1");
    }

    #[test]
    fn strings_are_decoded_or_refused_when_read() {
        assert_eq!(get(r#"{"a":"x\n\u00e9\"\\"}"#, "a").unwrap().as_str().unwrap(), "x\né\"\\");
        assert_eq!(get(r#"{"a":"\q"}"#, "a").unwrap().as_str(), None);
        assert_eq!(get("{\"a\":\"\u{1}\"}", "a").unwrap().as_str(), None);
    }

    #[test]
    fn an_empty_body_is_an_empty_object() {
        assert_eq!(Members::read(b" \n").unwrap().iter().count(), 0);
    }

    #[test]
    fn nesting_is_bounded() {
        let deep = |n: usize| format!("{{\"a\":{}{}}}", "[".repeat(n), "]".repeat(n));
        assert!(Members::read(deep(MAX_DEPTH - 1).as_bytes()).is_ok());
        assert!(Members::read(deep(MAX_DEPTH).as_bytes()).is_err());
        assert!(Members::read(deep(1_000_000).as_bytes()).is_err());
    }

    fn any_json() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            any::<f64>().prop_map(|n| json!(n)),
            any::<String>().prop_map(Value::from),
        ];
        leaf.prop_recursive(4, 64, 8, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..8).prop_map(Value::from),
                prop::collection::hash_map(any::<String>(), inner, 0..8)
                    .prop_map(|map| Value::Object(map.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn reads_what_serde_json_writes(object in prop::collection::hash_map(any::<String>(), any_json(), 0..12), pretty: bool) {
            let value = Value::Object(object.into_iter().collect());
            let text = if pretty { serde_json::to_vec_pretty(&value) } else { serde_json::to_vec(&value) }.unwrap();
            let members = Members::read(&text).unwrap();
            let value: Value = serde_json::from_slice(&text).unwrap();
            for (key, expected) in value.as_object().unwrap() {
                prop_assert_eq!(&members.get(key).unwrap().to_value().unwrap(), expected);
            }
        }

        #[test]
        fn agrees_with_serde_json_on_structure(text in r#"[\[\]{}:,"a1\-.e \\tfnrul]{0,24}"#) {
            let ours = Members::read(text.as_bytes()).is_ok();
            let theirs = text.trim().is_empty()
                || serde_json::from_str::<serde_json::Map<String, Value>>(&text).is_ok();
            // Ours passes over ill-formed escapes inside strings and numbers beyond f64; in everything else the two agree.
            let lenient = text.contains('\\') || text.contains("1e1");
            prop_assert!(ours == theirs || (ours && lenient), "{}", text);
        }

        #[test]
        fn never_panics(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = Members::read(&bytes);
        }
    }
}
