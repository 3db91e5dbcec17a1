//! A session: its client messages, its own events, and its model requests.

mod audio;
mod conversation;
mod response;

use std::collections::VecDeque;

use bytes::Bytes;
use serde_json::{Value, json};

use self::response::ActiveResponse;
use super::{
    beta, event, id,
    items::Items,
    settings::{self, Settings},
    text,
    voice_activity::VoiceActivityDetector,
};
use crate::core::{
    json,
    random::Random,
    response::session::{MessageOutcome, Session},
};

/// Maximum bytes of a session's settings, as JSON.
const MAX_SETTINGS_BYTES: usize = 1 << 20;
/// Maximum number of pending model requests.
const MAX_PENDING: usize = 16;

/// One session.
pub(super) struct RealtimeSession {
    beta: bool,
    /// The settings, in the current names.
    settings: Settings,
    /// The initial settings of a transcription session.
    transcription: Value,
    /// The transcript of user audio.
    transcript: String,
    /// The id of the conversation.
    id: String,
    items: Items,
    detector: VoiceActivityDetector,
    /// The item of the current speech.
    speaking: Option<String>,
    pending: VecDeque<ModelRequest>,
    /// The request that the model is answering.
    in_progress: Option<ModelRequest>,
    active: Option<ActiveResponse>,
    random: Random,
    /// Events to send next.
    out: Vec<Bytes>,
}

/// A request to the model.
struct ModelRequest {
    body: Bytes,
    /// The item to transcribe. `None`: the request is for a response.
    transcribes: Option<String>,
}

/// An error event of this protocol.
struct SessionError {
    kind: String,
    code: Value,
    message: String,
    param: Value,
}

impl SessionError {
    fn new(code: &str, message: String, param: Option<&str>) -> Box<Self> {
        let kind = "invalid_request_error".to_owned();
        Box::new(SessionError { kind, code: code.into(), message, param: param.into() })
    }

    /// Parses the error in a response body. Missing members get defaults.
    fn read(body: &[u8]) -> Self {
        let body: Value = serde_json::from_slice(body).unwrap_or_default();
        let error = &body["error"];
        let kind = error["type"].as_str().unwrap_or("invalid_request_error").to_owned();
        let message = error["message"].as_str().unwrap_or("The server had an error.").to_owned();
        SessionError { kind, code: error["code"].clone(), message, param: error["param"].clone() }
    }

    fn to_json(&self, event_id: &Value) -> Value {
        json!({
            "type": self.kind, "code": self.code, "message": self.message, "param": self.param, "event_id": event_id,
        })
    }
}

impl RealtimeSession {
    /// Creates a session from the initial settings for conversation and for transcription. `transcribes` selects the
    /// latter as the session's start.
    pub(super) fn new(
        (session, transcription): (Value, Value),
        transcribes: bool,
        beta: bool,
        transcript: &str,
        mut random: Random,
    ) -> Self {
        RealtimeSession {
            beta,
            settings: Settings::new(if transcribes { &transcription } else { &session }),
            transcription,
            transcript: transcript.to_owned(),
            id: id("conv_", 21, &mut random),
            items: Items::default(),
            detector: VoiceActivityDetector::default(),
            speaking: None,
            pending: VecDeque::new(),
            in_progress: None,
            active: None,
            random,
            out: Vec::new(),
        }
    }

    fn send(&mut self, kind: &str, members: Value) {
        let event = event(kind, members, &mut self.random);
        self.send_event(event);
    }

    fn send_event(&mut self, event: Value) {
        let event = if self.beta { beta::event(event) } else { Some(event) };
        self.out.extend(event.map(|event| Bytes::from(event.to_string())));
    }

    fn send_error(&mut self, error: &SessionError, event_id: &Value) {
        self.send("error", json!({"error": error.to_json(event_id)}));
    }

    /// Applies an update of the settings, in the current names.
    fn update(&mut self, update: Value) -> Result<(), Box<SessionError>> {
        let mut changed = self.settings.value();
        if update["type"] == "transcription" && changed["type"] != "transcription" {
            changed = self.transcription.clone();
        }
        settings::update(&mut changed, update);
        let settings = Settings::new(&changed);
        if settings.text().len() > MAX_SETTINGS_BYTES {
            let message = format!("The session is larger than the {MAX_SETTINGS_BYTES} bytes that it may have.");
            return Err(SessionError::new("session_too_large", message, Some("session")));
        }
        self.settings = settings;
        self.send("session.updated", json!({"session": changed}));
        Ok(())
    }

