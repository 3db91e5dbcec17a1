//! A session's input audio.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use bytes::Bytes;
use serde_json::{Value, json};

use super::{
    super::{events::transcript_events, item_id, voice_activity::SpeechEvent},
    MAX_PENDING, ModelRequest, RealtimeSession, SessionError,
};

/// Minimum length of committed audio, in milliseconds.
const MIN_COMMIT: u64 = 100;

impl RealtimeSession {
    /// Adds audio. With turn detection, a turn of the user may end in it. Returns true if it interrupts the active
    /// response.
    pub(super) fn append(&mut self, audio: &str) -> Result<bool, Box<SessionError>> {
        let Ok(audio) = STANDARD.decode(audio) else {
            let message = "Invalid 'audio'. Expected base64-encoded audio bytes.".to_owned();
            return Err(SessionError::new("invalid_value", message, Some("audio")));
        };
        let mut interrupts = false;
        for speech in self.detector.push(&audio, &self.settings.get("audio.input")) {
            match speech {
                SpeechEvent::Started { at } => {
                    let item_id = item_id(&mut self.random);
                    self.send("input_audio_buffer.speech_started", json!({"audio_start_ms": at, "item_id": item_id}));
                    self.speaking = Some(item_id);
                    if self.active.is_some() && self.is_on("interrupt_response") {
                        self.cancel_active("turn_detected");
                        interrupts = true;
                    }
                }
                SpeechEvent::Stopped { at, lasted } => {
                    let item_id = self.speaking.take().unwrap_or_else(|| item_id(&mut self.random));
                    self.send("input_audio_buffer.speech_stopped", json!({"audio_end_ms": at, "item_id": item_id}));
                    self.commit(item_id, lasted);
                    // No recording has a turn during an active response. Here it creates no response.
                    if self.settings.get("type") == "realtime" && self.is_on("create_response") && self.active.is_none()
                    {
                        self.create_response(Value::Null, Value::Null)?;
                    }
                }
            }
        }
        Ok(interrupts)
    }

    /// Returns true unless turn detection disables this automatic step.
    fn is_on(&self, name: &str) -> bool {
        self.settings.get("audio.input.turn_detection")[name].as_bool() != Some(false)
    }

    /// Commits the uncommitted audio as a user item.
    pub(super) fn commit_all(&mut self) -> Result<(), Box<SessionError>> {
        let millis = self.detector.uncommitted();
        if millis < MIN_COMMIT {
            let message = format!(
                "Error committing input audio buffer: buffer too small. Expected at least {MIN_COMMIT}ms of audio, but buffer only has {millis}.00ms of audio."
            );
            return Err(SessionError::new("input_audio_buffer_commit_empty", message, None));
        }
        self.detector.take();
        let item_id = self.speaking.take().unwrap_or_else(|| item_id(&mut self.random));
        self.commit(item_id, millis);
        Ok(())
    }

    fn commit(&mut self, item_id: String, millis: u64) {
        let transcription = self.settings.get("audio.input.transcription");
        // The transcription prompt, if set, becomes the transcript, so a client can choose it.
        let prompt = transcription["prompt"].as_str().filter(|prompt| !prompt.is_empty());
        let transcript = prompt.unwrap_or(&self.transcript).to_owned();
        let item = |transcript: Value| {
            let content = json!([{"type": "input_audio", "transcript": transcript}]);
            json!({"id": item_id, "type": "message", "status": "completed", "role": "user", "content": content})
        };
        let previous = self.items.add(None, &item(transcript.as_str().into()));
        self.send("input_audio_buffer.committed", json!({"previous_item_id": previous, "item_id": item_id}));
        for kind in ["conversation.item.added", "conversation.item.done"] {
            self.send(kind, json!({"previous_item_id": previous, "item": item(Value::Null)}));
        }
        let audio = json!({"item_id": item_id, "millis": millis, "model": transcription["model"]});
        if self.settings.get("type") == "transcription" {
            if self.pending.len() < MAX_PENDING {
                let user = item(transcript.into());
                let body = json!({"type": "response.create", "transcribes": audio, "items": [user]});
                self.pending
                    .push_back(ModelRequest { body: Bytes::from(body.to_string()), transcribes: Some(item_id) });
            }
        } else if self.has_setting("audio.input.transcription") {
            let tokens = transcript.split_whitespace().count() as u64;
            let pieces = transcript.split_inclusive(' ');
            for event in transcript_events(pieces, &transcript, &audio, tokens, &mut self.random) {
                self.send_event(event);
            }
        }
    }
}
