//! `/vllm/metrics`: the metrics of vLLM 0.32.0, in the form of Python's Prometheus client.
//!
//! Each series has the labels of an engine and a model: those of `--models`, and those that requests have named. What has no
//! counterpart in a fake stays 0: the caches, the floating-point operations, preemptions and sleep. So does the use of the KV
//! cache, which is not the share of permits in use. Help texts, and the values in `vllm:cache_config_info`, are the fake's own.

use std::{collections::BTreeMap, fmt::Write};

use crate::{
    core::model_catalog::UNKNOWN_WINDOW,
    engine::{Buckets, COARSE_BOUNDS, Engine, HttpCounters, Measure, ModelCounters, VllmCounters},
    traffic::capacity::Load,
};

pub(super) const CONTENT_TYPE: &str = "text/plain; version=1.0.0; charset=utf-8";

/// A value of a counter or gauge of one model, with the label that only this family has.
type Sample = (Option<(&'static str, &'static str)>, f64);

/// The counters of requests, by fixture, method and class of the status.
type HttpRows = BTreeMap<(Box<str>, String, u16), HttpCounters>;

/// The labels of the cache's configuration.
const CACHE_CONFIG: [(&str, &str); 36] = [
    ("_block_size_resolved", "True"),
    ("block_size", "16"),
    ("cache_dtype", "auto"),
    ("cache_hit_alignment_tokens", "None"),
    ("effective_attention_block_size", "16"),
    ("enable_mamba_shared_prefix_checkpoint", "False"),
    ("enable_prefix_caching", "False"),
    ("gpu_memory_utilization", "0.9"),
    ("hash_block_size", "None"),
    ("is_attention_free", "False"),
    ("kv_cache_dtype_skip_layers", "[]"),
    ("kv_cache_layout", "None"),
    ("kv_cache_max_concurrency", "None"),
    ("kv_cache_memory_bytes", "None"),
    ("kv_cache_size_tokens", "None"),
    ("kv_offloading_backend", "native"),
    ("kv_offloading_size", "None"),
    ("kv_sharing_fast_prefill", "False"),
    ("mamba_block_size", "None"),
    ("mamba_cache_dtype", "auto"),
    ("mamba_cache_mode", "none"),
    ("mamba_page_size_padded", "None"),
    ("mamba_ssm_cache_dtype", "auto"),
    ("num_cpu_blocks", "None"),
    ("num_gpu_blocks", "0"),
    ("num_gpu_blocks_override", "None"),
    ("prefix_cache_retention_interval", "None"),
    ("prefix_caching_hash_algo", "sha256"),
    ("prefix_match_unit", "None"),
    ("replayssm_buffer_len", "None"),
    ("skip_page_size_padded", "False"),
    ("sliding_window", "None"),
    ("swa_bounded_replay", "False"),
    ("use_kda_recoverssm", "False"),
    ("use_replayssm", "False"),
    ("user_specified_block_size", "False"),
];

/// A page of metrics under construction.
struct Page {
    text: String,
    /// The time since which counters count, in seconds since 1970.
    created: f64,
}

/// The labels of one series.
type Labels<'l> = Vec<(&'l str, &'l str)>;

/// Returns a number as Python's client writes it.
fn number(value: f64) -> String {
    let text = format!("{value:?}");
    match text.find('.') {
        Some(dot) if value > 0.0 && dot > 6 => {
            let digits = [&text[..dot], &text[dot + 1..]].concat();
            let (first, rest) = digits.split_at(1);
            let mantissa = format!("{first}.{rest}");
            format!("{}e+{:02}", mantissa.trim_end_matches('0').trim_end_matches('.'), dot - 1)
        }
        _ => text,
    }
}

fn escaped(value: &str) -> String {
    value.replace('\\', r"\\").replace('\n', r"\n").replace('"', "\\\"")
}

impl Page {
    fn family(&mut self, name: &str, kind: &str) {
        let help = name.trim_start_matches("vllm:").replace('_', " ");
        let _ = writeln!(self.text, "# HELP {name} The {help}.\n# TYPE {name} {kind}");
    }

    /// Adds a sample. The labels are sorted.
    fn sample(&mut self, name: &str, labels: &Labels<'_>, value: f64) {
        let mut labels = labels.clone();
        labels.sort_unstable();
        let labels: Vec<_> = labels.iter().map(|(name, value)| format!("{name}=\"{}\"", escaped(value))).collect();
        let labels = if labels.is_empty() { String::new() } else { format!("{{{}}}", labels.join(",")) };
        let _ = writeln!(self.text, "{name}{labels} {}", number(value));
    }

