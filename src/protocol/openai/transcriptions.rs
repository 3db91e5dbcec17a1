//! `openai-transcriptions`: the transcript of a recording, in full in six formats, or streamed. The transcript is a
//! reply of the model, so scripts, faults and latency apply as to any other.
//!
//! Shapes are those of recorded responses and of OpenAI's schema.

mod speakers;

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use serde_json::{Map, Value, json};

use self::speakers::{Segment, segments};
use crate::core::{
    context::RequestContext,
    error::ApiError,
    json,
    prompt::{Prompt, Turn},
    reply::{Block, Reply, Text, Usage},
    request::File,
    response::{self, Body, EventKind, Response, StreamEvent, StreamFormat},
};
use crate::protocol::{
    Parsed, Protocol, Reader, ReadyMade, Record, RenderContext, Rendered, StoredObjects, envelope::LAYOUT,
};

/// Default bytes per second of a recording: MP3 at 128 kbit/s.
const BYTES_PER_SECOND: u64 = 16_000;
/// Tokens per second of a recording.
const TOKENS_PER_SECOND: f64 = 10.0;
/// Prefix of models that are billed by time, and do not stream.
const BY_TIME: &str = "whisper";

/// Creates the protocol; see [`crate::protocol::Make`]. The envelope has the `task`: `transcribe` or `translate`.
pub(in crate::protocol) fn make(head: &Map<String, Value>) -> Result<Box<dyn Protocol>, String> {
    match head.get("task").and_then(Value::as_str) {
        Some("transcribe") if head.len() == 1 => Ok(Box::new(Transcription { translates: false })),
        Some("translate") if head.len() == 1 => Ok(Box::new(Transcription { translates: true })),
        _ => {
            Err("`task` is missing or unknown; use `{\"task\": \"transcribe\"}` or `{\"task\": \"translate\"}`"
                .to_owned())
        }
    }
}

struct Transcription {
    translates: bool,
}

impl Reader for Transcription {
    fn check(&self, _: json::Object<'_>, _: &RequestContext<'_>) -> Result<(), ApiError> {
        Ok(())
    }

    fn prompt(&self, body: json::Object<'_>, context: &RequestContext<'_>, _: &[Arc<Value>]) -> Prompt {
        let text = |name: &str| body.get(name).and_then(json::Value::as_str).map(|text| text.into_owned());
        let turn = Turn { text: text("prompt").unwrap_or_default(), ..Turn::default() };
        Prompt { model: context.model().into_owned(), turns: vec![turn], n: 1, ..Prompt::default() }
    }
}

impl Protocol for Transcription {
    fn parse<'r>(&'r self, body: json::Object<'r>, context: &RequestContext<'_>) -> Parsed<'r> {
        Parsed::new(self, body, context, ReadyMade::None)
    }

    fn render(&self, reply: &Reply, _: Option<RenderContext<'_, '_>>) -> Box<dyn Rendered> {
        let block = reply
            .choices
            .first()
            .and_then(|choice| choice.blocks.iter().find(|block| !matches!(block, Block::Reasoning(_))));
        let text = block.map(|block| block.text().clone()).unwrap_or_default();
        Box::new(RenderedTranscript { translates: self.translates, text, usage: reply.usage })
    }
}

/// A rendered reply: the transcript and its usage.
struct RenderedTranscript {
    translates: bool,
    text: Text,
    usage: Usage,
}

/// Returns the length of a recording, by the rate in its WAV header or by the default rate.
fn duration(file: Option<&File>) -> Duration {
    let Some(file) = file else { return Duration::ZERO };
    let rate = match file.bytes.get(28..32).map(<[u8; 4]>::try_from) {
        Some(Ok(rate)) if file.bytes.starts_with(b"RIFF") && file.bytes[8..].starts_with(b"WAVE") => {
            u32::from_le_bytes(rate)
        }
        _ => 0,
    };
    let rate = if rate == 0 { BYTES_PER_SECOND } else { rate.into() };
    Duration::from_millis(file.size.saturating_mul(1000) / rate)
}

