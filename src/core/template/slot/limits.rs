//! What can be told about limits.

use std::{fmt, time::Duration};

use super::text;
use crate::core::{
    clock::Rfc3339,
    limit_status::{GoDuration, LimitExceeded, LimitStatus, LimitStatuses, Unit},
    template::Filling,
};

/// Which limit is spoken of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Family {
    /// The limit on requests, on tokens, …
    Of(Unit),
    /// The limit that refuses the request.
    LimitExceeded,
}

const FAMILIES: [(&str, Family); 5] = [
    ("requests", Family::Of(Unit::Requests)),
    ("tokens", Family::Of(Unit::Tokens)),
    ("input_tokens", Family::Of(Unit::InputTokens)),
    ("output_tokens", Family::Of(Unit::OutputTokens)),
    ("refusal", Family::LimitExceeded),
];

impl Family {
    /// The family of this name.
    pub(super) fn named(name: &str) -> Option<Family> {
        FAMILIES.iter().find(|(known, _)| *known == name).map(|(_, family)| *family)
    }
}

impl fmt::Display for Family {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(FAMILIES.iter().find(|(_, known)| known == self).map_or("", |(name, _)| name))
    }
}

/// What is told of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Tell {
    Limit,
    Remaining,
    /// Rounded down to thousands.
    RemainingThousands,
    Used,
    /// Until full, as a Go duration.
    Reset,
    /// Until full, in milliseconds.
    ResetMs,
    /// When it is full, as RFC 3339.
    ResetAt,
    /// In seconds.
    Period,
    /// Of the refusal: until the request would pass, as a Go duration, and as protobuf's JSON spells one.
    Wait,
    /// In whole seconds: `25s`.
    DelaySecs,
    Delay,
    RetryAfter,
    RetryAfterMs,
    Requested,
    /// `requests`, `input tokens`, …
    Unit,
    /// `requests` or `tokens`.
    Kind,
    /// The limit as a text, `400000` and `400,000`.
    LimitText,
    LimitSpelled,
    /// `min`, `day`, …
    Per,
    /// `minute`, `day`, …
    PerSpelled,
    /// `RPM`, `TPD`, …
    Short,
}

const TELLS: [(&str, Tell); 21] = [
    ("limit", Tell::Limit),
    ("remaining", Tell::Remaining),
    ("remaining_thousands", Tell::RemainingThousands),
    ("used", Tell::Used),
    ("reset", Tell::Reset),
    ("reset_ms", Tell::ResetMs),
    ("reset_at", Tell::ResetAt),
    ("period", Tell::Period),
    ("wait", Tell::Wait),
    ("delay", Tell::Delay),
    ("delay_secs", Tell::DelaySecs),
    ("retry_after", Tell::RetryAfter),
    ("retry_after_ms", Tell::RetryAfterMs),
    ("requested", Tell::Requested),
    ("unit", Tell::Unit),
    ("kind", Tell::Kind),
    ("limit_text", Tell::LimitText),
    ("limit_spelled", Tell::LimitSpelled),
    ("per", Tell::Per),
    ("per_spelled", Tell::PerSpelled),
    ("short", Tell::Short),
];

impl Tell {
    /// What this name tells of a family; the error lists the names there are.
    pub(super) fn named(family: Family, name: &str) -> Result<Tell, String> {
        let known = |tell: Tell| family == Family::LimitExceeded || !tell.is_of_refusal();
        let found = TELLS.iter().find(|(known, _)| *known == name).map(|(_, tell)| *tell);
        found.filter(|tell| known(*tell)).ok_or_else(|| {
            let names: Vec<_> = TELLS.iter().filter(|(_, tell)| known(*tell)).map(|(name, _)| *name).collect();
            names.join(", ")
        })
    }

    fn is_of_refusal(self) -> bool {
        !matches!(
            self,
            Tell::Limit
                | Tell::Remaining
                | Tell::RemainingThousands
                | Tell::Used
                | Tell::Reset
                | Tell::ResetMs
                | Tell::ResetAt
                | Tell::Period
        )
    }
}

impl fmt::Display for Tell {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(TELLS.iter().find(|(_, known)| known == self).map_or("", |(name, _)| name))
    }
}

/// What it comes to; `now` is the time since 1970.
pub(super) fn told(family: Family, tell: Tell, limit_statuses: &LimitStatuses, now: Duration) -> Filling<'static> {
    let limit_status = match family {
        Family::Of(unit) => limit_statuses.get(unit),
        Family::LimitExceeded => limit_statuses.refusal.as_ref().map(|refusal| &refusal.limit_status),
    };
    let Some(limit_status) = limit_status else { return Filling::Null };
    match (tell, &limit_statuses.refusal) {
        (Tell::Limit, _) => Filling::Number(limit_status.limit),
        (Tell::Remaining, _) => Filling::Number(limit_status.remaining),
        (Tell::RemainingThousands, _) => Filling::Number(limit_status.remaining / 1000 * 1000),
        (Tell::Used, _) => Filling::Number(limit_status.used()),
        (Tell::Reset, _) => Filling::Duration(GoDuration(limit_status.until_full)),
        (Tell::ResetMs, _) => Filling::Number(millis(limit_status.until_full)),
        (Tell::ResetAt, _) => {
            // Whole seconds: the next, so that it is full by then.
            let at = Duration::from_millis(millis(now.saturating_add(limit_status.until_full)).saturating_add(999));
            text(Some(Rfc3339(Duration::from_secs(at.as_secs())).to_string().into()))
        }
        (Tell::Period, _) => Filling::Number(limit_status.period.as_secs().max(1)),
        (_, Some(refusal)) => refused(tell, limit_status, refusal),
        (_, None) => Filling::Null,
    }
}

fn refused(tell: Tell, limit_status: &LimitStatus, refusal: &LimitExceeded) -> Filling<'static> {
    let per = || crate::core::limit_status::per(limit_status.period);
    match tell {
        Tell::Wait => Filling::Duration(GoDuration(limit_status.wait)),
        Tell::Delay => text(Some(format!("{}s", limit_status.wait.as_secs_f64()).into())),
        Tell::DelaySecs => text(Some(format!("{}s", limit_status.retry_after_secs()).into())),
        Tell::RetryAfter => Filling::Number(limit_status.retry_after_secs()),
        Tell::RetryAfterMs => Filling::Number(limit_status.retry_after_ms()),
        Tell::Requested => Filling::Number(refusal.requested),
        Tell::Unit => text(Some(refusal.unit.noun().into())),
        Tell::Kind => text(Some(refusal.unit.kind().into())),
        Tell::LimitText => text(Some(limit_status.limit.to_string().into())),
        Tell::LimitSpelled => text(Some(grouped(limit_status.limit).into())),
        Tell::PerSpelled => text(Some(per().replace("min", "minute").into())),
        Tell::Per => text(Some(per().into())),
        Tell::Short => {
            let initials = refusal.unit.noun().split(' ').filter_map(|word| word.chars().next());
            let initials: String = initials.chain("P".chars()).chain(per().chars().take(1)).collect();
            text(Some(initials.to_uppercase().into()))
        }
        _ => Filling::Null,
    }
}

/// A number with commas between its thousands.
fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let comma = |n: usize| n > 0 && (digits.len() - n).is_multiple_of(3);
    digits.chars().enumerate().flat_map(|(n, digit)| comma(n).then_some(',').into_iter().chain([digit])).collect()
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
