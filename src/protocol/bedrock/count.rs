//! `bedrock-count-tokens`: the number of tokens that a conversation, or the body of another request, would cost. The
//! envelope is that of `count-tokens`, without `of`.

use std::sync::Arc;

use base64::{Engine, prelude::BASE64_STANDARD as BASE64};
use serde_json::{Map, Value};

use super::converse;
use crate::{
    core::{
        context::RequestContext,
        error::ApiError,
        json,
        prompt::{Prompt, Turn},
        reply::Reply,
    },
    protocol::{
        Parsed, Protocol, Reader, RenderContext, Rendered,
        wrap::count_tokens::{CountResponse, count_tokens},
    },
};

/// Creates the protocol; see [`crate::protocol::Make`].
pub(in crate::protocol) fn make(envelope: &Map<String, Value>) -> Result<Box<dyn Protocol>, String> {
    let mut envelope = envelope.clone();
    let response = CountResponse::take(&mut envelope)?;
    count_tokens(Box::new(CountInput(converse::make(&envelope)?)), response)
}

/// The request to count: a conversation or the body of another request, nested in `input`.
struct CountInput(Box<dyn Protocol>);

impl Reader for CountInput {
    fn check(&self, _: json::Object<'_>, _: &RequestContext<'_>) -> Result<(), ApiError> {
        Ok(())
    }

    fn prompt(&self, body: json::Object<'_>, context: &RequestContext<'_>, _: &[Arc<Value>]) -> Prompt {
        let input = body.get("input").and_then(json::Value::members).unwrap_or_default();
        if let Some(conversation) = input.get("converse").and_then(json::Value::members) {
            return self.0.parse(conversation, context).prompt(context).clone();
        }
        // The body of an InvokeModel is in any model's protocol: its bytes are counted.
        let encoded =
            input.get("invokeModel").and_then(json::Value::members).and_then(|invoke| invoke.get("body")?.as_str());
        let text = encoded.and_then(|encoded| BASE64.decode(&*encoded).ok()).unwrap_or_default();
        let turn = Turn { text: String::from_utf8_lossy(&text).into_owned(), ..Turn::default() };
        Prompt { model: context.model().into_owned(), turns: vec![turn], ..Prompt::default() }
    }
}

impl Protocol for CountInput {
    fn parse<'r>(&'r self, body: json::Object<'r>, context: &RequestContext<'_>) -> Parsed<'r> {
        Parsed { reader: self, ..self.0.parse(body, context) }
    }

    fn render(&self, reply: &Reply, context: Option<RenderContext<'_, '_>>) -> Box<dyn Rendered> {
        self.0.render(reply, context)
    }
}