    /// Returns true if the settings have a value other than null at this path.
    fn has_setting(&self, path: &str) -> bool {
        !self.settings.get(path).is_null()
    }
}

impl Session for RealtimeSession {
    fn on_open(&mut self) -> Vec<Bytes> {
        self.send("session.created", json!({"session": self.settings.value()}));
        std::mem::take(&mut self.out)
    }

    fn on_message(&mut self, message: json::Object<'_>) -> MessageOutcome {
        let value = |name: &str| message.get(name).and_then(json::Value::to_value).unwrap_or_default();
        let string = |name: &str| message.get(name).and_then(json::Value::as_str).unwrap_or_default();
        let event_id = value("event_id");
        let mut interrupts = false;
        let done = match &*string("type") {
            "session.update" if self.beta => self.update(beta::settings(&value("session"))),
            "session.update" => self.update(value("session")),
            "transcription_session.update" => {
                let mut update = beta::settings(&value("session"));
                update["type"] = "transcription".into();
                self.update(update)
            }
            "input_audio_buffer.append" => self.append(&string("audio")).map(|stops| interrupts = stops),
            "input_audio_buffer.commit" => self.commit_all(),
            "input_audio_buffer.clear" => {
                self.detector.take();
                self.send("input_audio_buffer.cleared", json!({}));
                Ok(())
            }
            "conversation.item.create" => {
                let previous = value("previous_item_id");
                self.create_item(value("item"), previous.as_str())
            }
            "conversation.item.delete" => self.delete_item(&string("item_id")),
            "conversation.item.retrieve" => self.retrieve_item(&string("item_id")),
            "conversation.item.truncate" => {
                let millis = message.get("audio_end_ms").and_then(json::Value::as_u64).unwrap_or(0);
                self.truncate_item(&string("item_id"), millis, value("content_index"))
            }
            "response.create" => self.create_response(value("response"), event_id.clone()),
            "response.cancel" => {
                interrupts = self.active.is_some();
                self.cancel(text(&value("response_id")))
            }
            // With a WebSocket, the client plays the output itself.
            _ => Ok(()),
        };
        if let Err(error) = done {
            self.send_error(&error, &event_id);
        }
        MessageOutcome { events: std::mem::take(&mut self.out), interrupts }
    }

    fn on_rejected(&mut self, message: json::Object<'_>, error: &[u8]) -> Vec<Bytes> {
        let event_id = message.get("event_id").and_then(json::Value::to_value).unwrap_or_default();
        self.send_error(&SessionError::read(error), &event_id);
        std::mem::take(&mut self.out)
    }

    fn next_request(&mut self) -> Option<Bytes> {
        self.in_progress = self.pending.pop_front();
        self.in_progress.as_ref().map(|request| request.body.clone())
    }

    fn stored_bytes(&self) -> usize {
        let requests = self.pending.iter().chain(&self.in_progress);
        self.items.bytes() + requests.map(|request| request.body.len()).sum::<usize>()
    }

    fn on_event(&mut self, event: Bytes) -> Option<Bytes> {
        self.follow(event)
    }

    fn on_response_end(&mut self) -> Vec<Bytes> {
        self.in_progress = None;
        self.close_failed();
        std::mem::take(&mut self.out)
    }

    fn on_response_error(&mut self, status: u16, error: &[u8]) -> Vec<Bytes> {
        let error = SessionError::read(error);
        match self.in_progress.take().and_then(|request| request.transcribes) {
            Some(item_id) => {
                let error = json!({
                    "type": error.kind, "code": error.code, "message": error.message, "param": error.param,
                });
                let members = json!({"item_id": item_id, "content_index": 0, "error": error});
                self.send("conversation.item.input_audio_transcription.failed", members);
            }
            None => self.fail_response(status, error),
        }
        std::mem::take(&mut self.out)
    }
}