    /// Adds a family with these series.
    fn values(&mut self, name: &str, kind: &str, series: &[(Labels<'_>, f64)]) {
        self.family(name, kind);
        for (labels, value) in series {
            self.sample(name, labels, *value);
        }
        if kind == "counter" {
            self.created(name.trim_end_matches("_total"), series.iter().map(|(labels, _)| labels));
        }
    }

    /// Adds the times since which series count.
    fn created<'l>(&mut self, name: &str, series: impl Iterator<Item = &'l Labels<'l>>) {
        let name = format!("{name}_created");
        self.family(&name, "gauge");
        let created = self.created;
        series.for_each(|labels| self.sample(&name, labels, created));
    }

    fn histograms(&mut self, name: &str, bounds: &[f64], series: &[(Labels<'_>, &Buckets)]) {
        self.family(name, "histogram");
        for (labels, Buckets { counts, sum }) in series {
            let mut below = 0;
            for (n, bound) in bounds.iter().enumerate() {
                below += counts.get(n).copied().unwrap_or_default();
                let bound = number(*bound);
                self.sample(&format!("{name}_bucket"), &with(labels, "le", &bound), below as f64);
            }
            // Values beyond these bounds may be in buckets with larger ones.
            let all: u64 = counts.iter().sum();
            self.sample(&format!("{name}_bucket"), &with(labels, "le", "+Inf"), all as f64);
            self.sample(&format!("{name}_count"), labels, all as f64);
            self.sample(&format!("{name}_sum"), labels, *sum);
        }
        self.created(name, series.iter().map(|(labels, _)| labels));
    }

    fn summaries(&mut self, name: &str, series: &[(Labels<'_>, u64, u64)]) {
        self.family(name, "summary");
        for (labels, count, sum) in series {
            self.sample(&format!("{name}_count"), labels, *count as f64);
            self.sample(&format!("{name}_sum"), labels, *sum as f64);
        }
        self.created(name, series.iter().map(|(labels, ..)| labels));
    }
}

fn with<'l>(labels: &Labels<'l>, name: &'l str, value: &'l str) -> Labels<'l> {
    let mut labels = labels.clone();
    labels.push((name, value));
    labels
}

/// Renders the page.
pub(super) fn render(engine: &Engine) -> String {
    let VllmCounters { mut models, http, http_times } = engine.vllm_metrics();
    let served = engine.served();
    for name in &served.names {
        models.entry(name.as_str().into()).or_default();
    }
    if models.is_empty() {
        models.entry(served.first().into()).or_default();
    }
    let waiting = engine.load().map_or(0, |Load { waiting, .. }| waiting);
    let mut page = Page { text: String::with_capacity(32 << 10), created: engine.started().as_secs_f64() };

    let of_models = |samples: &dyn Fn(&ModelCounters) -> Vec<Sample>| -> Vec<(Labels<'_>, f64)> {
        let of_model = |(name, counters)| {
            samples(counters).into_iter().map(move |(label, value): Sample| {
                let labels = vec![("engine", "0"), ("model_name", name)];
                (labels.into_iter().chain(label).collect::<Labels<'_>>(), value)
            })
        };
        let models = models.iter().map(|(name, counters)| (&**name, counters));
        models.flat_map(of_model).collect()
    };
    let one = |value: f64| vec![(None, value)];
    let by = |label: &'static str, values: &[(&'static str, f64)]| -> Vec<Sample> {
        values.iter().map(|(name, value)| (Some((label, *name)), *value)).collect()
    };
    let zero = |_: &ModelCounters| one(0.0);

    for name in ["estimated_flops", "estimated_read_bytes", "estimated_write_bytes"] {
        page.values(&format!("vllm:{name}_per_gpu_total"), "counter", &of_models(&zero));
    }
    page.values("vllm:num_requests_running", "gauge", &of_models(&|model| one(model.running as f64)));
    // The queue is common to all models; the first one has it.
    let mut queues = of_models(&zero);
    if let Some((_, value)) = queues.first_mut() {
        *value = waiting as f64;
    }
    page.values("vllm:num_requests_waiting", "gauge", &queues);
    let mut reasons = of_models(&|_| by("reason", &[("capacity", 0.0), ("deferred", 0.0)]));
    if let Some((_, value)) = reasons.first_mut() {
        *value = waiting as f64;
    }
    page.values("vllm:num_requests_waiting_by_reason", "gauge", &reasons);
    let sleep = [("awake", 1.0), ("weights_offloaded", 0.0), ("discard_all", 0.0)];
    page.values("vllm:engine_sleep_state", "gauge", &of_models(&|_| by("sleep_state", &sleep)));
    page.values("vllm:kv_cache_usage_perc", "gauge", &of_models(&zero));
    let prompt = |model: &ModelCounters| one(model.prompt_tokens as f64);
    let cached = |model: &ModelCounters| one(model.cached_tokens as f64);
    page.values("vllm:prefix_cache_queries_total", "counter", &of_models(&prompt));
    page.values("vllm:prefix_cache_hits_total", "counter", &of_models(&cached));
    for name in ["external_prefix_cache_queries", "external_prefix_cache_hits", "mm_cache_queries", "mm_cache_hits"] {
        page.values(&format!("vllm:{name}_total"), "counter", &of_models(&zero));
    }
    page.values("vllm:num_preemptions_total", "counter", &of_models(&zero));
    page.values("vllm:prompt_tokens_total", "counter", &of_models(&prompt));
    let sources = of_models(&|model| {
        let computed = model.prompt_tokens.saturating_sub(model.cached_tokens) as f64;
        let hit = model.cached_tokens as f64;
        by("source", &[("local_compute", computed), ("local_cache_hit", hit), ("external_kv_transfer", 0.0)])
    });
    page.values("vllm:prompt_tokens_by_source_total", "counter", &sources);
    page.values("vllm:prompt_tokens_cached_total", "counter", &of_models(&cached));
    let sources = of_models(&|model| {
        let (hit, none) = (model.cached_tokens as f64, 0.0);
        by("source", &[("device", hit), ("host", none), ("p2p", none), ("disk", none), ("external_unspecified", none)])
    });
    page.values("vllm:prompt_tokens_cached_by_source_total", "counter", &sources);
    page.values("vllm:generation_tokens_total", "counter", &of_models(&|model| one(model.generation_tokens as f64)));
    let reasons = of_models(&|model| {
        let (stopped, cut) = (model.stopped as f64, model.cut as f64);
        by(
            "finished_reason",
            &[("stop", stopped), ("length", cut), ("abort", 0.0), ("error", 0.0), ("repetition", 0.0)],
        )
    });
    page.values("vllm:request_success_total", "counter", &reasons);
    let rejections = models.iter().map(|(name, model)| {
        let labels = |reason| vec![("model_name", &**name), ("reason", reason)];
        [(labels("max_num_queued_reqs"), model.rejected as f64), (labels("max_num_queued_tokens"), 0.0)]
    });
    page.values("vllm:admission_rejections_total", "counter", &rejections.flatten().collect::<Vec<_>>());

    let window = served.context_window.tokens(None).unwrap_or(UNKNOWN_WINDOW) as f64;
    for (measure, name) in Measure::ALL {
        let bounds = measure.bounds();
        let end =
            if measure.ends_at_window() { bounds.partition_point(|bound| *bound <= window) } else { bounds.len() };
        let series = models
            .iter()
            .map(|(name, model)| (vec![("engine", "0"), ("model_name", &**name)], &model.measures[measure as usize]));
        page.histograms(&format!("vllm:{name}"), &bounds[..end], &series.collect::<Vec<_>>());
    }
    let config: Labels<'_> = CACHE_CONFIG.into_iter().chain([("engine", "0")]).collect();
    page.values("vllm:cache_config_info", "gauge", &[(config, 1.0)]);
    let handlers: Vec<_> = http.keys().map(|(file, ..)| handler(engine, file)).collect();
    page.http(&http, &handlers, &http_times);
    page.text
}

impl Page {
    /// Adds the metrics of the HTTP server. `handlers` are the paths of the rows, in their order.
    fn http(&mut self, rows: &HttpRows, handlers: &[String], times: &Buckets) {
        let classes: Vec<_> = rows.keys().map(|(_, _, class)| format!("{class}xx")).collect();
        let all = || rows.iter().zip(handlers).zip(&classes);
        let requests = all().map(|((((_, method, _), row), handler), class)| {
            let labels = vec![("handler", handler.as_str()), ("method", method), ("status", class)];
            (labels, row.requests as f64)
        });
        let requests: Vec<_> = requests.collect();
        let mut sizes: BTreeMap<&str, [u64; 3]> = BTreeMap::new();
        let mut durations: BTreeMap<(&str, &str), Buckets> = BTreeMap::new();
        for ((((_, method, _), row), handler), _) in all() {
            let sums = sizes.entry(handler).or_default();
            sums[0] += row.requests;
            sums[1] += row.request_bytes;
            sums[2] += row.response_bytes;
            durations.entry((handler, method)).or_default().merge(&row.times);
        }
        if !rows.is_empty() {
            self.values("http_requests_total", "counter", &requests);
            for (name, n) in [("http_request_size_bytes", 1), ("http_response_size_bytes", 2)] {
                let series = sizes.iter().map(|(handler, sums)| (vec![("handler", *handler)], sums[0], sums[n]));
                self.summaries(name, &series.collect::<Vec<_>>());
            }
        }
        self.histograms("http_request_duration_highr_seconds", VllmCounters::fine_bounds(), &[(Vec::new(), times)]);
        if !rows.is_empty() {
            let series = durations
                .iter()
                .map(|((handler, method), times)| (vec![("handler", *handler), ("method", *method)], times));
            self.histograms("http_request_duration_seconds", &COARSE_BOUNDS, &series.collect::<Vec<_>>());
        }
    }
}

/// Returns the path of an endpoint, as a server of vLLM alone has it.
fn handler(engine: &Engine, file: &str) -> String {
    let path = engine.fixtures().first_path(file).unwrap_or(file);
    path.strip_prefix("/vllm").unwrap_or(path).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_those_of_pythons_client() {
        for (value, text) in [
            (0.0, "0.0"),
            (512.0, "512.0"),
            (0.025, "0.025"),
            (999_999.0, "999999.0"),
            (1_796_000_226.5, "1.7960002265e+09"),
            (2_000_000.0, "2e+06"),
        ] {
            assert_eq!(number(value), text);
        }
    }
}
