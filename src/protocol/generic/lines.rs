//! `lines`: work that is told line by line as it goes on, such as the loading of a model. The head gives the `lines`, JSON
//! with slots; a request that says `"stream": false` is told the last alone. Without lines the answer has no body.

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
    template::{Layout, Spaces, Template},
};
use crate::protocol::{ComputedReply, TokenCounter};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Head {
    lines: Vec<Value>,
}

struct Lines(Vec<Template>);

/// Makes the dialect; see [`crate::protocol::MakeComputedReply`].
pub(in crate::protocol) fn make(head: &Map<String, Value>) -> Result<Box<dyn ComputedReply>, String> {
    let head = Head::deserialize(Value::Object(head.clone())).map_err(|error| error.to_string())?;
    let compile = |(n, line)| {
        Template::json(line, Layout::default(), Spaces::Content).map_err(|error| format!("`lines[{n}]`: {error}"))
    };
    Ok(Box::new(Lines(head.lines.iter().enumerate().map(compile).collect::<Result<_, _>>()?)))
}

impl ComputedReply for Lines {
    fn check(&self, _: json::Object<'_>, _: &RequestContext<'_>) -> Result<(), ApiError> {
        Ok(())
    }

    /// Nothing is asked of the model.
    fn read(&self, _: json::Object<'_>, context: &RequestContext<'_>) -> Prompt {
        Prompt { model: context.model().into_owned(), ..Prompt::default() }
    }

    fn cost(&self, _: json::Object<'_>, _: &RequestContext<'_>) -> Cost {
        Cost::default()
    }

    fn respond(
        &self,
        body: json::Object<'_>,
        context: &RequestContext<'_>,
        _: TokenCounter<'_>,
    ) -> Result<Response, ApiError> {
        let Some(last) = self.0.last() else { return Ok(Response::empty(StatusCode::OK)) };
        if body.get("stream").and_then(json::Value::as_bool) == Some(false) {
            return Ok(Response::said("application/json; charset=utf-8", Body::Full(last.render(context).into())));
        }
        let frame = |(n, line): (usize, &Template)| {
            let mut bytes = line.render(context);
            bytes.push(b'\n');
            let part = if n + 1 == self.0.len() { EventKind::Finish } else { EventKind::Said };
            StreamEvent { bytes: bytes.into(), part, tokens: 0 }
        };
        let frames: Vec<_> = self.0.iter().enumerate().map(frame).collect();
        let content = Body::Stream(EventStream { list: Box::new(frames.into_iter()), framing: StreamFormat::Lines });
        Ok(Response::said("application/x-ndjson", content))
    }
}
