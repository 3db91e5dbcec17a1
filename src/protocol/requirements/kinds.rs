//! The types of JSON Schema.

use serde::Deserialize;

use crate::core::json::Kind;

/// The types that a member may have.
#[derive(Clone, Debug, Deserialize)]
#[serde(from = "OneOrMore")]
pub(super) struct Kinds {
    list: Vec<JsonType>,
    /// A bit for each kind that is taken.
    taken: u8,
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
        let taken = all.into_iter().filter(|kind| list.iter().any(|known| known.takes(*kind)));
        Kinds { taken: taken.fold(0, |taken, kind| taken | 1 << kind as u8), list }
    }
}

impl Kinds {
    /// Them, in the order of the fixture.
    pub(super) fn list(&self) -> &[JsonType] {
        &self.list
    }

    /// Whether a value of this kind is taken.
    #[inline]
    pub(super) fn take(&self, kind: Kind) -> bool {
        self.taken & (1 << kind as u8) != 0
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
    fn takes(self, kind: Kind) -> bool {
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
