//! Protocols whose shapes the fixture gives.

pub(crate) mod classify;
pub(crate) mod embeddings;
pub(crate) mod lines;
pub(crate) mod rerank;
pub(crate) mod text;
pub(crate) mod tokenize;
