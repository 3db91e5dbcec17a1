//! The protocols of AWS Bedrock. `wrap::bedrock_invoke` wraps the models' own protocols.

mod converse;
mod count;

pub(super) use self::{converse::make as make_converse, count::make as make_count};
use crate::core::random::Random;

/// Returns padding that hides the length of an event: a prefix of the alphabet with a drawn length.
pub(super) fn padding(random: &mut Random) -> &'static str {
    const SYMBOLS: &str = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789";
    &SYMBOLS[..=random.index(SYMBOLS.len())]
}
