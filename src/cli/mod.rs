//! The command line: what may be typed, and what is printed.

mod bench;
mod healthcheck;
mod tables;

use std::{
    fmt::Write as _,
    fs, io,
    io::Write as _,
    path::{Path, PathBuf},
    process::ExitCode,
};

use clap::{ArgMatches, CommandFactory, FromArgMatches, Parser, Subcommand, parser::ValueSource};
use fake_openai::{
    Config, Server, Settings, StartError,
    fixtures::{self, Fixtures},
};

/// A fake LLM endpoint for load tests and CI: answers like OpenAI, without a model
#[derive(Parser)]
#[command(name = "fake-openai", version, after_help = AFTER_HELP, arg_required_else_help = false)]
struct Args {
    #[command(subcommand)]
    command: Option<Command>,
    /// YAML file with any of the settings
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    #[command(flatten)]
    settings: Settings,
    /// Print the settings that hold, and where each comes from
    #[arg(long)]
    print_config: bool,
}

const AFTER_HELP: &str = "\
Every setting is also a variable (FAKE_OPENAI_RPM=100) and a key of the file (rpm: 100).
Flag beats environment beats file beats default.";

#[derive(Subcommand)]
enum Command {
    /// List every route and what answers it
    Routes,
    /// List what can go wrong, and how it is asked for
    Faults,
    /// List the latencies of known models, and where their numbers come from
    Profiles,
    /// Check settings and fixtures without serving
    Check,
    /// Write the built-in fixtures to a directory, for editing
    Eject {
        /// The directory; no file in it is overwritten
        dir: PathBuf,
    },
    /// Ask a running server whether it is healthy: exit status 0 or 1
    Healthcheck {
        /// The URL to ask [default: /health at --port on this machine]
        url: Option<String>,
    },
    /// Load the server in this process: what it answers per second, at the most, on this machine
    Bench(bench::Options),
}

/// Why the program ends with an error.
pub enum Failure {
    /// What the user wrote: exit status 2.
    User(String),
    /// What the machine did: exit status 1.
    Machine(String),
}

impl Failure {
    /// The error text.
    pub fn text(&self) -> &str {
        match self {
            Failure::User(text) | Failure::Machine(text) => text,
        }
    }

    /// Tells it, and gives the exit status.
    pub fn report(&self) -> ExitCode {
        let (text, code) = match self {
            Failure::User(text) => (text, 2),
            Failure::Machine(text) => (text, 1),
        };
        for line in text.lines() {
            eprintln!("error: {line}");
        }
        ExitCode::from(code)
    }
}

impl From<StartError> for Failure {
    fn from(error: StartError) -> Self {
        let text = error.to_string();
        if matches!(error, StartError::Fixtures(_)) { Failure::User(text) } else { Failure::Machine(text) }
    }
}

/// What the command line asks for.
pub enum Task {
    /// Serve with this configuration.
    Serve(Box<Config>),
    /// Print a text: it is all there is to do.
    Print(String),
    /// Ask a server whether it is healthy.
    Healthcheck(String),
    /// Measure what a server with this configuration can do.
    Bench(Box<Config>, bench::Options),
}

/// The command line. Every setting may stand before or after a subcommand, and has its variable of the environment.
fn command() -> clap::Command {
    Args::command().mut_args(|arg| {
        let id = arg.get_id().as_str();
        if ["print_config", "help", "version"].contains(&id) {
            return arg;
        }
        let variable = variable(id);
        arg.global(true).env(variable).hide_env(true)
    })
}

fn variable(key: &str) -> String {
    format!("FAKE_OPENAI_{}", key.to_uppercase())
}

/// Reads the command line, the environment and the file again, for a reload.
///
/// # Errors
/// [`Failure::User`] if the file can no longer be read, or has a mistake.
pub fn configuration() -> Result<Config, Failure> {
    let matches = command().get_matches();
    let args = Args::from_arg_matches(&matches).unwrap_or_else(|error| error.exit());
    let file = read_file(&args)?;
    Config::try_from(args.settings.or(file)).map_err(|error| Failure::User(error.to_string()))
}

fn read_file(args: &Args) -> Result<Settings, Failure> {
    let file = args.config.as_deref().map(Settings::read).transpose();
    Ok(file.map_err(|error| Failure::User(error.to_string()))?.unwrap_or_default())
}

