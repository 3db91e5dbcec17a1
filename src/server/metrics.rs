//! `/metrics`: the server's metrics in the text format of Prometheus, or of OpenMetrics where a client accepts that.

mod text;
mod vllm;

use actix_http::{
    HttpMessage, Request as HttpRequest, Response as HttpResponse, StatusCode,
    header::{ACCEPT, HeaderMap},
};

use self::text::{Format, MetricsText};
use super::{
    http::{Edge, SentBody, page},
    lateness::LatenessHistogram,
};
use crate::{
    engine::{ATTEMPT_BOUNDS, CallCounts, Outcome, Phase, TimeHistogram, Timing, Tokens, UNITS},
    fixtures::Fixtures,
    traffic::capacity::Load,
};

/// The load of a server without a concurrency limit.
const UNLIMITED: Load = Load { running: 0, waiting: 0, max: 0 };

/// The path of the page.
const PATH: &str = "/metrics";
/// The path of the page of vLLM's metrics alone.
const VLLM_PATH: &str = "/vllm/metrics";

/// The upper bounds of the buckets of times, in microseconds: close enough for a time of 10 ms and for one of a minute.
const BOUNDS: [u64; 22] = [
    1_000,
    2_500,
    5_000,
    10_000,
    25_000,
    50_000,
    75_000,
    100_000,
    150_000,
    200_000,
    300_000,
    400_000,
    500_000,
    750_000,
    1_000_000,
    2_500_000,
    5_000_000,
    10_000_000,
    20_000_000,
    40_000_000,
    60_000_000,
    300_000_000,
];

/// The upper bounds of the buckets of requests per connection.
const REQUEST_BOUNDS: [u64; 8] = [1, 2, 4, 8, 16, 64, 256, 1024];

/// Returns true if the page is requested, or that of vLLM's metrics alone. A provider at the root can have its own.
pub(super) fn is_page(path: &str, fixtures: &Fixtures) -> bool {
    path.ends_with(PATH) && (is_vllms(path, fixtures) || path == PATH && !fixtures.has_route_at(PATH))
}

fn is_vllms(path: &str, fixtures: &Fixtures) -> bool {
    matches!(path, PATH | VLLM_PATH) && fixtures.http_style(path).vllm_metrics
}

pub(super) fn respond(request: &HttpRequest, edge: &Edge) -> HttpResponse<SentBody> {
    let engine = edge.engine.get();
    if is_vllms(request.path(), engine.fixtures()) {
        return page(StatusCode::OK, vllm::CONTENT_TYPE, vllm::render(&engine));
    }
    let (content_type, text) = text(request, edge);
    page(StatusCode::OK, content_type, text)
}

/// Renders the page in the format that a client accepts, and returns its content type and its text.
pub(super) fn text(request: &HttpRequest, edge: &Edge) -> (&'static str, String) {
    let mut text = MetricsText::new(format(request.headers()));
    put_all(edge, &mut text);
    (text.content_type(), text.finish())
}

/// Returns the format that a client accepts.
fn format(headers: &HeaderMap) -> Format {
    let mut accepted = headers.get_all(ACCEPT).filter_map(|value| value.to_str().ok());
    match accepted.any(|value| value.contains("application/openmetrics-text")) {
        true => Format::OpenMetrics,
        false => Format::Prometheus,
    }
}

