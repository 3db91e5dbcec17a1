//! The CPU time of this process: that of its server, and that of the client that loads it.

use std::{collections::BTreeMap, ffi::OsString, fs, path::Path};

/// How the names of the client's threads begin. The system keeps 15 bytes of a name.
pub(super) const CLIENT: &str = "bench";

/// CPU time, in nanoseconds.
#[derive(Clone, Copy)]
pub(super) struct Times {
    pub(super) server: u64,
    pub(super) client: u64,
}

/// The threads as they are at one time.
pub(super) struct Threads(BTreeMap<OsString, Thread>);

struct Thread {
    is_client: bool,
    /// CPU time since it began, in nanoseconds.
    time: u64,
}

impl Threads {
    /// `None` where the system does not tell their times, as only Linux does.
    pub(super) fn now() -> Option<Threads> {
        let own = OsString::from(std::process::id().to_string());
        let mut threads = BTreeMap::new();
        for task in fs::read_dir("/proc/self/task").ok()? {
            let task = task.ok()?;
            // The first thread waits and prints. One that has ended meanwhile was of the case before.
            if task.file_name() != own
                && let Some(thread) = thread(&task.path())
            {
                threads.insert(task.file_name(), thread);
            }
        }
        (!threads.is_empty()).then_some(Threads(threads))
    }

    /// What they have had since `before`.
    pub(super) fn since(&self, before: &Threads) -> Times {
        let mut times = Times { server: 0, client: 0 };
        for (id, Thread { is_client, time }) in &self.0 {
            let had = before.0.get(id).map_or(0, |thread| thread.time);
            *(if *is_client { &mut times.client } else { &mut times.server }) += time.saturating_sub(had);
        }
        times
    }
}

fn thread(task: &Path) -> Option<Thread> {
    // The server's have many names: workers, acceptor, timers.
    let is_client = fs::read_to_string(task.join("comm")).ok()?.starts_with(CLIENT);
    let text = fs::read_to_string(task.join("schedstat")).ok()?;
    Some(Thread { is_client, time: text.split(' ').next()?.parse().ok()? })
}
