//! The state of a client's limits after one admission decision.

use std::{fmt, time::Duration};

/// The unit that a limit counts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Unit {
    /// Requests.
    #[default]
    Requests,
    /// Tokens of prompt and reply, reserved before there is a reply: see [`Cost`].
    Tokens,
    /// Tokens of the prompt.
    InputTokens,
    /// Tokens of the reply.
    OutputTokens,
    /// Requests whose responses have not ended.
    InFlight,
}

impl Unit {
    /// Returns the name of the unit in settings and metrics.
    pub fn name(self) -> &'static str {
        match self {
            Unit::Requests => "requests",
            Unit::Tokens => "tokens",
            Unit::InputTokens => "input_tokens",
            Unit::OutputTokens => "output_tokens",
            Unit::InFlight => "in_flight",
        }
    }

    /// Returns `requests` or `tokens`.
    pub fn kind(self) -> &'static str {
        match self {
            Unit::Requests | Unit::InFlight => "requests",
            Unit::Tokens | Unit::InputTokens | Unit::OutputTokens => "tokens",
        }
    }

    /// Returns the noun for error texts.
    pub fn noun(self) -> &'static str {
        match self {
            Unit::Requests => "requests",
            Unit::Tokens => "tokens",
            Unit::InputTokens => "input tokens",
            Unit::OutputTokens => "output tokens",
            Unit::InFlight => "concurrent requests",
        }
    }
}

/// Tokens of one request: reserved before there is a reply, or counted at its end.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Cost {
    /// Number of prompt tokens.
    pub input: u64,
    /// Number of reply tokens.
    pub output: u64,
}

/// The state of the limits that apply to one request. It is the source of every limit number in a response. Of several
/// limits on one unit, it holds the one with the slowest refill; of several exceeded ones, that with the longest wait.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LimitStatuses {
    /// The states by unit. No provider reports requests in flight.
    reported: [Option<LimitStatus>; 4],
    /// The limit that rejects the request, if one does.
    pub refusal: Option<LimitExceeded>,
}

impl LimitStatuses {
    fn index(unit: Unit) -> Option<usize> {
        match unit {
            Unit::Requests => Some(0),
            Unit::Tokens => Some(1),
            Unit::InputTokens => Some(2),
            Unit::OutputTokens => Some(3),
            Unit::InFlight => None,
        }
    }

    /// Returns the state of a unit's limit, if one is reported.
    pub fn get(&self, unit: Unit) -> Option<&LimitStatus> {
        self.reported[Self::index(unit)?].as_ref()
    }

    /// Records the state of one more limit on this unit.
    pub fn record(&mut self, unit: Unit, limit_status: LimitStatus) {
        if let Some(index) = Self::index(unit)
            && self.reported[index].is_none_or(|known| limit_status.is_slower_than(&known))
        {
            self.reported[index] = Some(limit_status);
        }
    }

    /// Records one more limit that rejects the request.
    pub fn exceed(&mut self, refusal: LimitExceeded) {
        if self.refusal.is_none_or(|known| refusal.is_longer_than(&known)) {
            self.refusal = Some(refusal);
        }
    }

    /// Ends the recording. If a limit ran out, its state becomes the reported one of its unit.
    pub fn close(&mut self) {
        if let Some(LimitExceeded { limit_status, unit, reason: Reason::RanOut, .. }) = self.refusal
            && let Some(index) = Self::index(unit)
        {
            self.reported[index] = Some(limit_status);
        }
    }

    /// Returns true if there is a state to report, whether the request was admitted or not.
    pub fn are_reported(&self) -> bool {
        self.reported.iter().any(Option::is_some)
    }
}

/// The limit that rejects a request, and its state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LimitExceeded {
    /// The state of the limit.
    pub limit_status: LimitStatus,
    /// The unit of the limit.
    pub unit: Unit,
    /// Number of units that the request needs.
    pub requested: u64,
    /// The reason.
    pub reason: Reason,
}

impl LimitExceeded {
    /// Returns true if the wait is longer than with another limit. A limit that never admits the request is longest.
    pub fn is_longer_than(&self, other: &LimitExceeded) -> bool {
        let ends = |refusal: &LimitExceeded| matches!(refusal.reason, Reason::RanOut | Reason::Hidden);
        match (ends(self), ends(other)) {
            (true, true) => self.limit_status.wait > other.limit_status.wait,
            (mine, theirs) => theirs && !mine,
        }
    }
}

/// The reason for which a limit rejects a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// Too little is left at this moment.
    RanOut,
    /// The request needs more than the limit ever admits at once: waiting does not help.
    TooLarge,
    /// A quota that never refills is used up.
    Spent,
    /// Too little is left, and the response does not report the limit.
    Hidden,
}

