//! The CPU time of this process, separately for the server and for the client that loads it.

use std::{collections::BTreeMap, ffi::OsString, fs, path::Path};

/// First part of the names of client threads. Linux truncates a name to 15 bytes.
pub(super) const CLIENT: &str = "bench";

/// CPU times in nanoseconds.
#[derive(Clone, Copy)]
pub(super) struct CpuTimes {
    pub(super) server: u64,
    pub(super) client: u64,
}

/// The CPU times of all threads at one moment.
pub(super) struct Threads(BTreeMap<OsString, Thread>);

struct Thread {
    is_client: bool,
    /// CPU time since the start of the thread, in nanoseconds.
    time: u64,
}

impl Threads {
    /// Reads the CPU times; `None` on systems other than Linux.
    pub(super) fn now() -> Option<Threads> {
        let own = OsString::from(std::process::id().to_string());
        let mut threads = BTreeMap::new();
        for task in fs::read_dir("/proc/self/task").ok()? {
            let task = task.ok()?;
            // The main thread does no work that counts. A thread that has ended meanwhile belongs to the previous case.
            if task.file_name() != own
                && let Some(thread) = thread(&task.path())
            {
                threads.insert(task.file_name(), thread);
            }
        }
        (!threads.is_empty()).then_some(Threads(threads))
    }

    /// Returns the CPU times since `before`.
    pub(super) fn since(&self, before: &Threads) -> CpuTimes {
        let mut times = CpuTimes { server: 0, client: 0 };
        for (id, Thread { is_client, time }) in &self.0 {
            let earlier = before.0.get(id).map_or(0, |thread| thread.time);
            *(if *is_client { &mut times.client } else { &mut times.server }) += time.saturating_sub(earlier);
        }
        times
    }
}

fn thread(task: &Path) -> Option<Thread> {
    // Server threads have many names: workers, acceptor, timers.
    let is_client = fs::read_to_string(task.join("comm")).ok()?.starts_with(CLIENT);
    let text = fs::read_to_string(task.join("schedstat")).ok()?;
    Some(Thread { is_client, time: text.split(' ').next()?.parse().ok()? })
}
