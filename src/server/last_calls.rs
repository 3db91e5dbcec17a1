//! The last connections before a stop: those that wait are accepted, and get time to send their request.

use std::{io, net, time::Duration};

use mio::{Events, Interest, Poll, Token, net::TcpListener};
use socket2::SockRef;
use tokio::time::Instant;

use super::connections::Connections;

/// Time that a connection has to send its first request.
const FIRST_REQUEST: Duration = Duration::from_millis(50);
/// Maximum time for all of them, if the drain is not shorter.
const MAX_WAIT: Duration = Duration::from_secs(1);
/// Interval of the checks.
const INTERVAL: Duration = Duration::from_millis(2);

/// Accepts the connections that wait, and no more than these. Returns once none waits, and each had time for its
/// request, within the time of the `drain`. `taken` is the number of requests so far. The listeners are copies of those that the workers accept from.
pub(super) async fn accept(
    listeners: Vec<net::TcpListener>,
    connections: &Connections,
    drain: Duration,
    taken: impl Fn() -> u64,
) {
    for listener in &listeners {
        // The system then takes no further connection while one waits. If it cannot, the time is bounded all the same.
        let _ = SockRef::from(listener).listen(0);
    }
    let Ok(mut waiting) = Waiting::new(listeners) else { return };
    let (deadline, mut before) = (Instant::now() + MAX_WAIT.min(drain), taken());
    while Instant::now() < deadline {
        let waits = waiting.any().unwrap_or(false);
        if !waits && connections.since_last().is_none_or(|time| time >= FIRST_REQUEST) {
            return;
        }
        tokio::time::sleep(INTERVAL).await;
        let now = taken();
        if now != before {
            // The next request of a burst may be about to come.
            connections.touch();
        }
        before = now;
    }
}

/// The connections that wait to be accepted.
struct Waiting {
    poll: Poll,
    events: Events,
    listeners: Vec<TcpListener>,
}

impl Waiting {
    fn new(listeners: Vec<net::TcpListener>) -> io::Result<Self> {
        let (poll, mut listeners) =
            (Poll::new()?, listeners.into_iter().map(TcpListener::from_std).collect::<Vec<_>>());
        for listener in &mut listeners {
            poll.registry().register(listener, Token(0), Interest::READABLE)?;
        }
        Ok(Waiting { poll, events: Events::with_capacity(1), listeners })
    }

    /// Returns true if there is any.
    fn any(&mut self) -> io::Result<bool> {
        for listener in &mut self.listeners {
            // Readiness is reported once for each registration.
            self.poll.registry().reregister(listener, Token(0), Interest::READABLE)?;
        }
        self.poll.poll(&mut self.events, Some(Duration::ZERO))?;
        Ok(!self.events.is_empty())
    }
}
