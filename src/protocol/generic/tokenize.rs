//! `tokenize` and `detokenize`: the tokens of a text by their numbers, and the text of tokens. The head gives `text`, the
//! member of a request with the text (`prompt` if left out; `messages` may stand for it), and `whole`, the answer: with
//! `{{part.tokens}}`, `{{part.strings}}`, `{{part.count}}`, and `{{part.window}}` for what the model's context holds; on the
//! way back with `{{part.text}}`.
//!
//! Of its own vocabularies the fake has none: they are those of OpenAI's encodings.

use serde::Deserialize;
use serde_json::{Map, Value};

use crate::protocol::{
    Computed, Count,
    openai::chat::read::{list, turn},
    shape::{Places, Shape, put_number},
};
use crate::{
    core::{
        context::Scope,
        error::ApiError,
        json::{Members, Raw},
        limit_status::Cost,
        prompt::{Prompt, Role, Turn},
        response::{Answer, Content},
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

const PLACES: Places<Place> =
    &[("tokens", Place::Tokens), ("strings", Place::Strings), ("count", Place::Count), ("window", Place::Window)];

/// The only place on the way back.
const TEXT: Places<()> = &[("text", ())];

/// Makes the dialect; see [`crate::protocol::MakeComputed`].
pub(in crate::protocol) fn make(head: &Map<String, Value>) -> Result<Box<dyn Computed>, String> {
    let head = Head::deserialize(Value::Object(head.clone())).map_err(|error| error.to_string())?;
    Ok(Box::new(Tokenize { text: head.text, whole: Shape::compile(&head.whole, PLACES)? }))
}

/// Makes the dialect of the way back; see [`crate::protocol::MakeComputed`].
pub(in crate::protocol) fn make_back(head: &Map<String, Value>) -> Result<Box<dyn Computed>, String> {
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
fn told(out: Vec<u8>, tokens: usize) -> Answer {
    let cost = Some(Cost { input: tokens as u64, output: 0 });
    Answer { cost, ..Answer::said("application/json", Content::Whole(out.into())) }
}

/// A text outside of any conversation.
fn alone(text: String, scope: &Scope<'_>) -> Prompt {
    let turn = Turn { role: Role::Text, text, ..Turn::default() };
    Prompt { model: scope.model().into_owned(), turns: vec![turn], ..Prompt::default() }
}

impl Tokenize {
    /// A text, or the messages of a conversation.
    fn asked(&self, body: Members<'_>) -> String {
        if let Some(text) = body.get(&self.text).and_then(Raw::as_str) {
            return text.into_owned();
        }
        let messages = list(body.get("messages").and_then(Raw::to_value));
        messages.iter().map(|message| turn(message).text).collect::<Vec<_>>().join("\n")
    }
}

impl Computed for Tokenize {
    fn check(&self, body: Members<'_>, _: &Scope<'_>) -> Result<(), ApiError> {
        match body.get(&self.text).or_else(|| body.get("messages")) {
            Some(_) => Ok(()),
            None => Err(ApiError::MissingParameter { param: self.text.clone() }),
        }
    }

    fn read(&self, body: Members<'_>, scope: &Scope<'_>) -> Prompt {
        alone(self.asked(body), scope)
    }

    fn answer(&self, body: Members<'_>, scope: &Scope<'_>, _: Count<'_>) -> Result<Answer, ApiError> {
        let encoding = Encoding::of_model(&scope.model());
        let tokens = encoding.numbers(&self.asked(body));
        let mut out = Vec::with_capacity(tokens.len() * 7 + 100);
        self.whole.render(scope).fill(&mut out, |place, out| match place {
            Place::Tokens => out.extend_from_slice(Value::from(tokens.clone()).to_string().as_bytes()),
            Place::Strings => {
                let strings: Value = tokens.iter().map(|token| encoding.text(&[*token])).collect();
                out.extend_from_slice(strings.to_string().as_bytes());
            }
            Place::Count => put_number(tokens.len() as u64, out),
            Place::Window => {
                put_number(scope.model_facts().and_then(|facts| facts.context_window).unwrap_or(WINDOW), out);
            }
        });
        Ok(told(out, tokens.len()))
    }
}

impl Detokenize {
    fn asked(&self, body: Members<'_>) -> Vec<u32> {
        let numbers = body.get("tokens").map(Raw::items).unwrap_or_default();
        numbers.into_iter().filter_map(|number| u32::try_from(number.as_u64()?).ok()).collect()
    }
}

impl Computed for Detokenize {
    fn check(&self, _: Members<'_>, _: &Scope<'_>) -> Result<(), ApiError> {
        Ok(())
    }

    fn read(&self, body: Members<'_>, scope: &Scope<'_>) -> Prompt {
        alone(Encoding::of_model(&scope.model()).text(&self.asked(body)), scope)
    }

    fn cost(&self, body: Members<'_>, _: &Scope<'_>) -> Cost {
        Cost { input: self.asked(body).len() as u64, output: 0 }
    }

    fn answer(&self, body: Members<'_>, scope: &Scope<'_>, _: Count<'_>) -> Result<Answer, ApiError> {
        let tokens = self.asked(body);
        let text = Encoding::of_model(&scope.model()).text(&tokens);
        let mut out = Vec::with_capacity(text.len() + 100);
        self.whole.render(scope).fill(&mut out, |(), out| {
            out.extend_from_slice(Value::from(text.as_str()).to_string().as_bytes());
        });
        Ok(told(out, tokens.len()))
    }
}