/// Renders a time of subtitles, such as `00:00:03,200`. `mark` comes before the milliseconds.
fn stamp(time: Duration, mark: char) -> String {
    let (secs, millis) = (time.as_secs(), time.subsec_millis());
    format!("{:02}:{:02}:{:02}{mark}{millis:03}", secs / 3600, secs / 60 % 60, secs % 60)
}

impl RenderedTranscript {
    fn usage(&self, model: &str, duration: Duration) -> Value {
        if model.starts_with(BY_TIME) {
            return json!({"type": "duration", "seconds": duration.as_secs_f64().ceil() as u64});
        }
        let input = (duration.as_secs_f64() * TOKENS_PER_SECOND).ceil() as u64;
        let output = self.usage.completion_tokens;
        json!({
            "type": "tokens",
            "total_tokens": input.saturating_add(output),
            "input_tokens": input,
            "input_token_details": {"text_tokens": 0, "audio_tokens": input},
            "output_tokens": output,
        })
    }

    /// Renders the verbose form: one segment, whose words have equal lengths.
    fn verbose(&self, body: json::Object<'_>, text: &str, duration: Duration, usage: Value) -> Value {
        let seconds = duration.as_secs_f64();
        let language = body.get("language").and_then(json::Value::as_str).unwrap_or("english".into());
        let mut verbose = json!({
            "task": if self.translates { "translate" } else { "transcribe" },
            "language": language,
            "duration": seconds,
            "text": text,
        });
        let given = body.get("timestamp_granularities").map(|given| String::from_utf8_lossy(given.text()).into_owned());
        let wants = |what: &str| given.as_ref().map_or(what == "segment", |given| given.contains(what));
        if wants("word") {
            let words: Vec<_> = text.split_whitespace().collect();
            let each = seconds / words.len().max(1) as f64;
            let at = |n: usize| (each * n as f64 * 100.0).round() / 100.0;
            let words =
                words.iter().enumerate().map(|(n, word)| json!({"word": word, "start": at(n), "end": at(n + 1)}));
            verbose["words"] = words.collect();
        }
        if wants("segment") {
            verbose["segments"] = json!([{
                "id": 0, "seek": 0, "start": 0.0, "end": seconds, "text": format!(" {text}"), "tokens": [50364],
                "temperature": 0.0, "avg_logprob": -0.29, "compression_ratio": 0.91, "no_speech_prob": 0.02,
            }]);
        }
        if !self.translates {
            verbose["usage"] = usage;
        }
        verbose
    }

    /// Renders the events of a stream. With diarization, each speaker's segment follows its deltas.
    fn events(&self, text: &str, usage: &Value, segments: &[Segment]) -> Body {
        let event = |value: Value, part, tokens| StreamEvent {
            bytes: Bytes::from(format!("data: {value}\n\n")),
            kind: part,
            tokens,
        };
        // Leading blanks of a scripted reply are not part of the transcript.
        let whole = self.text.whole();
        let blanks = whole.len() - whole.trim_start().len();
        let (mut list, mut number) = (Vec::new(), 0);
        let segment = |number: usize| segments.get(number).map(|one| event(one.to_json(number), EventKind::Content, 0));
        let mut end = 0;
        for piece in self.text.pieces() {
            let from = blanks.max(end);
            end += piece.text.len();
            if end <= blanks {
                continue;
            }
            // A piece belongs to the segment in which it begins.
            if segments.get(number + 1).is_some_and(|next| from >= blanks + next.from) {
                list.extend(segment(number));
                number += 1;
            }
            let mut delta = json!({"type": "transcript.text.delta", "delta": &whole[from..end]});
            if number < segments.len() {
                delta["segment_id"] = speakers::id(number).into();
            }
            list.push(event(delta, EventKind::Content, piece.tokens));
        }
        list.extend((number..segments.len()).filter_map(segment));
        list.push(event(json!({"type": "transcript.text.done", "text": text, "usage": usage}), EventKind::Finish, 0));
        Body::Stream(response::EventStream::new(list.into_iter(), StreamFormat::Data("\n")))
    }
}

