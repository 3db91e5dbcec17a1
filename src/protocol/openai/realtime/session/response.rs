//! A session's response: asked for, followed while it is said, and ended.

use bytes::Bytes;
use serde_json::{Value, json};

use super::{
    super::{beta, id, text},
    Ask, Conversation, Wrong,
};

/// The response that is being said.
pub(super) struct Active {
    /// As it has begun.
    begun: Value,
    /// The items that were said, the last perhaps not to its end.
    output: Vec<Value>,
    /// What of the last has been said, and as what.
    partial: String,
    spoken: bool,
    /// The id of the message that asked for it.
    event_id: Value,
    /// What it has failed by.
    failed: Option<Wrong>,
}

impl Conversation {
    /// Begins a response, and has something to ask the model then. `wish` is what this one is to be.
    pub(super) fn create_response(&mut self, wish: Value, event_id: Value) -> Result<(), Box<Wrong>> {
        if let Some(active) = &self.active {
            let message = format!(
                "Conversation already has an active response in progress: {}. Wait until the response is finished before creating a new one.",
                text(&active.begun["id"])
            );
            return Err(Wrong::new("conversation_already_has_active_response", message, None));
        }
        let wish = if self.beta { beta::settings(&wish) } else { wish };
        let pick = |name: &str| if wish[name].is_null() { &self.settings[name] } else { &wish[name] };
        let output = |name: &str| {
            let of = |settings: &Value| settings["audio"]["output"][name].clone();
            Some(of(&wish)).filter(|value| !value.is_null()).unwrap_or_else(|| of(&self.settings))
        };
        let joins = wish["conversation"] != "none";
        let begun = json!({
            "object": "realtime.response",
            "id": id("resp_", 21, &mut self.random),
            "status": "in_progress",
            "status_details": null,
            "output": [],
            "conversation_id": joins.then_some(&self.id),
            "output_modalities": pick("output_modalities"),
            "max_output_tokens": pick("max_output_tokens"),
            "audio": {"output": {"format": output("format"), "voice": output("voice")}},
            "usage": null,
            "metadata": wish["metadata"],
        });
        let body = format!(
            r#"{{"type":"response.create","response":{wish},"session":{},"begun":{begun},"previous":{},"items":[{}]}}"#,
            self.settings,
            json!(self.items.last()),
            self.items.written()
        );
        self.asks.push_back(Ask { body: body.into(), transcribes: None });
        self.tell("response.created", json!({"response": begun}));
        let (output, partial) = (Vec::new(), String::new());
        self.active = Some(Active { begun, output, partial, spoken: false, event_id, failed: None });
        Ok(())
    }

    /// Breaks the response off because the client wants it, if it is this one.
    pub(super) fn cancel(&mut self, id: &str) -> Result<(), Box<Wrong>> {
        let named = |active: &Active| id.is_empty() || active.begun["id"] == id;
        if !self.active.as_ref().is_some_and(named) {
            let message = "Cancellation failed: no active response found".to_owned();
            return Err(Wrong::new("response_cancel_not_active", message, None));
        }
        self.break_off("client_cancelled");
        Ok(())
    }

    /// Breaks the response off for this reason.
    pub(super) fn break_off(&mut self, reason: &str) {
        self.asks.retain(|ask| ask.transcribes.is_some());
        if let Some(active) = self.active.take() {
            self.close(active, "cancelled", json!({"type": "cancelled", "reason": reason}));
        }
    }

    /// Says that a response is over, and why. What was being said is as it is.
    fn close(&mut self, mut active: Active, status: &str, details: Value) {
        let joins = !active.begun["conversation_id"].is_null();
        if let Some(item) = active.output.last_mut().filter(|item| item["status"] == "in_progress") {
            item["status"] = "incomplete".into();
            let said = active.partial.as_str();
            match item["type"].as_str() {
                Some("function_call") => item["arguments"] = said.into(),
                _ if active.spoken => item["content"] = json!([{"type": "output_audio", "transcript": said}]),
                _ => item["content"] = json!([{"type": "output_text", "text": said}]),
            }
            let (item, index) = (item.clone(), active.output.len() - 1);
            self.items.replace(&item);
            if joins {
                self.tell("conversation.item.done", json!({"previous_item_id": null, "item": item}));
            }
            let members = json!({"response_id": active.begun["id"], "output_index": index, "item": item});
            self.tell("response.output_item.done", members);
        }
        let mut response = active.begun;
        response["status"] = status.into();
        response["status_details"] = details;
        response["output"] = active.output.into();
        self.tell("response.done", json!({"response": response}));
    }

