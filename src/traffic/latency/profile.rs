//! A named latency, as in `profiles.json`.

use std::time::Duration;

use serde::Deserialize;

use super::{Distribution, Latency, span};

/// The latency of a known model with its source: `{"ttft": …, "itl": …, "prefill": …, "source": "…"}`.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(from = "ProfileFile")]
pub struct Profile {
    /// The latency.
    pub latency: Latency,
    /// The source of the numbers, in a sentence; empty if the file has none.
    pub source: String,
}

/// The members of a [`Latency`], repeated: serde loses line and column of a flattened struct.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ProfileFile {
    #[serde(default)]
    ttft: Distribution,
    #[serde(default)]
    itl: Distribution,
    #[serde(default, deserialize_with = "span::deserialize")]
    prefill: Duration,
    #[serde(default)]
    source: String,
}

impl From<ProfileFile> for Profile {
    fn from(ProfileFile { ttft, itl, prefill, source }: ProfileFile) -> Self {
        Profile { latency: Latency { ttft, itl, prefill }, source }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_profile_is_a_latency_with_its_source() {
        let profile: Profile =
            serde_json::from_str(r#"{"ttft": "1s", "prefill": "80us", "source": "A guess."}"#).unwrap();
        let latency = serde_json::from_str(r#"{"ttft": "1s", "prefill": "80us"}"#).unwrap();
        assert_eq!(profile, Profile { latency, source: "A guess.".to_owned() });
        for (text, words) in [
            ("{\n\"ttft\": \"1s\",\n\"itl\": \"5\"}", ["`5` has no unit", "line 3 column 10"]),
            (r#"{"sauce": ""}"#, ["unknown field `sauce`", "`source`"]),
        ] {
            let problem = serde_json::from_str::<Profile>(text).unwrap_err().to_string();
            assert!(words.iter().all(|word| problem.contains(word)), "{problem}");
        }
    }
}
