//! The prompt of a request, independent of the protocol that it was sent in.

use std::borrow::Cow;

use serde_json::Value;

use super::{limit_status::Cost, reply::ToolKind};

/// One request to the model, parsed by the protocol of its endpoint.
#[derive(Clone, Debug, Default)]
pub struct Prompt {
    /// The requested model.
    pub model: String,
    /// The conversation so far.
    pub turns: Vec<Turn>,
    /// The tools that the model may call.
    pub tools: Vec<Tool>,
    /// The tools that the model must call.
    pub tool_choice: ToolChoice,
    /// True if the model may call several tools at once.
    pub parallel_tool_calls: bool,
    /// The required format of the text.
    pub format: Format,
    /// Maximum number of tokens of a choice, reasoning included.
    pub max_tokens: Option<u64>,
    /// Minimum number of tokens of a choice.
    pub min_tokens: u64,
    /// True if only `max_tokens` and the stop sequences end a choice.
    pub ignores_end: bool,
    /// True if a context window shortens replies. Otherwise it rejects requests whose longest reply exceeds it.
    pub clips_reply: bool,
    /// Number of choices.
    pub n: usize,
    /// The stop sequences. The reply ends before one of them.
    pub stop: Vec<String>,
    /// The numbers of the tokens that end the reply.
    pub stop_tokens: Vec<u32>,
    /// True if the reply ends after the stop sequence or the stop token.
    pub keeps_stop: bool,
    /// The seed. The same seed gives the same reply.
    pub seed: Option<u64>,
    /// The reasoning effort, by the protocol's own name; `None` if the request does not set it.
    pub reasoning_effort: Option<String>,
    /// True if the response includes the reasoning.
    pub show_reasoning: bool,
    /// The predicted output: text that the reply probably repeats.
    pub prediction: Option<String>,
    /// True if the model must search the web.
    pub web_search: bool,
    /// True if the reply is audio.
    pub audio: bool,
}

/// One message of the conversation.
#[derive(Clone, Debug, Default)]
pub struct Turn {
    /// The role of the author.
    pub role: Role,
    /// The text of the message; several parts are joined by line breaks.
    pub text: String,
    /// The name of the author.
    pub name: Option<String>,
    /// Number of images.
    pub images: u64,
}

/// The role of a message's author.
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
    /// No role: a text outside of a conversation, which is a prompt by itself.
    Text,
}

impl Role {
    /// Returns its name in a chat template. A text without a role is the user's.
    pub fn name(self) -> &'static str {
        match self {
            Role::System => "system",
            Role::User | Role::Text => "user",
            Role::Assistant => "assistant",
            Role::Tool => "tool",
        }
    }

    /// Returns true if a message with this role is input that the model must reply to.
    pub fn is_user_input(self) -> bool {
        matches!(self, Role::User | Role::Text)
    }
}

/// A tool that the model may call.
#[derive(Clone, Debug, Default)]
pub struct Tool {
    /// The kind.
    pub kind: ToolKind,
    /// The name.
    pub name: String,
    /// The JSON Schema of the arguments.
    pub parameters: Value,
}

/// The tools that the model must call.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum ToolChoice {
    /// No tool is required. The fake model then calls none.
    #[default]
    Auto,
    /// Tool calls are forbidden.
    None,
    /// At least one tool is required.
    Required,
    /// This tool is required.
    Named(String),
}

/// The required format of the text.
#[derive(Clone, Debug, Default, PartialEq)]
pub enum Format {
    /// Any text.
    #[default]
    Text,
    /// A JSON object.
    JsonObject,
    /// An instance of this JSON Schema.
    JsonSchema(Value),
}

impl Tool {
    /// Creates a tool. Arguments are always an object: a missing or empty schema becomes that of an object.
    pub fn new(kind: ToolKind, name: String, parameters: &Value) -> Self {
        let mut schema = parameters.as_object().cloned().unwrap_or_default();
        if schema.is_empty() {
            schema.insert("type".to_owned(), "object".into());
        }
        Tool { kind, name, parameters: schema.into() }
    }
}

/// Returns the tokens that limits reserve before there is a reply, as recorded at OpenAI. Input: a quarter of the
/// characters, one per message, one more, and 765 per image. Output: `max_tokens` for each of `n` choices. Tools are
/// not counted.
pub fn reserved_cost(chars: u64, messages: u64, images: u64, max_tokens: Option<u64>, n: u64) -> Cost {
    Cost {
        input: chars.div_ceil(4) + messages + 1 + images.saturating_mul(765),
        output: max_tokens.unwrap_or(0).saturating_mul(n.max(1)),
    }
}

impl Prompt {
    /// Returns the tokens that limits reserve before there is a reply.
    pub fn cost(&self) -> Cost {
        let chars = self.turns.iter().map(|turn| turn.text.chars().count() as u64).sum();
        let images = self.turns.iter().map(|turn| turn.images).sum();
        reserved_cost(chars, self.turns.len() as u64, images, self.max_tokens, self.n as u64)
    }

    /// Returns true if the prompt is not a conversation but texts, each a prompt by itself.
    pub fn is_texts(&self) -> bool {
        !self.turns.is_empty() && self.turns.iter().all(|turn| turn.role == Role::Text)
    }

    /// Splits texts into one prompt each. A conversation stays one prompt.
    pub fn split_texts(&self) -> Cow<'_, [Prompt]> {
        if self.turns.len() < 2 || !self.is_texts() {
            return Cow::Borrowed(std::slice::from_ref(self));
        }
        let alone = Prompt { turns: Vec::new(), ..self.clone() };
        let each = self.turns.iter().map(|turn| Prompt { turns: vec![turn.clone()], ..alone.clone() });
        Cow::Owned(each.collect())
    }

    /// Returns the text of the last user message.
    pub fn last_user(&self) -> &str {
        self.turns.iter().rev().find(|turn| turn.role.is_user_input()).map_or("", |turn| &turn.text)
    }

    /// Returns the system messages, joined by line breaks.
    pub fn system(&self) -> String {
        let system = self.turns.iter().filter(|turn| turn.role == Role::System);
        system.map(|turn| turn.text.as_str()).collect::<Vec<_>>().join("\n")
    }

    /// Returns true if there is a tool result after the last user message.
    pub fn has_tool_result(&self) -> bool {
        self.turns.iter().rev().take_while(|turn| !turn.role.is_user_input()).any(|turn| turn.role == Role::Tool)
    }

    /// Returns the number of the turn: one more than the number of the model's messages.
    pub fn turn(&self) -> u64 {
        self.turns.iter().filter(|turn| turn.role == Role::Assistant).count() as u64 + 1
    }
}
