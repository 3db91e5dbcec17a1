//! A duration with its unit: `300ms`, `1.5s`, `20us`.

use std::{
    fmt::{self, Write},
    str::FromStr,
    time::Duration,
};

use serde::{Deserializer, Serializer};

use super::text;

/// A duration of at most an hour.
#[derive(Clone, Copy, Debug)]
pub struct Span(pub Duration);

impl Span {
    /// The longest span.
    pub const MAX: Duration = Duration::from_secs(3600);
}

/// Maximum number of digits: an hour in nanoseconds has 13. humantime 2.4 panics on some texts of more than 20 digits
/// whose sum is just above the maximum of `Duration`.
const MAX_DIGITS: usize = 16;

impl FromStr for Span {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let text = text.trim();
        if text.is_empty() {
            return Err("a time is missing; write 300ms".to_owned());
        }
        let numeric = text.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.');
        if numeric && text.parse::<f64>().is_ok_and(|number| number > 0.0) {
            return Err(format!("`{text}` has no unit; write {text}ms or {text}s"));
        }
        let short = text.bytes().filter(u8::is_ascii_digit).count() <= MAX_DIGITS;
        let span = short.then(|| humantime::parse_duration(text).ok()).flatten();
        match span.ok_or_else(|| format!("`{text}` is not a time; write 300ms, 1.5s or 20us"))? {
            span if span <= Span::MAX => Ok(Span(span)),
            _ => Err(format!("`{text}` is more than an hour; write 1h or less")),
        }
    }
}

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match u64::try_from(self.0.as_nanos()).unwrap_or(u64::MAX) {
            0 => f.write_str("0s"),
            nanos if nanos < 1_000 => write!(f, "{nanos}ns"),
            nanos if nanos < 1_000_000 => write!(f, "{}us", Decimal(nanos, 1_000)),
            nanos if nanos < 1_000_000_000 => write!(f, "{}ms", Decimal(nanos, 1_000_000)),
            nanos => write!(f, "{}s", Decimal(nanos, 1_000_000_000)),
        }
    }
}

/// A decimal number without trailing zeros: the first value divided by the second, a power of ten.
pub(super) struct Decimal(pub u64, pub u64);

impl fmt::Display for Decimal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Decimal(count, one) = *self;
        write!(f, "{}", count / one)?;
        if count % one > 0 {
            // The leading 1 keeps the zeros at the start of the decimals.
            let decimals = (one + count % one).to_string();
            f.write_char('.')?;
            f.write_str(decimals[1..].trim_end_matches('0'))?;
        }
        Ok(())
    }
}

/// Serializes a duration as a span; for `serialize_with`.
pub(super) fn serialize<S: Serializer>(span: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(&Span(*span))
}

/// Deserializes a span; for `deserialize_with`.
pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
    text::deserialize::<Span, D>(deserializer).map(|span| span.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_span_is_parsed_and_displayed() {
        for (text, nanos, shown) in [
            ("300ms", 300_000_000, "300ms"),
            (" 1.5s ", 1_500_000_000, "1.5s"),
            ("0.3ms", 300_000, "300us"),
            ("20us", 20_000, "20us"),
            ("20µs", 20_000, "20us"),
            ("1m 30s", 90_000_000_000, "90s"),
            ("7ns", 7, "7ns"),
            ("1000007ns", 1_000_007, "1.000007ms"),
            ("10 minutes 30 seconds", 630_000_000_000, "630s"),
            ("1h", 3_600_000_000_000, "3600s"),
            ("0s", 0, "0s"),
            ("0", 0, "0s"),
        ] {
            let span: Span = text.parse().unwrap();
            assert_eq!((span.0.as_nanos(), span.to_string().as_str()), (nanos, shown), "{text}");
            assert_eq!(shown.parse::<Span>().unwrap().0, span.0);
        }
    }

    #[test]
    fn a_mistake_is_reported_with_a_remedy() {
        let refused = |text: &str| text.parse::<Span>().expect_err(text);
        assert_eq!(refused("300"), "`300` has no unit; write 300ms or 300s");
        assert_eq!(refused("0.25"), "`0.25` has no unit; write 0.25ms or 0.25s");
        assert_eq!(refused("3601s"), "`3601s` is more than an hour; write 1h or less");
        for text in
            ["soon", "-5ms", "5 parsecs", "1.s", "0.5ns", "1e3ms", "18446744073709551615s 1000ms", "1,5s", "NaN"]
        {
            assert_eq!(refused(text), format!("`{text}` is not a time; write 300ms, 1.5s or 20us"));
        }
        assert_eq!(refused("  "), "a time is missing; write 300ms");
    }
}
