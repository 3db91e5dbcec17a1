//! The requests of a running server, for tests in the same process: of all scopes, or of one.

use std::{fmt, sync::Arc, time::Duration};

use serde_json::Value;
use tokio::sync::oneshot;

use super::{ReplyBuilder, Running, http::Edge, verification::wait_on_thread};
use crate::{
    engine::{Entry, Expectation, Outcome, PackedEntry, Times, Verification, VerifyError},
    traffic::matcher::Matcher,
};

/// A request that was received, and what had become of it when it was read.
#[derive(Clone)]
pub struct Received {
    entry: Arc<Entry>,
}

impl Received {
    /// The id of its entry in the journal.
    pub fn id(&self) -> String {
        self.entry.id()
    }

    /// The method.
    pub fn method(&self) -> &str {
        self.entry.method().as_str()
    }

    /// The path as it was sent.
    pub fn path(&self) -> &str {
        self.entry.path()
    }

    /// The query as it was sent, without the `?`; empty if there was none.
    pub fn query(&self) -> &str {
        self.entry.query()
    }

    /// The requested model; empty if there was none.
    pub fn model(&self) -> &str {
        self.entry.model()
    }

    /// The deployment in the path; empty if there was none.
    pub fn deployment(&self) -> &str {
        self.entry.deployment()
    }

    /// The scope; empty for the default one.
    pub fn scope(&self) -> &str {
        self.entry.scope()
    }

    /// The headers as they were sent, with names in lower case. Keys in them are not masked.
    pub fn headers(&self) -> impl Iterator<Item = (&str, &[u8])> {
        self.entry.headers()
    }

    /// Returns the first value of a header, if it is text.
    pub fn header(&self, name: &str) -> Option<&str> {
        let (_, value) = self.headers().find(|(known, _)| known.eq_ignore_ascii_case(name))?;
        std::str::from_utf8(value).ok()
    }

    /// Returns the body; `None` if it is no JSON, or longer than [`JournalSpec::body`](crate::JournalSpec).
    pub fn body(&self) -> Option<Value> {
        serde_json::from_slice(self.entry.body()).ok()
    }

    /// The bytes of the body, or its beginning if it is longer than [`JournalSpec::body`](crate::JournalSpec).
    pub fn body_bytes(&self) -> &[u8] {
        self.entry.body()
    }

    /// The status of the response; `None` if no head was sent, or not yet.
    pub fn status(&self) -> Option<u16> {
        self.entry.status()
    }

    /// The outcome; `None` while the response is open.
    pub fn outcome(&self) -> Option<Outcome> {
        self.entry.outcome()
    }

    /// Returns true if the response is a stream.
    pub fn is_stream(&self) -> bool {
        self.entry.is_stream()
    }

    /// Returns the whole entry as JSON, as `GET /__admin/requests/{id}` does: with the response and its times, and with
    /// masked keys.
    pub fn to_json(&self) -> Value {
        self.entry.show_with_response()
    }
}

impl fmt::Debug for Received {
    /// Renders the entry as JSON, with masked keys.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.entry.show())
    }
}

/// A space of its own on a running server, for one of several tests that share it. See [`Running::scope`].
pub struct Scope<'a> {
    running: &'a Running,
    name: String,
}

impl<'a> Scope<'a> {
    pub(super) fn new(running: &'a Running, name: &str) -> Self {
        Scope { running, name: name.to_owned() }
    }

    /// The name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Returns the base URL of a client whose requests belong to the scope, without a path.
    pub fn url(&self) -> String {
        format!("{}/~scope={}", self.running.url(), self.name)
    }

    /// Returns the requests of the scope in the journal, oldest first.
    pub fn requests(&self) -> Vec<Received> {
        self.view().requests()
    }

    /// Checks that this number of requests of the scope match, as [`Running::verify`] does.
    ///
    /// # Errors
    /// [`VerifyError`]; its text names the nearest request.
    pub fn verify(&self, matcher: Matcher, times: Times) -> Result<(), VerifyError> {
        self.view().verify(matcher, times)
    }

    /// Checks the same, and waits until it holds, as [`Running::verify_within`] does.
    ///
    /// # Errors
    /// [`VerifyError`] after the time, or as soon as too many requests match.
    pub async fn verify_within(&self, matcher: Matcher, times: Times, within: Duration) -> Result<(), VerifyError> {
        self.view().verify_within(matcher, times, within).await
    }

