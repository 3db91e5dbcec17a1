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

/// The faults that have names, as they are shown; a status is written as it is.
pub const FAULTS: [FaultRow; 26] = [
    row("429", "429  503:slow_down", "An error, with the body and the headers that the provider gives it"),
    row("retry-after", "retry-after=2s  retry-after=none", "What such an error says of when to come back"),
    row("ttft", "ttft=20s", "Time to the first token, or to an error: any distribution"),
    row("itl", "itl=50ms±10ms", "Time from token to token: any distribution"),
    row("hang", "hang", "Nothing ever comes"),
    row("empty", "empty", "The connection is closed without a byte"),
    row("reset", "reset  reset@40", "The connection is reset before the head, or after 40 events"),
    row("down", "down@30s+60s", "The same as reset; here from 30 s to 90 s after the start"),
    row("cut", "cut@40", "The body breaks off after 40 events, without its end"),
    row("stall", "stall@20  stall@20:30s", "After 20 events nothing comes any more, or for 30 s"),
    row("slow-body", "slow-body=100B", "The body comes at so many bytes a second"),
    row("keepalive", "keepalive=15s", "While nothing else comes, a comment does that often"),
    row("error", "error@5  error@5:overloaded", "After 5 events an error in the stream; a whole answer is that error"),
    row("malformed", "malformed@10", "After 10 events one that is broken off in the middle"),
    row("dup", "dup@3", "The third event comes twice"),
    row("nodone", "nodone", "The stream does not say that it is over"),
    row("nofinish", "nofinish", "The stream does not say why it ended"),
    row("nousage", "nousage", "The stream does not say what it has cost"),
    row("refusal", "refusal", "The model refuses"),
    row("filter", "filter", "A content filter stops the model"),
    row("wrong-model", "wrong-model", "The answer names another model"),
    row("gzip", "gzip", "The body is compressed, asked for or not"),
    row("wrong-length", "wrong-length  wrong-length=-5", "The head promises more bytes than there are (16), or fewer"),
    row("headers", "headers=1000", "So many headers more"),
    row("huge", "huge=100MB", "So many bytes of blanks or comments before what is said"),
    row("ok", "ok", "Nothing more goes wrong: what stands behind it, or counts for less, does not happen"),
];

/// What may stand behind a fault.
pub const MODIFIERS: [(&str, &str); 5] = [
    ("x2", "The first two times, for each caller"),
    ("%5", "Five times in a hundred"),
    ("@30s", "From 30 s after the start on"),
    ("@30s+60s", "From 30 s after the start, for 60 s"),
    ("@30s+60s/5m", "The same, again every 5 minutes"),
];
