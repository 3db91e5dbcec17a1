//! What was asked: flags, environment and file alike.

use std::{
    fmt, fs,
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::{Config, ConfigError, limits::Preset};
use crate::{
    model::{ContentSource, Counting},
    traffic::{
        limit::{Dimension, FailurePolicy, LimitSpec, Window},
        rule::Rule,
    },
};

/// What was asked. A field is a flag, a variable of the environment (`FAKE_OPENAI_` and its name) and a key of the file.
#[derive(Clone, Debug, Default, Serialize, Deserialize, clap::Args)]
#[serde(deny_unknown_fields, default)]
#[command(next_help_heading = "Settings")]
pub struct Settings {
    /// Address to listen on; 0.0.0.0 takes IPv6 too [default: 0.0.0.0]
    #[arg(long, value_name = "ADDR")]
    pub host: Option<String>,
    /// First port to try, the next free one is taken; 0 for any [default: 8080]
    #[arg(long, value_name = "PORT")]
    pub port: Option<u16>,
    /// Take this port or none
    #[arg(long, value_name = "BOOL")]
    #[arg(num_args = 0..=1, require_equals = true, default_missing_value = "true", hide_possible_values = true)]
    pub strict_port: Option<bool>,
    /// Directory whose files override the built-in fixtures
    #[arg(long, value_name = "DIR")]
    pub fixtures: Option<PathBuf>,
    /// Make every byte of the answers repeat
    #[arg(long, value_name = "N")]
    pub seed: Option<u64>,
    /// What the model says where no reply is scripted for the request [default: canned]
    #[arg(long, value_name = "canned|echo|lorem")]
    pub content: Option<ContentSource>,
    /// Length of lorem where the request sets none, in tokens [default: 64..256]
    #[arg(long, value_name = "MIN..MAX")]
    pub lorem_tokens: Option<String>,
    /// Where the numbers of tokens come from [default: canned]
    #[arg(long, value_name = "canned|estimate|exact")]
    pub usage: Option<Counting>,
    /// Tokens a model holds, a number or `model` for those of the real one; any number if left out
    #[arg(long, value_name = "N|model")]
    #[serde(deserialize_with = "text_or_number")]
    pub context_window: Option<String>,
    /// Name that models answer under [default: echo]
    #[arg(long)]
    pub model_names: Option<ModelNames>,
    /// The models that there are; any if left out
    #[arg(long, value_name = "A,B", value_delimiter = ',')]
    pub models: Option<Vec<String>>,
    /// Key that is let in, repeatable; any or none if left out
    #[arg(long, value_name = "KEY", value_delimiter = ',')]
    pub api_key: Option<Vec<String>>,
    /// Take any JSON object without looking into it
    #[arg(long, value_name = "BOOL")]
    #[arg(num_args = 0..=1, require_equals = true, default_missing_value = "true", hide_possible_values = true)]
    pub lenient: Option<bool>,
    /// Have nothing under an id that was never created
    #[arg(long, value_name = "BOOL")]
    #[arg(num_args = 0..=1, require_equals = true, default_missing_value = "true", hide_possible_values = true)]
    pub strict_ids: Option<bool>,
    /// Worker threads; one for each core if left out
    #[arg(long, value_name = "N")]
    pub workers: Option<usize>,
    /// Largest request body taken [default: 64MiB]
    #[arg(long, value_name = "SIZE")]
    #[serde(deserialize_with = "text_or_number")]
    pub max_body: Option<String>,
    /// Time that requests under way get when stopping [default: 5s]
    #[arg(long, value_name = "TIME")]
    pub drain: Option<String>,
    /// Log a line per request to stderr
    #[arg(long, value_name = "BOOL")]
    #[arg(num_args = 0..=1, require_equals = true, default_missing_value = "true", hide_possible_values = true)]
    pub access_log: Option<bool>,
    /// File to write the port to, once requests are accepted
    #[arg(long, value_name = "PATH")]
    pub port_file: Option<PathBuf>,
    /// How long answers take: that of a known model, such as gpt-4o or llama-70b-h100
    #[arg(long, help_heading = "Time", value_name = "NAME")]
    pub profile: Option<String>,
    /// Time to the first token: 300ms, 300ms±50ms, uniform(100ms,500ms), lognormal(p50=300ms,p99=2s), p50=300ms,p90=1s
    #[arg(long, help_heading = "Time", value_name = "TIME")]
    pub ttft: Option<String>,
    /// Time from token to token; a whole answer takes ttft and this for each of its tokens
    #[arg(long, help_heading = "Time", value_name = "TIME")]
    pub itl: Option<String>,
    /// Time that each token of the prompt adds to ttft
    #[arg(long, help_heading = "Time", value_name = "TIME")]
    pub prefill: Option<String>,
    /// How many times faster than real time passes [default: 1]
    #[arg(long, help_heading = "Time", value_name = "N")]
    pub speed: Option<f64>,
    /// Answers that are said at once; the next ones wait
    #[arg(long, help_heading = "Time", value_name = "N")]
    pub max_concurrency: Option<usize>,
    /// Requests that wait at the most; the next ones are refused as overload [default: 1000]
    #[arg(long, help_heading = "Time", value_name = "N")]
    pub queue: Option<usize>,
    /// How many times longer tokens take when max-concurrency is reached [default: 1]
    #[arg(long, help_heading = "Time", value_name = "N")]
    pub slowdown: Option<f64>,
    /// Tell in a Server-Timing header how long each answer took by itself, waited, and was meant to take
    #[arg(long, help_heading = "Time", value_name = "BOOL")]
    #[arg(num_args = 0..=1, require_equals = true, default_missing_value = "true", hide_possible_values = true)]
    pub server_timing: Option<bool>,
    /// What goes wrong, such as 503%5 or ttft=20s~cut@40, repeatable; `fake-openai faults` lists all
    #[arg(long, help_heading = "Faults", value_name = "FAULTS")]
    pub fault: Option<Vec<String>>,
    /// What goes wrong with which requests; in the file only
    #[arg(skip)]
    pub rules: Option<Vec<Rule>>,
    /// Let no request ask for faults by its model, key, path, query, header or message
    #[arg(long, help_heading = "Faults", value_name = "BOOL")]
    #[arg(num_args = 0..=1, require_equals = true, default_missing_value = "true", hide_possible_values = true)]
    pub no_request_faults: Option<bool>,
    /// Token that opens /__admin to clients on other machines
    #[arg(long, help_heading = "Faults", value_name = "TOKEN")]
    pub admin_token: Option<String>,
    /// Requests per minute for each client address; no limit if left out
    #[arg(long, help_heading = "Limits", value_name = "N")]
    pub rpm: Option<u32>,
    /// Requests per day
    #[arg(long, help_heading = "Limits", value_name = "N")]
    pub rpd: Option<u32>,
    /// Tokens per minute: those of the prompt, as estimated, and all that the reply may have
    #[arg(long, help_heading = "Limits", value_name = "N")]
    pub tpm: Option<u32>,
    /// Tokens of prompts per minute
    #[arg(long, help_heading = "Limits", value_name = "N")]
    pub itpm: Option<u32>,
    /// Tokens of replies per minute
    #[arg(long, help_heading = "Limits", value_name = "N")]
    pub otpm: Option<u32>,
    /// Requests whose answers are under way at once
    #[arg(long, help_heading = "Limits", value_name = "N")]
    pub max_in_flight: Option<u32>,
    /// Requests in all, and then 429 with insufficient_quota; 0 for at once
    #[arg(long, help_heading = "Limits", value_name = "N")]
    pub quota: Option<u32>,
    /// Who has limits of their own: ip, key, model, deployment, endpoint, global [default: ip]
    #[arg(long, help_heading = "Limits", value_name = "A,B", value_delimiter = ',')]
    pub per: Option<Vec<Dimension>>,
    /// How requests and tokens are counted [default: gcra]
    #[arg(long, help_heading = "Limits", value_name = "gcra|fixed|sliding")]
    pub window: Option<Window>,
    /// gcra: how much may be taken at once, requests or a share of every limit [default: 100%]
    #[arg(long, help_heading = "Limits", value_name = "N|N%")]
    #[serde(deserialize_with = "text_or_number")]
    pub burst: Option<String>,
    /// Give booked tokens back that the reply did not have
    #[arg(long, help_heading = "Limits", value_name = "BOOL")]
    #[arg(num_args = 0..=1, require_equals = true, default_missing_value = "true", hide_possible_values = true)]
    pub settle: Option<bool>,
    /// The limits of an OpenAI account: free, tier-1, tier-5
    #[arg(long, help_heading = "Limits", value_name = "NAME")]
    pub tier: Option<String>,
    /// The limit of a known server: litellm-guide
    #[arg(long, help_heading = "Limits", value_name = "NAME")]
    pub limit_preset: Option<Preset>,
    /// Any number of limits; in the file only
    #[arg(skip)]
    pub limits: Option<Vec<LimitSpec>>,
    /// Redis that keeps the limits of several servers: redis://host:6379
    #[arg(long, help_heading = "Limits", value_name = "URL")]
    pub limit_store: Option<String>,
    /// What happens to requests while it does not answer: they pass, or are refused [default: closed]
    #[arg(long, help_heading = "Limits", value_name = "open|closed")]
    pub limit_store_failure: Option<FailurePolicy>,
    /// Addresses of proxies whose X-Forwarded-For or Forwarded tells the client, repeatable
    #[arg(long, help_heading = "Limits", value_name = "CIDR", value_delimiter = ',')]
    pub trusted_proxy: Option<Vec<String>>,
}

/// Under which name models answer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum ModelNames {
    /// The name asked for
    #[default]
    Echo,
    /// The dated name, as OpenAI does
    Snapshot,
}

