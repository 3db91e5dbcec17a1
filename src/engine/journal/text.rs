//! The texts of an entry: many texts in one buffer, which is used again for a later entry.

use http::{HeaderName, HeaderValue};

use super::Opened;
use crate::core::{
    request::RequestBody,
    response::{Body, Response},
    secret,
};
use crate::engine::attempts::is_about_call;

/// Capacity of a buffer that is always used again, in bytes.
const SMALL: usize = 16 << 10;

/// Empties a buffer for a text of unknown length.
pub(super) fn emptied(old: Vec<u8>) -> Vec<u8> {
    if old.capacity() > SMALL { Vec::new() } else { renewed(old, 0) }
}

/// Returns an empty buffer with room for `needed` bytes: an old one, unless that is far too large.
fn renewed(mut old: Vec<u8>, needed: usize) -> Vec<u8> {
    if old.capacity() > SMALL.max(4 * needed) {
        return Vec::with_capacity(needed);
    }
    old.clear();
    old.reserve(needed);
    old
}

/// Memory that a header needs beside its name and its value: the separators.
const SEPARATORS: usize = 2;

fn put_header(name: &str, value: &[u8], out: &mut Vec<u8>) {
    out.extend_from_slice(name.as_bytes());
    out.push(b':');
    out.extend_from_slice(value);
    out.push(b'\n');
}

/// Returns the headers in lines that [`put_header`] wrote.
fn header_lines(lines: &[u8]) -> impl Iterator<Item = (&str, &[u8])> {
    lines.split(|byte| *byte == b'\n').filter_map(|line| {
        let colon = memchr::memchr(b':', line)?;
        Some((std::str::from_utf8(&line[..colon]).ok()?, &line[colon + 1..]))
    })
}

/// The texts of a request.
pub(super) struct SentText {
    bytes: Vec<u8>,
    /// The end of each text, in the order of [`Part`].
    ends: [u32; PARTS],
    /// The length of the body as it was sent.
    pub(super) body_bytes: u64,
    /// True if a header is about the call that the request belongs to.
    pub(super) names_call: bool,
}

/// Number of texts.
const PARTS: usize = 9;

/// One of the texts.
#[derive(Clone, Copy)]
pub(super) enum Part {
    Path,
    Query,
    Headers,
    Key,
    Model,
    Deployment,
    Route,
    PathSecret,
    Body,
}

impl SentText {
    /// Copies the texts of a request into an old buffer. Of the body it keeps `most_body` bytes.
    pub(super) fn new(old: Vec<u8>, opened: &Opened<'_, '_>, most_body: usize) -> Self {
        /// Memory that most requests' other texts need.
        const USUAL: usize = 1024;
        let Opened { context, path, route, .. } = opened;
        let request = context.request;
        let body: &[u8] = match &request.body {
            RequestBody::Whole(body) => body,
            RequestBody::Discarded(_) => b"",
        };
        let kept = &body[..body.len().min(most_body)];
        let mut bytes = renewed(old, USUAL + kept.len());
        let mut ends = [0; PARTS];
        let mut end = |part: Part, bytes: &Vec<u8>| {
            ends[part as usize] = u32::try_from(bytes.len()).unwrap_or(u32::MAX);
        };
        bytes.extend_from_slice(path.as_bytes());
        end(Part::Path, &bytes);
        bytes.extend_from_slice(request.query.as_bytes());
        end(Part::Query, &bytes);
        let mut names_call = false;
        request.headers.for_each(&mut |name, value| {
            names_call |= is_about_call(name);
            put_header(name, value, &mut bytes);
        });
        end(Part::Headers, &bytes);
        let is_secret = |(name, _): &&(&str, &str)| secret::is_secret_name(name);
        let secret = context.params.iter().find(is_secret).map_or("", |(_, value)| *value);
        let model = context.model();
        let texts = [
            (Part::Key, context.credential().key.unwrap_or_default().as_bytes()),
            (Part::Model, model.as_bytes()),
            (Part::Deployment, context.param("deployment").unwrap_or_default().as_bytes()),
            (Part::Route, route.as_bytes()),
            (Part::PathSecret, secret.as_bytes()),
            (Part::Body, kept),
        ];
        for (part, text) in texts {
            bytes.extend_from_slice(text);
            end(part, &bytes);
        }
        SentText { bytes, ends, body_bytes: request.body.len(), names_call }
    }

    pub(super) fn bytes(&self, part: Part) -> &[u8] {
        let before = (part as usize).checked_sub(1).map_or(0, |before| self.ends[before]);
        &self.bytes[before as usize..self.ends[part as usize] as usize]
    }

    pub(super) fn text(&self, part: Part) -> &str {
        std::str::from_utf8(self.bytes(part)).unwrap_or_default()
    }

    pub(super) fn headers(&self) -> impl Iterator<Item = (&str, &[u8])> {
        header_lines(self.bytes(Part::Headers))
    }

    pub(super) fn capacity(&self) -> usize {
        self.bytes.capacity()
    }

    /// Takes the buffer.
    pub(super) fn take_buffer(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.bytes)
    }
}

/// The texts of a response: its headers, and the start of a full body.
pub(in crate::engine) struct HeadText {
    bytes: Vec<u8>,
    headers_end: usize,
    /// The length of a full body.
    pub(super) full_length: Option<u64>,
}

impl HeadText {
    /// Copies the texts of a response into an old buffer. Of a full body it keeps `most_body` bytes.
    pub(in crate::engine) fn new(old: Vec<u8>, response: &Response, most_body: usize) -> Self {
        let length = |(name, value): &(HeaderName, HeaderValue)| name.as_str().len() + value.len() + SEPARATORS;
        let body = match &response.body {
            Body::Full(body) => Some(body),
            _ => None,
        };
        let kept = body.map_or(&b""[..], |body| &body[..body.len().min(most_body)]);
        let needed = response.headers.iter().map(length).sum::<usize>() + kept.len();
        let mut bytes = renewed(old, needed);
        response.headers.iter().for_each(|(name, value)| put_header(name.as_str(), value.as_bytes(), &mut bytes));
        let headers_end = bytes.len();
        bytes.extend_from_slice(kept);
        HeadText { bytes, headers_end, full_length: body.map(|body| body.len() as u64) }
    }

    pub(super) fn headers(&self) -> impl Iterator<Item = (&str, &[u8])> {
        header_lines(&self.bytes[..self.headers_end])
    }

    /// Returns the kept part of a full body, and the length of the whole.
    pub(super) fn full_body(&self) -> Option<(&[u8], u64)> {
        Some((&self.bytes[self.headers_end..], self.full_length?))
    }

    pub(super) fn capacity(&self) -> usize {
        self.bytes.capacity()
    }

    pub(super) fn into_buffer(self) -> Vec<u8> {
        self.bytes
    }
}
