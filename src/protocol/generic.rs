//! Protocols whose JSON shapes come from the fixture's envelope.

pub(crate) mod classify;
pub(crate) mod embeddings;
pub(crate) mod lines;
pub(crate) mod rerank;
pub(crate) mod text;
pub(crate) mod tokenize;
