//! A server on a thread of its own.

use std::{net::SocketAddr, sync::Arc, thread::JoinHandle, time::Duration};

use tokio::sync::oneshot;

use super::{
    Reloader, ReplyBuilder, StartError,
    http::Edge,
    scope::{Received, Scope, View},
};
use crate::{
    engine::{Report, Times, VerifyError},
    traffic::matcher::Matcher,
};

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

    /// Returns the requests in the journal, oldest first, of all scopes. It reads memory only, so it is not async.
    pub fn requests(&self) -> Vec<Received> {
        self.view().requests()
    }

    /// Checks that this number of requests match, in all scopes. Requests whose response is open count too, unless a
    /// condition is about the status or the outcome.
    ///
    /// # Errors
    /// [`VerifyError`]; its text names the nearest request.
    pub fn verify(&self, matcher: Matcher, times: Times) -> Result<(), VerifyError> {
        self.view().verify(matcher, times)
    }

    /// Checks the same as [`verify`](Self::verify), and waits until it holds: for code that sends requests in the
    /// background. A number that zero requests meet has to hold for the whole time.
    ///
    /// It needs no async runtime, and works in each.
    ///
    /// # Errors
    /// [`VerifyError`] after the time, or as soon as too many requests match.
    pub async fn verify_within(&self, matcher: Matcher, times: Times, within: Duration) -> Result<(), VerifyError> {
        self.view().verify_within(matcher, times, within).await
    }

    /// Checks the same as [`verify_within`](Self::verify_within), and blocks the thread meanwhile.
    ///
    /// # Errors
    /// [`VerifyError`] after the time, or as soon as too many requests match.
    pub fn verify_within_blocking(&self, matcher: Matcher, times: Times, within: Duration) -> Result<(), VerifyError> {
        self.view().verify_within_blocking(matcher, times, within)
    }

    /// Checks that requests came in this order, in all scopes: each matches the next matcher, others may come between.
    ///
    /// # Errors
    /// [`VerifyError`]; its text names the first step without a request.
    pub fn verify_in_order(&self, steps: impl IntoIterator<Item = Matcher>) -> Result<(), VerifyError> {
        self.view().verify_in_order(steps)
    }

    /// Scripts a reply for the requests that meet conditions, in the default scope. It wins over those of the fixtures.
    ///
    /// ```
    /// # use std::io::{Read, Write};
    /// use fake_openai::{Config, Matcher, Server};
    ///
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let fake = Server::bind(Config::for_test())?.spawn()?;
    /// fake.on(Matcher::new().user("weather*")).times(1).fault("tokens-per-event=1".parse()?).reply("Sunny.")?;
    /// fake.on(Matcher::new().user("agent*")).reply(serde_json::json!([{"error": 429}, {"text": "done"}]))?;
    /// let error = fake.on(Matcher::new()).reply(serde_json::json!({"txt": "Hello!"})).unwrap_err();
    /// assert_eq!(error, "reply: unknown field `txt`; did you mean `text`?");
    /// # Ok(())
    /// # }
    /// ```
    pub fn on(&self, matcher: Matcher) -> ReplyBuilder<'_> {
        ReplyBuilder::new(&self.edge, None, matcher)
    }

    /// Forgets everything in all scopes: rules and replies added at run time, sequences, limits, objects, requests and counters.
    pub fn reset(&self) {
        self.view().reset();
    }

    /// Returns a scope: a space of its own for one of several tests that share the server. A name has 1 to 64 characters
    /// of `A-Z a-z 0-9 _ . -`; requests to any other one are refused.
    pub fn scope(&self, name: &str) -> Scope<'_> {
        Scope::new(self, name)
    }

    fn view(&self) -> View<'_> {
        View { edge: &self.edge, scope: None }
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
