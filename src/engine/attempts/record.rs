//! The record of the calls with one key: one call if the key is a name, else those whose requests are alike.

use std::time::Duration;

use smallvec::SmallVec;

use super::call::{Call, Ended};

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
    pub(super) connections: SmallVec<[u64; 4]>,
    /// Number of requests whose response has not ended.
    pub(super) open: u32,
    /// Time of the last request or end.
    pub(super) last: Duration,
    /// True if the calls of its requests are unknown: they are alike and overlap.
    pub(super) is_ambiguous: bool,
}

/// One request that is received.
#[derive(Clone, Copy)]
pub(super) struct Arrival {
    pub(super) at: Duration,
    pub(super) connection: u64,
    /// Number of retries that the client counted.
    pub(super) retries: u32,
}

impl Record {
    /// Returns the place of the call that a request belongs to; `None` if it begins another one.
    pub(super) fn find(&mut self, arrival: &Arrival) -> Option<usize> {
        if self.name.is_some() {
            return (!self.calls.is_empty()).then_some(0);
        }
        self.is_ambiguous |= self.open > 0;
        if arrival.retries > 0 {
            return self.counted_by_client(arrival.retries);
        }
        if self.is_ambiguous {
            return None;
        }
        let on_this = |call: &Call| call.waits() && call.connection == arrival.connection;
        if let Some(at) = self.calls.iter().rposition(on_this) {
            return Some(at);
        }
        if self.connections.contains(&arrival.connection) {
            // The client goes back to another connection: it has several calls at once.
            self.is_ambiguous |= self.connections.last() != Some(&arrival.connection);
            return None;
        }
        self.earliest(|call, ended| call.waits() && (ended.is_cut || arrival.at >= ended.at + GRACE))
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

    /// Number of places that the record takes in the table.
    pub(super) fn places(&self) -> usize {
        1 + self.calls.len()
    }
}
