//! Bodies with times: sends each step when it is due.

use std::{
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::Bytes;
use socket2::Socket;
use tokio::time::{Instant, Sleep};

use super::{Broken, FLUSH_TIME, OpenReceipt, end, record_panic, reset};
use crate::{
    core::{
        panics::catch,
        response::{Step, Steps, TimedStep},
    },
    engine::Outcome,
    server::lateness::LatenessHistogram,
};

/// A body that is sent in timed steps. Each step has its own deadline from the start, so that delays do not add up.
pub(in crate::server::http) struct PacedBody {
    steps: Steps,
    start: Instant,
    /// The step that is not due yet.
    next: Option<TimedStep>,
    sleep: Pin<Box<Sleep>>,
    /// The deadline of `sleep`, if it is running.
    until: Option<Instant>,
    socket: Option<Arc<Socket>>,
    lateness: Arc<LatenessHistogram>,
}

impl PacedBody {
    /// Sends steps from `start` on.
    pub(in crate::server::http) fn new(
        steps: Steps,
        start: Instant,
        socket: Option<Arc<Socket>>,
        lateness: Arc<LatenessHistogram>,
    ) -> Self {
        let sleep = Box::pin(tokio::time::sleep_until(start));
        PacedBody { steps, start, next: None, sleep, until: None, socket, lateness }
    }

    /// A body that is cut at once.
    pub(super) fn cut() -> Self {
        let steps = std::iter::once(TimedStep { at: Duration::ZERO, step: Step::Cut });
        PacedBody::new(Box::new(steps), Instant::now(), None, Arc::default())
    }

    /// Waits until an instant.
    fn poll_until(&mut self, due: Instant, context: &mut Context<'_>) -> Poll<()> {
        if self.until != Some(due) {
            if due <= Instant::now() {
                return Poll::Ready(());
            }
            self.sleep.as_mut().reset(due);
            self.until = Some(due);
        }
        self.sleep.as_mut().poll(context)
    }

    /// The next bytes, once they are due. A panic of the steps cuts the response. The receipt is closed at the end.
    pub(in crate::server::http) fn poll_next(
        &mut self,
        receipt: &mut OpenReceipt,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Bytes, Broken>>> {
        if self.next.is_none() {
            self.next = catch(|| self.steps.next()).unwrap_or_else(|panic| {
                record_panic(&panic, receipt);
                Some(TimedStep { at: Duration::ZERO, step: Step::Cut })
            });
            if let Some(TimedStep { at, step: Step::Cut | Step::Reset }) = &mut self.next {
                *at = (*at).max(self.start.elapsed()).saturating_add(FLUSH_TIME);
            }
        }
        let at = match &self.next {
            None => {
                end(receipt, Outcome::Complete);
                return Poll::Ready(None);
            }
            Some(TimedStep { step: Step::Stall, .. }) => return Poll::Pending,
            Some(TimedStep { at, .. }) => *at,
        };
        // A time that no clock reaches.
        let Some(due) = self.start.checked_add(at) else { return Poll::Pending };
        ready!(self.poll_until(due, context));
        let broken = match self.next.take() {
            Some(TimedStep { step: Step::Send(bytes, delivered), .. }) => {
                if due > self.start {
                    self.lateness.add(Instant::now().saturating_duration_since(due));
                }
                if let Some(receipt) = receipt {
                    receipt.body_sent(bytes.len(), delivered, Some(at));
                    receipt.keep(&bytes);
                }
                return Poll::Ready(Some(Ok(bytes)));
            }
            Some(TimedStep { step: Step::Reset, .. }) => {
                reset(self.socket.as_deref());
                Broken::Reset
            }
            Some(TimedStep { step: Step::Cut | Step::Stall, .. }) | None => Broken::Cut,
        };
        end(receipt, Outcome::Fault);
        Poll::Ready(Some(Err(broken)))
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use super::*;
    use crate::core::response::Delivered;

    fn timed(list: impl Iterator<Item = TimedStep> + Send + 'static) -> PacedBody {
        PacedBody::new(Box::new(list), Instant::now(), None, Arc::default())
    }

    async fn next(timed: &mut PacedBody) -> Option<Result<Bytes, Broken>> {
        poll_fn(|context| timed.poll_next(&mut None, context)).await
    }

    /// Ten thousand events, 20.3 ms apart.
    fn events() -> impl Iterator<Item = TimedStep> + Send {
        (0..10_000).map(|n| TimedStep { at: due(n), step: Step::Send(Bytes::from_static(b"x"), Delivered::default()) })
    }

    fn due(n: u32) -> Duration {
        Duration::from_micros(20_300) * n
    }

    // The paused clock jumps when nothing can run, so any lateness measured here is a fault of the code.
    #[tokio::test(start_paused = true)]
    async fn delays_do_not_add_up_over_ten_thousand_events() {
        let (start, mut timed) = (Instant::now(), timed(events()));
        for n in 0..10_000 {
            assert!(next(&mut timed).await.unwrap().is_ok());
            let late = start.elapsed().checked_sub(due(n)).expect("no event is early");
            // Tokio's timer has a resolution of 1 ms.
            assert!(late <= Duration::from_millis(1), "event {n} is {late:?} late");
        }
        assert!(next(&mut timed).await.is_none());
    }

    #[tokio::test(start_paused = true)]
    async fn a_slow_reader_gets_overdue_events_at_once_and_the_rest_on_time() {
        let (start, mut timed) = (Instant::now(), timed(events()));
        let _ = next(&mut timed).await;
        tokio::time::advance(Duration::from_secs(5)).await;
        for n in 1..=246 {
            let _ = next(&mut timed).await;
            assert_eq!(start.elapsed(), Duration::from_secs(5), "event {n} was due");
        }
        let _ = next(&mut timed).await;
        assert!(start.elapsed() >= due(247) && start.elapsed() <= due(247) + Duration::from_millis(1));
    }

    #[tokio::test(start_paused = true)]
    async fn a_cut_comes_after_the_bytes_before_it_were_flushed() {
        let steps = [Step::Send(Bytes::from_static(b"x"), Delivered::default()), Step::Cut];
        let (start, mut timed) =
            (Instant::now(), timed(steps.into_iter().map(|step| TimedStep { at: Duration::ZERO, step })));
        assert!(next(&mut timed).await.unwrap().is_ok());
        assert!(next(&mut timed).await.unwrap().is_err());
        assert!(start.elapsed() >= FLUSH_TIME);
    }

    #[tokio::test(start_paused = true)]
    async fn nothing_comes_after_a_stall_or_at_a_time_beyond_the_clock() {
        let stall = TimedStep { at: Duration::ZERO, step: Step::Stall };
        let late = TimedStep { at: Duration::MAX, step: Step::Cut };
        for first in [stall, late] {
            let cut = TimedStep { at: Duration::ZERO, step: Step::Cut };
            let mut timed = timed([first, cut].into_iter());
            let year = Duration::from_secs(365 * 86_400);
            assert!(tokio::time::timeout(year, next(&mut timed)).await.is_err());
        }
    }
}
