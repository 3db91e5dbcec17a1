//! Client messages that create, retrieve, truncate and delete items of the conversation.

use serde_json::{Map, Value, json};

use super::{
    super::{beta, events::CHARACTER_MILLIS, item_id, list, text},
    RealtimeSession, SessionError,
};
use crate::media::silence;

/// The previous item's id of the first item.
const ROOT: &str = "root";

impl RealtimeSession {
    pub(super) fn create_item(&mut self, mut sent: Value, after: Option<&str>) -> Result<(), Box<SessionError>> {
        if let Some(after) = after.filter(|after| *after != ROOT && !self.items.has(after)) {
            let message = format!("Error creating item: the previous item with id '{after}' does not exist.");
            return Err(SessionError::new("item_create_invalid_previous_item_id", message, Some("previous_item_id")));
        }
        let given = text(&sent["id"]).to_owned();
        if self.items.has(&given) {
            let message = format!("Error creating item: an item with id '{given}' already exists.");
            return Err(SessionError::new("item_create_duplicate_item_id", message, Some("item.id")));
        }
        if self.beta {
            beta::client_item(&mut sent);
        }
        let id = if given.is_empty() { item_id(&mut self.random) } else { given };
        let mut item = Map::new();
        item.insert("id".to_owned(), id.into());
        item.insert("type".to_owned(), sent["type"].clone());
        item.insert("status".to_owned(), "completed".into());
        for (name, value) in sent.as_object_mut().map(std::mem::take).unwrap_or_default() {
            item.entry(name).or_insert(value);
        }
        item.shift_remove("object");
        let mut item = Value::from(item);
        // The audio is not stored, only its transcript.
        let mut stored = item.clone();
        for (stored, sent) in parts(&mut stored).zip(parts(&mut item)) {
            if let Some(part) = sent.as_object_mut() {
                part.shift_remove("audio");
            }
            if stored["type"] == "input_audio" && stored["transcript"].is_null() {
                sent["transcript"] = Value::Null;
                *stored = json!({"type": "input_audio", "transcript": self.transcript});
            } else if let Some(part) = stored.as_object_mut() {
                part.shift_remove("audio");
            }
        }
        let previous = self.items.add(after, &stored);
        for kind in ["conversation.item.added", "conversation.item.done"] {
            self.send(kind, json!({"previous_item_id": previous, "item": item}));
        }
        Ok(())
    }

    pub(super) fn delete_item(&mut self, id: &str) -> Result<(), Box<SessionError>> {
        if !self.items.remove(id) {
            return Err(unknown("delet", "delete", id));
        }
        self.send("conversation.item.deleted", json!({"item_id": id}));
        Ok(())
    }

    pub(super) fn retrieve_item(&mut self, id: &str) -> Result<(), Box<SessionError>> {
        let Some(item) = self.items.get(id) else { return Err(unknown("retriev", "retrieve", id)) };
        self.send("conversation.item.retrieved", json!({"item": item}));
        Ok(())
    }

    /// Removes the part of an output item that the user has not heard.
    pub(super) fn truncate_item(&mut self, id: &str, millis: u64, index: Value) -> Result<(), Box<SessionError>> {
        let Some(mut item) = self.items.get(id) else { return Err(unknown("truncat", "truncate", id)) };
        let transcript = list(&item["content"]).iter().find_map(|part| part["transcript"].as_str()).map(str::to_owned);
        let Some(transcript) = transcript.filter(|_| item["role"] == "assistant") else {
            let message = "Only model output audio messages can be truncated".to_owned();
            return Err(SessionError::new("invalid_value", message, Some("item_id")));
        };
        let duration = silence::duration_of(&transcript).as_millis() as u64;
        if millis > duration {
            let message = format!("Audio content of {duration}ms is already shorter than {millis}ms");
            return Err(SessionError::new("invalid_value", message, Some("audio_end_ms")));
        }
        let heard = usize::try_from(millis / CHARACTER_MILLIS).unwrap_or(usize::MAX);
        let heard: String = transcript.chars().take(heard).collect();
        for part in parts(&mut item).filter(|part| part["transcript"].is_string()) {
            part["transcript"] = heard.as_str().into();
        }
        self.items.replace(&item);
        let members = json!({"item_id": id, "content_index": index, "audio_end_ms": millis});
        self.send("conversation.item.truncated", members);
        Ok(())
    }
}

/// Returns the parts of a message.
fn parts(item: &mut Value) -> impl Iterator<Item = &mut Value> {
    item.get_mut("content").and_then(Value::as_array_mut).into_iter().flatten()
}

fn unknown(doing: &str, code: &str, id: &str) -> Box<SessionError> {
    let message = format!("Error {doing}ing item: the item with id '{id}' does not exist.");
    SessionError::new(&format!("item_{code}_invalid_item_id"), message, Some("item_id"))
}
