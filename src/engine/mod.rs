//! The engine: from a request to a response.

mod access_log;
mod admission;
mod attempts;
mod batch;
mod by_caller;
mod control;
mod faults;
mod journal;
mod metrics;
mod numbers;
mod outcome;
mod panics;
mod pipeline;
mod prepare;
mod realtime;
mod receipt;
mod report;
mod scope;
mod timing;
mod verification;
mod vllm_metrics;

pub use self::{
    access_log::{AccessLine, RequestDetails},
    journal::{Entry, Journal, PackedEntry},
    metrics::{
        ATTEMPT_BOUNDS, CallCounts, CallerCounts, MetricsSnapshot, RequestLabels, TimeHistogram, Timing, Tokens, UNITS,
    },
    outcome::{Outcome, Phase},
    pipeline::Engine,
    receipt::Receipt,
    report::{Report, ServerFacts},
    verification::{Expectation, KnownMatches, Nearest, Times, Verification, VerifyError, VerifyState},
    vllm_metrics::{Buckets, COARSE_BOUNDS, HttpCounters, Measure, ModelCounters, VllmCounters},
};
