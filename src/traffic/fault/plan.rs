//! What is to go wrong with one answer, and how the answer is changed.

use std::time::Duration;

use bytes::Bytes;
use http::{
    HeaderName, HeaderValue,
    header::{CONTENT_ENCODING, RETRY_AFTER},
};

use super::{
    Fault, FaultKind,
    corrupt::CorruptedStream,
    timeline::{self, Timeline},
};
use crate::{
    core::{
        reply::Instead,
        response::{Body, EventStream, HeadTiming, Response, Step, Steps, StreamFormat, TimedStep},
    },
    traffic::latency::{Distribution, Pace},
};

/// What is to go wrong with one answer. Usually nothing.
#[derive(Debug, Default)]
pub struct Plan {
    list: Vec<Planned>,
    closed: bool,
}

#[derive(Debug)]
struct Planned {
    term: Fault,
    /// How far its window has come.
    progress: f64,
}

impl Plan {
    /// Whether nothing goes wrong.
    pub fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    /// Whether something stands in the way of one more.
    pub(super) fn excludes(&self, term: &Fault) -> bool {
        self.closed || self.list.iter().any(|planned| planned.term.excludes(term))
    }

    pub(super) fn add(&mut self, term: &Fault, progress: f64) {
        match term.fault {
            FaultKind::Ok => self.closed = true,
            _ => self.list.push(Planned { term: term.clone(), progress }),
        }
    }

    fn find<T>(&self, mut pick: impl FnMut(&FaultKind) -> Option<T>) -> Option<T> {
        self.list.iter().find_map(|planned| pick(&planned.term.fault))
    }

    fn has(&self, fault: &FaultKind) -> bool {
        self.list.iter().any(|planned| planned.term.fault == *fault)
    }

    /// The error that is told in place of an answer: its status and its name.
    pub fn error(&self) -> Option<(u16, &str)> {
        self.list.iter().find_map(|planned| match &planned.term.fault {
            FaultKind::Status(status, name) => Some((*status, name.as_str())),
            _ => None,
        })
    }

    /// The name of the error that ends a stream.
    pub fn stream_error(&self) -> Option<&str> {
        self.list.iter().find_map(|planned| match &planned.term.fault {
            FaultKind::Error(name) => Some(name.as_str()),
            _ => None,
        })
    }

    /// What an error says of when to come back.
    pub fn retry_after(&self) -> Option<Option<Duration>> {
        self.find(|fault| if let FaultKind::RetryAfter(time) = fault { Some(*time) } else { None })
    }

    /// The time to the first token, and how far it has come.
    pub fn ttft(&self) -> Option<(&Distribution, f64)> {
        self.list.iter().find_map(|planned| match &planned.term.fault {
            FaultKind::Ttft(time) => Some((time, planned.progress)),
            _ => None,
        })
    }

    /// The time from token to token, and how far it has come.
    pub fn itl(&self) -> Option<(&Distribution, f64)> {
        self.list.iter().find_map(|planned| match &planned.term.fault {
            FaultKind::Itl(time) => Some((time, planned.progress)),
            _ => None,
        })
    }

    /// What the model says instead.
    pub fn replacement(&self) -> Option<Instead> {
        self.find(|fault| match fault {
            FaultKind::Refusal => Some(Instead::Refusal),
            FaultKind::Filter => Some(Instead::Filter),
            _ => None,
        })
    }

    /// Whether another model is named.
    pub fn has_wrong_model(&self) -> bool {
        self.has(&FaultKind::WrongModel)
    }

    /// Changes an answer: its times first, if it has some, then what goes wrong. Its head is sent after `before_head`, its
    /// events at their pace; `error` is the error that ends a stream, as it stands there.
    pub fn apply(
        &self,
        mut response: Response,
        before_head: Duration,
        pace: Option<Pace>,
        error: Option<Vec<u8>>,
    ) -> Response {
        let (content, opening) = match response.content {
            Body::Full(bytes) => (self.corrupt_full(bytes, &mut response.headers), before_head),
            Body::Stream(frames) => self.corrupt_stream(frames, pace, error, &mut response.headers),
            content => (content, before_head),
        };
        (response.content, response.opening) = (content, HeadTiming::After(opening));
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
        let opening = self.list.iter().find_map(|Planned { term, .. }| match term.fault {
            FaultKind::Hang => Some(HeadTiming::Never),
            FaultKind::Empty => Some(HeadTiming::Closed),
            FaultKind::Reset if term.at.is_none() => Some(HeadTiming::Reset),
            _ => None,
        });
        Response { opening: opening.unwrap_or(response.opening), ..response }
    }

    /// Where the body breaks off or stops, by how much of it was sent before.
    fn breaks(&self, default: u64) -> timeline::Breaks {
        let mut breaks: timeline::Breaks = self
            .list
            .iter()
            .filter_map(|Planned { term, .. }| {
                let at = term.at.unwrap_or(default);
                match term.fault {
                    FaultKind::Stall(time) => Some((at, timeline::Break::Stall(time))),
                    FaultKind::Cut => Some((at, timeline::Break::Cut)),
                    FaultKind::Reset if term.at.is_some() => Some((at, timeline::Break::Reset)),
                    _ => None,
                }
            })
            .collect();
        breaks.sort_by_key(|(at, _)| *at);
        breaks
    }

