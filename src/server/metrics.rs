//! `/metrics`: what the server knows of itself, as Prometheus reads it.

use std::fmt::Write;

use actix_http::{Response as HttpResponse, StatusCode};

use super::{
    http::{Edge, Sent, page},
    lateness::LatenessHistogram,
};
use crate::{core::limit_status::Cost, engine::MetricsSnapshot, traffic::capacity::Load};

/// How full a server is that takes as many as come.
const NO_PLACES: Load = Load { running: 0, waiting: 0, max: 0 };

/// Where it is.
pub(super) const PATH: &str = "/metrics";

pub(super) fn respond(edge: &Edge) -> HttpResponse<Sent> {
    let engine = edge.engine.get();
    let MetricsSnapshot { taken, in_flight, tokens: Cost { input, output } } = engine.count();
    let Load { running, waiting, max } = engine.load().unwrap_or(NO_PLACES);
    let mut text = String::new();
    let mut put = |name: &str, kind: &str, help: &str, value: f64| {
        let _ = writeln!(text, "# HELP {name} {help}\n# TYPE {name} {kind}\n{name} {value}");
    };
    let [taken, in_flight, input, output] = [taken, in_flight, input, output].map(|number| number as f64);
    let [running, waiting, max] = [running, waiting, max].map(|number| number as f64);
    put("fake_openai_requests_total", "counter", "Requests taken.", taken);
    put("fake_openai_requests_in_flight", "gauge", "Requests whose answers are under way.", in_flight);
    put("fake_openai_answers_running", "gauge", "Answers that take a place of --max-concurrency.", running);
    put("fake_openai_requests_waiting", "gauge", "Requests that wait for such a place.", waiting);
    put("fake_openai_prompt_tokens_total", "counter", "Tokens of prompts, as the answers tell them.", input);
    put("fake_openai_completion_tokens_total", "counter", "Tokens of replies, as the answers tell them.", output);
    // The names by which routers choose among vLLM's servers.
    put("vllm:num_requests_running", "gauge", "Answers under way that wait for no place.", in_flight - waiting);
    put("vllm:num_requests_waiting", "gauge", "Requests that wait for a place.", waiting);
    for name in ["vllm:kv_cache_usage_perc", "vllm:gpu_cache_usage_perc"] {
        put(name, "gauge", "The share of the places that is taken, 1 for all.", running / max.max(1.0));
    }
    put("vllm:prompt_tokens_total", "counter", "Tokens of prompts.", input);
    put("vllm:generation_tokens_total", "counter", "Tokens of replies.", output);
    summary("fake_openai_lateness_seconds", "How late events were sent that had a time.", &edge.lateness, &mut text);
    summary("fake_openai_loop_lag_seconds", "How late the workers' own timers were.", &edge.lag, &mut text);
    page(StatusCode::OK, "text/plain; version=0.0.4; charset=utf-8", text)
}

fn summary(name: &str, help: &str, lateness: &LatenessHistogram, text: &mut String) {
    let _ = writeln!(text, "# HELP {name} {help}\n# TYPE {name} summary");
    for (label, share) in [("0.5", 0.5), ("0.99", 0.99), ("1", 1.0)] {
        let _ = writeln!(text, "{name}{{quantile=\"{label}\"}} {}", lateness.quantile(share).as_secs_f64());
    }
    let _ = writeln!(text, "{name}_count {}", lateness.count());
}
