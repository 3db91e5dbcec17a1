//! Usage metadata in Google's shape, full and in the chunks of a stream.

use std::sync::Arc;

use bytes::BytesMut;
use serde::{Serialize, Serializer, ser::SerializeMap};
use serde_json::{Value, json};

use super::render::EndpointStyle;
use crate::{
    core::{reply::Usage, template::LineStyle},
    protocol::envelope::member,
};

/// The layout of a message's values.
#[derive(Clone, Copy)]
pub(super) enum JsonLayout {
    /// Indented, as in full responses and in the items of an array.
    Indented,
    /// On one line, with the spaces of Google's events.
    Line,
}

impl JsonLayout {
    pub(super) fn write<T: Serialize>(self, value: &T) -> Vec<u8> {
        match self {
            JsonLayout::Indented => member(value),
            JsonLayout::Line => LineStyle::Spaced.write(value),
        }
    }
}

/// The usage in the chunks of a stream.
pub(super) struct RunningUsage {
    pub(super) usage: Usage,
    style: Arc<EndpointStyle>,
    write: JsonLayout,
    /// The usage in the middle of a stream, around the number of output tokens and the total. Vertex AI's has no counts
    /// and is the first part.
    parts: [Vec<u8>; 3],
}

impl RunningUsage {
    /// Returns the memory that it takes, in bytes.
    pub(super) fn size(&self) -> usize {
        size_of::<Self>() + self.parts.iter().map(Vec::len).sum::<usize>()
    }

    pub(super) fn new(usage: Usage, style: Arc<EndpointStyle>, write: JsonLayout) -> Self {
        let mut parts = <[Vec<u8>; 3]>::default();
        if let Some(traffic) = &style.traffic_type {
            parts[0] = write.write(&json!({"trafficType": traffic}));
        } else {
            let mut rest = write.write(&UsageJson { usage: &usage, output: Count::Mark, style: &style });
            for part in &mut parts[..2] {
                let mark = memchr::memchr(MARK.as_bytes()[0], &rest).unwrap_or(rest.len());
                // The mark is in quotes.
                let (end, next) = (mark.saturating_sub(1), (mark + MARK.len() + 1).min(rest.len()));
                let after = rest.split_off(next);
                rest.truncate(end);
                *part = std::mem::replace(&mut rest, after);
            }
            parts[2] = rest;
        }
        RunningUsage { usage, style, write, parts }
    }

    /// Appends the usage after `output` tokens.
    pub(super) fn put(&self, output: u64, is_last: bool, out: &mut BytesMut) {
        let [before, between, after] = &self.parts;
        if !is_last && self.style.is_vertex() {
            return out.extend_from_slice(before);
        }
        // Zero counts are omitted, and the last usage can have more members.
        if is_last || output == 0 {
            let usage = UsageJson { usage: &self.usage, output: Count::Number(output), style: &self.style };
            return out.extend_from_slice(&self.write.write(&usage));
        }
        let mut digits = itoa::Buffer::new();
        out.extend_from_slice(before);
        out.extend_from_slice(digits.format(output).as_bytes());
        out.extend_from_slice(between);
        out.extend_from_slice(digits.format(total_tokens(&self.usage, output)).as_bytes());
        out.extend_from_slice(after);
    }
}

/// Returns the number of reply tokens without thoughts.
pub(super) fn output_tokens(usage: &Usage) -> u64 {
    usage.completion_tokens.saturating_sub(usage.reasoning_tokens)
}

/// Returns the total of a usage with so many reply tokens.
fn total_tokens(usage: &Usage, output: u64) -> u64 {
    usage.prompt_tokens.saturating_add(output).saturating_add(usage.reasoning_tokens)
}

/// Returns token counts by modality. All tokens are text.
fn details(tokens: u64) -> Value {
    json!([{"modality": "TEXT", "tokenCount": tokens}])
}

/// The number of reply tokens in a usage.
#[derive(Clone, Copy)]
pub(super) enum Count {
    Number(u64),
    /// A mark in place of the number, and of the total.
    Mark,
}

/// The mark of a number. No other value of a usage contains its first character.
const MARK: &str = "\u{f8ff}";

/// A usage, as it is sent. Zero counts are omitted.
pub(super) struct UsageJson<'a> {
    pub(super) usage: &'a Usage,
    pub(super) output: Count,
    pub(super) style: &'a EndpointStyle,
}

impl Serialize for UsageJson<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let UsageJson { usage, output, style } = self;
        let mut map = serializer.serialize_map(None)?;
        let counts = [
            ("promptTokenCount", Count::Number(usage.prompt_tokens)),
            ("candidatesTokenCount", *output),
            (
                "totalTokenCount",
                match output {
                    Count::Number(output) => Count::Number(total_tokens(usage, *output)),
                    Count::Mark => Count::Mark,
                },
            ),
            ("cachedContentTokenCount", Count::Number(usage.cached_tokens)),
        ];
        for (name, count) in counts {
            match count {
                Count::Number(0) => {}
                Count::Number(count) => map.serialize_entry(name, &count)?,
                Count::Mark => map.serialize_entry(name, MARK)?,
            }
        }
        if let Some(traffic_type) = &style.traffic_type {
            map.serialize_entry("trafficType", traffic_type)?;
        }
        let candidates = match output {
            Count::Number(output) if style.is_vertex() => *output,
            _ => 0,
        };
        let by_modality = [
            ("promptTokensDetails", usage.prompt_tokens),
            ("cacheTokensDetails", usage.cached_tokens),
            ("candidatesTokensDetails", candidates),
        ];
        for (name, tokens) in by_modality.into_iter().filter(|(_, tokens)| *tokens > 0) {
            map.serialize_entry(name, &details(tokens))?;
        }
        if usage.reasoning_tokens > 0 {
            map.serialize_entry("thoughtsTokenCount", &usage.reasoning_tokens)?;
        }
        if let Some(service_tier) = &style.service_tier {
            map.serialize_entry("serviceTier", service_tier)?;
        }
        map.end()
    }
}
