//! Settings from environment variables.

use std::ffi::OsString;

use clap::FromArgMatches as _;

use super::{ConfigError, Settings, values};

const PREFIX: &str = "FAKE_OPENAI_";

/// Returns the name of a setting's environment variable.
pub fn variable(key: &str) -> String {
    format!("{PREFIX}{}", key.to_uppercase())
}

/// Settings from the environment, and the variables that are ignored.
#[derive(Debug, Default)]
pub struct Environment {
    /// The settings.
    pub settings: Settings,
    /// One message for each variable with the prefix that is no setting. Other programs may set such variables.
    pub warnings: Vec<String>,
}

impl Environment {
    /// Reads variables that begin with `FAKE_OPENAI_`. `FAKE_OPENAI_CONFIG` is the command line's own.
    ///
    /// # Errors
    /// A variable is empty, not UTF-8, or has a value that its setting does not accept.
    pub fn read(variables: impl IntoIterator<Item = (OsString, OsString)>) -> Result<Self, ConfigError> {
        let command = values::flags();
        let known: Vec<String> = command.get_arguments().map(|arg| arg.get_id().as_str().to_uppercase()).collect();
        let mut ours: Vec<(String, OsString)> = variables
            .into_iter()
            .filter_map(|(name, value)| Some((name.to_str()?.strip_prefix(PREFIX)?.to_owned(), value)))
            .collect();
        // The system's order is arbitrary, and messages follow it.
        ours.sort();
        let (mut arguments, mut warnings) = (vec![String::new()], Vec::new());
        for (name, value) in ours {
            let wrong = |problem: &str| Err(ConfigError::at(format!("{PREFIX}{name}"), problem));
            let is_known = known.contains(&name);
            match value.to_str() {
                _ if !is_known && name != "CONFIG" => warnings.push(ignored(&name)),
                Some("") => return wrong("the variable is empty; give it a value, or unset it"),
                None => return wrong("the value is not UTF-8; give it as UTF-8"),
                Some(value) if is_known => {
                    arguments.push(format!("--{}={value}", values::flag(&name.to_lowercase())));
                }
                Some(_) => {}
            }
        }
        let settings = command.try_get_matches_from(arguments).and_then(|matches| Settings::from_arg_matches(&matches));
        match settings {
            Ok(settings) => Ok(Environment { settings, warnings }),
            Err(error) => Err(match values::refused_value(&error) {
                Some((flag, problem)) => ConfigError::at(variable(&flag.replace('-', "_")), problem),
                None => ConfigError::at("environment", error.to_string()),
            }),
        }
    }
}

fn ignored(name: &str) -> String {
    let advice = match (name, values::meant_key(name)) {
        ("RULES" | "LIMITS" | "CHECKS", _) => "give it in the configuration file".to_owned(),
        (_, Some(key)) => format!("did you mean `{}`?", variable(&key)),
        (_, None) => "`fake-openai --help` lists the settings".to_owned(),
    };
    format!("{PREFIX}{name}: the variable is ignored, it is not a setting; {advice}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(variables: &[(&str, &str)]) -> Result<Environment, ConfigError> {
        Environment::read(variables.iter().map(|(name, value)| (name.into(), value.into())))
    }

    #[test]
    fn each_variable_is_the_setting_of_its_name() {
        let variables = [("FAKE_OPENAI_RPM", "5"), ("FAKE_OPENAI_API_KEY", "a,b"), ("FAKE_OPENAI_ACCESS_LOG", "false")];
        let Environment { settings, warnings } = read(&variables).unwrap();
        assert_eq!((settings.rpm, settings.access_log), (Some(5), Some(crate::config::AccessLog::Off)));
        assert_eq!((settings.api_key, warnings), (Some(vec!["a".to_owned(), "b".to_owned()]), vec![]));
    }

    #[test]
    fn a_wrong_value_names_the_variable() {
        let refused = |name, value| read(&[(name, value)]).unwrap_err().to_string();
        assert_eq!(refused("FAKE_OPENAI_PORT", "x"), "FAKE_OPENAI_PORT: `x` is not a port; give 0 to 65535");
        let empty = "FAKE_OPENAI_ADMIN_TOKEN: the variable is empty; give it a value, or unset it";
        assert_eq!(refused("FAKE_OPENAI_ADMIN_TOKEN", ""), empty);
    }

    #[test]
    fn an_unknown_variable_is_ignored_with_a_warning() {
        let variables =
            [("FAKE_OPENAI_RPN", "1"), ("FAKE_OPENAI_DELAY", "1s"), ("FAKE_OPENAI_CONFIG", "x"), ("OTHER", "")];
        let expected = |name, meant| {
            format!(
                "FAKE_OPENAI_{name}: the variable is ignored, it is not a setting; did you mean `FAKE_OPENAI_{meant}`?"
            )
        };
        assert_eq!(read(&variables).unwrap().warnings, [expected("DELAY", "TTFT"), expected("RPN", "RPM")]);
    }
}
