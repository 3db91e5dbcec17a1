//! The facts that the table of calls and the records of requests exchange.

use std::{borrow::Cow, time::Duration};

use http::{HeaderName, HeaderValue, Method};
use smallvec::SmallVec;

use super::{call::Continued, wait};
use crate::core::limit_status::Unit;

/// Statuses after which another attempt fails too.
const FINAL: [u16; 6] = [400, 401, 403, 404, 413, 422];

/// The numbers of attempts of calls that ended.
pub(in crate::engine) type EndedCalls = Vec<u32>;

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
}

/// The facts that the end of a request shows.
#[derive(Default)]
pub(in crate::engine) struct Closed {
    /// The call that it is the first attempt of, if the table follows it now.
    pub(in crate::engine) first: Option<u64>,
    /// True if a named call succeeded before, and now once more.
    pub(in crate::engine) is_duplicate: bool,
    /// True if the request was one of those whose call is unknown.
    pub(in crate::engine) is_ambiguous: bool,
    /// True if it was the only attempt of its call, and succeeded.
    pub(in crate::engine) is_single: bool,
    /// The inferences about other requests that it disproves.
    pub(in crate::engine) disproved: Tally,
    /// Numbers of attempts of the calls that have ended.
    pub(in crate::engine) ended: EndedCalls,
}

/// Inferences from the order of requests: counted, and taken back if other requests disprove them.
#[derive(Clone, Debug, Default)]
pub(in crate::engine) struct Tally {
    pub(in crate::engine) retries: u64,
    pub(in crate::engine) early: u64,
    pub(in crate::engine) obeyed: u64,
    pub(in crate::engine) judged: u64,
    pub(in crate::engine) flat: i64,
    /// The statuses of final errors that were retried, with their numbers.
    pub(in crate::engine) finals: SmallVec<[(u16, u64); 1]>,
    /// The first entries of the journal that show them.
    pub(in crate::engine) entries: SmallVec<[u64; 5]>,
}

impl Tally {
    pub(super) fn add(&mut self, continued: &Continued, entry: Option<u64>) {
        self.retries += 1;
        self.early += u64::from(continued.is_obeyed == Some(false));
        self.obeyed += u64::from(continued.is_obeyed == Some(true));
        self.judged += continued.judged;
        self.flat += continued.flat;
        if let Some(status) = continued.retried_final {
            match self.finals.iter_mut().find(|(known, _)| *known == status) {
                Some((_, count)) => *count += 1,
                None => self.finals.push((status, 1)),
            }
        }
        let is_shown = continued.is_obeyed == Some(false) || continued.retried_final.is_some() || continued.flat > 0;
        let room = self.entries.len() < self.entries.inline_size();
        self.entries.extend(entry.filter(|_| is_shown && room));
    }
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

/// The numbers of attempts of the calls that are still followed.
#[derive(Clone, Copy, Debug, Default)]
pub(in crate::engine) struct OpenCalls {
    pub(in crate::engine) calls: u64,
    pub(in crate::engine) attempts: u64,
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
