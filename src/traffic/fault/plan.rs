//! The faults of one response, and their application to it.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use http::{
    HeaderName, HeaderValue, StatusCode,
    header::{CONTENT_ENCODING, RETRY_AFTER},
};

use super::{
    Fault, FaultKind, FaultLabel,
    corrupt::CorruptedStream,
    spec,
    timeline::{self, Timeline},
};
use crate::{
    core::{
        reply::ReplyOverride,
        response::{Body, EventStream, HeadTiming, Response, Step, StreamFormat, TimedBody, TimedStep},
    },
    traffic::latency::{Distribution, Pace},
};

/// The faults of one response; usually empty.
#[derive(Debug, Default)]
pub struct Plan {
    faults: Vec<PlannedFault>,
    /// True if an `ok` fault was added: no other fault is accepted.
    closed: bool,
}

#[derive(Debug)]
struct PlannedFault {
    fault: Fault,
    /// The specification that it is a part of, and its number in it.
    written: (Arc<str>, usize),
    /// Progress within its time window, from 0 to 1.
    progress: f64,
}

impl Plan {
    /// Returns true if there is no fault.
    pub fn is_empty(&self) -> bool {
        self.faults.is_empty()
    }

    /// Returns true if the plan cannot take this fault besides those it has.
    pub(super) fn excludes(&self, fault: &Fault) -> bool {
        self.closed || self.faults.iter().any(|planned| planned.fault.excludes(fault))
    }

    pub(super) fn add(&mut self, fault: &Fault, written: (&Arc<str>, usize), progress: f64) {
        match fault.kind {
            FaultKind::Ok => self.closed = true,
            _ => {
                let written = (Arc::clone(written.0), written.1);
                self.faults.push(PlannedFault { fault: fault.clone(), written, progress });
            }
        }
    }

    /// Returns the faults that have an effect on a response with this status.
    fn effective(&self, status: StatusCode) -> impl Iterator<Item = &PlannedFault> {
        let is_error = status.as_u16() >= 400;
        self.faults.iter().filter(move |planned| is_error || !matches!(planned.fault.kind, FaultKind::RetryAfter(_)))
    }

    /// Returns the name of each fault that has an effect on a response with this status.
    pub fn labels(&self, status: StatusCode) -> impl Iterator<Item = FaultLabel> {
        self.effective(status).map(|planned| planned.fault.kind.label())
    }

    /// Returns each of these faults as it was written.
    pub fn texts(&self, status: StatusCode) -> impl Iterator<Item = &str> {
        self.effective(status).filter_map(|PlannedFault { written: (spec, number), .. }| spec::parts(spec).nth(*number))
    }

    fn find<T>(&self, mut pick: impl FnMut(&FaultKind) -> Option<T>) -> Option<T> {
        self.faults.iter().find_map(|planned| pick(&planned.fault.kind))
    }

    fn has(&self, kind: &FaultKind) -> bool {
        self.faults.iter().any(|planned| planned.fault.kind == *kind)
    }

    /// Returns the error in place of the response: its status and its name.
    pub fn error(&self) -> Option<(u16, &str)> {
        self.faults.iter().find_map(|planned| match &planned.fault.kind {
            FaultKind::Status(status, name) => Some((*status, name.as_str())),
            _ => None,
        })
    }

    /// Returns the name of the error that ends a stream.
    pub fn stream_error(&self) -> Option<&str> {
        self.faults.iter().find_map(|planned| match &planned.fault.kind {
            FaultKind::Error(name) => Some(name.as_str()),
            _ => None,
        })
    }

    /// Returns the `Retry-After` of an error; `Some(None)` removes the header.
    pub fn retry_after(&self) -> Option<Option<Duration>> {
        self.find(|fault| if let FaultKind::RetryAfter(time) = fault { Some(*time) } else { None })
    }

    /// Returns the time to the first token, and its progress.
    pub fn ttft(&self) -> Option<(&Distribution, f64)> {
        self.faults.iter().find_map(|planned| match &planned.fault.kind {
            FaultKind::Ttft(time) => Some((time, planned.progress)),
            _ => None,
        })
    }

    /// Returns the time between tokens, and its progress.
    pub fn itl(&self) -> Option<(&Distribution, f64)> {
        self.faults.iter().find_map(|planned| match &planned.fault.kind {
            FaultKind::Itl(time) => Some((time, planned.progress)),
            _ => None,
        })
    }

