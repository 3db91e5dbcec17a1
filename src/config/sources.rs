//! The sources of the settings, by priority: flags, environment variables, the file, the defaults.

use super::{Config, ConfigError, Environment, Settings, SettingsFile, environment::variable, print, values};

/// Settings by source.
#[derive(Debug, Default)]
pub struct Sources {
    /// Settings given as flags.
    pub flags: Settings,
    /// Settings given as environment variables.
    pub environment: Environment,
    /// The configuration file, if there is one.
    pub file: Option<SettingsFile>,
}

/// The source of one setting, and its place there.
pub(super) enum Origin {
    /// The flag, with its dashes.
    Flag(String),
    /// The environment variable.
    Variable(String),
    /// The path of the file, and the line if known.
    File(String),
    /// The setting is not given.
    Default,
}

impl Sources {
    /// Returns the settings that are given, each from the source of the highest priority.
    pub fn settings(&self) -> Settings {
        let file = self.file.as_ref().map(|file| file.settings.clone()).unwrap_or_default();
        self.flags.clone().or(self.environment.settings.clone()).or(file)
    }

    /// Returns the configuration of the settings.
    ///
    /// # Errors
    /// The first setting that cannot be used, and its place.
    pub fn config(&self) -> Result<Config, ConfigError> {
        Config::try_from(self.settings()).map_err(|error| {
            let Some(key) = error.key() else { return error };
            match self.origin(key) {
                Origin::Flag(place) | Origin::Variable(place) => error.named_by(place),
                Origin::File(place) => error.in_file(place),
                Origin::Default => error,
            }
        })
    }

    /// Renders the effective settings as a configuration file. A comment names the origin of each.
    ///
    /// Secrets are left out: a comment notes that they are set.
    pub fn to_yaml(&self) -> String {
        print::to_yaml(&self.settings().or(Settings::defaults()), |key| match self.origin(key) {
            Origin::Flag(place) | Origin::Variable(place) | Origin::File(place) => place,
            Origin::Default => "default".to_owned(),
        })
    }

    fn origin(&self, key: &str) -> Origin {
        if self.flags.set_values().contains_key(key) {
            return Origin::Flag(format!("--{}", values::flag(key)));
        }
        if self.environment.settings.set_values().contains_key(key) {
            return Origin::Variable(variable(key));
        }
        match &self.file {
            Some(file) if file.settings.set_values().contains_key(key) => Origin::File(file.place(key)),
            _ => Origin::Default,
        }
    }
}
