//! What clients have created, kept in memory. Bounded in number and in bytes: of too much, the oldest goes.

mod gone;
mod page;

use std::{
    collections::{BTreeMap, HashMap},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use serde_json::Value;

use self::gone::Gone;
pub use self::page::{Query, page};

/// The most objects that are kept.
const MOST: usize = 10_000;
/// The most bytes that they may have, as JSON.
const MOST_BYTES: usize = 64 << 20;

/// Every object of every collection, and which of them were taken away.
#[derive(Default)]
pub struct Resources {
    table: Mutex<Table>,
    /// Whether there is nothing under an id that was never created. A fake should not stop a client whose set-up another
    /// test did: so by default there is whatever the fixture has to show.
    pub strict: bool,
}

#[derive(Default)]
struct Table {
    /// In the order in which they came.
    objects: BTreeMap<u64, Object>,
    /// The place of each, by collection and id.
    places: HashMap<Arc<str>, HashMap<Arc<str>, u64>>,
    gone: Gone,
    came: u64,
    bytes: usize,
}

struct Object {
    collection: Arc<str>,
    id: Arc<str>,
    value: Arc<Value>,
    bytes: usize,
}

/// What is known of an id.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Found {
    /// It was created, and this has become of it.
    Kept(Arc<Value>),
    /// It was taken away, not too long ago.
    Gone,
    /// It was never created, or so much else has been since that it is forgotten.
    Never,
}

impl Found {
    /// The object, if there is one.
    pub fn kept(self) -> Option<Arc<Value>> {
        if let Found::Kept(value) = self { Some(value) } else { None }
    }
}

impl Table {
    fn place(&self, collection: &str, id: &str) -> Option<u64> {
        self.places.get(collection)?.get(id).copied()
    }

    fn forget(&mut self, collection: &str, id: &str) -> Option<u64> {
        let shelf = self.places.get_mut(collection)?;
        let place = shelf.remove(id);
        if shelf.is_empty() {
            self.places.remove(collection);
        }
        place
    }
}

impl Resources {
    fn table(&self) -> MutexGuard<'_, Table> {
        // Nothing in here can stop half-way, so a lock poisoned by a panic elsewhere is as good as new.
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Keeps an object under an id, in place of one that has it already.
    pub fn put(&self, collection: &str, id: &str, value: Value) {
        let bytes = value.to_string().len() + collection.len() + id.len();
        let (collection, id): (Arc<str>, Arc<str>) = (collection.into(), id.into());
        let object = Object { collection: Arc::clone(&collection), id: Arc::clone(&id), value: Arc::new(value), bytes };
        let mut table = self.table();
        table.gone.remove(&collection, &id);
        let place = table.place(&collection, &id).unwrap_or(table.came + 1);
        table.came = table.came.max(place);
        table.bytes += bytes;
        table.places.entry(collection).or_default().insert(id, place);
        if let Some(replaced) = table.objects.insert(place, object) {
            table.bytes -= replaced.bytes;
        }
        while table.objects.len() > MOST || table.bytes > MOST_BYTES {
            let Some((_, oldest)) = table.objects.pop_first() else { break };
            table.bytes -= oldest.bytes;
            table.forget(&oldest.collection, &oldest.id);
        }
    }

    /// What is known of this id.
    pub fn find(&self, collection: &str, id: &str) -> Found {
        let table = self.table();
        let object = table.place(collection, id).and_then(|place| table.objects.get(&place));
        match object {
            Some(object) => Found::Kept(Arc::clone(&object.value)),
            None if table.gone.contains(collection, id) => Found::Gone,
            None => Found::Never,
        }
    }

    /// Takes the object of this id away, whether it was created or not: from now on there is none.
    pub fn delete(&self, collection: &str, id: &str) {
        let mut table = self.table();
        table.gone.insert(collection, id);
        let object = table.forget(collection, id).and_then(|place| table.objects.remove(&place));
        table.bytes -= object.map_or(0, |object| object.bytes);
    }

    /// All objects of a collection, the oldest first.
    pub fn all(&self, collection: &str) -> Vec<Arc<Value>> {
        let table = self.table();
        let mut places: Vec<u64> =
            table.places.get(collection).into_iter().flat_map(HashMap::values).copied().collect();
        places.sort_unstable();
        places.iter().filter_map(|place| Some(Arc::clone(&table.objects.get(place)?.value))).collect()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn filled(count: u64) -> Resources {
        let resources = Resources::default();
        for n in 0..count {
            resources.put("things", &format!("t{n}"), json!({"id": format!("t{n}")}));
        }
        resources
    }

    #[test]
    fn what_is_put_is_found_and_listed_until_deleted() {
        let resources = filled(5);
        let found = |id: &str| resources.find("things", id);
        assert_eq!(found("t3").kept().unwrap()["id"], "t3");
        assert_eq!(resources.find("others", "t3"), Found::Never);
        resources.put("things", "t3", json!({"id": "t3", "new": true}));
        assert_eq!(found("t3").kept().unwrap()["new"], true);
        resources.delete("things", "t0");
        resources.delete("things", "t9");
        assert_eq!([found("t0"), found("t9"), found("t8")], [Found::Gone, Found::Gone, Found::Never]);
        let ids: Vec<_> = resources.all("things").iter().map(|thing| thing["id"].clone()).collect();
        assert_eq!(ids, ["t1", "t2", "t3", "t4"]);
        resources.put("things", "t9", json!({}));
        assert!(found("t9").kept().is_some(), "what is created anew is there again");
    }

    #[test]
    fn the_oldest_go_when_there_are_too_many_or_too_large() {
        let resources = filled(MOST as u64 + 3);
        assert_eq!(resources.all("things").len(), MOST);
        assert_eq!(resources.find("things", "t2"), Found::Never, "it was not deleted");
        assert!(resources.find("things", "t3").kept().is_some());
        for n in 0..9 {
            resources.put("large", &n.to_string(), json!("x".repeat(10 << 20)));
        }
        assert_eq!(resources.all("large").len(), 6);
        let table = resources.table();
        assert!(table.bytes <= MOST_BYTES && !table.places.contains_key("things"));
    }
}
