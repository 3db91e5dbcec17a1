//! What a session hears.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use bytes::Bytes;
use serde_json::{Value, json};

use super::{
    super::{ear::Sound, item_id, said::transcribed},
    Ask, Conversation, MOST_ASKS, Wrong,
};

/// The least that can be committed, in milliseconds.
const LEAST: u64 = 100;

impl Conversation {
    /// Takes some audio; where turns are detected, what was said may have come to its end.
    pub(super) fn append(&mut self, audio: &str, stops: &mut bool) -> Result<(), Box<Wrong>> {
        let Ok(audio) = STANDARD.decode(audio) else {
            let message = "Invalid 'audio'. Expected base64-encoded audio bytes.".to_owned();
            return Err(Wrong::new("invalid_value", message, Some("audio")));
        };
        for sound in self.ear.hear(&audio, &self.settings["audio"]["input"]) {
            match sound {
                Sound::Begins { at } => {
                    let item_id = item_id(&mut self.random);
                    self.tell("input_audio_buffer.speech_started", json!({"audio_start_ms": at, "item_id": item_id}));
                    self.speaking = Some(item_id);
                    if self.active.is_some() && self.is_on("interrupt_response") {
                        self.break_off("turn_detected");
                        *stops = true;
                    }
                }
                Sound::Ends { at, lasted } => {
                    let item_id = self.speaking.take().unwrap_or_else(|| item_id(&mut self.random));
                    self.tell("input_audio_buffer.speech_stopped", json!({"audio_end_ms": at, "item_id": item_id}));
                    self.commit(item_id, lasted);
                    // Recorded nowhere what happens while one is active: then there is no other.
                    if self.settings["type"] == "realtime" && self.is_on("create_response") && self.active.is_none() {
                        self.create_response(Value::Null, Value::Null)?;
                    }
                }
            }
        }
        Ok(())
    }

    /// Whether something is done of itself where turns are detected.
    fn is_on(&self, name: &str) -> bool {
        self.settings["audio"]["input"]["turn_detection"][name].as_bool() != Some(false)
    }

    /// Takes all that has come in as what the user said.
    pub(super) fn commit_all(&mut self) -> Result<(), Box<Wrong>> {
        let millis = self.ear.waiting();
        if millis < LEAST {
            let message = format!(
                "Error committing input audio buffer: buffer too small. Expected at least {LEAST}ms of audio, but buffer only has {millis}.00ms of audio."
            );
            return Err(Wrong::new("input_audio_buffer_commit_empty", message, None));
        }
        self.ear.take();
        let item_id = self.speaking.take().unwrap_or_else(|| item_id(&mut self.random));
        self.commit(item_id, millis);
        Ok(())
    }

    fn commit(&mut self, item_id: String, millis: u64) {
        let transcription = self.settings["audio"]["input"]["transcription"].clone();
        // A session can be told what it hears, where it can be told what to expect.
        let told = transcription["prompt"].as_str().filter(|prompt| !prompt.is_empty());
        let transcript = told.unwrap_or(&self.transcript).to_owned();
        let item = |transcript: Value| {
            let content = json!([{"type": "input_audio", "transcript": transcript}]);
            json!({"id": item_id, "type": "message", "status": "completed", "role": "user", "content": content})
        };
        let previous = self.items.add(None, &item(transcript.as_str().into()));
        self.tell("input_audio_buffer.committed", json!({"previous_item_id": previous, "item_id": item_id}));
        for kind in ["conversation.item.added", "conversation.item.done"] {
            self.tell(kind, json!({"previous_item_id": previous, "item": item(Value::Null)}));
        }
        let asked = json!({"item_id": item_id, "millis": millis, "model": transcription["model"]});
        if self.settings["type"] == "transcription" {
            if self.asks.len() < MOST_ASKS {
                let user = item(transcript.into());
                let body = json!({"type": "response.create", "transcribes": asked, "items": [user]});
                self.asks.push_back(Ask { body: Bytes::from(body.to_string()), transcribes: Some(item_id) });
            }
        } else if self.wants("/audio/input/transcription") {
            let tokens = transcript.split_whitespace().count() as u64;
            let pieces = transcript.split_inclusive(' ');
            for event in transcribed(pieces, &transcript, &asked, tokens, &mut self.random) {
                self.tell_event(event);
            }
        }
    }
}
