//! `openai-speech`: OpenAI's text to speech, as a file or as the events of a stream. The audio is silent and as long as
//! the speech would be.

use std::{sync::Arc, time::Duration};

use base64::{Engine, prelude::BASE64_STANDARD as BASE64};
use bytes::Bytes;
use serde_json::{Map, Value, json};

use crate::protocol::{ComputedReply, Parsed, Reader, TokenCounter};
use crate::{
    core::{
        context::RequestContext,
        error::ApiError,
        json,
        limit_status::Cost,
        prompt::{Prompt, Role, Turn},
        response::{self, Body, EventKind, Response, StreamEvent, StreamFormat},
    },
    media::silence::{Format, LONGEST, SHORTEST, duration_of, silence},
};

/// Length of one token's speech. OpenAI counts 20 tokens per second.
const TOKEN: Duration = Duration::from_millis(50);

/// Bytes of speech in one event: a third of a second of raw samples, without base64 padding.
const EVENT_BYTES: usize = 15_999;

/// Creates the protocol; see [`crate::protocol::MakeComputedReply`].
pub(in crate::protocol) fn make(head: &Map<String, Value>) -> Result<Box<dyn ComputedReply>, String> {
    match head.keys().next() {
        None => Ok(Box::new(SpeechProtocol)),
        Some(name) => Err(format!("unknown key `{name}`; remove it, speech has no envelope")),
    }
}

struct SpeechProtocol;

fn text(body: json::Object<'_>) -> String {
    body.get("input").and_then(json::Value::as_str).unwrap_or_default().into_owned()
}

/// Returns the length of a text's speech at this speed.
fn length(text: &str, speed: f64) -> Duration {
    duration_of(text).div_f64(speed).clamp(SHORTEST, LONGEST)
}

/// Renders the events of a stream: the speech in pieces, then the usage.
fn events(speech: Vec<u8>, Cost { input, output }: Cost) -> response::EventStream {
    let pieces = speech.len().div_ceil(EVENT_BYTES).max(1) as u64;
    let speech = Bytes::from(speech);
    let deltas = (0..pieces).map(move |n| {
        let from = n as usize * EVENT_BYTES;
        let piece = &speech[from..speech.len().min(from + EVENT_BYTES)];
        let event = json!({"type": "speech.audio.delta", "audio": BASE64.encode(piece)});
        let tokens = output * (n + 1) / pieces - output * n / pieces;
        StreamEvent::content(Bytes::from(format!("data: {event}\n\n")), u32::try_from(tokens).unwrap_or(u32::MAX))
    });
    let total = input.saturating_add(output);
    let usage = json!({"input_tokens": input, "output_tokens": output, "total_tokens": total});
    let done = json!({"type": "speech.audio.done", "usage": usage});
    let done = StreamEvent { bytes: Bytes::from(format!("data: {done}\n\n")), kind: EventKind::Finish, tokens: 0 };
    response::EventStream::new(deltas.chain([done]), StreamFormat::Data("\n"))
}

impl Reader for SpeechProtocol {
    fn check(&self, _: json::Object<'_>, _: &RequestContext<'_>) -> Result<(), ApiError> {
        Ok(())
    }

    fn prompt(&self, body: json::Object<'_>, context: &RequestContext<'_>, _: &[Arc<Value>]) -> Prompt {
        let turn = Turn { role: Role::Text, text: text(body), ..Turn::default() };
        Prompt { model: context.model().into_owned(), turns: vec![turn], ..Prompt::default() }
    }
}

impl ComputedReply for SpeechProtocol {
    fn reader(&self) -> &dyn Reader {
        self
    }

    fn respond(
        &self,
        parsed: &Parsed<'_>,
        _: &RequestContext<'_>,
        count: TokenCounter<'_>,
    ) -> Result<Response, ApiError> {
        let body = parsed.body;
        let text = text(body);
        let speed = body.get("speed").and_then(json::Value::as_f64).unwrap_or(1.0).clamp(0.25, 4.0);
        let length = length(&text, speed);
        let named = |name: &str| body.get(name).and_then(json::Value::as_str);
        let format = named("response_format").and_then(|name| Format::named(&name)).unwrap_or(Format::Mp3);
        let input = count(&text);
        let cost = Cost { input, output: length.as_millis().div_ceil(TOKEN.as_millis()) as u64 };
        let speech = silence(format, length);
        let (content_type, content) = match named("stream_format").as_deref() {
            Some("sse") => ("text/event-stream; charset=utf-8", Body::Stream(events(speech, cost))),
            _ => (format.content_type(), Body::Full(speech.into())),
        };
        Ok(Response { cost: Some(cost), ..Response::ok(content_type, content) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::context::tests::with_context_of;

    fn with_response<T>(body: Value, test: impl FnOnce(Response) -> T) -> T {
        with_context_of(&body.to_string(), |context| {
            let members = context.members().unwrap();
            SpeechProtocol.check(members, context).unwrap();
            test(
                SpeechProtocol
                    .respond(&Parsed::computed(&SpeechProtocol, members), context, &|text| {
                        text.chars().count().div_ceil(4) as u64
                    })
                    .unwrap(),
            )
        })
    }

    fn pcm(body: Value) -> usize {
        with_response(body, |response| match response.body {
            Body::Full(bytes) => bytes.len(),
            _ => panic!(),
        })
    }

    #[test]
    fn speech_length_depends_on_text_and_speed() {
        let text = "Hello, how are you today?";
        let default = pcm(json!({"input": text, "response_format": "pcm"}));
        assert_eq!(default, 25 * 60 * 24 * 2);
        assert_eq!(pcm(json!({"input": text, "response_format": "pcm", "speed": 2})), default / 2);
        assert_eq!(pcm(json!({"input": text, "response_format": "pcm", "speed": 1e9})), default / 4);
        assert_eq!(pcm(json!({"input": text.repeat(2), "response_format": "pcm"})), default * 2);
        assert!(pcm(json!({})) > 0);
    }

    #[test]
    fn the_pieces_of_a_stream_are_the_file() {
        let body =
            |stream| json!({"input": "Hello, how are you today?", "response_format": "pcm", "stream_format": stream});
        let (cost, events) = with_response(body("sse"), |response| {
            let Body::Stream(events) = response.body else { panic!() };
            (response.cost.unwrap(), events.events.collect::<Vec<_>>())
        });
        assert_eq!((events.len(), events.iter().map(|event| u64::from(event.tokens)).sum()), (6, cost.output));
        let events: Vec<Value> = events
            .iter()
            .map(|event| serde_json::from_slice(event.bytes.strip_prefix(b"data: ").unwrap()).unwrap())
            .collect();
        let (done, deltas) = events.split_last().unwrap();
        let speech: Vec<u8> =
            deltas.iter().flat_map(|delta| BASE64.decode(delta["audio"].as_str().unwrap()).unwrap()).collect();
        assert_eq!(speech.len(), pcm(body("audio")));
        assert_eq!(done["usage"], json!({"input_tokens": 7, "output_tokens": 30, "total_tokens": 37}));
        assert_eq!(cost, Cost { input: 7, output: 30 });
    }

    #[test]
    fn a_file_has_the_content_type_of_its_format() {
        for (format, expected) in
            [(json!("wav"), "audio/wav"), (json!("opus"), "audio/opus"), (Value::Null, "audio/mpeg")]
        {
            with_response(json!({"input": "Hi", "response_format": format}), |response| {
                assert_eq!(response.headers[0].1.to_str().unwrap(), expected);
            });
        }
    }
}
