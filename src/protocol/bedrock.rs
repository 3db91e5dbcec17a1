//! The dialects of AWS Bedrock.

mod converse;
mod count;

pub(super) use self::{converse::make as make_converse, count::make as make_count};
use crate::core::random::Random;

/// Padding that hides how long an event is: the beginning of the alphabet, so much of it as is drawn.
pub(super) fn padding(random: &mut Random) -> &'static str {
    const SYMBOLS: &str = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789";
    &SYMBOLS[..=random.index(SYMBOLS.len())]
}