    /// Returns the reply that replaces the model's own.
    pub fn replacement(&self) -> Option<ReplyOverride> {
        self.find(|fault| match fault {
            FaultKind::Refusal => Some(ReplyOverride::Refusal),
            FaultKind::Filter => Some(ReplyOverride::Filter),
            _ => None,
        })
    }

    /// Returns true if the response names another model.
    pub fn has_wrong_model(&self) -> bool {
        self.has(&FaultKind::WrongModel)
    }

    /// Applies the times and then the faults to a response. The head is sent after `before_head`, the events at their
    /// pace. `error` is the body of the error that ends a stream.
    pub fn apply(
        &self,
        mut response: Response,
        before_head: Duration,
        pace: Option<Pace>,
        error: Option<Vec<u8>>,
    ) -> Response {
        let (content, opening) = match response.body {
            Body::Full(bytes) => (self.corrupt_full(bytes, &mut response.headers), before_head),
            Body::Stream(frames) => self.corrupt_stream(frames, pace, error, &mut response.headers),
            content => (content, before_head),
        };
        (response.body, response.head_timing) = (content, HeadTiming::After(opening));
        if self.is_empty() {
            return response;
        }
        if response.status.as_u16() >= 400
            && let Some(time) = self.retry_after()
        {
            retry_after(time, &mut response.headers);
        }
        if let Some(count) = self.find(|fault| if let FaultKind::Headers(count) = fault { Some(*count) } else { None })
        {
            let flood = (1..=count).filter_map(|n| HeaderName::try_from(format!("x-fake-flood-{n}")).ok());
            response.headers.extend(flood.map(|name| (name, HeaderValue::from_static("water"))));
        }
        let opening = self.faults.iter().find_map(|PlannedFault { fault, .. }| match fault.kind {
            FaultKind::Hang => Some(HeadTiming::Never),
            FaultKind::Empty => Some(HeadTiming::Closed),
            FaultKind::Reset if fault.at.is_none() => Some(HeadTiming::Reset),
            _ => None,
        });
        Response { head_timing: opening.unwrap_or(response.head_timing), ..response }
    }

    /// Returns the interruptions of the body, by the events or bytes before them.
    fn breaks(&self, default: u64) -> timeline::Breaks {
        let mut breaks: timeline::Breaks = self
            .faults
            .iter()
            .filter_map(|PlannedFault { fault, .. }| {
                let at = fault.at.unwrap_or(default);
                match fault.kind {
                    FaultKind::Stall(time) => Some((at, timeline::Break::Stall(time))),
                    FaultKind::Cut => Some((at, timeline::Break::Cut)),
                    FaultKind::Reset if fault.at.is_some() => Some((at, timeline::Break::Reset)),
                    _ => None,
                }
            })
            .collect();
        breaks.sort_by_key(|(at, _)| *at);
        breaks
    }

    fn corrupt_full(&self, mut bytes: Bytes, headers: &mut Vec<(HeaderName, HeaderValue)>) -> Body {
        let malformed = self.faults.iter().find(|planned| planned.fault.kind == FaultKind::Malformed);
        if let Some(at) = malformed.map(|planned| planned.fault.at.unwrap_or(bytes.len() as u64 / 2)) {
            bytes.truncate(usize::try_from(at).unwrap_or(usize::MAX));
        }
        if self.has(&FaultKind::Gzip) {
            bytes = timeline::gzip(&bytes);
            headers.push((CONTENT_ENCODING, HeaderValue::from_static("gzip")));
        }
        let (breaks, padding) = (self.breaks(bytes.len() as u64 / 2), self.padding());
        let more = self.find(|fault| if let FaultKind::WrongLength(more) = fault { Some(*more) } else { None });
        let rate = self.rate();
        if breaks.is_empty() && padding.is_none() && more.is_none() && rate.is_none() {
            return Body::Full(bytes);
        }
        let padding = padding.unwrap_or(0);
        let length = (bytes.len() as u64).saturating_add(padding);
        let mut list = timeline::full_body(bytes, &breaks);
        if more.is_some_and(|more| more > 0) {
            // The body is shorter than declared: only the end of the connection ends the response for the client.
            let at = list.last().map_or(Duration::ZERO, |timed| timed.at);
            list.push(TimedStep { at, step: Step::Cut });
        }
        let list = timeline::padded(list.into_iter(), padding, Bytes::from_static(&timeline::BLANKS));
        let length = Some(length.saturating_add_signed(more.unwrap_or(0)));
        match rate {
            None => Body::Timed(TimedBody { length, steps: Box::new(list) }),
            Some(rate) => Body::Timed(TimedBody { length, steps: Box::new(timeline::slowed(list, rate)) }),
        }
    }

