//! The wait that a response announces: `retry-after-ms`, or else `retry-after` in seconds or as a date.

use std::time::{Duration, UNIX_EPOCH};

use http::{HeaderName, HeaderValue};

/// Longest wait that is taken as announced: beyond it the client is not expected to come back.
const LONGEST_WAIT: Duration = Duration::from_secs(86_400);

/// Returns the wait that the headers of a response announce; `now` is the time since 1970.
pub(super) fn announced(headers: &[(HeaderName, HeaderValue)], now: Duration) -> Option<Duration> {
    let value = |name: &str| {
        let found = headers.iter().find(|(known, _)| known.as_str() == name);
        found.and_then(|(_, value)| value.to_str().ok()).map(str::trim)
    };
    let seconds = |seconds: f64| Duration::try_from_secs_f64(seconds).ok();
    let in_millis = value("retry-after-ms").and_then(|text| text.parse::<f64>().ok());
    let wait = match in_millis.and_then(|millis| seconds(millis / 1000.0)) {
        Some(wait) => wait,
        None => {
            let text = value("retry-after")?;
            let in_seconds = text.parse::<f64>().ok().and_then(seconds);
            in_seconds.or_else(|| http_date(text).map(|date| date.saturating_sub(now)))?
        }
    };
    (wait <= LONGEST_WAIT).then_some(wait)
}

/// Parses a date such as `Sun, 06 Nov 1994 08:49:37 GMT`.
fn http_date(text: &str) -> Option<Duration> {
    httpdate::parse_http_date(text).ok()?.duration_since(UNIX_EPOCH).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wait(headers: &[(&'static str, &'static str)]) -> Option<u128> {
        let header = |(name, value): &(&'static str, &'static str)| {
            (HeaderName::from_static(name), HeaderValue::from_static(value))
        };
        let headers: Vec<_> = headers.iter().map(header).collect();
        announced(&headers, Duration::from_secs(784_111_777)).map(|wait| wait.as_millis())
    }

    #[test]
    fn milliseconds_come_before_seconds_and_dates() {
        assert_eq!(wait(&[("retry-after", "2"), ("retry-after-ms", "1500")]), Some(1500));
        assert_eq!(wait(&[("retry-after", "2")]), Some(2000));
        assert_eq!(wait(&[("retry-after", "0.25")]), Some(250));
        assert_eq!(wait(&[("retry-after", "Sun, 06 Nov 1994 08:49:40 GMT")]), Some(3000));
        assert_eq!(wait(&[("retry-after", "Sun, 06 Nov 1994 08:49:30 GMT")]), Some(0), "a time in the past");
        for text in ["", "soon", "-1", "NaN", "1e300", "Sun, 06 Foo 1994 08:49:40 GMT", "90000"] {
            assert_eq!(wait(&[("retry-after", text)]), None, "{text}");
        }
        assert_eq!(wait(&[]), None);
    }
}
