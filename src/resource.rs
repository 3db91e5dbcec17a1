//! What clients have created, kept in memory. Bounded in number and in bytes: of too much, the oldest goes.

use std::{
    collections::{BTreeMap, HashMap},
    sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError},
};

use bytes::Bytes;
use serde_json::{Value, json};

/// The most objects that are kept.
const MOST: usize = 10_000;
/// The most bytes that they may have, as JSON.
const MOST_BYTES: usize = 64 << 20;

/// Every object of every collection.
#[derive(Default)]
pub struct Resources(Mutex<Table>);

#[derive(Default)]
struct Table {
    /// In the order in which they came.
    objects: BTreeMap<u64, Object>,
    by_id: HashMap<(Arc<str>, Arc<str>), u64>,
    came: u64,
    bytes: usize,
}

struct Object {
    collection: Arc<str>,
    id: Arc<str>,
    value: Arc<Kept>,
    bytes: usize,
}

/// An object as JSON, read when somebody asks for it: most are kept for nothing.
struct Kept {
    text: Bytes,
    value: OnceLock<Arc<Value>>,
}

impl Kept {
    fn value(&self) -> Arc<Value> {
        Arc::clone(self.value.get_or_init(|| Arc::new(serde_json::from_slice(&self.text).unwrap_or_default())))
    }
}

/// Which part of a collection is wanted.
#[derive(Clone, Debug, Default)]
pub struct Query {
    /// The most objects on a page.
    pub limit: usize,
    /// The object that the page begins after.
    pub after: Option<String>,
    /// The object that the page ends before.
    pub before: Option<String>,
    /// Whether the newest come first.
    pub newest_first: bool,
    /// Members by path, such as `metadata.test`, and the text that they must have.
    pub wanted: Vec<(String, String)>,
}

impl Resources {
    fn table(&self) -> MutexGuard<'_, Table> {
        // Nothing in here can stop half-way, so a lock poisoned by a panic elsewhere is as good as new.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Keeps an object under an id, in place of one that has it already.
    pub fn put(&self, collection: &str, id: &str, value: Value) {
        let bytes = value.to_string().len();
        self.insert(collection, id, Kept { text: Bytes::new(), value: Arc::new(value).into() }, bytes);
    }

    /// The same for an object that is written already.
    pub fn put_text(&self, collection: &str, id: &str, text: Bytes) {
        let bytes = text.len();
        self.insert(collection, id, Kept { text, value: OnceLock::new() }, bytes);
    }

    fn insert(&self, collection: &str, id: &str, kept: Kept, bytes: usize) {
        let (collection, id): (Arc<str>, Arc<str>) = (collection.into(), id.into());
        let object = Object { collection: Arc::clone(&collection), id: Arc::clone(&id), value: Arc::new(kept), bytes };
        let mut table = self.table();
        let known = table.by_id.get(&(Arc::clone(&collection), Arc::clone(&id))).copied();
        let place = known.unwrap_or(table.came + 1);
        table.came = table.came.max(place);
        table.bytes += bytes;
        table.by_id.insert((collection, id), place);
        if let Some(replaced) = table.objects.insert(place, object) {
            table.bytes -= replaced.bytes;
        }
        while table.objects.len() > MOST || table.bytes > MOST_BYTES {
            let Some((_, oldest)) = table.objects.pop_first() else { break };
            table.bytes -= oldest.bytes;
            table.by_id.remove(&(oldest.collection, oldest.id));
        }
    }

    /// The object of this id.
    pub fn get(&self, collection: &str, id: &str) -> Option<Arc<Value>> {
        let key = (collection.into(), id.into());
        let kept = {
            let table = self.table();
            Arc::clone(&table.objects.get(table.by_id.get(&key)?)?.value)
        };
        Some(kept.value())
    }

    /// Takes the object of this id away.
    pub fn delete(&self, collection: &str, id: &str) -> Option<Arc<Value>> {
        let object = {
            let mut table = self.table();
            let place = table.by_id.remove(&(collection.into(), id.into()))?;
            let object = table.objects.remove(&place)?;
            table.bytes -= object.bytes;
            object
        };
        Some(object.value.value())
    }

    /// All objects of a collection, the oldest first.
    pub fn all(&self, collection: &str) -> Vec<Arc<Value>> {
        let those: Vec<_> = {
            let table = self.table();
            let those = table.objects.values().filter(|object| *object.collection == *collection);
            those.map(|object| Arc::clone(&object.value)).collect()
        };
        those.iter().map(|kept| kept.value()).collect()
    }
}

