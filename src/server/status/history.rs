//! The history of the counters: requests of each second, and the times of the last minute.

use std::{collections::VecDeque, time::Instant};

use http::StatusCode;

use crate::{
    engine::{MetricsSnapshot, TimeHistogram},
    server::lateness::LatenessHistogram,
};

/// Number of seconds whose requests are kept.
pub(super) const MAX_SECONDS: usize = 300;
/// Number of samples from one copy of the histograms to the next.
const COPY_EVERY: usize = 5;
/// Maximum number of copies of the histograms: those of the last minute.
const MAX_COPIES: usize = 12;

/// The classes of statuses that are counted together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    /// Success.
    Ok,
    /// Redirects.
    Redirect,
    /// Errors of the client, except for 429.
    Client,
    /// Too many requests.
    TooMany,
    /// Errors of the server.
    Server,
    /// No status was sent, or a WebSocket was opened.
    Other,
}

impl Class {
    /// All classes.
    pub const ALL: [Class; 6] =
        [Class::Ok, Class::Redirect, Class::Client, Class::TooMany, Class::Server, Class::Other];

    /// Returns the class of a status.
    pub(super) fn of(status: Option<StatusCode>) -> Class {
        match status.map_or(0, |status| status.as_u16()) {
            200..=299 => Class::Ok,
            300..=399 => Class::Redirect,
            429 => Class::TooMany,
            400..=499 => Class::Client,
            500..=599 => Class::Server,
            _ => Class::Other,
        }
    }

    /// Returns the name in records.
    pub fn name(self) -> &'static str {
        match self {
            Class::Ok => "2xx",
            Class::Redirect => "3xx",
            Class::Client => "4xx",
            Class::TooMany => "429",
            Class::Server => "5xx",
            Class::Other => "other",
        }
    }
}

/// Number of requests of each class.
pub(super) type Counts = [u64; Class::ALL.len()];

/// Returns the number of requests of each class since the start.
pub(super) fn counts(metrics: &MetricsSnapshot) -> Counts {
    let mut counts = Counts::default();
    for (labels, count) in &metrics.requests {
        counts[Class::of(labels.status) as usize] += count;
    }
    counts
}

/// Copies of the histograms of times.
#[derive(Clone)]
pub(super) struct Times {
    /// Time to the first token: intended, and as it was.
    pub(super) first_token: [TimeHistogram; 2],
    /// Time between tokens: intended, and as it was.
    pub(super) between_tokens: [TimeHistogram; 2],
    /// Lateness of the workers' own timers.
    pub(super) lag: LatenessHistogram,
}

impl Times {
    fn new(metrics: &MetricsSnapshot, lag: LatenessHistogram) -> Self {
        let (first, between) = (&metrics.times.first_token, &metrics.times.between_tokens);
        Times {
            first_token: [first.intended.clone(), first.actual.clone()],
            between_tokens: [between.intended.clone(), between.actual.clone()],
            lag,
        }
    }

    fn since(&self, earlier: &Times) -> Times {
        let pair =
            |now: &[TimeHistogram; 2], then: &[TimeHistogram; 2]| [now[0].since(&then[0]), now[1].since(&then[1])];
        Times {
            first_token: pair(&self.first_token, &earlier.first_token),
            between_tokens: pair(&self.between_tokens, &earlier.between_tokens),
            lag: self.lag.since(&earlier.lag),
        }
    }
}

/// The history of one scope, or of all.
#[derive(Default)]
pub(super) struct History {
    /// The time and the counts of the last sample.
    last: Option<(Instant, Counts)>,
    /// The requests of each second, oldest first.
    seconds: VecDeque<Counts>,
    /// Number of samples since the last copy.
    since_copy: usize,
    /// Copies of the histograms, oldest first.
    copies: VecDeque<Times>,
}

/// The last minutes, ready to be rendered.
pub(super) struct View {
    /// The requests of each second, oldest first.
    pub(super) seconds: Vec<Counts>,
    /// The times of the last minute.
    pub(super) times: Times,
}

impl History {
    /// Creates the history of a scope that has had requests before. Their times count as those of the first minute.
    pub(super) fn beginning_with(metrics: &MetricsSnapshot, lag: &LatenessHistogram) -> Self {
        let mut history = History::default();
        history.add(Instant::now(), metrics, lag.clone());
        history.copies.clear();
        history
    }

