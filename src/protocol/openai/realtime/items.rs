//! The items of a conversation: a bounded list, the oldest of which are forgotten.

use std::collections::VecDeque;

use serde_json::Value;

use super::text;

/// The most items that are kept.
const MOST: usize = 1000;
/// The most bytes that they take together, as JSON.
const LONGEST: usize = 4 << 20;

/// The items, in order.
#[derive(Default)]
pub(super) struct Items {
    list: VecDeque<Item>,
    bytes: usize,
}

struct Item {
    id: String,
    /// All of it, as JSON.
    text: String,
}

impl Items {
    fn place(&self, id: &str) -> Option<usize> {
        self.list.iter().position(|item| item.id == id)
    }

    /// Whether there is one with this id.
    pub(super) fn has(&self, id: &str) -> bool {
        self.place(id).is_some()
    }

    /// The id of the last.
    pub(super) fn last(&self) -> Option<&str> {
        self.list.back().map(|item| item.id.as_str())
    }

    /// Adds one behind another, or at the start, or at the end if nothing is said of it; and tells which it stands behind.
    pub(super) fn add(&mut self, after: Option<&str>, item: &Value) -> Option<String> {
        let at = match after {
            None => self.list.len(),
            Some(id) => self.place(id).map_or(0, |place| place + 1),
        };
        let previous = at.checked_sub(1).and_then(|at| self.list.get(at)).map(|item| item.id.clone());
        let item = Item { id: text(&item["id"]).to_owned(), text: item.to_string() };
        self.bytes += item.text.len();
        self.list.insert(at, item);
        // What is too long by itself stays until there is another.
        while self.list.len() > MOST || self.bytes > LONGEST && self.list.len() > 1 {
            let Some(oldest) = self.list.pop_front() else { break };
            self.bytes -= oldest.text.len();
        }
        previous
    }

    /// Puts an item in the place of the one with its id, if there is one.
    pub(super) fn replace(&mut self, item: &Value) {
        let Some(place) = self.place(text(&item["id"])) else { return };
        let written = item.to_string();
        self.bytes = self.bytes + written.len() - self.list[place].text.len();
        self.list[place].text = written;
    }

    /// The item with this id.
    pub(super) fn get(&self, id: &str) -> Option<Value> {
        serde_json::from_str(&self.list[self.place(id)?].text).ok()
    }

    /// Takes the item with this id away, if there is one.
    pub(super) fn remove(&mut self, id: &str) -> bool {
        let gone = self.place(id).and_then(|place| self.list.remove(place));
        self.bytes -= gone.as_ref().map_or(0, |item| item.text.len());
        gone.is_some()
    }

    /// All of them, as the inside of a JSON array.
    pub(super) fn written(&self) -> String {
        let texts: Vec<_> = self.list.iter().map(|item| item.text.as_str()).collect();
        texts.join(",")
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn they_stand_where_they_are_put_and_the_oldest_go() {
        let mut items = Items::default();
        assert_eq!(items.add(None, &json!({"id": "b"})), None);
        assert_eq!(items.add(None, &json!({"id": "d"})).as_deref(), Some("b"));
        assert_eq!(items.add(Some("b"), &json!({"id": "c"})).as_deref(), Some("b"));
        assert_eq!(items.add(Some("root"), &json!({"id": "a"})), None);
        assert_eq!(items.written(), r#"{"id":"a"},{"id":"b"},{"id":"c"},{"id":"d"}"#);
        assert!(items.remove("b") && !items.remove("b"));
        items.replace(&json!({"id": "c", "n": 1}));
        assert_eq!(items.get("c").unwrap()["n"], 1);
        for n in 0..2 * MOST {
            items.add(None, &json!({"id": format!("n{n}")}));
        }
        assert_eq!((items.list.len(), items.has("a")), (MOST, false));
        items.add(None, &json!({"id": "long", "text": "x".repeat(LONGEST)}));
        assert_eq!((items.list.len(), items.last()), (1, Some("long")));
        items.add(None, &json!({"id": "short"}));
        assert_eq!((items.list.len(), items.bytes), (1, 14));
    }
}
