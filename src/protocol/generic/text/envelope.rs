//! The envelope of `text`, as a fixture writes it.

use serde::Deserialize;
use serde_json::Value;

use crate::{core::response::StreamFormat, protocol::path::JsonPath};

/// The envelope in a fixture.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct TextEnvelope {
    #[serde(rename = "asks")]
    pub(super) paths: InputPaths,
    pub(super) reasons: Reasons,
    pub(super) whole: Value,
    pub(super) first: Option<Value>,
    pub(super) piece: Option<Value>,
    pub(super) last: Option<Value>,
    pub(super) calls: Option<CallsFile>,
    #[serde(default)]
    pub(super) framing: EventFraming,
    pub(super) content_type: Option<String>,
    pub(super) echo: Option<String>,
    #[serde(default)]
    pub(super) stream_by_path: bool,
}

/// One value, or a list.
#[derive(Deserialize)]
#[serde(untagged)]
pub(super) enum OneOrMany<T> {
    One(T),
    Many(Vec<T>),
}

impl<T> Default for OneOrMany<T> {
    fn default() -> Self {
        OneOrMany::Many(Vec::new())
    }
}

impl<T> OneOrMany<T> {
    pub(super) fn as_slice(&self) -> &[T] {
        match self {
            OneOrMany::One(one) => std::slice::from_ref(one),
            OneOrMany::Many(many) => many,
        }
    }
}

/// Paths of the request's inputs. The first path of `max_tokens` that leads to a number applies.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct InputPaths {
    pub(super) prompt: JsonPath,
    #[serde(default)]
    pub(super) max_tokens: OneOrMany<JsonPath>,
    pub(super) stop: Option<JsonPath>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct CallsFile {
    pub(super) call: Value,
    pub(super) whole: Value,
    pub(super) event: Option<Value>,
    pub(super) last: Option<Value>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Reasons {
    pub(super) stop: Value,
    pub(super) length: Value,
    pub(super) content_filter: Option<Value>,
}

/// Framing of the events of a stream.
#[derive(Clone, Copy, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum EventFraming {
    /// Server-sent events.
    #[default]
    Events,
    /// Lines of JSON.
    Lines,
}

impl EventFraming {
    pub(super) fn content_type(self) -> &'static str {
        match self {
            EventFraming::Events => "text/event-stream",
            EventFraming::Lines => "application/x-ndjson",
        }
    }

    pub(super) fn format(self) -> StreamFormat {
        match self {
            EventFraming::Events => StreamFormat::Data("\n"),
            EventFraming::Lines => StreamFormat::Lines,
        }
    }
}
