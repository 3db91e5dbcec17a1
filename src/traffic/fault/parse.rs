//! One fault as it is written: `stall@20:30s`, `429x2`, `503%5`, `down@30s+60s/5m`.

use std::{borrow::Cow, str::FromStr, time::Duration};

use bytesize::ByteSize;

use super::{FAULTS, FaultKind};
use crate::traffic::latency::Span;

/// A fault, where in the answer it is, and when it is to happen at all.
#[derive(Clone, Debug, PartialEq)]
pub struct Fault {
    /// What goes wrong.
    pub fault: FaultKind,
    /// After how many events of a stream, or bytes of a whole body.
    pub at: Option<u64>,
    /// Only the first so many times, for each caller.
    pub first: Option<u64>,
    /// Only in so many of a hundred cases.
    pub percent: Option<f64>,
    /// Only at these times.
    pub window: Option<Window>,
}

/// A part of the time since the start.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Window {
    /// When it begins.
    from: Duration,
    /// How long it lasts; for ever if it is left out.
    length: Option<Duration>,
    /// How long after its beginning it begins again.
    every: Option<Duration>,
}

impl Window {
    /// How far it has come, from 0 to 1, at this time since the start; `None` outside. One without an end has come to it
    /// at once.
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

    /// The same, but that what has come to its end stays there.
    pub(super) fn ramp(&self, elapsed: Duration) -> Option<f64> {
        match self.progress(elapsed) {
            None if elapsed >= self.from => Some(1.0),
            progress => progress,
        }
    }

    /// Reads what stands behind the last `@`, if it is a time.
    fn read(text: &str) -> Option<Result<Window, String>> {
        let (times, every) = text.split_once('/').map_or((text, None), |(times, every)| (times, Some(every)));
        let (from, length) = times.split_once('+').map_or((times, None), |(from, length)| (from, Some(length)));
        let span = |text: &str| text.parse::<Span>().map(|Span(span)| span);
        // A number alone is a place in the answer.
        let from = span(from).ok().filter(|_| from.ends_with(char::is_alphabetic))?;
        let rest = || {
            let length = length.map(span).transpose()?;
            let every = every.map(span).transpose()?;
            match (length, every) {
                (Some(Duration::ZERO), _) => Err(format!("`@{text}` lasts no time")),
                (None, Some(_)) => Err(format!("`@{text}` has no length: write @0s+10s/60s for 10 s of every 60")),
                (Some(length), Some(every)) if every < length => {
                    Err(format!("`@{text}` begins again before it has ended"))
                }
                _ => Ok(Window { from, length, every }),
            }
        };
        Some(rest())
    }
}

impl Fault {
    /// Whether it says what happens before the head.
    fn is_opening(&self) -> bool {
        match self.fault {
            FaultKind::Status(..) | FaultKind::Empty | FaultKind::Hang => true,
            FaultKind::Reset => self.at.is_none(),
            _ => false,
        }
    }

    /// Whether an answer can have only one of both.
    pub(super) fn excludes(&self, other: &Fault) -> bool {
        let says = |fault: &FaultKind| matches!(fault, FaultKind::Refusal | FaultKind::Filter);
        match self.fault {
            FaultKind::Cut | FaultKind::Stall(_) | FaultKind::Malformed | FaultKind::Dup => false,
            FaultKind::Reset if self.at.is_some() => false,
            _ if self.is_opening() && other.is_opening() => true,
            _ if says(&self.fault) && says(&other.fault) => true,
            _ => std::mem::discriminant(&self.fault) == std::mem::discriminant(&other.fault),
        }
    }
}

impl FromStr for Fault {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (mut rest, mut first, mut percent, mut window) = (text.trim(), None, None, None);
        loop {
            if let Some((before, after)) = rest.rsplit_once('%')
                && let Ok(share) = after.parse::<f64>()
            {
                if !(share > 0.0 && share <= 100.0) {
                    return Err(format!("`%{after}` is not a share: write %5 for 5 of a hundred"));
                }
                (rest, percent) = (before, Some(share));
            } else if let Some((before, after)) = rest.rsplit_once('x')
                && let (false, Ok(times)) = (before.is_empty(), after.parse::<u64>())
            {
                (rest, first) = (before, Some(times));
            } else if let Some((before, after)) = rest.rsplit_once('@')
                && let Some(read) = Window::read(after)
            {
                (rest, window) = (before, Some(read?));
            } else {
                break;
            }
        }
        let (fault, at) = fault(rest)?;
        Ok(Fault { fault, at, first, percent, window })
    }
}

/// Adds the unit to a whole number of seconds, the form of the `Retry-After` header (RFC 9110, 10.2.3): `7` is `7s`.
fn seconds(text: &str) -> Cow<'_, str> {
    match text.trim() {
        digits if !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit()) => format!("{digits}s").into(),
        _ => text.into(),
    }
}

