//! Latency, concurrency and faults, from the settings.

use std::{str::FromStr, time::Duration};

use super::{ConfigError, Settings};
use crate::traffic::{
    capacity::ConcurrencySpec,
    fault::FaultSpec,
    latency::{Distribution, Latency, Span},
};

/// Latency settings that override those of a profile; `None` leaves the profile's value.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct LatencySpec {
    /// Time to first token.
    pub ttft: Option<Distribution>,
    /// Inter-token latency: time from one token to the next.
    pub itl: Option<Distribution>,
    /// Time that each prompt token adds to `ttft`.
    pub prefill: Option<Duration>,
}

impl LatencySpec {
    /// Returns the profile's latency with these overrides.
    pub fn over(&self, profile: &Latency) -> Latency {
        Latency {
            ttft: self.ttft.clone().unwrap_or_else(|| profile.ttft.clone()),
            itl: self.itl.clone().unwrap_or_else(|| profile.itl.clone()),
            prefill: self.prefill.unwrap_or(profile.prefill),
        }
    }
}

/// Largest concurrency limit.
const MAX_CONCURRENCY: usize = 1_000_000;

fn parse<T: FromStr<Err = String>>(setting: &str, text: Option<&String>) -> Result<Option<T>, ConfigError> {
    text.map(|text| text.parse().map_err(|problem: String| ConfigError::of(setting, problem))).transpose()
}

/// Returns the latency overrides and the speed factor.
pub(super) fn latency(settings: &Settings) -> Result<(LatencySpec, f64), ConfigError> {
    let ttft: Option<Distribution> = parse("ttft", settings.ttft.as_ref())?;
    let itl: Option<Distribution> = parse("itl", settings.itl.as_ref())?;
    for (setting, distribution) in [("ttft", &ttft), ("itl", &itl)] {
        if distribution.as_ref().is_some_and(Distribution::is_ramp) {
            return Err(ConfigError::of(
                setting,
                format!("a ramp needs a time span; write it as a fault: --fault '{setting}=ramp(300ms,3s)@60s+120s'"),
            ));
        }
    }
    let prefill = parse("prefill", settings.prefill.as_ref())?.map(|Span(span)| span);
    let speed = settings.speed.unwrap_or(1.0);
    if !(speed > 0.0 && (0.001..=1000.0).contains(&speed)) {
        let problem = format!("{speed} is out of range; give 0.001 to 1000, such as 10 for ten times as fast");
        return Err(ConfigError::of("speed", problem));
    }
    Ok((LatencySpec { ttft, itl, prefill }, speed))
}

/// Returns the concurrency limit, if there is one.
pub(super) fn capacity(settings: &Settings) -> Result<Option<ConcurrencySpec>, ConfigError> {
    let Some(most) = settings.max_concurrency else {
        let dependent = [
            ("queue", settings.queue.is_some()),
            ("queue_head", settings.queue_head.is_some()),
            ("slowdown", settings.slowdown.is_some()),
        ];
        for (setting, is_given) in dependent {
            if is_given {
                return Err(ConfigError::of(setting, "this needs a concurrency limit; give max_concurrency too"));
            }
        }
        return Ok(None);
    };
    if !(1..=MAX_CONCURRENCY).contains(&most) {
        let problem = format!("{most} is out of range; give 1 to {MAX_CONCURRENCY}");
        return Err(ConfigError::of("max_concurrency", problem));
    }
    let slowdown = settings.slowdown.unwrap_or(1.0);
    if !(1.0..=1000.0).contains(&slowdown) {
        let problem = format!("{slowdown} is out of range; give 1 to 1000, such as 2 for half the speed");
        return Err(ConfigError::of("slowdown", problem));
    }
    Ok(Some(ConcurrencySpec { max: most, queue: settings.queue, head: settings.queue_head, slowdown }))
}

/// Returns the faults for all requests.
pub(super) fn faults(settings: &Settings) -> Result<Vec<FaultSpec>, ConfigError> {
    let texts = settings.fault.iter().flatten().enumerate();
    let parse = |(n, text): (usize, &String)| {
        text.parse().map_err(|problem: String| ConfigError::of(format!("fault[{n}]"), problem))
    };
    texts.map(parse).collect()
}