/// The state of one limit for one client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LimitStatus {
    /// Number of units per period.
    pub limit: u64,
    /// Number of units that would be admitted now.
    pub remaining: u64,
    /// Time until the limit is full again.
    pub until_full: Duration,
    /// Time until another request like this one would be admitted; zero if it would be admitted now.
    pub wait: Duration,
    /// The period.
    pub period: Duration,
}

impl LimitStatus {
    /// Number of units used.
    pub fn used(&self) -> u64 {
        self.limit.saturating_sub(self.remaining)
    }

    /// Returns true if the limit refills more slowly than another.
    pub fn is_slower_than(&self, other: &LimitStatus) -> bool {
        u128::from(self.limit) * other.period.as_nanos() < u128::from(other.limit) * self.period.as_nanos()
    }

    /// Time to wait in whole seconds, rounded up and never 0: LiteLLM ignores fractions, and takes 0 as "no cooldown".
    pub fn retry_after_secs(&self) -> u64 {
        (self.wait.as_nanos().div_ceil(1_000_000_000) as u64).max(1)
    }

    /// Time to wait in milliseconds, rounded up and never 0.
    pub fn retry_after_ms(&self) -> u64 {
        (self.wait.as_nanos().div_ceil(1_000_000) as u64).max(1)
    }
}

/// Renders a period as OpenAI's messages do: `min`, `day`; others in figures, such as `10s`.
pub fn per(period: Duration) -> String {
    match period.as_secs() {
        60 => "min".to_owned(),
        86_400 => "day".to_owned(),
        _ => humantime::format_duration(period).to_string().replace(' ', ""),
    }
}

/// A duration that renders like Go's `time.Duration`, truncated to whole milliseconds: `0s`, `6ms`, `8.64s`,
/// `2m1.016s`, `114h18m0s`. OpenAI sends `x-ratelimit-reset-*` in this format.
pub struct GoDuration(pub Duration);

impl GoDuration {
    /// Appends the rendered duration.
    pub fn put(&self, out: &mut Vec<u8>) {
        let mut digits = itoa::Buffer::new();
        let (secs, millis) = (self.0.as_secs(), self.0.subsec_millis());
        if secs == 0 && millis > 0 {
            out.extend_from_slice(digits.format(millis).as_bytes());
            return out.extend_from_slice(b"ms");
        }
        if secs >= 3600 {
            out.extend_from_slice(digits.format(secs / 3600).as_bytes());
            out.push(b'h');
        }
        if secs >= 60 {
            out.extend_from_slice(digits.format(secs / 60 % 60).as_bytes());
            out.push(b'm');
        }
        out.extend_from_slice(digits.format(secs % 60).as_bytes());
        if millis > 0 {
            // Adding 1000 preserves the leading zeros of the fraction.
            let fraction = digits.format(1000 + millis)[1..].trim_end_matches('0');
            out.push(b'.');
            out.extend_from_slice(fraction.as_bytes());
        }
        out.push(b's');
    }
}

impl fmt::Display for GoDuration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text = Vec::with_capacity(16);
        self.put(&mut text);
        f.write_str(&String::from_utf8_lossy(&text))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_rendered_like_go_durations() {
        // Recorded header values.
        for (millis, rendered) in [
            (0, "0s"),
            (6, "6ms"),
            (120, "120ms"),
            (8_640, "8.64s"),
            (1_000, "1s"),
            (11_054, "11.054s"),
            (60_000, "1m0s"),
            (73_588, "1m13.588s"),
            (121_016, "2m1.016s"),
            (360_000, "6m0s"),
            (1_252_666, "20m52.666s"),
            (411_480_000, "114h18m0s"),
        ] {
            assert_eq!(GoDuration(Duration::from_millis(millis)).to_string(), rendered);
        }
        assert_eq!(GoDuration(Duration::from_micros(6_999)).to_string(), "6ms");
    }

    #[test]
    fn waits_are_rounded_up_to_whole_units_and_never_zero() {
        let period = Duration::from_secs(60);
        let limit_status = |wait| LimitStatus { limit: 1, remaining: 0, until_full: wait, wait, period };
        assert_eq!(limit_status(Duration::from_millis(600)).retry_after_secs(), 1);
        assert_eq!(limit_status(Duration::from_nanos(1_000_000_001)).retry_after_secs(), 2);
        assert_eq!(limit_status(Duration::from_nanos(600_000_001)).retry_after_ms(), 601);
        assert_eq!(limit_status(Duration::ZERO).retry_after_secs(), 1);
        assert_eq!(limit_status(Duration::ZERO).retry_after_ms(), 1);
    }
}
