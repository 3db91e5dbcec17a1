//! The report of a measurement: a table for people, or JSON for programs.

use std::{collections::BTreeMap, fmt::Write as _, time::Duration};

use fake_openai::core::digits;
use serde::Serialize;

use super::{load::LoadCounts, times::CpuTimes};
use crate::cli::{Failure, tables};

/// All measured cases and their conditions.
#[derive(Serialize)]
pub(super) struct Report {
    pub(super) version: &'static str,
    pub(super) cores: usize,
    pub(super) workers: usize,
    pub(super) client_threads: usize,
    pub(super) connections: usize,
    /// Time that each case was measured.
    pub(super) seconds: f64,
    /// True if settings delay responses or inject faults: the rates are then not the limit of the machine.
    #[serde(skip)]
    pub(super) is_altered: bool,
    pub(super) cases: Vec<Case>,
}

/// One measured case. Complete responses count, with any status.
#[derive(Serialize)]
pub(super) struct Case {
    case: &'static str,
    requests: u64,
    requests_per_second: f64,
    /// Events of streams per second.
    #[serde(skip_serializing_if = "Option::is_none")]
    frames_per_second: Option<f64>,
    /// Megabytes per second, requests and responses together.
    megabytes_per_second: f64,
    /// Median time from the first byte of a request to the last byte of its response.
    #[serde(skip_serializing_if = "Option::is_none")]
    p50_ms: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    p99_ms: Option<f64>,
    /// CPU time of the server's threads, including the kernel's work for them.
    #[serde(skip_serializing_if = "Option::is_none")]
    server_cpu_us_per_request: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    client_cpu_us_per_request: Option<f64>,
    /// Cores that server and client used together. Other programs on the machine take the rest.
    #[serde(skip_serializing_if = "Option::is_none")]
    cores_used: Option<f64>,
    /// Responses with an error status, by status; `broken` counts requests without a complete response.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    errors: BTreeMap<String, u64>,
}

/// Key in `errors` of requests without a complete response.
const BROKEN: &str = "broken";

impl Case {
    pub(super) fn new(
        case: &'static str,
        streamed: bool,
        counts: &LoadCounts,
        time: Duration,
        cpu: Option<CpuTimes>,
    ) -> Self {
        let per_second = |count: u64| thousandths(count as f64 / time.as_secs_f64());
        let quantile = |share| counts.times.quantile(share).map(|nanos| thousandths(nanos as f64 / 1e6));
        let each = |nanos: u64| (counts.requests > 0).then(|| thousandths(nanos as f64 / 1e3 / counts.requests as f64));
        let failed = counts.statuses.iter().enumerate().filter(|(status, count)| **count > 0 && status / 100 != 2);
        let mut errors: BTreeMap<_, _> = failed.map(|(status, count)| (status.to_string(), *count)).collect();
        if counts.broken > 0 {
            errors.insert(BROKEN.to_owned(), counts.broken);
        }
        Case {
            case,
            requests: counts.requests,
            requests_per_second: per_second(counts.requests),
            frames_per_second: streamed.then(|| per_second(counts.frames)),
            megabytes_per_second: thousandths(counts.bytes as f64 / 1e6 / time.as_secs_f64()),
            p50_ms: quantile(0.5),
            p99_ms: quantile(0.99),
            server_cpu_us_per_request: cpu.and_then(|cpu| each(cpu.server)),
            client_cpu_us_per_request: cpu.and_then(|cpu| each(cpu.client)),
            cores_used: cpu.map(|cpu| thousandths((cpu.server + cpu.client) as f64 / time.as_nanos().max(1) as f64)),
            errors,
        }
    }
}

fn thousandths(value: f64) -> f64 {
    (value * 1000.0).round() / 1000.0
}

