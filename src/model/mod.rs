//! The fake model: it makes a reply from a script's specification and a request's prompt.

mod count;
pub mod embedding;
mod lorem;
mod reply_spec;
pub mod schema;
pub mod tokens;

use std::{ops::RangeInclusive, str::FromStr};

use serde::{Deserialize, Serialize, de::IntoDeserializer};
use serde_json::{Value, json};

pub use self::reply_spec::{ReplyContent, ReplySpec};
use self::tokens::Tokenizer;
use crate::core::{
    error::ApiError,
    model_catalog::ModelFacts,
    prompt::{Format, Prompt, Tool, ToolChoice},
    random::Random,
    reply::{Block, Choice, Citation, FinishReason, Reply, Text, ToolCall, ToolKind, Usage},
};

/// The behavior of the model where no script overrides it.
#[derive(Clone, Debug)]
pub struct ModelBehavior {
    /// The source of replies.
    pub content: ContentSource,
    /// Number of tokens of filler if the request sets no limit.
    pub lorem_tokens: RangeInclusive<u64>,
    /// The method of counting tokens.
    pub usage: Counting,
    /// Maximum number of tokens of prompt and reply together.
    pub context: ContextWindow,
}

/// The context window of models.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ContextWindow {
    /// Unlimited.
    #[default]
    Unbounded,
    /// The window of the real model; unlimited if it is unknown.
    OfModel,
    /// This number of tokens for every model.
    Tokens(u64),
}

impl Default for ModelBehavior {
    fn default() -> Self {
        ModelBehavior {
            content: ContentSource::default(),
            lorem_tokens: 64..=256,
            usage: Counting::default(),
            context: ContextWindow::default(),
        }
    }
}

/// The source of replies.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ContentSource {
    /// The scripted replies.
    #[default]
    Canned,
    /// The text of the last user message.
    Echo,
    /// Filler text of as many tokens as the request allows.
    Lorem,
}

/// The method of counting tokens.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Counting {
    /// The numbers in the script. Content that the request changes is counted in words.
    #[default]
    Canned,
    /// A quarter of the characters.
    Estimate,
    /// The model's own encoding.
    Exact,
}

impl FromStr for ContentSource {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        named(text)
    }
}

impl FromStr for Counting {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        named(text)
    }
}

/// Finds a variant by its name. The error lists the known names.
fn named<T: serde::de::DeserializeOwned>(text: &str) -> Result<T, String> {
    T::deserialize(text.into_deserializer()).map_err(|error: serde::de::value::Error| error.to_string())
}

/// Maximum number of tokens of filler in all choices of a reply.
const LONGEST_LOREM: u64 = 100_000;
/// Maximum number of bytes of echoed prompt in all choices of a reply.
const LONGEST_ECHO: usize = 4 << 20;

fn tokenizer(model: &str, behavior: &ModelBehavior) -> Tokenizer {
    match behavior.usage {
        Counting::Exact => Tokenizer::of_model(model),
        Counting::Canned | Counting::Estimate => Tokenizer::Words,
    }
}

/// Checks that the prompt and its longest allowed reply fit into the context window.
///
/// # Errors
/// The kind of [`ApiError`] that names the part that does not fit.
pub fn check_context_window(
    prompt: &Prompt,
    behavior: &ModelBehavior,
    facts: Option<&ModelFacts>,
) -> Result<(), ApiError> {
    let window = match behavior.context {
        ContextWindow::Unbounded => None,
        ContextWindow::OfModel => facts.and_then(|facts| facts.context_window),
        ContextWindow::Tokens(window) => Some(window),
    };
    let Some(window) = window else { return Ok(()) };
    prompt.split_texts().iter().try_for_each(|prompt| check_prompt(prompt, tokenizer(&prompt.model, behavior), window))
}

fn check_prompt(prompt: &Prompt, tokenizer: Tokenizer, window: u64) -> Result<(), ApiError> {
    let cost = count::prompt_cost(prompt, tokenizer);
    let (messages, functions) = (cost.messages, cost.functions);
    let (requested, completion) = (messages + functions, prompt.max_tokens.unwrap_or(0));
    // `max_tokens` may be any u64.
    if requested.saturating_add(completion) <= window {
        return Ok(());
    }
    Err(match (completion, functions) {
        (1.., _) => {
            let requested = requested.saturating_add(completion);
            ApiError::CompletionExceedsContext { window, requested, prompt: messages + functions, completion }
        }
        (_, 1..) => ApiError::FunctionsExceedContext { window, requested, messages, functions },
        _ => ApiError::ContextLengthExceeded { window, requested },
    })
}

/// Number of tokens of a text that is sent to a model outside of a conversation.
pub fn tokens(text: &str, model: &str, behavior: &ModelBehavior) -> u64 {
    count::tokens(text, tokenizer(model, behavior))
}