fn put_all(edge: &Edge, text: &mut MetricsText) {
    let engine = edge.engine.get();
    let metrics = engine.metrics(None);
    let Load { running, waiting, .. } = engine.load().unwrap_or(UNLIMITED);

    text.family("fake_openai_requests", "counter", "Requests, by the status that was sent.");
    for (labels, count) in &metrics.requests {
        let status = labels.status.map_or_else(|| "none".to_owned(), |status| status.as_u16().to_string());
        let labels = [
            ("route", &*labels.route),
            ("model", &*labels.model),
            ("status", &status),
            ("deployment", &*labels.deployment),
        ];
        text.value("_total", &labels, *count);
    }
    text.family("fake_openai_responses", "counter", "Ended responses, by their end and how far they had come.");
    for outcome in Outcome::ALL {
        for phase in Phase::ALL {
            let count = metrics.response(outcome, phase);
            if count > 0 {
                text.value("_total", &[("outcome", outcome.name()), ("phase", phase.name())], count);
            }
        }
    }
    text.family("fake_openai_requests_in_flight", "gauge", "Requests whose response is not complete.");
    text.value("", &[], metrics.in_flight);
    text.family("fake_openai_streams_open", "gauge", "Streams whose response is not complete.");
    text.value("", &[], metrics.open_streams);
    text.family("fake_openai_faults", "counter", "Faults that happened to requests.");
    for (fault, count) in &metrics.faults {
        text.value("_total", &[("fault", fault)], *count);
    }
    text.family("fake_openai_tokens", "counter", "Tokens of ended requests; output is what was delivered.");
    for (model, tokens) in &metrics.tokens {
        let Tokens { input, cached, output, reasoning, .. } = *tokens;
        for (direction, count) in [("input", input), ("cached", cached), ("output", output), ("reasoning", reasoning)] {
            text.value("_total", &[("direction", direction), ("model", model)], count);
        }
    }
    text.family(
        "fake_openai_tokens_undelivered",
        "counter",
        "Reply tokens not sent, because the response ended early.",
    );
    for (model, tokens) in &metrics.tokens {
        text.value("_total", &[("model", model)], tokens.undelivered);
    }
    text.family("fake_openai_limit_decisions", "counter", "Decisions of each limit; a refused request counts once.");
    for limit in engine.limits().decisions() {
        for (decision, count) in [("allowed", limit.allowed), ("refused", limit.refused)] {
            text.value("_total", &[("unit", limit.unit), ("per", &limit.per), ("decision", decision)], count);
        }
    }
    calls(&metrics.calls, text);
    times(
        "fake_openai_time_to_first_token_seconds",
        "Time to the first token of streams.",
        &metrics.times.first_token,
        text,
    );
    times(
        "fake_openai_inter_token_seconds",
        "Time between tokens of paced streams.",
        &metrics.times.between_tokens,
        text,
    );
    times(
        "fake_openai_request_duration_seconds",
        "Time to the end of complete responses.",
        &metrics.times.duration,
        text,
    );

    text.family("fake_openai_connections_open", "gauge", "Open connections.");
    text.value("", &[], edge.connections.open() as u64);
    text.family("fake_openai_connections", "counter", "Connections since the start.");
    text.value("_total", &[], edge.connections.total());
    text.family("fake_openai_requests_per_connection", "histogram", "Requests on each closed connection.");
    histogram(edge.connections.requests(), &REQUEST_BOUNDS, 1.0, &[], text);

    text.family("fake_openai_answers_running", "gauge", "Responses that hold a permit of --max-concurrency.");
    text.value("", &[], running as u64);
    text.family("fake_openai_requests_waiting", "gauge", "Requests that wait for such a permit.");
    text.value("", &[], waiting as u64);
    text.family("fake_openai_panics", "counter", "Defects that ended a request or a part of one.");
    text.value("_total", &[], metrics.panics);
    text.family("fake_openai_body_memory_bytes", "gauge", "Memory of large request bodies, of --max-body-memory.");
    text.value("", &[], engine.body_memory().used());
    text.family("fake_openai_journal_memory_bytes", "gauge", "Memory of the journal, of --journal-memory.");
    text.value("", &[], engine.journal().memory() as u64);
    if let Some(file) = engine.journal().file() {
        text.family("fake_openai_journal_dropped", "counter", "Entries that --journal-file could not take.");
        text.value("_total", &[], file.dropped());
    }

    // Names by which routers choose among vLLM servers.
    let tokens = metrics.all_tokens();
    text.family("vllm:num_requests_running", "gauge", "Requests in flight that do not wait for a permit.");
    text.value("", &[], metrics.in_flight.saturating_sub(waiting as u64));
    text.family("vllm:num_requests_waiting", "gauge", "Requests that wait for a permit.");
    text.value("", &[], waiting as u64);
    text.family("vllm:kv_cache_usage_perc", "gauge", "Share of the KV cache in use: there is none.");
    text.number("", &[], 0.0);
    text.family("vllm:prompt_tokens", "counter", "Prompt tokens.");
    text.value("_total", &[], tokens.input);
    text.family("vllm:generation_tokens", "counter", "Delivered reply tokens.");
    text.value("_total", &[], tokens.output);
    summary("fake_openai_lateness_seconds", "Lateness of events that had a due time.", &edge.lateness, text);
    summary("fake_openai_loop_lag_seconds", "Lateness of the workers' own timers.", &edge.lag, text);
}

/// Puts the attempts per call, and the retries before the announced time.
fn calls(calls: &CallCounts, text: &mut MetricsText) {
    text.family("fake_openai_early_retries", "counter", "Retries before the announced wait was over.");
    let units = UNITS.iter().map(|unit| unit.name()).chain(["none"]);
    for (unit, count) in units.zip(calls.early_retries).filter(|(_, count)| *count > 0) {
        text.value("_total", &[("unit", unit)], count);
    }
    text.family("fake_openai_attempts", "histogram", "Attempts of each logical call that has ended.");
    let mut below = 0;
    for (bound, count) in ATTEMPT_BOUNDS.iter().zip(calls.by_attempts) {
        below += count;
        text.value("_bucket", &[("le", &bound.to_string())], below);
    }
    text.value("_bucket", &[("le", "+Inf")], calls.calls());
    text.value("_sum", &[], calls.attempts);
    text.value("_count", &[], calls.calls());
}

/// Puts the histograms of a time as intended and as it was.
fn times(name: &str, help: &str, timing: &Timing, text: &mut MetricsText) {
    text.family(name, "histogram", help);
    for (kind, times) in [("intended", &timing.intended), ("actual", &timing.actual)] {
        histogram(times, &BOUNDS, 1e-6, &[("kind", kind)], text);
    }
}

/// Puts a histogram. `unit` is what a value of 1 is in the metric's unit.
fn histogram(values: &TimeHistogram, bounds: &[u64], unit: f64, labels: &[(&str, &str)], text: &mut MetricsText) {
    // Read before the buckets: a value that is added meanwhile must not make a bucket larger than the count.
    let buckets: Vec<_> = bounds.iter().map(|bound| (*bound, values.count_to(*bound))).collect();
    let (sum, count) = (values.sum(), values.count());
    for (bound, below) in buckets {
        let bound = (bound as f64 * unit).to_string();
        text.value("_bucket", &[labels, &[("le", &bound)]].concat(), below);
    }
    text.value("_bucket", &[labels, &[("le", "+Inf")]].concat(), count);
    text.number("_sum", labels, sum as f64 * unit);
    text.value("_count", labels, count);
}

fn summary(name: &str, help: &str, lateness: &LatenessHistogram, text: &mut MetricsText) {
    text.family(name, "summary", help);
    for (label, share) in [("0.5", 0.5), ("0.99", 0.99), ("1", 1.0)] {
        text.number("", &[("quantile", label)], lateness.quantile(share).as_secs_f64());
    }
    text.value("_count", &[], lateness.count());
}
