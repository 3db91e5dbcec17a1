//! The status of the last minutes: sampled each second, rendered at most a few times a second, and shared by all readers.

mod activity;
mod history;
mod render;

use std::{
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use bytes::Bytes;
use serde_json::Value;
use tokio::sync::watch;

use self::history::History;
pub use self::{
    activity::{Activity, ActivitySource},
    history::Class,
};
use super::http::Edge;
use crate::engine::MetricsSnapshot;

/// Interval of samples and events.
pub(super) const SAMPLE_INTERVAL: Duration = Duration::from_secs(1);
/// Age up to which a snapshot is returned again.
const FRESH: Duration = Duration::from_millis(250);
/// Maximum number of scopes whose history is kept, besides that of all scopes together.
const MAX_SCOPES: usize = 16;
/// Time after which the history of a scope that nobody reads is dropped.
const FORGET_AFTER: Duration = Duration::from_secs(60);
/// Time after the last reading for which each sample is rendered.
const RENDER_AFTER: Duration = Duration::from_secs(3);
/// Maximum number of open event streams.
pub(super) const MAX_EVENT_STREAMS: usize = 32;

/// One snapshot of the status.
pub(super) struct Snapshot {
    /// The snapshot as JSON.
    pub(super) value: Value,
    /// The snapshot as a server-sent event.
    pub(super) event: Bytes,
}

/// The histories and the newest snapshots.
pub(crate) struct StatusBoard {
    started: Instant,
    /// The histories: of all scopes together first, then of those that were read.
    feeds: Mutex<Vec<Feed>>,
    /// The number of samples.
    samples: watch::Sender<u64>,
    event_streams: AtomicUsize,
}

/// The history of one scope, or of all.
struct Feed {
    scope: Option<String>,
    history: History,
    latest: Option<(Instant, Arc<Snapshot>)>,
    read: Option<Instant>,
}

impl Feed {
    fn new(scope: Option<String>, history: History) -> Self {
        Feed { scope, history, latest: None, read: None }
    }

    fn was_read_within(&self, time: Duration) -> bool {
        self.read.is_some_and(|read| read.elapsed() < time)
    }
}

impl Default for StatusBoard {
    fn default() -> Self {
        let feeds = Mutex::new(vec![Feed::new(None, History::default())]);
        let (samples, event_streams) = (watch::Sender::new(0), AtomicUsize::new(0));
        StatusBoard { started: Instant::now(), feeds, samples, event_streams }
    }
}

impl StatusBoard {
    fn feeds(&self) -> MutexGuard<'_, Vec<Feed>> {
        // Every step leaves the list valid.
        self.feeds.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes a sample, renders what is being read, and wakes the event streams.
    pub(super) fn sample(&self, edge: &Edge) {
        let engine = edge.engine.get();
        let scopes: Vec<_> = {
            let mut feeds = self.feeds();
            feeds.retain(|feed| feed.scope.is_none() || feed.was_read_within(FORGET_AFTER));
            feeds.iter().map(|feed| (feed.scope.clone(), feed.was_read_within(RENDER_AFTER))).collect()
        };
        for (scope, is_read) in scopes {
            let (metrics, lag) = (engine.metrics(scope.as_deref()), edge.lag.clone());
            if let Some(feed) = self.feeds().iter_mut().find(|feed| feed.scope == scope) {
                feed.history.add(Instant::now(), &metrics, lag);
            }
            if is_read {
                self.render(edge, scope.as_deref());
            }
        }
        self.samples.send_modify(|samples| *samples += 1);
    }

    /// Returns a snapshot of a scope, or of all, that is at most a quarter of a second old.
    pub(super) fn snapshot(&self, edge: &Edge, scope: Option<&str>) -> Arc<Snapshot> {
        {
            let mut feeds = self.feeds();
            if let Some(feed) = feeds.iter_mut().find(|feed| feed.scope.as_deref() == scope) {
                feed.read = Some(Instant::now());
                if let Some((taken, snapshot)) = &feed.latest
                    && taken.elapsed() < FRESH
                {
                    return Arc::clone(snapshot);
                }
            }
        }
        self.render(edge, scope)
    }

    /// Renders a snapshot and keeps it for other readers.
    fn render(&self, edge: &Edge, scope: Option<&str>) -> Arc<Snapshot> {
        let engine = edge.engine.get();
        let metrics = engine.metrics(scope);
        let view = self.with_feed(scope, &metrics, edge, |feed| feed.history.view(&metrics, &edge.lag));
        let value = render::status(edge, &engine, scope, &metrics, &view, self.started.elapsed());
        let snapshot = Arc::new(Snapshot { event: format!("data: {value}\n\n").into(), value });
        self.with_feed(scope, &metrics, edge, |feed| feed.latest = Some((Instant::now(), Arc::clone(&snapshot))));
        snapshot
    }

    /// Passes the feed of a scope to `with`. It is created on first use, in place of the one that was not read longest.
    fn with_feed<T>(
        &self,
        scope: Option<&str>,
        metrics: &MetricsSnapshot,
        edge: &Edge,
        with: impl FnOnce(&mut Feed) -> T,
    ) -> T {
        let mut feeds = self.feeds();
        let at = feeds.iter().position(|feed| feed.scope.as_deref() == scope).unwrap_or_else(|| {
            if feeds.len() > MAX_SCOPES {
                let oldest = feeds.iter().enumerate().skip(1).min_by_key(|(_, feed)| feed.read);
                let oldest = oldest.map_or(1, |(at, _)| at);
                feeds.remove(oldest);
            }
            let mut feed = Feed::new(scope.map(str::to_owned), History::beginning_with(metrics, &edge.lag));
            feed.read = Some(Instant::now());
            feeds.push(feed);
            feeds.len() - 1
        });
        with(&mut feeds[at])
    }

    /// Waits for the next sample.
    pub(super) fn next_sample(&self) -> watch::Receiver<u64> {
        self.samples.subscribe()
    }

    /// Opens an event stream. Returns false if there are too many.
    pub(super) fn open_event_stream(&self) -> bool {
        let open = |count| (count < MAX_EVENT_STREAMS).then_some(count + 1);
        self.event_streams.fetch_update(Ordering::Relaxed, Ordering::Relaxed, open).is_ok()
    }

    /// Closes an event stream.
    pub(super) fn close_event_stream(&self) {
        self.event_streams.fetch_sub(1, Ordering::Relaxed);
    }
}
