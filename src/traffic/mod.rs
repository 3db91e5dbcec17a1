//! What may happen to a request: limits, faults, latency, concurrency, rules and access.

pub mod access;
pub mod capacity;
pub mod fault;
pub mod latency;
pub mod limit;
pub mod matcher;
pub mod rule;
