//! The report: what the callers did, judged by checks, beside the figures of the traffic.

mod build;
mod callers;
mod checks;
mod conduct;
mod html;
mod junit;
mod summary;

use std::{collections::BTreeMap, time::Duration};

use serde::Serialize;

pub(super) use self::conduct::Conduct;
use crate::config::Severity;

/// The state of the server itself, which the edge knows.
#[derive(Clone, Copy, Debug, Default)]
pub struct ServerFacts {
    /// Time since the start.
    pub uptime: Duration,
    /// Lateness of the workers' own timers that 99 % do not exceed, and the number of measurements.
    pub loop_lag: (Duration, u64),
    /// Lateness of timed events that 99 % do not exceed.
    pub lateness: Duration,
    /// Number of open connections.
    pub open_connections: u64,
    /// Number of closed connections that had requests.
    pub closed_connections: u64,
    /// Number of requests on them.
    pub requests_on_closed: u64,
    /// Time from the opening of the first connection to that of the last.
    pub connected: Duration,
}

/// The conduct of the callers, and the findings of the checks.
#[derive(Debug, Serialize)]
pub struct Report {
    /// Version of the server.
    pub version: &'static str,
    /// The scope; `None` for all.
    pub scope: Option<String>,
    /// Time of the report, in RFC 3339.
    pub created_at: String,
    /// Seconds since the start of the server.
    pub uptime_s: f64,
    /// The findings, failed checks first. A bottleneck of the server itself is before all others.
    pub findings: Vec<Finding>,
    /// Every check with its verdict.
    pub checks: Vec<Judged>,
    /// The requests.
    pub traffic: Traffic,
    /// The limits.
    pub limits: LimitFigures,
    /// The retries.
    pub retries: Retries,
    /// The streams.
    pub streams: Streams,
    /// The times, as intended and as they were.
    pub latency: BTreeMap<&'static str, Times>,
    /// The server's own state.
    pub server: ServerFigures,
}

/// The verdict of a check.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// Nothing was found.
    Passed,
    /// A finding that changes no exit status.
    Warning,
    /// A finding.
    Failed,
    /// There is nothing to judge by.
    NotJudged,
    /// The check is off.
    Off,
}

/// A check and its verdict.
#[derive(Debug, Serialize)]
pub struct Judged {
    /// The name.
    pub check: &'static str,
    /// The verdict.
    pub verdict: Verdict,
    /// The threshold, as it is written in the file.
    pub above: String,
}

/// A finding of a check.
#[derive(Debug, Serialize)]
pub struct Finding {
    /// The name of the check.
    pub check: &'static str,
    /// The severity.
    pub severity: Severity,
    /// Number of events.
    pub count: u64,
    /// The finding in one sentence.
    pub text: String,
    /// The numbers.
    pub numbers: BTreeMap<&'static str, f64>,
    /// Entries of the journal that show it.
    pub entries: Vec<String>,
    /// The meaning for the client.
    pub meaning: &'static str,
    /// The place to look at.
    pub look_at: &'static str,
}

/// The requests, by what they have in common.
#[derive(Debug, Default, Serialize)]
pub struct Traffic {
    /// Number of requests received.
    pub requests: u64,
    /// Number of requests that have not ended.
    pub in_flight: u64,
    /// By model.
    pub by_model: Vec<Row>,
    /// By the hash of the API key; empty for none.
    pub by_key_hash: Vec<Row>,
    /// By status; `none` if no head was sent.
    pub by_status: BTreeMap<String, u64>,
    /// By deployment.
    pub by_deployment: Vec<Row>,
}

/// The requests with one name.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Row {
    /// The name.
    pub name: String,
    /// Number of ended requests.
    pub requests: u64,
    /// Number of those with status 429.
    pub refused: u64,
    /// Number of those with another status of 400 or above, or none.
    pub failed: u64,
}

/// The decisions of the limits, and the buckets.
#[derive(Debug, Default, Serialize)]
pub struct LimitFigures {
    /// The decisions.
    pub decisions: Vec<Decisions>,
    /// The fill of the callers' buckets.
    pub buckets: Vec<Bucket>,
}

/// The decisions of limits of one kind.
#[derive(Debug, Serialize)]
pub struct Decisions {
    /// The unit.
    pub unit: &'static str,
    /// The dimensions.
    pub per: String,
    /// Number of admitted requests.
    pub allowed: u64,
    /// Number of refused requests.
    pub refused: u64,
}

/// One bucket of one caller.
#[derive(Debug, Serialize)]
pub struct Bucket {
    /// The hash of the caller's key; empty if it has none.
    pub key_hash: String,
    /// The unit.
    pub unit: &'static str,
    /// The limit.
    pub limit: u64,
    /// The rest at the last request.
    pub remaining: u64,
    /// The lowest rest.
    pub lowest_remaining: u64,
    /// The lowest rest over time: seconds since the start, and the rest.
    pub history: Vec<(f64, u64)>,
}

/// The logical calls and their retries.
#[derive(Debug, Default, Serialize)]
pub struct Retries {
    /// Number of calls, including those that may get another attempt.
    pub calls: u64,
    /// Attempts per call.
    pub attempts_per_call: f64,
    /// The most attempts of one call.
    pub most_attempts: u32,
    /// Number of retries.
    pub retries: u64,
    /// Number of responses that announced a wait.
    pub announced_waits: u64,
    /// Number of retries before the announced wait was over.
    pub early: u64,
    /// Number of retries after it.
    pub obeyed: u64,
    /// Number of requests whose call is unknown: they are alike and overlap.
    pub could_not_be_told_apart: u64,
}

/// The streams.
#[derive(Debug, Default, Serialize)]
pub struct Streams {
    /// Number of ended streams.
    pub streams: u64,
    /// Number of those whose client left with tokens to come.
    pub abandoned: u64,
    /// Number of tokens that these clients did not get.
    pub tokens_undelivered: u64,
}

/// One time, as intended and as it was, in milliseconds.
#[derive(Debug, Default, Serialize)]
pub struct Times {
    /// Number of measurements.
    pub count: u64,
    /// The intended time that half of all do not exceed.
    pub intended_p50_ms: f64,
    /// The intended time that 99 % do not exceed.
    pub intended_p99_ms: f64,
    /// The actual time that half of all do not exceed.
    pub actual_p50_ms: f64,
    /// The actual time that 99 % do not exceed.
    pub actual_p99_ms: f64,
}

/// The server's own state.
#[derive(Debug, Default, Serialize)]
pub struct ServerFigures {
    /// Lateness of the workers' own timers that 99 % do not exceed, in milliseconds.
    pub loop_lag_p99_ms: f64,
    /// Lateness of timed events that 99 % do not exceed, in milliseconds.
    pub lateness_p99_ms: f64,
    /// Number of requests that wait for a permit of `--max-concurrency`.
    pub waiting: u64,
    /// Number of open connections.
    pub open_connections: u64,
    /// Requests per closed connection.
    pub requests_per_connection: f64,
    /// Number of defects.
    pub panics: u64,
}

impl Report {
    /// Returns true if a check has failed.
    pub fn has_failed(&self) -> bool {
        self.findings.iter().any(|finding| finding.severity == Severity::Failed)
    }
}
