//! Faults in a row: `429x2~retry-after=2s~cut@40`.

use std::{fmt, str::FromStr, sync::Arc, time::Duration};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error};

use super::{Fault, FaultKind, Plan};
use crate::core::random::Random;

/// Any number of faults. Between two stands `~`.
#[derive(Clone, Debug, PartialEq)]
pub struct FaultSpec {
    text: Arc<str>,
    terms: Vec<Fault>,
}

/// What decides whether a fault happens to a request.
pub struct FaultContext<'a> {
    /// The time since the start.
    pub elapsed: Duration,
    /// Chance.
    pub random: &'a mut Random,
    /// Counts one more of `first` times for the term with this number; whether there was one left.
    pub count: &'a mut dyn FnMut(usize, u64) -> bool,
}

impl FaultSpec {
    /// As it was written.
    pub fn text(&self) -> &Arc<str> {
        &self.text
    }

    /// Names of the errors that it requests, each with its status; `None` for an error within a stream.
    pub fn error_names(&self) -> impl Iterator<Item = (Option<u16>, &str)> {
        let names = self.terms.iter().filter_map(|term| match &term.fault {
            FaultKind::Status(status, name) => Some((Some(*status), name.as_str())),
            FaultKind::Error(name) => Some((None, name.as_str())),
            _ => None,
        });
        names.filter(|(_, name)| !name.is_empty())
    }

    /// Adds what happens at this moment to a plan. Of what an answer can have only one of, what is planned already holds,
    /// and is not counted again.
    pub fn add_to(&self, plan: &mut Plan, moment: &mut FaultContext<'_>) {
        for (number, term) in self.terms.iter().enumerate() {
            if plan.excludes(term) {
                continue;
            }
            let progress = match &term.window {
                None => Some(1.0),
                Some(window) => match &term.fault {
                    FaultKind::Ttft(time) | FaultKind::Itl(time) if time.is_ramp() => window.ramp(moment.elapsed),
                    _ => window.progress(moment.elapsed),
                },
            };
            let Some(progress) = progress else { continue };
            let by_chance = term.percent.is_none_or(|percent| moment.random.unit() * 100.0 < percent);
            if by_chance && term.first.is_none_or(|first| (moment.count)(number, first)) {
                plan.add(term, progress);
            }
        }
    }
}

/// The most bytes that a chain is written in. Requests bring chains, so there is a bound.
const LONGEST: usize = 1000;

impl FromStr for FaultSpec {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text.len() > LONGEST {
            return Err(format!("{} bytes of faults are too many: write {LONGEST} at the most", text.len()));
        }
        let terms = text.split('~').filter(|term| !term.trim().is_empty());
        let terms = terms.map(str::parse).collect::<Result<Vec<Fault>, String>>()?;
        if terms.is_empty() {
            return Err("no fault is named: write 503, or 429x2~retry-after=2s".to_owned());
        }
        Ok(FaultSpec { text: text.trim().into(), terms })
    }
}

impl fmt::Display for FaultSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl Serialize for FaultSpec {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.text)
    }
}

impl<'de> Deserialize<'de> for FaultSpec {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        // A lone status may be written as a number.
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Written {
            Status(u16),
            Text(String),
        }
        match Written::deserialize(deserializer)? {
            Written::Status(status) => status.to_string().parse(),
            Written::Text(text) => text.parse(),
        }
        .map_err(D::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chain(text: &str) -> FaultSpec {
        text.parse().unwrap_or_else(|error| panic!("{text}: {error}"))
    }

    /// What a chain plans at this time, when nothing was counted yet.
    fn planned(text: &str, secs: u64) -> Plan {
        let mut plan = Plan::default();
        let mut random = Random::seeded(1);
        let elapsed = Duration::from_secs(secs);
        let moment = &mut FaultContext { elapsed, random: &mut random, count: &mut |_, first| first > 0 };
        chain(text).add_to(&mut plan, moment);
        plan
    }

    #[test]
    fn of_each_kind_the_first_in_effect_holds() {
        assert_eq!(planned("429x0~503~500", 0).error(), Some((503, "")));
        assert_eq!(planned("hang~503", 0).error(), None, "one of both stands before the head");
        assert_eq!(planned("reset@3~503", 0).error(), Some((503, "")), "within the body it does not");
        assert_eq!(planned("503@10s~500", 5).error(), Some((500, "")));
        assert_eq!(planned("503@10s~500", 10).error(), Some((503, "")));
        assert!(planned("ok~503", 0).is_empty());
        assert_eq!(planned("retry-after=2s~retry-after=none~503", 0).retry_after(), Some(Some(Duration::from_secs(2))));
    }

    #[test]
    fn a_ramp_comes_to_its_end_and_stays_there() {
        let times = [59, 60, 120, 180, 500].map(|secs| {
            let plan = planned("ttft=ramp(1s,3s)@60s+120s", secs);
            let (time, progress) = plan.ttft()?;
            Some(time.quantile_at(0.5, progress).as_millis())
        });
        assert_eq!(times, [None, Some(1000), Some(2000), Some(3000), Some(3000)]);
    }

    #[test]
    fn what_is_too_long_or_nothing_is_refused() {
        assert!("503~".repeat(1000).parse::<FaultSpec>().unwrap_err().contains("too many"));
        assert!(" ~ ".parse::<FaultSpec>().unwrap_err().contains("write 503"));
        let written: FaultSpec = serde_json::from_str("503").unwrap();
        assert_eq!(serde_json::to_string(&written).unwrap(), r#""503""#);
    }
}
