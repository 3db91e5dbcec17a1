//! The text form of one fault: `stall@20:30s`, `429x2`, `503%5`, `down@30s+60s/5m`.

#[cfg(test)]
mod tests;

use std::{borrow::Cow, str::FromStr, time::Duration};

use bytesize::ByteSize;

use super::{FAULTS, FaultKind, RetryAfter, STREAM_ERRORS};
use crate::{
    core::{response::ErrorForm, secret, suggest::did_you_mean},
    traffic::latency::Span,
};

/// Maximum number of events in one write.
const MAX_MERGED: u64 = 1000;
/// Maximum number of tokens in one event.
const MAX_PER_EVENT: u64 = 1000;
/// Pause between the two writes of an event, unless the fault sets another.
const SPLIT_PAUSE: Duration = Duration::from_millis(5);
/// Maximum number of reasoning tokens that a fault can ask for.
const MAX_REASONING: u64 = 1_000_000;

/// A fault, its position in the response, and the conditions under which it happens.
#[derive(Clone, Debug, PartialEq)]
pub struct Fault {
    /// The kind of fault.
    pub kind: FaultKind,
    /// Events of a stream, or bytes of a full body, before the fault.
    pub at: Option<u64>,
    /// Number of times that it happens to each caller; `None` for always.
    pub times: Option<u64>,
    /// Percentage of the requests that it happens to; `None` for all.
    pub percent: Option<f64>,
    /// Time in which it happens; `None` for always.
    pub window: Option<TimeWindow>,
}

/// A part of the time since the start of the server.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct TimeWindow {
    /// Time from the start to the beginning of the window.
    from: Duration,
    /// Length of the window; `None` never ends.
    length: Option<Duration>,
    /// Interval at which the window is repeated.
    every: Option<Duration>,
}

impl TimeWindow {
    /// Returns the progress within the window, from 0 to 1; `None` outside of it. Without an end it is always 1.
    pub(super) fn progress(&self, elapsed: Duration) -> Option<f64> {
        let since = elapsed.checked_sub(self.from)?;
        let since = self.every.map_or(since, |every| {
            Duration::from_nanos((since.as_nanos() % every.as_nanos().max(1)).try_into().unwrap_or(u64::MAX))
        });
        match self.length {
            None => Some(1.0),
            Some(length) if since < length => Some(since.as_secs_f64() / length.as_secs_f64()),
            Some(_) => None,
        }
    }

    /// Returns the progress of a ramp, which stays at its end after the window.
    pub(super) fn ramp(&self, elapsed: Duration) -> Option<f64> {
        match self.progress(elapsed) {
            None if elapsed >= self.from => Some(1.0),
            progress => progress,
        }
    }

    /// Parses the text after the last `@`; `None` if it is not a time.
    fn parse(text: &str) -> Option<Result<TimeWindow, String>> {
        let (times, every) = text.split_once('/').map_or((text, None), |(times, every)| (times, Some(every)));
        let (from, length) = times.split_once('+').map_or((times, None), |(from, length)| (from, Some(length)));
        let span = |text: &str| text.parse::<Span>().map(|Span(span)| span);
        // A number without a unit is a position in the response.
        let from = span(from).ok().filter(|_| from.ends_with(char::is_alphabetic))?;
        let rest = || {
            let length = length.map(span).transpose()?;
            let every = every.map(span).transpose()?;
            match (length, every) {
                (Some(Duration::ZERO), _) => {
                    Err(format!("`@{text}` has length zero; write a length above zero, such as @30s+60s"))
                }
                (None, Some(_)) => Err(format!("`@{text}` has no length; write @0s+10s/60s for 10 s of every 60")),
                (Some(length), Some(every)) if every < length => {
                    Err(format!("`@{text}` begins again before it ends; write an interval above the length"))
                }
                _ => Ok(TimeWindow { from, length, every }),
            }
        };
        Some(rest())
    }
}

impl Fault {
    /// Returns true if it takes effect before the response head.
    fn is_before_head(&self) -> bool {
        match self.kind {
            FaultKind::Status(..) | FaultKind::Empty | FaultKind::Hang => true,
            FaultKind::Reset => self.at.is_none(),
            _ => false,
        }
    }

    /// Returns true if a response can have only one of the two faults.
    pub(super) fn excludes(&self, other: &Fault) -> bool {
        let replaces_reply = |kind: &FaultKind| matches!(kind, FaultKind::Refusal | FaultKind::Filter);
        match self.kind {
            FaultKind::Cut | FaultKind::Stall(_) | FaultKind::Malformed | FaultKind::Dup => false,
            FaultKind::Reset if self.at.is_some() => false,
            _ if self.is_before_head() && other.is_before_head() => true,
            _ if replaces_reply(&self.kind) && replaces_reply(&other.kind) => true,
            _ => std::mem::discriminant(&self.kind) == std::mem::discriminant(&other.kind),
        }
    }
}

