//! The text form of slots, as fixtures have it.

use std::fmt;

use super::Slot;
use crate::core::random::Alphabet;

impl fmt::Display for Slot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Slot::Path(name) => write!(f, "path.{name}"),
            Slot::Query(name) => write!(f, "query.{name}"),
            Slot::Header(name) => write!(f, "header.{name}"),
            Slot::Body(path) => write!(f, "body.{}", path.join(".")),
            Slot::ModelName => f.write_str("model.name"),
            Slot::ServedModel => f.write_str("model.served"),
            Slot::Method => f.write_str("request.method"),
            Slot::FullPath => f.write_str("request.path"),
            Slot::ProcessingMs => f.write_str("request.processing_ms"),
            Slot::RequestId => f.write_str("request.id"),
            Slot::Resource(path) if path.is_empty() => f.write_str("resource.self"),
            Slot::Resource(path) => write!(f, "resource.{}", path.join(".")),
            Slot::Models => f.write_str("server.models"),
            Slot::Id(alphabet, length) => write!(f, "id.{}{length}", prefix(*alphabet)),
            Slot::ClientId(alphabet, length) => write!(f, "id.client_or_{}{length}", prefix(*alphabet)),
            Slot::Uuid => f.write_str("id.uuid"),
            Slot::Unix => f.write_str("now.unix"),
            Slot::UnixIn(seconds) => write!(f, "now.in_{seconds}"),
            Slot::Rfc3339In(0) => f.write_str("now.rfc3339"),
            Slot::Rfc3339In(seconds) => write!(f, "now.rfc3339_in_{seconds}"),
            Slot::Version => f.write_str("server.version"),
            Slot::OnlyModel => f.write_str("server.model"),
            Slot::ServerNumber(number) => write!(f, "server.{}", number.name()),
            Slot::JsonAt => f.write_str("request.json_at"),
            Slot::JsonProblem => f.write_str("request.json_problem"),
            Slot::Fingerprint => f.write_str("server.fingerprint"),
            Slot::Example(part) => write!(f, "example.{part}"),
            Slot::LimitStatus(family, field) => write!(f, "{family}.{field}"),
            Slot::Error(name) => write!(f, "error.{name}"),
            Slot::Part(name) => write!(f, "part.{name}"),
        }
    }
}

/// Returns the name of an alphabet in front of a length.
pub(super) fn prefix(alphabet: Alphabet) -> &'static str {
    match alphabet {
        Alphabet::Alphanumeric => "alnum",
        Alphabet::Hex => "hex",
        Alphabet::Base58 => "base58_",
        Alphabet::Digits => "digits",
    }
}
