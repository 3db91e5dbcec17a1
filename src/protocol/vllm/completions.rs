//! `vllm-completions`: vLLM's completions, full and streamed. The envelope is that of `vllm-chat`.

use std::sync::Arc;

use bytes::Bytes;
use serde_json::{Map, Value, json};

use super::{
    EVENT_STREAM, finish_reason, generated,
    logprobs::{self, LogprobLists, TextPlace},
    member,
    members::{self, RenderMembers, token_ids},
    rules, stop_reason,
    stream::{Chunk, ChunkEnvelope, ChunkEvents, Place, StreamUsage},
    usage,
};
use crate::{
    core::{
        context::RequestContext,
        error::ApiError,
        json,
        limit_status::Cost,
        prompt::Prompt,
        random::Random,
        reply::{Block, Choice, Piece, Reply, Text, Usage},
        response::{Body, EventStream, Response, StreamFormat},
        template::Layout,
    },
    model::tokens::Encoding,
    protocol::{
        Parsed, Protocol, Reader, Record, RenderContext, Rendered, ResponseOptions, StoredObjects,
        envelope::Envelope,
        events::{EventList, EventLists, RenderTime},
        forms,
        openai::completions::read,
    },
};

/// Creates the protocol; see [`crate::protocol::Make`].
pub(in crate::protocol) fn make(head: &Map<String, Value>) -> Result<Box<dyn Protocol>, String> {
    let mut full = Map::new();
    full.insert("id".into(), member(head, "id")?);
    full.insert("object".into(), "text_completion".into());
    full.insert("created".into(), member(head, "created")?);
    full.insert("model".into(), member(head, "model")?);
    full.insert("choices".into(), json!("{{part.choices}}"));
    let mut chunk = full.clone();
    let fingerprint = member(head, "system_fingerprint")?;
    chunk.insert("system_fingerprint".into(), fingerprint.clone());
    full.insert("service_tier".into(), Value::Null);
    full.insert("system_fingerprint".into(), fingerprint);
    full.insert("usage".into(), json!("{{part.usage}}"));
    for name in ["kv_transfer_params", "ec_transfer_params", "metrics"] {
        full.insert(name.into(), Value::Null);
    }
    let (full, chunk) = (Envelope::new(full, Layout::default(), 2)?, Envelope::new(chunk, Layout::default(), 1)?);
    Ok(Box::new(Completions { envelopes: Arc::new((full, chunk)) }))
}

struct Completions {
    /// A full response around its choices and its usage, and a chunk around its choices.
    envelopes: Arc<(Envelope, Envelope)>,
}

/// The reader of its requests.
pub(super) struct CompletionsReader;

impl Reader for CompletionsReader {
    fn check(&self, body: json::Object<'_>, context: &RequestContext<'_>) -> Result<(), ApiError> {
        rules::completions(body, context)
    }

    fn prompt(&self, body: json::Object<'_>, context: &RequestContext<'_>, _: &[Arc<Value>]) -> Prompt {
        members::extend(read::prompt(body, context.served_model().into_owned()), body)
    }

    fn cost(&self, body: json::Object<'_>, _: &RequestContext<'_>) -> Cost {
        read::cost(body)
    }
}

impl Protocol for Completions {
    fn parse<'r>(&'r self, body: json::Object<'r>, _: &RequestContext<'_>) -> Parsed<'r> {
        Parsed {
            store: None,
            ..Parsed::with_options(&CompletionsReader, body, read::ready_made(body), read::options(body))
        }
    }

    fn render(&self, reply: &Reply, context: Option<RenderContext<'_, '_>>) -> Box<dyn Rendered> {
        let (needs_full, streams, time) = forms(context);
        let options = context.map(|context| context.parsed.options).unwrap_or_default();
        let members = context.map(|context| RenderMembers::of(context.parsed.body)).unwrap_or_default();
        let model = context.map(|context| context.served_model().into_owned()).unwrap_or_default();
        let about_prompt = options.echo || members.token_ids || members.prompt_logprobs.is_some();
        let prompts = match context {
            Some(context) if about_prompt => read::texts(context.parsed.body, &model),
            _ => Vec::new(),
        };
        let mut shared = Random::seeded(0);
        let mut own = context.as_ref().map(|context| context.random.borrow_mut());
        let random = own.as_deref_mut().unwrap_or(&mut shared);
        // The first `n` of each prompt's `best_of` choices; the choices of one prompt are adjacent.
        let best = reply.choices.iter().enumerate().filter(|(n, _)| n % options.best_of < options.n);
        let choices = best.map(|(n, choice)| {
            let prompt = prompts.get(n / options.best_of).map(String::as_str).unwrap_or_default();
            ChoiceText::new(choice, prompt, &options, members, &model, random)
        });
        let choices: Vec<_> = choices.collect();
        let full = if needs_full {
            let choices: Vec<_> = choices.iter().enumerate().map(|(n, choice)| choice.full(n)).collect();
            [json!(choices).to_string().into_bytes(), usage(&reply.usage).to_string().into_bytes()]
        } else {
            Default::default()
        };
        let chunks = if streams {
            choices.iter().enumerate().map(|(n, choice)| choice.chunks(n, time)).collect()
        } else {
            Arc::default()
        };
        Box::new(RenderedCompletion { envelopes: Arc::clone(&self.envelopes), full, chunks, usage: reply.usage })
    }
}

