//! The journal: the newest requests, each with what was sent and what became of it. Bounded in number and memory.

mod brief;
mod entry;
mod file;
mod show;
mod text;

use std::{
    path::Path,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

pub use self::{entry::Entry, file::JournalFile};
pub(super) use self::{
    entry::{End, Head, Opened, SpareBuffers},
    text::HeadText,
};
use crate::config::JournalSpec;

/// The newest requests. An entry is added when the request is received, and completed when its record is closed.
///
/// Each entry has a slot of its own with a lock of its own, so that workers do not wait for each other.
pub struct Journal {
    spec: JournalSpec,
    slots: Box<[Slot]>,
    /// The number of the next entry, from 1.
    next: AtomicU64,
    /// The number below which no entry is kept.
    oldest: AtomicU64,
    /// The memory of all entries, in bytes.
    memory: AtomicUsize,
    file: Option<JournalFile>,
    /// The start: for entries, and as time since 1970.
    start: (Instant, Duration),
}

type Slot = Mutex<Option<Arc<Entry>>>;

impl Journal {
    /// Creates an empty journal, whose closed entries are also appended to a file.
    ///
    /// # Errors
    /// The file cannot be opened, or the system lacks threads.
    pub fn new(spec: JournalSpec, file: Option<&Path>) -> std::io::Result<Self> {
        let slots = (0..spec.entries).map(|_| Slot::default()).collect();
        let file = file.map(JournalFile::open).transpose()?;
        let unix = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let (next, oldest) = (AtomicU64::new(1), AtomicU64::new(1));
        Ok(Journal { spec, slots, next, oldest, memory: AtomicUsize::new(0), file, start: (Instant::now(), unix) })
    }

    /// Returns the file that closed entries are appended to.
    pub fn file(&self) -> Option<&JournalFile> {
        self.file.as_ref()
    }

    /// Returns the settings.
    pub fn spec(&self) -> JournalSpec {
        self.spec
    }

    /// Returns true if requests need an entry.
    pub(super) fn is_on(&self) -> bool {
        !self.slots.is_empty() || self.file.is_some()
    }

    /// Adds the entry of a request that was received. Returns buffers for its response too.
    pub(super) fn open(&self, opened: &Opened<'_, '_>) -> (Arc<Entry>, SpareBuffers) {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let (start, unix) = self.start;
        let received = unix + opened.context.started.saturating_duration_since(start);
        let old = self.take_older(number);
        if let Some(old) = &old {
            self.discount(old);
        }
        let (entry, spare) = Entry::renew(old, number, received, opened, self.spec.body);
        if self.put(&entry) {
            self.count(&entry, entry.opened_size());
        }
        (entry, spare)
    }

    /// Takes the entry whose place the new one gets.
    fn take_older(&self, number: u64) -> Option<Arc<Entry>> {
        if self.slots.is_empty() {
            return None;
        }
        self.slot(number).lock().unwrap_or_else(PoisonError::into_inner).take_if(|entry| entry.number() < number)
    }

    /// Puts an entry into its slot. Returns false if it is not kept.
    fn put(&self, entry: &Arc<Entry>) -> bool {
        if self.slots.is_empty() {
            return false;
        }
        let mut slot = self.slot(entry.number()).lock().unwrap_or_else(PoisonError::into_inner);
        // A thread that was slow must not replace a newer entry.
        let is_newest = slot.as_ref().is_none_or(|other| other.number() < entry.number());
        let replaced = if is_newest { slot.replace(Arc::clone(entry)) } else { None };
        drop(slot);
        if let Some(old) = replaced {
            self.discount(&old);
        }
        is_newest
    }

    /// Records the head of a response.
    pub(super) fn respond(&self, entry: &Entry, head: Head) {
        let size = head.size();
        entry.set_head(head);
        self.count(entry, size);
    }

    /// Records the end of a request, unless it was recorded already.
    pub(super) fn close(&self, entry: &Arc<Entry>, end: End) {
        let size = end.size();
        if !entry.set_end(end) {
            return;
        }
        self.count(entry, size);
        if let Some(file) = &self.file {
            file.append(entry);
        }
    }

    /// Closes the entries of requests that are open, and returns them: the server stops, and cuts their responses.
    pub(super) fn drain(&self) -> Vec<Arc<Entry>> {
        let mut open = self.entries();
        open.retain(|entry| entry.end().is_none());
        open.iter().for_each(|entry| self.close(entry, entry.drained()));
        open
    }

    fn slot(&self, number: u64) -> &Slot {
        let count = self.slots.len() as u64;
        &self.slots[usize::try_from(number % count).unwrap_or_default()]
    }

    /// Counts more memory of an entry, and drops the oldest entries if it is too much.
    fn count(&self, entry: &Entry, size: usize) {
        if self.slots.is_empty() || !entry.grow(size) {
            return;
        }
        let mut memory = self.memory.fetch_add(size, Ordering::Relaxed) + size;
        while memory > self.spec.memory && self.drop_oldest() {
            memory = self.memory.load(Ordering::Relaxed);
        }
    }

    /// Subtracts the memory of an entry that is no longer kept.
    fn discount(&self, entry: &Entry) {
        self.memory.fetch_sub(entry.forget(), Ordering::Relaxed);
    }

    /// Drops the oldest entry. Returns false if there is none.
    fn drop_oldest(&self) -> bool {
        let next = self.next.load(Ordering::Relaxed);
        let first = next.saturating_sub(self.slots.len() as u64);
        let number = self.oldest.fetch_max(first, Ordering::Relaxed).max(first);
        if number >= next {
            return false;
        }
        // Of several threads that drop the same entry, one advances the number.
        let _ = self.oldest.compare_exchange(number, number + 1, Ordering::Relaxed, Ordering::Relaxed);
        let taken = {
            let mut slot = self.slot(number).lock().unwrap_or_else(PoisonError::into_inner);
            if slot.as_ref().is_some_and(|entry| entry.number() == number) { slot.take() } else { None }
        };
        if let Some(entry) = taken {
            self.discount(&entry);
        }
        true
    }

    /// Number of entries opened so far.
    pub fn opened(&self) -> u64 {
        self.next.load(Ordering::Relaxed) - 1
    }

    /// Returns the entries, oldest first.
    pub fn entries(&self) -> Vec<Arc<Entry>> {
        let kept = |slot: &Slot| slot.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let mut entries: Vec<_> = self.slots.iter().filter_map(kept).collect();
        entries.sort_by_key(|entry| entry.number());
        entries
    }

    /// Returns the newest of the last `looked_at` entries, newest first.
    pub fn newest(&self, looked_at: usize) -> impl Iterator<Item = Arc<Entry>> {
        let (next, count) = (self.next.load(Ordering::Relaxed), self.slots.len().min(looked_at) as u64);
        let numbers = (next.saturating_sub(count).max(1)..next).rev();
        numbers.filter_map(|number| {
            let slot = self.slot(number).lock().unwrap_or_else(PoisonError::into_inner);
            slot.clone().filter(|entry| entry.number() == number)
        })
    }

    /// Returns the entry with this id.
    pub fn entry(&self, id: &str) -> Option<Arc<Entry>> {
        let number = Entry::number_of(id)?;
        if self.slots.is_empty() {
            return None;
        }
        let slot = self.slot(number).lock().unwrap_or_else(PoisonError::into_inner);
        slot.clone().filter(|entry| entry.number() == number)
    }

    /// Removes the entries of a scope; without one, all.
    pub fn clear(&self, scope: Option<&str>) {
        for slot in &self.slots {
            let is_meant = |entry: &mut Arc<Entry>| scope.is_none_or(|scope| entry.scope() == scope);
            let removed = slot.lock().unwrap_or_else(PoisonError::into_inner).take_if(is_meant);
            if let Some(entry) = removed {
                self.discount(&entry);
            }
        }
    }

    /// Returns the memory of all entries, in bytes.
    pub fn memory(&self) -> usize {
        self.memory.load(Ordering::Relaxed)
    }
}