impl FromStr for Fault {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (mut rest, mut times, mut percent, mut window) = (text.trim(), None, None, None);
        loop {
            if let Some((before, after)) = rest.rsplit_once('%')
                && let Ok(share) = after.parse::<f64>()
            {
                if !(share > 0.0 && share <= 100.0) {
                    return Err(format!("`%{after}` is not a percentage; write %5 for 5 % of the requests"));
                }
                (rest, percent) = (before, Some(share));
            } else if let Some((before, after)) = rest.rsplit_once('x')
                && let (false, Ok(count)) = (before.is_empty(), after.parse::<u64>())
            {
                (rest, times) = (before, Some(count));
            } else if let Some((before, after)) = rest.rsplit_once('@')
                && let Some(parsed) = TimeWindow::parse(after)
            {
                (rest, window) = (before, Some(parsed?));
            } else {
                break;
            }
        }
        let (kind, at) = parse_kind(rest)?;
        Ok(Fault { kind, at, times, percent, window })
    }
}

/// Adds the unit to a whole number of seconds, the form of the `Retry-After` header (RFC 9110, 10.2.3): `7` is `7s`.
fn seconds(text: &str) -> Cow<'_, str> {
    match text.trim() {
        digits if !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit()) => format!("{digits}s").into(),
        _ => text.into(),
    }
}

/// Parses the value of `retry-after`: `7`, `500ms`, `date(7)` or `none`.
fn retry_after(text: &str) -> Result<RetryAfter, String> {
    let span = |text: &str| seconds(text).parse::<Span>().map(|Span(span)| span);
    match text.strip_prefix("date(").and_then(|rest| rest.strip_suffix(')')) {
        Some(time) => Ok(RetryAfter::Date(span(time)?)),
        None if text == "none" => Ok(RetryAfter::None),
        None => Ok(RetryAfter::Seconds(span(text)?)),
    }
}