/// The text of one choice, with what the request wants to know about it.
struct ChoiceText<'a> {
    choice: &'a Choice,
    prompt: &'a str,
    echo: bool,
    /// The number of alternatives and the seed of the log probabilities, if they are requested.
    logprobs: Option<(u64, u64)>,
    /// The number of alternatives to the tokens of the prompt, and the seed.
    prompt_logprobs: Option<(u64, u64)>,
    encoding: Encoding,
    token_ids: bool,
}

impl<'a> ChoiceText<'a> {
    fn new(
        choice: &'a Choice,
        prompt: &'a str,
        options: &ResponseOptions<'_>,
        members: RenderMembers,
        model: &str,
        random: &mut Random,
    ) -> Self {
        let echoed = options.logprobs.filter(|_| options.echo);
        let wants = options.logprobs.is_some() || members.prompt_logprobs.is_some();
        let seed = if wants { random.number(0..=u64::MAX) } else { 0 };
        ChoiceText {
            choice,
            prompt,
            echo: options.echo,
            logprobs: options.logprobs.map(|top| (top, seed)),
            prompt_logprobs: members.prompt_logprobs.or(echoed).map(|top| (top, seed)),
            encoding: Encoding::of_model(model),
            token_ids: members.token_ids,
        }
    }

    /// Returns the texts of the choice, each with its place. A tool call is its arguments.
    fn texts(&self) -> impl Iterator<Item = (&'a Text, TextPlace)> {
        let counts = self.logprobs.is_some();
        let start = if self.echo && counts { self.prompt.chars().count() } else { 0 };
        let blocks = self.choice.blocks.iter().filter(|block| !matches!(block, Block::Reasoning(_)));
        let first = TextPlace { characters: start, ..TextPlace::default() };
        blocks.map(Block::text).scan(first, move |place, text| {
            let here = *place;
            *place = TextPlace {
                pieces: here.pieces + text.piece_count(),
                tokens: here.tokens + text.token_count(),
                characters: if counts { here.characters + text.characters() } else { 0 },
            };
            Some((text, here))
        })
    }

    fn ids(&self, text: &str) -> Value {
        token_ids(text, self.token_ids.then_some(self.encoding))
    }

