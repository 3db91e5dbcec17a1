//! The events of one response. Each is rendered when it is due, because a long audio response is megabytes.

use std::{borrow::Cow, sync::Arc, vec::IntoIter};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde_json::{Value, json};

use super::{event, id, item_id, padded, text, voice_activity};
use crate::protocol::{Record, RenderContext, Rendered, StoredObjects};
use crate::{
    core::{
        error::ApiError,
        json,
        limit_status::{LimitStatuses, Unit},
        random::Random,
        reply::{Block, FinishReason, PieceCursor, Reply, Usage},
        response::{Body, EventKind, EventStream, Response, StreamEvent, StreamFormat},
    },
    media::silence,
};

/// Length of one character's audio in milliseconds, as in speech files.
pub(super) const CHARACTER_MILLIS: u64 = 60;

/// Tokens per second of input audio.
const TOKENS_PER_SECOND: f64 = 10.0;

/// A rendered reply. `None`: there is no request to render it for.
pub(super) struct RenderedRealtime(Option<ReplyParts>);

/// The parts of a reply that a session sends.
#[derive(Clone)]
struct ReplyParts {
    blocks: Arc<[Block]>,
    finish: FinishReason,
    usage: Usage,
}

impl RenderedRealtime {
    /// Renders a reply if it is `for_request`: no ready-made reply is used.
    pub(super) fn new(reply: &Reply, for_request: bool) -> Self {
        RenderedRealtime(reply.choices.first().filter(|_| for_request).map(|choice| {
            // Sessions do not send reasoning.
            let blocks = choice.blocks.iter().filter(|block| !matches!(block, Block::Reasoning(_))).cloned();
            ReplyParts { blocks: blocks.collect(), finish: choice.finish_reason, usage: reply.usage }
        }))
    }
}

impl Rendered for RenderedRealtime {
    fn record(&self, _: RenderContext<'_, '_>) -> Record {
        Record::Object(Value::Null)
    }

    fn respond(&self, context: RenderContext<'_, '_>, _: &dyn StoredObjects) -> Result<Response, ApiError> {
        let body = context.parsed.body;
        let random = context.random.borrow_mut().fork();
        let list: Box<dyn Iterator<Item = StreamEvent> + Send> = match (&self.0, body.get("transcribes")) {
            (None, _) => Box::new(std::iter::empty()),
            (Some(reply), Some(audio)) => {
                let audio = audio.to_value().unwrap_or_default();
                let events = transcript(reply, &audio, random);
                Box::new(events.into_iter())
            }
            (Some(reply), None) => {
                Box::new(RealtimeEvents::new(reply.clone(), body, &context.decisions.limit_statuses, random))
            }
        };
        Ok(Response::ok("application/json", Body::Stream(EventStream::new(list, StreamFormat::Messages))))
    }
}

/// Renders the events of a reply in a transcription session.
fn transcript(reply: &ReplyParts, audio: &Value, mut random: Random) -> Vec<StreamEvent> {
    let Some(block) = reply.blocks.first() else { return Vec::new() };
    let (text, tokens) = (block.text(), reply.usage.completion_tokens);
    let spoken = || text.pieces().skip_while(|piece| piece.text.trim().is_empty());
    let mut events =
        transcript_events(spoken().map(|piece| piece.text), text.whole().trim(), audio, tokens, &mut random);
    let last = events.pop();
    let deltas = events.into_iter().zip(spoken());
    let mut list: Vec<_> =
        deltas.map(|(event, piece)| stream_event(&event, EventKind::Content, piece.tokens)).collect();
    list.extend(last.map(|event| stream_event(&event, EventKind::End, 0)));
    list
}

