//! Parsers of single values. Each error names the value and the accepted form, without the setting's name.

use std::{error::Error as _, fmt::Display, path::PathBuf, str::FromStr};

use clap::{
    ArgAction, Args as _, Command,
    error::{ContextKind, ContextValue, ErrorKind},
};
use serde::de::{DeserializeOwned, IntoDeserializer, value};

use super::Settings;
use crate::core::suggest::{did_you_mean, nearest};

/// Parses `true` or `false`.
pub(super) fn boolean(text: &str) -> Result<bool, String> {
    text.parse().map_err(|_| format!("`{text}` is neither true nor false; give one of them"))
}

/// Parses a TCP port.
pub(super) fn port(text: &str) -> Result<u16, String> {
    text.parse().map_err(|_| format!("`{text}` is not a port; give 0 to {}", u16::MAX))
}

/// Parses a whole number of 32 bits.
pub(super) fn count(text: &str) -> Result<u32, String> {
    whole(text, u32::MAX)
}

/// Parses a number of things held in memory, such as threads.
pub(super) fn size(text: &str) -> Result<usize, String> {
    whole(text, usize::MAX)
}

/// Parses a whole number of 64 bits.
pub(super) fn long(text: &str) -> Result<u64, String> {
    whole(text, u64::MAX)
}

/// Parses a number that may have a fraction.
pub(super) fn decimal(text: &str) -> Result<f64, String> {
    text.parse().map_err(|_| format!("`{text}` is not a number; give one such as 2 or 0.5"))
}

/// Parses a path, which has to be UTF-8: settings are merged as JSON.
pub(super) fn path(text: &str) -> Result<PathBuf, String> {
    if text.is_empty() { Err("the path is empty; give one".to_owned()) } else { Ok(text.into()) }
}

/// Parses the name of a variant.
pub(super) fn choice<T: DeserializeOwned>(text: &str) -> Result<T, String> {
    T::deserialize(IntoDeserializer::<value::Error>::into_deserializer(text)).map_err(|error| {
        let message = error.to_string();
        // serde lists the known names in backticks: "unknown variant `x`, expected one of `a`, `b`".
        let list = message.rsplit_once("`, expected ").map_or("", |(_, list)| list);
        unknown(text, &list.split('`').skip(1).step_by(2).collect::<Vec<_>>())
    })
}

fn whole<T: FromStr + Display>(text: &str, most: T) -> Result<T, String> {
    text.parse().map_err(|_| format!("`{text}` is not a whole number; give 0 to {most}"))
}

/// Returns the message for a name that is none of the known ones.
pub(super) fn unknown(name: &str, known: &[&str]) -> String {
    let advice = did_you_mean(name, known.iter().copied()).unwrap_or_else(|| match known {
        [] => "leave it out".to_owned(),
        [one] => format!("give {one}"),
        [first @ .., last] => format!("give {} or {last}", first.join(", ")),
    });
    format!("`{name}` is unknown; {advice}")
}

/// Returns the problem of a value of a setting, given as text; `None` if it is accepted.
pub(super) fn problem_of(key: &str, text: &str) -> Option<String> {
    let argument = format!("--{}={text}", flag(key));
    let error = flags().try_get_matches_from(["", &argument]).err()?;
    refused_value(&error).map(|(_, problem)| problem)
}

/// Returns true if a setting takes a list.
pub(super) fn is_list(key: &str) -> bool {
    flags().get_arguments().any(|arg| arg.get_id() == key && matches!(arg.get_action(), ArgAction::Append))
}

/// Returns a command that has the settings' flags and nothing else.
pub(super) fn flags() -> Command {
    Settings::augment_args(Command::new("settings"))
}

/// Returns the key of the setting that is meant by an unknown key: one that has it as an alias, or the nearest.
pub(super) fn meant_key(key: &str) -> Option<String> {
    let (command, name) = (flags(), flag(&key.to_lowercase()));
    let aliased =
        command.get_arguments().find(|arg| arg.get_all_aliases().unwrap_or_default().contains(&name.as_str()));
    if let Some(arg) = aliased {
        return Some(arg.get_id().to_string());
    }
    let keys = Settings::keys();
    nearest(key, keys.iter().map(String::as_str)).map(str::to_owned)
}

/// Returns the name of a setting's flag, without dashes.
pub(super) fn flag(key: &str) -> String {
    key.replace('_', "-")
}

/// Returns the flag, without dashes, whose value clap refused, and the problem; `None` if `error` is another one.
pub fn refused_value(error: &clap::Error) -> Option<(String, String)> {
    let text = |kind| match error.get(kind) {
        Some(ContextValue::String(text)) => Some(text.as_str()),
        _ => None,
    };
    // "--port <PORT>", "--strict-port[=<BOOL>]", or "<URL>" for a positional argument.
    let argument = text(ContextKind::InvalidArg)?.trim_start_matches(['-', '<', '[']);
    let name = argument.split([' ', '[', '=', '>', ']']).next().unwrap_or_default().to_owned();
    match error.kind() {
        ErrorKind::ValueValidation if text(ContextKind::InvalidValue) == Some("") => {
            Some((name, "the value is empty; give one".to_owned()))
        }
        ErrorKind::ValueValidation => Some((name, error.source()?.to_string())),
        ErrorKind::InvalidValue if text(ContextKind::InvalidValue).is_none_or(str::is_empty) => {
            Some((name, "the value is missing; give one".to_owned()))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::ContentSource;

    #[test]
    fn an_error_names_the_value_and_the_accepted_form() {
        assert_eq!(port("99999").unwrap_err(), "`99999` is not a port; give 0 to 65535");
        assert_eq!(count("-1").unwrap_err(), "`-1` is not a whole number; give 0 to 4294967295");
        assert_eq!(decimal("x").unwrap_err(), "`x` is not a number; give one such as 2 or 0.5");
        assert_eq!(boolean("yes").unwrap_err(), "`yes` is neither true nor false; give one of them");
    }

    #[test]
    fn an_unknown_choice_gets_the_nearest_or_all() {
        assert_eq!(choice::<ContentSource>("ecko").unwrap_err(), "`ecko` is unknown; did you mean `echo`?");
        assert_eq!(choice::<ContentSource>("random").unwrap_err(), "`random` is unknown; give canned, echo or lorem");
        assert_eq!(choice::<ContentSource>("echo"), Ok(ContentSource::Echo));
    }
}