    fn finish_reason(&self) -> &'static str {
        finish_reason(self.choice, "stop")
    }

    /// Renders a choice of a full response.
    fn full(&self, index: usize) -> Value {
        let logprobs = self.logprobs.map(|(top, seed)| {
            let mut lists = LogprobLists::new(top);
            if self.echo {
                lists.push_prompt(self.prompt, self.encoding, seed);
            }
            for (text, place) in self.texts() {
                text.token_pieces().for_each(|token| lists.push(token, place, seed));
            }
            lists.into_json()
        });
        let generated: String = self.texts().map(|(text, _)| text.whole()).collect();
        let prompt_logprobs = self
            .prompt_logprobs
            .map(|(top, seed)| logprobs::of_prompt(&self.encoding.numbers(self.prompt), self.encoding, top, seed));
        json!({
            "index": index,
            "text": if self.echo { [self.prompt, &generated].concat() } else { generated.clone() },
            "logprobs": logprobs,
            "finish_reason": self.finish_reason(),
            "stop_reason": stop_reason(self.choice),
            "token_ids": self.ids(&generated),
            "prompt_logprobs": prompt_logprobs,
            "prompt_token_ids": self.ids(self.prompt),
            "routed_experts": null,
        })
    }

    /// Returns one chunk for each piece, rendered at `time`. The last has the finish reason. An echoed prompt is a chunk
    /// before them.
    fn chunks(&self, index: usize, time: RenderTime) -> EventList<Chunk> {
        let style = ChunkStyle {
            index,
            reason: self.finish_reason(),
            stop_reason: stop_reason(self.choice),
            logprobs: self.logprobs,
            encoding: self.token_ids.then_some(self.encoding),
        };
        let mut list = EventList::new(time);
        let prompt_ids = self.ids(self.prompt);
        let mut is_first = true;
        if self.echo && !self.prompt.is_empty() {
            let logprobs = self.logprobs.map(|(top, seed)| {
                let mut lists = LogprobLists::new(top);
                lists.push_prompt(self.prompt, self.encoding, seed);
                lists.into_json()
            });
            list.push(style.chunk((self.prompt, 0), logprobs, (&prompt_ids, Value::Null), false));
            is_first = false;
        }
        let last = self.texts().map(|(text, _)| text.piece_count()).sum::<usize>().checked_sub(1);
        if last.is_none() {
            list.push(style.chunk(("", 0), None, (&prompt_ids, Value::Null), true));
        }
        for (text, place) in self.texts() {
            let style = style.clone();
            if style.logprobs.is_none() && style.encoding.is_none() {
                let has_last = Some(place.pieces + text.piece_count()) == last.map(|last| last + 1);
                list.push_gaps_with_last(text, move |piece, is_last| {
                    style.chunk((piece, 1), None, (&Value::Null, Value::Null), has_last && is_last)
                });
                continue;
            }
            // Only the first chunk has the numbers of the prompt.
            let prompt_ids = if is_first { prompt_ids.clone() } else { Value::Null };
            let whole = text.clone();
            list.push_pieces(text, move |piece: Piece<'_>| {
                let logprobs = style.logprobs.map(|(top, seed)| {
                    let mut lists = LogprobLists::new(top);
                    whole.tokens_of(piece).for_each(|token| lists.push(token, place, seed));
                    lists.into_json()
                });
                let number = place.pieces + piece.index;
                let prompt_ids = if number == 0 { &prompt_ids } else { &Value::Null };
                let ids = token_ids(piece.text, style.encoding);
                style.chunk((piece.text, 1), logprobs, (prompt_ids, ids), Some(number) == last)
            });
        }
        list
    }
}

/// The properties that all chunks of one choice share.
#[derive(Clone)]
struct ChunkStyle {
    index: usize,
    reason: &'static str,
    stop_reason: Value,
    logprobs: Option<(u64, u64)>,
    encoding: Option<Encoding>,
}

impl ChunkStyle {
    /// Renders a chunk with a text and its number of tokens.
    fn chunk(
        &self,
        (text, tokens): (&str, u32),
        logprobs: Option<Value>,
        (prompt_ids, ids): (&Value, Value),
        is_last: bool,
    ) -> Chunk {
        let choices = json!([{
            "index": self.index,
            "text": text,
            "logprobs": logprobs,
            "finish_reason": is_last.then_some(self.reason),
            "stop_reason": if is_last { self.stop_reason.clone() } else { Value::Null },
            "prompt_token_ids": prompt_ids,
            "token_ids": ids,
        }]);
        let place = if is_last { Place::Last } else { Place::Middle };
        Chunk { choices: choices.to_string(), index: self.index, tokens, place }
    }
}

/// A reply rendered but for the envelope's slots.
struct RenderedCompletion {
    envelopes: Arc<(Envelope, Envelope)>,
    /// The choices and the usage of the full response.
    full: [Vec<u8>; 2],
    chunks: EventLists<Chunk>,
    usage: Usage,
}

impl RenderedCompletion {
    fn full(&self, context: &RequestContext<'_>) -> Bytes {
        let [choices, usage] = &self.full;
        self.envelopes.0.fill(&[choices, usage], context)
    }
}

impl Rendered for RenderedCompletion {
    fn record(&self, context: RenderContext<'_, '_>) -> Record {
        Record::of_json(&self.full(&context))
    }

    fn respond(&self, context: RenderContext<'_, '_>, _: &dyn StoredObjects) -> Result<Response, ApiError> {
        let body = context.parsed.body;
        if !context.parsed.options.stream {
            let full = Response::ok("application/json", Body::Full(self.full(&context)));
            return Ok(generated(full, body, "max_tokens"));
        }
        let envelope = ChunkEnvelope::new(&self.envelopes.1, Vec::new(), &context);
        let usage = StreamUsage {
            usage: self.usage,
            at_end: context.parsed.options.include_usage,
            continuous: RenderMembers::of(body).continuous_usage,
        };
        let events = EventStream::written(ChunkEvents::new(&self.chunks, envelope, usage), StreamFormat::Data("\n"));
        Ok(generated(Response::ok(EVENT_STREAM, Body::Stream(events)), body, "max_tokens"))
    }
}
