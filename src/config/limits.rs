//! Limits, their store and the trusted proxies, from the settings.

use std::net::IpAddr;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use super::{ConfigError, Settings};
use crate::{
    core::limit_status::Unit,
    traffic::limit::{LimitSpec, Period, StoreSpec, Window},
};

/// A known server whose limit is imitated.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Preset {
    /// The fake server of LiteLLM's load-testing guide: 100 requests per minute for each address and path, in fixed
    /// windows, without rate-limit headers
    #[serde(rename = "litellm-guide")]
    LitellmGuide,
}

/// Requests per minute of LiteLLM's guide, unless `rpm` is given.
const GUIDE_RPM: u32 = 100;

/// Returns the limits of all settings except `tier`.
pub(super) fn limits(settings: &Settings) -> Result<Vec<LimitSpec>, ConfigError> {
    let mut limits = limits_of_flags(settings)?;
    if settings.limit_preset == Some(Preset::LitellmGuide) {
        limits.retain(|limit| (limit.unit, limit.period) != (Unit::Requests, Period::MINUTE));
        if let Some(setting) = shape_settings(settings).next() {
            return Err(ConfigError::of(setting, "limit_preset sets this already; leave one of the two out"));
        }
        limits.insert(0, LimitSpec::litellm_guide(settings.rpm.unwrap_or(GUIDE_RPM)));
    } else {
        shape(settings, &mut limits)?;
    }
    for (n, limit) in settings.limits.iter().flatten().enumerate() {
        limit.check().map_err(|problem| ConfigError::of(format!("limits[{n}]"), problem))?;
        limits.push(limit.clone());
    }
    Ok(limits)
}

fn limits_of_flags(settings: &Settings) -> Result<Vec<LimitSpec>, ConfigError> {
    let flags = [
        ("rpm", settings.rpm, Unit::Requests, Period::MINUTE),
        ("rpd", settings.rpd, Unit::Requests, Period::DAY),
        ("tpm", settings.tpm, Unit::Tokens, Period::MINUTE),
        ("itpm", settings.itpm, Unit::InputTokens, Period::MINUTE),
        ("otpm", settings.otpm, Unit::OutputTokens, Period::MINUTE),
        ("max_in_flight", settings.max_in_flight, Unit::InFlight, Period::MINUTE),
        ("quota", settings.quota, Unit::Requests, Period::Never),
    ];
    let mut limits = Vec::new();
    for (setting, quota, unit, period) in flags {
        let Some(quota) = quota else { continue };
        if quota == 0 && period != Period::Never {
            let problem = "0 would admit no request; give 1 or more, or leave it out for no limit";
            return Err(ConfigError::of(setting, problem));
        }
        limits.push(LimitSpec { period, ..LimitSpec::per_minute(unit, quota) });
    }
    Ok(limits)
}

/// Returns the given settings among those that shape the limits of flags.
fn shape_settings(settings: &Settings) -> impl Iterator<Item = &'static str> {
    let given =
        [("per", settings.per.is_some()), ("window", settings.window.is_some()), ("burst", settings.burst.is_some())];
    given.into_iter().filter(|(_, is_given)| *is_given).map(|(setting, _)| setting)
}

/// Applies `per`, `window` and `burst` to the limits of flags.
fn shape(settings: &Settings, limits: &mut [LimitSpec]) -> Result<(), ConfigError> {
    if let Some(setting) = shape_settings(settings).next().filter(|_| limits.is_empty()) {
        let problem = "there is no limit to apply this to; give rpm, tpm or another too (entries of `limits` have \
                       their own)";
        return Err(ConfigError::of(setting, problem));
    }
    for limit in limits {
        limit.window = settings.window.unwrap_or_default();
        if let Some(per) = &settings.per {
            limit.per.clone_from(per);
        }
        let has_burst = limit.unit != Unit::InFlight && limit.period != Period::Never;
        if let Some(text) = settings.burst.as_deref().filter(|_| has_burst) {
            if limit.window != Window::Gcra {
                return Err(ConfigError::of("burst", "only the gcra window has a burst; leave window or burst out"));
            }
            limit.burst = burst(text, limit)?;
        }
        let setting = if settings.burst.is_some() { "burst" } else { "per" };
        limit.check().map_err(|problem| ConfigError::of(setting, problem))?;
    }
    Ok(())
}

/// Parses a burst: a number of requests, or a share of every limit. A number does not apply to limits on tokens.
fn burst(text: &str, limit: &LimitSpec) -> Result<Option<u32>, ConfigError> {
    let wrong = || {
        let problem = format!("`{text}` is not a burst; write 10 for requests, or 50% of every limit");
        ConfigError::of("burst", problem)
    };
    Ok(match text.strip_suffix('%') {
        Some(share) => {
            let share: f64 = share.trim().parse().ok().filter(|share| *share > 0.0).ok_or_else(wrong)?;
            Some((f64::from(limit.quota) * share / 100.0).round().max(1.0) as u32)
        }
        None if limit.unit == Unit::Requests => Some(text.parse().map_err(|_| wrong())?),
        None => None,
    })
}

/// Returns the shared store of the limits, if there is one.
pub(super) fn store(settings: &Settings, is_limited: bool) -> Result<Option<StoreSpec>, ConfigError> {
    let Some(url) = &settings.limit_store else {
        return match settings.limit_store_failure {
            None => Ok(None),
            Some(_) => Err(ConfigError::of("limit_store_failure", "there is no limit store; give limit_store too")),
        };
    };
    if !is_limited {
        return Err(ConfigError::of("limit_store", "there is no limit to store; give rpm, tpm or another too"));
    }
    let store = StoreSpec {
        url: url.clone(),
        failure: settings.limit_store_failure.unwrap_or_default(),
        timeout: StoreSpec::DEFAULT_TIMEOUT,
    };
    store.check().map_err(|problem| ConfigError::of("limit_store", problem))?;
    Ok(Some(store))
}

/// Returns the networks of the trusted proxies.
pub(super) fn proxies(settings: &Settings) -> Result<Vec<IpNet>, ConfigError> {
    let network = |(n, text): (usize, &String)| {
        let address = || text.parse::<IpAddr>().map(IpNet::from);
        text.parse::<IpNet>().or_else(|_| address()).map_err(|_| {
            let problem = format!("`{text}` is not a network; write one such as 10.0.0.0/8, or an address");
            ConfigError::of(format!("trusted_proxy[{n}]"), problem)
        })
    };
    settings.trusted_proxy.iter().flatten().enumerate().map(network).collect()
}
