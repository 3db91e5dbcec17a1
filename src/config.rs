//! The configuration: what was asked ([`Settings`]: flags, environment and file alike) and what holds ([`Config`]).

use std::{
    fmt, fs,
    num::{NonZeroU32, NonZeroUsize},
    ops::RangeInclusive,
    path::{Path, PathBuf},
    thread,
    time::Duration,
};

use bytesize::ByteSize;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::{
    access::Access,
    clock::Clock,
    model::{Content, Context, Counting, Manner},
};

/// What was asked. A field is a flag, a variable of the environment (`FAKE_OPENAI_` and its name) and a key of the file.
#[derive(Clone, Debug, Default, Serialize, Deserialize, clap::Args)]
#[serde(deny_unknown_fields, default)]
#[command(next_help_heading = "Settings")]
pub struct Settings {
    /// Address to listen on; 0.0.0.0 takes IPv6 too [default: 0.0.0.0]
    #[arg(long, global = true, value_name = "ADDR", env = "FAKE_OPENAI_HOST", hide_env = true)]
    pub host: Option<String>,
    /// First port to try, the next free one is taken; 0 for any [default: 8080]
    #[arg(long, global = true, value_name = "PORT", env = "FAKE_OPENAI_PORT", hide_env = true)]
    pub port: Option<u16>,
    /// Take this port or none
    #[arg(long, global = true, value_name = "BOOL", env = "FAKE_OPENAI_STRICT_PORT", hide_env = true)]
    #[arg(num_args = 0..=1, require_equals = true, default_missing_value = "true", hide_possible_values = true)]
    pub strict_port: Option<bool>,
    /// Requests per minute for each client address; no limit if left out
    #[arg(long, global = true, value_name = "N", env = "FAKE_OPENAI_RPM", hide_env = true)]
    pub rpm: Option<u32>,
    /// Directory whose files override the built-in fixtures
    #[arg(long, global = true, value_name = "DIR", env = "FAKE_OPENAI_FIXTURES", hide_env = true)]
    pub fixtures: Option<PathBuf>,
    /// Make every byte of the answers repeat
    #[arg(long, global = true, value_name = "N", env = "FAKE_OPENAI_SEED", hide_env = true)]
    pub seed: Option<u64>,
    /// What the model says where no reply is scripted for the request [default: canned]
    #[arg(long, global = true, value_name = "canned|echo|lorem", env = "FAKE_OPENAI_CONTENT", hide_env = true)]
    pub content: Option<Content>,
    /// Length of lorem where the request sets none, in tokens [default: 64..256]
    #[arg(long, global = true, value_name = "MIN..MAX", env = "FAKE_OPENAI_LOREM_TOKENS", hide_env = true)]
    pub lorem_tokens: Option<String>,
    /// Where the numbers of tokens come from [default: canned]
    #[arg(long, global = true, value_name = "canned|estimate|exact", env = "FAKE_OPENAI_USAGE", hide_env = true)]
    pub usage: Option<Counting>,
    /// Tokens a model holds, a number or `model` for those of the real one; any number if left out
    #[arg(long, global = true, value_name = "N|model", env = "FAKE_OPENAI_CONTEXT_WINDOW", hide_env = true)]
    #[serde(deserialize_with = "text_or_number")]
    pub context_window: Option<String>,
    /// Name that models answer under [default: echo]
    #[arg(long, global = true, env = "FAKE_OPENAI_MODEL_NAMES", hide_env = true)]
    pub model_names: Option<ModelNames>,
    /// The models that there are; any if left out
    #[arg(long, global = true, value_name = "A,B", env = "FAKE_OPENAI_MODELS", hide_env = true, value_delimiter = ',')]
    pub models: Option<Vec<String>>,
    /// Key that is let in, repeatable; any or none if left out
    #[arg(
        long,
        global = true,
        value_name = "KEY",
        env = "FAKE_OPENAI_API_KEY",
        hide_env = true,
        value_delimiter = ','
    )]
    pub api_key: Option<Vec<String>>,
    /// Take any JSON object without looking into it
    #[arg(long, global = true, value_name = "BOOL", env = "FAKE_OPENAI_LENIENT", hide_env = true)]
    #[arg(num_args = 0..=1, require_equals = true, default_missing_value = "true", hide_possible_values = true)]
    pub lenient: Option<bool>,
    /// Worker threads; one for each core if left out
    #[arg(long, global = true, value_name = "N", env = "FAKE_OPENAI_WORKERS", hide_env = true)]
    pub workers: Option<usize>,
    /// Largest request body taken [default: 64MiB]
    #[arg(long, global = true, value_name = "SIZE", env = "FAKE_OPENAI_MAX_BODY", hide_env = true)]
    #[serde(deserialize_with = "text_or_number")]
    pub max_body: Option<String>,
    /// Time that requests under way get when stopping [default: 5s]
    #[arg(long, global = true, value_name = "TIME", env = "FAKE_OPENAI_DRAIN", hide_env = true)]
    pub drain: Option<String>,
    /// Log a line per request to stderr
    #[arg(long, global = true, value_name = "BOOL", env = "FAKE_OPENAI_ACCESS_LOG", hide_env = true)]
    #[arg(num_args = 0..=1, require_equals = true, default_missing_value = "true", hide_possible_values = true)]
    pub access_log: Option<bool>,
    /// File to write the port to, once requests are accepted
    #[arg(long, global = true, value_name = "PATH", env = "FAKE_OPENAI_PORT_FILE", hide_env = true)]
    pub port_file: Option<PathBuf>,
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

