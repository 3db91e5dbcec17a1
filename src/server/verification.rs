//! Waiting until the journal has the requests that a test expects.

use std::{thread, time::Duration};

use tokio::{
    select,
    time::{Instant, sleep_until},
};

use super::http::Edge;
use crate::engine::{KnownMatches, Verification};

/// The least time between two looks at the journal.
const POLL: Duration = Duration::from_millis(10);
/// The time between two looks, as a multiple of the time of one. Waiting takes a small part of a worker.
const REST: u32 = 20;

/// A verification that waits.
struct Wait<'a> {
    edge: &'a Edge,
    verification: &'a Verification,
    known: KnownMatches,
    deadline: Instant,
}

impl Wait<'_> {
    fn new<'a>(edge: &'a Edge, verification: &'a Verification, within: Duration) -> Wait<'a> {
        Wait { edge, verification, known: KnownMatches::default(), deadline: Instant::now() + within }
    }

    /// Looks at the journal. Returns the time of the next look; `None` if waiting changes nothing any more.
    fn look(&mut self) -> Option<Instant> {
        let before = Instant::now();
        let (state, _) = self.edge.engine.get().check_journal(self.verification, &mut self.known);
        let now = Instant::now();
        let next = now + POLL.max((now - before) * REST);
        (state.can_change() && now < self.deadline).then_some(next.min(self.deadline))
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
