//! Where the objects of a collection stand that is in others, and a view of the collections that belong together.

use std::{collections::BTreeMap, sync::Arc};

use serde_json::Value;

use super::{Lookup, Resources};
use crate::protocol::StoredObjects;

/// The name that those objects of a collection are kept under which are in what has these ids, the outermost first.
pub fn shelf(collection: &str, parents: &[impl AsRef<str>]) -> String {
    let mut shelf = collection.to_owned();
    for parent in parents {
        shelf.push('/');
        shelf.push_str(parent.as_ref());
    }
    shelf
}

/// Where it stands what becomes of the objects of a shelf when they are asked for. Under the id of each: by the status
/// that it has then, `{"set": …}`, the members that change, and `"put"`, what comes to be beside it, each as
/// `[shelf, id, object]`.
pub fn plans(shelf: &str) -> String {
    format!("{shelf} plans")
}

/// The collections that the answers of an endpoint are made of and kept in, each by what it is to the protocol.
#[derive(Clone, Copy)]
pub struct Shelves<'a> {
    resources: &'a Resources,
    names: &'a BTreeMap<String, String>,
}

impl<'a> Shelves<'a> {
    /// Those collections which have these `names`, by what they are.
    pub fn new(resources: &'a Resources, names: &'a BTreeMap<String, String>) -> Self {
        Shelves { resources, names }
    }
}

impl StoredObjects for Shelves<'_> {
    fn key(&self, what: &str, parents: &[&str]) -> Option<String> {
        self.names.get(what).map(|name| shelf(name, parents))
    }

    fn find(&self, what: &str, parents: &[&str], id: &str) -> Lookup {
        self.key(what, parents).map_or(Lookup::Unknown, |shelf| self.resources.find(&shelf, id))
    }

    fn may_name(&self, what: &str, parents: &[&str], id: &str) -> bool {
        match self.find(what, parents, id) {
            Lookup::Stored(_) => true,
            Lookup::Unknown => !self.resources.strict,
            Lookup::Deleted => false,
        }
    }

    fn all(&self, what: &str, parents: &[&str]) -> Vec<Arc<Value>> {
        self.key(what, parents).map(|shelf| self.resources.all(&shelf)).unwrap_or_default()
    }

    fn put(&self, what: &str, parents: &[&str], id: &str, value: Value) {
        if let Some(shelf) = self.key(what, parents) {
            self.resources.put(&shelf, id, value);
        }
    }

    fn plan(&self, what: &str, parents: &[&str], id: &str, plan: Value) {
        if let Some(shelf) = self.key(what, parents) {
            self.resources.put(&plans(&shelf), id, plan);
        }
    }
}
