//! What the model says, as the events of one response. Each is written when it is its turn: a long answer, spoken, is
//! megabytes.

use std::{sync::Arc, vec::IntoIter};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde_json::{Value, json};

use super::{ear, event, id, item_id, padded, text};
use crate::protocol::Rendered;
use crate::{
    core::{
        context::RequestContext,
        json,
        limit_status::{LimitStatuses, Unit},
        random::Random,
        reply::{Block, FinishReason, Reply, Usage},
        response::{Body, EventKind, EventStream, Response, StreamEvent, StreamFormat},
    },
    media::silence,
};

/// How long one character takes to say, in milliseconds, as files of speech have it.
pub(super) const CHARACTER: u64 = 60;

/// Tokens that a second of speech is counted as, where it is heard.
const TOKENS_A_SECOND: f64 = 10.0;

/// A reply for one request, or, without a request, nothing.
pub(super) struct Spelled(Option<Said>);

#[derive(Clone)]
struct Said {
    blocks: Arc<[Block]>,
    finish: FinishReason,
    usage: Usage,
}

impl Spelled {
    pub(super) fn new(reply: &Reply, context: Option<&RequestContext<'_>>) -> Self {
        Spelled(context.and_then(|_| {
            let choice = reply.choices.first()?;
            // What is thought is no part of what a session hears.
            let blocks = choice.blocks.iter().filter(|block| !matches!(block, Block::Reasoning(_))).cloned();
            Some(Said { blocks: blocks.collect(), finish: choice.finish_reason, usage: reply.usage })
        }))
    }
}

impl Rendered for Spelled {
    fn record(&self, _: &RequestContext<'_>) -> Value {
        Value::Null
    }

    fn respond(&self, context: &RequestContext<'_>) -> Response {
        let body = context.members().unwrap_or_default();
        let random = context.random.borrow_mut().fork();
        let list: Box<dyn Iterator<Item = StreamEvent> + Send> = match (&self.0, body.get("transcribes")) {
            (None, _) => Box::new(std::iter::empty()),
            (Some(said), Some(asked)) => {
                let asked = asked.to_value().unwrap_or_default();
                let frames = transcript(said, &asked, random);
                Box::new(frames.into_iter())
            }
            (Some(said), None) => Box::new(Events::new(said.clone(), body, &context.limit_statuses, random)),
        };
        Response::ok("application/json", Body::Stream(EventStream { events: list, format: StreamFormat::Messages }))
    }
}

/// What was heard, where a session only transcribes.
fn transcript(said: &Said, asked: &Value, mut random: Random) -> Vec<StreamEvent> {
    let Some(block) = said.blocks.first() else { return Vec::new() };
    let whole = block.text().text.trim();
    let mut frames = transcribed(block.text().pieces(), whole, asked, said.usage.completion_tokens, &mut random);
    let last = frames.pop();
    let mut list: Vec<_> = frames.into_iter().map(|event| frame(&event, EventKind::Content, 1)).collect();
    list.extend(last.map(|event| frame(&event, EventKind::End, 0)));
    list
}

/// The events that tell a transcript; `asked` has the item, how many milliseconds it lasts, and the `model` that hears.
pub(super) fn transcribed<'a>(
    pieces: impl Iterator<Item = &'a str>,
    whole: &str,
    asked: &Value,
    tokens: u64,
    random: &mut Random,
) -> Vec<Value> {
    let kind = |end: &str| format!("conversation.item.input_audio_transcription.{end}");
    let place = |members: Value| {
        let mut all = json!({"item_id": asked["item_id"], "content_index": 0});
        all.as_object_mut().into_iter().for_each(|all| all.extend(members.as_object().cloned().unwrap_or_default()));
        all
    };
    let seconds = asked["millis"].as_u64().unwrap_or(0) as f64 / 1000.0;
    let usage = if text(&asked["model"]).starts_with("whisper") {
        json!({"type": "duration", "seconds": seconds.ceil() as u64})
    } else {
        let heard = (seconds * TOKENS_A_SECOND).ceil() as u64;
        json!({
            "type": "tokens",
            "total_tokens": heard.saturating_add(tokens),
            "input_tokens": heard,
            "input_token_details": {"text_tokens": 0, "audio_tokens": heard},
            "output_tokens": tokens,
        })
    };
    // What is heard does not begin with blanks, whatever a script says.
    let pieces = pieces.skip_while(|piece| piece.trim().is_empty());
    let mut events: Vec<_> =
        pieces.map(|piece| padded(&kind("delta"), place(json!({"delta": piece})), random)).collect();
    events.push(event(&kind("completed"), place(json!({"transcript": whole, "usage": usage})), random));
    events
}

