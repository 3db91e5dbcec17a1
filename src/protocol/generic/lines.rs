//! `lines`: work that is told line by line as it goes on, such as the loading of a model. The head gives the `lines`, JSON
//! with slots; a request that says `"stream": false` is told the last alone. Without lines the answer has no body.

use http::StatusCode;
use serde::Deserialize;
use serde_json::{Map, Value};

use crate::core::{
    context::Scope,
    error::ApiError,
    json::{Members, Raw},
    limit_status::Cost,
    prompt::Prompt,
    response::{Answer, Content, Frame, Frames, Framing, Part},
    template::{Layout, Spaces, Template},
};
use crate::protocol::{Computed, Count};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Head {
    lines: Vec<Value>,
}

struct Lines(Vec<Template>);

/// Makes the dialect; see [`crate::protocol::MakeComputed`].
pub(in crate::protocol) fn make(head: &Map<String, Value>) -> Result<Box<dyn Computed>, String> {
    let head = Head::deserialize(Value::Object(head.clone())).map_err(|error| error.to_string())?;
    let compile = |(n, line)| {
        Template::json(line, Layout::default(), Spaces::Content).map_err(|error| format!("`lines[{n}]`: {error}"))
    };
    Ok(Box::new(Lines(head.lines.iter().enumerate().map(compile).collect::<Result<_, _>>()?)))
}

impl Computed for Lines {
    fn check(&self, _: Members<'_>, _: &Scope<'_>) -> Result<(), ApiError> {
        Ok(())
    }

    /// Nothing is asked of the model.
    fn read(&self, _: Members<'_>, scope: &Scope<'_>) -> Prompt {
        Prompt { model: scope.model().into_owned(), ..Prompt::default() }
    }

    fn cost(&self, _: Members<'_>, _: &Scope<'_>) -> Cost {
        Cost::default()
    }

    fn answer(&self, body: Members<'_>, scope: &Scope<'_>, _: Count<'_>) -> Result<Answer, ApiError> {
        let Some(last) = self.0.last() else { return Ok(Answer::empty(StatusCode::OK)) };
        if body.get("stream").and_then(Raw::as_bool) == Some(false) {
            return Ok(Answer::said("application/json; charset=utf-8", Content::Whole(last.render(scope).into())));
        }
        let frame = |(n, line): (usize, &Template)| {
            let mut bytes = line.render(scope);
            bytes.push(b'\n');
            let part = if n + 1 == self.0.len() { Part::Finish } else { Part::Said };
            Frame { bytes: bytes.into(), part, tokens: 0 }
        };
        let frames: Vec<_> = self.0.iter().enumerate().map(frame).collect();
        let content = Content::Frames(Frames { list: Box::new(frames.into_iter()), framing: Framing::Lines });
        Ok(Answer::said("application/x-ndjson", content))
    }
}
