//! The application of a plan to a response: to its content before the delays are set, and to its delivery after that.

use std::{
    iter,
    time::{Duration, UNIX_EPOCH},
};

use bytes::Bytes;
use http::{
    HeaderName, HeaderValue,
    header::{CONTENT_ENCODING, CONTENT_TYPE, RETRY_AFTER},
};

use super::{
    super::{
        FaultKind, RetryAfter,
        async_filter::AsyncFilter,
        corrupt::CorruptedStream,
        timeline::{self, Break, Breaks, Interrupted, Unit},
        writes,
    },
    Plan, PlannedFault,
};
use crate::core::response::{
    Body, EventStream, Extent, HeadTiming, InBandError, Response, Step, Steps, StreamFormat, TimedBody, TimedStep,
};

/// The wait in milliseconds, which OpenAI's SDKs read before `Retry-After`.
const RETRY_AFTER_MS: HeaderName = HeaderName::from_static("retry-after-ms");
/// The answer to the question of a retry, which OpenAI's SDKs obey.
const SHOULD_RETRY: HeaderName = HeaderName::from_static("x-should-retry");

/// A page of a kind that captive portals and proxies send.
const PAGE: &str = "<!DOCTYPE html>\n<html>\n<head><title>Sign in</title></head>\n<body><h1>Sign in to use this \
                    network</h1></body>\n</html>\n";

impl Plan {
    /// Applies the faults of the content: the headers, the bytes of a full body, the events of a stream. `error` is the
    /// body of the error that ends a stream, and `now` the time since 1970.
    pub fn corrupt(&self, mut response: Response, error: Option<InBandError>, now: Duration) -> Response {
        if self.is_empty() {
            return response;
        }
        let is_error = response.status.as_u16() >= 400;
        if is_error {
            response.headers = self.with_error_headers(response.headers, now);
        }
        if !is_error && !matches!(response.body, Body::Session(_)) {
            if self.has(&FaultKind::Html) {
                response.headers.retain(|(name, _)| *name != CONTENT_TYPE);
                response.headers.push((CONTENT_TYPE, HeaderValue::from_static("text/html; charset=utf-8")));
                response.body = Body::Full(Bytes::from_static(PAGE.as_bytes()));
            } else if self.has(&FaultKind::EmptyBody) {
                response.body = Body::Full(Bytes::new());
            }
        }
        if let Some(count) = self.find(|fault| if let FaultKind::Headers(count) = fault { Some(*count) } else { None })
        {
            let flood = (1..=count).filter_map(|n| HeaderName::try_from(format!("x-fake-flood-{n}")).ok());
            response.headers.extend(flood.map(|name| (name, HeaderValue::from_static("water"))));
        }
        if self.compresses(&response.body) {
            response.headers.push((CONTENT_ENCODING, HeaderValue::from_static("gzip")));
        }
        let body = match response.body {
            Body::Full(bytes) => Body::Full(self.corrupt_full(bytes)),
            Body::Stream(stream) => Body::Stream(self.corrupt_stream(stream, error)),
            body => body,
        };
        Response { body, ..response }
    }

    /// Applies the faults of the delivery: those of the connection, and those of the steps of the body.
    pub fn disrupt(&self, response: Response) -> Response {
        if self.is_empty() {
            return response;
        }
        let head = response.head_timing;
        let (body, head) = match (response.body.stream_format(), response.body) {
            (Some(format), stream) => self.disrupt_stream(stream, format, head),
            (None, Body::Full(bytes)) => (self.disrupt_full(bytes, head), head),
            (None, body) => (body, head),
        };
        let instead = self.faults.iter().find_map(|PlannedFault { fault, .. }| match fault.kind {
            FaultKind::Hang => Some(HeadTiming::Never),
            FaultKind::Empty => Some(HeadTiming::Closed),
            FaultKind::Reset if fault.at.is_none() => Some(HeadTiming::Reset),
            _ => None,
        });
        Response { body, head_timing: instead.unwrap_or(head), ..response }
    }

    /// Returns the headers of an error with those that announce a retry.
    fn with_error_headers(
        &self,
        mut headers: Vec<(HeaderName, HeaderValue)>,
        now: Duration,
    ) -> Vec<(HeaderName, HeaderValue)> {
        if let Some(after) = self.retry_after() {
            headers = with_retry_after(headers, after, now);
        }
        let mut set = |name: HeaderName, value: HeaderValue| {
            headers.retain(|(known, _)| *known != name);
            headers.push((name, value));
        };
        for PlannedFault { fault, .. } in &self.faults {
            match fault.kind {
                FaultKind::RetryAfterMs(millis) => set(RETRY_AFTER_MS, millis.into()),
                FaultKind::ShouldRetry(should) => {
                    set(SHOULD_RETRY, HeaderValue::from_static(if should { "true" } else { "false" }));
                }
                _ => {}
            }
        }
        headers
    }

