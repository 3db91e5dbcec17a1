//! The dialects of AWS Bedrock.

mod converse;
mod count;
mod invoke;

pub(super) use self::{
    converse::make as make_converse, count::make as make_count, invoke::make as make_invoke,
    invoke::make_computed as make_invoke_computed,
};
use crate::random::Random;

/// Padding that hides how long an event is: the beginning of the alphabet, so much of it as is drawn.
fn padding(random: &mut Random) -> &'static str {
    const SYMBOLS: &str = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789";
    &SYMBOLS[..=random.index(SYMBOLS.len())]
}
