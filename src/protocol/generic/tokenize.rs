//! `tokenize` and `detokenize`: the token numbers of a text, and the text of token numbers. The envelope has:
//!
//! - `text`: the member of a request with the text, by default `prompt`; a request may have `messages` instead;
//! - `whole`: the response. For `tokenize` it may contain `{{part.tokens}}`, `{{part.strings}}`, `{{part.count}}` and
//!   `{{part.window}}`, the size of the model's context. `{{part.requested_strings}}` are the strings as byte-level
//!   vocabularies write them, if the request has `return_token_strs`. For `detokenize` it may contain `{{part.text}}`;
//! - `template`: true if messages are counted as the chat template renders them.
//!
//! All models have the vocabularies of OpenAI's encodings.

use std::sync::Arc;

use serde::Deserialize;
use serde_json::{Map, Value};

use crate::protocol::{
    ComputedReply, Parsed, Reader, TokenCounter,
    openai::chat::read::turns,
    shape::{Placeholders, Shape, put_number},
};
use crate::{
    core::{
        context::RequestContext,
        error::ApiError,
        json,
        limit_status::Cost,
        model_catalog::UNKNOWN_WINDOW,
        prompt::{Prompt, Role, Turn},
        response::{Body, Response},
    },
    model::tokens::{Encoding, chat_template::prompt_tokens},
};

/// The envelope in a fixture.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct TokenizeEnvelope {
    #[serde(default = "default_text")]
    text: String,
    #[serde(default)]
    template: bool,
    whole: Value,
}

fn default_text() -> String {
    "prompt".to_owned()
}

#[derive(Clone, Copy)]
enum Placeholder {
    Tokens,
    Strings,
    RequestedStrings,
    Count,
    Window,
}

const PLACEHOLDERS: Placeholders<Placeholder> = &[
    ("tokens", Placeholder::Tokens),
    ("strings", Placeholder::Strings),
    ("requested_strings", Placeholder::RequestedStrings),
    ("count", Placeholder::Count),
    ("window", Placeholder::Window),
];

/// The only placeholder of `detokenize`.
const TEXT: Placeholders<()> = &[("text", ())];

/// Creates the protocol; see [`crate::protocol::MakeComputedReply`].
pub(in crate::protocol) fn make(envelope: &Map<String, Value>) -> Result<Box<dyn ComputedReply>, String> {
    let envelope = TokenizeEnvelope::deserialize(Value::Object(envelope.clone())).map_err(|error| error.to_string())?;
    let TokenizeEnvelope { text, template, whole } = envelope;
    Ok(Box::new(Tokenize { text, template, whole: Shape::compile(&whole, PLACEHOLDERS)? }))
}

/// Creates the `detokenize` protocol; see [`crate::protocol::MakeComputedReply`].
pub(in crate::protocol) fn make_back(envelope: &Map<String, Value>) -> Result<Box<dyn ComputedReply>, String> {
    let envelope = TokenizeEnvelope::deserialize(Value::Object(envelope.clone())).map_err(|error| error.to_string())?;
    Ok(Box::new(Detokenize { whole: Shape::compile(&envelope.whole, TEXT)? }))
}

struct Tokenize {
    text: String,
    template: bool,
    whole: Shape<Placeholder>,
}

struct Detokenize {
    whole: Shape<()>,
}

/// Returns the response. Its cost is that of the request's tokens.
fn response(out: Vec<u8>, tokens: usize) -> Response {
    let cost = Some(Cost { input: tokens as u64, output: 0 });
    Response { cost, ..Response::ok("application/json", Body::Full(out.into())) }
}

/// Returns a prompt with one text, outside of any conversation.
fn text_prompt(text: String, model: String) -> Prompt {
    let turn = Turn { role: Role::Text, text, ..Turn::default() };
    Prompt { model, turns: vec![turn], ..Prompt::default() }
}

impl Tokenize {
    /// Returns the prompt: the request's text, or else its messages.
    fn prompt_of(&self, body: json::Object<'_>, model: String) -> Prompt {
        let text = match body.get(&self.text).and_then(json::Value::as_str) {
            Some(text) => text.into_owned(),
            None => {
                let turns = turns(body.get("messages"));
                if self.template {
                    return Prompt { model, turns, ..Prompt::default() };
                }
                turns.into_iter().map(|turn| turn.text).collect::<Vec<_>>().join("\n")
            }
        };
        text_prompt(text, model)
    }
}

impl Reader for Tokenize {
    fn check(&self, body: json::Object<'_>, _: &RequestContext<'_>) -> Result<(), ApiError> {
        match body.get(&self.text).or_else(|| body.get("messages")) {
            Some(_) => Ok(()),
            None => Err(ApiError::MissingParameter { param: self.text.clone() }),
        }
    }

    fn prompt(&self, body: json::Object<'_>, context: &RequestContext<'_>, _: &[Arc<Value>]) -> Prompt {
        self.prompt_of(body, context.model().into_owned())
    }
}

impl ComputedReply for Tokenize {
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
        let encoding = Encoding::of_model(&context.model());
        let tokens = prompt_tokens(&self.prompt_of(body, context.model().into_owned()));
        let mut out = Vec::with_capacity(tokens.len() * 7 + 100);
        self.whole.render(context).fill(&mut out, |placeholder, out| match placeholder {
            Placeholder::Tokens => out.extend_from_slice(Value::from(tokens.clone()).to_string().as_bytes()),
            Placeholder::Strings => {
                let strings: Value = tokens.iter().map(|token| encoding.text(&[*token])).collect();
                out.extend_from_slice(strings.to_string().as_bytes());
            }
            Placeholder::RequestedStrings => {
                let is_requested = body.get("return_token_strs").and_then(json::Value::as_bool) == Some(true);
                let written = |token: &u32| encoding.byte_level(*token);
                let strings = is_requested.then(|| tokens.iter().map(written).collect::<Value>());
                out.extend_from_slice(strings.unwrap_or_default().to_string().as_bytes());
            }
            Placeholder::Count => put_number(tokens.len() as u64, out),
            Placeholder::Window => {
                let of_model = || context.model_facts()?.context_window;
                put_number(context.context_window().or_else(of_model).unwrap_or(UNKNOWN_WINDOW), out);
            }
        });
        Ok(response(out, tokens.len()))
    }
}

impl Detokenize {
    fn tokens(&self, body: json::Object<'_>) -> Vec<u32> {
        let numbers = body.get("tokens").map(json::Value::items).unwrap_or_default();
        numbers.into_iter().filter_map(|number| u32::try_from(number.as_u64()?).ok()).collect()
    }
}

impl Reader for Detokenize {
    fn check(&self, _: json::Object<'_>, _: &RequestContext<'_>) -> Result<(), ApiError> {
        Ok(())
    }

    fn prompt(&self, body: json::Object<'_>, context: &RequestContext<'_>, _: &[Arc<Value>]) -> Prompt {
        let model = context.model().into_owned();
        text_prompt(Encoding::of_model(&model).text(&self.tokens(body)), model)
    }

    fn cost(&self, body: json::Object<'_>, _: &RequestContext<'_>) -> Cost {
        Cost { input: self.tokens(body).len() as u64, output: 0 }
    }
}

impl ComputedReply for Detokenize {
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
        let tokens = self.tokens(body);
        let text = Encoding::of_model(&context.model()).text(&tokens);
        let mut out = Vec::with_capacity(text.len() + 100);
        self.whole.render(context).fill(&mut out, |(), out| {
            out.extend_from_slice(Value::from(text.as_str()).to_string().as_bytes());
        });
        Ok(response(out, tokens.len()))
    }
}
