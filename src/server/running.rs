//! A server on a thread of its own.

use std::{net::SocketAddr, sync::Arc, thread::JoinHandle};

use tokio::sync::oneshot;

use super::{Reloader, StartError, http::Edge};
use crate::engine::Report;

/// The summary of a stopped server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stopped {
    /// Number of requests received.
    pub taken: u64,
    /// Number of requests whose response was incomplete at the end of the drain.
    pub cut: u64,
}

/// A fake that serves on a thread of its own. Dropping it stops it.
pub struct Running {
    pub(super) url: String,
    pub(super) address: SocketAddr,
    pub(super) edge: Arc<Edge>,
    pub(super) reloader: Reloader,
    pub(super) stop: Option<oneshot::Sender<()>>,
    pub(super) thread: Option<JoinHandle<Result<Stopped, StartError>>>,
}

impl Running {
    /// The base URL for a client on this machine, without a path.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// The address that the server listens on.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Number of requests whose response is not complete.
    pub fn in_flight(&self) -> u64 {
        self.edge.engine.get().totals().1
    }

    /// Number of requests received so far.
    pub fn taken(&self) -> u64 {
        self.edge.engine.get().totals().0
    }

    /// Returns the report on the callers of one scope; without a name, of all.
    pub fn report(&self, scope: Option<&str>) -> Report {
        self.edge.engine.get().report(scope, &self.edge.facts())
    }

    /// Returns the handle that reloads fixtures and settings.
    pub fn reloader(&self) -> &Reloader {
        &self.reloader
    }

    /// Stops the server like `SIGTERM` stops the program, and waits until it has stopped.
    ///
    /// # Errors
    /// The error of [`Server::run`](super::Server::run).
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
