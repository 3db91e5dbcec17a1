//! The configuration of a limit.

use std::{fmt, str::FromStr, time::Duration};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error};

use super::window::Window;
use crate::core::{
    glob::Glob,
    limit_status::{Unit, per},
};

/// One limit: `{"unit": "requests", "quota": 100, "per": ["ip"]}`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LimitSpec {
    /// The unit that is counted.
    #[serde(default)]
    pub unit: Unit,
    /// Amount per period.
    pub quota: u32,
    /// Dimensions whose values each have their own quota.
    #[serde(default = "per_address")]
    pub per: Vec<Dimension>,
    /// Models that it applies to.
    #[serde(default, skip_serializing_if = "Models::is_any")]
    pub models: Models,
    /// The algorithm.
    #[serde(default)]
    pub window: Window,
    /// The period of the quota.
    #[serde(default)]
    pub period: Period,
    /// gcra: the most that is admitted at once; the quota by default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub burst: Option<u32>,
    /// True if clients see no headers of it, and a refusal without numbers.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub silent: bool,
}

fn per_address() -> Vec<Dimension> {
    vec![Dimension::Ip]
}

impl LimitSpec {
    /// Returns true if another limit differs in its numbers at most.
    pub(super) fn is_alike(&self, other: &Self) -> bool {
        LimitSpec { quota: other.quota, burst: other.burst, ..self.clone() } == *other
    }

    /// Creates a limit on requests per minute for each client address.
    pub fn rpm(quota: u32) -> Self {
        LimitSpec::per_minute(Unit::Requests, quota)
    }

    /// Creates a limit on `unit` per minute for each client address.
    pub fn per_minute(unit: Unit, quota: u32) -> Self {
        let (per, models, window) = (per_address(), Models::default(), Window::default());
        LimitSpec { unit, quota, per, models, window, period: Period::MINUTE, burst: None, silent: false }
    }

    /// Creates the limit of the fake server in LiteLLM's load-testing guide: slowapi's `100/minute` for each address
    /// and path, without headers.
    pub fn litellm_guide(quota: u32) -> Self {
        let per = vec![Dimension::Ip, Dimension::Endpoint];
        LimitSpec { per, window: Window::Fixed, silent: true, ..LimitSpec::rpm(quota) }
    }

    /// Checks that the values fit together.
    ///
    /// # Errors
    /// The mistake and its remedy.
    pub fn check(&self) -> Result<(), String> {
        let gcra = self.window == Window::Gcra && self.period != Period::Never && self.unit != Unit::InFlight;
        if self.quota == 0 && self.period != Period::Never {
            return Err("quota 0 would admit nothing; give 1 or more, or leave the limit out".to_owned());
        }
        if self.per.is_empty() {
            return Err("per is empty; write [global] for one quota that all share".to_owned());
        }
        match self.burst {
            None => {}
            Some(0) => return Err("burst 0 would admit nothing; give 1 or more".to_owned()),
            Some(_) if !gcra => {
                return Err(
                    "burst applies only to requests and tokens in a gcra window that refills; leave it out".to_owned()
                );
            }
            Some(burst) if u64::from(burst) > 1000 * u64::from(self.quota) => {
                return Err(format!("burst {burst} is more than a thousand times the quota; give less"));
            }
            Some(_) => {}
        }
        Ok(())
    }

    /// Returns the most that is admitted at once.
    pub(super) fn max_at_once(&self) -> u32 {
        self.burst.unwrap_or(self.quota)
    }
}

impl fmt::Display for LimitSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.quota, self.unit.noun())?;
        match self.period {
            _ if self.unit == Unit::InFlight => {}
            Period::Never => f.write_str(" in all")?,
            Period::Every(period) => write!(f, "/{}", per(period))?,
        }
        for (n, dimension) in self.per.iter().enumerate() {
            let name = match dimension {
                Dimension::Ip => "client address",
                Dimension::Key => "key",
                Dimension::Model => "model",
                Dimension::Deployment => "deployment",
                Dimension::Endpoint => "path",
                Dimension::Global => {
                    f.write_str(if n == 0 { " for all together" } else { "" })?;
                    continue;
                }
            };
            write!(f, "{}{name}", if n == 0 { " for each " } else { " and " })?;
        }
        if !self.models.is_any() {
            let models: Vec<String> = self.models.0.iter().cloned().map(String::from).collect();
            write!(f, " of {}", models.join(" "))?;
        }
        match self.window {
            _ if self.unit == Unit::InFlight || self.period == Period::Never => Ok(()),
            Window::Gcra => write!(f, ", up to {} at once", self.max_at_once()),
            Window::Fixed => f.write_str(", in fixed windows"),
            Window::Sliding => f.write_str(", in sliding windows"),
        }?;
        f.write_str(if self.silent { ", without headers" } else { "" })
    }
}

/// A property of requests whose values each have their own bucket.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Dimension {
    /// The address of the client.
    Ip,
    /// The API key; without one, the address.
    Key,
    /// The requested model.
    Model,
    /// The deployment in an Azure path; elsewhere the model.
    Deployment,
    /// The path of the request.
    Endpoint,
    /// None: all requests share one bucket.
    Global,
}

impl Dimension {
    /// Returns the name in settings and metrics.
    pub fn name(self) -> &'static str {
        match self {
            Dimension::Ip => "ip",
            Dimension::Key => "key",
            Dimension::Model => "model",
            Dimension::Deployment => "deployment",
            Dimension::Endpoint => "endpoint",
            Dimension::Global => "global",
        }
    }
}

