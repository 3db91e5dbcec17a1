//! The slots of limits: `{{requests.remaining}}`, `{{refusal.retry_after}}`.

use std::{fmt, time::Duration};

use super::text;
use crate::core::{
    clock::Rfc3339,
    digits::grouped,
    limit_status::{GoDuration, LimitExceeded, LimitStatus, LimitStatuses, Unit},
    template::SlotValue,
};

/// The limit whose state a slot reports.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LimitFamily {
    /// The limit on requests, on tokens, …
    Of(Unit),
    /// The limit that rejects the request.
    LimitExceeded,
}

const FAMILIES: [(&str, LimitFamily); 5] = [
    ("requests", LimitFamily::Of(Unit::Requests)),
    ("tokens", LimitFamily::Of(Unit::Tokens)),
    ("input_tokens", LimitFamily::Of(Unit::InputTokens)),
    ("output_tokens", LimitFamily::Of(Unit::OutputTokens)),
    ("refusal", LimitFamily::LimitExceeded),
];

impl LimitFamily {
    /// Finds a family by its name.
    pub(super) fn named(name: &str) -> Option<LimitFamily> {
        FAMILIES.iter().find(|(known, _)| *known == name).map(|(_, family)| *family)
    }
}

impl fmt::Display for LimitFamily {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(FAMILIES.iter().find(|(_, known)| known == self).map_or("", |(name, _)| name))
    }
}

/// The field of a limit's state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum LimitField {
    Limit,
    Remaining,
    /// Rounded down to thousands.
    RemainingThousands,
    Used,
    /// Time until the limit is full, as a Go duration.
    Reset,
    /// Time until the limit is full, in milliseconds.
    ResetMs,
    /// Time at which the limit is full, in RFC 3339.
    ResetAt,
    /// The period, in seconds.
    Period,
    /// Time until the request would be admitted, as a Go duration. This field and all below are of `refusal` only.
    Wait,
    /// The same in whole seconds: `25s`.
    DelaySecs,
    /// The same in protobuf's JSON notation: `24.5s`.
    Delay,
    RetryAfter,
    RetryAfterMs,
    Requested,
    /// `requests`, `input tokens`, …
    Unit,
    /// `requests` or `tokens`.
    Kind,
    /// The limit as text: `400000`.
    LimitText,
    /// The limit with grouped digits: `400,000`.
    LimitGrouped,
    /// `min`, `day`, …
    Per,
    /// `minute`, `day`, …
    PerLong,
    /// `RPM`, `TPD`, …
    Short,
}

const FIELDS: [(&str, LimitField); 21] = [
    ("limit", LimitField::Limit),
    ("remaining", LimitField::Remaining),
    ("remaining_thousands", LimitField::RemainingThousands),
    ("used", LimitField::Used),
    ("reset", LimitField::Reset),
    ("reset_ms", LimitField::ResetMs),
    ("reset_at", LimitField::ResetAt),
    ("period", LimitField::Period),
    ("wait", LimitField::Wait),
    ("delay", LimitField::Delay),
    ("delay_secs", LimitField::DelaySecs),
    ("retry_after", LimitField::RetryAfter),
    ("retry_after_ms", LimitField::RetryAfterMs),
    ("requested", LimitField::Requested),
    ("unit", LimitField::Unit),
    ("kind", LimitField::Kind),
    ("limit_text", LimitField::LimitText),
    ("limit_spelled", LimitField::LimitGrouped),
    ("per", LimitField::Per),
    ("per_spelled", LimitField::PerLong),
    ("short", LimitField::Short),
];

impl LimitField {
    /// Finds a field of a family by its name. The error lists the known names.
    pub(super) fn named(family: LimitFamily, name: &str) -> Result<LimitField, String> {
        let known = |field: LimitField| family == LimitFamily::LimitExceeded || !field.is_of_refusal();
        let found = FIELDS.iter().find(|(known, _)| *known == name).map(|(_, field)| *field);
        found.filter(|field| known(*field)).ok_or_else(|| {
            let names: Vec<_> = FIELDS.iter().filter(|(_, field)| known(*field)).map(|(name, _)| *name).collect();
            names.join(", ")
        })
    }

