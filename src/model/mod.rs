//! The fake model: it makes a reply from a script's specification and a request's prompt.

mod context_window;
mod count;
pub mod embedding;
mod reply_spec;
pub mod schema;
mod stop;
pub mod tokens;

use std::{ops::RangeInclusive, str::FromStr};

use serde::{Deserialize, Serialize, de::IntoDeserializer};
use serde_json::{Value, json};

use self::tokens::Tokenizer;
pub use self::{
    context_window::{check_context_window, room_beside},
    reply_spec::{ReplyContent, ReplySpec},
};
pub use crate::core::model_catalog::ContextWindow;
use crate::core::{
    prompt::{Format, Prompt, Tool, ToolChoice},
    random::Random,
    reply::{Block, Choice, Citation, FinishReason, Reply, Text, ToolCall, ToolKind, Usage},
};

/// The behavior of the model where no script overrides it.
#[derive(Clone, Debug)]
pub struct ModelBehavior {
    /// The source of replies.
    pub content: ContentSource,
    /// Number of tokens of filler if the request sets no limit, or a limit beyond this range: a reply ends by itself.
    pub lorem_tokens: RangeInclusive<u64>,
    /// The method of counting tokens.
    pub usage: Counting,
    /// Maximum number of tokens of prompt and reply together.
    pub context: ContextWindow,
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
        let is_text = draft.blocks.iter().all(|block| matches!(block, Block::Text(_)));
        if is_text && draft.stopped_by.is_none() {
            let least = if self.prompt.ignores_end { room } else { Some(self.prompt.min_tokens) };
            let least = least.unwrap_or(0).min(LONGEST_LOREM / self.choices as u64);
            if let Some(text) = draft.blocks.last_mut().map(Block::text_mut) {
                draft.as_scripted &= !self.lengthen(text, least, random);
                if self.prompt.ignores_end && room == Some(text.tokens) {
                    finish_reason = FinishReason::Length;
                }
            }
        }
        let text = draft.blocks.last_mut().filter(|_| is_text).map(Block::text_mut);
        let mut stop_token = text.and_then(|text| self.end_at_token(text));
        if stop_token.is_some() {
            (finish_reason, draft.as_scripted, draft.stopped_by) = (FinishReason::Stop, false, None);
        }
        for text in draft.blocks.iter_mut().map(Block::text_mut) {
            let Some(room) = &mut room else { break };
            if text.tokens > *room {
                self.shorten(text, *room);
                (finish_reason, draft.as_scripted, stop_token) = (FinishReason::Length, false, None);
            }
            *room -= text.tokens;
        }
        if self.prompt.show_reasoning && reasoning_tokens > 0 {
            let mut reasoning = reasoning.unwrap_or_else(|| filler(reasoning_tokens.min(LONGEST_LOREM), random));
            if reasoning.tokens > most {
                self.shorten(&mut reasoning, most);
            }
            draft.blocks.insert(0, Block::Reasoning(reasoning));
        }
        CountedChoice {
            choice: Choice { blocks: draft.blocks, finish_reason, stopped_by: draft.stopped_by, stop_token },
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
                ToolKind::Custom => self.text(room, random).whole(),
                ToolKind::Function | ToolKind::Legacy => schema::instance(&tool.parameters, random).to_string(),
            };
            return ChoiceDraft::new(vec![self.call(tool.kind, &tool.name, arguments)], false);
        }
        if let ReplyContent::Refusal(text) = &self.spec.content {
            return ChoiceDraft::new(vec![Block::Refusal(self.cut(text.clone()))], true);
        }
        let (draft, mut as_scripted) = self.formatted_text(room, random);
        let fills_room = match &draft {
            TextDraft::Filler(text) => room == Some(text.tokens) && as_scripted,
            TextDraft::Written(_) => false,
        };
        let (draft, stopped_by) = self.stopped(draft);
        as_scripted &= stopped_by.is_none();
        let mut text = match (draft, &self.spec.content) {
            (TextDraft::Filler(text), _) => text,
            (TextDraft::Written(_), ReplyContent::Pieces(pieces)) if as_scripted => in_pieces(pieces),
            (TextDraft::Written(text), _) => self.cut(text),
        };
        if self.prompt.web_search {
            text = self.cited(text.whole().into_owned());
            as_scripted = false;
        }
        let block = if self.prompt.audio { Block::Audio(text) } else { Block::Text(text) };
        let fills_room = fills_room && stopped_by.is_none();
        ChoiceDraft { fills_room, stopped_by, ..ChoiceDraft::new(vec![block], as_scripted) }
    }

    /// Returns the text in the requested format, and true if it is exactly the script's.
    fn formatted_text(&self, room: Option<u64>, random: &mut Random) -> (TextDraft, bool) {
        let is_object = |text: &str| serde_json::from_str::<Value>(text).is_ok_and(|value| value.is_object());
        let draft = self.text(room, random);
        let value = match (&self.prompt.format, &draft) {
            (Format::Text, _) => return (draft, true),
            // A scripted JSON object is returned even if it does not match the schema.
            (_, TextDraft::Written(text)) if is_object(text) => return (draft, true),
            (Format::JsonObject, _) => json!({"message": draft.whole()}),
            (Format::JsonSchema(schema), _) => schema::instance(schema, random),
        };
        (TextDraft::Written(value.to_string()), false)
    }

    fn text(&self, room: Option<u64>, random: &mut Random) -> TextDraft {
        TextDraft::Written(match &self.spec.content {
            ReplyContent::Text(text) | ReplyContent::Refusal(text) => text.clone(),
            ReplyContent::Pieces(pieces) => pieces.concat(),
            ReplyContent::Echo => {
                let text = self.prompt.last_user();
                let most = (LONGEST_ECHO / self.choices).min(text.len());
                let end = (0..=most).rev().find(|end| text.is_char_boundary(*end)).unwrap_or(0);
                text[..end].to_owned()
            }
            ReplyContent::Lorem | ReplyContent::ToolCalls(_) => {
                let usual = self.behavior.lorem_tokens.clone();
                // A limit beyond it is often an SDK's default, such as the longest output of the model.
                let wanted = room.filter(|room| room <= usual.end() || self.prompt.ignores_end);
                let length = wanted.unwrap_or_else(|| random.number(usual));
                return TextDraft::Filler(filler(length.min(LONGEST_LOREM / self.choices as u64), random));
            }
        })
    }

    /// Returns the tool that the request forces; `None` after a tool result, so that an agent's loop ends.
    fn forced_tool(&self) -> Option<&Tool> {
        if self.prompt.has_tool_result() {
            return None;
        }
        // Only functions and custom tools have a name. Others are not called.
        let mut callable = self.prompt.tools.iter().filter(|tool| !tool.name.is_empty());
        match &self.prompt.tool_choice {
            ToolChoice::Auto | ToolChoice::None => None,
            ToolChoice::Required => callable.next(),
            ToolChoice::Named(name) => callable.find(|tool| tool.name == *name),
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
        self.cut(format!("{text} {QUOTE}")).with_citations(vec![citation])
    }

    /// Appends filler to a text that has fewer than `least` tokens. Returns true if it had.
    fn lengthen(&self, text: &mut Text, least: u64, random: &mut Random) -> bool {
        let Some(missing) = least.checked_sub(text.tokens).filter(|missing| *missing > 0) else { return false };
        let more = filler(missing, random).whole().into_owned();
        let start = text.whole().into_owned();
        let space = if start.is_empty() { "" } else { " " };
        *text = self.cut([&start, space, &more].concat());
        true
    }

    /// Truncates a text to its first `room` tokens.
    fn shorten(&self, text: &mut Text, room: u64) {
        let most = usize::try_from(room).unwrap_or(usize::MAX);
        text.truncate(room, |text, ends| match &self.spec.content {
            ReplyContent::Pieces(_) => ends.get(..most).and_then(<[_]>::last).copied().unwrap_or(0),
            _ => self.tokenizer.prefix(text, most),
        });
    }

    fn cut(&self, text: String) -> Text {
        let cut = self.tokenizer.cut(&text);
        Text::written(text, cut.ends, cut.tokens as u64)
    }
}

/// Makes filler of so many tokens, which is generated when it is needed.
fn filler(tokens: u64, random: &mut Random) -> Text {
    let words = random.clone();
    *random = random.fork();
    Text::filler(tokens, words)
}

/// A text before it is cut into pieces.
enum TextDraft {
    Written(String),
    Filler(Text),
}

impl TextDraft {
    fn whole(self) -> String {
        match self {
            TextDraft::Written(text) => text,
            TextDraft::Filler(text) => text.whole().into_owned(),
        }
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
    Text::written(pieces.concat(), ends.collect(), pieces.len() as u64)
}
