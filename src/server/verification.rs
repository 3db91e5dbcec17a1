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
/// The time between two looks at the journal if no request comes: open responses end meanwhile.
const IDLE_POLL: Duration = Duration::from_millis(100);
/// The least time between two looks at the journal, as a multiple of the time of one. Waiting takes a small part of a
/// worker.
const REST: u32 = 20;

/// The time that stands for any longer one. Instants cannot be later than the system's clock can count.
const FAR: Duration = Duration::from_secs(365 * 24 * 3600);

/// A verification that waits.
struct Wait<'a> {
    edge: &'a Edge,
    verification: &'a Verification,
    known: KnownMatches,
    deadline: Instant,
    /// Number of requests at the last look at the journal.
    opened: u64,
    /// The earliest time of the next look, and the latest.
    earliest: Instant,
    latest: Instant,
}

impl Wait<'_> {
    fn new<'a>(edge: &'a Edge, verification: &'a Verification, within: Duration) -> Wait<'a> {
        let now = Instant::now();
        let (known, deadline) = (KnownMatches::default(), now + within.min(FAR));
        Wait { edge, verification, known, deadline, opened: 0, earliest: now, latest: now }
    }

    /// Looks at the journal if that may change the result. Returns the time of the next look; `None` at the end.
    fn look(&mut self) -> Option<Instant> {
        let (engine, mut now) = (self.edge.engine.get(), Instant::now());
        let opened = engine.journal().opened();
        let is_due = now >= self.latest || (opened != self.opened && now >= self.earliest);
        if is_due {
            let (state, _) = engine.check_journal(self.verification, &mut self.known);
            if !state.can_change() {
                return None;
            }
            let looked = now.elapsed();
            now = Instant::now();
            (self.opened, self.earliest) = (opened, now + looked * REST);
            self.latest = self.earliest.max(now + IDLE_POLL);
        }
        (now < self.deadline).then(|| (now + POLL).min(self.deadline))
    }
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
