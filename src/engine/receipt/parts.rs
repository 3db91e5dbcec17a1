//! The parts of an open record.

use std::time::Duration;

use http::StatusCode;

use crate::core::limit_status::Cost;

/// The response that the engine returned.
pub(super) struct Returned {
    pub(super) status: StatusCode,
    pub(super) sends_head: bool,
    pub(super) is_stream: bool,
    /// Time until the head as planned.
    pub(super) intended: Duration,
    /// The time of a response that is sent whole at once, if it is known.
    pub(super) at_once: Option<Duration>,
    pub(super) cost: Option<Cost>,
    pub(super) cached: u64,
    pub(super) reasoning: u64,
}

/// The part of the response that was sent.
#[derive(Default)]
pub(super) struct Sent {
    pub(super) head: bool,
    pub(super) events: u64,
    pub(super) tokens: u64,
    pub(super) bytes: u64,
    /// Time to the first token.
    pub(super) first_token: Option<Duration>,
    /// Time to the last event with tokens: as intended, and as it was.
    pub(super) last_token: Option<(Duration, Duration)>,
    /// Intended time to the last event.
    pub(super) intended_end: Option<Duration>,
}
