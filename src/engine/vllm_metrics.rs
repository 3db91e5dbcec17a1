//! The counters of vLLM's metrics, by model. They count only requests to vLLM's endpoints, of all scopes.
//!
//! As vLLM does, they count a request whose client has left nowhere but among the tokens.

use std::{
    collections::BTreeMap,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use http::Method;

use crate::core::{
    context::RequestContext,
    error::ApiError,
    reply::{FinishReason, Sampling},
    response::{Body, Response},
};

/// The start of the names of the fixtures whose requests are counted.
const ROUTES: &str = "vllm/";
/// Maximum number of models, and of handlers with a method and a status. Further ones count as [`OTHER`].
const MAX_ROWS: usize = 200;
/// The name of all models and routes beyond the bound.
const OTHER: &str = "other";

/// Upper bounds of numbers of tokens. A server has those up to its context window.
pub const TOKEN_BOUNDS: [f64; 19] =
    [1.0, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0, 200.0, 500.0, 1e3, 2e3, 5e3, 1e4, 2e4, 5e4, 1e5, 2e5, 5e5, 1e6];
const STEP_BOUNDS: [f64; 13] =
    [1.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0, 512.0, 1024.0, 2048.0, 4096.0, 8192.0, 16384.0];
const FIRST_TOKEN_BOUNDS: [f64; 22] = [
    0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0, 20.0, 40.0, 80.0,
    160.0, 640.0, 2560.0,
];
const TOKEN_TIME_BOUNDS: [f64; 19] =
    [0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0, 20.0, 40.0, 80.0];
const REQUEST_TIME_BOUNDS: [f64; 21] = [
    0.3, 0.5, 0.8, 1.0, 1.5, 2.0, 2.5, 5.0, 10.0, 15.0, 20.0, 30.0, 40.0, 50.0, 60.0, 120.0, 240.0, 480.0, 960.0,
    1920.0, 7680.0,
];
const HTTP_TIME_BOUNDS: [f64; 21] = [
    0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1.0, 1.5, 2.0, 2.5, 3.0, 3.5, 4.0, 4.5, 5.0, 7.5, 10.0, 30.0, 60.0,
];

/// A histogram of one model.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Measure {
    PromptTokens,
    GenerationTokens,
    IterationTokens,
    MaxGenerationTokens,
    ParamsN,
    ParamsMaxTokens,
    FirstToken,
    InterToken,
    TimePerToken,
    EndToEnd,
    Queue,
    Inference,
    Prefill,
    Decode,
    Preemptions,
    ComputedTokens,
}

impl Measure {
    /// Every histogram, with the name of its family without the prefix.
    pub const ALL: [(Measure, &'static str); 16] = [
        (Measure::PromptTokens, "request_prompt_tokens"),
        (Measure::GenerationTokens, "request_generation_tokens"),
        (Measure::IterationTokens, "iteration_tokens_total"),
        (Measure::MaxGenerationTokens, "request_max_num_generation_tokens"),
        (Measure::ParamsN, "request_params_n"),
        (Measure::ParamsMaxTokens, "request_params_max_tokens"),
        (Measure::FirstToken, "time_to_first_token_seconds"),
        (Measure::InterToken, "inter_token_latency_seconds"),
        (Measure::TimePerToken, "request_time_per_output_token_seconds"),
        (Measure::EndToEnd, "e2e_request_latency_seconds"),
        (Measure::Queue, "request_queue_time_seconds"),
        (Measure::Inference, "request_inference_time_seconds"),
        (Measure::Prefill, "request_prefill_time_seconds"),
        (Measure::Decode, "request_decode_time_seconds"),
        (Measure::Preemptions, "request_num_preemptions"),
        (Measure::ComputedTokens, "request_prefill_kv_computed_tokens"),
    ];

    /// Returns the upper bounds of its buckets.
    pub fn bounds(self) -> &'static [f64] {
        match self {
            Measure::PromptTokens
            | Measure::GenerationTokens
            | Measure::MaxGenerationTokens
            | Measure::ParamsMaxTokens
            | Measure::ComputedTokens => &TOKEN_BOUNDS,
            Measure::IterationTokens => &STEP_BOUNDS,
            Measure::ParamsN => &TOKEN_BOUNDS[..5],
            Measure::FirstToken => &FIRST_TOKEN_BOUNDS,
            Measure::InterToken | Measure::TimePerToken => &TOKEN_TIME_BOUNDS,
            Measure::Preemptions => &[1.0, 2.0, 3.0, 4.0, 5.0, 10.0, 20.0],
            Measure::EndToEnd | Measure::Queue | Measure::Inference | Measure::Prefill | Measure::Decode => {
                &REQUEST_TIME_BOUNDS
            }
        }
    }

    /// Returns true if its buckets end at the context window.
    pub fn ends_at_window(self) -> bool {
        self.bounds().len() == TOKEN_BOUNDS.len()
    }
}