fn frame(event: &Value, part: EventKind, tokens: u32) -> StreamEvent {
    StreamEvent { bytes: event.to_string().into(), kind: part, tokens }
}

/// What is told next, of the block with this number.
#[derive(Clone, Copy)]
enum Cue {
    Limits,
    ItemAdded(usize),
    Joined(usize),
    PartAdded(usize),
    Deltas(usize),
    AudioDone(usize),
    TextDone(usize),
    PartDone(usize),
    Closed(usize),
    ItemDone(usize),
    Done,
}

/// The events of one response.
struct Events {
    said: Said,
    /// The response as it has begun.
    begun: Value,
    limits: Vec<Value>,
    /// The item before each of those that are said.
    previous: Vec<Value>,
    ids: Vec<String>,
    calls: Vec<String>,
    cues: IntoIter<Cue>,
    /// Where the text of the block stands that is being said: its number, the next piece and the byte where that begins.
    at: Option<(usize, usize, usize)>,
    /// The speech that goes with the piece before.
    speech: Option<(usize, u64)>,
    /// How much has been spoken, in milliseconds.
    spoken: u64,
    random: Random,
}

impl Events {
    fn new(said: Said, body: json::Object<'_>, limit_statuses: &LimitStatuses, mut random: Random) -> Self {
        let value = |name: &str| body.get(name).and_then(json::Value::to_value).unwrap_or_default();
        let begun = value("begun");
        let joins = !begun["conversation_id"].is_null();
        let limits = limits(limit_statuses);
        let mut cues = Vec::new();
        if !limits.is_empty() {
            cues.push(Cue::Limits);
        }
        for (n, block) in said.blocks.iter().enumerate() {
            let speaks = matches!(block, Block::Audio(_));
            let calls = matches!(block, Block::ToolCall(_));
            let all = [
                (Cue::ItemAdded(n), true),
                (Cue::Joined(n), joins),
                (Cue::PartAdded(n), !calls),
                (Cue::Deltas(n), true),
                (Cue::AudioDone(n), speaks),
                (Cue::TextDone(n), true),
                (Cue::PartDone(n), !calls),
                (Cue::Closed(n), joins),
                (Cue::ItemDone(n), true),
            ];
            cues.extend(all.into_iter().filter(|(_, holds)| *holds).map(|(cue, _)| cue));
        }
        cues.push(Cue::Done);
        let ids: Vec<_> = said.blocks.iter().map(|_| item_id(&mut random)).collect();
        let calls = said.blocks.iter().map(|_| id("call_", 16, &mut random)).collect();
        let previous = std::iter::once(value("previous")).chain(ids.iter().map(|id| id.as_str().into())).collect();
        let cues = cues.into_iter();
        Events { said, begun, limits, previous, ids, calls, cues, at: None, speech: None, spoken: 0, random }
    }

    /// The part of a message, as far as it is said; `prefix` stands before its type.
    fn part(&self, n: usize, prefix: &str, whole: bool) -> Value {
        let block = &self.said.blocks[n];
        let said = if whole { block.text().text.as_str() } else { "" };
        match block {
            Block::Audio(_) => json!({"type": format!("{prefix}audio"), "transcript": said}),
            _ => json!({"type": format!("{prefix}text"), "text": said}),
        }
    }

