//! The faults of one response.

mod apply;

use std::{sync::Arc, time::Duration};

use http::StatusCode;

use super::{Fault, FaultKind, FaultLabel, RetryAfter, spec};
use crate::{
    core::{
        reply::{ReplyChanges, ReplyOverride},
        response::ErrorForm,
    },
    traffic::latency::Distribution,
};

/// The faults of one response; usually empty.
#[derive(Debug, Default)]
pub struct Plan {
    faults: Vec<PlannedFault>,
    /// True if an `ok` fault was added: no other fault is accepted.
    closed: bool,
}

#[derive(Debug)]
struct PlannedFault {
    fault: Fault,
    /// The specification that it is a part of, and its number in it.
    written: (Arc<str>, usize),
    /// Progress within its time window, from 0 to 1.
    progress: f64,
}

impl Plan {
    /// Returns true if there is no fault.
    pub fn is_empty(&self) -> bool {
        self.faults.is_empty()
    }

    /// Returns true if the plan cannot take this fault besides those it has.
    pub(super) fn excludes(&self, fault: &Fault) -> bool {
        self.closed || self.faults.iter().any(|planned| planned.fault.excludes(fault))
    }

    pub(super) fn add(&mut self, fault: &Fault, written: (&Arc<str>, usize), progress: f64) {
        match fault.kind {
            FaultKind::Ok => self.closed = true,
            _ => {
                let written = (Arc::clone(written.0), written.1);
                self.faults.push(PlannedFault { fault: fault.clone(), written, progress });
            }
        }
    }

    /// Returns the faults that have an effect on a response with this status.
    fn effective(&self, status: StatusCode) -> impl Iterator<Item = &PlannedFault> {
        let is_error = status.as_u16() >= 400;
        let is_for_errors = |kind: &FaultKind| {
            matches!(kind, FaultKind::RetryAfter(_) | FaultKind::RetryAfterMs(_) | FaultKind::ShouldRetry(_))
        };
        self.faults.iter().filter(move |planned| is_error || !is_for_errors(&planned.fault.kind))
    }

    /// Returns the name of each fault that has an effect on a response with this status.
    pub fn labels(&self, status: StatusCode) -> impl Iterator<Item = FaultLabel> {
        self.effective(status).map(|planned| planned.fault.kind.label())
    }

    /// Returns each of these faults as it was written.
    pub fn texts(&self, status: StatusCode) -> impl Iterator<Item = &str> {
        self.effective(status).filter_map(|PlannedFault { written: (spec, number), .. }| spec::parts(spec).nth(*number))
    }

    fn find<T>(&self, mut pick: impl FnMut(&FaultKind) -> Option<T>) -> Option<T> {
        self.faults.iter().find_map(|planned| pick(&planned.fault.kind))
    }

    fn has(&self, kind: &FaultKind) -> bool {
        self.faults.iter().any(|planned| planned.fault.kind == *kind)
    }

    /// Returns the error in place of the response: its status and its name.
    pub fn error(&self) -> Option<(u16, &str)> {
        self.faults.iter().find_map(|planned| match &planned.fault.kind {
            FaultKind::Status(status, name) => Some((*status, name.as_str())),
            _ => None,
        })
    }

    /// Returns the form and the name of the error that ends a stream.
    pub fn stream_error(&self) -> Option<(ErrorForm, &str)> {
        self.faults.iter().find_map(|planned| match &planned.fault.kind {
            FaultKind::Error(form, name) => Some((*form, name.as_str())),
            _ => None,
        })
    }

    /// Returns the `Retry-After` of an error.
    pub fn retry_after(&self) -> Option<RetryAfter> {
        self.find(|fault| if let FaultKind::RetryAfter(after) = fault { Some(*after) } else { None })
    }

    /// Returns true if a stream is answered with a full response.
    pub fn is_not_streamed(&self) -> bool {
        self.has(&FaultKind::NotStreamed)
    }

    /// Returns true if the events before the first token do not wait for it.
    pub fn sends_role_first(&self) -> bool {
        self.has(&FaultKind::RoleFirst)
    }

    /// Returns the delay of the event with the usage.
    pub fn usage_delay(&self) -> Option<Duration> {
        self.find(|fault| if let FaultKind::UsageDelay(time) = fault { Some(*time) } else { None })
    }

    /// Returns the changes of the model's reply; `None` if there are none.
    pub fn reply_changes(&self) -> Option<Box<ReplyChanges>> {
        let mut changes = ReplyChanges::default();
        for PlannedFault { fault, .. } in &self.faults {
            match fault.kind {
                FaultKind::Reasoning(tokens) => changes.reasoning = Some(tokens),
                FaultKind::TokensPerEvent(least, most) => changes.tokens_per_event = Some((least, most)),
                FaultKind::Usage(tokens) => changes.completion_tokens = Some(tokens),
                _ => {}
            }
        }
        (changes != ReplyChanges::default()).then(|| Box::new(changes))
    }

    /// Returns the time to the first token, and its progress.
    pub fn ttft(&self) -> Option<(&Distribution, f64)> {
        self.faults.iter().find_map(|planned| match &planned.fault.kind {
            FaultKind::Ttft(time) => Some((time, planned.progress)),
            _ => None,
        })
    }

    /// Returns the time between tokens, and its progress.
    pub fn itl(&self) -> Option<(&Distribution, f64)> {
        self.faults.iter().find_map(|planned| match &planned.fault.kind {
            FaultKind::Itl(time) => Some((time, planned.progress)),
            _ => None,
        })
    }

    /// Returns the reply that replaces the model's own.
    pub fn replacement(&self) -> Option<ReplyOverride> {
        self.find(|fault| match fault {
            FaultKind::Refusal => Some(ReplyOverride::Refusal),
            FaultKind::Filter => Some(ReplyOverride::Filter),
            _ => None,
        })
    }

    /// Returns true if the response names another model.
    pub fn has_wrong_model(&self) -> bool {
        self.has(&FaultKind::WrongModel)
    }
}
