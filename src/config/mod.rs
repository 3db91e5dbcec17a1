//! The configuration: what was asked ([`Settings`]: flags, environment and file alike) and what holds ([`Config`]).

mod faults;
mod latency;
mod limits;
mod settings;

use std::{fmt, num::NonZeroUsize, ops::RangeInclusive, path::PathBuf, thread, time::Duration};

use bytesize::ByteSize;
use ipnet::IpNet;

pub use self::{
    latency::LatencySpec,
    limits::Preset,
    settings::{ModelNames, Settings},
};
use crate::{
    core::clock::Clock,
    model::{ContextWindow, ModelBehavior},
    traffic::{
        access::Access,
        capacity::ConcurrencySpec,
        fault::FaultSpec,
        limit::{LimitSpec, StoreSpec},
        rule::Rule,
    },
};

/// What was asked is not possible.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigError(String);

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for ConfigError {}

/// What holds: every setting, checked.
#[derive(Clone, Debug)]
pub struct Config {
    /// Address or name to listen on.
    pub host: String,
    /// First port to try; 0 for any.
    pub port: u16,
    /// Whether no other port will do.
    pub strict_port: bool,
    /// The limits.
    pub limits: Vec<LimitSpec>,
    /// The name of an account's limits among the fixtures, which hold too.
    pub tier: Option<String>,
    /// Whether booked tokens are given back that the reply did not have.
    pub settle: bool,
    /// Where the limits are kept, if other servers share them.
    pub limit_store: Option<StoreSpec>,
    /// The proxies that are believed when they tell who the client is.
    pub trusted_proxies: Vec<IpNet>,
    /// Directory whose files override the built-in fixtures.
    pub fixtures: Option<PathBuf>,
    /// What every random choice is drawn from; `None` for a new one each time.
    pub seed: Option<u64>,
    /// How the model behaves where no script says otherwise.
    pub behavior: ModelBehavior,
    /// Whether answers bear the dated names of models.
    pub snapshots: bool,
    /// Who may come in, and to which models.
    pub access: Access,
    /// Whether requests are taken as they come, once they are JSON.
    pub lenient: bool,
    /// Whether there is nothing under an id that was never created.
    pub strict_ids: bool,
    /// Worker threads.
    pub workers: NonZeroUsize,
    /// Largest request body taken, in bytes.
    pub max_body: u64,
    /// Time that requests under way get when stopping.
    pub drain: Duration,
    /// Whether a line per request is logged.
    pub access_log: bool,
    /// File to write the port to.
    pub port_file: Option<PathBuf>,
    /// The name of a model's latency among the fixtures.
    pub profile: Option<String>,
    /// What of it is otherwise, or, without it, what there is of latency.
    pub latency: LatencySpec,
    /// How many times faster than real all of it is.
    pub speed: f64,
    /// Whether answers say how long they took and were meant to take.
    pub server_timing: bool,
    /// How many answers are said at once; `None` for any number.
    pub capacity: Option<ConcurrencySpec>,
    /// What goes wrong with all requests.
    pub faults: Vec<FaultSpec>,
    /// What goes wrong with some.
    pub rules: Vec<Rule>,
    /// Whether requests may ask for faults.
    pub request_faults: bool,
    /// What opens the pages that change rules, beside coming from this machine.
    pub admin_token: Option<String>,
    /// What the time is read from. Not a setting: for tests that move it by hand.
    pub clock: Clock,
}

impl Default for Config {
    /// What holds when nothing is asked.
    fn default() -> Self {
        Config {
            host: "0.0.0.0".to_owned(),
            port: 8080,
            strict_port: false,
            limits: Vec::new(),
            tier: None,
            settle: false,
            limit_store: None,
            trusted_proxies: Vec::new(),
            fixtures: None,
            seed: None,
            behavior: ModelBehavior::default(),
            snapshots: false,
            access: Access::default(),
            lenient: false,
            strict_ids: false,
            workers: thread::available_parallelism().unwrap_or(NonZeroUsize::MIN),
            max_body: ByteSize::mib(64).as_u64(),
            drain: Duration::from_secs(5),
            access_log: false,
            port_file: None,
            profile: None,
            latency: LatencySpec::default(),
            speed: 1.0,
            server_timing: false,
            capacity: None,
            faults: Vec::new(),
            rules: Vec::new(),
            request_faults: true,
            admin_token: None,
            clock: Clock::system(),
        }
    }
}

impl Config {
    /// For a test in this process: any free port of the loopback interface, and one worker.
    pub fn for_test() -> Self {
        Config { host: "127.0.0.1".to_owned(), port: 0, workers: NonZeroUsize::MIN, ..Config::default() }
    }
}

impl TryFrom<Settings> for Config {
    type Error = ConfigError;

