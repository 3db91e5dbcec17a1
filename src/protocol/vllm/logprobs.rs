//! Log probabilities of completions and of prompts.

use serde_json::{Map, Value, json};

use crate::{
    core::{random::Random, reply::Piece},
    model::tokens::Encoding,
};

/// Draws the log probability of a token, and those of its alternatives, of which the first is the token itself. The same
/// number with the same seed always has the same ones.
fn draw(token: &str, number: usize, top: u64, seed: u64) -> (f64, Vec<(String, f64)>) {
    let mut random = Random::seeded(seed ^ number as u64);
    // Six decimals, in the range of a confident model.
    let rounded = |value: f64| (value * 1e6).round() / 1e6;
    let logprob = rounded(-random.unit() * 0.7);
    let mut last = logprob;
    let mut alternatives = Vec::new();
    for n in 0..top {
        let text = if n == 0 { token.to_owned() } else { format!(" {}", char::from(b'a' + (n % 26) as u8)) };
        alternatives.push((text, rounded(last)));
        last -= random.unit() * 2.0 + 0.1;
    }
    (logprob, alternatives)
}

/// The place of a text in its choice.
#[derive(Clone, Copy, Default)]
pub(super) struct TextPlace {
    /// Number of pieces before it.
    pub(super) pieces: usize,
    /// Number of tokens before it.
    pub(super) tokens: usize,
    /// Number of characters before it.
    pub(super) characters: usize,
}

/// The lists of a completion's `logprobs`.
#[derive(Default)]
pub(super) struct LogprobLists {
    top: u64,
    offsets: Vec<usize>,
    logprobs: Vec<Value>,
    tokens: Vec<String>,
    alternatives: Vec<Value>,
}

impl LogprobLists {
    /// Creates lists with so many alternatives to each token.
    pub(super) fn new(top: u64) -> Self {
        LogprobLists { top, ..LogprobLists::default() }
    }

    /// Adds the tokens of an echoed prompt. Nothing precedes the first, so it has no log probability.
    pub(super) fn push_prompt(&mut self, prompt: &str, encoding: Encoding, seed: u64) {
        let (mut from, mut start) = (0, 0);
        for (n, end) in encoding.cut(prompt).ends.into_iter().enumerate() {
            let text = &prompt[from..end];
            self.push(Piece { index: n, start, text, tokens: 1 }, TextPlace::default(), !seed);
            (from, start) = (end, start + text.chars().count());
            if n == 0 {
                let lists = [self.logprobs.last_mut(), self.alternatives.last_mut()];
                lists.into_iter().flatten().for_each(|last| *last = Value::Null);
            }
        }
    }

    /// Adds a token of a text at this place.
    pub(super) fn push(&mut self, piece: Piece<'_>, place: TextPlace, seed: u64) {
        let (logprob, alternatives) = draw(piece.text, place.tokens + piece.index, self.top, seed);
        let alternatives: Map<_, _> = alternatives.into_iter().map(|(text, logprob)| (text, logprob.into())).collect();
        self.offsets.push(place.characters + piece.start);
        self.logprobs.push(logprob.into());
        self.tokens.push(piece.text.to_owned());
        self.alternatives.push(alternatives.into());
    }

    /// Returns the lists as JSON.
    pub(super) fn into_json(self) -> Value {
        let LogprobLists { offsets, logprobs, tokens, alternatives, .. } = self;
        json!({"text_offset": offsets, "token_logprobs": logprobs, "tokens": tokens, "top_logprobs": alternatives})
    }
}

/// Returns the `prompt_logprobs` of a prompt: for each token but the first, the token and its alternatives by number.
pub(super) fn of_prompt(tokens: &[u32], encoding: Encoding, top: u64, seed: u64) -> Value {
    let entry = |(n, token): (usize, &u32)| {
        if n == 0 {
            return Value::Null;
        }
        let decoded = encoding.text(&[*token]);
        let (logprob, alternatives) = draw(&decoded, n, top.max(1), !seed);
        let mut entry = Map::new();
        entry.insert(token.to_string(), json!({"logprob": logprob, "rank": 1, "decoded_token": decoded}));
        for (rank, (text, logprob)) in alternatives.into_iter().enumerate().skip(1) {
            let number = encoding.numbers(&text).first().copied().unwrap_or_default();
            let alternative = json!({"logprob": logprob, "rank": rank + 1, "decoded_token": text});
            entry.entry(number.to_string()).or_insert(alternative);
        }
        entry.into()
    };
    tokens.iter().enumerate().map(entry).collect()
}
