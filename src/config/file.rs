//! The configuration file: YAML whose keys are the settings.

use std::{
    collections::BTreeMap,
    fs, io,
    path::{Path, PathBuf},
};

use serde::{Deserialize, de::DeserializeOwned};
use serde_json::Value;
use serde_saphyr::{DeserializeError as YamlError, Location};

use super::{Checks, ConfigError, Settings, values};
use crate::{
    core::{secret, suggest::suggest_in},
    traffic::{limit::LimitSpec, rule::Rule},
};

/// A configuration file that has been read.
#[derive(Debug)]
pub struct SettingsFile {
    path: PathBuf,
    lines: BTreeMap<String, usize>,
    /// The settings of the file. Relative paths are joined to the directory of the file.
    pub settings: Settings,
}

impl SettingsFile {
    /// Reads a YAML file.
    ///
    /// # Errors
    /// The file cannot be read, is not YAML, or has an unknown key or a wrong value.
    pub fn read(path: &Path) -> Result<Self, ConfigError> {
        let text = fs::read_to_string(path)
            .map_err(|error| ConfigError::at(path.display().to_string(), unreadable(&error)))?;
        let mut file = SettingsFile { path: path.to_owned(), lines: key_lines(&text), settings: Settings::default() };
        if text.lines().all(|line| line.trim().is_empty() || line.trim_start().starts_with('#')) {
            return Ok(file);
        }
        file.settings = serde_saphyr::from_str(&text).map_err(|error| file.explain(&text, error.without_snippet()))?;
        let directory = path.parent().unwrap_or(Path::new(""));
        let Settings { fixtures, port_file, report, .. } = &mut file.settings;
        for relative in [fixtures, port_file].into_iter().flatten().chain(report.iter_mut().flatten()) {
            *relative = directory.join(&relative);
        }
        Ok(file)
    }

    /// Returns the path, and the line if the setting has one of its own: `fake.yaml:3`.
    pub(super) fn place(&self, key: &str) -> String {
        self.at(self.lines.get(key).copied())
    }

    fn at(&self, line: Option<usize>) -> String {
        let path = self.path.display();
        line.map_or_else(|| path.to_string(), |line| format!("{path}:{line}"))
    }

    /// Describes why the file does not deserialize: the deserializer knows neither the setting nor the accepted form.
    fn explain(&self, text: &str, error: &YamlError) -> ConfigError {
        let line = error.location().filter(|place| *place != Location::UNKNOWN).map(|place| place.line() as usize);
        let whole = |problem: String| ConfigError::at(self.at(line), problem);
        match error {
            YamlError::DuplicateMappingKey { key, .. } => return whole(self.duplicate(key.as_deref(), line)),
            YamlError::MultipleDocuments { .. } => {
                return whole("a second YAML document begins; keep one document".to_owned());
            }
            _ => {}
        }
        let Ok(value) = serde_saphyr::from_str::<Value>(text) else {
            return whole(format!("the file is not valid YAML: {}", without_position(error)));
        };
        let Value::Object(given) = value else {
            return whole("the file has no settings; write one on each line, such as `rpm: 100`".to_owned());
        };
        let keys = Settings::keys();
        for (key, value) in &given {
            if !keys.contains(key) {
                return ConfigError::at(self.place(key), unknown_key(key));
            }
            if let Some((setting, problem)) = problem_of(key, value) {
                let own = self.lines.get(key).copied();
                // The deserializer's line is inside a list, the key's line is where the list begins.
                let line = if setting == *key { own.or(line) } else { line.max(own) };
                return ConfigError::of(setting, problem).in_file(self.at(line));
            }
        }
        whole(suggest_in(without_position(error)))
    }

    fn duplicate(&self, key: Option<&str>, line: Option<usize>) -> String {
        let Some(key) = key else { return "a key is given twice; delete one of the two".to_owned() };
        match self.lines.get(key) {
            Some(first) if Some(*first) != line => {
                format!("`{key}` is already given in line {first}; delete one of the two")
            }
            _ => format!("`{key}` is given twice; delete one of the two"),
        }
    }
}