/// A histogram: the number of values in each bucket, and their sum.
#[derive(Clone, Debug, Default)]
pub struct Buckets {
    /// Number of values in each bucket; the last has those beyond all bounds.
    pub counts: Vec<u64>,
    /// Sum of all values.
    pub sum: f64,
}

impl Buckets {
    /// Adds the values of another histogram with the same bounds.
    pub fn merge(&mut self, other: &Buckets) {
        self.counts.resize(self.counts.len().max(other.counts.len()), 0);
        for (count, more) in self.counts.iter_mut().zip(&other.counts) {
            *count += more;
        }
        self.sum += other.sum;
    }

    fn add(&mut self, bounds: &[f64], value: f64, times: u64) {
        self.counts.resize(bounds.len() + 1, 0);
        self.counts[bounds.partition_point(|bound| *bound < value)] += times;
        self.sum += value * times as f64;
    }
}

/// The counters of one model.
#[derive(Clone, Debug, Default)]
pub struct ModelCounters {
    /// Number of requests that are running.
    pub running: u64,
    /// Number of requests that a full queue has rejected.
    pub rejected: u64,
    /// Number of prompt tokens.
    pub prompt_tokens: u64,
    /// Number of prompt tokens read from a cache.
    pub cached_tokens: u64,
    /// Number of generated tokens.
    pub generation_tokens: u64,
    /// Number of complete requests that ended by themselves.
    pub stopped: u64,
    /// Number of complete requests that reached their token limit.
    pub cut: u64,
    /// The histograms, in the order of [`Measure::ALL`].
    pub measures: [Buckets; Measure::ALL.len()],
}

impl ModelCounters {
    fn add(&mut self, measure: Measure, value: f64, times: u64) {
        if times > 0 {
            self.measures[measure as usize].add(measure.bounds(), value, times);
        }
    }
}

/// The counters of requests by handler.
#[derive(Clone, Debug, Default)]
pub struct HttpCounters {
    /// Number of requests.
    pub requests: u64,
    /// Sum of the sizes of requests, in bytes.
    pub request_bytes: u64,
    /// Sum of the sizes of responses, in bytes.
    pub response_bytes: u64,
    /// The times of responses, in coarse buckets.
    pub times: Buckets,
}

/// Upper bounds of the coarse buckets of the times of responses.
pub const COARSE_BOUNDS: [f64; 3] = [0.1, 0.5, 1.0];

/// All counters at one time.
#[derive(Clone, Debug, Default)]
pub struct VllmCounters {
    /// The counters by model.
    pub models: BTreeMap<Box<str>, ModelCounters>,
    /// The counters by handler: by fixture, method and class of the status.
    pub http: BTreeMap<(Box<str>, String, u16), HttpCounters>,
    /// The times of all responses, in fine buckets: see [`VllmCounters::fine_bounds`].
    pub http_times: Buckets,
}

impl VllmCounters {
    /// Returns the upper bounds of the fine buckets of the times of responses.
    pub fn fine_bounds() -> &'static [f64] {
        &HTTP_TIME_BOUNDS
    }

    fn model(&mut self, name: &str) -> &mut ModelCounters {
        let is_known = self.models.contains_key(name) || self.models.len() < MAX_ROWS;
        self.models.entry(if is_known { name } else { OTHER }.into()).or_default()
    }
}

/// The counters, shared by all scopes.
#[derive(Default)]
pub(super) struct VllmMetrics(Mutex<VllmCounters>);

impl VllmMetrics {
    fn counters(&self) -> MutexGuard<'_, VllmCounters> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns the counters.
    pub(super) fn snapshot(&self) -> VllmCounters {
        self.counters().clone()
    }

    /// Sets all counters to zero, but not the number of running requests.
    pub(super) fn reset(&self) {
        let counters = &mut *self.counters();
        *counters = VllmCounters {
            models: std::mem::take(&mut counters.models)
                .into_iter()
                .map(|(name, ModelCounters { running, .. })| {
                    (name, ModelCounters { running, ..ModelCounters::default() })
                })
                .collect(),
            ..VllmCounters::default()
        };
    }

    /// Begins to count a request of a route; `None` if the route is not vLLM's.
    #[inline]
    pub(super) fn open(
        &self,
        response: &Response,
        error: Option<&ApiError>,
        context: &RequestContext<'_>,
        route: &str,
    ) -> Option<Box<VllmRequest>> {
        if route.starts_with(ROUTES) { Some(self.open_own(response, error, context, route)) } else { None }
    }