/// Creates the events of a transcript. `audio` has the `item_id`, the length in `millis`, and the `model`.
pub(super) fn transcript_events<'a>(
    pieces: impl Iterator<Item = &'a str>,
    transcript: &str,
    audio: &Value,
    tokens: u64,
    random: &mut Random,
) -> Vec<Value> {
    let kind = |end: &str| format!("conversation.item.input_audio_transcription.{end}");
    let located = |members: Value| {
        let mut all = json!({"item_id": audio["item_id"], "content_index": 0});
        all.as_object_mut().into_iter().for_each(|all| all.extend(members.as_object().cloned().unwrap_or_default()));
        all
    };
    let seconds = audio["millis"].as_u64().unwrap_or(0) as f64 / 1000.0;
    let usage = if text(&audio["model"]).starts_with("whisper") {
        json!({"type": "duration", "seconds": seconds.ceil() as u64})
    } else {
        let audio_tokens = (seconds * TOKENS_PER_SECOND).ceil() as u64;
        json!({
            "type": "tokens",
            "total_tokens": audio_tokens.saturating_add(tokens),
            "input_tokens": audio_tokens,
            "input_token_details": {"text_tokens": 0, "audio_tokens": audio_tokens},
            "output_tokens": tokens,
        })
    };
    // Leading blanks of a scripted reply are not part of the transcript.
    let pieces = pieces.skip_while(|piece| piece.trim().is_empty());
    let mut events: Vec<_> =
        pieces.map(|piece| padded(&kind("delta"), located(json!({"delta": piece})), random)).collect();
    events.push(event(&kind("completed"), located(json!({"transcript": transcript, "usage": usage})), random));
    events
}

fn stream_event(event: &Value, part: EventKind, tokens: u32) -> StreamEvent {
    StreamEvent { bytes: event.to_string().into(), kind: part, tokens }
}

/// A step in a response's sequence of events, about the block with this index.
#[derive(Clone, Copy)]
enum Step {
    Limits,
    ItemAdded(usize),
    /// The item is in the conversation.
    Joined(usize),
    PartAdded(usize),
    Deltas(usize),
    AudioDone(usize),
    TextDone(usize),
    PartDone(usize),
    /// The item in the conversation is complete.
    Closed(usize),
    ItemDone(usize),
    Done,
}

/// The events of one response, rendered one by one.
struct RealtimeEvents {
    reply: ReplyParts,
    /// The response object at its creation.
    begun: Value,
    limits: Vec<Value>,
    /// The id of the previous item of each block's item.
    previous: Vec<Value>,
    ids: Vec<String>,
    calls: Vec<String>,
    steps: IntoIter<Step>,
    /// The position in the current text, and the index of its block.
    position: Option<(usize, PieceCursor)>,
    /// The block's index and the audio length, in milliseconds, that belong to the previous piece.
    audio: Option<(usize, u64)>,
    /// Length of all audio so far, in milliseconds.
    audio_millis: u64,
    random: Random,
}

impl RealtimeEvents {
    fn new(reply: ReplyParts, body: json::Object<'_>, limit_statuses: &LimitStatuses, mut random: Random) -> Self {
        let value = |name: &str| body.get(name).and_then(json::Value::to_value).unwrap_or_default();
        let begun = value("begun");
        let joins = !begun["conversation_id"].is_null();
        let limits = limits(limit_statuses);
        let mut steps = Vec::new();
        if !limits.is_empty() {
            steps.push(Step::Limits);
        }
        for (n, block) in reply.blocks.iter().enumerate() {
            let is_audio = matches!(block, Block::Audio(_));
            let is_call = matches!(block, Block::ToolCall(_));
            let all = [
                (Step::ItemAdded(n), true),
                (Step::Joined(n), joins),
                (Step::PartAdded(n), !is_call),
                (Step::Deltas(n), true),
                (Step::AudioDone(n), is_audio),
                (Step::TextDone(n), true),
                (Step::PartDone(n), !is_call),
                (Step::Closed(n), joins),
                (Step::ItemDone(n), true),
            ];
            steps.extend(all.into_iter().filter(|(_, is_due)| *is_due).map(|(step, _)| step));
        }
        steps.push(Step::Done);
        let ids: Vec<_> = reply.blocks.iter().map(|_| item_id(&mut random)).collect();
        let calls = reply.blocks.iter().map(|_| id("call_", 16, &mut random)).collect();
        let previous = std::iter::once(value("previous")).chain(ids.iter().map(|id| id.as_str().into())).collect();
        let steps = steps.into_iter();
        let (position, audio, audio_millis) = (None, None, 0);
        RealtimeEvents { reply, begun, limits, previous, ids, calls, steps, position, audio, audio_millis, random }
    }

