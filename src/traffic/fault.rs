//! Faults: their kinds, their text form, and their effect on a response.
//!
//! A fault changes a [`Response`](crate::core::response::Response) and nothing else, so each works in every protocol.

mod async_filter;
mod corrupt;
mod parse;
mod plan;
mod spec;
mod timeline;
mod writes;

use std::{fmt, time::Duration};

pub use self::{
    parse::Fault,
    plan::Plan,
    spec::{FaultContext, FaultSpec, RequestTerms, check_scope},
};
use super::latency::Distribution;
use crate::core::response::ErrorForm;

/// Every kind of fault. The list is closed.
#[derive(Clone, Debug, PartialEq)]
pub enum FaultKind {
    /// An error in place of the response: its status, and a name where one status has several errors. An empty name is
    /// the usual error with that status.
    Status(u16, String),
    /// The `Retry-After` header of an error.
    RetryAfter(RetryAfter),
    /// The `retry-after-ms` header of an error, in milliseconds.
    RetryAfterMs(u64),
    /// The `x-should-retry` header of an error.
    ShouldRetry(bool),
    /// A page of HTML with status 200 in place of the response.
    Html,
    /// An empty body in place of the response's.
    EmptyBody,
    /// A full response where the request's body asks for a stream.
    NotStreamed,
    /// A reset of the connection: before the response head, or within the body.
    Reset,
    /// The connection is closed before the response head.
    Empty,
    /// No response is ever sent.
    Hang,
    /// The time to the first token.
    Ttft(Distribution),
    /// The time between tokens.
    Itl(Distribution),
    /// Bytes of the body per second.
    SlowBody(u64),
    /// The connection is closed in the middle of the body.
    Cut,
    /// A pause within the body; `None` never ends.
    Stall(Option<Duration>),
    /// One event of a stream, or a full body, is truncated.
    Malformed,
    /// An error in place of the next event of a stream, named as in [`FaultKind::Status`]. A full body becomes the
    /// error.
    Error(ErrorForm, String),
    /// One event is sent twice.
    Dup,
    /// The stream lacks its end event.
    NoDone,
    /// The stream lacks the event with the finish reason.
    NoFinish,
    /// The stream lacks the event with the usage.
    NoUsage,
    /// Server-sent events without the blank after `data:`.
    NoBlank,
    /// The head and the events before the first token are sent at once, and the first token at its time.
    RoleFirst,
    /// The event with the usage is late by this time.
    UsageDelay(Duration),
    /// Least and largest number of tokens of an event.
    TokensPerEvent(u32, u32),
    /// So many events are sent in one write.
    Merge(u64),
    /// Each event is sent in two writes, with this pause between them.
    Split(Duration),
    /// A comment is sent after this long without an event.
    Keepalive(Duration),
    /// Number of reasoning tokens before the reply.
    Reasoning(u64),
    /// Number of completion tokens that the usage reports.
    Usage(u64),
    /// Azure's filter results come apart from the text, as with its asynchronous filter.
    AsyncFilter,
    /// The model refuses.
    Refusal,
    /// A content filter stops the reply.
    Filter,
    /// The response names another model than the requested one.
    WrongModel,
    /// The body is compressed, even if the client does not accept it.
    Gzip,
    /// `Content-Length` exceeds the length of the body by this many bytes; negative if it falls short.
    WrongLength(i64),
    /// Number of extra response headers.
    Headers(u32),
    /// Number of extra bytes without meaning before the content.
    Huge(u64),
    /// No fault: faults that would be planned after it are skipped.
    Ok,
}

/// The `Retry-After` header of an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RetryAfter {
    /// The error has no such header.
    None,
    /// The time, in seconds.
    Seconds(Duration),
    /// The date at the end of the time.
    Date(Duration),
}

impl RetryAfter {
    /// Returns the time that it announces.
    pub fn time(self) -> Option<Duration> {
        match self {
            RetryAfter::None => None,
            RetryAfter::Seconds(time) | RetryAfter::Date(time) => Some(time),
        }
    }
}

/// The faults that put an error into a stream, and the form of each.
const STREAM_ERRORS: [(&str, ErrorForm); 4] = [
    ("error", ErrorForm::Usual),
    ("flat-error", ErrorForm::Flat),
    ("event-error", ErrorForm::Named),
    ("numeric-error", ErrorForm::NumericCode),
];

/// The name of a fault in metrics: its status, or its name in [`FAULTS`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum FaultLabel {
    /// The status of an error.
    Status(u16),
    /// The name of another fault.
    Name(&'static str),
}

impl fmt::Display for FaultLabel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            FaultLabel::Status(status) => status.fmt(f),
            FaultLabel::Name(name) => f.write_str(name),
        }
    }
}

