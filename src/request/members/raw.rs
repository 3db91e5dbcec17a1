//! One value of a document.

use std::borrow::Cow;

use super::{Members, Node, reader::Reader};

/// The text between a JSON string's quotes, decoded; `None` if it is not well-formed.
pub(super) fn unescape(inner: &[u8]) -> Option<Cow<'_, str>> {
    // All are looked at, whatever they are: many at a time.
    let plain = inner.iter().fold(true, |plain, byte| plain & (*byte >= 0x20) & (*byte != b'\\'));
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
#[derive(Clone, Copy, Debug)]
pub struct Raw<'a> {
    /// The whole document.
    pub(super) text: &'a [u8],
    pub(super) value: (u32, u32),
    /// What is inside it.
    pub(super) nodes: &'a [Node],
}

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

impl Kind {
    /// What a sentence calls it.
    pub fn noun(self) -> &'static str {
        match self {
            Kind::Null => "null",
            Kind::Boolean => "a boolean",
            Kind::Integer => "an integer",
            Kind::Decimal => "a decimal",
            Kind::String => "a string",
            Kind::Array => "an array",
            Kind::Object => "an object",
        }
    }
}

impl<'a> Raw<'a> {
    /// The text of the value.
    pub fn text(self) -> &'a [u8] {
        &self.text[self.value.0 as usize..self.value.1 as usize]
    }

    /// Its JSON type.
    pub fn kind(self) -> Kind {
        match self.text().first() {
            Some(b'"') => Kind::String,
            Some(b'{') => Kind::Object,
            Some(b'[') => Kind::Array,
            Some(b't' | b'f') => Kind::Boolean,
            Some(b'n') | None => Kind::Null,
            Some(_) if self.text().iter().any(|b| matches!(b, b'.' | b'e' | b'E')) => Kind::Decimal,
            Some(_) => Kind::Integer,
        }
    }

    /// The string it is; `None` if it is something else, or a string with an ill-formed escape or encoding.
    pub fn as_str(self) -> Option<Cow<'a, str>> {
        match self.text() {
            [b'"', inner @ .., b'"'] => unescape(inner),
            _ => None,
        }
    }

    /// How many characters the string has that it is; 0 if it is something else.
    pub fn chars(self) -> u64 {
        let [b'"', inner @ .., b'"'] = self.text() else { return 0 };
        // Every byte but those that continue a character.
        let mut chars = inner.iter().filter(|byte| (**byte as i8) >= -0x40).count() as u64;
        // An escape is one character, however it is spelled, and the second of a pair of surrogates is none.
        let mut rest = inner;
        while let Some(at) = memchr::memchr(b'\\', rest) {
            let escape = &rest[at..];
            let length = if escape.get(1) == Some(&b'u') && escape.len() >= 6 { 6 } else { escape.len().min(2) };
            let second = length == 6 && matches!(&escape[2..4], [b'd' | b'D', b'c'..=b'f' | b'C'..=b'F']);
            chars = chars.saturating_sub(length as u64 - u64::from(!second));
            rest = &escape[length..];
        }
        chars
    }

    /// The boolean it is.
    pub fn as_bool(self) -> Option<bool> {
        match self.text() {
            b"true" => Some(true),
            b"false" => Some(false),
            _ => None,
        }
    }

    /// The number it is.
    pub fn as_f64(self) -> Option<f64> {
        match self.kind() {
            Kind::Integer | Kind::Decimal => std::str::from_utf8(self.text()).ok()?.parse().ok(),
            _ => None,
        }
    }

    /// The number it is, if that is a whole one and not negative.
    pub fn as_u64(self) -> Option<u64> {
        std::str::from_utf8(self.text()).ok()?.parse().ok()
    }

    /// The items of the array that it is; none if it is something else.
    pub fn items(self) -> Vec<Raw<'a>> {
        let mut items = Vec::new();
        self.each(|item| items.push(item));
        items
    }

    /// Shows every item of the array that it is.
    pub fn each(self, mut show: impl FnMut(Raw<'a>)) {
        if self.kind() != Kind::Array {
            return;
        }
        let Raw { text, value: (from, to), mut nodes } = self;
        // What was read is well-formed: each item is followed by a comma or by the end.
        let mut reader =
            Reader { text: &text[..to as usize], at: from as usize + 1, nodes: Vec::new(), escaped_keys: false };
        reader.skip_space();
        while reader.at + 1 < to as usize {
            let at = reader.at as u32;
            let item = match nodes.split_first() {
                Some((node, rest)) if node.value.0 == at => {
                    let (inside, after) = rest.split_at(node.span as usize - 1);
                    (reader.at, nodes) = (node.value.1 as usize, after);
                    Raw { text, value: node.value, nodes: inside }
                }
                _ => {
                    if reader.scalar().is_err() {
                        return;
                    }
                    Raw { text, value: (at, reader.at as u32), nodes: &[] }
                }
            };
            show(item);
            reader.skip_space();
            reader.at += 1;
            reader.skip_space();
        }
    }

    /// The members of the object that it is.
    pub fn members(self) -> Option<Members<'a>> {
        let Raw { text, nodes, .. } = self;
        (self.kind() == Kind::Object).then_some(Members { text, nodes })
    }

    /// The whole value as a tree; `None` if a string in it is ill-formed.
    pub fn to_value(self) -> Option<serde_json::Value> {
        serde_json::from_slice(self.text()).ok()
    }
}
