//! A list of faults: `429x2~retry-after=2s~cut@40`.

use std::{fmt, str::FromStr, sync::Arc, time::Duration};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error};

use super::{Fault, FaultKind, Plan};
use crate::core::random::Random;

/// One or more faults, separated by `~`.
#[derive(Clone, Debug, PartialEq)]
pub struct FaultSpec {
    text: Arc<str>,
    faults: Vec<Fault>,
}

/// The terms of a request in a place where it asks for faults: `503x2~scope=t7~call=c1`.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct RequestTerms {
    /// The faults.
    pub faults: Option<FaultSpec>,
    /// The scope of the request.
    pub scope: Option<Box<str>>,
    /// The name of the logical call that the request is an attempt of.
    pub call: Option<Box<str>>,
}

/// The terms that name something, each with its maximum length.
const TERMS: [(&str, usize); 2] = [("scope", 64), ("call", 128)];

impl FromStr for RequestTerms {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        check_length(text)?;
        if !parts(text).any(|part| term(part).is_some()) {
            return Ok(RequestTerms { faults: Some(text.parse()?), ..RequestTerms::default() });
        }
        let (mut terms, mut faults) = (RequestTerms::default(), Vec::new());
        for part in parts(text) {
            match term(part) {
                None => faults.push(part),
                Some((name, value)) => {
                    let value = Some(check_term(part, name, value)?);
                    if name == "scope" { terms.scope = value } else { terms.call = value }
                }
            }
        }
        if !faults.is_empty() {
            terms.faults = Some(faults.join("~").parse()?);
        }
        Ok(terms)
    }
}

/// Splits a term that names something: `scope=t7`.
fn term(part: &str) -> Option<(&'static str, &str)> {
    let (name, value) = part.split_once('=')?;
    let (known, _) = TERMS.iter().find(|(known, _)| *known == name)?;
    Some((known, value))
}

/// Checks the name of a scope. An empty one is the default scope.
///
/// # Errors
/// The name has other characters than a scope's, or too many.
pub fn check_scope(name: &str) -> Result<(), String> {
    if name.is_empty() { Ok(()) } else { check_term(&format!("scope={name}"), "scope", name).map(|_| ()) }
}

fn check_term(part: &str, name: &str, value: &str) -> Result<Box<str>, String> {
    let most = TERMS.iter().find(|(known, _)| *known == name).map_or(0, |(_, most)| *most);
    let is_allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"_.-".contains(&byte);
    if value.is_empty() || value.len() > most || !value.bytes().all(is_allowed) {
        let shown: String = part.chars().take(40).collect();
        return Err(format!("`{shown}` is not a name; write {name}= and 1 to {most} of A-Z a-z 0-9 _ . -"));
    }
    Ok(value.into())
}

/// The conditions under which faults happen to one request.
pub struct FaultContext<'a> {
    /// Time since the start of the server.
    pub elapsed: Duration,
    /// The source of random choices.
    pub random: &'a mut Random,
    /// Counts one more time of the fault at this index. Returns false if it has happened as often as its second
    /// argument.
    pub count: &'a mut dyn FnMut(usize, u64) -> bool,
}

impl FaultSpec {
    /// The text it was parsed from.
    pub fn text(&self) -> &Arc<str> {
        &self.text
    }

    /// Returns an estimate of the memory that it takes beside itself, in bytes.
    pub fn memory(&self) -> usize {
        self.text.len() + self.faults.capacity() * size_of::<Fault>()
    }

    /// Returns the names of the errors that it requests, each with its status; `None` for an error within a stream.
    pub fn error_names(&self) -> impl Iterator<Item = (Option<u16>, &str)> {
        let names = self.faults.iter().filter_map(|fault| match &fault.kind {
            FaultKind::Status(status, name) => Some((Some(*status), name.as_str())),
            FaultKind::Error(_, name) => Some((None, name.as_str())),
            _ => None,
        });
        names.filter(|(_, name)| !name.is_empty())
    }

    /// Returns true if it is one error in place of every response.
    pub fn is_error(&self) -> bool {
        match self.faults.as_slice() {
            [fault] => {
                matches!(fault.kind, FaultKind::Status(..))
                    && fault.times.is_none()
                    && fault.percent.is_none()
                    && fault.window.is_none()
            }
            _ => false,
        }
    }

    /// Returns the number of faults.
    pub fn count(&self) -> usize {
        self.faults.len()
    }

    /// Adds the faults that happen in this context to a plan. A fault that the plan excludes is skipped and not
    /// counted.
    pub fn add_to(&self, plan: &mut Plan, context: &mut FaultContext<'_>) {
        for (index, fault) in self.faults.iter().enumerate() {
            if plan.excludes(fault) {
                continue;
            }
            let progress = match &fault.window {
                None => Some(1.0),
                Some(window) => match &fault.kind {
                    FaultKind::Ttft(time) | FaultKind::Itl(time) if time.is_ramp() => window.ramp(context.elapsed),
                    _ => window.progress(context.elapsed),
                },
            };
            let Some(progress) = progress else { continue };
            let by_chance = fault.percent.is_none_or(|percent| context.random.unit() * 100.0 < percent);
            if by_chance && fault.times.is_none_or(|times| (context.count)(index, times)) {
                plan.add(fault, (&self.text, index), progress);
            }
        }
    }
}

