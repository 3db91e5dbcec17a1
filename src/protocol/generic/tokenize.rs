//! `tokenize` and `detokenize`: the tokens of a text by their numbers, and the text of tokens. The head gives `text`, the
//! member of a request with the text (`prompt` if left out; `messages` may stand for it), and `whole`, the answer: with
//! `{{part.tokens}}`, `{{part.strings}}`, `{{part.count}}`, and `{{part.window}}` for what the model's context holds; on the
//! way back with `{{part.text}}`.
//!
//! Of its own vocabularies the fake has none: they are those of OpenAI's encodings.

use serde::Deserialize;
use serde_json::{Map, Value};

use crate::protocol::{
    ComputedReply, TokenCounter,
    openai::chat::read::{list, turn},
    shape::{Placeholders, Shape, put_number},
};
use crate::{
    core::{
        context::RequestContext,
        error::ApiError,
        json,
        limit_status::Cost,
        prompt::{Prompt, Role, Turn},
        response::{Body, Response},
    },
    model::tokens::Encoding,
};

/// What a model's context is said to hold of which nothing is known, in tokens.
const WINDOW: u64 = 131_072;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Head {
    #[serde(default = "prompt")]
    text: String,
    whole: Value,
}

fn prompt() -> String {
    "prompt".to_owned()
}

#[derive(Clone, Copy)]
enum Place {
    Tokens,
    Strings,
    Count,
    Window,
}

const PLACES: Placeholders<Place> =
    &[("tokens", Place::Tokens), ("strings", Place::Strings), ("count", Place::Count), ("window", Place::Window)];

/// The only place on the way back.
const TEXT: Placeholders<()> = &[("text", ())];

/// Makes the dialect; see [`crate::protocol::MakeComputedReply`].
pub(in crate::protocol) fn make(head: &Map<String, Value>) -> Result<Box<dyn ComputedReply>, String> {
    let head = Head::deserialize(Value::Object(head.clone())).map_err(|error| error.to_string())?;
    Ok(Box::new(Tokenize { text: head.text, whole: Shape::compile(&head.whole, PLACES)? }))
}

/// Makes the dialect of the way back; see [`crate::protocol::MakeComputedReply`].
pub(in crate::protocol) fn make_back(head: &Map<String, Value>) -> Result<Box<dyn ComputedReply>, String> {
    let head = Head::deserialize(Value::Object(head.clone())).map_err(|error| error.to_string())?;
    Ok(Box::new(Detokenize { whole: Shape::compile(&head.whole, TEXT)? }))
}

struct Tokenize {
    text: String,
    whole: Shape<Place>,
}

struct Detokenize {
    whole: Shape<()>,
}

/// The answer, which counts as what is sent.
fn told(out: Vec<u8>, tokens: usize) -> Response {
    let cost = Some(Cost { input: tokens as u64, output: 0 });
    Response { cost, ..Response::said("application/json", Body::Full(out.into())) }
}

/// A text outside of any conversation.
fn alone(text: String, context: &RequestContext<'_>) -> Prompt {
    let turn = Turn { role: Role::Text, text, ..Turn::default() };
    Prompt { model: context.model().into_owned(), turns: vec![turn], ..Prompt::default() }
}

impl Tokenize {
    /// A text, or the messages of a conversation.
    fn asked(&self, body: json::Object<'_>) -> String {
        if let Some(text) = body.get(&self.text).and_then(json::Value::as_str) {
            return text.into_owned();
        }
        let messages = list(body.get("messages").and_then(json::Value::to_value));
        messages.iter().map(|message| turn(message).text).collect::<Vec<_>>().join("\n")
    }
}

impl ComputedReply for Tokenize {
    fn check(&self, body: json::Object<'_>, _: &RequestContext<'_>) -> Result<(), ApiError> {
        match body.get(&self.text).or_else(|| body.get("messages")) {
            Some(_) => Ok(()),
            None => Err(ApiError::MissingParameter { param: self.text.clone() }),
        }
    }

    fn read(&self, body: json::Object<'_>, context: &RequestContext<'_>) -> Prompt {
        alone(self.asked(body), context)
    }

    fn respond(
        &self,
        body: json::Object<'_>,
        context: &RequestContext<'_>,
        _: TokenCounter<'_>,
    ) -> Result<Response, ApiError> {
        let encoding = Encoding::of_model(&context.model());
        let tokens = encoding.numbers(&self.asked(body));
        let mut out = Vec::with_capacity(tokens.len() * 7 + 100);
        self.whole.render(context).fill(&mut out, |place, out| match place {
            Place::Tokens => out.extend_from_slice(Value::from(tokens.clone()).to_string().as_bytes()),
            Place::Strings => {
                let strings: Value = tokens.iter().map(|token| encoding.text(&[*token])).collect();
                out.extend_from_slice(strings.to_string().as_bytes());
            }
            Place::Count => put_number(tokens.len() as u64, out),
            Place::Window => {
                put_number(context.model_facts().and_then(|facts| facts.context_window).unwrap_or(WINDOW), out);
            }
        });
        Ok(told(out, tokens.len()))
    }
}

impl Detokenize {
    fn asked(&self, body: json::Object<'_>) -> Vec<u32> {
        let numbers = body.get("tokens").map(json::Value::items).unwrap_or_default();
        numbers.into_iter().filter_map(|number| u32::try_from(number.as_u64()?).ok()).collect()
    }
}

impl ComputedReply for Detokenize {
    fn check(&self, _: json::Object<'_>, _: &RequestContext<'_>) -> Result<(), ApiError> {
        Ok(())
    }

    fn read(&self, body: json::Object<'_>, context: &RequestContext<'_>) -> Prompt {
        alone(Encoding::of_model(&context.model()).text(&self.asked(body)), context)
    }

    fn cost(&self, body: json::Object<'_>, _: &RequestContext<'_>) -> Cost {
        Cost { input: self.asked(body).len() as u64, output: 0 }
    }

    fn respond(
        &self,
        body: json::Object<'_>,
        context: &RequestContext<'_>,
        _: TokenCounter<'_>,
    ) -> Result<Response, ApiError> {
        let tokens = self.asked(body);
        let text = Encoding::of_model(&context.model()).text(&tokens);
        let mut out = Vec::with_capacity(text.len() + 100);
        self.whole.render(context).fill(&mut out, |(), out| {
            out.extend_from_slice(Value::from(text.as_str()).to_string().as_bytes());
        });
        Ok(told(out, tokens.len()))
    }
}
