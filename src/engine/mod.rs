//! The engine: from a request to a response.

mod access_log;
mod batch;
mod control;
mod faults;
mod journal;
mod metrics;
mod outcome;
mod panics;
mod pipeline;
mod realtime;
mod receipt;
mod scope;
mod timing;
mod verification;

pub use self::{
    access_log::{AccessLine, RequestDetails},
    journal::{Entry, Journal},
    metrics::{MetricsSnapshot, RequestLabels, TimeHistogram, Timing, Tokens},
    outcome::{Outcome, Phase},
    pipeline::Engine,
    receipt::Receipt,
    verification::{Expectation, KnownMatches, Nearest, Times, Verification, VerifyError, VerifyState},
};
