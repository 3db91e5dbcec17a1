//! The configuration: settings as given ([`Settings`], merged from [`Sources`]) and as checked ([`Config`]).

mod check;
mod checks;
mod environment;
mod error;
mod faults;
mod file;
mod latency;
mod limits;
mod memory;
mod print;
mod records;
mod settings;
mod sources;
mod values;

use std::{num::NonZeroUsize, path::PathBuf, thread, time::Duration};

use bytesize::ByteSize;
use ipnet::IpNet;

pub use self::{
    checks::{CheckSpec, Checks, Severity, Threshold},
    environment::{Environment, variable},
    error::ConfigError,
    file::SettingsFile,
    latency::LatencySpec,
    limits::Preset,
    records::{AccessLog, JournalSpec},
    settings::{ModelNames, Settings},
    sources::Sources,
    values::refused_value,
};
use crate::{
    core::{clock::Clock, host::Host},
    model::ModelBehavior,
    resources::store::StoreMode,
    traffic::{
        access::Access,
        capacity::ConcurrencySpec,
        fault::FaultSpec,
        limit::{LimitSpec, StoreSpec},
        rule::Rule,
    },
};

/// The effective configuration: every setting, checked.
#[derive(Clone, Debug)]
pub struct Config {
    /// Address or name to listen on.
    pub host: String,
    /// Name of the provider that answers at the root of the server. `None`: the usual one, OpenAI.
    pub serve_as: Option<String>,
    /// First port to try; 0 for any.
    pub port: u16,
    /// True if the server fails to start when the port is taken.
    pub strict_port: bool,
    /// Limits, except those of the tier.
    pub limits: Vec<LimitSpec>,
    /// Name of an account tier in the fixtures. Its limits apply too.
    pub tier: Option<String>,
    /// True if reserved tokens that the reply did not use are given back.
    pub settle: bool,
    /// Store of the limits, if several servers share them.
    pub limit_store: Option<StoreSpec>,
    /// Networks of the proxies whose headers name the client.
    pub trusted_proxies: Vec<IpNet>,
    /// Directory whose files override the built-in fixtures.
    pub fixtures: Option<PathBuf>,
    /// Seed of every random choice; `None` for a new one at each start.
    pub seed: Option<u64>,
    /// Behavior of the model where no script matches.
    pub behavior: ModelBehavior,
    /// True if responses contain the dated names of models.
    pub snapshots: bool,
    /// Accepted keys and available models.
    pub access: Access,
    /// True if requests that are JSON objects are not validated further.
    pub lenient: bool,
    /// Treatment of objects that clients create, and of ids that they never created.
    pub objects: StoreMode,
    /// Number of worker threads.
    pub workers: NonZeroUsize,
    /// Largest accepted request body, in bytes.
    pub max_body: u64,
    /// Memory for all request bodies at once, in bytes.
    pub max_body_memory: u64,
    /// Time for running requests to finish at shutdown.
    pub drain: Duration,
    /// Form of the access log.
    pub access_log: AccessLog,
    /// True if a terminal shows a status line.
    pub status_line: bool,
    /// Size of the journal.
    pub journal: JournalSpec,
    /// File that closed entries of the journal are appended to.
    pub journal_file: Option<PathBuf>,
    /// Files that the report is written to at exit.
    pub report: Vec<PathBuf>,
    /// The checks of the report.
    pub checks: Checks,
    /// File to write the port to.
    pub port_file: Option<PathBuf>,
    /// Name of a latency profile in the fixtures.
    pub profile: Option<String>,
    /// Overrides of the profile's latency, or the whole latency without a profile.
    pub latency: LatencySpec,
    /// Factor by which all latencies are sped up.
    pub speed: f64,
    /// True if responses have a Server-Timing header.
    pub server_timing: bool,
    /// True if responses name the scripted reply and the faults that they come from.
    pub explain: bool,
    /// Limit on responses generated at once; `None` for no limit.
    pub capacity: Option<ConcurrencySpec>,
    /// Faults for all requests.
    pub faults: Vec<FaultSpec>,
    /// Faults for matching requests.
    pub rules: Vec<Rule>,
    /// True if requests may ask for faults.
    pub request_faults: bool,
    /// Token that opens `/__admin` to clients on other machines.
    pub admin_token: Option<String>,
    /// Hosts, besides `localhost` and the addresses listened on, under which `/__admin` is open to this machine.
    pub admin_hosts: Vec<Host>,
    /// Source of the time. Not a setting: tests replace it by a manual clock.
    pub clock: Clock,
}

impl Default for Config {
    /// Returns the configuration without any setting given.
    fn default() -> Self {
        Config {
            host: "0.0.0.0".to_owned(),
            serve_as: None,
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
            objects: StoreMode::default(),
            workers: thread::available_parallelism().unwrap_or(NonZeroUsize::MIN),
            max_body: ByteSize::mib(64).as_u64(),
            max_body_memory: memory::default_for_bodies(),
            drain: Duration::from_secs(5),
            access_log: AccessLog::Off,
            status_line: true,
            journal: JournalSpec::default(),
            journal_file: None,
            report: Vec::new(),
            checks: Checks::default(),
            port_file: None,
            profile: None,
            latency: LatencySpec::default(),
            speed: 1.0,
            server_timing: false,
            explain: false,
            capacity: None,
            faults: Vec::new(),
            rules: Vec::new(),
            request_faults: true,
            admin_token: None,
            admin_hosts: Vec::new(),
            clock: Clock::system(),
        }
    }
}

impl Config {
    /// Returns the configuration of a test server: any free port of the loopback interface, and one worker.
    pub fn for_test() -> Self {
        Config { host: "127.0.0.1".to_owned(), port: 0, workers: NonZeroUsize::MIN, ..Config::default() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_printed_defaults_are_the_effective_ones() {
        let printed = Config::try_from(Settings::defaults()).unwrap();
        assert_eq!(
            format!("{:?}", Config { clock: printed.clock.clone(), ..Config::default() }),
            format!("{printed:?}")
        );
    }

    #[test]
    fn the_first_source_that_gives_a_setting_wins() {
        let first = Settings { rpm: Some(1), access_log: Some(AccessLog::Off), ..Settings::default() };
        let second = Settings { rpm: Some(2), access_log: Some(AccessLog::Text), port: Some(3), ..Settings::default() };
        let both = first.or(second);
        assert_eq!((both.rpm, both.access_log, both.port), (Some(1), Some(AccessLog::Off), Some(3)));
    }
}
