//! The fake model: from what a script gives and what a request asks to a reply.

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

/// How the model behaves where no script says otherwise.
#[derive(Clone, Debug)]
pub struct ModelBehavior {
    /// What it says.
    pub content: ContentSource,
    /// How many tokens of filler it says where the request sets no bound.
    pub lorem_tokens: RangeInclusive<u64>,
    /// How it counts.
    pub usage: Counting,
    /// How many tokens it can hold, prompt and reply together.
    pub context: ContextWindow,
}

/// How many tokens a model can hold.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ContextWindow {
    /// Any number.
    #[default]
    Unbounded,
    /// As many as the real one; any number where that is not known.
    OfModel,
    /// Just so many, whatever the model.
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

/// Where what is said comes from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ContentSource {
    /// The scripted replies
    #[default]
    Canned,
    /// What the user said last
    Echo,
    /// Filler, as many tokens as the request allows
    Lorem,
}

/// Where the numbers of tokens come from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Counting {
    /// The script's; what the request changes is counted in words
    #[default]
    Canned,
    /// A quarter of the characters
    Estimate,
    /// The model's own encoding
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

/// The variant of this name; the error lists those there are.
fn named<T: serde::de::DeserializeOwned>(text: &str) -> Result<T, String> {
    T::deserialize(text.into_deserializer()).map_err(|error: serde::de::value::Error| error.to_string())
}

/// The most filler that all choices of a reply have together, in tokens.
const LONGEST_LOREM: u64 = 100_000;
/// The most that all choices of a reply repeat of the prompt together, in bytes.
const LONGEST_ECHO: usize = 4 << 20;

fn tokenizer(model: &str, behavior: &ModelBehavior) -> Tokenizer {
    match behavior.usage {
        Counting::Exact => Tokenizer::of_model(model),
        Counting::Canned | Counting::Estimate => Tokenizer::Words,
    }
}

/// Whether the model can hold the prompt, and the reply that may be as long as it says.
///
/// # Errors
/// It can't: with the numbers.
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
    prompt.split_texts().iter().try_for_each(|prompt| fits(prompt, tokenizer(&prompt.model, behavior), window))
}

fn fits(prompt: &Prompt, tokenizer: Tokenizer, window: u64) -> Result<(), ApiError> {
    let cost = count::prompt_cost(prompt, tokenizer);
    let (messages, functions) = (cost.messages, cost.functions);
    let (requested, completion) = (messages + functions, prompt.max_tokens.unwrap_or(0));
    // Any number may be asked for.
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

/// How many tokens a text is counted as that is sent to a model outside of any conversation.
pub fn tokens(text: &str, model: &str, behavior: &ModelBehavior) -> u64 {
    count::tokens(text, tokenizer(model, behavior))
}

/// What the model says to a prompt; to texts each for itself, the choices for the first text first.
pub fn reply(line: &ReplySpec, prompt: &Prompt, behavior: &ModelBehavior, random: &mut Random) -> Reply {
    let tokenizer = tokenizer(&prompt.model, behavior);
    let mut random = prompt.seed.map_or_else(|| random.clone(), Random::seeded);
    let prompts = prompt.split_texts();
    let choices = prompts.len() * prompt.n.max(1);
    let mut reply = Reply { choices: Vec::new(), usage: Usage::default() };
    for prompt in &*prompts {
        let speaker = ReplyBuilder { line, prompt, behavior, tokenizer, choices };
        let spoken: Vec<_> = (0..prompt.n.max(1)).map(|_| speaker.speak(&mut random)).collect();
        reply.usage += speaker.usage(&spoken);
        reply.choices.extend(spoken.into_iter().map(|spoken| spoken.choice));
    }
    reply
}

struct ReplyBuilder<'a> {
    line: &'a ReplySpec,
    prompt: &'a Prompt,
    behavior: &'a ModelBehavior,
    tokenizer: Tokenizer,
    /// How many choices the whole reply has.
    choices: usize,
}