/// Makes the reply to a prompt. Of several texts, each gets its own choices, in the order of the texts.
pub fn reply(spec: &ReplySpec, prompt: &Prompt, behavior: &ModelBehavior, random: &mut Random) -> Reply {
    let tokenizer = tokenizer(&prompt.model, behavior);
    let mut random = prompt.seed.map_or_else(|| random.clone(), Random::seeded);
    let prompts = prompt.split_texts();
    let choices = prompts.len() * prompt.n.max(1);
    let mut reply = Reply { choices: Vec::new(), usage: Usage::default() };
    for prompt in &*prompts {
        let builder = ReplyBuilder { spec, prompt, behavior, tokenizer, choices };
        let counted: Vec<_> = (0..prompt.n.max(1)).map(|_| builder.choice(&mut random)).collect();
        reply.usage += builder.usage(&counted);
        reply.choices.extend(counted.into_iter().map(|counted| counted.choice));
    }
    reply
}

/// The builder of the choices to one prompt.
struct ReplyBuilder<'a> {
    spec: &'a ReplySpec,
    prompt: &'a Prompt,
    behavior: &'a ModelBehavior,
    tokenizer: Tokenizer,
    /// Number of choices of the whole reply.
    choices: usize,
}

/// One choice, and the numbers from which its usage is counted.
struct CountedChoice {
    choice: Choice,
    reasoning_tokens: u64,
    /// True if the choice is exactly the script's, so that the script's numbers apply.
    as_scripted: bool,
}

