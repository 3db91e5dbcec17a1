//! Rendering of choices, for full responses and for the chunks of a stream.

use std::sync::Arc;

use bytes::Bytes;
use serde_json::{Map, Value, json};

use super::read::CompletionOptions;
use crate::protocol::interleave;
use crate::{
    core::{
        random::Random,
        reply::{Block, Choice, FinishReason},
        response::{EventKind, StreamEvent},
    },
    model::tokens::Tokenizer,
};

/// The text of one choice, with its prompt if that is needed.
pub(super) struct ChoiceText<'a> {
    prompt: &'a str,
    /// The text as the stream splits it. A tool call is rendered as its arguments.
    pieces: Vec<&'a str>,
    echo: bool,
    reason: &'static str,
}

impl<'a> ChoiceText<'a> {
    pub(super) fn new(choice: &'a Choice, prompt: Option<&'a String>, options: &CompletionOptions) -> ChoiceText<'a> {
        let blocks = choice.blocks.iter().filter(|block| !matches!(block, Block::Reasoning(_)));
        let reason = match choice.finish_reason {
            FinishReason::Stop | FinishReason::ToolCalls => "stop",
            FinishReason::Length => "length",
            FinishReason::ContentFilter => "content_filter",
        };
        let pieces = blocks.flat_map(|block| block.text().pieces()).collect();
        ChoiceText { prompt: prompt.map_or("", String::as_str), pieces, echo: options.echo, reason }
    }

    /// Renders a choice of a full response.
    pub(super) fn full(&self, index: usize, options: &CompletionOptions, random: &mut Random) -> Value {
        let logprobs = options.logprobs.map(|top| {
            let mut logprobs = LogprobLists::new(top, if self.echo { "" } else { self.prompt });
            if self.echo {
                logprobs.prompt(self.prompt, random);
            }
            self.pieces.iter().for_each(|piece| logprobs.push(piece, random));
            logprobs.take()
        });
        let prompt = if self.echo { self.prompt } else { "" };
        let text = [&[prompt], self.pieces.as_slice()].concat().concat();
        json!({"text": text, "index": index, "logprobs": logprobs, "finish_reason": self.reason})
    }

    /// Renders one chunk for each piece. The last has the finish reason. The prompt, if any, is a chunk before them.
    fn chunks(&self, index: usize, options: &CompletionOptions, random: &mut Random) -> Vec<Chunk> {
        let mut logprobs = options.logprobs.map(|top| LogprobLists::new(top, if self.echo { "" } else { self.prompt }));
        let mut list = Vec::new();
        let mut push = |text: &str, reason: Option<&str>, logprobs: Option<Value>, tokens: u32| {
            let choices = json!([{"text": text, "index": index, "logprobs": logprobs, "finish_reason": reason}]);
            let part = if reason.is_some() { EventKind::Finish } else { EventKind::Content };
            // Choices are generated in parallel, so only the first choice's chunks count tokens.
            let tokens = if index == 0 { tokens } else { 0 };
            list.push(Chunk { choices: choices.to_string(), part, tokens });
        };
        if self.echo && !self.prompt.is_empty() {
            let prompt_logprobs = logprobs.as_mut().map(|logprobs| {
                logprobs.prompt(self.prompt, random);
                logprobs.take()
            });
            push(self.prompt, None, prompt_logprobs, 0);
        }
        for (n, piece) in self.pieces.iter().enumerate() {
            let piece_logprobs = logprobs.as_mut().map(|logprobs| {
                logprobs.push(piece, random);
                logprobs.take()
            });
            let last = n + 1 == self.pieces.len();
            push(piece, last.then_some(self.reason), piece_logprobs, 1);
        }
        if self.pieces.is_empty() {
            push("", Some(self.reason), None, 0);
        }
        list
    }
}

/// The log probabilities of tokens, and their offsets in the text that begins with the prompt.
struct LogprobLists {
    /// Number of alternatives.
    top: u64,
    /// Offset of the next token, in characters.
    offset: usize,
    tokens: Vec<Value>,
    token_logprobs: Vec<Value>,
    top_logprobs: Vec<Value>,
    text_offset: Vec<Value>,
}

impl LogprobLists {
    /// Creates the lists for tokens that follow the text `before`, with `top` alternatives.
    fn new(top: u64, before: &str) -> Self {
        let (tokens, token_logprobs, top_logprobs, text_offset) = Default::default();
        LogprobLists { top, offset: before.chars().count(), tokens, token_logprobs, top_logprobs, text_offset }
    }

