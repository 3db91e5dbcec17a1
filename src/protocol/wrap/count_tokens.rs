//! `count-tokens`: the number of prompt tokens that a request to another protocol would cost. The envelope has:
//!
//! - `of`: the inner protocol, whose envelope is the other members;
//! - `counted`: the response, with `{{part.tokens}}` and `{{part.characters}}`, the prompt's characters without spaces;
//! - optional: `layout` and `content_type` of the response.

use std::sync::Arc;

use http::{HeaderValue, StatusCode, header::CONTENT_TYPE};
use serde::Deserialize;
use serde_json::{Map, Value};

use super::inner;
use crate::core::{
    context::RequestContext,
    error::ApiError,
    json,
    reply::Reply,
    response::{Body, Response},
    template::Layout,
};
use crate::protocol::{
    Parsed, Protocol, ReadyMade, Record, RenderContext, Rendered, ReplySource, StoredObjects,
    shape::{Placeholders, Shape, lay_out, put_number},
};

#[derive(Clone, Copy)]
enum Placeholder {
    Tokens,
    Characters,
}

const PLACEHOLDERS: Placeholders<Placeholder> =
    &[("tokens", Placeholder::Tokens), ("characters", Placeholder::Characters)];

/// Creates the protocol; see [`crate::protocol::Make`].
pub(in crate::protocol) fn make(envelope: &Map<String, Value>) -> Result<Box<dyn Protocol>, String> {
    let mut envelope = envelope.clone();
    let response = CountResponse::take(&mut envelope)?;
    count_tokens(inner::inner_protocol(envelope)?, response)
}

/// Creates the protocol that counts the prompt tokens of requests to `inner`.
pub(in crate::protocol) fn count_tokens(
    inner: Box<dyn Protocol>,
    response: CountResponse,
) -> Result<Box<dyn Protocol>, String> {
    Ok(Box::new(CountTokens { inner, response: Arc::new(response) }))
}

/// The response of a count, from the envelope.
pub(in crate::protocol) struct CountResponse {
    shape: Shape<Placeholder>,
    layout: Layout,
    content_type: HeaderValue,
}

impl CountResponse {
    /// Removes its members from the envelope.
    ///
    /// # Errors
    /// A member is missing or wrong.
    pub(in crate::protocol) fn take(envelope: &mut Map<String, Value>) -> Result<Self, String> {
        let counted =
            envelope.shift_remove("counted").ok_or("`counted` is missing; give it the JSON of the response")?;
        let layout = envelope.shift_remove("layout").map(Layout::deserialize).transpose();
        let content_type = envelope.shift_remove("content_type").map(String::deserialize).transpose();
        let content_type = content_type.map_err(|error| format!("`content_type`: {error}"))?;
        let content_type = HeaderValue::try_from(content_type.unwrap_or("application/json".to_owned()));
        Ok(CountResponse {
            shape: Shape::compile(&counted, PLACEHOLDERS).map_err(|error| format!("`counted`: {error}"))?,
            layout: layout.map_err(|error| format!("`layout`: {error}"))?.unwrap_or_default(),
            content_type: content_type.map_err(|error| format!("`content_type`: {error}"))?,
        })
    }
}

struct CountTokens {
    inner: Box<dyn Protocol>,
    response: Arc<CountResponse>,
}

impl Protocol for CountTokens {
    fn parse<'r>(&'r self, body: json::Object<'r>, context: &RequestContext<'_>) -> Parsed<'r> {
        // A script's own usage does not depend on the request.
        let (source, ready_made) = (ReplySource::ScriptUsage, ReadyMade::All);
        Parsed { source, ready_made, store: None, ..self.inner.parse(body, context) }
    }

    fn render(&self, reply: &Reply, _: Option<RenderContext<'_, '_>>) -> Box<dyn Rendered> {
        Box::new(RenderedCount { response: Arc::clone(&self.response), tokens: reply.usage.prompt_tokens })
    }
}

/// The count of one request.
struct RenderedCount {
    response: Arc<CountResponse>,
    tokens: u64,
}

impl RenderedCount {
    fn text(&self, context: &RenderContext<'_, '_>) -> Vec<u8> {
        let mut out = Vec::new();
        self.response.shape.render(context).fill(&mut out, |placeholder, out| match placeholder {
            Placeholder::Tokens => put_number(self.tokens, out),
            Placeholder::Characters => {
                let turns = &context.parsed.prompt(context).turns;
                let characters = |text: &str| text.chars().filter(|c| !c.is_whitespace()).count() as u64;
                put_number(turns.iter().map(|turn| characters(&turn.text)).sum(), out);
            }
        });
        out
    }
}

impl Rendered for RenderedCount {
    fn respond(&self, context: RenderContext<'_, '_>, _: &dyn StoredObjects) -> Result<Response, ApiError> {
        let content = Body::Full(lay_out(self.text(&context), self.response.layout).into());
        Ok(Response::new(StatusCode::OK, vec![(CONTENT_TYPE, self.response.content_type.clone())], content))
    }

    fn record(&self, context: RenderContext<'_, '_>) -> Record {
        Record::of_json(&self.text(&context))
    }
}