fn check_length(text: &str) -> Result<(), String> {
    match text.len() {
        length if length > MAX_LENGTH => {
            Err(format!("{length} bytes of faults are too many; write {MAX_LENGTH} at most"))
        }
        _ => Ok(()),
    }
}

/// Returns the parts of a text that `~` separates.
pub(super) fn parts(text: &str) -> impl Iterator<Item = &str> {
    text.split('~').map(str::trim).filter(|part| !part.is_empty())
}

/// The longest text of a specification, in bytes. It is bounded because clients send it.
const MAX_LENGTH: usize = 1000;

impl FromStr for FaultSpec {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if let Some(part) = parts(text).find(|part| term(part).is_some()) {
            return Err(format!("`{part}` belongs to a request; leave it out here, and send it with the request"));
        }
        check_length(text)?;
        let faults = parts(text).map(str::parse).collect::<Result<Vec<Fault>, String>>()?;
        if faults.is_empty() {
            return Err("no fault is named; write 503, or 429x2~retry-after=2s".to_owned());
        }
        Ok(FaultSpec { text: text.trim().into(), faults })
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
        // A status alone may be a number.
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum SpecFile {
            Status(u16),
            Text(String),
        }
        match SpecFile::deserialize(deserializer)? {
            SpecFile::Status(status) => status.to_string().parse(),
            SpecFile::Text(text) => text.parse(),
        }
        .map_err(D::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::traffic::fault::RetryAfter;

    fn spec(text: &str) -> FaultSpec {
        text.parse().unwrap_or_else(|error| panic!("{text}: {error}"))
    }

    /// Returns the plan at this time, with all counts at zero.
    fn planned(text: &str, secs: u64) -> Plan {
        let mut plan = Plan::default();
        let mut random = Random::seeded(1);
        let elapsed = Duration::from_secs(secs);
        let context = &mut FaultContext { elapsed, random: &mut random, count: &mut |_, times| times > 0 };
        spec(text).add_to(&mut plan, context);
        plan
    }

    #[test]
    fn the_first_fault_of_a_kind_wins() {
        assert_eq!(planned("429x0~503~500", 0).error(), Some((503, "")));
        assert_eq!(planned("hang~503", 0).error(), None, "only one of them can be before the head");
        assert_eq!(
            planned("reset@3~503", 0).error(),
            Some((503, "")),
            "a reset within the body does not exclude an error"
        );
        assert_eq!(planned("503@10s~500", 5).error(), Some((500, "")));
        assert_eq!(planned("503@10s~500", 10).error(), Some((503, "")));
        assert!(planned("ok~503", 0).is_empty());
        assert_eq!(
            planned("retry-after=2s~retry-after=none~503", 0).retry_after(),
            Some(RetryAfter::Seconds(Duration::from_secs(2)))
        );
    }

    #[test]
    fn a_ramp_stays_at_its_end_after_its_window() {
        let times = [59, 60, 120, 180, 500].map(|secs| {
            let plan = planned("ttft=ramp(1s,3s)@60s+120s", secs);
            let (time, progress) = plan.ttft()?;
            Some(time.quantile_at(0.5, progress).as_millis())
        });
        assert_eq!(times, [None, Some(1000), Some(2000), Some(3000), Some(3000)]);
    }

    #[test]
    fn a_request_names_its_scope_and_its_call_beside_faults() {
        let terms: RequestTerms = "503x2~scope=t7~call=c.1~cut@4".parse().unwrap();
        assert_eq!((terms.scope.as_deref(), terms.call.as_deref()), (Some("t7"), Some("c.1")));
        assert_eq!(terms.faults.unwrap().to_string(), "503x2~cut@4", "the count of a fault does not depend on them");
        let terms: RequestTerms = "scope=t7".parse().unwrap();
        assert_eq!((terms.scope.as_deref(), terms.faults), (Some("t7"), None));
        for wrong in ["scope=", "scope=a/b", "call=a b", &format!("scope={}", "x".repeat(65)), "~", "boom~scope=t7"] {
            assert!(wrong.parse::<RequestTerms>().is_err(), "{wrong}");
        }
        assert!("503~scope=t7".parse::<FaultSpec>().unwrap_err().contains("belongs to a request"));
    }

    #[test]
    fn an_empty_or_too_long_specification_is_refused() {
        assert!("503~".repeat(1000).parse::<FaultSpec>().unwrap_err().contains("too many"));
        assert!(" ~ ".parse::<FaultSpec>().unwrap_err().contains("write 503"));
        let written: FaultSpec = serde_json::from_str("503").unwrap();
        assert_eq!(serde_json::to_string(&written).unwrap(), r#""503""#);
    }
}