    fn corrupt_full(&self, mut bytes: Bytes) -> Bytes {
        let malformed = self.faults.iter().find(|planned| planned.fault.kind == FaultKind::Malformed);
        if let Some(at) = malformed.map(|planned| planned.fault.at.unwrap_or(bytes.len() as u64 / 2)) {
            bytes.truncate(usize::try_from(at).unwrap_or(usize::MAX));
        }
        if self.has(&FaultKind::Gzip) { timeline::gzip(&bytes) } else { bytes }
    }

    fn corrupt_stream(&self, stream: EventStream, error: Option<InBandError>) -> EventStream {
        let EventStream { events, format } = match self.has(&FaultKind::AsyncFilter) {
            true if AsyncFilter::handles(stream.format) => {
                EventStream::new(AsyncFilter::new(stream.events), stream.format)
            }
            _ => stream,
        };
        if !self.faults.iter().any(|planned| CorruptedStream::handles(&planned.fault.kind)) {
            return EventStream { events, format };
        }
        let faults = self.faults.iter().map(|planned| (&planned.fault.kind, planned.fault.at));
        EventStream::new(CorruptedStream::new(events, format, faults, error), format)
    }

    fn disrupt_full(&self, bytes: Bytes, head: HeadTiming) -> Body {
        let size = bytes.len() as u64;
        // The last byte comes after every interruption.
        let last = size.saturating_sub(1);
        let breaks: Breaks = self.breaks(size / 2).map(|(at, kind)| (at.min(last), kind)).collect();
        let (padding, rate) = (self.padding(), self.rate());
        let more = self.find(|fault| if let FaultKind::WrongLength(more) = fault { Some(*more) } else { None });
        if breaks.is_empty() && padding.is_none() && more.is_none() && rate.is_none() {
            return Body::Full(bytes);
        }
        let mut steps = Body::Full(bytes).into_steps(head);
        if !breaks.is_empty() {
            steps = Box::new(Interrupted::new(steps, breaks, Unit::Bytes));
        }
        if more.is_some_and(|more| more > 0) {
            // The body is shorter than declared: only the end of the connection ends the response for the client.
            steps = Box::new(steps.chain(iter::once(TimedStep { at: Duration::ZERO, step: Step::Cut })));
        }
        if let Some(padding) = padding {
            steps = Box::new(timeline::padded(steps, padding, Bytes::from_static(&timeline::BLANKS)));
        }
        if let Some(rate) = rate {
            steps = Box::new(timeline::slowed(steps, rate));
        }
        let length = size.saturating_add(padding.unwrap_or(0)).saturating_add_signed(more.unwrap_or(0));
        Body::Timed(TimedBody { extent: Extent::Length(length), steps })
    }

    /// Returns the body and the timing of its head.
    fn disrupt_stream(&self, body: Body, format: StreamFormat, mut head: HeadTiming) -> (Body, HeadTiming) {
        let (breaks, keepalive) = (self.breaks(1).collect::<Breaks>(), self.keepalive());
        let (padding, rate, gzip) = (self.padding(), self.rate(), self.compresses(&body));
        let (merged, pause) = (self.merged(), self.split_pause());
        let is_rewritten = merged.is_some() || pause.is_some() || gzip;
        if breaks.is_empty() && keepalive.is_none() && padding.is_none() && rate.is_none() && !is_rewritten {
            return (body, head);
        }
        let mut steps: Steps = body.into_steps(head);
        if !breaks.is_empty() {
            let mut interrupted = Interrupted::new(steps, breaks, Unit::Events).peekable();
            // The head comes with the first event, or before an interruption.
            head = HeadTiming::After(match interrupted.peek() {
                Some(TimedStep { at, step: Step::Send(..) }) => *at,
                _ => Duration::ZERO,
            });
            steps = Box::new(interrupted);
        }
        if let Some(count) = merged {
            steps = Box::new(writes::merged(steps, count));
        }
        // A message of a WebSocket is one write.
        if let Some(pause) = pause.filter(|_| format != StreamFormat::Messages) {
            steps = Box::new(writes::split(steps, pause));
        }
        if let Some(every) = keepalive {
            // The comments come after the head, and may come before the first event.
            head = HeadTiming::After(Duration::ZERO);
            steps = Box::new(timeline::with_keepalive(steps, every, format.comment()));
        }
        if let Some(padding) = padding {
            // Comments are complete: a part of one would swallow the event after it.
            let (blank, padding) = match format {
                StreamFormat::Array | StreamFormat::Lines => (Bytes::from_static(&timeline::BLANKS), padding),
                StreamFormat::Data(_) | StreamFormat::Named | StreamFormat::Numbered => {
                    (Bytes::from_static(&timeline::COMMENTS), padding.next_multiple_of(timeline::COMMENT_LENGTH))
                }
                // Each comment would be a message of its own.
                StreamFormat::Messages => (Bytes::new(), 0),
                StreamFormat::Binary => {
                    let padding = padding.next_multiple_of(format.comment().len() as u64);
                    (format.comment().repeat(1000).into(), padding)
                }
            };
            steps = Box::new(timeline::padded(steps, padding, blank));
        }
        if gzip {
            steps = Box::new(timeline::GzipSteps::new(steps));
        }
        if let Some(rate) = rate {
            steps = match format {
                StreamFormat::Messages => Box::new(timeline::delayed(steps, rate)),
                _ => Box::new(timeline::slowed(steps, rate)),
            };
        }
        (Body::Timed(TimedBody { extent: Extent::Events(format), steps }), head)
    }

