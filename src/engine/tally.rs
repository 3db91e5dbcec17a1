//! Counting requests: each once, and closed once.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use bytes::Bytes;

use crate::{
    answer::{Answer, Content, Frames},
    limit::Hold,
};

/// How many requests were taken, and how many of them are over.
#[derive(Debug, Default)]
pub(super) struct Tally {
    taken: AtomicU64,
    ended: AtomicU64,
}

impl Tally {
    /// How many have been taken, and how many of them are under way.
    pub(super) fn read(&self) -> (u64, u64) {
        // In this order, so that a request can't be seen ended before it is seen taken.
        let ended = self.ended.load(Ordering::Acquire);
        let taken = self.taken.load(Ordering::Acquire);
        (taken, taken - ended)
    }
}

/// One request's entry: made when it is taken, closed when its answer has been handed out to the end, is cut, or the
/// client has left.
pub(super) struct Receipt {
    tally: Arc<Tally>,
    /// What the request holds of its limits until then.
    hold: Option<Hold>,
}

impl Receipt {
    pub(super) fn open(tally: &Arc<Tally>) -> Self {
        tally.taken.fetch_add(1, Ordering::AcqRel);
        Receipt { tally: Arc::clone(tally), hold: None }
    }

    /// Keeps what a request holds of its limits until the answer has ended.
    pub(super) fn keep(&mut self, hold: Option<Hold>) {
        self.hold = hold;
    }

    /// Stays open until the last frame of the answer is out, or the answer is dropped.
    pub(super) fn travel_with(mut self, answer: Answer) -> Answer {
        if let Some(hold) = &mut self.hold {
            // What is refused costs nothing in the end.
            hold.settle(answer.cost.unwrap_or_default());
        }
        let content = match answer.content {
            Content::Whole(bytes) => Content::Whole(bytes),
            Content::Frames(frames) => Content::Frames(Box::new(Receipted { frames, receipt: Some(self) })),
        };
        Answer { content, ..answer }
    }
}

impl Drop for Receipt {
    fn drop(&mut self) {
        self.tally.ended.fetch_add(1, Ordering::AcqRel);
    }
}

struct Receipted {
    frames: Frames,
    receipt: Option<Receipt>,
}

impl Iterator for Receipted {
    type Item = Bytes;

    fn next(&mut self) -> Option<Bytes> {
        let frame = self.frames.next();
        if frame.is_none() {
            self.receipt = None;
        }
        frame
    }
}
