//! The end of a request: its outcome, and how far the response had come.

/// The reason for which the record of a request was closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The whole response was sent, be it a success or an error.
    Complete,
    /// The client closed the connection, or cancelled the response of a realtime session.
    ClientLeft,
    /// A fault closed or reset the connection.
    Fault,
    /// The server stopped before the response was complete.
    Drained,
}

/// The part of the response that was sent when the record was closed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Phase {
    /// Nothing.
    #[default]
    BeforeHead,
    /// The head, and no token of the reply.
    BeforeFirstToken,
    /// A part of the body.
    MidStream,
    /// The whole response.
    Done,
}

impl Outcome {
    /// All outcomes, in their declaration.
    pub const ALL: [Outcome; 4] = [Outcome::Complete, Outcome::ClientLeft, Outcome::Fault, Outcome::Drained];

    /// Returns the name in metrics and records.
    pub fn name(self) -> &'static str {
        match self {
            Outcome::Complete => "complete",
            Outcome::ClientLeft => "client_left",
            Outcome::Fault => "fault",
            Outcome::Drained => "drained",
        }
    }

    pub(super) fn index(self) -> usize {
        self as usize
    }
}

impl Phase {
    /// Returns the phase of a response that is not complete, by what was sent of it.
    pub(super) fn reached(sent_head: bool, is_stream: bool, tokens: u64, bytes: u64) -> Self {
        match () {
            () if !sent_head => Phase::BeforeHead,
            () if tokens > 0 || !is_stream && bytes > 0 => Phase::MidStream,
            () => Phase::BeforeFirstToken,
        }
    }

    /// All phases, in their declaration.
    pub const ALL: [Phase; 4] = [Phase::BeforeHead, Phase::BeforeFirstToken, Phase::MidStream, Phase::Done];

    /// Returns the name in metrics and records.
    pub fn name(self) -> &'static str {
        match self {
            Phase::BeforeHead => "before_head",
            Phase::BeforeFirstToken => "before_first_token",
            Phase::MidStream => "mid_stream",
            Phase::Done => "done",
        }
    }

    pub(super) fn index(self) -> usize {
        self as usize
    }
}
