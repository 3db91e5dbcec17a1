//! The checks of the report: their thresholds, and which of them are off.

use std::{collections::BTreeMap, fmt, str::FromStr};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error};

use super::ConfigError;

/// A threshold: a number such as `10`, or a share such as `2%`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Threshold {
    /// A number.
    Number(f64),
    /// A share in percent.
    Percent(f64),
}

/// The severity of a finding.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// The finding is shown, and changes no exit status.
    Warning,
    /// The check has failed.
    Failed,
}

/// The settings of one check: `off`, or a mapping of members.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct CheckSpec {
    /// True if the check is off.
    pub is_off: bool,
    /// Threshold above which the check fails or warns.
    pub above: Option<(Severity, Threshold)>,
    /// retry_storm: most attempts of any one call.
    pub most_attempts: Option<u32>,
    /// unbalanced: the weights of the deployments.
    pub weights: Option<BTreeMap<String, f64>>,
}

/// The members of a check in the file.
#[derive(Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Members {
    #[serde(skip_serializing_if = "Option::is_none")]
    fail_above: Option<Threshold>,
    #[serde(skip_serializing_if = "Option::is_none")]
    warn_above: Option<Threshold>,
    #[serde(skip_serializing_if = "Option::is_none")]
    most_attempts: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    weights: Option<BTreeMap<String, f64>>,
}

/// Declares the checks: name, severity and threshold of each.
macro_rules! checks {
    ($($(#[$doc:meta])* $name:ident: $severity:ident $threshold:expr;)*) => {
        /// The settings of all checks.
        #[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
        #[serde(deny_unknown_fields, default)]
        pub struct Checks {
            $(
                $(#[$doc])*
                #[serde(skip_serializing_if = "is_default")]
                pub $name: CheckSpec,
            )*
        }

        impl Checks {
            /// Returns each check: its name, its settings, and its usual severity and threshold.
            pub fn all(&self) -> impl Iterator<Item = (&'static str, &CheckSpec, Severity, Threshold)> {
                use Threshold::{Number, Percent};
                [$((stringify!($name), &self.$name, Severity::$severity, $threshold)),*].into_iter()
            }
        }
    };
}

checks! {
    /// The server itself limited the results; in milliseconds of the workers' own lateness.
    bottleneck: Warning Number(20.0);
    /// A client came back before the announced time; share of the refusals that announced one.
    retry_after: Failed Percent(1.0);
    /// Attempts per call, on average.
    retry_storm: Failed Number(2.0);
    /// Early retries of one caller within one announced wait.
    hammering: Failed Number(10.0);
    /// The waits of a call do not grow; share of the calls with three or more attempts.
    no_backoff: Failed Percent(10.0);
    /// Retries after an error that is final.
    retried_final: Failed Number(0.0);
    /// Second successes of a named call.
    duplicate_success: Failed Number(0.0);
    /// Share of the streams whose client left before the end.
    abandoned: Warning Percent(1.0);
    /// Difference of the shares of deployments from their weights.
    unbalanced: Warning Percent(20.0);
    /// Rate of one caller for 10 s, as a multiple of its limit.
    over_quota: Warning Number(1.5);
    /// Connections per request.
    connection_churn: Warning Percent(50.0);
}

fn is_default(spec: &CheckSpec) -> bool {
    *spec == CheckSpec::default()
}

impl Threshold {
    /// Returns the number; for a share a number from 0 to 1.
    pub fn value(self) -> f64 {
        match self {
            Threshold::Number(number) => number,
            Threshold::Percent(percent) => percent / 100.0,
        }
    }
}

impl fmt::Display for Threshold {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Threshold::Number(number) => number.fmt(f),
            Threshold::Percent(percent) => write!(f, "{percent}%"),
        }
    }
}

impl FromStr for Threshold {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let number = |text: &str| text.trim().parse().ok().filter(|number: &f64| number.is_finite() && *number >= 0.0);
        let threshold = match text.strip_suffix('%') {
            Some(percent) => number(percent).map(Threshold::Percent),
            None => number(text).map(Threshold::Number),
        };
        threshold.ok_or_else(|| format!("`{text}` is no threshold; write a number such as 10, or a share such as 2%"))
    }
}

impl Serialize for Threshold {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Threshold::Number(number) => serializer.serialize_f64(*number),
            Threshold::Percent(_) => serializer.collect_str(self),
        }
    }
}

impl<'de> Deserialize<'de> for Threshold {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum NumberOrText {
            Number(f64),
            Text(String),
        }
        let text = match NumberOrText::deserialize(deserializer)? {
            NumberOrText::Number(number) => number.to_string(),
            NumberOrText::Text(text) => text,
        };
        text.parse().map_err(D::Error::custom)
    }
}

