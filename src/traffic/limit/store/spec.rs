//! The configuration of a shared store.

use std::{str::FromStr, time::Duration};

use redis::{IntoConnectionInfo, RedisError};
use serde::{Deserialize, Serialize, de::IntoDeserializer};

/// The configuration of a shared store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoreSpec {
    /// `redis://[user:password@]host[:port][/database]`.
    pub url: String,
    /// The treatment of requests while the store does not respond.
    pub failure: FailurePolicy,
    /// Maximum time that a request waits for the store.
    pub timeout: Duration,
}

/// The treatment of requests while the shared store does not respond.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum FailurePolicy {
    /// Requests are admitted without a limit
    Open,
    /// Requests are refused with 503
    #[default]
    Closed,
}

impl FailurePolicy {
    /// Returns the treatment as the end of a sentence about requests.
    pub fn description(self) -> &'static str {
        match self {
            FailurePolicy::Open => "let through without a limit",
            FailurePolicy::Closed => "refused with 503",
        }
    }
}

impl FromStr for FailurePolicy {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        FailurePolicy::deserialize(text.into_deserializer()).map_err(|error: serde::de::value::Error| error.to_string())
    }
}

impl StoreSpec {
    /// Time that a request waits for the store, except in tests.
    pub const DEFAULT_TIMEOUT: Duration = Duration::from_millis(50);

    /// Checks the URL.
    ///
    /// # Errors
    /// The mistake and the right form.
    pub fn check(&self) -> Result<(), String> {
        let wrong = |error: RedisError| format!("{error}; write redis://host:6379, or redis://user:password@host/0");
        self.url.as_str().into_connection_info().map(drop).map_err(wrong)
    }

    /// Returns the address, without the password in the URL.
    pub fn address(&self) -> String {
        self.url.as_str().into_connection_info().map(|info| info.addr().to_string()).unwrap_or_default()
    }
}
