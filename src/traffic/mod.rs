//! Limits, faults, latency, concurrency, rules and access of requests.

pub mod access;
pub mod capacity;
pub mod fault;
pub mod latency;
pub mod limit;
pub mod matcher;
pub mod mismatch;
pub mod rule;
