//! Capacity: how many answers are said at once, and what becomes of those that must wait.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// A capacity as it is asked for.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ConcurrencySpec {
    /// Answers that are said at once.
    pub max: usize,
    /// Requests that wait for one of these to end.
    pub queue: usize,
    /// What the gaps between tokens are multiplied with when all places are taken. With one taken it is 1, and it grows
    /// evenly between.
    pub slowdown: f64,
}

/// A number of places, and a queue before them: first come, first served.
#[derive(Debug)]
pub struct ConcurrencyLimit {
    spec: ConcurrencySpec,
    free: Arc<Semaphore>,
    waiting: AtomicUsize,
}

/// How full it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Load {
    /// Answers that take a place.
    pub running: usize,
    /// Requests that wait for one.
    pub waiting: usize,
    /// The places that there are.
    pub max: usize,
}

/// A place. Dropped, it is the next one's.
#[derive(Debug)]
pub struct Permit(#[allow(dead_code, reason = "it is held, and that is all")] OwnedSemaphorePermit);

/// Neither a place nor one in the queue is free.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct QueueFull;

impl ConcurrencyLimit {
    /// All places free.
    pub fn new(spec: ConcurrencySpec) -> Self {
        ConcurrencyLimit { spec, free: Arc::new(Semaphore::new(spec.max)), waiting: AtomicUsize::new(0) }
    }

    /// Takes a place, and waits for one if there is none. Who no longer waits leaves the queue at once.
    ///
    /// # Errors
    /// [`QueueFull`]: the queue is full.
    pub async fn acquire(&self) -> Result<Permit, QueueFull> {
        if let Ok(permit) = Arc::clone(&self.free).try_acquire_owned() {
            return Ok(Permit(permit));
        }
        let _waiting = Waiting::queue(&self.waiting, self.spec.queue)?;
        Arc::clone(&self.free).acquire_owned().await.map(Permit).map_err(|_| QueueFull)
    }

    /// What a gap between tokens is multiplied with now.
    pub fn slowdown(&self) -> f64 {
        let taken = self.spec.max.saturating_sub(self.free.available_permits());
        let share = taken.saturating_sub(1) as f64 / self.spec.max.saturating_sub(1).max(1) as f64;
        1.0 + (self.spec.slowdown - 1.0) * share
    }

    /// How many answers are being said, and how many requests wait.
    pub fn load(&self) -> Load {
        Load {
            running: self.spec.max.saturating_sub(self.free.available_permits()),
            waiting: self.waiting.load(Ordering::Acquire),
            max: self.spec.max,
        }
    }
}

/// A place in the queue.
struct Waiting<'a>(&'a AtomicUsize);

impl<'a> Waiting<'a> {
    fn queue(count: &'a AtomicUsize, max: usize) -> Result<Self, QueueFull> {
        let one_more = |waiting: usize| (waiting < max).then_some(waiting + 1);
        count.fetch_update(Ordering::AcqRel, Ordering::Acquire, one_more).map_err(|_| QueueFull)?;
        Ok(Waiting(count))
    }
}

impl Drop for Waiting<'_> {
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

    fn load(capacity: &ConcurrencyLimit) -> (usize, usize) {
        let Load { running, waiting, .. } = capacity.load();
        (running, waiting)
    }

    fn poll<T>(future: std::pin::Pin<&mut impl Future<Output = T>>) -> Poll<T> {
        future.poll(&mut Context::from_waker(Waker::noop()))
    }

    #[test]
    fn places_then_a_queue_then_nothing() {
        let capacity = ConcurrencyLimit::new(ConcurrencySpec { max: 2, queue: 2, slowdown: 3.0 });
        let enter = || match poll(pin!(capacity.acquire())) {
            Poll::Ready(seat) => seat,
            Poll::Pending => panic!("it waits"),
        };
        assert_eq!(capacity.slowdown(), 1.0);
        let first = enter().unwrap();
        assert_eq!(capacity.slowdown(), 1.0, "alone it is as fast as it can be");
        let second = enter().unwrap();
        assert_eq!(capacity.slowdown(), 3.0);
        {
            let (mut third, mut fourth) = (pin!(capacity.acquire()), pin!(capacity.acquire()));
            assert!(poll(third.as_mut()).is_pending() && poll(fourth.as_mut()).is_pending());
            assert_eq!(load(&capacity), (2, 2));
            assert_eq!(enter().unwrap_err(), QueueFull);
            drop(first);
            assert!(poll(fourth.as_mut()).is_pending(), "who came first is served first");
            let Poll::Ready(Ok(_seat)) = poll(third.as_mut()) else { panic!("the place is free") };
            assert_eq!(load(&capacity), (2, 1));
        }
        // Both gave up, one in the queue and one that had its place.
        assert_eq!(load(&capacity), (1, 0));
        drop(second);
        assert_eq!(load(&capacity), (0, 0));
    }
}