impl Rendered for RenderedTranscript {
    fn record(&self, _: RenderContext<'_, '_>) -> Record {
        Record::Object(Value::Null)
    }

    fn respond(&self, context: RenderContext<'_, '_>, _: &dyn StoredObjects) -> Result<Response, ApiError> {
        let body = context.parsed.body;
        let text_of = |name: &str| body.get(name).and_then(json::Value::as_str).unwrap_or_default();
        let duration = duration(context.request.files.first());
        let whole = self.text.whole();
        let (text, usage) = (whole.trim(), self.usage(&context.model(), duration));
        let diarizes = !self.translates && text_of("response_format") == "diarized_json";
        let known = body.get("known_speaker_names").and_then(json::Value::to_value);
        let known = known.as_ref().and_then(Value::as_array).into_iter().flatten();
        let known: Vec<_> = known.filter_map(|name| name.as_str().map(str::to_owned)).collect();
        let segments = if diarizes { segments(text, &known, duration) } else { Vec::new() };
        if !self.translates && text_of("stream") == "true" && !context.model().starts_with(BY_TIME) {
            return Ok(Response::ok("text/event-stream; charset=utf-8", self.events(text, &usage, &segments)));
        }
        let json = |value: &Value| Response::ok("application/json", Body::Full(LAYOUT.write(value).into()));
        let plain = |text: String| Response::ok("text/plain; charset=utf-8", Body::Full(text.into()));
        let span = |mark| format!("{} --> {}", stamp(Duration::ZERO, mark), stamp(duration, mark));
        Ok(match &*text_of("response_format") {
            "text" => plain(format!("{text}\n")),
            "srt" => plain(format!("1\n{}\n{text}\n\n\n", span(','))),
            "vtt" => plain(format!("WEBVTT\n\n{}\n{text}\n\n", span('.'))),
            "verbose_json" => json(&self.verbose(body, text, duration, usage)),
            "diarized_json" if diarizes => {
                let segments: Vec<_> = segments.iter().enumerate().map(|(number, one)| one.to_json(number)).collect();
                json(&json!({
                    "task": "transcribe",
                    "duration": duration.as_secs_f64(),
                    "text": text,
                    "segments": segments,
                    "usage": usage,
                }))
            }
            _ if self.translates => json(&json!({"text": text})),
            _ => json(&json!({"text": text, "usage": usage})),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(bytes: Vec<u8>) -> File {
        let (field, name) = ("file".to_owned(), "a".to_owned());
        File { field, name, content_type: String::new(), size: bytes.len() as u64, bytes: bytes.into() }
    }

    #[test]
    fn duration_follows_from_the_wav_header_or_from_the_size() {
        let mut wav = b"RIFF\0\0\0\0WAVEfmt \x10\0\0\0\x01\0\x01\0\x40\x1f\0\0".to_vec();
        wav.extend_from_slice(&8000_u32.to_le_bytes());
        wav.resize(20_000, 0);
        assert_eq!(duration(Some(&file(wav))), Duration::from_millis(2500));
        assert_eq!(duration(Some(&file(vec![0; 24_000]))), Duration::from_millis(1500));
        assert_eq!(duration(Some(&file(b"RIFF".to_vec()))), Duration::ZERO);
        assert_eq!(duration(None), Duration::ZERO);
    }

    #[test]
    fn times_are_rendered_with_their_mark() {
        assert_eq!(stamp(Duration::from_millis(3_723_045), ','), "01:02:03,045");
        assert_eq!(stamp(Duration::ZERO, '.'), "00:00:00.000");
    }
}