    fn item(&self, n: usize, whole: bool) -> Value {
        let broken_off = self.said.finish != FinishReason::Stop
            && self.said.finish != FinishReason::ToolCalls
            && n + 1 == self.said.blocks.len();
        let status = match (whole, broken_off) {
            (false, _) => "in_progress",
            (true, true) => "incomplete",
            (true, false) => "completed",
        };
        match &self.said.blocks[n] {
            Block::ToolCall(call) => json!({
                "id": self.ids[n],
                "type": "function_call",
                "status": status,
                "name": call.name,
                "call_id": self.calls[n],
                "arguments": if whole { call.arguments.text.as_str() } else { "" },
            }),
            _ => {
                let content = if whole { vec![self.part(n, "output_", true)] } else { Vec::new() };
                json!({"id": self.ids[n], "type": "message", "status": status, "role": "assistant", "content": content})
            }
        }
    }

    /// Where what is told belongs to, and the `rest` of the event.
    fn placed(&self, n: usize, rest: Value) -> Value {
        let mut members = json!({"response_id": self.begun["id"], "item_id": self.ids[n], "output_index": n});
        if !matches!(self.said.blocks[n], Block::ToolCall(_)) {
            members["content_index"] = 0.into();
        }
        members.as_object_mut().into_iter().for_each(|all| all.extend(rest.as_object().cloned().unwrap_or_default()));
        members
    }

    /// The response once all is said.
    fn done(&self) -> Value {
        let mut response = self.begun.clone();
        let reason = match self.said.finish {
            FinishReason::Length => Some("max_output_tokens"),
            FinishReason::ContentFilter => Some("content_filter"),
            FinishReason::Stop | FinishReason::ToolCalls => None,
        };
        response["status"] = reason.map_or("completed", |_| "incomplete").into();
        response["status_details"] =
            reason.map_or(Value::Null, |reason| json!({"type": "incomplete", "reason": reason}));
        response["output"] = (0..self.said.blocks.len()).map(|n| self.item(n, true)).collect();
        response["usage"] = usage(&self.said);
        response
    }

    fn tell(&mut self, cue: Cue) -> Option<StreamEvent> {
        let response_id = self.begun["id"].clone();
        let (kind, members) = match cue {
            Cue::Limits => ("rate_limits.updated", json!({"rate_limits": self.limits})),
            Cue::ItemAdded(n) => (
                "response.output_item.added",
                json!({"response_id": response_id, "output_index": n, "item": self.item(n, false)}),
            ),
            Cue::Joined(n) => {
                ("conversation.item.added", json!({"previous_item_id": self.previous[n], "item": self.item(n, false)}))
            }
            Cue::PartAdded(n) => {
                ("response.content_part.added", self.placed(n, json!({"part": self.part(n, "", false)})))
            }
            Cue::Deltas(n) => {
                self.at = Some((n, 0, 0));
                return None;
            }
            Cue::AudioDone(n) => ("response.output_audio.done", self.placed(n, json!({}))),
            Cue::TextDone(n) => match &self.said.blocks[n] {
                Block::ToolCall(call) => {
                    let (name, arguments) = (&call.name, &call.arguments.text);
                    let rest = json!({"call_id": self.calls[n], "name": name, "arguments": arguments});
                    ("response.function_call_arguments.done", self.placed(n, rest))
                }
                Block::Audio(said) => {
                    ("response.output_audio_transcript.done", self.placed(n, json!({"transcript": said.text})))
                }
                block => ("response.output_text.done", self.placed(n, json!({"text": block.text().text}))),
            },
            Cue::PartDone(n) => ("response.content_part.done", self.placed(n, json!({"part": self.part(n, "", true)}))),
            Cue::Closed(n) => {
                ("conversation.item.done", json!({"previous_item_id": self.previous[n], "item": self.item(n, true)}))
            }
            Cue::ItemDone(n) => (
                "response.output_item.done",
                json!({"response_id": response_id, "output_index": n, "item": self.item(n, true)}),
            ),
            Cue::Done => ("response.done", json!({"response": self.done()})),
        };
        let part = if matches!(cue, Cue::Done) { EventKind::End } else { EventKind::Content };
        Some(frame(&event(kind, members, &mut self.random), part, 0))
    }