impl ReplyBuilder<'_> {
    /// Makes one choice.
    fn choice(&self, random: &mut Random) -> CountedChoice {
        let effort = self.prompt.reasoning_effort.as_deref().map_or(0, count::effort);
        let reasoning = self.spec.reasoning.as_ref().map(|text| self.cut(text.clone()));
        let scripted = self.spec.reasoning_tokens.or(reasoning.as_ref().map(|reasoning| reasoning.tokens));
        // Reasoning comes first, and counts towards the limit of the request.
        let most = self.prompt.max_tokens.unwrap_or(u64::MAX);
        let reasoning_tokens = scripted.unwrap_or(effort).min(most);
        let mut room = self.prompt.max_tokens.map(|max| max - reasoning_tokens);
        let mut draft = self.draft(room, random);
        draft.as_scripted &= reasoning_tokens == scripted.unwrap_or(0);
        let calls = draft.blocks.iter().any(|block| matches!(block, Block::ToolCall(_)));
        // A script's finish reason applies to any form of its text, but not to a call that the request forces.
        let mut finish_reason = match self.spec.finish_reason {
            Some(reason) if !calls || draft.as_scripted => reason,
            _ if calls => FinishReason::ToolCalls,
            _ => FinishReason::Stop,
        };
        if draft.fills_room {
            finish_reason = FinishReason::Length;
        }
        for text in draft.blocks.iter_mut().map(Block::text_mut) {
            let Some(room) = &mut room else { break };
            if text.tokens > *room {
                self.shorten(text, *room);
                (finish_reason, draft.as_scripted) = (FinishReason::Length, false);
            }
            *room -= text.tokens;
        }
        if self.prompt.show_reasoning && reasoning_tokens > 0 {
            let filler = || self.cut(lorem::words(reasoning_tokens.min(LONGEST_LOREM), random));
            let mut reasoning = reasoning.unwrap_or_else(filler);
            if reasoning.tokens > most {
                self.shorten(&mut reasoning, most);
            }
            draft.blocks.insert(0, Block::Reasoning(reasoning));
        }
        CountedChoice {
            choice: Choice { blocks: draft.blocks, finish_reason, stopped_by: draft.stopped_by },
            reasoning_tokens,
            as_scripted: draft.as_scripted,
        }
    }

    /// Makes the content of a choice, before it is cut to the token limit. `room` is that limit without the reasoning.
    fn draft(&self, room: Option<u64>, random: &mut Random) -> ChoiceDraft {
        if let ReplyContent::ToolCalls(calls) = &self.spec.content {
            let most = if self.prompt.parallel_tool_calls { calls.len() } else { 1 };
            let call = |(name, arguments): &(String, String)| self.call(self.kind(name), name, arguments.clone());
            return ChoiceDraft::new(calls.iter().take(most).map(call).collect(), calls.len() <= most);
        }
        if let Some(tool) = self.forced_tool() {
            let arguments = match tool.kind {
                ToolKind::Custom => self.text(room, random),
                ToolKind::Function | ToolKind::Legacy => schema::instance(&tool.parameters, random).to_string(),
            };
            return ChoiceDraft::new(vec![self.call(tool.kind, &tool.name, arguments)], false);
        }
        if let ReplyContent::Refusal(text) = &self.spec.content {
            return ChoiceDraft::new(vec![Block::Refusal(self.cut(text.clone()))], true);
        }
        let (mut text, mut as_scripted) = self.formatted_text(room, random);
        let filler = self.spec.content == ReplyContent::Lorem && room.is_some() && as_scripted;
        let stops = self.prompt.stop.iter().filter(|stop| !stop.is_empty());
        let first = stops.filter_map(|stop| Some((text.find(stop)?, stop))).min_by_key(|(at, _)| *at);
        if let Some((at, _)) = first {
            text.truncate(at);
            as_scripted = false;
        }
        let mut text = match &self.spec.content {
            ReplyContent::Pieces(pieces) if as_scripted => in_pieces(pieces),
            _ => self.cut(text),
        };
        if self.prompt.web_search {
            text = self.cited(text.text);
            as_scripted = false;
        }
        let block = if self.prompt.audio { Block::Audio(text) } else { Block::Text(text) };
        let stopped_by = first.map(|(_, stop)| stop.clone());
        ChoiceDraft { fills_room: filler && first.is_none(), stopped_by, ..ChoiceDraft::new(vec![block], as_scripted) }
    }

    /// Returns the text in the requested format, and true if it is exactly the script's.
    fn formatted_text(&self, room: Option<u64>, random: &mut Random) -> (String, bool) {
        let is_object = |text: &String| serde_json::from_str::<Value>(text).is_ok_and(|value| value.is_object());
        let text = self.text(room, random);
        match &self.prompt.format {
            Format::Text => (text, true),
            // A scripted JSON object is returned even if it does not match the schema.
            Format::JsonObject | Format::JsonSchema(_) if is_object(&text) => (text, true),
            Format::JsonObject => (json!({"message": text}).to_string(), false),
            Format::JsonSchema(schema) => (schema::instance(schema, random).to_string(), false),
        }
    }

    fn text(&self, room: Option<u64>, random: &mut Random) -> String {
        match &self.spec.content {
            ReplyContent::Text(text) | ReplyContent::Refusal(text) => text.clone(),
            ReplyContent::Pieces(pieces) => pieces.concat(),
            ReplyContent::Echo => {
                let text = self.prompt.last_user();
                let most = (LONGEST_ECHO / self.choices).min(text.len());
                let end = (0..=most).rev().find(|end| text.is_char_boundary(*end)).unwrap_or(0);
                text[..end].to_owned()
            }
            ReplyContent::Lorem | ReplyContent::ToolCalls(_) => {
                let length = room.unwrap_or_else(|| random.number(self.behavior.lorem_tokens.clone()));
                lorem::words(length.min(LONGEST_LOREM / self.choices as u64), random)
            }
        }
    }

    /// Returns the tool that the request forces; `None` after a tool result, so that an agent's loop ends.
    fn forced_tool(&self) -> Option<&Tool> {
        if self.prompt.has_tool_result() {
            return None;
        }
        match &self.prompt.tool_choice {
            ToolChoice::Auto | ToolChoice::None => None,
            ToolChoice::Required => self.prompt.tools.first(),
            ToolChoice::Named(name) => self.prompt.tools.iter().find(|tool| tool.name == *name),
        }
    }

    /// Returns the kind of a tool. A script may call tools that the request does not define.
    fn kind(&self, name: &str) -> ToolKind {
        self.prompt.tools.iter().find(|tool| tool.name == name).map_or(ToolKind::Function, |tool| tool.kind)
    }

    fn call(&self, kind: ToolKind, name: &str, arguments: String) -> Block {
        Block::ToolCall(ToolCall { kind, name: name.to_owned(), arguments: self.cut(arguments) })
    }

    /// Appends a passage that cites a web page.
    fn cited(&self, text: String) -> Text {
        const QUOTE: &str = "([example.com](https://example.com/))";
        let start = text.chars().count() + 1;
        let (url, title) = ("https://example.com/".to_owned(), "Example Domain".to_owned());
        let citation = Citation { start, end: start + QUOTE.len(), url, title };
        Text { citations: vec![citation], ..self.cut(format!("{text} {QUOTE}")) }
    }

    /// Truncates a text to its first `room` tokens.
    fn shorten(&self, text: &mut Text, room: u64) {
        let most = usize::try_from(room).unwrap_or(usize::MAX);
        let length = match &self.spec.content {
            ReplyContent::Pieces(_) => text.ends.get(..most).and_then(<[_]>::last).copied().unwrap_or(0),
            _ => self.tokenizer.prefix(&text.text, most),
        };
        text.ends.retain(|end| *end <= length);
        text.text.truncate(length);
        text.tokens = room;
        text.citations.clear();
    }

    fn cut(&self, text: String) -> Text {
        let cut = self.tokenizer.cut(&text);
        Text { text, ends: cut.ends, tokens: cut.tokens as u64, citations: Vec::new() }
    }
}

/// The content of a choice, before it is cut to the token limit.
struct ChoiceDraft {
    blocks: Vec<Block>,
    as_scripted: bool,
    /// True if the content is filler that exactly reaches the token limit: then the finish reason is `length`.
    fills_room: bool,
    /// The stop sequence that ended the content.
    stopped_by: Option<String>,
}

impl ChoiceDraft {
    fn new(blocks: Vec<Block>, as_scripted: bool) -> Self {
        ChoiceDraft { blocks, as_scripted, fills_room: false, stopped_by: None }
    }
}

/// Makes a text of the pieces that a script gives; each counts as one token.
fn in_pieces(pieces: &[String]) -> Text {
    let ends = pieces.iter().scan(0, |end, piece| {
        *end += piece.len();
        Some(*end)
    });
    Text { text: pieces.concat(), ends: ends.collect(), tokens: pieces.len() as u64, citations: Vec::new() }
}