impl Settings {
    /// Reads a YAML file. Relative paths in it are joined to its directory.
    ///
    /// # Errors
    /// The file cannot be read, is not YAML, or has an unknown key or a wrong value.
    pub fn read(path: &Path) -> Result<Self, ConfigError> {
        SettingsFile::read(path).map(|file| file.settings)
    }
}

fn unreadable(error: &io::Error) -> String {
    let remedy = "give the path of a YAML file in --config or FAKE_OPENAI_CONFIG";
    match error.kind() {
        io::ErrorKind::NotFound => format!("there is no such file; {remedy}"),
        io::ErrorKind::IsADirectory => format!("this is a directory; {remedy}"),
        io::ErrorKind::PermissionDenied => "the file may not be read; give this user permission to read it".to_owned(),
        io::ErrorKind::InvalidData => "the file is not UTF-8 text; save it as UTF-8".to_owned(),
        _ => format!("the file cannot be read: {error}"),
    }
}

fn unknown_key(key: &str) -> String {
    match values::meant_key(key) {
        Some(meant) => format!("there is no setting `{key}`; did you mean `{meant}`?"),
        None => format!("there is no setting `{key}`; `fake-openai --help` lists the settings"),
    }
}

/// Returns the first line of each key in the outermost mapping. Keys of a flow mapping (`{rpm: 5}`) have none.
fn key_lines(text: &str) -> BTreeMap<String, usize> {
    let mut lines = BTreeMap::new();
    for (n, line) in text.lines().enumerate() {
        let key = line.split_once(':').map_or("", |(key, _)| key.trim_end());
        if !key.is_empty() && key.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-') {
            lines.entry(key.to_owned()).or_insert(n + 1);
        }
    }
    lines
}

/// Returns the error's text without the position at its end.
fn without_position(error: &YamlError) -> String {
    let text = error.to_string();
    let text = text.split(" at line ").next().unwrap_or_default();
    let text = text.strip_prefix("error: ").unwrap_or(text);
    text.to_owned()
}

/// Returns the setting, with its index in a list, and the problem of a value that the setting does not accept.
fn problem_of(key: &str, value: &Value) -> Option<(String, String)> {
    let whole = |problem: String| Some((key.to_owned(), problem));
    match (key, value) {
        (_, Value::Null) => None,
        ("rules", Value::Array(rules)) => in_list::<Rule>(key, rules),
        ("limits", Value::Array(limits)) => in_list::<LimitSpec>(key, limits),
        ("checks", Value::Object(_)) => {
            let error = serde_json::from_value::<Checks>(value.clone()).err()?;
            whole(suggest_in(error.to_string()))
        }
        ("checks", _) => whole("this is not a mapping; write `name: off` or a threshold for each check".to_owned()),
        ("rules" | "limits", _) => whole("this is not a list; begin each entry with `- `".to_owned()),
        (_, Value::Array(items)) if values::is_list(key) => items.iter().enumerate().find_map(|(n, item)| {
            let problem = values::problem_of(key, &scalar(item)?)?;
            Some((format!("{key}[{n}]"), problem))
        }),
        (_, Value::Array(_) | Value::Object(_)) => whole("this takes one value, not several; give one".to_owned()),
        (_, value) => {
            let text = scalar(value)?;
            match values::problem_of(key, &text) {
                Some(problem) => whole(problem),
                None if values::is_list(key) => {
                    // Error output ends up in logs: a key is not repeated there.
                    let text = if secret::is_secret_name(key) { "KEY" } else { &text };
                    whole(format!("this takes a list; write `{key}: [{text}]`"))
                }
                None => deserialize_problem(key, value).and_then(whole),
            }
        }
    }
}

/// Returns the problem of a value whose text would do as a flag, such as a number in quotes.
fn deserialize_problem(key: &str, value: &Value) -> Option<String> {
    let settings = Value::Object([(key.to_owned(), value.clone())].into_iter().collect());
    Settings::deserialize(settings).err().map(|_| match value {
        _ if secret::is_secret_name(key) => "the token is not a text; write it in quotes".to_owned(),
        Value::String(text) => format!("\"{text}\" is a text; write it without quotes"),
        value => format!("`{value}` is not a text; write it in quotes"),
    })
}

