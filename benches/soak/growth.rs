//! The trend of memory over time.

use std::{fmt, time::Duration};

const MIB: f64 = 1024.0 * 1024.0;

/// Samples of resident memory: hours, and MiB.
#[derive(Default)]
pub struct Growth(Vec<(f64, f64)>);

/// A straight line through the samples.
pub struct Fit {
    /// MiB an hour.
    pub slope: f64,
    /// Half of the interval that holds the slope with 95 % confidence.
    pub margin: f64,
    samples: usize,
    /// Number of independent samples that are worth as much: each resembles the one before.
    worth: f64,
}

impl Fit {
    /// The lower end of the interval.
    pub fn low(&self) -> f64 {
        self.slope - self.margin
    }
}

impl fmt::Display for Fit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Fit { slope, margin, samples, worth } = self;
        write!(f, "{slope:+.2} ± {margin:.2} MiB an hour (95 %; {samples} samples, worth {worth:.0} independent ones)")
    }
}

impl Growth {
    /// Adds a sample.
    pub fn add(&mut self, time: Duration, bytes: f64) {
        self.0.push((time.as_secs_f64() / 3600.0, bytes / MIB));
    }

    /// Fits a line by least squares. `None` for fewer than ten samples.
    pub fn fit(&self) -> Option<Fit> {
        let samples = self.0.len();
        let n = samples as f64;
        if samples < 10 {
            return None;
        }
        let mean = |of: fn(&(f64, f64)) -> f64| self.0.iter().map(of).sum::<f64>() / n;
        let (time, size) = (mean(|sample| sample.0), mean(|sample| sample.1));
        let spread: f64 = self.0.iter().map(|(x, _)| (x - time).powi(2)).sum();
        let slope = self.0.iter().map(|(x, y)| (x - time) * (y - size)).sum::<f64>() / spread;
        let rest: Vec<f64> = self.0.iter().map(|(x, y)| y - size - slope * (x - time)).collect();
        let squares: f64 = rest.iter().map(|r| r * r).sum();
        // Successive samples resemble each other, which makes a margin that ignores it too narrow.
        let like = rest.windows(2).map(|pair| pair[0] * pair[1]).sum::<f64>() / squares.max(f64::MIN_POSITIVE);
        let like = like.clamp(0.0, 0.99);
        let worth = (n * (1.0 - like) / (1.0 + like)).max(3.0);
        let error = (squares / (worth - 2.0) / spread).sqrt();
        // Student's t for 95 %, near enough.
        Some(Fit { slope, margin: (1.96 + 2.6 / (worth - 2.0)) * error, samples, worth })
    }
}
