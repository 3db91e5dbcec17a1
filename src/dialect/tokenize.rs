//! `tokenize` and `detokenize`: the tokens of a text by their numbers, and the text of tokens, as vLLM tells them.
//!
//! Of its own vocabularies the fake has none: they are those of OpenAI's encodings.

use serde_json::{Map, Value, json};

use super::{
    Dialect, Spelling,
    openai_chat::read::{list, turn},
};
use crate::{
    answer::{Answer, Content},
    error::ApiError,
    prompt::{Prompt, Turn},
    reply::Reply,
    request::members::{Members, Raw},
    template::scope::Scope,
    tokens::Encoding,
};

/// What a model's context is said to hold of which nothing is known, in tokens.
const WINDOW: u64 = 131_072;

/// Which way it goes.
#[derive(Clone, Copy)]
enum Way {
    Tokens,
    Text,
}

/// Makes the dialect; see [`super::Make`].
pub(super) fn make(head: &Map<String, Value>) -> Result<Box<dyn Dialect>, String> {
    bare(Way::Tokens, head)
}

/// Makes the dialect of the way back; see [`super::Make`].
pub(super) fn make_back(head: &Map<String, Value>) -> Result<Box<dyn Dialect>, String> {
    bare(Way::Text, head)
}

fn bare(way: Way, head: &Map<String, Value>) -> Result<Box<dyn Dialect>, String> {
    match head.keys().next() {
        None => Ok(Box::new(Tokenize(way))),
        Some(name) => Err(format!("`head` has `{name}`: tokens have nothing around them")),
    }
}

struct Tokenize(Way);

/// A prompt, or the messages of a conversation.
fn asked(body: Members<'_>) -> String {
    if let Some(prompt) = body.get("prompt").and_then(Raw::as_str) {
        return prompt.into_owned();
    }
    let messages = list(body.get("messages").and_then(Raw::to_value));
    messages.iter().map(|message| turn(message).text).collect::<Vec<_>>().join("\n")
}

impl Dialect for Tokenize {
    fn check(&self, body: Members<'_>, _: &Scope<'_>) -> Result<(), ApiError> {
        let asks = |name: &str| body.get(name).is_some();
        match self.0 {
            Way::Tokens if !asks("prompt") && !asks("messages") => {
                Err(ApiError::MissingParameter { param: "prompt".to_owned() })
            }
            _ => Ok(()),
        }
    }

    /// Nothing of it is said by a script.
    fn is_plain(&self, _: Members<'_>, _: u64) -> bool {
        true
    }

    fn read(&self, body: Members<'_>, scope: &Scope<'_>) -> Prompt {
        let turn = Turn { text: asked(body), ..Turn::default() };
        Prompt { model: scope.model().into_owned(), turns: vec![turn], ..Prompt::default() }
    }

    fn says(&self) -> bool {
        false
    }

    fn spell(&self, _: &Reply, _: Option<&Scope<'_>>) -> Box<dyn Spelling> {
        Box::new(Spelled(self.0))
    }
}

struct Spelled(Way);

impl Spelling for Spelled {
    fn answer(&self, scope: &Scope<'_>) -> Answer {
        Answer::said("application/json", Content::Whole(self.record(scope).to_string().into()))
    }

    fn record(&self, scope: &Scope<'_>) -> Value {
        let body = scope.members().unwrap_or_default();
        let encoding = Encoding::of_model(&scope.model());
        match self.0 {
            Way::Tokens => {
                let tokens = encoding.numbers(&asked(body));
                let window = scope.model_facts().and_then(|facts| facts.context_window).unwrap_or(WINDOW);
                json!({"count": tokens.len(), "max_model_len": window, "tokens": tokens, "token_strs": null})
            }
            Way::Text => {
                let numbers = body.get("tokens").map(Raw::items).unwrap_or_default();
                let numbers = numbers.into_iter().filter_map(|number| u32::try_from(number.as_u64()?).ok());
                json!({"prompt": encoding.text(&numbers.collect::<Vec<_>>())})
            }
        }
    }
}
