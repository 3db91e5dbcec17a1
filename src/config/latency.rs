//! From the settings that speak of time and of faults to what holds.

use std::{str::FromStr, time::Duration};

use super::{ConfigError, Settings};
use crate::traffic::{
    capacity::ConcurrencySpec,
    fault::FaultSpec,
    latency::{Distribution, Latency, Span},
};

/// What is asked of latency; what is left out is the profile's, or nothing.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct LatencySpec {
    /// The time to the first token.
    pub ttft: Option<Distribution>,
    /// The time from token to token.
    pub itl: Option<Distribution>,
    /// The time that each token of the prompt adds.
    pub prefill: Option<Duration>,
}

impl LatencySpec {
    /// The latency of a profile, as far as nothing else is asked for.
    pub fn over(&self, profile: &Latency) -> Latency {
        Latency {
            ttft: self.ttft.clone().unwrap_or_else(|| profile.ttft.clone()),
            itl: self.itl.clone().unwrap_or_else(|| profile.itl.clone()),
            prefill: self.prefill.unwrap_or(profile.prefill),
        }
    }
}

/// Answers that wait for a place, unless more or fewer may.
const QUEUE: usize = 1000;

/// The most answers at once that can be asked for.
const MOST: usize = 1_000_000;

fn read<T: FromStr<Err = String>>(name: &str, text: Option<&String>) -> Result<Option<T>, ConfigError> {
    text.map(|text| text.parse().map_err(|problem| ConfigError(format!("{name} {problem}")))).transpose()
}

/// The latency that is asked for, and how many times faster than real all of it is.
pub(super) fn latency(asked: &Settings) -> Result<(LatencySpec, f64), ConfigError> {
    let ttft: Option<Distribution> = read("ttft", asked.ttft.as_ref())?;
    let itl: Option<Distribution> = read("itl", asked.itl.as_ref())?;
    if [&ttft, &itl].into_iter().flatten().any(Distribution::is_ramp) {
        return Err(ConfigError(
            "a ramp has a beginning and an end: write --fault 'ttft=ramp(300ms,3s)@60s+120s'".to_owned(),
        ));
    }
    let prefill = read("prefill", asked.prefill.as_ref())?.map(|Span(span)| span);
    let speed = asked.speed.unwrap_or(1.0);
    if !(speed > 0.0 && (0.001..=1000.0).contains(&speed)) {
        return Err(ConfigError(format!(
            "speed {speed} is out of range: give 0.001 to 1000, 10 for ten times as fast"
        )));
    }
    Ok((LatencySpec { ttft, itl, prefill }, speed))
}

/// How many answers are said at once, if there is a bound.
pub(super) fn capacity(asked: &Settings) -> Result<Option<ConcurrencySpec>, ConfigError> {
    let Some(most) = asked.max_concurrency else {
        return match (asked.queue, asked.slowdown) {
            (None, None) => Ok(None),
            _ => Err(ConfigError("queue and slowdown are for a server with a max_concurrency: give that too".into())),
        };
    };
    if !(1..=MOST).contains(&most) {
        return Err(ConfigError(format!("max_concurrency {most} is out of range: give 1 to {MOST}")));
    }
    let slowdown = asked.slowdown.unwrap_or(1.0);
    if !(1.0..=1000.0).contains(&slowdown) {
        return Err(ConfigError(format!("slowdown {slowdown} is out of range: give 1 to 1000, 2 for half the speed")));
    }
    Ok(Some(ConcurrencySpec { max: most, queue: asked.queue.unwrap_or(QUEUE), slowdown }))
}

/// What goes wrong with all requests.
pub(super) fn faults(asked: &Settings) -> Result<Vec<FaultSpec>, ConfigError> {
    let texts = asked.fault.iter().flatten();
    texts.map(|text| text.parse().map_err(|problem| ConfigError(format!("fault {problem}")))).collect()
}