    /// Checks the same, and blocks the thread until it holds.
    ///
    /// # Errors
    /// [`VerifyError`] after the time, or as soon as too many requests match.
    pub fn verify_within_blocking(&self, matcher: Matcher, times: Times, within: Duration) -> Result<(), VerifyError> {
        self.view().verify_within_blocking(matcher, times, within)
    }

    /// Checks that requests of the scope came in this order, as [`Running::verify_in_order`] does.
    ///
    /// # Errors
    /// [`VerifyError`]; its text names the first step without a request.
    pub fn verify_in_order(&self, steps: impl IntoIterator<Item = Matcher>) -> Result<(), VerifyError> {
        self.view().verify_in_order(steps)
    }

    /// Scripts a reply for requests of the scope, as [`Running::on`] does.
    pub fn on(&self, matcher: Matcher) -> ReplyBuilder<'_> {
        ReplyBuilder::new(&self.running.edge, Some(&self.name), matcher)
    }

    /// Sets whether a request that no reply of the scope fits is an error. Then [`verify`](Self::verify) fails too.
    pub fn set_strict(&self, strict: bool) {
        // A scope of which no request can be has none that is not met.
        let _ = self.running.edge.engine.get().set_strict(&self.name, strict);
    }

    /// Forgets everything in the scope: rules, replies, sequences, limits, objects, requests and counters.
    pub fn reset(&self) {
        self.view().reset();
    }

    fn view(&self) -> View<'_> {
        View { edge: &self.running.edge, scope: Some(&self.name) }
    }
}

/// The view of a test on one scope, or on all.
pub(super) struct View<'a> {
    pub(super) edge: &'a Arc<Edge>,
    pub(super) scope: Option<&'a str>,
}

impl View<'_> {
    pub(super) fn requests(&self) -> Vec<Received> {
        let entries = self.edge.engine.get().journal().entries().into_iter();
        let is_meant = |entry: &Arc<PackedEntry>| self.scope.is_none_or(|scope| entry.scope() == scope);
        entries.filter(is_meant).map(|entry| Received { entry: Arc::new(entry.read()) }).collect()
    }

    fn count(&self, matcher: Matcher, times: Times) -> Verification {
        Verification { scope: self.scope.map(str::to_owned), expectation: Expectation::Count(Box::new(matcher), times) }
    }

    fn check(&self, verification: &Verification) -> Result<(), VerifyError> {
        self.edge.engine.get().verify(verification).map(|_| ())
    }

    pub(super) fn verify(&self, matcher: Matcher, times: Times) -> Result<(), VerifyError> {
        self.check(&self.count(matcher, times))
    }

    pub(super) fn verify_in_order(&self, steps: impl IntoIterator<Item = Matcher>) -> Result<(), VerifyError> {
        let expectation = Expectation::InOrder(steps.into_iter().collect());
        self.check(&Verification { scope: self.scope.map(str::to_owned), expectation })
    }

    pub(super) fn verify_within_blocking(
        &self,
        matcher: Matcher,
        times: Times,
        within: Duration,
    ) -> Result<(), VerifyError> {
        let verification = self.count(matcher, times);
        wait_on_thread(self.edge, &verification, within, || true);
        self.check(&verification)
    }

    /// Waits on a thread of its own: the future needs no timer of a runtime.
    pub(super) async fn verify_within(
        &self,
        matcher: Matcher,
        times: Times,
        within: Duration,
    ) -> Result<(), VerifyError> {
        let verification = self.count(matcher, times);
        let (done, decided) = oneshot::channel::<()>();
        let (edge, waiting) = (Arc::clone(self.edge), verification.clone());
        // A thread that does not start drops `done`, and the check below decides at once.
        let _ = std::thread::Builder::new().name("verify".to_owned()).spawn(move || {
            wait_on_thread(&edge, &waiting, within, || !done.is_closed());
            let _ = done.send(());
        });
        let _ = decided.await;
        self.check(&verification)
    }

    pub(super) fn reset(&self) {
        self.edge.engine.get().reset(self.scope);
    }
}
