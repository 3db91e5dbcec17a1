//! The items of a conversation: a bounded list that drops its oldest items.

use std::collections::VecDeque;

use serde_json::Value;

use super::text;

/// Maximum number of items.
const MAX_ITEMS: usize = 1000;
/// Maximum bytes of all items, as JSON.
const MAX_BYTES: usize = 4 << 20;

/// The items, in order.
#[derive(Default)]
pub(super) struct Items {
    list: VecDeque<Item>,
    bytes: usize,
}

struct Item {
    id: Box<str>,
    /// The item as JSON.
    text: Box<str>,
}

impl Items {
    /// Number of bytes of all items.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    fn position(&self, id: &str) -> Option<usize> {
        self.list.iter().position(|item| *item.id == *id)
    }

    /// Returns true if there is an item with this id.
    pub(super) fn has(&self, id: &str) -> bool {
        self.position(id).is_some()
    }

    /// Returns the id of the last item.
    pub(super) fn last(&self) -> Option<&str> {
        self.list.back().map(|item| &*item.id)
    }

    /// Adds an item and returns the id of the one before it. `None` for `after` is the end, an unknown id is the start.
    pub(super) fn add(&mut self, after: Option<&str>, item: &Value) -> Option<String> {
        let at = match after {
            None => self.list.len(),
            Some(id) => self.position(id).map_or(0, |position| position + 1),
        };
        let previous = at.checked_sub(1).and_then(|at| self.list.get(at)).map(|item| item.id.to_string());
        let item = Item { id: text(&item["id"]).into(), text: item.to_string().into() };
        self.bytes += item.text.len();
        self.list.insert(at, item);
        // An item that is too long by itself stays until the next one.
        while self.list.len() > MAX_ITEMS || self.bytes > MAX_BYTES && self.list.len() > 1 {
            let Some(oldest) = self.list.pop_front() else { break };
            self.bytes -= oldest.text.len();
        }
        previous
    }

    /// Replaces the item with the same id, if there is one.
    pub(super) fn replace(&mut self, item: &Value) {
        let Some(position) = self.position(text(&item["id"])) else { return };
        let written: Box<str> = item.to_string().into();
        self.bytes = self.bytes + written.len() - self.list[position].text.len();
        self.list[position].text = written;
    }

    /// Returns the item with this id.
    pub(super) fn get(&self, id: &str) -> Option<Value> {
        serde_json::from_str(&self.list[self.position(id)?].text).ok()
    }

    /// Removes the item with this id, and returns true if there was one.
    pub(super) fn remove(&mut self, id: &str) -> bool {
        let removed = self.position(id).and_then(|position| self.list.remove(position));
        self.bytes -= removed.as_ref().map_or(0, |item| item.text.len());
        removed.is_some()
    }

    /// Renders all items as the inside of a JSON array.
    pub(super) fn to_json(&self) -> String {
        let texts: Vec<_> = self.list.iter().map(|item| &*item.text).collect();
        texts.join(",")
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn items_are_ordered_and_the_oldest_are_dropped() {
        let mut items = Items::default();
        assert_eq!(items.add(None, &json!({"id": "b"})), None);
        assert_eq!(items.add(None, &json!({"id": "d"})).as_deref(), Some("b"));
        assert_eq!(items.add(Some("b"), &json!({"id": "c"})).as_deref(), Some("b"));
        assert_eq!(items.add(Some("root"), &json!({"id": "a"})), None);
        assert_eq!(items.to_json(), r#"{"id":"a"},{"id":"b"},{"id":"c"},{"id":"d"}"#);
        assert!(items.remove("b") && !items.remove("b"));
        items.replace(&json!({"id": "c", "n": 1}));
        assert_eq!(items.get("c").unwrap()["n"], 1);
        for n in 0..2 * MAX_ITEMS {
            items.add(None, &json!({"id": format!("n{n}")}));
        }
        assert_eq!((items.list.len(), items.has("a")), (MAX_ITEMS, false));
        items.add(None, &json!({"id": "long", "text": "x".repeat(MAX_BYTES)}));
        assert_eq!((items.list.len(), items.last()), (1, Some("long")));
        items.add(None, &json!({"id": "short"}));
        assert_eq!((items.list.len(), items.bytes), (1, 14));
    }
}