    /// Renders the part of a message, complete or without text. `prefix` is the prefix of its type.
    fn part(&self, n: usize, prefix: &str, complete: bool) -> Value {
        let block = &self.reply.blocks[n];
        let text = if complete { block.text().whole() } else { Cow::default() };
        match block {
            Block::Audio(_) => json!({"type": format!("{prefix}audio"), "transcript": text}),
            _ => json!({"type": format!("{prefix}text"), "text": text}),
        }
    }

    fn item(&self, n: usize, complete: bool) -> Value {
        let broken_off = self.reply.finish != FinishReason::Stop
            && self.reply.finish != FinishReason::ToolCalls
            && n + 1 == self.reply.blocks.len();
        let status = match (complete, broken_off) {
            (false, _) => "in_progress",
            (true, true) => "incomplete",
            (true, false) => "completed",
        };
        match &self.reply.blocks[n] {
            Block::ToolCall(call) => json!({
                "id": self.ids[n],
                "type": "function_call",
                "status": status,
                "name": call.name,
                "call_id": self.calls[n],
                "arguments": if complete { call.arguments.whole() } else { Cow::default() },
            }),
            _ => {
                let content = if complete { vec![self.part(n, "output_", true)] } else { Vec::new() };
                json!({"id": self.ids[n], "type": "message", "status": status, "role": "assistant", "content": content})
            }
        }
    }

    /// Returns the members that locate a block's event, followed by `rest`.
    fn located(&self, n: usize, rest: Value) -> Value {
        let mut members = json!({"response_id": self.begun["id"], "item_id": self.ids[n], "output_index": n});
        if !matches!(self.reply.blocks[n], Block::ToolCall(_)) {
            members["content_index"] = 0.into();
        }
        members.as_object_mut().into_iter().for_each(|all| all.extend(rest.as_object().cloned().unwrap_or_default()));
        members
    }

    /// Renders the finished response.
    fn done(&self) -> Value {
        let mut response = self.begun.clone();
        let reason = match self.reply.finish {
            FinishReason::Length => Some("max_output_tokens"),
            FinishReason::ContentFilter => Some("content_filter"),
            FinishReason::Stop | FinishReason::ToolCalls => None,
        };
        response["status"] = reason.map_or("completed", |_| "incomplete").into();
        response["status_details"] =
            reason.map_or(Value::Null, |reason| json!({"type": "incomplete", "reason": reason}));
        response["output"] = (0..self.reply.blocks.len()).map(|n| self.item(n, true)).collect();
        response["usage"] = usage(&self.reply);
        response
    }

    /// Renders the event of a step. `None`: the step has no event of its own.
    fn render(&mut self, step: Step) -> Option<StreamEvent> {
        let response_id = self.begun["id"].clone();
        let (kind, members) = match step {
            Step::Limits => ("rate_limits.updated", json!({"rate_limits": self.limits})),
            Step::ItemAdded(n) => (
                "response.output_item.added",
                json!({"response_id": response_id, "output_index": n, "item": self.item(n, false)}),
            ),
            Step::Joined(n) => {
                ("conversation.item.added", json!({"previous_item_id": self.previous[n], "item": self.item(n, false)}))
            }
            Step::PartAdded(n) => {
                ("response.content_part.added", self.located(n, json!({"part": self.part(n, "", false)})))
            }
            Step::Deltas(n) => {
                self.position = Some((n, self.reply.blocks[n].text().cursor()));
                return None;
            }
            Step::AudioDone(n) => ("response.output_audio.done", self.located(n, json!({}))),
            Step::TextDone(n) => match &self.reply.blocks[n] {
                Block::ToolCall(call) => {
                    let (name, arguments) = (&call.name, call.arguments.whole());
                    let rest = json!({"call_id": self.calls[n], "name": name, "arguments": arguments});
                    ("response.function_call_arguments.done", self.located(n, rest))
                }
                Block::Audio(text) => {
                    ("response.output_audio_transcript.done", self.located(n, json!({"transcript": text.whole()})))
                }
                block => ("response.output_text.done", self.located(n, json!({"text": block.text().whole()}))),
            },
            Step::PartDone(n) => {
                ("response.content_part.done", self.located(n, json!({"part": self.part(n, "", true)})))
            }
            Step::Closed(n) => {
                ("conversation.item.done", json!({"previous_item_id": self.previous[n], "item": self.item(n, true)}))
            }
            Step::ItemDone(n) => (
                "response.output_item.done",
                json!({"response_id": response_id, "output_index": n, "item": self.item(n, true)}),
            ),
            Step::Done => ("response.done", json!({"response": self.done()})),
        };
        let part = if matches!(step, Step::Done) { EventKind::End } else { EventKind::Content };
        Some(stream_event(&event(kind, members, &mut self.random), part, 0))
    }