fn in_list<T: DeserializeOwned>(key: &str, items: &[Value]) -> Option<(String, String)> {
    items.iter().enumerate().find_map(|(n, item)| {
        let error = serde_json::from_value::<T>(item.clone()).err()?;
        Some((format!("{key}[{n}]"), suggest_in(error.to_string())))
    })
}

fn scalar(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(_) | Value::Bool(_) => Some(value.to_string()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(text: &str) -> String {
        let path = std::env::temp_dir().join(format!("fake-openai-{}-{:p}.yaml", std::process::id(), text));
        fs::write(&path, text).unwrap();
        let error = SettingsFile::read(&path).unwrap_err().to_string();
        fs::remove_file(&path).unwrap();
        error.replace(path.to_str().unwrap(), "fake.yaml")
    }

    #[test]
    fn a_wrong_value_is_refused_with_line_and_form() {
        for (text, expected) in [
            ("# c\nport: 99999\n", "fake.yaml:2: port: `99999` is not a port; give 0 to 65535"),
            ("rpm: many\n", "fake.yaml:1: rpm: `many` is not a whole number; give 0 to 4294967295"),
            ("port: 1\n\nrpm: -1", "fake.yaml:3: rpm: `-1` is not a whole number; give 0 to 4294967295"),
            ("content: ecko", "fake.yaml:1: content: `ecko` is unknown; did you mean `echo`?"),
            ("per:\n- ip\n- kye\n", "fake.yaml:3: per[1]: `kye` is unknown; did you mean `key`?"),
            ("models: gpt-4o", "fake.yaml:1: models: this takes a list; write `models: [gpt-4o]`"),
            ("api_key: s3cret", "fake.yaml:1: api_key: this takes a list; write `api_key: [KEY]`"),
            ("host: [a, b]", "fake.yaml:1: host: this takes one value, not several; give one"),
            ("access_log: 1", "fake.yaml:1: access_log: `1` is unknown; give true, false or json"),
            ("limits: 5", "fake.yaml:1: limits: this is not a list; begin each entry with `- `"),
            ("{rpm: many}", "fake.yaml:1: rpm: `many` is not a whole number; give 0 to 4294967295"),
            ("max_body: true", "fake.yaml:1: max_body: `true` is not a text; write it in quotes"),
        ] {
            assert_eq!(refused(text), expected);
        }
    }

    #[test]
    fn an_unknown_or_repeated_key_is_refused_with_its_line() {
        for (text, expected) in [
            ("port: 1\nrmp: 5\n", "fake.yaml:2: there is no setting `rmp`; did you mean `rpm`?"),
            ("delay: 5ms", "fake.yaml:1: there is no setting `delay`; did you mean `ttft`?"),
            ("what: 5", "fake.yaml:1: there is no setting `what`; `fake-openai --help` lists the settings"),
            ("rpm: 1\nport: 2\nrpm: 3\n", "fake.yaml:3: `rpm` is already given in line 1; delete one of the two"),
            (
                "rpm: 1\nlimits:\n- quota: 5\n- quta: 7\n",
                "fake.yaml:4: limits[1]: unknown field `quta`; did you mean `quota`?",
            ),
            ("a\n", "fake.yaml:1: the file has no settings; write one on each line, such as `rpm: 100`"),
        ] {
            assert_eq!(refused(text), expected);
        }
        assert!(refused("rpm: [1\n").starts_with("fake.yaml:"));
        assert!(refused("rpm: [1\n").contains("not valid YAML"), "{}", refused("rpm: [1\n"));
        assert!(
            refused("rpm: 1\n---\nrpm: 2\n").contains("second YAML document"),
            "{}",
            refused("rpm: 1\n---\na: 2\n")
        );
    }

    #[test]
    fn an_unreadable_file_is_refused_with_the_remedy() {
        let refused = |path: &Path| SettingsFile::read(path).unwrap_err().to_string();
        let expected = "no.yaml: there is no such file; give the path of a YAML file in --config or FAKE_OPENAI_CONFIG";
        assert_eq!(refused(Path::new("no.yaml")), expected);
        assert!(refused(&std::env::temp_dir()).contains("this is a directory"));
    }
}
