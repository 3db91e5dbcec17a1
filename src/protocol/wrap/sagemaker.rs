//! `payload-parts`: another dialect behind SageMaker, the one that the head names as `of`. Its answers are told as they
//! stand, but where the path asks for a stream of AWS: there, each event comes in a binary frame as it is.

use http::{HeaderValue, header::CONTENT_TYPE};
use serde_json::{Map, Value};

use super::inner;
use crate::core::{
    context::Scope,
    error::ApiError,
    json::Members,
    limit_status::Cost,
    prompt::Prompt,
    reply::Reply,
    response::{Answer, Content, Frame, Frames, Framing, Part, event_stream},
};
use crate::protocol::{Computed, Dialect, Spelling};

/// Makes the dialect; see [`crate::protocol::Make`].
pub(in crate::protocol) fn make(head: &Map<String, Value>) -> Result<Box<dyn Dialect>, String> {
    Ok(Box::new(PayloadParts { of: inner::inside(head.clone())? }))
}

struct PayloadParts {
    of: Box<dyn Dialect>,
}

impl Dialect for PayloadParts {
    fn check(&self, body: Members<'_>, scope: &Scope<'_>) -> Result<(), ApiError> {
        self.of.check(body, scope)
    }

    fn is_plain(&self, body: Members<'_>, tokens: u64) -> bool {
        self.of.is_plain(body, tokens)
    }

    fn read(&self, body: Members<'_>, scope: &Scope<'_>) -> Prompt {
        self.of.read(body, scope)
    }

    fn cost(&self, body: Members<'_>, scope: &Scope<'_>) -> Cost {
        self.of.cost(body, scope)
    }

    fn says(&self) -> bool {
        self.of.says()
    }

    fn computes(&self, body: Members<'_>) -> Option<&dyn Computed> {
        self.of.computes(body)
    }

    fn spell(&self, reply: &Reply, scope: Option<&Scope<'_>>) -> Box<dyn Spelling> {
        Box::new(Spelled { of: self.of.spell(reply, scope) })
    }
}

struct Spelled {
    of: Box<dyn Spelling>,
}

impl Spelling for Spelled {
    fn record(&self, scope: &Scope<'_>) -> Value {
        self.of.record(scope)
    }

    fn answer(&self, scope: &Scope<'_>) -> Answer {
        let answer = self.of.answer(scope);
        if !scope.request.path.trim_end_matches('/').ends_with("-stream") {
            return answer;
        }
        let list: Box<dyn Iterator<Item = Frame> + Send> = match answer.content {
            // What only says that the stream ends is left out: clients look for JSON in all of it.
            Content::Frames(frames) => Box::new(frames.list.filter(|frame| frame.part != Part::End)),
            Content::Whole(bytes) => Box::new(std::iter::once(Frame::said(bytes, 0))),
            _ => return answer,
        };
        let list = Box::new(list.map(|frame| {
            let bytes = event_stream::event("PayloadPart", "application/octet-stream", &frame.bytes);
            Frame { bytes, ..frame }
        }));
        let headers = vec![(CONTENT_TYPE, HeaderValue::from_static("application/vnd.amazon.eventstream"))];
        Answer { headers, content: Content::Frames(Frames { list, framing: Framing::Binary }), ..answer }
    }
}