/// Reads the command line, the environment and the file.
///
/// # Errors
/// [`Failure`]; what clap itself refuses, it tells and ends the program with status 2.
pub fn parse() -> Result<Task, Failure> {
    let matches = command().get_matches();
    let args = Args::from_arg_matches(&matches).unwrap_or_else(|error| error.exit());
    let user = |error: &dyn std::fmt::Display| Failure::User(error.to_string());
    let file = read_file(&args)?;
    let asked = args.settings.or(file.clone());
    let config = Config::try_from(asked.clone()).map_err(|error| user(&error))?;
    if args.print_config {
        return Ok(Task::Print(settings(asked, &matches, args.config.as_deref(), &file)));
    }
    let fixtures = || Fixtures::load(config.fixtures.as_deref()).map_err(|e| Failure::from(StartError::Fixtures(e)));
    match args.command {
        None => Ok(Task::Serve(Box::new(config))),
        Some(Command::Routes) => Ok(Task::Print(tables::routes(&fixtures()?))),
        Some(Command::Faults) => Ok(Task::Print(tables::faults())),
        Some(Command::Profiles) => Ok(Task::Print(tables::profiles(&fixtures()?))),
        Some(Command::Check) => {
            let fixtures = fixtures()?;
            let wrong = |problem| Failure::from(StartError::Fixtures(vec![problem]));
            if let Some(tier) = &config.tier {
                fixtures.tier(tier).map_err(wrong)?;
            }
            if let Some(profile) = &config.profile {
                fixtures.profile(profile).map_err(wrong)?;
            }
            config.check_faults(&fixtures).map_err(StartError::Fixtures)?;
            fixtures.check().map_err(StartError::Fixtures)?;
            let routes: usize = fixtures.endpoints().map(|listed| listed.routes.len()).sum();
            Ok(Task::Print(format!("ok: {routes} routes, {}\n", origin(&config, &fixtures))))
        }
        Some(Command::Eject { dir }) => eject(&dir).map(Task::Print),
        Some(Command::Bench(options)) => Ok(Task::Bench(Box::new(config), options)),
        Some(Command::Healthcheck { url }) => url.map_or_else(|| here(&config), Ok).map(Task::Healthcheck),
    }
}

/// The health page of the server that this configuration would start.
fn here(config: &Config) -> Result<String, Failure> {
    let port = match &config.port_file {
        None => config.port.to_string(),
        Some(path) => fs::read_to_string(path)
            .map_err(|error| Failure::Machine(format!("no server has written {}: {error}", path.display())))?,
    };
    Ok(format!("http://127.0.0.1:{}/health", port.trim()))
}

/// Asks whether a server is healthy.
///
/// # Errors
/// It is not, or the URL is none.
pub fn healthcheck(url: &str) -> Result<(), Failure> {
    healthcheck::ask(url)
}

/// Loads a server in this process and prints what it can do.
///
/// # Errors
/// The server does not start, or the machine has not enough files, ports or threads.
pub fn bench(config: &Config, options: &bench::Options) -> Result<(), Failure> {
    print(&bench::run(config, options)?);
    Ok(())
}

fn eject(directory: &Path) -> Result<String, Failure> {
    match fixtures::eject(directory) {
        Ok(count) => Ok(format!(
            "wrote {count} files to {dir}\nEdit them, delete those you leave as they are, then: fake-openai --fixtures {dir}\n",
            dir = directory.display()
        )),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            Err(Failure::User(format!("{error} is there already: eject into an empty directory")))
        }
        Err(error) => Err(Failure::Machine(format!("cannot write to {}: {error}", directory.display()))),
    }
}