    #[cold]
    fn open_own(
        &self,
        response: &Response,
        error: Option<&ApiError>,
        context: &RequestContext<'_>,
        route: &str,
    ) -> Box<VllmRequest> {
        let model = context.served_model();
        let request = VllmRequest {
            route: route.into(),
            method: context.request.method.clone(),
            request_bytes: context.request.body.len(),
            body: if let Body::Full(body) = &response.body { Some(body.len() as u64) } else { None },
            model: model.as_ref().into(),
            sampling: response.reply.sampling,
            finish_reason: response.reply.finish_reason,
            prompt: response.cost.map_or(0, |cost| cost.input),
            output: response.cost.map_or(0, |cost| cost.output),
            cached: response.reply.cached,
            queued: context.decisions.queued,
            first_token: context.decisions.first_token,
        };
        let mut counters = self.counters();
        if let Some(ApiError::Saturated {}) = error {
            counters.model(&model).rejected += 1;
        }
        if request.sampling.is_some() {
            let counters = counters.model(&model);
            counters.running += 1;
            counters.prompt_tokens += request.prompt;
            counters.cached_tokens += request.cached;
        }
        Box::new(request)
    }

    /// Counts the end of a request.
    pub(super) fn close(&self, request: &VllmRequest, end: &RequestEnd) {
        let mut counters = self.counters();
        if let Some(status) = end.status {
            let time = end.time.as_secs_f64();
            counters.http_times.add(&HTTP_TIME_BOUNDS, time, 1);
            let key = (request.route.clone(), request.method.as_str().to_owned(), status / 100);
            let is_known = counters.http.contains_key(&key) || counters.http.len() < MAX_ROWS;
            let key = if is_known { key } else { (OTHER.into(), key.1, key.2) };
            let http = counters.http.entry(key).or_default();
            http.requests += 1;
            http.request_bytes += request.request_bytes;
            http.response_bytes += request.body.unwrap_or(end.bytes);
            http.times.add(&COARSE_BOUNDS, time, 1);
        }
        if let Some(sampling) = request.sampling {
            let counters = counters.model(&request.model);
            counters.running = counters.running.saturating_sub(1);
            request.count(sampling, end, counters);
        }
    }
}

/// A request of vLLM's endpoints that is open.
pub(super) struct VllmRequest {
    route: Box<str>,
    method: Method,
    request_bytes: u64,
    /// The size of a full body.
    body: Option<u64>,
    model: Box<str>,
    /// The parameters of a request that the model replies to.
    sampling: Option<Sampling>,
    finish_reason: Option<FinishReason>,
    prompt: u64,
    output: u64,
    cached: u64,
    queued: Duration,
    /// Planned time to the first token, without the time in the queue.
    first_token: Duration,
}

/// The end of a request.
pub(super) struct RequestEnd {
    pub(super) is_complete: bool,
    /// The status; `None` if no head was sent.
    pub(super) status: Option<u16>,
    /// Number of tokens that were delivered.
    pub(super) tokens: u64,
    /// Number of bytes of a stream.
    pub(super) bytes: u64,
    /// Time to the first token of a stream.
    pub(super) first_token: Option<Duration>,
    /// Time to the end.
    pub(super) time: Duration,
}

impl VllmRequest {
    fn count(&self, Sampling { n, max_tokens }: Sampling, end: &RequestEnd, counters: &mut ModelCounters) {
        let whole = self.output.saturating_mul(u64::from(end.is_complete));
        counters.generation_tokens += if end.is_complete { whole } else { end.tokens };
        let queued = self.queued.as_secs_f64();
        let total = end.time.as_secs_f64();
        // The first token of a full response is not sent by itself.
        let planned = || end.is_complete.then_some(self.first_token + self.queued);
        let first = end.first_token.or_else(planned).map(|first| first.as_secs_f64().min(total));
        if let Some(first) = first.filter(|_| self.output > 0) {
            counters.add(Measure::FirstToken, first, 1);
        }
        let (Some(first), true) = (first, end.is_complete) else { return };
        match self.finish_reason {
            Some(FinishReason::Length) => counters.cut += 1,
            _ => counters.stopped += 1,
        }
        let choices = n.max(1);
        let later = (self.output / choices).saturating_sub(1);
        let decode = total - first;
        for (measure, value) in [
            (Measure::PromptTokens, self.prompt as f64),
            (Measure::GenerationTokens, self.output as f64),
            (Measure::IterationTokens, self.prompt as f64),
            (Measure::MaxGenerationTokens, (self.output / choices) as f64),
            (Measure::ParamsN, choices as f64),
            (Measure::EndToEnd, total),
            (Measure::Queue, queued),
            (Measure::Inference, (total - queued).max(0.0)),
            (Measure::Prefill, (first - queued).max(0.0)),
            (Measure::Decode, decode),
            (Measure::Preemptions, 0.0),
            (Measure::ComputedTokens, self.prompt.saturating_sub(self.cached) as f64),
        ] {
            counters.add(measure, value, 1);
        }
        if let Some(most) = max_tokens {
            counters.add(Measure::ParamsMaxTokens, most as f64, 1);
        }
        // Each later token is a step of its own.
        counters.add(Measure::IterationTokens, 1.0, later);
        if later > 0 {
            counters.add(Measure::InterToken, decode / later as f64, later);
            counters.add(Measure::TimePerToken, decode / later as f64, 1);
        }
    }
}
