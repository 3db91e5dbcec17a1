//! What a request asks of the fake model, before any protocol's spelling.

use std::borrow::Cow;

use serde_json::Value;

use super::{limit_status::Cost, reply::ToolKind};

/// One request to the model, read by the dialect of its endpoint.
#[derive(Clone, Debug, Default)]
pub struct Prompt {
    /// The model asked for.
    pub model: String,
    /// The conversation so far.
    pub turns: Vec<Turn>,
    /// The tools that may be called.
    pub tools: Vec<Tool>,
    /// Whether one must be called.
    pub tool_choice: ToolChoice,
    /// Whether several may be called at once.
    pub parallel_tool_calls: bool,
    /// What form the text must have.
    pub format: Format,
    /// The most tokens that a choice may have, reasoning included.
    pub max_tokens: Option<u64>,
    /// How many choices are wanted.
    pub n: usize,
    /// Texts that end the reply before they are said.
    pub stop: Vec<String>,
    /// What the same texts are to come of.
    pub seed: Option<u64>,
    /// How much is to be thought, in the protocol's own word; `None` if the request is silent.
    pub reasoning_effort: Option<String>,
    /// Whether what is thought is to be shown.
    pub show_reasoning: bool,
    /// Text that the reply is expected to repeat.
    pub prediction: Option<String>,
    /// Whether the web is to be searched.
    pub web_search: bool,
    /// Whether the reply is to be spoken.
    pub audio: bool,
}

/// One message of the conversation.
#[derive(Clone, Debug, Default)]
pub struct Turn {
    /// Who speaks.
    pub role: Role,
    /// The text of the message; several parts are joined by line breaks.
    pub text: String,
    /// A name given to the speaker.
    pub name: Option<String>,
    /// How many images it has.
    pub images: u64,
}

/// Who speaks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Role {
    /// Instructions.
    System,
    /// The user.
    #[default]
    User,
    /// The model.
    Assistant,
    /// A tool that the model called.
    Tool,
    /// Nobody: a text outside of any conversation, which is a prompt of its own.
    Text,
}

impl Role {
    /// Whether what is said in it asks the model for something.
    pub fn is_user_input(self) -> bool {
        matches!(self, Role::User | Role::Text)
    }
}

/// A tool that the model may call.
#[derive(Clone, Debug, Default)]
pub struct Tool {
    /// Its kind.
    pub kind: ToolKind,
    /// Its name.
    pub name: String,
    /// The JSON Schema of its arguments.
    pub parameters: Value,
}

/// Which tools must be called.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum ToolChoice {
    /// None must; the fake calls none of itself.
    #[default]
    Auto,
    /// None may.
    None,
    /// Some tool must.
    Required,
    /// This tool must.
    Named(String),
}

/// The form that the text must have.
#[derive(Clone, Debug, Default, PartialEq)]
pub enum Format {
    /// Any.
    #[default]
    Text,
    /// A JSON object.
    JsonObject,
    /// An instance of this JSON Schema.
    JsonSchema(Value),
}

impl Tool {
    /// A tool that takes `parameters`. Arguments are always an object: where the schema is none or is empty, an empty one.
    pub fn new(kind: ToolKind, name: String, parameters: &Value) -> Self {
        let mut schema = parameters.as_object().cloned().unwrap_or_default();
        if schema.is_empty() {
            schema.insert("type".to_owned(), "object".into());
        }
        Tool { kind, name, parameters: schema.into() }
    }
}

/// What limits on tokens book before there is a reply, as recorded at OpenAI: a quarter of the characters, one for each
/// message and one more, 765 for an image; and for each of `n` choices all that it may have. Tools are not counted.
pub fn reserved_cost(chars: u64, messages: u64, images: u64, max_tokens: Option<u64>, n: u64) -> Cost {
    Cost {
        input: chars.div_ceil(4) + messages + 1 + images.saturating_mul(765),
        output: max_tokens.unwrap_or(0).saturating_mul(n.max(1)),
    }
}

impl Prompt {
    /// What limits on tokens book before there is a reply.
    pub fn cost(&self) -> Cost {
        let chars = self.turns.iter().map(|turn| turn.text.chars().count() as u64).sum();
        let images = self.turns.iter().map(|turn| turn.images).sum();
        reserved_cost(chars, self.turns.len() as u64, images, self.max_tokens, self.n as u64)
    }

    /// Whether it is no conversation but texts, each of which is a prompt of its own.
    pub fn is_texts(&self) -> bool {
        !self.turns.is_empty() && self.turns.iter().all(|turn| turn.role == Role::Text)
    }

    /// The prompts that are answered each for itself: one for each text, or else just this one.
    pub fn split_texts(&self) -> Cow<'_, [Prompt]> {
        if self.turns.len() < 2 || !self.is_texts() {
            return Cow::Borrowed(std::slice::from_ref(self));
        }
        let alone = Prompt { turns: Vec::new(), ..self.clone() };
        let each = self.turns.iter().map(|turn| Prompt { turns: vec![turn.clone()], ..alone.clone() });
        Cow::Owned(each.collect())
    }

    /// What the user said last.
    pub fn last_user(&self) -> &str {
        self.turns.iter().rev().find(|turn| turn.role.is_user_input()).map_or("", |turn| &turn.text)
    }

    /// The instructions, several joined by line breaks.
    pub fn system(&self) -> String {
        let system = self.turns.iter().filter(|turn| turn.role == Role::System);
        system.map(|turn| turn.text.as_str()).collect::<Vec<_>>().join("\n")
    }

    /// Whether a tool has returned something since the user spoke last.
    pub fn has_tool_result(&self) -> bool {
        self.turns.iter().rev().take_while(|turn| !turn.role.is_user_input()).any(|turn| turn.role == Role::Tool)
    }

    /// The number of the turn: how often the model has spoken before, and one.
    pub fn turn(&self) -> u64 {
        self.turns.iter().filter(|turn| turn.role == Role::Assistant).count() as u64 + 1
    }
}
