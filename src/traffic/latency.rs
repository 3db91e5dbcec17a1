//! Latency of the model: the time to the first token and between tokens.

mod distribution;
mod normal;
mod pace;
mod paced_events;
mod profile;
mod span;
mod text;

use std::time::Duration;

use serde::{Deserialize, Serialize};

pub use self::{distribution::Distribution, pace::Pace, profile::Profile, span::Span};

/// The latency of a model.
///
/// | | from | to |
/// |---|---|---|
/// | `ttft` | the request arrives | the first token of the response |
/// | `itl` | a token | the next one |
/// | `prefill` | added to `ttft` | for each token of the prompt |
///
/// A response without streaming takes `ttft`, and `itl` for each of its tokens.
///
/// In files it is `{"ttft": "lognormal(p50=300ms,p99=2s)", "itl": "20ms±4ms", "prefill": "80us"}`; the default is zero.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Latency {
    /// Time to the first token of a short prompt.
    pub ttft: Distribution,
    /// Time between two tokens.
    pub itl: Distribution,
    /// Time added to `ttft` for each token of the prompt.
    #[serde(serialize_with = "span::serialize", deserialize_with = "span::deserialize")]
    pub prefill: Duration,
}

impl Latency {
    /// Returns true if all times are zero.
    pub fn is_zero(&self) -> bool {
        self.ttft.is_zero() && self.itl.is_zero() && self.prefill.is_zero()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_latency_is_parsed_and_serialized_as_text() {
        let text = r#"{"ttft":"lognormal(p50=300ms,p99=2s)","itl":"20ms±4ms","prefill":"80us"}"#;
        let latency: Latency = serde_json::from_str(text).unwrap();
        assert_eq!(latency.prefill, Duration::from_micros(80));
        assert_eq!(serde_json::to_string(&latency).unwrap(), text);
        assert!(!latency.is_zero());
        let yaml: Latency = serde_saphyr::from_str("ttft: 1s\nitl: 20 ms\n").unwrap();
        assert_eq!((yaml.ttft, yaml.itl), ("1s".parse().unwrap(), "20ms".parse().unwrap()));
    }

    #[test]
    fn the_default_of_each_time_is_zero() {
        let latency: Latency = serde_json::from_str("{}").unwrap();
        assert_eq!(latency, Latency::default());
        assert!(latency.is_zero());
        for text in [r#"{"ttft": "1ns"}"#, r#"{"itl": "1ns"}"#, r#"{"prefill": "1ns"}"#] {
            assert!(!serde_json::from_str::<Latency>(text).unwrap().is_zero(), "{text}");
        }
    }

    #[test]
    fn a_mistake_is_reported_with_its_position() {
        for (text, words) in [
            (r#"{"ttft": 300}"#, &["integer `300`", "a time with its unit, such as \"300ms\"", "line 1 column 12"][..]),
            (r#"{"ttft": "300"}"#, &["`300` has no unit; write 300ms", "line 1 column 14"]),
            (r#"{"prefill": "2h"}"#, &["more than an hour"]),
            (r#"{"tpot": "20ms"}"#, &["unknown field `tpot`", "`itl`"]),
        ] {
            let problem = serde_json::from_str::<Latency>(text).unwrap_err().to_string();
            assert!(words.iter().all(|word| problem.contains(word)), "{text}: {problem}");
        }
    }
}
