//! What the model says, as choices of a whole answer and as chunks of a stream.

use std::sync::Arc;

use bytes::Bytes;
use serde_json::{Map, Value, json};

use super::read::Wishes;
use crate::protocol::interleave;
use crate::{
    core::{
        random::Random,
        reply::{Block, Choice, FinishReason},
        response::{EventKind, StreamEvent},
    },
    model::tokens::Tokenizer,
};

/// One choice: its prompt, where that is wanted, and what is said to it.
pub(super) struct Said<'a> {
    prompt: &'a str,
    /// What is said, where it is cut in a stream; a call of a tool has no other spelling here than its arguments.
    pieces: Vec<&'a str>,
    echo: bool,
    reason: &'static str,
}

impl<'a> Said<'a> {
    pub(super) fn new(choice: &'a Choice, prompt: Option<&'a String>, wishes: &Wishes) -> Said<'a> {
        let said = choice.blocks.iter().filter(|block| !matches!(block, Block::Reasoning(_)));
        let reason = match choice.finish_reason {
            FinishReason::Stop | FinishReason::ToolCalls => "stop",
            FinishReason::Length => "length",
            FinishReason::ContentFilter => "content_filter",
        };
        let pieces = said.flat_map(|block| block.text().pieces()).collect();
        Said { prompt: prompt.map_or("", String::as_str), pieces, echo: wishes.echo, reason }
    }

    /// A choice of a whole answer.
    pub(super) fn whole(&self, index: usize, wishes: &Wishes, random: &mut Random) -> Value {
        let logprobs = wishes.logprobs.map(|top| {
            let mut logprobs = Logprobs::new(top, if self.echo { "" } else { self.prompt });
            if self.echo {
                logprobs.prompt(self.prompt, random);
            }
            self.pieces.iter().for_each(|piece| logprobs.push(piece, random));
            logprobs.object()
        });
        let prompt = if self.echo { self.prompt } else { "" };
        let text = [&[prompt], self.pieces.as_slice()].concat().concat();
        json!({"text": text, "index": index, "logprobs": logprobs, "finish_reason": self.reason})
    }

    /// Its chunks: one for each piece, the last of which tells why it ends. The prompt comes before them in one.
    fn chunks(&self, index: usize, wishes: &Wishes, random: &mut Random) -> Vec<Chunk> {
        let mut logprobs = wishes.logprobs.map(|top| Logprobs::new(top, if self.echo { "" } else { self.prompt }));
        let mut list = Vec::new();
        let mut push = |text: &str, reason: Option<&str>, logprobs: Option<Value>, tokens: u32| {
            let choices = json!([{"text": text, "index": index, "logprobs": logprobs, "finish_reason": reason}]);
            let part = if reason.is_some() { EventKind::Finish } else { EventKind::Content };
            // Alternatives are said at the same time, and so only those of the first take any.
            let tokens = if index == 0 { tokens } else { 0 };
            list.push(Chunk { choices: choices.to_string(), part, tokens });
        };
        if self.echo && !self.prompt.is_empty() {
            let of_prompt = logprobs.as_mut().map(|logprobs| {
                logprobs.prompt(self.prompt, random);
                logprobs.object()
            });
            push(self.prompt, None, of_prompt, 0);
        }
        for (n, piece) in self.pieces.iter().enumerate() {
            let of_piece = logprobs.as_mut().map(|logprobs| {
                logprobs.push(piece, random);
                logprobs.object()
            });
            let last = n + 1 == self.pieces.len();
            push(piece, last.then_some(self.reason), of_piece, 1);
        }
        if self.pieces.is_empty() {
            push("", Some(self.reason), None, 0);
        }
        list
    }
}

/// How likely tokens are said to have been, and where they stand in the text that begins with the prompt.
struct Logprobs {
    /// How many alternatives.
    top: u64,
    /// Where the next token begins, in characters.
    offset: usize,
    tokens: Vec<Value>,
    token_logprobs: Vec<Value>,
    top_logprobs: Vec<Value>,
    text_offset: Vec<Value>,
}

impl Logprobs {
    /// With so many alternatives, of the tokens behind a text.
    fn new(top: u64, before: &str) -> Self {
        let (tokens, token_logprobs, top_logprobs, text_offset) = Default::default();
        Logprobs { top, offset: before.chars().count(), tokens, token_logprobs, top_logprobs, text_offset }
    }

    /// Those of a prompt; nothing stands before its first, which so is neither likely nor unlikely.
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
        // Six decimals, as likely as a sure model's tokens are.
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

    /// What was pushed since this was last asked.
    fn object(&mut self) -> Value {
        let top_logprobs = std::mem::take(&mut self.top_logprobs);
        json!({
            "tokens": std::mem::take(&mut self.tokens),
            "token_logprobs": std::mem::take(&mut self.token_logprobs),
            "top_logprobs": if self.top == 0 { Value::Null } else { top_logprobs.into() },
            "text_offset": std::mem::take(&mut self.text_offset),
        })
    }
}

/// What a stream says, shared by all the streams that say it.
#[derive(Default)]
pub(super) struct Stream {
    /// Every chunk but those that say what it cost and that it is over.
    pub(super) chunks: Vec<Chunk>,
    /// The usage object.
    pub(super) usage: String,
}

/// A chunk but for what is the same in all of them.
pub(super) struct Chunk {
    /// Its `choices`.
    choices: String,
    part: EventKind,
    tokens: u32,
}

/// All chunks: those of the choices take turns, one to a chunk.
pub(super) fn chunks(said: &[Said<'_>], wishes: &Wishes, random: &mut Random) -> Vec<Chunk> {
    interleave(said.iter().enumerate().map(|(index, said)| said.chunks(index, wishes, random)).collect())
}

/// The frames of one stream, rendered one by one.
pub(super) struct Frames {
    /// A chunk before the value of `choices`.
    before: Vec<u8>,
    /// A chunk behind it, but for its closing brace.
    behind: Vec<u8>,
    stream: Arc<Stream>,
    next: usize,
    include_usage: bool,
}

impl Frames {
    /// `around` is what stands before and behind the value of `choices`.
    pub(super) fn new(around: &[Vec<u8>], stream: Arc<Stream>, include_usage: bool) -> Frames {
        let piece = |n: usize| around.get(n).map(Vec::as_slice).unwrap_or_default();
        let behind = piece(1).strip_suffix(b"}").unwrap_or_default();
        Frames { before: piece(0).to_vec(), behind: behind.to_vec(), stream, next: 0, include_usage }
    }

    fn chunk(&self, choices: &str) -> Bytes {
        let usage: &[u8] = if self.include_usage { b",\"usage\":null" } else { b"" };
        [b"data: ", &*self.before, choices.as_bytes(), &self.behind, usage, b"}\n\n"].concat().into()
    }

    /// The chunk that tells the usage; recorded: in it the choices come last.
    fn usage(&self) -> Bytes {
        let before = self.before.strip_suffix(b",\"choices\":").unwrap_or_default();
        let usage = [b",\"usage\":", self.stream.usage.as_bytes(), b",\"choices\":[]}\n\n"].concat();
        [b"data: ", before, &self.behind, &usage].concat().into()
    }
}

impl Iterator for Frames {
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
