//! Layer `core`: requests, responses, replies, errors, templates, JSON, clock and randomness.

pub mod body_memory;
pub mod clock;
pub(crate) mod context;
pub mod digits;
pub mod error;
pub mod glob;
pub mod histogram;
pub mod host;
pub mod http1;
pub(crate) mod json;
pub mod limit_status;
pub mod model_catalog;
pub mod open_connections;
pub mod panics;
pub mod pattern;
pub mod prompt;
pub mod random;
pub mod reply;
pub mod request;
pub mod response;
pub mod secret;
pub mod server_numbers;
pub mod suggest;
pub mod template;
pub(crate) mod threads;