    fn corrupt_full(&self, mut bytes: Bytes, headers: &mut Vec<(HeaderName, HeaderValue)>) -> Body {
        let place = |fault: &FaultKind, default: u64| {
            let planned = self.list.iter().find(|planned| planned.term.fault == *fault)?;
            Some(planned.term.at.unwrap_or(default))
        };
        if let Some(at) = place(&FaultKind::Malformed, bytes.len() as u64 / 2) {
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
        let mut list = timeline::whole(bytes, &breaks);
        if more.is_some_and(|more| more > 0) {
            // What is promised does not come.
            let at = list.last().map_or(Duration::ZERO, |timed| timed.at);
            list.push(TimedStep { at, step: Step::Cut });
        }
        let list = timeline::padded(list.into_iter(), padding, Bytes::from_static(&timeline::BLANKS));
        let length = Some(length.saturating_add_signed(more.unwrap_or(0)));
        match rate {
            None => Body::Timed(Steps { length, list: Box::new(list) }),
            Some(rate) => Body::Timed(Steps { length, list: Box::new(timeline::slowed(list, rate)) }),
        }
    }

    /// The stream, and when its head is sent.
    fn corrupt_stream(
        &self,
        frames: EventStream,
        pace: Option<Pace>,
        error: Option<Vec<u8>>,
        headers: &mut Vec<(HeaderName, HeaderValue)>,
    ) -> (Body, Duration) {
        let EventStream { mut list, framing } = frames;
        if self.list.iter().any(|planned| CorruptedStream::concerns(&planned.term.fault)) {
            let terms = self.list.iter().map(|planned| (&planned.term.fault, planned.term.at));
            list = Box::new(CorruptedStream::new(list, framing, terms, error));
        }
        let (breaks, keepalive) = (self.breaks(1), self.keepalive());
        let (padding, rate) = (self.padding(), self.rate());
        // Messages are compressed, if ever, by whoever has agreed on that with the client.
        let gzip = framing != StreamFormat::Messages && self.has(&FaultKind::Gzip);
        let plain = breaks.is_empty() && keepalive.is_none() && padding.is_none() && rate.is_none() && !gzip;
        if plain && pace.is_none() {
            return (Body::Stream(EventStream { list, framing }), Duration::ZERO);
        }
        let mut timeline = Timeline::new(list, pace, breaks);
        // The head comes with the first event, unless there are comments before that.
        let opening = if keepalive.is_some() { Duration::ZERO } else { timeline.first() };
        let mut list: Box<dyn Iterator<Item = TimedStep> + Send> = Box::new(timeline);
        if let Some(every) = keepalive {
            list = Box::new(timeline::kept_alive(list, every, framing.comment()));
        }
        if let Some(padding) = padding {
            // Comments are whole ones: half of one would take the event behind it with it.
            let (blank, padding) = match framing {
                StreamFormat::Array | StreamFormat::Lines => (Bytes::from_static(&timeline::BLANKS), padding),
                StreamFormat::Data(_) | StreamFormat::Named => {
                    (Bytes::from_static(&timeline::COMMENTS), padding.next_multiple_of(timeline::COMMENT))
                }
                // Each would be a message.
                StreamFormat::Messages => (Bytes::new(), 0),
                StreamFormat::Binary => {
                    let padding = padding.next_multiple_of(framing.comment().len() as u64);
                    (framing.comment().repeat(1000).into(), padding)
                }
            };
            list = Box::new(timeline::padded(list, padding, blank));
        }
        if gzip {
            list = Box::new(timeline::Gzipped::new(list));
            headers.push((CONTENT_ENCODING, HeaderValue::from_static("gzip")));
        }
        if let Some(rate) = rate {
            list = match framing {
                StreamFormat::Messages => Box::new(timeline::late(list, rate)),
                _ => Box::new(timeline::slowed(list, rate)),
            };
        }
        (Body::Timed(Steps { length: None, list }), opening)
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

/// Says when to come back, and in no other words: whole seconds, rounded up.
fn retry_after(time: Option<Duration>, headers: &mut Vec<(HeaderName, HeaderValue)>) {
    const MILLIS: HeaderName = HeaderName::from_static("retry-after-ms");
    let told_in_millis = headers.iter().any(|(name, _)| *name == MILLIS);
    headers.retain(|(name, _)| *name != RETRY_AFTER && *name != MILLIS);
    let Some(time) = time else { return };
    headers.push((RETRY_AFTER, HeaderValue::from(time.as_nanos().div_ceil(1_000_000_000) as u64)));
    if told_in_millis {
        headers.push((MILLIS, HeaderValue::from(time.as_nanos().div_ceil(1_000_000) as u64)));
    }
}
