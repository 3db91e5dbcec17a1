//! The activity of the last second, for the status line of a terminal.

use std::{sync::Arc, time::Duration};

use tokio::sync::watch;

use super::{Class, history::Counts};
use crate::{engine::TimeHistogram, server::http::Edge};

/// The activity of the last second.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Activity {
    /// Number of requests since the start.
    pub received: u64,
    /// Number of requests that ended in the last second, in the order of [`Class::ALL`].
    pub ended: Counts,
    /// Number of open streams.
    pub open_streams: u64,
    /// Time to the first token that 99 % of the streams of the last minute did not exceed: actual and intended.
    pub first_token: Option<(Duration, Duration)>,
}

/// Reads the activity of a running server.
pub struct ActivitySource {
    edge: Arc<Edge>,
    samples: watch::Receiver<u64>,
}

impl ActivitySource {
    pub(in crate::server) fn new(edge: Arc<Edge>) -> Self {
        let samples = edge.status.next_sample();
        ActivitySource { edge, samples }
    }

    /// Waits for the next second and returns its activity.
    pub async fn next(&mut self) -> Activity {
        // The sender is a part of `edge`.
        let _ = self.samples.changed().await;
        let metrics = self.edge.engine.get().metrics(None);
        let feeds = self.edge.status.feeds();
        let Some(feed) = feeds.first() else { return Activity::default() };
        let [intended, actual] = feed.history.view(&metrics, &self.edge.lag).times.first_token;
        let p99 = |times: TimeHistogram| times.quantile(0.99).map(Duration::from_micros);
        Activity {
            received: metrics.received,
            ended: feed.history.last_second(),
            open_streams: metrics.open_streams,
            first_token: p99(actual).zip(p99(intended)),
        }
    }
}

impl Activity {
    /// Returns each class that had requests, with its number.
    pub fn classes(&self) -> impl Iterator<Item = (Class, u64)> {
        Class::ALL.into_iter().zip(self.ended).filter(|(_, count)| *count > 0)
    }
}
