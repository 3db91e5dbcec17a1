//! The command line and everything that is printed for people.

mod args;
mod banner;
mod bench;
mod client;
mod healthcheck;
mod licenses;
mod report;
mod status_line;
mod tables;
mod usage;
mod verify;
mod write;

use std::{
    borrow::Cow,
    io::{self, Write as _},
    process::ExitCode,
};

use fake_openai::{Config, StartError, core::secret};

pub use self::{
    args::{configuration, parse},
    banner::announce,
    status_line::StatusLine,
};

/// A reason to end with an error.
pub enum Failure {
    /// A mistake of the user: exit status 2.
    User(String),
    /// A problem of the machine: exit status 1.
    Machine(String),
    /// A check that does not hold: exit status 1. The text is printed as it is.
    Unmet(String),
}

impl Failure {
    /// Returns the error text, without the secrets that the user gave in a wrong place.
    pub fn text(&self) -> Cow<'_, str> {
        match self {
            Failure::User(text) | Failure::Machine(text) | Failure::Unmet(text) => secret::in_text(text),
        }
    }

    /// Prints the failure and returns the exit status.
    pub fn report(&self) -> ExitCode {
        let (code, prefix) = match self {
            Failure::User(_) => (2, "error: "),
            Failure::Machine(_) => (1, "error: "),
            Failure::Unmet(_) => (1, ""),
        };
        for line in self.text().lines() {
            print_to_stderr(format_args!("{prefix}{line}"));
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

/// The task that the command line asks for.
pub enum Task {
    /// Serve with this configuration.
    Serve(Box<Config>),
    /// Print a text.
    Print(String),
    /// Check the health of the server at this URL.
    Healthcheck(String),
    /// Measure a server with this configuration.
    Bench(Box<Config>, bench::Options),
    /// Fetch the report of a running server, with this token.
    Report(report::Options, Option<String>),
}

/// Checks the health of a server.
///
/// # Errors
/// The server is not healthy, or the URL is not an HTTP URL.
pub fn healthcheck(url: &str) -> Result<(), Failure> {
    healthcheck::check(url)
}

/// Measures a server in this process and prints the result.
///
/// # Errors
/// The server does not start, or the machine has too few files, ports or threads.
pub fn bench(config: &Config, options: &bench::Options) -> Result<(), Failure> {
    print(&bench::run(config, options)?);
    Ok(())
}

/// Fetches the report of a running server and prints its findings.
///
/// # Errors
/// A check has failed, the server cannot be reached, or a file cannot be written.
pub fn report(options: &report::Options, token: Option<&str>) -> Result<(), Failure> {
    report::run(options, token)
}

/// Prints a line to standard error. A full disk or a closed reader is not an error: logging never ends the server, and
/// `eprintln!` would panic.
pub fn print_to_stderr(line: std::fmt::Arguments<'_>) {
    let _ = writeln!(io::stderr(), "{line}");
}

/// Prints to standard output. A closed reader is not an error.
pub fn print(text: &str) {
    let _ = io::stdout().write_all(text.as_bytes()).and_then(|()| io::stdout().flush());
}