    /// The next piece of the block that is being said.
    fn delta(&mut self) -> Option<StreamEvent> {
        if let Some((n, millis)) = self.speech.take() {
            let format = &self.begun["audio"]["output"]["format"];
            let sound = STANDARD.encode(ear::silence(format, millis));
            let members = self.placed(n, json!({"delta": sound}));
            return Some(frame(
                &event("response.output_audio.delta", members, &mut self.random),
                EventKind::Content,
                0,
            ));
        }
        let (n, piece, from) = self.at?;
        let block = &self.said.blocks[n];
        let Some(end) = block.text().ends.get(piece).copied() else {
            self.at = None;
            return None;
        };
        let said = &block.text().text[from..end];
        let (kind, rest) = match block {
            Block::ToolCall(_) => {
                ("response.function_call_arguments.delta", json!({"call_id": self.calls[n], "delta": said}))
            }
            Block::Audio(_) => {
                let longest = silence::LONGEST.as_millis() as u64;
                let millis = (said.chars().count() as u64).saturating_mul(CHARACTER).min(longest - self.spoken);
                self.spoken += millis;
                self.speech = (millis > 0).then_some((n, millis));
                ("response.output_audio_transcript.delta", json!({"delta": said}))
            }
            _ => ("response.output_text.delta", json!({"delta": said})),
        };
        let members = self.placed(n, rest);
        self.at = Some((n, piece + 1, end));
        Some(frame(&padded(kind, members, &mut self.random), EventKind::Content, 1))
    }
}

impl Iterator for Events {
    type Item = StreamEvent;

    fn next(&mut self) -> Option<StreamEvent> {
        loop {
            if let Some(frame) = self.delta() {
                return Some(frame);
            }
            let cue = self.cues.next()?;
            if let Some(frame) = self.tell(cue) {
                return Some(frame);
            }
        }
    }
}

fn limits(limit_statuses: &LimitStatuses) -> Vec<Value> {
    let told = [("requests", Unit::Requests), ("tokens", Unit::Tokens)].into_iter();
    let told = told.filter_map(|(name, unit)| Some((name, limit_statuses.get(unit)?)));
    told.map(|(name, limit_status)| {
        let reset = limit_status.until_full.as_millis() as f64 / 1000.0;
        json!({"name": name, "limit": limit_status.limit, "remaining": limit_status.remaining, "reset_seconds": reset})
    })
    .collect()
}

/// What a response is said to have cost. What is spoken is counted as audio where the script does not tell how much of it
/// is.
fn usage(said: &Said) -> Value {
    let usage = &said.usage;
    let speaks = said.blocks.iter().any(|block| matches!(block, Block::Audio(_)));
    let heard = usage.prompt_audio_tokens.min(usage.prompt_tokens);
    let spoken = if speaks && usage.audio_tokens == 0 { usage.completion_tokens } else { usage.audio_tokens };
    let spoken = spoken.min(usage.completion_tokens);
    json!({
        "total_tokens": usage.prompt_tokens.saturating_add(usage.completion_tokens),
        "input_tokens": usage.prompt_tokens,
        "output_tokens": usage.completion_tokens,
        "input_token_details": {
            "text_tokens": usage.prompt_tokens - heard,
            "audio_tokens": heard,
            "image_tokens": 0,
            "cached_tokens": usage.cached_tokens,
            "cached_tokens_details": {"text_tokens": usage.cached_tokens, "audio_tokens": 0, "image_tokens": 0},
        },
        "output_token_details": {"text_tokens": usage.completion_tokens - spoken, "audio_tokens": spoken},
    })
}
