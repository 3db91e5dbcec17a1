//! An answer as plain data: what will be sent, not the sending of it.

use bytes::Bytes;
use http::{HeaderName, HeaderValue, StatusCode};

use crate::standing::Cost;

/// One answer, ready for the edge to deliver.
pub struct Answer {
    /// The status line's code.
    pub status: StatusCode,
    /// The headers; their order says nothing. The edge adds those of its own trade (date, length, framing, CORS).
    pub headers: Vec<(HeaderName, HeaderValue)>,
    /// What follows the head.
    pub content: Content,
    /// What it has cost in tokens, if the model has said something.
    pub cost: Option<Cost>,
}

/// The body of an answer.
pub enum Content {
    /// All of it at once.
    Whole(Bytes),
    /// Event by event.
    Frames(Frames),
}

/// A lazy sequence of frames, each of them one event as it goes over the wire.
pub type Frames = Box<dyn Iterator<Item = Bytes> + Send>;

impl Answer {
    /// An answer without headers or body.
    pub fn empty(status: StatusCode) -> Self {
        Answer { status, headers: Vec::new(), content: Content::Whole(Bytes::new()), cost: None }
    }
}
