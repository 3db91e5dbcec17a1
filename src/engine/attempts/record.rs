//! The record of the calls with one key: one call if the key is a name, else those whose requests are alike.

use std::time::Duration;

use smallvec::SmallVec;

use super::{
    call::{Call, Continued, EARLY_TOLERANCE, Ended},
    facts::Tally,
};
use crate::core::open_connections::OpenConnections;

/// Maximum number of failed calls of one fingerprint that wait for their next attempt. Further ones are not followed.
const MAX_ALIKE: usize = 64;
/// Maximum number of connections that are remembered for one fingerprint.
const MAX_CONNECTIONS: usize = 8;
/// Time after a failure in which a request like it, on another connection, is taken for another call of the same client.
const GRACE: Duration = Duration::from_millis(50);

/// The calls with one key.
#[derive(Default)]
pub(super) struct Record {
    /// The name; `None` if the key is a fingerprint.
    pub(super) name: Option<Box<str>>,
    pub(super) calls: SmallVec<[Call; 1]>,
    /// The connections of the requests so far, the newest last.
    connections: SmallVec<[u64; 4]>,
    /// Number of requests whose response has not ended.
    pub(super) open: u32,
    /// Time of the last request or end.
    pub(super) last: Duration,
    /// The inferences so far.
    tally: Tally,
    /// True if the calls of its requests are unknown: they are alike and overlap.
    pub(super) is_ambiguous: bool,
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

/// The evidence that a request belongs to a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Evidence {
    /// The client names the call, or counts the retries.
    Sent,
    /// The request follows on the same connection, or on one in place of it.
    Sequence,
    /// The request follows on another connection of the client.
    Pool,
}

impl Record {
    pub(super) fn new(name: Option<Box<str>>, now: Duration) -> Self {
        Record { name, last: now, ..Record::default() }
    }

    /// Returns the place of the call that a request belongs to. `None`: it begins another call.
    pub(super) fn find(&mut self, arrival: &Arrival, connections: &OpenConnections) -> Option<(usize, Evidence)> {
        if self.name.is_some() {
            return (!self.calls.is_empty()).then_some((0, Evidence::Sent));
        }
        self.is_ambiguous |= self.open > 0;
        if arrival.retries > 0 {
            return self.counted_by_client(arrival).map(|at| (at, Evidence::Sent));
        }
        if self.is_ambiguous {
            return None;
        }
        let on_this = |call: &Call| call.waits() && call.connection == arrival.connection;
        if let Some(at) = self.calls.iter().rposition(on_this) {
            return Some((at, Evidence::Sequence));
        }
        if self.connections.contains(&arrival.connection) {
            // The client goes back to another connection: it has several calls at once.
            self.is_ambiguous |= self.connections.last() != Some(&arrival.connection);
            return None;
        }
        // The client gave up the connection of its call. Soon after a failure it may be another of its calls.
        let is_left = |call: &Call, ended: &Ended| {
            let is_free = ended.is_cut || arrival.at >= ended.at + GRACE && !connections.is_open(call.connection);
            call.waits() && is_free
        };
        if let Some(at) = self.earliest(is_left) {
            return Some((at, Evidence::Sequence));
        }
        // A pool may send a retry on any connection that it has. A new one is that of another call.
        let is_pooled = |call: &Call, _: &Ended| call.waits() && !arrival.is_on_new_connection;
        self.earliest(is_pooled).map(|at| (at, Evidence::Pool))
    }

    /// Finds the call of a request whose client counts its retries: one that is due, then that of the connection.
    fn counted_by_client(&self, arrival: &Arrival) -> Option<usize> {
        let rank = |(at, call): (usize, &Call)| {
            let ended = call.ended.filter(|_| call.waits() && call.attempts == arrival.retries)?;
            let due = ended.due();
            let is_own = call.connection == arrival.connection;
            Some((due > arrival.at + EARLY_TOLERANCE, !is_own, due, at))
        };
        let counted = self.calls.iter().enumerate().filter_map(rank).min().map(|(.., at)| at);
        counted.or_else(|| self.earliest(|call, _| call.waits() && !self.is_ambiguous))
    }

    /// Returns the place of the call whose next attempt is due first.
    fn earliest(&self, fits: impl Fn(&Call, &Ended) -> bool) -> Option<usize> {
        let due = |(at, call): (usize, &Call)| {
            let ended = call.ended.as_ref().filter(|ended| fits(call, ended))?;
            Some((ended.due(), at))
        };
        self.calls.iter().enumerate().filter_map(due).min().map(|(_, at)| at)
    }

    /// Records that a request is open.
    pub(super) fn opened(&mut self, arrival: &Arrival) {
        self.open += 1;
        self.last = self.last.max(arrival.at);
        self.connections.retain(|known| *known != arrival.connection);
        if self.connections.len() >= MAX_CONNECTIONS {
            self.connections.remove(0);
        }
        self.connections.push(arrival.connection);
    }

    /// Adds a call. Returns false if there are too many.
    pub(super) fn push(&mut self, call: Call) -> bool {
        let has_room = self.calls.len() < MAX_ALIKE;
        if has_room {
            self.calls.push(call);
        }
        has_room
    }

    /// Counts an attempt until it is disproved.
    pub(super) fn infer(&mut self, continued: Continued, evidence: Evidence, entry: Option<u64>) -> Continued {
        let is_pooled = evidence == Evidence::Pool;
        let continued = match is_pooled {
            true => Continued { is_pooled, retried_final: None, judged: 0, flat: 0, ..continued },
            false => continued,
        };
        if evidence != Evidence::Sent {
            self.tally.add(&continued, entry);
        }
        continued
    }

    /// Returns the inferences if they are disproved now.
    pub(super) fn disproved(&mut self) -> Tally {
        if self.is_ambiguous { std::mem::take(&mut self.tally) } else { Tally::default() }
    }

    /// Number of places that the record takes in the table.
    pub(super) fn places(&self) -> usize {
        1 + self.calls.len()
    }
}
