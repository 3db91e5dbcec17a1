//! `report`: fetches the report of a running server, writes it to files and prints its findings.

use std::{fmt::Write as _, fs, path::PathBuf, time::Duration};

use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::Value;

use super::{Failure, client::Client, print};

/// Time for each response.
const PATIENCE: Duration = Duration::from_secs(30);

/// The report to fetch.
#[derive(clap::Args)]
pub struct Options {
    /// URL of the server, such as http://127.0.0.1:8080
    url: String,
    /// File to write JUnit XML to
    #[arg(long, value_name = "FILE")]
    junit: Option<PathBuf>,
    /// File to write the page to
    #[arg(long, value_name = "FILE")]
    html: Option<PathBuf>,
    /// File to write JSON to
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Scope to report on [default: all]
    #[arg(long, value_name = "NAME")]
    scope: Option<String>,
}

/// Fetches the report, writes the files and prints the findings.
///
/// # Errors
/// A check has failed, the server cannot be reached, or a file cannot be written.
pub(super) fn run(options: &Options, token: Option<&str>) -> Result<(), Failure> {
    let server = Client::new(&options.url, token)?;
    let scope = options.scope.as_ref().map(|scope| format!("&scope={}", utf8_percent_encode(scope, NON_ALPHANUMERIC)));
    let fetch = |format: &str| {
        let path = format!("/__admin/report?format={format}{}", scope.as_deref().unwrap_or_default());
        let (status, body) = server.get(&path, PATIENCE)?;
        let body = String::from_utf8_lossy(&body).into_owned();
        if status == 200 { Ok(body) } else { Err(refusal(&options.url, status, &body)) }
    };
    let text = fetch("json")?;
    let report: Value = serde_json::from_str(&text).map_err(|error| {
        Failure::Machine(format!("{}: the report is not JSON: {error}; use a server of this version", options.url))
    })?;
    if !report["traffic"]["requests"].is_u64() || !report["findings"].is_array() {
        return Err(Failure::User(format!("{}: the response is not a report; check the URL", options.url)));
    }
    for (format, path) in [("junit", &options.junit), ("html", &options.html), ("json", &options.json)] {
        let Some(path) = path else { continue };
        let text = if format == "json" { text.clone() } else { fetch(format)? };
        fs::write(path, text).map_err(|error| {
            let path = path.display();
            Failure::Machine(format!("{path}: cannot write: {error}; give a path that can be written"))
        })?;
    }
    print(&findings(&report));
    match failed(&report).as_slice() {
        [] => Ok(()),
        failed => Err(Failure::Unmet(format!("failed checks: {}", failed.join(", ")))),
    }
}

/// The error for another response than the report.
fn refusal(url: &str, status: u16, body: &str) -> Failure {
    let body: Value = serde_json::from_str(body).unwrap_or_default();
    let message = body["error"]["message"].as_str().unwrap_or("is it a fake-openai server?");
    let text = format!("{url}: the response has status {status}: {message}");
    if [401, 403, 404].contains(&status) { Failure::User(text) } else { Failure::Machine(text) }
}

fn failed(report: &Value) -> Vec<&str> {
    let findings = report["findings"].as_array().map(Vec::as_slice).unwrap_or_default();
    findings
        .iter()
        .filter(|finding| finding["severity"] == "failed")
        .filter_map(|finding| finding["check"].as_str())
        .collect()
}

/// Renders the findings, one after the other.
fn findings(report: &Value) -> String {
    let (traffic, retries) = (&report["traffic"], &report["retries"]);
    let mut out = format!(
        "{} requests, {} calls, {} retries, {} of them before the announced time\n",
        traffic["requests"], retries["calls"], retries["retries"], retries["early"]
    );
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    for finding in report["findings"].as_array().into_iter().flatten() {
        let _ = writeln!(
            out,
            "\n{} {}: {}\n  {}\n  Look at: {}",
            text(&finding["severity"]),
            text(&finding["check"]),
            text(&finding["text"]),
            text(&finding["meaning"]),
            text(&finding["look_at"])
        );
        let entries: Vec<_> = finding["entries"].as_array().into_iter().flatten().map(text).collect();
        if !entries.is_empty() {
            let _ = writeln!(out, "  Entries: {}", entries.join(", "));
        }
    }
    if report["findings"].as_array().is_none_or(Vec::is_empty) {
        out.push_str("no findings\n");
    }
    out
}
