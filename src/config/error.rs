//! The error of a setting.

use std::fmt;

/// A setting that cannot be used: its place, the problem and the remedy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigError {
    /// Flag, environment variable, or file and line.
    place: Option<String>,
    /// Key of the setting, such as `rpm` or `limits[0]`; `None` if the place names it.
    setting: Option<String>,
    /// The problem and the remedy: `<what is wrong>; <what to do>`.
    problem: String,
}

impl ConfigError {
    /// Creates an error of one setting.
    pub(super) fn of(setting: impl Into<String>, problem: impl Into<String>) -> Self {
        ConfigError { place: None, setting: Some(setting.into()), problem: problem.into() }
    }

    /// Creates an error of a place that names the setting, such as a flag, or of a whole file.
    pub(super) fn at(place: impl Into<String>, problem: impl Into<String>) -> Self {
        ConfigError { place: Some(place.into()), setting: None, problem: problem.into() }
    }

    /// Adds the place; the setting's key stays in the message.
    pub(super) fn in_file(self, place: String) -> Self {
        ConfigError { place: Some(place), ..self }
    }

    /// Adds the place, which names the setting itself.
    pub(super) fn named_by(self, place: String) -> Self {
        ConfigError { place: Some(place), setting: None, ..self }
    }

    /// Returns the key of the setting, without an index.
    pub(super) fn key(&self) -> Option<&str> {
        self.setting.as_deref().and_then(|setting| setting.split('[').next())
    }
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for part in [&self.place, &self.setting].into_iter().flatten() {
            write!(f, "{part}: ")?;
        }
        f.write_str(&self.problem)
    }
}

impl std::error::Error for ConfigError {}
