//! The types of JSON Schema.

use serde::Deserialize;

use crate::core::json::Kind;

/// The types that a member may have.
#[derive(Clone, Debug, Deserialize)]
#[serde(from = "OneOrMore")]
pub(super) struct Kinds {
    list: Vec<JsonType>,
    /// Bit set of the accepted kinds.
    accepted: u8,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum OneOrMore {
    One(JsonType),
    More(Vec<JsonType>),
}

impl From<OneOrMore> for Kinds {
    fn from(kinds: OneOrMore) -> Self {
        let list = match kinds {
            OneOrMore::One(kind) => vec![kind],
            OneOrMore::More(kinds) => kinds,
        };
        let all = [Kind::Boolean, Kind::Integer, Kind::Decimal, Kind::String, Kind::Array, Kind::Object];
        let accepted = all.into_iter().filter(|kind| list.iter().any(|known| known.accepts(*kind)));
        Kinds { accepted: accepted.fold(0, |accepted, kind| accepted | 1 << kind as u8), list }
    }
}

impl Kinds {
    /// Returns the types in the order of the fixture.
    pub(super) fn list(&self) -> &[JsonType] {
        &self.list
    }

    /// Returns true if a value of this kind is accepted.
    #[inline]
    pub(super) fn accept(&self, kind: Kind) -> bool {
        self.accepted & (1 << kind as u8) != 0
    }
}

#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub(super) enum JsonType {
    String,
    Integer,
    Number,
    Boolean,
    Array,
    Object,
}

impl JsonType {
    pub(super) fn accepts(self, kind: Kind) -> bool {
        match self {
            JsonType::String => kind == Kind::String,
            JsonType::Integer => kind == Kind::Integer,
            JsonType::Number => matches!(kind, Kind::Integer | Kind::Decimal),
            JsonType::Boolean => kind == Kind::Boolean,
            JsonType::Array => kind == Kind::Array,
            JsonType::Object => kind == Kind::Object,
        }
    }
}