impl Serialize for CheckSpec {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if self.is_off {
            return serializer.serialize_str("off");
        }
        let of = |wanted: Severity| self.above.filter(|(severity, _)| *severity == wanted).map(|(_, above)| above);
        let (fail_above, warn_above) = (of(Severity::Failed), of(Severity::Warning));
        let (most_attempts, weights) = (self.most_attempts, self.weights.clone());
        Members { fail_above, warn_above, most_attempts, weights }.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for CheckSpec {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let value = serde_json::Value::deserialize(deserializer)?;
        match &value {
            serde_json::Value::Object(_) => {}
            // YAML 1.1 reads `off` as false.
            serde_json::Value::Bool(false) => return Ok(CheckSpec { is_off: true, ..CheckSpec::default() }),
            serde_json::Value::String(text) if text == "off" => {
                return Ok(CheckSpec { is_off: true, ..CheckSpec::default() });
            }
            other => {
                let problem = format!("`{other}` is no check; write off, or a mapping such as {{fail_above: 2%}}");
                return Err(D::Error::custom(problem));
            }
        }
        let members: Members = serde_json::from_value(value).map_err(D::Error::custom)?;
        let above = match (members.fail_above, members.warn_above) {
            (Some(_), Some(_)) => {
                return Err(D::Error::custom("fail_above and warn_above exclude each other; give one of them"));
            }
            (fail, warn) => {
                fail.map(|above| (Severity::Failed, above)).or(warn.map(|above| (Severity::Warning, above)))
            }
        };
        Ok(CheckSpec { is_off: false, above, most_attempts: members.most_attempts, weights: members.weights })
    }
}

impl Checks {
    /// Checks that each threshold is of the kind that its check takes.
    ///
    /// # Errors
    /// The check, and the form that it takes.
    pub(super) fn check(&self) -> Result<(), ConfigError> {
        let wrong = |name: &str, problem: &str| Err(ConfigError::of("checks", format!("{name}: {problem}")));
        for (name, spec, _, usual) in self.all() {
            match (spec.above, usual) {
                (Some((_, Threshold::Number(_))), Threshold::Percent(_)) => {
                    return wrong(name, "the threshold is a share; write it in percent, such as 2%");
                }
                (Some((_, Threshold::Percent(_))), Threshold::Number(_)) => {
                    return wrong(name, "the threshold is no share; write a number, such as 10");
                }
                _ => {}
            }
            if spec.most_attempts.is_some() && name != "retry_storm" {
                return wrong(name, "it has no `most_attempts`; only retry_storm takes it");
            }
            if spec.weights.is_some() && name != "unbalanced" {
                return wrong(name, "it has no `weights`; only unbalanced takes them");
            }
            let is_weight = |weight: &f64| weight.is_finite() && *weight > 0.0;
            if spec.weights.as_ref().is_some_and(|weights| weights.len() < 2 || !weights.values().all(is_weight)) {
                return wrong(name, "the weights are no comparison; give two or more, each above 0");
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Checks, String> {
        let checks: Checks = serde_saphyr::from_str(text).map_err(|error| error.to_string())?;
        checks.check().map_err(|error| error.to_string())?;
        let again = serde_json::from_value(serde_json::to_value(&checks).unwrap()).unwrap();
        assert_eq!(checks, again, "{text}");
        Ok(checks)
    }

    #[test]
    fn a_check_is_changed_or_off() {
        let checks = read("retry_after: {fail_above: 2%}\nretry_storm: off\nhammering: {warn_above: 3}").unwrap();
        assert_eq!(checks.retry_after.above, Some((Severity::Failed, Threshold::Percent(2.0))));
        assert!(checks.retry_storm.is_off && read("retry_storm: false").unwrap().retry_storm.is_off);
        assert_eq!(checks.hammering.above, Some((Severity::Warning, Threshold::Number(3.0))));
        assert_eq!(read("unbalanced: {weights: {a: 2, b: 1}}").unwrap().unbalanced.weights.unwrap().len(), 2);
    }

    #[test]
    fn a_wrong_threshold_is_refused() {
        for (text, expected) in [
            ("retry_after: {fail_above: 2}", "in percent"),
            ("hammering: {fail_above: 2%}", "no share"),
            ("hammering: {fail_above: many}", "no threshold"),
            ("hammering: on", "write off"),
            ("hammering: {fail_above: 1, warn_above: 2}", "exclude"),
            ("hammering: {most_attempts: 1}", "only retry_storm"),
            ("hammering: {fail_over: 1}", "unknown field"),
            ("hamering: off", "unknown field"),
            ("unbalanced: {weights: {a: 1}}", "two or more"),
        ] {
            let problem = read(text).unwrap_err();
            assert!(problem.contains(expected), "{text}: {problem}");
        }
    }
}
