//! Watching over the server's own limits, so that nobody takes them for those of a gateway.

use std::{
    collections::HashMap,
    fs,
    sync::Arc,
    time::{Duration, Instant},
};

use super::http::Edge;

/// A worker that is busy for this share of the time answers as fast as it can, and no faster.
const BUSY: f64 = 0.95;
/// A warning is not repeated before this.
const PATIENCE: Duration = Duration::from_secs(60);
/// How the threads begin that answer requests, as far as the system tells.
const WORKERS: &str = "actix-rt";

/// What was seen the last time.
pub(super) struct Watch {
    at: Instant,
    taken: u64,
    busy: HashMap<String, Duration>,
    warned: Option<Instant>,
}

impl Watch {
    pub(super) fn begin(taken: u64) -> Self {
        Watch { at: Instant::now(), taken, busy: busy(), warned: None }
    }

    /// Looks again; what is to be told, if the server was the bottleneck since the last time.
    pub(super) fn look(&mut self, taken: u64) -> Option<String> {
        self.see(Instant::now(), taken, busy())
    }

    fn see(&mut self, now: Instant, taken: u64, busy: HashMap<String, Duration>) -> Option<String> {
        let time = now.duration_since(self.at).as_secs_f64().max(1e-9);
        // Of a worker that was not seen before it is not known since when it was busy.
        let since = |(id, busy): (&String, &Duration)| busy.saturating_sub(*self.busy.get(id).unwrap_or(busy));
        let share = busy.iter().map(since).max().unwrap_or_default().as_secs_f64() / time;
        let rate = taken.saturating_sub(self.taken) as f64 / time;
        (self.at, self.taken, self.busy) = (now, taken, busy);
        let again = self.warned.is_none_or(|warned| now.duration_since(warned) >= PATIENCE);
        if share < BUSY || !again {
            return None;
        }
        self.warned = Some(now);
        Some(format!(
            "this server is the bottleneck: a worker was busy {:.0} % of the last {time:.0} s, at {rate:.0} requests/s in all. \
             Results above that rate measure the fake, not what stands before it; give it more cores, or see what \
             `fake-openai bench` says of this machine",
            (share * 100.0).min(100.0),
        ))
    }
}

/// How often a worker looks how late its timers are.
const LAG_EVERY: Duration = Duration::from_millis(250);

/// Counts how late a timer of this worker is, now and then.
pub(super) async fn measure_loop_lag(edge: Arc<Edge>) {
    let mut due = tokio::time::Instant::now();
    loop {
        due += LAG_EVERY;
        tokio::time::sleep_until(due).await;
        let now = tokio::time::Instant::now();
        edge.lag.add(now.duration_since(due));
        due = due.max(now);
    }
}

/// The time that each worker has been busy, by the thread's number; nothing where the system does not tell.
fn busy() -> HashMap<String, Duration> {
    let threads = fs::read_dir("/proc/self/task").into_iter().flatten().flatten();
    let time = |path: std::path::PathBuf| {
        let name = fs::read_to_string(path.join("comm")).ok()?;
        let times = fs::read_to_string(path.join("schedstat")).ok().filter(|_| name.starts_with(WORKERS))?;
        times.split(' ').next()?.parse().ok().map(Duration::from_nanos)
    };
    threads
        .filter_map(|thread| Some((thread.file_name().to_string_lossy().into_owned(), time(thread.path())?)))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_busy_worker_is_told_of_once_a_minute() {
        let start = Instant::now();
        let mut watch = Watch { at: start, taken: 0, busy: HashMap::new(), warned: None };
        let mut see = |secs: u64, taken, busy: &[(&str, u64)]| {
            let busy = busy.iter().map(|(id, millis)| ((*id).to_owned(), Duration::from_millis(*millis))).collect();
            watch.see(start + Duration::from_secs(secs), taken, busy)
        };
        assert_eq!(see(5, 100, &[("1", 4999), ("2", 10)]), None, "what was before it was seen does not count");
        assert_eq!(see(10, 100, &[("1", 9500), ("2", 20)]), None, "90 %");
        let warning = see(15, 120_100, &[("1", 9600), ("2", 4920)]).unwrap();
        assert!(warning.contains("busy 98 % of the last 5 s, at 24000 requests/s"), "{warning}");
        assert_eq!(see(20, 240_100, &[("1", 14_600), ("2", 9920)]), None, "it was told a moment ago");
        assert!(see(75, 250_000, &[("1", 69_600)]).is_some());
        assert_eq!(see(140, 250_000, &[]), None, "where the system does not tell");
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn the_system_tells_of_workers_by_their_names() {
        let worker = std::thread::Builder::new().name(format!("{WORKERS}|test"));
        let (started, wait) = std::sync::mpsc::channel::<()>();
        let (done, end) = std::sync::mpsc::channel::<()>();
        let worker =
            worker.spawn(move || started.send(()).and(end.recv().map_err(|_| std::sync::mpsc::SendError(())))).unwrap();
        wait.recv().unwrap();
        assert!(!busy().is_empty());
        drop(done);
        let _ = worker.join();
    }
}
