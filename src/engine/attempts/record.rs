//! The record of the calls with one key: one call if the key is a name, else those whose requests are alike.

use std::{collections::VecDeque, time::Duration};

use smallvec::SmallVec;

use super::{
    Shared,
    call::{Call, Continued, EARLY_TOLERANCE, Ended},
    tally::Tally,
    windows::ByWindow,
};

/// Maximum number of failed calls of one fingerprint that wait for their next attempt. Beyond it the one that has
/// waited longest is dropped.
const MAX_ALIKE: usize = 256;
/// Time after a failure in which a new connection beside that of the failed request is that of another call.
const AT_ONCE: Duration = Duration::from_millis(50);

/// The assignment of requests without a name to their calls.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Order {
    /// They do not overlap. Each one continues the call that waits.
    #[default]
    Sequence,
    /// They overlap. Their calls are unknown.
    Overlap,
    /// The client counts its retries.
    Counted,
}

/// The calls with one key.
#[derive(Default)]
pub(super) struct Record {
    /// The name; `None` if the key is a fingerprint.
    pub(super) name: Option<Box<str>>,
    pub(super) order: Order,
    /// The calls that are open or wait. In sequence there is one at most.
    pub(super) calls: SmallVec<[Call; 1]>,
    /// The failures that were continued in sequence.
    past: VecDeque<Past>,
    /// Number of requests whose response has not ended.
    pub(super) open: u32,
    /// Time of the last request or end.
    pub(super) last: Duration,
    /// The connection of the last request.
    connection: u64,
    /// The inferences from the sequence so far.
    pub(super) inferred: Option<Box<Inferred>>,
    /// Number of requests whose call is unknown.
    pub(super) unknown: u64,
}

/// The inferences from the sequence of requests. They hold until an overlap disproves them.
#[derive(Debug, Default)]
pub(super) struct Inferred {
    pub(super) tally: Tally,
    pub(super) early: ByWindow,
}

/// A failure that another request continued.
struct Past {
    call: u64,
    /// The connection; 0 once the client has used it again.
    connection: u64,
    ended: Ended,
}

/// One request that is received.
#[derive(Clone, Copy)]
pub(super) struct Arrival {
    pub(super) at: Duration,
    pub(super) connection: u64,
    /// True if it is the first request on its connection.
    pub(super) is_on_new_connection: bool,
    /// Number of retries that the client counted.
    pub(super) retries: u32,
}

impl Record {
    pub(super) fn new(name: Option<Box<str>>, now: Duration) -> Self {
        Record { name, last: now, ..Record::default() }
    }

    /// Returns true if calls are only inferred from the sequence of requests.
    pub(super) fn is_inferred(&self) -> bool {
        self.name.is_none() && self.order == Order::Sequence
    }

    /// Records a request. Returns the place of the call that it continues.
    pub(super) fn arrive(&mut self, arrival: &Arrival, shared: &Shared) -> Option<usize> {
        if self.name.is_none() && arrival.retries > 0 {
            self.leave_sequence(Order::Counted, shared);
        } else if self.is_inferred() && (self.open > 0 || self.is_of_another_call(arrival, shared)) {
            self.leave_sequence(Order::Overlap, shared);
        }
        self.open += 1;
        self.last = self.last.max(arrival.at);
        self.connection = arrival.connection;
        let is_own = |past: &&mut Past| past.connection == arrival.connection;
        self.past.iter_mut().filter(is_own).for_each(|past| past.connection = 0);
        match self.order {
            _ if self.name.is_some() => (!self.calls.is_empty()).then_some(0),
            Order::Sequence => self.calls.iter().position(Call::waits),
            Order::Counted if arrival.retries > 0 => self.counted_by_client(arrival),
            Order::Counted | Order::Overlap => None,
        }
    }

