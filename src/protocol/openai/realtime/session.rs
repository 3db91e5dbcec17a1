//! A session: what it is told, what it answers of itself, and what it asks the model.

mod audio;
mod conversation;
mod response;

use std::collections::VecDeque;

use bytes::Bytes;
use serde_json::{Value, json};

use self::response::Active;
use super::{beta, ear::VoiceActivityDetector, event, id, items::Items, settings, text};
use crate::core::{
    json,
    random::Random,
    response::session::{MessageOutcome, Session},
};

/// The most bytes that a session's settings take, as JSON.
const LONGEST: usize = 1 << 20;
/// The most that is waited for to ask the model.
const MOST_ASKS: usize = 16;

/// One session.
pub(super) struct Conversation {
    beta: bool,
    /// Its settings, in the names of today.
    settings: Value,
    /// What they are once it only transcribes.
    transcription: Value,
    /// What a user is heard to say.
    transcript: String,
    /// The id of the conversation.
    id: String,
    items: Items,
    ear: VoiceActivityDetector,
    /// The item that somebody is speaking.
    speaking: Option<String>,
    asks: VecDeque<Ask>,
    /// What the model has been asked and is answering.
    asked: Option<Ask>,
    active: Option<Active>,
    random: Random,
    /// What the client is told next.
    out: Vec<Bytes>,
}

/// Something to ask the model.
struct Ask {
    body: Bytes,
    /// The item that is to be transcribed; without one it is a response that is asked for.
    transcribes: Option<String>,
}

/// What is wrong with a message, in the words of this protocol.
struct Wrong {
    kind: String,
    code: Value,
    message: String,
    param: Value,
}

impl Wrong {
    fn new(code: &str, message: String, param: Option<&str>) -> Box<Self> {
        let kind = "invalid_request_error".to_owned();
        Box::new(Wrong { kind, code: code.into(), message, param: param.into() })
    }

    /// The error that the body of an answer tells, whatever its shape.
    fn read(body: &[u8]) -> Self {
        let body: Value = serde_json::from_slice(body).unwrap_or_default();
        let error = &body["error"];
        let kind = error["type"].as_str().unwrap_or("invalid_request_error").to_owned();
        let message = error["message"].as_str().unwrap_or("The server had an error.").to_owned();
        Wrong { kind, code: error["code"].clone(), message, param: error["param"].clone() }
    }

    fn told(&self, event_id: &Value) -> Value {
        json!({
            "type": self.kind, "code": self.code, "message": self.message, "param": self.param, "event_id": event_id,
        })
    }
}

impl Conversation {
    /// A session with these settings for talking and for transcribing, which begins by doing one of them.
    pub(super) fn new(
        (session, transcription): (Value, Value),
        transcribes: bool,
        beta: bool,
        transcript: &str,
        mut random: Random,
    ) -> Self {
        Conversation {
            beta,
            settings: if transcribes { transcription.clone() } else { session },
            transcription,
            transcript: transcript.to_owned(),
            id: id("conv_", 21, &mut random),
            items: Items::default(),
            ear: VoiceActivityDetector::default(),
            speaking: None,
            asks: VecDeque::new(),
            asked: None,
            active: None,
            random,
            out: Vec::new(),
        }
    }

    fn tell(&mut self, kind: &str, members: Value) {
        let event = event(kind, members, &mut self.random);
        self.tell_event(event);
    }

    fn tell_event(&mut self, event: Value) {
        let event = if self.beta { beta::event(event) } else { Some(event) };
        self.out.extend(event.map(|event| Bytes::from(event.to_string())));
    }

    fn tell_wrong(&mut self, wrong: &Wrong, event_id: &Value) {
        self.tell("error", json!({"error": wrong.told(event_id)}));
    }

    /// Changes the settings to what is `wanted`, in the names of today.
    fn update(&mut self, wanted: Value) -> Result<(), Box<Wrong>> {
        let mut changed = self.settings.clone();
        if wanted["type"] == "transcription" && changed["type"] != "transcription" {
            changed = self.transcription.clone();
        }
        settings::update(&mut changed, wanted);
        if changed.to_string().len() > LONGEST {
            let message = format!("The session is larger than the {LONGEST} bytes that it may have.");
            return Err(Wrong::new("session_too_large", message, Some("session")));
        }
        self.settings = changed;
        self.tell("session.updated", json!({"session": self.settings}));
        Ok(())
    }

    /// Whether the settings have something else than null here.
    fn wants(&self, path: &str) -> bool {
        self.settings.pointer(path).is_some_and(|value| !value.is_null())
    }
}

impl Session for Conversation {
    fn on_open(&mut self) -> Vec<Bytes> {
        self.tell("session.created", json!({"session": self.settings}));
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
                let mut wanted = beta::settings(&value("session"));
                wanted["type"] = "transcription".into();
                self.update(wanted)
            }
            "input_audio_buffer.append" => self.append(&string("audio"), &mut interrupts),
            "input_audio_buffer.commit" => self.commit_all(),
            "input_audio_buffer.clear" => {
                self.ear.take();
                self.tell("input_audio_buffer.cleared", json!({}));
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
            // What is played is played by the client, where there is a socket.
            _ => Ok(()),
        };
        if let Err(wrong) = done {
            self.tell_wrong(&wrong, &event_id);
        }
        MessageOutcome { events: std::mem::take(&mut self.out), interrupts }
    }

    fn on_rejected(&mut self, message: json::Object<'_>, error: &[u8]) -> Vec<Bytes> {
        let event_id = message.get("event_id").and_then(json::Value::to_value).unwrap_or_default();
        self.tell_wrong(&Wrong::read(error), &event_id);
        std::mem::take(&mut self.out)
    }

    fn next_request(&mut self) -> Option<Bytes> {
        self.asked = self.asks.pop_front();
        self.asked.as_ref().map(|ask| ask.body.clone())
    }

    fn on_event(&mut self, event: Bytes) -> Option<Bytes> {
        self.follow(event)
    }

    fn on_response_end(&mut self) -> Vec<Bytes> {
        self.asked = None;
        self.close_failed();
        std::mem::take(&mut self.out)
    }

    fn on_response_error(&mut self, status: u16, error: &[u8]) -> Vec<Bytes> {
        let wrong = Wrong::read(error);
        match self.asked.take().and_then(|ask| ask.transcribes) {
            Some(item_id) => {
                let error = json!({
                    "type": wrong.kind, "code": wrong.code, "message": wrong.message, "param": wrong.param,
                });
                let members = json!({"item_id": item_id, "content_index": 0, "error": error});
                self.tell("conversation.item.input_audio_transcription.failed", members);
            }
            None => self.fail_response(status, wrong),
        }
        std::mem::take(&mut self.out)
    }
}
