//! Steps: the bytes of a body, each with the time at which it is due.

use std::{iter, time::Duration};

use bytes::Bytes;

use super::{Body, HeadTiming, StreamFormat};

/// Steps in order.
pub type Steps = Box<dyn Iterator<Item = TimedStep> + Send>;

/// A body that is sent in timed steps.
pub struct TimedBody {
    /// The extent.
    pub extent: Extent,
    /// The steps.
    pub steps: Steps,
}

/// The extent of a body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Extent {
    /// A content length, in bytes.
    Length(u64),
    /// The events of a stream in this format, without a content length.
    Events(StreamFormat),
}

/// A step with its time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TimedStep {
    /// Time since the response was created.
    pub at: Duration,
    /// The step.
    pub step: Step,
}

/// The part of a reply that some bytes complete.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Delivered {
    /// Number of events.
    pub events: u32,
    /// Number of reply tokens.
    pub tokens: u32,
}

/// One step of sending a body.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// Sends these bytes, with which so much of the reply is delivered.
    Send(Bytes, Delivered),
    /// Sends nothing more, while the connection stays open. No step after it is due.
    Stall,
    /// Closes the connection without ending the body.
    Cut,
    /// Resets the connection.
    Reset,
}

impl Body {
    /// Converts the body into steps. Bytes without a time of their own are due with the head. If no head is sent, the
    /// only step is what happens instead.
    pub fn into_steps(self, head: HeadTiming) -> Steps {
        let once = |at, step| Box::new(iter::once(TimedStep { at, step }));
        match (head, self) {
            (HeadTiming::Never, _) => once(Duration::ZERO, Step::Stall),
            (HeadTiming::Closed, _) => once(Duration::ZERO, Step::Cut),
            (HeadTiming::Reset, _) => once(Duration::ZERO, Step::Reset),
            (HeadTiming::After(at), Body::Full(bytes)) => once(at, Step::Send(bytes, Delivered::default())),
            (HeadTiming::After(at), Body::Stream(stream)) => Box::new(stream.events.map(move |event| event.due(at))),
            (HeadTiming::After(_), Body::Timed(timed)) => timed.steps,
            // The messages of a session are no part of the response.
            (HeadTiming::After(_), Body::Session(_)) => Box::new(iter::empty()),
        }
    }

    /// Returns the format of a stream's events; `None` for other bodies.
    pub fn stream_format(&self) -> Option<StreamFormat> {
        match self {
            Body::Stream(stream) => Some(stream.format),
            Body::Timed(TimedBody { extent: Extent::Events(format), .. }) => Some(*format),
            Body::Full(_) | Body::Timed(_) | Body::Session(_) => None,
        }
    }
}
