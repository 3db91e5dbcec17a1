//! Mistakes on the command line, each as one sentence with a suggestion.

use clap::error::{ContextKind, ContextValue, ErrorKind};
use fake_openai::{config::refused_value, core::suggest::did_you_mean};

use super::{Failure, args};

/// Describes an error of clap. Help and version are printed, and end the program.
pub(super) fn failure(error: &clap::Error) -> Failure {
    let text = |kind| match error.get(kind) {
        Some(ContextValue::String(text)) => text.as_str(),
        _ => "",
    };
    let argument = text(ContextKind::InvalidArg);
    match error.kind() {
        ErrorKind::UnknownArgument => Failure::User(unknown(argument)),
        ErrorKind::InvalidSubcommand => Failure::User(unknown_command(text(ContextKind::InvalidSubcommand))),
        ErrorKind::ArgumentConflict if text(ContextKind::PriorArg) == argument => {
            Failure::User(format!("{}: the option is given twice; give it once", name(argument)))
        }
        ErrorKind::MissingRequiredArgument => Failure::User(missing(error)),
        _ if !error.use_stderr() => error.exit(),
        _ => match refused_value(error) {
            Some((flag, problem)) => Failure::User(format!("--{flag}: {problem}")),
            None => Failure::User(first_line(error)),
        },
    }
}

fn unknown(argument: &str) -> String {
    let Some(option) = argument.strip_prefix("--") else {
        return format!("{argument}: unexpected argument; `fake-openai --help` lists commands and options");
    };
    let command = args::command();
    let commands = || std::iter::once(&command).chain(command.get_subcommands());
    let arguments = || commands().flat_map(clap::Command::get_arguments);
    let names = arguments().filter_map(|arg| arg.get_long()).chain(["help", "version"]);
    // An alias is no suggestion, but a name near to an alias suggests it.
    let aliases = arguments().filter_map(|arg| arg.get_all_aliases()).flatten();
    let advice = did_you_mean(option, names.chain(aliases)).map(|advice| advice.replacen('`', "`--", 1));
    let advice = advice.unwrap_or_else(|| "`fake-openai --help` lists the options".to_owned());
    format!("--{option}: there is no such option; {advice}")
}

fn unknown_command(name: &str) -> String {
    let command = args::command();
    let names: Vec<&str> = command.get_subcommands().map(clap::Command::get_name).collect();
    let advice = did_you_mean(name, names.iter().copied())
        .unwrap_or_else(|| format!("give one of {}, or none to serve", names.join(", ")));
    format!("{name}: there is no such command; {advice}")
}

fn missing(error: &clap::Error) -> String {
    let names = match error.get(ContextKind::InvalidArg) {
        Some(ContextValue::Strings(names)) => names.join(" "),
        _ => "an argument".to_owned(),
    };
    format!("{names}: the argument is missing; give it, as `fake-openai help COMMAND` shows")
}

/// Returns `--port` of `--port <PORT>`.
fn name(argument: &str) -> &str {
    argument.split([' ', '[', '=']).next().unwrap_or_default()
}

/// Returns clap's own message, without its usage.
fn first_line(error: &clap::Error) -> String {
    let text = error.to_string();
    let message: Vec<&str> = text.lines().take_while(|line| !line.is_empty()).map(str::trim).collect();
    let message = message.join(" ");
    format!("{}; see `fake-openai --help`", message.trim_start_matches("error: "))
}
