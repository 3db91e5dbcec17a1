//! The open connections.

use std::{
    cell::Cell,
    sync::{
        Arc,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use tokio::sync::Notify;

use crate::core::{histogram::Histogram, open_connections::OpenConnections};

/// Largest number of requests on one connection that is counted as it is.
const MAX_REQUESTS: u64 = 1 << 32;

/// Counts the open connections and signals when the last one closes.
pub(crate) struct Connections {
    open: AtomicUsize,
    /// Number of connections since the start.
    total: AtomicU64,
    /// Number of requests on each connection that was closed.
    requests: Histogram<3>,
    /// The numbers of the open ones, for the engine.
    numbers: Arc<OpenConnections>,
    closed: Notify,
    start: Instant,
    /// Time from `start` to the first opening, in microseconds; 0 if there was none.
    first_opened: AtomicU64,
    /// Time from `start` to the last opening, in microseconds; 0 if there was none.
    last_opened: AtomicU64,
}

/// One open connection. It is stored in actix's connection data and dropped with it.
pub(crate) struct Connection {
    all: Arc<Connections>,
    /// Its number, from 1.
    number: u64,
    /// Number of requests so far.
    requests: Cell<u32>,
}

impl Connection {
    /// The number of the connection, from 1.
    pub(crate) fn number(&self) -> u64 {
        self.number
    }

    /// Counts a request, and returns its number, from 1.
    pub(crate) fn next_request(&self) -> u32 {
        let number = self.requests.get().saturating_add(1);
        self.requests.set(number);
        number
    }
}

impl Default for Connections {
    fn default() -> Self {
        Connections {
            open: AtomicUsize::new(0),
            total: AtomicU64::new(0),
            requests: Histogram::new(MAX_REQUESTS),
            numbers: Arc::default(),
            closed: Notify::new(),
            start: Instant::now(),
            first_opened: AtomicU64::new(0),
            last_opened: AtomicU64::new(0),
        }
    }
}

impl Connections {
    /// No connections yet. The numbers of those that open are in `numbers`.
    pub(super) fn new(numbers: &Arc<OpenConnections>) -> Self {
        Connections { numbers: Arc::clone(numbers), ..Connections::default() }
    }

    pub(super) fn opened(connections: &Arc<Self>) -> Connection {
        connections.open.fetch_add(1, Ordering::AcqRel);
        connections.touch();
        let number = connections.total.fetch_add(1, Ordering::Relaxed) + 1;
        connections.numbers.opened(number);
        Connection { all: Arc::clone(connections), number, requests: Cell::new(0) }
    }

    /// Number of open connections.
    pub(super) fn open(&self) -> usize {
        self.open.load(Ordering::Acquire)
    }

    /// Number of connections since the start.
    pub(super) fn total(&self) -> u64 {
        self.total.load(Ordering::Relaxed)
    }

    /// Number of requests on each connection that was closed.
    pub(super) fn requests(&self) -> &Histogram<3> {
        &self.requests
    }

    /// Number of closed connections that had requests, and of the requests on them.
    pub(super) fn closed_with_requests(&self) -> (u64, u64) {
        let without = self.requests.count_to(0);
        (self.requests.count().saturating_sub(without), self.requests.sum())
    }

    /// Time since the start.
    pub(super) fn uptime(&self) -> Duration {
        self.start.elapsed()
    }

    /// Time from the opening of the first connection to that of the last.
    pub(super) fn connected(&self) -> Duration {
        let [first, last] = [&self.first_opened, &self.last_opened].map(|time| time.load(Ordering::Relaxed));
        Duration::from_micros(last.saturating_sub(first))
    }

    /// Counts as if a connection had been opened now.
    pub(super) fn touch(&self) {
        let micros = u64::try_from(self.start.elapsed().as_micros()).unwrap_or(u64::MAX);
        self.last_opened.store(micros.max(1), Ordering::Relaxed);
        if self.first_opened.load(Ordering::Relaxed) == 0 {
            self.first_opened.store(micros.max(1), Ordering::Relaxed);
        }
    }

    /// Time since the last connection was opened; `None` if there was none.
    pub(super) fn since_last(&self) -> Option<Duration> {
        let opened = self.last_opened.load(Ordering::Relaxed);
        (opened > 0).then(|| self.start.elapsed().saturating_sub(Duration::from_micros(opened)))
    }

    pub(super) async fn all_closed(&self) {
        while self.open.load(Ordering::Acquire) > 0 {
            self.closed.notified().await;
        }
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.all.numbers.closed(self.number);
        self.all.requests.add(self.requests.get().into());
        if self.all.open.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.all.closed.notify_one();
        }
    }
}