    /// The response is refused: it is told as failed; what is wrong with what was asked is an error of its own.
    pub(super) fn fail_response(&mut self, status: u16, wrong: Wrong) {
        let Some(active) = self.active.take() else { return };
        if status < 500 && status != 429 {
            let event_id = active.event_id.clone();
            self.tell_wrong(&wrong, &event_id);
        }
        let error = json!({"type": wrong.kind, "code": wrong.code, "message": wrong.message});
        self.close(active, "failed", json!({"type": "failed", "error": error}));
    }

    /// Ends a response that an error has broken off. One that has only lost its end is not told to have one.
    pub(super) fn close_failed(&mut self) {
        let Some(mut active) = self.active.take_if(|_| self.asks.iter().all(|ask| ask.transcribes.is_some())) else {
            return;
        };
        if let Some(wrong) = active.failed.take() {
            let error = json!({"type": wrong.kind, "code": wrong.code, "message": wrong.message});
            self.close(active, "failed", json!({"type": "failed", "error": error}));
        }
    }

    /// Follows an event of the model's answer, and puts it into the names that the client speaks.
    pub(super) fn follow(&mut self, event: Bytes) -> Option<Bytes> {
        let Some(kind) = kind(&event) else { return Some(self.follow_error(event)) };
        if kind.ends_with(b".delta") {
            self.follow_delta(kind.ends_with(b"audio.delta"), &event);
            return Some(if self.beta { beta::delta(event) } else { event });
        }
        // What is broken off goes out as it is.
        let Ok(told) = serde_json::from_slice::<Value>(&event) else { return Some(event) };
        match (text(&told["type"]), &mut self.active) {
            ("conversation.item.added", _) if !self.items.has(text(&told["item"]["id"])) => {
                self.items.add(None, &told["item"]);
            }
            ("conversation.item.done", _) => self.items.replace(&told["item"]),
            ("response.output_item.added", Some(active)) => {
                active.output.push(told["item"].clone());
                active.partial.clear();
            }
            ("response.output_item.done", Some(active)) => {
                active.output.pop();
                active.output.push(told["item"].clone());
            }
            ("response.done", _) => self.active = None,
            _ => {}
        }
        if self.beta { beta::event(told).map(|told| told.to_string().into()) } else { Some(event) }
    }

    fn follow_delta(&mut self, is_sound: bool, event: &[u8]) {
        let Some(active) = &mut self.active else { return };
        active.spoken |= is_sound;
        if is_sound {
            return;
        }
        let told: Value = serde_json::from_slice(event).unwrap_or_default();
        // Transcripts of what the user says are events of the session itself.
        if told["response_id"] == active.begun["id"] {
            active.partial.push_str(text(&told["delta"]));
        }
    }

    /// An error in place of an event, which has the shape of any answer's.
    fn follow_error(&mut self, event: Bytes) -> Bytes {
        let is_error = serde_json::from_slice::<Value>(&event).is_ok_and(|told| told["error"].is_object());
        if event.is_empty() || !is_error {
            return event;
        }
        let wrong = Wrong::read(&event);
        let event_id = self.active.as_ref().map_or(Value::Null, |active| active.event_id.clone());
        let told = super::event("error", json!({"error": wrong.told(&event_id)}), &mut self.random);
        if let Some(active) = &mut self.active {
            active.failed = Some(wrong);
        }
        told.to_string().into()
    }
}

/// The type of an event, if that stands first.
fn kind(event: &[u8]) -> Option<&[u8]> {
    event.strip_prefix(br#"{"type":""#)?.split(|byte| *byte == b'"').next()
}
