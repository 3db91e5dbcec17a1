//! The command line: options, commands, and the task that they ask for.

use std::{env, fs, path::PathBuf};

use clap::{CommandFactory, FromArgMatches, Parser, Subcommand};
use fake_openai::{
    Config, ConfigError, Settings, StartError,
    config::{Environment, SettingsFile, Sources, variable},
    fixtures::Fixtures,
};

use super::{Failure, Task, bench, licenses, print_to_stderr, report, tables, usage, verify, write};

/// Fake LLM API server for load tests and CI: OpenAI, Anthropic, Gemini and others, without a model
#[derive(Parser)]
#[command(name = "fake-openai", version, after_help = AFTER_HELP, arg_required_else_help = false)]
#[command(subcommand_help_heading = "Commands")]
struct Args {
    #[command(subcommand)]
    command: Option<Command>,
    /// YAML file with any of the settings
    #[arg(long, value_name = "FILE", display_order = 0)]
    config: Option<PathBuf>,
    /// Print the effective settings as a YAML file, with the origin of each
    #[arg(long, display_order = 1)]
    print_config: bool,
    /// Print the licences of this program and of the software in it
    #[arg(long, display_order = 2)]
    licenses: bool,
    #[command(flatten)]
    settings: Settings,
}

const AFTER_HELP: &str = "\
Each setting is also an environment variable (FAKE_OPENAI_RPM=100) and a key of the file (rpm: 100).
Flags override the environment, the environment overrides the file. A flag with [=<BOOL>] is true if given alone.
The file also takes `limits` and `rules`: lists of limits, and of faults for matching requests; and `checks`: the
thresholds of the report.";

const EVERY_SETTING: &str = "Every setting listed by `fake-openai --help` is accepted too.";

#[derive(Subcommand)]
enum Command {
    /// Run the server, as without a command
    Serve,
    /// List all routes
    Routes,
    /// List all faults and the ways to ask for one
    Faults,
    /// List the latency profiles of known models, with sources
    Profiles,
    /// Check settings and fixtures, without serving
    #[command(after_help = EVERY_SETTING)]
    Check,
    /// Write the built-in fixtures to a directory, to edit them
    Eject {
        /// Directory to write to; no file is overwritten
        dir: PathBuf,
    },
    /// Write a tokenizer with which load tools count as `--usage exact` does
    Tokenizer {
        /// Directory to write to, for tools that read Hugging Face's tokenizers; no file is overwritten
        dir: PathBuf,
        /// Model whose tokens to write; gpt-4 and gpt-3.5 differ from the others [default: any other]
        #[arg(long, value_name = "NAME", default_value = "fake", hide_default_value = true)]
        model: String,
    },
    /// Check that a server is healthy: exit status 0 or 1
    Healthcheck {
        /// URL to request [default: /health at --port on this machine]
        url: Option<String>,
    },
    /// Print what the callers of a running server did wrong: exit status 1 if a check failed
    Report(report::Options),
    /// Check the requests that a running server has received: exit status 0 or 1
    Verify(Box<verify::Options>),
    /// Measure the requests per second that this machine can serve
    #[command(after_help = EVERY_SETTING)]
    Bench(bench::Options),
}

/// Returns the settings that the help of a command lists; `None` for all of them.
fn used_settings(command: &str) -> Option<&'static [&'static str]> {
    match command {
        "serve" => None,
        "routes" => Some(&["config", "fixtures", "as"]),
        "profiles" => Some(&["config", "fixtures"]),
        "check" => Some(&["config", "fixtures", "as", "print_config"]),
        "healthcheck" => Some(&["config", "port", "port_file"]),
        "bench" => Some(&["config", "workers"]),
        "report" | "verify" => Some(&["config", "admin_token"]),
        _ => Some(&[]),
    }
}

/// Returns the command line's definition. Each setting is accepted before and after a command, and hidden from the help of
/// commands that do not use it.
pub(super) fn command() -> clap::Command {
    let command = Args::command().mut_args(|arg| match arg.get_id().as_str() {
        "help" | "version" | "licenses" => arg,
        _ => arg.global(true),
    });
    // Only the command that is given has its settings changed: for all of them it would take a third of the start.
    command.mut_subcommands(|subcommand| subcommand.defer(hide_unused_settings))
}

/// Hides the settings that a command does not use. It has them already.
fn hide_unused_settings(command: clap::Command) -> clap::Command {
    let Some(used) = used_settings(command.get_name()) else { return command };
    command.mut_args(|arg| {
        let is_unused = arg.is_global_set() && !used.contains(&arg.get_id().as_str());
        if is_unused { arg.hide(true) } else { arg }
    })
}

