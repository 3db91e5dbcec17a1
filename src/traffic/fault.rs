//! Faults: what may go wrong with an answer, how it is written, and what becomes of the answer then.
//!
//! A fault changes an [`Response`](crate::core::response::Answer) and nothing else. So each works in every dialect.

mod corrupt;
mod parse;
mod plan;
mod spec;
mod timeline;

use std::time::Duration;

pub use self::{
    parse::Fault,
    plan::Plan,
    spec::{FaultContext, FaultSpec},
};
use super::latency::Distribution;

/// What may go wrong. The list is closed.
#[derive(Clone, Debug, PartialEq)]
pub enum FaultKind {
    /// An error instead of an answer: its status, and a name where one status has several errors; an empty one is the
    /// usual error of that status.
    Status(u16, String),
    /// What an error says of when to come back; `None` for nothing.
    RetryAfter(Option<Duration>),
    /// The connection is reset: before the head, or within the body.
    Reset,
    /// The connection is closed before the head.
    Empty,
    /// Nothing ever comes.
    Hang,
    /// The time to the first token.
    Ttft(Distribution),
    /// The time from token to token.
    Itl(Distribution),
    /// The body comes at so many bytes a second.
    SlowBody(u64),
    /// The body ends in the middle, and has no end.
    Cut,
    /// The body stops for so long, or for ever.
    Stall(Option<Duration>),
    /// An event, or what follows in a body, is not what it should be.
    Malformed,
    /// An error in place of the next event, where the answer is streamed; it has a name as a status has.
    Error(String),
    /// An event comes twice.
    Dup,
    /// A stream does not say that it is over.
    NoDone,
    /// A stream does not say why it ended.
    NoFinish,
    /// A stream does not say what it has cost.
    NoUsage,
    /// While nothing comes, a comment effect, so often.
    Keepalive(Duration),
    /// The model refuses.
    Refusal,
    /// A filter stops the model.
    Filter,
    /// The answer names another model than was asked for.
    WrongModel,
    /// The body is compressed, whether that was asked for or not.
    Gzip,
    /// The head promises so many bytes more, or fewer, than there are.
    WrongLength(i64),
    /// So many headers more.
    Headers(u32),
    /// So many bytes more, which mean nothing.
    Huge(u64),
    /// Nothing: whatever else is planned after it is not.
    Ok,
}

/// Names of errors that the engine gives itself, each with the one status that has it. All others are keys
/// `injected:<name>` of the `errors` in fixtures.
pub const NAMED_BY_STATUS: [(u16, &str); 4] =
    [(400, "context_length_exceeded"), (429, "insufficient_quota"), (429, "requests"), (429, "tokens")];

/// A row of the table of faults.
pub struct FaultRow {
    /// Its name.
    pub name: &'static str,
    /// How it is written.
    pub syntax: &'static str,
    /// What it does.
    pub effect: &'static str,
}

const fn row(name: &'static str, syntax: &'static str, effect: &'static str) -> FaultRow {
    FaultRow { name, syntax, effect }
}

/// The table of faults that `fake-openai faults` prints. 429 represents every status from 400 to 599.
pub const FAULTS: [FaultRow; 26] = [
    row("429", "429  503:slow_down", "Returns the provider's error for this status, with its body and headers"),
    row(
        "retry-after",
        "retry-after=7  retry-after=none",
        "Sets Retry-After on errors to 7 s (or a time such as 500ms), or removes it",
    ),
    row("ttft", "ttft=20s", "Sets the time to the first token or to the error; any distribution"),
    row("itl", "itl=50ms±10ms", "Sets the time between tokens; any distribution"),
    row("hang", "hang", "Accepts the request and never responds"),
    row("empty", "empty", "Closes the connection without sending a byte"),
    row("reset", "reset  reset@40", "Resets the connection before the response head, or after 40 events"),
    row("down", "down@30s+60s", "Same as reset; here from 30 s to 90 s after the start"),
    row("cut", "cut@40", "Closes the connection after 40 events, before the end of the body"),
    row("stall", "stall@20  stall@20:30s", "Sends nothing after 20 events, or pauses there for 30 s"),
    row("slow-body", "slow-body=100B", "Sends the body at 100 bytes per second"),
    row("keepalive", "keepalive=15s", "Sends a comment after every 15 s without an event"),
    row(
        "error",
        "error@5  error@5:overloaded",
        "Ends the stream with an error after 5 events; without a stream, returns the error",
    ),
    row("malformed", "malformed@10", "Truncates the event after the first 10"),
    row("dup", "dup@3", "Sends the third event twice"),
    row("nodone", "nodone", "Omits the event that ends the stream"),
    row("nofinish", "nofinish", "Omits the event with the finish reason"),
    row("nousage", "nousage", "Omits the event with the usage"),
    row("refusal", "refusal", "Returns a refusal by the model"),
    row("filter", "filter", "Returns a reply stopped by a content filter"),
    row("wrong-model", "wrong-model", "Returns the name of another model"),
    row("gzip", "gzip", "Compresses the body, even if the client does not accept it"),
    row("wrong-length", "wrong-length  wrong-length=-5", "Declares 16 bytes more than the body has, or 5 fewer"),
    row("headers", "headers=1000", "Adds 1000 response headers"),
    row("huge", "huge=100MB", "Sends 100 MB of blanks or comments before the content"),
    row("ok", "ok", "No fault; faults later in the list, or from a source of lower priority, are skipped"),
];

/// Modifiers that follow a fault, and when the fault then happens.
pub const MODIFIERS: [(&str, &str); 5] = [
    ("x2", "The first two times, for each caller"),
    ("%5", "In 5 % of the requests"),
    ("@30s", "From 30 s after the start"),
    ("@30s+60s", "From 30 s after the start, for 60 s"),
    ("@30s+60s/5m", "The same, repeated every 5 minutes"),
];
