//! Layer `traffic`.

pub mod access;
pub mod capacity;
pub mod fault;
pub mod latency;
pub mod limit;
pub mod matcher;
pub mod mismatch;
pub mod rule;
