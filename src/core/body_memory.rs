//! The memory that request bodies take, bounded for the whole server. Nobody waits for it: a body that does not fit is
//! refused.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

/// The bytes that all request bodies take, and the most that they may take.
#[derive(Debug)]
pub struct BodyMemory {
    max: u64,
    used: AtomicU64,
}

/// The bytes of one body, given back on drop.
#[derive(Debug)]
pub struct Share {
    memory: Arc<BodyMemory>,
    bytes: u64,
}

/// A body does not fit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MemoryFull {
    /// The bytes that the body needs, as far as it was read.
    pub needed: u64,
    /// The bytes for all bodies.
    pub max: u64,
}

impl BodyMemory {
    /// Creates a memory of at most `max` bytes.
    pub fn new(max: u64) -> Self {
        BodyMemory { max, used: AtomicU64::new(0) }
    }

    /// Number of bytes in use.
    pub fn used(&self) -> u64 {
        self.used.load(Ordering::Relaxed)
    }

    /// Returns an empty share.
    pub fn share(self: &Arc<Self>) -> Share {
        Share { memory: Arc::clone(self), bytes: 0 }
    }
}

impl Share {
    /// Number of bytes of this share.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Grows to `bytes` if it has fewer.
    ///
    /// # Errors
    /// [`MemoryFull`]; the share stays as it is.
    pub fn grow_to(&mut self, bytes: u64) -> Result<(), MemoryFull> {
        let max = self.memory.max;
        if self.grow_within(bytes, max) { Ok(()) } else { Err(MemoryFull { needed: bytes, max }) }
    }

    /// Grows by `high` bytes while half of the memory stays free, else by `low()` bytes: the closer estimate takes time.
    ///
    /// # Errors
    /// [`MemoryFull`]; the share stays as it is.
    pub fn grow_by_estimate(&mut self, high: u64, low: impl FnOnce() -> u64) -> Result<(), MemoryFull> {
        let (held, half) = (self.bytes, self.memory.max / 2);
        if self.grow_within(held.saturating_add(high), half) { Ok(()) } else { self.grow_to(held + low()) }
    }

    /// Grows to `bytes` if all shares together then have at most `max`.
    fn grow_within(&mut self, bytes: u64, max: u64) -> bool {
        let Some(more) = bytes.checked_sub(self.bytes).filter(|more| *more > 0) else { return true };
        let sum = |used: u64| used.checked_add(more).filter(|sum| *sum <= max);
        let grown = self.memory.used.fetch_update(Ordering::Relaxed, Ordering::Relaxed, sum).is_ok();
        if grown {
            self.bytes = bytes;
        }
        grown
    }

    /// Shrinks to `bytes` if it has more.
    pub fn shrink_to(&mut self, bytes: u64) {
        if bytes < self.bytes {
            self.memory.used.fetch_sub(self.bytes - bytes, Ordering::Relaxed);
            self.bytes = bytes;
        }
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.shrink_to(0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_never_exceed_the_memory_and_are_given_back() {
        let memory = Arc::new(BodyMemory::new(100));
        let (mut one, mut other) = (memory.share(), memory.share());
        assert_eq!((one.grow_to(60), other.grow_to(40)), (Ok(()), Ok(())));
        assert_eq!(one.grow_to(61), Err(MemoryFull { needed: 61, max: 100 }));
        assert_eq!((one.grow_to(5), one.bytes(), memory.used()), (Ok(()), 60, 100));
        other.shrink_to(10);
        other.shrink_to(20);
        assert_eq!((other.bytes(), memory.used()), (10, 70));
        assert_eq!(one.grow_to(u64::MAX), Err(MemoryFull { needed: u64::MAX, max: 100 }));
        assert_eq!(one.grow_to(90), Ok(()));
        one.shrink_to(10);
        assert_eq!((one.grow_by_estimate(30, || panic!("not needed")), one.bytes()), (Ok(()), 40));
        assert_eq!((one.grow_by_estimate(1, || 20), one.bytes()), (Ok(()), 60));
        assert_eq!(one.grow_by_estimate(u64::MAX, || 31), Err(MemoryFull { needed: 91, max: 100 }));
        drop((one, other));
        assert_eq!(memory.used(), 0);
    }
}
