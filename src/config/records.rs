//! The settings of the records of requests: the access log and the journal.

use std::path::PathBuf;

use bytesize::ByteSize;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error};

use super::{ConfigError, Settings, check::size};

/// The form of the access log.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum AccessLog {
    /// No line is written.
    #[default]
    Off,
    /// One line of words for each request.
    Text,
    /// One JSON object for each request.
    Json,
}

impl AccessLog {
    /// Parses `true`, `false` or `json`.
    ///
    /// # Errors
    /// The text is none of them.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        match text {
            "true" => Ok(AccessLog::Text),
            "false" => Ok(AccessLog::Off),
            "json" => Ok(AccessLog::Json),
            _ => Err(format!("`{text}` is unknown; give true, false or json")),
        }
    }
}

impl Serialize for AccessLog {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            AccessLog::Off => serializer.serialize_bool(false),
            AccessLog::Text => serializer.serialize_bool(true),
            AccessLog::Json => serializer.serialize_str("json"),
        }
    }
}

impl<'de> Deserialize<'de> for AccessLog {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Written {
            Bool(bool),
            Text(String),
        }
        match Written::deserialize(deserializer)? {
            Written::Bool(is_on) => Ok(if is_on { AccessLog::Text } else { AccessLog::Off }),
            Written::Text(text) => AccessLog::parse(&text).map_err(D::Error::custom),
        }
    }
}

/// The size of a journal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct JournalSpec {
    /// Maximum number of entries; 0 for no journal.
    pub entries: usize,
    /// Maximum number of bytes of each body that are kept.
    pub body: usize,
    /// Maximum memory of all entries, in bytes.
    pub memory: usize,
}

/// Maximum number of entries of a journal.
const MAX_ENTRIES: usize = 10_000_000;

impl Default for JournalSpec {
    fn default() -> Self {
        JournalSpec { entries: 1000, body: 16 << 10, memory: 32 << 20 }
    }
}

impl JournalSpec {
    pub(super) fn new(settings: &Settings) -> Result<Self, ConfigError> {
        let default = JournalSpec::default();
        let entries = settings.journal.unwrap_or(default.entries);
        if entries > MAX_ENTRIES {
            let problem = format!("{entries} entries are too many; give {MAX_ENTRIES} at most");
            return Err(ConfigError::of("journal", problem));
        }
        let bytes = |key, text: &Option<String>, default: usize| {
            let size = size(key, text.as_deref(), default as u64)?;
            Ok(usize::try_from(size).unwrap_or(usize::MAX / 2))
        };
        Ok(JournalSpec {
            entries,
            body: bytes("journal_body", &settings.journal_body, default.body)?,
            memory: bytes("journal_memory", &settings.journal_memory, default.memory)?,
        })
    }

    /// Returns the sizes as settings.
    pub(super) fn texts(self) -> [String; 2] {
        [self.body, self.memory].map(|bytes| ByteSize::b(bytes as u64).display().iec().to_string().replace(' ', ""))
    }
}
/// Kinds of files that a report is written as.
const REPORT_KINDS: [&str; 3] = ["json", "html", "xml"];

/// Returns the files of the report.
pub(super) fn reports(settings: &Settings) -> Result<Vec<PathBuf>, ConfigError> {
    let reports = settings.report.clone().unwrap_or_default();
    for (n, path) in reports.iter().enumerate() {
        if !path.extension().is_some_and(|kind| REPORT_KINDS.iter().any(|known| kind == *known)) {
            let problem = format!("`{}` is no kind of report; name a file .json, .html or .xml", path.display());
            return Err(ConfigError::of(format!("report[{n}]"), problem));
        }
    }
    Ok(reports)
}