/// Reads the command line, the environment and the file. Variables that are ignored are reported to standard error.
///
/// # Errors
/// [`Failure::User`] for a mistake of the user; help and version are printed, and end the program.
pub fn parse() -> Result<Task, Failure> {
    let args = args()?;
    if args.licenses {
        return licenses::text().map(Task::Print);
    }
    let Args { command, print_config, config, settings, .. } = args;
    let sources = sources(settings, config)?;
    for warning in &sources.environment.warnings {
        print_to_stderr(format_args!("warning: {warning}"));
    }
    let config = sources.config().map_err(|error| Failure::User(error.to_string()))?;
    if print_config {
        return Ok(Task::Print(sources.to_yaml()));
    }
    task(command.unwrap_or(Command::Serve), config)
}

/// Reads the command line, the environment and the file again, for a reload.
///
/// # Errors
/// [`Failure::User`] if the file can no longer be read, or has a mistake.
pub fn configuration() -> Result<Config, Failure> {
    let Args { config, settings, .. } = args()?;
    sources(settings, config)?.config().map_err(|error| Failure::User(error.to_string()))
}

fn args() -> Result<Args, Failure> {
    let matches = command().try_get_matches().map_err(|error| usage::failure(&error))?;
    Args::from_arg_matches(&matches).map_err(|error| usage::failure(&error))
}

/// Reads the environment and the file, beside these flags.
fn sources(flags: Settings, config: Option<PathBuf>) -> Result<Sources, Failure> {
    let user = |error: ConfigError| Failure::User(error.to_string());
    let environment = Environment::read(env::vars_os()).map_err(user)?;
    let path = config.or_else(|| env::var_os(variable("config")).map(PathBuf::from));
    let file = path.as_deref().map(SettingsFile::read).transpose().map_err(user)?;
    Ok(Sources { flags, environment, file })
}

fn task(command: Command, config: Config) -> Result<Task, Failure> {
    let fixtures = || {
        Fixtures::load_as(config.fixtures.as_deref(), config.serve_as.as_deref())
            .map_err(|problems| StartError::Fixtures(problems).into())
    };
    match command {
        Command::Serve => Ok(Task::Serve(Box::new(config))),
        Command::Routes => fixtures().map(|fixtures| Task::Print(tables::routes(&fixtures))),
        Command::Faults => Ok(Task::Print(tables::faults())),
        Command::Profiles => fixtures().map(|fixtures| Task::Print(tables::profiles(&fixtures))),
        Command::Check => check(&config, &fixtures()?).map(Task::Print),
        Command::Eject { dir } => write::eject(&dir).map(Task::Print),
        Command::Tokenizer { dir, model } => write::tokenizer(&dir, &model).map(Task::Print),
        Command::Verify(options) => verify::verify(&options, config.admin_token.as_deref()).map(Task::Print),
        Command::Bench(options) => Ok(Task::Bench(Box::new(config), options)),
        Command::Report(options) => Ok(Task::Report(options, config.admin_token)),
        Command::Healthcheck { url } => url.map_or_else(|| health_url(&config), Ok).map(Task::Healthcheck),
    }
}

fn check(config: &Config, fixtures: &Fixtures) -> Result<String, Failure> {
    let wrong = |problem| Failure::from(StartError::Fixtures(vec![problem]));
    if let Some(tier) = &config.tier {
        fixtures.tier(tier).map_err(wrong)?;
    }
    if let Some(profile) = &config.profile {
        fixtures.profile(profile).map_err(wrong)?;
    }
    config.check_faults(fixtures).map_err(StartError::Fixtures)?;
    fixtures.check().map_err(StartError::Fixtures)?;
    let routes: usize = fixtures.endpoints().map(|listed| listed.routes.len()).sum();
    Ok(format!("ok: {routes} routes, {}\n", fixtures_source(config, fixtures)))
}

/// Returns the health page of the server that this configuration would start.
fn health_url(config: &Config) -> Result<String, Failure> {
    let port = match &config.port_file {
        None => config.port.to_string(),
        Some(path) => fs::read_to_string(path).map_err(|error| {
            let path = path.display();
            Failure::Machine(format!(
                "{path}: the port cannot be read: {error}; start the server with --port-file {path}"
            ))
        })?,
    };
    Ok(format!("http://127.0.0.1:{}/health", port.trim()))
}

/// Describes the source of the fixtures.
pub(super) fn fixtures_source(config: &Config, fixtures: &Fixtures) -> String {
    match (&config.fixtures, fixtures.overlaid()) {
        (None, _) => "built-in fixtures".to_owned(),
        (Some(dir), (overridden, added)) => {
            format!("built-in fixtures, {overridden} overridden and {added} added by {}", dir.display())
        }
    }
}
