//! One logical call: its attempts, and what the last one came to.

use std::time::Duration;

use smallvec::SmallVec;

use crate::core::limit_status::Unit;

/// Time by which a retry may be earlier than announced: clocks and timers round.
pub(super) const EARLY_TOLERANCE: Duration = Duration::from_millis(5);
/// Factor by which the last wait has to exceed the first one, if no wait was announced.
const GROWTH: f64 = 1.1;

/// One call.
#[derive(Debug)]
pub(super) struct Call {
    pub(super) number: u64,
    pub(super) attempts: u32,
    /// Number of attempts whose response has not ended.
    pub(super) open: u32,
    /// The end of the last attempt.
    pub(super) ended: Option<Ended>,
    pub(super) connection: u64,
    /// Number of successes.
    pub(super) successes: u32,
    /// True if the call is in the histogram of attempts.
    pub(super) is_counted: bool,
    /// The first wait of the client without an announced one, and their number.
    first_wait: Option<(Duration, u32)>,
    /// True if the waits do not grow.
    is_flat: bool,
    /// The inferred retries before the announced time.
    pub(super) early: EarlyRetries,
}

/// Numbers of early retries, by the unit of the limit that refused the attempt before.
pub(in crate::engine) type EarlyRetries = SmallVec<[(Option<Unit>, u64); 1]>;

/// The end of an attempt.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ended {
    pub(super) at: Duration,
    pub(super) status: u16,
    pub(super) is_failure: bool,
    /// True if the client got no whole response.
    pub(super) is_cut: bool,
    /// True if another attempt has to fail too.
    pub(super) is_final: bool,
    /// The announced wait.
    pub(super) wait: Option<Duration>,
    /// The unit of the limit that refused it.
    pub(super) unit: Option<Unit>,
}

/// One more attempt, and the conduct of the client that it shows.
#[derive(Clone, Copy, Debug, Default)]
pub(in crate::engine) struct Continued {
    /// Number of the attempt, from 1.
    pub(in crate::engine) number: u32,
    /// Time since the end of the attempt before.
    pub(in crate::engine) after: Option<Duration>,
    /// True if the announced wait was over; `None` if none was announced.
    pub(in crate::engine) is_obeyed: Option<bool>,
    /// The announced wait.
    pub(in crate::engine) wait: Option<Duration>,
    /// The unit of the limit that refused the attempt before.
    pub(in crate::engine) unit: Option<Unit>,
    /// The status of the attempt before, if another one has to fail too.
    pub(in crate::engine) retried_final: Option<u16>,
    /// Changes of the numbers of calls with three or more attempts, and of those whose waits do not grow.
    pub(in crate::engine) judged: u64,
    pub(in crate::engine) flat: i64,
}

impl Ended {
    /// Returns the time from which another attempt may come.
    pub(super) fn due(&self) -> Duration {
        self.at + self.wait.unwrap_or_default()
    }
}

impl Call {
    pub(super) fn new(number: u64, connection: u64, retries: u32) -> Self {
        Call {
            number,
            attempts: retries + 1,
            open: 1,
            ended: None,
            connection,
            successes: 0,
            is_counted: false,
            first_wait: None,
            is_flat: false,
            early: EarlyRetries::new(),
        }
    }

    /// Returns a call whose first attempt failed.
    pub(super) fn failed(number: u64, connection: u64, ended: Ended) -> Self {
        Call { open: 0, ended: Some(ended), ..Call::new(number, connection, 0) }
    }

    /// Counts an inferred retry before the announced time.
    pub(super) fn add_early(&mut self, unit: Option<Unit>) {
        match self.early.iter_mut().find(|(known, _)| *known == unit) {
            Some((_, count)) => *count += 1,
            None => self.early.push((unit, 1)),
        }
    }

    /// Returns true if another attempt may follow.
    pub(super) fn waits(&self) -> bool {
        self.open == 0 && self.ended.is_some_and(|ended| ended.is_failure)
    }

    /// Records one more attempt.
    pub(super) fn next(&mut self, at: Duration, connection: u64) -> Continued {
        self.attempts += 1;
        self.connection = connection;
        let ended = self.ended.filter(|_| self.open == 0);
        self.open += 1;
        let mut continued = Continued { number: self.attempts, ..Continued::default() };
        let Some(ended) = ended else { return continued };
        let after = at.saturating_sub(ended.at);
        continued.after = Some(after);
        if !ended.is_failure {
            return continued;
        }
        continued.retried_final = ended.is_final.then_some(ended.status);
        if let Some(wait) = ended.wait {
            continued.is_obeyed = Some(after + EARLY_TOLERANCE >= wait);
            (continued.wait, continued.unit) = (Some(wait), ended.unit);
            return continued;
        }
        match &mut self.first_wait {
            None => self.first_wait = Some((after, 1)),
            Some((first, count)) => {
                let was_flat = self.is_flat;
                self.is_flat = after < first.mul_f64(GROWTH);
                continued.judged = u64::from(*count == 1);
                continued.flat = i64::from(self.is_flat) - i64::from(was_flat);
                *count += 1;
            }
        }
        continued
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fail(call: &mut Call, at: u64, wait: Option<u64>) {
        let [at, wait] = [Some(at), wait].map(|millis| millis.map(Duration::from_millis));
        let at = at.unwrap_or_default();
        call.open -= 1;
        call.ended = Some(Ended {
            at,
            status: 429,
            is_failure: true,
            is_cut: false,
            is_final: false,
            wait,
            unit: Some(Unit::Requests),
        });
    }

    #[test]
    fn a_retry_may_be_five_milliseconds_early() {
        for (next, is_obeyed) in [(1094, false), (1095, true), (2000, true)] {
            let mut call = Call::new(1, 1, 0);
            fail(&mut call, 100, Some(1000));
            let continued = call.next(Duration::from_millis(next), 1);
            assert_eq!((continued.number, continued.is_obeyed), (2, Some(is_obeyed)), "{next}");
            assert_eq!(continued.after, Some(Duration::from_millis(next - 100)));
        }
    }

    #[test]
    fn waits_that_grow_are_backoff() {
        let flat = |starts: &[u64]| {
            let mut call = Call::new(1, 1, 0);
            fail(&mut call, 0, None);
            starts.iter().fold((0, 0), |(judged, flat), at| {
                let continued = call.next(Duration::from_millis(*at), 1);
                fail(&mut call, *at, None);
                (judged + continued.judged, flat + continued.flat)
            })
        };
        assert_eq!(flat(&[100]), (0, 0), "two attempts have one wait");
        assert_eq!(flat(&[100, 300, 700]), (1, 0));
        assert_eq!(flat(&[100, 200, 300]), (1, 1));
        assert_eq!(flat(&[100, 200, 500]), (1, 0), "it grows at last");
    }
}
