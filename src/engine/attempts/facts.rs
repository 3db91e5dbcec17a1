//! The facts that the table of calls and the records of requests exchange.

use std::{borrow::Cow, time::Duration};

use http::{HeaderName, HeaderValue, Method};

use super::{
    call::{Call, Continued},
    tally::Tally,
    wait,
};
use crate::core::limit_status::Unit;

/// Statuses after which another attempt fails too.
const FINAL: [u16; 6] = [400, 401, 403, 404, 413, 422];

/// The calls that ended, and the conduct that nothing can disprove any more.
#[derive(Debug, Default)]
pub(in crate::engine) struct Finished {
    /// The numbers of attempts of the calls.
    pub(in crate::engine) calls: Vec<u32>,
    /// Their inferred retries before the announced time.
    pub(in crate::engine) early: Vec<(Option<Unit>, u64)>,
    pub(in crate::engine) tally: Option<Box<Tally>>,
}

impl Finished {
    /// Adds a call that ended.
    pub(super) fn add(&mut self, call: &mut Call) {
        self.calls.push(call.attempts);
        self.early.extend(call.early.drain(..));
    }

    /// Adds conduct.
    pub(super) fn add_tally(&mut self, tally: &Tally) {
        self.tally.get_or_insert_default().merge(tally);
    }
}

/// The announcements of a response about its failure.
#[derive(Clone, Copy, Debug, Default)]
pub(in crate::engine) struct Failure {
    /// True if the body contains an error, or the status is one.
    pub(in crate::engine) is_failure: bool,
    pub(in crate::engine) is_final: bool,
    pub(in crate::engine) wait: Option<Duration>,
    pub(in crate::engine) unit: Option<Unit>,
}

/// The name of a call, for records.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::engine) enum CallName {
    /// The name that the client gave.
    Named(Box<str>),
    /// The number.
    Number(u64),
}

impl CallName {
    /// Returns the name, or the id that stands for the number.
    pub(in crate::engine) fn text(&self) -> Cow<'_, str> {
        match self {
            CallName::Named(name) => Cow::Borrowed(name),
            CallName::Number(number) => Cow::Owned(format!("c_{number}")),
        }
    }
}

/// The call that a request belongs to, as its arrival shows it.
pub(in crate::engine) struct Arrived {
    pub(in crate::engine) name: CallName,
    pub(in crate::engine) continued: Continued,
    /// True if the client names the call or counts its retries. Other inferences are counted once they hold.
    pub(in crate::engine) is_sent: bool,
}

/// The facts that the end of a request shows.
#[derive(Default)]
pub(in crate::engine) struct Closed {
    /// The call that it is the first attempt of, if the table follows it now.
    pub(in crate::engine) first: Option<u64>,
    /// True if a named call succeeded before, and now once more.
    pub(in crate::engine) is_duplicate: bool,
    /// True if it was the only attempt of its call, and succeeded.
    pub(in crate::engine) is_single: bool,
    /// The calls that have ended.
    pub(in crate::engine) finished: Finished,
}

/// The end of a request, as its receipt knows it.
pub(in crate::engine) struct AttemptEnd {
    /// The status; 0 if no head was sent.
    pub(in crate::engine) status: u16,
    /// True if the client got a whole response.
    pub(in crate::engine) is_complete: bool,
    /// True if the server itself ended it.
    pub(in crate::engine) is_drained: bool,
}

/// The calls that are still followed, and the conduct that may yet be disproved.
#[derive(Debug, Default)]
pub(in crate::engine) struct Followed {
    pub(in crate::engine) calls: u64,
    pub(in crate::engine) attempts: u64,
    pub(in crate::engine) tally: Tally,
}

impl Failure {
    /// Returns what the head of a response announces. `now` is the time since 1970.
    pub(in crate::engine) fn of(
        status: u16,
        method: &Method,
        headers: &[(HeaderName, HeaderValue)],
        now: Duration,
    ) -> Self {
        if status < 400 {
            return Failure { is_failure: true, ..Failure::default() };
        }
        // To ask again for something that is not there yet is no retry.
        let is_final = FINAL.contains(&status) && *method == Method::POST;
        Failure { is_failure: true, is_final, wait: wait::announced(headers, now), unit: None }
    }
}