    fn try_from(asked: Settings) -> Result<Self, ConfigError> {
        let wrong = |what: String| ConfigError(what);
        let default = Config::default();
        let limits = limits::limits(&asked)?;
        let limited = !limits.is_empty() || asked.tier.is_some();
        let limit_store = limits::store(&asked, limited)?;
        let trusted_proxies = limits::proxies(&asked)?;
        let (latency, speed) = latency::latency(&asked)?;
        let capacity = latency::capacity(&asked)?;
        let faults = latency::faults(&asked)?;
        let settle = asked.settle.unwrap_or_default();
        if settle && asked.tier.is_none() && limits.iter().all(|limit| limit.unit.kind() != "tokens") {
            return Err(wrong("settle is for limits on tokens: give tpm or another".into()));
        }
        let lorem_tokens = match asked.lorem_tokens {
            None => default.behavior.lorem_tokens,
            Some(text) => range(&text).ok_or_else(|| {
                wrong(format!("lorem_tokens `{text}` is not a range: write 64..256, or 100 for just that"))
            })?,
        };
        let context = match asked.context_window.as_deref() {
            None => ContextWindow::Unbounded,
            Some("model") => ContextWindow::OfModel,
            Some(text) => text.parse().map(ContextWindow::Tokens).map_err(|_| {
                wrong(format!(
                    "context_window `{text}` is not a number of tokens: write 8192, or model for the real one's"
                ))
            })?,
        };
        let (content, usage) = (asked.content.unwrap_or_default(), asked.usage.unwrap_or_default());
        let (models, keys) = (asked.models.unwrap_or_default(), asked.api_key.unwrap_or_default());
        let workers = match asked.workers {
            None => default.workers,
            Some(workers @ 1..=512) => NonZeroUsize::new(workers).unwrap_or(default.workers),
            Some(workers) => return Err(wrong(format!("workers {workers} is out of range: give 1 to 512"))),
        };
        let max_body = match asked.max_body {
            None => default.max_body,
            Some(text) => text.parse::<ByteSize>().map(|size| size.as_u64()).map_err(|_| {
                wrong(format!("max_body `{text}` is not a size: write 64MiB, 500KB or a number of bytes"))
            })?,
        };
        let drain = match asked.drain {
            None => default.drain,
            Some(text) => humantime::parse_duration(&text)
                .map_err(|_| wrong(format!("drain `{text}` is not a duration: write 5s, 500ms or 1m")))?,
        };
        if let Some(fixtures) = asked.fixtures.as_ref().filter(|path| !path.is_dir()) {
            return Err(wrong(format!("fixtures `{}` is not a directory", fixtures.display())));
        }
        Ok(Config {
            host: asked.host.unwrap_or(default.host),
            port: asked.port.unwrap_or(default.port),
            strict_port: asked.strict_port.unwrap_or(default.strict_port),
            limits,
            tier: asked.tier,
            settle,
            limit_store,
            trusted_proxies,
            fixtures: asked.fixtures,
            seed: asked.seed,
            behavior: ModelBehavior { content, lorem_tokens, usage, context },
            snapshots: asked.model_names == Some(ModelNames::Snapshot),
            access: Access { keys, models },
            lenient: asked.lenient.unwrap_or(default.lenient),
            strict_ids: asked.strict_ids.unwrap_or(default.strict_ids),
            workers,
            max_body,
            drain,
            access_log: asked.access_log.unwrap_or(default.access_log),
            port_file: asked.port_file,
            profile: asked.profile,
            latency,
            speed,
            server_timing: asked.server_timing.unwrap_or(default.server_timing),
            capacity,
            faults,
            rules: asked.rules.unwrap_or_default(),
            request_faults: !asked.no_request_faults.unwrap_or_default(),
            admin_token: asked.admin_token,
            clock: default.clock,
        })
    }
}

/// Reads `64..256`, `64..=256` or `100`; the end is meant too.
fn range(text: &str) -> Option<RangeInclusive<u64>> {
    let (min, max) = text.split_once("..").map_or((text, text), |(min, max)| (min, max.trim_start_matches('=')));
    let range: RangeInclusive<u64> = min.trim().parse().ok()?..=max.trim().parse().ok()?;
    (!range.is_empty()).then_some(range)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_defaults_that_are_told_are_those_that_hold() {
        let told = Config::try_from(Settings::defaults()).unwrap();
        assert_eq!(format!("{:?}", Config { clock: told.clock.clone(), ..Config::default() }), format!("{told:?}"));
    }

    #[test]
    fn what_is_given_first_holds() {
        let first = Settings { rpm: Some(1), access_log: Some(false), ..Settings::default() };
        let second = Settings { rpm: Some(2), access_log: Some(true), port: Some(3), ..Settings::default() };
        let both = first.or(second);
        assert_eq!((both.rpm, both.access_log, both.port), (Some(1), Some(false), Some(3)));
    }

    #[test]
    fn impossible_values_are_refused_with_the_remedy() {
        let refused = |settings: Settings| Config::try_from(settings).unwrap_err().to_string();
        assert!(refused(Settings { rpm: Some(0), ..Settings::default() }).contains("1 or more"));
        assert!(refused(Settings { workers: Some(0), ..Settings::default() }).contains("1 to 512"));
        assert!(refused(Settings { max_body: Some("big".into()), ..Settings::default() }).contains("64MiB"));
        assert!(refused(Settings { drain: Some("5".into()), ..Settings::default() }).contains("5s"));
        assert!(refused(Settings { fixtures: Some("/no/where".into()), ..Settings::default() }).contains("directory"));
    }
}