/// One choice, and what counting it needs to know.
struct CountedChoice {
    choice: Choice,
    reasoning_tokens: u64,
    /// Whether it is just what the script gives, so that the script's numbers hold.
    as_scripted: bool,
}

impl ReplyBuilder<'_> {
    fn speak(&self, random: &mut Random) -> CountedChoice {
        let effort = self.prompt.reasoning_effort.as_deref().map_or(0, count::effort);
        let thought = self.line.reasoning.as_ref().map(|text| self.cut(text.clone()));
        let scripted = self.line.reasoning_tokens.or(thought.as_ref().map(|thought| thought.tokens));
        // Thinking comes first, and takes of the room that the request allows.
        let most = self.prompt.max_tokens.unwrap_or(u64::MAX);
        let reasoning_tokens = scripted.unwrap_or(effort).min(most);
        let mut room = self.prompt.max_tokens.map(|max| max - reasoning_tokens);
        let mut said = self.said(room, random);
        said.as_scripted &= reasoning_tokens == scripted.unwrap_or(0);
        let calls = said.blocks.iter().any(|block| matches!(block, Block::ToolCall(_)));
        // A script's reason holds in whatever form its words come, but not for a call that the request forces.
        let mut finish_reason = match self.line.finish_reason {
            Some(reason) if !calls || said.as_scripted => reason,
            _ if calls => FinishReason::ToolCalls,
            _ => FinishReason::Stop,
        };
        if said.fills_room {
            finish_reason = FinishReason::Length;
        }
        for text in said.blocks.iter_mut().map(Block::text_mut) {
            let Some(room) = &mut room else { break };
            if text.tokens > *room {
                self.shorten(text, *room);
                (finish_reason, said.as_scripted) = (FinishReason::Length, false);
            }
            *room -= text.tokens;
        }
        if self.prompt.show_reasoning && reasoning_tokens > 0 {
            let filler = || self.cut(lorem::words(reasoning_tokens.min(LONGEST_LOREM), random));
            let mut thought = thought.unwrap_or_else(filler);
            if thought.tokens > most {
                self.shorten(&mut thought, most);
            }
            said.blocks.insert(0, Block::Reasoning(thought));
        }
        CountedChoice {
            choice: Choice { blocks: said.blocks, finish_reason, stopped_by: said.stopped_by },
            reasoning_tokens,
            as_scripted: said.as_scripted,
        }
    }

    /// What is said while there is room for all of it.
    fn said(&self, room: Option<u64>, random: &mut Random) -> ChoiceDraft {
        if let ReplyContent::ToolCalls(calls) = &self.line.content {
            let most = if self.prompt.parallel_tool_calls { calls.len() } else { 1 };
            let call = |(name, arguments): &(String, String)| self.call(self.kind(name), name, arguments.clone());
            return ChoiceDraft::new(calls.iter().take(most).map(call).collect(), calls.len() <= most);
        }
        if let Some(tool) = self.forced() {
            let arguments = match tool.kind {
                ToolKind::Custom => self.words(room, random),
                ToolKind::Function | ToolKind::Legacy => schema::instance(&tool.parameters, random).to_string(),
            };
            return ChoiceDraft::new(vec![self.call(tool.kind, &tool.name, arguments)], false);
        }
        if let ReplyContent::Refusal(text) = &self.line.content {
            return ChoiceDraft::new(vec![Block::Refusal(self.cut(text.clone()))], true);
        }
        let (mut text, mut as_scripted) = self.formed(room, random);
        let filler = self.line.content == ReplyContent::Lorem && room.is_some() && as_scripted;
        let stops = self.prompt.stop.iter().filter(|stop| !stop.is_empty());
        let first = stops.filter_map(|stop| Some((text.find(stop)?, stop))).min_by_key(|(at, _)| *at);
        if let Some((at, _)) = first {
            text.truncate(at);
            as_scripted = false;
        }
        let mut text = match &self.line.content {
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

    /// The text in the form that was asked for, and whether that is just what the script gives.
    fn formed(&self, room: Option<u64>, random: &mut Random) -> (String, bool) {
        let is_object = |text: &String| serde_json::from_str::<Value>(text).is_ok_and(|value| value.is_object());
        let words = self.words(room, random);
        match &self.prompt.format {
            Format::Text => (words, true),
            // A script that says JSON means it, whatever the schema says.
            Format::JsonObject | Format::JsonSchema(_) if is_object(&words) => (words, true),
            Format::JsonObject => (json!({"message": words}).to_string(), false),
            Format::JsonSchema(schema) => (schema::instance(schema, random).to_string(), false),
        }
    }

    fn words(&self, room: Option<u64>, random: &mut Random) -> String {
        match &self.line.content {
            ReplyContent::Text(text) | ReplyContent::Refusal(text) => text.clone(),
            ReplyContent::Pieces(pieces) => pieces.concat(),
            ReplyContent::Echo => {
                let said = self.prompt.last_user();
                let most = (LONGEST_ECHO / self.choices).min(said.len());
                let end = (0..=most).rev().find(|end| said.is_char_boundary(*end)).unwrap_or(0);
                said[..end].to_owned()
            }
            ReplyContent::Lorem | ReplyContent::ToolCalls(_) => {
                let length = room.unwrap_or_else(|| random.number(self.behavior.lorem_tokens.clone()));
                lorem::words(length.min(LONGEST_LOREM / self.choices as u64), random)
            }
        }
    }

    /// The tool that the caller wants called; none once a tool has answered, so that an agent's loop ends.
    fn forced(&self) -> Option<&Tool> {
        if self.prompt.has_tool_result() {
            return None;
        }
        match &self.prompt.tool_choice {
            ToolChoice::Auto | ToolChoice::None => None,
            ToolChoice::Required => self.prompt.tools.first(),
            ToolChoice::Named(name) => self.prompt.tools.iter().find(|tool| tool.name == *name),
        }
    }

    /// The kind of a tool that a script calls, which the caller need not have offered.
    fn kind(&self, name: &str) -> ToolKind {
        self.prompt.tools.iter().find(|tool| tool.name == name).map_or(ToolKind::Function, |tool| tool.kind)
    }

    fn call(&self, kind: ToolKind, name: &str, arguments: String) -> Block {
        Block::ToolCall(ToolCall { kind, name: name.to_owned(), arguments: self.cut(arguments) })
    }

    /// The text with a passage that quotes a page.
    fn cited(&self, text: String) -> Text {
        const QUOTE: &str = "([example.com](https://example.com/))";
        let start = text.chars().count() + 1;
        let (url, title) = ("https://example.com/".to_owned(), "Example Domain".to_owned());
        let citation = Citation { start, end: start + QUOTE.len(), url, title };
        Text { citations: vec![citation], ..self.cut(format!("{text} {QUOTE}")) }
    }

    /// Keeps the first `room` tokens of a text.
    fn shorten(&self, text: &mut Text, room: u64) {
        let most = usize::try_from(room).unwrap_or(usize::MAX);
        let length = match &self.line.content {
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

/// What one choice says.
struct ChoiceDraft {
    blocks: Vec<Block>,
    as_scripted: bool,
    /// Whether it is filler that says just as much as there is room for: then it is the room that ends it.
    fills_room: bool,
    /// The stop that ends it.
    stopped_by: Option<String>,
}

impl ChoiceDraft {
    fn new(blocks: Vec<Block>, as_scripted: bool) -> Self {
        ChoiceDraft { blocks, as_scripted, fills_room: false, stopped_by: None }
    }
}

/// A text in pieces that a script gives; each counts as one token.
fn in_pieces(pieces: &[String]) -> Text {
    let ends = pieces.iter().scan(0, |end, piece| {
        *end += piece.len();
        Some(*end)
    });
    Text { text: pieces.concat(), ends: ends.collect(), tokens: pieces.len() as u64, citations: Vec::new() }
}