    fn is_of_refusal(self) -> bool {
        !matches!(
            self,
            LimitField::Limit
                | LimitField::Remaining
                | LimitField::RemainingThousands
                | LimitField::Used
                | LimitField::Reset
                | LimitField::ResetMs
                | LimitField::ResetAt
                | LimitField::Period
        )
    }
}

impl fmt::Display for LimitField {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(FIELDS.iter().find(|(_, known)| known == self).map_or("", |(name, _)| name))
    }
}

/// Returns the value of a field; `now` is the time since 1970.
pub(super) fn value(
    family: LimitFamily,
    field: LimitField,
    limit_statuses: &LimitStatuses,
    now: Duration,
) -> SlotValue<'static> {
    let limit_status = match family {
        LimitFamily::Of(unit) => limit_statuses.get(unit),
        LimitFamily::LimitExceeded => limit_statuses.refusal.as_ref().map(|refusal| &refusal.limit_status),
    };
    let Some(limit_status) = limit_status else { return SlotValue::Null };
    match (field, &limit_statuses.refusal) {
        (LimitField::Limit, _) => SlotValue::Number(limit_status.limit),
        (LimitField::Remaining, _) => SlotValue::Number(limit_status.remaining),
        (LimitField::RemainingThousands, _) => SlotValue::Number(limit_status.remaining / 1000 * 1000),
        (LimitField::Used, _) => SlotValue::Number(limit_status.used()),
        (LimitField::Reset, _) => SlotValue::Duration(GoDuration(limit_status.until_full)),
        (LimitField::ResetMs, _) => SlotValue::Number(millis(limit_status.until_full)),
        (LimitField::ResetAt, _) => {
            // Rounded up to whole seconds, so that the limit is full by then.
            let at = Duration::from_millis(millis(now.saturating_add(limit_status.until_full)).saturating_add(999));
            text(Some(Rfc3339(Duration::from_secs(at.as_secs())).to_string().into()))
        }
        (LimitField::Period, _) => SlotValue::Number(limit_status.period.as_secs().max(1)),
        (_, Some(refusal)) => refusal_value(field, limit_status, refusal),
        (_, None) => SlotValue::Null,
    }
}

fn refusal_value(field: LimitField, limit_status: &LimitStatus, refusal: &LimitExceeded) -> SlotValue<'static> {
    let per = || crate::core::limit_status::per(limit_status.period);
    match field {
        LimitField::Wait => SlotValue::Duration(GoDuration(limit_status.wait)),
        LimitField::Delay => text(Some(format!("{}s", limit_status.wait.as_secs_f64()).into())),
        LimitField::DelaySecs => text(Some(format!("{}s", limit_status.retry_after_secs()).into())),
        LimitField::RetryAfter => SlotValue::Number(limit_status.retry_after_secs()),
        LimitField::RetryAfterMs => SlotValue::Number(limit_status.retry_after_ms()),
        LimitField::Requested => SlotValue::Number(refusal.requested),
        LimitField::Unit => text(Some(refusal.unit.noun().into())),
        LimitField::Kind => text(Some(refusal.unit.kind().into())),
        LimitField::LimitText => text(Some(limit_status.limit.to_string().into())),
        LimitField::LimitGrouped => text(Some(grouped(limit_status.limit).into())),
        LimitField::PerLong => text(Some(per().replace("min", "minute").into())),
        LimitField::Per => text(Some(per().into())),
        LimitField::Short => {
            let initials = refusal.unit.noun().split(' ').filter_map(|word| word.chars().next());
            let initials: String = initials.chain("P".chars()).chain(per().chars().take(1)).collect();
            text(Some(initials.to_uppercase().into()))
        }
        _ => SlotValue::Null,
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