impl Report {
    /// Renders one JSON object.
    pub(super) fn json(&self) -> Result<String, Failure> {
        #[derive(Serialize)]
        struct JsonReport<'a> {
            #[serde(flatten)]
            report: &'a Report,
            in_words: String,
        }
        let whole = JsonReport { report: self, in_words: self.conclusion() };
        let text = serde_json::to_string_pretty(&whole).map_err(|error| Failure::Machine(error.to_string()))?;
        Ok(text + "\n")
    }

    /// Renders a table and the conclusion.
    pub(super) fn text(&self) -> String {
        let timed = self.cases.iter().any(|case| case.cores_used.is_some());
        let failed = self.cases.iter().any(|case| !case.errors.is_empty());
        let mut heading = vec!["CASE", "REQUESTS/S", "FRAMES/S", "MB/S", "P50 MS", "P99 MS"];
        heading.extend(timed.then_some(["CPU µS", "CORES"]).into_iter().flatten());
        heading.extend(failed.then_some("ERRORS"));
        let mut rows: Vec<Vec<String>> = vec![heading.into_iter().map(str::to_owned).collect()];
        for case in &self.cases {
            let figure =
                |value: Option<f64>, places| value.map_or_else(|| "-".to_owned(), |value| format!("{value:.places$}"));
            let mut row = vec![
                case.case.to_owned(),
                grouped(case.requests_per_second),
                case.frames_per_second.map_or_else(|| "-".to_owned(), grouped),
                format!("{:.1}", case.megabytes_per_second),
                figure(case.p50_ms, 2),
                figure(case.p99_ms, 2),
            ];
            if timed {
                row.push(figure(case.server_cpu_us_per_request, 1));
                row.push(figure(case.cores_used, 1));
            }
            row.extend(failed.then(|| grouped(case.errors.values().sum::<u64>() as f64)));
            rows.push(row);
        }
        let mut text = tables::columns(&rows, 1);
        text.push('\n');
        for case in self.cases.iter().filter(|case| !case.errors.is_empty()) {
            let errors: Vec<_> = case
                .errors
                .iter()
                .map(|(what, count)| match what.as_str() {
                    BROKEN => format!("{count} without a complete response"),
                    status => format!("{count} with status {status}"),
                })
                .collect();
            let _ = writeln!(text, "Errors, {}: {}.", case.case, errors.join(", "));
        }
        let _ = writeln!(
            text,
            "fake-openai {}, {}, {}. The client ({}, {}) ran on the same cores, over loopback.",
            self.version,
            counted(self.cores, "core"),
            counted(self.workers, "worker"),
            counted(self.client_threads, "thread"),
            counted(self.connections, "connection"),
        );
        text.push_str(match timed {
            true => "CPU µS: the server's CPU time per request. CORES: cores that server and client used; other programs take the rest.\n",
            false => "This system does not report the CPU time of threads.\n",
        });
        let _ = writeln!(text, "{}", self.conclusion());
        text
    }

    /// Returns the conclusion for a load test.
    fn conclusion(&self) -> String {
        let rate = |name: &str| {
            let case = self.cases.iter().find(|case| case.case == name);
            rounded(case.map_or(0.0, |case| case.requests_per_second))
        };
        let failed = self.cases.iter().any(|case| !case.errors.is_empty());
        if self.is_altered || failed || self.cases.iter().any(|case| case.requests == 0) {
            return format!(
                "With these settings responses are delayed or fail: these are the rates of {}, not the limit of this machine.",
                counted(self.connections, "connection")
            );
        }
        let build =
            if cfg!(debug_assertions) { " This is a debug build; a release build is many times faster." } else { "" };
        format!(
            "Above {} requests/s ({} with 100 KB prompts, {} streamed), a gateway test on this machine measures the fake \
             and its client, not the gateway.{build}",
            rate("plain chat"),
            rate("100 KB prompt"),
            rate("streamed")
        )
    }
}

fn counted(count: usize, noun: &str) -> String {
    format!("{count} {noun}{}", if count == 1 { "" } else { "s" })
}

/// Rounds a rate down to two digits: further digits differ between runs.
fn rounded(rate: f64) -> String {
    let unit = 10_f64.powf((rate.max(1.0).log10().floor() - 1.0).max(0.0));
    grouped((rate / unit).floor() * unit)
}

/// Formats a number, rounded, with thousands separators.
fn grouped(value: f64) -> String {
    digits::grouped(value.round() as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_rounded_and_grouped() {
        for (value, whole, rounded_down) in [
            (0.0, "0", "0"),
            (7.4, "7", "7"),
            (999.6, "1,000", "990"),
            (24_310.0, "24,310", "24,000"),
            (1_234_567.0, "1,234,567", "1,200,000"),
        ] {
            assert_eq!((grouped(value).as_str(), rounded(value).as_str()), (whole, rounded_down));
        }
    }
}
