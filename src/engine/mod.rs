//! The engine: from a request to a response.

mod batch;
mod faults;
mod metrics;
mod panics;
mod pipeline;
mod realtime;
mod timing;

pub use self::{
    metrics::{MetricsSnapshot, Receipt},
    pipeline::Engine,
};
