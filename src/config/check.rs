//! The configuration from the settings: every value is parsed and checked.

use std::{num::NonZeroUsize, ops::RangeInclusive, time::Duration};

use bytesize::ByteSize;

use super::{Config, ConfigError, JournalSpec, ModelNames, Settings, latency, limits, records};
use crate::{
    core::host::Host,
    model::{ContextWindow, ModelBehavior},
    resources::store::StoreMode,
    traffic::access::Access,
};

/// Largest number of worker threads.
const MAX_WORKERS: usize = 512;

impl TryFrom<Settings> for Config {
    type Error = ConfigError;

    fn try_from(settings: Settings) -> Result<Self, ConfigError> {
        let default = Config::default();
        let limits = limits::limits(&settings)?;
        let is_limited = !limits.is_empty() || settings.tier.is_some();
        let limit_store = limits::store(&settings, is_limited)?;
        let trusted_proxies = limits::proxies(&settings)?;
        let admin_hosts = admin_hosts(&settings)?;
        let (latency, speed) = latency::latency(&settings)?;
        let capacity = latency::capacity(&settings)?;
        let faults = latency::faults(&settings)?;
        let settle = settings.settle.unwrap_or_default();
        if settle && settings.tier.is_none() && limits.iter().all(|limit| limit.unit.kind() != "tokens") {
            return Err(ConfigError::of("settle", "there is no limit on tokens; give tpm or another too"));
        }
        no_blanks(&settings)?;
        if let Some(fixtures) = settings.fixtures.as_ref().filter(|path| !path.is_dir()) {
            let problem = format!(
                "`{}` is not a directory; give an existing one (`fake-openai eject DIR` writes one)",
                fixtures.display()
            );
            return Err(ConfigError::of("fixtures", problem));
        }
        let behavior = behavior(&settings, &default)?;
        let objects = objects(&settings)?;
        let journal = JournalSpec::new(&settings)?;
        let report = records::reports(&settings)?;
        let checks = settings.checks.clone().unwrap_or_default();
        checks.check()?;
        Ok(Config {
            workers: workers(&settings, &default)?,
            max_body: size("max_body", settings.max_body.as_deref(), default.max_body)?,
            max_body_memory: size("max_body_memory", settings.max_body_memory.as_deref(), default.max_body_memory)?,
            drain: drain(&settings, &default)?,
            host: settings.host.unwrap_or(default.host),
            serve_as: settings.serve_as,
            port: settings.port.unwrap_or(default.port),
            strict_port: settings.strict_port.unwrap_or(default.strict_port),
            limits,
            tier: settings.tier,
            settle,
            limit_store,
            trusted_proxies,
            fixtures: settings.fixtures,
            seed: settings.seed,
            behavior,
            snapshots: settings.model_names == Some(ModelNames::Snapshot),
            access: Access { keys: settings.api_key.unwrap_or_default(), models: settings.models.unwrap_or_default() },
            lenient: settings.lenient.unwrap_or(default.lenient),
            objects,
            access_log: settings.access_log.unwrap_or(default.access_log),
            status_line: !settings.no_status.unwrap_or_default(),
            journal,
            journal_file: settings.journal_file,
            report,
            checks,
            port_file: settings.port_file,
            profile: settings.profile,
            latency,
            speed,
            server_timing: settings.server_timing.unwrap_or(default.server_timing),
            explain: settings.explain.unwrap_or(default.explain),
            capacity,
            faults,
            rules: settings.rules.unwrap_or_default(),
            request_faults: !settings.no_request_faults.unwrap_or_default(),
            admin_token: settings.admin_token,
            admin_hosts,
            clock: default.clock,
        })
    }
}

/// Refuses blank keys, tokens and names: a blank token would admit everyone, a blank key nobody.
fn no_blanks(settings: &Settings) -> Result<(), ConfigError> {
    let is_blank = |text: &String| text.trim().is_empty();
    let any_blank = |texts: &Option<Vec<String>>| texts.iter().flatten().any(is_blank);
    if any_blank(&settings.api_key) {
        return Err(ConfigError::of("api_key", "a key is empty; give a key, or leave api_key out to accept any"));
    }
    if settings.admin_token.as_ref().is_some_and(is_blank) {
        let problem = "the token is empty; give a token, or leave admin_token out to admit this machine alone";
        return Err(ConfigError::of("admin_token", problem));
    }
    if any_blank(&settings.models) {
        return Err(ConfigError::of("models", "a name is empty; give a name, or leave models out to accept any"));
    }
    Ok(())
}

