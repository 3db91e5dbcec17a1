//! The journal: the newest requests, each with what was sent and what became of it. Bounded in number and memory.

mod bodies;
mod brief;
mod entry;
mod file;
mod heads;
mod packed;
mod shards;
mod show;

use std::{
    path::Path,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

pub(super) use self::entry::{End, Head, Opened};
use self::shards::Shards;
pub use self::{entry::Entry, file::JournalFile, packed::PackedEntry};
use crate::{
    config::JournalSpec,
    core::response::{Body, EventStream, Response},
};

/// The newest requests. An entry is added when the request is received, and completed when its record is closed.
///
/// Each entry has a slot of its own with a lock of its own, so that workers do not wait for each other.
pub struct Journal {
    spec: JournalSpec,
    slots: Box<[Slot]>,
    shards: Shards,
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

type Slot = Mutex<SlotState>;

#[derive(Default)]
struct SlotState {
    entry: Option<Arc<PackedEntry>>,
    /// The part of the journal's memory that is counted for the entry, in bytes.
    counted: usize,
}

impl SlotState {
    /// Returns the entry if it has this number.
    fn get(&self, number: u64) -> Option<Arc<PackedEntry>> {
        self.entry.clone().filter(|entry| entry.number() == number)
    }
}

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
        Ok(Journal {
            spec,
            slots,
            shards: Shards::new(),
            next,
            oldest,
            memory: AtomicUsize::new(0),
            file,
            start: (Instant::now(), unix),
        })
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

    /// Adds the entry of a request that was received. Returns true too if a header is about its call.
    pub(super) fn open(&self, opened: &Opened<'_, '_>) -> (Arc<PackedEntry>, bool) {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let (start, unix) = self.start;
        let received = unix + opened.context.started.saturating_duration_since(start);
        let renew = |old| {
            let mut shard = self.shards.route(opened.route_number);
            PackedEntry::open(old, number, received, opened, self.spec.body, shard.texts())
        };
        if self.slots.is_empty() {
            let (entry, names_call, _) = renew(None);
            return (entry, names_call);
        }
        let mut slot = self.lock(number);
        if slot.entry.as_ref().is_some_and(|newer| newer.number() > number) {
            // A thread that was slow must not replace a newer entry.
            drop(slot);
            let (entry, names_call, _) = renew(None);
            return (entry, names_call);
        }
        let (entry, names_call, size) = renew(slot.entry.take());
        slot.entry = Some(Arc::clone(&entry));
        self.recount(slot, size);
        (entry, names_call)
    }

    /// Records the head of a response.
    pub(super) fn respond(&self, entry: &PackedEntry, head: Head, response: &Response, route: u16) {
        entry.respond(head, response, self.spec.body, self.shards.route(route).texts());
        if !matches!(response.body, Body::Full(_)) {
            // It is counted at the end too, which may be far.
            self.count(entry, entry.size());
        }
    }

    /// Keeps a copy of a stream's events for its entry, in place of the bytes of its body. Returns false if that is not
    /// possible.
    pub(super) fn keep_events(&self, entry: &PackedEntry, stream: &EventStream) -> bool {
        self.is_on() && entry.keep_events(stream, self.spec.body)
    }

    /// Records the end of a request, unless it was recorded already. `body` is the start of a stream's body.
    pub(super) fn close(&self, entry: &Arc<PackedEntry>, end: End, body: &[u8], route: u16) {
        let Some(size) = entry.close(end, body, |put| put(self.shards.route(route).texts())) else { return };
        self.count(entry, size);
        if let Some(file) = &self.file {
            file.append(entry);
        }
    }

    /// Closes the entries of requests that are open, and returns them: the server stops, and cuts their responses.
    pub(super) fn drain(&self) -> Vec<Arc<PackedEntry>> {
        let mut open = self.entries();
        open.retain(|entry| entry.is_open());
        open.iter().for_each(|entry| self.close(entry, entry.drained(), b"", 0));
        open
    }

    fn lock(&self, number: u64) -> MutexGuard<'_, SlotState> {
        let count = self.slots.len() as u64;
        // Every step leaves the slot valid.
        self.slots[usize::try_from(number % count).unwrap_or_default()].lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Counts the memory of an entry, if it is not what is counted already. Usually it is: buffers are used again.
    fn count(&self, entry: &PackedEntry, size: usize) {
        if self.slots.is_empty() || !entry.set_counted(size) {
            return;
        }
        let slot = self.lock(entry.number());
        if slot.entry.as_ref().is_some_and(|kept| kept.number() == entry.number()) {
            self.recount(slot, size);
        }
    }

    /// Counts `size` bytes for a slot, and drops the oldest entries if all together are too large.
    fn recount(&self, mut slot: MutexGuard<'_, SlotState>, size: usize) {
        let before = std::mem::replace(&mut slot.counted, size);
        drop(slot);
        if size < before {
            self.memory.fetch_sub(before - size, Ordering::Relaxed);
        } else if size > before {
            let more = size - before;
            let mut memory = self.memory.fetch_add(more, Ordering::Relaxed) + more;
            while memory > self.spec.memory && self.drop_oldest() {
                memory = self.memory.load(Ordering::Relaxed);
            }
        }
    }

    /// Removes the entry of a slot, if it is meant.
    fn remove(&self, slot: &Slot, is_meant: impl FnOnce(&PackedEntry) -> bool) {
        let mut slot = slot.lock().unwrap_or_else(PoisonError::into_inner);
        if slot.entry.as_deref().is_some_and(is_meant) {
            let removed = slot.entry.take();
            self.recount(slot, 0);
            drop(removed);
        }
    }

    /// Drops the oldest entry. Returns false if there is none.
    fn drop_oldest(&self) -> bool {
        let next = self.next.load(Ordering::Relaxed);
        let count = self.slots.len() as u64;
        let first = next.saturating_sub(count);
        let number = self.oldest.fetch_max(first, Ordering::Relaxed).max(first);
        if number >= next {
            return false;
        }
        // Of several threads that drop the same entry, one advances the number.
        let _ = self.oldest.compare_exchange(number, number + 1, Ordering::Relaxed, Ordering::Relaxed);
        let slot = &self.slots[usize::try_from(number % count).unwrap_or_default()];
        self.remove(slot, |entry| entry.number() == number);
        true
    }

    /// Returns the slots that had an entry so far. A large journal is mostly empty for long.
    fn used_slots(&self) -> &[Slot] {
        let used = usize::try_from(self.opened()).unwrap_or(usize::MAX);
        // Numbers begin with 1, so the slot 0 is used last.
        if used < self.slots.len() { &self.slots[1..=used] } else { &self.slots }
    }

    /// Number of entries opened so far.
    pub fn opened(&self) -> u64 {
        self.next.load(Ordering::Relaxed) - 1
    }

    /// Returns the entries, oldest first.
    pub fn entries(&self) -> Vec<Arc<PackedEntry>> {
        let kept = |slot: &Slot| slot.lock().unwrap_or_else(PoisonError::into_inner).entry.clone();
        let mut entries: Vec<_> = self.used_slots().iter().filter_map(kept).collect();
        entries.sort_by_key(|entry| entry.number());
        entries
    }

    /// Returns the newest of the last `looked_at` entries, newest first.
    pub fn newest(&self, looked_at: usize) -> impl Iterator<Item = Arc<PackedEntry>> {
        let (next, count) = (self.next.load(Ordering::Relaxed), self.slots.len().min(looked_at) as u64);
        let numbers = (next.saturating_sub(count).max(1)..next).rev();
        numbers.filter_map(|number| self.lock(number).get(number))
    }

    /// Returns the entry with this id.
    pub fn entry(&self, id: &str) -> Option<Arc<PackedEntry>> {
        let number = Entry::number_of(id)?;
        if self.slots.is_empty() {
            return None;
        }
        self.lock(number).get(number)
    }

    /// Removes the entries of a scope; without one, all.
    pub fn clear(&self, scope: Option<&str>) {
        for slot in self.used_slots() {
            self.remove(slot, |entry| scope.is_none_or(|scope| entry.scope() == scope));
        }
    }

    /// Returns the memory of all entries, in bytes.
    pub fn memory(&self) -> usize {
        self.memory.load(Ordering::Relaxed)
    }
}