/// Parses `name=value@position:argument` into the kind and the position.
fn parse_kind(text: &str) -> Result<(FaultKind, Option<u64>), String> {
    let (before, argument) = text.split_once(':').map_or((text, None), |(before, argument)| (before, Some(argument)));
    let (before, position) = before.split_once('@').map_or((before, None), |(before, at)| (before, Some(at)));
    let (name, value) = before.split_once('=').map_or((before, None), |(name, value)| (name, Some(value)));
    let syntax = || FAULTS.iter().find(|row| row.name == name).map_or(name, |row| row.syntax);
    let wrong = |what: String| {
        // Errors of times and sizes name their own remedy.
        let sentence = if what.contains(';') { "; the form is" } else { "; write" };
        format!("`{text}`: {what}{sentence} {}", syntax())
    };
    let at = match position {
        None => None,
        Some(at) => {
            Some(at.parse::<u64>().map_err(|_| wrong(format!("`@{at}` is neither a number of events nor a time")))?)
        }
    };
    let span = |text: &str| text.parse::<Span>().map(|Span(span)| span).map_err(wrong);
    let size = |text: &str| {
        text.parse::<ByteSize>().map(|size| size.as_u64()).map_err(|_| wrong(format!("`{text}` is not a size")))
    };
    let required = || value.ok_or_else(|| wrong("its value is missing".to_owned()));
    let number = |text: &str, what: &str| text.parse::<u64>().map_err(|_| wrong(format!("`{text}` is not {what}")));
    let (takes_value, takes_position, takes_argument, kind) = match name {
        "retry-after" => (true, false, false, FaultKind::RetryAfter(retry_after(required()?).map_err(wrong)?)),
        "retry-after-ms" => (true, false, false, FaultKind::RetryAfterMs(number(required()?, "a number of ms")?)),
        "should-retry" => match value {
            Some(text @ ("true" | "false")) => (true, false, false, FaultKind::ShouldRetry(text == "true")),
            _ => return Err(wrong("the value is neither true nor false".to_owned())),
        },
        "html" => (false, false, false, FaultKind::Html),
        "empty-200" => (false, false, false, FaultKind::EmptyBody),
        "json-not-stream" => (false, false, false, FaultKind::NotStreamed),
        "ttft" => (true, false, false, FaultKind::Ttft(required()?.parse().map_err(wrong)?)),
        "itl" => (true, false, false, FaultKind::Itl(required()?.parse().map_err(wrong)?)),
        "hang" => (false, false, false, FaultKind::Hang),
        "empty" => (false, false, false, FaultKind::Empty),
        "reset" => (false, true, false, FaultKind::Reset),
        "down" => (false, false, false, FaultKind::Reset),
        "cut" => (false, true, false, FaultKind::Cut),
        "stall" => (false, true, true, FaultKind::Stall(argument.map(span).transpose()?)),
        "slow-body" => (true, false, false, FaultKind::SlowBody(value.map_or(Ok(100), size)?.max(1))),
        "keepalive" => (true, false, false, FaultKind::Keepalive(value.map_or(Ok(Duration::from_secs(15)), span)?)),
        "error" | "flat-error" | "event-error" | "numeric-error" => {
            let form = STREAM_ERRORS.iter().find(|(known, _)| *known == name).map(|(_, form)| *form);
            let form = form.unwrap_or(ErrorForm::Usual);
            (false, true, true, FaultKind::Error(form, argument.unwrap_or_default().to_owned()))
        }
        "malformed" => (false, true, false, FaultKind::Malformed),
        "dup" => (false, true, false, FaultKind::Dup),
        "nodone" => (false, false, false, FaultKind::NoDone),
        "nofinish" => (false, false, false, FaultKind::NoFinish),
        "nousage" => (false, false, false, FaultKind::NoUsage),
        "no-blank" => (false, false, false, FaultKind::NoBlank),
        "role-first" => (false, false, false, FaultKind::RoleFirst),
        "usage-delay" => (true, false, false, FaultKind::UsageDelay(span(required()?)?)),
        "tokens-per-event" => {
            let text = required()?;
            let (least, most) = text.split_once("..").unwrap_or((text, text));
            let bounds = (number(least, "a number of tokens")?, number(most, "a number of tokens")?);
            let (1..=MAX_PER_EVENT, 1..=MAX_PER_EVENT) = bounds else {
                return Err(wrong(format!("the numbers are not from 1 to {MAX_PER_EVENT}")));
            };
            if bounds.0 > bounds.1 {
                return Err(wrong(format!("`{text}` ends before it begins")));
            }
            (true, false, false, FaultKind::TokensPerEvent(bounds.0 as u32, bounds.1 as u32))
        }
        "merge" => {
            let count = number(required()?, "a number of events")?;
            if !(1..=MAX_MERGED).contains(&count) {
                return Err(wrong(format!("the number is not from 1 to {MAX_MERGED}")));
            }
            (true, false, false, FaultKind::Merge(count))
        }
        "split" => (true, false, false, FaultKind::Split(value.map_or(Ok(SPLIT_PAUSE), span)?)),
        "reasoning" => {
            let tokens = number(required()?, "a number of tokens")?;
            if tokens > MAX_REASONING {
                return Err(wrong(format!("the number is above {MAX_REASONING}")));
            }
            (true, false, false, FaultKind::Reasoning(tokens))
        }
        "usage" => (true, false, false, FaultKind::Usage(number(required()?, "a number of tokens")?)),
        "async-filter" => (false, false, false, FaultKind::AsyncFilter),
        "refusal" => (false, false, false, FaultKind::Refusal),
        "filter" => (false, false, false, FaultKind::Filter),
        "wrong-model" => (false, false, false, FaultKind::WrongModel),
        "gzip" => (false, false, false, FaultKind::Gzip),
        "wrong-length" => {
            let more = value.unwrap_or("16").parse::<i64>().ok().filter(|more| *more != 0);
            (
                true,
                false,
                false,
                FaultKind::WrongLength(
                    more.ok_or_else(|| wrong("the difference is not a number other than zero".to_owned()))?,
                ),
            )
        }
        "headers" => {
            let count = value.unwrap_or("1000").parse::<u32>().ok().filter(|count| *count <= 10_000);
            (
                true,
                false,
                false,
                FaultKind::Headers(count.ok_or_else(|| wrong("the number is not from 0 to 10000".to_owned()))?),
            )
        }
        "huge" => {
            let size = value.map_or(Ok(100_000_000), size)?;
            if size > 10_000_000_000 {
                return Err(wrong("the size is more than 10GB".to_owned()));
            }
            (true, false, false, FaultKind::Huge(size))
        }
        "ok" => (false, false, false, FaultKind::Ok),
        status => {
            let status = status.parse::<u16>().ok().filter(|status| (400..600).contains(status)).ok_or_else(|| {
                let names: Vec<_> = FAULTS.iter().skip(1).map(|row| row.name).collect();
                let remedy = did_you_mean(name, names.iter().copied())
                    .unwrap_or_else(|| format!("write a status from 400 to 599, or one of {}", names.join(", ")));
                format!("there is no fault `{}`; {remedy}", secret::in_text(name))
            })?;
            (false, false, true, FaultKind::Status(status, argument.unwrap_or_default().to_owned()))
        }
    };
    for (given, taken, what) in [
        (value.is_some(), takes_value, "it takes no value"),
        (at.is_some(), takes_position, "it takes no position in the response"),
        (argument.is_some(), takes_argument, "it takes no argument after a colon"),
        (argument.is_some_and(|argument| argument.contains('@')), false, "a position comes before the colon"),
    ] {
        if given && !taken {
            return Err(wrong(what.to_owned()));
        }
    }
    if matches!(kind, FaultKind::Keepalive(Duration::ZERO)) {
        return Err(wrong("the time is zero".to_owned()));
    }
    Ok((kind, at))
}
