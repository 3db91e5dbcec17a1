//! A session's response: its creation, its events, and its end.

use bytes::Bytes;
use serde_json::{Value, json};

use super::{
    super::{beta, id, text},
    ModelRequest, RealtimeSession, SessionError,
};

/// The response in progress.
pub(super) struct ActiveResponse {
    /// The response object at its creation.
    begun: Value,
    /// The items so far. The last can be incomplete.
    output: Vec<Value>,
    /// The text so far of the last item.
    partial: String,
    /// True if that text is the transcript of audio.
    has_audio: bool,
    /// The id of the client message that created the response.
    event_id: Value,
    /// The error that ended the response.
    failed: Option<SessionError>,
}

impl RealtimeSession {
    /// Creates a response and its model request. `options` are the response's own settings.
    pub(super) fn create_response(&mut self, options: Value, event_id: Value) -> Result<(), Box<SessionError>> {
        if let Some(active) = &self.active {
            let message = format!(
                "Conversation already has an active response in progress: {}. Wait until the response is finished before creating a new one.",
                text(&active.begun["id"])
            );
            return Err(SessionError::new("conversation_already_has_active_response", message, None));
        }
        let options = if self.beta { beta::settings(&options) } else { options };
        let pick = |name: &str| if options[name].is_null() { self.settings.get(name) } else { options[name].clone() };
        let output = |name: &str| {
            let own = &options["audio"]["output"][name];
            if own.is_null() { self.settings.get(&format!("audio.output.{name}")) } else { own.clone() }
        };
        let joins = options["conversation"] != "none";
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
            "metadata": options["metadata"],
        });
        let body = format!(
            r#"{{"type":"response.create","response":{options},"session":{},"begun":{begun},"previous":{},"items":[{}]}}"#,
            self.settings.text(),
            json!(self.items.last()),
            self.items.to_json()
        );
        self.pending.push_back(ModelRequest { body: body.into(), transcribes: None });
        self.send("response.created", json!({"response": begun}));
        let (output, partial) = (Vec::new(), String::new());
        self.active = Some(ActiveResponse { begun, output, partial, has_audio: false, event_id, failed: None });
        Ok(())
    }

    /// Cancels the active response for the client, if it has this id.
    pub(super) fn cancel(&mut self, id: &str) -> Result<(), Box<SessionError>> {
        let named = |active: &ActiveResponse| id.is_empty() || active.begun["id"] == id;
        if !self.active.as_ref().is_some_and(named) {
            let message = "Cancellation failed: no active response found".to_owned();
            return Err(SessionError::new("response_cancel_not_active", message, None));
        }
        self.cancel_active("client_cancelled");
        Ok(())
    }

    /// Cancels the active response for this reason.
    pub(super) fn cancel_active(&mut self, reason: &str) {
        self.pending.retain(|request| request.transcribes.is_some());
        if let Some(active) = self.active.take() {
            self.close(active, "cancelled", json!({"type": "cancelled", "reason": reason}));
        }
    }

    /// Sends the end of a response and its reason. An item in progress becomes incomplete.
    fn close(&mut self, mut active: ActiveResponse, status: &str, details: Value) {
        let joins = !active.begun["conversation_id"].is_null();
        if let Some(item) = active.output.last_mut().filter(|item| item["status"] == "in_progress") {
            item["status"] = "incomplete".into();
            let partial = active.partial.as_str();
            match item["type"].as_str() {
                Some("function_call") => item["arguments"] = partial.into(),
                _ if active.has_audio => item["content"] = json!([{"type": "output_audio", "transcript": partial}]),
                _ => item["content"] = json!([{"type": "output_text", "text": partial}]),
            }
            let (item, index) = (item.clone(), active.output.len() - 1);
            self.items.replace(&item);
            if joins {
                self.send("conversation.item.done", json!({"previous_item_id": null, "item": item}));
            }
            let members = json!({"response_id": active.begun["id"], "output_index": index, "item": item});
            self.send("response.output_item.done", members);
        }
        let mut response = active.begun;
        response["status"] = status.into();
        response["status_details"] = details;
        response["output"] = active.output.into();
        self.send("response.done", json!({"response": response}));
    }

    /// Fails the active response because its model request was rejected. Client errors are an error event, too.
    pub(super) fn fail_response(&mut self, status: u16, error: SessionError) {
        let Some(active) = self.active.take() else { return };
        if status < 500 && status != 429 {
            let event_id = active.event_id.clone();
            self.send_error(&error, &event_id);
        }
        let error = json!({"type": error.kind, "code": error.code, "message": error.message});
        self.close(active, "failed", json!({"type": "failed", "error": error}));
    }

    /// Ends a response that an error has interrupted. A response that has only lost its last events gets no end.
    pub(super) fn close_failed(&mut self) {
        let Some(mut active) =
            self.active.take_if(|_| self.pending.iter().all(|request| request.transcribes.is_some()))
        else {
            return;
        };
        if let Some(error) = active.failed.take() {
            let error = json!({"type": error.kind, "code": error.code, "message": error.message});
            self.close(active, "failed", json!({"type": "failed", "error": error}));
        }
    }

    /// Updates the session by an event of the model's response, and converts it to the names of the client's version.
    pub(super) fn follow(&mut self, event: Bytes) -> Option<Bytes> {
        let Some(kind) = kind(&event) else { return Some(self.follow_error(event)) };
        if kind.ends_with(b".delta") {
            self.follow_delta(kind.ends_with(b"audio.delta"), &event);
            return Some(if self.beta { beta::delta(event) } else { event });
        }
        // A truncated event is sent unchanged.
        let Ok(parsed) = serde_json::from_slice::<Value>(&event) else { return Some(event) };
        match (text(&parsed["type"]), &mut self.active) {
            ("conversation.item.added", _) if !self.items.has(text(&parsed["item"]["id"])) => {
                self.items.add(None, &parsed["item"]);
            }
            ("conversation.item.done", _) => self.items.replace(&parsed["item"]),
            ("response.output_item.added", Some(active)) => {
                active.output.push(parsed["item"].clone());
                active.partial.clear();
            }
            ("response.output_item.done", Some(active)) => {
                active.output.pop();
                active.output.push(parsed["item"].clone());
            }
            ("response.done", _) => self.active = None,
            _ => {}
        }
        if self.beta { beta::event(parsed).map(|event| event.to_string().into()) } else { Some(event) }
    }

    fn follow_delta(&mut self, is_audio: bool, event: &[u8]) {
        let Some(active) = &mut self.active else { return };
        active.has_audio |= is_audio;
        if is_audio {
            return;
        }
        let parsed: Value = serde_json::from_slice(event).unwrap_or_default();
        // Transcripts of user audio are events of the session itself.
        if parsed["response_id"] == active.begun["id"] {
            active.partial.push_str(text(&parsed["delta"]));
        }
    }

    /// Converts an error body in place of an event to an error event.
    fn follow_error(&mut self, event: Bytes) -> Bytes {
        let is_error = serde_json::from_slice::<Value>(&event).is_ok_and(|parsed| parsed["error"].is_object());
        if event.is_empty() || !is_error {
            return event;
        }
        let error = SessionError::read(&event);
        let event_id = self.active.as_ref().map_or(Value::Null, |active| active.event_id.clone());
        let event = super::event("error", json!({"error": error.to_json(&event_id)}), &mut self.random);
        if let Some(active) = &mut self.active {
            active.failed = Some(error);
        }
        event.to_string().into()
    }
}

/// Returns the type of an event, if it is the first member.
fn kind(event: &[u8]) -> Option<&[u8]> {
    event.strip_prefix(br#"{"type":""#)?.split(|byte| *byte == b'"').next()
}
