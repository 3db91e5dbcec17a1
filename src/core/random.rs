//! Random numbers: one generator per request, all derived from one seed.

use std::sync::atomic::{AtomicU64, Ordering};

use bytes::BufMut;

/// The source of every request's [`Random`]. The n-th request of two runs with the same seed gets the same generator,
/// independent of the worker that serves it.
#[derive(Debug)]
pub struct Seeds {
    seed: u64,
    requests: AtomicU64,
}

impl Seeds {
    /// Creates the source from `seed`, or else from a random seed.
    pub fn new(seed: Option<u64>) -> Self {
        Seeds { seed: seed.unwrap_or_else(|| fastrand::u64(..)), requests: AtomicU64::new(0) }
    }

    /// Returns the generator of the next request.
    pub fn next(&self) -> Random {
        let n = self.requests.fetch_add(1, Ordering::Relaxed);
        Random(fastrand::Rng::with_seed(mix(self.seed ^ mix(n))))
    }
}

/// Mixes a number with SplitMix64's finaliser: adjacent inputs give unrelated outputs.
fn mix(n: u64) -> u64 {
    let n = n.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let n = (n ^ (n >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let n = (n ^ (n >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    n ^ (n >> 31)
}

/// Returns the seed of a text: the same on every machine and in every version (FNV-1a).
pub fn seed_of(text: &str) -> u64 {
    let step = |seed: u64, byte: u8| (seed ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
    text.bytes().fold(0xcbf2_9ce4_8422_2325, step)
}

/// The set of symbols of an identifier.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Alphabet {
    /// `A-Z a-z 0-9`, as in OpenAI's ids.
    Alphanumeric,
    /// `0-9 a-f`.
    Hex,
    /// `1-9 A-Z a-z` without `I`, `O` and `l`.
    Base58,
    /// `1-9`, for ids that are numbers.
    Digits,
}

/// The random number generator of one request.
#[derive(Clone, Debug)]
pub struct Random(fastrand::Rng);

impl Random {
    /// Creates the generator of a request that sets its own seed.
    pub fn seeded(seed: u64) -> Self {
        Random(fastrand::Rng::with_seed(mix(seed)))
    }

    /// Splits off an independent generator.
    pub fn fork(&mut self) -> Self {
        Random(self.0.fork())
    }

    /// Returns a number within `range`.
    pub fn number(&mut self, range: std::ops::RangeInclusive<u64>) -> u64 {
        self.0.u64(range)
    }

    /// Returns a number below `bound`, which must not be 0.
    pub fn index(&mut self, bound: usize) -> usize {
        self.0.usize(..bound)
    }

    /// Returns a number from 0 to 1, 1 excluded.
    pub fn unit(&mut self) -> f64 {
        self.0.f64()
    }

    /// Appends `length` random symbols to `out`.
    pub fn put(&mut self, alphabet: Alphabet, length: usize, out: &mut impl BufMut) {
        match alphabet {
            Alphabet::Alphanumeric => {
                self.put_of(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789", length, out);
            }
            Alphabet::Hex => self.put_of(b"0123456789abcdef", length, out),
            Alphabet::Base58 => {
                self.put_of(b"123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz", length, out);
            }
            Alphabet::Digits => self.put_of(b"123456789", length, out),
        }
    }

    /// Appends symbols of an alphabet whose size is a constant, which removes the bounds check per symbol.
    fn put_of<const SIZE: usize>(&mut self, symbols: &[u8; SIZE], length: usize, out: &mut impl BufMut) {
        // Symbols are appended in blocks, so that `out` checks its capacity once per block.
        let (mut some, mut rest) = ([0; 32], length);
        while rest > 0 {
            let now = rest.min(some.len());
            for four in some.as_chunks_mut().0.iter_mut().take(now.div_ceil(4)) {
                // One draw is enough for four symbols: with 16 bits each, the bias of a symbol is below 0.1 %.
                let draw = self.0.u64(..);
                let symbol = |shift: u32| symbols[((draw >> shift & 0xffff) as usize * SIZE) >> 16];
                *four = [symbol(0), symbol(16), symbol(32), symbol(48)];
            }
            out.put_slice(&some[..now]);
            rest -= now;
        }
    }

    /// Appends a random (version 4) UUID to `out`.
    pub fn put_uuid(&mut self, out: &mut Vec<u8>) {
        let from = out.len();
        for group in [8, 4, 4, 4, 12] {
            self.put(Alphabet::Hex, group, out);
            out.push(b'-');
        }
        out.pop();
        out[from + 14] = b'4';
        out[from + 19] = b"89ab"[self.0.usize(..4)];
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(random: &mut Random) -> String {
        let mut out = Vec::new();
        random.put(Alphabet::Alphanumeric, 29, &mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn the_same_seed_repeats_and_requests_differ() {
        let (one, two) = (Seeds::new(Some(7)), Seeds::new(Some(7)));
        let first: Vec<_> = (0..1000).map(|_| id(&mut one.next())).collect();
        let second: Vec<_> = (0..1000).map(|_| id(&mut two.next())).collect();
        assert_eq!(first, second);
        let distinct: std::collections::HashSet<_> = first.iter().collect();
        assert_eq!(distinct.len(), 1000);
        assert_ne!(id(&mut Seeds::new(None).next()), id(&mut Seeds::new(None).next()));
    }

    #[test]
    fn a_uuid_is_version_4() {
        let mut out = Vec::new();
        Seeds::new(Some(1)).next().put_uuid(&mut out);
        let text = String::from_utf8(out).unwrap();
        assert_eq!(text.len(), 36);
        assert_eq!(&text[14..15], "4");
        assert!("89ab".contains(&text[19..20]));
    }
}
