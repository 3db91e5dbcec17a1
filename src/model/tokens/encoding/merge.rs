//! The merging of a piece's bytes into tokens: the pair with the lowest number first, the leftmost of equal ones.

use std::{
    cmp::Reverse,
    collections::{BinaryHeap, HashMap},
};

use tiktoken::CoreBpe;

/// The number of no token.
const NONE: u32 = u32::MAX;

/// The numbers of tokens by their bytes.
pub(super) struct Numbers {
    /// Tokens of two bytes, which are looked up most.
    pairs: Box<[u32]>,
    others: HashMap<Box<[u8]>, u32>,
}

impl Numbers {
    pub(super) fn new(bpe: &CoreBpe) -> Self {
        let mut numbers = Numbers { pairs: vec![NONE; 1 << 16].into(), others: HashMap::new() };
        for number in 0..bpe.vocab_size() as u32 {
            let bytes = bpe.decode(&[number]);
            match bytes[..] {
                [first, second] => numbers.pairs[pair(first, second)] = number,
                _ => _ = numbers.others.insert(bytes.into(), number),
            }
        }
        numbers
    }

    fn get(&self, bytes: &[u8]) -> u32 {
        match bytes {
            [first, second] => self.pairs[pair(*first, *second)],
            _ => self.others.get(bytes).copied().unwrap_or(NONE),
        }
    }

    /// Appends the numbers of a piece's tokens. Its time grows by `n log n`.
    pub(super) fn merge(&self, piece: &[u8], out: &mut Vec<u32>) {
        let whole = self.get(piece);
        if whole != NONE {
            return out.push(whole);
        }
        let parts = self.parts(piece, |_, _| {});
        let mut at = 0;
        while at < piece.len() {
            out.push(self.get(&piece[at..parts.end[at]]));
            at = parts.end[at];
        }
    }

    /// Returns the length of the first of the two tokens that a token is merged of. `None` if merging its bytes does not
    /// end in one token: then only a piece that is the token as a whole becomes it.
    pub(super) fn first_of_pair(&self, token: &[u8]) -> Option<usize> {
        let mut first = 0;
        let parts = self.parts(token, |at, middle| first = if at == 0 { middle } else { first });
        (parts.end.first() == Some(&token.len()) && token.len() > 1).then_some(first)
    }

    /// Merges the bytes of a piece. `joined` is called with the start and the middle of each pair.
    fn parts(&self, piece: &[u8], mut joined: impl FnMut(usize, usize)) -> Parts {
        let mut parts = Parts::new(piece.len());
        let mut heap: BinaryHeap<Reverse<(u32, usize)>> = BinaryHeap::new();
        for at in 0..piece.len() - 1 {
            parts.set(at, self.get(&piece[at..at + 2]), &mut heap);
        }
        while let Some(Reverse((number, at))) = heap.pop() {
            // The pair has changed since.
            if parts.merged[at] != number {
                continue;
            }
            joined(at, parts.end[at]);
            let (before, end) = parts.join(at);
            let merged = |from: usize, to: Option<usize>| to.map_or(NONE, |to| self.get(&piece[from..to]));
            parts.set(at, merged(at, parts.end_of_pair(at)), &mut heap);
            if let Some(before) = before {
                parts.set(before, merged(before, Some(end)), &mut heap);
            }
        }
        parts
    }
}

fn pair(first: u8, second: u8) -> usize {
    usize::from(first) << 8 | usize::from(second)
}

/// The parts of a piece, by their offset: single bytes at first.
struct Parts {
    /// The end of each part.
    end: Vec<usize>,
    /// The start of the part before.
    before: Vec<Option<usize>>,
    /// The token that a part and the next one are together.
    merged: Vec<u32>,
}

impl Parts {
    fn new(length: usize) -> Self {
        Parts {
            end: (1..=length).collect(),
            before: (0..length).map(|at| at.checked_sub(1)).collect(),
            merged: vec![NONE; length],
        }
    }

    /// Sets the token of a part and the next one.
    fn set(&mut self, at: usize, number: u32, heap: &mut BinaryHeap<Reverse<(u32, usize)>>) {
        self.merged[at] = number;
        if number != NONE {
            heap.push(Reverse((number, at)));
        }
    }

    /// Returns the end of the part after this one.
    fn end_of_pair(&self, at: usize) -> Option<usize> {
        self.end.get(self.end[at]).copied()
    }

    /// Joins a part with the next one. Returns the part before it, and its new end.
    fn join(&mut self, at: usize) -> (Option<usize>, usize) {
        let next = self.end[at];
        let end = self.end[next];
        (self.end[at], self.merged[next]) = (end, NONE);
        if let Some(before) = self.before.get_mut(end) {
            *before = Some(at);
        }
        (self.before[at], end)
    }
}
