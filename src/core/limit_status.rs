//! Where a client stands with its limits after one decision.

use std::{fmt, time::Duration};

/// What a limit counts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Unit {
    /// Requests.
    #[default]
    Requests,
    /// Tokens of prompt and reply, booked before there is a reply: see [`Cost`].
    Tokens,
    /// Tokens of the prompt.
    InputTokens,
    /// Tokens of the reply.
    OutputTokens,
    /// Requests whose answers are under way.
    InFlight,
}

impl Unit {
    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Unit::Requests => "requests",
            Unit::Tokens => "tokens",
            Unit::InputTokens => "input_tokens",
            Unit::OutputTokens => "output_tokens",
            Unit::InFlight => "in_flight",
        }
    }

    /// Whether it is `requests` or `tokens`.
    pub fn kind(self) -> &'static str {
        match self {
            Unit::Requests | Unit::InFlight => "requests",
            Unit::Tokens | Unit::InputTokens | Unit::OutputTokens => "tokens",
        }
    }

    /// How a sentence names it.
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

/// Tokens that a request takes: as booked before there is a reply, or as it came to in the end.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Cost {
    /// Those of the prompt.
    pub input: u64,
    /// Those of the reply.
    pub output: u64,
}

/// Where a client stands with the limits that apply to its request. Every number that an answer tells about a limit
/// comes from here. Of several limits on one unit, it is the one with the slowest refill; of those that refuse, the one
/// that takes longest.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LimitStatuses {
    /// By unit. Requests in flight are told by no provider.
    reported: [Option<LimitStatus>; 4],
    /// Why the request is refused, if it is.
    pub refusal: Option<LimitExceeded>,
}

impl LimitStatuses {
    fn place(unit: Unit) -> Option<usize> {
        match unit {
            Unit::Requests => Some(0),
            Unit::Tokens => Some(1),
            Unit::InputTokens => Some(2),
            Unit::OutputTokens => Some(3),
            Unit::InFlight => None,
        }
    }

    /// The standing of a unit, if it is told.
    pub fn get(&self, unit: Unit) -> Option<&LimitStatus> {
        self.reported[Self::place(unit)?].as_ref()
    }

    /// Writes down where the client stands with one more limit on this unit.
    pub fn record(&mut self, unit: Unit, limit_status: LimitStatus) {
        if let Some(place) = Self::place(unit)
            && self.reported[place].is_none_or(|known| limit_status.is_slower_than(&known))
        {
            self.reported[place] = Some(limit_status);
        }
    }

    /// Writes down that one more limit refuses.
    pub fn exceed(&mut self, refusal: LimitExceeded) {
        if self.refusal.is_none_or(|known| refusal.is_longer_than(&known)) {
            self.refusal = Some(refusal);
        }
    }

    /// Once all limits have spoken: what a refusal tells of its unit is told of the limit that refuses.
    pub fn close(&mut self) {
        if let Some(LimitExceeded { limit_status, unit, reason: Reason::RanOut, .. }) = self.refusal
            && let Some(place) = Self::place(unit)
        {
            self.reported[place] = Some(limit_status);
        }
    }

    /// Whether there is any to tell, refused or not.
    pub fn are_reported(&self) -> bool {
        self.reported.iter().any(Option::is_some)
    }
}

/// The limit that refuses a request, and where the client stands with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LimitExceeded {
    /// Where the client stands.
    pub limit_status: LimitStatus,
    /// What ran out.
    pub unit: Unit,
    /// What the request would have cost.
    pub requested: u64,
    /// Why.
    pub reason: Reason,
}

impl LimitExceeded {
    /// Whether it takes longer than another until the request would pass.
    pub fn is_longer_than(&self, other: &LimitExceeded) -> bool {
        let ever = |refusal: &LimitExceeded| matches!(refusal.reason, Reason::RanOut | Reason::Hidden);
        match (ever(self), ever(other)) {
            (true, true) => self.limit_status.wait > other.limit_status.wait,
            (mine, theirs) => theirs && !mine,
        }
    }
}

/// Why a limit refuses a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// Not enough is left at this moment.
    RanOut,
    /// It is more than the limit ever admits at once: waiting does not help.
    TooLarge,
    /// A quota that never refills is used up.
    Spent,
    /// Not enough is left, and the limit tells nothing of itself.
    Hidden,
}

/// Where a client stands with one limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LimitStatus {
    /// How much there is in a period.
    pub limit: u64,
    /// How much would be admitted at this very moment.
    pub remaining: u64,
    /// Time until all of it is there again.
    pub until_full: Duration,
    /// Time until another request like this one would be admitted; zero if it would be now.
    pub wait: Duration,
    /// The period.
    pub period: Duration,
}

impl LimitStatus {
    /// What the limit is short of.
    pub fn used(&self) -> u64 {
        self.limit.saturating_sub(self.remaining)
    }

    /// Whether it refills more slowly than another.
    pub fn is_slower_than(&self, other: &LimitStatus) -> bool {
        u128::from(self.limit) * other.period.as_nanos() < u128::from(other.limit) * self.period.as_nanos()
    }

    /// Whole seconds to wait, rounded up and never 0: LiteLLM reads no fractions, and takes 0 for "no cooldown".
    pub fn retry_after_secs(&self) -> u64 {
        (self.wait.as_nanos().div_ceil(1_000_000_000) as u64).max(1)
    }

    /// Milliseconds to wait, rounded up and never 0.
    pub fn retry_after_ms(&self) -> u64 {
        (self.wait.as_nanos().div_ceil(1_000_000) as u64).max(1)
    }
}

/// A period as OpenAI's messages name it: `min`, `day`; others in figures, such as `10s`.
pub fn per(period: Duration) -> String {
    match period.as_secs() {
        60 => "min".to_owned(),
        86_400 => "day".to_owned(),
        _ => humantime::format_duration(period).to_string().replace(' ', ""),
    }
}

/// Writes a duration as Go's `time.Duration` prints it, cut to whole milliseconds: `0s`, `6ms`, `8.64s`, `2m1.016s`,
/// `114h18m0s`. It is how OpenAI spells `x-ratelimit-reset-*`.
pub struct GoDuration(pub Duration);

impl GoDuration {
    /// Appends it to a text.
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
            // A thousand before them keeps the zeros that they begin with.
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
    fn durations_are_spelled_as_go_does() {
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