/// What was asked is not possible.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigError(String);

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for ConfigError {}

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

    /// The settings that are given, by key.
    pub fn given(&self) -> Map<String, Value> {
        match serde_json::to_value(self) {
            Ok(Value::Object(map)) => map.into_iter().filter(|(_, value)| !value.is_null()).collect(),
            _ => Map::new(),
        }
    }
}

/// What holds: every setting, checked.
#[derive(Clone, Debug)]
pub struct Config {
    /// Address or name to listen on.
    pub host: String,
    /// First port to try; 0 for any.
    pub port: u16,
    /// Whether no other port will do.
    pub strict_port: bool,
    /// Requests per minute for each client address; `None` for no limit.
    pub rpm: Option<NonZeroU32>,
    /// Directory whose files override the built-in fixtures.
    pub fixtures: Option<PathBuf>,
    /// What every random choice is drawn from; `None` for a new one each time.
    pub seed: Option<u64>,
    /// How the model behaves where no script says otherwise.
    pub manner: Manner,
    /// Whether answers bear the dated names of models.
    pub snapshots: bool,
    /// Who may come in, and to which models.
    pub access: Access,
    /// Whether requests are taken as they come, once they are JSON.
    pub lenient: bool,
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
            rpm: None,
            fixtures: None,
            seed: None,
            manner: Manner::default(),
            snapshots: false,
            access: Access::default(),
            lenient: false,
            workers: thread::available_parallelism().unwrap_or(NonZeroUsize::MIN),
            max_body: ByteSize::mib(64).as_u64(),
            drain: Duration::from_secs(5),
            access_log: false,
            port_file: None,
            clock: Clock::system(),
        }
    }
}

impl Config {
    /// For a test in this process: any free port of the loopback interface, and one worker.
    pub fn for_test() -> Self {
        Config { host: "127.0.0.1".to_owned(), port: 0, workers: NonZeroUsize::MIN, ..Config::default() }
    }

    /// The settings that ask for just this.
    pub fn settings(&self) -> Settings {
        Settings {
            host: Some(self.host.clone()),
            port: Some(self.port),
            strict_port: Some(self.strict_port),
            rpm: self.rpm.map(NonZeroU32::get),
            fixtures: self.fixtures.clone(),
            seed: self.seed,
            content: Some(self.manner.content),
            lorem_tokens: Some(format!("{}..{}", self.manner.lorem_tokens.start(), self.manner.lorem_tokens.end())),
            usage: Some(self.manner.usage),
            context_window: match self.manner.context {
                Context::Unbounded => None,
                Context::OfModel => Some("model".to_owned()),
                Context::Tokens(tokens) => Some(tokens.to_string()),
            },
            model_names: Some(if self.snapshots { ModelNames::Snapshot } else { ModelNames::Echo }),
            models: some(&self.access.models),
            api_key: some(&self.access.keys),
            lenient: Some(self.lenient),
            workers: Some(self.workers.get()),
            max_body: Some(size(self.max_body)),
            drain: Some(humantime::format_duration(self.drain).to_string()),
            access_log: Some(self.access_log),
            port_file: self.port_file.clone(),
        }
    }
}

fn some(list: &[String]) -> Option<Vec<String>> {
    (!list.is_empty()).then(|| list.to_vec())
}

/// A size in the largest unit that tells it whole.
fn size(bytes: u64) -> String {
    let units = [("GiB", 30), ("MiB", 20), ("KiB", 10)];
    let whole = units.into_iter().find(|(_, shift)| bytes > 0 && bytes.is_multiple_of(1 << shift));
    whole.map_or_else(|| bytes.to_string(), |(unit, shift)| format!("{}{unit}", bytes >> shift))
}

impl TryFrom<Settings> for Config {
    type Error = ConfigError;

    fn try_from(asked: Settings) -> Result<Self, ConfigError> {
        let wrong = |what: String| ConfigError(what);
        let default = Config::default();
        let rpm = match asked.rpm {
            Some(0) => {
                return Err(wrong("rpm 0 would admit nothing: give 1 or more, or leave it out for no limit".into()));
            }
            rpm => rpm.and_then(NonZeroU32::new),
        };
        let lorem_tokens = match asked.lorem_tokens {
            None => default.manner.lorem_tokens,
            Some(text) => range(&text).ok_or_else(|| {
                wrong(format!("lorem_tokens `{text}` is not a range: write 64..256, or 100 for just that"))
            })?,
        };
        let context = match asked.context_window.as_deref() {
            None => Context::Unbounded,
            Some("model") => Context::OfModel,
            Some(text) => text.parse().map(Context::Tokens).map_err(|_| {
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
            rpm,
            fixtures: asked.fixtures,
            seed: asked.seed,
            manner: Manner { content, lorem_tokens, usage, context },
            snapshots: asked.model_names == Some(ModelNames::Snapshot),
            access: Access { keys, models },
            lenient: asked.lenient.unwrap_or(default.lenient),
            workers,
            max_body,
            drain,
            access_log: asked.access_log.unwrap_or(default.access_log),
            port_file: asked.port_file,
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
    fn what_is_printed_asks_for_the_same() {
        let asked = Settings {
            rpm: Some(7),
            max_body: Some("1500".to_owned()),
            drain: Some("1m 30s".to_owned()),
            ..Settings::default()
        };
        let config = Config::try_from(asked).unwrap();
        let again = Config::try_from(config.settings()).unwrap();
        assert_eq!(config.settings().given(), again.settings().given());
        assert_eq!((again.max_body, again.drain), (1500, Duration::from_secs(90)));
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
