//! A server on a thread of its own.

use std::{net::SocketAddr, sync::Arc, thread::JoinHandle};

use tokio::sync::oneshot;

use super::{StartError, http::Edge};

/// What a server did in its time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stopped {
    /// Requests taken.
    pub taken: u64,
    /// Those of them that were not answered to the end: the drain was over.
    pub cut: u64,
}

/// A fake that serves on a thread of its own. Dropping it stops it.
pub struct Running {
    pub(super) url: String,
    pub(super) address: SocketAddr,
    pub(super) edge: Arc<Edge>,
    pub(super) stop: Option<oneshot::Sender<()>>,
    pub(super) thread: Option<JoinHandle<Result<Stopped, StartError>>>,
}

impl Running {
    /// The base URL for a client on this machine, without a path.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// The address it listens on.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Requests whose answers are still under way.
    pub fn in_flight(&self) -> u64 {
        self.edge.engine.metrics().in_flight
    }

    /// Requests taken so far.
    pub fn taken(&self) -> u64 {
        self.edge.engine.metrics().taken
    }

    /// Stops it as `SIGTERM` stops the program, and waits until it has.
    ///
    /// # Errors
    /// That of [`Server::run`].
    pub fn stop(mut self) -> Result<Stopped, StartError> {
        self.end().unwrap_or(Ok(Stopped { taken: 0, cut: 0 }))
    }

    fn end(&mut self) -> Option<Result<Stopped, StartError>> {
        self.stop.take().map(|stop| stop.send(()));
        self.thread.take()?.join().ok()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.end();
    }
}
