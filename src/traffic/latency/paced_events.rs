//! Streams at the pace of a model.

use std::time::Duration;

use super::Pace;
use crate::core::response::{Body, EventKind, EventSource, EventStream, Extent, HeadTiming, TimedBody, TimedStep};

/// The events of a stream, each with the time at which it is due.
struct PacedEvents {
    events: Box<dyn EventSource>,
    pace: Pace,
}

impl Iterator for PacedEvents {
    type Item = TimedStep;

    fn next(&mut self) -> Option<TimedStep> {
        let event = self.events.next()?;
        if event.kind == EventKind::Usage {
            self.pace.delay_usage();
        }
        let at = self.pace.due(event.tokens);
        Some(event.due(at))
    }
}

impl Pace {
    /// Sets the times of a stream's events. The head is due with the first of them.
    pub fn apply(self, EventStream { events, format }: EventStream) -> (Body, HeadTiming) {
        let mut steps = PacedEvents { events, pace: self }.peekable();
        let head = steps.peek().map_or(Duration::ZERO, |first| first.at);
        (Body::Timed(TimedBody { extent: Extent::Events(format), steps: Box::new(steps) }), HeadTiming::After(head))
    }
}
