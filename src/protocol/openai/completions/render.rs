//! Rendering of choices, for full responses and for the chunks of a stream.

use std::sync::Arc;

use bytes::BytesMut;
use serde_json::{Map, Value, json};

use crate::protocol::{
    ResponseOptions,
    events::{EventList, EventLists, Events, RenderTime},
    openai::chunk::Chunk,
};
use crate::{
    core::{
        random::Random,
        reply::{Block, Choice, FinishReason, Piece, Text},
        response::{EventCopy, EventKind, EventProperties, WriteEvents},
    },
    model::tokens::Tokenizer,
};

/// The text of one choice, with its prompt if that is needed.
pub(super) struct ChoiceText<'a> {
    prompt: &'a str,
    /// The texts of the choice. A tool call is rendered as its arguments.
    texts: Vec<&'a Text>,
    echo: bool,
    reason: &'static str,
    /// The number of alternatives and the seed of the log probabilities, if there are any.
    logprobs: Option<(u64, u64)>,
}

impl<'a> ChoiceText<'a> {
    pub(super) fn new(
        choice: &'a Choice,
        prompt: Option<&'a String>,
        options: &ResponseOptions<'_>,
        random: &mut Random,
    ) -> ChoiceText<'a> {
        let blocks = choice.blocks.iter().filter(|block| !matches!(block, Block::Reasoning(_)));
        let reason = match choice.finish_reason {
            FinishReason::Stop | FinishReason::ToolCalls => "stop",
            FinishReason::Length => "length",
            FinishReason::ContentFilter => "content_filter",
        };
        ChoiceText {
            prompt: prompt.map_or("", String::as_str),
            texts: blocks.map(Block::text).collect(),
            echo: options.echo,
            reason,
            logprobs: options.logprobs.map(|top| (top, random.number(0..=u64::MAX))),
        }
    }

    /// Renders a choice of a full response.
    pub(super) fn full(&self, index: usize) -> Value {
        let logprobs = self.logprobs.map(|(top, seed)| {
            let mut logprobs = LogprobLists::new(top);
            if self.echo {
                logprobs.prompt(self.prompt, seed);
            }
            for (text, place) in self.places() {
                text.token_pieces().for_each(|token| logprobs.push(token, place, seed));
            }
            logprobs.take()
        });
        let mut whole = if self.echo { self.prompt.to_owned() } else { String::new() };
        whole.extend(self.texts.iter().map(|text| text.whole()));
        json!({"text": whole, "index": index, "logprobs": logprobs, "finish_reason": self.reason})
    }

    /// Returns the texts with their places in the choice.
    fn places(&self) -> impl Iterator<Item = (&'a Text, Place)> {
        let start = if self.logprobs.is_some() { self.prompt.chars().count() } else { 0 };
        let count = |place: &mut Place, text: &&'a Text| {
            let here = *place;
            place.pieces += text.piece_count();
            place.tokens += text.token_count();
            place.characters += text.characters();
            Some((*text, here))
        };
        self.texts.iter().scan(Place { characters: start, ..Place::default() }, count)
    }

    /// Returns one chunk for each piece, rendered at `time`. The last has the finish reason. The prompt, if any, is a
    /// chunk before them.
    pub(super) fn chunks(&self, index: usize, time: RenderTime) -> EventList<Chunk> {
        let chunk = move |text: &str, reason: Option<&str>, logprobs: Option<Value>, tokens: u32| {
            let choices = json!([{"text": text, "index": index, "logprobs": logprobs, "finish_reason": reason}]);
            let part = if reason.is_some() { EventKind::Finish } else { EventKind::Content };
            // Choices are generated in parallel, so only the first choice's chunks count tokens.
            let tokens = if index == 0 { tokens } else { 0 };
            Chunk { choices: choices.to_string(), part, tokens }
        };
        let mut list = EventList::new(time);
        if self.echo && !self.prompt.is_empty() {
            let prompt_logprobs = self.logprobs.map(|(top, seed)| {
                let mut logprobs = LogprobLists::new(top);
                logprobs.prompt(self.prompt, seed);
                logprobs.take()
            });
            list.push(chunk(self.prompt, None, prompt_logprobs, 0));
        }
        let last = self.texts.iter().map(|text| text.piece_count()).sum::<usize>().checked_sub(1);
        let (logprobs, reason) = (self.logprobs, self.reason);
        for (text, place) in self.places() {
            let Some((top, seed)) = logprobs else {
                let has_last = Some(place.pieces + text.piece_count()) == last.map(|last| last + 1);
                list.push_gaps_with_last(text, move |piece, is_last| {
                    chunk(piece, (has_last && is_last).then_some(reason), None, 1)
                });
                continue;
            };
            let whole = text.clone();
            list.push_pieces(text, move |piece| {
                let mut logprobs = LogprobLists::new(top);
                whole.tokens_of(piece).for_each(|token| logprobs.push(token, place, seed));
                let is_last = Some(place.pieces + piece.index) == last;
                chunk(piece.text, is_last.then_some(reason), Some(logprobs.take()), 1)
            });
        }
        if last.is_none() {
            list.push(chunk("", Some(self.reason), None, 0));
        }
        list
    }
}

