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
    thread,
    time::Duration,
};

use super::PackedEntry;

/// Maximum number of entries that wait to be written. Further ones are dropped and counted.
const MAX_WAITING: usize = 4096;
/// Maximum time for the entries that wait when the file is closed. Nothing may read a pipe, and a disk may hang.
const MAX_CLOSE: Duration = Duration::from_secs(5);
/// Time without an entry after which the lines so far are written out.
const QUIET: Duration = Duration::from_millis(100);

/// The file, and the thread that writes it.
pub struct JournalFile {
    queue: Mutex<Option<SyncSender<Arc<PackedEntry>>>>,
    writer: Mutex<Option<Writer>>,
    shared: Arc<Shared>,
}

/// The thread that writes the file.
struct Writer {
    name: String,
    /// Ends with the thread.
    ended: Receiver<()>,
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
        let mut options = OpenOptions::new();
        match is_pipe(path) {
            // Opened for writing alone, a pipe blocks until something reads it.
            true => options.read(true).write(true),
            false => options.create(true).append(true),
        };
        let file = options.open(path)?;
        let shared = Arc::new(Shared::default());
        let (queue, waiting) = sync_channel(MAX_WAITING);
        let (name, failed) = (path.display().to_string(), Arc::clone(&shared));
        let (running, ended) = sync_channel(0);
        let writer = Writer { name: name.clone(), ended };
        let write = move || {
            let _running: SyncSender<()> = running;
            if let Err(error) = write_all(file, &waiting) {
                failed.failed.store(true, Ordering::Relaxed);
                log::error!("--journal-file {name}: cannot write: {error}; further entries are not written");
            }
        };
        thread::Builder::new().name("journal".to_owned()).spawn(write)?;
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

    /// Writes the entries that wait, and closes the file. A file that cannot be written in time is given up.
    pub fn close(&self) {
        *self.queue.lock().unwrap_or_else(PoisonError::into_inner) = None;
        let writer = self.writer.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(Writer { name, ended }) = writer
            && ended.recv_timeout(MAX_CLOSE) == Err(RecvTimeoutError::Timeout)
        {
            log::error!("--journal-file {name}: not written within {MAX_CLOSE:?}; the last entries are lost");
        }
    }
}

impl Drop for JournalFile {
    fn drop(&mut self) {
        self.close();
    }
}

/// Returns true if a path is that of a named pipe.
fn is_pipe(path: &Path) -> bool {
    #[cfg(unix)]
    return std::fs::metadata(path)
        .is_ok_and(|metadata| std::os::unix::fs::FileTypeExt::is_fifo(&metadata.file_type()));
    #[cfg(not(unix))]
    return false;
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
