//! From the settings that speak of limits to the limits that hold.

use std::{net::IpAddr, str::FromStr};

use ipnet::IpNet;
use serde::{Deserialize, Serialize, de::IntoDeserializer};

use super::{ConfigError, Settings};
use crate::{
    core::limit_status::Unit,
    traffic::limit::{LimitSpec, Period, StoreSpec, Window},
};

/// A known server whose limit is taken over.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Preset {
    /// The fake of LiteLLM's load-testing guide: 100 requests a minute for each address and path, in fixed windows, and
    /// nothing told
    #[serde(rename = "litellm-guide")]
    LitellmGuide,
}

impl FromStr for Preset {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        Preset::deserialize(text.into_deserializer()).map_err(|error: serde::de::value::Error| error.to_string())
    }
}

/// The guide's own number, unless `rpm` says another.
const GUIDE_RPM: u32 = 100;

/// All limits that are asked for, but for those of a tier.
pub(super) fn limits(asked: &Settings) -> Result<Vec<LimitSpec>, ConfigError> {
    let flags = [
        ("rpm", asked.rpm, Unit::Requests, Period::MINUTE),
        ("rpd", asked.rpd, Unit::Requests, Period::DAY),
        ("tpm", asked.tpm, Unit::Tokens, Period::MINUTE),
        ("itpm", asked.itpm, Unit::InputTokens, Period::MINUTE),
        ("otpm", asked.otpm, Unit::OutputTokens, Period::MINUTE),
        ("max_in_flight", asked.max_in_flight, Unit::InFlight, Period::MINUTE),
        ("quota", asked.quota, Unit::Requests, Period::NEVER),
    ];
    let mut limits = Vec::new();
    for (name, quota, unit, period) in flags {
        let Some(quota) = quota else { continue };
        if quota == 0 && period != Period::NEVER {
            let remedy = "give 1 or more, or leave it out for no limit";
            return Err(ConfigError(format!("{name} 0 would admit nothing: {remedy}")));
        }
        limits.push(LimitSpec { period, ..LimitSpec::per_minute(unit, quota) });
    }
    if asked.limit_preset == Some(Preset::LitellmGuide) {
        limits.retain(|limit| (limit.unit, limit.period) != (Unit::Requests, Period::MINUTE));
        let set = [("window", asked.window.is_some()), ("burst", asked.burst.is_some()), ("per", asked.per.is_some())];
        if let Some((name, _)) = set.iter().find(|(_, given)| *given) {
            return Err(ConfigError(format!("{name} is given by limit_preset: leave one of them out")));
        }
        limits.insert(0, LimitSpec::litellm_guide(asked.rpm.unwrap_or(GUIDE_RPM)));
    } else {
        shape(asked, &mut limits)?;
    }
    for (n, limit) in asked.limits.iter().flatten().enumerate() {
        limit.check().map_err(|what| ConfigError(format!("limits[{n}]: {what}")))?;
        limits.push(limit.clone());
    }
    Ok(limits)
}

/// Applies `per`, `window` and `burst` to the limits that flags give.
fn shape(asked: &Settings, limits: &mut [LimitSpec]) -> Result<(), ConfigError> {
    let given = [("per", asked.per.is_some()), ("window", asked.window.is_some()), ("burst", asked.burst.is_some())];
    if let Some((name, _)) = given.iter().find(|(_, given)| *given && limits.is_empty()) {
        let remedy = "give rpm, tpm or another limit too (those under `limits` have their own)";
        return Err(ConfigError(format!("{name} says how a limit works, and there is none: {remedy}")));
    }
    for limit in limits {
        limit.window = asked.window.unwrap_or_default();
        if let Some(per) = &asked.per {
            limit.per.clone_from(per);
        }
        let bursts = limit.unit != Unit::InFlight && limit.period != Period::NEVER;
        if let Some(text) = asked.burst.as_deref().filter(|_| bursts) {
            if limit.window != Window::Gcra {
                return Err(ConfigError("burst belongs to the gcra window: leave one of them out".to_owned()));
            }
            let wrong =
                || ConfigError(format!("burst `{text}` is not a number: write 10 for requests, or 50% of every limit"));
            limit.burst = match text.strip_suffix('%') {
                Some(share) => {
                    let share: f64 = share.trim().parse().ok().filter(|share| *share > 0.0).ok_or_else(wrong)?;
                    Some((f64::from(limit.quota) * share / 100.0).round().max(1.0) as u32)
                }
                None if limit.unit == Unit::Requests => Some(text.parse().map_err(|_| wrong())?),
                None => None,
            };
        }
        limit.check().map_err(ConfigError)?;
    }
    Ok(())
}

/// The store that keeps them, where one is asked for.
pub(super) fn store(asked: &Settings, limited: bool) -> Result<Option<StoreSpec>, ConfigError> {
    let Some(url) = &asked.limit_store else {
        return match asked.limit_store_failure {
            None => Ok(None),
            Some(_) => Err(ConfigError("limit_store_failure is for a limit_store: give that too".to_owned())),
        };
    };
    if !limited {
        return Err(ConfigError("limit_store has no limit to keep: give rpm, tpm or another".to_owned()));
    }
    let store = StoreSpec {
        url: url.clone(),
        failure: asked.limit_store_failure.unwrap_or_default(),
        timeout: StoreSpec::DEFAULT_TIMEOUT,
    };
    store.check().map_err(|what| ConfigError(format!("limit_store: {what}")))?;
    Ok(Some(store))
}

/// The networks of the proxies that are trusted.
pub(super) fn proxies(asked: &Settings) -> Result<Vec<IpNet>, ConfigError> {
    let network = |text: &String| {
        let address = || text.parse::<IpAddr>().map(IpNet::from);
        text.parse::<IpNet>()
            .or_else(|_| address())
            .map_err(|_| ConfigError(format!("trusted_proxy `{text}` is no network: write 10.0.0.0/8, or one address")))
    };
    asked.trusted_proxy.iter().flatten().map(network).collect()
}
