//! The table of samples.

use std::time::Duration;

use crate::{counts::Counts, server::Sample};

const MIB: f64 = 1024.0 * 1024.0;

/// The table, a row for each sample.
pub struct Table {
    /// Time and requests of the last row.
    last: (Duration, u64),
}

impl Table {
    /// Prints the names of the columns.
    pub fn new() -> Self {
        println!(
            "{:<8}{:>7}{:>12}{:>11}{:>12}{:>11}{:>6}{:>9}{:>11}{:>10}{:>12}",
            "phase",
            "s",
            "requests",
            "req/s",
            "MiB",
            "anon MiB",
            "fds",
            "threads",
            "in flight",
            "warnings",
            "unexpected"
        );
        Table { last: (Duration::ZERO, 0) }
    }

    pub fn print(&mut self, phase: &str, time: Duration, sample: &Sample, counts: &Counts, warnings: usize) {
        let sent = counts.sent();
        let rate = (sent - self.last.1) as f64 / (time - self.last.0).as_secs_f64();
        println!(
            "{phase:<8}{:>7.0}{sent:>12}{rate:>11.0}{:>12.2}{:>11.2}{:>6}{:>9}{:>11}{warnings:>10}{:>12}",
            time.as_secs_f64(),
            sample.resident / MIB,
            sample.anonymous / MIB,
            sample.descriptors,
            sample.threads,
            sample.in_flight,
            counts.surprise_count(),
        );
        self.last = (time, sent);
    }
}
