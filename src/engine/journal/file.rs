//! The file of the journal: one JSON line for each closed entry, written by a thread of its own.

use std::{
    fs::{File, OpenOptions},
    io::{self, BufWriter, Write},
    path::Path,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
        mpsc::{Receiver, RecvTimeoutError, SyncSender, TrySendError, sync_channel},
    },
    thread::{self, JoinHandle},
    time::Duration,
};

use super::PackedEntry;

/// Maximum number of entries that wait to be written. Further ones are dropped and counted.
const MAX_WAITING: usize = 4096;
/// Time without an entry after which the lines so far are written out.
const QUIET: Duration = Duration::from_millis(100);

/// The file, and the thread that writes it.
pub struct JournalFile {
    queue: Mutex<Option<SyncSender<Arc<PackedEntry>>>>,
    writer: Mutex<Option<JoinHandle<()>>>,
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    dropped: AtomicU64,
    failed: AtomicBool,
}

impl JournalFile {
    /// Opens a file to append to.
    ///
    /// # Errors
    /// The file cannot be opened, or the system lacks threads.
    pub fn open(path: &Path) -> io::Result<Self> {
        let file = OpenOptions::new().create(true).append(true).open(path)?;
        let shared = Arc::new(Shared::default());
        let (queue, waiting) = sync_channel(MAX_WAITING);
        let (name, failed) = (path.display().to_string(), Arc::clone(&shared));
        let write = move || {
            if let Err(error) = write_all(file, &waiting) {
                failed.failed.store(true, Ordering::Relaxed);
                log::error!("--journal-file {name}: cannot write: {error}; further entries are not written");
            }
        };
        let writer = thread::Builder::new().name("journal".to_owned()).spawn(write)?;
        Ok(JournalFile { queue: Mutex::new(Some(queue)), writer: Mutex::new(Some(writer)), shared })
    }

    /// Appends an entry. It is dropped and counted if the disk is too slow.
    pub(super) fn append(&self, entry: &Arc<PackedEntry>) {
        let queue = self.queue.lock().unwrap_or_else(PoisonError::into_inner);
        let sent = queue.as_ref().map(|queue| queue.try_send(Arc::clone(entry)));
        if let Some(Err(TrySendError::Full(_) | TrySendError::Disconnected(_))) | None = sent {
            self.shared.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Number of entries that were not written.
    pub fn dropped(&self) -> u64 {
        self.shared.dropped.load(Ordering::Relaxed)
    }

    /// Writes the entries that wait, and closes the file.
    pub fn close(&self) {
        *self.queue.lock().unwrap_or_else(PoisonError::into_inner) = None;
        let writer = self.writer.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(writer) = writer {
            // A panic of the thread has been logged.
            let _ = writer.join();
        }
    }
}

impl Drop for JournalFile {
    fn drop(&mut self) {
        self.close();
    }
}

/// Writes entries until the queue is closed.
fn write_all(file: File, waiting: &Receiver<Arc<PackedEntry>>) -> io::Result<()> {
    let mut out = BufWriter::new(file);
    loop {
        let entry = match waiting.recv_timeout(QUIET) {
            Ok(entry) => entry,
            Err(RecvTimeoutError::Disconnected) => return out.flush(),
            Err(RecvTimeoutError::Timeout) => {
                out.flush()?;
                match waiting.recv() {
                    Ok(entry) => entry,
                    Err(_) => return Ok(()),
                }
            }
        };
        serde_json::to_writer(&mut out, &entry.read().show())?;
        out.write_all(b"\n")?;
    }
}
