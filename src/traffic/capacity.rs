//! A limit on concurrent responses, with a queue for the requests that wait.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// The configuration of a [`ConcurrencyLimit`].
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ConcurrencySpec {
    /// Number of responses at once.
    pub max: usize,
    /// Number of requests that may wait.
    pub queue: usize,
    /// Factor on the time between tokens when all permits are taken. It is 1 with one permit taken, and grows linearly.
    pub slowdown: f64,
}

/// A number of permits with a queue: first come, first served.
#[derive(Debug)]
pub struct ConcurrencyLimit {
    spec: ConcurrencySpec,
    free: Arc<Semaphore>,
    waiting: AtomicUsize,
}

/// The current use of a [`ConcurrencyLimit`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Load {
    /// Number of responses that hold a permit.
    pub running: usize,
    /// Number of requests that wait for a permit.
    pub waiting: usize,
    /// Number of permits in total.
    pub max: usize,
}

/// The right to respond. Dropped, it passes to the next request.
#[derive(Debug)]
pub struct Permit(#[allow(dead_code, reason = "its drop returns the permit")] OwnedSemaphorePermit);

/// All permits are taken and the queue is full.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct QueueFull;

impl ConcurrencyLimit {
    /// Creates a limit with all permits free.
    pub fn new(spec: ConcurrencySpec) -> Self {
        ConcurrencyLimit { spec, free: Arc::new(Semaphore::new(spec.max)), waiting: AtomicUsize::new(0) }
    }

    /// Takes a permit, and waits for one if none is free. Dropping the future leaves the queue at once.
    ///
    /// # Errors
    /// [`QueueFull`]: the queue is full.
    pub async fn acquire(&self) -> Result<Permit, QueueFull> {
        if let Ok(permit) = Arc::clone(&self.free).try_acquire_owned() {
            return Ok(Permit(permit));
        }
        let _place = QueuePlace::take(&self.waiting, self.spec.queue)?;
        Arc::clone(&self.free).acquire_owned().await.map(Permit).map_err(|_| QueueFull)
    }

    /// Returns the current factor on the time between tokens.
    pub fn slowdown(&self) -> f64 {
        let taken = self.spec.max.saturating_sub(self.free.available_permits());
        let share = taken.saturating_sub(1) as f64 / self.spec.max.saturating_sub(1).max(1) as f64;
        1.0 + (self.spec.slowdown - 1.0) * share
    }

    /// Returns the current use.
    pub fn load(&self) -> Load {
        Load {
            running: self.spec.max.saturating_sub(self.free.available_permits()),
            waiting: self.waiting.load(Ordering::Acquire),
            max: self.spec.max,
        }
    }
}

/// A place in the queue, given up when dropped.
struct QueuePlace<'a>(&'a AtomicUsize);

impl<'a> QueuePlace<'a> {
    fn take(count: &'a AtomicUsize, max: usize) -> Result<Self, QueueFull> {
        let one_more = |waiting: usize| (waiting < max).then_some(waiting + 1);
        count.fetch_update(Ordering::AcqRel, Ordering::Acquire, one_more).map_err(|_| QueueFull)?;
        Ok(QueuePlace(count))
    }
}

impl Drop for QueuePlace<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::AcqRel);
    }
}

#[cfg(test)]
mod tests {
    use std::{
        pin::pin,
        task::{Context, Poll, Waker},
    };

    use super::*;

    fn load(limit: &ConcurrencyLimit) -> (usize, usize) {
        let Load { running, waiting, .. } = limit.load();
        (running, waiting)
    }

    fn poll<T>(future: std::pin::Pin<&mut impl Future<Output = T>>) -> Poll<T> {
        future.poll(&mut Context::from_waker(Waker::noop()))
    }

    #[test]
    fn a_request_gets_a_permit_then_waits_then_is_refused() {
        let limit = ConcurrencyLimit::new(ConcurrencySpec { max: 2, queue: 2, slowdown: 3.0 });
        let acquire = || match poll(pin!(limit.acquire())) {
            Poll::Ready(permit) => permit,
            Poll::Pending => panic!("it waits"),
        };
        assert_eq!(limit.slowdown(), 1.0);
        let first = acquire().unwrap();
        assert_eq!(limit.slowdown(), 1.0, "a single response is not slowed");
        let second = acquire().unwrap();
        assert_eq!(limit.slowdown(), 3.0);
        {
            let (mut third, mut fourth) = (pin!(limit.acquire()), pin!(limit.acquire()));
            assert!(poll(third.as_mut()).is_pending() && poll(fourth.as_mut()).is_pending());
            assert_eq!(load(&limit), (2, 2));
            assert_eq!(acquire().unwrap_err(), QueueFull);
            drop(first);
            assert!(poll(fourth.as_mut()).is_pending(), "the first in the queue is served first");
            let Poll::Ready(Ok(_permit)) = poll(third.as_mut()) else { panic!("a permit is free") };
            assert_eq!(load(&limit), (2, 1));
        }
        // Both futures are dropped: one was in the queue, the other had its permit.
        assert_eq!(load(&limit), (1, 0));
        drop(second);
        assert_eq!(load(&limit), (0, 0));
    }
}
