//! The two layouts of a response object's JSON.

use serde::Serialize;
use serde_json::Value;

use crate::core::template::Layout;

/// The layout of the object's JSON.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum JsonForm {
    /// Two spaces per level and no line break at the end, as in full responses.
    Pretty,
    /// On one line, as in events.
    Compact,
}

impl JsonForm {
    pub(super) const ALL: [JsonForm; 2] = [JsonForm::Pretty, JsonForm::Compact];

    pub(super) fn layout(self) -> Layout {
        Layout { indent: if self == JsonForm::Pretty { 2 } else { 0 }, newline: false }
    }

    /// Writes a member, with the comma before it.
    pub(super) fn member(self, name: &str, value: &Value, out: &mut Vec<u8>) {
        self.key(name, out);
        self.value(value, 1, out);
    }

    /// Writes a key, with the comma before it.
    pub(super) fn key(self, name: &str, out: &mut Vec<u8>) {
        out.extend_from_slice(if self == JsonForm::Pretty { b",\n  \"" } else { b",\"" });
        out.extend_from_slice(name.as_bytes());
        out.extend_from_slice(if self == JsonForm::Pretty { b"\": " } else { b"\":" });
    }

    /// Writes a member whose value is JSON text of one line, with the comma before it.
    pub(super) fn line(self, name: &str, json: &str, out: &mut Vec<u8>) {
        self.key(name, out);
        out.extend_from_slice(json.as_bytes());
    }

    /// Writes a value at this nesting level.
    pub(super) fn value<T: Serialize>(self, value: &T, level: usize, out: &mut Vec<u8>) {
        let layout = self.layout();
        layout.write_inside(value, layout.indent * level, out);
    }
}
