//! The settings: flags, environment variables and keys of the configuration file.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::{AccessLog, Checks, Config, limits::Preset, values};
use crate::{
    model::{ContentSource, Counting},
    resources::store::StoreMode,
    traffic::{
        capacity::QueuedHead,
        limit::{Dimension, FailurePolicy, LimitSpec, Window},
        rule::Rule,
    },
};

/// Settings as the user gives them; `None` if a setting is not given.
///
/// Each field is a flag, an environment variable (`FAKE_OPENAI_` and its name) and a key of the configuration file.
#[derive(Clone, Debug, Default, Serialize, Deserialize, clap::Args)]
#[serde(deny_unknown_fields, default)]
#[command(next_help_heading = "Server")]
pub struct Settings {
    /// Address to listen on; 0.0.0.0 is all interfaces, IPv6 too [default: 0.0.0.0]
    #[arg(long, value_name = "ADDR")]
    pub host: Option<String>,
    /// Provider that answers at the root: openai, vllm, llama-cpp, azure … [default: openai]
    #[arg(id = "as", long = "as", value_name = "PROVIDER")]
    #[serde(rename = "as")]
    pub serve_as: Option<String>,
    /// Port; the next free one if taken, 0 for any [default: 8080]
    #[arg(long, value_name = "PORT", value_parser = values::port)]
    pub port: Option<u16>,
    /// Fail if the port is taken, instead of using the next free one
    #[arg(long, value_name = "BOOL", value_parser = values::boolean)]
    #[arg(num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    pub strict_port: Option<bool>,
    /// File to write the port to, once requests are accepted
    #[arg(long, value_name = "PATH", value_parser = values::path)]
    pub port_file: Option<PathBuf>,
    /// Directory whose files override the built-in fixtures
    #[arg(long, value_name = "DIR", value_parser = values::path)]
    pub fixtures: Option<PathBuf>,
    /// Log one line per request to stderr, as words or as JSON
    #[arg(long, value_name = "BOOL|json", value_parser = AccessLog::parse)]
    #[arg(visible_aliases = ["log-requests", "verbose"])]
    #[arg(num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    pub access_log: Option<AccessLog>,
    /// Show no status line on a terminal
    #[arg(long, value_name = "BOOL", value_parser = values::boolean)]
    #[arg(num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    pub no_status: Option<bool>,
    /// Send a Server-Timing header: planned, waited and own time of each response
    #[arg(long, value_name = "BOOL", value_parser = values::boolean)]
    #[arg(num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    pub server_timing: Option<bool>,
    /// Send x-fake-openai-reply: the scripted reply and the faults of each response
    #[arg(long, value_name = "BOOL", value_parser = values::boolean)]
    #[arg(num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    pub explain: Option<bool>,
    /// Worker threads [default: one per core]
    #[arg(long, value_name = "N", value_parser = values::size)]
    pub workers: Option<usize>,
    /// Largest accepted request body [default: 64MiB]
    #[arg(long, value_name = "SIZE")]
    #[serde(deserialize_with = "text_or_number")]
    pub max_body: Option<String>,
    /// Memory for all request bodies at once; 503 beyond [default: a quarter of the machine's or container's]
    #[arg(long, value_name = "SIZE")]
    #[serde(deserialize_with = "text_or_number")]
    pub max_body_memory: Option<String>,
    /// Time for running requests to finish at shutdown [default: 5s]
    #[arg(long, value_name = "TIME")]
    pub drain: Option<String>,
    /// Accepted API key, repeatable [default: any key, or none]
    #[arg(long, help_heading = "Access", value_name = "KEY", value_delimiter = ',')]
    pub api_key: Option<Vec<String>>,
    /// Token that opens /__admin to clients on other machines
    #[arg(long, help_heading = "Access", value_name = "TOKEN")]
    pub admin_token: Option<String>,
    /// Another host name under which this machine may use /__admin, repeatable
    #[arg(long, help_heading = "Access", value_name = "NAME", value_delimiter = ',')]
    pub admin_host: Option<Vec<String>>,
    /// Proxy whose X-Forwarded-For or Forwarded header names the client, repeatable
    #[arg(long, help_heading = "Access", value_name = "CIDR", value_delimiter = ',')]
    pub trusted_proxy: Option<Vec<String>>,
    /// Available models [default: any name]
    #[arg(long, help_heading = "Model", value_name = "A,B", value_delimiter = ',')]
    pub models: Option<Vec<String>>,
    /// Model name in responses: as requested, or the dated snapshot [default: echo]
    #[arg(long, help_heading = "Model", value_name = "echo|snapshot", value_parser = values::choice::<ModelNames>)]
    pub model_names: Option<ModelNames>,
    /// Reply to a request that no script matches [default: canned]
    #[arg(long, help_heading = "Model", value_name = "canned|echo|lorem", value_parser = values::choice::<ContentSource>)]
    pub content: Option<ContentSource>,
    /// Length of lorem replies in tokens; the request can shorten them [default: 64..256]
    #[arg(long, help_heading = "Model", value_name = "MIN..MAX")]
    pub lorem_tokens: Option<String>,
    /// Source of token counts [default: canned]
    #[arg(long, help_heading = "Model", value_name = "canned|estimate|exact")]
    #[arg(value_parser = values::choice::<Counting>)]
    pub usage: Option<Counting>,
    /// Context window in tokens, or `model` for the real model's [default: no limit]
    #[arg(long, help_heading = "Model", value_name = "N|model")]
    #[serde(deserialize_with = "text_or_number")]
    pub context_window: Option<String>,
    /// Accept any JSON object without validation
    #[arg(long, help_heading = "Model", value_name = "BOOL", value_parser = values::boolean)]
    #[arg(num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    pub lenient: Option<bool>,
    /// Return 404 for ids that were never created
    #[arg(long, help_heading = "Model", value_name = "BOOL", value_parser = values::boolean)]
    #[arg(num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    pub strict_ids: Option<bool>,
    /// Store and delete nothing: any id returns the fixture's object
    #[arg(long, help_heading = "Model", value_name = "BOOL", value_parser = values::boolean)]
    #[arg(num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    pub stateless: Option<bool>,
    /// Seed that makes response bodies reproducible
    #[arg(long, help_heading = "Model", value_name = "N", value_parser = values::long)]
    pub seed: Option<u64>,
    /// Latency of a known model, such as gpt-4o; `fake-openai profiles` lists them
    #[arg(long, help_heading = "Latency", value_name = "NAME")]
    pub profile: Option<String>,
    /// Time to first token: 300ms, 300ms±50ms, lognormal(p50=300ms,p99=2s)
    #[arg(long, help_heading = "Latency", value_name = "TIME", visible_aliases = ["latency", "delay"])]
    pub ttft: Option<String>,
    /// Inter-token latency: time from one token to the next, written like --ttft
    #[arg(long, help_heading = "Latency", value_name = "TIME")]
    pub itl: Option<String>,
    /// Time that each prompt token adds to the time to first token
    #[arg(long, help_heading = "Latency", value_name = "TIME")]
    pub prefill: Option<String>,
    /// Factor by which all latencies are sped up [default: 1]
    #[arg(long, help_heading = "Latency", value_name = "N", value_parser = values::decimal)]
    pub speed: Option<f64>,
    /// Responses generated at once; further requests wait [default: no limit]
    #[arg(long, help_heading = "Latency", value_name = "N", value_parser = values::size)]
    pub max_concurrency: Option<usize>,
    /// Requests that may wait; further ones are refused as overload [default: 1000]
    #[arg(long, help_heading = "Latency", value_name = "N", value_parser = values::size)]
    pub queue: Option<usize>,
    /// When a stream that waits gets its head: at-once or held [default: as the provider]
    #[arg(long, help_heading = "Latency", value_name = "at-once|held", value_parser = values::choice::<QueuedHead>)]
    pub queue_head: Option<QueuedHead>,
    /// Factor by which tokens slow down towards --max-concurrency [default: 1]
    #[arg(long, help_heading = "Latency", value_name = "N", value_parser = values::decimal)]
    pub slowdown: Option<f64>,
    /// Fault to inject, such as 503%5 or cut@40, repeatable; `fake-openai faults` lists them
    #[arg(long, help_heading = "Faults", value_name = "FAULT")]
    pub fault: Option<Vec<String>>,
    /// Faults for matching requests; in the file only
    #[arg(skip)]
    pub rules: Option<Vec<Rule>>,
    /// Ignore faults that requests ask for by model, key, path, query, header or message
    #[arg(long, help_heading = "Faults", value_name = "BOOL", value_parser = values::boolean)]
    #[arg(num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    pub no_request_faults: Option<bool>,
    /// Requests per minute, for each client address unless --per is given
    #[arg(long, help_heading = "Limits", value_name = "N", value_parser = values::count)]
    pub rpm: Option<u32>,
    /// Requests per day
    #[arg(long, help_heading = "Limits", value_name = "N", value_parser = values::count)]
    pub rpd: Option<u32>,
    /// Tokens per minute: estimated prompt tokens plus the longest reply allowed
    #[arg(long, help_heading = "Limits", value_name = "N", value_parser = values::count)]
    pub tpm: Option<u32>,
    /// Prompt tokens per minute
    #[arg(long, help_heading = "Limits", value_name = "N", value_parser = values::count)]
    pub itpm: Option<u32>,
    /// Reply tokens per minute
    #[arg(long, help_heading = "Limits", value_name = "N", value_parser = values::count)]
    pub otpm: Option<u32>,
    /// Requests in flight
    #[arg(long, help_heading = "Limits", value_name = "N", value_parser = values::count)]
    pub max_in_flight: Option<u32>,
    /// Requests in all, then 429 insufficient_quota; 0 for at once
    #[arg(long, help_heading = "Limits", value_name = "N", value_parser = values::count)]
    pub quota: Option<u32>,
    /// Scope of a limit: ip, key, model, deployment, endpoint, global [default: ip]
    #[arg(long, help_heading = "Limits", value_name = "A,B", value_delimiter = ',')]
    #[arg(value_parser = values::choice::<Dimension>)]
    pub per: Option<Vec<Dimension>>,
    /// Algorithm that counts requests and tokens [default: gcra]
    #[arg(long, help_heading = "Limits", value_name = "gcra|fixed|sliding", value_parser = values::choice::<Window>)]
    pub window: Option<Window>,
    /// Burst of gcra: requests at once, or a share of each limit [default: 100%]
    #[arg(long, help_heading = "Limits", value_name = "N|N%")]
    #[serde(deserialize_with = "text_or_number")]
    pub burst: Option<String>,
    /// Give back reserved tokens that the reply did not use
    #[arg(long, help_heading = "Limits", value_name = "BOOL", value_parser = values::boolean)]
    #[arg(num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    pub settle: Option<bool>,
    /// Limits of an OpenAI usage tier: free, tier-1, tier-5
    #[arg(long, help_heading = "Limits", value_name = "NAME")]
    pub tier: Option<String>,
    /// Limit of a known server: litellm-guide
    #[arg(long, help_heading = "Limits", value_name = "NAME", value_parser = values::choice::<Preset>)]
    pub limit_preset: Option<Preset>,
    /// List of limits; in the file only
    #[arg(skip)]
    pub limits: Option<Vec<LimitSpec>>,
    /// Redis that several servers share limits in: redis://host:6379
    #[arg(long, help_heading = "Limits", value_name = "URL")]
    pub limit_store: Option<String>,
    /// While the store is unreachable: open lets requests through, closed refuses them [default: closed]
    #[arg(long, help_heading = "Limits", value_name = "MODE", value_parser = values::choice::<FailurePolicy>)]
    pub limit_store_failure: Option<FailurePolicy>,
    /// Newest requests to keep for /__admin/requests; 0 for none [default: 1000]
    #[arg(long, help_heading = "Journal", value_name = "N", value_parser = values::size)]
    pub journal: Option<usize>,
    /// Bytes of each body that the journal keeps [default: 16KiB]
    #[arg(long, help_heading = "Journal", value_name = "SIZE")]
    #[serde(deserialize_with = "text_or_number")]
    pub journal_body: Option<String>,
    /// Memory of the journal; the oldest entries are dropped beyond it [default: 32MiB]
    #[arg(long, help_heading = "Journal", value_name = "SIZE")]
    #[serde(deserialize_with = "text_or_number")]
    pub journal_memory: Option<String>,
    /// File to append one JSON line per request to
    #[arg(long, help_heading = "Journal", value_name = "PATH", value_parser = values::path)]
    pub journal_file: Option<PathBuf>,
    /// File to write the report to at exit: .json, .html or .xml for JUnit; repeatable
    #[arg(long, help_heading = "Report", value_name = "PATH", value_parser = values::path)]
    #[arg(value_delimiter = ',')]
    pub report: Option<Vec<PathBuf>>,
    /// Thresholds of the report's checks; in the file only
    #[arg(skip)]
    pub checks: Option<Checks>,
}