/// Takes `67108864` as well as `64MiB`.
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
    /// Reads a YAML file. Its paths are relative to the directory that it stands in.
    ///
    /// # Errors
    /// The file cannot be read, is not YAML, or has a key or a value that is not a setting's.
    pub fn read(path: &Path) -> Result<Self, ConfigError> {
        let failed = |error: &dyn fmt::Display| ConfigError(format!("{}: {error}", path.display()));
        let text = fs::read_to_string(path).map_err(|error| failed(&error))?;
        if text.lines().all(|line| line.trim().is_empty() || line.trim_start().starts_with('#')) {
            return Ok(Settings::default());
        }
        let mut settings: Settings = serde_saphyr::from_str(&text).map_err(|error| failed(error.without_snippet()))?;
        let directory = path.parent().unwrap_or(Path::new(""));
        for relative in [&mut settings.fixtures, &mut settings.port_file].into_iter().flatten() {
            *relative = directory.join(&relative);
        }
        Ok(settings)
    }

    /// These settings, and where they are silent those.
    pub fn or(self, other: Settings) -> Settings {
        let mut settings = other.given();
        settings.extend(self.given());
        // Both came from `Settings`, so what they make together is one.
        Settings::deserialize(Value::Object(settings)).unwrap_or_default()
    }

    /// What holds where nothing is asked.
    pub fn defaults() -> Self {
        let config = Config::default();
        let lorem = &config.behavior.lorem_tokens;
        Settings {
            host: Some(config.host),
            port: Some(config.port),
            strict_port: Some(config.strict_port),
            content: Some(config.behavior.content),
            lorem_tokens: Some(format!("{}..{}", lorem.start(), lorem.end())),
            usage: Some(config.behavior.usage),
            model_names: Some(ModelNames::default()),
            lenient: Some(config.lenient),
            strict_ids: Some(config.strict_ids),
            workers: Some(config.workers.get()),
            max_body: Some("64MiB".to_owned()),
            drain: Some(humantime::format_duration(config.drain).to_string()),
            access_log: Some(config.access_log),
            speed: Some(config.speed),
            server_timing: Some(config.server_timing),
            ..Settings::default()
        }
    }

    /// The settings that are given, by key.
    pub fn given(&self) -> Map<String, Value> {
        match serde_json::to_value(self) {
            Ok(Value::Object(map)) => map.into_iter().filter(|(_, value)| !value.is_null()).collect(),
            _ => Map::new(),
        }
    }
}