impl FaultKind {
    /// Returns the name in metrics.
    pub fn label(&self) -> FaultLabel {
        FaultLabel::Name(match self {
            FaultKind::Status(status, _) => return FaultLabel::Status(*status),
            FaultKind::RetryAfter(_) => "retry-after",
            FaultKind::RetryAfterMs(_) => "retry-after-ms",
            FaultKind::ShouldRetry(_) => "should-retry",
            FaultKind::Html => "html",
            FaultKind::EmptyBody => "empty-200",
            FaultKind::NotStreamed => "json-not-stream",
            FaultKind::Reset => "reset",
            FaultKind::Empty => "empty",
            FaultKind::Hang => "hang",
            FaultKind::Ttft(_) => "ttft",
            FaultKind::Itl(_) => "itl",
            FaultKind::SlowBody(_) => "slow-body",
            FaultKind::Cut => "cut",
            FaultKind::Stall(_) => "stall",
            FaultKind::Malformed => "malformed",
            FaultKind::Error(form, _) => {
                STREAM_ERRORS.iter().find(|(_, known)| known == form).map_or("error", |(name, _)| name)
            }
            FaultKind::Dup => "dup",
            FaultKind::NoDone => "nodone",
            FaultKind::NoFinish => "nofinish",
            FaultKind::NoUsage => "nousage",
            FaultKind::NoBlank => "no-blank",
            FaultKind::RoleFirst => "role-first",
            FaultKind::UsageDelay(_) => "usage-delay",
            FaultKind::TokensPerEvent(..) => "tokens-per-event",
            FaultKind::Merge(_) => "merge",
            FaultKind::Split(_) => "split",
            FaultKind::Keepalive(_) => "keepalive",
            FaultKind::Reasoning(_) => "reasoning",
            FaultKind::Usage(_) => "usage",
            FaultKind::AsyncFilter => "async-filter",
            FaultKind::Refusal => "refusal",
            FaultKind::Filter => "filter",
            FaultKind::WrongModel => "wrong-model",
            FaultKind::Gzip => "gzip",
            FaultKind::WrongLength(_) => "wrong-length",
            FaultKind::Headers(_) => "headers",
            FaultKind::Huge(_) => "huge",
            FaultKind::Ok => "ok",
        })
    }
}

/// Names of errors that the engine gives itself, each with the one status that has it. All others are keys
/// `injected:<name>` of the `errors` in fixtures.
pub const NAMED_BY_STATUS: [(u16, &str); 4] =
    [(400, "context_length_exceeded"), (429, "insufficient_quota"), (429, "requests"), (429, "tokens")];

/// A row of the table of faults.
pub struct FaultRow {
    /// The name of the fault.
    pub name: &'static str,
    /// Examples of its text form, separated by two blanks.
    pub syntax: &'static str,
    /// Its effect on the response.
    pub effect: &'static str,
}

const fn row(name: &'static str, syntax: &'static str, effect: &'static str) -> FaultRow {
    FaultRow { name, syntax, effect }
}

/// The table of faults that `fake-openai faults` prints. 429 represents every status from 400 to 599.
pub const FAULTS: [FaultRow; 43] = [
    row("429", "429  503:slow_down", "Returns the provider's error for this status, with its body and headers"),
    row(
        "retry-after",
        "retry-after=7  retry-after=date(7)  retry-after=none",
        "Sets Retry-After on errors to 7 s (or a time such as 500ms), to the date 7 s from now, or removes it",
    ),
    row("retry-after-ms", "retry-after-ms=1500", "Sets retry-after-ms on errors"),
    row("should-retry", "should-retry=false  should-retry=true", "Sets x-should-retry on errors"),
    row("html", "html", "Returns a page of HTML with status 200"),
    row("empty-200", "empty-200", "Returns status 200 and no body"),
    row("json-not-stream", "json-not-stream", "Returns a full response where the body asks for a stream"),
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
    row("flat-error", "flat-error@5", "The same, with the error's members not in an object: Responses as documented"),
    row("event-error", "event-error@5", "The same, as an event named `error`"),
    row("numeric-error", "numeric-error@5", "The same, with the status as the error's code"),
    row("malformed", "malformed@10", "Truncates the event after the first 10"),
    row("dup", "dup@3", "Sends the third event twice"),
    row("nodone", "nodone", "Omits the event that ends the stream"),
    row("nofinish", "nofinish", "Omits the event with the finish reason"),
    row("nousage", "nousage", "Omits the event with the usage"),
    row("usage", "usage=77", "Reports 77 completion tokens, whatever their number"),
    row("usage-delay", "usage-delay=1s", "Sends the event with the usage 1 s late"),
    row("role-first", "role-first", "Sends the head and the role at once, and the first token at its time"),
    row("reasoning", "reasoning=25", "Puts 25 tokens of reasoning before the reply, where the provider shows it"),
    row("tokens-per-event", "tokens-per-event=2  tokens-per-event=1..4", "Puts 2 tokens, or 1 to 4, into each event"),
    row("merge", "merge=5", "Sends 5 events in one write"),
    row(
        "split",
        "split  split=50ms",
        "Sends each event in two writes, 5 ms (or 50 ms) apart, inside a character if any is long",
    ),
    row("no-blank", "no-blank", "Sends `data:` without the blank after it, which is valid"),
    row("async-filter", "async-filter", "Sends the filter results of Azure's chats apart from their text"),
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
