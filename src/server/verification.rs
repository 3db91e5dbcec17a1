//! Waiting until the journal has the requests that a test expects.

use std::{thread, time::Duration};

use tokio::{
    select,
    time::{Instant, sleep_until},
};

use super::http::Edge;
use crate::engine::{KnownMatches, Verification};

/// The time between two looks at the number of requests.
const POLL: Duration = Duration::from_millis(10);
/// The time after which it is checked again if a look is due.
const MAX_POLL: Duration = Duration::from_secs(1);
/// The time between two looks at the journal if no request comes: open responses end meanwhile.
const IDLE_POLL: Duration = Duration::from_millis(100);
/// The least time between two looks at the journal, as a multiple of the time of one, for each verification that waits.
/// All of them together take a small part of a worker.
const REST: u32 = 20;

/// The time that stands for any longer one. Instants cannot be later than the system's clock can count.
const FAR: Duration = Duration::from_secs(365 * 24 * 3600);

/// A verification that waits.
struct Wait<'a> {
    edge: &'a Edge,
    verification: &'a Verification,
    known: KnownMatches,
    deadline: Instant,
    /// Number of requests at the last look at the journal; `None` before the first.
    opened: Option<u64>,
    /// The end of the last look, and the time that it took.
    last: (Instant, Duration),
}

impl Wait<'_> {
    fn new<'a>(edge: &'a Edge, verification: &'a Verification, within: Duration) -> Wait<'a> {
        let now = Instant::now();
        let (known, deadline) = (KnownMatches::default(), now + within.min(FAR));
        Wait { edge, verification, known, deadline, opened: None, last: (now, Duration::ZERO) }
    }

    /// Looks at the journal if that may change the result. Returns the time of the next call; `None` at the end.
    fn look(&mut self) -> Option<Instant> {
        let (engine, mut now) = (self.edge.engine.get(), Instant::now());
        let opened = Some(engine.journal().opened());
        let (last, took) = self.last;
        // Others may have stopped waiting since then.
        let mut earliest = last + rest(took, self.edge.waiting.calls());
        let latest = earliest.max(last + IDLE_POLL);
        if self.opened.is_none() || now >= latest || (opened != self.opened && now >= earliest) {
            let (state, _) = engine.check_journal(self.verification, &mut self.known);
            if !state.can_change() {
                return None;
            }
            let took = now.elapsed();
            now = Instant::now();
            (self.opened, self.last) = (opened, (now, took));
            earliest = now + rest(took, self.edge.waiting.calls());
        }
        (now < self.deadline).then(|| earliest.clamp(now + POLL, now + MAX_POLL).min(self.deadline))
    }
}

/// Returns the least time until the next look after one that took so long, while so many verifications wait.
fn rest(looked: Duration, waiting: usize) -> Duration {
    let waiting = u32::try_from(waiting.max(1)).unwrap_or(u32::MAX);
    looked.saturating_mul(REST.saturating_mul(waiting)).min(FAR)
}

/// Waits until a verification is decided, for at most `within`. The stop of the server ends the wait.
pub(super) async fn wait(edge: &Edge, verification: &Verification, within: Duration) {
    let mut wait = Wait::new(edge, verification, within);
    let mut stopped = std::pin::pin!(edge.stopping.wait());
    while let Some(next) = wait.look() {
        select! {
            () = &mut stopped => return,
            () = sleep_until(next) => {}
        }
    }
}

/// Waits on a thread until a verification is decided, for at most `within`, or while `is_wanted`.
pub(super) fn wait_on_thread(edge: &Edge, verification: &Verification, within: Duration, is_wanted: impl Fn() -> bool) {
    let mut wait = Wait::new(edge, verification, within);
    while is_wanted()
        && let Some(next) = wait.look()
    {
        thread::sleep(next.saturating_duration_since(Instant::now()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn verifications_that_wait_take_the_same_time_together_as_one() {
        let looked = Duration::from_millis(2);
        assert_eq!(rest(looked, 0), Duration::from_millis(40));
        assert_eq!(rest(looked, 1), Duration::from_millis(40));
        assert_eq!(rest(looked, 1000), Duration::from_secs(40));
    }
}