    /// Returns the interruptions in order, each with the number of events or bytes before it.
    fn breaks(&self, default: u64) -> impl Iterator<Item = (u64, Break)> + use<> {
        let mut breaks: Breaks = self
            .faults
            .iter()
            .filter_map(|PlannedFault { fault, .. }| {
                let at = fault.at.unwrap_or(default);
                match fault.kind {
                    FaultKind::Stall(time) => Some((at, Break::Stall(time))),
                    FaultKind::Cut => Some((at, Break::Cut)),
                    FaultKind::Reset if fault.at.is_some() => Some((at, Break::Reset)),
                    _ => None,
                }
            })
            .collect();
        breaks.sort_by_key(|(at, _)| *at);
        breaks.into_iter()
    }

    /// Returns true if a body is compressed: a full one at once, a stream step by step.
    fn compresses(&self, body: &Body) -> bool {
        let can_be = match body.stream_format() {
            // WebSocket messages are compressed only if the handshake negotiated it.
            Some(format) => format != StreamFormat::Messages,
            None => matches!(body, Body::Full(_)),
        };
        can_be && self.has(&FaultKind::Gzip)
    }

    fn padding(&self) -> Option<u64> {
        self.find(|fault| if let FaultKind::Huge(size) = fault { Some(*size) } else { None })
    }

    fn rate(&self) -> Option<u64> {
        self.find(|fault| if let FaultKind::SlowBody(rate) = fault { Some(*rate) } else { None })
    }

    fn merged(&self) -> Option<u64> {
        self.find(|fault| if let FaultKind::Merge(count) = fault { Some(*count) } else { None })
    }

    fn split_pause(&self) -> Option<Duration> {
        self.find(|fault| if let FaultKind::Split(pause) = fault { Some(*pause) } else { None })
    }

    fn keepalive(&self) -> Option<Duration> {
        self.find(|fault| if let FaultKind::Keepalive(every) = fault { Some(*every) } else { None })
    }
}

/// Returns the headers with another delay, or without one: `Retry-After` in seconds, rounded up, or as a date, and
/// `retry-after-ms` if it was there. `now` is the time since 1970.
fn with_retry_after(
    mut headers: Vec<(HeaderName, HeaderValue)>,
    after: RetryAfter,
    now: Duration,
) -> Vec<(HeaderName, HeaderValue)> {
    let has_millis = headers.iter().any(|(name, _)| *name == RETRY_AFTER_MS);
    headers.retain(|(name, _)| *name != RETRY_AFTER && *name != RETRY_AFTER_MS);
    let Some(time) = after.time() else { return headers };
    let value = match after {
        RetryAfter::Date(time) => {
            // A date has whole seconds: the next one, so that nobody comes too early.
            let seconds = now.saturating_add(time).as_nanos().div_ceil(1_000_000_000) as u64;
            let date = UNIX_EPOCH.checked_add(Duration::from_secs(seconds)).unwrap_or(UNIX_EPOCH);
            HeaderValue::try_from(httpdate::fmt_http_date(date)).unwrap_or(HeaderValue::from_static(""))
        }
        _ => HeaderValue::from(time.as_nanos().div_ceil(1_000_000_000) as u64),
    };
    headers.push((RETRY_AFTER, value));
    if has_millis {
        headers.push((RETRY_AFTER_MS, HeaderValue::from(time.as_nanos().div_ceil(1_000_000) as u64)));
    }
    headers
}
