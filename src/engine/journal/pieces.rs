//! The body of a stream, packed: of each piece the bytes in which it differs from the piece before.
//!
//! The events of a stream have the same envelope, about 250 bytes of a chunk of 300. Sixteen KiB of them, kept as they
//! are, cost a stream of short tokens a quarter of its time: the memory of old entries is in no core's cache.

/// Number of bytes that are compared at once.
const WORD: usize = 16;
/// Number of hexadecimal digits that are read of a length.
const LENGTH_DIGITS: usize = 8;
/// Number of bytes that most streams need at least.
const USUAL: usize = 1 << 10;

/// The start of a stream's body.
#[derive(Default)]
pub(in crate::engine) struct Pieces {
    /// For each piece: the lengths of its start and its end that are those of the piece before, the length of the rest,
    /// and the rest.
    packed: Vec<u8>,
    /// The last piece.
    last: Vec<u8>,
    /// Number of bytes of all pieces.
    length: usize,
}

impl Pieces {
    /// Appends a piece, as far as all pieces together have at most `most` bytes.
    pub(in crate::engine) fn push(&mut self, piece: &[u8], most: usize) {
        let piece = &piece[..piece.len().min(most.saturating_sub(self.length))];
        if piece.is_empty() {
            return;
        }
        if self.packed.is_empty() {
            self.packed.reserve(USUAL);
        }
        self.length += piece.len();
        let start = common_start(&self.last, piece);
        let end = common_end(&self.last[start..], &piece[start..]);
        let rest = &piece[start..piece.len() - end];
        for number in [start, end, rest.len()] {
            put_number(number, &mut self.packed);
        }
        self.packed.extend_from_slice(rest);
        self.last.clear();
        self.last.extend_from_slice(piece);
    }

    /// Appends the pieces in a write of HTTP chunks, each of which is one.
    pub(in crate::engine) fn push_chunks(&mut self, mut chunks: &[u8], most: usize) {
        while let Some((length, rest)) = chunk_length(chunks) {
            let Some((piece, rest)) = rest.split_at_checked(length) else { return };
            self.push(piece, most);
            chunks = rest.get(2..).unwrap_or_default();
        }
    }

    /// Returns the packed pieces.
    pub(in crate::engine) fn packed(&self) -> &[u8] {
        &self.packed
    }
}

/// Returns all pieces together.
pub(super) fn unpack(mut packed: &[u8]) -> Vec<u8> {
    let (mut body, mut last) = (Vec::with_capacity(packed.len() * 4), 0..0);
    while !packed.is_empty() {
        let (start, end, rest) = (take_number(&mut packed), take_number(&mut packed), take_number(&mut packed));
        let Some((rest, left)) = packed.split_at_checked(rest) else { break };
        if start + end > last.len() {
            break;
        }
        let at = body.len();
        body.extend_from_within(last.start..last.start + start);
        body.extend_from_slice(rest);
        body.extend_from_within(last.end - end..last.end);
        (last, packed) = (at..body.len(), left);
    }
    body
}

/// Returns the length of a chunk that is not the last, and what follows its first line.
fn chunk_length(chunks: &[u8]) -> Option<(usize, &[u8])> {
    let digits = chunks.iter().map_while(|byte| char::from(*byte).to_digit(16));
    let (count, length) =
        digits.take(LENGTH_DIGITS).fold((0, 0), |(count, length), digit| (count + 1, length * 16 + digit as usize));
    Some((length, chunks.get(count + 2..)?)).filter(|(length, _)| *length > 0)
}

/// Returns the number of bytes at the start of both.
fn common_start(one: &[u8], other: &[u8]) -> usize {
    // As numbers: a comparison of arrays is a call.
    let words = one.as_chunks::<WORD>().0.iter().zip(other.as_chunks::<WORD>().0);
    let same = |(one, other): &(&[u8; WORD], &[u8; WORD])| u128::from_ne_bytes(**one) == u128::from_ne_bytes(**other);
    let start = words.take_while(same).count() * WORD;
    start + one[start..].iter().zip(&other[start..]).take_while(|(one, other)| one == other).count()
}

/// Returns the number of bytes at the end of both.
fn common_end(one: &[u8], other: &[u8]) -> usize {
    one.iter().rev().zip(other.iter().rev()).take_while(|(one, other)| one == other).count()
}

/// Appends a number, seven bits to the byte, the low ones first.
fn put_number(mut number: usize, out: &mut Vec<u8>) {
    while number > 0x7f {
        out.push(number as u8 | 0x80);
        number >>= 7;
    }
    out.push(number as u8);
}

/// Takes a number from the start of `bytes`.
fn take_number(bytes: &mut &[u8]) -> usize {
    let (mut number, mut shift) = (0, 0);
    while let Some((byte, rest)) = bytes.split_first() {
        *bytes = rest;
        number |= usize::from(byte & 0x7f) << shift;
        shift += 7;
        if byte & 0x80 == 0 || shift > 56 {
            break;
        }
    }
    number
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn packed(pieces: &[&[u8]], most: usize) -> Pieces {
        let mut packed = Pieces::default();
        pieces.iter().for_each(|piece| packed.push(piece, most));
        packed
    }

    #[test]
    fn events_with_one_envelope_take_a_fraction_of_their_length() {
        let event = |word: &str| format!("data: {{\"id\":\"chatcmpl-{}\",\"delta\":\"{word}\"}}\n\n", "a".repeat(200));
        let events: Vec<_> = ["Hello", " there", ",", " how", " are", " you"].map(event).into();
        let pieces: Vec<_> = events.iter().map(String::as_bytes).collect();
        let all = packed(&pieces, 1 << 14);
        assert_eq!(unpack(all.packed()), pieces.concat());
        assert!(all.packed().len() < 2 * pieces[0].len(), "{}", all.packed().len());
    }

    #[test]
    fn chunks_are_kept_without_their_framing_up_to_the_bound() {
        let mut all = Pieces::default();
        all.push_chunks(b"5\r\nHello\r\n1A\r\nabcdefghijklmnopqrstuvwxyz\r\n", 9);
        all.push_chunks(b"0\r\n\r\n", 9);
        assert_eq!(unpack(all.packed()), b"Helloabcd");
        for broken in [&b""[..], b"x", b"5", b"5\r\n", b"5\r\nHell", b"FFFFFFFFFFFFFFFFF\r\nx"] {
            let mut all = Pieces::default();
            all.push_chunks(broken, 9);
            assert!(all.packed().is_empty());
        }
    }

    proptest! {
        #[test]
        fn any_pieces_are_unpacked_as_they_were(pieces: Vec<Vec<u8>>, most in 0_usize..300) {
            let pieces: Vec<_> = pieces.iter().map(Vec::as_slice).collect();
            let mut all = pieces.concat();
            all.truncate(most);
            prop_assert_eq!(unpack(packed(&pieces, most).packed()), all);
        }

        #[test]
        fn broken_bytes_do_not_panic(bytes: Vec<u8>) {
            unpack(&bytes);
        }
    }
}
