//! Bodies, packed: an entry has the bytes in which a body differs from an earlier one of the same length.

use std::{ops::Range, sync::Arc};

/// Shortest and longest body that is packed against another one, in bytes. Others are kept as they are.
const PACKED: Range<usize> = 64..4 << 10;
/// Number of bytes that are compared at once when a base is made.
const WORD: usize = 8;
/// Shortest run of bytes between two gaps, in bytes. A shorter one belongs to the gaps.
const SHORTEST_RUN: usize = 16;
/// Number of bodies in a row that are unlike their base, after which it is replaced once more.
const PATIENCE: u8 = 16;

/// A body that others are packed against.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Base {
    text: Box<[u8]>,
    /// The places in which bodies differ.
    gaps: Box<[Range<usize>]>,
}

/// The base of the bodies of one kind, and their likeness to it.
#[derive(Debug, Default)]
pub(super) struct Known {
    base: Option<Arc<Base>>,
    /// Number of bodies in a row that were unlike it.
    misses: u8,
}

/// A packed body. The bytes of the gaps, or of the whole body, are elsewhere.
#[derive(Debug, Default)]
pub(super) struct PackedBody(Option<Arc<Base>>);

impl Base {
    /// Appends the gaps of a body to `out`. Returns false if it differs elsewhere.
    fn pack(&self, body: &[u8], out: &mut Vec<u8>) -> bool {
        if body.len() != self.text.len() {
            return false;
        }
        let mut from = 0;
        for gap in &self.gaps {
            if body[from..gap.start] != self.text[from..gap.start] {
                return false;
            }
            from = gap.end;
        }
        if body[from..] != self.text[from..] {
            return false;
        }
        self.gaps.iter().for_each(|gap| out.extend_from_slice(&body[gap.clone()]));
        true
    }

    /// Returns the base for this one's bodies and one more. `None`: they have too little in common.
    fn with(&self, body: &[u8]) -> Option<Base> {
        if body.len() != self.text.len() {
            return None;
        }
        let mut gaps: Vec<Range<usize>> = Vec::new();
        let mut known = self.gaps.iter().peekable();
        for (n, (a, b)) in body.chunks(WORD).zip(self.text.chunks(WORD)).enumerate() {
            let word = n * WORD..n * WORD + a.len();
            while known.next_if(|gap| gap.end <= word.start).is_some() {}
            if a == b && known.peek().is_none_or(|gap| gap.start >= word.end) {
                continue;
            }
            match gaps.last_mut() {
                Some(last) if word.start < last.end + SHORTEST_RUN => last.end = word.end,
                _ => gaps.push(word),
            }
        }
        let differing: usize = gaps.iter().map(Range::len).sum();
        (differing <= body.len() / 2).then(|| Base { text: self.text.clone(), gaps: gaps.into() })
    }
}

impl Known {
    fn is_replaced(&mut self) -> bool {
        self.misses = self.misses % PATIENCE + 1;
        self.misses == 1
    }
}

impl PackedBody {
    /// Packs a body against the known one, which may be replaced. Bytes that differ are appended to `out`.
    pub(super) fn pack(&mut self, known: &mut Known, body: &[u8], out: &mut Vec<u8>) {
        if !PACKED.contains(&body.len()) {
            self.0 = None;
            out.extend_from_slice(body);
            return;
        }
        match &known.base {
            Some(base) if base.pack(body, out) => {
                known.misses = 0;
                // Usually it is the same, and no counter of references need change.
                if !self.0.as_ref().is_some_and(|kept| Arc::ptr_eq(kept, base)) {
                    self.0 = Some(Arc::clone(base));
                }
                return;
            }
            _ => {}
        }
        let more = known.base.as_ref().and_then(|base| base.with(body));
        let new = match more {
            None if !known.is_replaced() => {
                self.0 = None;
                out.extend_from_slice(body);
                return;
            }
            None => Base { text: body.into(), gaps: Box::default() },
            Some(more) => more,
        };
        let new = known.base.insert(Arc::new(new));
        new.pack(body, out);
        self.0 = Some(Arc::clone(new));
    }

    /// Returns the body whose differing bytes are `packed`.
    pub(super) fn unpack(&self, packed: &[u8]) -> Vec<u8> {
        let Some(base) = &self.0 else { return packed.to_vec() };
        let (mut body, mut rest) = (base.text.to_vec(), packed);
        for gap in &base.gaps {
            let Some(bytes) = rest.split_off(..gap.len()) else { break };
            body[gap.clone()].copy_from_slice(bytes);
        }
        body
    }

    /// Returns the memory of its base, in bytes. It counts in full, also if other entries have the same one.
    pub(super) fn size(&self) -> usize {
        self.0.as_ref().map_or(0, |base| base.text.len() + size_of_val(&*base.gaps))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Packs a body, checks that it can be unpacked, and returns the length of what differs.
    fn pack(known: &mut Known, body: &str) -> usize {
        let (mut packed, mut out) = (PackedBody::default(), Vec::new());
        packed.pack(known, body.as_bytes(), &mut out);
        assert_eq!(String::from_utf8(packed.unpack(&out)).unwrap(), body);
        out.len()
    }

    fn body(id: &str, date: u32) -> String {
        format!("{{\"id\":\"chatcmpl-{id}\",\"text\":\"{}\",\"created\":{date},\"end\":true}}", "the same ".repeat(30))
    }

    #[test]
    fn a_body_has_the_bytes_that_differ() {
        let mut known = Known::default();
        assert_eq!(pack(&mut known, &body("aaaaaaaa", 1_700_000_000)), 0, "it is its own base");
        assert_eq!(pack(&mut known, &body("bbbbbbbb", 1_700_000_000)), 8);
        assert_eq!(pack(&mut known, &body("cccccccc", 1_700_000_000)), 8);
        assert_eq!(pack(&mut known, &body("dddddddd", 1_700_000_009)), 16, "a gap more");
        let base = known.base.clone().unwrap();
        assert_eq!(pack(&mut known, &body("eeeeeeee", 1_700_000_008)), 16);
        assert!(Arc::ptr_eq(&base, known.base.as_ref().unwrap()), "the base is learned");
    }

    #[test]
    fn bodies_that_are_unlike_are_kept_as_they_are() {
        let mut known = Known::default();
        let bodies: Vec<_> = (0..40_u8).map(|n| char::from(b'A' + n).to_string().repeat(200)).collect();
        let sizes: Vec<_> = bodies.iter().map(|body| pack(&mut known, body)).collect();
        assert_eq!(sizes.iter().filter(|size| **size == 0).count(), 3, "three of them became a base: {sizes:?}");
        for body in [String::new(), "short".to_owned(), "x".repeat(PACKED.end)] {
            assert_eq!(pack(&mut known, &body), body.len());
        }
    }

    #[test]
    fn any_bytes_are_restored() {
        let mut known = Known::default();
        let mut seed = 7_u32;
        for _ in 0..500 {
            let mut body = "the same text in most places, ".repeat(8).into_bytes();
            for _ in 0..3 {
                seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                let (at, length) = (seed as usize % body.len(), (seed >> 24) as usize % 9);
                let end = (at + length).min(body.len());
                body[at..end].fill(b'0' + (seed >> 16) as u8 % 10);
            }
            pack(&mut known, std::str::from_utf8(&body).unwrap());
        }
    }
}
