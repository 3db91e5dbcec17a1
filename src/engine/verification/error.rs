//! The result of a verification that does not hold.

use std::fmt;

use serde_json::{Value, json};

use super::Verification;

/// Number of ids in the text of an error.
const SHOWN_IDS: usize = 10;

/// The requests in the journal are not those that were expected. Its text names the nearest request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VerifyError(Box<Details>);

/// The parts of the error.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Details {
    pub(super) expected: String,
    pub(super) matched: u64,
    pub(super) entries: Vec<String>,
    /// The number of the step in an order that has no request, from 1.
    pub(super) step: Option<usize>,
    pub(super) nearest: Option<Nearest>,
    /// The ids of the requests that no reply of a strict scope fits, at most 100.
    pub(super) unmatched: Vec<String>,
    /// True if the expectation holds: only `unmatched` fails.
    pub(super) holds: bool,
    /// Number of requests of the scope.
    pub(super) received: usize,
    /// The size of a journal that is full.
    pub(super) kept: Option<usize>,
    pub(super) is_off: bool,
    pub(super) is_too_many: bool,
}

/// The request that is nearest to the expected one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Nearest {
    /// The id of its entry in the journal.
    pub id: String,
    /// The conditions that it does not meet: `model: expected "gpt-4o", got "gpt-4o-mini"`.
    pub mismatches: Vec<String>,
}

impl From<Details> for VerifyError {
    fn from(details: Details) -> Self {
        VerifyError(Box::new(details))
    }
}

impl VerifyError {
    /// The error of a server without a journal.
    pub(super) fn journal_is_off(verification: &Verification) -> Self {
        Details { expected: verification.expectation.to_string(), is_off: true, ..Details::default() }.into()
    }

    /// The expected number of requests, such as `exactly 2`.
    pub fn expected(&self) -> &str {
        &self.0.expected
    }

    /// Number of requests that match.
    pub fn matched(&self) -> u64 {
        self.0.matched
    }

    /// The ids of the entries that match, at most 100.
    pub fn entries(&self) -> &[String] {
        &self.0.entries
    }

    /// The request with the fewest mismatches among those that do not match.
    pub fn nearest(&self) -> Option<&Nearest> {
        self.0.nearest.as_ref()
    }

    /// Returns true if the server keeps no journal.
    pub fn is_journal_off(&self) -> bool {
        self.0.is_off
    }

    /// Returns the error as JSON.
    pub fn to_json(&self) -> Value {
        let nearest = self.0.nearest.as_ref();
        let mut json = json!({
            "ok": false,
            "expected": self.0.expected,
            "matched": self.0.matched,
            "entries": self.0.entries,
            "nearest": nearest.map(|nearest| json!({"id": nearest.id, "mismatches": nearest.mismatches})),
            "message": self.to_string(),
        });
        if !self.0.unmatched.is_empty() {
            json["unmatched"] = self.0.unmatched.clone().into();
        }
        if let Some(step) = self.0.step {
            json["step"] = step.into();
        }
        json
    }
}

impl fmt::Display for VerifyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_off {
            return f.write_str("the journal is off, so no request is known; start the server with --journal 1000");
        }
        if !self.0.unmatched.is_empty() {
            let ids = self.0.unmatched.iter().take(SHOWN_IDS).cloned().collect::<Vec<_>>().join(", ");
            let more = if self.0.unmatched.len() > SHOWN_IDS { ", …" } else { "" };
            write!(
                f,
                "no reply of the strict scope fits these requests: {ids}{more}; GET /__admin/requests/ID has the nearest \
                 reply"
            )?;
            if self.0.holds {
                return Ok(());
            }
            f.write_str("\n")?;
        }
        let is_one = ["exactly 1", "at least 1", "at most 1"].contains(&self.0.expected.as_str());
        let noun = if is_one { "request" } else { "requests" };
        match self.0.expected.strip_suffix(" in order") {
            Some(steps) => write!(f, "expected {steps} requests in order, {} matched", self.0.matched)?,
            None => write!(f, "expected {} matching {noun}, got {}", self.0.expected, self.0.matched)?,
        }
        if !self.0.entries.is_empty() {
            write!(f, ": {}", self.0.entries.iter().take(SHOWN_IDS).cloned().collect::<Vec<_>>().join(", "))?;
            if self.0.entries.len() > SHOWN_IDS {
                f.write_str(", …")?;
            }
        }
        let step = self.0.step.map(|step| format!(" to step {step}")).unwrap_or_default();
        match (&self.0.nearest, self.0.entries.last()) {
            _ if self.0.received == 0 => f.write_str("\nno request was received")?,
            _ if self.0.is_too_many => {}
            (None, Some(last)) if self.0.step.is_some() => write!(f, "\nno request came after {last}")?,
            (None, _) => {}
            (Some(Nearest { id, mismatches }), _) => {
                write!(f, "\nthe nearest request{step} is {id}:")?;
                for mismatch in mismatches {
                    write!(f, "\n  {mismatch}")?;
                }
            }
        }
        if let Some(kept) = self.0.kept {
            write!(
                f,
                "\nthe journal is full: it has the newest {kept} requests; start the server with a larger --journal"
            )?;
        }
        Ok(())
    }
}

impl std::error::Error for VerifyError {}
