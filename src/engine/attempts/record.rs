//! The record of the calls with one key: one call if the key is a name, else those whose requests are alike.

use std::time::Duration;

use smallvec::SmallVec;

use super::{
    call::{Call, Continued, Ended},
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

impl Record {
    pub(super) fn new(name: Option<Box<str>>, now: Duration) -> Self {
        Record { name, last: now, ..Record::default() }
    }

    /// Returns the place of the call that a request belongs to, and true if that is only inferred from the order of
    /// requests on different connections. `None`: it begins another call.
    pub(super) fn find(&mut self, arrival: &Arrival, connections: &OpenConnections) -> Option<(usize, bool)> {
        let certain = |at: usize| (at, false);
        if self.name.is_some() {
            return (!self.calls.is_empty()).then_some(certain(0));
        }
        self.is_ambiguous |= self.open > 0;
        if arrival.retries > 0 {
            return self.counted_by_client(arrival.retries).map(certain);
        }
        if self.is_ambiguous {
            return None;
        }
        let on_this = |call: &Call| call.waits() && call.connection == arrival.connection;
        if let Some(at) = self.calls.iter().rposition(on_this) {
            return Some(certain(at));
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
            return Some(certain(at));
        }
        // A pool may send a retry on any connection that it has. A new one is that of another call.
        let is_pooled = |call: &Call, _: &Ended| call.waits() && !arrival.is_on_new_connection;
        self.earliest(is_pooled).map(|at| (at, true))
    }

    /// Finds the call of a request whose client counts its retries.
    fn counted_by_client(&self, retries: u32) -> Option<usize> {
        let fits = |call: &Call, _: &Ended| call.waits() && call.attempts == retries;
        self.earliest(fits).or_else(|| self.earliest(|call, _| call.waits() && !self.is_ambiguous))
    }

    /// Returns the place of the call whose next attempt is due first.
    fn earliest(&self, fits: impl Fn(&Call, &Ended) -> bool) -> Option<usize> {
        let due = |(at, call): (usize, &Call)| {
            let ended = call.ended.as_ref().filter(|ended| fits(call, ended))?;
            Some((ended.at + ended.wait.unwrap_or_default(), at))
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

    /// Marks an attempt as inferred, and counts it until it is disproved.
    pub(super) fn infer(&mut self, continued: Continued, entry: Option<u64>) -> Continued {
        self.tally.retries += 1;
        self.tally.obeyed += u64::from(continued.is_obeyed == Some(true));
        if continued.is_obeyed == Some(false) {
            self.tally.early += 1;
            let room = self.tally.entries.len() < self.tally.entries.inline_size();
            self.tally.entries.extend(entry.filter(|_| room));
        }
        let (retried_final, judged, flat) = (None, 0, 0);
        Continued { is_inferred: true, retried_final, judged, flat, ..continued }
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
