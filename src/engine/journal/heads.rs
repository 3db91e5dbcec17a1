//! Heads of requests and responses, packed: an entry has the texts that differ from an earlier head's.

use std::sync::Arc;

use http::{HeaderName, HeaderValue};

use crate::{core::request::Headers, engine::attempts::is_about_call};

/// Maximum number of texts of a head that is packed against another one.
const MAX_TEXTS: usize = 62;
/// A head that others are packed against: texts without a name, and headers.
#[derive(Debug, Default)]
pub(super) struct Shape {
    texts: Vec<Box<[u8]>>,
    headers: Vec<(HeaderName, HeaderValue)>,
    /// The memory that it takes, in bytes.
    size: usize,
    /// True if a header is about the call that the request belongs to.
    names_call: bool,
}

/// A head that was unpacked.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Head {
    pub(super) texts: Vec<Vec<u8>>,
    pub(super) headers: Vec<(HeaderName, Vec<u8>)>,
}

/// A packed head. The texts that differ are elsewhere, each behind its length.
#[derive(Debug, Default)]
pub(super) struct PackedHead {
    shape: Option<Arc<Shape>>,
    /// The texts that differ, by their place in the shape: first those without a name, then headers.
    differing: u64,
}

/// The shapes of one kind of heads, the one used last first. There are two, because two kinds of clients are common.
pub(super) type KnownShapes = [Arc<Shape>; 2];

/// The headers of a request or response.
#[derive(Clone, Copy)]
pub(super) enum SentHeaders<'a> {
    /// The headers of a request. Their values are parts of the buffer that it was read into.
    Request(&'a dyn Headers),
    /// The headers of a response. The values of most are the same bytes in each response.
    Response(&'a [(HeaderName, HeaderValue)]),
}

impl SentHeaders<'_> {
    fn for_each(self, mut visit: impl FnMut(&HeaderName, &[u8])) {
        match self {
            SentHeaders::Request(headers) => headers.for_each(&mut visit),
            SentHeaders::Response(headers) => headers.iter().for_each(|(name, value)| visit(name, value.as_bytes())),
        }
    }

    /// Returns the headers for a shape: without the buffer that a request was read into.
    fn kept(self) -> Vec<(HeaderName, HeaderValue)> {
        let mut kept = Vec::new();
        match self {
            SentHeaders::Response(headers) => kept.extend_from_slice(headers),
            SentHeaders::Request(headers) => headers.for_each(&mut |name, value| {
                // It was valid when it was read.
                let value = HeaderValue::from_bytes(value).unwrap_or_else(|_| HeaderValue::from_static(""));
                kept.push((name.clone(), value));
            }),
        }
        kept
    }
}

impl Shape {
    fn new(texts: &[&str], headers: SentHeaders<'_>) -> Self {
        let mut shape = Shape { texts: texts.iter().map(|text| text.as_bytes().into()).collect(), ..Shape::default() };
        shape.headers = headers.kept();
        let named: usize = shape.headers.iter().map(|(name, value)| name.as_str().len() + value.len()).sum();
        let unnamed: usize = shape.texts.iter().map(|text| text.len()).sum();
        shape.size = size_of_val(&*shape.texts) + size_of_val(&*shape.headers) + named + unnamed;
        shape.names_call = shape.headers.iter().any(|(name, _)| is_about_call(name.as_str()));
        shape
    }

    /// Appends the texts that differ, and returns their places. `None`: the head has other headers.
    fn pack(&self, texts: &[&str], headers: SentHeaders<'_>, out: &mut Vec<u8>) -> Option<u64> {
        let count = self.headers.len();
        if texts.len() != self.texts.len() || texts.len() + count > MAX_TEXTS {
            return None;
        }
        let mut differing = 0;
        for (n, text) in texts.iter().enumerate() {
            if !is_same(&self.texts[n], text.as_bytes()) {
                differing |= 1 << n;
                put(text.as_bytes(), out);
            }
        }
        let (mut seen, mut values, mut next) = (0_u64, 0, 0);
        headers.for_each(|name, value| {
            let is_next = self.headers.get(next).is_some_and(|(known, _)| known == name);
            let at = if is_next { next } else { self.place(name, next, seen) };
            let Some((_, known)) = self.headers.get(at) else {
                // Sets a bit that none of them has.
                seen |= 1 << 63;
                return;
            };
            (seen, next) = (seen | 1 << at, at + 1);
            if !is_same(known.as_bytes(), value) {
                values |= 1 << at;
                out.push(at as u8);
                put(value, out);
            }
        });
        (seen == (1 << count) - 1).then_some(differing | values << texts.len())
    }

    /// Returns the place of the header with this name that was not seen yet; a place behind all if there is none. Each
    /// map of headers has an order of its own, so the search begins at `next`, behind the one before.
    fn place(&self, name: &HeaderName, next: usize, seen: u64) -> usize {
        let places = (next..self.headers.len()).chain(0..next.min(self.headers.len()));
        let mut unseen = places.filter(|at| seen >> at & 1 == 0);
        unseen.find(|at| self.headers[*at].0 == *name).unwrap_or(usize::MAX)
    }
}