    /// Adds the tokens of a prompt. The first has no predecessor, so its log probability is `null`.
    fn prompt(&mut self, prompt: &str, random: &mut Random) {
        let cut = Tokenizer::Words.cut(prompt);
        let mut from = 0;
        for (n, end) in cut.ends.into_iter().enumerate() {
            self.push(&prompt[from..end], random);
            if let (0, Some(logprob), Some(top)) = (n, self.token_logprobs.last_mut(), self.top_logprobs.last_mut()) {
                (*logprob, *top) = (Value::Null, Value::Null);
            }
            from = end;
        }
    }

    fn push(&mut self, token: &str, random: &mut Random) {
        // Six decimals, in the range of a confident model.
        let mut rounded = |scale: f64| -(random.unit() * scale * 1e6).round() / 1e6;
        let logprob = rounded(0.7);
        let mut top = Map::new();
        let mut last = logprob;
        for n in 0..self.top {
            let alternative = format!(" {}", char::from(b'a' + n as u8));
            let name = if n == 0 { token } else { &alternative };
            top.insert(name.to_owned(), json!((last * 1e6).round() / 1e6));
            last += rounded(2.0) - 0.1;
        }
        self.tokens.push(token.into());
        self.token_logprobs.push(json!(logprob));
        self.top_logprobs.push(top.into());
        self.text_offset.push(self.offset.into());
        self.offset += token.chars().count();
    }

    /// Takes the tokens pushed since the last call, as a JSON object.
    fn take(&mut self) -> Value {
        let top_logprobs = std::mem::take(&mut self.top_logprobs);
        json!({
            "tokens": std::mem::take(&mut self.tokens),
            "token_logprobs": std::mem::take(&mut self.token_logprobs),
            "top_logprobs": if self.top == 0 { Value::Null } else { top_logprobs.into() },
            "text_offset": std::mem::take(&mut self.text_offset),
        })
    }
}

/// The rendered chunks of one reply. All streams that send this reply share them.
#[derive(Default)]
pub(super) struct CompletionChunks {
    /// All chunks but the usage chunk and the end marker.
    pub(super) chunks: Vec<Chunk>,
    /// The usage object.
    pub(super) usage: String,
}

/// A chunk without the members that all chunks share.
pub(super) struct Chunk {
    /// The value of `choices`.
    choices: String,
    part: EventKind,
    tokens: u32,
}

/// Renders all chunks. Each holds one choice, and the choices take turns.
pub(super) fn chunks(choices: &[ChoiceText<'_>], options: &CompletionOptions, random: &mut Random) -> Vec<Chunk> {
    interleave(choices.iter().enumerate().map(|(index, choice)| choice.chunks(index, options, random)).collect())
}

/// The events of one stream, rendered one by one.
pub(super) struct CompletionEvents {
    /// The chunk up to the value of `choices`.
    before: Vec<u8>,
    /// The chunk after that value, without its closing brace.
    after: Vec<u8>,
    stream: Arc<CompletionChunks>,
    next: usize,
    include_usage: bool,
}

impl CompletionEvents {
    /// Creates the events. `envelope` holds the chunk's parts before and after the value of `choices`.
    pub(super) fn new(envelope: &[Vec<u8>], stream: Arc<CompletionChunks>, include_usage: bool) -> CompletionEvents {
        let piece = |n: usize| envelope.get(n).map(Vec::as_slice).unwrap_or_default();
        let after = piece(1).strip_suffix(b"}").unwrap_or_default();
        CompletionEvents { before: piece(0).to_vec(), after: after.to_vec(), stream, next: 0, include_usage }
    }

    fn chunk(&self, choices: &str) -> Bytes {
        let usage: &[u8] = if self.include_usage { b",\"usage\":null" } else { b"" };
        [b"data: ", &*self.before, choices.as_bytes(), &self.after, usage, b"}\n\n"].concat().into()
    }

    /// Renders the usage chunk. Recorded: its choices come last.
    fn usage(&self) -> Bytes {
        let before = self.before.strip_suffix(b",\"choices\":").unwrap_or_default();
        let usage = [b",\"usage\":", self.stream.usage.as_bytes(), b",\"choices\":[]}\n\n"].concat();
        [b"data: ", before, &self.after, &usage].concat().into()
    }
}

impl Iterator for CompletionEvents {
    type Item = StreamEvent;

    fn next(&mut self) -> Option<StreamEvent> {
        let after = self.next.checked_sub(self.stream.chunks.len());
        self.next += 1;
        let (bytes, part, tokens) = match (after, self.include_usage) {
            (None, _) => {
                let Chunk { choices, part, tokens } = self.stream.chunks.get(self.next - 1)?;
                (self.chunk(choices), *part, *tokens)
            }
            (Some(0), true) => (self.usage(), EventKind::Usage, 0),
            (Some(0), false) | (Some(1), true) => (Bytes::from_static(b"data: [DONE]\n\n"), EventKind::End, 0),
            _ => return None,
        };
        Some(StreamEvent { bytes, kind: part, tokens })
    }
}
