//! The result of a verification that does not hold.

use std::fmt;

use serde_json::{Value, json};

use super::Verification;

/// Number of ids in the text of an error.
const SHOWN_IDS: usize = 10;

/// The requests in the journal are not those that were expected. Its text names the nearest request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VerifyError {
    pub(super) expected: String,
    pub(super) matched: u64,
    pub(super) entries: Vec<String>,
    /// The number of the step in an order that has no request, from 1.
    pub(super) step: Option<usize>,
    pub(super) nearest: Option<Nearest>,
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

impl VerifyError {
    /// The error of a server without a journal.
    pub(super) fn journal_is_off(verification: &Verification) -> Self {
        VerifyError {
            expected: verification.expectation.to_string(),
            matched: 0,
            entries: Vec::new(),
            step: None,
            nearest: None,
            received: 0,
            kept: None,
            is_off: true,
            is_too_many: false,
        }
    }

    /// The expected number of requests, such as `exactly 2`.
    pub fn expected(&self) -> &str {
        &self.expected
    }

    /// Number of requests that match.
    pub fn matched(&self) -> u64 {
        self.matched
    }

    /// The ids of the entries that match, at most 100.
    pub fn entries(&self) -> &[String] {
        &self.entries
    }

    /// The request with the fewest mismatches among those that do not match.
    pub fn nearest(&self) -> Option<&Nearest> {
        self.nearest.as_ref()
    }

    /// Returns true if the server keeps no journal.
    pub fn is_journal_off(&self) -> bool {
        self.is_off
    }

    /// Returns the error as JSON.
    pub fn to_json(&self) -> Value {
        let nearest = self.nearest.as_ref();
        let mut json = json!({
            "ok": false,
            "expected": self.expected,
            "matched": self.matched,
            "entries": self.entries,
            "nearest": nearest.map(|nearest| json!({"id": nearest.id, "mismatches": nearest.mismatches})),
            "message": self.to_string(),
        });
        if let Some(step) = self.step {
            json["step"] = step.into();
        }
        json
    }
}

impl fmt::Display for VerifyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_off {
            return f.write_str("the journal is off, so no request is known; start the server with --journal 1000");
        }
        let is_one = ["exactly 1", "at least 1", "at most 1"].contains(&self.expected.as_str());
        let noun = if is_one { "request" } else { "requests" };
        match self.expected.strip_suffix(" in order") {
            Some(steps) => write!(f, "expected {steps} requests in order, {} matched", self.matched)?,
            None => write!(f, "expected {} matching {noun}, got {}", self.expected, self.matched)?,
        }
        if !self.entries.is_empty() {
            write!(f, ": {}", self.entries.iter().take(SHOWN_IDS).cloned().collect::<Vec<_>>().join(", "))?;
            if self.entries.len() > SHOWN_IDS {
                f.write_str(", …")?;
            }
        }
        let step = self.step.map(|step| format!(" to step {step}")).unwrap_or_default();
        match (&self.nearest, self.entries.last()) {
            _ if self.received == 0 => f.write_str("\nno request was received")?,
            _ if self.is_too_many => {}
            (None, Some(last)) if self.step.is_some() => write!(f, "\nno request came after {last}")?,
            (None, _) => {}
            (Some(Nearest { id, mismatches }), _) => {
                write!(f, "\nthe nearest request{step} is {id}:")?;
                for mismatch in mismatches {
                    write!(f, "\n  {mismatch}")?;
                }
            }
        }
        if let Some(kept) = self.kept {
            write!(
                f,
                "\nthe journal is full: it has the newest {kept} requests; start the server with a larger --journal"
            )?;
        }
        Ok(())
    }
}

impl std::error::Error for VerifyError {}