/// Reads `name=value@place:argument`.
fn fault(text: &str) -> Result<(FaultKind, Option<u64>), String> {
    let (before, argument) = text.split_once(':').map_or((text, None), |(before, argument)| (before, Some(argument)));
    let (before, place) = before.split_once('@').map_or((before, None), |(before, place)| (before, Some(place)));
    let (name, value) = before.split_once('=').map_or((before, None), |(name, value)| (name, Some(value)));
    let syntax = || FAULTS.iter().find(|row| row.name == name).map_or(name, |row| row.syntax);
    let wrong = |what: String| format!("`{text}`: {what}; it is written {}", syntax());
    let at = match place {
        None => None,
        Some(place) => Some(
            place.parse::<u64>().map_err(|_| wrong(format!("`@{place}` is neither a number of events nor a time")))?,
        ),
    };
    let span = |text: &str| text.parse::<Span>().map(|Span(span)| span).map_err(wrong);
    let size = |text: &str| {
        text.parse::<ByteSize>().map(|size| size.as_u64()).map_err(|_| wrong(format!("`{text}` is not a size")))
    };
    let wanted = || value.ok_or_else(|| wrong("its value is missing".to_owned()));
    let (takes_value, takes_place, takes_argument, fault) = match name {
        "retry-after" if value == Some("none") => (true, false, false, FaultKind::RetryAfter(None)),
        "retry-after" => (true, false, false, FaultKind::RetryAfter(Some(span(&seconds(wanted()?))?))),
        "ttft" => (true, false, false, FaultKind::Ttft(wanted()?.parse().map_err(wrong)?)),
        "itl" => (true, false, false, FaultKind::Itl(wanted()?.parse().map_err(wrong)?)),
        "hang" => (false, false, false, FaultKind::Hang),
        "empty" => (false, false, false, FaultKind::Empty),
        "reset" => (false, true, false, FaultKind::Reset),
        "down" => (false, false, false, FaultKind::Reset),
        "cut" => (false, true, false, FaultKind::Cut),
        "stall" => (false, true, true, FaultKind::Stall(argument.map(span).transpose()?)),
        "slow-body" => (true, false, false, FaultKind::SlowBody(value.map_or(Ok(100), size)?.max(1))),
        "keepalive" => (true, false, false, FaultKind::Keepalive(value.map_or(Ok(Duration::from_secs(15)), span)?)),
        "error" => (false, true, true, FaultKind::Error(argument.unwrap_or_default().to_owned())),
        "malformed" => (false, true, false, FaultKind::Malformed),
        "dup" => (false, true, false, FaultKind::Dup),
        "nodone" => (false, false, false, FaultKind::NoDone),
        "nofinish" => (false, false, false, FaultKind::NoFinish),
        "nousage" => (false, false, false, FaultKind::NoUsage),
        "refusal" => (false, false, false, FaultKind::Refusal),
        "filter" => (false, false, false, FaultKind::Filter),
        "wrong-model" => (false, false, false, FaultKind::WrongModel),
        "gzip" => (false, false, false, FaultKind::Gzip),
        "wrong-length" => {
            let more = value.unwrap_or("16").parse::<i64>().ok().filter(|more| *more != 0);
            (true, false, false, FaultKind::WrongLength(more.ok_or_else(|| wrong("that is no difference".to_owned()))?))
        }
        "headers" => {
            let count = value.unwrap_or("1000").parse::<u32>().ok().filter(|count| *count <= 10_000);
            (true, false, false, FaultKind::Headers(count.ok_or_else(|| wrong("that is not 1 to 10000".to_owned()))?))
        }
        "huge" => {
            let size = value.map_or(Ok(100_000_000), size)?;
            if size > 10_000_000_000 {
                return Err(wrong("more than 10GB".to_owned()));
            }
            (true, false, false, FaultKind::Huge(size))
        }
        "ok" => (false, false, false, FaultKind::Ok),
        status => {
            let status = status.parse::<u16>().ok().filter(|status| (400..600).contains(status)).ok_or_else(|| {
                let names: Vec<_> = FAULTS.iter().skip(1).map(|row| row.name).collect();
                format!("there is no fault `{name}`: it is a status from 400 to 599, or one of {}", names.join(", "))
            })?;
            (false, false, true, FaultKind::Status(status, argument.unwrap_or_default().to_owned()))
        }
    };
    for (given, taken, what) in [
        (value.is_some(), takes_value, "it takes no value"),
        (at.is_some(), takes_place, "it has no place in the answer"),
        (argument.is_some(), takes_argument, "nothing stands behind a colon"),
    ] {
        if given && !taken {
            return Err(wrong(what.to_owned()));
        }
    }
    if matches!(fault, FaultKind::Keepalive(Duration::ZERO)) {
        return Err(wrong("that is no time".to_owned()));
    }
    Ok((fault, at))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn term(text: &str) -> Fault {
        text.parse().unwrap_or_else(|error| panic!("{text}: {error}"))
    }

    #[test]
    fn each_row_of_the_table_is_read() {
        for row in &FAULTS {
            for syntax in row.syntax.split_whitespace() {
                term(syntax);
            }
        }
    }

    #[test]
    fn modifiers_stand_in_any_order() {
        let all = Fault {
            fault: FaultKind::Status(429, "slow_down".into()),
            at: None,
            first: Some(2),
            percent: Some(2.5),
            window: Some(Window {
                from: Duration::from_secs(30),
                length: Some(Duration::from_secs(60)),
                every: Some(Duration::from_secs(300)),
            }),
        };
        for text in
            ["429:slow_downx2%2.5@30s+60s/5m", "429:slow_down@30s+1m/300s%2.5x2", " 429:slow_down%2.5x2@30s+60s/5m "]
        {
            assert_eq!(term(text), all, "{text}");
        }
        assert_eq!(
            term("stall@20:30s@1m"),
            Fault {
                fault: FaultKind::Stall(Some(Duration::from_secs(30))),
                at: Some(20),
                first: None,
                percent: None,
                window: Some(Window { from: Duration::from_secs(60), length: None, every: None }),
            }
        );
        assert_eq!((term("cut@0").at, term("cut@0").window), (Some(0), None));
        assert_eq!(term("huge=100MBx1").fault, FaultKind::Huge(100_000_000));
        assert_eq!(term("ttft=lognormal(p50=300ms,p99=2s)x3").first, Some(3));
    }

    #[test]
    fn retry_after_takes_whole_seconds_as_http_does() {
        let seconds = |text: &str| match term(text).fault {
            FaultKind::RetryAfter(time) => time.map(|time| time.as_millis()),
            other => panic!("{text}: {other:?}"),
        };
        for (text, millis) in [("7", 7000), ("0", 0), ("3600", 3_600_000), ("2s", 2000), ("1.5s", 1500), ("20ms", 20)] {
            assert_eq!(seconds(&format!("retry-after={text}")), Some(millis), "{text}");
        }
        assert_eq!(seconds("retry-after=none"), None);
    }

    #[test]
    fn what_is_wrong_is_told_with_how_it_is_written() {
        for (text, words) in [
            ("", "there is no fault ``"),
            ("429x", "there is no fault `429x`"),
            ("boom", "one of retry-after, ttft, itl"),
            ("200", "400 to 599"),
            ("cut@soon", "`@soon` is neither a number of events nor a time; it is written cut@40"),
            ("ttft", "its value is missing; it is written ttft=20s"),
            ("ttft=20", "`20` has no unit: write 20ms or 20s"),
            ("itl=20", "`20` has no unit: write 20ms or 20s"),
            ("stall@3:20", "`20` has no unit: write 20ms or 20s"),
            ("retry-after=1.5", "`1.5` has no unit: write 1.5ms or 1.5s"),
            ("retry-after=3601", "more than an hour"),
            ("retry-after=-1", "is not a time"),
            ("retry-after=", "a time is missing"),
            ("503=2", "it takes no value"),
            ("hang@3", "it has no place in the answer"),
            ("cut@3:5s", "nothing stands behind a colon"),
            ("503%0", "is not a share"),
            ("503%101", "is not a share"),
            ("503@1s/5s", "has no length"),
            ("503@1s+10s/5s", "begins again before it has ended"),
            ("503@1s+0s", "lasts no time"),
            ("wrong-length=0", "no difference"),
            ("headers=99999", "1 to 10000"),
            ("huge=1TB", "more than 10GB"),
            ("keepalive=0s", "no time"),
        ] {
            let error = text.parse::<Fault>().unwrap_err();
            assert!(error.contains(words), "{text}: {error}");
        }
    }

    #[test]
    fn windows_open_and_close() {
        let secs = Duration::from_secs;
        let window = |text| Window::read(text).unwrap().unwrap();
        let open = |text, at| window(text).progress(secs(at)).is_some();
        assert_eq!([29, 30, 1000].map(|at| open("30s", at)), [false, true, true]);
        assert_eq!([29, 30, 89, 90].map(|at| open("30s+60s", at)), [false, true, true, false]);
        assert_eq!([5, 9, 10, 59, 60, 70].map(|at| open("0s+10s/60s", at)), [true, true, false, false, true, false]);
        assert_eq!(window("30s+60s").progress(secs(45)), Some(0.25));
        assert_eq!(
            [0, 60, 90, 500].map(|at| window("30s+60s").ramp(secs(at))),
            [None, Some(0.5), Some(1.0), Some(1.0)]
        );
    }
}
