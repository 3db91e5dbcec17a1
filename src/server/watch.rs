//! Detection of the server's own limits, so that they are not mistaken for those of a gateway.

use std::{
    collections::HashMap,
    fs,
    sync::Arc,
    time::{Duration, Instant},
};

use super::http::Edge;

/// The share of busy time above which a worker is saturated.
const BUSY: f64 = 0.95;
/// Minimum time between two warnings.
const WARNING_INTERVAL: Duration = Duration::from_secs(60);
/// The start of the names of worker threads.
const WORKER_NAME: &str = "actix-rt";

/// The state at the last check.
pub(super) struct Watch {
    at: Instant,
    taken: u64,
    busy: HashMap<String, Duration>,
    warned: Option<Instant>,
}

impl Watch {
    pub(super) fn start(taken: u64) -> Self {
        Watch { at: Instant::now(), taken, busy: busy_times(), warned: None }
    }

    /// Checks the time since the last check. Returns a warning if the server was the bottleneck.
    pub(super) fn check(&mut self, taken: u64) -> Option<String> {
        self.check_at(Instant::now(), taken, busy_times())
    }

    fn check_at(&mut self, now: Instant, taken: u64, busy: HashMap<String, Duration>) -> Option<String> {
        let time = now.duration_since(self.at).as_secs_f64().max(1e-9);
        // Of a new worker, the time before this check is unknown.
        let since = |(id, busy): (&String, &Duration)| busy.saturating_sub(*self.busy.get(id).unwrap_or(busy));
        let share = busy.iter().map(since).max().unwrap_or_default().as_secs_f64() / time;
        let rate = taken.saturating_sub(self.taken) as f64 / time;
        (self.at, self.taken, self.busy) = (now, taken, busy);
        let again = self.warned.is_none_or(|warned| now.duration_since(warned) >= WARNING_INTERVAL);
        if share < BUSY || !again {
            return None;
        }
        self.warned = Some(now);
        Some(format!(
            "this server is the bottleneck: a worker was busy {:.0} % of the last {time:.0} s, at {rate:.0} requests/s in total. \
             Results above that rate measure the fake, not the client or gateway under test; give it more cores, \
             or measure this machine with `fake-openai bench`",
            (share * 100.0).min(100.0),
        ))
    }
}

/// Interval at which a worker measures its timer's lateness.
const LAG_INTERVAL: Duration = Duration::from_millis(250);

/// Measures the lateness of this worker's timer at intervals.
pub(super) async fn measure_loop_lag(edge: Arc<Edge>) {
    let mut due = tokio::time::Instant::now();
    loop {
        due += LAG_INTERVAL;
        tokio::time::sleep_until(due).await;
        let now = tokio::time::Instant::now();
        edge.lag.add(now.duration_since(due));
        due = due.max(now);
    }
}

/// The busy time of each worker, by thread id; empty if the system does not provide it.
fn busy_times() -> HashMap<String, Duration> {
    let threads = fs::read_dir("/proc/self/task").into_iter().flatten().flatten();
    let time = |path: std::path::PathBuf| {
        let name = fs::read_to_string(path.join("comm")).ok()?;
        let times = fs::read_to_string(path.join("schedstat")).ok().filter(|_| name.starts_with(WORKER_NAME))?;
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
    fn a_busy_worker_is_reported_once_a_minute() {
        let start = Instant::now();
        let mut watch = Watch { at: start, taken: 0, busy: HashMap::new(), warned: None };
        let mut check = |secs: u64, taken, busy: &[(&str, u64)]| {
            let busy = busy.iter().map(|(id, millis)| ((*id).to_owned(), Duration::from_millis(*millis))).collect();
            watch.check_at(start + Duration::from_secs(secs), taken, busy)
        };
        assert_eq!(check(5, 100, &[("1", 4999), ("2", 10)]), None, "time before the first check does not count");
        assert_eq!(check(10, 100, &[("1", 9500), ("2", 20)]), None, "90 %");
        let warning = check(15, 120_100, &[("1", 9600), ("2", 4920)]).unwrap();
        assert!(warning.contains("busy 98 % of the last 5 s, at 24000 requests/s"), "{warning}");
        assert_eq!(check(20, 240_100, &[("1", 14_600), ("2", 9920)]), None, "the last warning was a moment ago");
        assert!(check(75, 250_000, &[("1", 69_600)]).is_some());
        assert_eq!(check(140, 250_000, &[]), None, "the system lists no workers");
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn the_system_lists_worker_threads_by_name() {
        let worker = std::thread::Builder::new().name(format!("{WORKER_NAME}|test"));
        let (started, wait) = std::sync::mpsc::channel::<()>();
        let (done, end) = std::sync::mpsc::channel::<()>();
        let worker =
            worker.spawn(move || started.send(()).and(end.recv().map_err(|_| std::sync::mpsc::SendError(())))).unwrap();
        wait.recv().unwrap();
        assert!(!busy_times().is_empty());
        drop(done);
        let _ = worker.join();
    }
}
