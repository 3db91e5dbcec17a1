//! One value of a JSON document.

use std::borrow::Cow;

use super::{KeyFilter, Node, Object, reader::Reader};

/// Decodes the text between a JSON string's quotes; `None` if it is not well-formed.
pub(super) fn unescape(inner: &[u8]) -> Option<Cow<'_, str>> {
    // No early exit: this loop is vectorised.
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

/// One JSON value, as it was sent.
#[derive(Clone, Copy, Debug)]
pub struct Value<'a> {
    /// The whole document.
    pub(super) text: &'a [u8],
    pub(super) value: (u32, u32),
    /// The nodes inside the value.
    pub(super) nodes: &'a [Node],
    pub(super) kind: Kind,
    /// True for an array if each of its items has a node.
    pub(super) dense: bool,
    /// The names of the members, for an object.
    pub(super) names: KeyFilter,
}

/// The JSON type of a value. The notation of a number decides: `1` is an integer, `1.0` is not.
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
    /// Returns the noun with its article, for error texts.
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

impl<'a> Value<'a> {
    /// Returns the JSON text of the value.
    pub fn text(self) -> &'a [u8] {
        &self.text[self.value.0 as usize..self.value.1 as usize]
    }

    /// Returns the JSON type.
    #[inline]
    pub fn kind(self) -> Kind {
        self.kind
    }

    /// Decodes a string; `None` for another type, or for an invalid escape or encoding.
    pub fn as_str(self) -> Option<Cow<'a, str>> {
        match self.text() {
            [b'"', inner @ .., b'"'] => unescape(inner),
            _ => None,
        }
    }

    /// Returns the bytes of a string if they are ASCII and contain no escape.
    #[inline]
    pub fn plain(self) -> Option<&'a [u8]> {
        let [b'"', inner @ .., b'"'] = self.text() else { return None };
        let is_plain = |plain, byte: &u8| plain & (*byte >= 0x20) & (*byte < 0x80) & (*byte != b'\\');
        inner.iter().fold(true, is_plain).then_some(inner)
    }

    /// Number of characters of a string; 0 for another type.
    pub fn chars(self) -> u64 {
        let [b'"', inner @ .., b'"'] = self.text() else { return 0 };
        // All bytes but UTF-8 continuation bytes.
        let mut chars = inner.iter().filter(|byte| (**byte as i8) >= -0x40).count() as u64;
        // An escape counts as one character, and the second of a surrogate pair as none.
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

    /// Returns the boolean; `None` for another type.
    pub fn as_bool(self) -> Option<bool> {
        match self.text() {
            b"true" => Some(true),
            b"false" => Some(false),
            _ => None,
        }
    }

    /// Returns the number; `None` for another type.
    pub fn as_f64(self) -> Option<f64> {
        match self.kind {
            // Integers of up to 15 digits are exact in f64.
            Kind::Integer if self.text().len() <= 15 && self.text().first() != Some(&b'-') => {
                self.as_u64().map(|whole| whole as f64)
            }
            Kind::Integer | Kind::Decimal => std::str::from_utf8(self.text()).ok()?.parse().ok(),
            _ => None,
        }
    }

    /// Returns the number if it is an integer, not negative, and within u64.
    pub fn as_u64(self) -> Option<u64> {
        if self.kind != Kind::Integer {
            return None;
        }
        self.text().iter().try_fold(0, |number: u64, byte| {
            let digit = byte.checked_sub(b'0').filter(|digit| *digit <= 9)?;
            number.checked_mul(10)?.checked_add(digit.into())
        })
    }

    /// Returns the items of an array; empty for another type.
    pub fn items(self) -> Vec<Value<'a>> {
        let mut items = Vec::new();
        self.each(|item| items.push(item));
        items
    }

    /// Calls `visit` with every item of an array.
    pub fn each(self, mut visit: impl FnMut(Value<'a>)) {
        if self.kind != Kind::Array {
            return;
        }
        let Value { text, value: (from, to), mut nodes, dense, .. } = self;
        let mut next = || {
            let (node, rest) = nodes.split_first()?;
            let (inside, after) = rest.split_at(node.span as usize - 1);
            nodes = after;
            Some(node.raw(text, inside))
        };
        if dense {
            while let Some(item) = next() {
                visit(item);
            }
            return;
        }
        // The text has been validated: a comma or the end follows each item.
        let mut reader = Reader::inside(&text[..to as usize], from as usize + 1);
        reader.skip_space();
        while reader.at + 1 < to as usize {
            let item = if reader.is_at_node() {
                let Some(item) = next() else { return };
                reader.at = item.value.1 as usize;
                item
            } else {
                let at = reader.at as u32;
                let Ok(kind) = reader.scalar() else { return };
                let value = (at, reader.at as u32);
                Value { text, value, nodes: &[], kind, dense: false, names: KeyFilter::default() }
            };
            visit(item);
            reader.skip_space();
            reader.at += 1;
            reader.skip_space();
        }
    }

    /// Returns the members of an object; `None` for another type.
    pub fn members(self) -> Option<Object<'a>> {
        let Value { text, nodes, names, .. } = self;
        (self.kind == Kind::Object).then_some(Object { text, nodes, names })
    }

    /// Builds a `serde_json` tree of the value; `None` if a string in it is invalid.
    pub fn to_value(self) -> Option<serde_json::Value> {
        serde_json::from_slice(self.text()).ok()
    }
}
