//! The open connections.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use tokio::sync::Notify;

/// Counts the open connections and signals when the last one closes.
pub(super) struct Connections {
    open: AtomicUsize,
    closed: Notify,
    start: Instant,
    /// Time from `start` to the last opening, in microseconds; 0 if there was none.
    last_opened: AtomicU64,
}

/// One open connection. It is stored in actix's connection data and dropped with it.
pub(super) struct Connection(Arc<Connections>);

impl Default for Connections {
    fn default() -> Self {
        Connections {
            open: AtomicUsize::new(0),
            closed: Notify::new(),
            start: Instant::now(),
            last_opened: AtomicU64::new(0),
        }
    }
}

impl Connections {
    pub(super) fn opened(connections: &Arc<Self>) -> Connection {
        connections.open.fetch_add(1, Ordering::AcqRel);
        connections.touch();
        Connection(Arc::clone(connections))
    }

    /// Counts as if a connection had been opened now.
    pub(super) fn touch(&self) {
        let micros = u64::try_from(self.start.elapsed().as_micros()).unwrap_or(u64::MAX);
        self.last_opened.store(micros.max(1), Ordering::Relaxed);
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
        if self.0.open.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.0.closed.notify_one();
        }
    }
}
