//! `lines`: progress of work as JSON lines, such as the loading of a model.
//!
//! The envelope's `lines` are JSON with slots. A request with `"stream": false` gets only the last. Without lines the
//! response has no body.

use std::sync::Arc;

use http::StatusCode;
use serde::Deserialize;
use serde_json::{Map, Value};

use crate::core::{
    context::RequestContext,
    error::ApiError,
    json,
    limit_status::Cost,
    prompt::Prompt,
    response::{Body, EventKind, EventStream, Response, StreamEvent, StreamFormat},
    template::{AllowedSlots, Layout, Template},
};
use crate::protocol::{ComputedReply, Parsed, Reader, TokenCounter};

/// The envelope in a fixture.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct LinesEnvelope {
    lines: Vec<Value>,
}

struct Lines(Vec<Template>);

/// Creates the protocol; see [`crate::protocol::MakeComputedReply`].
pub(in crate::protocol) fn make(envelope: &Map<String, Value>) -> Result<Box<dyn ComputedReply>, String> {
    let envelope = LinesEnvelope::deserialize(Value::Object(envelope.clone())).map_err(|error| error.to_string())?;
    let compile = |(n, line)| {
        Template::json(line, Layout::default(), AllowedSlots::Content).map_err(|error| format!("`lines[{n}]`: {error}"))
    };
    Ok(Box::new(Lines(envelope.lines.iter().enumerate().map(compile).collect::<Result<_, _>>()?)))
}

impl Reader for Lines {
    fn check(&self, _: json::Object<'_>, _: &RequestContext<'_>) -> Result<(), ApiError> {
        Ok(())
    }

    /// Returns a prompt without turns: the model is not involved.
    fn prompt(&self, _: json::Object<'_>, context: &RequestContext<'_>, _: &[Arc<Value>]) -> Prompt {
        Prompt { model: context.model().into_owned(), ..Prompt::default() }
    }

    fn cost(&self, _: json::Object<'_>, _: &RequestContext<'_>) -> Cost {
        Cost::default()
    }
}

impl ComputedReply for Lines {
    fn reader(&self) -> &dyn Reader {
        self
    }

    fn respond(
        &self,
        parsed: &Parsed<'_>,
        context: &RequestContext<'_>,
        _: TokenCounter<'_>,
    ) -> Result<Response, ApiError> {
        let body = parsed.body;
        let Some(last) = self.0.last() else { return Ok(Response::empty(StatusCode::OK)) };
        if body.get("stream").and_then(json::Value::as_bool) == Some(false) {
            return Ok(Response::ok("application/json; charset=utf-8", Body::Full(last.render(context).into())));
        }
        let event = |(n, line): (usize, &Template)| {
            let mut bytes = line.render(context);
            bytes.push(b'\n');
            let part = if n + 1 == self.0.len() { EventKind::Finish } else { EventKind::Content };
            StreamEvent { bytes: bytes.into(), kind: part, tokens: 0 }
        };
        let events: Vec<_> = self.0.iter().enumerate().map(event).collect();
        let content = Body::Stream(EventStream::new(events.into_iter(), StreamFormat::Lines));
        Ok(Response::ok("application/x-ndjson", content))
    }
}