/// The start of a text in its choice.
#[derive(Clone, Copy, Default)]
struct Place {
    /// Number of pieces before it.
    pieces: usize,
    /// Number of tokens before it.
    tokens: usize,
    /// Number of characters before it, those of the prompt included.
    characters: usize,
}

/// The log probabilities of tokens, and their offsets in the text that begins with the prompt.
struct LogprobLists {
    /// Number of alternatives.
    top: u64,
    tokens: Vec<Value>,
    token_logprobs: Vec<Value>,
    top_logprobs: Vec<Value>,
    text_offset: Vec<Value>,
}

impl LogprobLists {
    /// Creates the lists for tokens with `top` alternatives.
    fn new(top: u64) -> Self {
        let (tokens, token_logprobs, top_logprobs, text_offset) = Default::default();
        LogprobLists { top, tokens, token_logprobs, top_logprobs, text_offset }
    }

    /// Adds the tokens of a prompt. The first has no predecessor, so its log probability is `null`.
    fn prompt(&mut self, prompt: &str, seed: u64) {
        let cut = Tokenizer::Words.cut(prompt);
        let text = Text::written(prompt.to_owned(), cut.ends, cut.tokens as u64);
        for piece in text.pieces() {
            // The tokens of the prompt have other numbers than those of the text.
            self.push(piece, Place::default(), !seed);
            if let (0, Some(logprob), Some(top)) =
                (piece.index, self.token_logprobs.last_mut(), self.top_logprobs.last_mut())
            {
                (*logprob, *top) = (Value::Null, Value::Null);
            }
        }
    }

    /// Adds a token. The same token of a choice with the same seed always has the same log probability.
    fn push(&mut self, piece: Piece<'_>, place: Place, seed: u64) {
        let (mut random, token) = (Random::seeded(seed ^ (place.tokens + piece.index) as u64), piece.text);
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
        self.text_offset.push((place.characters + piece.start).into());
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

/// The chunks of one reply. Clones share them.
#[derive(Clone, Default)]
pub(super) struct CompletionChunks {
    /// All chunks but the usage chunk and the end marker. Each holds one choice, and the choices take turns.
    pub(super) chunks: EventLists<Chunk>,
    /// The usage object.
    pub(super) usage: Arc<str>,
}

/// The events of one stream, rendered one by one.
#[derive(Clone)]
pub(super) struct CompletionEvents {
    /// The chunk up to the value of `choices`.
    before: Vec<u8>,
    /// The chunk after that value, without its closing brace.
    after: Vec<u8>,
    chunks: Events<Chunk>,
    /// The usage object; `None` once it was sent, or if the request does not want it.
    usage: Option<Arc<str>>,
    include_usage: bool,
    is_ended: bool,
}

impl CompletionEvents {
    /// Creates the events. `envelope` holds the chunk's parts before and after the value of `choices`.
    pub(super) fn new(envelope: &[Vec<u8>], stream: &CompletionChunks, include_usage: bool) -> CompletionEvents {
        let piece = |n: usize| envelope.get(n).map(Vec::as_slice).unwrap_or_default();
        let after = piece(1).strip_suffix(b"}").unwrap_or_default();
        CompletionEvents {
            before: piece(0).to_vec(),
            after: after.to_vec(),
            chunks: Events::new(&stream.chunks),
            usage: include_usage.then(|| Arc::clone(&stream.usage)),
            include_usage,
            is_ended: false,
        }
    }

    /// Appends the usage chunk. Recorded: its choices come last.
    fn put_usage(&self, usage: &str, out: &mut BytesMut) {
        let before = self.before.strip_suffix(b",\"choices\":").unwrap_or_default();
        for part in [b"data: ", before, &self.after, b",\"usage\":", usage.as_bytes(), b",\"choices\":[]}\n\n"] {
            out.extend_from_slice(part);
        }
    }
}

impl WriteEvents for CompletionEvents {
    fn write(&mut self, out: &mut BytesMut) -> Option<EventProperties> {
        if let Some(chunk) = self.chunks.next() {
            out.extend_from_slice(b"data: ");
            out.extend_from_slice(&self.before);
            chunk.put(out);
            out.extend_from_slice(&self.after);
            out.extend_from_slice(if self.include_usage { b",\"usage\":null}\n\n" } else { b"}\n\n" });
            return Some(EventProperties { kind: chunk.event.part, tokens: chunk.tokens() });
        }
        if let Some(usage) = self.usage.take() {
            self.put_usage(&usage, out);
            return Some(EventProperties { kind: EventKind::Usage, tokens: 0 });
        }
        if std::mem::replace(&mut self.is_ended, true) {
            return None;
        }
        out.extend_from_slice(b"data: [DONE]\n\n");
        Some(EventProperties { kind: EventKind::End, tokens: 0 })
    }

    fn copy(&self) -> Option<EventCopy> {
        let texts = self.before.len() + self.after.len() + self.usage.as_ref().map_or(0, |usage| usage.len());
        let size = size_of::<Self>() + texts + self.chunks.size()?;
        Some(EventCopy { events: Box::new(self.clone()), size })
    }
}