/// Returns the treatment of objects and of unknown ids.
fn objects(settings: &Settings) -> Result<StoreMode, ConfigError> {
    match (settings.strict_ids.unwrap_or_default(), settings.stateless.unwrap_or_default()) {
        (true, true) => Err(ConfigError::of(
            "stateless",
            "every id has an object then, and with strict_ids an unknown one has none; leave one of them out",
        )),
        (true, false) => Ok(StoreMode::StrictIds),
        (false, true) => Ok(StoreMode::Stateless),
        (false, false) => Ok(StoreMode::Stored),
    }
}

fn admin_hosts(settings: &Settings) -> Result<Vec<Host>, ConfigError> {
    let host = |(n, text): (usize, &String)| {
        text.parse().map_err(|problem: String| ConfigError::of(format!("admin_host[{n}]"), problem))
    };
    settings.admin_host.iter().flatten().enumerate().map(host).collect()
}

fn behavior(settings: &Settings, default: &Config) -> Result<ModelBehavior, ConfigError> {
    let lorem_tokens = match &settings.lorem_tokens {
        None => default.behavior.lorem_tokens.clone(),
        Some(text) => range(text).ok_or_else(|| {
            let problem = format!("`{text}` is not a range; write 64..256, or 100 for exactly that");
            ConfigError::of("lorem_tokens", problem)
        })?,
    };
    let context = match settings.context_window.as_deref() {
        None => ContextWindow::Unbounded,
        Some("model") => ContextWindow::OfModel,
        Some(text) => text.parse().map(ContextWindow::Tokens).map_err(|_| {
            let problem = format!("`{text}` is not a number of tokens; write 8192, or `model` for the real model's");
            ConfigError::of("context_window", problem)
        })?,
    };
    let (content, usage) = (settings.content.unwrap_or_default(), settings.usage.unwrap_or_default());
    Ok(ModelBehavior { content, lorem_tokens, usage, context })
}

fn workers(settings: &Settings, default: &Config) -> Result<NonZeroUsize, ConfigError> {
    let Some(workers) = settings.workers else { return Ok(default.workers) };
    NonZeroUsize::new(workers)
        .filter(|workers| workers.get() <= MAX_WORKERS)
        .ok_or_else(|| ConfigError::of("workers", format!("{workers} is out of range; give 1 to {MAX_WORKERS}")))
}

pub(super) fn size(key: &str, text: Option<&str>, default: u64) -> Result<u64, ConfigError> {
    let Some(text) = text else { return Ok(default) };
    text.parse::<ByteSize>()
        .map(|size| size.as_u64())
        .map_err(|_| ConfigError::of(key, format!("`{text}` is not a size; write 64MiB, 500KB or a number of bytes")))
}

fn drain(settings: &Settings, default: &Config) -> Result<Duration, ConfigError> {
    let Some(text) = &settings.drain else { return Ok(default.drain) };
    humantime::parse_duration(text)
        .map_err(|_| ConfigError::of("drain", format!("`{text}` is not a duration; write 5s, 500ms or 1m")))
}

/// Parses `64..256`, `64..=256` or `100`. The end is included in each.
fn range(text: &str) -> Option<RangeInclusive<u64>> {
    let (min, max) = text.split_once("..").map_or((text, text), |(min, max)| (min, max.trim_start_matches('=')));
    let range: RangeInclusive<u64> = min.trim().parse().ok()?..=max.trim().parse().ok()?;
    (!range.is_empty()).then_some(range)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unusable_value_is_refused_with_the_remedy() {
        let refused = |settings: Settings| Config::try_from(settings).unwrap_err().to_string();
        assert!(refused(Settings { rpm: Some(0), ..Settings::default() }).contains("1 or more"));
        assert!(refused(Settings { workers: Some(0), ..Settings::default() }).contains("1 to 512"));
        assert!(refused(Settings { max_body: Some("big".into()), ..Settings::default() }).contains("64MiB"));
        assert!(refused(Settings { drain: Some("5".into()), ..Settings::default() }).contains("5s"));
        assert!(refused(Settings { fixtures: Some("/no/where".into()), ..Settings::default() }).contains("directory"));
    }

    #[test]
    fn a_blank_key_token_or_model_is_refused() {
        let refused = |settings: Settings| Config::try_from(settings).unwrap_err().key().map(str::to_owned);
        let keys = Some(vec!["a".to_owned(), " ".to_owned()]);
        assert_eq!(refused(Settings { api_key: keys.clone(), ..Settings::default() }).as_deref(), Some("api_key"));
        assert_eq!(refused(Settings { models: keys, ..Settings::default() }).as_deref(), Some("models"));
        let token = Some(String::new());
        assert_eq!(refused(Settings { admin_token: token, ..Settings::default() }).as_deref(), Some("admin_token"));
    }
}