/// Model name that a response contains.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ModelNames {
    /// The requested name
    #[default]
    Echo,
    /// The dated name, as OpenAI returns it
    Snapshot,
}

/// Deserializes `67108864` as well as `64MiB`.
fn text_or_number<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Option<String>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum TextOrNumber {
        Number(u64),
        Text(String),
    }
    Ok(Option::<TextOrNumber>::deserialize(deserializer)?.map(|value| match value {
        TextOrNumber::Number(number) => number.to_string(),
        TextOrNumber::Text(text) => text,
    }))
}

impl Settings {
    /// Returns these settings, with those of `other` where these are not given.
    pub fn or(self, other: Settings) -> Settings {
        let mut settings = other.set_values();
        settings.extend(self.set_values());
        // Both came from `Settings`, so the union deserializes.
        Settings::deserialize(Value::Object(settings)).unwrap_or_default()
    }

    /// Returns the default values of all settings that have one.
    pub fn defaults() -> Self {
        let config = Config::default();
        let lorem = &config.behavior.lorem_tokens;
        let [journal_body, journal_memory] = config.journal.texts();
        Settings {
            host: Some(config.host),
            port: Some(config.port),
            strict_port: Some(config.strict_port),
            content: Some(config.behavior.content),
            lorem_tokens: Some(format!("{}..{}", lorem.start(), lorem.end())),
            usage: Some(config.behavior.usage),
            model_names: Some(ModelNames::default()),
            lenient: Some(config.lenient),
            strict_ids: Some(config.objects == StoreMode::StrictIds),
            stateless: Some(config.objects == StoreMode::Stateless),
            workers: Some(config.workers.get()),
            max_body: Some("64MiB".to_owned()),
            max_body_memory: Some(config.max_body_memory.to_string()),
            drain: Some(humantime::format_duration(config.drain).to_string()),
            access_log: Some(config.access_log),
            journal: Some(config.journal.entries),
            journal_body: Some(journal_body),
            journal_memory: Some(journal_memory),
            speed: Some(config.speed),
            server_timing: Some(config.server_timing),
            explain: Some(config.explain),
            ..Settings::default()
        }
    }

    /// Returns the settings that are given, by key.
    pub fn set_values(&self) -> Map<String, Value> {
        match serde_json::to_value(self) {
            Ok(Value::Object(map)) => map.into_iter().filter(|(_, value)| !value.is_null()).collect(),
            _ => Map::new(),
        }
    }

    /// Returns the keys of all settings, in the order of the fields.
    pub fn keys() -> Vec<String> {
        match serde_json::to_value(Settings::default()) {
            Ok(Value::Object(map)) => map.into_iter().map(|(key, _)| key).collect(),
            _ => Vec::new(),
        }
    }
}