/// The settings that hold, as a configuration file, each with where it comes from.
fn settings(asked: Settings, matches: &ArgMatches, path: Option<&Path>, file: &Settings) -> String {
    let (mut all, in_file) = (asked.or(Settings::defaults()), file.given());
    // Keys are for headers, and passwords for servers, not for screens.
    all.api_key = all.api_key.map(|keys| keys.iter().map(|_| "…".to_owned()).collect());
    all.admin_token = all.admin_token.map(|_| "…".to_owned());
    all.limit_store = all.limit_store.map(|url| match (url.find("://"), url.rfind('@')) {
        (Some(scheme), Some(at)) if scheme + 3 < at => format!("{}…{}", &url[..scheme + 3], &url[at..]),
        _ => url,
    });
    let mut text = String::new();
    for (key, value) in serde_json::to_value(&all).ok().and_then(|all| all.as_object().cloned()).unwrap_or_default() {
        let flag = key.replace('_', "-");
        let origin = match matches.try_contains_id(&key).ok().and_then(|_| matches.value_source(&key)) {
            Some(ValueSource::CommandLine) => format!("--{flag}"),
            Some(ValueSource::EnvVariable) => variable(&key),
            _ if in_file.contains_key(&key) => path.map(|path| path.display().to_string()).unwrap_or_default(),
            _ => "default".to_owned(),
        };
        // A JSON scalar is YAML too.
        let _ = writeln!(text, "{:<32}# {origin}", format!("{key}: {value}"));
    }
    text
}

fn origin(config: &Config, fixtures: &Fixtures) -> String {
    match (&config.fixtures, fixtures.overlaid()) {
        (None, _) => "built-in fixtures".to_owned(),
        (Some(dir), (overridden, added)) => {
            format!("built-in fixtures, {overridden} overridden and {added} added by {}", dir.display())
        }
    }
}

/// Prints to standard output; a reader that has gone is no error.
pub fn print(text: &str) {
    let _ = io::stdout().write_all(text.as_bytes()).and_then(|()| io::stdout().flush());
}

/// What is told of time and faults, where there is something to tell.
fn troubles(server: &Server) -> String {
    let (config, mut text) = (server.config(), String::new());
    let latency = server.latency();
    if !latency.is_zero() {
        let profile = config.profile.as_ref().map_or_else(String::new, |name| format!(" ({name})"));
        let speed = if config.speed == 1.0 { String::new() } else { format!(", {} times as fast", config.speed) };
        let _ = writeln!(text, "  latency   ttft {}, then {} a token{profile}{speed}", latency.ttft, latency.itl);
    }
    if let Some(capacity) = config.capacity {
        let _ = writeln!(text, "  capacity  {} answers at once, {} requests wait", capacity.max, capacity.queue);
    }
    let rules = match config.rules.len() {
        0 => None,
        1 => Some("1 rule".to_owned()),
        rules => Some(format!("{rules} rules")),
    };
    let faults: Vec<_> = config.faults.iter().map(ToString::to_string).chain(rules).collect();
    if !faults.is_empty() {
        let _ = writeln!(text, "  faults    {}", faults.join(", "));
    }
    text
}

/// Tells where the server is: the base URL to standard output, for programs, the rest to standard error, for people.
pub fn announce(server: &Server) {
    let (url, config) = (server.url(), server.config());
    print(&format!("{url}\n"));
    let limits: Vec<_> = server.limits().map(ToString::to_string).collect();
    let limit = if limits.is_empty() { "none (--rpm N sets one)".to_owned() } else { limits.join("\n            ") };
    let store = config.limit_store.as_ref().map_or_else(String::new, |store| {
        let (address, fate) = (store.address(), store.failure.description());
        format!("  store     {address}; while it does not answer requests are {fate}\n")
    });
    let trouble = troubles(server);
    let seed = config.seed.map_or("none (--seed N makes every byte repeat)".to_owned(), |seed| seed.to_string());
    let mut listens = server.address().to_string();
    if config.port != 0 && server.address().port() != config.port {
        let _ = write!(listens, " (port {} was taken)", config.port);
    }
    eprintln!(
        "fake-openai {version} answers like OpenAI at {url}

  limit     {limit}
{store}{trouble}  fixtures  {fixtures}
  seed      {seed}
  listens   {listens}

  curl      curl {url}/v1/chat/completions -d '{{\"model\":\"gpt-4o\",\"messages\":[{{\"role\":\"user\",\"content\":\"Hi\"}}]}}'
  SDKs      export OPENAI_BASE_URL={url}/v1 OPENAI_API_KEY=sk-fake
  LiteLLM   {{model: openai/fake, api_base: \"{url}/v1\", api_key: sk-fake}}
",
        version = env!("CARGO_PKG_VERSION"),
        fixtures = origin(config, server.fixtures()),
    );
}
