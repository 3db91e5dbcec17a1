//! The items of a session's conversation, as the client puts them there, looks at them and takes them away.

use serde_json::{Map, Value, json};

use super::{
    super::{beta, item_id, list, said::CHARACTER, text},
    Conversation, Wrong,
};
use crate::media::silence;

/// Behind which item one is put that is to be the first.
const ROOT: &str = "root";

impl Conversation {
    pub(super) fn create_item(&mut self, mut sent: Value, after: Option<&str>) -> Result<(), Box<Wrong>> {
        if let Some(after) = after.filter(|after| *after != ROOT && !self.items.has(after)) {
            let message = format!("Error creating item: the previous item with id '{after}' does not exist.");
            return Err(Wrong::new("item_create_invalid_previous_item_id", message, Some("previous_item_id")));
        }
        let given = text(&sent["id"]).to_owned();
        if self.items.has(&given) {
            let message = format!("Error creating item: an item with id '{given}' already exists.");
            return Err(Wrong::new("item_create_duplicate_item_id", message, Some("item.id")));
        }
        if self.beta {
            beta::kept(&mut sent);
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
        // The sound of it is not kept, only what is heard in it.
        let mut kept = item.clone();
        for (kept, told) in parts(&mut kept).zip(parts(&mut item)) {
            if let Some(part) = told.as_object_mut() {
                part.shift_remove("audio");
            }
            if kept["type"] == "input_audio" && kept["transcript"].is_null() {
                told["transcript"] = Value::Null;
                *kept = json!({"type": "input_audio", "transcript": self.transcript});
            } else if let Some(part) = kept.as_object_mut() {
                part.shift_remove("audio");
            }
        }
        let previous = self.items.add(after, &kept);
        for kind in ["conversation.item.added", "conversation.item.done"] {
            self.tell(kind, json!({"previous_item_id": previous, "item": item}));
        }
        Ok(())
    }

    pub(super) fn delete_item(&mut self, id: &str) -> Result<(), Box<Wrong>> {
        if !self.items.remove(id) {
            return Err(unknown("delet", "delete", id));
        }
        self.tell("conversation.item.deleted", json!({"item_id": id}));
        Ok(())
    }

    pub(super) fn retrieve_item(&mut self, id: &str) -> Result<(), Box<Wrong>> {
        let Some(item) = self.items.get(id) else { return Err(unknown("retriev", "retrieve", id)) };
        self.tell("conversation.item.retrieved", json!({"item": item}));
        Ok(())
    }

    /// Forgets what of an answer was not heard any more.
    pub(super) fn truncate_item(&mut self, id: &str, millis: u64, index: Value) -> Result<(), Box<Wrong>> {
        let Some(mut item) = self.items.get(id) else { return Err(unknown("truncat", "truncate", id)) };
        let spoken = list(&item["content"]).iter().find_map(|part| part["transcript"].as_str()).map(str::to_owned);
        let Some(spoken) = spoken.filter(|_| item["role"] == "assistant") else {
            let message = "Only model output audio messages can be truncated".to_owned();
            return Err(Wrong::new("invalid_value", message, Some("item_id")));
        };
        let lasts = silence::duration_of(&spoken).as_millis() as u64;
        if millis > lasts {
            let message = format!("Audio content of {lasts}ms is already shorter than {millis}ms");
            return Err(Wrong::new("invalid_value", message, Some("audio_end_ms")));
        }
        let heard = usize::try_from(millis / CHARACTER).unwrap_or(usize::MAX);
        let heard: String = spoken.chars().take(heard).collect();
        for part in parts(&mut item).filter(|part| part["transcript"].is_string()) {
            part["transcript"] = heard.as_str().into();
        }
        self.items.replace(&item);
        let members = json!({"item_id": id, "content_index": index, "audio_end_ms": millis});
        self.tell("conversation.item.truncated", members);
        Ok(())
    }
}

/// The parts of a message.
fn parts(item: &mut Value) -> impl Iterator<Item = &mut Value> {
    item.get_mut("content").and_then(Value::as_array_mut).into_iter().flatten()
}

fn unknown(doing: &str, code: &str, id: &str) -> Box<Wrong> {
    let message = format!("Error {doing}ing item: the item with id '{id}' does not exist.");
    Wrong::new(&format!("item_{code}_invalid_item_id"), message, Some("item_id"))
}