    /// Adds a sample.
    pub(super) fn add(&mut self, now: Instant, metrics: &MetricsSnapshot, lag: LatenessHistogram) {
        let counts = counts(metrics);
        let last = self.last.replace((now, counts));
        if let Some((at, last)) = last {
            if counts.iter().zip(&last).any(|(now, last)| now < last) {
                // The counters were reset.
                *self = History { last: Some((now, counts)), ..History::default() };
                return;
            }
            let passed = now.duration_since(at).as_secs_f64().round().max(1.0) as u64;
            let passed = passed.min(MAX_SECONDS as u64);
            for second in 0..passed {
                // A late sample spreads its requests over the seconds that it stands for.
                let share = |class: usize| {
                    let new = counts[class] - last[class];
                    new * (second + 1) / passed - new * second / passed
                };
                if self.seconds.len() == MAX_SECONDS {
                    self.seconds.pop_front();
                }
                self.seconds.push_back(std::array::from_fn(share));
            }
        }
        self.since_copy += 1;
        if self.since_copy >= COPY_EVERY || last.is_none() {
            self.since_copy = 0;
            if self.copies.len() == MAX_COPIES {
                self.copies.pop_front();
            }
            self.copies.push_back(Times::new(metrics, lag));
        }
    }

    /// Returns the last minutes.
    pub(super) fn view(&self, metrics: &MetricsSnapshot, lag: &LatenessHistogram) -> View {
        let now = Times::new(metrics, lag.clone());
        let times = match self.copies.front().filter(|_| self.copies.len() == MAX_COPIES) {
            Some(earlier) => now.since(earlier),
            None => now,
        };
        View { seconds: self.seconds.iter().copied().collect(), times }
    }

    /// Returns the requests of the last second.
    pub(super) fn last_second(&self) -> Counts {
        self.seconds.back().copied().unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use std::{sync::Arc, time::Duration};

    use super::*;
    use crate::engine::RequestLabels;

    fn metrics(ok: u64, refused: u64) -> MetricsSnapshot {
        let mut metrics = MetricsSnapshot::default();
        for (status, count) in [(200, ok), (429, refused)] {
            let name: Arc<str> = "".into();
            let status = StatusCode::from_u16(status).ok();
            let labels = RequestLabels { route: name.clone(), model: name.clone(), deployment: name, status };
            metrics.requests.insert(labels, count);
        }
        metrics
    }

    fn seconds(history: &History) -> Vec<u64> {
        history.seconds.iter().map(|counts| counts.iter().sum()).collect()
    }

    #[test]
    fn a_late_sample_is_spread_over_its_seconds_and_a_reset_begins_again() {
        let (mut history, start, lag) = (History::default(), Instant::now(), LatenessHistogram::default());
        let mut add = |second, ok, refused| {
            history.add(start + Duration::from_secs(second), &metrics(ok, refused), lag.clone());
            seconds(&history)
        };
        assert_eq!(add(0, 0, 0), [] as [u64; 0]);
        assert_eq!(add(1, 5, 2), [7]);
        assert_eq!(add(4, 15, 2), [7, 3, 3, 4]);
        assert_eq!(add(5, 15, 2), [7, 3, 3, 4, 0]);
        assert_eq!(add(6, 1, 0), [] as [u64; 0], "the counters were reset");
        assert_eq!(add(7, 3, 1), [3]);
        assert_eq!(add(10_000, 3, 1).len(), MAX_SECONDS);
    }

    #[test]
    fn times_are_those_of_the_last_minute() {
        let (mut history, start, lag) = (History::default(), Instant::now(), LatenessHistogram::default());
        let metrics = metrics(0, 0);
        for second in 0..200 {
            let slow = second < 100;
            metrics.times.first_token.actual.add(if slow { 9_000_000 } else { 1000 });
            history.add(start + Duration::from_secs(second), &metrics, lag.clone());
        }
        let actual = &history.view(&metrics, &lag).times.first_token[1];
        assert!((50..=60).contains(&actual.count()), "{}", actual.count());
        assert!(actual.quantile(1.0).unwrap() < 2000);
        assert_eq!(history.copies.len(), MAX_COPIES);
    }
}
