//! The chunk that chat completions and legacy completions stream.

use std::ops::Range;

use crate::{core::response::EventKind, protocol::events::GapEvent};

/// A chunk without the members that all chunks of a stream share.
#[derive(Clone)]
pub(super) struct Chunk {
    /// The value of `choices`.
    pub(super) choices: String,
    pub(super) part: EventKind,
    /// Number of tokens in the chunk. Choices are generated in parallel, so only the first choice's chunks have any.
    pub(super) tokens: u32,
}

impl GapEvent for Chunk {
    fn text(&self) -> &[u8] {
        self.choices.as_bytes()
    }

    fn without(mut self, part: Range<usize>) -> Option<Self> {
        self.choices.replace_range(part, "");
        Some(self)
    }

    fn tokens(&self) -> u32 {
        self.tokens
    }
}