impl FromStr for Dimension {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let text = serde::de::IntoDeserializer::<serde::de::value::Error>::into_deserializer(text);
        Dimension::deserialize(text).map_err(|error| error.to_string())
    }
}

/// The time in which a quota can be used once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Period {
    /// The quota can be used again each time that this has passed.
    Every(Duration),
    /// The quota is never refilled.
    Never,
}

impl Period {
    /// One minute.
    pub const MINUTE: Period = Period::Every(Duration::from_secs(60));
    /// One day.
    pub const DAY: Period = Period::Every(Duration::from_secs(86_400));

    /// Returns the period in nanoseconds. A window that never ends has the longest, which no clock reaches.
    pub(super) fn nanos(self) -> u64 {
        match self {
            Period::Every(period) => u64::try_from(period.as_nanos()).unwrap_or(u64::MAX),
            Period::Never => u64::MAX,
        }
    }
}

impl Default for Period {
    fn default() -> Self {
        Period::MINUTE
    }
}

impl FromStr for Period {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "minute" | "min" => return Ok(Period::MINUTE),
            "hour" => return Ok(Period::Every(Duration::from_secs(3600))),
            "day" => return Ok(Period::DAY),
            "never" => return Ok(Period::Never),
            _ => {}
        }
        let longest = Duration::from_secs(31 * 86_400);
        let period = humantime::parse_duration(text).ok().filter(|period| !period.is_zero() && *period <= longest);
        period.map(Period::Every).ok_or_else(|| {
            format!("`{text}` is not a period; write minute, day, never, or a duration such as 10s, at most 31 days")
        })
    }
}

impl Serialize for Period {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match *self {
            Period::MINUTE => serializer.serialize_str("minute"),
            Period::DAY => serializer.serialize_str("day"),
            Period::Never => serializer.serialize_str("never"),
            Period::Every(period) => serializer.collect_str(&humantime::format_duration(period)),
        }
    }
}

impl<'de> Deserialize<'de> for Period {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(D::Error::custom)
    }
}

/// The models that match one of the globs and none of the globs that begin with `!`. Without globs, all models.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Models(Vec<ModelGlob>);

/// A glob that includes models, or excludes them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(into = "String")]
struct ModelGlob {
    not: bool,
    glob: Glob,
}

impl TryFrom<String> for ModelGlob {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        match text.strip_prefix('!') {
            Some(glob) => Ok(ModelGlob { not: true, glob: glob.to_owned().try_into()? }),
            None => Ok(ModelGlob { not: false, glob: text.try_into()? }),
        }
    }
}

impl From<ModelGlob> for String {
    fn from(ModelGlob { not, glob }: ModelGlob) -> Self {
        if not { format!("!{glob}") } else { glob.into() }
    }
}

impl Models {
    /// Returns true if it contains all models.
    pub fn is_any(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn contain(&self, model: &str) -> bool {
        let mut included = self.0.iter().filter(|glob| !glob.not).peekable();
        let is_in = included.peek().is_none() || included.any(|glob| glob.glob.matches(model));
        is_in && !self.0.iter().any(|glob| glob.not && glob.glob.matches(model))
    }
}

impl<'de> Deserialize<'de> for Models {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged, expecting = "a glob such as `gpt-4o*`, or a list of globs")]
        enum Globs {
            One(String),
            Many(Vec<String>),
        }
        let globs = match Globs::deserialize(deserializer)? {
            Globs::One(glob) => vec![glob],
            Globs::Many(globs) => globs,
        };
        globs.into_iter().map(ModelGlob::try_from).collect::<Result<_, _>>().map(Models).map_err(D::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_limit_is_displayed_and_checked() {
        let spec = |text: &str| serde_json::from_str::<LimitSpec>(text).unwrap();
        for (text, words) in [
            (r#"{"quota": 100}"#, "100 requests/min for each client address, up to 100 at once"),
            (
                r#"{"unit": "tokens", "quota": 5, "per": ["key", "model"], "models": "gpt-*", "window": "fixed", "period": "10s"}"#,
                "5 tokens/10s for each key and model of gpt-*, in fixed windows",
            ),
            (r#"{"unit": "in_flight", "quota": 3, "per": ["global"]}"#, "3 concurrent requests for all together"),
            (r#"{"quota": 0, "period": "never"}"#, "0 requests in all for each client address"),
        ] {
            assert_eq!(spec(text).to_string(), words);
            let again = serde_json::to_string(&spec(text)).unwrap();
            assert_eq!(spec(&again), spec(text));
        }
        for (text, what) in [
            (r#"{"quota": 0}"#, "1 or more"),
            (r#"{"quota": 1, "per": []}"#, "[global]"),
            (r#"{"quota": 1, "burst": 0}"#, "1 or more"),
            (r#"{"quota": 1, "burst": 2, "window": "fixed"}"#, "gcra"),
            (r#"{"quota": 1, "burst": 1001}"#, "a thousand times"),
        ] {
            assert!(spec(text).check().unwrap_err().contains(what), "{text}");
        }
        for models in [r#""gpt-[45]*""#, r#"["o3", "!gpt-[45]*"]"#] {
            let text = format!(r#"{{"quota": 1, "models": {models}}}"#);
            let wrong = serde_json::from_str::<LimitSpec>(&text).unwrap_err().to_string();
            assert!(wrong.contains("the glob `gpt-[45]*` has a `[`"), "{wrong}");
        }
        let wrong = serde_json::from_str::<LimitSpec>(r#"{"quota": 1, "period": "often"}"#).unwrap_err().to_string();
        assert!(wrong.contains("`often` is not a period"), "{wrong}");
    }
}