    /// Returns true if the connection of a request shows that the client has several calls at once.
    fn is_of_another_call(&self, arrival: &Arrival, shared: &Shared) -> bool {
        let is_open = |connection| shared.connections.is_open(connection);
        let is_burst = |call: &Call, ended: &Ended| {
            let is_soon = arrival.at < ended.at + AT_ONCE && !ended.is_cut;
            is_soon && arrival.is_on_new_connection && is_open(call.connection)
        };
        let is_early = |_: &Call, ended: &Ended| arrival.at + EARLY_TOLERANCE < ended.due();
        if self.earliest(is_burst).is_some() {
            return true;
        }
        // It goes back to a connection after the wait that was announced there: the others between were not its retries.
        let is_due =
            |past: &Past| past.connection == arrival.connection && past.ended.due() <= arrival.at + EARLY_TOLERANCE;
        let was_early = self.inferred.as_ref().is_some_and(|inferred| inferred.tally.early.count > 0);
        self.connection != arrival.connection
            && arrival.connection != 0
            && self.past.iter().any(is_due)
            && (was_early || self.earliest(is_early).is_some())
    }

    /// Records that the sequence of requests is not that of one call after the other. Each failure is then one call.
    pub(super) fn leave_sequence(&mut self, order: Order, shared: &Shared) {
        if self.order == Order::Sequence {
            let waiting = self.calls.drain(..).filter(Call::waits);
            let waiting = waiting.filter_map(|call| Some((call.number, call.connection, call.ended?)));
            let past = self.past.drain(..).map(|past| (past.call, past.connection, past.ended));
            let mut calls: SmallVec<[Call; 1]> = SmallVec::new();
            for (number, connection, ended) in past.chain(waiting) {
                // A call of several attempts has its number only once.
                let is_known = calls.iter().any(|call: &Call| call.number == number);
                let number = if is_known { shared.next_call() } else { number };
                calls.push(Call::failed(number, connection, ended));
            }
            self.unknown += calls.len() as u64;
            self.calls = calls;
        }
        self.order = order;
        if order == Order::Counted {
            self.unknown = 0;
        }
    }

    /// Finds the call of a request whose client counts its retries. Calls with the same count are interchangeable: one
    /// that is due comes first, then that of the connection.
    fn counted_by_client(&self, arrival: &Arrival) -> Option<usize> {
        let rank = |(at, call): (usize, &Call)| {
            let ended = call.ended.filter(|_| call.waits() && call.attempts == arrival.retries)?;
            let due = ended.due();
            let is_own = call.connection == arrival.connection;
            Some((due > arrival.at + EARLY_TOLERANCE, !is_own, due, at))
        };
        self.calls.iter().enumerate().filter_map(rank).min().map(|(.., at)| at)
    }

    /// Returns the place of the waiting call that fits and is due first.
    fn earliest(&self, fits: impl Fn(&Call, &Ended) -> bool) -> Option<usize> {
        let due = |(at, call): (usize, &Call)| {
            let ended = call.ended.as_ref().filter(|ended| call.waits() && fits(call, ended))?;
            Some((ended.due(), at))
        };
        self.calls.iter().enumerate().filter_map(due).min().map(|(_, at)| at)
    }

    /// Continues a call with a request.
    pub(super) fn continue_call(&mut self, at: usize, arrival: &Arrival) -> Continued {
        let is_inferred = self.is_inferred();
        let call = &mut self.calls[at];
        if let Some(ended) = call.ended.filter(|_| is_inferred) {
            if self.past.len() >= MAX_ALIKE {
                self.past.pop_front();
            }
            self.past.push_back(Past { call: call.number, connection: call.connection, ended });
        }
        call.next(arrival.at, arrival.connection)
    }

    /// Adds a call. Returns the one that is dropped for it.
    pub(super) fn push(&mut self, call: Call) -> Option<Call> {
        let is_full = self.calls.len() >= MAX_ALIKE;
        let dropped = is_full.then(|| self.calls.remove(self.earliest(|_, _| true).unwrap_or_default()));
        self.calls.push(call);
        dropped
    }

    /// Returns the inferences if they are disproved.
    pub(super) fn disproved(&mut self) -> Option<Box<Inferred>> {
        if self.is_inferred() { None } else { self.inferred.take() }
    }

    /// Number of places that the record takes in the table.
    pub(super) fn places(&self) -> usize {
        1 + self.calls.len() + self.past.len()
    }
}