    /// Renders the next delta of the current block.
    fn delta(&mut self) -> Option<StreamEvent> {
        if let Some((n, millis)) = self.audio.take() {
            let format = &self.begun["audio"]["output"]["format"];
            let audio = STANDARD.encode(voice_activity::silence(format, millis));
            let members = self.located(n, json!({"delta": audio}));
            return Some(stream_event(
                &event("response.output_audio.delta", members, &mut self.random),
                EventKind::Content,
                0,
            ));
        }
        let (n, cursor) = self.position.as_mut()?;
        let n = *n;
        let block = &self.reply.blocks[n];
        let Some(piece) = cursor.next(block.text()) else {
            self.position = None;
            return None;
        };
        let text = piece.text;
        let (kind, rest) = match block {
            Block::ToolCall(_) => {
                ("response.function_call_arguments.delta", json!({"call_id": self.calls[n], "delta": text}))
            }
            Block::Audio(_) => {
                let longest = silence::LONGEST.as_millis() as u64;
                let length = (text.chars().count() as u64).saturating_mul(CHARACTER_MILLIS);
                let millis = length.min(longest - self.audio_millis);
                self.audio_millis += millis;
                self.audio = (millis > 0).then_some((n, millis));
                ("response.output_audio_transcript.delta", json!({"delta": text}))
            }
            _ => ("response.output_text.delta", json!({"delta": text})),
        };
        let members = self.located(n, rest);
        Some(stream_event(&padded(kind, members, &mut self.random), EventKind::Content, piece.tokens))
    }
}

impl Iterator for RealtimeEvents {
    type Item = StreamEvent;

    fn next(&mut self) -> Option<StreamEvent> {
        loop {
            if let Some(event) = self.delta() {
                return Some(event);
            }
            let step = self.steps.next()?;
            if let Some(event) = self.render(step) {
                return Some(event);
            }
        }
    }
}

fn limits(limit_statuses: &LimitStatuses) -> Vec<Value> {
    let units = [("requests", Unit::Requests), ("tokens", Unit::Tokens)].into_iter();
    let statuses = units.filter_map(|(name, unit)| Some((name, limit_statuses.get(unit)?)));
    statuses.map(|(name, limit_status)| {
        let reset = limit_status.until_full.as_millis() as f64 / 1000.0;
        json!({"name": name, "limit": limit_status.limit, "remaining": limit_status.remaining, "reset_seconds": reset})
    })
    .collect()
}

/// Renders the usage object. If a script does not set the audio tokens, all output tokens of an audio reply are audio.
fn usage(reply: &ReplyParts) -> Value {
    let usage = &reply.usage;
    let has_audio = reply.blocks.iter().any(|block| matches!(block, Block::Audio(_)));
    let input_audio = usage.prompt_audio_tokens.min(usage.prompt_tokens);
    let audio = if has_audio && usage.audio_tokens == 0 { usage.completion_tokens } else { usage.audio_tokens };
    let output_audio = audio.min(usage.completion_tokens);
    json!({
        "total_tokens": usage.prompt_tokens.saturating_add(usage.completion_tokens),
        "input_tokens": usage.prompt_tokens,
        "output_tokens": usage.completion_tokens,
        "input_token_details": {
            "text_tokens": usage.prompt_tokens - input_audio,
            "audio_tokens": input_audio,
            "image_tokens": 0,
            "cached_tokens": usage.cached_tokens,
            "cached_tokens_details": {"text_tokens": usage.cached_tokens, "audio_tokens": 0, "image_tokens": 0},
        },
        "output_token_details": {"text_tokens": usage.completion_tokens - output_audio, "audio_tokens": output_audio},
    })
}
