//! JSON on one line.

use std::io;

use serde::Serialize;
use serde_json::{Serializer, ser::Formatter};

/// The style of JSON on one line, for the events of a stream.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LineStyle {
    /// No spaces.
    #[default]
    Compact,
    /// A space after each colon and none after a comma, as in Google's events.
    Spaced,
    /// A space after each colon and each comma, as Python writes it.
    Python,
}

impl LineStyle {
    /// Renders `value` on one line.
    pub fn write<T: Serialize>(self, value: &T) -> Vec<u8> {
        struct Spaced;
        impl Formatter for Spaced {
            fn begin_object_value<W: io::Write + ?Sized>(&mut self, writer: &mut W) -> io::Result<()> {
                writer.write_all(b": ")
            }
        }
        struct Python;
        impl Formatter for Python {
            fn begin_array_value<W: io::Write + ?Sized>(&mut self, writer: &mut W, is_first: bool) -> io::Result<()> {
                writer.write_all(if is_first { b"" } else { b", " })
            }

            fn begin_object_key<W: io::Write + ?Sized>(&mut self, writer: &mut W, is_first: bool) -> io::Result<()> {
                self.begin_array_value(writer, is_first)
            }

            fn begin_object_value<W: io::Write + ?Sized>(&mut self, writer: &mut W) -> io::Result<()> {
                writer.write_all(b": ")
            }
        }
        let mut text = Vec::new();
        let written = match self {
            LineStyle::Python => value.serialize(&mut Serializer::with_formatter(&mut text, Python)),
            LineStyle::Compact => serde_json::to_writer(&mut text, value),
            LineStyle::Spaced => value.serialize(&mut Serializer::with_formatter(&mut text, Spaced)),
        };
        debug_assert!(written.is_ok(), "JSON values always serialize");
        text
    }
}
