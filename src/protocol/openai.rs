//! OpenAI's protocols.

pub(crate) mod assistants;
pub(crate) mod chat;
mod chunk;
pub(crate) mod completions;
pub(crate) mod embeddings;
pub(crate) mod images;
pub(crate) mod moderations;
pub(crate) mod realtime;
pub(crate) mod responses;
pub(crate) mod speech;
pub(crate) mod transcriptions;