    /// Returns the stream, and the time at which the head is sent.
    fn corrupt_stream(
        &self,
        frames: EventStream,
        pace: Option<Pace>,
        error: Option<Vec<u8>>,
        headers: &mut Vec<(HeaderName, HeaderValue)>,
    ) -> (Body, Duration) {
        let EventStream { events: mut list, format: framing } = frames;
        if self.faults.iter().any(|planned| CorruptedStream::handles(&planned.fault.kind)) {
            let faults = self.faults.iter().map(|planned| (&planned.fault.kind, planned.fault.at));
            list = EventStream::new(CorruptedStream::new(list, framing, faults, error), framing).events;
        }
        let (breaks, keepalive) = (self.breaks(1), self.keepalive());
        let (padding, rate) = (self.padding(), self.rate());
        // WebSocket messages are compressed only if the handshake negotiated it.
        let gzip = framing != StreamFormat::Messages && self.has(&FaultKind::Gzip);
        let plain = breaks.is_empty() && keepalive.is_none() && padding.is_none() && rate.is_none() && !gzip;
        if plain && pace.is_none() {
            return (Body::Stream(EventStream { events: list, format: framing }), Duration::ZERO);
        }
        let mut timeline = Timeline::new(list, pace, breaks);
        // The head comes with the first event, unless comments come before it.
        let opening = if keepalive.is_some() { Duration::ZERO } else { timeline.first() };
        let mut list: Box<dyn Iterator<Item = TimedStep> + Send> = Box::new(timeline);
        if let Some(every) = keepalive {
            list = Box::new(timeline::with_keepalive(list, every, framing.comment()));
        }
        if let Some(padding) = padding {
            // Comments are complete: a part of one would swallow the event after it.
            let (blank, padding) = match framing {
                StreamFormat::Array | StreamFormat::Lines => (Bytes::from_static(&timeline::BLANKS), padding),
                StreamFormat::Data(_) | StreamFormat::Named => {
                    (Bytes::from_static(&timeline::COMMENTS), padding.next_multiple_of(timeline::COMMENT_LENGTH))
                }
                // Each comment would be a message of its own.
                StreamFormat::Messages => (Bytes::new(), 0),
                StreamFormat::Binary => {
                    let padding = padding.next_multiple_of(framing.comment().len() as u64);
                    (framing.comment().repeat(1000).into(), padding)
                }
            };
            list = Box::new(timeline::padded(list, padding, blank));
        }
        if gzip {
            list = Box::new(timeline::GzipSteps::new(list));
            headers.push((CONTENT_ENCODING, HeaderValue::from_static("gzip")));
        }
        if let Some(rate) = rate {
            list = match framing {
                StreamFormat::Messages => Box::new(timeline::delayed(list, rate)),
                _ => Box::new(timeline::slowed(list, rate)),
            };
        }
        (Body::Timed(TimedBody { length: None, steps: list }), opening)
    }

    fn padding(&self) -> Option<u64> {
        self.find(|fault| if let FaultKind::Huge(size) = fault { Some(*size) } else { None })
    }

    fn rate(&self) -> Option<u64> {
        self.find(|fault| if let FaultKind::SlowBody(rate) = fault { Some(*rate) } else { None })
    }

    fn keepalive(&self) -> Option<Duration> {
        self.find(|fault| if let FaultKind::Keepalive(every) = fault { Some(*every) } else { None })
    }
}

/// Replaces the headers that request a delay: `Retry-After` in seconds, rounded up, and `retry-after-ms` if it was
/// there.
fn retry_after(time: Option<Duration>, headers: &mut Vec<(HeaderName, HeaderValue)>) {
    const MILLIS: HeaderName = HeaderName::from_static("retry-after-ms");
    let has_millis = headers.iter().any(|(name, _)| *name == MILLIS);
    headers.retain(|(name, _)| *name != RETRY_AFTER && *name != MILLIS);
    let Some(time) = time else { return };
    headers.push((RETRY_AFTER, HeaderValue::from(time.as_nanos().div_ceil(1_000_000_000) as u64)));
    if has_millis {
        headers.push((MILLIS, HeaderValue::from(time.as_nanos().div_ceil(1_000_000) as u64)));
    }
}