impl PackedHead {
    /// Packs a head against one of the known shapes. If it has other headers, it replaces the one used less recently.
    /// The texts that differ are appended to `out`.
    pub(super) fn pack(
        &mut self,
        known: &mut KnownShapes,
        texts: &[&str],
        headers: SentHeaders<'_>,
        out: &mut Vec<u8>,
    ) {
        let before = out.len();
        let mut differing = known[0].pack(texts, headers, out);
        if differing.is_none() {
            out.truncate(before);
            known.swap(0, 1);
            differing = known[0].pack(texts, headers, out);
        }
        let shape = &mut known[0];
        self.differing = differing.unwrap_or_else(|| {
            out.truncate(before);
            *shape = Arc::new(Shape::new(texts, headers));
            0
        });
        // Usually it is the same, and no counter of references need change.
        if !self.shape.as_ref().is_some_and(|kept| Arc::ptr_eq(kept, shape)) {
            self.shape = Some(Arc::clone(shape));
        }
    }

    /// Returns true if a header is about the call that the request belongs to.
    pub(super) fn names_call(&self) -> bool {
        self.shape.as_ref().is_some_and(|shape| shape.names_call)
    }

    /// Returns the head whose differing texts are `packed`.
    pub(super) fn unpack(&self, mut packed: &[u8]) -> Head {
        let Some(shape) = &self.shape else { return Head::default() };
        let count = shape.texts.len();
        let differs = |n: usize| self.differing >> n & 1 == 1;
        let mut texts: Vec<_> = shape.texts.iter().map(|text| text.to_vec()).collect();
        for (_, text) in texts.iter_mut().enumerate().filter(|(n, _)| differs(*n)) {
            *text = take(&mut packed).unwrap_or_default().to_vec();
        }
        let mut headers: Vec<_> =
            shape.headers.iter().map(|(name, value)| (name.clone(), value.as_bytes().to_vec())).collect();
        for _ in 0..(self.differing >> count).count_ones() {
            let Some((at, rest)) = packed.split_first() else { break };
            packed = rest;
            if let Some((_, value)) = headers.get_mut(usize::from(*at)) {
                *value = take(&mut packed).unwrap_or_default().to_vec();
            }
        }
        Head { texts, headers }
    }

    /// Returns the memory of its shape, in bytes. It counts in full, also if other entries have the same one.
    pub(super) fn size(&self) -> usize {
        self.shape.as_ref().map_or(0, |shape| shape.size)
    }
}

/// Returns true if two texts are the same. Most of them are short, or the same bytes.
fn is_same(a: &[u8], b: &[u8]) -> bool {
    if a.len() != b.len() {
        return false;
    }
    if let (8..=16, Some(first), Some(last)) = (a.len(), a.first_chunk::<8>(), a.last_chunk::<8>()) {
        return b.first_chunk() == Some(first) && b.last_chunk() == Some(last);
    }
    a.is_empty() || std::ptr::eq(a, b) || a == b
}

fn put(text: &[u8], out: &mut Vec<u8>) {
    // The server limits heads to less.
    out.extend_from_slice(&(text.len() as u32).to_le_bytes());
    out.extend_from_slice(text);
}

fn take<'a>(packed: &mut &'a [u8]) -> Option<&'a [u8]> {
    let length = packed.split_off(..4)?.first_chunk()?;
    packed.split_off(..u32::from_le_bytes(*length) as usize)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Packs a head, checks that it can be unpacked, and returns the length of what differs.
    fn pack(known: &mut KnownShapes, texts: [&str; 2], headers: &[(&'static str, &str)]) -> usize {
        let named = |(name, value): &(&'static str, &str)| (HeaderName::from_static(name), value.as_bytes().to_vec());
        let mut sent: Vec<_> = headers.iter().map(named).collect();
        let (mut packed, mut out) = (PackedHead::default(), Vec::new());
        let values: Vec<_> =
            sent.iter().map(|(name, value)| (name.clone(), HeaderValue::from_bytes(value).unwrap())).collect();
        packed.pack(known, &texts, SentHeaders::Response(&values), &mut out);
        let mut head = packed.unpack(&out);
        let by_name = |header: &(HeaderName, Vec<u8>)| (header.0.as_str().to_owned(), header.1.clone());
        sent.sort_by_key(by_name);
        head.headers.sort_by_key(by_name);
        assert_eq!(head, Head { texts: texts.iter().map(|text| text.as_bytes().to_vec()).collect(), headers: sent });
        out.len()
    }

    #[test]
    fn a_head_has_the_texts_that_differ() {
        let mut known = KnownShapes::default();
        let headers = [("host", "fake"), ("x-one", "1"), ("accept", "a"), ("accept", "b")];
        assert_eq!(pack(&mut known, ["/v1", ""], &headers), 0, "it is its own shape");
        assert_eq!(pack(&mut known, ["/v1", ""], &headers), 0);
        let turned = [("accept", "a"), ("x-one", "1"), ("host", "fake"), ("accept", "b")];
        assert_eq!(pack(&mut known, ["/v1", ""], &turned), 0, "the order of names is not kept");
        let other = [("host", "fake"), ("x-one", "22"), ("accept", "a"), ("accept", "c")];
        assert_eq!(pack(&mut known, ["/v2", ""], &other), 7 + 7 + 6);
        let before = Arc::clone(&known[0]);
        assert_eq!(pack(&mut known, ["/v1", ""], &headers[..3]), 0);
        assert!(!Arc::ptr_eq(&before, &known[0]), "other names are another shape");
        assert_eq!(pack(&mut known, ["/v1", ""], &headers), 0);
        assert!(Arc::ptr_eq(&before, &known[0]), "the one before is still known");
        assert_eq!(pack(&mut known, ["/v1", "q"], &[]), 0);
    }

    #[test]
    fn many_headers_are_kept() {
        let mut known = KnownShapes::default();
        let headers = [("x-same", "v"); 200];
        assert_eq!(pack(&mut known, ["", ""], &headers), 0);
        assert_eq!(pack(&mut known, ["", ""], &headers), 0);
    }
}