/// A page of some objects, as OpenAI lists them: `{"data", "first_id", "last_id", "has_more"}`.
pub fn page(mut objects: Vec<Arc<Value>>, query: &Query) -> Value {
    objects.retain(|object| query.wanted.iter().all(|(path, text)| is(object, path, text)));
    if query.newest_first {
        objects.reverse();
    }
    if let Some(after) = &query.after {
        let at = objects.iter().position(|object| object["id"] == **after).map_or(objects.len(), |at| at + 1);
        objects.drain(..at);
    }
    if let Some(before) = &query.before {
        objects.truncate(objects.iter().position(|object| object["id"] == **before).unwrap_or(0));
    }
    let has_more = objects.len() > query.limit;
    if query.before.is_some() {
        objects.drain(..objects.len().saturating_sub(query.limit));
    }
    objects.truncate(query.limit);
    let id = |object: Option<&Arc<Value>>| object.map_or(Value::Null, |object| object["id"].clone());
    let (first, last) = (id(objects.first()), id(objects.last()));
    let data: Vec<Value> = objects.iter().map(|object| Value::clone(object)).collect();
    json!({"data": data, "first_id": first, "last_id": last, "has_more": has_more})
}

fn is(object: &Value, path: &str, text: &str) -> bool {
    let value = path.split('.').try_fold(object, |value, name| value.get(name));
    match value {
        None => false,
        Some(Value::String(value)) => value == text,
        Some(value) => serde_json::from_str(text).is_ok_and(|wanted: Value| wanted == *value),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filled(count: u64) -> Resources {
        let resources = Resources::default();
        for n in 0..count {
            resources.put("things", &format!("t{n}"), json!({"id": format!("t{n}"), "even": n % 2 == 0}));
        }
        resources
    }

    #[test]
    fn what_is_put_is_got_and_listed_until_deleted() {
        let resources = filled(5);
        assert_eq!(resources.get("things", "t3").unwrap()["id"], "t3");
        assert_eq!(resources.get("others", "t3"), None);
        resources.put("things", "t3", json!({"id": "t3", "new": true}));
        assert_eq!(resources.get("things", "t3").unwrap()["new"], true);
        assert!(resources.delete("things", "t0").is_some() && resources.delete("things", "t0").is_none());
        let ids: Vec<_> = resources.all("things").iter().map(|thing| thing["id"].clone()).collect();
        assert_eq!(ids, ["t1", "t2", "t3", "t4"]);
    }

    #[test]
    fn pages_follow_each_other() {
        let all = filled(5).all("things");
        let query = Query { limit: 2, newest_first: true, ..Query::default() };
        let first = page(all.clone(), &query);
        assert_eq!(
            (&first["first_id"], &first["last_id"], &first["has_more"]),
            (&json!("t4"), &json!("t3"), &json!(true))
        );
        let second = page(all.clone(), &Query { after: Some("t1".to_owned()), ..query.clone() });
        assert_eq!((&second["data"][0]["id"], &second["has_more"]), (&json!("t0"), &json!(false)));
        let before = page(all.clone(), &Query { before: Some("t0".to_owned()), ..query.clone() });
        assert_eq!(
            (&before["first_id"], &before["last_id"], &before["has_more"]),
            (&json!("t2"), &json!("t1"), &json!(true))
        );
        let even = page(all, &Query { limit: 9, wanted: vec![("even".into(), "true".into())], ..query });
        assert_eq!(even["data"].as_array().unwrap().len(), 3);
        let none = page(Vec::new(), &Query::default());
        assert_eq!(none, json!({"data": [], "first_id": null, "last_id": null, "has_more": false}));
    }

    #[test]
    fn the_oldest_go_when_there_are_too_many_or_too_large() {
        let resources = filled(MOST as u64 + 3);
        assert_eq!(resources.all("things").len(), MOST);
        assert_eq!((resources.get("things", "t2"), resources.get("things", "t3").is_some()), (None, true));
        for n in 0..9 {
            resources.put("large", &n.to_string(), json!("x".repeat(10 << 20)));
        }
        assert_eq!(resources.all("large").len(), 6);
        assert!(resources.table().bytes <= MOST_BYTES);
    }
}
