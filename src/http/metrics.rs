//! `/metrics`: what the server knows of itself, as Prometheus reads it.

use std::fmt::Write;

use actix_http::{Response, StatusCode};

use super::{Edge, Sent, lateness::Lateness, page};

/// Where it is.
pub(super) const PATH: &str = "/metrics";

pub(super) fn answer(edge: &Edge) -> Response<Sent> {
    let (taken, in_flight) = edge.engine.tally();
    let (running, waiting) = edge.engine.load();
    let mut text = String::new();
    let mut put = |name: &str, kind: &str, help: &str, value: u64| {
        let _ = writeln!(text, "# HELP {name} {help}\n# TYPE {name} {kind}\n{name} {value}");
    };
    put("fake_openai_requests_total", "counter", "Requests taken.", taken);
    put("fake_openai_requests_in_flight", "gauge", "Requests whose answers are under way.", in_flight);
    put("fake_openai_answers_running", "gauge", "Answers that take a place of --max-concurrency.", running as u64);
    put("fake_openai_requests_waiting", "gauge", "Requests that wait for such a place.", waiting as u64);
    summary("fake_openai_lateness_seconds", "How late events were sent that had a time.", &edge.lateness, &mut text);
    summary("fake_openai_loop_lag_seconds", "How late the workers' own timers were.", &edge.lag, &mut text);
    page(StatusCode::OK, "text/plain; version=0.0.4; charset=utf-8", text)
}

fn summary(name: &str, help: &str, lateness: &Lateness, text: &mut String) {
    let _ = writeln!(text, "# HELP {name} {help}\n# TYPE {name} summary");
    for (label, share) in [("0.5", 0.5), ("0.99", 0.99), ("1", 1.0)] {
        let _ = writeln!(text, "{name}{{quantile=\"{label}\"}} {}", lateness.quantile(share).as_secs_f64());
    }
    let _ = writeln!(text, "{name}_count {}", lateness.count());
}
