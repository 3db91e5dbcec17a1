//! The CPU time of this process: that of its server, and that of the client that loads it.

use std::{fs, path::Path};

/// How the names of the client's threads begin. The system keeps 15 bytes of a name.
pub(super) const CLIENT: &str = "bench";

/// CPU time since the threads that are there began, in nanoseconds.
#[derive(Clone, Copy)]
pub(super) struct Times {
    pub(super) server: u64,
    pub(super) client: u64,
}

impl Times {
    /// The times as they are now; `None` where the system does not tell those of a thread, as only Linux does.
    pub(super) fn now() -> Option<Times> {
        let (mut times, own) = (Times { server: 0, client: 0 }, std::process::id().to_string());
        for task in fs::read_dir("/proc/self/task").ok()? {
            let task = task.ok()?;
            // The first thread waits and prints.
            if task.file_name().to_str() == Some(&own) {
                continue;
            }
            // A thread that has ended meanwhile was of the case before.
            let Ok(name) = fs::read_to_string(task.path().join("comm")) else { continue };
            let Some(time) = on_cpu(&task.path()) else { continue };
            // The server's have many names: workers, acceptor, timers.
            *(if name.starts_with(CLIENT) { &mut times.client } else { &mut times.server }) += time;
        }
        (times.server > 0).then_some(times)
    }
}

fn on_cpu(task: &Path) -> Option<u64> {
    let text = fs::read_to_string(task.join("schedstat")).ok()?;
    text.split(' ').next()?.parse().ok()
}
