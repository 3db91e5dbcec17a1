//! The open connections.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use tokio::sync::Notify;

/// Counts the open connections and signals when the last one closes.
#[derive(Default)]
pub(super) struct Connections {
    open: AtomicUsize,
    closed: Notify,
}

/// One open connection. It is stored in actix's connection data and dropped with it.
pub(super) struct Connection(Arc<Connections>);

impl Connections {
    pub(super) fn opened(connections: &Arc<Self>) -> Connection {
        connections.open.fetch_add(1, Ordering::AcqRel);
        Connection(Arc::clone(connections))
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
