//! A limit on concurrent responses, with a queue for the requests that wait.

use std::{
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use serde::{Deserialize, Serialize};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// The configuration of a [`ConcurrencyLimit`].
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ConcurrencySpec {
    /// Number of responses at once.
    pub max: usize,
    /// Number of requests that may wait. `None`: as many as the provider lets wait.
    pub queue: Option<usize>,
    /// Time of a waiting stream's head. `None`: the provider's.
    pub head: Option<QueuedHead>,
    /// Factor on the time between tokens when all permits are taken. It is 1 with one permit taken, and grows linearly.
    pub slowdown: f64,
}

/// Time at which the head of a stream is sent that waits for a permit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum QueuedHead {
    /// With the first event, once there is a permit
    #[default]
    Held,
    /// Before the wait
    AtOnce,
}

/// Number of requests that may wait without a setting, at a provider whose queue is bounded.
const USUAL_QUEUE: usize = 1000;

/// The queue of a provider, where the configuration has no setting for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct QueueStyle {
    /// Time of a waiting stream's head.
    pub head: QueuedHead,
    /// False if any number of requests may wait.
    pub bounded: bool,
}

impl Default for QueueStyle {
    fn default() -> Self {
        QueueStyle { head: QueuedHead::default(), bounded: true }
    }
}

impl ConcurrencySpec {
    /// Returns the number of requests that may wait at a provider with this queue.
    pub fn queue(&self, style: QueueStyle) -> usize {
        self.queue.unwrap_or(if style.bounded { USUAL_QUEUE } else { usize::MAX })
    }
}

/// A number of permits with a queue: first come, first served.
#[derive(Debug)]
pub struct ConcurrencyLimit {
    spec: ConcurrencySpec,
    free: Arc<Semaphore>,
    waiting: Arc<AtomicUsize>,
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

/// A place in the queue that is kept while the head of a response is sent already.
pub struct Waiting(Pin<Box<dyn Future<Output = Option<Permit>> + Send>>);

impl Future for Waiting {
    type Output = Option<Permit>;

    fn poll(mut self: Pin<&mut Self>, context: &mut std::task::Context<'_>) -> std::task::Poll<Option<Permit>> {
        self.0.as_mut().poll(context)
    }
}

/// A permit, or a place in the queue.
pub enum Admission {
    /// A permit was free.
    Granted(Permit),
    /// No permit was free. Dropping the value leaves the queue.
    Queued(Waiting),
}

/// All permits are taken and the queue is full.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct QueueFull;

impl ConcurrencyLimit {
    /// Creates a limit with all permits free.
    pub fn new(spec: ConcurrencySpec) -> Self {
        ConcurrencyLimit { spec, free: Arc::new(Semaphore::new(spec.max)), waiting: Arc::default() }
    }

    /// Takes a permit, and waits for one if none is free. Dropping the future leaves the queue at once.
    ///
    /// # Errors
    /// [`QueueFull`]: the queue is full.
    pub async fn acquire(&self, style: QueueStyle) -> Result<Permit, QueueFull> {
        match self.admit(style)? {
            Admission::Granted(permit) => Ok(permit),
            Admission::Queued(waiting) => waiting.await.ok_or(QueueFull),
        }
    }

    /// Takes a permit, or a place in the queue if none is free.
    ///
    /// # Errors
    /// [`QueueFull`]: the queue is full.
    pub fn admit(&self, style: QueueStyle) -> Result<Admission, QueueFull> {
        if let Ok(permit) = Arc::clone(&self.free).try_acquire_owned() {
            return Ok(Admission::Granted(Permit(permit)));
        }
        let place = QueuePlace::take(&self.waiting, self.spec.queue(style))?;
        let free = Arc::clone(&self.free);
        Ok(Admission::Queued(Waiting(Box::pin(async move {
            let permit = free.acquire_owned().await.ok().map(Permit);
            drop(place);
            permit
        }))))
    }

    /// Returns the time at which the head of a waiting stream is sent.
    pub fn head(&self, style: QueueStyle) -> QueuedHead {
        self.spec.head.unwrap_or(style.head)
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
struct QueuePlace(Arc<AtomicUsize>);

impl QueuePlace {
    fn take(count: &Arc<AtomicUsize>, max: usize) -> Result<Self, QueueFull> {
        let one_more = |waiting: usize| (waiting < max).then_some(waiting + 1);
        count.fetch_update(Ordering::AcqRel, Ordering::Acquire, one_more).map_err(|_| QueueFull)?;
        Ok(QueuePlace(Arc::clone(count)))
    }
}

impl Drop for QueuePlace {
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
    fn the_configuration_bounds_the_queue_before_the_provider() {
        let spec = |queue| ConcurrencySpec { max: 1, queue, head: None, slowdown: 1.0 };
        let unbounded = QueueStyle { bounded: false, ..QueueStyle::default() };
        assert_eq!((spec(None).queue(QueueStyle::default()), spec(None).queue(unbounded)), (1000, usize::MAX));
        assert_eq!(spec(Some(3)).queue(unbounded), 3);
        let full = ConcurrencyLimit::new(spec(None));
        let _permit = full.admit(unbounded).map_err(|_| ()).unwrap();
        let waiting: Vec<_> = (0..2000).map(|_| full.admit(unbounded).map_err(|_| ()).unwrap()).collect();
        assert_eq!(load(&full), (1, 2000));
        assert!(full.admit(QueueStyle::default()).is_err());
        drop(waiting);
        assert_eq!(load(&full), (1, 0));
    }

    #[test]
    fn a_request_gets_a_permit_then_waits_then_is_refused() {
        let limit = ConcurrencyLimit::new(ConcurrencySpec { max: 2, queue: Some(2), head: None, slowdown: 3.0 });
        let acquire = || match poll(pin!(limit.acquire(QueueStyle::default()))) {
            Poll::Ready(permit) => permit,
            Poll::Pending => panic!("it waits"),
        };
        assert_eq!(limit.slowdown(), 1.0);
        let first = acquire().unwrap();
        assert_eq!(limit.slowdown(), 1.0, "a single response is not slowed");
        let second = acquire().unwrap();
        assert_eq!(limit.slowdown(), 3.0);
        {
            let (mut third, mut fourth) =
                (pin!(limit.acquire(QueueStyle::default())), pin!(limit.acquire(QueueStyle::default())));
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
