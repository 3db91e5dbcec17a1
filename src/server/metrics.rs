//! `/metrics`: the server's metrics in Prometheus's text format.

use std::fmt::Write;

use actix_http::{Response as HttpResponse, StatusCode};

use super::{
    http::{Edge, SentBody, page},
    lateness::LatenessHistogram,
};
use crate::{core::limit_status::Cost, engine::MetricsSnapshot, traffic::capacity::Load};

/// The load of a server without a concurrency limit.
const UNLIMITED: Load = Load { running: 0, waiting: 0, max: 0 };

/// The path of the page.
pub(super) const PATH: &str = "/metrics";

pub(super) fn respond(edge: &Edge) -> HttpResponse<SentBody> {
    let engine = edge.engine.get();
    let MetricsSnapshot { taken, in_flight, tokens: Cost { input, output }, panics } = engine.metrics();
    let Load { running, waiting, max } = engine.load().unwrap_or(UNLIMITED);
    let mut text = String::new();
    let mut put = |name: &str, kind: &str, help: &str, value: f64| {
        let _ = writeln!(text, "# HELP {name} {help}\n# TYPE {name} {kind}\n{name} {value}");
    };
    let [taken, in_flight, input, output, panics] =
        [taken, in_flight, input, output, panics].map(|number| number as f64);
    let [running, waiting, max] = [running, waiting, max].map(|number| number as f64);
    put("fake_openai_requests_total", "counter", "Requests received.", taken);
    put("fake_openai_requests_in_flight", "gauge", "Requests whose response is not complete.", in_flight);
    put("fake_openai_answers_running", "gauge", "Responses that hold a permit of --max-concurrency.", running);
    put("fake_openai_requests_waiting", "gauge", "Requests that wait for such a permit.", waiting);
    put("fake_openai_prompt_tokens_total", "counter", "Prompt tokens, as reported in responses.", input);
    put("fake_openai_completion_tokens_total", "counter", "Completion tokens, as reported in responses.", output);
    put("fake_openai_panics_total", "counter", "Defects that ended a request or a part of one.", panics);
    let body_bytes = engine.body_memory().used() as f64;
    put("fake_openai_body_memory_bytes", "gauge", "Memory of large request bodies, of --max-body-memory.", body_bytes);
    // Names by which routers choose among vLLM servers.
    put("vllm:num_requests_running", "gauge", "Requests in flight that do not wait for a permit.", in_flight - waiting);
    put("vllm:num_requests_waiting", "gauge", "Requests that wait for a permit.", waiting);
    for name in ["vllm:kv_cache_usage_perc", "vllm:gpu_cache_usage_perc"] {
        put(name, "gauge", "Share of the permits in use, from 0 to 1.", running / max.max(1.0));
    }
    put("vllm:prompt_tokens_total", "counter", "Prompt tokens.", input);
    put("vllm:generation_tokens_total", "counter", "Completion tokens.", output);
    summary("fake_openai_lateness_seconds", "Lateness of events that had a due time.", &edge.lateness, &mut text);
    summary("fake_openai_loop_lag_seconds", "Lateness of the workers' own timers.", &edge.lag, &mut text);
    page(StatusCode::OK, "text/plain; version=0.0.4; charset=utf-8", text)
}

fn summary(name: &str, help: &str, lateness: &LatenessHistogram, text: &mut String) {
    let _ = writeln!(text, "# HELP {name} {help}\n# TYPE {name} summary");
    for (label, share) in [("0.5", 0.5), ("0.99", 0.99), ("1", 1.0)] {
        let _ = writeln!(text, "{name}{{quantile=\"{label}\"}} {}", lateness.quantile(share).as_secs_f64());
    }
    let _ = writeln!(text, "{name}_count {}", lateness.count());
}
