//! Faults in a row: `429x2~retry-after=2s~cut@40`.

use std::{fmt, str::FromStr, sync::Arc, time::Duration};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error};

use super::{Fault, Plan, Term};
use crate::random::Random;

/// Any number of faults. Between two stands `~`.
#[derive(Clone, Debug, PartialEq)]
pub struct Chain {
    text: Arc<str>,
    terms: Vec<Term>,
}

/// What decides whether a fault happens to a request.
pub struct Moment<'a> {
    /// The time since the start.
    pub elapsed: Duration,
    /// Chance.
    pub random: &'a mut Random,
    /// Counts one more of `first` times for the term with this number; whether there was one left.
    pub count: &'a mut dyn FnMut(usize, u64) -> bool,
}

impl Chain {
    /// As it was written.
    pub fn text(&self) -> &Arc<str> {
        &self.text
    }

    /// Adds what happens at this moment to a plan. Of what an answer can have only one of, what is planned already holds,
    /// and is not counted again.
    pub fn add_to(&self, plan: &mut Plan, moment: &mut Moment<'_>) {
        for (number, term) in self.terms.iter().enumerate() {
            if plan.excludes(term) {
                continue;
            }
            let progress = match &term.window {
                None => Some(1.0),
                Some(window) => match &term.fault {
                    Fault::Ttft(time) | Fault::Itl(time) if time.is_ramp() => window.ramp(moment.elapsed),
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

impl FromStr for Chain {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let terms = text.split('~').filter(|term| !term.trim().is_empty());
        let terms = terms.map(str::parse).collect::<Result<Vec<Term>, String>>()?;
        if terms.is_empty() {
            return Err("no fault is named: write 503, or 429x2~retry-after=2s".to_owned());
        }
        Ok(Chain { text: text.trim().into(), terms })
    }
}

impl fmt::Display for Chain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl Serialize for Chain {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.text)
    }
}

impl<'de> Deserialize<'de> for Chain {
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
